//! What machine a figure was measured on.

use serde::Serialize;

/// The machine and the build, as figures are recorded with.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// The processor's own name, or its architecture where the system does not tell.
    pub(crate) cpu: String,
    /// Threads the process may run at once.
    pub(crate) cores: usize,
    /// Widest vector instructions in use.
    pub(crate) simd: &'static str,
    /// Operating system and architecture.
    pub(crate) system: String,
    /// bandfeed's version.
    pub(crate) version: &'static str,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo")
            .ok()
            .and_then(|text| {
                let line = text.lines().find(|l| l.starts_with("model name"))?;
                Some(line.split_once(':')?.1.trim().to_owned())
            })
            .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        Self {
            cpu,
            cores: super::cores(),
            simd: simd(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cpu, cores, simd, system, version } = self;
        write!(f, "bandfeed {version}, {cpu}, {cores} cores, {simd}, {system}")
    }
}

#[cfg(target_arch = "x86_64")]
fn simd() -> &'static str {
    if is_x86_feature_detected!("avx512bw") {
        "AVX-512"
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        "AVX2"
    } else {
        "SSE2"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn simd() -> &'static str {
    if cfg!(target_arch = "aarch64") { "NEON" } else { "scalar" }
}

/// Largest resident memory of this process so far in bytes, where the system tells.
pub(crate) fn peak_memory() -> Option<u64> {
    status_kib("VmHWM:")
}

/// Resident memory of this process in bytes, where the system tells.
pub(crate) fn memory() -> Option<u64> {
    status_kib("VmRSS:")
}

/// Three quarters of the memory that the system says is free for use, in bytes.
#[cfg(feature = "train")]
pub(crate) fn memory_budget() -> Option<u64> {
    kib("/proc/meminfo", "MemAvailable:").map(|bytes| bytes / 4 * 3)
}

fn status_kib(field: &str) -> Option<u64> {
    kib("/proc/self/status", field)
}

/// A field of one of the system's tables in kibibytes, as bytes.
fn kib(path: &str, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|l| l.starts_with(field))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Processor time of this process so far in seconds, all threads together, where the system tells.
pub(crate) fn cpu_seconds() -> Option<f64> {
    /// Linux counts in hundredths of a second on every architecture it runs on.
    const TICKS_PER_SECOND: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in brackets, which may hold spaces; user and system time are the 14th and 15th.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}
