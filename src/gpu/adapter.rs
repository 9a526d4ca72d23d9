//! The machine's GPUs, and which of them can be used.

use crate::error::{Error, Result};
use std::fmt::Write as _;
use wgpu::{Adapter, AdapterInfo, Backends, DeviceType, Instance, InstanceDescriptor, Limits};

/// A GPU, or a driver that plays one on the processor, and what the engine would make of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AdapterReport {
    /// The device's name, as its driver tells it.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub api: String,
    /// The driver and its version.
    pub driver: String,
    /// `discrete GPU`, `integrated GPU`, `virtual GPU`, `software` or `other`.
    pub kind: &'static str,
    /// Whether it computes on the processor: such a one is used only if it is asked for by name.
    pub is_software: bool,
    /// Largest buffer that a kernel can be given, in bytes.
    pub largest_buffer: u64,
    /// Memory that the threads of a workgroup share, in bytes.
    pub workgroup_memory: u32,
    /// Fewest and most lanes of a subgroup; none where the device has no subgroup operations.
    pub subgroups: Option<(u32, u32)>,
    /// Whether the device tells the time that its work took.
    pub has_timestamps: bool,
    /// Why it cannot be used.
    pub unusable: Option<String>,
}

/// What the kernels need of a device beyond what WebGPU promises of each.
fn needed() -> Limits {
    Limits {
        max_storage_buffers_per_shader_stage: 8,
        max_compute_invocations_per_workgroup: 256,
        max_compute_workgroup_storage_size: 16 << 10,
        max_storage_buffer_binding_size: 128 << 20,
        max_buffer_size: 128 << 20,
        ..Limits::default()
    }
}

fn report(adapter: &Adapter) -> AdapterReport {
    report_of(&adapter.get_info(), &adapter.limits(), adapter.features())
}

/// What a device with these limits and features would make of the adapter.
pub(super) fn report_of(info: &AdapterInfo, limits: &Limits, features: wgpu::Features) -> AdapterReport {
    let kind = match info.device_type {
        DeviceType::DiscreteGpu => "discrete GPU",
        DeviceType::IntegratedGpu => "integrated GPU",
        DeviceType::VirtualGpu => "virtual GPU",
        DeviceType::Cpu => "software",
        DeviceType::Other => "other",
    };
    let needed = needed();
    let mut unusable = String::new();
    for (what, has, needs) in [
        (
            "storage buffers for a kernel",
            limits.max_storage_buffers_per_shader_stage.into(),
            needed.max_storage_buffers_per_shader_stage.into(),
        ),
        (
            "threads in a workgroup",
            limits.max_compute_invocations_per_workgroup.into(),
            needed.max_compute_invocations_per_workgroup.into(),
        ),
        (
            "bytes that a workgroup shares",
            limits.max_compute_workgroup_storage_size.into(),
            needed.max_compute_workgroup_storage_size.into(),
        ),
        ("bytes of a buffer", limits.max_storage_buffer_binding_size, needed.max_storage_buffer_binding_size),
        (
            "workgroups along an axis",
            limits.max_compute_workgroups_per_dimension.into(),
            needed.max_compute_workgroups_per_dimension.into(),
        ),
    ] {
        let (has, needs): (u64, u64) = (has, needs);
        if has < needs {
            let comma = if unusable.is_empty() { "" } else { ", " };
            write!(unusable, "{comma}{has} {what} where {needs} are needed").expect("a string takes all");
        }
    }
    let driver = [info.driver.as_str(), info.driver_info.as_str()];
    AdapterReport {
        name: info.name.clone(),
        api: info.backend.to_string(),
        driver: driver.into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(" "),
        kind,
        is_software: info.device_type == DeviceType::Cpu,
        // Words are counted in 32 bits, and Metal allows more.
        largest_buffer: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size).min((1 << 31) - 4),
        workgroup_memory: limits.max_compute_workgroup_storage_size,
        subgroups: features
            .contains(wgpu::Features::SUBGROUP)
            .then_some((info.subgroup_min_size, info.subgroup_max_size)),
        has_timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        unusable: (!unusable.is_empty()).then_some(unusable),
    }
}

fn instance() -> Instance {
    let mut descriptor = InstanceDescriptor::new_without_display_handle();
    descriptor.backends = Backends::VULKAN | Backends::METAL | Backends::DX12;
    Instance::new(descriptor)
}

fn all() -> Vec<(Adapter, AdapterReport)> {
    let adapters = pollster::block_on(instance().enumerate_adapters(Backends::all()));
    adapters.into_iter().map(|adapter| (adapter.clone(), report(&adapter))).collect()
}

/// All adapters of Vulkan, Metal and DX12 on this machine, in the drivers' order; usable or not.
pub fn adapters() -> Vec<AdapterReport> {
    all().into_iter().map(|(_, report)| report).collect()
}

/// The adapter of this name, or with none the best that is a GPU: a discrete one before an integrated one before others.
///
/// A name is a number in the order of [`adapters`], or a part of the device's name in any case.
///
/// # Errors
/// [`Error::NoDevice`] says which adapters there are, and why none of them is it.
pub(crate) fn choose(name: Option<&str>) -> Result<(Adapter, AdapterReport)> {
    let all = all();
    let none = |reason: String| {
        let mut reason = reason;
        if all.is_empty() {
            reason += "; there is no adapter at all: is a Vulkan driver installed? On Debian and Ubuntu, mesa-vulkan-drivers has \
                       those of AMD and Intel, and llvmpipe, which needs no GPU";
        } else {
            reason += "; there are:";
            for (number, (_, report)) in all.iter().enumerate() {
                let note = match &report.unusable {
                    Some(why) => format!("cannot be used: {why}"),
                    None if report.is_software => "software, used only if asked for by name".to_owned(),
                    None => report.kind.to_owned(),
                };
                write!(reason, " {number} {} ({}, {note});", report.name, report.api).expect("a string takes all");
            }
            reason.pop();
        }
        Error::NoDevice { device: name.map_or("wgpu".to_owned(), |name| format!("wgpu:{name}")), reason }
    };
    let chosen = match name {
        None => {
            let rank = |report: &AdapterReport| match report.kind {
                "discrete GPU" => 0,
                "integrated GPU" => 1,
                _ => 2,
            };
            let usable = all.iter().filter(|(_, report)| !report.is_software && report.unusable.is_none());
            usable.min_by_key(|(_, report)| rank(report)).ok_or_else(|| none("no usable GPU".to_owned()))?
        }
        Some(name) => {
            let found = match name.parse::<usize>() {
                Ok(number) => all.get(number),
                Err(_) => {
                    let name = name.to_lowercase();
                    let named = || all.iter().filter(|(_, report)| report.name.to_lowercase().contains(&name));
                    named().find(|(_, report)| report.unusable.is_none()).or_else(|| named().next())
                }
            };
            let found = found.ok_or_else(|| none("no adapter of that name or number".to_owned()))?;
            if let Some(why) = &found.1.unusable {
                return Err(none(format!("{} cannot be used: {why}", found.1.name)));
            }
            found
        }
    };
    Ok(chosen.clone())
}
