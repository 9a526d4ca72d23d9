//! Growth of depth: which block a new one is made from, and what its weights are (`autoprog.md` §3 \[code\]).
//!
//! ```text
//! 3 blocks ─► 5:   0  1  1' 2  2'      the last (5 mod 3) sources are taken once more; the second of a pair is "new"
//! ```
//!
//! [`deepen`] grows any model that says of its blocks what [`Grow`] asks. [`super::Trainer::grow`] grows the bundled one with
//! its running means and moments.

use super::names::{Fill, parameters};
use super::safetensors::Values;
use crate::error::{Error, Result};
use crate::schedule::auto_prog::to_multiple;
use burn::module::Module;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// For each of `after` blocks, which of `before` it is made from: in order, and as evenly as can be, the last sources once
/// more than the first. New blocks stand behind the one they come from.
///
/// # Panics
/// If `before` is 0 or more than `after`.
pub fn sources(before: usize, after: usize) -> Vec<usize> {
    assert!(0 < before && before <= after, "{before} blocks grow to as many or more, not to {after}");
    let (times, more) = (after / before, after % before);
    let first = before - more;
    (0..after).map(|i| if i / times < first { i / times } else { (i + first) / (times + 1) }).collect()
}

/// The blocks of a supernet of `supernet` blocks, grown from `before`, that a network of `depth` has: those that are not new,
/// and the last ones of the new (`autoprog.md` §4.4 \[code\]). Each deeper network has all blocks of each shallower one.
///
/// # Panics
/// Unless `0 < before <= depth <= supernet`.
pub fn nested(before: usize, supernet: usize, depth: usize) -> Vec<usize> {
    assert!(before <= depth && depth <= supernet, "{depth} blocks within {supernet} grown from {before}");
    let from = sources(before, supernet);
    let new = |i: usize| i > 0 && from[i - 1] == from[i];
    let left_out: Vec<usize> = (0..supernet).filter(|&i| new(i)).take(supernet - depth).collect();
    (0..supernet).filter(|i| !left_out.contains(i)).collect()
}

/// VOLO's blocks for a depth: outlookers and transformers.
pub fn volo_split(depth: usize) -> [usize; 2] {
    let outlookers = to_multiple(depth as f64 * 0.23, 2) as usize;
    [outlookers, depth.saturating_sub(outlookers)]
}

/// What a model grows by: where the weights of its blocks come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoGrow {
    /// New blocks from the slowest running mean, the others stay as they are: the paper's wording (\[recall\]).
    #[default]
    NewOnly,
    /// Every weight from the slowest running mean: the released code.
    All,
    /// New blocks are copies of the trained ones.
    Copy,
    /// New blocks have first weights.
    Random,
    /// New blocks are copies whose branches end in zeros, so that the model computes what it did.
    Zero,
}

impl MoGrow {
    /// Whether it needs a running mean.
    pub fn needs_mean(self) -> bool {
        matches!(self, Self::NewOnly | Self::All)
    }

    /// Whether a new block begins with what its source has learnt, and so with its source's moments and means.
    fn inherits(self) -> bool {
        !matches!(self, Self::Random | Self::Zero)
    }
}

impl std::fmt::Display for MoGrow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NewOnly => "new_only",
            Self::All => "all",
            Self::Copy => "copy",
            Self::Random => "random",
            Self::Zero => "zero",
        })
    }
}

impl std::str::FromStr for MoGrow {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s.replace('-', "_").as_str() {
            "new_only" => Ok(Self::NewOnly),
            "all" => Ok(Self::All),
            "copy" => Ok(Self::Copy),
            "random" => Ok(Self::Random),
            "zero" => Ok(Self::Zero),
            _ => Err(Error::config("mogrow", format!("`{s}` is not known; use new_only, all, copy, random or zero"))),
        }
    }
}

/// What becomes of the optimiser's moments when the model grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrowthMoments {
    /// Those of a block stay, and a new block has a copy of its source's; one that is random or zero has none.
    #[default]
    Carry,
    /// All begin anew, at the rate of the schedule and without a warm-up: the released code.
    Drop,
}

impl std::fmt::Display for GrowthMoments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Carry => "carry",
            Self::Drop => "drop",
        })
    }
}

impl std::str::FromStr for GrowthMoments {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "carry" => Ok(Self::Carry),
            "drop" => Ok(Self::Drop),
            _ => Err(Error::config("growth_moments", format!("`{s}` is not known; use carry or drop"))),
        }
    }
}

/// How the trainer grows its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrowthConfig {
    /// Where the weights come from.
    pub mogrow: MoGrow,
    /// What becomes of the moments.
    pub moments: GrowthMoments,
}

impl GrowthConfig {
    pub(super) fn is_standard(&self) -> bool {
        *self == Self::default()
    }
}

/// A model whose depth can grow: what [`deepen`] must know of it.
///
/// ```
/// use bandfeed::train::{Device, Grow, MoGrow, deepen};
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig};
///
/// #[derive(Module, Debug)]
/// struct Layers {
///     layers: Vec<Linear>,
/// }
///
/// impl Layers {
///     fn new(depth: usize) -> Self {
///         Self { layers: (0..depth).map(|_| LinearConfig::new(3, 3).init(&Device::flex())).collect() }
///     }
/// }
///
/// impl Grow for Layers {
///     fn groups(&self) -> Vec<(String, usize)> {
///         vec![("layers".into(), self.layers.len())]
///     }
///     fn with_depths(&self, depths: &[usize], _seed: u64) -> bandfeed::Result<Self> {
///         Ok(Self::new(depths[0]))
///     }
///     fn ends_branch(&self, _name: &str) -> bool {
///         true
///     }
/// }
///
/// let grown = deepen(&Layers::new(2), None, &[3], MoGrow::Copy, 0)?;
/// assert_eq!(grown.layers[1].weight.to_data(), grown.layers[2].weight.to_data());
/// # Ok::<(), bandfeed::Error>(())
/// ```
pub trait Grow: Module {
    /// Groups of blocks that grow each by itself: the path of a group in the names of parameters (`blocks`, of
    /// `blocks.0.query.weight`), and how many blocks it has.
    fn groups(&self) -> Vec<(String, usize)>;

    /// A model of the same shape with so many blocks in each group, with first weights drawn from `seed`. No parameter may
    /// share its identity with another's. Whatever is no parameter (running statistics) stays as this makes it.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no such model.
    fn with_depths(&self, depths: &[usize], seed: u64) -> Result<Self>;

    /// Whether a block whose parameters with such names (within the block: `project.weight`) are zero adds nothing to what
    /// passes by: those behind which its branches end. For [`MoGrow::Zero`].
    fn ends_branch(&self, name: &str) -> bool;
}

/// From the names of a grown model's parameters to those of the model that it was: for whatever is kept by parameter.
#[derive(Debug, Clone)]
pub struct Sources {
    groups: Vec<(String, Vec<usize>)>,
}

/// Where a parameter of a grown model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Name of the parameter before.
    pub name: String,
    /// Name within its block; `None` outside the groups.
    pub within: Option<String>,
    /// Whether it belongs to a new block.
    pub new: bool,
}

impl Sources {
    /// `groups` as [`Grow::groups`] has them, `depths` what they grow to.
    ///
    /// # Errors
    /// [`Error::Config`] if the depths are not one for each group, or if a group would shrink.
    pub fn new(groups: &[(String, usize)], depths: &[usize]) -> Result<Self> {
        let fits = |((_, before), after): (&(String, usize), &usize)| 0 < *before && before <= after;
        if groups.len() != depths.len() || !groups.iter().zip(depths).all(fits) {
            let before: Vec<usize> = groups.iter().map(|(_, depth)| *depth).collect();
            let reason = format!("{depths:?}: expected as many blocks as there are, {before:?}, or more");
            return Err(Error::config("depth", reason));
        }
        let of = |((path, before), after): (&(String, usize), &usize)| (format!("{path}."), sources(*before, *after));
        Ok(Self { groups: groups.iter().zip(depths).map(of).collect() })
    }

    /// For a model that only has the blocks `kept` of each group, by their numbers in order.
    ///
    /// # Errors
    /// [`Error::Config`] if a group keeps no block, one that is not there, or one twice.
    pub fn kept(groups: &[(String, usize)], kept: &[Vec<usize>]) -> Result<Self> {
        let fits = |((_, blocks), kept): (&(String, usize), &Vec<usize>)| {
            kept.windows(2).all(|pair| pair[0] < pair[1]) && kept.last().is_some_and(|last| last < blocks)
        };
        if groups.len() != kept.len() || !groups.iter().zip(kept).all(fits) {
            let before: Vec<usize> = groups.iter().map(|(_, depth)| *depth).collect();
            let reason = format!("blocks {kept:?}: expected some of each group's {before:?}, in order");
            return Err(Error::config("depth", reason));
        }
        let of = |((path, _), kept): (&(String, usize), &Vec<usize>)| (format!("{path}."), kept.clone());
        Ok(Self { groups: groups.iter().zip(kept).map(of).collect() })
    }

    /// Blocks of each group after.
    fn depths(&self) -> Vec<usize> {
        self.groups.iter().map(|(_, sources)| sources.len()).collect()
    }

    /// Where the parameter of this name comes from.
    pub fn of(&self, name: &str) -> Origin {
        let found = self.groups.iter().find_map(|(path, sources)| {
            // The number ends at a dot: block 1 is not block 10.
            let (number, within) = name.strip_prefix(path.as_str())?.split_once('.')?;
            let index: usize = number.parse().ok()?;
            let source = *sources.get(index)?;
            let new = index > 0 && sources[index - 1] == source;
            Some(Origin { name: format!("{path}{source}.{within}"), within: Some(within.to_owned()), new })
        });
        found.unwrap_or_else(|| Origin { name: name.to_owned(), within: None, new: false })
    }
}

/// `model` grown to `depths` blocks in its groups, every parameter with an identity of its own. `mean` is a running mean
/// of its weights: the same model with the mean in their place. `seed` is for [`MoGrow::Random`].
///
/// # Errors
/// [`Error::Config`] if a group would shrink, or if there is no mean and `by` needs one; whatever
/// [`Grow::with_depths`] ends with.
pub fn deepen<M: Grow>(model: &M, mean: Option<&M>, depths: &[usize], by: MoGrow, seed: u64) -> Result<M> {
    transplant(model, mean, &Sources::new(&model.groups(), depths)?, by, seed)
}

/// `model` with only the blocks `kept` of each group: what [`nested`] says, of a supernet. Every parameter has an identity of its
/// own.
///
/// # Errors
/// As [`Sources::kept`]; whatever [`Grow::with_depths`] ends with.
pub fn extract<M: Grow>(model: &M, kept: &[Vec<usize>]) -> Result<M> {
    transplant(model, None, &Sources::kept(&model.groups(), kept)?, MoGrow::Copy, 0)
}

/// A model whose parameters come from where `map` says.
pub(super) fn transplant<M: Grow>(model: &M, mean: Option<&M>, map: &Sources, by: MoGrow, seed: u64) -> Result<M> {
    let grown = model.with_depths(&map.depths(), seed)?;
    if by.needs_mean() && mean.is_none() {
        return Err(Error::config("mogrow", format!("{by}: there is no running mean of the weights to grow from")));
    }
    let (online, mean) = (parameters(model), mean.map(parameters).unwrap_or_default());
    let mut values: BTreeMap<String, Values> = BTreeMap::new();
    for (name, (_, fresh)) in parameters(&grown) {
        let source = map.of(&name);
        let from = if by == MoGrow::All || (by == MoGrow::NewOnly && source.new) { &mean } else { &online };
        let Some((_, found)) = from.get(&source.name) else {
            let reason = format!("parameter {name} would come from {}, which is not there", source.name);
            return Err(Error::config("growth", reason));
        };
        let ends = source.within.as_deref().is_some_and(|within| model.ends_branch(within));
        let value = match by {
            MoGrow::Random if source.new => fresh,
            MoGrow::Zero if source.new && ends => Values { values: vec![0.0; found.values.len()], ..found.clone() },
            _ => found.clone(),
        };
        values.insert(name, value);
    }
    let mut fill = Fill::new("", &mut values);
    let grown = grown.map(&mut fill);
    match fill.missing {
        Some(misfitting) => Err(Error::config("growth", format!("parameter {misfitting}"))),
        None => Ok(grown),
    }
}

/// Takes what is kept by parameter over from a model to the one that it has grown to. `of_new` makes what a new block has
/// that does not inherit.
pub(super) fn carry<T: Clone>(
    map: &Sources,
    by: MoGrow,
    before: &BTreeMap<String, T>,
    names: impl Iterator<Item = String>,
    mut of_new: impl FnMut(&str) -> Option<T>,
) -> BTreeMap<String, T> {
    let mut after = BTreeMap::new();
    for name in names {
        let source = map.of(&name);
        let value = match source.new && !by.inherits() {
            true => of_new(&name),
            false => before.get(&source.name).cloned(),
        };
        after.extend(value.map(|value| (name, value)));
    }
    after
}

#[cfg(test)]
mod tests;
