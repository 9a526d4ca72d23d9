//! The record of a step whose loss or gradient was not finite, and the way to make its batches again.

use super::Feed;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::schedule::Stage;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What [`super::fit()`] writes as `nonfinite.json` beside the checkpoints before it gives up. `S` is the feed's state
/// ([`crate::loader::State`] of a loader).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NonFinite<S> {
    /// Number of the optimiser step in the run, from 0. It was not taken.
    pub step: u64,
    /// Pass over the data set, from 0.
    pub epoch: u64,
    /// The stage.
    pub stage: Stage,
    /// Share of the run's compute consumed before the step, `0..1`.
    pub progress: f64,
    /// Learning rate that the step would have had.
    pub learning_rate: f64,
    /// Seed of the run.
    pub seed: u64,
    /// Mean loss of the step's images, as far as they came.
    #[serde(with = "number")]
    pub loss: f64,
    /// Global norm of the mean gradient; `None` if the loss was not finite, and no gradient was asked for.
    #[serde(with = "optional_number")]
    pub grad_norm: Option<f64>,
    /// The step's batches in order, the last of which was too much if it was the loss.
    pub batches: Vec<SuspectBatch>,
    /// The checkpoint with the weights before the step; `None` if none had been taken.
    pub checkpoint: Option<PathBuf>,
    /// The feed's state from which the first of the batches comes again.
    pub feed: S,
}

/// One batch of the step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SuspectBatch {
    /// Its number in the run ([`Batch::step`]).
    pub step: u64,
    /// Its images.
    pub images: Vec<SuspectImage>,
}

/// One image of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SuspectImage {
    /// Its index in the source.
    pub index: u32,
    /// Its name there, if the feed has names.
    pub name: Option<String>,
    /// Its class.
    pub label: u32,
    /// Index in the source of the image that was mixed into it, if one was.
    pub mixed_with: Option<u32>,
    /// Its loss: not finite where its pixels are the cause, and at every image where the weights are.
    #[serde(with = "number")]
    pub loss: f64,
}

impl SuspectBatch {
    /// Without names, which are asked for when there is need of them.
    pub(super) fn new(batch: &Batch, losses: &[f32]) -> Self {
        let partner = |i: usize| {
            let mixing = batch.mixing.as_ref().filter(|mixing| mixing.lambda(i) < 1.0)?;
            batch.indices.get(mixing.partner(i)).copied()
        };
        let images = losses.iter().enumerate().map(|(i, &loss)| {
            let index = batch.indices.get(i).copied().unwrap_or(i as u32);
            SuspectImage { index, name: None, label: batch.labels[i], mixed_with: partner(i), loss: f64::from(loss) }
        });
        Self { step: batch.step, images: images.collect() }
    }
}

impl<S: Serialize + for<'a> Deserialize<'a>> NonFinite<S> {
    /// Reads a record.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Checkpoint`] if the file is no such record.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(Error::io(path))?;
        serde_json::from_slice(&text).map_err(|error| Error::Checkpoint {
            path: path.to_owned(),
            reason: format!("it is no record of a step that was not finite: {error}"),
        })
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let folder = super::checkpoint::folder_of(path);
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let text = serde_json::to_string_pretty(self).expect("numbers and names can be written as JSON");
        std::fs::write(path, text).map_err(Error::io(path))
    }

    /// The step's batches once more, pixel for pixel, from a feed that goes on from the record's own state:
    ///
    /// ```no_run
    /// use bandfeed::loader::{Loader, State};
    /// use bandfeed::train::NonFinite;
    /// # use bandfeed::{Recipe, Schedule, Source};
    /// # fn again(source: std::sync::Arc<dyn Source>, schedule: Schedule, recipe: Recipe) -> bandfeed::Result<()> {
    /// let record = NonFinite::<State>::read("run/checkpoints/nonfinite.json".as_ref())?;
    /// let loader = Loader::builder(source, schedule).recipe(recipe).seed(record.seed).resume(record.feed.clone());
    /// let batches = record.replay(&mut loader.build()?)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Whatever the feed yields; [`Error::Config`] if its batches have other images than the record says: the data, the
    /// schedule, the recipe or what is done about bad files is not the run's.
    pub fn replay(&self, feed: &mut impl Feed) -> Result<Vec<Batch>> {
        let mut batches = Vec::with_capacity(self.batches.len());
        for expected in &self.batches {
            let found = feed.next_batch().transpose()?;
            let same = |batch: &Batch| batch.indices.iter().eq(expected.images.iter().map(|image| &image.index));
            match found {
                Some(batch) if batch.step == expected.step && same(&batch) => batches.push(batch),
                other => {
                    let other = other.map(|batch| (batch.step, batch.indices));
                    let reason = format!(
                        "batch {} does not come again: found {other:?}; give the run's own data, schedule, recipe and seed",
                        expected.step
                    );
                    return Err(Error::config("replay", reason));
                }
            }
        }
        Ok(batches)
    }
}

/// JSON has no word for what is no number: NaN, inf and -inf are strings. A null, as written before they were, is NaN.
pub(super) mod number {
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[derive(Deserialize)]
    #[serde(untagged)]
    pub(super) enum Written {
        Number(f64),
        Word(String),
        Null(()),
    }

    impl Written {
        pub(super) fn value<E: de::Error>(self) -> Result<f64, E> {
            match self {
                Self::Number(value) => Ok(value),
                Self::Word(word) => word.parse().map_err(E::custom),
                Self::Null(()) => Ok(f64::NAN),
            }
        }
    }

    pub(in super::super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() { to.serialize_f64(*value) } else { to.collect_str(value) }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        Written::deserialize(from)?.value()
    }
}

/// Rows of such numbers.
pub(super) mod rows {
    use super::number;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    struct Number(f64);

    impl Serialize for Number {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            number::serialize(&self.0, to)
        }
    }

    pub(in super::super) fn serialize<S: Serializer>(rows: &[Vec<f64>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(rows.iter().map(|row| row.iter().copied().map(Number).collect::<Vec<_>>()))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<f64>>, D::Error> {
        let rows = Vec::<Vec<number::Written>>::deserialize(from)?;
        rows.into_iter()
            .map(|row| row.into_iter().map(number::Written::value::<de::value::Error>).collect())
            .collect::<Result<_, _>>()
            .map_err(de::Error::custom)
    }
}

mod optional_number {
    use super::number;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => number::serialize(value, to),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
        Option::<number::Written>::deserialize(from)?.map(number::Written::value).transpose()
    }
}
