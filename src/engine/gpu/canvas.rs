//! A batch in the making: samples are staged side by side; the whole is then one submission.

use super::worker::{Form, Sample, Work};
use super::{Output, Wgpu};
use crate::batch::Images;
use crate::engine::Canvas;
use crate::error::{Error, Result};
use crate::gpu::device::STORAGE;
use crate::gpu::kernel::Head;
use crate::gpu::memory::{Buffer, Readback};
use crate::gpu::recorder::{Recorder, Submitted};
use crate::gpu::{DeviceImages, augment, jpeg, mix, planes, refusal, render};
use crate::mix::Mixing;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most samples of one submission: a sample has up to four entries in a launch, which takes 65535.
const MOST: usize = 16_000;

pub(super) struct GpuCanvas {
    engine: Wgpu,
    side: u32,
    slots: Box<[Mutex<Slot>]>,
    state: Mutex<State>,
}

/// What is known of a slot.
#[derive(Default)]
struct Slot {
    /// What was staged, until it is submitted.
    sample: Option<Arc<Sample>>,
    /// Whether the device refused its file: then it is decoded by the CPU.
    is_refused: bool,
}

/// What was submitted.
#[derive(Default)]
struct State {
    /// `(slots, 3, B, B)` f32.
    values: Option<Buffer>,
    /// A word for each of these slots.
    status: Vec<(Vec<usize>, Readback)>,
    images: Option<Buffer>,
    host: Option<Readback>,
    last: Option<wgpu::SubmissionIndex>,
}

/// The content, whatever a panic may have left there: who panicked has told the loader.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Samples that are made together, with their slots.
struct Group {
    slots: Vec<usize>,
    samples: Vec<Arc<Sample>>,
}

impl GpuCanvas {
    pub(super) fn new(engine: Wgpu, samples: usize, side: u32) -> Self {
        let slots = (0..samples).map(|_| Mutex::default()).collect();
        Self { engine, side, slots, state: Mutex::default() }
    }

    /// Whether the device may decode the file that is staged in the slot next.
    pub(super) fn may_decode(&self, slot: usize) -> bool {
        !locked(&self.slots[slot]).is_refused
    }

    /// Puts a staged sample into a slot.
    pub(super) fn put(&self, slot: usize, sample: Arc<Sample>) -> Result<()> {
        if sample.side != self.side {
            let reason = format!("the plan makes {0}x{0} pixels, the batch has {1}x{1}", sample.side, self.side);
            return Err(Error::config("output", reason));
        }
        locked(&self.slots[slot]).sample = Some(sample);
        Ok(())
    }

    /// The sample that was put into a slot.
    pub(super) fn staged(&self, slot: usize) -> Result<Arc<Sample>> {
        let sample = locked(&self.slots[slot]).sample.clone();
        sample.ok_or_else(|| Error::config("replay", "there is no sample in the slot"))
    }

    fn slot_bytes(&self) -> u64 {
        12 * u64::from(self.side).pow(2)
    }

    /// Cuts `group` until the buffers of each part can be had.
    fn split(&self, group: Group, parts: &mut Vec<Group>) -> Result<()> {
        let most = self.engine.device.largest_buffer() / 4;
        let fits = group.samples.len() <= MOST && needed(&group).is_some_and(|words| words <= most);
        if fits {
            parts.push(group);
            return Ok(());
        }
        let Group { mut slots, mut samples } = group;
        if samples.len() == 1 {
            let reason = format!("one image needs more memory than the {} MB of a buffer", most >> 18);
            return Err(self.engine.device.error(reason));
        }
        let half = samples.len() / 2;
        let second = Group { slots: slots.split_off(half), samples: samples.split_off(half) };
        self.split(Group { slots, samples }, parts)?;
        self.split(second, parts)
    }

    /// Submits one group; with `last`, what makes the batch of the slots.
    fn submit_group(&self, group: &Group, state: &mut State, last: Option<(&[usize], Option<&Mixing>)>) -> Result<()> {
        let (engine, device) = (&self.engine, &self.engine.device);
        let values = match state.values.take() {
            Some(values) => values,
            None => device.buffer(self.slots.len() as u64 * self.slot_bytes(), STORAGE)?,
        };
        let slots = &*state.values.insert(values);

        let memory = locked(&engine.shared.words).pop().unwrap_or_default();
        let mut recorder = Recorder::new(device, memory);
        let bases: Vec<u32> = group.samples.iter().map(|sample| recorder.push(&sample.words)).collect();
        let layout = Layout::of(group).ok_or_else(|| device.error("a batch of more words than can be counted"))?;
        let Layout { made, places, sizes } = &layout;
        let rendered = layout.rendered(&group.slots, &bases);
        let mut render = render::Batch::new(&rendered);
        let rounds = layout.rounds(&render, &bases);

        let words = |words: u64| device.buffer(4 * words, STORAGE);
        let coefficients = words(sizes.coefficients)?;
        let (planes, pixels) = (words(sizes.planes)?, words(sizes.pixels)?);
        let (images, values, middle) =
            (words(render.images_words())?, words(render.values_words())?, words(render.middle_words())?);
        let (stats, status) = (words(rounds.stats_words.into())?, words(made.len() as u64)?);

        let mut codes = Vec::new();
        for (number, (sample, place)) in (0..).zip(made.iter().zip(places)) {
            if let Some(staged) = &sample.work.codes {
                codes.extend(staged.params(number, bases[sample.number], place.coefficients));
            }
        }
        recorder.launch(&jpeg::HUFFMAN, &codes, [0; 2], vec![&coefficients, &status], jpeg::grid(codes.len()));
        let entries = made.iter().zip(places).map(|(sample, place)| (&sample.work.pixels, place, bases[sample.number]));
        let decode = planes::Batch::new(entries);
        recorder.launch(&planes::IDCT, &decode.idct, [0; 2], vec![&coefficients, &planes, &status], decode.idct_grid);
        recorder.launch(&planes::BANDS, &decode.bands, [0; 2], vec![&planes, &status], decode.bands_grid);
        recorder.launch(&planes::PIXELS, &decode.pixels, [0; 2], vec![&planes, &pixels], decode.pixels_grid);

        let buffer = |area: &render::Area| match area {
            render::Area::Pixels => &pixels,
            render::Area::Images => &images,
            render::Area::Values => &values,
            render::Area::Middle => &middle,
            render::Area::Slots => slots,
        };
        let mut tables = locked(&engine.shared.tables);
        for render::Step { kernel, head, areas, grid } in render.crop(&mut tables, recorder.input())? {
            recorder.step(kernel, head, areas.iter().map(buffer).collect(), grid);
        }
        let (steps, blurs) = (recorder.append(&rounds.steps), recorder.append(&rounds.blurs));
        for &augment::Pass { kernel, first, count, a, grid } in &rounds.passes {
            let is_blur = std::ptr::eq(kernel, &augment::AUGMENT_BLUR);
            let head = Head { first: if is_blur { blurs } else { steps } + first, count, a, b: 0 };
            let buffers = if is_blur { vec![&images] } else { vec![&images, &stats] };
            recorder.step(kernel, head, buffers, grid);
        }
        let held = |at: usize| {
            let turned = made[at].work.augment.as_ref().map_or(0, augment::Staged::area);
            render.image(at).map_or(0, |image| image.held ^ turned)
        };
        let held: Vec<usize> = (0..made.len()).map(held).collect();
        for render::Step { kernel, head, areas, grid } in render.finish(|at| held[at], &mut tables, recorder.input())? {
            recorder.step(kernel, head, areas.iter().map(buffer).collect(), grid);
        }
        drop(tables);

        let half = engine.output == Output::DeviceHalf;
        let (mut batch, mut host) = (None, None);
        if let Some((made, mixing)) = last {
            let length = mix::words(made.len(), self.side, half);
            batch = Some(words(length)?);
            if engine.output == Output::Host {
                host = Some(Readback::new(device, (4 * length).max(4))?);
            }
            if let Some(batch) = &batch {
                let entries = mix::params(made, mixing);
                recorder.launch(&mix::MIX, &entries, [self.side, half.into()], vec![slots, batch], mix::grid(length));
            }
        }

        let mut told = Readback::new(device, 4 * (made.len() as u64).max(1))?;
        let finished = layout.finished(group);
        let is_timed = locked(&engine.shared.timing).is_some();
        let submitted = recorder.submit(
            is_timed,
            Box::new(|encoder, input| {
                encoder.clear_buffer(status.raw(), 0, None);
                if sizes.coefficients > 0 {
                    encoder.clear_buffer(coefficients.raw(), 0, Some(4 * sizes.coefficients));
                }
                if rounds.stats_words > 0 {
                    encoder.clear_buffer(stats.raw(), 0, Some(4 * u64::from(rounds.stats_words)));
                }
                for &number in &finished {
                    let (from, to) = (4 * u64::from(bases[number]), group.slots[number] as u64 * self.slot_bytes());
                    encoder.copy_buffer_to_buffer(input.raw(), from, slots.raw(), to, self.slot_bytes());
                }
            }),
            Box::new(|encoder| {
                told.copy(encoder, &status);
                if let (Some(host), Some(batch)) = (&host, &batch) {
                    host.copy(encoder, batch);
                }
            }),
        )?;
        self.count(&submitted, made.len(), host.as_ref().map_or(0, Readback::size));
        let Submitted { index, words, timed, .. } = submitted;
        locked(&engine.shared.words).push(words);
        let ask = || {
            told.request();
            if let Some(host) = &mut host {
                host.request();
            }
        };
        device.scoped(ask).map_err(|error| device.failed(&error))?;
        if let (Some(timing), Some(timed)) = (&mut *locked(&engine.shared.timing), timed) {
            timing.add(device, timed)?;
        }
        state.status.push((made.iter().map(|sample| group.slots[sample.number]).collect(), told));
        if last.is_some() {
            (state.images, state.host) = (batch, host);
        }
        state.last = Some(index);
        Ok(())
    }

    fn count(&self, submitted: &Submitted, samples: usize, downloaded: u64) {
        let shared = &self.engine.shared;
        let launches = submitted.launches as u64;
        shared.launches.fetch_add(launches, Relaxed);
        shared.largest.fetch_max(launches, Relaxed);
        shared.uploaded.fetch_add(submitted.bytes, Relaxed);
        shared.downloaded.fetch_add(downloaded + 4 * samples as u64, Relaxed);
    }
}

impl Canvas for GpuCanvas {
    fn submit(&self, made: &[usize], mixing: Option<&Mixing>) -> Result<Duration> {
        let start = Instant::now();
        let mut state = locked(&self.state);
        let mut group = Group { slots: Vec::new(), samples: Vec::new() };
        for &slot in made {
            if let Some(sample) = locked(&self.slots[slot]).sample.clone() {
                group.slots.push(slot);
                group.samples.push(sample);
            }
        }
        let is_first = state.last.is_none();
        let mut groups = Vec::new();
        self.split(group, &mut groups)?;
        let last = groups.len() - 1;
        for (n, group) in groups.iter().enumerate() {
            self.submit_group(group, &mut state, (n == last).then_some((made, mixing)))?;
            // On the device now. Where a part fails, the whole batch does.
            group.slots.iter().for_each(|&slot| locked(&self.slots[slot]).sample = None);
        }
        if is_first {
            self.engine.shared.batches.fetch_add(1, Relaxed);
            self.engine.shared.images.fetch_add(made.len() as u64, Relaxed);
        }
        Ok(start.elapsed())
    }

    fn refused(&self) -> Result<Vec<usize>> {
        let mut state = locked(&self.state);
        let device = &self.engine.device;
        if let Some(last) = &state.last {
            device.wait(Some(last.clone()))?;
        }
        let mut refused = Vec::new();
        for (slots, mut status) in state.status.drain(..) {
            let words: Vec<u32> = status.read(device, bytemuck::pod_collect_to_vec)?;
            for (slot, word) in slots.into_iter().zip(words) {
                if word != 0 {
                    tracing::debug!(slot, "the device leaves an image to the cpu: {}", refusal(word));
                    locked(&self.slots[slot]).is_refused = true;
                    refused.push(slot);
                }
            }
        }
        refused.sort_unstable();
        self.engine.shared.refused.fetch_add(refused.len() as u64, Relaxed);
        Ok(refused)
    }

    fn finish(self: Box<Self>, made: &[usize], _mixing: Option<&Mixing>) -> Result<Images> {
        let Self { engine, side, state, .. } = *self;
        let State { images, host, .. } = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let shape = [made.len(), 3, side as usize, side as usize];
        let values: usize = shape.iter().product();
        let device = &engine.device;
        device.check()?;
        match (host, images) {
            (Some(mut host), _) => {
                let mut pixels = engine.shared.pool.take(values);
                host.read(device, |bytes| pixels.copy_from_slice(&bytemuck::cast_slice(bytes)[..values]))?;
                Ok(Images::new(pixels, shape, engine.shared.pool.clone()))
            }
            (None, Some(images)) => {
                let half = engine.output == Output::DeviceHalf;
                let bytes = 4 * mix::words(made.len(), side, half);
                Ok(Images::on(DeviceImages::new(images, engine.device, half, bytes), shape))
            }
            (None, None) => Err(device.error("a batch was asked for that was not submitted")),
        }
    }
}

/// Words of the largest buffer that these samples take; `None` where they cannot be counted.
fn needed(group: &Group) -> Option<u64> {
    let layout = Layout::of(group)?;
    let rendered = layout.rendered(&group.slots, &vec![0; group.samples.len()]);
    let render = render::Batch::new(&rendered);
    let stats = layout.rounds(&render, &vec![0; group.samples.len()]).stats_words;
    let input: u64 = group.samples.iter().map(|sample| sample.words.len() as u64).sum();
    let planes::Sizes { coefficients, planes, pixels } = layout.sizes;
    let (images, values, middle) = (render.images_words(), render.values_words(), render.middle_words());
    // Parameters and tables come on top of the samples' words: an eighth and a megabyte are plenty.
    let others = [coefficients, planes, pixels, images, values, middle, stats.into()];
    others.into_iter().chain([input + input / 8 + (1 << 18)]).max()
}

/// A sample that the device makes.
struct Made<'a> {
    /// In the group.
    number: usize,
    work: &'a Work,
}

/// Where the samples of a group lie until they are pixels.
struct Layout<'a> {
    made: Vec<Made<'a>>,
    places: Vec<planes::Place>,
    sizes: planes::Sizes,
}

impl<'a> Layout<'a> {
    fn of(group: &'a Group) -> Option<Self> {
        let made = group.samples.iter().enumerate().filter_map(|(number, sample)| match &sample.form {
            Form::Made(work) => Some(Made { number, work }),
            Form::Finished => None,
        });
        let made: Vec<_> = made.collect();
        let pixels: Vec<_> = made.iter().map(|sample| &sample.work.pixels).collect();
        let (places, sizes) = planes::place(&pixels)?;
        Some(Self { made, places, sizes })
    }

    fn rendered(&self, slots: &[usize], bases: &[u32]) -> Vec<render::Sample<'a>> {
        let sample = |(sample, place): (&Made<'a>, &planes::Place)| render::Sample {
            staged: &sample.work.render,
            base: bases[sample.number],
            pixels: place.pixels,
            stride: sample.work.pixels.size.width,
            slot: slots[sample.number] as u32,
        };
        self.made.iter().zip(&self.places).map(sample).collect()
    }

    fn rounds(&self, render: &render::Batch<'_>, bases: &[u32]) -> augment::Rounds {
        let image = |(at, sample): (usize, &Made<'a>)| {
            let (staged, image) = (sample.work.augment.as_ref()?, render.image(at)?);
            let areas = [image.areas[image.held], image.areas[1 - image.held]];
            Some(augment::Placed { staged, base: bases[sample.number], areas })
        };
        let images: Vec<_> = self.made.iter().enumerate().filter_map(image).collect();
        augment::rounds(&images)
    }

    /// Numbers of the samples that the CPU has finished.
    fn finished(&self, group: &Group) -> Vec<usize> {
        let is_finished = |number: &usize| matches!(group.samples[*number].form, Form::Finished);
        (0..group.samples.len()).filter(is_finished).collect()
    }
}
