//! Messages on standard error, and a trace of spans to look at in Perfetto or `chrome://tracing`.

use crate::error::{Error, Result};
use std::fs::File;
use std::path::Path;
use std::sync::Mutex;
use tracing_chrome::{ChromeLayerBuilder, FlushGuard};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, filter, fmt};

/// Ends the trace when it is dropped; here because a program may end in the middle, too.
static OPEN: Mutex<Option<FlushGuard>> = Mutex::new(None);

/// Sets up messages as `BANDFEED_LOG` says (`warn` without it), and with `trace` every span of this crate to that file.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub(crate) fn init(trace: Option<&Path>) -> Result<()> {
    let wanted = EnvFilter::try_from_env("BANDFEED_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let Some(path) = trace else {
        let messages = fmt::layer().with_writer(std::io::stderr).without_time();
        tracing_subscriber::registry().with(wanted).with(messages).init();
        return Ok(());
    };
    let file = File::create(path).map_err(Error::io(path))?;
    let (spans, guard) = ChromeLayerBuilder::new().writer(file).include_args(true).include_locations(false).build();
    *OPEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(guard);
    let own = filter::filter_fn(|metadata| metadata.target().starts_with("bandfeed"));
    let messages = fmt::layer().with_writer(std::io::stderr).without_time();
    tracing_subscriber::registry().with(messages.with_filter(wanted)).with(spans.with_filter(own)).init();
    Ok(())
}

/// Ends the trace's file, if there is one: what comes later is not in it. To be called before the program ends in any way.
pub(crate) fn finish() {
    let guard = OPEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    drop(guard);
}
