//! A device with its queue: memory, pipelines, launches.

use super::adapter::{self, AdapterReport};
use super::kernel::{Access, Head, Kernel};
use super::recorder::Readback;
use crate::engine::LaunchTime;
use crate::error::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use wgpu::{BufferUsages, Features, PollType};

/// Nobody panics with one of these locks held.
const LOCK: &str = "nobody panics with this lock held";

/// How long the host waits for a device before it takes it for lost.
const PATIENCE: Duration = Duration::from_secs(120);

/// An opened GPU: shared by all that launch on it.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    report: AdapterReport,
    device: wgpu::Device,
    queue: wgpu::Queue,
    /// The first thing that went wrong outside of a call that could have told it.
    fault: Arc<OnceLock<String>>,
    pipelines: Mutex<HashMap<&'static str, Arc<Pipeline>>>,
    groups: Mutex<Groups>,
    free: Mutex<Free>,
    staging: Mutex<Vec<Staging>>,
    /// Number of times that staging memory was asked for.
    uploads: AtomicU64,
    timing: Mutex<Option<Timing>>,
}

/// Buffers that nobody holds.
#[derive(Default)]
struct Free {
    /// With the number of the request at which each was given back, the oldest first.
    buffers: Vec<(u64, BufferUsages, wgpu::Buffer)>,
    requests: u64,
}

/// Requests after which a buffer that was of no use to any of them is given up: some fifty batches. Stages grow, and what they
/// have outgrown would lie there for ever.
const FORGOTTEN: u64 = 500;

impl Free {
    /// A buffer of this size or a little more.
    fn take(&mut self, size: u64, usage: BufferUsages) -> Option<wgpu::Buffer> {
        self.requests += 1;
        let fits = |(_, u, buffer): &(u64, BufferUsages, wgpu::Buffer)| {
            *u == usage && (size..=2 * size).contains(&buffer.size())
        };
        let found = self.buffers.iter().position(fits)?;
        Some(self.buffers.remove(found).2)
    }

    /// Gives up what was forgotten: whether there was any.
    fn forget(&mut self) -> bool {
        let (before, requests) = (self.buffers.len(), self.requests);
        self.buffers.retain(|(at, ..)| requests - at < FORGOTTEN);
        self.buffers.len() < before
    }
}

/// Memory that the host writes to and the device copies from.
struct Staging {
    /// Which [`Device::staging`] it was that used it last.
    used_at: u64,
    buffer: wgpu::Buffer,
    /// Whether the host can write to it: the device is done with it.
    is_mapped: Arc<AtomicBool>,
}

/// Staging memory that was written.
pub(crate) struct Staged {
    staging: Option<Staging>,
    device: Device,
}

impl Staged {
    pub(crate) fn raw(&self) -> &wgpu::Buffer {
        &self.staging.as_ref().expect("it is taken out by `used` alone").buffer
    }

    /// Gives it back to the pool: the submission that copies from it was made.
    pub(crate) fn used(mut self) {
        let mut staging = self.staging.take().expect("it is used once");
        staging.used_at = self.device.0.uploads.load(Ordering::Relaxed);
        let is_mapped = staging.is_mapped.clone();
        staging.buffer.map_async(wgpu::MapMode::Write, .., move |result| {
            is_mapped.store(result.is_ok(), Ordering::Release);
        });
        self.device.0.staging.lock().expect(LOCK).push(staging);
    }
}

/// Times of launches, while they are asked for.
#[derive(Default)]
struct Timing {
    pending: Vec<(Timer, Vec<&'static str>)>,
    sums: BTreeMap<&'static str, (u64, f64)>,
}

/// Timestamps of one submission's launches: two each.
pub(crate) struct Timer {
    queries: wgpu::QuerySet,
    count: u32,
    device: Device,
    readback: Option<Readback>,
}

impl Timer {
    /// Copies the timestamps to where the host can read them, at the submission's end.
    pub(crate) fn resolve(mut self, encoder: &mut wgpu::CommandEncoder) -> Result<Self> {
        let bytes = 8 * u64::from(self.count);
        let resolved = self.device.buffer(bytes, BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC)?;
        let readback = Readback::new(&self.device, bytes)?;
        encoder.resolve_query_set(&self.queries, 0..self.count, resolved.raw(), 0);
        readback.copy(encoder, &resolved);
        self.readback = Some(readback);
        Ok(self)
    }
}

/// A kernel, compiled.
struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

/// Bind groups that were made, by kernel and buffers.
#[derive(Default)]
struct Groups {
    made: HashMap<(&'static str, Vec<wgpu::Buffer>), wgpu::BindGroup>,
}

/// Memory on a device. It goes back to the device's pool when it is dropped, with whatever it holds.
pub(crate) struct Buffer {
    buffer: Option<wgpu::Buffer>,
    usage: BufferUsages,
    device: Device,
}

impl Buffer {
    /// The buffer itself. It may be larger than was asked for.
    pub(crate) fn raw(&self) -> &wgpu::Buffer {
        self.buffer.as_ref().expect("it is taken out by drop alone")
    }

    /// Its length in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.raw().size()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            let mut free = self.device.0.free.lock().expect(LOCK);
            let now = free.requests;
            free.buffers.push((now, self.usage, buffer));
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer").field("size", &self.size()).finish()
    }
}

/// One launch of a kernel over a batch.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) kernel: &'static Kernel,
    /// Where its [`Head`] is in the buffer of heads, in bytes: a multiple of [`HEAD_PITCH`].
    pub(crate) head: u32,
    /// Its buffers from binding 3 on.
    pub(crate) buffers: Vec<&'a Buffer>,
    /// Workgroups along x, y and z, none of them 0.
    pub(crate) grid: [u32; 3],
}

/// Distance of two heads: the offset alignment that every device has.
pub(crate) const HEAD_PITCH: u32 = 256;

/// Buffers that a kernel works on, of which the heads and the input come from the host.
pub(crate) const STORAGE: BufferUsages =
    BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);

/// The heads of a batch's launches.
pub(crate) const HEADS: BufferUsages = BufferUsages::UNIFORM.union(BufferUsages::COPY_DST);

impl Device {
    /// Opens the adapter of this name, or the best GPU; see [`super::adapters`] for names. A software adapter is opened only by
    /// name.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if there is none, or if it cannot be used.
    pub fn open(name: Option<&str>) -> Result<Self> {
        let (adapter, report) = adapter::choose(name)?;
        let wanted = Features::TIMESTAMP_QUERY;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("bandfeed"),
            required_features: adapter.features() & wanted,
            required_limits: adapter.limits(),
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|e| Error::NoDevice { device: report.name.clone(), reason: e.to_string() })?;
        let own = Self::of(report, device, queue);
        let (device, uncaptured, lost) = (&own.0.device, own.0.fault.clone(), own.0.fault.clone());
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let reason = match error {
                wgpu::Error::OutOfMemory { .. } => {
                    "out of memory: use smaller batches, or make fewer of them ahead (--prefetch)".to_owned()
                }
                other => other.to_string(),
            };
            let _ = uncaptured.set(reason);
        }));
        device.set_device_lost_callback(move |reason, message| {
            let _ = lost.set(format!("the device is lost ({reason:?}): {message}"));
        });
        Ok(own)
    }

    /// A device that is somebody else's as well: a framework's, say, whose tensors are to be filled
    /// ([`super::DeviceImages::copy_into`]). Its owner hears of errors that no call can tell, and of its loss.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if the device was made with less than the kernels need.
    pub fn share(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        let report = adapter::report_of(&adapter.get_info(), &device.limits(), device.features());
        match &report.unusable {
            Some(why) => Err(Error::NoDevice { device: report.name.clone(), reason: format!("cannot be used: {why}") }),
            None => Ok(Self::of(report, device, queue)),
        }
    }

    fn of(report: AdapterReport, device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Self(Arc::new(Inner {
            report,
            device,
            queue,
            fault: Arc::default(),
            pipelines: Mutex::default(),
            groups: Mutex::default(),
            free: Mutex::default(),
            staging: Mutex::default(),
            uploads: AtomicU64::new(0),
            timing: Mutex::default(),
        }))
    }

    /// What is known of the adapter.
    pub fn report(&self) -> &AdapterReport {
        &self.0.report
    }

    /// The device itself, for whoever shares it.
    pub fn raw(&self) -> (&wgpu::Device, &wgpu::Queue) {
        (&self.0.device, &self.0.queue)
    }

    /// Largest buffer in bytes that a kernel can be given.
    pub(crate) fn largest_buffer(&self) -> u64 {
        self.0.report.largest_buffer
    }

    /// # Errors
    /// [`Error::Device`] once anything has gone wrong that no call could tell.
    pub(crate) fn check(&self) -> Result<()> {
        match self.0.fault.get() {
            Some(reason) => Err(self.error(reason.clone())),
            None => Ok(()),
        }
    }

    pub(crate) fn error(&self, reason: impl Into<String>) -> Error {
        Error::Device { device: self.0.report.name.clone(), reason: reason.into() }
    }

    /// A buffer of at least `size` bytes and of any content, from the pool where one fits.
    ///
    /// # Errors
    /// [`Error::Device`] if it is more than the device has, or than a kernel can be given.
    pub(crate) fn buffer(&self, size: u64, usage: BufferUsages) -> Result<Buffer> {
        self.check()?;
        if size > self.largest_buffer() {
            let reason =
                format!("a buffer of {size} bytes, {} are the most; use smaller batches", self.largest_buffer());
            return Err(self.error(reason));
        }
        // Steps of an eighth: what one batch used fits the next, which is never just as large.
        let size = size.max(256);
        let step = (size.next_power_of_two() / 8).max(256);
        let size = size.next_multiple_of(step).min(self.largest_buffer());
        let (found, is_less) = {
            let mut free = self.0.free.lock().expect(LOCK);
            (free.take(size, usage), free.forget())
        };
        if is_less {
            // They hold the buffers that they are for.
            self.0.groups.lock().expect(LOCK).made.clear();
        }
        if let Some(buffer) = found {
            return Ok(Buffer { buffer: Some(buffer), usage, device: self.clone() });
        }
        let scope = self.0.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        let buffer = self.0.device.create_buffer(&descriptor);
        if pollster::block_on(scope.pop()).is_some() {
            return Err(self.out_of_memory(size));
        }
        self.check()?;
        Ok(Buffer { buffer: Some(buffer), usage, device: self.clone() })
    }

    /// Staging memory of `size` bytes, filled by `fill`.
    ///
    /// # Errors
    /// [`Error::Device`] if there is none.
    pub(crate) fn staging(&self, size: u64, fill: impl FnOnce(&mut wgpu::BufferViewMut)) -> Result<Staged> {
        // Tells which of the pool's the device is done with.
        let _ = self.0.device.poll(PollType::Poll);
        let found = {
            let mut pool = self.0.staging.lock().expect(LOCK);
            let fits = |staging: &Staging| {
                staging.is_mapped.load(Ordering::Acquire) && (size..=4 * size).contains(&staging.buffer.size())
            };
            let found = pool.iter().position(fits).map(|at| pool.swap_remove(at));
            let now = self.0.uploads.fetch_add(1, Ordering::Relaxed);
            // As many uploads as FORGOTTEN requests are batches.
            pool.retain(|staging| now.saturating_sub(staging.used_at) < FORGOTTEN / 10);
            found
        };
        let staging = match found {
            Some(staging) => staging,
            None => {
                let scope = self.0.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
                let buffer = self.0.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("staging"),
                    size: size.next_multiple_of(64 << 10),
                    usage: BufferUsages::MAP_WRITE | BufferUsages::COPY_SRC,
                    mapped_at_creation: true,
                });
                if pollster::block_on(scope.pop()).is_some() {
                    return Err(self.out_of_memory(size));
                }
                Staging { used_at: 0, buffer, is_mapped: Arc::default() }
            }
        };
        {
            let view = staging.buffer.get_mapped_range_mut(..);
            let mut view = view.map_err(|e| self.error(format!("its memory could not be written: {e}")))?;
            fill(&mut view);
        }
        staging.buffer.unmap();
        staging.is_mapped.store(false, Ordering::Release);
        Ok(Staged { staging: Some(staging), device: self.clone() })
    }

    fn out_of_memory(&self, size: u64) -> Error {
        self.error(format!(
            "out of memory for {:.0} MB: use smaller batches, or make fewer of them ahead (--prefetch)",
            size as f64 * 1e-6
        ))
    }

    /// From now on, takes the time of each launch, where the device can ([`AdapterReport::has_timestamps`]).
    pub fn time_launches(&self) {
        if self.0.report.has_timestamps {
            self.0.timing.lock().expect(LOCK).get_or_insert_default();
        }
    }

    /// Times by shader since [`Device::time_launches`]. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn launch_times(&self) -> Result<Vec<LaunchTime>> {
        self.wait(None)?;
        let mut timing = self.0.timing.lock().expect(LOCK);
        let Some(timing) = &mut *timing else { return Ok(Vec::new()) };
        let period = f64::from(self.0.queue.get_timestamp_period()) * 1e-9;
        for (timer, stems) in timing.pending.drain(..) {
            let Some(readback) = &timer.readback else { continue };
            let times: Vec<u64> = readback.read(self, bytemuck::pod_collect_to_vec)?;
            for (stem, time) in stems.into_iter().zip(times.as_chunks::<2>().0) {
                let sum = timing.sums.entry(stem).or_default();
                sum.0 += 1;
                sum.1 += time[1].saturating_sub(time[0]) as f64 * period;
            }
        }
        let time = |(&name, &(launches, seconds)): (&&'static str, &(u64, f64))| LaunchTime { name, launches, seconds };
        Ok(timing.sums.iter().map(time).collect())
    }

    /// A timer for this many launches, if times are asked for.
    pub(crate) fn timer(&self, launches: usize) -> Option<Timer> {
        let is_on = launches > 0 && self.0.timing.lock().expect(LOCK).is_some();
        is_on.then(|| {
            let count = 2 * launches as u32;
            let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count };
            let queries = self.0.device.create_query_set(&descriptor);
            Timer { queries, count, device: self.clone(), readback: None }
        })
    }

    /// Takes over the timer of a submission whose launches were these.
    pub(crate) fn timed(&self, mut timer: Timer, stems: Vec<&'static str>) {
        if let Some(readback) = &mut timer.readback {
            readback.request();
        }
        if let Some(timing) = &mut *self.0.timing.lock().expect(LOCK) {
            timing.pending.push((timer, stems));
        }
    }

    /// Copies `data` to the start of `buffer` before whatever is submitted next.
    #[cfg(test)]
    pub(crate) fn upload(&self, buffer: &Buffer, data: &[u8]) {
        self.0.queue.write_buffer(buffer.raw(), 0, data);
    }

    /// The first `size` bytes of `buffer`, after all that was submitted before. Blocks.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails or does not answer.
    pub(crate) fn download(&self, buffer: &Buffer, size: u64) -> Result<Vec<u8>> {
        let size = size.next_multiple_of(4);
        let mut readback = Readback::new(self, size)?;
        let mut encoder = self.0.device.create_command_encoder(&Default::default());
        readback.copy(&mut encoder, buffer);
        let index = self.0.queue.submit([encoder.finish()]);
        readback.request();
        self.wait(Some(index))?;
        readback.read(self, <[u8]>::to_vec)
    }

    /// Blocks until a submission, or all of them, has been executed.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails or does not answer in two minutes.
    pub(crate) fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let wait = PollType::Wait { submission_index: submission, timeout: Some(PATIENCE) };
        match self.0.device.poll(wait) {
            Ok(_) => self.check(),
            Err(error) => {
                self.check()?;
                Err(self.error(format!("no answer in {} s: {error}", PATIENCE.as_secs())))
            }
        }
    }

    /// Compiles these kernels, so that no batch has to wait for it, and a shader that the driver refuses is told at once.
    ///
    /// # Errors
    /// [`Error::Device`] with the shader's name.
    pub(crate) fn prepare<'a>(&self, kernels: impl IntoIterator<Item = &'a &'static Kernel>) -> Result<()> {
        kernels.into_iter().try_for_each(|kernel| self.pipeline(kernel).map(drop))
    }

    fn pipeline(&self, kernel: &'static Kernel) -> Result<Arc<Pipeline>> {
        let mut pipelines = self.0.pipelines.lock().expect(LOCK);
        if let Some(pipeline) = pipelines.get(kernel.stem) {
            return Ok(pipeline.clone());
        }
        let text = full_source(kernel.source);
        let device = &self.0.device;
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(kernel.stem),
            source: wgpu::ShaderSource::Wgsl(text.into()),
        });
        let storage = |access| wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only: access == Access::Read },
            has_dynamic_offset: false,
            min_binding_size: None,
        };
        let head = wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Uniform,
            has_dynamic_offset: true,
            min_binding_size: wgpu::BufferSize::new(size_of::<Head>() as u64),
        };
        let types = [head, storage(Access::Read), storage(Access::Read)];
        let types = types.into_iter().chain(kernel.buffers.iter().map(|access| storage(*access)));
        let entries: Vec<_> = (0..)
            .zip(types)
            .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty,
                count: None,
            })
            .collect();
        let layout =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&layout)],
            ..Default::default()
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.stem),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(self.error(format!("shaders/{}.wgsl: {error}", kernel.stem)));
        }
        let pipeline = Arc::new(Pipeline { pipeline, layout });
        pipelines.insert(kernel.stem, pipeline.clone());
        Ok(pipeline)
    }

    fn group(&self, kernel: &'static Kernel, pipeline: &Pipeline, buffers: Vec<wgpu::Buffer>) -> wgpu::BindGroup {
        let mut groups = self.0.groups.lock().expect(LOCK);
        // A batch takes some twenty; what is far above that is of stages that are over.
        if groups.made.len() > 1000 {
            groups.made.clear();
        }
        let key = (kernel.stem, buffers);
        if let Some(group) = groups.made.get(&key) {
            return group.clone();
        }
        let entries: Vec<_> = (0..).zip(&key.1).map(|(binding, buffer)| bind(binding, buffer)).collect();
        let group = self.0.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel.stem),
            layout: &pipeline.layout,
            entries: &entries,
        });
        groups.made.insert(key, group.clone());
        group
    }

    /// Adds launches to `encoder`, each after the one before: what a launch writes, the next ones see. `heads` and `input` are
    /// theirs all.
    ///
    /// # Errors
    /// [`Error::Device`] if a shader does not compile.
    pub(crate) fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        heads: &Buffer,
        input: &Buffer,
        launches: &[Launch<'_>],
        timer: Option<&Timer>,
    ) -> Result<()> {
        for (at, launch) in (0..).step_by(2).zip(launches) {
            let kernel = launch.kernel;
            assert_eq!(launch.buffers.len(), kernel.buffers.len(), "{}: buffers as its kernel says", kernel.stem);
            let pipeline = self.pipeline(kernel)?;
            let own = launch.buffers.iter().map(|buffer| buffer.raw().clone());
            let buffers = [heads.raw(), input.raw(), input.raw()].into_iter().cloned().chain(own).collect();
            let group = self.group(kernel, &pipeline, buffers);
            let timestamp_writes = timer.map(|timer| wgpu::ComputePassTimestampWrites {
                query_set: &timer.queries,
                beginning_of_pass_write_index: Some(at),
                end_of_pass_write_index: Some(at + 1),
            });
            let mut pass =
                encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some(kernel.stem), timestamp_writes });
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, &group, &[launch.head]);
            let [x, y, z] = launch.grid;
            pass.dispatch_workgroups(x, y, z);
        }
        Ok(())
    }
}

/// Binds all of a buffer, or of the heads one.
fn bind(binding: u32, buffer: &wgpu::Buffer) -> wgpu::BindGroupEntry<'_> {
    let head = wgpu::BufferSize::new(size_of::<Head>() as u64);
    let size = head.filter(|_| binding == 0);
    wgpu::BindGroupEntry {
        binding,
        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: 0, size }),
    }
}

/// A shader's text with what every shader has.
pub(crate) fn full_source(source: &str) -> String {
    format!("{source}\n{}", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/common.wgsl")))
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("adapter", &self.0.report).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_and_forgotten_when_no_request_fits_them() {
        let name = crate::gpu::testing::device().report().name.clone();
        let device = Device::open(Some(&name)).unwrap();
        let pooled = || device.0.free.lock().unwrap().buffers.len();
        let first = device.buffer(1 << 20, STORAGE).unwrap().raw().clone();
        assert_eq!(pooled(), 1);
        // A little less fits, and another usage does not.
        assert_eq!(*device.buffer(1_000_000, STORAGE).unwrap().raw(), first);
        assert_ne!(*device.buffer(1_000_000, HEADS).unwrap().raw(), first);
        assert_eq!(pooled(), 2);
        for _ in 0..FORGOTTEN {
            drop(device.buffer(5000, STORAGE).unwrap());
        }
        assert_eq!(pooled(), 1, "the stage of large buffers is over");
    }

    #[test]
    fn more_than_a_buffer_can_be_is_refused_in_words() {
        let device = crate::gpu::testing::device();
        let error = device.buffer(device.largest_buffer() + 1, STORAGE).unwrap_err().to_string();
        assert!(error.contains("use smaller batches"), "{error}");
    }
}
