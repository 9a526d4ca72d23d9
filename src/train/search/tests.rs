use super::super::config::TrainConfig;
use super::*;
use crate::schedule::{Options, Prog, Search};
use burn::tensor::Device;

/// Depths 3, 4, 5, 6 at 16, 24, 24 or 32, and 32 pixels.
fn schedule() -> Schedule {
    let prog = Prog { depth: 6, ..Prog::default() };
    let options = Options { base: 32, patch: 4, batch_size: 8, epochs: 12.0, prog, ..Options::default() };
    let search = Search { probe: 8, cost: SearchCost::Flops, ..Search::default() };
    Schedule::auto_prog(&options).unwrap().searched(search).unwrap()
}

/// A supernet of all 6 blocks whose weights are not those that it began with.
fn supernet() -> (Trainer, Stage) {
    let model =
        VitConfig { dim: 8, depth: 6, heads: 2, patch: 4, mlp_ratio: 2.0, drop_path: 0.0, ..VitConfig::tiny(3) };
    let config = TrainConfig { ema: vec![0.9], seed: 5, chunk: 3, ..TrainConfig::new(model) };
    let schedule = schedule();
    let mut trainer = Trainer::for_schedule(config, &schedule, 2, &Device::flex()).unwrap();
    assert_eq!((trainer.depth(), trainer.model.band()), (6, 32));
    let candidates = schedule.candidates(0, None);
    trainer.search = Some(SearchState {
        stage: 0,
        begin: 0.0,
        before: 3,
        candidates: candidates.clone(),
        shrink: candidates.iter().map(|size| schedule.shrink_to(size.side)).collect(),
        due: 0,
        losses: Vec::new(),
        costs: Vec::new(),
        chosen: None,
        seconds: 0.0,
        flops: 0.0,
    });
    let stage = schedule.supernet(&schedule.stages()[0], &candidates);
    for step in 0..3 {
        let gradient = trainer.any_gradient(&batch(&stage, step), 0).unwrap();
        trainer.advance(gradient, 1e-2).unwrap();
    }
    (trainer, stage)
}

fn batch(stage: &Stage, seed: u64) -> Batch {
    let side = stage.band as usize;
    let mut draw = Draw::at(seed, 0, 0, Purpose::Demo);
    let values: Vec<f32> = (0..8 * 3 * side * side).map(|_| draw.normal() as f32).collect();
    let images = crate::batch::Images::from_vec(values, [8, 3, side, side]).unwrap();
    Batch::new(images, vec![0, 1, 2, 0, 1, 2, 0, 1], stage.clone()).unwrap()
}

fn all_gradients(trainer: &Trainer, model: &Vit, stage: &Stage, side: u32) -> f64 {
    let shrink = (side != stage.band).then_some(Shrink::Resize(side));
    trainer.gradient_of(model, &batch(stage, 9), shrink, 0).unwrap().loss
}

#[test]
fn a_part_of_the_supernet_computes_what_the_extracted_network_computes() {
    let (trainer, stage) = supernet();
    let mut losses = Vec::new();
    for (index, &size) in trainer.search.as_ref().unwrap().candidates.iter().enumerate() {
        let part = trainer.part(trainer.search.as_ref().unwrap(), &stage, index);
        let grid = trainer.config.model.grid(size.side).unwrap();
        let within = trainer.model.part(&part.kept, grid);
        let (mut alone, _) = supernet();
        alone.extract(part.kept.clone()).unwrap();
        alone.set_band(size.side).unwrap();
        assert_eq!((alone.depth() as u32, alone.model.band()), (size.depth, size.side));
        let device = trainer.model.position.val().device();
        let pixels = TensorData::new(batch(&stage, 9).images.as_slice().to_vec(), [8, 3, 32, 32]);
        let images = Tensor::<4>::from_data(pixels, &device);
        let images = match part.shrink {
            Some(by) => super::super::shrink::shrink(images, by),
            None => images,
        };
        let scores = |model: &Vit| model.forward(images.clone(), None).into_data().try_to_vec::<f32>().unwrap();
        let (a, b) = (scores(&within), scores(&alone.model));
        let apart = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart <= 1e-6, "{size}: {apart}");
        losses.push(all_gradients(&trainer, &within, &stage, size.side));
    }
    // Were they all the same network, the above would say nothing.
    losses.sort_by(f64::total_cmp);
    assert!(losses.windows(2).all(|pair| pair[0] < pair[1]), "{losses:?}");
}

#[test]
fn a_step_moves_the_blocks_of_its_part_and_no_other() {
    let (mut trainer, stage) = supernet();
    let before = trainer.model.clone();
    let part = trainer.part_in(&stage).unwrap().unwrap();
    assert!(part.kept.len() < 6, "another seed would show more");
    let gradient = trainer.any_gradient(&batch(&stage, 9), 0).unwrap();
    trainer.advance(gradient, 1e-2).unwrap();
    let values = |model: &Vit, i: usize| model.blocks[i].query.weight.val().into_data().try_to_vec::<f32>().unwrap();
    for i in 0..6 {
        assert_eq!(values(&before, i) != values(&trainer.model, i), part.kept.contains(&i), "block {i}");
    }
    assert_eq!(trainer.model.band(), 32);
}

#[test]
fn the_embeddings_gradient_is_that_of_its_interpolation() {
    let (trainer, stage) = supernet();
    let state = trainer.search.as_ref().unwrap();
    let part = trainer.part(state, &stage, 0);
    assert_eq!(part.size, Candidate { side: 16, depth: 3 });
    let loss = |model: &Vit| all_gradients(&trainer, &model.part(&part.kept, 4), &stage, 16);
    let got = trainer.gradient_of_part(&part, &batch(&stage, 9), 0).unwrap();
    let got = got.tensors[&trainer.model.position.id].clone().into_data().try_to_vec::<f32>().unwrap();
    assert_eq!(got.len(), 65 * 8);
    // Along a direction of its own in every place, by a central difference.
    let mut draw = Draw::at(77, 0, 0, Purpose::Demo);
    let direction: Vec<f32> = (0..got.len()).map(|_| draw.normal() as f32).collect();
    let step = 2e-3;
    let moved = |by: f32| {
        let mut model = trainer.model.clone();
        let delta = direction.iter().map(|d| d * by).collect::<Vec<_>>();
        model.position = model.position.map(|table| {
            let delta = Tensor::from_data(TensorData::new(delta, table.dims()), &table.device());
            table + delta
        });
        loss(&model)
    };
    let measured = (moved(step) - moved(-step)) / f64::from(2.0 * step);
    let expected: f64 = got.iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
    assert!((measured - expected).abs() < 2e-2 * expected.abs().max(0.1), "{measured} {expected}");
}

#[test]
fn sides_and_depths_are_drawn_alike_often_and_the_same_for_everybody() {
    let (trainer, _) = supernet();
    let state = trainer.search.as_ref().unwrap();
    let steps = 9000;
    let mut counts = std::collections::BTreeMap::new();
    for step in 0..steps {
        *counts.entry(state.draw(5, step)).or_insert(0u32) += 1;
    }
    assert_eq!(counts.len(), 9);
    let expected = steps as f64 / 9.0;
    let chi: f64 = counts.values().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    // 8 degrees of freedom: beyond 26 lies one in a thousand.
    assert!(chi < 26.0, "{chi} {counts:?}");
    let (again, _) = supernet();
    let same = |seed| (0..200).all(|step| again.search.as_ref().unwrap().draw(seed, step) == state.draw(5, step));
    assert!(same(5) && !same(6));
}

#[test]
fn a_batch_of_a_search_that_is_over_is_refused() {
    let (mut trainer, stage) = supernet();
    assert!(trainer.gradient(&batch(&stage, 1), 0).is_ok());
    let refused = |trainer: &Trainer| trainer.gradient(&batch(&stage, 1), 0).map(drop).unwrap_err().to_string();
    trainer.search.as_mut().unwrap().chosen = Some(Candidate { side: 32, depth: 6 });
    assert!(refused(&trainer).contains("drops the batches that it has made ahead"));
}

#[test]
fn losses_that_ran_away_are_written_and_read() {
    let (trainer, _) = supernet();
    let losses = vec![vec![f64::NAN, 0.5, f64::INFINITY], vec![f64::NEG_INFINITY, 1.0, 0.1 + 0.2]];
    let mut state = trainer.search.unwrap();
    (state.losses, state.costs) = (losses.clone(), vec![1.0; 3]);
    state.candidates.truncate(3);
    let same = |read: Vec<Vec<f64>>| {
        let bits = |rows: &[Vec<f64>]| rows.concat().into_iter().map(f64::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(&read), bits(&losses));
    };
    let text = serde_json::to_string(&state).unwrap();
    same(serde_json::from_str::<SearchState>(&text).unwrap().losses);
    // Of three candidates one has a finite loss at all looks.
    let told = report(&state, 3, 0.1).unwrap();
    assert_eq!((told.chosen, told.mean_losses()[1]), (1, 0.75));
    let text = serde_json::to_string(&told).unwrap();
    same(serde_json::from_str::<SearchReport>(&text).unwrap().losses);
}

#[test]
fn moments_to_look_are_in_the_last_pass_and_after_the_begin() {
    let look = |epochs: f64| {
        let schedule = schedule().searched(Search { epochs, ..Search::default() }).unwrap();
        let (trainer, _) = supernet();
        let state = SearchState { begin: 0.25, ..trainer.search.unwrap() };
        let mut probe = |_: &Stage| -> Result<super::super::Pass<'static>> { Ok(Box::new(std::iter::empty())) };
        AutoProg { schedule: &schedule, probe: &mut probe }.moments(&state)
    };
    let passes = |moments: Vec<f64>| moments.iter().map(|m| (m - 0.25) * 12.0).collect::<Vec<_>>();
    let near = |a: Vec<f64>, b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
    assert!(near(passes(look(2.0)), &[1.0, 1.25, 1.5, 1.75, 2.0]));
    assert!(near(passes(look(1.0)), &[0.25, 0.5, 0.75, 1.0]));
    assert!(near(passes(look(0.5)), &[0.125, 0.25, 0.375, 0.5]));
}

#[test]
fn parts_nest_and_leave_out_the_first_of_the_new_blocks() {
    // VOLO-D1's transformer layers, by the specification: 9 grow to 18, every second one new.
    let left_out = |depth| (0..18).filter(|i| !nested(9, 18, depth).contains(i)).collect::<Vec<_>>();
    assert_eq!(left_out(12), [1, 3, 5, 7, 9, 11]);
    assert_eq!(left_out(15), [1, 3, 5]);
    assert_eq!(left_out(9), (0..9).map(|i| 2 * i + 1).collect::<Vec<_>>());
    for before in 1..8 {
        for supernet in before..20 {
            let mut shallower = nested(before, supernet, before);
            // What the growth left in its place, which is what the network was before.
            let sources = super::super::sources(before, supernet);
            assert_eq!(shallower.iter().map(|&i| sources[i]).collect::<Vec<_>>(), (0..before).collect::<Vec<_>>());
            for depth in before + 1..=supernet {
                let deeper = nested(before, supernet, depth);
                assert_eq!(deeper.len(), depth);
                assert!(shallower.iter().all(|i| deeper.contains(i)), "{before} {supernet} {depth}");
                shallower = deeper;
            }
        }
    }
}
