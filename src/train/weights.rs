//! A model by itself: read from a checkpoint or from a file of timm's, written for timm, put into a new run.

use super::checkpoint::{self, folder_of, misfit, publish};
use super::config::{TrainConfig, VitConfig};
use super::names::{Fill, parameters};
use super::safetensors::{self, Contents, Values};
use super::timm::{self, Tensors};
use super::trainer::Trainer;
use super::vit::Vit;
use crate::error::{Error, Result};
use crate::recipe::Recipe;
use crate::schedule::Schedule;
use crate::shape::{BandCrop, Filter};
use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A model and what is known of how it was trained.
#[derive(Debug, Clone)]
pub struct Weights {
    /// The model.
    pub model: Vit,
    /// Its shape.
    pub config: VitConfig,
    /// What else the file tells.
    pub about: About,
}

/// What a file of weights tells besides the weights; whatever it does not tell is empty or `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct About {
    /// Names of the classes, in the order of the head's outputs.
    pub classes: Vec<String>,
    /// The transform of the run, whose evaluation part a model should be measured with.
    pub recipe: Option<Recipe>,
    /// Side of the images at the end of the run's schedule, in pixels.
    pub base: Option<u32>,
    /// How the schedule cuts bands.
    pub crop: Option<BandCrop>,
    /// Optimiser steps taken.
    pub steps: Option<u64>,
    /// Decay of the running mean that the weights are.
    pub ema: Option<f64>,
}

/// Under this key of a file's metadata stands [`About`], as JSON.
const ABOUT: &str = "bandfeed";
/// Under this one the arguments of timm's `VisionTransformer`, as JSON.
const ARGUMENTS: &str = "timm";

impl Weights {
    /// Reads the weights of a checkpoint ([`Trainer::save`]), or of a safetensors file with the tensors of a timm
    /// `VisionTransformer` in F32, F16 or BF16. `ema` asks for a running mean of a checkpoint, by its place in
    /// [`TrainConfig::ema`]. `heads` is for timm's files without metadata ([`Weights::export_timm`]), whose heads are taken
    /// to be 64 wide otherwise.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Checkpoint`] if the file is damaged, has no such running mean, says itself that it has
    /// other heads, or is of a model that is not built here, with what does not fit.
    pub fn read(path: &Path, ema: Option<usize>, heads: Option<usize>, device: &Device) -> Result<Self> {
        let weights = Self::read_any(path, ema, heads, device)?;
        match (heads, weights.config.heads) {
            (Some(heads), own) if heads != own => {
                Err(misfit(path, format!("it says that its model has {own} heads, but {heads} were asked for")))
            }
            _ => Ok(weights),
        }
    }

    /// [`Weights::read`], where `heads` gives way to what the file says.
    fn read_any(path: &Path, ema: Option<usize>, heads: Option<usize>, device: &Device) -> Result<Self> {
        let contents = safetensors::read(path)?;
        let ours = contents.metadata.get("format").is_some_and(|format| format == checkpoint::FORMAT);
        let (config, about, tensors) = if ours {
            of_checkpoint(path, checkpoint::whole(path, contents)?, ema)?
        } else {
            if ema.is_some() {
                return Err(misfit(path, "running means of weights are in checkpoints only, and this is none".into()));
            }
            of_timm(contents, heads).map_err(|reason| misfit(path, reason))?
        };
        Self::assemble(config, about, tensors, device).map_err(|error| match error {
            Error::Config { what, reason } => misfit(path, format!("{what}: {reason}")),
            Error::Checkpoint { reason, .. } => misfit(path, reason),
            other => other,
        })
    }

    fn assemble(config: VitConfig, about: About, mut tensors: Tensors, device: &Device) -> Result<Self> {
        let refuse = |reason: String| Err(misfit(Path::new(""), reason));
        let rows = match tensors.get("position").map(|t| &t.shape[..]) {
            Some(&[1, rows, _]) if rows > 1 && (rows - 1).isqrt().pow(2) == rows - 1 => rows,
            found => {
                return refuse(format!(
                    "the position embedding has the shape {found:?}: expected (1, 1 + grid^2, D), the class token's row \
                     among them"
                ));
            }
        };
        // A small file must not ask for a large model. What a file lacks besides is named below.
        let (has, needs) = (tensors.values().map(|t| t.values.len()).sum::<usize>(), config.values(rows));
        if needs > 2.0 * has as f64 {
            return refuse(format!("its tensors hold {has} numbers, but a model of its shape has {needs}"));
        }
        let band = ((rows - 1).isqrt() * config.patch) as u32;
        let mut fill = Fill::new("", &mut tensors);
        let model = Vit::new(&config, band, 0, device)?.map(&mut fill);
        if let Some(misfitting) = fill.missing {
            return refuse(format!("tensor {misfitting}"));
        }
        if let Some(name) = tensors.keys().next() {
            return refuse(format!("tensor {name} belongs to no part of a vision transformer in DeiT's form"));
        }
        Ok(Self { model, config, about })
    }

    /// The model for images of `band` pixels, its position embedding interpolated.
    ///
    /// # Errors
    /// [`Error::Config`] if `band` is no multiple of the patch.
    pub fn resized(mut self, band: u32) -> Result<Self> {
        let grid = self.config.grid(band)?;
        self.model = self.model.resized(grid);
        Ok(self)
    }

    /// Writes the weights for PyTorch: a safetensors file with the names and layouts of timm's `VisionTransformer`.
    ///
    /// ```python
    /// from safetensors import safe_open
    /// from timm.models import VisionTransformer
    /// with safe_open("model.safetensors", "pt") as file:
    ///     model = VisionTransformer(**json.loads(file.metadata()["timm"]))
    ///     model.load_state_dict({name: file.get_tensor(name) for name in file.keys()}, strict=True)
    /// ```
    ///
    /// Metadata: `timm`, the arguments above; `pretrained_cfg`, timm's settings of the transform (mean, std,
    /// interpolation, crop_pct, input_size, num_classes); `bandfeed`, [`About`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn export_timm(&self, path: &Path) -> Result<()> {
        let (config, band) = (&self.config, self.model.band());
        let mut arguments = json!({
            "img_size": band, "patch_size": config.patch, "embed_dim": config.dim, "depth": config.depth,
            "num_heads": config.heads, "mlp_ratio": config.mlp_ratio, "num_classes": config.classes,
        });
        if let Some(value) = config.layer_scale {
            arguments["init_values"] = value.into();
        }
        let recipe = self.about.recipe.clone().unwrap_or_default();
        let filter = match recipe.filter {
            Filter::Bilinear => "bilinear",
            Filter::Bicubic => "bicubic",
            Filter::Lanczos3 => "lanczos",
        };
        let mut transform = json!({
            "mean": recipe.mean.map(short), "std": recipe.std.map(short), "interpolation": filter,
            "crop_pct": recipe.eval_crop_ratio, "input_size": [3, band, band], "num_classes": config.classes,
        });
        if !self.about.classes.is_empty() {
            transform["label_names"] = self.about.classes.clone().into();
        }
        let about = serde_json::to_string(&self.about).expect("names and numbers can be written as JSON");
        let metadata = BTreeMap::from([
            // What PyTorch's readers of the format ask for.
            ("format".into(), "pt".into()),
            (ARGUMENTS.into(), arguments.to_string()),
            ("pretrained_cfg".into(), transform.to_string()),
            (ABOUT.into(), about),
        ]);
        let ours = parameters(&self.model).into_iter().map(|(name, (_, values))| (name, values)).collect();
        let contents = Contents { metadata, tensors: timm::to_timm(config, ours) };
        let folder = folder_of(path);
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let whole = path.with_extension("partial");
        safetensors::write(&whole, &contents)?;
        publish(&whole, path)
    }
}

impl Vit {
    /// A model from a safetensors file with the tensors of a timm `VisionTransformer`, at the file's size of image, and
    /// its shape ([`Weights::read`]).
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub fn from_timm(path: &Path, heads: Option<usize>, device: &Device) -> Result<(Self, VitConfig)> {
        let Weights { model, config, .. } = Weights::read(path, None, heads, device)?;
        Ok((model, config))
    }
}

/// A number with the digits that it was written with: 0.485, not the f64 nearest to its f32.
fn short(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// What a run began with besides its own first weights.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Init {
    /// Classes of the file, whose head was left out for a fresh one because the run has others; `None` if it was taken.
    pub other_classes: Option<usize>,
    /// Side of the images that the file's position embedding was for, if it was interpolated.
    pub interpolated_from: Option<u32>,
}

impl Trainer {
    /// Begins the run with the weights of a file ([`Weights::read`]) in place of random ones, before its first step. The
    /// head stays fresh where the file's has another number of classes, or other names and both are known; the position
    /// embedding is interpolated to the run's first band.
    ///
    /// # Errors
    /// As [`Weights::read`]; [`Error::Checkpoint`] also if the model has another shape, naming what differs;
    /// [`Error::Config`] if steps have been taken.
    pub fn init_from(&mut self, path: &Path, ema: Option<usize>) -> Result<Init> {
        if self.step > 0 {
            return Err(Error::config("init", format!("the run has taken {} steps already", self.step)));
        }
        let own = &self.config.model;
        let device = self.model.position.val().device();
        let weights = Weights::read_any(path, ema, Some(own.heads), &device)?;
        let found = &weights.config;
        let layer_scale = |config: &VitConfig| usize::from(config.layer_scale.is_some());
        for (name, found, own) in [
            ("dim", found.dim, own.dim),
            ("depth", found.depth, self.depth()),
            ("heads", found.heads, own.heads),
            ("patch", found.patch, own.patch),
            ("hidden width", found.hidden(), own.hidden()),
            ("vectors of layer scale to a branch", layer_scale(found), layer_scale(own)),
        ] {
            if found != own {
                return Err(misfit(path, format!("its model has {name} {found}, the run's has {own}")));
            }
        }
        let known = |names: &[String]| !names.is_empty();
        let other_names =
            known(&weights.about.classes) && known(&self.classes) && weights.about.classes != self.classes;
        let (band, from) = (self.model.band(), weights.model.band());
        let mut model = weights.model.resized(own.grid(band)?);
        let other_classes = (found.classes != own.classes || other_names).then_some(found.classes);
        if other_classes.is_some() {
            model.head = self.model.head.clone();
        }
        self.model = model;
        Ok(Init { other_classes, interpolated_from: (from != band).then_some(from) })
    }

    /// Says what the classes are called ([`Trainer::classes`]).
    pub fn set_classes(&mut self, names: Vec<String>) {
        self.classes = names;
    }
}

/// What is needed of a checkpoint's text part, whatever feed the run had.
#[derive(Deserialize)]
struct State {
    step: u64,
    /// Of a model that has not grown to its end.
    #[serde(default)]
    depth: Option<usize>,
    #[serde(default)]
    classes: Vec<String>,
}

/// The shape, the weights or the running mean of them, and what else there is.
fn of_checkpoint(path: &Path, contents: Contents, ema: Option<usize>) -> Result<(VitConfig, About, Tensors)> {
    let text = |key: &str| contents.metadata.get(key).map(String::as_str).unwrap_or_default();
    let unfit = |e: serde_json::Error| misfit(path, format!("its settings do not fit this program: {e}"));
    let config: TrainConfig = serde_json::from_str(text("config")).map_err(unfit)?;
    let state: State = serde_json::from_str(text("state")).map_err(unfit)?;
    let decay = match ema {
        None => None,
        Some(index) => Some(*config.ema.get(index).ok_or_else(|| {
            misfit(path, format!("there is no running mean {index}: the run keeps {:?} (counted from 0)", config.ema))
        })?),
    };
    let prefix = ema.map_or("model.".to_owned(), |index| format!("ema.{index}."));
    let own = |(name, values): (String, Values)| Some((name.strip_prefix(&prefix)?.to_owned(), values));
    let tensors: Tensors = contents.tensors.into_iter().filter_map(own).collect();
    if tensors.is_empty() {
        return Err(misfit(path, format!("it has no tensor {prefix}*: no step has been taken")));
    }
    let data: Value = serde_json::from_str(&config.data).unwrap_or_default();
    let schedule: Option<Schedule> = serde_json::from_value(data["schedule"].clone()).ok();
    let last = schedule.as_ref().and_then(|schedule| schedule.stages().last());
    let about = About {
        classes: state.classes,
        recipe: serde_json::from_value(data["recipe"].clone()).ok(),
        base: last.map(|stage| stage.base),
        crop: last.map(|stage| stage.crop),
        steps: Some(state.step),
        ema: decay,
    };
    let depth = state.depth.unwrap_or(config.model.depth);
    Ok((VitConfig { depth, ..config.model }, about, tensors))
}

/// The same of a file with timm's tensors.
fn of_timm(contents: Contents, heads: Option<usize>) -> Result<(VitConfig, About, Tensors), String> {
    let json = |key: &str| contents.metadata.get(key).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let arguments = json(ARGUMENTS).unwrap_or_default();
    let told = arguments["num_heads"].as_u64().map(|heads| heads as usize);
    let mut config = timm::shape(&contents.tensors, told.or(heads))?;
    if let (Some(value), Some(_)) = (arguments["init_values"].as_f64(), config.layer_scale) {
        config.layer_scale = Some(value);
    }
    let about = json(ABOUT).and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default();
    let tensors = timm::from_timm(contents.tensors)?;
    if config.classes == 0 {
        return Err("it has no head.weight: a model without a head cannot be measured; make it with num_classes".into());
    }
    Ok((config, about, tensors))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> VitConfig {
        VitConfig { dim: 6, depth: 2, heads: 2, patch: 4, mlp_ratio: 2.0, ..VitConfig::tiny(3) }
    }

    /// A file of timm's without metadata, with other tensors beside.
    fn timm_file(path: &Path, extra: &[(&str, Vec<usize>)]) {
        let model = Vit::new(&config(), 8, 3, &Device::flex()).unwrap();
        let ours = parameters(&model).into_iter().map(|(name, (_, values))| (name, values)).collect();
        let mut contents = Contents { metadata: BTreeMap::new(), tensors: timm::to_timm(&config(), ours) };
        for (name, shape) in extra {
            let values = vec![0.0; shape.iter().product()];
            contents.tensors.insert((*name).into(), Values { shape: shape.clone(), values });
        }
        safetensors::write(path, &contents).unwrap();
    }

    fn refusal(path: &Path, heads: Option<usize>) -> String {
        Weights::read(path, None, heads, &Device::flex()).unwrap_err().to_string()
    }

    #[test]
    fn the_values_of_a_shape_are_those_of_its_model() {
        for layer_scale in [None, Some(0.1)] {
            let config = VitConfig { layer_scale, ..config() };
            let model = Vit::new(&config, 8, 3, &Device::flex()).unwrap();
            let all: usize = parameters(&model).values().map(|(_, values)| values.values.len()).sum();
            assert_eq!(config.values(5), all as f64);
        }
    }

    #[test]
    fn a_small_file_cannot_ask_for_a_large_model() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        timm_file(&path, &[]);
        assert_eq!(
            Weights::read(&path, None, Some(2), &Device::flex()).unwrap().config,
            VitConfig { drop_path: 0.0, ..config() }
        );
        for number in ["2000000000", "18446744073709551615", "18446744073709551616"] {
            timm_file(&path, &[(&format!("blocks.{number}.x"), vec![1])]);
            assert!(refusal(&path, Some(2)).contains(number), "{}", refusal(&path, Some(2)));
        }
        // A row of blocks with next to nothing in them, and a hidden layer whose other half is not there.
        let names: Vec<String> = (2..40).map(|block| format!("blocks.{block}.x")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), vec![1])).collect();
        timm_file(&path, &many);
        assert!(refusal(&path, Some(2)).contains("but a model of its shape has"), "{}", refusal(&path, Some(2)));
        timm_file(&path, &[("blocks.0.mlp.fc1.weight", vec![1 << 20, 1])]);
        assert!(refusal(&path, Some(2)).contains("but a model of its shape has"), "{}", refusal(&path, Some(2)));
    }

    #[test]
    fn heads_that_differ_from_the_files_own_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let trainer = Trainer::new(TrainConfig::new(config()), 8, 1, &Device::flex()).unwrap();
        trainer.save(&path, &()).unwrap();
        assert!(refusal(&path, Some(3)).contains("has 2 heads, but 3 were asked for"), "{}", refusal(&path, Some(3)));
        let weights = Weights::read(&path, None, Some(2), &Device::flex()).unwrap();
        weights.export_timm(&path).unwrap();
        assert!(refusal(&path, Some(3)).contains("has 2 heads, but 3 were asked for"), "{}", refusal(&path, Some(3)));
    }
}
