//! What a training run is made of: model, optimiser, learning rate, loss. A checkpoint fits a run only if these agree.

use super::growth::GrowthConfig;
use crate::error::{Error, Result};
use crate::schedule::LearningRate;
use serde::{Deserialize, Deserializer, Serialize};

/// Shape of a vision transformer in DeiT's form: square patches, a class token, learned positions, pre-norm blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VitConfig {
    /// Width of a token: D. A multiple of `heads`.
    pub dim: usize,
    /// Number of blocks: of the whole model, where it grows.
    pub depth: usize,
    /// Attention heads of a block.
    pub heads: usize,
    /// Side of a patch in pixels. Every band of the schedule must be a multiple of it.
    pub patch: usize,
    /// Width of a block's hidden layer relative to `dim`.
    pub mlp_ratio: f64,
    /// Number of classes.
    pub classes: usize,
    /// Chance that the last block's branches are dropped for a sample, `0..1` (stochastic depth); that of the other
    /// blocks is as `drop_path_rule` says.
    pub drop_path: f64,
    /// How that chance goes over the blocks.
    #[serde(default)]
    pub drop_path_rule: DropPathRule,
    /// Each branch of a block is multiplied by a learnt vector that begins at this value, above 0: CaiT's LayerScale,
    /// timm's `init_values` (1e-5 or 1e-4 in published models). `None` has no such vectors.
    #[serde(default)]
    pub layer_scale: Option<f64>,
}

/// How the chance of dropping a branch goes over the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropPathRule {
    /// From 0 at the first block linearly to the given chance at the last, as in DeiT and timm. A model of one block
    /// drops nothing.
    #[default]
    Linear,
    /// The given chance at every block, as in DeiT III.
    Uniform,
}

impl DropPathRule {
    /// The chance at block `index` of `depth` blocks, whose last has `rate`.
    pub fn chance(self, rate: f64, index: usize, depth: usize) -> f64 {
        match self {
            Self::Linear => rate * index as f64 / (depth.max(2) - 1) as f64,
            Self::Uniform => rate,
        }
    }
}

impl std::fmt::Display for DropPathRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Linear => "linear",
            Self::Uniform => "uniform",
        })
    }
}

impl std::str::FromStr for DropPathRule {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "linear" => Ok(Self::Linear),
            "uniform" => Ok(Self::Uniform),
            _ => Err(Error::config("drop_path_rule", format!("`{s}` is not known; use linear or uniform"))),
        }
    }
}

impl VitConfig {
    /// DeiT-Ti: width 192, 12 blocks, 3 heads, patch 16.
    pub fn tiny(classes: usize) -> Self {
        Self {
            dim: 192,
            depth: 12,
            heads: 3,
            patch: 16,
            mlp_ratio: 4.0,
            classes,
            drop_path: 0.1,
            drop_path_rule: DropPathRule::Linear,
            layer_scale: None,
        }
    }

    /// DeiT-S: width 384, 12 blocks, 6 heads, patch 16.
    pub fn small(classes: usize) -> Self {
        Self { dim: 384, heads: 6, ..Self::tiny(classes) }
    }

    /// DeiT-B: width 768, 12 blocks, 12 heads, patch 16.
    pub fn base(classes: usize) -> Self {
        Self { dim: 768, heads: 12, ..Self::tiny(classes) }
    }

    /// Width of a block's hidden layer.
    pub fn hidden(&self) -> usize {
        (self.dim as f64 * self.mlp_ratio) as usize
    }

    /// Numbers in all parameters of a model with `rows` position vectors. Not rounded to whole ones: it is to weigh a
    /// shape by, before anything is made of it.
    pub(super) fn values(&self, rows: usize) -> f64 {
        let [dim, depth, patch, classes, rows] =
            [self.dim, self.depth, self.patch, self.classes, rows].map(|n| n as f64);
        let hidden = dim * self.mlp_ratio;
        let scale = if self.layer_scale.is_some() { 2.0 * dim } else { 0.0 };
        let block = 4.0 * (dim * dim + dim) + 2.0 * dim * hidden + hidden + dim + 4.0 * dim + scale;
        let embed = (3.0 * patch * patch + 1.0) * dim + (1.0 + rows) * dim;
        embed + depth * block + 2.0 * dim + (dim + 1.0) * classes
    }

    /// Patches along one side of an image of `band` pixels.
    ///
    /// # Errors
    /// [`Error::Config`] if `band` is no multiple of the patch.
    pub fn grid(&self, band: u32) -> Result<usize> {
        let band = band as usize;
        if band == 0 || self.patch == 0 || !band.is_multiple_of(self.patch) {
            return Err(Error::config(
                "model.patch",
                format!(
                    "images of {band} pixels cannot be cut into patches of {}; use a patch that divides every band",
                    self.patch
                ),
            ));
        }
        Ok(band / self.patch)
    }

    /// Refuses shapes that no model could have.
    ///
    /// # Errors
    /// [`Error::Config`] names the field, what it holds and what is allowed.
    pub fn check(&self) -> Result<()> {
        let fields = [
            ("dim", self.dim),
            ("depth", self.depth),
            ("heads", self.heads),
            ("patch", self.patch),
            ("classes", self.classes),
            ("mlp_ratio", if self.mlp_ratio.is_finite() { self.hidden() } else { 0 }),
        ];
        if let Some((name, _)) = fields.iter().find(|(_, value)| *value == 0) {
            return Err(Error::config(format!("model.{name}"), "0: expected at least 1"));
        }
        if !self.dim.is_multiple_of(self.heads) {
            return Err(Error::config("model.dim", format!("{} is no multiple of {} heads", self.dim, self.heads)));
        }
        if !(0.0..1.0).contains(&self.drop_path) {
            return Err(Error::config("model.drop_path", format!("{}: expected a chance in 0..1", self.drop_path)));
        }
        if let Some(value) = self.layer_scale.filter(|v| !(v.is_finite() && *v > 0.0)) {
            let reason = format!("{value}: expected a number above 0, or none");
            return Err(Error::config("model.layer_scale", reason));
        }
        Ok(())
    }
}

/// AdamW's constants; the defaults are the papers' (`efficienttrain.md` §3.3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Decay of the mean of gradients, `0..1`.
    pub beta1: f64,
    /// Decay of the mean of squared gradients, `0..1`.
    pub beta2: f64,
    /// Added to the root of the mean square, above 0.
    pub epsilon: f64,
    /// Share of a weight matrix that a step takes away at learning rate 1. Vectors, position embedding and class token
    /// do not decay.
    pub weight_decay: f64,
    /// Gradients are scaled down to this global norm; `None` leaves them alone.
    pub clip: Option<f64>,
    /// The learning rate of a layer is multiplied by this to the power of the layers above it, `0..=1` without 0: BEiT's
    /// layer-wise decay, timm's `layer_decay`. Layer 0 is patch embedding, class token and position embedding; block `i`
    /// is layer `i + 1`; the last norm and the head are layer `depth + 1` and have the full rate. 1 is one rate for all;
    /// fine-tuning takes 0.65 to 0.75. The share that weight decay takes goes with the rate. Timm 1.0.22 differs in the
    /// last norm, which it counts to the last block.
    pub layer_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.05, clip: Some(5.0), layer_decay: 1.0 }
    }
}

/// The type of numbers that a step computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floating point throughout.
    #[default]
    F32,
    /// bfloat16: f32's range with 8 bits of precision.
    Bf16,
    /// IEEE half precision: 11 bits of precision, at most 65504. The loss is scaled up so that small gradients are not
    /// lost, and the scale is found as the run goes on.
    F16,
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

impl std::str::FromStr for Precision {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            _ => Err(Error::config("precision", format!("`{s}` is not known; use f32, bf16 or f16"))),
        }
    }
}

/// Everything that decides the numbers of a run, apart from the batches. The thread count is not among it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The model.
    pub model: VitConfig,
    /// The optimiser.
    #[serde(default)]
    pub optimizer: AdamWConfig,
    /// The learning rate over the run; what is not said of it is as [`TrainConfig::new`] has it: peak 1e-3, min 1e-6,
    /// warm-up over a tenth of the compute. The papers' peak of 4e-3 ([`LearningRate::default`]) is for steps of 4096
    /// images.
    #[serde(default = "learning_rate", deserialize_with = "read_learning_rate")]
    pub learning_rate: LearningRate,
    /// Share of the target spread evenly over all classes, `0..1`.
    #[serde(default = "label_smoothing")]
    pub label_smoothing: f64,
    /// Seed of the first weights and of stochastic depth.
    #[serde(default)]
    pub seed: u64,
    /// Images whose gradient one CPU thread computes at a time; a batch is cut into such chunks. Sums are made in the
    /// order of the chunks, so that this number, and not the number of threads, decides how they round.
    #[serde(default = "chunk")]
    pub chunk: usize,
    /// Decays of the running means of the weights that are kept beside the model, each `0..1`; none by default. Timm's
    /// `model_ema_decay`: after each step, mean = decay mean + (1 - decay) weights. After the first step of a run the
    /// mean is the weights. Each is evaluated beside the model, which takes as long again.
    #[serde(default)]
    pub ema: Vec<f64>,
    /// Lower decays at the beginning of a run, by the rule of timm's ModelEmaV3 (`model_ema_warmup`): after `n` steps the
    /// decay is at most `1 - n^(-2/3)`, which passes 0.999 after 31.6 thousand steps.
    #[serde(default)]
    pub ema_warmup: bool,
    /// The first layers that stay as they are: 1 is patch embedding, class token and position embedding; each further
    /// one is a block. They have no gradient and no weight decay; the position embedding is still interpolated when the
    /// band changes. At most the number of blocks and one, so that the last norm and the head always learn.
    #[serde(default)]
    pub freeze: usize,
    /// What forward and backward passes compute in. Weights, moments, layer norms, softmax, loss and sums of gradients
    /// are f32 whatever it says, as in PyTorch's autocast, and so are evaluations. On the CPU 16 bits save no time: they are
    /// there to see what an accelerator's numbers do to a run. A device that has not the type is refused at the start.
    #[serde(default)]
    pub precision: Precision,
    /// How the model grows, where the schedule's stages have a depth.
    #[serde(default, skip_serializing_if = "GrowthConfig::is_standard")]
    pub growth: GrowthConfig,
    /// Name of the data, schedule and recipe in any form that tells two apart: a checkpoint of other data is refused.
    #[serde(default)]
    pub data: String,
}

fn learning_rate() -> LearningRate {
    LearningRate { peak: 1e-3, min: 1e-6, warmup: 0.1 }
}

/// [`LearningRate`] would fill gaps with the papers' values.
fn read_learning_rate<'de, D: Deserializer<'de>>(from: D) -> Result<LearningRate, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {
        peak: Option<f64>,
        min: Option<f64>,
        warmup: Option<f64>,
    }
    let Written { peak, min, warmup } = Written::deserialize(from)?;
    let own = learning_rate();
    Ok(LearningRate {
        peak: peak.unwrap_or(own.peak),
        min: min.unwrap_or(own.min),
        warmup: warmup.unwrap_or(own.warmup),
    })
}

fn label_smoothing() -> f64 {
    0.1
}

fn chunk() -> usize {
    16
}

impl TrainConfig {
    /// The papers' settings around `model`, but a learning rate for steps of a few hundred images
    /// ([`TrainConfig::learning_rate`]).
    pub fn new(model: VitConfig) -> Self {
        Self {
            model,
            optimizer: AdamWConfig::default(),
            learning_rate: learning_rate(),
            label_smoothing: label_smoothing(),
            seed: 0,
            chunk: chunk(),
            ema: Vec::new(),
            ema_warmup: false,
            freeze: 0,
            precision: Precision::F32,
            growth: GrowthConfig::default(),
            data: String::new(),
        }
    }

    /// Refuses settings that no run could work with.
    ///
    /// # Errors
    /// [`Error::Config`] names the field, what it holds and what is allowed.
    pub fn check(&self) -> Result<()> {
        self.model.check()?;
        self.learning_rate.check()?;
        let opt = &self.optimizer;
        let share = |v: f64| (0.0..1.0).contains(&v);
        let positive = |v: f64| v.is_finite() && v > 0.0;
        let not_negative = |v: f64| v.is_finite() && v >= 0.0;
        let ema = self.ema.iter().copied().find(|&decay| !share(decay));
        let (layers, layer_decay) = (self.model.depth + 1, opt.layer_decay);
        let fields = [
            ("optimizer.beta1", opt.beta1, share(opt.beta1), "0..1"),
            ("optimizer.beta2", opt.beta2, share(opt.beta2), "0..1"),
            ("optimizer.epsilon", opt.epsilon, positive(opt.epsilon), "a number above 0"),
            ("optimizer.weight_decay", opt.weight_decay, not_negative(opt.weight_decay), "0 or more"),
            ("optimizer.clip", opt.clip.unwrap_or(1.0), opt.clip.is_none_or(positive), "a number above 0, or none"),
            ("optimizer.layer_decay", layer_decay, positive(layer_decay) && layer_decay <= 1.0, "above 0, at most 1"),
            ("ema", ema.unwrap_or_default(), ema.is_none(), "decays in 0..1"),
            ("label_smoothing", self.label_smoothing, share(self.label_smoothing), "0..1"),
            ("chunk", self.chunk as f64, self.chunk > 0, "at least 1"),
        ];
        if let Some((name, value, _, allowed)) = fields.iter().find(|(_, _, fits, _)| !fits) {
            return Err(Error::config(*name, format!("{value}: expected {allowed}")));
        }
        if self.freeze > layers {
            let reason = format!("{}: expected at most {layers}, the embedding and all blocks", self.freeze);
            return Err(Error::config("freeze", reason));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_left_out_of_a_file_are_those_of_new() {
        let expected = TrainConfig::new(VitConfig::tiny(10));
        let model = serde_json::to_string(&expected.model).unwrap();
        let read = |rest: &str| serde_json::from_str::<TrainConfig>(&format!(r#"{{"model":{model}{rest}}}"#));
        assert_eq!(read("").unwrap(), expected);
        let rate = read(r#","learning_rate":{"peak":0.002}"#).unwrap().learning_rate;
        assert_eq!(rate, LearningRate { peak: 2e-3, ..expected.learning_rate });
        assert!(read(r#","learning_rate":{"peek":0.002}"#).is_err());
    }

    #[test]
    fn a_band_that_patches_do_not_fill_is_refused() {
        assert_eq!(VitConfig::tiny(10).grid(96).unwrap(), 6);
        let error = VitConfig::tiny(10).grid(100).unwrap_err().to_string();
        assert!(error.contains("100 pixels") && error.contains("16"), "{error}");
    }

    #[test]
    fn each_impossible_setting_is_named() {
        let good = TrainConfig::new(VitConfig::tiny(10));
        good.check().unwrap();
        let named = |change: &dyn Fn(&mut TrainConfig)| {
            let mut bad = good.clone();
            change(&mut bad);
            bad.check().unwrap_err().to_string()
        };
        assert!(named(&|c| c.model.heads = 5).starts_with("model.dim: 192"));
        assert!(named(&|c| c.model.depth = 0).starts_with("model.depth"));
        assert!(named(&|c| c.model.drop_path = 1.0).starts_with("model.drop_path"));
        assert!(named(&|c| c.optimizer.clip = Some(0.0)).starts_with("optimizer.clip"));
        assert!(named(&|c| c.learning_rate.peak = f64::NAN).starts_with("learning_rate.peak"));
        assert!(named(&|c| c.chunk = 0).starts_with("chunk"));
        assert!(named(&|c| c.model.layer_scale = Some(0.0)).starts_with("model.layer_scale: 0"));
        assert!(named(&|c| c.optimizer.layer_decay = 0.0).starts_with("optimizer.layer_decay: 0"));
        assert!(named(&|c| c.optimizer.layer_decay = 1.5).starts_with("optimizer.layer_decay: 1.5"));
        assert!(named(&|c| c.ema = vec![0.9, 1.0]).starts_with("ema: 1: expected decays"));
        assert!(named(&|c| c.freeze = 14).starts_with("freeze: 14: expected at most 13"));
    }

    #[test]
    fn the_rate_rises_to_its_peak_and_falls_to_its_minimum_without_a_jump() {
        let rate = LearningRate { peak: 4e-3, min: 1e-6, warmup: 0.2 };
        assert_eq!(rate.at(0.0), 0.0);
        assert!((rate.at(0.1) - 2e-3).abs() < 1e-12);
        assert!((rate.at(0.2) - 4e-3).abs() < 1e-12);
        assert!((rate.at(0.6) - (1e-6 + 0.5 * (4e-3 - 1e-6))).abs() < 1e-12);
        assert!((rate.at(1.0) - 1e-6).abs() < 1e-12);
    }
}
