//! AdamW, its moments keyed by the parameter's identity.
//!
//! Burn's own optimiser has parameter groups, but keeps its moments behind type-erased records: they could be neither
//! interpolated with the position embedding nor checked against a checkpoint, and its gradient clipping is per tensor.
//! This one is the few lines of the paper over flat tensors, on any device; a step is about a hundredth of the time of
//! the gradient.

use super::config::AdamWConfig;
use super::gradient::Gradients;
use super::names::Name;
use super::vit::Vit;
use crate::error::{Error, Result};
use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{DType, Tensor};
use std::collections::BTreeMap;

/// Loshchilov and Hutter's AdamW with PyTorch's order of operations and bias correction for each parameter.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    pub(super) moments: BTreeMap<ParamId, Moments>,
}

/// What AdamW remembers of one parameter; tensors flat.
#[derive(Debug, Clone)]
pub(super) struct Moments {
    /// Running mean of the gradient.
    pub(super) first: Tensor<1>,
    /// Running mean of its square.
    pub(super) second: Tensor<1>,
    /// Steps taken.
    pub(super) steps: u64,
}

impl AdamW {
    /// An optimiser that has seen nothing.
    pub fn new(config: AdamWConfig) -> Self {
        Self { config, moments: BTreeMap::new() }
    }

    /// One step of `model` at `rate` along the mean of `gradients`. Returns the global norm of that mean before
    /// clipping. Parameters without a gradient stay as they are, and do not decay.
    ///
    /// # Errors
    /// [`Error::Training`] if the norm is not finite; nothing is changed then.
    pub fn step(&mut self, model: &mut Vit, gradients: Gradients, rate: f64, step: u64) -> Result<f64> {
        self.advance(model, gradients, rate)
            .map_err(|norm| Error::Training { step, reason: format!("the gradient's norm is {norm}") })
    }

    /// [`AdamW::step`], with the norm as the error.
    pub(super) fn advance(
        &mut self,
        model: &mut Vit,
        gradients: Gradients,
        rate: f64,
    ) -> std::result::Result<f64, f64> {
        let images = gradients.images as f64;
        let norm = global_norm(&gradients.tensors) / images;
        if !norm.is_finite() {
            return Err(norm);
        }
        let clip = self.config.clip.map_or(1.0, |limit| (limit / (norm + 1e-6)).min(1.0));
        let (path, depth) = (Name::default(), model.blocks.len());
        let mut update = Update { adam: self, gradients: gradients.tensors, scale: clip / images, rate, path, depth };
        *model = model.clone().map(&mut update);
        Ok(norm)
    }

    /// Puts the moments of one parameter through `change`, for when the parameter changes its shape.
    pub(super) fn reshape(&mut self, id: ParamId, change: impl Fn(Tensor<1>) -> Tensor<1>) {
        if let Some(moments) = self.moments.get_mut(&id) {
            moments.first = change(moments.first.clone());
            moments.second = change(moments.second.clone());
        }
    }
}

/// Summed here in f64 and in one order: the backend sums large tensors on several threads, in the order in which they
/// come to their ends, and a run would not repeat.
fn global_norm(gradients: &BTreeMap<ParamId, Tensor<1>>) -> f64 {
    gradients.values().map(|g| sum_of_squares(g.to_data().as_slice().expect("gradients are f32"))).sum::<f64>().sqrt()
}

/// In eight lanes, so that it takes vector instructions.
fn sum_of_squares(values: &[f32]) -> f64 {
    let (rows, rest) = values.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for row in rows {
        for (lane, &value) in lanes.iter_mut().zip(row) {
            *lane += f64::from(value) * f64::from(value);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>()
}

struct Update<'a> {
    adam: &'a mut AdamW,
    gradients: BTreeMap<ParamId, Tensor<1>>,
    scale: f64,
    rate: f64,
    path: Name,
    depth: usize,
}

impl ModuleMapper for Update<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let id = param.id;
        let Some(gradient) = self.gradients.remove(&id) else { return param };
        let AdamWConfig { beta1, beta2, epsilon, weight_decay, layer_decay, .. } = self.adam.config;
        let above = self.depth + 1 - self.path.layer(self.depth);
        let rate = self.rate * layer_decay.powi(above as i32);
        let gradient = gradient * self.scale;
        let before = self.adam.moments.remove(&id).unwrap_or_else(|| Moments {
            first: gradient.zeros_like(),
            second: gradient.zeros_like(),
            steps: 0,
        });
        let steps = before.steps + 1;
        let first = before.first * beta1 + gradient.clone() * (1.0 - beta1);
        let second = before.second * beta2 + gradient.square() * (1.0 - beta2);
        let power = i32::try_from(steps).unwrap_or(i32::MAX);
        let (bias1, bias2) = (1.0 - beta1.powi(power), 1.0 - beta2.powi(power));
        let root = second.clone().sqrt() / bias2.sqrt() + epsilon;
        let delta = first.clone() / root * (rate / bias1);
        self.adam.moments.insert(id, Moments { first, second, steps });
        // Matrices decay. Vectors, the class token and the position embedding, which have 1 and 3 axes, do not
        // (`efficienttrain.md` §3.3).
        let kept = if D == 2 { 1.0 - rate * weight_decay } else { 1.0 };
        param.map(|value| {
            debug_assert_eq!(value.dtype(), DType::F32);
            let shape = value.shape();
            value * kept - delta.reshape(shape)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::VitConfig;
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn model() -> Vit {
        let config =
            VitConfig { dim: 4, depth: 1, heads: 2, patch: 2, mlp_ratio: 2.0, drop_path: 0.0, ..VitConfig::tiny(3) };
        Vit::new(&config, 4, 1, &Device::flex()).unwrap()
    }

    fn values<const D: usize>(param: &Param<Tensor<D>>) -> Vec<f32> {
        param.val().into_data().try_to_vec().unwrap()
    }

    fn gradient(id: ParamId, values: &[f32]) -> Gradients {
        let tensor = Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &Device::flex());
        Gradients { tensors: BTreeMap::from([(id, tensor)]), images: 1, ..Gradients::default() }
    }

    /// PyTorch's `torch.optim.AdamW`, written out for one number in f64.
    fn reference(mut p: f64, gradients: &[f64], rate: f64, decay: f64) -> f64 {
        let (mut m, mut v) = (0.0, 0.0);
        for (t, g) in gradients.iter().enumerate() {
            let t = t as i32 + 1;
            p *= 1.0 - rate * decay;
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let denominator = (v / (1.0 - 0.999f64.powi(t))).sqrt() + 1e-8;
            p -= rate * (m / (1.0 - 0.9f64.powi(t))) / denominator;
        }
        p
    }

    #[test]
    fn steps_agree_with_pytorchs_rule_and_only_matrices_decay() {
        let mut model = model();
        let config = AdamWConfig { clip: None, weight_decay: 0.5, ..AdamWConfig::default() };
        let mut adam = AdamW::new(config);
        let (matrix, vector) = (values(&model.head.weight)[0], values(&model.norm.gamma)[0]);
        let gradients = [0.3f64, -2.0, 1e-4, 5.0];
        for g in gradients {
            let mut both = gradient(model.head.weight.id, &[g as f32; 12]);
            both.add(Gradients { images: 0, ..gradient(model.norm.gamma.id, &[g as f32; 4]) });
            adam.step(&mut model, both, 0.1, 0).unwrap();
        }
        let expected = reference(f64::from(matrix), &gradients, 0.1, 0.5);
        assert!((f64::from(values(&model.head.weight)[0]) - expected).abs() < 1e-5, "{expected}");
        let expected = reference(f64::from(vector), &gradients, 0.1, 0.0);
        assert!((f64::from(values(&model.norm.gamma)[0]) - expected).abs() < 1e-5, "{expected}");
    }

    #[test]
    fn a_parameter_without_a_gradient_keeps_every_bit() {
        let mut model = model();
        let kept = values(&model.embed.weight);
        let head = gradient(model.head.weight.id, &[1.0; 12]);
        AdamW::new(AdamWConfig::default()).step(&mut model, head, 0.1, 0).unwrap();
        assert_eq!(values(&model.embed.weight), kept);
    }

    #[test]
    fn layers_further_from_the_head_learn_more_slowly() {
        // One block: the embedding is layer 0 and two below the head.
        let config = AdamWConfig { clip: None, weight_decay: 0.5, layer_decay: 0.7, ..AdamWConfig::default() };
        let (mut model, mut adam) = (model(), AdamW::new(config));
        let block = |model: &Vit| model.blocks[0].query.weight.clone();
        let first = |model: &Vit| [&model.embed.weight, &block(model), &model.head.weight].map(|w| values(w)[0]);
        let before = first(&model);
        let mut all = Gradients::default();
        for (weight, len) in [(&model.embed.weight, 48), (&block(&model), 16), (&model.head.weight, 12)] {
            all.add(Gradients { images: 0, ..gradient(weight.id, &vec![0.3; len]) });
        }
        // Norms do not decay, whatever their layer; the class token is of layer 0.
        all.add(gradient(model.class_token.id, &[0.3; 4]));
        let token = values(&model.class_token)[0];
        adam.step(&mut model, all, 0.1, 0).unwrap();
        for (i, (before, after)) in before.into_iter().zip(first(&model)).enumerate() {
            let expected = reference(f64::from(before), &[0.3], 0.1 * [0.49, 0.7, 1.0][i], 0.5);
            assert!((f64::from(after) - expected).abs() < 1e-6, "{i}: {after}, expected {expected}");
        }
        let expected = reference(f64::from(token), &[0.3], 0.1 * 0.49, 0.0);
        assert!((f64::from(values(&model.class_token)[0]) - expected).abs() < 1e-6);
    }

    #[test]
    fn clipping_is_by_the_norm_of_all_parameters_together() {
        // Norm of 12 times 3 and 4 times 4: sqrt(108 + 64).
        let mut model = model();
        let mut all = gradient(model.head.weight.id, &[3.0; 12]);
        all.add(Gradients { images: 0, ..gradient(model.norm.gamma.id, &[4.0; 4]) });
        let id = model.norm.gamma.id;
        let mut adam = AdamW::new(AdamWConfig { clip: Some(1.0), ..AdamWConfig::default() });
        let norm = adam.step(&mut model, all, 0.1, 0).unwrap();
        assert!((norm - 172f64.sqrt()).abs() < 1e-5, "{norm}");
        let first: Vec<f32> = adam.moments[&id].first.to_data().try_to_vec().unwrap();
        assert!((f64::from(first[0]) - 0.1 * 4.0 / norm).abs() < 1e-6, "{first:?}");
    }

    #[test]
    fn the_norm_of_a_large_tensor_is_exact_to_f64_and_the_same_each_time() {
        // Above 4 * 2^20 values the backend's own sum is made by several threads.
        let values: Vec<f32> = (0..5_000_003u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 * 1e-7).collect();
        let expected = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let gradients = gradient(model().head.weight.id, &values).tensors;
        let norm = global_norm(&gradients);
        assert!((norm / expected - 1.0).abs() < 1e-12, "{norm} {expected}");
        for _ in 0..10 {
            assert_eq!(global_norm(&gradients).to_bits(), norm.to_bits());
        }
    }

    #[test]
    fn a_gradient_that_is_not_finite_stops_before_any_change() {
        let mut model = model();
        let bad = gradient(model.head.bias.as_ref().unwrap().id, &[0.0, f32::INFINITY, 0.0]);
        let mut adam = AdamW::new(AdamWConfig::default());
        let error = adam.step(&mut model, bad, 0.1, 41).unwrap_err();
        assert!(matches!(error, Error::Training { step: 41, .. }), "{error}");
        assert!(adam.moments.is_empty());
    }
}
