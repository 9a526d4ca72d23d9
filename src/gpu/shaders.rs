//! Checks of all shaders, without a device: each is valid, its parameters lie as Rust's do, and it can be told to Vulkan, Metal
//! and DX12.

use super::device::full_source;
use super::kernels;
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::collections::BTreeSet;

#[test]
fn every_shader_is_some_kernel_s() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
    let known: BTreeSet<&str> = kernels().map(|kernel| kernel.source).collect();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let is_common = path.file_name().is_some_and(|name| name == "common.wgsl");
        // Some texts are part of several kernels.
        let is_known = known.iter().any(|source| source.contains(text.as_str()));
        assert!(is_common || is_known, "{}: add its kernel to the KERNELS of its module", path.display());
    }
}

#[test]
fn every_shader_is_valid_and_becomes_spirv_msl_and_hlsl() {
    for kernel in kernels() {
        let (stem, text) = (kernel.stem, full_source(kernel.source));
        let module =
            naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{stem}: {}", e.emit_to_string(&text)));
        // Nothing but what Vulkan, Metal and DX12 have on every device: conversions to f16 are among it.
        let info = Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16_IN_FLOAT32)
            .validate(&module)
            .unwrap_or_else(|e| panic!("{stem}: {}", e.emit_to_string(&text)));
        let options = spv::Options { lang_version: (1, 3), ..Default::default() };
        assert!(!spv::write_vec(&module, &info, &options, None).unwrap_or_else(|e| panic!("{stem}: {e}")).is_empty());
        let options = msl::Options { lang_version: (3, 0), fake_missing_bindings: true, ..Default::default() };
        let (text, _) = msl::write_string(&module, &info, &options, &Default::default())
            .unwrap_or_else(|e| panic!("{stem}, Metal: {e}"));
        assert!(text.contains("kernel void main"), "{stem}: no entry point for Metal");
        let mut text = String::new();
        let options =
            hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, fake_missing_bindings: true, ..Default::default() };
        hlsl::Writer::new(&mut text, &options, &Default::default())
            .write(&module, &info, None)
            .unwrap_or_else(|e| panic!("{stem}, DX12: {e}"));
        assert!(text.contains("void main"), "{stem}: no entry point for DX12");
    }
}

#[test]
fn parameters_lie_as_in_rust() {
    for kernel in kernels() {
        let stem = kernel.stem;
        let module = naga::front::wgsl::parse_str(&full_source(kernel.source)).unwrap();
        let found = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some("Params"));
        let Some((_, naga::Type { inner: naga::TypeInner::Struct { members, span }, .. })) = found else {
            panic!("{stem}: no struct Params");
        };
        let names: Vec<&str> = members.iter().map(|m| m.name.as_deref().unwrap_or_default()).collect();
        assert_eq!(names, kernel.fields, "{stem}");
        assert!(members.iter().zip(0..).all(|(member, at)| member.offset == 4 * at), "{stem}: offsets");
        assert_eq!(*span as usize, 4 * kernel.fields.len(), "{stem}: size");
    }
}

#[test]
fn bindings_are_those_of_their_kernel() {
    use super::kernel::Access;
    for kernel in kernels() {
        let stem = kernel.stem;
        let module = naga::front::wgsl::parse_str(&full_source(kernel.source)).unwrap();
        let mut found = vec![None; kernel.buffers.len()];
        for (_, variable) in module.global_variables.iter() {
            let Some(binding) = variable.binding.filter(|b| b.binding >= 3) else { continue };
            let naga::AddressSpace::Storage { access } = variable.space else { panic!("{stem}: {binding:?}") };
            let access = if access.contains(naga::StorageAccess::STORE) { Access::Write } else { Access::Read };
            let at = binding.binding as usize - 3;
            assert!(at < found.len(), "{stem}: binding {} is not in its kernel", binding.binding);
            found[at] = Some(access);
        }
        let expected: Vec<_> = kernel.buffers.iter().map(|access| Some(*access)).collect();
        assert_eq!(found, expected, "{stem}");
        assert_eq!(module.entry_points.len(), 1, "{stem}");
        assert_eq!(module.entry_points[0].name, "main", "{stem}");
    }
}
