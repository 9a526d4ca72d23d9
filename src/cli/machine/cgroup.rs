//! What a Linux control group lets this process use: containers and batch systems set these limits, and the machine's own numbers
//! do not show them.

use super::mount;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Limits of the process's group and of the groups around it; the smallest counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Limits {
    /// Processor time in cores: 1.5 is one and a half. `None` without a limit.
    pub(crate) cores: Option<f64>,
    /// Memory in bytes. `None` without a limit.
    pub(crate) memory: Option<u64>,
    /// Bytes of it in use, files that the system may drop not counted. `None` without a limit.
    pub(crate) memory_used: Option<u64>,
}

impl Limits {
    /// Of this process. All `None` where there are no control groups.
    pub(crate) fn of_this_process() -> Self {
        let read = |path: &Path| std::fs::read_to_string(path).ok();
        let group = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
        let mounts = read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
        Self::read(&group, &mounts, &read)
    }

    /// `group` is `/proc/self/cgroup`, `mounts` `/proc/self/mountinfo`; `read` gives the text of a file.
    fn read(group: &str, mounts: &str, read: &dyn Fn(&Path) -> Option<String>) -> Self {
        let mut limits = Self::default();
        let mut least = |cores: Option<f64>| {
            limits.cores = limits.cores.into_iter().chain(cores).min_by(f64::total_cmp);
        };
        match folders(group, mounts, "cpu") {
            Some(Folders { unified: true, all }) => {
                all.iter().for_each(|folder| least(read(&folder.join("cpu.max")).as_deref().and_then(cores_unified)));
            }
            Some(Folders { unified: false, all }) => all.iter().for_each(|folder| {
                let number = |file: &str| read(&folder.join(file))?.trim().parse::<i64>().ok();
                least(number("cpu.cfs_quota_us").zip(number("cpu.cfs_period_us")).and_then(|(q, p)| cores_of(q, p)));
            }),
            None => {}
        }
        if let Some(Folders { unified, all }) = folders(group, mounts, "memory") {
            let names = if unified {
                ["memory.max", "memory.current", "inactive_file"]
            } else {
                ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"]
            };
            let limited = |folder: &PathBuf| Some((bytes(&read(&folder.join(names[0]))?)?, folder.clone()));
            // The group's own comes first, and of equal limits it is the one whose use is told.
            if let Some((limit, folder)) = all.iter().filter_map(limited).min_by_key(|(limit, _)| *limit) {
                let used = read(&folder.join(names[1])).as_deref().and_then(bytes);
                let stat = read(&folder.join("memory.stat")).unwrap_or_default();
                let files = field(&stat, names[2]).unwrap_or(0);
                limits.memory = Some(limit);
                limits.memory_used = used.map(|used| used.saturating_sub(files));
            }
        }
        limits
    }

    /// Bytes that the group may still take; `None` without a limit.
    pub(crate) fn memory_left(&self) -> Option<u64> {
        Some(self.memory?.saturating_sub(self.memory_used.unwrap_or(0)))
    }
}

/// Where the limits of one controller are.
struct Folders {
    /// Version 2: one tree for all controllers.
    unified: bool,
    /// The process's group first, then those around it, up to the mount.
    all: Vec<PathBuf>,
}

/// The folders of a controller; version 1's where the controller has a tree of its own, as in mixed set-ups.
fn folders(group: &str, mounts: &str, controller: &str) -> Option<Folders> {
    let mut own = group.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let tree = |kind: &str, has: &dyn Fn(&mount::Mount) -> bool| mount::all(mounts).find(|m| m.kind == kind && has(m));
    let legacy = tree("cgroup", &|m| m.super_options.split(',').any(|option| option == controller));
    let (unified, mount, path) = match legacy {
        Some(mount) => (false, mount, own.find(|(names, _)| names.split(',').any(|name| name == controller))?.1),
        None => (true, tree("cgroup2", &|_| true)?, own.find(|(names, _)| names.is_empty())?.1),
    };
    // Inside a container the mount may show a part of the tree only: the group's path is then told from the whole tree's root,
    // and a path that is not below the part is the part itself.
    let below = Path::new(path).strip_prefix(&mount.root).unwrap_or(Path::new(""));
    let below = if path.contains("..") { Path::new("") } else { below };
    let folder = mount.point.join(below);
    let all = folder.ancestors().take_while(|folder| folder.starts_with(&mount.point)).map(Path::to_owned).collect();
    Some(Folders { unified, all })
}

/// Version 2's `cpu.max`: "max 100000" or "150000 100000", both in microseconds.
fn cores_unified(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let quota = words.next()?.parse().ok()?;
    cores_of(quota, words.next().map_or(Some(100_000), |period| period.parse().ok())?)
}

/// Cores that a quota in each period amounts to; below 0 is no limit.
fn cores_of(quota: i64, period: i64) -> Option<f64> {
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// A number of bytes; "max" and version 1's nearly 2^63 are no limit.
fn bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|&bytes| bytes < 1 << 60)
}

/// A number in a file of "name number" lines.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "36 35 0:31 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n\
                      31 30 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                      32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    fn limits(group: &str, mounts: &str, files: &[(&str, &str)]) -> Limits {
        let read = |path: &Path| {
            files
                .iter()
                .find(|(name, _)| Path::new("/sys/fs/cgroup").join(name) == path)
                .map(|(_, text)| (*text).to_owned())
        };
        Limits::read(group, mounts, &read)
    }

    #[test]
    fn the_smallest_of_nested_limits_counts() {
        let files = [
            ("batch/job/cpu.max", "400000 100000\n"),
            ("batch/cpu.max", "150000 100000\n"),
            ("cpu.max", "max 100000\n"),
            ("batch/job/memory.max", "max\n"),
            ("batch/memory.max", "4294967296\n"),
            ("batch/memory.current", "1000000000\n"),
            ("batch/memory.stat", "anon 5\nfile 7\nworkingset 1\ninactive_file 400000000\n"),
        ];
        let found = limits("0::/batch/job\n", V2, &files);
        assert_eq!(found.cores, Some(1.5));
        assert_eq!((found.memory, found.memory_used), (Some(1 << 32), Some(600_000_000)));
        assert_eq!(found.memory_left(), Some((1 << 32) - 600_000_000));
    }

    #[test]
    fn unlimited_groups_limit_nothing() {
        let files = [("a/cpu.max", "max 100000\n"), ("a/memory.max", "max\n"), ("a/memory.current", "5\n")];
        assert_eq!(limits("0::/a\n", V2, &files), Limits::default());
        let files = [
            ("cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(limits("4:memory:/\n3:cpu,cpuacct:/\n0::/\n", V1, &files), Limits::default());
        assert_eq!(limits("", "", &[]), Limits::default());
    }

    #[test]
    fn version_1_is_read_where_it_has_the_controller() {
        let files = [
            ("cpu,cpuacct/docker/7f/cpu.cfs_quota_us", "50000\n"),
            ("cpu,cpuacct/docker/7f/cpu.cfs_period_us", "100000\n"),
            ("memory/docker/7f/memory.limit_in_bytes", "2147483648\n"),
            ("memory/docker/7f/memory.usage_in_bytes", "300\n"),
            ("memory/docker/7f/memory.stat", "inactive_file 1\ntotal_inactive_file 100\n"),
            ("unified/docker/7f/cpu.max", "100 100000\n"),
        ];
        let group = "12:cpu,cpuacct:/docker/7f\n4:memory:/docker/7f\n1:name=systemd:/docker/7f\n0::/docker/7f\n";
        let found = limits(group, V1, &files);
        assert_eq!(found, Limits { cores: Some(0.5), memory: Some(2 << 30), memory_used: Some(200) });
    }

    #[test]
    fn inside_a_container_the_mount_is_a_part_of_the_tree() {
        let mounts = "33 30 0:29 /docker/7f /sys/fs/cgroup rw master:9 - cgroup2 cgroup rw\n";
        let files = [("cpu.max", "200000 100000\n"), ("inner/cpu.max", "100000 100000\n")];
        assert_eq!(limits("0::/docker/7f/inner\n", mounts, &files).cores, Some(1.0));
        assert_eq!(limits("0::/docker/7f\n", mounts, &files).cores, Some(2.0));
        // A group outside of the part that is shown.
        assert_eq!(limits("0::/../../other\n", mounts, &files).cores, Some(2.0));
    }
}
