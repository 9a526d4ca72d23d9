//! The parts alone, on arrays: decode, crop, band crop, normalise, and a whole evaluation.
//!
//! Arrays come as the bytes of a C-ordered copy with their sizes and go as bytes, `bandfeed/functional.py` gives them their
//! shapes: so nothing is shared with Python while the interpreter's lock is not held.

use crate::errors::{self, OrRaise};
use crate::schedule::{Stage, from_python};
use bandfeed::band::{Fourier, lanczos};
use bandfeed::decode::{Decoder, Fidelity, Limits};
use bandfeed::ops::{self, Renderer, View};
use bandfeed::plan::{self, SamplePlan};
use bandfeed::recipe::{Preset, Recipe};
use bandfeed::{BandCrop, Error, Rect, Size};
use bytemuck::{AnyBitPattern, NoUninit};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyString};
use std::borrow::Cow;
use std::path::PathBuf;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(decode, module)?)?;
    module.add_function(wrap_pyfunction!(resized_crop, module)?)?;
    module.add_function(wrap_pyfunction!(low_frequency_crop, module)?)?;
    module.add_function(wrap_pyfunction!(normalize, module)?)?;
    module.add_function(wrap_pyfunction!(evaluation_transform, module)?)
}

/// Height and width, the order of array shapes.
type Sides = (u32, u32);

pub(crate) fn size_of((height, width): Sides) -> Size {
    Size::new(width, height)
}

/// Refuses a result, or what is made on the way to it, that would take more memory than a large image does.
pub(crate) fn fits(what: &str, width: u32, height: u32) -> bandfeed::Result<()> {
    let most = Limits::default().max_pixels;
    if u64::from(width) * u64::from(height) <= most {
        return Ok(());
    }
    let reason = format!("{height}x{width} values: at most {most} are made");
    Err(Error::Config { what: what.into(), reason })
}

/// The same of all that a stage makes of an image.
pub(crate) fn fits_stage(stage: &bandfeed::Stage, size: Size) -> bandfeed::Result<()> {
    let side = stage.base.max(stage.band);
    fits("stage", side, side)?;
    fits("stage", side, size.height)
}

/// Runs `work` without the interpreter's lock; its values as Python's.
pub(crate) fn values<'py, T: NoUninit + Send>(
    py: Python<'py>,
    work: impl FnOnce() -> bandfeed::Result<Vec<T>> + Send,
) -> PyResult<Bound<'py, PyByteArray>> {
    let values = py.detach(work).or_raise()?;
    Ok(PyByteArray::new(py, bytemuck::cast_slice(&values)))
}

/// The transform of a recipe that is given by name, path or as a dictionary.
pub(crate) fn transform(recipe: &Bound<'_, PyAny>) -> PyResult<Recipe> {
    if let Ok(name) = recipe.cast::<PyString>() {
        return Ok(Preset::named(&name.to_cow()?).or_raise()?.transform);
    }
    let preset: Preset = from_python("recipe", recipe)?;
    preset.transform.check().or_raise()?;
    Ok(preset.transform)
}

/// Runs a plan on a whole image.
pub(crate) fn render(pixels: &[u8], size: Size, plan: &SamplePlan) -> bandfeed::Result<Vec<f32>> {
    let side = plan.output() as usize;
    let mut out = vec![0.0; 3 * side * side];
    Renderer::new().render_region(View::packed(pixels, size), plan, &mut out)?;
    Ok(out)
}

/// An encoded image: its bytes, or those of a file.
enum Encoded<'a> {
    Bytes(&'a [u8]),
    File(PathBuf),
}

impl<'a> Encoded<'a> {
    fn of(data: &'a Bound<'_, PyAny>) -> PyResult<Self> {
        match data.cast::<PyBytes>() {
            Ok(bytes) => Ok(Self::Bytes(bytes.as_bytes())),
            Err(_) => Ok(Self::File(data.extract()?)),
        }
    }

    /// The bytes, and what to call them in errors.
    fn read(self) -> bandfeed::Result<(Cow<'a, [u8]>, String)> {
        match self {
            Self::Bytes(bytes) => Ok((bytes.into(), "image in memory".into())),
            Self::File(path) => match std::fs::read(&path) {
                Ok(bytes) => Ok((bytes.into(), path.display().to_string())),
                Err(source) => Err(Error::Io { path, source }),
            },
        }
    }
}

/// RGB8 of an encoded image or a region of it, resized where a size is given: its height, width and pixels.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "Python's keywords")]
fn decode<'py>(
    py: Python<'py>,
    data: &Bound<'py, PyAny>,
    region: Option<(u32, u32, u32, u32)>,
    size: Option<Sides>,
    filter: &str,
    fidelity: &str,
    strict: bool,
    max_pixels: Option<u64>,
) -> PyResult<(u32, u32, Bound<'py, PyByteArray>)> {
    let data = Encoded::of(data)?;
    let filter = filter.parse().or_raise()?;
    let fidelity: Fidelity = fidelity.parse().or_raise()?;
    let mut limits = Limits::default();
    limits.max_pixels = max_pixels.unwrap_or(limits.max_pixels);
    let decoded = py.detach(|| {
        let (bytes, name) = data.read()?;
        let refused = |source| Error::Decode { name: name.clone(), source };
        let mut decoder = Decoder::new(limits)?.scale_margin(fidelity.margin())?.strict(strict);
        let header = decoder.header(&bytes).map_err(refused)?;
        let region = region.map_or(Rect::whole(header.size), |(x, y, width, height)| Rect { x, y, width, height });
        inside("region", region, header.size)?;
        if let Some((height, width)) = size {
            fits("size", width, height)?;
            fits("size", width, region.height)?;
        }
        let (pixels, warning) = match size.map(size_of) {
            None if region == Rect::whole(header.size) => {
                let pixels = decoder.decode(&bytes).map_err(refused)?;
                (ops::Rgb8 { pixels: pixels.data, size: pixels.size }, pixels.warning)
            }
            size => {
                let patch = decoder.decode_region(&bytes, &header, region, size.unwrap_or(region.size()));
                let patch = patch.map_err(refused)?;
                let view = View { pixels: patch.pixels, stride: patch.stride, size: patch.size };
                let pixels = match size {
                    Some(size) => ops::resize(view, patch.area, size, filter)?,
                    // As many pixels as the region has: at the full scale, which is asked for by that.
                    None => packed(view),
                };
                (pixels, patch.warning.map(str::to_owned))
            }
        };
        if let Some(warning) = warning {
            tracing::warn!("{name}: {warning}");
        }
        Ok(pixels)
    });
    let ops::Rgb8 { pixels, size } = decoded.or_raise()?;
    Ok((size.height, size.width, PyByteArray::new(py, &pixels)))
}

fn packed(view: View<'_>) -> ops::Rgb8 {
    let rows = view.pixels.chunks(view.stride);
    ops::Rgb8 { pixels: rows.flat_map(|row| &row[..3 * view.size.width as usize]).copied().collect(), size: view.size }
}

fn inside(what: &str, part: Rect, size: Size) -> bandfeed::Result<()> {
    if part.is_inside(size) {
        return Ok(());
    }
    let Rect { x, y, width, height } = part;
    let reason = format!("{width}x{height} at ({x}, {y}) does not lie in {}x{} pixels", size.width, size.height);
    Err(Error::Config { what: what.into(), reason })
}

/// Cuts a box out of an image and resizes it, as torchvision does: no pixel outside of the box is looked at.
#[pyfunction]
#[pyo3(signature = (pixels, sides, part, to, filter, band))]
fn resized_crop<'py>(
    py: Python<'py>,
    pixels: &[u8],
    sides: Sides,
    part: (u32, u32, u32, u32),
    to: Sides,
    filter: &str,
    band: Option<u32>,
) -> PyResult<Bound<'py, PyByteArray>> {
    let filter = filter.parse().or_raise()?;
    let (x, y, width, height) = part;
    let part = Rect { x, y, width, height };
    values(py, || {
        let size = size_of(sides);
        View::packed(pixels, size).check()?;
        inside("box", part, size)?;
        fits("size", to.1, to.0)?;
        fits("size", to.1, height)?;
        if let Some(band) = band {
            fits("band", band, band.max(to.0))?;
        }
        let stride = 3 * size.width as usize;
        let view =
            View { pixels: &pixels[y as usize * stride + 3 * x as usize..], stride, size: Size::new(width, height) };
        let cropped = ops::resize(view, [0.0, 0.0, width.into(), height.into()], size_of(to), filter)?;
        Ok(match band {
            Some(band) => lanczos(cropped.view(), band)?.pixels,
            None => cropped.pixels,
        })
    })
}

/// The band crop of planes of f32 or f64 (Fourier), or of images of bytes (Lanczos), one after another.
#[pyfunction]
fn low_frequency_crop<'py>(
    py: Python<'py>,
    bytes: &[u8],
    dtype: &str,
    sides: Sides,
    band: Sides,
    crop: &str,
) -> PyResult<Bound<'py, PyByteArray>> {
    let (size, band) = (size_of(sides), size_of(band));
    match (crop.parse().or_raise()?, dtype) {
        // Each axis has a matrix.
        (BandCrop::Fourier { grid }, "float32") => values(py, || {
            fits("band", band.height, size.height).and_then(|()| fits("band", band.width, size.width))?;
            let planes = cast::<f32>(bytes);
            let mut fourier = Fourier::new(size, band, grid)?;
            let mut out = vec![0.0; (planes.len() as u64 / size.pixels() * band.pixels()) as usize];
            fourier.apply(&planes, &mut out)?;
            Ok(out)
        }),
        (BandCrop::Fourier { grid }, "float64") => values(py, || {
            fits("band", band.height, size.height).and_then(|()| fits("band", band.width, size.width))?;
            let planes = cast::<f64>(bytes);
            let fourier = Fourier::new(size, band, grid)?;
            let mut out = vec![0.0; (planes.len() as u64 / size.pixels() * band.pixels()) as usize];
            fourier.apply_f64(&planes, &mut out)?;
            Ok(out)
        }),
        (BandCrop::Lanczos, "uint8") => values(py, || {
            if band.width != band.height {
                let reason = format!("{}x{}: a Lanczos band is square", band.height, band.width);
                return Err(Error::Config { what: "band".into(), reason });
            }
            fits("band", band.width, band.height.max(size.height))?;
            let mut out = Vec::new();
            for image in images(bytes, size)? {
                out.extend(lanczos(View::packed(image, size), band.width)?.pixels);
            }
            Ok(out)
        }),
        (crop, dtype) => {
            let wanted =
                if crop == BandCrop::Lanczos { "uint8, (..., H, W, 3)" } else { "float32 or float64, (..., H, W)" };
            Err(errors::config("low_frequency_crop", format!("{dtype}: a {crop} band is cut from {wanted}")))
        }
    }
}

/// Numbers, which bytes of Python's are aligned for as a rule.
fn cast<T: AnyBitPattern + NoUninit>(bytes: &[u8]) -> Cow<'_, [T]> {
    bytemuck::try_cast_slice(bytes).map_or_else(|_| bytemuck::pod_collect_to_vec(bytes).into(), Cow::Borrowed)
}

/// RGB8 images of one size, one after another.
fn images(bytes: &[u8], size: Size) -> bandfeed::Result<impl Iterator<Item = &[u8]>> {
    // What holds no pixels is refused by its view.
    View::packed(bytes, size).check()?;
    Ok(bytes.chunks(3 * size.pixels() as usize))
}

/// Normalised planes of images, one after another.
#[pyfunction]
fn normalize<'py>(
    py: Python<'py>,
    pixels: &[u8],
    sides: Sides,
    mean: [f32; 3],
    std: [f32; 3],
) -> PyResult<Bound<'py, PyByteArray>> {
    let recipe = Recipe { mean, std, ..Recipe::default() };
    values(py, || {
        recipe.check()?;
        let size = size_of(sides);
        let mut out = vec![0.0; pixels.len()];
        for (image, out) in images(pixels, size)?.zip(out.chunks_mut(3 * size.pixels() as usize)) {
            ops::normalize(View::packed(image, size), false, mean, std, out)?;
        }
        Ok(out)
    })
}

/// Resize, centre crop, band and normalisation, as the loader evaluates.
#[pyfunction]
fn evaluation_transform<'py>(
    py: Python<'py>,
    pixels: &[u8],
    sides: Sides,
    stage: &Bound<'py, Stage>,
    recipe: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyByteArray>> {
    let (recipe, stage) = (transform(recipe)?, &stage.get().0);
    values(py, || {
        let size = size_of(sides);
        fits_stage(stage, size)?;
        render(pixels, size, &plan::eval(stage, &recipe, size)?)
    })
}
