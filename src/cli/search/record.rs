//! `search.json`: the record of a search, from which it goes on.

use super::super::machine::Machine;
use super::setup::Setup;
use crate::error::{Error, Result};
use crate::train::curriculum::{Finished, Plan, Search};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

const FORMAT: &str = "bandfeed search 1";

#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    format: String,
    machine: Machine,
    /// The training images as they were named.
    data: String,
    /// What the score is of, in words.
    scored_by: String,
    /// Share of the training images that is held out for it; `None` where it has images of its own.
    pub(super) hold_out: Option<f64>,
    pub(super) plan: Plan,
    /// Finished trials in the order in which they were made.
    pub(super) trials: Vec<Finished>,
    /// The curriculum; `None` before the end.
    bands: Option<Vec<u32>>,
    cost: Cost,
    /// What tells two searches apart.
    identity: Value,
}

/// In equivalent epochs, and seconds.
#[derive(Serialize, Deserialize)]
struct Cost {
    /// Compute that the search would take at most.
    most: f64,
    /// What it took.
    compute: f64,
    /// What the whole run takes that a schedule is searched for.
    run: f64,
    seconds: f64,
}

impl Record {
    pub(super) fn new(setup: &Setup, search: &Search) -> Self {
        let (plan, trials) = (search.plan().clone(), search.finished().to_vec());
        Self {
            format: FORMAT.into(),
            machine: setup.machine.clone(),
            data: setup.data.clone(),
            scored_by: setup.scored_by(),
            hold_out: setup.hold_out,
            bands: search.bands(),
            cost: Cost {
                most: plan.most_compute(),
                compute: search.spent(),
                run: plan.epochs,
                seconds: trials.iter().map(|trial| trial.seconds).sum(),
            },
            identity: setup.identity.clone(),
            plan,
            trials,
        }
    }

    /// # Errors
    /// [`Error::Checkpoint`] if there is none, or none of this form.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let misfit = |reason: String| Error::Checkpoint { path: path.to_owned(), reason };
        if !path.exists() {
            return Err(misfit("there is no search to go on with; leave out --resume to start one".into()));
        }
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let record: Self = serde_json::from_str(&text).map_err(|error| misfit(format!("no record: {error}")))?;
        if record.format != FORMAT {
            return Err(misfit(format!("expected format `{FORMAT}`, found `{}`", record.format)));
        }
        record.plan.check()?;
        Ok(record)
    }

    /// Replaces the file as a whole, or leaves it as it is.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("a record is plain data");
        super::super::chart::write(path, text.as_bytes())
    }

    /// # Errors
    /// [`Error::Checkpoint`] names the first setting that is not that of the search in the file.
    pub(super) fn check_is_of(&self, identity: &Value, path: &Path) -> Result<()> {
        let Some((name, before, now)) = first_difference("", &self.identity, identity) else { return Ok(()) };
        let reason = format!("it is of a search with {name} = {before}, but this one has {now}; choose another --out");
        Err(Error::Checkpoint { path: path.to_owned(), reason })
    }
}

/// The first value that differs, with its name.
fn first_difference(name: &str, before: &Value, now: &Value) -> Option<(String, String, String)> {
    if before == now {
        return None;
    }
    if let (Value::Object(a), Value::Object(b)) = (before, now) {
        let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        return keys.into_iter().find_map(|key| {
            let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
            first_difference(&name, &of(a), &of(b))
        });
    }
    Some((name.to_owned(), before.to_string(), now.to_string()))
}
