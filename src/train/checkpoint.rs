//! A run on disk: one safetensors file with weights, moments and the loss of every step as tensors, and the rest as
//! text. Stochastic depth needs no state: its draws are a function of seed and step.

use super::config::{TrainConfig, VitConfig};
use super::names::{Fill, host, parameters};
use super::optimizer::Moments;
use super::precision::LossScale;
use super::report::History;
use super::safetensors::{self, Contents, Values};
use super::search::SearchState;
use super::trainer::Trainer;
use crate::error::{Error, Result};
use crate::schedule::Stage;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Name and version of the layout below.
pub(super) const FORMAT: &str = "bandfeed train 1";
const LOSSES: &str = "history.losses";
/// Key of [`Contents::checksum`].
const CHECKSUM: &str = "checksum";

/// The text part.
#[derive(Serialize, Deserialize)]
struct Text<S> {
    band: u32,
    /// Blocks, where they are not yet those of the whole model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    depth: Option<usize>,
    step: u64,
    epoch: u64,
    stage: Option<Stage>,
    /// Steps of each parameter's moments, by name.
    steps: BTreeMap<String, u64>,
    history: History,
    /// Names of the classes; none in checkpoints of older versions.
    #[serde(default)]
    classes: Vec<String>,
    /// In half precision.
    #[serde(default)]
    loss_scale: Option<LossScale>,
    /// Where AutoProg's search is, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    search: Option<SearchState>,
    feed: S,
}

impl Trainer {
    /// Writes a checkpoint to `path`, under a temporary name until it is whole, together with the state of the feed
    /// from which the next batch comes.
    ///
    /// Tensors are `model.<parameter>` (matrices as input by output), `adam.first.<parameter>`,
    /// `adam.second.<parameter>`, `ema.<i>.<parameter>` and `history.losses`. [`super::Weights::export_timm`] writes
    /// weights for PyTorch, whose names and layouts are others.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save<S: Serialize>(&self, path: &Path, feed: &S) -> Result<()> {
        let mut tensors = BTreeMap::new();
        let mut steps = BTreeMap::new();
        for (name, (id, values)) in parameters(&self.model) {
            if let Some(moments) = self.optimizer.moments.get(&id) {
                let part = |moment: &Tensor<1>| Values { shape: values.shape.clone(), values: host(moment.clone()) };
                tensors.insert(format!("adam.first.{name}"), part(&moments.first));
                tensors.insert(format!("adam.second.{name}"), part(&moments.second));
                steps.insert(name.clone(), moments.steps);
            }
            for (i, ema) in self.emas.iter().enumerate() {
                if let Some(mean) = ema.tensors.get(&id) {
                    let values = Values { shape: values.shape.clone(), values: host(mean.clone()) };
                    tensors.insert(format!("ema.{i}.{name}"), values);
                }
            }
            tensors.insert(format!("model.{name}"), values);
        }
        let losses = &self.history.losses;
        tensors.insert(LOSSES.into(), Values { shape: vec![losses.len()], values: losses.clone() });
        let text = Text {
            band: self.model.band(),
            depth: Some(self.depth()).filter(|depth| *depth != self.config.model.depth),
            step: self.step,
            epoch: self.epoch,
            stage: self.stage.clone(),
            steps,
            history: self.history.clone(),
            classes: self.classes.clone(),
            loss_scale: Some(self.loss_scale),
            search: self.search.clone(),
            feed,
        };
        let json = |e: serde_json::Error| misfit(path, format!("the state cannot be written as JSON: {e}"));
        let metadata = BTreeMap::from([
            ("format".into(), FORMAT.into()),
            ("config".into(), serde_json::to_string(&self.config).map_err(json)?),
            ("state".into(), serde_json::to_string(&text).map_err(json)?),
        ]);
        let mut contents = Contents { metadata, tensors };
        let checksum = contents.checksum();
        contents.metadata.insert(CHECKSUM.into(), checksum);
        let folder = folder_of(path);
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let whole = path.with_extension("partial");
        safetensors::write(&whole, &contents)?;
        publish(&whole, path)
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
        let Contents { metadata, mut tensors } = read(path)?;
        let text = |key: &str| metadata.get(key).map(String::as_str).unwrap_or_default();
        same_config(text("config"), &config).map_err(|reason| misfit(path, reason))?;
        let state: Text<S> = serde_json::from_str(text("state"))
            .map_err(|e| misfit(path, format!("the state does not fit this program: {e}")))?;

        let depth = state.depth.unwrap_or(config.model.depth);
        let mut trainer = Self::of_depth(config, depth, state.band, threads, device)?;
        let mut fill = Fill::new("model.", &mut tensors);
        trainer.model = trainer.model.clone().map(&mut fill);
        if let Some(misfitting) = fill.missing {
            return Err(misfit(path, format!("tensor {misfitting}")));
        }
        let ids = fill.ids;
        let flat = |name: &str, tensors: &mut BTreeMap<String, Values>| {
            let values = tensors.remove(name)?.values;
            let len = values.len();
            Some(Tensor::from_data(TensorData::new(values, [len]), device))
        };
        for (name, steps) in state.steps {
            let mut moment = |which: &str| flat(&format!("adam.{which}.{name}"), &mut tensors);
            let parts = (ids.get(&name), moment("first"), moment("second"));
            let (Some(&(id, len)), Some(first), Some(second)) = parts else {
                return Err(misfit(path, format!("the moments of {name} are missing")));
            };
            if [&first, &second].iter().any(|m| m.dims() != [len]) {
                return Err(misfit(path, format!("the moments of {name} have another shape than the parameter")));
            }
            trainer.optimizer.moments.insert(id, Moments { first, second, steps });
        }
        for (i, ema) in trainer.emas.iter_mut().enumerate() {
            for (name, &(id, len)) in &ids {
                match flat(&format!("ema.{i}.{name}"), &mut tensors) {
                    Some(mean) if mean.dims() == [len] => drop(ema.tensors.insert(id, mean)),
                    Some(_) => {
                        return Err(misfit(path, format!("ema.{i}.{name} has another shape than the parameter")));
                    }
                    None => {}
                }
            }
            // There is a mean of all weights or, before the first step, of none.
            if !ema.tensors.is_empty() && ema.tensors.len() != ids.len() {
                return Err(misfit(path, format!("ema.{i} has {} of {} tensors", ema.tensors.len(), ids.len())));
            }
        }
        let losses = tensors.remove(LOSSES).map(|t| t.values).unwrap_or_default();
        if losses.len() as u64 != state.step {
            return Err(misfit(path, format!("it holds {} losses of {} steps", losses.len(), state.step)));
        }
        if let Some(name) = tensors.keys().next() {
            return Err(misfit(path, format!("tensor {name} belongs to no part of this run")));
        }
        trainer.classes = state.classes;
        trainer.search = state.search;
        trainer.loss_scale = state.loss_scale.unwrap_or_default();
        trainer.history = History { losses, ..state.history };
        (trainer.step, trainer.epoch, trainer.stage) = (state.step, state.epoch, state.stage);
        Ok((trainer, state.feed))
    }
}

/// Steps taken before the checkpoint, found whole.
pub(super) fn step(path: &Path) -> Result<u64> {
    #[derive(Deserialize)]
    struct Taken {
        step: u64,
    }
    let contents = read(path)?;
    let state = contents.metadata.get("state").map(String::as_str).unwrap_or_default();
    let taken: Taken =
        serde_json::from_str(state).map_err(|e| misfit(path, format!("the state does not fit this program: {e}")))?;
    Ok(taken.step)
}

/// A checkpoint's tensors and text, found whole.
fn read(path: &Path) -> Result<Contents> {
    whole(path, safetensors::read(path)?)
}

/// `contents` if they are a checkpoint's and as they were written.
pub(super) fn whole(path: &Path, mut contents: Contents) -> Result<Contents> {
    let checksum = contents.metadata.remove(CHECKSUM);
    let format = contents.metadata.get("format").map(String::as_str).unwrap_or_default();
    if format != FORMAT {
        return Err(misfit(path, format!("expected format `{FORMAT}`, found `{format}`")));
    }
    if checksum.is_none_or(|saved| saved != contents.checksum()) {
        return Err(misfit(path, "the file is damaged: its checksum does not fit its contents".into()));
    }
    Ok(contents)
}

/// Copies a checkpoint, under a temporary name until it is whole.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let whole = to.with_extension("partial");
    let put = || {
        fs::copy(from, &whole)?;
        fs::File::options().write(true).open(&whole)?.sync_all()
    };
    put().map_err(Error::io(&whole))?;
    publish(&whole, to)
}

/// Gives a file that is whole on disk its name, and waits until the disk has the name too.
pub(super) fn publish(whole: &Path, path: &Path) -> Result<()> {
    fs::rename(whole, path).map_err(Error::io(path))?;
    #[cfg(unix)]
    {
        let folder = folder_of(path);
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder))?;
    }
    Ok(())
}

pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

pub(super) fn misfit(path: &Path, reason: String) -> Error {
    Error::Checkpoint { path: path.to_owned(), reason }
}

/// Compares settings as JSON, whose numbers are text: what was written is what is compared. Settings that the saved ones
/// do not have, being of an older version, had their standard values.
fn same_config(saved: &str, now: &TrainConfig) -> Result<(), String> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).map_err(|e| format!("settings: {e}"));
    let now = parse(&serde_json::to_string(now).map_err(|e| e.to_string())?)?;
    let mut saved = parse(saved)?;
    let standard = TrainConfig::new(VitConfig::tiny(1));
    fill_gaps(&mut saved, &parse(&serde_json::to_string(&standard).map_err(|e| e.to_string())?)?);
    match first_difference("", &saved, &now) {
        Some((name, saved, now)) => Err(format!("it is of a run with {name} = {saved}, but this run has {now}")),
        None => Ok(()),
    }
}

/// Gives `value` the fields of `standard` that it lacks.
fn fill_gaps(value: &mut Value, standard: &Value) {
    if let (Value::Object(fields), Value::Object(standard)) = (value, standard) {
        for (key, standard) in standard {
            match fields.get_mut(key) {
                Some(field) => fill_gaps(field, standard),
                None => drop(fields.insert(key.clone(), standard.clone())),
            }
        }
    }
}

/// The first value that differs: its name, such as `model.dim` or `data[2].epochs`, and both of its values. Text that
/// is JSON itself ([`TrainConfig::data`] may be) is looked into.
fn first_difference(name: &str, saved: &Value, now: &Value) -> Option<(String, String, String)> {
    if saved == now {
        return None;
    }
    let inner = match (saved, now) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|key| {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                first_difference(&name, &of(a), &of(b))
            })
        }
        (Value::Array(a), Value::Array(b)) => (0..a.len().max(b.len())).find_map(|i| {
            let of = |list: &[Value]| list.get(i).cloned().unwrap_or_default();
            first_difference(&format!("{name}[{i}]"), &of(a), &of(b))
        }),
        (Value::String(a), Value::String(b)) => match (serde_json::from_str(a), serde_json::from_str(b)) {
            (Ok(a), Ok(b)) => first_difference(name, &a, &b),
            _ => None,
        },
        _ => None,
    };
    inner.or_else(|| Some((name.to_owned(), brief(saved), brief(now))))
}

/// A value on one short line.
fn brief(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::VitConfig;
    use super::super::report::{EmaReport, EvalReport, StageTotal};
    use super::*;

    fn config() -> TrainConfig {
        let model =
            VitConfig { dim: 4, depth: 1, heads: 2, patch: 2, mlp_ratio: 2.0, drop_path: 0.0, ..VitConfig::tiny(3) };
        TrainConfig::new(model)
    }

    fn load(path: &Path) -> Result<(Trainer, u32)> {
        Trainer::load(path, config(), 1, &Device::flex())
    }

    fn refusal(path: &Path) -> String {
        match load(path) {
            Err(Error::Checkpoint { reason, .. }) => reason,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    /// Saves a run of no step, changed by `change`, with a checksum that fits.
    fn forged(path: &Path, change: impl FnOnce(&mut Contents)) {
        Trainer::new(config(), 4, 1, &Device::flex()).unwrap().save(path, &7u32).unwrap();
        let mut contents = safetensors::read(path).unwrap();
        contents.metadata.remove(CHECKSUM);
        change(&mut contents);
        let checksum = contents.checksum();
        contents.metadata.insert(CHECKSUM.into(), checksum);
        safetensors::write(path, &contents).unwrap();
    }

    #[test]
    fn a_bit_flipped_anywhere_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        forged(&path, |_| ());
        assert_eq!(load(&path).unwrap().1, 7);
        let bytes = fs::read(&path).unwrap();
        for at in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 7);
            fs::write(&path, &damaged).unwrap();
            // Blanks that fill the header up to its alignment say nothing.
            assert!(load(&path).is_err() || bytes[at] == b' ', "bit of byte {at} of {}", bytes.len());
        }
        let last = bytes.len() - 1;
        fs::write(&path, [&bytes[..last], &[bytes[last] ^ 0x40]].concat()).unwrap();
        assert!(refusal(&path).contains("damaged"));
        fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
        assert!(refusal(&path).contains("after the last tensor"));
    }

    #[test]
    fn tensors_too_many_and_losses_too_few_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let one = || Values { shape: vec![1], values: vec![0.5] };
        forged(&path, |c| drop(c.tensors.insert("model.extra".into(), one())));
        assert!(refusal(&path).contains("model.extra"));
        forged(&path, |c| drop(c.tensors.insert(LOSSES.into(), one())));
        assert!(refusal(&path).contains("1 losses of 0 steps"));
    }

    #[test]
    fn a_setting_that_differs_is_named_inside_text_that_is_json() {
        let data =
            |epochs: u32| format!(r#"["photos",100,{{"name":"constant","epochs":{epochs},"long":"{:99}"}}]"#, "");
        let of = |data: String| TrainConfig { data, ..config() };
        let saved = serde_json::to_string(&of(data(200))).unwrap();
        same_config(&saved, &of(data(200))).unwrap();
        let reason = same_config(&saved, &of(data(300))).unwrap_err();
        assert_eq!(reason, "it is of a run with data[2].epochs = 200, but this run has 300");
        let reason = same_config(&saved, &of("[1]".into())).unwrap_err();
        assert!(reason.contains("data[0] = \"photos\"") && reason.contains("has 1"), "{reason}");
        let reason = same_config(&saved, &of("words".into())).unwrap_err();
        assert!(reason.contains("with data = ") && reason.contains('…') && reason.len() < 200, "{reason}");
    }

    #[test]
    fn a_checkpoint_from_before_a_setting_was_there_has_its_standard_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        // As the version before running means and layer scale wrote it.
        let old = |contents: &mut Contents| {
            let mut settings: Value = serde_json::from_str(&contents.metadata["config"]).unwrap();
            let fields = settings.as_object_mut().unwrap();
            for field in ["ema", "ema_warmup", "freeze", "precision"] {
                fields.remove(field).unwrap();
            }
            for (of, field) in [("model", "layer_scale"), ("model", "drop_path_rule"), ("optimizer", "layer_decay")] {
                fields[of].as_object_mut().unwrap().remove(field).unwrap();
            }
            let mut state: Value = serde_json::from_str(&contents.metadata["state"]).unwrap();
            for field in ["classes", "loss_scale"] {
                state.as_object_mut().unwrap().remove(field).unwrap();
            }
            contents.metadata.insert("config".into(), settings.to_string());
            contents.metadata.insert("state".into(), state.to_string());
        };
        forged(&path, old);
        load(&path).unwrap();
        let averaged = TrainConfig { ema: vec![0.9], ..config() };
        let error = Trainer::load::<u32>(&path, averaged, 1, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("ema = [], but this run has [0.9]") || error.contains("ema[0]"), "{error}");
    }

    #[test]
    fn an_evaluation_that_is_not_finite_and_every_bit_of_a_sum_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let mut trainer = Trainer::new(config(), 4, 1, &Device::flex()).unwrap();
        let mean = EmaReport { decay: 0.9, top1: 0.25, top5: None, loss: f64::NEG_INFINITY };
        let (ema, top5) = (vec![mean], Some(0.5));
        let pass =
            EvalReport { epoch: 0, step: 0, band: 4, images: 4, top1: 0.25, top5, loss: f64::NAN, seconds: 1.0, ema };
        trainer.history.finished = Some(EvalReport { loss: f64::INFINITY, ..pass.clone() });
        trainer.history.evaluations.push(pass);
        // Without serde_json's `float_roundtrip` it comes back as 2.279743075370789.
        trainer.history.stages.push(StageTotal { loss: 2.2797430753707886, ..StageTotal::default() });
        trainer.save(&path, &7u32).unwrap();
        let history = load(&path).unwrap().0.history;
        let [pass] = &history.evaluations[..] else { panic!("{history:?}") };
        assert!(pass.loss.is_nan());
        assert_eq!((pass.top1, pass.ema[0].loss), (0.25, f64::NEG_INFINITY));
        assert_eq!(history.finished.unwrap().loss, f64::INFINITY);

        // Once they were written as null.
        let contents = safetensors::read(&path).unwrap();
        let old = contents.metadata["state"].replace("\"NaN\"", "null");
        assert!(old.contains("\"loss\":null"), "{old}");
        forged(&path, |c| drop(c.metadata.insert("state".into(), old)));
        assert!(load(&path).unwrap().0.history.evaluations[0].loss.is_nan());
        assert_eq!(history.stages[0].loss, 2.2797430753707886);
    }

    #[test]
    fn a_bare_file_name_is_in_the_folder_at_hand() {
        assert_eq!(folder_of(Path::new("last.safetensors")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/last.safetensors")), Path::new("a"));
    }
}
