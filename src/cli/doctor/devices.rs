//! Engines, and the devices they would run on. Of NVIDIA's driver nothing is loaded: files tell what is there.

use super::page::{Line, Section};
use crate::cli::machine::Machine;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What was found of drivers for graphics processors; `None` of everything where there was nothing to look at.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Devices {
    /// NVIDIA's kernel module, by its version.
    pub(super) nvidia_driver: Option<String>,
    /// Device files: nvidia0, nvidia1 ...
    pub(super) nvidia_devices: Vec<String>,
    /// CUDA's driver library.
    pub(super) libcuda: Option<PathBuf>,
    /// Files that announce Vulkan drivers.
    pub(super) vulkan: Vec<PathBuf>,
    /// What these and other systems' drivers give.
    pub(super) adapters: Vec<Adapter>,
}

impl Devices {
    pub(super) fn this() -> Self {
        if !cfg!(target_os = "linux") {
            return Self { adapters: adapters(), ..Self::default() };
        }
        let nvidia = std::fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
        Self {
            nvidia_driver: nvidia_version(&nvidia),
            nvidia_devices: files_in(Path::new("/dev"), &|name| {
                name.strip_prefix("nvidia").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            })
            .iter()
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect(),
            libcuda: library_folders().into_iter().map(|folder| folder.join("libcuda.so.1")).find(|path| path.exists()),
            adapters: adapters(),
            vulkan: vulkan_folders().iter().flat_map(|f| files_in(f, &|name| name.ends_with(".json"))).collect(),
        }
    }

    pub(super) fn section(&self, machine: &Machine) -> Section {
        let mut lines = vec![Line::ok("cpu", format!("usable ({})", machine.simd))];
        lines.extend(self.wgpu());
        const NOT_BUILT: &str = "not in this version of bandfeed, so not usable.";
        let mut found = Vec::new();
        found.extend(self.nvidia_driver.as_ref().map(|version| format!("driver {version}")));
        if !self.nvidia_devices.is_empty() {
            found.push(format!("device {}", self.nvidia_devices.join(", ")));
        }
        found.extend(self.libcuda.as_ref().map(|path| path.display().to_string()));
        let cuda = match found.is_empty() {
            _ if !cfg!(target_os = "linux") => "devices are not looked for on this system".to_owned(),
            true => "no NVIDIA driver, device or libcuda.so.1 was found".to_owned(),
            false => format!("has {} (not tried)", found.join("; ")),
        };
        lines.push(Line::note("cuda", format!("{NOT_BUILT} This machine: {cuda}")));
        Section::new("Engines and devices", lines)
    }

    /// A line for each adapter, by the name that `--device` takes.
    fn wgpu(&self) -> Vec<Line> {
        if !cfg!(feature = "wgpu") {
            return vec![Line::note("wgpu", "not in this build of bandfeed (feature wgpu)".to_owned())];
        }
        if self.adapters.is_empty() {
            let files = match self.vulkan.len() {
                0 => "no Vulkan driver is announced".to_owned(),
                _ => {
                    let names =
                        self.vulkan.iter().filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()));
                    format!(
                        "Vulkan drivers are announced ({}), but give no adapter",
                        names.collect::<Vec<_>>().join(", ")
                    )
                }
            };
            let text =
                format!("no adapter: {files}. On Debian and Ubuntu, mesa-vulkan-drivers has those of AMD and Intel");
            return vec![Line::note("wgpu", text)];
        }
        let line = |(number, adapter): (usize, &Adapter)| {
            let name = format!("wgpu:{number}");
            match &adapter.unusable {
                Some(why) => Line::note(&name, format!("{adapter}: not usable, {why}")),
                None if adapter.is_software => Line::note(
                    &name,
                    format!("{adapter}: usable, but it computes on the processor; only if asked for by name"),
                ),
                None => Line::ok(&name, format!("{adapter}: usable")),
            }
        };
        self.adapters.iter().enumerate().map(line).collect()
    }
}

/// An adapter of Vulkan, Metal or DX12.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Adapter {
    name: String,
    api: String,
    driver: String,
    kind: String,
    is_software: bool,
    largest_buffer: u64,
    workgroup_memory: u32,
    subgroups: Option<(u32, u32)>,
    has_timestamps: bool,
    unusable: Option<String>,
}

impl std::fmt::Display for Adapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, api, driver, kind, .. } = self;
        write!(f, "{name} ({kind}, {api}, {driver}; buffers up to {} MiB, ", self.largest_buffer >> 20)?;
        write!(f, "{} KiB shared by a workgroup, ", self.workgroup_memory >> 10)?;
        match self.subgroups {
            Some((fewest, most)) if fewest == most => write!(f, "subgroups of {most}")?,
            Some((fewest, most)) => write!(f, "subgroups of {fewest} to {most}")?,
            None => f.write_str("no subgroups")?,
        }
        f.write_str(if self.has_timestamps { ", tells times)" } else { ")" })
    }
}

#[cfg(feature = "wgpu")]
fn adapters() -> Vec<Adapter> {
    let own = |report: crate::gpu::AdapterReport| Adapter {
        name: report.name,
        api: report.api,
        driver: report.driver,
        kind: report.kind.to_owned(),
        is_software: report.is_software,
        largest_buffer: report.largest_buffer,
        workgroup_memory: report.workgroup_memory,
        subgroups: report.subgroups,
        has_timestamps: report.has_timestamps,
        unusable: report.unusable,
    };
    crate::gpu::adapters().into_iter().map(own).collect()
}

#[cfg(not(feature = "wgpu"))]
fn adapters() -> Vec<Adapter> {
    Vec::new()
}

/// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 ...", or with "Open Kernel Module for x86_64".
fn nvidia_version(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("NVRM version:"))?;
    let is_version = |word: &&str| word.contains('.') && word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    Some(line.split_whitespace().find(is_version).unwrap_or("of an unknown version").to_owned())
}

/// Sorted.
fn files_in(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> =
        entries.flatten().filter(|e| e.file_name().to_str().is_some_and(wanted)).map(|e| e.path()).collect();
    files.sort();
    files
}

fn library_folders() -> Vec<PathBuf> {
    let own = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let usual = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/lib/x86_64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/usr/lib/wsl/lib",
        "/usr/local/cuda/compat",
        "/run/opengl-driver/lib",
    ];
    std::env::split_paths(&own).filter(|path| path.is_absolute()).chain(usual.map(PathBuf::from)).collect()
}

fn vulkan_folders() -> [PathBuf; 3] {
    ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"].map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_s_version_is_read_in_both_of_its_forms() {
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12.3.0\n";
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build\n";
        assert_eq!(nvidia_version(closed).as_deref(), Some("550.54.15"));
        assert_eq!(nvidia_version(open).as_deref(), Some("560.35.03"));
        assert_eq!(nvidia_version(""), None);
    }

    fn adapter() -> Adapter {
        Adapter {
            name: "A GPU".into(),
            api: "vulkan".into(),
            driver: "driver 1".into(),
            kind: "discrete GPU".into(),
            is_software: false,
            largest_buffer: 2 << 30,
            workgroup_memory: 32 << 10,
            subgroups: Some((32, 64)),
            has_timestamps: true,
            unusable: None,
        }
    }

    #[cfg(all(target_os = "linux", feature = "wgpu"))]
    #[test]
    fn a_device_that_is_there_is_not_called_usable_unless_it_is() {
        let why = "16 threads in a workgroup where 256 are needed";
        let devices = Devices {
            nvidia_driver: Some("550.54".into()),
            nvidia_devices: vec!["nvidia0".into()],
            libcuda: None,
            vulkan: Vec::new(),
            adapters: vec![
                adapter(),
                Adapter { is_software: true, subgroups: None, ..adapter() },
                Adapter { unusable: Some(why.into()), ..adapter() },
            ],
        };
        let text = |devices: &Devices| -> Vec<String> {
            let lines = devices.section(&Machine { simd: "AVX2".into(), ..Machine::default() }).lines;
            lines.into_iter().map(|line| line.text).collect()
        };
        let lines = text(&devices);
        assert_eq!(lines[0], "usable (AVX2)");
        let about = "buffers up to 2048 MiB, 32 KiB shared by a workgroup";
        assert_eq!(
            lines[1],
            format!("A GPU (discrete GPU, vulkan, driver 1; {about}, subgroups of 32 to 64, tells times): usable")
        );
        assert!(lines[2].contains("no subgroups") && lines[2].ends_with("only if asked for by name"), "{}", lines[2]);
        assert!(lines[3].ends_with(&format!("not usable, {why}")), "{}", lines[3]);
        assert!(lines[4].contains("not usable") && lines[4].ends_with("driver 550.54; device nvidia0 (not tried)"));
        let announced =
            Devices { vulkan: vec!["/usr/share/vulkan/icd.d/lvp_icd.x86_64.json".into()], ..Devices::default() };
        assert!(text(&announced)[1].contains("(lvp_icd.x86_64), but give no adapter"));
    }
}
