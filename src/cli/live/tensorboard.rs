//! TensorBoard files, written by a thread of their own: the training thread only puts figures into its queue.

use super::contact_sheet::Images;
use super::event_file::{Event, EventFile, Histogram, Image, Shown, Summary, Value, What, now};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A killed run loses no more than this of its figures.
const FLUSH_EVERY: Duration = Duration::from_secs(2);

/// Figures at one step.
#[derive(Debug, Default)]
pub(super) struct Scalars(Vec<Value>);

impl Scalars {
    pub(super) fn with(mut self, tag: impl Into<String>, value: f64) -> Self {
        self.0.push(Value { tag: tag.into(), shown: Some(Shown::Scalar(value as f32)) });
        self
    }

    /// Nothing where there is no value.
    pub(super) fn maybe(self, tag: &str, value: Option<f64>) -> Self {
        match value {
            Some(value) => self.with(tag, value),
            None => self,
        }
    }
}

enum Message {
    Summary { time: f64, step: u64, values: Vec<Value> },
    Histograms { time: f64, step: u64, groups: Vec<(String, Vec<f32>)> },
    Sheet { time: f64, images: Box<Images> },
}

/// What is to be written.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// There is no time to wait.
    urgent: Condvar,
    /// The figures that were taken are in the file.
    written: Condvar,
}

#[derive(Default)]
struct State {
    messages: Vec<Message>,
    urgent: bool,
    closed: bool,
    /// Figures were taken and are not yet in the file.
    behind: bool,
}

const LOCK: &str = "nobody panics with the queue in hand";

impl Queue {
    /// Puts a message in. The writer finds it when it looks next: waking it here would have it take the training thread's core.
    fn push(&self, message: Message) {
        self.state.lock().expect(LOCK).messages.push(message);
    }

    fn close(&self) {
        let mut state = self.state.lock().expect(LOCK);
        (state.urgent, state.closed) = (true, true);
        self.urgent.notify_one();
    }

    /// Waits until all figures are in the file, or until it is clear that the disk takes its time.
    fn flush(&self) {
        let mut state = self.state.lock().expect(LOCK);
        state.urgent = true;
        self.urgent.notify_one();
        let waiting = |state: &mut State| state.behind || !state.messages.is_empty();
        drop(self.written.wait_timeout_while(state, FLUSH_WITHIN, waiting).expect(LOCK));
    }

    fn is_written(&self) {
        self.state.lock().expect(LOCK).behind = false;
        self.written.notify_all();
    }

    /// What has come in since the last call, after a while; and whether that is all there will be.
    fn take(&self) -> (Vec<Message>, bool) {
        let state = self.state.lock().expect(LOCK);
        let (mut state, _) = self.urgent.wait_timeout_while(state, FLUSH_EVERY, |state| !state.urgent).expect(LOCK);
        state.urgent = false;
        state.behind = true;
        (std::mem::take(&mut state.messages), state.closed)
    }
}

/// A folder of event files, open for writing.
pub(super) struct Board {
    queue: Arc<Queue>,
    thread: JoinHandle<(Result<()>, Duration)>,
}

/// The longest that a checkpoint waits for the figures before it.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// How the contact sheets' pictures were normalised, and where the sheets go.
pub(super) struct Sheets {
    pub(super) mean: [f32; 3],
    pub(super) std: [f32; 3],
    pub(super) folder: PathBuf,
}

impl Board {
    /// A new file in `folder`; what older ones say of `step` and later steps is declared void.
    pub(super) fn open(folder: &Path, step: u64, sheets: Sheets) -> Result<Self> {
        let file = EventFile::create(folder, step).map_err(Error::io(folder))?;
        let queue = Arc::new(Queue::default());
        let own = queue.clone();
        let thread = std::thread::Builder::new()
            .name("tensorboard".into())
            .spawn(move || Writer { file, sheets, busy: Duration::ZERO }.run(&own))
            .map_err(Error::io(folder))?;
        Ok(Self { queue, thread })
    }

    pub(super) fn scalars(&self, step: u64, scalars: Scalars) {
        self.queue.push(Message::Summary { time: now(), step, values: scalars.0 });
    }

    /// Values by name.
    pub(super) fn histograms(&self, step: u64, groups: Vec<(String, Vec<f32>)>) {
        self.queue.push(Message::Histograms { time: now(), step, groups });
    }

    pub(super) fn sheet(&self, images: Images) {
        self.queue.push(Message::Sheet { time: now(), images: Box::new(images) });
    }

    /// Has the figures in the file, if that can be had within [`FLUSH_WITHIN`].
    pub(super) fn flush(&self) {
        self.queue.flush();
    }

    /// Writes what is left, and tells how long the thread was at work.
    ///
    /// # Errors
    /// [`Error::Io`] if files could not be written, now or earlier.
    pub(super) fn close(self) -> Result<Duration> {
        self.queue.close();
        let (result, busy) = self
            .thread
            .join()
            .map_err(|_| Error::Worker { message: "the thread that writes TensorBoard files panicked".to_owned() })?;
        result.map(|()| busy)
    }
}

struct Writer {
    file: EventFile,
    sheets: Sheets,
    busy: Duration,
}

impl Writer {
    /// Until the queue is closed. What comes in after a failure is thrown away.
    fn run(mut self, queue: &Queue) -> (Result<()>, Duration) {
        let mut result = Ok(());
        loop {
            let (messages, closed) = queue.take();
            let start = Instant::now();
            // Pictures take their time, and nobody waits for them.
            let (sheets, figures) = messages.into_iter().partition(|m| matches!(m, Message::Sheet { .. }));
            result = result.and_then(|()| self.write_all(figures));
            queue.is_written();
            result = result.and_then(|()| self.write_all(sheets));
            self.busy += start.elapsed();
            if closed {
                return (result, self.busy);
            }
        }
    }

    fn write_all(&mut self, messages: Vec<Message>) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        messages.into_iter().try_for_each(|message| self.write(message))?;
        self.file.flush().map_err(Error::io(self.file.path()))
    }

    fn write(&mut self, message: Message) -> Result<()> {
        let (time, step, value) = match message {
            Message::Summary { time, step, values } => (time, step, values),
            Message::Histograms { time, step, groups } => {
                let histogram = |(tag, values): (String, Vec<f32>)| {
                    Some(Value { tag, shown: Some(Shown::Histogram(Histogram::of(&values)?)) })
                };
                (time, step, groups.into_iter().filter_map(histogram).collect())
            }
            Message::Sheet { time, images } => (time, images.step, vec![self.sheet(&images)?]),
        };
        let what = Some(What::Summary(Summary { value }));
        self.file.write(&Event { wall_time: time, step: step as i64, what }).map_err(Error::io(self.file.path()))
    }

    /// Draws a contact sheet to a file of its own, and takes it from there.
    fn sheet(&self, images: &Images) -> Result<Value> {
        let Sheets { mean, std, folder } = &self.sheets;
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let path = folder.join(images.name());
        images.write_png(*mean, *std, &path)?;
        let encoded = std::fs::read(&path).map_err(Error::io(&path))?;
        // A PNG begins with its signature (8 bytes), then the first chunk's length and name, then width and height.
        let side = |at: usize| encoded.get(at..at + 4).map_or(0, |b| i32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        let (width, height) = (side(16), side(20));
        let image = Image { height, width, colorspace: 3, encoded };
        Ok(Value { tag: "input/contact_sheet".to_owned(), shown: Some(Shown::Image(image)) })
    }
}
