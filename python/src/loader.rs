//! The loader, as `bandfeed/loader.py` drives it.

use crate::batch::{self, Batch, HalfPool};
use crate::dlpack::DType;
use crate::errors::{self, OrRaise};
use crate::logging;
use crate::schedule::{Schedule, Stage, from_python, to_python};
use crate::settings::Settings;
use bandfeed::loader::{Meter, Pending, State};
use bandfeed::recipe::Preset;
use bandfeed::source::Source;
use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Loader>()?;
    // Devices and threads end while the interpreter and the libraries below are still whole.
    let close_all = wrap_pyfunction!(close_all, module)?;
    module.py().import("atexit")?.call_method1("register", (close_all,))?;
    Ok(())
}

/// How long a Ctrl-C may have to wait.
const SLICE: Duration = Duration::from_millis(50);

/// How long threads are waited for where nobody can be told that they do not end: a disk that does not answer, say.
const PATIENCE: Duration = Duration::from_secs(5);

/// Loaders that may have to be closed at exit.
static OPEN: Mutex<Vec<Weak<Core>>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the interpreter is about to end.
static AT_EXIT: AtomicBool = AtomicBool::new(false);

/// Ends the threads of all loaders of this process.
#[pyfunction]
fn close_all(py: Python<'_>) {
    AT_EXIT.store(true, Ordering::Relaxed);
    py.detach(|| {
        let open = OPEN.try_lock().map(|mut open| std::mem::take(&mut *open)).unwrap_or_default();
        let cores = open.iter().filter_map(Weak::upgrade).filter(|core| core.is_here());
        let ends: Vec<End> = cores.filter_map(|core| core.close()).collect();
        let deadline = Instant::now() + PATIENCE;
        for mut end in ends {
            end.wait(deadline.saturating_duration_since(Instant::now()));
        }
    });
}

/// The library's loader with its threads, until it is closed.
struct Core {
    loader: ManuallyDrop<Mutex<Option<bandfeed::Loader>>>,
    /// The process that has the threads.
    process: u32,
}

impl Core {
    fn is_here(&self) -> bool {
        self.process == std::process::id()
    }

    /// Takes the loader out, if it is there yet, and begins to end its threads.
    fn close(&self) -> Option<End> {
        lock(&self.loader).take().map(End::of)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // A forked process has no threads to join, and perhaps a lock that nobody will open.
        if self.is_here() {
            if let Some(mut end) = self.close() {
                end.wait(PATIENCE);
            }
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.loader) };
        }
    }
}

/// The end of a loader's threads, which finish the samples that they are at.
struct End(Receiver<()>);

impl End {
    fn of(loader: bandfeed::Loader) -> Self {
        let (done, end) = channel();
        let close = move || {
            drop(loader);
            // Nobody may be waiting any more.
            let _ = done.send(());
        };
        // Where no thread can be had the loader is dropped with the closure, here.
        let _ = std::thread::Builder::new().name("bandfeed-close".to_owned()).spawn(close);
        Self(end)
    }

    /// Waits at most for this long; whether it has come.
    fn wait(&mut self, timeout: Duration) -> bool {
        !matches!(self.0.recv_timeout(timeout), Err(RecvTimeoutError::Timeout))
    }
}

#[pyclass(frozen, module = "bandfeed._native")]
pub(crate) struct Loader {
    core: Arc<Core>,
    preset: Preset,
    schedule: bandfeed::Schedule,
    source: Arc<dyn Source>,
    meter: Meter,
    dtype: DType,
    pool: Arc<HalfPool>,
    is_evaluation: bool,
    /// Where it began, for the next pass of an evaluation.
    first: State,
}

#[pymethods]
impl Loader {
    #[new]
    fn new(py: Python<'_>, source: &Bound<'_, PyAny>, settings: &Bound<'_, PyDict>) -> PyResult<Self> {
        let settings = Settings::read(settings)?;
        let preset = settings.preset()?;
        let schedule = settings.schedule(&preset)?;
        let source = settings.source(source)?;
        let dtype = settings.dtype()?;
        let mut builder = if settings.evaluation {
            let last = || schedule.stages().last().expect("a schedule has stages").clone();
            let stage = settings.stage.as_ref().map_or_else(last, |stage| stage.get().0.clone());
            bandfeed::Loader::evaluation(source.clone(), stage)
        } else if settings.stage.is_some() {
            return Err(errors::config("stage", "given without evaluation=True; use set_stage in training"));
        } else {
            bandfeed::Loader::builder(source.clone(), schedule.clone())
        };
        builder = builder
            .recipe(preset.transform.clone())
            .seed(settings.seed)
            .prefetch(settings.prefetch)
            .shard(settings.rank, settings.world_size)
            .on_bad_file(settings.on_bad_file.parse().or_raise()?)
            .engines(settings.engines(py)?);
        if let Some(workers) = settings.workers {
            builder = builder.workers(workers);
        }
        if let Some(epoch_end) = settings.epoch_end()? {
            builder = builder.epoch_end(epoch_end);
        }
        if let Some(bytes) = settings.memory_limit {
            builder = builder.memory_limit(bytes);
        }
        let loader = py.detach(|| builder.build()).or_raise()?;
        let first = loader.state();
        logging::forward(py)?;
        let (schedule, meter) = (loader.schedule().clone(), loader.meter());
        let loader = ManuallyDrop::new(Mutex::new(Some(loader)));
        let core = Arc::new(Core { loader, process: std::process::id() });
        let mut open = lock(&OPEN);
        open.retain(|core| core.strong_count() > 0);
        open.push(Arc::downgrade(&core));
        drop(open);
        let is_evaluation = settings.evaluation;
        Ok(Self { core, preset, schedule, source, meter, dtype, pool: HalfPool::new(), is_evaluation, first })
    }

    /// The next batch; None when the run, or the pass of an evaluation, is over.
    fn next(&self, py: Python<'_>) -> PyResult<Option<Batch>> {
        match self.wait_and_take(py) {
            // A daemon thread's loop ends with the interpreter, and has nobody to complain to.
            Err(_) if AT_EXIT.load(Ordering::Relaxed) && self.core.is_here() => Ok(None),
            batch => batch,
        }
    }

    /// Where the loader stands after the last batch handed out.
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.with(py, |loader| loader.state())?)
    }

    /// Goes to a place that `state` told.
    fn go_to(&self, py: Python<'_>, state: &Bound<'_, PyAny>) -> PyResult<()> {
        let state: State = from_python("state", state)?;
        self.with(py, |loader| loader.go_to(state))?.or_raise()
    }

    /// Goes to the first batch that begins at or after this share of the compute.
    fn seek(&self, py: Python<'_>, progress: f64) -> PyResult<()> {
        self.with(py, |loader| loader.go_to(loader.state_at(progress)))?.or_raise()
    }

    /// Goes back to the beginning.
    fn restart(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |loader| loader.go_to(self.first.clone()))?.or_raise()
    }

    /// Batches still to come that begin before this share of the compute.
    fn steps_before(&self, py: Python<'_>, progress: f64) -> PyResult<u64> {
        self.with(py, |loader| loader.steps_before(progress))
    }

    /// Batches of a whole pass of an evaluation, or of a whole run.
    fn steps_of_pass(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |loader| loader.steps_between(&self.first, f64::INFINITY))
    }

    /// Share of the compute consumed by the batches handed out.
    fn progress(&self, py: Python<'_>) -> PyResult<f64> {
        self.with(py, |loader| loader.progress())
    }

    /// Sets the stage by hand, or gives the choice back to the schedule.
    #[pyo3(signature = (stage, pending))]
    fn set_stage(&self, py: Python<'_>, stage: Option<&Stage>, pending: &str) -> PyResult<()> {
        let pending = match pending {
            "use_up" => Pending::UseUp,
            "drop" => Pending::Drop,
            other => {
                return Err(errors::config("pending", format!("`{other}` is not known; use use_up or drop")));
            }
        };
        let stage = stage.map(|stage| stage.0.clone());
        self.with(py, |loader| loader.set_stage(stage, pending))?.or_raise()
    }

    /// Where the time went, by part.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.meter.counters())
    }

    /// Files that gave no image.
    fn bad_files<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.with(py, |loader| loader.bad_files())?)
    }

    /// Files that are damaged but gave an image.
    fn damaged_files<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.with(py, |loader| loader.damaged_files())?)
    }

    /// The bound on the memory of batches and replay, in bytes.
    fn memory<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.with(py, |loader| loader.memory())?)
    }

    /// The engine's name.
    fn engine(&self, py: Python<'_>) -> PyResult<String> {
        self.with(py, |loader| loader.engine().to_owned())
    }

    /// Ends the threads. Batches that were handed out stay as they are.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.core.is_here()
            && let Some(mut end) = py.detach(|| self.core.close())
        {
            while !py.detach(|| end.wait(SLICE)) {
                py.check_signals()?;
            }
            logging::forward(py)?;
        }
        Ok(())
    }

    /// Worker threads.
    #[getter]
    fn workers(&self) -> usize {
        self.meter.workers()
    }

    /// The schedule.
    #[getter]
    fn schedule(&self) -> Schedule {
        Schedule(self.schedule.clone())
    }

    /// The recipe as a dictionary in the form of a recipe's file.
    #[getter]
    fn recipe<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.preset)
    }

    /// Class names by class index.
    #[getter]
    fn classes(&self) -> Vec<String> {
        self.source.classes().to_vec()
    }

    /// Number of images in the source.
    #[getter]
    fn samples(&self) -> usize {
        self.source.len()
    }

    /// Whether it makes single passes with the evaluation transform.
    #[getter]
    fn is_evaluation(&self) -> bool {
        self.is_evaluation
    }

    /// What was opened, in a line.
    fn describe(&self, py: Python<'_>) -> String {
        py.detach(|| self.source.describe())
    }

    /// Name of a sample: a path, or `shard.tar#key.jpg`.
    fn sample_name(&self, index: usize) -> PyResult<String> {
        if index >= self.source.len() {
            let reason = format!("{index}: there are {} samples", self.source.len());
            return Err(PyIndexError::new_err(reason));
        }
        Ok(self.source.name(index))
    }

    fn __reduce__(&self) -> PyResult<()> {
        let reason =
            "a Loader has threads, which cannot be sent to another process; make it there, and give it state_dict()";
        Err(PyTypeError::new_err(reason))
    }
}

impl Loader {
    fn wait_and_take(&self, py: Python<'_>) -> PyResult<Option<Batch>> {
        loop {
            let is_made = self.with(py, |loader| loader.wait(SLICE))?;
            py.check_signals()?;
            logging::forward(py)?;
            if !is_made {
                continue;
            }
            let (dtype, pool) = (self.dtype, &self.pool);
            let taken = self.with(py, |loader| {
                // Another thread may have taken the batch that was waited for.
                loader.wait(Duration::ZERO).then(|| {
                    loader.next().map(|batch| {
                        batch.map(|mut batch| {
                            let empty = bandfeed::Images::from_vec(Vec::new(), [0; 4]).expect("no values for no image");
                            let images = std::mem::replace(&mut batch.images, empty);
                            (batch, batch::images(images, dtype, pool))
                        })
                    })
                })
            })?;
            return match taken {
                None => continue,
                Some(None) => Ok(None),
                Some(Some(Err(error))) => {
                    logging::forward(py)?;
                    Err(errors::raise(error))
                }
                Some(Some(Ok((batch, images)))) => Batch::new(py, batch, images, self.source.classes().len()).map(Some),
            };
        }
    }

    /// Asks the library's loader, without the interpreter's lock.
    fn with<T: Send>(&self, py: Python<'_>, ask: impl FnOnce(&mut bandfeed::Loader) -> T + Send) -> PyResult<T> {
        if !self.core.is_here() {
            return Err(errors::forked("this Loader"));
        }
        let answer = py.detach(|| lock(&self.core.loader).as_mut().map(ask));
        answer.ok_or_else(|| errors::config("loader", "it is closed; make another one to go on"))
    }
}
