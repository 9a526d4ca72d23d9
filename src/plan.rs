//! The plan of one sample: every random number is drawn here, on the host, before an engine runs.

use crate::augment::{Op, Ops, Policy};
use crate::decode::Fidelity;
use crate::erase::{Erasing, Erasures};
use crate::error::{Error, Result};
use crate::recipe::{AugmentAt, IMAGENET_FILL, IMAGENET_MEAN, IMAGENET_STD, Magnitude, Recipe};
use crate::rng::{Draw, Purpose, mix};
use crate::schedule::Stage;
use crate::shape::{BandCrop, Filter, Rect, Size};

/// A crop in space and the resize that follows: `region` is resized to `grid`, of which `window` is kept.
///
/// A random resized crop keeps the whole grid; an evaluation crop resizes the whole image and keeps the centre.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResizedCrop {
    /// The pixels that may be read, in the image after its EXIF orientation is applied.
    pub region: Rect,
    /// Size that `region` is resized to.
    pub grid: Size,
    /// Part of the grid that is kept.
    pub window: Rect,
    /// The resampling filter, antialiased.
    pub filter: Filter,
}

/// The band crop of one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BandPlan {
    /// Side of the output: B.
    pub band: u32,
    /// How it is cut.
    pub crop: BandCrop,
}

/// Everything an engine needs to know to make one sample's pixels. Engines add no randomness.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplePlan {
    /// Crop in space, and resize to the base size.
    pub crop: ResizedCrop,
    /// Mirror left to right.
    pub flip: bool,
    /// Crop in frequency; `None` where the crop already has the output's size.
    pub band: Option<BandPlan>,
    /// Whether the image may be decoded at a reduced scale. Where `fuse` is off it never is.
    pub fidelity: Fidelity,
    /// Run crop and band crop as one linear map, as far as nothing comes between.
    pub fuse: bool,
    /// Augmentation of the 8-bit pixels, in this order.
    pub ops: Ops,
    /// Whether `ops` come before the band crop, at the base size, or after it.
    pub augment_at: AugmentAt,
    /// What geometric operations put where there is no image.
    pub fill: [u8; 3],
    /// Boxes that are erased in the normalised values.
    pub erasures: Erasures,
    /// Whether `erasures` are in the pixels of the base size, before the band crop; else in the output's. Never with
    /// [`AugmentAt::Band`].
    pub erase_before_band: bool,
    /// Mean by channel, of values in `0..=1`.
    pub mean: [f32; 3],
    /// Standard deviation by channel.
    pub std: [f32; 3],
}

impl SamplePlan {
    /// The crop and nothing else: no flip, band, augmentation or erasing; fused; ImageNet's mean and standard deviation.
    pub const fn new(crop: ResizedCrop) -> Self {
        Self {
            crop,
            flip: false,
            band: None,
            fidelity: Fidelity::Fast,
            fuse: true,
            ops: Ops::NONE,
            augment_at: AugmentAt::Base,
            fill: IMAGENET_FILL,
            erasures: Erasures::NONE,
            erase_before_band: false,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
        }
    }

    /// Whether something comes between crop and band that no linear map can be: augmentation, or erasing before the band.
    pub fn has_steps(&self) -> bool {
        !self.ops.is_empty() || (self.erase_before_band && !self.erasures.is_empty())
    }

    /// Side of the square output in pixels.
    pub fn output(&self) -> u32 {
        self.band.map_or(self.crop.window.width, |b| b.band)
    }
}

/// What names one sample of a run: the same key gives the same plan, on every machine and worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SampleKey {
    /// The run's seed.
    pub seed: u64,
    /// Pass over the data set, from 0.
    pub epoch: u64,
    /// Place in the epoch's order, from 0.
    pub position: u64,
    /// 0 for the sample as it comes first; other numbers make the plans of its later uses, each its own.
    pub replay: u64,
}

impl SampleKey {
    fn draw(&self, purpose: Purpose) -> Draw {
        let seed = if self.replay == 0 { self.seed } else { mix(self.seed ^ mix(self.replay)) };
        Draw::at(seed, self.epoch, self.position, purpose)
    }
}

/// Plan of a training sample: random resized crop, flip, augmentation, erasing (`randaugment.md` §3), and the stage's band.
///
/// `magnitude` is RandAugment's mean ([`Recipe::magnitude_at`]); `size` is the image's after orientation.
///
/// # Errors
/// [`Error::Config`] if the image has no pixels, or if the recipe makes more operations than an image can have.
pub fn train(key: SampleKey, stage: &Stage, magnitude: f64, recipe: &Recipe, size: Size) -> Result<SamplePlan> {
    not_empty(size)?;
    let band = band(stage);
    let output = Size::square(stage.band);
    let growth = &stage.growth;
    let erasing = recipe.erasing.map(|own| Erasing { probability: growth.erasing.unwrap_or(own.probability), ..own });
    let (erasures, erase_before_band) = match &erasing {
        None => (Erasures::NONE, false),
        Some(erasing) => {
            let base = recipe.augment_at == AugmentAt::Base;
            let before = base && band.is_some_and(|band| erasing.at.is_before(band.crop));
            let side = if before { Size::square(stage.base) } else { output };
            (erasing.draw(&mut key.draw(Purpose::Erase), side), before)
        }
    };
    Ok(SamplePlan {
        crop: ResizedCrop {
            region: random_crop(&mut key.draw(Purpose::Crop), size, growth.scale.unwrap_or(recipe.scale), recipe.ratio),
            grid: Size::square(stage.base),
            window: Rect::whole(Size::square(stage.base)),
            filter: recipe.filter,
        },
        flip: key.draw(Purpose::Flip).chance(recipe.flip),
        band,
        fidelity: recipe.fidelity,
        fuse: recipe.fuse,
        ops: augmentation(key, stage, magnitude, recipe)?,
        augment_at: recipe.augment_at,
        fill: recipe.fill,
        erasures,
        erase_before_band,
        mean: recipe.mean,
        std: recipe.std,
    })
}

/// The operations that [`train`] plans for `key`: the policy's, then the jitter's.
///
/// `magnitude` is RandAugment's mean; `size` that of the image they will run on, which translations by pixels are shares of.
///
/// # Errors
/// [`Error::Config`] if the recipe makes more operations than an image can have, or for a magnitude that is negative or not
/// finite where the policy follows it.
pub fn operations(key: SampleKey, magnitude: f64, recipe: &Recipe, size: Size) -> Result<Ops> {
    drawn(key, recipe.augment.as_ref(), magnitude, recipe, size)
}

fn drawn(key: SampleKey, policy: Option<&Policy>, magnitude: f64, recipe: &Recipe, size: Size) -> Result<Ops> {
    let mut ops = match policy {
        Some(policy) => policy.draw(&mut key.draw(Purpose::Augment), magnitude, recipe.interpolation, size)?,
        None => Ops::NONE,
    };
    if recipe.jitter.most() > 0 {
        recipe.jitter.draw(&mut key.draw(Purpose::Jitter), &mut ops)?;
    }
    Ok(ops)
}

/// The same for a stage: lengths in pixels are those of the size that they run at.
fn augmentation(key: SampleKey, stage: &Stage, magnitude: f64, recipe: &Recipe) -> Result<Ops> {
    // A stage may turn a policy off whose strength is the stage's own to say.
    let by_stage = matches!(recipe.magnitude, Magnitude::Stage | Magnitude::Staircase);
    let off = |policy: &&Policy| !stage.growth.augment && by_stage && policy.follows_magnitude();
    let policy = recipe.augment.as_ref().filter(|policy| !off(policy));
    let mut ops = drawn(key, policy, magnitude, recipe, Size::square(stage.base))?;
    if recipe.augment_at == AugmentAt::Band {
        let scale = (f64::from(stage.band) / f64::from(stage.base)) as f32;
        for op in ops.as_mut_slice() {
            if let Op::GaussianBlur { radius } = op {
                *radius *= scale;
            }
        }
    }
    Ok(ops)
}

/// Plan of an evaluation sample: resize of the shorter side, centre crop (`low-frequency-crop.md` §4).
///
/// With a Fourier stage the crop is made at the base size and the band is cut from it, as the ICCV code does; with a
/// Lanczos stage the image is resized straight to the band, as the ++ code does. Evaluation always takes the plain path
/// (`recipe.fuse` is for training): its pixels are Pillow's, so that accuracies can be compared.
///
/// # Errors
/// [`Error::Config`] if the image has no pixels.
pub fn eval(stage: &Stage, recipe: &Recipe, size: Size) -> Result<SamplePlan> {
    not_empty(size)?;
    let (side, band) = match stage.crop {
        BandCrop::Fourier { .. } => (stage.base, band(stage)),
        BandCrop::Lanczos => (stage.band, None),
    };
    Ok(SamplePlan {
        band,
        fidelity: Fidelity::Exact,
        fuse: false,
        mean: recipe.mean,
        std: recipe.std,
        ..SamplePlan::new(center_crop(size, side, recipe.eval_crop_ratio, recipe.filter))
    })
}

/// The shorter side that evaluation resizes an image to before it takes the centre: `int(base / eval_crop_ratio)`, 256 for 224.
pub(crate) fn evaluation_side(stage: &Stage, recipe: &Recipe) -> u32 {
    shorter_side(stage.base, recipe.eval_crop_ratio)
}

fn shorter_side(side: u32, ratio: f64) -> u32 {
    ((f64::from(side) / ratio) as u32).max(side)
}

fn not_empty(size: Size) -> Result<()> {
    if size.pixels() == 0 {
        return Err(Error::config("image size", format!("{}x{} has no pixels", size.width, size.height)));
    }
    Ok(())
}

fn band(stage: &Stage) -> Option<BandPlan> {
    (stage.band != stage.base).then_some(BandPlan { band: stage.band, crop: stage.crop })
}

/// torchvision's rule: ten tries of a random area and aspect, then the largest central crop within the aspect limits.
fn random_crop(draw: &mut Draw, size: Size, scale: [f64; 2], ratio: [f64; 2]) -> Rect {
    const TRIES: usize = 10;
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    for _ in 0..TRIES {
        let area = width * height * draw.uniform(scale[0], scale[1]);
        let aspect = draw.uniform(ratio[0].ln(), ratio[1].ln()).exp();
        let w = (area * aspect).sqrt().round_ties_even() as u32;
        let h = (area / aspect).sqrt().round_ties_even() as u32;
        if (1..=size.width).contains(&w) && (1..=size.height).contains(&h) {
            let y = draw.below(u64::from(size.height - h) + 1) as u32;
            let x = draw.below(u64::from(size.width - w) + 1) as u32;
            return Rect { x, y, width: w, height: h };
        }
    }
    let aspect = width / height;
    let (w, h) = if aspect < ratio[0] {
        (size.width, (width / ratio[0]).round_ties_even() as u32)
    } else if aspect > ratio[1] {
        ((height * ratio[1]).round_ties_even() as u32, size.height)
    } else {
        (size.width, size.height)
    };
    let (w, h) = (w.clamp(1, size.width), h.clamp(1, size.height));
    Rect { x: (size.width - w) / 2, y: (size.height - h) / 2, width: w, height: h }
}

/// torchvision's `Resize(int(side / ratio))` of the shorter side, then `CenterCrop(side)`.
///
/// Of an image more than [`LONGEST`] times as long as wide only the middle is looked at, which holds the crop: so no size
/// overflows.
fn center_crop(size: Size, side: u32, ratio: f64, filter: Filter) -> ResizedCrop {
    let shorter = shorter_side(side, ratio);
    let middle = |long: u32, short: u32| long.min(short.saturating_mul(LONGEST));
    let (width, height) = (middle(size.width, size.height), middle(size.height, size.width));
    let scaled = |long: u32, short: u32| (u64::from(shorter) * u64::from(long) / u64::from(short)) as u32;
    let grid = if width <= height {
        Size::new(shorter, scaled(height, width))
    } else {
        Size::new(scaled(width, height), shorter)
    };
    let offset = |long: u32| (f64::from(long - side) / 2.0).round_ties_even() as u32;
    ResizedCrop {
        region: Rect { x: (size.width - width) / 2, y: (size.height - height) / 2, width, height },
        grid,
        window: Rect { x: offset(grid.width), y: offset(grid.height), width: side, height: side },
        filter,
    }
}

/// See [`center_crop`]. Beyond any picture, and small enough for all sizes that a JPEG can have.
const LONGEST: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(band: u32, crop: BandCrop) -> Stage {
        Stage::fixed(224, band, crop, 1)
    }

    fn key(position: u64) -> SampleKey {
        SampleKey { seed: 3, epoch: 1, position, replay: 0 }
    }

    #[test]
    fn random_crops_have_the_area_and_aspect_that_the_recipe_asks_for() {
        // A square image large enough that hardly a try is refused for its aspect and rounding does not matter.
        let (size, recipe) = (Size::square(4000), Recipe::default());
        let crops: Vec<Rect> = (0..20_000)
            .map(|p| train(key(p), &stage(224, BandCrop::Lanczos), 0.0, &recipe, size).unwrap().crop.region)
            .collect();
        assert!(crops.iter().all(|c| c.is_inside(size)));
        let area = |c: &Rect| c.size().pixels() as f64 / size.pixels() as f64;
        let aspect = |c: &Rect| (f64::from(c.width) / f64::from(c.height)).ln();
        assert!(crops.iter().all(|c| (0.0799..=1.0).contains(&area(c))));
        assert!(crops.iter().all(|c| aspect(c).abs() <= (4.0f64 / 3.0).ln() + 1e-3));
        let mean = |f: &dyn Fn(&Rect) -> f64| crops.iter().map(f).sum::<f64>() / crops.len() as f64;
        // Uniform in 0.08..1 has the mean 0.54; crops wider or higher than the image are drawn again, which takes some of the
        // largest away. Aspects are symmetric in the logarithm.
        let small: Vec<f64> = crops.iter().map(area).filter(|&a| a < 0.7).collect();
        let low = small.iter().filter(|&&a| a < 0.39).count() as f64 / small.len() as f64;
        assert!((low - 0.5).abs() < 0.02, "areas below 0.7 are uniform: {low} below the middle");
        assert!((0.45..0.54).contains(&mean(&area)), "{}", mean(&area));
        assert!(mean(&aspect).abs() < 0.01, "{}", mean(&aspect));
        // Places are uniform over what the crop leaves free.
        let place = |c: &Rect| f64::from(c.x) / f64::from(size.width - c.width).max(1.0);
        assert!((mean(&place) - 0.5).abs() < 0.02, "{}", mean(&place));
    }

    #[test]
    fn an_image_too_long_for_any_try_gets_the_central_crop_of_the_nearest_aspect() {
        let recipe = Recipe { scale: [1.0, 1.0], ..Recipe::default() };
        let wide = train(key(0), &stage(224, BandCrop::Lanczos), 0.0, &recipe, Size::new(1000, 90)).unwrap();
        assert_eq!(wide.crop.region, Rect { x: 440, y: 0, width: 120, height: 90 });
        let high = train(key(0), &stage(224, BandCrop::Lanczos), 0.0, &recipe, Size::new(90, 1000)).unwrap();
        assert_eq!(high.crop.region, Rect { x: 0, y: 440, width: 90, height: 120 });
    }

    #[test]
    fn half_of_the_samples_are_mirrored_and_a_plan_comes_again_for_its_key() {
        let plan =
            |p| train(key(p), &stage(96, BandCrop::Lanczos), 0.0, &Recipe::default(), Size::new(500, 375)).unwrap();
        let mirrored = (0..10_000).filter(|&p| plan(p).flip).count();
        assert!((4800..5200).contains(&mirrored), "{mirrored} of 10000");
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7).crop.region, plan(8).crop.region);
        assert_eq!(plan(7).output(), 96);
    }

    #[test]
    fn the_crop_of_a_sample_does_not_depend_on_the_stage() {
        let at = |band, crop| train(key(5), &stage(band, crop), 0.0, &Recipe::default(), Size::new(500, 375)).unwrap();
        let (small, large) = (at(96, BandCrop::Lanczos), at(224, BandCrop::FOURIER));
        assert_eq!((small.crop, small.flip), (large.crop, large.flip));
        assert_eq!((small.band.map(|b| b.band), large.band), (Some(96), None));
    }

    #[test]
    fn evaluation_crops_as_torchvision_does() {
        let crop = |band, kind, size| eval(&stage(band, kind), &Recipe::default(), size).unwrap();
        // Resize(256) of 500 x 375 gives 341 x 256; CenterCrop(224) starts at round(58.5) = 58 and 16.
        let base = crop(224, BandCrop::Lanczos, Size::new(500, 375));
        assert_eq!(base.crop.grid, Size::new(341, 256));
        assert_eq!(base.crop.window, Rect { x: 58, y: 16, width: 224, height: 224 });
        assert_eq!((base.crop.region, base.flip, base.band), (Rect::whole(Size::new(500, 375)), false, None));
        // The shorter sides of the ++ code at 96, 160 and 192.
        for (band, shorter) in [(96, 109), (160, 182), (192, 219)] {
            let plan = crop(band, BandCrop::Lanczos, Size::new(375, 500));
            assert_eq!((plan.crop.grid.width, plan.output(), plan.band), (shorter, band, None));
        }
        // The ICCV code crops at 224 and cuts the band from it.
        let fourier = crop(96, BandCrop::FOURIER, Size::new(500, 375));
        assert_eq!((fourier.crop.grid, fourier.output()), (Size::new(341, 256), 96));
    }

    #[test]
    fn the_smallest_and_the_longest_images_have_plans_and_empty_ones_do_not() {
        for size in
            [Size::new(1, 1), Size::new(1, 500), Size::new(500, 1), Size::new(1 << 24, 1), Size::new(1, u32::MAX)]
        {
            let plan = train(key(0), &stage(96, BandCrop::FOURIER), 0.0, &Recipe::default(), size).unwrap();
            assert!(plan.crop.region.is_inside(size));
            let plan = eval(&stage(96, BandCrop::Lanczos), &Recipe::default(), size).unwrap();
            assert!(plan.crop.window.is_inside(plan.crop.grid) && plan.crop.region.is_inside(size), "{plan:?}");
        }
        assert!(train(key(0), &stage(96, BandCrop::Lanczos), 0.0, &Recipe::default(), Size::new(0, 5)).is_err());
    }
}
