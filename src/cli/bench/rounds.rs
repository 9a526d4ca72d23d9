//! Windows of time, taken in rounds: each row once a round, so that a machine that grows slower slows every row.

use super::super::machine;
use super::cache::{Cache, Files};
use super::options::Common;
use super::report::{Key, Row};
use crate::engine::{DeviceName, EngineOptions, Engines, Traffic};
use crate::loader::Counters;
use crate::{Error, Result, Source};
use indicatif::{ProgressBar, ProgressStyle};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::time::{Duration, Instant};

/// One timed window.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) images: u64,
    pub(super) seconds: f64,
    /// Of the whole process; `None` where the system does not tell.
    pub(super) cpu_seconds: Option<f64>,
    /// By the parts that the command measures; `None` where it measures none.
    pub(super) counters: Option<Counters>,
    pub(super) pixels: Option<u64>,
    pub(super) own_decodes: Option<u64>,
    /// Seconds that the model waited for batches.
    pub(super) wait: Option<f64>,
    pub(super) resident: Option<f64>,
    /// Fetched from the disk.
    pub(super) disk_bytes: Option<u64>,
    /// What went to the engine's device and back.
    pub(super) traffic: Option<Traffic>,
    pub(super) bad_files: usize,
}

/// A row and what its figures are made from.
struct Tally {
    row: Row,
    windows: Vec<Window>,
}

/// All windows of a command, summed up.
pub(super) struct Measured {
    pub(super) rows: Vec<Row>,
    pub(super) bad_files: usize,
    /// Resident memory after each round.
    pub(super) memory: Vec<u64>,
    /// Processes that wanted to run in the minute before.
    pub(super) load: f64,
}

/// Measures every row once a round. `window` is given the row's place in `keys` and the round.
///
/// # Errors
/// Whatever a window meets; [`Error::Source`] if one made no image.
pub(super) fn run(
    common: &Common,
    keys: Vec<Key>,
    mut window: impl FnMut(usize, u64) -> Result<Window>,
) -> Result<Measured> {
    let load = sysinfo::System::load_average().one;
    let mut rows: Vec<Tally> = keys.into_iter().map(Tally::new).collect();
    let (mut memory, mut bad_files) = (Vec::new(), 0);
    // Drawn on a terminal only.
    let progress = ProgressBar::new(common.rounds() * rows.len() as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, about {eta} left");
    progress.set_style(style.expect("the template is a constant"));
    for round in 0..common.rounds() {
        for (place, row) in rows.iter_mut().enumerate() {
            progress.set_message(row.row.key.words());
            let window = window(place, round)?;
            if window.images == 0 {
                let reason = format!("no image was made in {:.2} s ({})", window.seconds, row.row.key.words());
                return Err(Error::source(&common.source, reason));
            }
            bad_files = bad_files.max(window.bad_files);
            row.windows.push(window);
            progress.inc(1);
        }
        memory.extend(machine::memory());
    }
    progress.finish_and_clear();
    Ok(Measured { rows: rows.into_iter().map(Tally::finish).collect(), bad_files, memory, load })
}

impl Tally {
    fn new(key: Key) -> Self {
        Self { row: Row { key, ..Row::default() }, windows: Vec::new() }
    }

    fn finish(self) -> Row {
        let Self { mut row, windows } = self;
        row.rates = windows.iter().map(|w| w.images as f64 / w.seconds).collect();
        let mut sorted = row.rates.clone();
        sorted.sort_by(f64::total_cmp);
        row.images_per_second = median(&sorted);
        (row.min, row.max) = (sorted[0], sorted[sorted.len() - 1]);
        row.images = windows.iter().map(|w| w.images).sum();
        let seconds: f64 = windows.iter().map(|w| w.seconds).sum();
        let images = row.images as f64;
        // A figure that one window lacks is no figure of the row.
        let sum = |part: fn(&Window) -> Option<f64>| windows.iter().map(part).sum::<Option<f64>>();
        row.megapixels_per_second = sum(|w| w.pixels.map(|n| n as f64)).map(|n| n * 1e-6 / seconds);
        row.own_share = sum(|w| w.own_decodes.map(|n| n as f64)).map(|n| n / images);
        row.wait_share = sum(|w| w.wait).map(|s| s / seconds);
        let disk = sum(|w| w.disk_bytes.map(|bytes| bytes as f64));
        row.resident = sum(|w| w.resident).map(|s| s / windows.len() as f64);
        let none = Some(Counters::default());
        let counters = windows.iter().fold(none, |all, w| Some(all?.plus(w.counters.as_ref()?)));
        // The workers' count, since they may have made some for the batches after the window.
        let made = counters.map_or(row.images, |sums| sums.images + sums.replayed).max(1);
        let each = 1e3 / made as f64;
        let read = counters.map_or(made, |sums| sums.images.max(1));
        let batches = sum(|w| Some(w.traffic?.batches as f64)).filter(|n| *n > 0.0);
        row.launches = sum(|w| Some(w.traffic?.launches as f64)).zip(batches).map(|(launches, n)| launches / n);
        // Those that were submitted, which are not just those that were handed over.
        let crossed = sum(|w| Some(w.traffic?.images as f64)).filter(|n| *n > 0.0);
        let kb_each = |bytes: Option<f64>| bytes.zip(crossed).map(|(bytes, images)| bytes / 1e3 / images);
        row.uploaded_kb = kb_each(sum(|w| Some(w.traffic?.uploaded as f64)));
        row.downloaded_kb = kb_each(sum(|w| Some(w.traffic?.downloaded as f64)));
        row.disk_kb = disk.map(|bytes| bytes / 1e3 / read as f64);
        row.cpu_ms_per_image = sum(|w| w.cpu_seconds).map(|s| s * each);
        if let Some(sums) = counters {
            let read = sums.images.max(1) as f64;
            row.looked_at_kb = Some(sums.bytes as f64 / 1e3 / read).filter(|_| sums.bytes > 0);
            row.indexed_share = Some(sums.sought as f64 / read).filter(|_| sums.sought > 0);
            row.megabytes_per_second = Some(sums.bytes as f64 / seconds * 1e-6).filter(|_| sums.bytes > 0);
            let part = |time: f64| Some(time * each).filter(|_| time > 0.0);
            (row.read_ms, row.decode_ms, row.render_ms) = (part(sums.read), part(sums.decode), part(sums.render()));
        }
        row
    }
}

/// The middle of sorted values, or the mean of the two middle ones.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// What a measurement reads, and the state it is brought into before a window.
pub(super) struct Input {
    pub(super) source: Arc<dyn Source>,
    /// `None` where the page cache is left as it is.
    files: Option<Files>,
    device: DeviceName,
    /// Opened once: a device compiles its programs anew for each engine.
    engines: OnceLock<Engines>,
}

impl Input {
    /// The engine of `--device`.
    ///
    /// # Errors
    /// As [`DeviceName::open`].
    pub(super) fn engines(&self, scale_margin: f64) -> Result<Engines> {
        if let Some(engines) = self.engines.get() {
            return Ok(engines.clone());
        }
        let engines = self.device.open(&EngineOptions { scale_margin, ..EngineOptions::default() })?;
        engines.engine.time_launches();
        Ok(self.engines.get_or_init(|| engines).clone())
    }

    /// # Errors
    /// As [`crate::source::open`]; [`Error::Config`] for files too large to be warm and cold in turn.
    pub(super) fn open(common: &Common) -> Result<Self> {
        let source = crate::cli::open(&common.source, common.index.as_deref())?;
        let touched = common.cache.states().contains(&Cache::Cold);
        let files = touched.then(|| Files::of(&*source));
        files.iter().for_each(Files::write_back);
        if let Some(files) = files.as_ref().filter(|_| common.cache.states().contains(&Cache::Warm)) {
            files.fit_in_memory()?;
        }
        Ok(Self { source, files, device: common.device.clone(), engines: OnceLock::new() })
    }

    /// Evicts or reads the files where that was asked for, and tells the share that is resident then.
    ///
    /// # Errors
    /// As [`Files::prepare`].
    pub(super) fn prepare(&self, cache: Option<Cache>) -> Result<Option<f64>> {
        self.files.as_ref().zip(cache).map(|(files, cache)| files.prepare(cache)).transpose()
    }

    /// Images that a window may use: one pass where they are to come from the disk, since the second would not.
    pub(super) fn limit(&self, cache: Option<Cache>) -> u64 {
        if cache == Some(Cache::Cold) { self.source.len() as u64 } else { u64::MAX }
    }
}

/// What one image of a [`race`] took and gave; sums of them, too.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Done {
    /// 0 for a file that gave no image.
    pub(super) images: u64,
    pub(super) bytes: u64,
    pub(super) pixels: u64,
    /// Decoded without libjpeg-turbo.
    pub(super) own: u64,
    pub(super) read: Duration,
    pub(super) decode: Duration,
    pub(super) render: Duration,
}

impl Done {
    fn add(&mut self, other: &Self) {
        self.images += other.images;
        self.bytes += other.bytes;
        self.pixels += other.pixels;
        self.own += other.own;
        self.read += other.read;
        self.decode += other.decode;
        self.render += other.render;
    }
}

/// Threads that work on the numbers 0, 1, 2, ... side by side for `seconds`, or until `limit` numbers are used up.
///
/// Each thread has one of `states`, and works on the first `warm` numbers before the clock starts. `ready` is called between
/// the two, once, and tells the resident share.
///
/// # Errors
/// The first that `ready` or `work` returns; all threads end then.
pub(super) fn race<S: Send>(
    states: &mut [S],
    (seconds, limit, warm): (f64, u64, u64),
    ready: impl FnOnce() -> Result<Option<f64>>,
    work: impl Fn(&mut S, u64) -> Result<Done> + Sync,
) -> Result<Window> {
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (warmed, start) = (Barrier::new(states.len() + 1), Barrier::new(states.len() + 1));
    let thread = |state: &mut S| -> Result<Done> {
        // A panic is carried over the barriers, where the others would wait for ever.
        let warm_up = AssertUnwindSafe(|| (0..warm).try_for_each(|number| work(state, number).map(drop)));
        let mut result = catch_unwind(warm_up);
        if !matches!(result, Ok(Ok(()))) {
            stop.store(true, Ordering::Relaxed);
        }
        warmed.wait();
        start.wait();
        let (begin, mut sum) = (Instant::now(), Done::default());
        while !stop.load(Ordering::Relaxed) && begin.elapsed().as_secs_f64() < seconds {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= limit {
                break;
            }
            match work(state, number) {
                Ok(done) => sum.add(&done),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    result = Ok(Err(error));
                }
            }
        }
        result.unwrap_or_else(|panic| resume_unwind(panic)).map(|()| sum)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = states.iter_mut().map(|state| scope.spawn(|| thread(state))).collect();
        warmed.wait();
        let resident = ready();
        if resident.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        let cpu = machine::cpu_seconds();
        start.wait();
        let begin = Instant::now();
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        let seconds = begin.elapsed().as_secs_f64();
        let mut sum = Done::default();
        for end in ends {
            sum.add(&end.unwrap_or_else(|panic| resume_unwind(panic))?);
        }
        let counters = Counters {
            images: sum.images,
            bytes: sum.bytes,
            read: sum.read.as_secs_f64(),
            decode: sum.decode.as_secs_f64(),
            // Shown as one figure, so it does not matter that augmentation is in it.
            band: sum.render.as_secs_f64(),
            ..Counters::default()
        };
        Ok(Window {
            images: sum.images,
            seconds,
            cpu_seconds: machine::cpu_seconds().zip(cpu).map(|(after, before)| after - before),
            counters: Some(counters),
            pixels: Some(sum.pixels),
            own_decodes: Some(sum.own),
            resident: resident?,
            ..Window::default()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn window(images: u64, seconds: f64) -> Window {
        Window { images, seconds, cpu_seconds: Some(0.5 * seconds), resident: Some(0.25), ..Window::default() }
    }

    #[test]
    fn a_row_is_the_median_of_its_windows_with_their_ends() {
        let mut tally = Tally::new(Key::default());
        tally.windows = vec![window(300, 1.0), window(100, 1.0), window(400, 2.0)];
        let row = tally.finish();
        assert_eq!((row.images_per_second, row.min, row.max), (200.0, 100.0, 300.0));
        assert_eq!(row.rates, [300.0, 100.0, 200.0]);
        assert_eq!((row.images, row.cpu_ms_per_image), (800, Some(2.5)));
        assert_eq!((row.resident, row.wait_share, row.read_ms), (Some(0.25), None, None));
        let mut even = Tally::new(Key::default());
        even.windows = vec![window(300, 1.0), Window { cpu_seconds: None, ..window(100, 1.0) }];
        let row = even.finish();
        assert_eq!((row.images_per_second, row.cpu_ms_per_image), (200.0, None));
    }

    #[test]
    fn threads_share_the_numbers_up_to_the_limit_and_warm_up_first() {
        let mut states = [Vec::new(), Vec::new()];
        let seen = Mutex::new(Vec::new());
        let window = race(
            &mut states,
            (60.0, 100, 2),
            || Ok(Some(0.5)),
            |state: &mut Vec<u64>, number| {
                state.push(number);
                seen.lock().unwrap().push(number);
                Ok(Done { images: number % 2, bytes: 10, pixels: number, ..Done::default() })
            },
        )
        .unwrap();
        assert_eq!((window.images, window.resident), (50, Some(0.5)));
        assert_eq!((window.counters.unwrap().bytes, window.pixels), (1000, Some(99 * 50)));
        assert!(states.iter().all(|state| state[..2] == [0, 1]), "warm-up is each thread's own");
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen.len(), 104);
        assert_eq!(*seen.last().unwrap(), 99);
    }

    #[test]
    fn the_first_error_ends_the_race() {
        let failing = |_: &mut (), number| {
            if number == 5 { Err(Error::config("five", "is too many")) } else { Ok(Done::default()) }
        };
        let error = race(&mut [(), ()], (60.0, u64::MAX, 0), || Ok(None), failing).unwrap_err().to_string();
        assert_eq!(error, "five: is too many");
    }
}
