//! A vision transformer in DeiT's form, whose position embedding follows the band.

use super::block::{Block, DropPath, layer_norm};
use super::config::{Precision, VitConfig};
use super::growth::Grow;
use super::position;
use super::precision::{linear, raised};
use crate::error::Result;
use crate::rng::{Draw, Purpose};
use burn::module::{Module, Param};
use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Device, Tensor, TensorData};

/// Added to the variance in each layer norm, as in DeiT.
const LAYER_NORM_EPSILON: f64 = 1e-6;
/// Standard deviation of the first weights, as in DeiT (whose truncation at 100 deviations never acts).
const WEIGHT_DEVIATION: f64 = 0.02;

/// Images to class scores. Parameters live on a plain device; gradients are taken on copies ([`Module::train`]).
///
/// The first weights follow DeiT and timm: normal with deviation 0.02 for matrices, class token and positions; zero
/// biases; the patch embedding uniform within `1 / sqrt(3 patch^2)`, which is the convolution's default there.
#[derive(Module, Debug)]
pub struct Vit {
    /// Pixels of a patch (channel, row, column) to a token.
    pub embed: Linear,
    /// `(1, 1, D)`, put before the patches.
    pub class_token: Param<Tensor<3>>,
    /// `(1, 1 + grid^2, D)`: the class token's row, then the patches' row by row.
    pub position: Param<Tensor<3>>,
    /// The transformer's blocks, in order.
    pub blocks: Vec<Block>,
    /// Normalises the class token before the head.
    pub norm: LayerNorm,
    /// Class token to class scores.
    pub head: Linear,
    #[module(skip)]
    patch: usize,
    /// What a new block's layer scale begins at.
    #[module(skip)]
    layer_scale: Option<f64>,
}

impl Vit {
    /// A model for images of `band` pixels with first weights drawn from `seed`, the same on every device.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if the shape is impossible or `band` is no multiple of the patch.
    pub fn new(config: &VitConfig, band: u32, seed: u64, device: &Device) -> Result<Self> {
        config.check()?;
        let grid = config.grid(band)?;
        let (dim, inputs) = (config.dim, 3 * config.patch * config.patch);
        let mut first = FirstWeights { seed, tensor: 0, device };
        let bound = 1.0 / (inputs as f64).sqrt();
        Ok(Self {
            embed: Linear { weight: first.uniform([inputs, dim], bound), bias: Some(first.uniform([dim], bound)) },
            class_token: first.normal([1, 1, dim]),
            position: first.normal([1, 1 + grid * grid, dim]),
            blocks: (0..config.depth).map(|_| Block::new(config, &mut first)).collect(),
            norm: first.norm(dim),
            head: first.linear(dim, config.classes),
            patch: config.patch,
            layer_scale: config.layer_scale,
        })
    }

    /// Side of the images that the position embedding fits, in pixels.
    pub fn band(&self) -> u32 {
        let [_, rows, _] = self.position.dims();
        ((rows - 1).isqrt() * self.patch) as u32
    }

    /// The model for images of `grid * grid` patches: position embedding interpolated ([`position::resize`]), all else
    /// as it is.
    pub fn resized(mut self, grid: usize) -> Self {
        let [_, rows, dim] = self.position.dims();
        let from = (rows - 1).isqrt();
        self.position = self.position.map(|table| {
            let device = table.device();
            let table = table.into_data().try_to_vec::<f32>().expect("parameters are f32");
            let table = position::resize(&table, dim, from, grid);
            Tensor::from_data(TensorData::new(table, [1, 1 + grid * grid, dim]), &device)
        });
        self
    }

    /// `(N, 3, B, B)`, normalised, to scores `(N, classes)`. `B` must be [`Vit::band`].
    ///
    /// The last block computes queries and the hidden layer for the class token alone, which is the only token that
    /// the head reads: the scores are the same and a block of work is nearly saved.
    pub fn forward(&self, images: Tensor<4>, drop: Option<&DropPath>) -> Tensor<2> {
        self.forward_in(Precision::F32, images, drop)
    }

    /// [`Vit::forward`] with matrices multiplied in `precision`. Images, weights and scores are f32, and so are the
    /// tokens between the blocks, layer norms and softmax: what PyTorch's autocast does.
    pub fn forward_in(&self, precision: Precision, images: Tensor<4>, drop: Option<&DropPath>) -> Tensor<2> {
        let patches = raised(linear(&self.embed, patches(images, self.patch), precision), precision);
        let [n, _, dim] = patches.dims();
        let class_token = self.class_token.val().expand([n, 1, dim]);
        let mut tokens = Tensor::cat(vec![class_token, patches], 1) + self.position.val();
        for (index, block) in self.blocks.iter().enumerate() {
            let last = index + 1 == self.blocks.len();
            tokens = block.forward(tokens, last, precision, |branch| drop.and_then(|d| d.mask(index, branch)));
        }
        let token = layer_norm(&self.norm, tokens).reshape([n, dim]);
        raised(linear(&self.head, token, precision), precision)
    }

    /// The model with only these blocks, for images of `grid * grid` patches. Parameters keep their identities, so a gradient of
    /// the part is one of the model, but for that of an interpolated position embedding.
    pub(super) fn part(&self, kept: &[usize], grid: usize) -> Self {
        let mut part = self.clone();
        part.blocks = kept.iter().map(|&index| self.blocks[index].clone()).collect();
        part.resized(grid)
    }

    /// The same values, but no gradient for the first `layers`, as [`super::TrainConfig::freeze`] counts them.
    pub(super) fn frozen(mut self, layers: usize) -> Self {
        if layers > 0 {
            self.embed = self.embed.no_grad();
            self.class_token = self.class_token.no_grad();
            self.position = self.position.no_grad();
        }
        let mut blocks = std::mem::take(&mut self.blocks);
        for block in blocks.iter_mut().take(layers.saturating_sub(1)) {
            *block = block.clone().no_grad();
        }
        Self { blocks, ..self }
    }
}

impl Grow for Vit {
    fn groups(&self) -> Vec<(String, usize)> {
        vec![("blocks".into(), self.blocks.len())]
    }

    fn with_depths(&self, depths: &[usize], seed: u64) -> Result<Self> {
        let [dim, classes] = self.head.weight.dims();
        let block = &self.blocks[0];
        let [_, hidden] = block.expand.weight.dims();
        let config = VitConfig {
            dim,
            depth: depths[0],
            heads: block.heads(),
            patch: self.patch,
            // Half more than the width, so that its product with `dim` is not cut to one less.
            mlp_ratio: (hidden as f64 + 0.5) / dim as f64,
            layer_scale: self.layer_scale,
            ..VitConfig::tiny(classes)
        };
        Self::new(&config, self.band(), seed, &self.position.val().device())
    }

    fn ends_branch(&self, name: &str) -> bool {
        name.starts_with("project.") || name.starts_with("contract.")
    }
}

/// `(N, 3, B, B)` to `(N, grid^2, 3 patch^2)`: patches row by row, each as channel, row, column.
fn patches(images: Tensor<4>, side: usize) -> Tensor<3> {
    let [n, c, h, w] = images.dims();
    let (rows, columns) = (h / side, w / side);
    images.reshape([n, c, rows, side, columns, side]).permute([0, 2, 4, 1, 3, 5]).reshape([
        n,
        rows * columns,
        c * side * side,
    ])
}

/// Draws first weights, a stream of its own for each tensor.
pub(super) struct FirstWeights<'a> {
    seed: u64,
    tensor: u64,
    pub(super) device: &'a Device,
}

impl FirstWeights<'_> {
    /// Normal with DeiT's deviation (Box and Muller's transform of pairs of uniform draws).
    fn normal<const D: usize>(&mut self, shape: [usize; D]) -> Param<Tensor<D>> {
        self.tensor(shape, |draw| {
            let radius = (-2.0 * (1.0 - draw.unit()).ln()).sqrt();
            WEIGHT_DEVIATION * radius * (std::f64::consts::TAU * draw.unit()).cos()
        })
    }

    fn uniform<const D: usize>(&mut self, shape: [usize; D], bound: f64) -> Param<Tensor<D>> {
        self.tensor(shape, |draw| draw.uniform(-bound, bound))
    }

    pub(super) fn linear(&mut self, inputs: usize, outputs: usize) -> Linear {
        Linear { weight: self.normal([inputs, outputs]), bias: Some(self.tensor([outputs], |_| 0.0)) }
    }

    pub(super) fn norm(&mut self, dim: usize) -> LayerNorm {
        let mut norm = LayerNormConfig::new(dim).with_epsilon(LAYER_NORM_EPSILON).init(self.device);
        // Burn's own initialisers wait for the first use and share that state among clones; copies for gradients are
        // taken before it, so the values are made now.
        norm.gamma = self.tensor([dim], |_| 1.0);
        norm.beta = Some(self.tensor([dim], |_| 0.0));
        norm
    }

    fn tensor<const D: usize>(&mut self, shape: [usize; D], value: impl Fn(&mut Draw) -> f64) -> Param<Tensor<D>> {
        let mut draw = Draw::at(self.seed, 0, self.tensor, Purpose::Weights);
        self.tensor += 1;
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| value(&mut draw) as f32).collect();
        Param::from_data(TensorData::new(values, shape), self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At 224 pixels and 1000 classes; a block's count is taken from two shallow models, which saves drawing all weights.
    #[test]
    fn presets_have_the_numbers_of_parameters_published_for_deit() {
        let presets = [VitConfig::tiny(1000), VitConfig::small(1000), VitConfig::base(1000)];
        for (preset, published) in presets.into_iter().zip([5_717_416, 22_050_664, 86_567_656]) {
            let count =
                |depth| Vit::new(&VitConfig { depth, ..preset.clone() }, 224, 0, &Device::flex()).unwrap().num_params();
            let (one, two) = (count(1), count(2));
            assert_eq!(one + (preset.depth - 1) * (two - one), published, "{preset:?}");
        }
    }
}
