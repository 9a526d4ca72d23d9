//! The steps of all images of a batch, put together to launches.

use super::stage::{Kind, Staged, Step};
use super::{AUGMENT_APPLY, AUGMENT_BLUR, AUGMENT_STATS, BlurParams, LONGEST_LINE, Params};
use crate::gpu::kernel::Kernel;

/// An image with its place in the batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed<'a> {
    pub(crate) staged: &'a Staged,
    /// Where the sample's words are in the input.
    pub(crate) base: u32,
    /// First words of its two areas in the buffer of images, of [`Staged`]'s size each. The first holds the image.
    pub(crate) areas: [u32; 2],
}

/// One launch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    pub(crate) kernel: &'static Kernel,
    /// The first of its entries, in [`Rounds::blurs`] if its kernel is [`AUGMENT_BLUR`], else in [`Rounds::steps`]; its head adds
    /// where those begin in the input.
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// `head.a`.
    pub(crate) a: u32,
    pub(crate) grid: [u32; 3],
}

/// What augments a batch, in its order.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    pub(crate) steps: Vec<Params>,
    pub(crate) blurs: Vec<BlurParams>,
    pub(crate) passes: Vec<Pass>,
    /// Words of the buffer of sums, which must be zeros before the first pass.
    pub(crate) stats_words: u32,
}

/// Pixels of a workgroup of `augment_stats`.
const PART: u32 = 4096;
/// Side of the square that a workgroup of `augment_apply` writes.
const TILE: u32 = 32;
/// Most lines of a workgroup of `augment_blur`.
const LINES: u32 = 16;

/// Workgroups of `augment_blur` for `count` lines of `length` pixels.
fn blur_groups(length: u32, count: u32) -> u32 {
    count.div_ceil((LONGEST_LINE / length.next_power_of_two()).min(LINES))
}

/// The launches for a batch of at most 65535 images.
///
/// An image whose next step is a blur waits until all next steps are: blurs then share two launches, wherever in their images'
/// lists they are.
pub(crate) fn rounds(images: &[Placed<'_>]) -> Rounds {
    let mut all = Rounds::default();
    let mut done = vec![0; images.len()];
    loop {
        let (first, blurs) = (all.steps.len(), all.blurs.len());
        for (image, done) in images.iter().zip(&mut done) {
            let [src, dst] = image.areas_of(*done);
            if let Some(Step::Apply(params)) = image.staged.steps.get(*done) {
                all.steps.push(Params { src, dst, at: image.base + params.at, ..*params });
                *done += 1;
            }
        }
        if all.steps.len() > first {
            all.apply(first);
            continue;
        }
        for (image, done) in images.iter().zip(&mut done) {
            let [src, dst] = image.areas_of(*done);
            if let Some(Step::Blur(params)) = image.staged.steps.get(*done) {
                all.blurs.push(BlurParams { src, dst, ..*params });
                *done += 1;
            }
        }
        if all.blurs.len() == blurs {
            return all;
        }
        all.blur(blurs);
    }
}

impl Placed<'_> {
    /// Where its next step reads and writes after so many.
    fn areas_of(&self, done: usize) -> [u32; 2] {
        [self.areas[done % 2], self.areas[(done + 1) % 2]]
    }
}

impl Rounds {
    /// A round of the steps from `first` on.
    fn apply(&mut self, first: usize) {
        let steps = &mut self.steps[first..];
        // Those that need sums first, so that one launch makes them.
        steps.sort_by_key(|step| Kind::sums(step.kind) == 0);
        let summed = steps.iter().take_while(|step| Kind::sums(step.kind) > 0).count();
        for step in &mut steps[..summed] {
            step.stats = self.stats_words;
            self.stats_words += Kind::sums(step.kind);
        }
        let most = |steps: &[Params], f: fn(&Params) -> u32| steps.iter().map(f).max().unwrap_or(0);
        let parts = most(&steps[..summed], |step| (step.width * step.height).div_ceil(PART));
        let across = most(steps, |step| step.width.div_ceil(TILE));
        let down = most(steps, |step| step.height.div_ceil(TILE));
        let (first, summed, count) = (first as u32, summed as u32, steps.len() as u32);
        if summed > 0 {
            self.passes.push(Pass { kernel: &AUGMENT_STATS, first, count: summed, a: 0, grid: [parts, 1, summed] });
        }
        self.passes.push(Pass { kernel: &AUGMENT_APPLY, first, count, a: 0, grid: [across, down, count] });
    }

    /// The blurs from `first` on.
    fn blur(&mut self, first: usize) {
        let blurs = &self.blurs[first..];
        let rows = blurs.iter().map(|blur| blur_groups(blur.width, blur.height)).max().unwrap_or(0);
        let columns = blurs.iter().map(|blur| blur_groups(blur.height, blur.width)).max().unwrap_or(0);
        let (first, count) = (first as u32, blurs.len() as u32);
        for (a, groups) in [(0, rows), (1, columns)] {
            self.passes.push(Pass { kernel: &AUGMENT_BLUR, first, count, a, grid: [groups, 1, count] });
        }
    }
}
