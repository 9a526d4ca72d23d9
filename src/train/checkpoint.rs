//! A run on disk: one safetensors file with weights, moments and the loss of every step as tensors, and the rest as
//! text. Stochastic depth needs no state: its draws are a function of seed and step.

use super::config::TrainConfig;
use super::optimizer::Moments;
use super::report::History;
use super::safetensors::{self, Contents, Values};
use super::trainer::Trainer;
use crate::error::{Error, Result};
use crate::schedule::Stage;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Name and version of the layout below.
const FORMAT: &str = "bandfeed train 1";
const LOSSES: &str = "history.losses";

/// The text part.
#[derive(Serialize, Deserialize)]
struct Text<S> {
    band: u32,
    step: u64,
    epoch: u64,
    stage: Option<Stage>,
    /// Steps of each parameter's moments, by name.
    steps: BTreeMap<String, u64>,
    history: History,
    feed: S,
}

impl Trainer {
    /// Writes a checkpoint to `path`, under a temporary name until it is whole, together with the state of the feed
    /// from which the next batch comes.
    ///
    /// Tensors are `model.<parameter>` (matrices as input by output), `adam.first.<parameter>`,
    /// `adam.second.<parameter>` and `history.losses`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save<S: Serialize>(&self, path: &Path, feed: &S) -> Result<()> {
        let mut parameters = Parameters::default();
        self.model.visit(&mut parameters);
        let mut tensors = BTreeMap::new();
        let mut steps = BTreeMap::new();
        for (name, (id, values)) in parameters.found {
            if let Some(moments) = self.optimizer.moments.get(&id) {
                let part = |moment: &Tensor<1>| Values { shape: values.shape.clone(), values: host(moment.clone()) };
                tensors.insert(format!("adam.first.{name}"), part(&moments.first));
                tensors.insert(format!("adam.second.{name}"), part(&moments.second));
                steps.insert(name.clone(), moments.steps);
            }
            tensors.insert(format!("model.{name}"), values);
        }
        let losses = &self.history.losses;
        tensors.insert(LOSSES.into(), Values { shape: vec![losses.len()], values: losses.clone() });
        let text = Text {
            band: self.model.band(),
            step: self.step,
            epoch: self.epoch,
            stage: self.stage.clone(),
            steps,
            history: self.history.clone(),
            feed,
        };
        let json = |e: serde_json::Error| misfit(path, format!("the state cannot be written as JSON: {e}"));
        let metadata = BTreeMap::from([
            ("format".into(), FORMAT.into()),
            ("config".into(), serde_json::to_string(&self.config).map_err(json)?),
            ("state".into(), serde_json::to_string(&text).map_err(json)?),
        ]);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let whole = path.with_extension("partial");
        safetensors::write(&whole, &Contents { metadata, tensors })?;
        fs::rename(&whole, path).map_err(Error::io(path))
    }

    /// Reads a checkpoint of a run with the settings `config`, and the state of its feed. Steps taken from here have the
    /// losses they would have had without the interruption, bit for bit, on the same kind of device.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Checkpoint`] if the file is damaged or of a run with other settings, naming the first
    /// that differs.
    pub fn load<S: DeserializeOwned>(
        path: &Path,
        config: TrainConfig,
        threads: usize,
        device: &Device,
    ) -> Result<(Self, S)> {
        let Contents { metadata, mut tensors } = safetensors::read(path)?;
        let text = |key: &str| metadata.get(key).map(String::as_str).unwrap_or_default();
        if text("format") != FORMAT {
            return Err(misfit(path, format!("expected format `{FORMAT}`, found `{}`", text("format"))));
        }
        same_config(text("config"), &config).map_err(|reason| misfit(path, reason))?;
        let state: Text<S> = serde_json::from_str(text("state"))
            .map_err(|e| misfit(path, format!("the state does not fit this program: {e}")))?;

        let mut trainer = Self::new(config, state.band, threads, device)?;
        let mut fill = Fill { path: Name::default(), tensors: &mut tensors, ids: BTreeMap::new(), missing: None };
        trainer.model = trainer.model.clone().map(&mut fill);
        if let Some(name) = fill.missing {
            return Err(misfit(path, format!("tensor model.{name} is missing or has another shape")));
        }
        for (name, steps) in state.steps {
            let moment = |which: &str, tensors: &mut BTreeMap<String, Values>| {
                let values = tensors.remove(&format!("adam.{which}.{name}"))?.values;
                let len = values.len();
                Some(Tensor::from_data(TensorData::new(values, [len]), device))
            };
            let parts = (fill.ids.get(&name), moment("first", fill.tensors), moment("second", fill.tensors));
            let (Some(&(id, len)), Some(first), Some(second)) = parts else {
                return Err(misfit(path, format!("the moments of {name} are missing")));
            };
            if [&first, &second].iter().any(|m| m.dims() != [len]) {
                return Err(misfit(path, format!("the moments of {name} have another shape than the parameter")));
            }
            trainer.optimizer.moments.insert(id, Moments { first, second, steps });
        }
        let losses = tensors.remove(LOSSES).map(|t| t.values).unwrap_or_default();
        trainer.history = History { losses, ..state.history };
        (trainer.step, trainer.epoch, trainer.stage) = (state.step, state.epoch, state.stage);
        Ok((trainer, state.feed))
    }
}

/// Copies a checkpoint, under a temporary name until it is whole.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let whole = to.with_extension("partial");
    fs::copy(from, &whole).map_err(Error::io(&whole))?;
    fs::rename(&whole, to).map_err(Error::io(to))
}

fn misfit(path: &Path, reason: String) -> Error {
    Error::Checkpoint { path: path.to_owned(), reason }
}

/// Compares settings as JSON, whose numbers are text: what was written is what is compared.
fn same_config(saved: &str, now: &TrainConfig) -> Result<(), String> {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).map_err(|e| format!("settings: {e}"));
    let now = parse(&serde_json::to_string(now).map_err(|e| e.to_string())?)?;
    match first_difference("", &parse(saved)?, &now) {
        Some((name, saved, now)) => Err(format!("it is of a run with {name} = {saved}, but this run has {now}")),
        None => Ok(()),
    }
}

fn first_difference(
    name: &str,
    saved: &serde_json::Value,
    now: &serde_json::Value,
) -> Option<(String, serde_json::Value, serde_json::Value)> {
    match (saved.as_object(), now.as_object()) {
        (Some(a), Some(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|key| {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                let of = |map: &serde_json::Map<String, serde_json::Value>| map.get(key).cloned().unwrap_or_default();
                first_difference(&name, &of(a), &of(b))
            })
        }
        _ => (saved != now).then(|| (name.to_owned(), saved.clone(), now.clone())),
    }
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("parameters and moments are f32")
}

/// The path of the parameter that a walk over a module is at, such as `blocks.0.query.weight`.
#[derive(Default)]
struct Name(Vec<String>);

impl Name {
    fn get(&self) -> String {
        self.0.join(".")
    }
}

/// Collects parameters by name.
#[derive(Default)]
struct Parameters {
    path: Name,
    found: BTreeMap<String, (ParamId, Values)>,
}

impl ModuleVisitor for Parameters {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.0.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.0.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let values = Values { shape: value.dims().to_vec(), values: host(value) };
        self.found.insert(self.path.get(), (param.id, values));
    }
}

/// Sets parameters by name.
struct Fill<'a> {
    path: Name,
    tensors: &'a mut BTreeMap<String, Values>,
    /// Identity and number of values.
    ids: BTreeMap<String, (ParamId, usize)>,
    missing: Option<String>,
}

impl ModuleMapper for Fill<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.0.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.0.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.get();
        let shape = param.dims();
        let Some(found) = self.tensors.remove(&format!("model.{name}")).filter(|t| t.shape == shape) else {
            self.missing.get_or_insert(name);
            return param;
        };
        self.ids.insert(name, (param.id, found.values.len()));
        param.map(|old| Tensor::from_data(TensorData::new(found.values, shape), &old.device()))
    }
}
