//! The replay buffer: what a batch is made of, how often an image comes, and that a run goes on with the same batches
//! (`efficienttrain.md` §5 and §9, rows 5 to 7).

mod loader_fixtures;

use bandfeed::loader::replay::CHUNKS;
use bandfeed::loader::{EpochEnd, Loader, LoaderBuilder, OnBadFile, Pending, State};
use bandfeed::recipe::ReplayMode;
use bandfeed::schedule::{Options, Schedule, StageReplay};
use bandfeed::{BandCrop, Recipe, Stage};
use loader_fixtures::{Plain, all, memory, pictures, source};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Three stages: two that replay, of the same band, and one that does not.
fn schedule(times: u32, capacity: u32, batch_size: usize, epochs: f64) -> Schedule {
    let text = format!(
        "name = 'replay'\ncrop = 'lanczos'\n\
         [[stage]]\nuntil = 0.4\nband = 8\nmagnitude = 0\nreplay = {times}\nreplay_capacity = {capacity}\n\
         [[stage]]\nuntil = 0.8\nband = 8\nmagnitude = 1\nreplay = {times}\nreplay_capacity = {capacity}\n\
         [[stage]]\nuntil = 1\nband = 16\nmagnitude = 2\n"
    );
    Schedule::from_toml(&text, &Options { base: 16, patch: 8, epochs, batch_size, ..Options::default() }).unwrap()
}

/// One endless stage.
fn one_stage(times: u32, capacity: u32, batch_size: usize) -> Schedule {
    let mut stage = Stage::fixed(16, 8, BandCrop::Lanczos, batch_size);
    stage.replay = StageReplay { times, capacity };
    Schedule::fixed(stage).with_epochs(1e6).unwrap()
}

fn mode(replay: ReplayMode) -> Recipe {
    Recipe { replay, ..Recipe::default() }
}

fn run(count: u32, schedule: Schedule) -> LoaderBuilder {
    Loader::builder(source(count), schedule).seed(3)
}

#[test]
fn a_batch_is_new_images_and_chunks_that_came_before_or_with_it() {
    // 64 new images a batch are 32 chunks of 2; 3 x 32 chunks are drawn.
    let batches: Vec<_> = run(150, one_stage(4, 3, 256)).build().unwrap().take(12).map(Result::unwrap).collect();
    let mut buffer: Vec<[u32; 2]> = Vec::new();
    for batch in &batches {
        assert_eq!((batch.len(), batch.fresh), (256, 64));
        let (new, drawn) = batch.indices.split_at(64);
        buffer.extend(new.as_chunks::<2>().0);
        // First in, first out: three batches' chunks.
        buffer.drain(..buffer.len().saturating_sub(3 * CHUNKS));
        for chunk in drawn.as_chunks::<2>().0 {
            assert!(buffer.contains(chunk), "step {}: {chunk:?} is not in the buffer", batch.step);
        }
    }
    // The new images are the epoch's order, as without replay.
    let new: Vec<u32> = batches.iter().filter(|b| b.epoch == 0).flat_map(|b| &b.indices[..64]).copied().collect();
    let plain = all(run(150, Schedule::fixed(Stage::fixed(16, 8, BandCrop::Lanczos, 64))).build().unwrap());
    let plain: Vec<u32> = plain.iter().filter(|b| b.place.0 == 0).flat_map(|b| b.indices.clone()).collect();
    assert_eq!(new, plain);
}

#[test]
fn replayed_images_are_those_of_their_first_use() {
    let mut seen: HashMap<u64, u32> = HashMap::new();
    for batch in run(40, one_stage(2, 50, 16)).build().unwrap().take(60) {
        let batch: Plain = batch.unwrap().into();
        for (slot, (pixels, index)) in batch.pixels.iter().zip(&batch.indices).enumerate() {
            if slot < 8 {
                seen.insert(*pixels, *index);
            }
            assert_eq!(seen.get(pixels), Some(index), "step {} slot {slot}", batch.place.1);
        }
    }
    // Every first use is a crop of its own.
    assert_eq!(seen.len(), 60 * 8);
}

#[test]
fn values_are_those_of_16_bit_floats() {
    let batch = run(40, one_stage(2, 5, 16)).build().unwrap().next().unwrap().unwrap();
    assert!(batch.images.as_slice().iter().all(|&v| half::f16::from_f32(v).to_f32() == v));
}

#[test]
fn chunks_are_drawn_uniformly_and_with_replacement_the_new_ones_among_them() {
    // After the fill the buffer has 4 batches x 8 chunks of one image (8 new images a batch); 8 are drawn each time. By
    // age in batches, 0 to 3, each has a quarter of the draws.
    let (mut ages, mut repeats, mut batches) = ([0f64; 4], 0, 0);
    let mut loader = run(200, one_stage(2, 4, 16)).workers(2).build().unwrap();
    let mut places: HashMap<u64, u64> = HashMap::new();
    for _ in 0..1500 {
        let batch: Plain = loader.next().unwrap().unwrap().into();
        for pixels in &batch.pixels[..8] {
            places.insert(*pixels, batch.place.1);
        }
        if batch.place.1 < 4 {
            continue;
        }
        for pixels in &batch.pixels[8..] {
            ages[(batch.place.1 - places[pixels]) as usize] += 1.0;
        }
        repeats += usize::from(batch.pixels[8..].iter().collect::<HashSet<_>>().len() < 8);
        batches += 1;
    }
    // 3 degrees of freedom: 16.3 is the 0.1 % point.
    let expected = ages.iter().sum::<f64>() / 4.0;
    let chi: f64 = ages.iter().map(|n| (n - expected).powi(2) / expected).sum();
    assert!(chi < 16.3, "chi-square {chi}: {ages:?}");
    // Eight of 32 without a repetition: 32! / 24! / 32^8 = 38.6 %.
    let share = repeats as f64 / f64::from(batches);
    assert!((share - 0.614).abs() < 0.03, "{share}");
}

#[test]
fn an_image_is_used_as_often_as_the_stage_says_and_steps_are_those_without_replay() {
    for times in [2, 4] {
        let schedule = schedule(times, 4, 64, 60.0);
        let plain = Schedule::from_toml(
            &schedule.to_toml().replace("replay = ", "# ").replace("replay_capacity = ", "# "),
            &Options::default(),
        )
        .unwrap();
        let mut loader = run(128, schedule).build().unwrap();
        let batches: Vec<Plain> = loader.by_ref().map(|batch| batch.unwrap().into()).collect();
        let steps = |batches: &[Plain]| {
            let mut steps = BTreeMap::new();
            batches.iter().for_each(|b| *steps.entry(b.stage.index).or_insert(0u64) += 1);
            steps
        };
        let without = all(run(128, plain).build().unwrap());
        assert_eq!(steps(&batches), steps(&without), "rho {times}");
        assert_eq!(loader.remaining_steps(), [0, 0, 0]);
        // Uses over images decoded, in the stages that replay: every batch is 1 / rho new.
        let replayed = loader.counters().replayed;
        let in_stages: u64 = batches.iter().filter(|b| b.stage.replay.is_on()).map(|b| b.indices.len() as u64).sum();
        assert_eq!(replayed * u64::from(times), in_stages * u64::from(times - 1), "rho {times}");
        let all: u64 = batches.iter().map(|b| b.indices.len() as u64).sum();
        assert_eq!(loader.counters().images, all - replayed);
    }
}

#[test]
fn mean_uses_of_an_image_after_the_fill_are_rho() {
    // Images of batches that were new after the fill and have left the buffer by the end.
    let (capacity, times, length) = (6, 4, 400u64);
    let mut loader = run(300, one_stage(times, capacity, 32)).workers(2).build().unwrap();
    let mut uses: HashMap<u64, (u64, u32)> = HashMap::new();
    for _ in 0..length {
        let batch: Plain = loader.next().unwrap().unwrap().into();
        for pixels in &batch.pixels {
            uses.entry(*pixels).or_insert((batch.place.1, 0)).1 += 1;
        }
    }
    let settled: Vec<u32> = uses
        .values()
        .filter(|(first, _)| (u64::from(capacity)..length - u64::from(capacity)).contains(first))
        .map(|(_, count)| *count)
        .collect();
    let mean = settled.iter().sum::<u32>() as f64 / settled.len() as f64;
    assert!((mean / 4.0 - 1.0).abs() < 0.01, "{mean} uses of {} images", settled.len());
    // Of the replays about e^-3 = 5 % never come (Poisson).
    let never = settled.iter().filter(|&&count| count == 1).count() as f64 / settled.len() as f64;
    assert!((never - 0.05).abs() < 0.012, "{never}");
}

/// That every replayed image was new in one of these batches, at or before its own.
fn assert_own<'a>(batches: impl Iterator<Item = &'a Plain>, what: &str, least: usize) {
    let (mut new, mut replayed) = (HashSet::<u64>::new(), 0);
    for batch in batches.filter(|batch| batch.stage.replay.is_on()) {
        let fresh = batch.pixels.len() / batch.stage.replay.times as usize;
        new.extend(&batch.pixels[..fresh]);
        assert!(batch.pixels[fresh..].iter().all(|pixels| new.contains(pixels)), "{what}, step {}", batch.place.1);
        replayed += batch.pixels.len() - fresh;
    }
    assert!(replayed > least, "{what}: {replayed}");
}

#[test]
fn the_buffer_is_emptied_where_the_stage_changes() {
    let batches = all(run(64, schedule(2, 100, 16, 30.0)).build().unwrap());
    for stage in [0, 1] {
        assert_own(batches.iter().filter(|batch| batch.stage.index == stage), &format!("stage {stage}"), 500);
    }
}

/// Batches and the state after each.
fn with_states(builder: LoaderBuilder) -> Vec<(Plain, State)> {
    let mut loader = builder.build().unwrap();
    let mut out = Vec::new();
    while let Some(batch) = loader.next() {
        out.push((batch.unwrap().into(), loader.state()));
    }
    out
}

#[test]
fn replay_resumes_with_the_same_batches() {
    for replay in [ReplayMode::Repeat, ReplayMode::Reaugment] {
        let builder = || run(37, schedule(2, 3, 12, 8.0)).recipe(mode(replay));
        let whole = with_states(builder().workers(3).prefetch(3));
        assert!(whole.len() > 30);
        let every = if replay == ReplayMode::Repeat { 1 } else { 4 };
        for at in (0..whole.len()).step_by(every) {
            // Through JSON, as a checkpoint has it.
            let state = serde_json::from_str(&serde_json::to_string(&whole[at].1).unwrap()).unwrap();
            let rest = all(builder().workers(1).prefetch(1).resume(state).build().unwrap());
            let expected: Vec<_> = whole[at + 1..].iter().map(|(batch, _)| batch.clone()).collect();
            assert_eq!(rest, expected, "{replay:?} after batch {at}");
        }
    }
}

/// A run whose stages are set by hand on the way, `hand(step)` before each batch; the states after each batch.
fn by_hand(builder: LoaderBuilder, hand: impl Fn(u64, &mut Loader)) -> Vec<(Plain, State)> {
    let mut loader = builder.build().unwrap();
    let mut out = Vec::new();
    for step in 0..24 {
        hand(step, &mut loader);
        out.push((loader.next().unwrap().unwrap().into(), loader.state()));
    }
    out
}

#[test]
fn stages_set_by_hand_replay_and_resume_from_any_batch() {
    // The replaying stage, one without replay, and the first again, whose buffer begins anew.
    let builder = || run(53, one_stage(2, 3, 12)).workers(2).prefetch(2);
    let whole = by_hand(builder(), |step, loader| {
        let mut off = loader.schedule().stages()[0].clone();
        off.replay = StageReplay::OFF;
        match step {
            6 => loader.set_stage(Some(off), Pending::UseUp).unwrap(),
            13 => loader.set_stage(None, Pending::Drop).unwrap(),
            _ => {}
        }
    });
    let replays: Vec<bool> = whole.iter().map(|(batch, _)| batch.stage.replay.is_on()).collect();
    assert!(replays[0] && !replays[10] && replays[20], "{replays:?}");
    // No image of the first part comes again in the last.
    let back = replays.iter().rposition(|on| !on).unwrap() + 1;
    assert_own(whole[back..].iter().map(|(batch, _)| batch), "after the change back", 40);
    for at in 0..whole.len() - 1 {
        let mut loader = builder().resume(whole[at].1.clone()).build().unwrap();
        // What is set by hand after this batch is not in its state.
        let until = [6, 13, whole.len()].into_iter().find(|&change| change > at).unwrap();
        for (batch, _) in &whole[at + 1..until] {
            assert_eq!(Plain::from(loader.next().unwrap().unwrap()), *batch, "resumed after batch {at}");
        }
    }
}

#[test]
fn ranks_padding_and_skipped_files_resume_with_the_same_batches() {
    let mut files = pictures(29);
    files[4].0.truncate(30);
    let builder = |rank| {
        Loader::builder(memory(files.clone()), schedule(2, 3, 8, 9.0))
            .seed(8)
            .shard(rank, 2)
            .epoch_end(EpochEnd::Pad)
            .on_bad_file(OnBadFile::Skip)
    };
    for rank in 0..2 {
        let whole = with_states(builder(rank).workers(2));
        for at in 0..whole.len() {
            let rest = all(builder(rank).workers(1).prefetch(1).resume(whole[at].1.clone()).build().unwrap());
            let expected: Vec<_> = whole[at + 1..].iter().map(|(batch, _)| batch.clone()).collect();
            assert_eq!(rest, expected, "rank {rank}, after batch {at}");
        }
    }
}

#[test]
fn evaluation_of_a_replaying_stage_shows_each_image_once() {
    let stage = one_stage(4, 8, 16).stages()[0].clone();
    let loader = Loader::evaluation(source(50), stage).build().unwrap();
    assert_eq!(loader.memory().replay, 0);
    let indices: Vec<u32> = all(loader).into_iter().flat_map(|batch| batch.indices).collect();
    assert_eq!(indices, (0..50).collect::<Vec<_>>());
}

#[test]
fn a_saved_state_that_cannot_be_is_refused() {
    let (_, good) = with_states(run(37, schedule(2, 3, 12, 8.0))).swap_remove(3);
    let broken = |change: &dyn Fn(&mut State)| {
        let mut state = good.clone();
        change(&mut state);
        run(37, schedule(2, 3, 12, 8.0)).resume(state).build().unwrap_err().to_string()
    };
    assert!(broken(&|s| s.replay.as_mut().unwrap().position = 38).starts_with("resume: "));
    assert!(broken(&|s| s.replay.as_mut().unwrap().step = 99).starts_with("resume: "));
    assert!(broken(&|s| s.replay.as_mut().unwrap().stage.replay.times = 5).contains("5 times"));
}

#[test]
fn re_augmented_images_are_others_at_each_use() {
    let batches = all(run(20, schedule(4, 3, 16, 12.0)).recipe(mode(ReplayMode::Reaugment)).build().unwrap());
    let early: Vec<&Plain> = batches.iter().filter(|b| b.stage.index == 0).collect();
    let pixels: HashSet<u64> = early.iter().flat_map(|b| b.pixels.iter().copied()).collect();
    // Crops of pictures of 40 x 33 pixels seldom agree in all of them.
    let uses = early.iter().map(|b| b.pixels.len()).sum::<usize>();
    assert!(pixels.len() as f64 > 0.97 * uses as f64, "{} of {uses}", pixels.len());
    let repeat = all(run(20, schedule(4, 3, 16, 12.0)).build().unwrap());
    let indices = |batches: &[Plain]| batches.iter().map(|b| b.indices.clone()).collect::<Vec<_>>();
    assert_eq!(indices(&batches), indices(&repeat), "the same images come in either mode");
}

#[test]
fn ranks_replay_their_own_images() {
    let ranks: Vec<Vec<Plain>> =
        (0..2).map(|rank| all(run(64, schedule(2, 4, 8, 40.0)).shard(rank, 2).build().unwrap())).collect();
    assert_eq!(ranks[0].len(), ranks[1].len());
    for (rank, batches) in ranks.iter().enumerate() {
        assert_own(batches.iter().filter(|batch| batch.stage.index == 0), &format!("rank {rank}"), 500);
    }
    assert_ne!(ranks[0][0].pixels, ranks[1][0].pixels);
}

#[test]
fn a_stage_set_by_hand_keeps_the_samples_and_the_images_in_the_buffer() {
    let mut loader = run(64, one_stage(2, 8, 16)).build().unwrap();
    let plain: Vec<Vec<u32>> = {
        let mut other = run(64, one_stage(2, 8, 16)).build().unwrap();
        (0..20).map(|_| other.next().unwrap().unwrap().indices).collect()
    };
    for (step, expected) in plain.iter().enumerate() {
        if step == 7 {
            // The same stage again: what was made ahead is dropped, and comes again as it was.
            let stage = loader.schedule().stages()[0].clone();
            loader.set_stage(Some(stage), Pending::Drop).unwrap();
        }
        assert_eq!(loader.next().unwrap().unwrap().indices, *expected, "step {step}");
    }
}

#[test]
fn bad_files_are_replaced_or_left_out_at_every_use() {
    let mut files = pictures(24);
    for at in [3, 11] {
        files[at].0.truncate(30);
    }
    let loader = |policy| Loader::builder(memory(files.clone()), schedule(2, 4, 8, 20.0)).seed(1).on_bad_file(policy);
    let batches = all(loader(OnBadFile::Substitute).build().unwrap());
    assert!(batches.iter().all(|b| b.indices.len() == 8 && !b.indices.contains(&3) && !b.indices.contains(&11)));
    let batches = all(loader(OnBadFile::Skip).build().unwrap());
    assert!(batches.iter().any(|b| b.indices.len() < 8));
    assert!(batches.iter().all(|b| !b.indices.contains(&3)));
    let error = loader(OnBadFile::Fail).build().unwrap().find_map(Result::err).expect("a bad file");
    assert!(error.to_string().contains("corrupt"), "{error}");
}

#[test]
fn memory_is_stated_before_it_is_taken_and_can_be_limited() {
    let builder = || run(5000, one_stage(4, 10, 64));
    let memory = builder().prefetch(2).build().unwrap().memory();
    // 10 batches of 16 new images and those of 3 batches under way, 3 x 8 x 8 values of 2 bytes.
    assert_eq!(memory.replay, (10 + 3) * 16 * 3 * 8 * 8 * 2);
    assert_eq!(memory.total, memory.batch * memory.batches + memory.replay);
    let pixels = builder().prefetch(2).recipe(mode(ReplayMode::Reaugment)).build().unwrap().memory();
    // Base 16 / 0.875 is 18: three squares of 18 pixels.
    assert_eq!(pixels.replay, (10 + 3) * 16 * 3 * 3 * 18 * 18);
    let error = builder().memory_limit(memory.total - 1).prefetch(2).build().unwrap_err().to_string();
    assert!(error.starts_with("memory: ") && error.contains("replay_capacity"), "{error}");
    let mut loader = builder().memory_limit(memory.total).prefetch(2).build().unwrap();
    let mut larger = loader.schedule().stages()[0].clone();
    larger.replay.capacity = 11;
    let error = loader.set_stage(Some(larger), Pending::UseUp).unwrap_err().to_string();
    assert!(error.starts_with("memory: "), "{error}");
}

#[test]
fn a_stage_set_by_hand_that_cannot_replay_is_refused() {
    let mut loader = run(64, one_stage(2, 8, 16)).build().unwrap();
    let mut stage = loader.schedule().stages()[0].clone();
    stage.replay.times = 3;
    let error = loader.set_stage(Some(stage), Pending::UseUp).unwrap_err().to_string();
    assert!(error.starts_with("stage.replay: 3 times"), "{error}");
}
