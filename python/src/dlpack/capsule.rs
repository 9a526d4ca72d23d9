//! DLPack's capsules: the structs of `dlpack.h` 1.1 and what frees them.

use super::{DType, Memory};
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{CStr, c_void};
use std::sync::Arc;

/// `DLDevice`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct DlDevice {
    pub(super) kind: i32,
    pub(super) id: i32,
}

/// `kDLCPU`.
pub(super) const CPU: DlDevice = DlDevice { kind: 1, id: 0 };

/// `DLDataType`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct DlDataType {
    pub(super) code: u8,
    pub(super) bits: u8,
    pub(super) lanes: u16,
}

/// `DLTensor`.
#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device: DlDevice,
    ndim: i32,
    dtype: DlDataType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// `DLPackVersion`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct DlVersion {
    pub(super) major: u32,
    minor: u32,
}

pub(super) const VERSION: DlVersion = DlVersion { major: 1, minor: 1 };

/// `DLManagedTensor`.
#[repr(C)]
struct Legacy {
    tensor: DlTensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Self)>,
}

/// `DLManagedTensorVersioned`.
#[repr(C)]
struct Versioned {
    version: DlVersion,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Self)>,
    flags: u64,
    tensor: DlTensor,
}

/// `DLPACK_FLAG_BITMASK_IS_COPIED`.
const IS_COPIED: u64 = 2;

/// What a capsule, or whoever consumed it, holds.
pub(super) struct Lease {
    memory: Arc<Memory>,
    dtype: DType,
    shape: Box<[i64]>,
    strides: Box<[i64]>,
}

impl Lease {
    pub(super) fn new(memory: Arc<Memory>, shape: &[i64], dtype: DType) -> Self {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        Self { memory, dtype, shape: shape.into(), strides: strides.into() }
    }

    /// The C form, and the lease itself, which a deleter takes back.
    fn into_raw(self) -> (DlTensor, *mut c_void) {
        let mut lease = Box::new(self);
        let tensor = DlTensor {
            data: lease.memory.start,
            device: CPU,
            ndim: lease.shape.len() as i32,
            dtype: lease.dtype.code(),
            shape: lease.shape.as_mut_ptr(),
            strides: lease.strides.as_mut_ptr(),
            byte_offset: 0,
        };
        (tensor, Box::into_raw(lease).cast())
    }
}

/// One of the two forms of a managed tensor.
trait Managed: Sized {
    /// A capsule's name before it is consumed. A consumer renames it.
    const NAME: &'static CStr;
    fn new(lease: Lease, is_copied: bool) -> Self;
    fn context(&self) -> *mut c_void;
    fn deleter(&self) -> Option<unsafe extern "C" fn(*mut Self)>;
}

impl Managed for Legacy {
    const NAME: &'static CStr = c"dltensor";

    fn new(lease: Lease, _is_copied: bool) -> Self {
        let (tensor, context) = lease.into_raw();
        Self { tensor, context, deleter: Some(delete::<Self>) }
    }

    fn context(&self) -> *mut c_void {
        self.context
    }

    fn deleter(&self) -> Option<unsafe extern "C" fn(*mut Self)> {
        self.deleter
    }
}

impl Managed for Versioned {
    const NAME: &'static CStr = c"dltensor_versioned";

    fn new(lease: Lease, is_copied: bool) -> Self {
        let (tensor, context) = lease.into_raw();
        let flags = if is_copied { IS_COPIED } else { 0 };
        Self { version: VERSION, context, deleter: Some(delete::<Self>), flags, tensor }
    }

    fn context(&self) -> *mut c_void {
        self.context
    }

    fn deleter(&self) -> Option<unsafe extern "C" fn(*mut Self)> {
        self.deleter
    }
}

/// # Safety
/// `managed` came from [`wrap`], and is not used again.
unsafe extern "C" fn delete<M: Managed>(managed: *mut M) {
    // SAFETY: `wrap` made both boxes, and a deleter is called once.
    unsafe {
        let managed = Box::from_raw(managed);
        drop(Box::from_raw(managed.context().cast::<Lease>()));
    }
}

/// Runs when a capsule is dropped: what nobody consumed is deleted here.
///
/// # Safety
/// Called by the interpreter, with a capsule of [`wrap`].
unsafe extern "C" fn drop_capsule<M: Managed>(capsule: *mut ffi::PyObject) {
    // SAFETY: the capsule is alive for this call; under its first name it still owns the managed tensor.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, M::NAME.as_ptr()) == 1 {
            let managed: *mut M = ffi::PyCapsule_GetPointer(capsule, M::NAME.as_ptr()).cast();
            if let Some(delete) = (*managed).deleter() {
                delete(managed);
            }
        }
    }
}

/// The lease as a capsule of one of the two forms.
pub(super) fn capsule(py: Python<'_>, lease: Lease, is_versioned: bool, is_copied: bool) -> PyResult<Bound<'_, PyAny>> {
    if is_versioned { wrap(py, Versioned::new(lease, is_copied)) } else { wrap(py, Legacy::new(lease, is_copied)) }
}

fn wrap<M: Managed>(py: Python<'_>, managed: M) -> PyResult<Bound<'_, PyAny>> {
    let managed = Box::into_raw(Box::new(managed));
    // SAFETY: the name is static and the destructor fits the pointer; on failure nothing owns the box, so it is deleted here.
    unsafe {
        let capsule = ffi::PyCapsule_New(managed.cast(), M::NAME.as_ptr(), Some(drop_capsule::<M>));
        if capsule.is_null() {
            delete(managed);
        }
        Bound::from_owned_ptr_or_err(py, capsule)
    }
}
