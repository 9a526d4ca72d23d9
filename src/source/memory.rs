//! Images that the caller already holds.

use super::{Source, check_count};
use crate::error::{Error, Result};
use std::path::Path;

/// Encoded images in memory.
#[derive(Debug, Clone)]
pub struct Memory {
    samples: Vec<(Vec<u8>, u32)>,
    /// Empty, or one for each sample.
    names: Vec<String>,
    classes: Vec<String>,
}

impl Memory {
    /// A source of `(encoded image, class index)` pairs. Samples are named `memory#0`, `memory#1` and so on.
    ///
    /// # Errors
    /// [`Error::Source`] if there is no sample or a class index has no name in `classes`.
    pub fn new(samples: Vec<(Vec<u8>, u32)>, classes: Vec<String>) -> Result<Self> {
        let path = Path::new("memory");
        if samples.is_empty() {
            return Err(Error::source(path, "no images"));
        }
        check_count(path, samples.len())?;
        if let Some((index, (_, label))) =
            samples.iter().enumerate().find(|(_, (_, label))| *label as usize >= classes.len())
        {
            let reason = format!("sample {index} has class index {label}, but only {} class names", classes.len());
            return Err(Error::source(path, reason));
        }
        Ok(Self { samples, names: Vec::new(), classes })
    }

    /// The same with a name for each sample.
    ///
    /// # Errors
    /// [`Error::Source`] if the number of names is not that of the samples.
    pub fn with_names(mut self, names: Vec<String>) -> Result<Self> {
        if names.len() != self.samples.len() {
            let reason = format!("{} names for {} samples", names.len(), self.samples.len());
            return Err(Error::source("memory", reason));
        }
        self.names = names;
        Ok(self)
    }
}

impl Source for Memory {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn name(&self, index: usize) -> String {
        assert!(index < self.samples.len(), "sample {index} of {}", self.samples.len());
        self.names.get(index).cloned().unwrap_or_else(|| format!("memory#{index}"))
    }

    fn label(&self, index: usize) -> u32 {
        self.samples[index].1
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn read<'a>(&'a self, index: usize, _buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        Ok(&self.samples[index].0)
    }
}
