//! EfficientTrain++ with the arithmetic of its released scripts: whole epochs per stage, rounded as Python rounds.
//!
//! Source: `efficienttrain.md` §3.1 \[code\]. The scripts count each stage in epochs at that stage's band: the whole run
//! is `N = trunc(E c / ρ)` such epochs, where `c = 224² / B²` and ρ says how often a decoded image is used, and the
//! place reached before is converted to the new unit when B or ρ changes. The roundings make stages of 9.5 to 11.0 % of
//! the compute instead of a tenth each (E from 100 to 300 without replay).
//!
//! [`table`] gives the integers; [`Schedule::released`] a schedule whose stages last exactly as many images.

use super::efficient_train::{PUBLISHED_BASE, scaled_band};
use super::{Growth, ModelRow, Options, Row, Schedule, short};
use crate::error::{Error, Result};
use crate::shape::BandCrop;

/// How often a decoded image is used in training, by the scripts' replay buffer (`efficienttrain.md` §5 \[code\]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reuse {
    /// Once: no replay.
    #[default]
    Off,
    /// Twice in stages 0 and 1, once later: the scripts for Swin-T and CSWin-T.
    Twofold,
    /// Four times in stages 0 and 1, twice in stages 2 to 5, once later: the scripts for DeiT and ResNet-50.
    Fourfold,
}

impl Reuse {
    /// Uses of each decoded image in each of the ten stages: ρ.
    pub const fn times(self) -> [u32; 10] {
        match self {
            Self::Off => [1; 10],
            Self::Twofold => [2, 2, 1, 1, 1, 1, 1, 1, 1, 1],
            Self::Fourfold => [4, 4, 2, 2, 2, 2, 1, 1, 1, 1],
        }
    }

    /// The buffer of each of the ten stages, with the scripts' capacities: 1920 batches' worth of new images where each is
    /// used four times, 256 after that, and 1024 where each is used twice from the start.
    pub fn stages(self) -> [super::StageReplay; 10] {
        self.times().map(|times| match (self, times) {
            (_, 1) => super::StageReplay::OFF,
            (Self::Twofold, _) => super::StageReplay { times, capacity: 1024 },
            (_, 4) => super::StageReplay { times, capacity: 1920 },
            (_, _) => super::StageReplay { times, capacity: 256 },
        })
    }
}

/// One stage as the released scripts run it. All epochs are passes of `1281167 / ρ` images at this stage's band.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReleasedStage {
    /// Place in the schedule, `0..10`.
    pub stage: usize,
    /// Side of the images in pixels.
    pub band: u32,
    /// RandAugment's magnitude: the stage's index.
    pub magnitude: u32,
    /// Uses of each decoded image: ρ.
    pub replay_times: u32,
    /// Length of the whole run in this stage's epochs: N. The learning rate's cosine is laid over it.
    pub schedule_epochs: u32,
    /// Warm-up in this stage's epochs.
    pub warmup_epochs: u32,
    /// First epoch that is run.
    pub start_epoch: u32,
    /// One past the last epoch that is run.
    pub end_epoch: u32,
    /// Epochs that are run: `end_epoch - start_epoch`, or 0 where rounding puts the start behind the end.
    pub epochs_run: u32,
}

/// The ten stages of a released script for a budget of `epochs` equivalent epochs (`--epoch`), at base 224.
///
/// Scripts exist for `General` with every replay, `Deit` with `Off` and `Fourfold`, `ConvNext` with `Off`; for other
/// pairs it is what the same arithmetic would give.
pub fn table(row: ModelRow, epochs: u32, replay: Reuse) -> Vec<ReleasedStage> {
    stages(row.bands(), PUBLISHED_BASE, row, epochs, replay)
}

fn stages(bands: [u32; 10], base: u32, row: ModelRow, epochs: u32, replay: Reuse) -> Vec<ReleasedStage> {
    let area = |band: u32| f64::from(band) * f64::from(band);
    let mut rows: Vec<ReleasedStage> = Vec::with_capacity(bands.len());
    for (stage, (band, replay_times)) in bands.into_iter().zip(replay.times()).enumerate() {
        // The order of the operations is the scripts': each is rounded to a double before the integer is cut out.
        let times = f64::from(replay_times);
        let longer = area(base) / area(band);
        let schedule_epochs = (f64::from(epochs) * longer / times) as u32;
        let warmup_epochs = match row {
            ModelRow::Deit => (0.2 * f64::from(epochs) * longer / times) as u32,
            ModelRow::General | ModelRow::ConvNext => (20.0 / times) as u32,
        };
        let end_epoch = (f64::from(schedule_epochs) / 10.0 * (stage + 1) as f64) as u32;
        let start_epoch = rows.last().map_or(0, |previous| {
            let mut start = f64::from(previous.end_epoch);
            if previous.replay_times != replay_times {
                start = (start * (f64::from(previous.replay_times) / times)).round_ties_even();
            }
            (start * area(previous.band) / area(band)).round_ties_even() as u32
        });
        rows.push(ReleasedStage {
            stage,
            band,
            magnitude: stage as u32,
            replay_times,
            schedule_epochs,
            warmup_epochs,
            start_epoch,
            end_epoch,
            epochs_run: end_epoch.saturating_sub(start_epoch),
        });
    }
    rows
}

impl std::fmt::Display for Reuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Twofold => "twofold",
            Self::Fourfold => "fourfold",
        })
    }
}

impl std::str::FromStr for Reuse {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "off" => Ok(Self::Off),
            "twofold" => Ok(Self::Twofold),
            "fourfold" => Ok(Self::Fourfold),
            _ => Err(Error::config("replay", format!("`{s}` is not known; use off, twofold or fourfold"))),
        }
    }
}

impl Schedule {
    /// EfficientTrain++ as the released scripts run it, with the replay of [`Options::replay`]: stage i lasts exactly
    /// `epochs_run` of its epochs, in each of which `1 / ρ` of the data set is decoded and all of it trained on ([`table`]).
    ///
    /// [`Schedule::epochs`] is the compute that this adds up to, which misses [`Options::epochs`] by up to 0.5 %, with replay 0.7 %
    /// (199.96, 200.63 and 199.90 for E = 200). At another base or patch the same arithmetic is done with the scaled
    /// bands.
    ///
    /// # Errors
    /// As [`Options::check`]; [`Error::Config`] also if `epochs` is not a whole number, or so small that rounding leaves a
    /// stage without an epoch.
    pub fn released(row: ModelRow, options: &Options) -> Result<Self> {
        options.check()?;
        let whole = options.epochs as u32;
        if f64::from(whole) != options.epochs {
            let reason = format!("{}: the released arithmetic needs a whole number", options.epochs);
            return Err(Error::config("schedule.epochs", reason));
        }
        let bands = row.bands().map(|published| scaled_band(published, options));
        let released = stages(bands, options.base, row, whole, options.replay);
        if let Some(empty) = released.iter().find(|stage| stage.epochs_run == 0) {
            let reason = format!(
                "{whole}: the released arithmetic leaves stage {} without an epoch; use more epochs, or `{}` without it",
                empty.stage,
                row.schedule_name()
            );
            return Err(Error::config("schedule.epochs", reason));
        }
        let cost = |band: u32| (f64::from(band) / f64::from(options.base)).powi(2);
        let rows: Vec<Row> = released
            .iter()
            .zip(options.replay.stages())
            .map(|(stage, replay)| Row {
                // An epoch is `1281167 / ρ` new images, so ρ of them are what a data set's worth of training is.
                compute: f64::from(stage.epochs_run * stage.replay_times) * cost(stage.band),
                band: stage.band,
                magnitude: f64::from(stage.magnitude),
                replay,
                growth: Growth::NONE,
            })
            .collect();
        let epochs = short(rows.iter().map(|row| row.compute).sum());
        let name = format!("{}_released", row.schedule_name());
        Self::build(&name, options, BandCrop::Lanczos, &rows)?.with_epochs(epochs)
    }
}
