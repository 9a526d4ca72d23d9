//! Some samples of another source: for train and validation splits.

use super::{Source, count_line};
use crate::error::{Error, Result};
use crate::index::Entry;
use crate::rng::mix;
use crate::shape::Size;
use std::sync::Arc;

/// The samples `indices` of another source, in that order. Classes stay those of the whole.
pub struct Subset {
    inner: Arc<dyn Source>,
    indices: Vec<u32>,
}

impl Subset {
    /// A view of `inner`; an index may be there more than once.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no index or one is not below `inner.len()`.
    pub fn new(inner: Arc<dyn Source>, indices: Vec<u32>) -> Result<Self> {
        if indices.is_empty() {
            return Err(Error::config("subset", "no samples"));
        }
        if let Some(index) = indices.iter().find(|&&index| index as usize >= inner.len()) {
            return Err(Error::config("subset", format!("index {index}, but the source has {} samples", inner.len())));
        }
        Ok(Self { inner, indices })
    }

    /// Splits a source in two at random: `(the rest, share of each class)`, for those who have no validation set.
    ///
    /// Of a class with `n` samples, `round(share n)` go to the second part, so both parts keep the classes' proportions.
    /// The same seed gives the same split. Each part keeps the order of the source.
    ///
    /// # Errors
    /// [`Error::Config`] if `share` is not in `(0, 1)` or a part would be empty.
    pub fn split(inner: &Arc<dyn Source>, share: f64, seed: u64) -> Result<(Self, Self)> {
        if !(share > 0.0 && share < 1.0) {
            return Err(Error::config("split", format!("share {share}: expected more than 0 and less than 1")));
        }
        let mut by_class = vec![Vec::new(); inner.classes().len()];
        for index in 0..inner.len() {
            by_class[inner.label(index) as usize].push(index as u32);
        }
        let (mut rest, mut taken) = (Vec::new(), Vec::new());
        for mut indices in by_class {
            let count = (share * indices.len() as f64).round() as usize;
            // A hash of the index puts them in an order that owes nothing to the other classes; ties cannot occur, for
            // `mix` is a bijection.
            indices.sort_unstable_by_key(|&index| mix(mix(seed) ^ u64::from(index)));
            rest.extend_from_slice(&indices[count..]);
            taken.extend_from_slice(&indices[..count]);
        }
        rest.sort_unstable();
        taken.sort_unstable();
        Ok((Self::new(inner.clone(), rest)?, Self::new(inner.clone(), taken)?))
    }
}

impl Source for Subset {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn name(&self, index: usize) -> String {
        self.inner.name(self.indices[index] as usize)
    }

    fn label(&self, index: usize) -> u32 {
        self.inner.label(self.indices[index] as usize)
    }

    fn classes(&self) -> &[String] {
        self.inner.classes()
    }

    fn size(&self, index: usize) -> Option<Size> {
        self.inner.size(self.indices[index] as usize)
    }

    fn prefetch(&self, index: usize, scale: u8) {
        self.inner.prefetch(self.indices[index] as usize, scale);
    }

    fn read<'a>(&'a self, index: usize, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        self.inner.read(self.indices[index] as usize, buffer)
    }

    fn seek_entry(&self, index: usize) -> Option<Entry<'_>> {
        self.inner.seek_entry(self.indices[index] as usize)
    }

    fn describe(&self) -> String {
        format!("{}, of: {}", count_line(self), self.inner.describe())
    }
}
