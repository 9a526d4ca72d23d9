//! `Schedule` and `Stage`.

use crate::errors::{self, OrRaise};
use bandfeed::schedule::{NAMES, Options, StageReplay};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Stage>()?;
    module.add_class::<Schedule>()
}

/// A plain value as Python's, by way of JSON.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &impl Serialize) -> PyResult<Bound<'py, PyAny>> {
    let text = serde_json::to_string(value).map_err(|e| errors::config("value", e.to_string()))?;
    py.import("json")?.call_method1("loads", (text,))
}

/// A plain value from Python's, by way of JSON; `what` is named in errors.
pub(crate) fn from_python<T: DeserializeOwned>(what: &str, value: &Bound<'_, PyAny>) -> PyResult<T> {
    let text: String = value.py().import("json")?.call_method1("dumps", (value,))?.extract()?;
    serde_json::from_str(&text).map_err(|e| errors::config(what, e.to_string()))
}

/// One row of a schedule.
#[pyclass(frozen, eq, module = "bandfeed", name = "Stage")]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stage(pub(crate) bandfeed::Stage);

#[pymethods]
impl Stage {
    #[new]
    #[pyo3(signature = (*, base, band, batch_size, crop="lanczos", magnitude=9.0, accumulate=1, replay=1, replay_capacity=1,
        rate_scale=1.0))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn new(
        base: u32,
        band: u32,
        batch_size: usize,
        crop: &str,
        magnitude: f64,
        accumulate: usize,
        replay: u32,
        replay_capacity: u32,
        rate_scale: f64,
    ) -> PyResult<Self> {
        let mut stage = bandfeed::Stage::fixed(base, band, crop.parse().or_raise()?, batch_size);
        stage.magnitude = magnitude;
        stage.accumulate = accumulate;
        stage.replay = StageReplay { times: replay, capacity: replay_capacity };
        stage.rate_scale = rate_scale;
        Ok(Self(stage))
    }

    /// Place in the schedule, from 0.
    #[getter]
    fn index(&self) -> usize {
        self.0.index
    }

    /// Share of the run's compute at which it starts, 0 to 1.
    #[getter]
    fn start(&self) -> f64 {
        self.0.start
    }

    /// Share of the run's compute at which it ends, 0 to 1.
    #[getter]
    fn end(&self) -> f64 {
        self.0.end
    }

    /// Side of the batch's images in pixels.
    #[getter]
    fn band(&self) -> u32 {
        self.0.band
    }

    /// Side of the image that the band is cut from, in pixels.
    #[getter]
    fn base(&self) -> u32 {
        self.0.base
    }

    /// How the band is cut: "lanczos", "fourier" or "fourier-half-pixel".
    #[getter]
    fn crop(&self) -> String {
        self.0.crop.to_string()
    }

    /// RandAugment's mean magnitude, 0 to 10.
    #[getter]
    fn magnitude(&self) -> f64 {
        self.0.magnitude
    }

    /// Images in a batch, on each rank.
    #[getter]
    fn batch_size(&self) -> usize {
        self.0.batch_size
    }

    /// Batches whose gradients are summed before an optimiser step.
    #[getter]
    fn accumulate(&self) -> usize {
        self.0.accumulate
    }

    /// Mean uses of a decoded image; 1 is no replay.
    #[getter]
    fn replay(&self) -> u32 {
        self.0.replay.times
    }

    /// Capacity of the replay buffer, in batches' worth of new images.
    #[getter]
    fn replay_capacity(&self) -> u32 {
        self.0.replay.capacity
    }

    /// The learning rate is multiplied by this.
    #[getter]
    fn rate_scale(&self) -> f64 {
        self.0.rate_scale
    }

    /// Compute of one image relative to one at the base size: (band / base) squared.
    #[getter]
    fn cost(&self) -> f64 {
        self.0.cost()
    }

    /// The same stage with other values.
    #[pyo3(signature = (**changes))]
    fn replace(&self, py: Python<'_>, changes: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let keywords = PyDict::new(py);
        keywords.set_item("base", self.0.base)?;
        keywords.set_item("band", self.0.band)?;
        keywords.set_item("batch_size", self.0.batch_size)?;
        keywords.set_item("crop", self.crop())?;
        keywords.set_item("magnitude", self.0.magnitude)?;
        keywords.set_item("accumulate", self.0.accumulate)?;
        keywords.set_item("replay", self.0.replay.times)?;
        keywords.set_item("replay_capacity", self.0.replay.capacity)?;
        keywords.set_item("rate_scale", self.0.rate_scale)?;
        if let Some(changes) = changes {
            keywords.update(changes.as_mapping())?;
        }
        let made = py.get_type::<Self>().call((), Some(&keywords))?;
        let Self(mut stage) = made.cast::<Self>()?.get().clone();
        (stage.index, stage.start, stage.end) = (self.0.index, self.0.start, self.0.end);
        Ok(Self(stage))
    }

    /// The fields as a dictionary that JSON can hold.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.0)
    }

    /// A stage from what `to_dict` gave.
    #[classmethod]
    fn from_dict(_class: &Bound<'_, PyType>, fields: &Bound<'_, PyAny>) -> PyResult<Self> {
        from_python("stage", fields).map(Self)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        let make = py.get_type::<Self>().getattr("from_dict")?;
        Ok((make, PyTuple::new(py, [slf.get().to_dict(py)?])?))
    }

    fn __hash__(&self) -> u64 {
        u64::from(self.0.band) << 32 | self.0.index as u64
    }

    fn __repr__(&self) -> String {
        let bandfeed::Stage { index, start, end, band, base, crop, magnitude, batch_size, accumulate, .. } = &self.0;
        format!(
            "Stage(index={index}, start={start}, end={end}, band={band}, base={base}, crop='{crop}', magnitude={magnitude}, \
             batch_size={batch_size}, accumulate={accumulate}, replay={}, replay_capacity={}, rate_scale={})",
            self.0.replay.times, self.0.replay.capacity, self.0.rate_scale
        )
    }
}

/// The stages of a run, and its budget of compute.
#[pyclass(frozen, eq, module = "bandfeed", name = "Schedule")]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Schedule(pub(crate) bandfeed::Schedule);

#[pymethods]
impl Schedule {
    #[new]
    #[pyo3(signature = (name="efficient_train_pp_deit", *, base=224, patch=16, batch_size=256, epochs=200.0, crop=None,
        replay="off", early_batch="off", step_batch=None, base_parts=1))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn new(
        name: &str,
        base: u32,
        patch: u32,
        batch_size: usize,
        epochs: f64,
        crop: Option<&str>,
        replay: &str,
        early_batch: &str,
        step_batch: Option<usize>,
        base_parts: usize,
    ) -> PyResult<Self> {
        let options = Options {
            base,
            patch,
            batch_size,
            step_batch,
            base_parts,
            epochs,
            crop: crop.map(str::parse).transpose().or_raise()?,
            replay: replay.parse().or_raise()?,
            early_batch: early_batch.parse().or_raise()?,
            ..Options::default()
        };
        bandfeed::Schedule::named(name, &options).or_raise().map(Self)
    }

    /// Names that a schedule is made by, beside paths of TOML tables.
    #[staticmethod]
    fn names() -> Vec<&'static str> {
        NAMES.to_vec()
    }

    /// A schedule from the text of a TOML table.
    #[classmethod]
    fn from_toml(_class: &Bound<'_, PyType>, text: &str) -> PyResult<Self> {
        bandfeed::Schedule::from_toml(text, &Options::default()).or_raise().map(Self)
    }

    /// The schedule as a TOML table that `from_toml` reads back to an equal one.
    fn to_toml(&self) -> String {
        self.0.to_toml()
    }

    /// The name.
    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    /// Side of the images at the base size, in pixels.
    #[getter]
    fn base(&self) -> u32 {
        self.0.base()
    }

    /// What every band is a multiple of, in pixels.
    #[getter]
    fn patch(&self) -> u32 {
        self.0.patch()
    }

    /// The budget in equivalent epochs.
    #[getter]
    fn epochs(&self) -> f64 {
        self.0.epochs()
    }

    /// Passes over the data set in the whole run.
    #[getter]
    fn image_epochs(&self) -> f64 {
        self.0.image_epochs()
    }

    /// The stages in order.
    #[getter]
    fn stages(&self) -> Vec<Stage> {
        self.0.stages().iter().cloned().map(Stage).collect()
    }

    /// The stage after this share of the run's compute.
    fn at(&self, progress: f64) -> Stage {
        Stage(self.0.at(progress).clone())
    }

    /// Images that each stage trains on over a data set of `samples` images, over all ranks.
    fn images(&self, samples: u64) -> Vec<u64> {
        self.0.images(samples)
    }

    /// The same stages with another budget, in equivalent epochs.
    fn with_epochs(&self, epochs: f64) -> PyResult<Self> {
        self.0.clone().with_epochs(epochs).or_raise().map(Self)
    }

    fn __len__(&self) -> usize {
        self.0.stages().len()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        Ok((slf.py().get_type::<Self>().getattr("from_toml")?, (slf.get().to_toml(),)))
    }

    fn __repr__(&self) -> String {
        let bands: Vec<String> = self.0.stages().iter().map(|stage| stage.band.to_string()).collect();
        let (name, epochs) = (self.0.name(), self.0.epochs());
        format!("<Schedule {name}: {} stages, bands {}, {epochs} equivalent epochs>", bands.len(), bands.join(" "))
    }
}
