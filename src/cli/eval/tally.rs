//! Counts over scores.

use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

/// What came of the images so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) images: u64,
    pub(super) top1: u64,
    pub(super) top5: u64,
    /// Sum of the cross-entropies.
    pub(super) loss: f64,
    /// Images by true class and by the class with the best score.
    confusion: BTreeMap<(usize, usize), u64>,
}

/// One class of the images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Class {
    pub(super) class: String,
    pub(super) images: u64,
    pub(super) top1: f64,
    /// The wrong class that got the best score most often, the first of equals.
    pub(super) taken_for: Option<String>,
    /// How often.
    pub(super) taken: u64,
}

impl Tally {
    /// Counts an image. An equal score of an earlier class counts as better, as in training; a score that is not a number is
    /// never right.
    pub(super) fn add(&mut self, scores: &[f32], label: usize) {
        let own = scores[label];
        let better = scores.iter().enumerate().filter(|&(class, &s)| s > own || (s == own && class < label)).count();
        self.images += 1;
        self.top1 += u64::from(better < 1 && !own.is_nan());
        self.top5 += u64::from(better < 5 && !own.is_nan());
        let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = scores.iter().map(|&s| f64::from(s - highest).exp()).sum();
        self.loss += sum.ln() - f64::from(own - highest);
        let guess = scores.iter().position(|&s| s == highest).unwrap_or(0);
        *self.confusion.entry((label, guess)).or_default() += 1;
    }

    /// The classes that there are images of, the worst first.
    pub(super) fn classes(&self, names: &[String]) -> Vec<Class> {
        let mut classes: BTreeMap<usize, (u64, u64, Option<usize>, u64)> = BTreeMap::new();
        for (&(label, guess), &times) in &self.confusion {
            let (images, right, taken_for, taken) = classes.entry(label).or_default();
            *images += times;
            if label == guess {
                *right += times;
            } else if times > *taken {
                (*taken_for, *taken) = (Some(guess), times);
            }
        }
        let class = |(label, (images, right, taken_for, taken)): (usize, (u64, u64, Option<usize>, u64))| Class {
            class: names[label].clone(),
            images,
            top1: right as f64 / images as f64,
            taken_for: taken_for.map(|guess| names[guess].clone()),
            taken,
        };
        let mut classes: Vec<Class> = classes.into_iter().map(class).collect();
        classes.sort_by(|a, b| a.top1.total_cmp(&b.top1).then(b.images.cmp(&a.images)));
        classes
    }

    /// The classes that an image is of or is taken for, and the counts among them: rows are the true classes.
    pub(super) fn matrix(&self, names: &[String]) -> (Vec<String>, Vec<Vec<u64>>) {
        let mut seen: Vec<usize> = self.confusion.keys().flat_map(|&(label, guess)| [label, guess]).collect();
        seen.sort_unstable();
        seen.dedup();
        let mut counts = vec![vec![0; seen.len()]; seen.len()];
        let place = |class: usize| seen.binary_search(&class).expect("every class was collected");
        for (&(label, guess), &times) in &self.confusion {
            counts[place(label)][place(guess)] = times;
        }
        (seen.into_iter().map(|class| names[class].clone()).collect(), counts)
    }

    /// The same as comma-separated values, with names.
    pub(super) fn write_csv(&self, names: &[String], path: &Path) -> std::io::Result<()> {
        let quoted = |name: &String| match name.contains([',', '"', '\n']) {
            true => format!("\"{}\"", name.replace('"', "\"\"")),
            false => name.clone(),
        };
        let (names, counts) = self.matrix(names);
        let names: Vec<String> = names.iter().map(quoted).collect();
        let mut file = BufWriter::new(std::fs::File::create(path)?);
        writeln!(file, "true class,{}", names.join(","))?;
        for (name, row) in names.iter().zip(counts) {
            let row: Vec<String> = row.iter().map(u64::to_string).collect();
            writeln!(file, "{name},{}", row.join(","))?;
        }
        file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let mut tally = Tally::default();
        // Two of the first class right, one taken for the third; one of the third taken for the first.
        tally.add(&[2.0, 0.0, 1.0], 0);
        tally.add(&[2.0, 0.0, 1.0], 0);
        tally.add(&[0.0, 0.0, 1.0], 0);
        tally.add(&[2.0, 0.0, 1.0], 2);
        tally
    }

    #[test]
    fn figures_are_those_worked_by_hand() {
        let tally = tally();
        assert_eq!((tally.images, tally.top1, tally.top5), (4, 2, 4));
        // ln(1 + e^-1 + e^-2) above the best score: 0.407606; ln(2 + e) = 1.551445.
        let expected = 2.0 * 0.407_606 + 1.551_445 + 1.407_606;
        assert!((tally.loss - expected).abs() < 1e-5, "{}", tally.loss);
        let names = ["a", "b", "c"].map(String::from);
        let classes = tally.classes(&names);
        assert_eq!(classes.iter().map(|c| c.class.as_str()).collect::<Vec<_>>(), ["c", "a"]);
        assert_eq!((classes[1].images, classes[1].taken_for.as_deref(), classes[1].taken), (3, Some("c"), 1));
        // Nothing is of b or taken for it.
        assert_eq!(tally.matrix(&names), (vec!["a".into(), "c".into()], vec![vec![2, 1], vec![1, 0]]));
    }

    #[test]
    fn scores_that_are_no_numbers_are_wrong() {
        let mut tally = Tally::default();
        tally.add(&[f32::NAN, f32::NAN], 0);
        assert_eq!((tally.images, tally.top1, tally.top5), (1, 0, 0));
    }
}
