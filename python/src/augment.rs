//! Augmentation alone: what a policy draws, what an operation does, and what the loader would make of an image.

use crate::errors::{self, OrRaise};
use crate::functional::{fits_stage, render, size_of, transform, values};
use crate::schedule::Stage;
use bandfeed::augment::{Augmenter, Interpolation, Op, Policy, Sampling};
use bandfeed::plan::{self, SampleKey, SamplePlan};
use bandfeed::recipe::Recipe;
use pyo3::prelude::*;
use pyo3::types::PyByteArray;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(draw_operations, module)?)?;
    module.add_function(wrap_pyfunction!(apply_operations, module)?)?;
    module.add_function(wrap_pyfunction!(training_plan, module)?)?;
    module.add_function(wrap_pyfunction!(training_transform, module)?)
}

/// Height and width, the order of array shapes.
type Sides = (u32, u32);

/// Name, argument and interpolation of an operation, of those that have them.
type Named = (String, Option<f64>, Option<String>);

/// The operations that Python can name, with what their argument is.
const NAMES: [&str; 18] = [
    "AutoContrast",
    "Equalize",
    "Invert",
    "Grayscale",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "Rotate",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "GaussianBlur",
    "Hue",
];

fn sampling_name(sampling: Sampling) -> String {
    match sampling {
        Sampling::Nearest => "nearest",
        Sampling::Bilinear => "bilinear",
        Sampling::Bicubic => "bicubic",
    }
    .into()
}

/// An operation as Python has it.
fn to_named(op: &Op) -> PyResult<Named> {
    let (name, argument, sampling) = match *op {
        Op::AutoContrast => ("AutoContrast", None, None),
        Op::Equalize => ("Equalize", None, None),
        Op::Invert => ("Invert", None, None),
        Op::Grayscale => ("Grayscale", None, None),
        Op::Posterize { bits } => ("Posterize", Some(bits.into()), None),
        Op::Solarize { threshold } => ("Solarize", Some(threshold.into()), None),
        Op::SolarizeAdd { add } => ("SolarizeAdd", Some(add.into()), None),
        Op::Color { factor } => ("Color", Some(factor.into()), None),
        Op::Contrast { factor } => ("Contrast", Some(factor.into()), None),
        Op::Brightness { factor } => ("Brightness", Some(factor.into()), None),
        Op::Sharpness { factor } => ("Sharpness", Some(factor.into()), None),
        Op::Rotate { degrees, sampling } => ("Rotate", Some(degrees), Some(sampling)),
        Op::ShearX { factor, sampling } => ("ShearX", Some(factor), Some(sampling)),
        Op::ShearY { factor, sampling } => ("ShearY", Some(factor), Some(sampling)),
        Op::TranslateX { share, sampling } => ("TranslateX", Some(share), Some(sampling)),
        Op::TranslateY { share, sampling } => ("TranslateY", Some(share), Some(sampling)),
        Op::GaussianBlur { radius } => ("GaussianBlur", Some(radius.into()), None),
        Op::Hue { shift } => ("Hue", Some(shift), None),
        other => return Err(errors::config("operation", format!("{other} has no name in Python"))),
    };
    Ok((name.into(), argument, sampling.map(sampling_name)))
}

/// An operation that Python names.
fn from_named((name, argument, interpolation): &Named) -> PyResult<Op> {
    let bad = |reason: String| errors::config(name, reason);
    let number = || argument.ok_or_else(|| bad("needs an argument".into()));
    let whole = |most: u16| {
        let value = number()?;
        let fits = value.fract() == 0.0 && (0.0..=f64::from(most)).contains(&value);
        if fits { Ok(value as u16) } else { Err(bad(format!("{value}: expected a whole number in 0..={most}"))) }
    };
    let small = |value: f64| value as f32;
    let sampling = || match interpolation.as_deref().unwrap_or("bicubic") {
        "nearest" => Ok(Sampling::Nearest),
        "bilinear" => Ok(Sampling::Bilinear),
        "bicubic" => Ok(Sampling::Bicubic),
        other => {
            Err(errors::config("interpolation", format!("`{other}` is not known; use nearest, bilinear or bicubic")))
        }
    };
    let op = match name.as_str() {
        "AutoContrast" => Op::AutoContrast,
        "Equalize" => Op::Equalize,
        "Invert" => Op::Invert,
        "Grayscale" => Op::Grayscale,
        "Posterize" => Op::Posterize { bits: whole(8)? as u8 },
        "Solarize" => Op::Solarize { threshold: whole(256)? },
        "SolarizeAdd" => Op::SolarizeAdd { add: whole(255)? as u8 },
        "Color" => Op::Color { factor: small(number()?) },
        "Contrast" => Op::Contrast { factor: small(number()?) },
        "Brightness" => Op::Brightness { factor: small(number()?) },
        "Sharpness" => Op::Sharpness { factor: small(number()?) },
        "Rotate" => Op::Rotate { degrees: number()?, sampling: sampling()? },
        "ShearX" => Op::ShearX { factor: number()?, sampling: sampling()? },
        "ShearY" => Op::ShearY { factor: number()?, sampling: sampling()? },
        "TranslateX" => Op::TranslateX { share: number()?, sampling: sampling()? },
        "TranslateY" => Op::TranslateY { share: number()?, sampling: sampling()? },
        "GaussianBlur" => Op::GaussianBlur { radius: small(number()?) },
        "Hue" => Op::Hue { shift: number()? },
        other => {
            let reason = format!("`{other}` is not known; use one of {}", NAMES.join(", "));
            return Err(errors::config("operation", reason));
        }
    };
    if argument.is_some() && matches!(op, Op::AutoContrast | Op::Equalize | Op::Invert | Op::Grayscale) {
        return Err(bad("takes no argument".into()));
    }
    Ok(op)
}

/// Box (x, y, width, height), flip and operations of a sample.
type Planned = ((u32, u32, u32, u32), bool, Vec<Named>);

/// Seed, epoch and position of a sample.
type Key = (u64, u64, u64);

fn key((seed, epoch, position): Key) -> SampleKey {
    SampleKey { seed, epoch, position, replay: 0 }
}

/// What a policy draws for a sample whose image has this size.
#[pyfunction]
fn draw_operations(
    policy: &str,
    sample: Key,
    magnitude: Option<f64>,
    interpolation: &str,
    sides: Sides,
) -> PyResult<Vec<Named>> {
    let policy: Policy = policy.parse().or_raise()?;
    let interpolation: Interpolation = interpolation.parse().or_raise()?;
    let magnitude = match magnitude.or(policy.magnitude()) {
        Some(magnitude) => magnitude,
        None if policy.follows_magnitude() => {
            let reason = format!("`{policy}` has no m of its own: give a magnitude, or write rand-m9-...");
            return Err(errors::config("magnitude", reason));
        }
        None => 0.0,
    };
    let recipe = Recipe { augment: Some(policy), interpolation, ..Recipe::default() };
    let ops = plan::operations(key(sample), magnitude, &recipe, size_of(sides)).or_raise()?;
    ops.iter().map(to_named).collect()
}

/// Operations on an image, in their order.
#[pyfunction]
fn apply_operations<'py>(
    py: Python<'py>,
    pixels: &[u8],
    sides: Sides,
    operations: Vec<Named>,
    fill: [u8; 3],
) -> PyResult<Bound<'py, PyByteArray>> {
    let ops: Vec<Op> = operations.iter().map(from_named).collect::<PyResult<_>>()?;
    values(py, || {
        let mut image = pixels.to_vec();
        Augmenter::new().apply(&mut image, size_of(sides), &ops, fill)?;
        Ok(image)
    })
}

/// The loader's plan of a sample, at the beginning of its stage.
fn planned(
    sides: Sides,
    stage: &Stage,
    recipe: &Bound<'_, PyAny>,
    sample: Key,
    magnitude: Option<f64>,
) -> PyResult<SamplePlan> {
    let (recipe, stage) = (transform(recipe)?, &stage.0);
    let magnitude = magnitude.unwrap_or_else(|| recipe.magnitude_at(stage, stage.magnitude, stage.start));
    fits_stage(stage, size_of(sides)).or_raise()?;
    plan::train(key(sample), stage, magnitude, &recipe, size_of(sides)).or_raise()
}

/// What the loader plans for a sample.
#[pyfunction]
fn training_plan(
    sides: Sides,
    stage: &Bound<'_, Stage>,
    recipe: &Bound<'_, PyAny>,
    sample: Key,
    magnitude: Option<f64>,
) -> PyResult<Planned> {
    let plan = planned(sides, stage.get(), recipe, sample, magnitude)?;
    let region = plan.crop.region;
    let ops = plan.ops.iter().map(to_named).collect::<PyResult<_>>()?;
    Ok(((region.x, region.y, region.width, region.height), plan.flip, ops))
}

/// What the loader makes of a sample's decoded pixels.
#[pyfunction]
fn training_transform<'py>(
    py: Python<'py>,
    pixels: &[u8],
    sides: Sides,
    stage: &Bound<'py, Stage>,
    recipe: &Bound<'py, PyAny>,
    sample: Key,
    magnitude: Option<f64>,
) -> PyResult<Bound<'py, PyByteArray>> {
    let plan = planned(sides, stage.get(), recipe, sample, magnitude)?;
    values(py, || render(pixels, size_of(sides), &plan))
}
