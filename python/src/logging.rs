//! The library's warnings, for Python's `logging` (logger `bandfeed`).
//!
//! Worker threads put what they have to say into a queue; whoever calls the loader from Python passes it on. So a worker never
//! asks for the interpreter's lock, which its caller may hold while it waits for the worker.

use pyo3::prelude::*;
use std::collections::VecDeque;
use std::fmt::{Debug, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Messages kept for a caller that does not come; later ones are counted only.
const MOST: usize = 1000;

static QUEUE: Mutex<Queue> = Mutex::new(Queue { messages: VecDeque::new(), lost: 0 });

struct Queue {
    messages: VecDeque<(Level, String)>,
    lost: usize,
}

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the library's events from now on. Once in a process; a subscriber that is there already stays.
pub(crate) fn install() {
    let _ = tracing::subscriber::set_global_default(Collector);
}

/// Passes on what was said since the last call. An error of a log handler is Python's to show, as `logging` does.
pub(crate) fn forward(py: Python<'_>) -> PyResult<()> {
    let (messages, lost) = {
        let mut queue = queue();
        if queue.messages.is_empty() {
            return Ok(());
        }
        (std::mem::take(&mut queue.messages), std::mem::take(&mut queue.lost))
    };
    let logger = py.import("logging")?.call_method1("getLogger", ("bandfeed",))?;
    for (level, message) in messages {
        let level = match level {
            Level::ERROR => 40,
            Level::WARN => 30,
            Level::INFO => 20,
            _ => 10,
        };
        logger.call_method1("log", (level, "%s", message))?;
    }
    if lost > 0 {
        logger.call_method1("warning", ("%d more messages were not kept", lost))?;
    }
    Ok(())
}

/// Events of this library of level info and above. Spans are not wanted.
struct Collector;

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        metadata.is_event() && *metadata.level() <= Level::INFO && target.split("::").next() == Some("bandfeed")
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let mut queue = queue();
        if queue.messages.len() < MOST {
            queue.messages.push_back((*event.metadata().level(), text.finish()));
        } else {
            queue.lost += 1;
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event as "message (field value, field value)".
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn finish(mut self) -> String {
        if !self.fields.is_empty() {
            let _ = write!(self.message, " ({})", self.fields);
        }
        self.message
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let comma = if self.fields.is_empty() { "" } else { ", " };
            let _ = write!(self.fields, "{comma}{} {value:?}", field.name());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
