//! Files that gave no image, or a damaged one: counted and listed, never lost.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// What the loader does about a sample that cannot be read or decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBadFile {
    /// The batch is an error that names the file.
    #[default]
    Fail,
    /// The batch is smaller by that sample, and may be empty. The third batch in a row that is all bad files is an error.
    Skip,
    /// Another sample, drawn from the seed and the sample's place in the epoch, takes its place.
    Substitute,
}

impl std::str::FromStr for OnBadFile {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "fail" => Ok(Self::Fail),
            "skip" => Ok(Self::Skip),
            "substitute" => Ok(Self::Substitute),
            _ => Err(Error::config("bad-file policy", format!("`{s}` is not known; use fail, skip or substitute"))),
        }
    }
}

/// One file that gave no image, or a damaged one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadFile {
    /// Index in the source.
    pub index: u32,
    /// The source's name for it.
    pub name: String,
    /// Why, of its last try.
    pub reason: String,
    /// How often it was met.
    pub times: u64,
}

#[derive(Debug, Default)]
pub(super) struct Report(Mutex<BTreeMap<u32, BadFile>>);

impl Report {
    pub(super) fn add(&self, index: u32, name: String, reason: String) {
        let mut files = self.0.lock().expect("no user of the report panics");
        let file = files.entry(index).or_insert_with(|| {
            tracing::warn!(file = %name, %reason, "bad file");
            BadFile { index, name, reason: String::new(), times: 0 }
        });
        file.reason = reason;
        file.times += 1;
    }

    pub(super) fn list(&self) -> Vec<BadFile> {
        self.0.lock().expect("no user of the report panics").values().cloned().collect()
    }
}
