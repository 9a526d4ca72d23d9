//! `bandfeed train`: the bundled trainer on the bundled loader.

use super::config::{ConfigArgs, LoaderConfig, Output, RunConfig};
use super::fit::Fit;
use super::job::{Job, RUN_FILE};
use super::live::LiveArgs;
use super::transform::{Decoding, Transform};
use crate::engine::DeviceName;
use crate::error::Result;
use crate::loader::OnBadFile;
use crate::recipe::TrainPreset;
use crate::train::{DropPathRule, GrowthMoments, MoGrow, Precision};
use std::path::PathBuf;
use std::process::ExitCode;

/// Train a vision transformer under a schedule.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Training images: a folder of class folders, or WebDataset shards (`train-{000..099}.tar`).
    #[arg(long, value_name = "SOURCE", required_unless_present_any = ["config", "resume", "set"])]
    train: Option<String>,
    /// Validation images, in the same form and with the same classes.
    #[arg(long, value_name = "SOURCE")]
    val: Option<String>,
    /// Where the side indices of both are, if not beside them: the folder that `bandfeed index --out` was given.
    #[arg(long, value_name = "PATH")]
    index: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// constant, efficient_train, efficient_train_pp, efficient_train_pp_deit, efficient_train_pp_convnext, auto_prog, or the
    /// path of a .toml table [default: the recipe's].
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,
    /// Folder for log, curves and checkpoints [default: the run file's, or bandfeed-run].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Go on with the run in the folder. With no other option than --out, its settings are those of its run.toml.
    #[arg(long)]
    resume: bool,
    /// Minutes between two checkpoints, besides those at the end of each epoch [default: 10].
    #[arg(long, value_parser = minutes)]
    checkpoint_minutes: Option<f64>,
    #[command(flatten)]
    fit: Fit,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    optimizer: Optimizer,
    #[command(flatten)]
    transform: Transform,
    #[command(flatten)]
    decoding: Decoding,
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    live: LiveArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct Model {
    /// DeiT's sizes: tiny (192 wide, 12 deep, 3 heads), small (384, 12, 6), base (768, 12, 12) [default: the recipe's].
    #[arg(long, value_parser = ["tiny", "small", "base"])]
    model: Option<String>,
    /// Width, in place of the model's own.
    #[arg(long)]
    dim: Option<usize>,
    /// Number of blocks, in place of the model's own.
    #[arg(long)]
    depth: Option<usize>,
    /// Attention heads, in place of the model's own; they divide the width.
    #[arg(long)]
    heads: Option<usize>,
    /// Chance that the last block is left out for an image; earlier blocks in proportion [default: the recipe's].
    #[arg(long)]
    drop_path: Option<f64>,
    /// How that chance goes over the blocks: linear or uniform.
    #[arg(long, value_name = "RULE")]
    drop_path_rule: Option<DropPathRule>,
    /// Scale each branch of a block by a learnt vector that begins at this value (LayerScale).
    #[arg(long, value_name = "VALUE")]
    layer_scale: Option<f64>,
    /// Begin with the weights of this file: timm's names (.safetensors), or a checkpoint of bandfeed's. Positions are
    /// interpolated; a head for another number of classes is made anew.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Leave the first N layers as they are: 1 is the embedding, each further one a block.
    #[arg(long, value_name = "N")]
    freeze: Option<usize>,
    /// Where the weights of new blocks come from as the model grows: new_only (a running mean; the others stay), all (every
    /// weight from the mean), copy, random or zero [default: the recipe's, or new_only].
    #[arg(long, value_name = "WAY")]
    mogrow: Option<MoGrow>,
    /// What becomes of the optimiser's moments then: carry or drop [default: the recipe's, or carry].
    #[arg(long, value_name = "WAY")]
    growth_moments: Option<GrowthMoments>,
    /// What forward and backward passes compute in: f32, bf16 or f16, where the backend has it.
    #[arg(long)]
    precision: Option<Precision>,
}

impl Model {
    pub(super) fn apply(&self, train: &mut TrainPreset) {
        if let Some(model) = &self.model {
            train.resize(model);
        }
        train.dim = self.dim.or(train.dim);
        train.depth = self.depth.or(train.depth);
        train.heads = self.heads.or(train.heads);
        train.drop_path = self.drop_path.unwrap_or(train.drop_path);
        if let Some(rule) = self.drop_path_rule {
            train.drop_path_rule = rule.to_string();
        }
        train.layer_scale = self.layer_scale.or(train.layer_scale);
        train.init = self.init.clone().or(train.init.take());
        train.freeze = self.freeze.unwrap_or(train.freeze);
        if let Some(way) = self.mogrow {
            train.mogrow = way.to_string();
        }
        if let Some(way) = self.growth_moments {
            train.growth_moments = way.to_string();
        }
        if let Some(precision) = self.precision {
            train.precision = precision.to_string();
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Optimiser")]
pub(crate) struct Optimizer {
    /// Peak learning rate [default: the recipe's, as all of these].
    #[arg(long)]
    lr: Option<f64>,
    /// Learning rate at the end.
    #[arg(long)]
    min_lr: Option<f64>,
    /// Share of the compute spent warming up.
    #[arg(long)]
    warmup: Option<f64>,
    /// AdamW's weight decay, on weight matrices.
    #[arg(long)]
    weight_decay: Option<f64>,
    /// Largest global norm of the gradient; 0 leaves it alone.
    #[arg(long)]
    clip: Option<f64>,
    /// Multiply a layer's rate by this to the power of the layers above it.
    #[arg(long)]
    layer_decay: Option<f64>,
    /// Label smoothing.
    #[arg(long)]
    smoothing: Option<f64>,
    /// Keep running means of the weights with these decays, evaluated beside the model, as 0.999,0.9999.
    #[arg(long, value_delimiter = ',', value_name = "DECAY")]
    ema: Option<Vec<f64>>,
    /// Lower decays at the beginning of a run, by timm's rule.
    #[arg(long)]
    ema_warmup: bool,
    /// Seed of weights, order, augmentation and stochastic depth [default: 0].
    #[arg(long)]
    seed: Option<u64>,
    /// Threads that compute gradients [default: the machine's cores]. Their number changes no result.
    #[arg(long)]
    threads: Option<usize>,
}

impl Optimizer {
    pub(super) fn apply(&self, config: &mut RunConfig) {
        let (train, run) = (&mut config.train, &mut config.run);
        if let Some(lr) = self.lr {
            // The number of images that the recipe's rate is meant for says nothing of this one.
            (train.lr, train.lr_batch) = (lr, None);
        }
        train.min_lr = self.min_lr.unwrap_or(train.min_lr);
        train.warmup = self.warmup.or(train.warmup);
        train.weight_decay = self.weight_decay.unwrap_or(train.weight_decay);
        train.clip = self.clip.unwrap_or(train.clip);
        train.layer_decay = self.layer_decay.unwrap_or(train.layer_decay);
        train.label_smoothing = self.smoothing.unwrap_or(train.label_smoothing);
        train.ema = self.ema.clone().unwrap_or(std::mem::take(&mut train.ema));
        train.ema_warmup |= self.ema_warmup;
        run.seed = self.seed.unwrap_or(run.seed);
        run.threads = self.threads.or(run.threads);
    }
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Input")]
pub(crate) struct Input {
    /// What makes the batches: cpu; wgpu, the best GPU of Vulkan, Metal or DX12, or wgpu:NAME, that adapter (bandfeed doctor lists
    /// them); or auto, a GPU if there is one, with the cpu to go on if it fails [default: cpu].
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
    /// Loader threads [default: the machine's cores]. Their number changes no result.
    #[arg(long)]
    workers: Option<usize>,
    /// Batches made ahead [default: 4].
    #[arg(long)]
    prefetch: Option<usize>,
    /// What to do about files that cannot be decoded: fail, skip or substitute (another sample takes the place) [default:
    /// substitute].
    #[arg(long)]
    on_bad_file: Option<OnBadFile>,
    /// Most megabytes for batches and the replay buffer together; a run that may need more does not start [default: three
    /// quarters of the memory that is free].
    #[arg(long, value_name = "MB", value_parser = super::positive)]
    memory_limit: Option<f64>,
}

impl Input {
    pub(super) fn apply(&self, loader: &mut LoaderConfig) {
        loader.device = self.device.clone().unwrap_or(std::mem::take(&mut loader.device));
        loader.workers = self.workers.or(loader.workers);
        loader.prefetch = self.prefetch.unwrap_or(loader.prefetch);
        loader.on_bad_file = self.on_bad_file.unwrap_or(loader.on_bad_file);
        loader.memory_limit_mb = self.memory_limit.or(loader.memory_limit_mb);
    }
}

/// Minutes above 0, at most a year.
fn minutes(text: &str) -> std::result::Result<f64, String> {
    super::positive(text).map(|minutes| minutes.min(365.0 * 24.0 * 60.0))
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut config = args.resolve()?;
    args.fit.prog.fill_depth(&mut config.schedule, config.train.depth()? as u32);
    let (settings, schedule) = args.fit.resolve(&config.schedule.name, &config.schedule)?;
    config.schedule = settings;
    config.schedule.record(&schedule);
    Job::new(config, schedule, args.resume)?.run()
}

impl Args {
    /// Files and options together, but for the options of the schedule.
    fn resolve(&self) -> Result<RunConfig> {
        let mut files = self.config.clone();
        if self.resume && files.config.is_none() && files.recipe.is_none() && self.train.is_none() {
            let out = self.out.clone().unwrap_or_else(|| Output::default().out);
            files.config = Some(out.join(RUN_FILE));
        }
        let mut config = files.resolve()?;
        config.source.train = self.train.clone().or(config.source.train);
        config.source.val = self.val.clone().or(config.source.val);
        config.source.index = self.index.clone().or(config.source.index);
        config.run.out = self.out.clone().unwrap_or(config.run.out);
        config.run.checkpoint_minutes = self.checkpoint_minutes.unwrap_or(config.run.checkpoint_minutes);
        config.schedule.rename(self.schedule.as_deref());
        self.model.apply(&mut config.train);
        self.optimizer.apply(&mut config);
        self.input.apply(&mut config.loader);
        self.live.apply(&mut config.report);
        config.transform = self.decoding.apply(self.transform.apply(config.transform)?);
        Ok(config)
    }
}
