//! What the machine has, and what this process may use of it.

use super::page::{Line, Section, count, size};
use crate::cli::machine::{self, cgroup::Limits};
use serde::Serialize;
use std::path::Path;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// Facts of processor, memory and limits. `None`: not told by this system.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Host {
    pub(super) physical_cores: Option<usize>,
    pub(super) logical_cores: Option<usize>,
    /// Cores that the process may be put on.
    pub(super) affinity: Option<usize>,
    pub(super) limits: Limits,
    /// Threads that can run at once under all of these; at least 1.
    pub(super) usable_cores: usize,
    pub(super) frequency_mhz: Option<u64>,
    /// Threads that wanted a core in the last minute, in the mean, before anything was measured.
    pub(super) load: Option<f64>,
    /// Bytes, as all below.
    pub(super) memory: Option<u64>,
    pub(super) memory_available: Option<u64>,
    pub(super) swap: Option<u64>,
    pub(super) swap_used: Option<u64>,
    /// Size of `/dev/shm`.
    pub(super) shared_memory: Option<u64>,
    /// Files that the process may have open.
    pub(super) open_files: Option<u64>,
}

impl Host {
    pub(super) fn this() -> Self {
        let kinds = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing().with_frequency())
            .with_memory(MemoryRefreshKind::everything());
        let system = System::new_with_specifics(kinds);
        let above_0 = |value: u64| Some(value).filter(|&value| value > 0);
        let limits = Limits::of_this_process();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let files = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self {
            physical_cores: System::physical_core_count(),
            logical_cores: Some(system.cpus().len()).filter(|&cores| cores > 0),
            affinity: allowed_cores(&status),
            limits,
            usable_cores: usable(crate::cli::cores(), limits.cores),
            frequency_mhz: system.cpus().iter().map(sysinfo::Cpu::frequency).max().and_then(above_0),
            load: Some(System::load_average().one).filter(|_| cfg!(unix)),
            memory: above_0(system.total_memory()),
            memory_available: above_0(system.available_memory()),
            swap: (system.total_memory() > 0).then(|| system.total_swap()),
            swap_used: (system.total_memory() > 0).then(|| system.used_swap()),
            shared_memory: shared_memory(),
            open_files: open_files(&files),
        }
    }

    /// Whether other programs take so much of the cores that what is measured here is too low.
    pub(super) fn is_busy(&self) -> bool {
        self.load.zip(self.logical_cores).is_some_and(|(load, cores)| load >= 0.5 * cores as f64)
    }

    /// Bytes that the process may still take.
    pub(super) fn memory_free(&self) -> Option<u64> {
        self.memory_available.into_iter().chain(self.limits.memory_left()).min()
    }

    pub(super) fn sections(&self, machine: &machine::Machine) -> Vec<Section> {
        vec![Section::new("Processor", self.processor(machine)), Section::new("Memory and limits", self.memory_lines())]
    }

    fn processor(&self, machine: &machine::Machine) -> Vec<Line> {
        let mut name = machine.cpu.clone();
        if let Some(mhz) = self.frequency_mhz {
            name += &format!(", {:.1} GHz now", mhz as f64 * 1e-3);
        }
        let number = |cores: Option<usize>| cores.map_or("an untold number of".to_owned(), |cores| cores.to_string());
        let mut lines = vec![
            Line::ok("processor", name),
            Line::ok(
                "cores",
                format!("{} logical, {} physical", number(self.logical_cores), number(self.physical_cores)),
            ),
        ];
        let mut reasons = Vec::new();
        if let (Some(allowed), Some(all)) = (self.affinity, self.logical_cores)
            && allowed < all
        {
            reasons.push(format!("it may run on {} of {all} (taskset, or a cpuset)", count(allowed as f64, "core")));
        }
        if let Some(cores) = self.limits.cores {
            let short = self.logical_cores.is_some_and(|all| cores < all as f64);
            if short {
                reasons.push(format!("its control group has the time of {}", count(cores, "core")));
            }
        }
        let usable = count(self.usable_cores as f64, "core");
        lines.push(match reasons.is_empty() {
            true => Line::ok("this process", format!("may use {usable}; no quota and no affinity keeps it from more")),
            false => Line::note("this process", format!("may use {usable}: {}", reasons.join("; "))),
        });
        lines.push(match self.load {
            Some(load) if self.is_busy() => Line::note(
                "load",
                format!("{load:.1} threads in the last minute: other programs take the cores, so that what is measured here is too low"),
            ),
            load => Line::told("load", load.map(|load| format!("{load:.1} threads in the last minute"))),
        });
        let features = if machine.features.is_empty() { "none told".to_owned() } else { machine.features.join(" ") };
        lines.push(Line::ok("features", features));
        lines.push(match machine.simd.as_str() {
            "SSE2" | "scalar" => Line::note(
                "vectors",
                format!("bandfeed uses {} here; resizing and decoding are written for AVX2 and AVX-512", machine.simd),
            ),
            level => Line::ok("vectors", format!("bandfeed uses {level} here")),
        });
        lines
    }

    fn memory_lines(&self) -> Vec<Line> {
        let mut lines = vec![Line::told(
            "memory",
            self.memory.map(|all| match self.memory_available {
                Some(free) => format!("{}, {} of it available", size(all), size(free)),
                None => size(all),
            }),
        )];
        match (self.limits.memory, self.memory) {
            (Some(limit), all) if all.is_none_or(|all| limit < all) => {
                let used = self.limits.memory_used.map_or(String::new(), |used| format!(", {} of it used", size(used)));
                lines.push(Line::note("memory limit", format!("control group: {}{used}", size(limit))));
            }
            _ => lines.push(Line::ok("memory limit", "no control group limits it")),
        }
        lines.push(Line::told(
            "swap",
            self.swap.map(|swap| match (swap, self.swap_used) {
                (0, _) => "none".to_owned(),
                (swap, Some(used)) => format!("{}, {} used", size(swap), size(used)),
                (swap, None) => size(swap),
            }),
        ));
        if let Some(bytes) = self.shared_memory {
            const SMALL: u64 = 1 << 30;
            lines.push(match bytes {
                0..SMALL => Line::note(
                    "/dev/shm",
                    format!(
                        "{}: bandfeed does not use it, but PyTorch's DataLoader workers do, and fail where it is full",
                        size(bytes)
                    ),
                ),
                _ => Line::ok("/dev/shm", size(bytes)),
            });
        }
        lines.push(match self.open_files {
            Some(files @ 0..256) => Line::note(
                "open files",
                format!("at most {files}; each tar shard is kept open (`ulimit -n` raises it)"),
            ),
            files => Line::told("open files", files.map(|files| format!("at most {files}"))),
        });
        lines
    }
}

/// Whole threads that a quota leaves busy. A fraction of a core is worth a thread only where there is none otherwise.
fn usable(cores: usize, quota: Option<f64>) -> usize {
    quota.map_or(cores, |quota| cores.min(quota as usize)).max(1)
}

/// From `/proc/self/status`: "Cpus_allowed_list: 0-3,8".
fn allowed_cores(status: &str) -> Option<usize> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut cores = 0;
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores += (last.parse::<usize>().ok()? + 1).checked_sub(first.parse().ok()?)?;
    }
    Some(cores)
}

/// From `/proc/self/limits`: "Max open files  1024  1048576  files", of which the first counts.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(unix)]
fn shared_memory() -> Option<u64> {
    let path = Path::new("/dev/shm");
    if !path.is_dir() {
        return None;
    }
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_blocks.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
fn shared_memory() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::super::page::Mark;
    use super::*;

    #[test]
    fn limits_are_read_from_the_system_s_tables() {
        assert_eq!(allowed_cores("Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0-3,8,10-11\n"), Some(7));
        assert_eq!(allowed_cores("Cpus_allowed_list:\t2\n"), Some(1));
        assert_eq!(allowed_cores("Name:\tx\n"), None);
        let limits =
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 1048576     files \n";
        assert_eq!((open_files(limits), open_files("")), (Some(1024), None));
    }

    #[test]
    fn a_quota_counts_in_whole_threads_but_leaves_one() {
        assert_eq!([usable(8, None), usable(8, Some(2.5)), usable(8, Some(0.4)), usable(2, Some(16.0))], [8, 2, 1, 2]);
    }

    #[test]
    fn limits_below_the_machine_are_noted_and_what_is_not_told_is_said() {
        let machine = machine::Machine { simd: "AVX2".into(), ..Default::default() };
        let host = Host {
            logical_cores: Some(8),
            affinity: Some(4),
            limits: Limits { cores: Some(1.5), memory: Some(2_000_000_000), memory_used: Some(500_000_000) },
            usable_cores: 1,
            memory: Some(64_000_000_000),
            memory_available: Some(60_000_000_000),
            shared_memory: Some(64 << 20),
            ..Host::default()
        };
        let lines: Vec<Line> = host.sections(&machine).into_iter().flat_map(|section| section.lines).collect();
        let line = |name: &str| lines.iter().find(|line| line.name == name).unwrap();
        let process = line("this process");
        assert_eq!(process.mark, Mark::Note);
        assert!(process.text.contains("4 cores of 8") && process.text.contains("1.5 cores"), "{}", process.text);
        assert_eq!(line("memory limit").text, "control group: 2.0 GB, 500 MB of it used");
        assert_eq!((line("/dev/shm").mark, line("swap").text.as_str()), (Mark::Note, "not told by this system"));
        assert_eq!(host.memory_free(), Some(1_500_000_000));
        let free = Host { logical_cores: Some(8), affinity: Some(8), usable_cores: 8, ..Host::default() };
        assert!(free.processor(&machine).iter().all(|line| line.mark == Mark::Ok));
        let busy = Host { load: Some(6.0), ..free.clone() };
        assert!(busy.is_busy() && busy.processor(&machine).iter().any(|l| l.name == "load" && l.mark == Mark::Note));
        assert!(!Host { load: Some(0.3), ..free }.is_busy());
    }
}
