//! Weights that leave a run and come into one: export, import, evaluation by the program, and timm's opinion of them.
#![cfg(all(feature = "train", feature = "cli"))]

use bandfeed::loader::Loader;
use bandfeed::recipe::Recipe;
use bandfeed::schedule::{Options, Schedule};
use bandfeed::train::{Checkpoints, Device, Run, TrainConfig, Trainer, VitConfig, Weights, fit};
use bandfeed::{Error, source};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;

const CLASSES: [&str; 6] = ["ant", "bee", "crab", "dove", "eel", "fox"];

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

fn bandfeed(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bandfeed")).args(words).output().expect("the program starts")
}

fn succeeds(words: &[&str]) -> String {
    let output = bandfeed(words);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?}\n{out}{err}");
    format!("{out}{err}")
}

fn fails(words: &[&str]) -> String {
    let output = bandfeed(words);
    assert!(!output.status.success(), "{words:?} should fail: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// PNGs of noise over a gradient of the class's own, in a folder for each class.
fn images(folder: &Path, classes: &[&str], each: u32, side: u32) {
    let mut noise = 1u32;
    for (label, class) in classes.iter().enumerate() {
        std::fs::create_dir_all(folder.join(class)).unwrap();
        for number in 0..each {
            let picture = image::RgbImage::from_fn(side, side, |x, y| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let along = [x, y, x + y, side - 1 - x, side - 1 - y, 2 * side - 2 - x - y][label % 6];
                let value = along * 127 / (2 * side) + (noise >> 25);
                image::Rgb([value as u8, (value / 2) as u8, (255 - value) as u8])
            });
            picture.save(folder.join(class).join(format!("{number}.png"))).unwrap();
        }
    }
}

fn model() -> VitConfig {
    VitConfig {
        dim: 24,
        depth: 2,
        heads: 2,
        patch: 8,
        mlp_ratio: 2.0,
        drop_path: 0.0,
        layer_scale: Some(0.5),
        ..VitConfig::tiny(CLASSES.len())
    }
}

/// A run's own mean, std and crop ratio, none of which is the standard one.
fn recipe() -> Recipe {
    Recipe { mean: [0.5, 0.25, 0.4], std: [0.25, 0.5, 0.3], eval_crop_ratio: 1.0, ..Recipe::default() }
}

/// Trains for a moment on `images`, and gives the last checkpoint.
fn trained(images: &Path, folder: &Path) -> PathBuf {
    let options = Options { base: 32, patch: 8, batch_size: 12, epochs: 6.0, ..Options::default() };
    let schedule = Schedule::named("efficient_train_pp", &options).unwrap();
    let data = serde_json::json!({ "schedule": schedule, "recipe": recipe() }).to_string();
    let config = TrainConfig { ema: vec![0.9], data, chunk: 4, ..TrainConfig::new(model()) };
    let mut trainer = Trainer::new(config, schedule.stages()[0].band, 2, &Device::flex()).unwrap();
    let source = source::open(text(images)).unwrap();
    let mut loader = Loader::builder(source, schedule).recipe(recipe()).workers(1).build().unwrap();
    let (stop, checkpoints) = (AtomicBool::new(false), Checkpoints::new(folder));
    let run = Run { validation: None, checkpoints: Some(checkpoints.clone()), stop: &stop, watch: &mut () };
    fit(&mut trainer, &mut loader, run).unwrap();
    checkpoints.last()
}

fn host(matrix: burn::module::Param<burn::tensor::Tensor<2>>) -> Vec<f32> {
    matrix.val().into_data().try_to_vec().unwrap()
}

/// Name, label and scores of each line.
fn logits(path: &Path) -> Vec<(String, usize, Vec<f64>)> {
    let line = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let scores = value["logits"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        (value["name"].as_str().unwrap().to_owned(), value["label"].as_u64().unwrap() as usize, scores)
    };
    std::fs::read_to_string(path).unwrap().lines().map(line).collect()
}

#[test]
fn a_checkpoint_and_its_export_have_the_same_scores_and_figures() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    images(&at("images"), &CLASSES, 4, 40);
    let checkpoint = trained(&at("images"), &at("run"));
    let said = succeeds(&["export", text(&checkpoint), "-o", text(&at("model.safetensors"))]);
    assert!(said.contains("24 wide, 2 deep, 2 heads, patch 8, 6 classes, for images of 32 px"), "{said}");

    let eval = |weights: &Path, more: &[&str]| {
        let (images, scores) = (at("images"), at("scores.jsonl"));
        let words = ["eval", text(weights), text(&images), "--logits", text(&scores)];
        (succeeds(&[&words[..], more].concat()), logits(&scores))
    };
    let out = at("eval");
    let (said, scores) = eval(&checkpoint, &["--band", "32,16", "--out", text(&out)]);
    assert!(said.contains("top-1") && said.contains("most often taken for") && !said.contains("note:"), "{said}");
    let (_, exported) = eval(&at("model.safetensors"), &[]);
    assert_eq!(exported, scores, "bit for bit, with the transform and the classes of the run");
    let (_, mean) = eval(&checkpoint, &["--ema", "0"]);
    assert_ne!(mean, scores);
    succeeds(&["export", text(&checkpoint), "--ema", "0", "-o", text(&at("mean.safetensors"))]);
    assert_eq!(eval(&at("mean.safetensors"), &[]).1, mean);

    // The figures, from the scores.
    let best = |row: &[f64]| (0..row.len()).reduce(|a, b| if row[b] > row[a] { b } else { a }).unwrap();
    let right = scores.iter().filter(|(_, label, row)| best(row) == *label).count();
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(at("eval/eval.json")).unwrap()).unwrap();
    let passes = record["passes"].as_array().unwrap();
    assert_eq!(passes.iter().map(|pass| pass["band"].as_u64().unwrap()).collect::<Vec<_>>(), [32, 16]);
    assert_eq!(passes[0]["images"], 24);
    assert!((passes[0]["top1"].as_f64().unwrap() - right as f64 / 24.0).abs() < 1e-12);
    let loss: f64 = scores.iter().map(|(_, l, row)| row.iter().map(|s| s.exp()).sum::<f64>().ln() - row[*l]).sum();
    assert!((passes[0]["loss"].as_f64().unwrap() - loss / 24.0).abs() < 1e-5);
    let shares: Vec<f64> = record["classes"].as_array().unwrap().iter().map(|c| c["top1"].as_f64().unwrap()).collect();
    assert!(shares.len() == 6 && shares.is_sorted(), "{shares:?}");
    let csv = std::fs::read_to_string(at("eval/confusion.csv")).unwrap();
    assert!(csv.starts_with("true class,ant,bee,"), "{csv}");
    let row: u64 = csv.lines().nth(2).unwrap().split(',').skip(1).map(|n| n.parse::<u64>().unwrap()).sum();
    assert_eq!(row, 4, "{csv}");
    assert!(image::open(at("eval/confusion.png")).unwrap().width() >= 760);

    // The position embedding on another grid.
    succeeds(&["export", text(&checkpoint), "--band", "48", "-o", text(&at("larger.safetensors"))]);
    let larger = Weights::read(&at("larger.safetensors"), None, None, &Device::flex()).unwrap();
    assert_eq!((larger.model.band(), larger.config.layer_scale), (48, Some(0.5)));
}

#[test]
fn classes_go_by_their_names_and_bad_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    images(&at("images"), &CLASSES, 3, 40);
    let checkpoint = trained(&at("images"), &at("run"));
    // Two of the classes only: their labels are 0 and 1 in the folder, 2 and 4 in the model.
    images(&at("few"), &["crab", "eel"], 3, 40);
    std::fs::write(at("few/eel/broken.png"), b"no picture").unwrap();
    let scores = at("scores.jsonl");
    let said = succeeds(&["eval", text(&checkpoint), text(&at("few")), "--logits", text(&scores)]);
    assert!(said.contains("2 of the model's 6 classes are in the images"), "{said}");
    assert!(said.contains("1 files gave no image") && said.contains("broken.png"), "{said}");
    let labels: Vec<usize> = logits(&scores).into_iter().map(|(_, label, _)| label).collect();
    assert_eq!(labels, [2, 2, 2, 4, 4, 4]);
    let said = fails(&["eval", text(&checkpoint), text(&at("few")), "--on-bad-file", "fail"]);
    assert!(said.contains("broken.png"), "{said}");

    images(&at("other"), &["ant", "gnu"], 1, 40);
    let said = fails(&["eval", text(&checkpoint), text(&at("other"))]);
    assert!(said.contains("the model has no class `gnu`") && said.contains("`ant`"), "{said}");
    let said = fails(&["eval", text(&checkpoint), text(&at("few")), "--ema", "3"]);
    assert!(said.contains("no running mean 3") && said.contains("[0.9]"), "{said}");
    let said = fails(&["eval", text(&checkpoint), text(&at("few")), "--band", "30"]);
    assert!(said.contains("30 pixels cannot be cut into patches of 8"), "{said}");
    let said = fails(&["export", text(&checkpoint), "-o", text(&checkpoint)]);
    assert!(said.contains("is the checkpoint itself"), "{said}");
}

#[test]
fn a_run_begins_with_the_weights_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    images(&at("images"), &CLASSES, 3, 40);
    let checkpoint = trained(&at("images"), &at("run"));
    succeeds(&["export", text(&checkpoint), "-o", text(&at("model.safetensors"))]);
    let fresh = |model: VitConfig, band| Trainer::new(TrainConfig::new(model), band, 1, &Device::flex()).unwrap();
    let values = |trainer: &Trainer| {
        let path = at("values.safetensors");
        trainer.save(&path, &()).unwrap();
        Weights::read(&path, None, None, &Device::flex()).unwrap()
    };
    let own = Weights::read(&checkpoint, None, None, &Device::flex()).unwrap();

    for from in [&checkpoint, &at("model.safetensors")] {
        let mut same = fresh(model(), 32);
        let init = same.init_from(from, None).unwrap();
        assert_eq!((init.other_classes, init.interpolated_from), (None, None));
        let found = values(&same);
        assert_eq!(host(found.model.head.weight.clone()), host(own.model.head.weight.clone()));
        assert_eq!(host(found.model.blocks[1].key.weight.clone()), host(own.model.blocks[1].key.weight.clone()));

        let mut other = fresh(VitConfig { classes: 4, ..model() }, 16);
        let head = host(other.model().head.weight.clone());
        let init = other.init_from(from, None).unwrap();
        assert_eq!((init.other_classes, init.interpolated_from), (Some(6), Some(32)));
        assert_eq!((host(other.model().head.weight.clone()), other.model().band()), (head, 16));
        assert_eq!(host(other.model().embed.weight.clone()), host(own.model.embed.weight.clone()));
    }
    // As many classes of other names have a head of their own.
    let mut renamed = fresh(model(), 32);
    renamed.set_classes(CLASSES.iter().map(|name| format!("{name}s")).collect());
    assert_eq!(renamed.init_from(&checkpoint, None).unwrap().other_classes, Some(6));

    let refusal = |model: VitConfig| match fresh(model, 32).init_from(&checkpoint, None) {
        Err(Error::Checkpoint { reason, .. }) => reason,
        other => panic!("expected a refusal, got {other:?}"),
    };
    assert!(refusal(VitConfig { dim: 32, ..model() }).contains("dim 24, the run's has 32"));
    assert!(refusal(VitConfig { depth: 3, ..model() }).contains("depth 2, the run's has 3"));
    assert!(refusal(VitConfig { layer_scale: None, ..model() }).contains("layer scale to a branch 1"));
}

/// The interpreter that has timm. Asked for and not there is a failure.
fn python(words: &[&str]) -> String {
    let python =
        std::env::var("BANDFEED_PYTHON").expect("BANDFEED_PYTHON names a Python with torch, timm and safetensors");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/timm_logits.py");
    let output = Command::new(&python).arg(script).args(words).output().unwrap_or_else(|e| panic!("{python}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?}\n{out}{err}");
    out.trim().to_owned()
}

#[test]
#[ignore = "needs Python with timm"]
fn timm_reads_an_export_strictly_and_gives_the_same_scores() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (pictures, model, scores) = (at("images"), at("model.safetensors"), at("scores"));
    images(&pictures, &CLASSES, 4, 32);
    let checkpoint = trained(&pictures, &at("run"));
    for ema in [&[][..], &["--ema", "0"]] {
        succeeds(&[&["export", text(&checkpoint), "-o", text(&model)][..], ema].concat());
        let eval = ["eval", text(&checkpoint), text(&pictures), "--logits", text(&scores)];
        succeeds(&[&eval[..], ema].concat());
        println!("export of a run {ema:?}: {}", python(&["compare", text(&model), text(&scores)]));
    }

    let (pictures, checkpoint) = (at("large"), at("deit.safetensors"));
    images(&pictures, &CLASSES, 1, 224);
    for (size, config) in [("tiny", VitConfig::tiny(6)), ("small", VitConfig::small(6)), ("base", VitConfig::base(6))] {
        let trainer = Trainer::new(TrainConfig::new(config), 224, 2, &Device::flex()).unwrap();
        trainer.save(&checkpoint, &()).unwrap();
        succeeds(&["export", text(&checkpoint), "-o", text(&model)]);
        succeeds(&["eval", text(&model), text(&pictures), "--crop-ratio", "1", "--logits", text(&scores)]);
        let name = format!("deit_{size}_patch16_224");
        println!("{name}: {}", python(&["compare", text(&model), text(&scores), &name]));
    }
}

#[test]
#[ignore = "needs Python with timm"]
fn weights_that_timm_made_give_timms_scores_here() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    images(&at("small"), &CLASSES, 3, 32);
    images(&at("large"), &CLASSES, 1, 224);
    let own =
        r#"{"img_size":32,"patch_size":8,"embed_dim":24,"depth":3,"num_heads":2,"num_classes":6,"init_values":0.3"#;
    let cases = [
        (format!("{own}}}"), "small", None),
        (format!(r#"{own},"save_as":"float16"}}"#), "small", None),
        (format!(r#"{own},"save_as":"bfloat16"}}"#), "small", None),
        (r#"{"num_classes":6}"#.into(), "large", Some("deit_tiny_patch16_224")),
    ];
    for (kwargs, images, name) in cases {
        let (file, scores) = (at("timm.safetensors"), at("scores"));
        let named = |words: &[&str]| python(&words.iter().copied().chain(name).collect::<Vec<_>>());
        named(&["make", text(&file), &kwargs]);
        let said = succeeds(&["eval", text(&file), text(&at(images)), "--crop-ratio", "1", "--logits", text(&scores)]);
        assert!(said.contains("does not tell the names of its classes"), "{said}");
        println!("{name:?} {kwargs}: {}", named(&["score", text(&file), &kwargs, text(&scores)]));
    }
}
