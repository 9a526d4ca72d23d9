//! Where encoded images come from: a source yields bytes and a label by index.

use crate::error::Result;

/// Encoded images with their labels, addressed by index. Cheap to ask; reading is done by the loader's workers.
pub trait Source: Send + Sync {
    /// Number of samples.
    fn len(&self) -> usize;

    /// Whether there are none. The sources of this crate refuse to open in that case.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A name that a person can find the sample by: a path, or `shard.tar#key.jpg`.
    ///
    /// # Panics
    /// If `index` is not below [`Source::len`], as `label` and `read`.
    fn name(&self, index: usize) -> String;

    /// The class index.
    fn label(&self, index: usize) -> u32;

    /// Class names by class index.
    fn classes(&self) -> &[String];

    /// The encoded image. `buffer` is scratch space that a source may fill and lend from; a source that holds the bytes
    /// (a memory map) lends its own.
    ///
    /// # Errors
    /// [`crate::Error::Io`] with the file's path.
    fn read<'a>(&'a self, index: usize, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]>;
}
