//! What `bandfeed.Loader` is made with.

use crate::dlpack::DType;
use crate::errors::{self, OrRaise};
use crate::schedule::{Schedule, Stage, from_python};
use bandfeed::engine::{DeviceName, EngineOptions, Engines};
use bandfeed::loader::EpochEnd;
use bandfeed::recipe::Preset;
use bandfeed::source::{self, Memory, Source, Subset};
use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::path::PathBuf;
use std::sync::Arc;

/// The keywords of `bandfeed.Loader`, all given.
pub(crate) struct Settings<'py> {
    pub(crate) classes: Option<Vec<String>>,
    pub(crate) index: Option<PathBuf>,
    pub(crate) indices: Option<Vec<u32>>,
    pub(crate) recipe: Bound<'py, PyAny>,
    pub(crate) schedule: Option<Bound<'py, PyAny>>,
    pub(crate) batch_size: Option<usize>,
    pub(crate) epochs: Option<f64>,
    pub(crate) base: Option<u32>,
    pub(crate) patch: Option<u32>,
    pub(crate) evaluation: bool,
    pub(crate) stage: Option<Py<Stage>>,
    pub(crate) workers: Option<usize>,
    pub(crate) prefetch: usize,
    pub(crate) seed: u64,
    pub(crate) rank: u32,
    pub(crate) world_size: u32,
    pub(crate) device: String,
    pub(crate) fallback: bool,
    pub(crate) dtype: String,
    pub(crate) on_bad_file: String,
    pub(crate) epoch_end: Option<String>,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) max_pixels: Option<u64>,
    pub(crate) strict: bool,
}

impl<'py> Settings<'py> {
    pub(crate) fn read(given: &Bound<'py, PyDict>) -> PyResult<Self> {
        Ok(Self {
            classes: keyword(given, "classes")?,
            index: keyword(given, "index")?,
            indices: keyword(given, "indices")?,
            recipe: keyword(given, "recipe")?,
            schedule: keyword(given, "schedule")?,
            batch_size: keyword(given, "batch_size")?,
            epochs: keyword(given, "epochs")?,
            base: keyword(given, "base")?,
            patch: keyword(given, "patch")?,
            evaluation: keyword(given, "evaluation")?,
            stage: keyword(given, "stage")?,
            workers: keyword(given, "workers")?,
            prefetch: keyword(given, "prefetch")?,
            seed: keyword(given, "seed")?,
            rank: keyword(given, "rank")?,
            world_size: keyword(given, "world_size")?,
            device: keyword(given, "device")?,
            fallback: keyword(given, "fallback")?,
            dtype: keyword(given, "dtype")?,
            on_bad_file: keyword(given, "on_bad_file")?,
            epoch_end: keyword(given, "epoch_end")?,
            memory_limit: keyword(given, "memory_limit")?,
            max_pixels: keyword(given, "max_pixels")?,
            strict: keyword(given, "strict")?,
        })
    }
}

/// One of the keywords; a value of the wrong type is named with it.
fn keyword<'py, T: FromPyObjectOwned<'py>>(given: &Bound<'py, PyDict>, name: &str) -> PyResult<T> {
    let value = given.get_item(name)?.ok_or_else(|| PyTypeError::new_err(format!("{name} is missing")))?;
    let value: PyResult<T> = value.extract().map_err(Into::into);
    value.map_err(|error| PyTypeError::new_err(format!("{name}: {}", error.value(given.py()))))
}

impl Settings<'_> {
    /// The recipe, with its schedule as the other keywords have it.
    pub(crate) fn preset(&self) -> PyResult<Preset> {
        let mut preset = if let Ok(name) = self.recipe.cast::<PyString>() {
            Preset::named(&name.to_cow()?).or_raise()?
        } else {
            let preset: Preset = from_python("recipe", &self.recipe)?;
            preset.transform.check().or_raise()?;
            preset
        };
        let own = &mut preset.schedule;
        let name = self.schedule.as_ref().and_then(|schedule| schedule.cast::<PyString>().ok());
        own.rename(name.map(|name| name.to_cow()).transpose()?.as_deref());
        own.batch_size = self.batch_size.or(own.batch_size);
        own.epochs = self.epochs.or(own.epochs);
        own.base = self.base.or(own.base);
        own.patch = self.patch.or(own.patch);
        Ok(preset)
    }

    pub(crate) fn schedule(&self, preset: &Preset) -> PyResult<bandfeed::Schedule> {
        match self.schedule.as_ref().and_then(|schedule| schedule.cast::<Schedule>().ok()) {
            Some(schedule) => {
                let given = [
                    ("batch_size", self.batch_size.is_some()),
                    ("epochs", self.epochs.is_some()),
                    ("base", self.base.is_some()),
                    ("patch", self.patch.is_some()),
                ];
                if let Some((what, _)) = given.iter().find(|(_, is_given)| *is_given) {
                    let reason = "given beside a Schedule, which has its own; give it to the Schedule";
                    return Err(errors::config(what, reason));
                }
                Ok(schedule.get().0.clone())
            }
            None => preset.schedule.schedule().or_raise(),
        }
    }

    pub(crate) fn source(&self, given: &Bound<'_, PyAny>) -> PyResult<Arc<dyn Source>> {
        let source: Arc<dyn Source> = if let Ok(spec) = given.cast::<PyString>() {
            if self.classes.is_some() {
                return Err(errors::config("classes", "given beside a path; they are for images in memory"));
            }
            let (spec, index) = (spec.to_cow()?, self.index.as_deref());
            given.py().detach(|| source::open_with_index(&spec, index)).or_raise()?
        } else {
            let samples: Vec<(Vec<u8>, u32)> = given.extract().map_err(|error| {
                PyTypeError::new_err(format!("source: expected a path, or pairs of bytes and class index ({error})"))
            })?;
            let named = |label: u32| (0..=label).map(|class| class.to_string()).collect();
            let classes = self.classes.clone();
            let classes = classes.or_else(|| samples.iter().map(|(_, label)| *label).max().map(named));
            Arc::new(Memory::new(samples, classes.unwrap_or_default()).or_raise()?)
        };
        match &self.indices {
            Some(indices) => Ok(Arc::new(Subset::new(source, indices.clone()).or_raise()?)),
            None => Ok(source),
        }
    }

    pub(crate) fn dtype(&self) -> PyResult<DType> {
        match self.dtype.as_str() {
            "float32" => Ok(DType::Float32),
            "float16" => Ok(DType::Float16),
            "bfloat16" => Ok(DType::Bfloat16),
            other => Err(errors::config("dtype", format!("`{other}` is not known; use float32, float16 or bfloat16"))),
        }
    }

    pub(crate) fn epoch_end(&self) -> PyResult<Option<EpochEnd>> {
        match self.epoch_end.as_deref() {
            None => Ok(None),
            Some("drop") => Ok(Some(EpochEnd::Drop)),
            Some("pad") => Ok(Some(EpochEnd::Pad)),
            Some(other) => Err(errors::config("epoch_end", format!("`{other}` is not known; use drop or pad"))),
        }
    }

    pub(crate) fn engines(&self, py: Python<'_>) -> PyResult<Engines> {
        let device: DeviceName = self.device.parse().or_raise()?;
        let mut options = EngineOptions { strict: self.strict, ..EngineOptions::default() };
        if let Some(max_pixels) = self.max_pixels {
            options.limits.max_pixels = max_pixels;
        }
        let allow = self.fallback;
        py.detach(|| {
            let mut engines = device.open(&options)?;
            if allow && engines.fallback.is_none() && device != DeviceName::Cpu {
                engines.fallback = Some(DeviceName::Cpu.open(&options)?.engine);
            }
            Ok(engines)
        })
        .or_raise()
    }
}
