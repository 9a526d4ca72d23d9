//! The report of a measurement: one form for the four commands, written and read as JSON.

use super::super::machine::{self, Machine};
use super::cache::Cache;
use super::options::Common;
use super::rounds::Measured;
use crate::{Error, Recipe, Result, Source};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Name and version of the form. Fields may be added under the same number; one whose meaning changes takes another.
pub(super) const FORMAT: &str = "bandfeed bench 1";

/// Which command made a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Decode,
    Crop,
    Loader,
    Train,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Decode => "decode",
            Self::Crop => "crop",
            Self::Loader => "loader",
            Self::Train => "train",
        })
    }
}

/// What names a row, and what it was measured with.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Key {
    /// Number of the schedule's stage, from 1, where stages were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stage: Option<usize>,
    /// Side of the images made in pixels; `None` where images are decoded whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) band: Option<u32>,
    /// Worker threads.
    pub(super) workers: usize,
    /// State of the page cache; `None` where no file is read in a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cache: Option<Cache>,
    /// `own` or `libjpeg-turbo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) decoder: Option<String>,
    /// How the band is cut; `none` at the base size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) crop: Option<String>,
    /// Of `bench train`: `model`, `loader` or `both`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<String>,
    /// RandAugment's, where the recipe has it. This and `replay` do not name a row: [`Key::is_same_row`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) magnitude: Option<f64>,
    /// Uses of a decoded image; 1 is no replay. `None` where no loader is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replay: Option<u32>,
}

/// The crop of a row at the base size.
pub(super) const NOT_CUT: &str = "none";

impl Key {
    /// In words, for lists: `stage 3, 160 px, 2 workers, cold`.
    pub(super) fn words(&self) -> String {
        let mut words = Vec::new();
        words.extend(self.stage.map(|number| format!("stage {number}")));
        words.push(self.band.map_or("whole".into(), |band| format!("{band} px")));
        words.extend(self.series());
        words.join(", ")
    }

    /// All but band and stage, in words.
    pub(super) fn series(&self) -> Vec<String> {
        let mut words = Vec::new();
        words.extend(self.part.clone());
        words.extend(self.decoder.clone());
        words.extend(self.crop.clone().filter(|crop| crop != NOT_CUT));
        words.push(match self.workers {
            1 => "1 worker".into(),
            n => format!("{n} workers"),
        });
        words.extend(self.cache.map(|cache| cache.to_string()));
        words
    }

    /// Whether this is another report's row of the same name. It may have been measured with another magnitude or replay, which
    /// older reports do not tell.
    pub(super) fn is_same_row(&self, other: &Self) -> bool {
        let name = |key: &Self| Self { magnitude: None, replay: None, ..key.clone() };
        name(self) == name(other)
    }

    /// Whether two rows differ in band and stage only. What is not cut belongs to every way of cutting.
    pub(super) fn is_of_one_series(&self, other: &Self) -> bool {
        let uncut = |key: &Self| key.crop.as_deref() == Some(NOT_CUT);
        let crop = self.crop == other.crop || uncut(self) || uncut(other);
        (self.workers, self.cache, &self.decoder, &self.part)
            == (other.workers, other.cache, &other.decoder, &other.part)
            && crop
    }
}

/// One thing measured: all its windows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) key: Key,
    /// Median over the rounds.
    pub(super) images_per_second: f64,
    /// Smallest and largest of the rounds.
    pub(super) min: f64,
    pub(super) max: f64,
    /// Median over the base size's median, all else equal; absent where the base was not measured.
    #[serde(default)]
    pub(super) relative: Option<f64>,
    /// Images a second that equal compute asks for, relative to the base: `(base / band)^2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) needed: Option<f64>,
    /// Encoded bytes that were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) megabytes_per_second: Option<f64>,
    /// Encoded bytes that were looked at for an image, in kB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) looked_at_kb: Option<f64>,
    /// What the system fetched from the disk for an image, in kB; told for windows that begin cold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) disk_kb: Option<f64>,
    /// Launches on the device for a batch, mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) launches: Option<f64>,
    /// Bytes to the device for an image, in kB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uploaded_kb: Option<f64>,
    /// Bytes from the device for an image, in kB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) downloaded_kb: Option<f64>,
    /// Pixels that the decoder handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) megapixels_per_second: Option<f64>,
    /// Processor time of one image in milliseconds, the whole process; absent where the system does not tell.
    #[serde(default)]
    pub(super) cpu_ms_per_image: Option<f64>,
    /// Worker time of one image in milliseconds, by part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) read_ms: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) decode_ms: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) render_ms: Option<f64>,
    /// Share of the images that were decoded without libjpeg-turbo, `0..=1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) own_share: Option<f64>,
    /// Share of the images that were decoded with the help of a side index, `0..=1`; absent where none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) indexed_share: Option<f64>,
    /// Share of the time that the model waited for a batch, `0..=1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) wait_share: Option<f64>,
    /// Share of the files' pages in memory when the windows began, `0..=1`, mean over the rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resident: Option<f64>,
    /// Images over all rounds.
    #[serde(default)]
    pub(super) images: u64,
    /// Images a second in each round.
    #[serde(default)]
    pub(super) rates: Vec<f64>,
}

/// Settings, machine and rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    /// [`FORMAT`].
    pub(super) format: String,
    pub(super) kind: Kind,
    /// When it was written, UTC.
    pub(super) date: String,
    /// [`Machine`] as it is; other versions have more fields or fewer.
    pub(super) machine: Value,
    pub(super) engine: String,
    pub(super) source: String,
    pub(super) images: usize,
    pub(super) base: u32,
    /// Of a window.
    pub(super) seconds: f64,
    pub(super) rounds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) batch_size: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prefetch: Option<usize>,
    /// The transform.
    pub(super) recipe: Value,
    /// How the band is cut where all rows are cut alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) crop: Option<String>,
    pub(super) scale_margin: f64,
    /// Uses of a decoded image where all rows have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replay: Option<u32>,
    /// Batches' worth of new images, where `--replay` was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replay_capacity: Option<u32>,
    /// Whose stages were measured, where stages were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) schedule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seed: Option<u64>,
    /// Side of the model's patches in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) patch: Option<u32>,
    /// Shape of the model and the threads that train it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) model: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) threads: Option<usize>,
    #[serde(default)]
    pub(super) peak_memory_bytes: Option<u64>,
    /// The system's load average over the minute before: other programs, and what was run just before.
    #[serde(default)]
    pub(super) load_before: f64,
    /// Files that gave no image.
    #[serde(default)]
    pub(super) bad_files: usize,
    /// Resident memory of the process after each round.
    #[serde(default)]
    pub(super) memory_after_round_bytes: Vec<u64>,
    pub(super) rows: Vec<Row>,
}

impl Report {
    /// What every command has to say.
    pub(super) fn new(
        kind: Kind,
        common: &Common,
        source: &dyn Source,
        recipe: &Recipe,
        scale_margin: f64,
        measured: Measured,
    ) -> Self {
        let value = |result: serde_json::Result<Value>| result.expect("machines and recipes are plain data");
        let mut rows = measured.rows;
        relate(&mut rows, common.base);
        Self {
            format: FORMAT.into(),
            kind,
            date: utc(SystemTime::now()),
            machine: value(serde_json::to_value(Machine::this())),
            engine: common.device.to_string(),
            source: common.source.clone(),
            images: source.len(),
            base: common.base,
            seconds: common.seconds,
            rounds: common.rounds(),
            batch_size: None,
            prefetch: None,
            recipe: value(serde_json::to_value(recipe)),
            crop: None,
            scale_margin,
            replay: None,
            replay_capacity: None,
            schedule: common.schedule_of_stages(),
            seed: Some(common.seed),
            patch: None,
            model: Value::Null,
            threads: None,
            peak_memory_bytes: machine::peak_memory(),
            load_before: measured.load,
            bad_files: measured.bad_files,
            memory_after_round_bytes: measured.memory,
            rows,
        }
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("a report is plain data")
    }

    /// Reads a report back.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no such file; [`Error::Source`] if it is no report, or of a form that is not known here.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let wrong = |reason: String| Error::source(path, reason);
        let form = "`bandfeed bench ... --out FILE.json` writes one";
        let value: Value =
            serde_json::from_str(&text).map_err(|e| wrong(format!("is no report of bandfeed bench: {e}; {form}")))?;
        match value.get("format").and_then(Value::as_str) {
            Some(FORMAT) => {}
            Some(other) => return Err(wrong(format!("has the format `{other}`, expected `{FORMAT}`; {form}"))),
            None => return Err(wrong(format!("is no report of bandfeed bench: no \"format\": \"{FORMAT}\"; {form}"))),
        }
        let damaged = |what: String| wrong(format!("is a damaged report of bandfeed bench: {what}; {form}"));
        let report: Self = serde_json::from_value(value).map_err(|e| damaged(e.to_string()))?;
        for row in &report.rows {
            if [row.images_per_second, row.min, row.max].iter().any(|rate| !(rate.is_finite() && *rate > 0.0)) {
                return Err(damaged(format!(
                    "images_per_second, min and max of `{}` are not all above 0",
                    row.key.words()
                )));
            }
        }
        Ok(report)
    }

    /// The series' words that tell this report's rows apart.
    pub(super) fn series(&self, key: &Key) -> String {
        let all: Vec<Vec<String>> = self.rows.iter().map(|row| row.key.series()).collect();
        let own = key.series();
        let telling: Vec<String> =
            own.iter().filter(|word| !all.iter().all(|words| words.contains(word))).cloned().collect();
        if telling.is_empty() { own.join(", ") } else { telling.join(", ") }
    }
}

/// Sets each row's rate relative to the base size's, and what equal compute asks for.
pub(super) fn relate(rows: &mut [Row], base: u32) {
    for row in rows.iter_mut() {
        row.needed = row.key.band.map(|band| (f64::from(base) / f64::from(band)).powi(2));
    }
    let bases: Vec<(Key, f64)> = rows
        .iter()
        .filter(|row| row.key.band == Some(base))
        .map(|row| (row.key.clone(), row.images_per_second))
        .collect();
    for row in rows.iter_mut().filter(|row| row.key.band.is_some()) {
        // Of several stages at the base size the last is the one that a run ends with; the row itself is nearest to itself.
        let own = bases.iter().find(|(key, _)| *key == row.key);
        let base = own.or_else(|| bases.iter().rfind(|(key, _)| key.is_of_one_series(&row.key)));
        row.relative = base.map(|(_, rate)| row.images_per_second / rate);
    }
}

/// `2026-11-24 17:05 UTC`.
fn utc(time: SystemTime) -> String {
    let minutes = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 60);
    let (days, minute) = (minutes / (24 * 60), minutes % (24 * 60));
    // Years that begin in March have their leap day at the end (Hinnant, "chrono-compatible low-level date algorithms").
    let from_march = days + 719_468;
    let (era, day) = (from_march / 146_097, from_march % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = 400 * era + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minute / 60, minute % 60)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::time::Duration;

    /// A report with a row for each `(band, median, min, max)`, by two workers.
    pub(in super::super) fn fixed(rows: &[(u32, f64, f64, f64)]) -> Report {
        let row = |&(band, rate, min, max): &(u32, f64, f64, f64)| Row {
            key: Key { band: Some(band), workers: 2, cache: Some(Cache::Warm), ..Key::default() },
            images_per_second: rate,
            min,
            max,
            ..Row::default()
        };
        let mut rows: Vec<Row> = rows.iter().map(row).collect();
        relate(&mut rows, 224);
        Report {
            format: FORMAT.into(),
            kind: Kind::Loader,
            date: "2026-11-24 12:00 UTC".into(),
            machine: serde_json::json!({ "cpu": "A processor", "cores": 2, "simd": "AVX2", "system": "linux x86_64" }),
            engine: "cpu".into(),
            source: "train.tar".into(),
            images: 200,
            base: 224,
            seconds: 3.0,
            rounds: 3,
            batch_size: Some(64),
            prefetch: Some(4),
            recipe: serde_json::json!({ "flip": 0.5 }),
            crop: Some("lanczos".into()),
            scale_margin: 2.0,
            replay: Some(1),
            replay_capacity: None,
            schedule: None,
            seed: Some(0),
            patch: None,
            model: Value::Null,
            threads: None,
            peak_memory_bytes: None,
            load_before: 0.0,
            bad_files: 0,
            memory_after_round_bytes: Vec::new(),
            rows,
        }
    }

    #[test]
    fn needed_is_the_square_of_the_sides_and_rates_are_relative_to_the_base() {
        let report =
            fixed(&[(96, 2000.0, 1900.0, 2100.0), (160, 1500.0, 1400.0, 1600.0), (224, 1000.0, 990.0, 1010.0)]);
        // The loads of the papers' schedule: 5.44, 1.96, 1.
        let needed: Vec<f64> = report.rows.iter().map(|row| (row.needed.unwrap() * 100.0).round() / 100.0).collect();
        assert_eq!(needed, [5.44, 1.96, 1.0]);
        assert_eq!(report.rows.iter().map(|row| row.relative.unwrap()).collect::<Vec<_>>(), [2.0, 1.5, 1.0]);
    }

    #[test]
    fn rates_are_relative_to_the_base_of_their_own_series() {
        let row = |band, workers, crop: &str, rate| Row {
            key: Key { band: Some(band), workers, crop: Some(crop.into()), ..Key::default() },
            images_per_second: rate,
            ..Row::default()
        };
        let mut rows = [
            row(96, 1, "fourier", 300.0),
            row(96, 2, "lanczos", 900.0),
            row(224, 1, NOT_CUT, 100.0),
            row(224, 2, NOT_CUT, 200.0),
            row(96, 4, "lanczos", 900.0),
        ];
        relate(&mut rows, 224);
        assert_eq!(rows.map(|row| row.relative), [Some(3.0), Some(4.5), Some(1.0), Some(1.0), None]);
    }

    #[test]
    fn a_report_is_the_same_after_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        let report = fixed(&[(96, 2000.123, 1900.0, 2100.0), (224, 1000.0, 990.0, 1010.0)]);
        std::fs::write(&path, report.json()).unwrap();
        assert_eq!(Report::read(&path).unwrap(), report);
        // One written before these were.
        let mut old = serde_json::to_value(&report).unwrap();
        old.as_object_mut().unwrap().remove("seed").unwrap();
        std::fs::write(&path, old.to_string()).unwrap();
        assert_eq!(Report::read(&path).unwrap(), Report { seed: None, ..report });
    }

    #[test]
    fn files_that_are_no_report_say_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        let error = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Report::read(&path).unwrap_err().to_string()
        };
        for (text, part) in [
            ("band 96", "is no report"),
            ("{\"rows\": []}", "no \"format\""),
            ("{\"format\": \"bandfeed bench 2\"}", "`bandfeed bench 2`, expected `bandfeed bench 1`"),
            (
                "{\"format\": \"bandfeed bench 1\", \"kind\": \"loader\"}",
                "damaged report of bandfeed bench: missing field",
            ),
        ] {
            let error = error(text);
            assert!(error.contains("report.json: ") && error.contains(part) && error.contains("--out"), "{error}");
        }
        let zero = error(&fixed(&[(96, 0.0, 0.0, 1.0)]).json());
        assert!(zero.contains("damaged report") && zero.contains("96 px, 2 workers, warm"), "{zero}");
        assert!(matches!(Report::read(&folder.path().join("none")), Err(Error::Io { .. })));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00 UTC");
        assert_eq!(at(951_827_696), "2000-02-29 12:34 UTC");
        assert_eq!(at(1_795_539_900), "2026-11-24 17:05 UTC");
        assert_eq!(at(4_107_542_399), "2100-02-28 23:59 UTC");
        assert_eq!(at(4_107_542_400), "2100-03-01 00:00 UTC");
    }
}
