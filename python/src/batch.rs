//! `Batch`: what the loader hands over.

use crate::dlpack::{DType, Memory, Tensor};
use crate::errors::OrRaise;
use crate::schedule::Stage;
use bandfeed::Images;
use bandfeed::mix::{self, Mixed, soft_targets};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyTuple};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Mixing>()?;
    module.add_class::<Batch>()
}

/// Memory of 16-bit batches on its way back from the consumer.
pub(crate) struct HalfPool(Mutex<Vec<Vec<u16>>>);

impl HalfPool {
    /// Buffers kept: one that the consumer has returned while it holds the next, as the loader itself does.
    const KEPT: usize = 1;

    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    fn take(self: &Arc<Self>, len: usize) -> Pooled {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        if values.capacity() < len {
            values = Vec::with_capacity(len);
        }
        values.resize(len, 0);
        Pooled { values, pool: self.clone() }
    }
}

/// A buffer that goes back to its pool.
struct Pooled {
    values: Vec<u16>,
    pool: Arc<HalfPool>,
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let mut free = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < HalfPool::KEPT {
            free.push(std::mem::take(&mut self.values));
        }
    }
}

/// Images as they are handed over: the loader's own buffer, or one of 16-bit floats. To be called without the interpreter's
/// lock.
pub(crate) fn images(mut images: Images, dtype: DType, pool: &Arc<HalfPool>) -> Tensor {
    let shape = images.shape();
    let mut half = match dtype {
        DType::Float16 | DType::Bfloat16 => pool.take(images.as_slice().len()),
        _ => {
            let start = images.as_mut_slice().as_mut_ptr().cast();
            return Tensor::of(Memory::new(start, images), &shape, DType::Float32);
        }
    };
    if dtype == DType::Float16 {
        bytemuck::cast_slice_mut::<u16, f16>(&mut half.values).convert_from_f32_slice(images.as_slice());
    } else {
        bytemuck::cast_slice_mut::<u16, bf16>(&mut half.values).convert_from_f32_slice(images.as_slice());
    }
    let start = half.values.as_mut_ptr().cast();
    Tensor::of(Memory::new(start, half), &shape, dtype)
}

/// N images at one size with their labels, and the stage that made them.
#[pyclass(frozen, module = "bandfeed", name = "Batch")]
pub(crate) struct Batch {
    /// (N, 3, B, B), normalised.
    #[pyo3(get)]
    images: Py<Tensor>,
    /// Class index of each image, (N,) int64.
    #[pyo3(get)]
    labels: Py<Tensor>,
    /// The stage that made the batch.
    #[pyo3(get)]
    stage: Py<Stage>,
    /// Place of each image in the source, (N,) int64.
    #[pyo3(get)]
    indices: Py<Tensor>,
    /// Pass over the data set, from 0.
    #[pyo3(get)]
    epoch: u64,
    /// Number of the batch in the run, from 0, on every rank the same.
    #[pyo3(get)]
    step: u64,
    /// Share of the run's compute consumed before this batch, 0 to 1.
    #[pyo3(get)]
    progress: f64,
    /// How many of the images, the first ones, were made for this batch; the others come from the replay buffer.
    #[pyo3(get)]
    fresh: usize,
    /// RandAugment's mean magnitude in this batch, 0 to 10.
    #[pyo3(get)]
    magnitude: f64,
    /// How images were mixed by Mixup and CutMix; None where they were not.
    #[pyo3(get)]
    mixing: Option<Py<Mixing>>,
    /// Classes of the source.
    classes: usize,
    class_of: Vec<u32>,
}

impl Batch {
    /// Takes over a batch whose images are `images`.
    pub(crate) fn new(py: Python<'_>, batch: bandfeed::Batch, images: Tensor, classes: usize) -> PyResult<Self> {
        let wide = |values: &[u32]| {
            let values: Vec<i64> = values.iter().map(|&value| i64::from(value)).collect();
            let len = values.len();
            Py::new(py, Tensor::from_vec(values, &[len]))
        };
        Ok(Self {
            images: Py::new(py, images)?,
            labels: wide(&batch.labels)?,
            stage: Py::new(py, Stage(batch.stage))?,
            indices: wide(&batch.indices)?,
            epoch: batch.epoch,
            step: batch.step,
            progress: batch.progress,
            fresh: batch.fresh,
            magnitude: batch.magnitude,
            mixing: batch.mixing.map(|mixing| Py::new(py, Mixing(mixing))).transpose()?,
            classes,
            class_of: batch.labels,
        })
    }
}

#[pymethods]
impl Batch {
    /// What to train towards: (N, classes) float32, rows that sum to 1.
    #[pyo3(signature = (classes=None, smoothing=0.0))]
    fn targets(&self, py: Python<'_>, classes: Option<usize>, smoothing: f64) -> PyResult<Tensor> {
        let classes = classes.unwrap_or(self.classes);
        let mixing = self.mixing.as_ref().map(|mixing| &mixing.get().0);
        let values = py.detach(|| soft_targets(&self.class_of, mixing, classes, smoothing)).or_raise()?;
        Ok(Tensor::from_vec(values, &[self.class_of.len(), classes]))
    }

    /// images, labels, stage = batch
    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        (&self.images, &self.labels, &self.stage).into_pyobject(py)?.try_iter()
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let Self { epoch, step, progress, .. } = self;
        let (images, stage) = (self.images.bind(py).get().__repr__(), &self.stage.bind(py).get().0);
        format!("<Batch {step}: images {images}, stage {}, epoch {epoch}, progress {progress:.6}>", stage.index)
    }
}

/// What Mixup and CutMix did to each image of a batch; image i meets image N - 1 - i.
#[pyclass(frozen, module = "bandfeed", name = "Mixing")]
pub(crate) struct Mixing(mix::Mixing);

#[pymethods]
impl Mixing {
    /// Share of each image that is its own, N values in 0 to 1.
    #[getter]
    fn shares<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, (0..self.0.len()).map(|i| self.0.lambda(i)))
    }

    /// Index in the batch of each image's partner, N values.
    #[getter]
    fn partners<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, (0..self.0.len()).map(|i| self.0.partner(i)))
    }

    /// Of each image the pixels that are its partner's: (x, y, width, height), or None where none were pasted.
    #[getter]
    fn boxes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let pasted = self.0.images().iter().map(|mixed| match mixed {
            Mixed::Paste { rect } => Some((rect.x, rect.y, rect.width, rect.height)),
            _ => None,
        });
        PyTuple::new(py, pasted)
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __repr__(&self) -> String {
        let count = |wanted: fn(&Mixed) -> bool| self.0.images().iter().filter(|mixed| wanted(mixed)).count();
        let blended = count(|mixed| matches!(mixed, Mixed::Blend { .. }));
        let pasted = count(|mixed| matches!(mixed, Mixed::Paste { .. }));
        format!("<Mixing of {} images: {blended} blended, {pasted} with a box>", self.0.len())
    }
}
