//! One submission: what it brings from the host, its launches, and what it brings back.

use super::device::{Device, HEAD_PITCH, HEADS, Launch, STORAGE};
use super::kernel::{Head, Kernel};
use super::memory::Buffer;
use super::timing::{Timed, Timer};
use crate::error::Result;
use bytemuck::Pod;

/// Launches of a batch in the making, and the words that they read.
pub(crate) struct Recorder<'a> {
    device: &'a Device,
    input: Vec<u32>,
    heads: Vec<Head>,
    launches: Vec<Launch<'a>>,
}

/// Work before the launches, which may copy from the input.
type Before<'a> = dyn FnOnce(&mut wgpu::CommandEncoder, &Buffer) + 'a;
/// Work after them.
type After<'a> = dyn FnOnce(&mut wgpu::CommandEncoder) + 'a;

/// What was submitted.
pub(crate) struct Submitted {
    pub(crate) index: wgpu::SubmissionIndex,
    /// Bytes that crossed the bus.
    pub(crate) bytes: u64,
    pub(crate) launches: usize,
    /// The input's memory, for another one.
    pub(crate) words: Vec<u32>,
    /// Where times were asked for.
    pub(crate) timed: Option<Timed>,
}

impl<'a> Recorder<'a> {
    /// `words` is memory to use, of any content.
    pub(crate) fn new(device: &'a Device, mut words: Vec<u32>) -> Self {
        words.clear();
        Self { device, input: words, heads: Vec::new(), launches: Vec::new() }
    }

    /// The input, for those who add to it themselves.
    pub(crate) fn input(&mut self) -> &mut Vec<u32> {
        &mut self.input
    }

    /// Adds words to the input: where they begin. What does not fit into 32 bits is refused by [`Recorder::submit`].
    pub(crate) fn push(&mut self, words: &[u32]) -> u32 {
        let start = self.input.len() as u32;
        self.input.extend_from_slice(words);
        start
    }

    /// Adds parameters: the index of the first.
    pub(crate) fn append<P: Pod>(&mut self, params: &[P]) -> u32 {
        let length = size_of::<P>() / 4;
        self.input.resize(self.input.len().next_multiple_of(length), 0);
        let first = self.input.len() / length;
        self.input.extend_from_slice(bytemuck::cast_slice(params));
        first as u32
    }

    /// Adds a launch; one of nothing is left out.
    pub(crate) fn step(&mut self, kernel: &'static Kernel, head: Head, buffers: Vec<&'a Buffer>, grid: [u32; 3]) {
        if head.count == 0 || grid.contains(&0) {
            return;
        }
        let at = self.heads.len() as u32 * HEAD_PITCH;
        self.heads.push(head);
        self.launches.push(Launch { kernel, head: at, buffers, grid });
    }

    /// Adds a launch over these entries. `own` are `head.a` and `head.b`.
    pub(crate) fn launch<P: Pod>(
        &mut self,
        kernel: &'static Kernel,
        params: &[P],
        own: [u32; 2],
        buffers: Vec<&'a Buffer>,
        grid: [u32; 3],
    ) {
        let first = self.append(params);
        let head = Head { first, count: params.len() as u32, a: own[0], b: own[1] };
        self.step(kernel, head, buffers, grid);
    }

    /// Submits it all: `before`, the launches in order, `after`. `is_timed`: with the time of each launch.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails, has no memory, or allows no input or grid of that size.
    pub(crate) fn submit(self, is_timed: bool, before: Box<Before<'_>>, after: Box<After<'_>>) -> Result<Submitted> {
        let Self { device, input: words, heads, launches } = self;
        /// What every device allows along an axis of a grid.
        const MOST: u32 = 65535;
        if let Some(launch) = launches.iter().find(|launch| launch.grid.iter().any(|&groups| groups > MOST)) {
            let (stem, grid) = (launch.kernel.stem, launch.grid);
            return Err(device
                .error(format!("{stem}: a grid of {grid:?} workgroups, {MOST} are the most; use smaller batches")));
        }
        let (raw, queue) = device.raw();
        // Kernels bind both whether they use them or not.
        let input_bytes = 4 * (words.len() as u64).max(1);
        let head_bytes = u64::from(HEAD_PITCH) * (heads.len() as u64).max(1);
        let head_start = input_bytes.next_multiple_of(HEAD_PITCH.into());
        let input = device.buffer(input_bytes, STORAGE)?;
        let head_buffer = device.buffer(head_bytes, HEADS)?;
        let staging = device.staging(head_start + head_bytes, |view| {
            let bytes: &[u8] = bytemuck::cast_slice(&words);
            view.slice(..bytes.len()).copy_from_slice(bytes);
            for (n, head) in heads.iter().enumerate() {
                let at = head_start as usize + n * HEAD_PITCH as usize;
                view.slice(at..at + size_of::<Head>()).copy_from_slice(bytemuck::bytes_of(head));
            }
        })?;
        let timer = (is_timed && !launches.is_empty()).then(|| Timer::new(device, launches.len())).transpose()?;
        let submit = || -> Result<wgpu::SubmissionIndex> {
            let mut encoder = raw.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("batch") });
            encoder.copy_buffer_to_buffer(staging.raw(), 0, input.raw(), 0, input_bytes);
            encoder.copy_buffer_to_buffer(staging.raw(), head_start, head_buffer.raw(), 0, head_bytes);
            before(&mut encoder, &input);
            device.encode(&mut encoder, &head_buffer, &input, &launches, timer.as_ref())?;
            if let Some(timer) = &timer {
                timer.resolve(device, &mut encoder)?;
            }
            after(&mut encoder);
            let index = queue.submit([encoder.finish()]);
            staging.used();
            Ok(index)
        };
        let index = device.scoped(submit).map_err(|error| device.failed(&error))??;
        let stems = launches.iter().map(|launch| launch.kernel.stem).collect();
        let request = || timer.map(|timer| timer.request(stems));
        let timed = device.scoped(request).map_err(|error| device.failed(&error))?;
        device.check()?;
        Ok(Submitted { index, bytes: head_start + head_bytes, launches: launches.len(), words, timed })
    }
}
