//! Memory on a device: pooled buffers, staging memory for uploads, and the way back to the host.

use super::device::{Device, PATIENCE};
use crate::error::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::{Duration, Instant};
use wgpu::{BufferUsages, PollType};

/// Memory on a device. It goes back to the device's pool when it is dropped, with whatever it holds.
pub(crate) struct Buffer {
    buffer: Option<wgpu::Buffer>,
    usage: BufferUsages,
    device: Device,
}

impl Buffer {
    /// The buffer itself. It may be larger than was asked for.
    pub(crate) fn raw(&self) -> &wgpu::Buffer {
        self.buffer.as_ref().expect("it is taken out at its end alone")
    }

    /// Its length in bytes.
    #[cfg(test)]
    pub(crate) fn size(&self) -> u64 {
        self.raw().size()
    }

    /// Keeps it out of the pool: it is in no state to be used again.
    fn discard(&mut self) {
        self.buffer = None;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            let mut pool = self.device.pool();
            let now = pool.requests;
            pool.free.push((now, self.usage, buffer));
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer").field("size", &self.buffer.as_ref().map(wgpu::Buffer::size)).finish()
    }
}

/// What a device has of memory that nobody holds.
#[derive(Default)]
pub(super) struct Pool {
    /// With the number of the request at which each was given back, the oldest first.
    free: Vec<(u64, BufferUsages, wgpu::Buffer)>,
    requests: u64,
    staging: Vec<Staging>,
    uploads: u64,
}

/// Requests after which a buffer that was of no use to any of them is given up: some fifty batches. Stages grow, and what they
/// have outgrown would lie there for ever.
const FORGOTTEN: u64 = 500;
/// The same for staging memory, of which a batch asks once.
const FORGOTTEN_STAGING: u64 = FORGOTTEN / 10;

impl Pool {
    /// The smallest buffer of this size or a little more; of several, the one that was used last, so that batches alike use the
    /// same ones and others can be forgotten.
    fn take(&mut self, size: u64, usage: BufferUsages) -> Option<wgpu::Buffer> {
        self.requests += 1;
        let fits = |(_, u, buffer): &&(u64, BufferUsages, wgpu::Buffer)| {
            *u == usage && (size..=2 * size).contains(&buffer.size())
        };
        let places = self.free.iter().enumerate().rev();
        let (found, _) = places.filter(|(_, entry)| fits(entry)).min_by_key(|(_, (.., buffer))| buffer.size())?;
        Some(self.free.remove(found).2)
    }

    /// Gives up what was forgotten: whether there was any.
    fn forget(&mut self) -> bool {
        let (before, requests) = (self.free.len(), self.requests);
        self.free.retain(|(at, ..)| requests - at < FORGOTTEN);
        self.free.len() < before
    }

    fn take_staging(&mut self, size: u64) -> Option<Staging> {
        self.uploads += 1;
        let fits = |staging: &Staging| {
            staging.is_mapped.load(Ordering::Acquire) && (size..=4 * size).contains(&staging.buffer.size())
        };
        let found = self.staging.iter().position(fits).map(|at| self.staging.swap_remove(at));
        let now = self.uploads;
        self.staging.retain(|staging| now - staging.used_at < FORGOTTEN_STAGING);
        found
    }

    /// Gives up all that can be.
    fn clear(&mut self) {
        self.free.clear();
        self.staging.retain(|staging| !staging.is_mapped.load(Ordering::Acquire));
    }
}

/// Memory that the host writes to and the device copies from.
struct Staging {
    /// The upload that used it last.
    used_at: u64,
    buffer: wgpu::Buffer,
    /// Whether the host can write to it: the device is done with it.
    is_mapped: Arc<AtomicBool>,
}

/// Staging memory that was written. Where no submission uses it, it is given up.
pub(crate) struct Written {
    staging: Staging,
    device: Device,
}

impl Written {
    pub(crate) fn raw(&self) -> &wgpu::Buffer {
        &self.staging.buffer
    }

    /// Gives it back to the pool: the submission that copies from it was made. Within [`Device::scoped`], as that is.
    pub(crate) fn used(self) {
        let Self { mut staging, device } = self;
        let is_mapped = staging.is_mapped.clone();
        staging.buffer.map_async(wgpu::MapMode::Write, .., move |result| {
            is_mapped.store(result.is_ok(), Ordering::Release);
        });
        let mut pool = device.pool();
        staging.used_at = pool.uploads;
        pool.staging.push(staging);
    }
}

impl Device {
    /// A buffer of at least `size` bytes and of any content, from the pool where one fits.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if it is more than the device has, or than a kernel can be given.
    pub(crate) fn buffer(&self, size: u64, usage: BufferUsages) -> Result<Buffer> {
        self.check()?;
        if size > self.largest_buffer() {
            let most = self.largest_buffer();
            return Err(self.error(format!("a buffer of {size} bytes, {most} are the most; use smaller batches")));
        }
        // Steps of an eighth: what one batch used fits the next, which is never just as large.
        let size = size.max(256);
        let step = (size.next_power_of_two() / 8).max(256);
        let size = size.next_multiple_of(step).min(self.largest_buffer());
        let (found, is_less) = {
            let mut pool = self.pool();
            (pool.take(size, usage), pool.forget())
        };
        if is_less {
            // They hold the buffers that they are for.
            self.forget_groups();
        }
        let buffer = match found {
            Some(buffer) => buffer,
            None => self.create(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })?,
        };
        Ok(Buffer { buffer: Some(buffer), usage, device: self.clone() })
    }

    /// A new buffer. Where memory is short, what the pool has is given up for it.
    fn create(&self, descriptor: &wgpu::BufferDescriptor<'_>) -> Result<wgpu::Buffer> {
        let (raw, _) = self.raw();
        match self.scoped(|| raw.create_buffer(descriptor)) {
            Ok(buffer) => return Ok(buffer),
            Err(wgpu::Error::OutOfMemory { .. }) => {}
            Err(error) => return Err(self.failed(&error)),
        }
        self.pool().clear();
        self.forget_groups();
        let _ = raw.poll(PollType::Poll);
        self.scoped(|| raw.create_buffer(descriptor)).map_err(|error| self.failed(&error))
    }

    /// Staging memory of `size` bytes, filled by `fill`.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if there is none.
    pub(crate) fn staging(&self, size: u64, fill: impl FnOnce(&mut wgpu::BufferViewMut)) -> Result<Written> {
        // Tells which of the pool's the device is done with.
        let _ = self.raw().0.poll(PollType::Poll);
        let found = self.pool().take_staging(size);
        let staging = match found {
            Some(staging) => staging,
            None => {
                let buffer = self.create(&wgpu::BufferDescriptor {
                    label: Some("staging"),
                    size: size.next_multiple_of(64 << 10),
                    usage: BufferUsages::MAP_WRITE | BufferUsages::COPY_SRC,
                    mapped_at_creation: true,
                })?;
                Staging { used_at: 0, buffer, is_mapped: Arc::default() }
            }
        };
        {
            let view = staging.buffer.get_mapped_range_mut(..);
            let mut view = view.map_err(|e| self.error(format!("its memory could not be written: {e}")))?;
            fill(&mut view);
        }
        self.unmap(&staging.buffer)?;
        staging.is_mapped.store(false, Ordering::Release);
        Ok(Written { staging, device: self.clone() })
    }

    /// Takes a buffer back from the host. In words of its own where the device is gone by now: wgpu would tell its owner, and
    /// where that has no ear for it, panic.
    fn unmap(&self, buffer: &wgpu::Buffer) -> Result<()> {
        self.scoped(|| buffer.unmap()).map_err(|error| self.failed(&error))
    }

    /// Copies `data` to the start of `buffer` before whatever is submitted next.
    #[cfg(test)]
    pub(crate) fn upload(&self, buffer: &Buffer, data: &[u8]) {
        self.raw().1.write_buffer(buffer.raw(), 0, data);
    }

    /// The first `size` bytes of `buffer`, after all that was submitted before. Blocks.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails or does not answer.
    pub(crate) fn download(&self, buffer: &Buffer, size: u64) -> Result<Vec<u8>> {
        let mut readback = Readback::new(self, size.next_multiple_of(4))?;
        let (raw, queue) = self.raw();
        let submit = || {
            let mut encoder = raw.create_command_encoder(&Default::default());
            readback.copy(&mut encoder, buffer);
            let index = queue.submit([encoder.finish()]);
            readback.request();
            index
        };
        let index = self.scoped(submit).map_err(|error| self.failed(&error))?;
        self.wait(Some(index))?;
        readback.read(self, |bytes| bytes[..size as usize].to_vec())
    }
}

/// Bytes on their way back to the host.
pub(crate) struct Readback {
    buffer: Buffer,
    size: u64,
    /// There from [`Readback::request`] until they are read.
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

    /// The bytes, once, of a submission that was waited for.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device failed.
    pub(crate) fn read<T>(&mut self, device: &Device, use_bytes: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let unreadable = || device.error("its memory could not be read");
        let answer = self.answer.as_ref().ok_or_else(unreadable)?;
        // Another thread that polls the device may have the answer in hand, not yet told.
        let start = Instant::now();
        loop {
            match answer.recv_timeout(Duration::from_millis(1)) {
                Ok(Ok(())) => break,
                Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {
                    device.check()?;
                    return Err(unreadable());
                }
                Err(RecvTimeoutError::Timeout) => {
                    device.check()?;
                    if start.elapsed() > PATIENCE {
                        return Err(unreadable());
                    }
                    let _ = device.raw().0.poll(PollType::Poll);
                }
            }
        }
        let view = self.buffer.raw().slice(..self.size).get_mapped_range().map_err(|_| unreadable())?;
        let result = use_bytes(&view);
        drop(view);
        self.answer = None;
        device.unmap(self.buffer.raw())?;
        Ok(result)
    }
}

impl Drop for Readback {
    fn drop(&mut self) {
        // Of a batch that was given up. What is not mapped yet is on its way to be, and must not be used by others.
        let is_free = match self.answer.as_ref().map(Receiver::try_recv) {
            None => true,
            Some(Ok(Ok(()))) => self.buffer.device.unmap(self.buffer.raw()).is_ok(),
            Some(Ok(Err(_)) | Err(TryRecvError::Empty | TryRecvError::Disconnected)) => false,
        };
        if !is_free {
            self.buffer.discard();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::device::{HEADS, STORAGE};
    use super::*;

    fn own_device() -> Device {
        let name = crate::gpu::testing::device().report().name.clone();
        Device::open(Some(&name)).unwrap()
    }

    #[test]
    fn memory_of_a_device_that_its_owner_has_ended_is_let_go_in_silence() {
        let own = own_device();
        let (adapter, _) = super::super::adapter::choose(Some(&own.report().name)).unwrap();
        let descriptor = wgpu::DeviceDescriptor::default();
        // Nobody listens to its errors: one that no call tells is a panic.
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
        let shared = Device::share(&adapter, device.clone(), queue).unwrap();
        let from = shared.buffer(1024, STORAGE).unwrap();
        let written = shared.staging(1024, |view| view.slice(..).fill(1)).unwrap();
        let mut readback = Readback::new(&shared, 1024).unwrap();
        let mut encoder = shared.raw().0.create_command_encoder(&Default::default());
        readback.copy(&mut encoder, &from);
        shared.raw().1.submit([encoder.finish()]);
        readback.request();
        shared.wait(None).unwrap();
        assert!(shared.ask().is_ok());
        device.destroy();
        let error = shared.ask().unwrap_err().to_string();
        assert!(error.contains("the device is lost"), "{error}");
        let _ = shared.scoped(|| written.used());
        drop(readback);
        assert!(shared.staging(1024, |_| {}).is_err() && shared.download(&from, 16).is_err());
    }

    #[test]
    fn buffers_are_used_again_and_forgotten_when_no_request_fits_them() {
        let device = own_device();
        let pooled = || device.pool().free.len();
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

    #[test]
    fn readbacks_that_nobody_reads_do_no_harm() {
        let device = own_device();
        let from = device.buffer(1024, STORAGE).unwrap();
        device.upload(&from, &[7; 1024]);
        for round in 0..20 {
            // Never asked for; asked for and given up at once; asked for, answered, given up.
            drop(Readback::new(&device, 1024).unwrap());
            let mut readback = Readback::new(&device, 1024).unwrap();
            let (raw, queue) = device.raw();
            let mut encoder = raw.create_command_encoder(&Default::default());
            readback.copy(&mut encoder, &from);
            queue.submit([encoder.finish()]);
            readback.request();
            if round % 2 == 0 {
                device.wait(None).unwrap();
            }
            drop(readback);
            assert_eq!(device.download(&from, 1022).unwrap(), [7; 1022]);
        }
        device.check().unwrap();
    }
}
