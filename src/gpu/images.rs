//! A batch that stays on its device.

use super::device::Device;
use super::memory::Buffer;
use crate::error::{Error, Result};
use half::f16;

/// Images of a batch in device memory: `(N, 3, B, B)` f32, or f16 two in a word.
///
/// The device has been told to make them: work that is submitted to the same queue from now on sees them, and there is no need to
/// wait. The memory is used for another batch once they are dropped: submit what reads them before that.
#[derive(Debug)]
pub struct DeviceImages {
    buffer: Buffer,
    device: Device,
    half: bool,
    bytes: u64,
}

impl DeviceImages {
    pub(crate) fn new(buffer: Buffer, device: Device, half: bool, bytes: u64) -> Self {
        Self { buffer, device, half, bytes }
    }

    /// The device that they are on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether they are f16 and not f32. The last word of an odd number of values ends in a zero.
    pub fn is_half(&self) -> bool {
        self.half
    }

    /// Their length in bytes, a multiple of 4.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The buffer that begins with them; what lies behind [`DeviceImages::bytes`] is not theirs. Usages: storage, copy from and to.
    pub fn buffer(&self) -> &wgpu::Buffer {
        self.buffer.raw()
    }

    /// Copies them into a buffer of the caller's on the same device, at `offset` bytes, a multiple of 4: into a framework's tensor,
    /// say. Nothing waits, and nothing goes through the host.
    ///
    /// # Errors
    /// [`Error::Config`] if they do not fit there, or if the buffer cannot be copied to: it is mapped, or another device's.
    pub fn copy_into(&self, target: &wgpu::Buffer, offset: u64) -> Result<()> {
        let fits = offset.is_multiple_of(4) && offset.checked_add(self.bytes).is_some_and(|end| end <= target.size());
        if !fits {
            let reason = format!("{} bytes at {offset} do not fit into a buffer of {}", self.bytes, target.size());
            return Err(Error::config("images", reason));
        }
        if !target.usage().contains(wgpu::BufferUsages::COPY_DST) {
            return Err(Error::config("images", "the buffer's usages do not include COPY_DST"));
        }
        let (device, queue) = self.device.raw();
        let copy = || {
            let mut encoder = device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(self.buffer.raw(), 0, target, offset, self.bytes);
            queue.submit([encoder.finish()])
        };
        match self.device.scoped(copy) {
            Ok(_) => self.device.check(),
            Err(wgpu::Error::Validation { description, .. }) => Err(Error::config("images", description)),
            Err(error) => Err(self.device.failed(&error)),
        }
    }

    /// `count` values as f32. Blocks.
    pub(crate) fn values(&self, count: usize) -> Result<Vec<f32>> {
        let bytes = self.device.download(&self.buffer, self.bytes)?;
        if !self.half {
            return Ok(bytemuck::pod_collect_to_vec(&bytes[..4 * count]));
        }
        Ok(bytes.as_chunks::<2>().0.iter().take(count).map(|two| f16::from_le_bytes(*two).to_f32()).collect())
    }
}
