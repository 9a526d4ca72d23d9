//! Time that a device spends on each launch, by its own timestamps.

use super::device::Device;
use super::memory::Readback;
use crate::engine::LaunchTime;
use crate::error::Result;
use std::collections::BTreeMap;
use wgpu::BufferUsages;

/// Times of launches by shader.
#[derive(Default)]
pub(crate) struct Timing {
    pending: Vec<Timed>,
    sums: BTreeMap<&'static str, (u64, f64)>,
}

/// Submissions whose times may wait to be summed up.
const PENDING: usize = 64;

/// Timestamps of one submission's launches: two each.
pub(crate) struct Timer {
    pub(super) queries: wgpu::QuerySet,
    count: u32,
    readback: Readback,
}

/// A submission whose timestamps are on their way.
pub(crate) struct Timed {
    readback: Readback,
    stems: Vec<&'static str>,
}

impl Timer {
    /// For this many launches.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if there is no memory.
    pub(crate) fn new(device: &Device, launches: usize) -> Result<Self> {
        let count = 2 * launches as u32;
        let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count };
        let readback = Readback::new(device, 8 * u64::from(count))?;
        let queries = device.scoped(|| device.raw().0.create_query_set(&descriptor));
        Ok(Self { queries: queries.map_err(|error| device.failed(&error))?, count, readback })
    }

    /// Copies the timestamps to where the host can read them, at the submission's end.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if there is no memory.
    pub(crate) fn resolve(&self, device: &Device, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        let usage = BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC;
        let resolved = device.buffer(8 * u64::from(self.count), usage)?;
        encoder.resolve_query_set(&self.queries, 0..self.count, resolved.raw(), 0);
        self.readback.copy(encoder, &resolved);
        Ok(())
    }

    /// Asks for them, after the submission of launches with these names. Within [`Device::scoped`].
    pub(crate) fn request(mut self, stems: Vec<&'static str>) -> Timed {
        self.readback.request();
        Timed { readback: self.readback, stems }
    }
}

impl Timing {
    /// Takes over a submission's times.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device failed.
    pub(crate) fn add(&mut self, device: &Device, timed: Timed) -> Result<()> {
        self.pending.push(timed);
        // The oldest was executed long ago.
        if self.pending.len() > PENDING { self.sum_up(device, 1) } else { Ok(()) }
    }

    fn sum_up(&mut self, device: &Device, count: usize) -> Result<()> {
        let period = f64::from(device.raw().1.get_timestamp_period()) * 1e-9;
        for Timed { mut readback, stems } in self.pending.drain(..count) {
            let times: Vec<u64> = readback.read(device, bytemuck::pod_collect_to_vec)?;
            for (stem, time) in stems.into_iter().zip(times.as_chunks::<2>().0) {
                let sum = self.sums.entry(stem).or_default();
                sum.0 += 1;
                sum.1 += time[1].saturating_sub(time[0]) as f64 * period;
            }
        }
        Ok(())
    }

    /// All times up to now, in the order of the shaders' names. Waits for the device.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails.
    pub(crate) fn times(&mut self, device: &Device) -> Result<Vec<LaunchTime>> {
        device.wait(None)?;
        self.sum_up(device, self.pending.len())?;
        let time = |(&name, &(launches, seconds)): (&&'static str, &(u64, f64))| LaunchTime { name, launches, seconds };
        Ok(self.sums.iter().map(time).collect())
    }
}
