//! A device with its queue: memory, pipelines, launches.

use super::adapter::{self, AdapterReport};
use super::kernel::{Access, Head, Kernel};
use super::memory::{Buffer, Pool};
use super::timing::Timer;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;
use wgpu::{BufferUsages, Features, PollType};

/// Nobody panics with one of these locks held.
pub(super) const LOCK: &str = "nobody panics with this lock held";

/// How long the host waits for a device before it takes it for lost.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

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
    pool: Mutex<Pool>,
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
            let _ = uncaptured.set(reason(&error));
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
            pool: Mutex::default(),
        }))
    }

    /// What is known of the adapter.
    pub fn report(&self) -> &AdapterReport {
        &self.0.report
    }

    /// The device itself, for whoever shares it. An error of theirs that no call tells is taken for the engine's: it goes no further.
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

    /// [`Device::check`], and asks the device: wgpu tells of a loss when the queue has run empty, and of a shared device's its owner
    /// alone. Memory on a lost device cannot be written.
    ///
    /// # Errors
    /// [`Error::Device`] if it is gone.
    pub(crate) fn ask(&self) -> Result<()> {
        self.check()?;
        let descriptor = wgpu::BufferDescriptor {
            label: Some("is the device there"),
            size: wgpu::COPY_BUFFER_ALIGNMENT,
            usage: BufferUsages::MAP_WRITE | BufferUsages::COPY_SRC,
            mapped_at_creation: true,
        };
        let is_there = || self.0.device.create_buffer(&descriptor).get_mapped_range_mut(..).is_ok();
        match self.scoped(is_there) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.error("the device is lost")),
            Err(error) => Err(self.failed(&error)),
        }
    }

    pub(crate) fn error(&self, reason: impl Into<String>) -> Error {
        Error::Device { device: self.0.report.name.clone(), reason: reason.into() }
    }

    /// The error of a call that failed.
    pub(crate) fn failed(&self, error: &wgpu::Error) -> Error {
        self.error(reason(error))
    }

    pub(super) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.pool.lock().expect(LOCK)
    }

    pub(super) fn forget_groups(&self) {
        self.0.groups.lock().expect(LOCK).made.clear();
    }

    /// Runs calls to the device: the first error of any of them. Without this an error is nobody's, or with a shared device its
    /// owner's.
    pub(crate) fn scoped<T>(&self, calls: impl FnOnce() -> T) -> Result<T, wgpu::Error> {
        let scope = |filter| self.0.device.push_error_scope(filter);
        // The last one is the first to end, also where a call panics.
        let memory = scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = scope(wgpu::ErrorFilter::Validation);
        let internal = scope(wgpu::ErrorFilter::Internal);
        let result = calls();
        let errors = [internal, validation, memory].map(|scope| pollster::block_on(scope.pop()));
        // Of several, the memory's is the cause.
        match errors.into_iter().flatten().next_back() {
            None => Ok(result),
            Some(error) => Err(error),
        }
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
        let pipeline = self.scoped(|| self.compile(kernel));
        let pipeline =
            pipeline.map_err(|error| self.error(format!("shaders/{}.wgsl: {}", kernel.stem, reason(&error))))?;
        let pipeline = Arc::new(pipeline);
        pipelines.insert(kernel.stem, pipeline.clone());
        Ok(pipeline)
    }

    fn compile(&self, kernel: &'static Kernel) -> Pipeline {
        let text = full_source(kernel.source);
        let device = &self.0.device;
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(kernel.stem), source: wgpu::ShaderSource::Wgsl(text.into()) };
        // Indices are checked by the device as well as by the kernels. A count of each loop's turns would only cost: theirs are
        // bounded by sizes that the host has checked.
        let mut checks = wgpu::ShaderRuntimeChecks::checked();
        checks.force_loop_bounding = false;
        // SAFETY: what is left out are bounds on loops, of which each kernel's own ends.
        let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
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
            // Kernels set what they read: the device need not.
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        Pipeline { pipeline, layout }
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

/// An error in words, with what helps.
fn reason(error: &wgpu::Error) -> String {
    match error {
        wgpu::Error::OutOfMemory { .. } => {
            "out of memory: use smaller batches, or make fewer of them ahead (--prefetch)".to_owned()
        }
        other => other.to_string(),
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
