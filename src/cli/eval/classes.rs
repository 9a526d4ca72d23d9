//! Which output of the model stands for which class of the images.

use crate::error::{Error, Result};
use crate::source::Source;
use crate::train::Weights;
use std::collections::HashMap;
use std::path::Path;

/// The classes of a model and of the images it is measured on.
pub(super) struct Classes {
    /// Names of the model's outputs.
    pub(super) names: Vec<String>,
    /// Output by label of the images.
    outputs: Vec<usize>,
    /// What the reader should know of it.
    pub(super) note: Option<String>,
}

impl Classes {
    /// By name where the file tells the names; by number where it does not.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the images have a class that the model does not have, or, without names, another number of
    /// classes.
    pub(super) fn new(weights: &Weights, source: &dyn Source, path: &Path) -> Result<Self> {
        let refuse = |reason: String| Err(Error::Checkpoint { path: path.to_owned(), reason });
        let (ours, theirs) = (&weights.about.classes, source.classes());
        let outputs = weights.config.classes;
        if ours.len() != outputs {
            if theirs.len() != outputs {
                return refuse(format!(
                    "the model has {outputs} classes, and the file does not tell their names; the images have {}",
                    theirs.len()
                ));
            }
            let note = "the file does not tell the names of its classes; the images' classes are taken in their order";
            return Ok(Self { names: theirs.to_vec(), outputs: (0..outputs).collect(), note: Some(note.into()) });
        }
        let place: HashMap<&String, usize> = ours.iter().enumerate().map(|(i, name)| (name, i)).collect();
        let found: Vec<Option<usize>> = theirs.iter().map(|name| place.get(name).copied()).collect();
        let missing: Vec<&String> =
            theirs.iter().zip(&found).filter(|(_, found)| found.is_none()).map(|(name, _)| name).collect();
        if let Some(first) = missing.first() {
            let more = match missing.len() - 1 {
                0 => String::new(),
                n => format!(" and {n} others"),
            };
            return refuse(format!("the model has no class `{first}`{more}; it has {}", brief(ours)));
        }
        let outputs: Vec<usize> = found.into_iter().flatten().collect();
        let in_order = outputs.iter().copied().eq(0..ours.len());
        let note = (!in_order).then(|| {
            format!("{} of the model's {} classes are in the images; they go by their names", theirs.len(), ours.len())
        });
        Ok(Self { names: ours.clone(), outputs, note })
    }

    /// The output for a label of the images.
    pub(super) fn output(&self, label: u32) -> usize {
        self.outputs[label as usize]
    }
}

/// The first few names.
fn brief(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{} classes: {shown}, ...", names.len()) } else { shown }
}
