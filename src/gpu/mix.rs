//! The last step of a batch: slots closed up, mixed, and as f32 or f16.
//!
//! Twin: `shaders/mix.wgsl`. Reference: [`Mixing::apply`].

use super::kernel::{Kernel, kernel, params};
use crate::mix::{Mixed, Mixing};

params! {
    /// One image of the batch.
    pub(crate) struct Params {
        own: u32, partner: u32, kind: u32, lambda: f32, rest: f32, x: u32, y: u32, width: u32, height: u32,
    }
}

/// Reads the slots, writes the images. `head.a` is the side, `head.b` 1 for f16.
///
/// Tolerance: one unit in the last place of the larger product (2^-23 of it), since a device may fuse a product and a sum.
pub(crate) static MIX: Kernel = kernel!("mix", Params, [Read, Write]);

/// The kernels here.
pub(crate) const KERNELS: &[&Kernel] = &[&MIX];

/// Workgroups along x.
const ROW: u32 = 32768;

/// One entry for each of the slots in `made`, which become the images of the batch in this order.
pub(crate) fn params(made: &[usize], mixing: Option<&Mixing>) -> Vec<Params> {
    let of = |image: usize| {
        let own = made[image] as u32;
        let Some(mixing) = mixing else { return Params { own, partner: own, ..Params::default() } };
        let partner = made[mixing.partner(image)] as u32;
        let plain = Params { own, partner, ..Params::default() };
        match mixing.images()[image] {
            Mixed::Untouched => plain,
            Mixed::Blend { lambda } => Params { kind: 1, lambda: lambda as f32, rest: (1.0 - lambda) as f32, ..plain },
            Mixed::Paste { rect } => {
                Params { kind: 2, x: rect.x, y: rect.y, width: rect.width, height: rect.height, ..plain }
            }
        }
    };
    (0..made.len()).map(of).collect()
}

/// Words of the result.
pub(crate) fn words(images: usize, side: u32, half: bool) -> u64 {
    let values = images as u64 * 3 * u64::from(side).pow(2);
    if half { values.div_ceil(2) } else { values }
}

/// The launch's grid for this many words.
pub(crate) fn grid(words: u64) -> [u32; 3] {
    let groups = u32::try_from(words.div_ceil(256)).expect("a buffer has no more words than that");
    [groups.min(ROW), groups.div_ceil(ROW), 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{Case, assert_close, garbage, run};
    use crate::shape::Rect;
    use half::f16;

    fn launch(made: &[usize], mixing: Option<&Mixing>, side: u32, slots: &[f32], half: bool) -> Vec<u32> {
        let words = words(made.len(), side, half);
        let buffers = [bytemuck::cast_slice(slots).to_vec(), garbage(words as usize)];
        let params = params(made, mixing);
        let case = Case {
            kernel: &MIX,
            params: &params,
            input: &[],
            a: side,
            b: half.into(),
            buffers: &buffers,
            grid: grid(words),
        };
        run(case).swap_remove(1)
    }

    /// The harness against a shader with a mistake in it, so that it is known to tell one.
    #[test]
    #[should_panic(expected = "a share that is the partner's")]
    fn a_planted_mistake_is_seen() {
        let source = MIX.source.replace("own * image.lambda + partner", "partner * image.lambda + own");
        assert_ne!(source, MIX.source);
        let kernel = Box::leak(Box::new(Kernel { stem: "mix_planted", source: source.leak(), ..MIX }));
        let slots: Vec<f32> = (0..24).map(|i| i as f32 * 0.25).collect();
        let mixing = Mixing::new(2, vec![Mixed::Blend { lambda: 0.3 }, Mixed::Untouched]).unwrap();
        let mut expected = slots.clone();
        mixing.apply(&mut expected).unwrap();
        let buffers = [bytemuck::cast_slice(&slots).to_vec(), garbage(24)];
        let params = params(&[0, 1], Some(&mixing));
        let case = Case { kernel, params: &params, input: &[], a: 2, b: 0, buffers: &buffers, grid: grid(24) };
        let got = run(case).swap_remove(1);
        assert_close("a share that is the partner's", bytemuck::cast_slice(&got), &expected, 5.0 * f32::EPSILON);
    }

    #[test]
    fn images_are_closed_up_and_mixed_as_on_the_cpu() {
        for side in [1, 7, 33] {
            let len = 3 * (side * side) as usize;
            let slots: Vec<f32> = (0..6 * len).map(|i| ((i * 7919 % 1013) as f32 - 500.0) * 0.01).collect();
            let made = [0, 2, 3, 5];
            let rect = Rect { x: side / 3, y: side / 2, width: side.div_ceil(2), height: side - side / 2 };
            let (blend, paste) = (Mixed::Blend { lambda: 0.3 }, Mixed::Paste { rect });
            let cases = [
                None,
                Some(vec![blend, Mixed::Untouched, paste, blend]),
                Some(vec![paste, paste, Mixed::Untouched, paste]),
            ];
            for images in cases {
                let mixing = images.map(|images| Mixing::new(side, images).unwrap());
                let mut expected: Vec<f32> =
                    made.iter().flat_map(|&slot| slots[slot * len..][..len].to_vec()).collect();
                if let Some(mixing) = &mixing {
                    mixing.apply(&mut expected).unwrap();
                }
                let got = launch(&made, mixing.as_ref(), side, &slots, false);
                assert_close("f32", bytemuck::cast_slice(&got), &expected, 5.0 * f32::EPSILON);
                let got = launch(&made, mixing.as_ref(), side, &slots, true);
                let halves: &[u16] = bytemuck::cast_slice(&got);
                let got: Vec<f32> = halves[..expected.len()].iter().map(|h| f16::from_bits(*h).to_f32()).collect();
                // Half a unit in the last place of f16 at 5.
                assert_close("f16", &got, &expected, 4.0 / 2048.0);
            }
        }
    }
}
