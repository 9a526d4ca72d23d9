//! One transformer block: attention and a hidden layer, each behind a layer norm and on a branch beside the tokens.

use super::config::{Precision, VitConfig};
use super::precision::{linear, lowered, raised};
use super::vit::FirstWeights;
use crate::rng::{Draw, Purpose};
use burn::module::{Module, Param};
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Device, Tensor, TensorData, activation::gelu, activation::softmax};

/// A pre-norm block. `N` images, `T` tokens, `D` width.
#[derive(Module, Debug)]
pub struct Block {
    /// Before attention.
    pub norm1: LayerNorm,
    /// `D` to `D`: what a token asks for.
    pub query: Linear,
    /// `D` to `D`: what a token is found by.
    pub key: Linear,
    /// `D` to `D`: what a token gives.
    pub value: Linear,
    /// `D` to `D`: joins the heads.
    pub project: Linear,
    /// Before the hidden layer.
    pub norm2: LayerNorm,
    /// `D` to the hidden width.
    pub expand: Linear,
    /// The hidden width to `D`.
    pub contract: Linear,
    /// On the attention branch, if the model has layer scale.
    pub ls1: Option<LayerScale>,
    /// On the hidden layer's branch, if the model has layer scale.
    pub ls2: Option<LayerScale>,
    #[module(skip)]
    heads: usize,
}

/// A learnt factor for each of a branch's `D` values ([`VitConfig::layer_scale`]).
#[derive(Module, Debug)]
pub struct LayerScale {
    /// `D` factors.
    pub gamma: Param<Tensor<1>>,
}

impl LayerScale {
    fn new(value: f64, dim: usize, device: &Device) -> Self {
        Self { gamma: Param::from_data(TensorData::new(vec![value as f32; dim], [dim]), device) }
    }

    fn scaled(scale: &Option<Self>, x: Tensor<3>) -> Tensor<3> {
        match scale {
            Some(scale) => x * scale.gamma.val().unsqueeze(),
            None => x,
        }
    }
}

/// The two branches of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branch {
    /// Attention.
    Attention,
    /// The hidden layer.
    Hidden,
}

impl Block {
    pub(super) fn new(config: &VitConfig, first: &mut FirstWeights<'_>) -> Self {
        let (dim, hidden) = (config.dim, config.hidden());
        let layer_scale = || config.layer_scale.map(|value| LayerScale::new(value, dim, first.device));
        let (ls1, ls2) = (layer_scale(), layer_scale());
        Self {
            norm1: first.norm(dim),
            // One matrix for all three would have to be cut after the product, and the gradient of each cut is written
            // into a full-size tensor of zeros.
            query: first.linear(dim, dim),
            key: first.linear(dim, dim),
            value: first.linear(dim, dim),
            project: first.linear(dim, dim),
            norm2: first.norm(dim),
            expand: first.linear(dim, hidden),
            contract: first.linear(hidden, dim),
            ls1,
            ls2,
            heads: config.heads,
        }
    }

    /// `(N, T, D)` to `(N, T, D)`, or to `(N, 1, D)` if only the first token is asked for. `mask` gives the factor
    /// `(N, 1, 1)` of each branch, if it has one. Tokens are f32; what `precision` says is what matrices are multiplied in.
    pub fn forward(
        &self,
        tokens: Tensor<3>,
        first_only: bool,
        precision: Precision,
        mask: impl Fn(Branch) -> Option<Tensor<3>>,
    ) -> Tensor<3> {
        let masked = |branch, x: Tensor<3>| match mask(branch) {
            Some(mask) => x * mask,
            None => x,
        };
        let normed = layer_norm(&self.norm1, tokens.clone());
        let (asking, tokens) = if first_only {
            (normed.clone().narrow(1, 0, 1), tokens.narrow(1, 0, 1))
        } else {
            (normed.clone(), tokens)
        };
        let attention = raised(self.attention(asking, normed, precision), precision);
        let tokens = tokens + masked(Branch::Attention, LayerScale::scaled(&self.ls1, attention));
        let hidden = gelu(linear(&self.expand, layer_norm(&self.norm2, tokens.clone()), precision));
        let hidden = raised(linear(&self.contract, hidden, precision), precision);
        tokens + masked(Branch::Hidden, LayerScale::scaled(&self.ls2, hidden))
    }

    /// Attention heads.
    pub(super) fn heads(&self) -> usize {
        self.heads
    }

    fn attention(&self, asking: Tensor<3>, normed: Tensor<3>, precision: Precision) -> Tensor<3> {
        let [n, t, dim] = asking.dims();
        let width = dim / self.heads;
        let heads = |x: Tensor<3>| {
            let [n, t, _] = x.dims();
            x.reshape([n, t, self.heads, width]).swap_dims(1, 2)
        };
        // The scale goes to the queries, which are smaller than the scores.
        let query = heads(linear(&self.query, asking, precision) / (width as f64).sqrt());
        let key = heads(linear(&self.key, normed.clone(), precision));
        let value = heads(linear(&self.value, normed, precision));
        let shares = softmax(raised(query.matmul(key.transpose()), precision), 3);
        let mixed = lowered(shares, precision).matmul(value);
        linear(&self.project, mixed.swap_dims(1, 2).reshape([n, t, dim]), precision)
    }
}

/// Layer norm over the last dimension.
pub(super) fn layer_norm(norm: &LayerNorm, x: Tensor<3>) -> Tensor<3> {
    norm.forward(x)
}

/// Stochastic depth of one chunk of images: which branches are left out, and by what factor the others make up for it.
///
/// Block `i` drops each branch of each sample with the chance of [`super::DropPathRule`] (DeiT's `rate * i / (depth - 1)`
/// by default), and divides the kept ones by the chance of keeping. The draws depend on seed, step and the image's place in the step only.
#[derive(Debug)]
pub struct DropPath {
    masks: Vec<Option<Tensor<3>>>,
}

impl DropPath {
    /// Masks for images `place..place + n` of optimiser step `step`; `None` if nothing is ever dropped.
    pub fn draw(config: &VitConfig, seed: u64, step: u64, place: usize, n: usize, device: &Device) -> Option<Self> {
        if config.drop_path == 0.0 {
            return None;
        }
        let mut draws: Vec<Draw> =
            (place..place + n).map(|image| Draw::at(seed, step, image as u64, Purpose::DropPath)).collect();
        let masks = (0..2 * config.depth)
            .map(|branch| {
                let keep = 1.0 - config.drop_path_rule.chance(config.drop_path, branch / 2, config.depth);
                let mask = draws.iter_mut().map(|draw| if draw.chance(keep) { (1.0 / keep) as f32 } else { 0.0 });
                let mask = TensorData::new(mask.collect::<Vec<f32>>(), [n, 1, 1]);
                (keep < 1.0).then(|| Tensor::from_data(mask, device))
            })
            .collect();
        Some(Self { masks })
    }

    /// Factor of a branch of block `block`, `(N, 1, 1)`; `None` if it is never dropped.
    pub(super) fn mask(&self, block: usize, branch: Branch) -> Option<Tensor<3>> {
        self.masks[2 * block + usize::from(branch == Branch::Hidden)].clone()
    }
}
