//! Engines, and the devices they would run on. Nothing is loaded or started: files tell what is there.

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
}

impl Devices {
    pub(super) fn this() -> Self {
        if !cfg!(target_os = "linux") {
            return Self::default();
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
            vulkan: vulkan_folders().iter().flat_map(|f| files_in(f, &|name| name.ends_with(".json"))).collect(),
        }
    }

    pub(super) fn section(&self, machine: &Machine) -> Section {
        const NOT_BUILT: &str = "not in this version of bandfeed, so not usable.";
        if !cfg!(target_os = "linux") {
            let text = format!("{NOT_BUILT} Devices are not looked for on this system");
            return Section::new(
                "Engines and devices",
                vec![Line::ok("cpu", format!("usable ({})", machine.simd)), Line::note("wgpu, cuda", text)],
            );
        }
        let vulkan = match self.vulkan.len() {
            0 => "no Vulkan driver is announced".to_owned(),
            _ => {
                let names =
                    self.vulkan.iter().filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()));
                format!("announces Vulkan drivers: {} (not tried)", names.collect::<Vec<_>>().join(", "))
            }
        };
        let mut found = Vec::new();
        found.extend(self.nvidia_driver.as_ref().map(|version| format!("driver {version}")));
        if !self.nvidia_devices.is_empty() {
            found.push(format!("device {}", self.nvidia_devices.join(", ")));
        }
        found.extend(self.libcuda.as_ref().map(|path| path.display().to_string()));
        let cuda = match found.is_empty() {
            true => "no NVIDIA driver, device or libcuda.so.1 was found".to_owned(),
            false => format!("has {} (not tried)", found.join("; ")),
        };
        Section::new(
            "Engines and devices",
            vec![
                Line::ok("cpu", format!("usable ({})", machine.simd)),
                Line::note("wgpu", format!("{NOT_BUILT} This machine: {vulkan}")),
                Line::note("cuda", format!("{NOT_BUILT} This machine: {cuda}")),
            ],
        )
    }
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

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_that_is_there_is_not_called_usable() {
        let devices = Devices {
            nvidia_driver: Some("550.54".into()),
            nvidia_devices: vec!["nvidia0".into()],
            libcuda: None,
            vulkan: vec!["/usr/share/vulkan/icd.d/lvp_icd.x86_64.json".into()],
        };
        let lines = devices.section(&Machine { simd: "AVX2".into(), ..Machine::default() }).lines;
        assert_eq!(lines[0].text, "usable (AVX2)");
        assert!(lines[1].text.contains("not usable") && lines[1].text.contains("lvp_icd.x86_64"), "{}", lines[1].text);
        assert!(
            lines[2].text.contains("not usable")
                && lines[2].text.ends_with("driver 550.54; device nvidia0 (not tried)")
        );
    }
}
