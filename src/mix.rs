//! Mixup and CutMix: two images of a batch become one, and its target a mixture of theirs.
//!
//! ```text
//! Mix ─(draw: seed, step; n, B)─► Mixing ─► apply: images (N, 3, B, B) in place
//!                                    └────► soft_targets: labels (N) -> (N, classes)
//! ```
//!
//! Image `i` of `n` meets image `n - 1 - i` (`randaugment.md` §3 step 10, from timm 0.4.12's `data/mixup.py`), and both see
//! the other as it was before. The arithmetic on pixels is in `ops`; here is what is drawn and what follows for the targets.
//! Papers: Zhang et al., *mixup: Beyond Empirical Risk Minimization*, 2018; Yun et al., *CutMix*, 2019.

use crate::error::{Error, Result};
use crate::rng::Draw;
use crate::shape::{Rect, Size};
use serde::{Deserialize, Serialize};

/// For what a mixture is drawn once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MixMode {
    /// For the batch: all images share kind, share and box. What DeiT and EfficientTrain use.
    #[default]
    Batch,
    /// For each pair of partners.
    Pair,
    /// For each image: of two partners, one may be blended and the other have a box pasted.
    Elem,
}

impl std::str::FromStr for MixMode {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "batch" => Ok(Self::Batch),
            "pair" => Ok(Self::Pair),
            "elem" => Ok(Self::Elem),
            _ => Err(Error::config("mix mode", format!("`{s}` is not known; use batch, pair or elem"))),
        }
    }
}

/// Settings of Mixup and CutMix. The default is DeiT's, which EfficientTrain takes over.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mix {
    /// Mixup's share is drawn from Beta(`mixup`, `mixup`); 0 turns Mixup off.
    pub mixup: f64,
    /// CutMix's share is drawn from Beta(`cutmix`, `cutmix`); 0 turns CutMix off.
    pub cutmix: f64,
    /// Chance that a batch, pair or image (see `mode`) is mixed at all, `0..=1`.
    pub probability: f64,
    /// Where both are on: chance that it is CutMix, `0..=1`.
    pub switch: f64,
    /// For what a mixture is drawn once.
    pub mode: MixMode,
}

impl Default for Mix {
    fn default() -> Self {
        Self { mixup: 0.8, cutmix: 1.0, probability: 1.0, switch: 0.5, mode: MixMode::Batch }
    }
}

impl Mix {
    /// Refuses values that nothing could be drawn with.
    ///
    /// # Errors
    /// [`Error::Config`] names the field, what it holds and what is allowed.
    pub fn check(&self) -> Result<()> {
        for (field, alpha) in [("mixup", self.mixup), ("cutmix", self.cutmix)] {
            if !(alpha.is_finite() && alpha >= 0.0) {
                return Err(Error::config(
                    format!("recipe.mix.{field}"),
                    format!("{alpha}: expected a finite number, 0 (off) or above"),
                ));
            }
        }
        for (field, chance) in [("probability", self.probability), ("switch", self.switch)] {
            if !(0.0..=1.0).contains(&chance) {
                return Err(Error::config(
                    format!("recipe.mix.{field}"),
                    format!("{chance}: expected a chance in 0..=1"),
                ));
            }
        }
        Ok(())
    }

    /// What happens to a batch of `n` images of `side` x `side` pixels; `None` where it stays as it is.
    ///
    /// The middle image of an odd batch is its own partner and stays as it is; timm refuses such batches.
    pub(crate) fn draw(&self, draw: &mut Draw, n: usize, side: u32) -> Option<Mixing> {
        let mut images = vec![Mixed::Untouched; n];
        let pairs = n / 2;
        match self.mode {
            MixMode::Batch => {
                let mixed = self.draw_one(draw, side);
                images[..pairs].fill(mixed);
                images[n - pairs..].fill(mixed);
            }
            MixMode::Pair => {
                for i in 0..pairs {
                    let mixed = self.draw_one(draw, side);
                    images[i] = mixed;
                    images[n - 1 - i] = mixed;
                }
            }
            MixMode::Elem => {
                let middle = (n % 2 == 1).then_some(pairs);
                for (_, image) in images.iter_mut().enumerate().filter(|(i, _)| Some(*i) != middle) {
                    *image = self.draw_one(draw, side);
                }
            }
        }
        images.iter().any(|mixed| *mixed != Mixed::Untouched).then_some(Mixing { side, images })
    }

    fn draw_one(&self, draw: &mut Draw, side: u32) -> Mixed {
        if !draw.chance(self.probability) {
            return Mixed::Untouched;
        }
        let paste = match (self.mixup > 0.0, self.cutmix > 0.0) {
            (true, true) => draw.chance(self.switch),
            (false, false) => return Mixed::Untouched,
            (_, cutmix) => cutmix,
        };
        let alpha = if paste { self.cutmix } else { self.mixup };
        let lambda = draw.beta(alpha, alpha);
        if !paste {
            return if lambda < 1.0 { Mixed::Blend { lambda } } else { Mixed::Untouched };
        }
        let rect = cut(draw, lambda, side);
        if rect.size().pixels() > 0 { Mixed::Paste { rect } } else { Mixed::Untouched }
    }
}

/// The box of a share `lambda`: each side `sqrt(1 - lambda)` of the image's, truncated to whole pixels and then to an even
/// number of them, around a pixel drawn uniformly, without what falls outside. It may be empty.
fn cut(draw: &mut Draw, lambda: f64, side: u32) -> Rect {
    let half = (f64::from(side) * (1.0 - lambda).sqrt()) as u32 / 2;
    let mut span = || {
        let centre = draw.below(u64::from(side)) as u32;
        let start = centre.saturating_sub(half);
        (start, (centre + half).min(side) - start)
    };
    let (y, height) = span();
    let (x, width) = span();
    Rect { x, y, width, height }
}

/// What becomes of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mixed {
    /// Nothing.
    Untouched,
    /// Mixup: every value is `lambda` times its own plus `1 - lambda` times the partner's.
    Blend {
        /// Share of its own, `0..1`.
        lambda: f64,
    },
    /// CutMix: these pixels are the partner's.
    Paste {
        /// Where, in the image: not empty.
        rect: Rect,
    },
}

/// What happens to each image of one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixing {
    side: u32,
    images: Vec<Mixed>,
}

impl Mixing {
    /// A mixture made by hand, for a batch of `images.len()` images of `side` x `side` pixels.
    ///
    /// # Errors
    /// [`Error::Config`] if a share is not in `0..=1`, a rectangle is empty or leaves the image, `side` is 0, or the middle
    /// image of an odd batch, which has no partner, is to be mixed.
    pub fn new(side: u32, images: Vec<Mixed>) -> Result<Self> {
        let n = images.len();
        if side == 0 {
            return Err(Error::config("mixing", "a side of 0: expected at least one pixel"));
        }
        for (i, mixed) in images.iter().enumerate() {
            let reason = match mixed {
                Mixed::Untouched => continue,
                _ if n - 1 - i == i => "the middle image of an odd batch has no partner".to_owned(),
                Mixed::Blend { lambda } if (0.0..=1.0).contains(lambda) => continue,
                Mixed::Blend { lambda } => format!("a share of {lambda}: expected 0..=1"),
                Mixed::Paste { rect } if rect.is_inside(Size::square(side)) => continue,
                Mixed::Paste { rect } => format!("{rect:?} is empty or does not lie in {side}x{side}"),
            };
            return Err(Error::config("mixing", format!("image {i}: {reason}")));
        }
        Ok(Self { side, images })
    }

    /// Number of images: N.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether it is for a batch of no images.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Side of the images in pixels: B.
    pub fn side(&self) -> u32 {
        self.side
    }

    /// What becomes of each image, `N` values.
    pub fn images(&self) -> &[Mixed] {
        &self.images
    }

    /// Index of the image that image `i` is mixed with: `N - 1 - i`.
    ///
    /// # Panics
    /// If there is no image `i`.
    pub fn partner(&self, i: usize) -> usize {
        assert!(i < self.len(), "image {i} of {}", self.len());
        self.len() - 1 - i
    }

    /// Share of image `i` that is its own, `0..=1`: 1 where it is untouched, and with a box the share of the pixels outside.
    ///
    /// # Panics
    /// If there is no image `i`.
    pub fn lambda(&self, i: usize) -> f64 {
        match self.images[i] {
            Mixed::Untouched => 1.0,
            Mixed::Blend { lambda } => lambda,
            Mixed::Paste { rect } => 1.0 - rect.size().pixels() as f64 / Size::square(self.side).pixels() as f64,
        }
    }
}

/// Targets of a batch for a cross-entropy with soft targets: `(N, classes)` f32, row by row, each row of the sum 1.
///
/// Smoothing by `s` puts `1 - s + s / classes` at the label and `s / classes` elsewhere (`randaugment.md` §3). A mixed image has
/// its own target with the weight λ of [`Mixing::lambda`] and its partner's with `1 - λ`. Without `mixing` the targets are
/// the labels', smoothed.
///
/// # Errors
/// [`Error::Config`] names the first label that is not below `classes`; or if `smoothing` is not in `0..=1`, or `mixing` is
/// for another number of images.
pub fn soft_targets(labels: &[u32], mixing: Option<&Mixing>, classes: usize, smoothing: f64) -> Result<Vec<f32>> {
    let n = labels.len();
    if let Some((i, label)) = labels.iter().enumerate().find(|(_, label)| **label as usize >= classes) {
        return Err(Error::config("labels", format!("label {label} of image {i}: expected below {classes} classes")));
    }
    if !(0.0..=1.0).contains(&smoothing) {
        return Err(Error::config("smoothing", format!("{smoothing}: expected 0..=1")));
    }
    if let Some(mixing) = mixing.filter(|mixing| mixing.len() != n) {
        return Err(Error::config("mixing", format!("for {} images, and there are {n} labels", mixing.len())));
    }
    let off = smoothing / classes as f64;
    let mut targets = vec![off as f32; n * classes];
    for (i, row) in targets.chunks_exact_mut(classes.max(1)).enumerate() {
        let (own, partner) = (labels[i] as usize, labels[n - 1 - i] as usize);
        let lambda = mixing.map_or(1.0, |mixing| mixing.lambda(i));
        if own == partner {
            row[own] = (1.0 - smoothing + off) as f32;
        } else {
            row[own] = ((1.0 - smoothing) * lambda + off) as f32;
            row[partner] = ((1.0 - smoothing) * (1.0 - lambda) + off) as f32;
        }
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    fn drawn(mix: Mix, step: u64, n: usize, side: u32) -> Option<Mixing> {
        mix.draw(&mut Draw::at(5, 0, step, Purpose::Mix), n, side)
    }

    /// Mixtures of the first image of `count` batches of two.
    fn first_of(mix: Mix, count: u64, side: u32) -> Vec<Mixed> {
        (0..count).map(|step| drawn(mix, step, 2, side).map_or(Mixed::Untouched, |m| m.images[0])).collect()
    }

    fn share(of: &[Mixed], what: impl Fn(&Mixed) -> bool) -> f64 {
        of.iter().filter(|m| what(m)).count() as f64 / of.len() as f64
    }

    const MODES: [MixMode; 3] = [MixMode::Batch, MixMode::Pair, MixMode::Elem];

    #[test]
    fn the_share_of_a_box_is_what_the_clipped_box_leaves() {
        let mix = Mix { mixup: 0.0, ..Mix::default() };
        for step in 0..2000 {
            let side = [224, 96, 31, 2][step as usize % 4];
            let Some(mixing) = drawn(mix, step, 4, side) else { continue };
            let Mixed::Paste { rect } = mixing.images[0] else { panic!("{mixing:?}") };
            assert!(rect.is_inside(Size::square(side)), "{rect:?} in {side}");
            let left = (0..side * side).filter(|p| {
                let (y, x) = (p / side, p % side);
                !((rect.y..rect.y + rect.height).contains(&y) && (rect.x..rect.x + rect.width).contains(&x))
            });
            assert!((mixing.lambda(0) - left.count() as f64 / f64::from(side * side)).abs() < 1e-15);
        }
        assert_eq!(drawn(mix, 0, 4, 1), None, "no even box fits into one pixel");
    }

    #[test]
    fn boxes_have_the_side_that_the_share_asks_for_and_stop_at_the_border() {
        let mut draw = Draw::at(1, 0, 0, Purpose::Mix);
        let (mut inside, mut clipped) = (0, 0);
        for n in 0..4000 {
            let lambda = f64::from(n) / 4000.0;
            // int(224 sqrt(1 - lambda)) and then twice its half, as timm's integer division does.
            let full = (224.0 * (1.0 - lambda).sqrt()) as u32 / 2 * 2;
            let rect = cut(&mut draw, lambda, 224);
            for (start, length) in [(rect.x, rect.width), (rect.y, rect.height)] {
                if start > 0 && start + length < 224 {
                    assert_eq!(length, full);
                    inside += 1;
                } else {
                    assert!(length <= full && 2 * length >= full.min(224) - 1, "{length} of {full}");
                    clipped += 1;
                }
            }
        }
        assert!(inside > 1000 && clipped > 1000, "{inside} {clipped}");
    }

    #[test]
    fn centres_of_boxes_are_uniform_over_the_pixels() {
        // A share that gives boxes of 2 x 2: only a centre at 0 is clipped, so every centre can be read off. Chi-square over 16
        // places: 15 degrees of freedom, 37.7 is the 0.1 % point. The two axes together: 255, 330.5.
        let (mut draw, side) = (Draw::at(2, 0, 0, Purpose::Mix), 16);
        let mut bins = vec![0f64; 256];
        let count = 64_000;
        for _ in 0..count {
            let rect = cut(&mut draw, 1.0 - (2.5f64 / 16.0).powi(2), side);
            let centre = |start: u32, length: u32| if length == 1 { 0 } else { start + 1 };
            bins[(centre(rect.y, rect.height) * side + centre(rect.x, rect.width)) as usize] += 1.0;
        }
        let expected = f64::from(count) / 256.0;
        let chi: f64 = bins.iter().map(|b| (b - expected).powi(2) / expected).sum();
        assert!(chi < 330.5, "{chi}");
    }

    #[test]
    fn shares_of_mixup_have_the_mean_and_variance_of_their_beta() {
        for alpha in [0.8f64, 0.2, 1.0] {
            let mix = Mix { mixup: alpha, cutmix: 0.0, ..Mix::default() };
            let lambdas: Vec<f64> = first_of(mix, 40_000, 32)
                .iter()
                .map(|m| match m {
                    Mixed::Blend { lambda } => *lambda,
                    Mixed::Untouched => 1.0,
                    Mixed::Paste { .. } => panic!("CutMix is off"),
                })
                .collect();
            let mean = lambdas.iter().sum::<f64>() / lambdas.len() as f64;
            let variance = lambdas.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / lambdas.len() as f64;
            // Of Beta(a, a): 1/2 and 1 / (4 (2 a + 1)). The standard error of the mean is at most 0.0023.
            assert!((mean - 0.5).abs() < 0.008, "{alpha}: {mean}");
            assert!((variance * 4.0 * (2.0 * alpha + 1.0) - 1.0).abs() < 0.03, "{alpha}: {variance}");
        }
    }

    #[test]
    fn the_coins_fall_as_often_as_the_settings_say() {
        let pastes = |mix| share(&first_of(mix, 20_000, 224), |m| matches!(m, Mixed::Paste { .. }));
        let blends = |mix| share(&first_of(mix, 20_000, 224), |m| matches!(m, Mixed::Blend { .. }));
        // Standard error 0.0035 at a half. One CutMix in some thousands has an empty box.
        for mode in MODES {
            let mix = Mix { mode, ..Mix::default() };
            assert!((pastes(mix) - 0.5).abs() < 0.015 && (blends(mix) - 0.5).abs() < 0.015, "{mode:?}");
            let mix = Mix { mode, probability: 0.3, switch: 0.25, ..Mix::default() };
            assert!((pastes(mix) - 0.075).abs() < 0.01, "{mode:?}: {}", pastes(mix));
            assert!((blends(mix) - 0.225).abs() < 0.015, "{mode:?}: {}", blends(mix));
            let never = Mix { mode, probability: 0.0, ..Mix::default() };
            assert_eq!(pastes(never) + blends(never), 0.0);
            let off = Mix { mode, mixup: 0.0, cutmix: 0.0, ..Mix::default() };
            assert_eq!(drawn(off, 0, 8, 224), None);
        }
        assert_eq!(pastes(Mix { cutmix: 0.0, ..Mix::default() }), 0.0);
        assert_eq!(blends(Mix { mixup: 0.0, ..Mix::default() }), 0.0);
    }

    #[test]
    fn a_batch_shares_one_mixture_a_pair_its_own_and_an_image_its_own() {
        for step in 0..50 {
            let of = |mode| drawn(Mix { mode, ..Mix::default() }, step, 8, 224).expect("something is mixed");
            let (batch, pair, elem) = (of(MixMode::Batch), of(MixMode::Pair), of(MixMode::Elem));
            assert!(batch.images.iter().all(|m| *m == batch.images[0]));
            assert!((0..8).all(|i| pair.images[i] == pair.images[pair.partner(i)]));
            assert!((0..3).all(|i| pair.images[i] != pair.images[i + 1]), "{pair:?}");
            assert!((0..7).all(|i| elem.images[i] != elem.images[i + 1] || elem.images[i] == Mixed::Untouched));
            assert_eq!(batch, of(MixMode::Batch), "the same numbers, the same mixture");
        }
    }

    #[test]
    fn the_middle_of_an_odd_batch_is_its_own_partner_and_stays() {
        for mode in MODES {
            for step in 0..50 {
                let mix = Mix { mode, cutmix: 0.0, ..Mix::default() };
                let odd = drawn(mix, step, 5, 32).unwrap();
                assert_eq!((odd.len(), odd.images[2], odd.lambda(2), odd.partner(2)), (5, Mixed::Untouched, 1.0, 2));
                assert!([0, 1, 3, 4].iter().all(|&i| odd.lambda(i) < 1.0));
                assert_eq!((drawn(mix, step, 1, 32), drawn(mix, step, 0, 32)), (None, None));
            }
        }
    }

    #[test]
    fn targets_are_the_mixture_of_two_smoothed_labels_and_sum_to_one() {
        let naive = |labels: &[u32], mixing: Option<&Mixing>, classes: usize, s: f64| -> Vec<f64> {
            let smoothed = |label: u32, class: usize| {
                let off = s / classes as f64;
                if label as usize == class { 1.0 - s + off } else { off }
            };
            let n = labels.len();
            (0..n * classes)
                .map(|at| {
                    let (i, class) = (at / classes, at % classes);
                    let lambda = mixing.map_or(1.0, |m| m.lambda(i));
                    lambda * smoothed(labels[i], class) + (1.0 - lambda) * smoothed(labels[n - 1 - i], class)
                })
                .collect()
        };
        let labels = [3, 0, 9, 1, 0, 3, 3];
        for mode in MODES {
            for (step, smoothing) in [0.1, 0.0, 1.0, 0.1].into_iter().enumerate() {
                let mixing = drawn(Mix { mode, ..Mix::default() }, step as u64, 7, 32);
                for mixing in [mixing.as_ref(), None] {
                    let targets = soft_targets(&labels, mixing, 10, smoothing).unwrap();
                    let expected = naive(&labels, mixing, 10, smoothing);
                    assert_eq!(targets.len(), expected.len());
                    assert!(targets.iter().zip(&expected).all(|(a, b)| (f64::from(*a) - b).abs() <= 6e-8));
                    for row in targets.chunks(10) {
                        assert!((row.iter().sum::<f32>() - 1.0).abs() <= 1e-6, "{row:?}");
                    }
                }
            }
        }
        // By hand: labels 0 and 1 of 2, smoothed by 0.2 to (0.9, 0.1) and (0.1, 0.9), mixed 3 : 1.
        let mixing = Mixing::new(4, vec![Mixed::Blend { lambda: 0.75 }; 2]).unwrap();
        let targets = soft_targets(&[0, 1], Some(&mixing), 2, 0.2).unwrap();
        let expected = [0.7, 0.3, 0.3, 0.7];
        assert!(targets.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6), "{targets:?}");
    }

    #[test]
    fn targets_that_cannot_be_made_are_refused_by_name() {
        let text = soft_targets(&[1, 2, 10], None, 10, 0.1).unwrap_err().to_string();
        assert!(text.contains("label 10 of image 2") && text.contains("10 classes"), "{text}");
        assert!(soft_targets(&[0], None, 0, 0.1).is_err());
        assert!(soft_targets(&[0], None, 1, 1.5).is_err());
        let two = Mixing::new(4, vec![Mixed::Untouched; 2]).unwrap();
        assert!(soft_targets(&[0; 3], Some(&two), 4, 0.1).unwrap_err().to_string().contains("2 images"));
        assert_eq!(soft_targets(&[], None, 0, 0.1).unwrap(), Vec::<f32>::new());
    }

    #[test]
    fn settings_that_nothing_can_be_drawn_with_are_refused_with_their_name() {
        assert!(Mix::default().check().is_ok());
        assert!(Mix { mixup: 0.0, cutmix: 0.0, ..Mix::default() }.check().is_ok());
        let bad = [
            ("mixup", Mix { mixup: -0.1, ..Mix::default() }),
            ("cutmix", Mix { cutmix: f64::INFINITY, ..Mix::default() }),
            ("probability", Mix { probability: 1.1, ..Mix::default() }),
            ("switch", Mix { switch: f64::NAN, ..Mix::default() }),
        ];
        for (field, mix) in bad {
            let text = mix.check().unwrap_err().to_string();
            assert!(text.contains(&format!("recipe.mix.{field}:")), "{text}");
        }
        let mix: Mix = toml::from_str("mixup = 0.2\nmode = \"elem\"").unwrap();
        assert_eq!(mix, Mix { mixup: 0.2, mode: MixMode::Elem, ..Mix::default() });
        assert!(toml::from_str::<Mix>("alpha = 0.2").is_err());
    }

    #[test]
    fn mixtures_by_hand_must_fit_the_images() {
        let paste = |x, width| Mixed::Paste { rect: Rect { x, y: 0, width, height: 1 } };
        for bad in [paste(3, 2), paste(0, 0), Mixed::Blend { lambda: 1.5 }, Mixed::Blend { lambda: f64::NAN }] {
            let error = Mixing::new(4, vec![Mixed::Untouched, bad]).unwrap_err().to_string();
            assert!(error.contains("image 1"), "{error}");
        }
        assert!(Mixing::new(0, vec![]).is_err());
        assert!(Mixing::new(4, vec![paste(0, 4)]).unwrap_err().to_string().contains("partner"));
        assert!(Mixing::new(4, vec![paste(0, 4), Mixed::Untouched, paste(3, 1)]).is_ok());
    }
}
