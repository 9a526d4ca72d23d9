//! The curriculum search on toys whose best curriculum is known.
#![cfg(feature = "train")]

use bandfeed::train::curriculum::{Finished, Plan, Score, Search, Trial, Trials};
use bandfeed::{Error, Result};
use std::collections::BTreeMap;

const BANDS: [u32; 3] = [32, 64, 96];

fn plan(stages: usize) -> Plan {
    let magnitudes = (0..stages).map(|i| 9.0 * i as f64 / (stages - 1) as f64).collect();
    Plan { base: 96, candidates: vec![64, 32], magnitudes, epochs: 10.0, fine_tune: 0.04 }
}

/// What a stage at `band` makes of a model that knows `known`: a band of 32 teaches fast, up to 2; one of 64 slower, up to 5;
/// the base slowest and for ever.
fn learn(known: f64, band: u32) -> f64 {
    let (gain, most) = match band {
        32 => (2.0, 2.0),
        64 => (1.5, 5.0),
        96 => (1.0, f64::INFINITY),
        _ => panic!("{band} is no candidate"),
    };
    known.max(f64::min(most, known + gain))
}

/// Keeps what was learnt by the bands it was learnt with.
#[derive(Default)]
struct Toy {
    kept: BTreeMap<Vec<u32>, f64>,
    /// All trials trained, in their order.
    trained: Vec<Trial>,
    /// Asks for a stop in the `n`-th scoring.
    stop_at: Option<usize>,
    scored: usize,
    /// What a search wrote down.
    log: Vec<Finished>,
    /// Bands that diverge.
    diverging: Vec<u32>,
}

impl Trials for Toy {
    fn train(&mut self, trial: &Trial) -> Result<Option<f64>> {
        let known = match trial.before() {
            [] => 0.0,
            before => *self.kept.get(before).expect("a trial goes on from one that was kept"),
        };
        self.trained.push(trial.clone());
        if self.diverging.contains(&trial.band()) {
            return Err(Error::Training { step: 3, reason: "the loss is NaN".into() });
        }
        self.kept.insert(trial.bands.clone(), learn(known, trial.band()));
        // A last batch goes over the end.
        Ok(Some(trial.compute() + 0.01))
    }

    fn score(&mut self, trial: &Trial) -> Result<Option<Score>> {
        self.scored += 1;
        if self.stop_at == Some(self.scored) {
            return Ok(None);
        }
        // The copy learns from the fine-tuning; what is kept does not.
        let learnt = learn(self.kept[&trial.bands], trial.base);
        Ok(Some(Score { top1: learnt / 10.0, loss: 10.0 - learnt, compute: trial.extra() }))
    }

    fn finished(&mut self, search: &Search, finished: &Finished) -> Result<()> {
        self.log.push(finished.clone());
        let needed = search.needed();
        self.kept.retain(|bands, _| needed.contains(bands));
        Ok(())
    }
}

/// Searches with what `toy` does.
fn searched(plan: Plan, toy: &mut Toy) -> Search {
    let mut search = Search::new(plan).unwrap();
    assert!(search.run(toy).unwrap());
    search
}

/// Without time, which is another in each run.
fn outcome(search: &Search) -> Vec<Finished> {
    search.finished().iter().map(|finished| Finished { seconds: 0.0, ..finished.clone() }).collect()
}

#[test]
fn the_best_curriculum_of_all_is_found_and_none_of_one_band_is_as_good() {
    let end = |bands: &[u32]| bands.iter().fold(0.0, |known, &band| learn(known, band));
    let mut all = vec![vec![]];
    for _ in 0..4 {
        let longer = |bands: Vec<u32>| BANDS.map(|band| [&bands[..], &[band]].concat());
        all = all.into_iter().flat_map(longer).collect();
    }
    let best = all.iter().map(|bands| end(&[&bands[..], &[96]].concat())).fold(0.0, f64::max);

    let found = searched(plan(5), &mut Toy::default()).bands().unwrap();
    assert_eq!(found, [32, 64, 64, 96, 96]);
    assert_eq!(end(&found), best);
    for band in BANDS {
        assert!(end(&[band, band, band, band, 96]) < best, "{band} throughout");
    }
}

#[test]
fn bands_never_fall_and_the_last_stage_is_at_the_base() {
    let mut toy = Toy::default();
    let search = searched(plan(7), &mut toy);
    let bands = search.bands().unwrap();
    assert_eq!(bands.last(), Some(&96));
    assert!(bands.is_sorted(), "{bands:?}");
    assert!(toy.trained.iter().all(|trial| trial.bands.is_sorted() && trial.stage < 6));
    let first: Vec<u32> = toy.trained.iter().filter(|trial| trial.stage == 0).map(Trial::band).collect();
    assert_eq!(first, BANDS, "each candidate, the base too, from the smallest on");
    // Fine-tuned, a stage at 64 is as good as one at the base where 64 has nothing more to teach: the base wins by score.
    let tried = |stage: usize| toy.trained.iter().filter(|trial| trial.stage == stage).count();
    assert_eq!([tried(0), tried(1), tried(2), tried(3), tried(4), tried(5)], [3, 3, 2, 2, 0, 0]);
}

#[test]
fn a_trial_is_told_its_share_of_the_compute_and_its_magnitude() {
    let mut toy = Toy::default();
    searched(plan(4), &mut toy);
    let trial = toy.trained.iter().find(|trial| trial.stage == 1).unwrap();
    assert_eq!((trial.start, trial.end, trial.magnitude, trial.base), (0.25, 0.5, 3.0, 96));
    assert_eq!((trial.compute(), trial.extra(), trial.before()), (2.5, 0.4, &[32][..]));
}

#[test]
fn compute_is_counted_and_stays_below_the_bound() {
    let search = searched(plan(5), &mut Toy::default());
    // Stages of 2 equivalent epochs, fine-tuned for 0.4, and 0.01 that the toy goes over each end.
    let trials = search.finished().len();
    assert_eq!(trials, 3 + 3 + 2 + 2);
    assert!((search.spent() - trials as f64 * 2.41).abs() < 1e-9, "{}", search.spent());
    let plan = search.plan();
    assert_eq!(plan.most_trials(), 12);
    assert!((plan.most_compute() - 12.0 * 2.4).abs() < 1e-9);
    // |candidates| (C + N delta), `efficienttrain.md` §4.
    assert!(plan.most_compute() <= 3.0 * (10.0 + 5.0 * 0.4));
    assert_eq!((search.most_left(), Search::new(plan.clone()).unwrap().most_left()), (0, 12));
}

#[test]
fn a_tie_goes_to_the_smaller_loss_and_then_to_the_smaller_band() {
    /// Values by band: score and loss.
    struct Fixed([(f64, f64); 3]);
    impl Trials for Fixed {
        fn train(&mut self, _: &Trial) -> Result<Option<f64>> {
            Ok(Some(1.0))
        }
        fn score(&mut self, trial: &Trial) -> Result<Option<Score>> {
            let place = BANDS.iter().position(|&band| band == trial.band()).unwrap();
            let (top1, loss) = self.0[place];
            Ok(Some(Score { top1, loss, compute: 0.1 }))
        }
    }
    let first = |values| {
        let mut search = Search::new(plan(2)).unwrap();
        search.run(&mut Fixed(values)).unwrap();
        search.bands().unwrap()[0]
    };
    assert_eq!(first([(0.5, 2.0), (0.5, 1.0), (0.4, 0.1)]), 64, "smaller loss");
    assert_eq!(first([(0.4, 0.1), (0.5, 1.0), (0.5, 1.0)]), 64, "smaller band");
    assert_eq!(first([(0.5, 1.0), (0.5, 1.0), (0.5, 1.0)]), 32, "smallest band");
    assert_eq!(first([(0.5, f64::NAN), (0.5, 9.0), (0.1, 1.0)]), 64, "a loss that is no number is the worst");
    assert_eq!(first([(0.1, 0.0), (0.2, 0.0), (0.3, 9.0)]), 96, "score before loss");
}

#[test]
fn a_search_that_goes_on_after_any_trial_comes_to_the_same_trials() {
    let whole = searched(plan(5), &mut Toy::default());
    for stop_at in 1..=whole.finished().len() {
        let mut toy = Toy { stop_at: Some(stop_at), ..Toy::default() };
        let mut search = Search::new(plan(5)).unwrap();
        assert!(!search.run(&mut toy).unwrap(), "stopped in trial {stop_at}");
        assert_eq!(search.bands(), None);
        // Another process: what was kept and what was written down are all there is.
        let mut again = Search::new(plan(5)).unwrap();
        for finished in toy.log {
            again.tell(finished).unwrap();
        }
        let mut toy = Toy { kept: toy.kept, ..Toy::default() };
        assert!(again.run(&mut toy).unwrap());
        assert_eq!(outcome(&again), outcome(&whole), "stopped in trial {stop_at}");
        assert_eq!(again.bands(), whole.bands());
    }
}

#[test]
fn a_trial_that_diverges_is_out_of_the_choice() {
    let mut toy = Toy { diverging: vec![32], ..Toy::default() };
    let search = searched(plan(3), &mut toy);
    assert_eq!(search.bands(), Some(vec![64, 64, 96]));
    let diverged = &search.finished()[0];
    assert_eq!((diverged.band, diverged.diverged.as_deref()), (32, Some("the loss is NaN")));
    let text = serde_json::to_string(diverged).unwrap();
    assert_eq!(serde_json::from_str::<Finished>(&text).unwrap(), *diverged, "{text}");

    let mut toy = Toy { diverging: BANDS.into(), ..Toy::default() };
    let error = Search::new(plan(3)).unwrap().run(&mut toy).unwrap_err().to_string();
    assert!(error.contains("every trial of stage 1 diverged; lower the learning rate"), "{error}");
}

#[test]
fn plans_and_trials_that_do_not_fit_are_refused_by_name() {
    let refused = |plan: Plan| Search::new(plan).unwrap_err().to_string();
    assert!(refused(Plan { candidates: vec![128], ..plan(3) }).starts_with("search.candidates: 128: "));
    assert!(refused(Plan { candidates: vec![0], ..plan(3) }).starts_with("search.candidates: 0: "));
    assert!(refused(Plan { candidates: vec![96], ..plan(3) }).contains("nothing to search"));
    assert!(refused(Plan { magnitudes: vec![9.0], ..plan(3) }).starts_with("search.stages: 1: "));
    assert!(refused(Plan { magnitudes: vec![0.0, 11.0], ..plan(3) }).starts_with("search.magnitudes: 11: "));
    assert!(refused(Plan { epochs: f64::NAN, ..plan(3) }).starts_with("search.epochs: NaN: "));
    for fine_tune in [0.0, 0.34, f64::NAN] {
        assert!(refused(Plan { fine_tune, ..plan(3) }).starts_with("search.fine_tune: "), "{fine_tune}");
    }
    let whole = searched(plan(3), &mut Toy::default());
    let mut other = Search::new(plan(3)).unwrap();
    let error = other.tell(whole.finished()[1].clone()).unwrap_err().to_string();
    assert!(error.contains("told of stage 1 at 64 px, but the next trial is stage 1 at 32 px"), "{error}");
}
