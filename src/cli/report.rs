//! What a finished run tells on the terminal.

use super::live::{Cost, Input};
use super::table::table;
use crate::loader::{BadFile, Counters};
use crate::schedule::Schedule;
use crate::train::{History, SearchReport, StageTotal};
use serde::Serialize;

/// Lists files that something is wrong with; prints nothing where there are none.
pub(super) fn files(what: &str, files: &[BadFile]) {
    const SHOWN: usize = 10;
    if files.is_empty() {
        return;
    }
    println!("{} files {what}:", files.len());
    for file in files.iter().take(SHOWN) {
        println!("  {}: {} ({} times)", file.name, file.reason, file.times);
    }
    if files.len() > SHOWN {
        println!("  and {} more", files.len() - SHOWN);
    }
}

/// `summary.json`: the history, and what the loader and the reporting of this process took.
#[derive(Serialize)]
pub(super) struct File<'a> {
    #[serde(flatten)]
    pub(super) history: &'a History,
    pub(super) input: Counters,
    pub(super) reporting: Cost,
}

/// What each stage was, made and took, and their sums.
pub(super) fn stage_table(history: &History, schedule: &Schedule) -> String {
    let grows = schedule.depth().is_some();
    let mut header = vec!["stage", "band"];
    header.extend(grows.then_some("depth"));
    header.extend([
        "tokens",
        "steps",
        "images",
        "decoded",
        "images/s",
        "seconds",
        "of it waiting for input",
        "mean loss",
    ]);
    header.extend(grows.then_some("TFLOPs"));
    let patch = schedule.patch();
    let mut rows: Vec<Vec<String>> = history
        .stages
        .iter()
        .map(|s| {
            // Older versions did not keep the number of tokens.
            let tokens = if s.tokens > 0 { s.tokens } else { (s.band / patch).pow(2) as usize };
            let mut row = vec![format!("{}{}", s.stage + 1, if s.search { " search" } else { "" }), s.band.to_string()];
            row.extend(grows.then(|| s.depth.to_string()));
            row.extend([
                tokens.to_string(),
                s.steps.to_string(),
                s.images.to_string(),
                s.fresh.to_string(),
                format!("{:.0}", s.images_per_second()),
                format!("{:.1}", s.wall()),
                format!("{:.2} %", s.wait_share() * 100.0),
                format!("{:.3}", s.mean_loss()),
            ]);
            row.extend(grows.then(|| format!("{:.3}", s.flops * 1e-12)));
            row
        })
        .collect();
    let sum = |f: fn(&StageTotal) -> f64| history.stages.iter().map(f).sum::<f64>();
    let looks = |f: fn(&SearchReport) -> f64| history.searches.iter().map(f).sum::<f64>();
    let (looking, looked) = (looks(|s| s.seconds), looks(|s| s.flops));
    if !history.searches.is_empty() {
        let mut row = vec!["looks".to_owned()];
        row.resize(header.len(), String::new());
        row[header.len() - 4] = format!("{looking:.1}");
        row[header.len() - 1] = format!("{:.3}", looked * 1e-12);
        rows.push(row);
    }
    let (images, wall) = (sum(|s| s.images as f64), sum(|s| s.wall()) + looking);
    let mut all = vec!["all".into(), String::new()];
    all.extend(grows.then(String::new));
    all.extend([
        String::new(),
        format!("{:.0}", sum(|s| s.steps as f64)),
        format!("{images:.0}"),
        format!("{:.0}", sum(|s| s.fresh as f64)),
        format!("{:.0}", images / wall.max(1e-9)),
        format!("{wall:.1}"),
        format!("{:.2} %", sum(|s| s.wait) / wall.max(1e-9) * 100.0),
        String::new(),
    ]);
    all.extend(grows.then(|| format!("{:.3}", (sum(|s| s.flops) + looked) * 1e-12)));
    rows.push(all);
    table(&header, &rows)
}

/// What a search could choose from, and what it chose.
pub(super) fn candidates(search: &SearchReport) -> String {
    let header = ["", "side", "depth", "loss", "cost"];
    let losses = search.mean_losses();
    let most = search.costs.iter().copied().fold(0.0, f64::max);
    let rows: Vec<Vec<String>> = (0..search.candidates.len())
        .map(|i| {
            vec![
                if i == search.chosen { ">" } else { "" }.to_owned(),
                search.candidates[i].side.to_string(),
                search.candidates[i].depth.to_string(),
                format!("{:.4}", losses[i]),
                format!("{:.2}", search.costs[i] / most),
            ]
        })
        .collect();
    format!("{}loss goes with cost to the power of {:.3}", table(&header, &rows), search.exponent)
}

/// One sentence: who waited for whom.
pub(super) fn bottleneck(history: &History, counters: &Counters) -> String {
    let wait: f64 = history.stages.iter().map(|s| s.wait).sum();
    let wall: f64 = history.stages.iter().map(|s| s.wall()).sum();
    let share = wait / wall.max(1e-9);
    // A run that was over already: this process's loader made nothing, and there is nothing to say of it.
    if counters.images + counters.replayed == 0 {
        return format!("input  {:.2} % of the training time spent waiting.", share * 100.0);
    }
    let each = 1e3 / counters.images.max(1) as f64;
    // Images of the replay buffer are rendered, too.
    let made = 1e3 / (counters.images + counters.replayed).max(1) as f64;
    let input = Input::from(*counters);
    // ", decode most of all".
    let most =
        |before: &str| input.largest().map_or(String::new(), |(part, _)| format!(", {before}{part} most of all"));
    let verdict = match share {
        s if s < 0.02 => "The model is the bottleneck; the loader keeps up.".to_owned(),
        s if s < 0.2 => format!("The model waits for the loader now and then{}.", most("for ")),
        _ => format!("The loader is the bottleneck{}: give it more workers, or a smaller band for longer.", most("")),
    };
    let idle = input.shares().map_or(0.0, |shares| shares[5].1);
    let replayed = match counters.replayed {
        0 => String::new(),
        n => format!("; {n} more came from the replay buffer"),
    };
    format!(
        "input  {:.2} % of the training time spent waiting; {} images were decoded, each took {:.2} ms to read, {:.2} ms to \
         decode, {:.2} ms to augment, {:.2} ms to crop, band and normalise{replayed}; workers idled {:.0} % of their time. {verdict}",
        share * 100.0,
        counters.images,
        counters.read * each,
        counters.decode * each,
        counters.augment * made,
        counters.band * made,
        idle * 100.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(wait: f64) -> History {
        let stage = StageTotal { steps: 9, images: 90, wait, compute: 1.0 - wait, ..StageTotal::default() };
        History { stages: vec![stage], ..History::default() }
    }

    #[test]
    fn the_stage_table_has_depth_where_the_model_grows() {
        let total = StageTotal { depth: 6, tokens: 64, flops: 2.5e12, band: 128, ..StageTotal::default() };
        let history = History { stages: vec![total], ..History::default() };
        let options = crate::schedule::Options::default();
        let text = |name| stage_table(&history, &Schedule::named(name, &options).unwrap());
        let grown = text("auto_prog");
        assert!(grown.contains("depth") && grown.contains("TFLOPs") && grown.contains("2.500"), "{grown}");
        assert!(!text("constant").contains("depth"));
    }

    #[test]
    fn a_loader_that_made_nothing_is_not_judged() {
        assert_eq!(
            bottleneck(&history(0.25), &Counters::default()),
            "input  25.00 % of the training time spent waiting."
        );
        let counters = Counters { images: 90, decode: 0.18, band: 0.09, ..Counters::default() };
        let said = bottleneck(&history(0.25), &counters);
        assert!(said.contains("90 images were decoded") && said.contains("2.00 ms to decode"), "{said}");
        assert!(said.contains("The loader is the bottleneck, decode most of all: give"), "{said}");
        assert!(bottleneck(&history(0.1), &counters).ends_with("now and then, for decode most of all."));
        // No clock ran: no part is named.
        let untimed = Counters { images: 90, ..Counters::default() };
        assert!(bottleneck(&history(0.1), &untimed).ends_with("for the loader now and then."));
        assert!(bottleneck(&history(0.25), &untimed).contains("is the bottleneck: give"));
    }
}
