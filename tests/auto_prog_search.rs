//! AutoProg's search in a run: budget, choices, the loader's stages, and going on in its middle bit for bit.
#![cfg(feature = "train")]

use bandfeed::demo_data::DemoData;
use bandfeed::loader::{Loader, State};
use bandfeed::schedule::{Candidate, LearningRate, Options, Prog, Schedule, Search, SearchCost, Shrink, TokensBy};
use bandfeed::train::{
    AutoProg, Checkpoints, Device, GrowthConfig, GrowthMoments, MoGrow, Pass, Run, SearchReport, StepReport,
    TrainConfig, Trainer, Validation, VitConfig, Watch, fit_with_search,
};
use bandfeed::{Batch, Result, Stage};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Depths 2, 3, 3, 4 at 16, 24, 24 or 32, and 32 pixels; 72 images, in growth stages of two passes, of which one searches.
fn schedule(tokens_by: TokensBy, search: Search) -> Schedule {
    schedule_of(tokens_by, search, 6, 1)
}

/// The same in steps of `batch_size` images, at the base size made of `base_parts` batches.
fn schedule_of(tokens_by: TokensBy, search: Search, batch_size: usize, base_parts: usize) -> Schedule {
    let prog = Prog { depth: 4, tokens_by, ..Prog::default() };
    let options = Options { base: 32, patch: 4, batch_size, base_parts, epochs: 8.0, prog, ..Options::default() };
    Schedule::auto_prog(&options).unwrap().searched(search).unwrap()
}

fn flops() -> Search {
    Search { epochs: 1.0, probe: 12, cost: SearchCost::Flops, tokens: true }
}

fn data() -> Arc<dyn bandfeed::source::Source> {
    let data = DemoData { train_per_class: 6, val_per_class: 1, side: 64, ..DemoData::default() };
    Arc::new(data.generate().unwrap().0)
}

fn loader(schedule: &Schedule, state: Option<State>) -> Loader {
    let builder = Loader::builder(data(), schedule.clone()).seed(9).workers(1);
    match state {
        Some(state) => builder.resume(state),
        None => builder,
    }
    .build()
    .unwrap()
}

fn config(mogrow: MoGrow, moments: GrowthMoments) -> TrainConfig {
    let model =
        VitConfig { dim: 16, depth: 4, heads: 2, patch: 4, mlp_ratio: 2.0, ..VitConfig::tiny(data().classes().len()) };
    TrainConfig {
        learning_rate: LearningRate { peak: 3e-3, min: 1e-5, warmup: 0.0 },
        seed: 9,
        chunk: 4,
        ema: vec![0.9, 0.5],
        growth: GrowthConfig { mogrow, moments },
        ..TrainConfig::new(model)
    }
}

fn probe(stage: &Stage) -> Result<Pass<'static>> {
    Ok(Box::new(Loader::builder(data(), Schedule::fixed(stage.clone())).seed(1).workers(1).build()?))
}

/// Images to evaluate by.
fn validation(stage: &Stage) -> Result<Pass<'static>> {
    Ok(Box::new(Loader::evaluation(data(), stage.clone()).workers(1).build()?))
}

/// Keeps what the run tells, and stops it before a step, or where the pass over the validation images at its end would begin.
struct Notes<'a> {
    stop: &'a AtomicBool,
    at: StopAt,
    steps: Vec<StepReport>,
    searches: Vec<SearchReport>,
    /// Steps taken, blocks and side of the model before each evaluation.
    evaluated: Vec<(u64, Candidate)>,
    /// Stage and images of each batch.
    batches: Vec<(Stage, Vec<u32>)>,
}

impl Watch for Notes<'_> {
    fn batch(&mut self, batch: &Batch, _trainer: &Trainer) {
        self.batches.push((batch.stage.clone(), batch.indices.clone()));
        if matches!(self.at, StopAt::Batch(number) if number == batch.step) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn step(&mut self, report: &StepReport) {
        self.steps.push(report.clone());
        if matches!(self.at, StopAt::Step(before) if before == report.step + 1) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn epoch(&mut self, trainer: &Trainer) {
        let size = Candidate { side: trainer.model().band(), depth: trainer.depth() as u32 };
        self.evaluated.push((trainer.steps(), size));
        if matches!(self.at, StopAt::Evaluation(steps) if steps == trainer.steps()) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn searched(&mut self, report: &SearchReport) {
        self.searches.push(report.clone());
    }
}

/// Where a run is to stop.
#[derive(Debug, Clone, Copy)]
enum StopAt {
    /// Before the step of this number.
    Step(u64),
    /// After the step that the batch of this number is of, asked for before that is full.
    Batch(u64),
    /// Before the pass over the validation images after so many steps.
    Evaluation(u64),
    Nowhere,
}

fn go_on<'a>(
    trainer: &mut Trainer,
    schedule: &Schedule,
    state: Option<State>,
    folder: &Path,
    stop: &'a AtomicBool,
    at: StopAt,
    is_evaluated: bool,
) -> Notes<'a> {
    let mut notes =
        Notes { stop, at, steps: Vec::new(), searches: Vec::new(), evaluated: Vec::new(), batches: Vec::new() };
    let checkpoints = Some(Checkpoints { every: None, ..Checkpoints::new(folder) });
    let (mut probe, mut pass) = (|stage: &Stage| probe(stage), |stage: &Stage| validation(stage));
    let validation = is_evaluated.then_some(&mut pass as &mut dyn Validation);
    let run = Run { validation, checkpoints, stop, watch: &mut notes };
    fit_with_search(trainer, &mut loader(schedule, state), run, AutoProg { schedule, probe: &mut probe }).unwrap();
    notes
}

fn saved(trainer: &Trainer) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    trainer.save(&path, &()).unwrap();
    let bytes = std::fs::read(path).unwrap();
    // Tensors alone: the text has times.
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + length..].to_vec()
}

/// A search without what the clock says.
fn timeless(searches: &[SearchReport]) -> Vec<SearchReport> {
    let mut searches = searches.to_vec();
    searches.iter_mut().for_each(|search| search.seconds = 0.0);
    searches
}

fn start(schedule: &Schedule, config: &TrainConfig) -> Trainer {
    Trainer::for_schedule(config.clone(), schedule, 2, &Device::flex()).unwrap()
}

#[test]
fn a_search_takes_part_of_its_stage_and_the_loader_goes_on_with_the_choice() {
    let schedule = schedule(TokensBy::Band, flops());
    let config = config(MoGrow::NewOnly, GrowthMoments::Carry);
    let (stop, folder) = (AtomicBool::new(false), tempfile::tempdir().unwrap());
    let mut trainer = start(&schedule, &config);
    assert_eq!((trainer.depth(), trainer.model().band()), (4, 32));
    let notes = go_on(&mut trainer, &schedule, None, folder.path(), &stop, StopAt::Nowhere, false);
    // Eight passes over 72 images in batches of 6, as many as without a search, and in the order of the seed.
    assert_eq!(notes.batches.len(), 96);
    let plain: Vec<Vec<u32>> = loader(&schedule, None).map(|batch| batch.unwrap().indices).collect();
    assert_eq!(notes.batches.iter().map(|(_, indices)| indices.clone()).collect::<Vec<_>>(), plain);
    let searches = &notes.searches;
    assert_eq!(searches.first().map(|s| (s.step, s.stage, s.candidates.len())), Some((12, 0, 9)));
    assert_eq!(trainer.history().searches, *searches);
    let mut before = None;
    for k in 0..4 {
        let candidates = schedule.candidates(k, before);
        let search = searches.iter().find(|s| s.stage == k);
        assert_eq!(search.is_some(), candidates.len() > 1, "stage {k}");
        let choice = search.map_or(candidates[0], |search| search.choice());
        for step in &notes.steps[24 * k..24 * (k + 1)] {
            let (stage, _) = &notes.batches[step.step as usize];
            let depth = stage.growth.depth.unwrap().blocks;
            let searching = search.is_some_and(|search| step.step < search.step);
            assert_eq!((stage.growth.search, step.search, stage.index), (searching, searching, k));
            let own = Candidate { side: (step.tokens.isqrt() * 4) as u32, depth: step.depth as u32 };
            if searching {
                let most = |value: fn(&Candidate) -> u32| candidates.iter().map(value).max().unwrap();
                assert_eq!((stage.side(), depth), (most(|c| c.side), most(|c| c.depth)));
                assert!(candidates.contains(&own), "{own} of {candidates:?}");
            } else {
                assert_eq!((own, stage.band, depth), (choice, choice.side, choice.depth));
            }
            assert_eq!(step.flops, config.model.training_flops(step.depth, step.tokens) * 6.0);
        }
        if let Some(search) = search {
            assert_eq!(search.step, 24 * k as u64 + 12);
            assert_eq!((search.candidates.clone(), search.losses.len()), (candidates, 4));
            assert!(search.losses.iter().flatten().all(|loss| loss.is_finite()) && search.flops > 0.0);
        }
        before = Some(choice);
    }
    assert_eq!((trainer.depth(), trainer.model().band()), (4, 32));
    let parts: std::collections::BTreeSet<_> =
        notes.steps.iter().filter(|s| s.search).map(|s| (s.depth, s.tokens)).collect();
    assert!(parts.len() > 3, "steps of the search differ: {parts:?}");
}

#[test]
fn a_run_goes_on_in_the_middle_of_a_search_bit_for_bit() {
    let schedule = schedule(TokensBy::Band, flops());
    let folder = tempfile::tempdir().unwrap();
    // In the supernet, right before and after a choice, before a growth, and after the last.
    for (mogrow, moments, cuts) in
        [(MoGrow::NewOnly, GrowthMoments::Carry, [3, 12, 13, 31]), (MoGrow::All, GrowthMoments::Drop, [19, 24, 36, 75])]
    {
        let config = config(mogrow, moments);
        let stop = AtomicBool::new(false);
        let mut whole = start(&schedule, &config);
        let notes = go_on(&mut whole, &schedule, None, folder.path(), &stop, StopAt::Nowhere, false);
        for cut in cuts {
            let stop = AtomicBool::new(false);
            let mut first = start(&schedule, &config);
            let one = go_on(&mut first, &schedule, None, folder.path(), &stop, StopAt::Step(cut), false);
            assert_eq!(first.steps(), cut);
            let last = folder.path().join("last.safetensors");
            let (mut second, state) = Trainer::load::<State>(&last, config.clone(), 1, &Device::flex()).unwrap();
            let stop = AtomicBool::new(false);
            let two = go_on(&mut second, &schedule, Some(state), folder.path(), &stop, StopAt::Nowhere, false);
            let both: Vec<_> = timeless(&one.searches).into_iter().chain(timeless(&two.searches)).collect();
            assert_eq!(both, timeless(&notes.searches), "{mogrow} from step {cut}");
            assert_eq!(second.history().losses, whole.history().losses, "{mogrow} from step {cut}");
            assert_eq!(saved(&second), saved(&whole), "{mogrow} from step {cut}");
        }
    }
}

#[test]
fn where_a_search_ends_does_not_hang_on_where_steps_end() {
    // Steps of fifteen images, at the base size in three batches: a pass over seventy ends within a step, and so do the first
    // search and looks in it. First within a pass, then with it.
    for epochs in [0.7, 1.0] {
        let schedule = schedule_of(TokensBy::Band, Search { epochs, ..flops() }, 15, 3);
        let config = config(MoGrow::NewOnly, GrowthMoments::Carry);
        let folder = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(false);
        let mut whole = start(&schedule, &config);
        let notes = go_on(&mut whole, &schedule, None, folder.path(), &stop, StopAt::Nowhere, true);
        let first = &notes.searches[0];
        let late = first.progress - epochs / 8.0;
        assert!((-1e-9..0.01).contains(&late), "{first:?}");
        assert!(notes.steps[first.step as usize - 1].images < 15, "it ends the step: {first:?}");
        // Steps in a search, with a choice, and in a growth; within a step; passes over the validation images that a stop gave up.
        let evaluations = whole.history().evaluations.iter().take(2).map(|e| StopAt::Evaluation(e.step));
        let cuts = [3, 4, 9].map(StopAt::Step).into_iter().chain([2, 13].map(StopAt::Batch)).chain(evaluations);
        for at in cuts.skip(if epochs < 1.0 { 3 } else { 0 }) {
            let stop = AtomicBool::new(false);
            let mut first = start(&schedule, &config);
            go_on(&mut first, &schedule, None, folder.path(), &stop, at, true);
            assert!(first.steps() < whole.steps(), "{at:?} was not met");
            let last = folder.path().join("last.safetensors");
            let (mut second, state) = Trainer::load::<State>(&last, config.clone(), 1, &Device::flex()).unwrap();
            let stop = AtomicBool::new(false);
            go_on(&mut second, &schedule, Some(state), folder.path(), &stop, StopAt::Nowhere, true);
            let history = second.history();
            assert_eq!(timeless(&history.searches), timeless(&notes.searches), "{at:?}");
            assert_eq!(history.losses, whole.history().losses, "{at:?}");
            let scores = |trainer: &Trainer| {
                let all = trainer.history().evaluations.iter();
                all.map(|e| (e.step, e.band, e.top1.to_bits(), e.loss.to_bits())).collect::<Vec<_>>()
            };
            assert!(scores(&whole).len() > 3);
            assert_eq!(scores(&second), scores(&whole), "{at:?}");
            assert_eq!(saved(&second), saved(&whole), "{at:?}");
        }
    }
}

#[test]
fn an_evaluation_with_a_choice_is_of_the_chosen_network() {
    // The search is the stage's first pass, at whose end there is an evaluation.
    let schedule = schedule(TokensBy::Band, flops());
    let (stop, folder) = (AtomicBool::new(false), tempfile::tempdir().unwrap());
    let mut trainer = start(&schedule, &config(MoGrow::NewOnly, GrowthMoments::Carry));
    let notes = go_on(&mut trainer, &schedule, None, folder.path(), &stop, StopAt::Nowhere, true);
    let bands: Vec<_> = trainer.history().evaluations.iter().map(|e| (e.step, e.band)).collect();
    assert!(!notes.searches.is_empty());
    for search in &notes.searches {
        assert!(bands.contains(&(search.step, search.choice().side)), "{search:?} {bands:?}");
        assert!(notes.evaluated.contains(&(search.step, search.choice())), "{search:?} {:?}", notes.evaluated);
    }
}

#[test]
fn a_search_that_ends_with_its_stage_is_decided_all_the_same() {
    // 24 steps a stage; the last look is due 0.12 steps before its end.
    let schedule = schedule(TokensBy::Band, Search { epochs: 1.99, ..flops() });
    let (stop, folder) = (AtomicBool::new(false), tempfile::tempdir().unwrap());
    let mut trainer = start(&schedule, &config(MoGrow::NewOnly, GrowthMoments::Carry));
    let notes = go_on(&mut trainer, &schedule, None, folder.path(), &stop, StopAt::Nowhere, false);
    let mut before = None;
    for k in 0..3 {
        let candidates = schedule.candidates(k, before);
        let search = notes.searches.iter().find(|search| search.stage == k);
        assert_eq!(
            search.map(|s| (s.step, &s.candidates)),
            (candidates.len() > 1).then_some((24 * (k as u64 + 1), &candidates))
        );
        before = Some(search.map_or(candidates[0], SearchReport::choice));
    }
    assert_eq!((trainer.depth(), trainer.model().band(), notes.steps.len()), (4, 32, 96));
}

#[test]
fn what_was_learnt_is_saved_before_a_search_fails() {
    // Looks are due after 3, 6, 9 and 12 steps of six images; of ten in two batches the second and the third come within a step.
    for (batch_size, base_parts, begins) in [(6, 1, 6), (10, 2, 3)] {
        let schedule = schedule_of(TokensBy::Band, flops(), batch_size, base_parts);
        let config = config(MoGrow::NewOnly, GrowthMoments::Carry);
        let folder = tempfile::tempdir().unwrap();
        let mut trainer = start(&schedule, &config);
        let mut passes = 0;
        let mut failing = |stage: &Stage| {
            passes += 1;
            let error = bandfeed::Error::Config { what: "probe".into(), reason: "the disk is gone".into() };
            if passes == 2 { Err(error) } else { probe(stage) }
        };
        let stop = AtomicBool::new(false);
        let checkpoints = Some(Checkpoints { every: None, ..Checkpoints::new(folder.path()) });
        let run = Run { validation: None, checkpoints, stop: &stop, watch: &mut () };
        let search = AutoProg { schedule: &schedule, probe: &mut failing };
        let error = fit_with_search(&mut trainer, &mut loader(&schedule, None), run, search).unwrap_err();
        assert!(error.to_string().contains("the disk is gone"), "{error}");
        assert_eq!(trainer.steps(), begins);
        let last = folder.path().join("last.safetensors");
        let (mut second, state) = Trainer::load::<State>(&last, config.clone(), 1, &Device::flex()).unwrap();
        assert_eq!(second.steps(), begins);
        let mut whole = start(&schedule, &config);
        let stop = AtomicBool::new(false);
        go_on(&mut second, &schedule, Some(state), folder.path(), &stop, StopAt::Nowhere, false);
        go_on(&mut whole, &schedule, None, folder.path(), &stop, StopAt::Nowhere, false);
        assert_eq!(saved(&second), saved(&whole));
    }
}

#[test]
fn whole_images_are_searched_by_what_the_trainer_shrinks_them_to() {
    for tokens_by in [TokensBy::Resize, TokensBy::Patch] {
        let schedule = schedule(tokens_by, flops());
        let (stop, folder) = (AtomicBool::new(false), tempfile::tempdir().unwrap());
        let mut trainer = start(&schedule, &config(MoGrow::Copy, GrowthMoments::Carry));
        let notes = go_on(&mut trainer, &schedule, None, folder.path(), &stop, StopAt::Nowhere, false);
        assert!(notes.batches.iter().all(|(stage, _)| stage.band == 32));
        for search in &notes.searches {
            let side = search.choice().side;
            let (stage, _) = &notes.batches[search.step as usize];
            let expected = match (side, tokens_by) {
                (32, _) => None,
                (side, TokensBy::Patch) => Some(Shrink::Patch(side)),
                (side, _) => Some(Shrink::Resize(side)),
            };
            assert_eq!(stage.growth.shrink, expected);
        }
        assert!(!notes.searches.is_empty());
    }
}

#[test]
fn bands_of_efficient_train_stay_while_depth_is_searched() {
    let options = Options { base: 32, patch: 4, batch_size: 6, epochs: 6.0, ..Options::default() };
    let plain = Schedule::named("efficient_train_pp", &options).unwrap();
    let search = Search { epochs: 0.5, tokens: false, ..flops() };
    let schedule = plain.deepening(4, 0.5).unwrap().searched(search).unwrap();
    let (stop, folder) = (AtomicBool::new(false), tempfile::tempdir().unwrap());
    let mut trainer = start(&schedule, &config(MoGrow::NewOnly, GrowthMoments::Carry));
    let notes = go_on(&mut trainer, &schedule, None, folder.path(), &stop, StopAt::Nowhere, false);
    for ((stage, _), step) in notes.batches.iter().zip(&notes.steps) {
        let own = schedule.at(step.progress);
        assert_eq!((stage.index, stage.band), (own.index, own.band));
        // The stages' own strength, but for the search's.
        let magnitude = if stage.growth.search { schedule.stages().last().unwrap().magnitude } else { own.magnitude };
        assert_eq!(stage.magnitude, magnitude);
    }
    assert_eq!(notes.searches[0].candidates.iter().map(|c| c.depth).collect::<Vec<_>>(), [2, 3, 4]);
    assert!(notes.searches[0].candidates.iter().all(|c| c.side == notes.batches[0].0.band));
}

#[test]
fn measured_time_is_a_cost_and_a_plain_schedule_is_refused() {
    let timed = schedule(TokensBy::Band, Search { cost: SearchCost::Time, ..flops() });
    let (stop, folder) = (AtomicBool::new(false), tempfile::tempdir().unwrap());
    let config = config(MoGrow::NewOnly, GrowthMoments::Carry);
    let mut trainer = start(&timed, &config);
    let notes = go_on(&mut trainer, &timed, None, folder.path(), &stop, StopAt::Step(13), false);
    assert!(notes.searches[0].costs.iter().all(|seconds| *seconds > 0.0 && *seconds < 60.0));
    let plain = Schedule::auto_prog(&Options {
        base: 32,
        patch: 4,
        batch_size: 6,
        prog: Prog { depth: 4, ..Prog::default() },
        ..Options::default()
    });
    let plain = plain.unwrap();
    let mut probe = |stage: &Stage| probe(stage);
    let stop = AtomicBool::new(true);
    let run = Run { validation: None, checkpoints: None, stop: &stop, watch: &mut () };
    let search = AutoProg { schedule: &plain, probe: &mut probe };
    let error = fit_with_search(&mut start(&plain, &config), &mut loader(&plain, None), run, search).unwrap_err();
    assert!(error.to_string().contains("`auto_prog` is not searched; use fit"), "{error}");
}
