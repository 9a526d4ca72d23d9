//! What machine and which build a figure was measured on.

pub(crate) mod cgroup;
mod commit;
pub(crate) mod files;
pub(crate) mod mount;

use serde::{Deserialize, Serialize};

/// The machine and the build, as figures are recorded with. Records of older versions lack some fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Machine {
    /// The processor's own name, or its architecture where the system does not tell.
    pub(crate) cpu: String,
    /// Threads the process may run at once.
    pub(crate) cores: usize,
    /// Widest vector instructions in use.
    pub(crate) simd: String,
    /// Instruction sets of the processor that image code can use.
    pub(crate) features: Vec<String>,
    /// Operating system and architecture.
    pub(crate) system: String,
    /// bandfeed's version.
    pub(crate) version: String,
    /// Commit of the source tree that the program was built from, as it stands now; `None` where there is no git or no tree.
    /// A program older than that commit is said to be.
    pub(crate) commit: Option<String>,
}

impl Machine {
    /// Asks the system, and git for the commit: some milliseconds. For reports, not for every start.
    pub(crate) fn this() -> Self {
        Self {
            cpu: cpu(),
            cores: super::cores(),
            simd: simd().to_owned(),
            features: features().into_iter().map(str::to_owned).collect(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: commit::of_this_program(),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cpu, cores, simd, system, version, commit, .. } = self;
        write!(f, "bandfeed {version}")?;
        if let Some(commit) = commit {
            write!(f, " at {commit}")?;
        }
        write!(f, ", {cpu}, {cores} cores, {simd}, {system}")
    }
}

/// The processor's own name, or its architecture where the system does not tell.
pub(crate) fn cpu() -> String {
    let own = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    own.or_else(|| {
        let mut system = sysinfo::System::new();
        system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
        Some(system.cpus().first()?.brand().trim().to_owned()).filter(|name| !name.is_empty())
    })
    .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The level that `crate::ops::simd::Level` chooses.
#[cfg(target_arch = "x86_64")]
pub(crate) fn simd() -> &'static str {
    match (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"), is_x86_feature_detected!("avx512f")) {
        (true, true) => "AVX-512",
        (true, false) => "AVX2",
        (false, _) => "SSE2",
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn simd() -> &'static str {
    if cfg!(target_arch = "aarch64") { "NEON" } else { "scalar" }
}

/// Lists those of the named features that the processor has.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! detected {
    ($detect:ident: $($name:tt)*) => {
        [$(($name, std::arch::$detect!($name))),*].into_iter().filter_map(|(name, found)| found.then_some(name)).collect()
    };
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    detected!(is_x86_feature_detected: "ssse3" "sse4.1" "avx2" "fma" "bmi1" "bmi2" "lzcnt" "avx512f" "avx512bw" "avx512vl"
        "avx512vbmi" "gfni")
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<&'static str> {
    detected!(is_aarch64_feature_detected: "neon" "dotprod" "i8mm" "sve" "sve2")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

/// Largest resident memory of this process so far in bytes, where the system tells.
pub(crate) fn peak_memory() -> Option<u64> {
    status_kib("VmHWM:")
}

/// Resident memory of this process in bytes, where the system tells.
pub(crate) fn memory() -> Option<u64> {
    status_kib("VmRSS:")
}

/// Three quarters of the memory that is free for use, in bytes.
#[cfg(feature = "train")]
pub(crate) fn memory_budget() -> Option<u64> {
    memory_free().map(|bytes| bytes / 4 * 3)
}

/// Memory that the process may still take, in bytes: what the system says is available, or what is left of a control group's
/// limit if that is less.
pub(crate) fn memory_free() -> Option<u64> {
    let available = kib("/proc/meminfo", "MemAvailable:").or_else(|| {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        Some(system.available_memory()).filter(|&bytes| bytes > 0)
    });
    available.into_iter().chain(cgroup::Limits::of_this_process().memory_left()).min()
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

/// Bytes that the system fetched from disks for this process so far, where it tells. What a network file system fetches is not
/// among them.
pub(crate) fn disk_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("read_bytes: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_older_versions_can_be_read() {
        let old = r#"{"cpu":"AMD EPYC","cores":2,"simd":"AVX-512","system":"linux x86_64","version":"0.1.0"}"#;
        let machine: Machine = serde_json::from_str(old).unwrap();
        assert_eq!((machine.cores, machine.simd.as_str(), machine.commit.as_deref()), (2, "AVX-512", None));
        assert_eq!(machine.to_string(), "bandfeed 0.1.0, AMD EPYC, 2 cores, AVX-512, linux x86_64");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let machine = Machine::this();
        let text = serde_json::to_string(&machine).unwrap();
        assert_eq!(serde_json::from_str::<Machine>(&text).unwrap(), machine);
        assert!(!machine.cpu.is_empty() && machine.cores > 0);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_level_told_is_the_level_in_use() {
        let used = format!("{:?}", crate::ops::simd::Level::detect());
        let told = match simd() {
            "AVX-512" => "Avx512",
            "AVX2" => "Avx2",
            _ => "Plain",
        };
        assert!(used.contains(told), "{used} is in use, {told} was told");
        assert_eq!(features().contains(&"avx512f"), is_x86_feature_detected!("avx512f"));
    }
}
