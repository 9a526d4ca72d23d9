//! Running means of the weights, kept beside the model and evaluated in its place.
//!
//! The copies are flat tensors by parameter, as the optimiser's moments are: a copy of the module would share the identity
//! and the gradient state of its parameters.

use super::vit::Vit;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use std::collections::BTreeMap;

/// One running mean of all weights; empty before the first step.
#[derive(Debug, Clone, Default)]
pub(super) struct Ema {
    pub(super) tensors: BTreeMap<ParamId, Tensor<1>>,
}

/// The decay after `steps` steps of a run, of which the last has just been taken: timm's `ModelEmaV3.get_decay`.
pub(super) fn decay(decay: f64, warmup: bool, steps: u64) -> f64 {
    match steps {
        0 | 1 => 0.0,
        n if warmup => decay.min(1.0 - (n as f64).powf(-2.0 / 3.0)),
        _ => decay,
    }
}

impl Ema {
    /// Takes the weights in: mean = mean + (1 - decay) (weights - mean).
    pub(super) fn update(&mut self, model: &Vit, decay: f64) {
        model.visit(&mut Update { ema: self, decay });
    }

    /// `model` with the mean in place of its weights.
    pub(super) fn put(&self, model: &Vit) -> Vit {
        model.clone().map(&mut Put { ema: self })
    }
}

struct Update<'a> {
    ema: &'a mut Ema,
    decay: f64,
}

impl ModuleVisitor for Update<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let weights = param.val();
        let len = weights.shape().num_elements();
        let weights = weights.reshape([len]);
        let mean = match self.ema.tensors.remove(&param.id) {
            Some(mean) if self.decay > 0.0 => {
                let step = (weights - mean.clone()) * (1.0 - self.decay);
                mean + step
            }
            _ => weights,
        };
        self.ema.tensors.insert(param.id, mean);
    }
}

struct Put<'a> {
    ema: &'a Ema,
}

impl ModuleMapper for Put<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.ema.tensors.get(&param.id) {
            Some(mean) => {
                let mean = mean.clone();
                param.map(|weights| mean.reshape(weights.shape()))
            }
            None => param,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From timm 1.0.22: `ModelEmaV3(m, decay=d, use_warmup=w).get_decay(n)`.
    #[test]
    fn decays_are_timms() {
        for (d, warmup, n, expected) in [
            (0.9998, false, 1, 0.0),
            (0.9998, false, 2, 0.9998),
            (0.9998, true, 1, 0.0),
            (0.9998, true, 2, 0.370_039_475_052_563_4),
            (0.9998, true, 10, 0.784_556_530_996_816_2),
            (0.9998, true, 31_623, 0.999_000_004_709_622_4),
            (0.99, true, 100_000, 0.99),
        ] {
            assert!((decay(d, warmup, n) - expected).abs() < 1e-9, "{d} {warmup} {n}: {}", decay(d, warmup, n));
        }
    }
}
