//! Machines that nobody has at hand.

use super::super::page::Mark;
use super::*;

/// Eight cores, 64 GB, a local disk, a trainer that is fed.
fn workstation() -> Facts {
    let band = |band, rate| Band { band, rate, on_band: None, replayed: Vec::new() };
    Facts {
        cores: 8,
        busy: false,
        memory_free: Some(64_000_000_000),
        batch: 150_000_000,
        batches_beside: 2,
        data: Some(Data {
            folder: true,
            bytes: 140_000_000_000,
            place: Some(Place::Local),
            rotational: Some(false),
            cold: Some(20_000.0),
            read_share: 0.05,
            progressive: 0.0,
        }),
        wanted: Some(1000.0),
        base: 224,
        scaling: vec![(1, 1000.0), (2, 1990.0), (4, 3900.0), (8, 7000.0)],
        bands: vec![band(96, 7000.0), band(160, 6500.0), band(224, 6000.0)],
        replays: vec![
            Replay { reuse: Reuse::Twofold, memory: 7_000_000_000, times: vec![2, 1, 1] },
            Replay { reuse: Reuse::Fourfold, memory: 14_000_000_000, times: vec![4, 2, 1] },
        ],
    }
}

/// The same under a trainer that takes this many times what the loader makes at 96 px, where a band has what it could reach.
fn short_by(times: f64) -> Facts {
    let mut facts = workstation();
    facts.wanted = Some(times * 7000.0 / needed(1.0, 224, 96));
    for band in &mut facts.bands[..2] {
        band.replayed = vec![(2, 1.9 * band.rate), (4, 3.7 * band.rate)];
    }
    facts
}

fn line<'a>(advice: &'a Advice, name: &str) -> Option<&'a Line> {
    advice.lines.iter().find(|line| line.name == name)
}

fn value<'a>(advice: &'a Advice, option: &str) -> Option<&'a str> {
    let at = advice.options.iter().position(|word| word == option)?;
    advice.options.get(at + 1).map(String::as_str)
}

#[test]
fn a_fed_trainer_needs_no_change() {
    let advice = advise(&workstation());
    assert_eq!(advice.options, ["--workers", "8", "--prefetch", "4", "--memory-limit", "48000"]);
    assert!(advice.lines.iter().all(|line| line.mark == Mark::Ok), "{advice:#?}");
    assert!(line(&advice, "feeds").unwrap().text.starts_with("the loader makes 1.3 times"), "{advice:#?}");
    let unasked = advise(&Facts { wanted: None, ..workstation() });
    assert!(
        line(&unasked, "feeds").unwrap().text.starts_with("a trainer that takes up to 1286 images"),
        "{unasked:#?}"
    );
}

#[test]
fn workers_stop_where_more_bring_nothing() {
    let one = advise(&Facts { cores: 1, scaling: vec![(1, 900.0)], ..workstation() });
    assert_eq!(value(&one, "--workers"), Some("1"));
    // Two of eight cores' time is what a control group leaves, and so all that was measured.
    let limited = advise(&Facts { cores: 2, scaling: vec![(1, 900.0), (2, 1700.0)], ..workstation() });
    assert_eq!(value(&limited, "--workers"), Some("2"));
    let saturated =
        advise(&Facts { scaling: vec![(1, 900.0), (2, 1700.0), (4, 1750.0), (8, 1740.0)], ..workstation() });
    assert_eq!(value(&saturated, "--workers"), Some("2"));
    assert!(line(&saturated, "workers").unwrap().text.contains("more bring nothing"), "{saturated:#?}");
    let busy = advise(&Facts { busy: true, scaling: vec![(1, 900.0), (8, 910.0)], ..workstation() });
    assert_eq!(value(&busy, "--workers"), Some("8"));
    assert!(line(&busy, "workers").unwrap().text.contains("busy"), "{busy:#?}");
    let unmeasured = advise(&Facts { cores: 3, scaling: Vec::new(), bands: Vec::new(), data: None, ..workstation() });
    assert_eq!(value(&unmeasured, "--workers"), Some("3"));
    assert!(line(&unmeasured, "workers").unwrap().text.contains("not measured"));
}

#[test]
fn the_gentlest_change_that_is_enough_is_taken() {
    // Short by 1.8: twice is enough where augmenting on the band is no help.
    let facts = short_by(1.8);
    let advice = advise(&facts);
    assert_eq!((value(&advice, "--replay"), value(&advice, "--augment-at")), (Some("twofold"), None), "{advice:#?}");
    assert!(line(&advice, "then fed").unwrap().text.contains("1.06 times"), "{advice:#?}");
    // Augmenting on the band alone is enough.
    let mut on_band = short_by(1.8);
    on_band.bands[0].on_band = Some(2.0 * on_band.bands[0].rate);
    let advice = advise(&on_band);
    assert_eq!((value(&advice, "--replay"), value(&advice, "--augment-at")), (None, Some("band")), "{advice:#?}");
    assert!(line(&advice, "still short").is_none());
    // It helps, but not enough: replay as well.
    let mut both = short_by(3.0);
    both.bands[0].on_band = Some(1.2 * both.bands[0].rate);
    both.bands[0].replayed = vec![(2, 2.3 * both.bands[0].rate), (4, 4.4 * both.bands[0].rate)];
    let advice = advise(&both);
    assert_eq!((value(&advice, "--replay"), value(&advice, "--augment-at")), (Some("fourfold"), Some("band")));
}

#[test]
fn what_stays_short_is_said() {
    let advice = advise(&short_by(5.0));
    assert_eq!(value(&advice, "--replay"), Some("fourfold"));
    assert!(line(&advice, "short").unwrap().text.contains("5.0 times"), "{advice:#?}");
    assert!(line(&advice, "then fed").is_none());
    let still = line(&advice, "still short").unwrap();
    assert_eq!(still.mark, Mark::Note);
    assert!(still.text.contains("26 %") && still.text.contains("not in this version"), "{}", still.text);
    let no_replay = advise(&Facts { replays: Vec::new(), ..short_by(5.0) });
    assert_eq!(value(&no_replay, "--replay"), None);
    assert!(line(&no_replay, "replay").unwrap().text.contains("table"), "{no_replay:#?}");
}

#[test]
fn the_base_size_is_short_by_itself() {
    let advice = advise(&Facts { wanted: Some(8000.0), ..short_by(2.0) });
    let base = line(&advice, "base size").unwrap();
    assert!(base.mark == Mark::Note && base.text.contains("25 %"), "{}", base.text);
    // A schedule that only has the base size.
    let mut facts = workstation();
    facts.bands.drain(..2);
    let constant = advise(&facts);
    assert!(line(&constant, "base size").is_none() && line(&constant, "short").is_none(), "{constant:#?}");
}

#[test]
fn little_memory_bounds_what_is_made_ahead_and_what_is_replayed() {
    let little = advise(&Facts { memory_free: Some(1_500_000_000), ..short_by(1.8) });
    assert_eq!(value(&little, "--prefetch"), Some("1"));
    assert_eq!(line(&little, "prefetch").unwrap().mark, Mark::Note);
    assert_eq!(value(&little, "--replay"), None);
    let replay = line(&little, "replay").unwrap();
    assert!(replay.text.contains("replay_capacity") && replay.mark == Mark::Note, "{little:#?}");
    // The weaker one fits, the stronger one does not.
    let some = advise(&Facts { memory_free: Some(12_000_000_000), ..short_by(3.0) });
    assert_eq!(value(&some, "--replay"), Some("twofold"));
    assert!(some.lines.iter().any(|line| line.text.starts_with("fourfold would reach 1.2 times")), "{some:#?}");
    let none = advise(&Facts { memory_free: Some(400_000_000), ..workstation() });
    let prefetch = line(&none, "prefetch").unwrap();
    assert!(prefetch.mark == Mark::Problem && prefetch.text.contains("--batch-size"), "{none:#?}");
    let untold = advise(&Facts { memory_free: None, ..workstation() });
    assert_eq!((value(&untold, "--prefetch"), value(&untold, "--memory-limit")), (Some("4"), None));
}

#[test]
fn slow_storage_matters_where_the_set_does_not_fit_into_memory() {
    let on = |change: &dyn Fn(&mut Data)| {
        let mut facts = workstation();
        change(facts.data.as_mut().unwrap());
        advise(&facts)
    };
    let disk = on(&|data| (data.rotational, data.cold) = (Some(true), Some(90.0)));
    assert_eq!(line(&disk, "storage").unwrap().mark, Mark::Note);
    assert!(line(&disk, "tar shards").unwrap().text.contains("rotates"), "{disk:#?}");
    assert_eq!(value(&disk, "--prefetch"), Some("8"));
    let small = on(&|data| (data.cold, data.bytes) = (Some(90.0), 1_000_000_000));
    assert!(line(&small, "storage").unwrap().text.contains("only the first pass"), "{small:#?}");
    assert!(line(&small, "tar shards").is_none());
    // A virtual disk that says so without reason.
    let fast = on(&|data| data.rotational = Some(true));
    assert_eq!((value(&fast, "--prefetch"), line(&fast, "tar shards")), (Some("4"), None));
    let unknown = on(&|data| data.cold = None);
    assert!(line(&unknown, "storage").unwrap().text.contains("not measured"));
}

#[test]
fn shards_are_advised_where_single_files_cost() {
    let on = |change: &dyn Fn(&mut Data)| {
        let mut facts = workstation();
        change(facts.data.as_mut().unwrap());
        advise(&facts)
    };
    let network = on(&|data| data.place = Some(Place::Network));
    assert!(line(&network, "tar shards").unwrap().text.contains("network"), "{network:#?}");
    assert_eq!(value(&network, "--prefetch"), Some("8"));
    assert!(line(&on(&|data| data.read_share = 0.4), "tar shards").unwrap().text.contains("40 %"));
    let already = on(&|data| (data.place, data.folder) = (Some(Place::Network), false));
    assert!(line(&already, "tar shards").is_none());
    let progressive = on(&|data| data.progressive = 0.5);
    assert!(line(&progressive, "progressive").unwrap().text.contains("jpegtran"), "{progressive:#?}");
}
