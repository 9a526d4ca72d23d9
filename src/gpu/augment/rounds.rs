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
    /// The first of its entries, in [`Rounds::blurs`] if its kernel is [`AUGMENT_BLUR`], else in [`Rounds::steps`].
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// `head.a`.
    pub(crate) a: u32,
    pub(crate) grid: [u32; 3],
}

/// What augments a batch.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    pub(crate) steps: Vec<Params>,
    pub(crate) blurs: Vec<BlurParams>,
    /// In their order.
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
pub(crate) fn rounds(images: &[Placed<'_>]) -> Rounds {
    let mut all = Rounds::default();
    let last = images.iter().map(|image| image.staged.rounds()).max().unwrap_or(0);
    for round in 0..last {
        let (step, blur) = (all.steps.len(), all.blurs.len());
        for image in images {
            let (src, dst) = (image.areas[round % 2], image.areas[(round + 1) % 2]);
            match image.staged.steps.get(round) {
                Some(Step::Apply(params)) => all.steps.push(Params { src, dst, at: image.base + params.at, ..*params }),
                Some(Step::Blur(params)) => all.blurs.push(BlurParams { src, dst, ..*params }),
                None => {}
            }
        }
        // Those that need sums first, so that one launch makes them.
        let steps = &mut all.steps[step..];
        steps.sort_by_key(|params| Kind::sums(params.kind) == 0);
        let mut summed = 0;
        for params in steps.iter_mut().take_while(|params| Kind::sums(params.kind) > 0) {
            params.stats = all.stats_words;
            all.stats_words += Kind::sums(params.kind);
            summed += 1;
        }
        let steps = &all.steps[step..];
        let (across, down, parts) = (
            most(steps, |p| p.width.div_ceil(TILE)),
            most(steps, |p| p.height.div_ceil(TILE)),
            most(&steps[..summed], |p| (p.width * p.height).div_ceil(PART)),
        );
        let blurs = &all.blurs[blur..];
        let rows = most(blurs, |p| blur_groups(p.width, p.height));
        let columns = most(blurs, |p| blur_groups(p.height, p.width));
        let summed = summed as u32;
        let (steps, blurs) = (steps.len() as u32, blurs.len() as u32);
        let (step, blur) = (step as u32, blur as u32);
        let passes = [
            Pass { kernel: &AUGMENT_STATS, first: step, count: summed, a: 0, grid: [parts, 1, summed] },
            Pass { kernel: &AUGMENT_APPLY, first: step, count: steps, a: 0, grid: [across, down, steps] },
            Pass { kernel: &AUGMENT_BLUR, first: blur, count: blurs, a: 0, grid: [rows, 1, blurs] },
            Pass { kernel: &AUGMENT_BLUR, first: blur, count: blurs, a: 1, grid: [columns, 1, blurs] },
        ];
        all.passes.extend(passes.into_iter().filter(|pass| pass.count > 0));
    }
    all
}

fn most<P>(entries: &[P], f: impl Fn(&P) -> u32) -> u32 {
    entries.iter().map(f).max().unwrap_or(0)
}
