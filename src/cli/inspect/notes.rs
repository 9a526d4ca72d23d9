//! What is notable in a data set, and what to do about it.

use super::dataset::{Class, Report};

/// Shares below this are not worth a sentence about speed or quality.
const NOTABLE: f64 = 0.01;
/// A class with this many times the images of another.
const UNEVEN: f64 = 2.0;
/// Images this many times as large as training needs them.
const OVERSIZED: u64 = 4;

/// One sentence for each thing.
pub(super) fn of(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    let share = |part: u64| part as f64 / report.readable.max(1) as f64;
    let part = |part: u64| format!("{part} of {} images ({:.1} %)", report.readable, 100.0 * share(part));
    let unreadable = report.unreadable.files.len();
    if unreadable > 0 {
        let them = if unreadable == 1 { "it" } else { "them" };
        notes.push(format!(
            "{} {} no image: fetch {them} again or remove {them}. In training by default another sample takes the place of such a \
             file; `--on-bad-file fail` ends the run at it.",
            files(unreadable),
            if unreadable == 1 { "gives" } else { "give" }
        ));
    }
    let damaged = report.damaged.files.len();
    if damaged > 0 {
        notes.push(format!(
            "{} {} damaged: the missing parts come out gray or wrong, and the image is used all the same. Fetch them again.",
            files(damaged),
            if damaged == 1 { "is" } else { "are" }
        ));
    }
    let small = report.below_base.images;
    if share(small) >= NOTABLE {
        let side = report.below_base.side;
        notes.push(format!(
            "{} have a side below the base size {side}: their crops are enlarged, and hold no more than a smaller `--base` would.",
            part(small)
        ));
    }
    let progressive: u64 =
        report.jpeg.processes.iter().filter(|(name, _)| name.starts_with("progressive")).map(|(_, n)| n).sum();
    if share(progressive) >= NOTABLE {
        notes.push(format!(
            "{} are progressive JPEGs, which leave the own decoder and are read whole, scan by scan. `jpegtran -copy \
             all -optimize` makes them sequential without loss, and keeps their EXIF orientation.",
            part(progressive)
        ));
    }
    let others = report.readable - report.formats.get("JPEG").copied().unwrap_or(0);
    if share(others) >= NOTABLE {
        notes.push(format!("{} are not JPEG: they are decoded whole, whatever the crop needs.", part(others)));
    }
    if let Some(shorter) =
        report.shorter_side.filter(|side| side.median > OVERSIZED * u64::from(report.below_base.side))
    {
        notes.push(format!(
            "Half of the images have a shorter side of {} px or more, {:.0} times the base size: copies reduced to {} px would \
             take less reading and decoding.",
            shorter.median,
            shorter.median as f64 / f64::from(report.below_base.side),
            2 * report.below_base.side
        ));
    }
    notes.extend(uneven(&report.classes));
    notes
}

fn files(n: usize) -> String {
    if n == 1 { "1 file".into() } else { format!("{n} files") }
}

fn uneven(classes: &[Class]) -> Option<String> {
    let empty = classes.iter().filter(|class| class.images == 0).count();
    if empty > 0 {
        return Some(format!("{empty} of {} classes have no images.", classes.len()));
    }
    let (least, most) =
        (classes.iter().min_by_key(|class| class.images)?, classes.iter().max_by_key(|class| class.images)?);
    let ratio = most.images as f64 / least.images as f64;
    (ratio >= UNEVEN).then(|| {
        format!(
            "Classes are uneven: `{}` has {ratio:.1} times the images of `{}` ({} and {}).",
            most.name, least.name, most.images, least.images
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(images: &[u64]) -> Vec<Class> {
        images.iter().enumerate().map(|(n, &images)| Class { name: format!("c{n}"), images }).collect()
    }

    #[test]
    fn uneven_and_empty_classes_are_named() {
        assert_eq!(uneven(&classes(&[10, 15, 19])), None);
        assert_eq!(
            uneven(&classes(&[10, 25, 12])).unwrap(),
            "Classes are uneven: `c1` has 2.5 times the images of `c0` (25 and 10)."
        );
        assert_eq!(uneven(&classes(&[10, 0, 12])).unwrap(), "1 of 3 classes have no images.");
    }
}
