//! One submission: what it brings from the host, its launches, and what it brings back.

use super::device::{Buffer, Device, HEAD_PITCH, HEADS, Launch, STORAGE};
use super::kernel::{Head, Kernel};
use crate::error::Result;
use bytemuck::Pod;
use std::sync::mpsc::{Receiver, channel};
use wgpu::BufferUsages;

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
#[derive(Debug, Clone)]
pub(crate) struct Submitted {
    pub(crate) index: wgpu::SubmissionIndex,
    /// Bytes that crossed the bus.
    pub(crate) bytes: u64,
    pub(crate) launches: usize,
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

    /// Submits it all: `before`, the launches in order, `after`. Gives the input's memory back.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails, has no memory, or allows no input or grid of that size.
    pub(crate) fn submit(self, before: Box<Before<'_>>, after: Box<After<'_>>) -> Result<(Submitted, Vec<u32>)> {
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
        let mut encoder = raw.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("batch") });
        encoder.copy_buffer_to_buffer(staging.raw(), 0, input.raw(), 0, input_bytes);
        encoder.copy_buffer_to_buffer(staging.raw(), head_start, head_buffer.raw(), 0, head_bytes);
        before(&mut encoder, &input);
        let timer = device.timer(launches.len());
        device.encode(&mut encoder, &head_buffer, &input, &launches, timer.as_ref())?;
        let timer = timer.map(|timer| timer.resolve(&mut encoder)).transpose()?;
        after(&mut encoder);
        let index = queue.submit([encoder.finish()]);
        staging.used();
        if let Some(timer) = timer {
            device.timed(timer, launches.iter().map(|launch| launch.kernel.stem).collect());
        }
        device.check()?;
        Ok((Submitted { index, bytes: head_start + head_bytes, launches: launches.len() }, words))
    }
}

/// Bytes on their way back to the host.
pub(crate) struct Readback {
    buffer: Buffer,
    size: u64,
    answer: Option<Receiver<Result<(), wgpu::BufferAsyncError>>>,
}

impl Readback {
    /// Memory for `size` bytes, a multiple of 4.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if there is none.
    pub(crate) fn new(device: &Device, size: u64) -> Result<Self> {
        let buffer = device.buffer(size, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
        Ok(Self { buffer, size, answer: None })
    }

    /// Bytes that are asked for.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Copies the start of `from`, when what was encoded before is done.
    pub(crate) fn copy(&self, encoder: &mut wgpu::CommandEncoder, from: &Buffer) {
        encoder.copy_buffer_to_buffer(from.raw(), 0, self.buffer.raw(), 0, self.size);
    }

    /// Asks for the bytes; after the submission with the copy.
    pub(crate) fn request(&mut self) {
        let (told, answer) = channel();
        self.buffer.raw().slice(..self.size).map_async(wgpu::MapMode::Read, move |result| {
            // Nobody listens any more where the batch was given up.
            let _ = told.send(result);
        });
        self.answer = Some(answer);
    }

    /// The bytes, of a submission that was waited for.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device failed.
    pub(crate) fn read<T>(&self, device: &Device, use_bytes: impl FnOnce(&[u8]) -> T) -> Result<T> {
        device.check()?;
        let unreadable = || device.error("its memory could not be read");
        let answer = self.answer.as_ref().and_then(|answer| answer.try_recv().ok());
        if !matches!(answer, Some(Ok(()))) {
            return Err(unreadable());
        }
        let view = self.buffer.raw().slice(..self.size).get_mapped_range().map_err(|_| unreadable())?;
        Ok(use_bytes(&view))
    }
}

impl Drop for Readback {
    fn drop(&mut self) {
        // Also of what was never read: the buffer goes back to the pool, where it must not be mapped.
        self.buffer.raw().unmap();
    }
}
