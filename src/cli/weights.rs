//! `bandfeed export`: a checkpoint's weights for PyTorch.

use crate::error::{Error, Result};
use crate::train::{Device, Weights};
use std::path::PathBuf;

/// Write a checkpoint's weights as a safetensors file for timm's VisionTransformer.
///
/// In Python: `VisionTransformer(**json.loads(metadata["timm"])).load_state_dict(tensors, strict=True)`. The way back needs
/// no command: `eval` and a new run take files of timm's as they are.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A checkpoint of a run: FOLDER/checkpoints/best.safetensors.
    checkpoint: PathBuf,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// The running mean of the weights of this number, from 0, in place of the weights.
    #[arg(long, value_name = "N")]
    ema: Option<usize>,
    /// Interpolate the position embedding to images of this side [default: leave it at the band of the checkpoint].
    #[arg(long, value_name = "PIXELS")]
    band: Option<u32>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut weights = Weights::read(&args.checkpoint, args.ema, None, &Device::flex())?;
    if let Some(band) = args.band {
        weights = weights.resized(band)?;
    }
    let same = |path: &PathBuf| path.canonicalize().ok();
    if args.out.exists() && same(&args.out) == same(&args.checkpoint) {
        let reason = format!("{} is the checkpoint itself; choose another file", args.out.display());
        return Err(Error::config("--out", reason));
    }
    weights.export_timm(&args.out)?;
    let config = &weights.config;
    let mut text = format!(
        "wrote {}: {} wide, {} deep, {} heads, patch {}, {} classes, for images of {} px",
        args.out.display(),
        config.dim,
        config.depth,
        config.heads,
        config.patch,
        config.classes,
        weights.model.band()
    );
    if let Some(decay) = weights.about.ema {
        text += &format!("; the running mean with decay {decay}");
    }
    if let Some(steps) = weights.about.steps {
        text += &format!("; after {steps} steps");
    }
    super::print(&(text + "\n"))
}
