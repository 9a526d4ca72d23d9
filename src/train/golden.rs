//! The model against PyTorch: scores, loss and gradients of a small vision transformer, from `tests/data/vit/make.py`.
//!
//! PyTorch computes a plain transformer there in float64, every token through every block. Both sides fill images and
//! parameters from the same formula, so the file holds nothing but what is expected.

use super::block::Block;
use super::config::{Precision, TrainConfig, VitConfig};
use super::gradient::{self, Gradients, Place, Workers};
use super::vit::Vit;
use crate::batch::{Batch, Images};
use crate::schedule::Stage;
use crate::shape::BandCrop;
use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;
use std::collections::BTreeMap;

const BAND: u32 = 6;

#[derive(Deserialize)]
struct Golden {
    labels: Vec<u32>,
    label_smoothing: f64,
    /// Mean over the images.
    loss: f64,
    logits: Vec<f32>,
    /// In the order of their tensor numbers.
    parameters: Vec<Parameter>,
}

/// A parameter under timm's name and in PyTorch's layout.
#[derive(Deserialize)]
struct Parameter {
    name: String,
    shape: Vec<usize>,
    /// Of the mean loss.
    gradient: Vec<f32>,
}

/// The model with the values of `make.py`, and what PyTorch makes of it.
struct Case {
    golden: Golden,
    config: TrainConfig,
    model: Vit,
    ids: BTreeMap<String, ParamId>,
}

impl Case {
    fn new() -> Self {
        Self::of(include_str!("../../tests/data/vit/golden.json"), None)
    }

    fn with_layer_scale() -> Self {
        Self::of(include_str!("../../tests/data/vit/layer_scale.json"), Some(0.1))
    }

    fn of(golden: &str, layer_scale: Option<f64>) -> Self {
        let golden: Golden = serde_json::from_str(golden).unwrap();
        let model = VitConfig {
            dim: 8,
            depth: 2,
            heads: 2,
            patch: 2,
            mlp_ratio: 2.0,
            drop_path: 0.0,
            layer_scale,
            ..VitConfig::tiny(3)
        };
        let config = TrainConfig { label_smoothing: golden.label_smoothing, ..TrainConfig::new(model) };
        let mut values = BTreeMap::new();
        for (number, parameter) in golden.parameters.iter().enumerate() {
            let (base, scale) = match parameter.name.as_str() {
                name if name.contains("norm") && name.ends_with("weight") => (1.0, 0.5),
                _ if number < 4 => (0.0, 0.05),
                _ => (0.0, 0.5),
            };
            let len = parameter.shape.iter().product();
            values.extend(ours(parameter, &formula(number as f64, len, base, scale)));
        }
        let mut fill = Fill { path: Vec::new(), values, ids: BTreeMap::new() };
        let model = Vit::new(&config.model, BAND, 0, &Device::flex()).unwrap().map(&mut fill);
        assert!(fill.values.is_empty(), "left over: {:?}", fill.values.keys());
        Self { golden, config, model, ids: fill.ids }
    }

    fn batch(&self) -> Batch {
        let (n, side) = (self.golden.labels.len(), BAND as usize);
        let images = Images::from_vec(formula(-1.0, n * 3 * side * side, 0.0, 1.0), [n, 3, side, side]).unwrap();
        let stage = Stage::fixed(BAND, BAND, BandCrop::FOURIER, n);
        Batch::new(images, self.golden.labels.clone(), stage).unwrap()
    }

    /// As a step of training takes them.
    fn gradients(&self, chunk: usize) -> Gradients {
        let config = TrainConfig { chunk, ..self.config.clone() };
        gradient::of_batch(
            &self.model,
            &config,
            &Workers::new(2).unwrap(),
            &self.batch(),
            None,
            Place { step: 0, place: 0 },
            1.0,
        )
        .unwrap()
    }

    /// By name, each divided by the number of images: gradients of the mean loss.
    fn of_mean_loss(&self, gradients: &Gradients) -> BTreeMap<String, Vec<f32>> {
        assert_eq!(gradients.tensors.len(), self.ids.len());
        let mean = |id| host(gradients.tensors[id].clone() / gradients.images as f64);
        self.ids.iter().map(|(name, id)| (name.clone(), mean(id))).collect()
    }
}

/// The formula of `make.py`.
fn formula(number: f64, len: usize, base: f64, scale: f64) -> Vec<f32> {
    let wave = |i: f64| (0.9 * number + 1.7 * i + 0.1 * i * i).sin();
    (0..len).map(|i| (base + scale * wave(i as f64)) as f32).collect()
}

/// Values in the shape of `parameter`, under the names and in the layout that [`super::Trainer::save`] tells of.
fn ours(parameter: &Parameter, values: &[f32]) -> Vec<(String, Vec<f32>)> {
    let mut name = parameter.name.clone();
    for (theirs, ours) in [
        ("cls_token", "class_token"),
        ("pos_embed", "position"),
        ("patch_embed.proj", "embed"),
        ("attn.proj", "project"),
        ("mlp.fc1", "expand"),
        ("mlp.fc2", "contract"),
    ] {
        name = name.replace(theirs, ours);
    }
    if name.contains("norm") {
        name = name.replace("weight", "gamma").replace("bias", "beta");
    }
    let parts = if name.contains("attn.qkv") {
        ["query", "key", "value"].map(|part| name.replace("attn.qkv", part)).to_vec()
    } else {
        vec![name]
    };
    let outputs = parameter.shape[0] / parts.len();
    let matrix = parts[0].ends_with("weight");
    let pieces = values.chunks_exact(values.len() / parts.len());
    let piece = |values: &[f32]| if matrix { transposed(values, outputs) } else { values.to_vec() };
    parts.into_iter().zip(pieces.map(piece)).collect()
}

/// Output by input to input by output.
fn transposed(values: &[f32], outputs: usize) -> Vec<f32> {
    let inputs = values.len() / outputs;
    (0..inputs).flat_map(|i| (0..outputs).map(move |o| values[o * inputs + i])).collect()
}

/// Sets parameters by name.
struct Fill {
    path: Vec<String>,
    values: BTreeMap<String, Vec<f32>>,
    ids: BTreeMap<String, ParamId>,
}

impl ModuleMapper for Fill {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.join(".");
        let values = self.values.remove(&name).unwrap_or_else(|| panic!("PyTorch has no {name}"));
        self.ids.insert(name, param.id);
        param.map(|old| Tensor::from_data(TensorData::new(values, old.dims()), &old.device()))
    }
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance, "{what}[{i}]: {f}, expected {e}");
    }
}

#[test]
fn logits_equal_pytorchs() {
    for case in [Case::new(), Case::with_layer_scale()] {
        let images = case.batch().images;
        let images = Tensor::from_data(TensorData::new(images.as_slice().to_vec(), images.shape()), &Device::flex());
        assert_close("logits", &host(case.model.forward(images, None)), &case.golden.logits, 1e-5);
    }
}

#[test]
fn loss_and_the_gradient_of_every_parameter_equal_pytorchs() {
    for (case, chunk) in [(Case::new(), 2), (Case::new(), 16), (Case::with_layer_scale(), 3)] {
        let gradients = case.gradients(chunk);
        assert!((gradients.mean_loss() - case.golden.loss).abs() <= 1e-5, "{}", gradients.mean_loss());
        let mut found = case.of_mean_loss(&gradients);
        for parameter in &case.golden.parameters {
            for (name, expected) in ours(parameter, &parameter.gradient) {
                let found = found.remove(&name).unwrap();
                assert_close(&format!("gradient of {name} in chunks of {chunk}"), &found, &expected, 1e-5);
            }
        }
        assert!(found.is_empty(), "unchecked: {:?}", found.keys());
    }
}

#[test]
fn chunks_of_any_size_have_the_same_gradients() {
    let case = Case::new();
    let whole = case.of_mean_loss(&case.gradients(16));
    for chunk in [1, 3] {
        for (name, found) in case.of_mean_loss(&case.gradients(chunk)) {
            assert_close(&format!("{name} in chunks of {chunk}"), &found, &whole[&name], 1e-6);
        }
    }
}

#[test]
fn a_block_for_the_class_token_alone_equals_the_whole_block() {
    let case = Case::new();
    let tokens = TensorData::new(formula(-2.0, 4 * 10 * 8, 0.0, 1.0), [4, 10, 8]);
    let tokens = Tensor::<3>::from_data(tokens, &Device::flex());
    for block in &case.model.blocks {
        let forward = |block: &Block, first_only| block.forward(tokens.clone(), first_only, Precision::F32, |_| None);
        let whole = forward(block, false);
        assert_eq!(whole.dims(), [4, 10, 8]);
        assert_close("class token", &host(forward(block, true)), &host(whole.narrow(1, 0, 1)), 1e-6);
    }
}
