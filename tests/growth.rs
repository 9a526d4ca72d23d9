//! The trainer grows its model: by the published maps, exactly the same after an interruption, and told of everywhere.
#![cfg(feature = "train")]

use bandfeed::demo_data::DemoData;
use bandfeed::loader::{Loader, State};
use bandfeed::schedule::{Growth, LearningRate, Options, Prog, Schedule, TokensBy};
use bandfeed::train::{
    Checkpoints, Device, GrowthConfig, GrowthMoments, GrowthReport, MoGrow, Pass, Predictor, Run, StepReport,
    TrainConfig, Trainer, VitConfig, Watch, Weights, fit, sources,
};
use bandfeed::{Batch, Result, Stage};
use burn::tensor::Tensor;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Depths 2, 3, 3, 4 at 16, 24, 24 or 32, and 32 pixels.
fn schedule(tokens_by: TokensBy) -> Schedule {
    let prog = Prog { depth: 4, tokens_by, ..Prog::default() };
    let options = Options { base: 32, patch: 4, batch_size: 12, epochs: 2.0, prog, ..Options::default() };
    Schedule::auto_prog(&options).unwrap()
}

fn loader(schedule: &Schedule, state: Option<State>) -> Loader {
    let data = DemoData { train_per_class: 6, val_per_class: 1, side: 64, ..DemoData::default() };
    let (train, _) = data.generate().unwrap();
    let builder = Loader::builder(Arc::new(train), schedule.clone()).seed(9).workers(1);
    match state {
        Some(state) => builder.resume(state),
        None => builder,
    }
    .build()
    .unwrap()
}

fn config(mogrow: MoGrow, moments: GrowthMoments) -> TrainConfig {
    let classes = loader(&schedule(TokensBy::Band), None).source().classes().len();
    let model = VitConfig { dim: 16, depth: 4, heads: 2, patch: 4, mlp_ratio: 2.0, ..VitConfig::tiny(classes) };
    TrainConfig {
        learning_rate: LearningRate { peak: 3e-3, min: 1e-5, warmup: 0.0 },
        seed: 9,
        chunk: 4,
        ema: vec![0.9, 0.5],
        growth: GrowthConfig { mogrow, moments },
        ..TrainConfig::new(model)
    }
}

/// Stops the run before a step, and keeps what it is told.
struct Notes<'a> {
    stop: &'a AtomicBool,
    before: Option<u64>,
    steps: Vec<StepReport>,
    growths: Vec<GrowthReport>,
}

impl Watch for Notes<'_> {
    fn step(&mut self, report: &StepReport) {
        self.steps.push(report.clone());
        if self.before == Some(report.step + 1) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn grown(&mut self, report: &GrowthReport) {
        self.growths.push(report.clone());
    }
}

fn go_on(
    trainer: &mut Trainer,
    feed: &mut Loader,
    folder: &Path,
    until: Option<u64>,
) -> (Vec<StepReport>, Vec<GrowthReport>) {
    let stop = AtomicBool::new(false);
    let mut notes = Notes { stop: &stop, before: until, steps: Vec::new(), growths: Vec::new() };
    let checkpoints = Some(Checkpoints { every: None, ..Checkpoints::new(folder) });
    fit(trainer, feed, Run { validation: None, checkpoints, stop: &stop, watch: &mut notes }).unwrap();
    (notes.steps, notes.growths)
}

/// All tensors of a checkpoint's file, as bits.
fn tensors(path: &Path) -> BTreeMap<String, Vec<u32>> {
    let bytes = std::fs::read(path).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header).unwrap();
    let bits = |entry: &serde_json::Value| {
        let offset = |i: usize| entry["data_offsets"][i].as_u64().unwrap() as usize;
        data[offset(0)..offset(1)].chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    header.iter().filter(|(name, _)| *name != "__metadata__").map(|(name, entry)| (name.clone(), bits(entry))).collect()
}

fn saved(trainer: &Trainer) -> BTreeMap<String, Vec<u32>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    trainer.save(&path, &()).unwrap();
    tensors(&path)
}

#[test]
fn a_run_that_grows_goes_on_from_before_and_after_each_growth_bit_for_bit() {
    let (schedule, folder) = (schedule(TokensBy::Band), tempfile::tempdir().unwrap());
    for (mogrow, moments) in [
        (MoGrow::NewOnly, GrowthMoments::Carry),
        (MoGrow::All, GrowthMoments::Drop),
        (MoGrow::Random, GrowthMoments::Carry),
    ] {
        let config = config(mogrow, moments);
        let start = || Trainer::for_schedule(config.clone(), &schedule, 2, &Device::flex()).unwrap();
        let mut whole = start();
        assert_eq!((whole.depth(), whole.model().band()), (2, 16));
        let (steps, growths) = go_on(&mut whole, &mut loader(&schedule, None), folder.path(), None);
        let depths: Vec<_> = growths.iter().map(|g| (g.before, g.after, g.mogrow)).collect();
        assert_eq!(depths, [(2, 3, mogrow), (3, 4, mogrow)]);
        assert_eq!(whole.history().growths, growths);
        for step in &steps {
            let stage = &schedule.stages()[step.stage];
            let blocks = stage.growth.depth.unwrap().blocks as usize;
            assert_eq!((step.depth, step.tokens), (blocks, (stage.side() / 4).pow(2) as usize));
            let each = config.model.training_flops(step.depth, step.tokens);
            assert_eq!(step.flops, each * step.images as f64);
        }
        let cuts = growths.iter().flat_map(|g| [g.step, g.step + 1]);
        for cut in cuts {
            let mut first = start();
            go_on(&mut first, &mut loader(&schedule, None), folder.path(), Some(cut));
            assert_eq!(first.steps(), cut);
            let last = folder.path().join("last.safetensors");
            let (mut second, state) = Trainer::load::<State>(&last, config.clone(), 1, &Device::flex()).unwrap();
            assert_eq!(second.depth(), first.depth());
            let weights = Weights::read(&last, Some(1), None, &Device::flex()).unwrap();
            assert_eq!((weights.config.depth, weights.model.blocks.len()), (first.depth(), first.depth()));
            go_on(&mut second, &mut loader(&schedule, Some(state)), folder.path(), None);
            assert_eq!(second.history().losses, whole.history().losses, "{mogrow} from step {cut}");
            assert_eq!(second.history().growths, growths, "{mogrow} from step {cut}");
            assert_eq!(saved(&second), saved(&whole), "{mogrow} from step {cut}");
        }
    }
}

/// A trainer of 2 blocks after a few steps.
fn trained(mogrow: MoGrow, moments: GrowthMoments) -> Trainer {
    let schedule = schedule(TokensBy::Band);
    let mut trainer = Trainer::for_schedule(config(mogrow, moments), &schedule, 2, &Device::flex()).unwrap();
    for batch in loader(&schedule, None).take(3) {
        let gradient = trainer.gradient(&batch.unwrap(), 0).unwrap();
        trainer.update(gradient, 1e-2).unwrap();
    }
    trainer
}

#[test]
fn every_tensor_comes_from_where_the_map_says() {
    let ways = [MoGrow::NewOnly, MoGrow::All, MoGrow::Copy, MoGrow::Random, MoGrow::Zero];
    for (mogrow, moments) in ways.into_iter().flat_map(|way| [(way, GrowthMoments::Carry), (way, GrowthMoments::Drop)])
    {
        let mut trainer = trained(mogrow, moments);
        let before = saved(&trainer);
        trainer.grow(4).unwrap();
        let after = saved(&trainer);
        let map = sources(2, 4);
        assert_eq!(map, [0, 0, 1, 1]);
        for (name, values) in after.iter().filter(|(name, _)| !name.starts_with("history")) {
            let (part, path) = name.split_once('.').unwrap();
            // "ema.0." and "adam.first." have a word more.
            let (part, path) = match part {
                "model" => (part.to_owned(), path),
                _ => {
                    let (second, path) = path.split_once('.').unwrap();
                    (format!("{part}.{second}"), path)
                }
            };
            let (source, new) = match path.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) {
                Some((number, rest)) => {
                    let i: usize = number.parse().unwrap();
                    (format!("blocks.{}.{rest}", map[i]), i % 2 == 1)
                }
                None => (path.to_owned(), false),
            };
            let own = matches!(mogrow, MoGrow::Random | MoGrow::Zero) && new;
            assert!(!(part.starts_with("adam") && (moments == GrowthMoments::Drop || own)), "{mogrow} {name}");
            let from = match (part.as_str(), mogrow) {
                // The slowest mean is the first.
                ("model", MoGrow::All) => format!("ema.0.{source}"),
                ("model", MoGrow::NewOnly) if new => format!("ema.0.{source}"),
                (part, _) => format!("{part}.{source}"),
            };
            match own {
                false => assert_eq!(values, &before[&from], "{mogrow}: {name} from {from}"),
                // A mean of a new block that has learnt nothing is the block.
                true if part.starts_with("ema") => assert_eq!(values, &after[&format!("model.{path}")], "{name}"),
                true if mogrow == MoGrow::Zero => {
                    let ends = path.contains("project.") || path.contains("contract.");
                    let expected = if ends { vec![0; values.len()] } else { before[&from].clone() };
                    assert_eq!(values, &expected, "{name}");
                }
                true if path.ends_with("query.weight") => assert_ne!(values, &before[&from], "{name} is random"),
                true => {}
            }
        }
        // Both moments of each parameter that has some.
        let carried = after.keys().filter(|name| name.starts_with("adam")).count();
        assert_eq!(carried == 0, moments == GrowthMoments::Drop, "{mogrow}");
        if moments == GrowthMoments::Carry && !matches!(mogrow, MoGrow::Random | MoGrow::Zero) {
            let models = after.keys().filter(|name| name.starts_with("model")).count();
            assert_eq!(carried, 2 * models, "{mogrow}");
        }
        assert_eq!(trainer.averaged(1).unwrap().blocks.len(), 4);
    }
}

/// Mean cross-entropy of scores, labels not smoothed.
fn cross_entropy(scores: &[f32], labels: &[u32]) -> f64 {
    let losses = scores.chunks(scores.len() / labels.len()).zip(labels).map(|(row, label)| {
        let sum: f64 = row.iter().map(|score| f64::from(*score).exp()).sum();
        sum.ln() - f64::from(row[*label as usize])
    });
    losses.sum::<f64>() / labels.len() as f64
}

/// Keeps the loss of each batch in the model that is about to learn from it, and growths.
#[derive(Default)]
struct Losses {
    batches: BTreeMap<u64, f64>,
    growths: Vec<GrowthReport>,
}

impl Watch for Losses {
    fn batch(&mut self, batch: &Batch, trainer: &Trainer) {
        let images = Tensor::<1>::from_floats(batch.images.as_slice(), &Device::flex()).reshape(batch.images.shape());
        let scores: Vec<f32> = trainer.model().forward(images, None).into_data().try_to_vec().unwrap();
        self.batches.insert(trainer.steps(), cross_entropy(&scores, &batch.labels));
    }
    fn grown(&mut self, report: &GrowthReport) {
        self.growths.push(report.clone());
    }
}

#[test]
fn zeros_leave_the_loss_and_the_losses_of_a_growth_are_those_of_its_models() {
    let schedule = schedule(TokensBy::Band);
    for (mogrow, same) in [(MoGrow::Zero, true), (MoGrow::Copy, false)] {
        let start =
            || Trainer::for_schedule(config(mogrow, GrowthMoments::Carry), &schedule, 2, &Device::flex()).unwrap();
        let (mut watch, stop) = (Losses::default(), AtomicBool::new(false));
        let run = Run { validation: None, checkpoints: None, stop: &stop, watch: &mut watch };
        fit(&mut start(), &mut loader(&schedule, None), run).unwrap();
        assert_eq!(watch.growths.len(), 2);
        for growth in watch.growths {
            let (before, after) = (growth.loss_before.unwrap(), growth.loss_after.unwrap());
            assert_eq!((before - after).abs() < 1e-5, same, "{growth:?}");
            assert!((after - watch.batches[&growth.step]).abs() < 1e-5, "{growth:?}: {:?}", watch.batches);
            // The model before: that of a run that ends there, at the resolution of the next stage's first batch.
            let folder = tempfile::tempdir().unwrap();
            let mut feed = loader(&schedule, None);
            go_on(&mut start(), &mut feed, folder.path(), Some(growth.step));
            let weights = Weights::read(&folder.path().join("last.safetensors"), None, None, &Device::flex()).unwrap();
            assert_eq!(weights.model.blocks.len(), growth.before);
            let batch = feed.next().unwrap().unwrap();
            assert_eq!(batch.stage.index, growth.stage);
            let scores = Predictor::new(weights, 1).unwrap().scores(&batch).unwrap();
            let own = cross_entropy(&scores, &batch.labels);
            assert!((before - own).abs() < 1e-5, "{growth:?}: {own}");
        }
    }
}

#[test]
fn the_trainer_makes_whole_images_smaller_and_evaluates_at_the_base() {
    for tokens_by in [TokensBy::Resize, TokensBy::Patch] {
        let (schedule, folder) = (schedule(tokens_by), tempfile::tempdir().unwrap());
        let config = config(MoGrow::NewOnly, GrowthMoments::Carry);
        let mut trainer = Trainer::for_schedule(config, &schedule, 2, &Device::flex()).unwrap();
        let mut feed = loader(&schedule, None);
        let (stop, mut evaluated) = (AtomicBool::new(false), Vec::new());
        struct Bands<'a>(&'a mut Vec<u32>, Vec<usize>);
        impl Watch for Bands<'_> {
            fn step(&mut self, report: &StepReport) {
                assert!(report.loss.is_finite() && report.band == 32);
                self.1.push(report.tokens);
            }
            fn evaluated(&mut self, report: &bandfeed::train::EvalReport) {
                self.0.push(report.band);
            }
        }
        let mut watch = Bands(&mut evaluated, Vec::new());
        let mut validation = |stage: &Stage| -> Result<Pass<'static>> {
            let data = DemoData { train_per_class: 1, val_per_class: 1, side: 64, ..DemoData::default() };
            let (_, val) = data.generate().unwrap();
            Ok(Box::new(Loader::evaluation(Arc::new(val), stage.clone()).workers(1).build().unwrap()))
        };
        let checkpoints = Some(Checkpoints { every: None, ..Checkpoints::new(folder.path()) });
        let run = Run { validation: Some(&mut validation), checkpoints, stop: &stop, watch: &mut watch };
        fit(&mut trainer, &mut feed, run).unwrap();
        assert_eq!((watch.1[0], watch.1[watch.1.len() - 1]), (16, 64), "{tokens_by}");
        assert!(!evaluated.is_empty() && evaluated.iter().all(|band| *band == 32), "{evaluated:?}");
    }
}

#[test]
fn what_cannot_grow_is_refused_at_the_start() {
    let schedule = schedule(TokensBy::Band);
    let refused = |change: &dyn Fn(&mut TrainConfig)| {
        let mut config = config(MoGrow::NewOnly, GrowthMoments::Carry);
        change(&mut config);
        Trainer::for_schedule(config, &schedule, 1, &Device::flex()).unwrap_err().to_string()
    };
    assert!(refused(&|c| c.model.depth = 5).starts_with("model.depth: 5 blocks"));
    assert!(refused(&|c| c.ema.clear()).starts_with("ema: none"));
    assert!(refused(&|c| c.freeze = 1).starts_with("freeze: 1"));
    let mut trainer = trained(MoGrow::Copy, GrowthMoments::Carry);
    for depth in [1, 5] {
        let error = trainer.grow(depth).unwrap_err().to_string();
        assert!(error.contains(&format!("{depth} blocks: expected 2")), "{error}");
    }
    // A plain schedule takes the whole model, without a mean.
    let plain = Schedule::constant(&Options { base: 32, patch: 4, ..Options::default() }).unwrap();
    let bare = TrainConfig { ema: Vec::new(), ..config(MoGrow::NewOnly, GrowthMoments::Carry) };
    assert_eq!(Trainer::for_schedule(bare, &plain, 1, &Device::flex()).unwrap().depth(), 4);
}

#[test]
fn runs_without_growth_are_written_as_before() {
    let stage = Schedule::efficient_train_pp(Default::default(), &Options::default()).unwrap().at(0.0).clone();
    assert_eq!(stage.growth, Growth::NONE);
    let text = serde_json::to_string(&stage).unwrap();
    assert!(!text.contains("growth"), "{text}");
    assert_eq!(serde_json::from_str::<Stage>(&text).unwrap(), stage);
    let config = TrainConfig { ema: Vec::new(), ..config(MoGrow::NewOnly, GrowthMoments::Carry) };
    assert!(!serde_json::to_string(&config).unwrap().contains("growth"));
    let trainer = Trainer::new(config, 32, 1, &Device::flex()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    trainer.save(&path, &()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let state: serde_json::Value = serde_json::from_str(header["__metadata__"]["state"].as_str().unwrap()).unwrap();
    let mut keys: Vec<&String> = state.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["band", "classes", "epoch", "feed", "history", "loss_scale", "stage", "step", "steps"]);
}

#[cfg(feature = "cli")]
#[test]
fn the_command_grows_and_tells_it_and_goes_on() {
    use std::process::Command;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let data = DemoData { train_per_class: 6, val_per_class: 1, side: 64, ..DemoData::default() };
    data.write(path("data")).unwrap();
    let (train, out) = (path("data/train"), path("run"));
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_bandfeed")).args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut words = vec!["train", "--train", &train, "--out", &out, "--schedule", "auto-prog"];
    words.extend("--base 32 --patch 4 --batch-size 12 --epochs 2 --dim 16 --depth 4 --heads 2 --workers 1".split(' '));
    let [table, told] = run(&words);
    for words in
        ["growth     new_only", "for now 2 of the 4 blocks", "2 of 4 blocks", "grown from 2 to 3 blocks (new_only)"]
    {
        assert!(told.contains(words), "`{words}` is missing in:\n{told}");
    }
    let head =
        table.lines().find(|line| line.contains("stage") && line.contains("depth")).expect("the table has depth");
    assert!(head.contains("TFLOPs"), "{head}");
    let log = std::fs::read_to_string(folder.path().join("run/log.jsonl")).unwrap();
    let events: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let growths: Vec<_> = events.iter().filter(|event| event["event"] == "growth").collect();
    assert_eq!(growths.len(), 2);
    assert_eq!((&growths[0]["before"], &growths[0]["after"]), (&2.into(), &3.into()));
    assert!(growths.iter().all(|g| g["loss_before"].is_f64() && g["loss_after"].is_f64()), "{growths:?}");
    let first = events.iter().find(|event| event["event"] == "step").unwrap();
    assert_eq!((&first["depth"], &first["tokens"]), (&2.into(), &16.into()));
    let files = std::fs::read_dir(folder.path().join("run/tensorboard")).unwrap();
    let board: Vec<u8> = files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    for tag in ["model/depth", "model/tokens", "model/flops", "growth/loss_before", "growth/loss_after"] {
        assert!(board.windows(tag.len()).any(|part| part == tag.as_bytes()), "{tag}");
    }
    let timeline = folder.path().join("run/growth.png");
    assert!(table.contains(&format!("growth: {}", timeline.display())) && timeline.exists(), "{table}");
    std::fs::remove_file(&timeline).unwrap();
    // The folder's own settings are enough to go on, here at the end. The timeline comes from the log.
    run(&["train", "--out", &out, "--resume"]);
    assert!(timeline.exists() && folder.path().join("run/growth.svg").exists());
    let pictures = path("plots");
    let [text, _] = run(&["schedule", "auto_prog", "--layers", "18", "--out", &pictures]);
    assert!(text.contains("depth") && text.contains("drop path") && text.contains("erasing"), "{text}");
    assert!(folder.path().join("plots/schedule-auto_prog.png").exists());
}
