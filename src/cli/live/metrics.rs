//! Figures in Prometheus's text form over HTTP, for whoever asks.
//!
//! One thread serves one caller at a time, reads at most [`REQUEST`] bytes of a request, and gives a caller [`PATIENCE`]: a slow
//! or hostile one keeps others waiting that long and never the training, which only copies a few numbers under a lock.

use super::{Endpoint, machine};
use crate::error::{Error, Result};
use crate::loader::Meter;
use crate::train::{EvalReport, StepReport};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest request that is read.
const REQUEST: usize = 4096;
/// For a caller to send its request, and again to take the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks for a caller.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the trainer told last, and sums since this process began.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    step: u64,
    epoch: u64,
    stage: usize,
    band: u32,
    progress: f64,
    loss: f64,
    learning_rate: f64,
    grad_norm: f64,
    /// Where the policy follows one.
    magnitude: Option<f64>,
    depth: usize,
    tokens: usize,
    /// Floating-point operations of the last step, and of all of them.
    step_flops: f64,
    flops: f64,
    skipped: u64,
    images: u64,
    wait: f64,
    compute: f64,
    /// Top-1 and loss.
    evaluation: Option<(f64, f64)>,
}

/// Serves until it is dropped.
pub(super) struct Exporter {
    address: SocketAddr,
    figures: Arc<Mutex<Figures>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

const LOCK: &str = "nobody panics with the figures in hand";

impl Exporter {
    /// Listens.
    ///
    /// # Errors
    /// [`Error::Config`] if the address cannot be had.
    pub(super) fn start(endpoint: Endpoint, meter: Meter) -> Result<Self> {
        let refused = |e: std::io::Error| Error::config("metrics", format!("{endpoint} cannot be listened on: {e}"));
        let listener = TcpListener::bind(endpoint.0).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let (figures, stop) = (Arc::new(Mutex::new(Figures::default())), Arc::new(AtomicBool::new(false)));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Source { figures: figures.clone(), meter }));
        let told = stop.clone();
        let serve = move || {
            while !told.load(Ordering::Relaxed) {
                match listener.accept() {
                    // A caller that went away is no concern of ours.
                    Ok((stream, _)) => drop(answer(stream, &registry)),
                    Err(_) => std::thread::sleep(LOOK_EVERY),
                }
            }
        };
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(serve).map_err(refused)?;
        Ok(Self { address, figures, stop, thread: Some(thread) })
    }

    /// Where it listens: with port 0, the one that was picked.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `magnitude` is RandAugment's, where the policy follows one.
    pub(super) fn step(&self, r: &StepReport, magnitude: Option<f64>) {
        let mut figures = self.figures.lock().expect(LOCK);
        *figures = Figures {
            step: r.step,
            epoch: r.epoch,
            stage: r.stage,
            band: r.band,
            progress: r.progress,
            loss: r.loss,
            learning_rate: r.learning_rate,
            // A step that was skipped has none.
            grad_norm: if r.skipped { figures.grad_norm } else { r.grad_norm },
            magnitude,
            depth: r.depth,
            tokens: r.tokens,
            step_flops: r.flops,
            flops: figures.flops + r.flops,
            skipped: figures.skipped + u64::from(r.skipped),
            images: figures.images + r.images as u64,
            wait: figures.wait + r.wait.as_secs_f64(),
            compute: figures.compute + r.compute.as_secs_f64(),
            evaluation: figures.evaluation,
        };
    }

    pub(super) fn evaluated(&self, report: &EvalReport) {
        self.figures.lock().expect(LOCK).evaluation = Some((report.top1, report.loss));
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Source {
    figures: Arc<Mutex<Figures>>,
    meter: Meter,
}

impl Collector for Source {
    fn encode(&self, mut to: DescriptorEncoder) -> std::fmt::Result {
        let (f, c) = (*self.figures.lock().expect(LOCK), self.meter.counters());
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: f64| {
            ConstGauge::new(value).encode(to.encode_descriptor(name, help, unit, MetricType::Gauge)?)
        };
        gauge("bandfeed_step", "Number of the last optimiser step, from 0", None, f.step as f64)?;
        gauge("bandfeed_epoch", "Pass over the data set, from 0", None, f.epoch as f64)?;
        gauge("bandfeed_stage", "Index of the schedule's stage, from 0", None, f.stage as f64)?;
        let (pixels, ratio) = (Unit::Other("pixels".to_owned()), Unit::Other("ratio".to_owned()));
        gauge("bandfeed_band", "Side of the images that the model sees", Some(&pixels), f64::from(f.band))?;
        gauge(
            "bandfeed_progress",
            "Share of the run's compute consumed; of its images where sizes are searched",
            Some(&ratio),
            f.progress,
        )?;
        if let Some(magnitude) = f.magnitude {
            gauge("bandfeed_magnitude", "RandAugment's mean magnitude, 0 to 10", None, magnitude)?;
        }
        let blocks = Unit::Other("blocks".to_owned());
        gauge("bandfeed_depth", "Depth of the model", Some(&blocks), f.depth as f64)?;
        gauge("bandfeed_tokens", "Patches of an image as the model sees it", None, f.tokens as f64)?;
        let help = "Floating-point operations of the last step, forwards and backwards";
        gauge("bandfeed_step_flops", help, None, f.step_flops)?;
        gauge("bandfeed_loss", "Mean training loss of the last step's images", None, f.loss)?;
        gauge("bandfeed_learning_rate", "Learning rate of the last step", None, f.learning_rate)?;
        gauge("bandfeed_gradient_norm", "Global norm of the last gradient, before clipping", None, f.grad_norm)?;
        if let Some((top1, loss)) = f.evaluation {
            let help = "Share of validation images whose label got the best score";
            gauge("bandfeed_validation_top1", help, Some(&ratio), top1)?;
            gauge("bandfeed_validation_loss", "Mean cross-entropy of the validation images", None, loss)?;
        }
        gauge("bandfeed_workers", "Threads of the loader", None, self.meter.workers() as f64)?;
        if let Some(bytes) = machine::memory() {
            gauge("process_resident_memory", "Resident memory", Some(&Unit::Bytes), bytes as f64)?;
        }

        let mut counter = |name: &str, help: &str, unit: Option<&Unit>, label: &'static str, values: &[(&str, f64)]| {
            let mut family = to.encode_descriptor(name, help, unit, MetricType::Counter)?;
            for &(key, value) in values {
                let labels = [(label, key)];
                let one = if label.is_empty() { None } else { Some(family.encode_family(&labels)?) };
                match one {
                    Some(one) => ConstCounter::new(value).encode(one)?,
                    None => {
                        let none: Option<&prometheus_client::metrics::exemplar::Exemplar<[(&str, &str); 0], f64>> =
                            None;
                        family.encode_counter(&value, none)?;
                    }
                }
            }
            Ok(())
        };
        let seconds = Some(&Unit::Seconds);
        counter("bandfeed_images", "Images trained on by this process", None, "", &[("", f.images as f64)])?;
        let help = "Floating-point operations of this process's training, forwards and backwards";
        counter("bandfeed_flops", help, None, "", &[("", f.flops)])?;
        let help = "Optimiser steps that changed no weight, because a gradient in half precision overflowed";
        counter("bandfeed_skipped_steps", help, None, "", &[("", f.skipped as f64)])?;
        let trainer = [("wait", f.wait), ("compute", f.compute)];
        counter("bandfeed_trainer", "Time of the training thread", seconds, "part", &trainer)?;
        let parts = super::Input::from(c).parts();
        counter("bandfeed_input", "Time of the loader's workers, summed over them", seconds, "part", &parts)?;
        counter("bandfeed_mix", "Time for mixing and closing up of batches", seconds, "", &[("", c.finish)])?;
        let from = [("file", c.images as f64), ("replay", c.replayed as f64)];
        counter("bandfeed_input_images", "Images that the loader made", None, "from", &from)?;
        counter("bandfeed_input", "Encoded bytes read", Some(&Unit::Bytes), "", &[("", c.bytes as f64)])?;
        if let Some(cpu) = machine::cpu_seconds() {
            counter("process_cpu", "Processor time, all threads together", seconds, "", &[("", cpu)])?;
        }
        Ok(())
    }
}

/// One request, one answer.
fn answer(mut stream: TcpStream, registry: &Registry) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (status, kind, body) = match request(&mut stream)? {
        Some(line) => respond(&line, registry),
        None => ("431 Request Header Fields Too Large", TEXT, String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // Small enough for the socket's buffer: a caller that does not read it cannot make this wait for long.
    stream.write_all((head + &body).as_bytes())
}

const TEXT: &str = "text/plain; charset=utf-8";

fn respond(line: &str, registry: &Registry) -> (&'static str, &'static str, String) {
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    match (method, path) {
        ("GET", "/metrics") => {
            let mut body = String::new();
            match prometheus_client::encoding::prometheus_text::encode(&mut body, registry) {
                Ok(()) => ("200 OK", "text/plain; version=0.0.4; charset=utf-8", body),
                Err(_) => ("500 Internal Server Error", TEXT, String::new()),
            }
        }
        ("GET", _) => ("404 Not Found", TEXT, "the figures are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", TEXT, String::new()),
    }
}

/// The first line of a request, once all of its head is there; `None` if the head is too long.
fn request(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let (until, mut buffer, mut len) = (Instant::now() + PATIENCE, [0; REQUEST], 0);
    while !buffer[..len].windows(4).any(|w| w == b"\r\n\r\n") {
        if len == REQUEST {
            return Ok(None);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer[len..])? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => len += read,
        }
    }
    let head = String::from_utf8_lossy(&buffer[..len]);
    Ok(Some(head.lines().next().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exporter() -> Exporter {
        let (source, _) = crate::demo_data::DemoData { train_per_class: 1, ..Default::default() }.generate().unwrap();
        let options = crate::schedule::Options { batch_size: 4, ..Default::default() };
        let schedule = crate::Schedule::constant(&options).unwrap();
        let loader = crate::Loader::builder(Arc::new(source), schedule).workers(2).build().unwrap();
        Exporter::start("0".parse().unwrap(), loader.meter()).unwrap()
    }

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn figures_are_served_in_prometheus_text() {
        let exporter = exporter();
        assert!(exporter.address().ip().is_loopback() && exporter.address().port() != 0);
        exporter.figures.lock().unwrap().band = 96;
        exporter.figures.lock().unwrap().images = 12;
        let text = ask(exporter.address(), "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("text/plain; version=0.0.4"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        for line in [
            "# TYPE bandfeed_band_pixels gauge",
            "bandfeed_band_pixels 96",
            "# TYPE bandfeed_images_total counter",
            "bandfeed_images_total 12",
            "# TYPE bandfeed_input_seconds_total counter",
            "bandfeed_input_bytes_total 0",
            "bandfeed_workers 2",
        ] {
            assert!(body.lines().any(|l| l.starts_with(line)), "{line}:\n{body}");
        }
        assert!(body.lines().any(|l| l.starts_with("bandfeed_input_seconds_total{part=\"decode\"} 0")), "{body}");
        // Every sample's family is told before it.
        for sample in body.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
            let name = sample.split(['{', ' ']).next().unwrap();
            assert!(body.contains(&format!("# TYPE {name} ")) && body.contains(&format!("# HELP {name} ")), "{name}");
            assert!(sample.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{sample}");
        }
    }

    /// Names and labels in the table of docs/reporting.md.
    fn documented() -> Vec<String> {
        let page = include_str!("../../../docs/reporting.md");
        let section = page.split("\n## ").find(|section| section.starts_with("Prometheus")).unwrap();
        let mut names = Vec::new();
        for row in section.lines().filter(|line| line.starts_with("| `")) {
            // A bar within a cell is escaped.
            let cell = row.replace("\\|", "/");
            for name in cell.split('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
                match name.split_once('{') {
                    None => names.push(name.to_owned()),
                    Some((name, labels)) => {
                        let (label, values) = labels.trim_end_matches('}').split_once('=').unwrap();
                        names.extend(values.split('/').map(|value| format!("{name}{{{label}={value}}}")));
                    }
                }
            }
        }
        names
    }

    #[test]
    fn what_the_manual_names_is_served_and_nothing_else() {
        let exporter = exporter();
        {
            let mut figures = exporter.figures.lock().unwrap();
            (figures.magnitude, figures.evaluation) = (Some(4.5), Some((0.5, 1.5)));
        }
        let text = ask(exporter.address(), "GET /metrics HTTP/1.1\r\n\r\n");
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let samples = body.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        let mut served: Vec<&str> = samples.map(|(name, _)| name).collect();
        let mut documented = documented();
        // What the system does not tell is left out.
        documented.retain(|name| !name.starts_with("process_") || served.contains(&name.as_str()));
        served.sort_unstable();
        documented.sort_unstable();
        assert_eq!(served, documented);
        assert!(served.len() > 20, "{served:?}");
    }

    #[test]
    fn other_requests_are_told_so() {
        let exporter = exporter();
        let status = |request: &str| ask(exporter.address(), request).lines().next().unwrap_or_default().to_owned();
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
        assert_eq!(status("GET /../etc/passwd HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
        assert_eq!(status("POST /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(status("\u{1}\r\n\r\n"), "HTTP/1.1 405 Method Not Allowed");
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "a".repeat(REQUEST - 26));
        assert_eq!(long.len(), REQUEST);
        assert!(status(&long).contains("431"));
        assert_eq!(status("GET /metrics?x=1 HTTP/1.0\r\n\r\n"), "HTTP/1.1 200 OK");
    }

    #[test]
    fn a_caller_that_says_nothing_is_left_behind() {
        let exporter = exporter();
        let start = Instant::now();
        let mut silent = TcpStream::connect(exporter.address()).unwrap();
        // A byte now and then does not buy more time.
        let mut slow = silent.try_clone().unwrap();
        let drip = std::thread::spawn(move || {
            (0..40).all(|_| {
                std::thread::sleep(Duration::from_millis(100));
                slow.write_all(b"a").is_ok()
            })
        });
        let text = ask(exporter.address(), "GET /metrics HTTP/1.1\r\n\r\n");
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(start.elapsed() < 2 * PATIENCE, "{:?}", start.elapsed());
        assert!(!matches!(silent.read(&mut [0; 1]), Ok(1..)), "it got no answer");
        drop(exporter);
        drip.join().unwrap();
    }
}
