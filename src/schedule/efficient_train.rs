//! The published curricula: EfficientTrain by epochs, EfficientTrain++ by compute.
//!
//! # Other sizes than 224
//! A published band is scaled to the base size and rounded to the nearest number of whole patches (half up), at least
//! one patch: `round(band * base / 224 / patch) * patch`. With base 224 and a patch of 16 or 32 the published numbers
//! come out exactly. On small bases two stages may get the same band; they stay two stages, since their magnitudes differ.

use super::{Growth, Options, Row, Schedule, StageReplay};
use crate::error::{Error, Result};
use crate::shape::BandCrop;

/// The base size that the published bands belong to.
pub(super) const PUBLISHED_BASE: u32 = 224;

/// Which row of EfficientTrain++'s table (`efficienttrain.md` §3 \[code\]). All have ten stages of equal compute, and
/// RandAugment's magnitude is the stage's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ModelRow {
    /// Swin, CSWin, ResNet, and any other model: 96 for 20 % of the compute, 160 for 40 %, 224 for 40 %.
    #[default]
    General,
    /// DeiT, a tailored variant: 96 for 20 %, 160 for 40 %, 192 for 20 %, 224 for 20 %.
    Deit,
    /// ConvNeXt: 160 for 60 %, 224 for 40 %.
    ConvNext,
}

impl ModelRow {
    /// The published band of each of the ten stages, in pixels at base 224.
    pub const fn bands(self) -> [u32; 10] {
        match self {
            Self::General => [96, 96, 160, 160, 160, 160, 224, 224, 224, 224],
            Self::Deit => [96, 96, 160, 160, 160, 160, 192, 192, 224, 224],
            Self::ConvNext => [160, 160, 160, 160, 160, 160, 224, 224, 224, 224],
        }
    }

    /// The name of its schedule.
    pub const fn schedule_name(self) -> &'static str {
        match self {
            Self::General => "efficient_train_pp",
            Self::Deit => "efficient_train_pp_deit",
            Self::ConvNext => "efficient_train_pp_convnext",
        }
    }

    /// The row whose schedule has this name.
    ///
    /// # Errors
    /// [`Error::Config`] for a schedule that has no released arithmetic.
    pub fn of_schedule(name: &str) -> Result<Self> {
        let rows = [Self::General, Self::Deit, Self::ConvNext];
        rows.into_iter().find(|row| row.schedule_name() == name).ok_or_else(|| {
            let names = rows.map(Self::schedule_name).join(", ");
            Error::config("released", format!("`{name}` has no released arithmetic; use {names}"))
        })
    }
}

impl Schedule {
    /// EfficientTrain (ICCV 2023; `efficienttrain.md` §2 \[code\]): five stages of as many images each, bands 160, 160,
    /// 160, 192, 224, magnitudes 1, 3, 5, 7, 9, cut by the papers' Fourier crop.
    ///
    /// # Differences from the released code
    /// The paper's stages are fifths of a nominal number of epochs T. Here a stage has the share of compute that its
    /// fifth of T costs, which is exactly the same run; and [`Options::epochs`] is not T but the equivalent epochs, like
    /// everywhere: **T = epochs / 0.653**. To give T, see [`Schedule::with_image_epochs`].
    ///
    /// # Errors
    /// As [`Options::check`].
    pub fn efficient_train(options: &Options) -> Result<Self> {
        options.check()?;
        options.no_replay("efficient_train")?;
        const STAGES: [(u32, f64); 5] = [(160, 1.0), (160, 3.0), (160, 5.0), (192, 7.0), (224, 9.0)];
        let rows = STAGES.map(|(published, magnitude)| {
            let band = scaled_band(published, options);
            // Equal numbers of images, so the compute goes with the band's area: an integer, free of rounding.
            Row {
                compute: f64::from(band) * f64::from(band),
                band,
                magnitude,
                replay: StageReplay::OFF,
                growth: Growth::NONE,
            }
        });
        Self::build("efficient_train", options, BandCrop::FOURIER, &rows)
    }

    /// EfficientTrain++ (TPAMI 2024; `efficienttrain.md` §3 \[code\]): ten stages of equal compute with magnitudes 0 to 9
    /// and the bands of `row`, cut by Lanczos as in the released code.
    ///
    /// # Differences from the released code
    /// Shares are exact tenths here; the released scripts round each stage to whole epochs ([`Schedule::released`]).
    ///
    /// # Errors
    /// As [`Options::check`].
    pub fn efficient_train_pp(row: ModelRow, options: &Options) -> Result<Self> {
        options.check()?;
        let (bands, replay) = (row.bands(), options.replay.stages());
        let rows: [Row; 10] = std::array::from_fn(|i| {
            let band = scaled_band(bands[i], options);
            Row { compute: 1.0, band, magnitude: i as f64, replay: replay[i], growth: Growth::NONE }
        });
        Self::build(row.schedule_name(), options, BandCrop::Lanczos, &rows)
    }

    /// Stages of equal compute with bands and magnitudes of your own: the form of EfficientTrain++'s rows, cut by Lanczos
    /// unless `options` say otherwise.
    ///
    /// # Errors
    /// As [`Options::check`]; [`Error::Config`] also if there is no stage, if bands and magnitudes are not as many, for a band
    /// that is no multiple of the patch up to the base, a magnitude outside of `0..=10`, and for replay.
    pub fn equal_compute(name: &str, bands: &[u32], magnitudes: &[f64], options: &Options) -> Result<Self> {
        options.check()?;
        options.no_replay(name)?;
        let refuse = |what: &str, reason: String| Err(Error::config(format!("schedule.{what}"), reason));
        if bands.is_empty() || bands.len() != magnitudes.len() {
            let reason =
                format!("{} with {} magnitudes: expected as many, at least one", bands.len(), magnitudes.len());
            return refuse("bands", reason);
        }
        let Options { base, patch, .. } = *options;
        if let Some(band) = bands.iter().find(|&&b| b == 0 || b > base || !b.is_multiple_of(patch)) {
            let reason = format!("{band}: expected a multiple of the patch side {patch}, at most the base size {base}");
            return refuse("band", reason);
        }
        if let Some(magnitude) = magnitudes.iter().find(|m| !(0.0..=10.0).contains(*m)) {
            return refuse("magnitude", format!("{magnitude}: expected 0 to 10"));
        }
        let rows: Vec<Row> = bands
            .iter()
            .zip(magnitudes)
            .map(|(&band, &magnitude)| {
                let magnitude = super::short(magnitude);
                Row { compute: 1.0, band, magnitude, replay: StageReplay::OFF, growth: Growth::NONE }
            })
            .collect();
        Self::build(name, options, BandCrop::Lanczos, &rows)
    }
}

/// The bands that EfficientTrain++'s schedules are made of, and 128, which its arithmetic knows too (`efficienttrain.md` §3.1
/// \[code\]): 96, 128, 160, 192 and 224, scaled to the base and rounded to the patch as the published schedules are, from the
/// smallest to the base; fewer where several come to the same.
///
/// # Errors
/// As [`Options::check`].
pub fn published_bands(options: &Options) -> Result<Vec<u32>> {
    options.check()?;
    let mut bands: Vec<u32> = [96, 128, 160, 192, PUBLISHED_BASE].map(|band| scaled_band(band, options)).into();
    bands.dedup();
    Ok(bands)
}

/// A published band at this base and patch (see the module's head). `options` are checked.
pub(super) fn scaled_band(published: u32, options: &Options) -> u32 {
    let (base, patch) = (u64::from(options.base), u64::from(options.patch));
    let unit = u64::from(PUBLISHED_BASE) * patch;
    let patches = (2 * u64::from(published) * base + unit) / (2 * unit);
    let band = (patches.max(1) * patch).min(base);
    u32::try_from(band).expect("a band is at most the base, which is a u32")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_bands_come_out_exactly_at_224_with_patches_of_16_and_32() {
        for patch in [16, 32] {
            let options = Options { patch, ..Options::default() };
            for band in [96, 128, 160, 192, 224] {
                assert_eq!(scaled_band(band, &options), band, "patch {patch}");
            }
        }
    }

    #[test]
    fn a_row_of_bands_and_magnitudes_of_one_s_own_is_the_published_form() {
        let options = Options::default();
        let published = Schedule::efficient_train_pp(ModelRow::Deit, &options).unwrap();
        let magnitudes: [f64; 10] = std::array::from_fn(|i| i as f64);
        let own = Schedule::equal_compute("own", &ModelRow::Deit.bands(), &magnitudes, &options).unwrap();
        assert_eq!(own.stages(), published.stages());
        let refused = |bands: &[u32], magnitudes: &[f64], options: &Options| {
            Schedule::equal_compute("own", bands, magnitudes, options).unwrap_err().to_string()
        };
        assert!(refused(&[100], &[1.0], &options).starts_with("schedule.band: 100"));
        assert!(refused(&[240], &[1.0], &options).starts_with("schedule.band: 240"));
        assert!(refused(&[96], &[11.0], &options).starts_with("schedule.magnitude: 11"));
        assert!(refused(&[96, 224], &[1.0], &options).starts_with("schedule.bands: 2 with 1"));
        let replay = Options { replay: crate::schedule::released::Reuse::Twofold, ..options };
        assert!(refused(&[96], &[1.0], &replay).starts_with("schedule.replay: "));
    }

    #[test]
    fn published_bands_are_fitted_to_base_and_patch() {
        let bands = |base, patch| published_bands(&Options { base, patch, ..Options::default() }).unwrap();
        assert_eq!(bands(224, 16), [96, 128, 160, 192, 224]);
        // By hand: 27.4, 36.6, 45.7, 54.9 and 64 in patches of 8.
        assert_eq!(bands(64, 8), [24, 40, 48, 56, 64]);
        assert_eq!(bands(32, 16), [16, 32]);
    }

    #[test]
    fn bands_scale_to_a_small_base_by_whole_patches() {
        // By hand: 96 * 32 / 224 = 13.7 = 3.4 patches of 4; 160: 5.7 patches; 192: 6.9 patches.
        let options = Options { base: 32, patch: 4, ..Options::default() };
        assert_eq!([96, 160, 192, 224].map(|band| scaled_band(band, &options)), [12, 24, 28, 32]);
        // One patch is the least: 96 of 224 is 0.43 of the single patch.
        let options = Options { base: 16, patch: 16, ..Options::default() };
        assert_eq!(scaled_band(96, &options), 16);
        // Half a patch goes up: 112 of 224 is 1.5 patches of three.
        let options = Options { base: 48, patch: 16, ..Options::default() };
        assert_eq!(scaled_band(112, &options), 32);
    }
}
