//! Arrays that Python takes over without a copy: DLPack's capsules, versioned (1.0) and legacy.
//!
//! ```text
//! Tensor ──► Arc<Memory> ◄── capsule or its consumer (torch, NumPy), until it calls the deleter
//!               └─ keeps the buffer; the last owner gives it back to the loader's pool
//! ```
//!
//! Consumers call deleters from any thread, with and without the interpreter's lock, so that nothing behind one is a Python
//! object.

mod capsule;

use capsule::{CPU, DlDataType, Lease, VERSION, capsule};
use half::{bf16, f16};
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use std::any::Any;
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::sync::Arc;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Tensor>()
}

/// What the values of a tensor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DType {
    /// IEEE binary32.
    Float32,
    /// IEEE binary16.
    Float16,
    /// The upper half of a binary32.
    Bfloat16,
    /// Class indices, places in a data set.
    Int64,
    /// Pixels.
    Uint8,
}

impl DType {
    fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float16 => "float16",
            Self::Bfloat16 => "bfloat16",
            Self::Int64 => "int64",
            Self::Uint8 => "uint8",
        }
    }

    /// `DLDataType`: code (0 int, 1 uint, 2 float, 4 bfloat) and bits.
    fn code(self) -> DlDataType {
        let (code, bits) = match self {
            Self::Float32 => (2, 32),
            Self::Float16 => (2, 16),
            Self::Bfloat16 => (4, 16),
            Self::Int64 => (0, 64),
            Self::Uint8 => (1, 8),
        };
        DlDataType { code, bits, lanes: 1 }
    }

    fn size(self) -> usize {
        usize::from(self.code().bits) / 8
    }
}

/// A value that a tensor can hold.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// Its type.
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::Float32;
}

impl Element for f16 {
    const DTYPE: DType = DType::Float16;
}

impl Element for bf16 {
    const DTYPE: DType = DType::Bfloat16;
}

impl Element for i64 {
    const DTYPE: DType = DType::Int64;
}

impl Element for u8 {
    const DTYPE: DType = DType::Uint8;
}

/// A buffer that somebody else may write to: its start, and whatever keeps it alive.
pub(crate) struct Memory {
    start: *mut c_void,
    /// Not looked at again, so that `start` stays the only way to the values.
    keep: ManuallyDrop<Box<dyn Any + Send + Sync>>,
    /// The process that made it.
    process: u32,
}

// SAFETY: `start` is only read and handed on here. Whoever writes through it has to see to its own order, as for any array that
// two libraries share.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// `keep` owns the values at `start` wherever it is moved.
    pub(crate) fn new(start: *mut c_void, keep: impl Any + Send + Sync) -> Self {
        Self { start, keep: ManuallyDrop::new(Box::new(keep)), process: std::process::id() }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // In a forked process the pool's lock may be held by a thread that does not exist there.
        if self.process == std::process::id() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.keep) };
        }
    }
}

/// A dense array in C order, handed over without a copy.
#[pyclass(frozen, module = "bandfeed", name = "Tensor")]
pub(crate) struct Tensor {
    memory: Arc<Memory>,
    shape: Vec<i64>,
    dtype: DType,
}

impl Tensor {
    /// Of values that are kept by something that owns them.
    pub(crate) fn of(memory: Memory, shape: &[usize], dtype: DType) -> Self {
        Self { memory: Arc::new(memory), shape: shape.iter().map(|&n| n as i64).collect(), dtype }
    }

    /// Of values of its own.
    pub(crate) fn from_vec<T: Element>(mut values: Vec<T>, shape: &[usize]) -> Self {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "as many values as the shape says");
        let start = values.as_mut_ptr().cast();
        Self::of(Memory::new(start, values), shape, T::DTYPE)
    }

    fn values(&self) -> usize {
        self.shape.iter().map(|&n| n as usize).product()
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the memory is initialised, lives as long as `self.memory`, and has as many bytes as shape and type say.
        unsafe { std::slice::from_raw_parts(self.memory.start.cast(), self.nbytes()) }
    }

    /// The memory for one more owner, or a copy of it.
    fn share(&self, copy: bool) -> Arc<Memory> {
        if !copy {
            return self.memory.clone();
        }
        // In words of eight bytes, which are aligned for all types.
        let mut words = vec![0u64; self.nbytes().div_ceil(8)];
        let start: *mut u8 = words.as_mut_ptr().cast();
        // SAFETY: `words` is new, and at least as large.
        unsafe { std::ptr::copy_nonoverlapping(self.bytes().as_ptr(), start, self.nbytes()) };
        Arc::new(Memory::new(start.cast(), words))
    }
}

#[pymethods]
impl Tensor {
    /// Sizes of the axes.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.shape)
    }

    /// What the values are: "float32", "float16", "bfloat16", "int64" or "uint8".
    #[getter]
    fn dtype(&self) -> &'static str {
        self.dtype.name()
    }

    /// Number of axes.
    #[getter]
    fn ndim(&self) -> usize {
        self.shape.len()
    }

    /// Bytes of all values.
    #[getter]
    fn nbytes(&self) -> usize {
        self.values() * self.dtype.size()
    }

    /// Address of the first value.
    #[getter]
    fn data_ptr(&self) -> usize {
        self.memory.start as usize
    }

    fn __len__(&self) -> PyResult<usize> {
        match self.shape.first() {
            Some(&n) => Ok(n as usize),
            None => Err(PyTypeError::new_err("len() of a tensor without axes")),
        }
    }

    pub(crate) fn __repr__(&self) -> String {
        let sizes: Vec<String> = self.shape.iter().map(i64::to_string).collect();
        let comma = if sizes.len() == 1 { "," } else { "" };
        format!("Tensor(shape=({}{comma}), dtype={})", sizes.join(", "), self.dtype.name())
    }

    /// The values as nested lists of numbers.
    fn tolist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        nested(py, &self.shape, self.dtype, self.bytes())
    }

    /// The same memory as a NumPy array.
    fn numpy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        if slf.get().dtype == DType::Bfloat16 {
            let hint = "NumPy has no bfloat16; use dtype=\"float16\" or \"float32\", or torch.from_dlpack";
            return Err(PyTypeError::new_err(hint));
        }
        slf.py().import("numpy")?.call_method1("from_dlpack", (slf,))
    }

    /// The same memory as a torch tensor.
    fn torch<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("torch")?.call_method1("from_dlpack", (slf,))
    }

    /// For `numpy.asarray`.
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        slf: &Bound<'py, Self>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let array = Self::numpy(slf)?;
        let wanted = match dtype {
            Some(dtype) => py.import("numpy")?.call_method1("dtype", (dtype,))?,
            None => array.getattr("dtype")?,
        };
        if array.getattr("dtype")?.eq(&wanted)? {
            return if copy == Some(true) { array.call_method0("copy") } else { Ok(array) };
        }
        if copy == Some(false) {
            let reason = format!("{} cannot become {wanted} without a copy", slf.get().dtype.name());
            return Err(PyValueError::new_err(reason));
        }
        array.call_method1("astype", (wanted,))
    }

    /// A DLPack capsule of the same memory.
    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        stream: Option<i64>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // Host memory is written before it is handed out: there is nothing to wait for. -1 says so, too.
        if let Some(stream) = stream.filter(|&stream| stream != -1) {
            let reason = format!("stream {stream}: the tensor is in host memory, which has no streams; expected None");
            return Err(PyBufferError::new_err(reason));
        }
        if let Some(device) = dl_device.filter(|&(kind, _)| kind != CPU.kind) {
            let reason =
                format!("device {device:?}: the tensor is in host memory, (1, 0); move it after the hand-over");
            return Err(PyBufferError::new_err(reason));
        }
        let is_versioned = max_version.is_some_and(|(major, _)| major >= VERSION.major);
        let copy = copy == Some(true);
        let memory = if copy { py.detach(|| self.share(true)) } else { self.share(false) };
        capsule(py, Lease::new(memory, &self.shape, self.dtype), is_versioned, copy)
    }

    /// (1, 0): host memory.
    fn __dlpack_device__(&self) -> (i32, i32) {
        (CPU.kind, CPU.id)
    }
}

/// Nested lists, one axis after the other.
fn nested<'py>(py: Python<'py>, shape: &[i64], dtype: DType, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let Some((&first, rest)) = shape.split_first() else {
        let number = match dtype {
            DType::Int64 => return Ok(read(bytes, i64::from_ne_bytes).into_pyobject(py)?.into_any()),
            DType::Uint8 => return Ok(bytes[0].into_pyobject(py)?.into_any()),
            DType::Float32 => f64::from(read(bytes, f32::from_ne_bytes)),
            DType::Float16 => read(bytes, f16::from_ne_bytes).to_f64(),
            DType::Bfloat16 => read(bytes, bf16::from_ne_bytes).to_f64(),
        };
        return Ok(number.into_pyobject(py)?.into_any());
    };
    let size = bytes.len() / (first as usize).max(1);
    let items: Vec<_> =
        (0..first as usize).map(|i| nested(py, rest, dtype, &bytes[i * size..][..size])).collect::<PyResult<_>>()?;
    Ok(PyList::new(py, items)?.into_any())
}

fn read<const N: usize, T>(bytes: &[u8], from: fn([u8; N]) -> T) -> T {
    from(bytes.try_into().expect("a value's bytes"))
}
