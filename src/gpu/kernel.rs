//! A computation written in WGSL, and what it binds.

/// How a kernel uses a buffer of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    Write,
}

/// A shader of `shaders/`, by its stem. Its entry point is `main`.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// Name of the file without its ending.
    pub(crate) stem: &'static str,
    /// Its text.
    pub(crate) source: &'static str,
    /// The fields of its `Params` in order; all of them are 4 bytes long.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the check that both sides read parameters alike"))]
    pub(crate) fields: &'static [&'static str],
    /// Its buffers from binding 3 on.
    pub(crate) buffers: &'static [Access],
}

/// A [`Kernel`] from its stem, its type of parameters and the access to its buffers.
macro_rules! kernel {
    ($stem:literal, $params:ty, [$($access:ident),*]) => {
        $crate::gpu::kernel::Kernel {
            stem: $stem,
            source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $stem, ".wgsl")),
            fields: <$params>::FIELDS,
            buffers: &[$($crate::gpu::kernel::Access::$access),*],
        }
    };
}
pub(crate) use kernel;

/// A kernel's parameters as both sides read them: `u32`, `i32` and `f32` only.
macro_rules! params {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
        $visibility struct $name { $($(#[$field_meta])* $visibility $field: $type),* }

        impl $name {
            /// The fields' names, in order.
            $visibility const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];
        }

        const _: () = assert!(size_of::<$name>() == 4 * $name::FIELDS.len(), "parameters are 4 bytes each");
    };
}
pub(crate) use params;

/// What a launch tells its kernel in `head`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Head {
    /// Index of the first `Params` in the input.
    pub(crate) first: u32,
    /// Number of them.
    pub(crate) count: u32,
    /// For the kernel's own use.
    pub(crate) a: u32,
    /// For the kernel's own use.
    pub(crate) b: u32,
}
