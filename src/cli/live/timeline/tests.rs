use super::*;
use crate::train::MoGrow;

/// What a step was: stage, depth, tokens, loss.
type Step = (usize, usize, usize, f64);

/// A step of 4 images in 2 seconds. An image costs depth times tokens.
fn step(number: u64, (stage, depth, tokens, loss): Step) -> Event {
    let text = format!(
        r#"{{"event":"step","step":{number},"epoch":0,"progress":0.5,"stage":{stage},"band":32,"loss":{loss},"learning_rate":0.1,
        "grad_norm":1.0,"images":4,"depth":{depth},"tokens":{tokens},"flops":{},"wait":0.5,"compute":1.5}}"#,
        4 * depth * tokens
    );
    serde_json::from_str(&text).unwrap()
}

fn growth(step: u64, before: usize, after: usize) -> Event {
    let (progress, stage, mogrow) = (0.5, 1, MoGrow::Copy);
    let (loss_before, loss_after) = (Some(1.25), Some(1.5));
    Event::Growth { report: GrowthReport { step, progress, stage, before, after, mogrow, loss_before, loss_after } }
}

fn evaluation(step: u64, top1: f64) -> Event {
    let text = format!(
        r#"{{"event":"evaluation","progress":0.5,"epoch":0,"step":{step},"band":32,"images":8,"top1":{top1},"top5":null,
        "loss":1.0,"seconds":3.0,"ema":[{{"decay":0.9,"top1":0.75,"top5":null,"loss":1.0}}]}}"#
    );
    serde_json::from_str(&text).unwrap()
}

/// Operations 8, 8, 24, 40 of 80 by step: stages of 16 and 64, an evaluation at the end of each.
fn events() -> Vec<Event> {
    vec![
        step(0, (0, 1, 2, 2.0)),
        step(1, (0, 1, 2, 1.0)),
        evaluation(2, 0.25),
        growth(2, 1, 3),
        step(2, (1, 3, 2, 3.0)),
        step(3, (1, 2, 5, 1.0)),
        evaluation(4, 0.5),
    ]
}

fn panel<'a>(chart: &'a Chart, label: &str) -> &'a Panel {
    chart.panels.iter().find(|panel| panel.y_label == label).unwrap_or_else(|| panic!("{label}: {chart:?}"))
}

fn points<'a>(panel: &'a Panel, name: &str) -> &'a [(f64, f64)] {
    &panel.series.iter().find(|series| series.name == name).unwrap_or_else(|| panic!("{name}: {panel:?}")).points
}

#[test]
fn values_stand_at_the_share_of_operations_spent_before_them() {
    let chart = timeline("a run", &events(), 8).unwrap();
    let of = |label: &str| points(panel(&chart, label), "");
    assert_eq!(of("depth, blocks"), [(0.0, 1.0), (20.0, 3.0), (50.0, 2.0), (100.0, 2.0)]);
    assert_eq!(of("FLOPs an image"), [(0.0, 2.0), (20.0, 6.0), (50.0, 10.0), (100.0, 10.0)]);
    // The side is that of as many patches of 8 pixels.
    let sides: Vec<f64> = of("side, pixels").iter().map(|(_, y)| (y / 8.0).powi(2).round()).collect();
    assert_eq!(sides, [2.0, 2.0, 5.0, 5.0]);
    let loss = panel(&chart, "training loss");
    assert_eq!(points(loss, "each step"), [(0.0, 2.0), (10.0, 1.0), (20.0, 3.0), (50.0, 1.0)]);
    assert_eq!(points(loss, "mean of 20 steps")[2], (20.0, 2.0));
    // What comes after a step stands where that ended.
    assert_eq!((points(loss, "before a growth"), points(loss, "after it")), (&[(20.0, 1.25)][..], &[(20.0, 1.5)][..]));
    assert_eq!((loss.notes[0].text.as_str(), loss.notes[0].span), ("1.250 to 1.500", (12.0, 28.0)));
    let top1 = panel(&chart, "top-1, %");
    assert_eq!(points(top1, "the model"), [(20.0, 25.0), (100.0, 50.0)]);
    assert_eq!(points(top1, "the best of it and its running means"), [(20.0, 75.0), (100.0, 75.0)]);
    let time = panel(&chart, "time, s");
    assert_eq!(points(time, "training, waiting included"), [(10.0, 2.0), (20.0, 4.0), (50.0, 6.0), (100.0, 8.0)]);
    assert_eq!(points(time, "with evaluations").last(), Some(&(100.0, 14.0)));
    assert!(chart.subtitle.starts_with("80.0 FLOPs of training in 14.0 s"), "{}", chart.subtitle);
}

#[test]
fn each_stage_has_its_shares_and_where_it_ended() {
    let chart = timeline("a run", &events(), 8).unwrap();
    let took = panel(&chart, "of the run, %");
    assert_eq!(took.categories, ["stage 1, 1 blocks, 2 tokens", "stage 2, 2 blocks, 5 tokens"]);
    assert_eq!(points(took, "FLOPs"), [(0.0, 20.0), (1.0, 80.0)]);
    assert_eq!(points(took, "time of training"), [(0.0, 50.0), (1.0, 50.0)]);
    let ended = chart.panels.last().unwrap();
    assert_eq!(points(ended, "the model, in the stage's last evaluation"), [(0.0, 25.0), (1.0, 50.0)]);
    // The second stage is tinted, the growth dashed; the first panel has the names of both.
    let first = &chart.panels[0];
    assert_eq!((first.shades[0].span, first.references[0].at), ((20.0, 100.0), At::X(20.0)));
    assert!(!first.shades[0].name.is_empty() && !first.references[0].name.is_empty());
}

#[test]
fn without_growth_or_evaluations_the_rest_is_told_and_without_stages_nothing() {
    let plain = [step(0, (0, 2, 4, 2.0)), step(1, (1, 2, 9, 1.5)), step(2, (0, 2, 4, 1.0))];
    let chart = timeline("a run", &plain, 8).unwrap();
    assert!(chart.panels.iter().all(|panel| panel.y_label != "depth, blocks" && panel.y_label != "top-1, %"));
    let ended = chart.panels.last().unwrap();
    assert_eq!(ended.categories, ["stage 1, 4 tokens", "stage 2, 9 tokens", "stage 1, 4 tokens"]);
    assert_eq!(points(ended, "mean of its last 20 steps"), [(0.0, 2.0), (1.0, 1.5), (2.0, 1.0)]);
    // Stages that look alike have one text.
    assert_eq!(chart.panels[0].notes.len(), 3);
    assert!(timeline("a run", &plain[..1], 8).is_none() && timeline("a run", &[], 8).is_none());
    // An older version did not count.
    let mut old = plain.to_vec();
    let Event::Step { flops, .. } = &mut old[0] else { panic!("a step") };
    *flops = None;
    assert!(timeline("a run", &old, 8).is_none());
}

#[test]
fn texts_about_growths_that_are_near_each_other_stay_apart() {
    assert_eq!(about(&[20.0, 24.0, 95.0], 0), (18.0, 22.0));
    assert_eq!(about(&[20.0, 24.0, 95.0], 2), (90.0, 100.0));
    assert_eq!(about(&[50.0], 0), (42.0, 58.0));
}

#[test]
fn large_numbers_have_three_digits_and_a_prefix() {
    assert_eq!(scaled(5.838e12, "FLOPs"), "5.84 TFLOPs");
    assert_eq!([scaled(999.0, "x"), scaled(1000.0, "x"), scaled(0.0, "x")], ["999 x", "1.00 kx", "0.00 x"]);
    assert_eq!([time(59.0), time(600.0), time(7200.0 * 2.0)], ["59.0 s", "10.0 min", "4.00 h"]);
}

#[test]
fn a_search_shows_the_supernet_and_what_looking_at_its_parts_took() {
    let part = |number, depth, tokens| {
        let mut event = step(number, (0, depth, tokens, 2.0));
        let Event::Step { search, .. } = &mut event else { panic!("a step") };
        *search = true;
        event
    };
    let report = r#"{"event":"search","step":2,"progress":0.5,"begin":0.0,"stage":0,"candidates":[{"side":16,"depth":1}],
        "losses":[[2.0]],"costs":[2.0],"exponent":-0.1,"chosen":0,"seconds":1.0,"flops":8.0}"#;
    let report: Event = serde_json::from_str(report).unwrap();
    // 8, 24, 8 for looking, 8, 72.
    let events = [part(0, 1, 2), part(1, 2, 3), report, step(2, (0, 1, 2, 1.0)), step(3, (1, 2, 9, 1.0))];
    let chart = timeline("a run", &events, 8).unwrap();
    let of = |label: &str| points(panel(&chart, label), "");
    let at = |spent: f64| 100.0 * spent / 120.0;
    assert_eq!(of("depth, blocks"), [(0.0, 2.0), (at(40.0), 1.0), (at(48.0), 2.0), (100.0, 2.0)]);
    assert_eq!(of("FLOPs an image")[..2], [(0.0, 4.0), (at(40.0), 2.0)]);
    let took = panel(&chart, "of the run, %");
    assert_eq!(took.categories, ["1, search", "1: 1 blocks, 2 t.", "2: 2 blocks, 9 t."]);
    assert_eq!(points(took, "FLOPs")[0], (0.0, at(40.0)));
    assert_eq!(points(panel(&chart, "time, s"), "training, waiting included").last(), Some(&(100.0, 9.0)));
    let named =
        |color| chart.panels[0].shades.iter().find(|shade| shade.color == color).map(|shade| (&shade.name, shade.span));
    assert_eq!(named(SEARCH).unwrap().1, (0.0, at(40.0)));
    assert!(!named(SEARCH).unwrap().0.is_empty() && !named(STAGE).unwrap().0.is_empty());
    assert_eq!(super::changes(&events), [(0.5, 2, 3), (0.5, 1, 2), (0.5, 2, 9)]);
}
