//! A recipe in words and tables.

use super::shortened;
use crate::cli::table::table;
use crate::cli::transform::describe;
use crate::recipe::{Preset, Recipe};
use crate::schedule::{Schedule, Stage};

/// The recipes and policies there are.
pub(super) fn list() -> String {
    let row = |name: &str, about: &str| format!("{name:30}  {about}\n");
    let mut text: String = Preset::names().map(|(name, about)| row(name, &about)).collect();
    text += "\nAugmentation policies, for --augment or a recipe's `augment`:\n";
    text.extend(crate::augment::NAMES.iter().map(|(name, about)| row(name, about)));
    text
}

/// The settings as text, with the policy's operations.
pub(super) fn words(preset: &Preset, schedule: &Schedule) -> String {
    let mut text = settings(preset, schedule);
    if let Some((head, rows)) = policy(preset, schedule) {
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        text += &format!("\n{}", table(&head, &rows));
    }
    text
}

/// The settings, a line for each kind.
pub(super) fn settings(preset: &Preset, schedule: &Schedule) -> String {
    let Preset { name, about, transform, train, .. } = preset;
    let mut text = format!("{name}: {about}\n\ntransform  {}\n", describe(transform));
    let stages = schedule.stages();
    let first = &stages[0];
    text += &format!(
        "schedule   {}: {}{:.1} passes over the images ({:.1} decoded), {} stages, batches of {}\n",
        schedule.name(),
        match schedule.search() {
            Some(_) => "searched while training, ".to_owned(),
            None => format!("{} equivalent epochs at {} px, ", schedule.epochs(), schedule.base()),
        },
        schedule.image_epochs(),
        schedule.decoded_epochs(),
        stages.len(),
        first.effective_batch(),
    );
    text += &format!(
        "trainer    ViT `{}`, drop path {}, AdamW: rate {} to {}, warm-up {:.1} % of the {}, weight decay {}, clip {}, \
         label smoothing {}\n",
        train.model,
        train.drop_path,
        train.lr,
        train.min_lr,
        100.0 * train.warmup_under(schedule),
        schedule.clock(),
        train.weight_decay,
        train.clip,
        train.label_smoothing
    );
    if let Some(policy) = &transform.augment {
        text += &format!("\npolicy     {policy}\n");
    }
    text
}

/// What the policy can do, at the magnitudes of the first and the last stage: a header and rows.
pub(super) fn policy(preset: &Preset, schedule: &Schedule) -> Option<(Vec<String>, Vec<Vec<String>>)> {
    let recipe = &preset.transform;
    let policy = recipe.augment.as_ref()?;
    let (first, last) = (&schedule.stages()[0], &schedule.stages()[schedule.stages().len() - 1]);
    let magnitudes = [(first, 0.0), (last, 1.0)].map(|(s, progress)| recipe.magnitude_at(s, last.magnitude, progress));
    if !policy.follows_magnitude() || magnitudes[0] == magnitudes[1] {
        let rows: Vec<Vec<String>> = policy.describe(magnitudes[1]).into_iter().map(|(a, b)| vec![a, b]).collect();
        return Some((vec!["operation".into(), "argument".into()], rows));
    }
    let [early, late] = magnitudes.map(|magnitude| policy.describe(magnitude));
    let rows: Vec<Vec<String>> = early.into_iter().zip(late).map(|((name, a), (_, b))| vec![name, a, b]).collect();
    let mut head = vec!["operation".to_owned()];
    head.extend(magnitudes.map(|magnitude| format!("at magnitude {}", shortened(magnitude))));
    Some((head, rows))
}

/// Header of [`stage_rows`].
pub(super) fn stage_head(schedule: &Schedule) -> [&'static str; 6] {
    ["stage", schedule.clock(), "band", "magnitude", "batch", "passes"]
}

/// The schedule as a table, with the magnitudes that the recipe makes of it.
pub(super) fn stage_rows(recipe: &Recipe, schedule: &Schedule) -> Vec<Vec<String>> {
    let last = schedule.stages().last().expect("a schedule has stages").magnitude;
    let row = |(stage, passes): (&Stage, f64)| {
        let batch = match stage.accumulate {
            1 => stage.batch_size.to_string(),
            parts => format!("{parts} x {}", stage.batch_size),
        };
        vec![
            (stage.index + 1).to_string(),
            format!("{:.1} to {:.1} %", 100.0 * stage.start, 100.0 * stage.end),
            stage.band.to_string(),
            shortened(recipe.magnitude_at(stage, last, stage.start)).to_string(),
            batch,
            format!("{passes:.1}"),
        ]
    };
    schedule.stages().iter().zip(schedule.stage_image_epochs()).map(row).collect()
}
