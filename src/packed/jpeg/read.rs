//! A JPEG's coefficients, entropy-decoded by libjpeg-turbo.

use super::markers;
use crate::decode::{Decoder, Format, Limits};
use crate::error::DecodeError;
use crate::packed::coefficients::{Coefficients, Component, blocks};
use crate::shape::Size;
use std::ffi::{CStr, c_int, c_short, c_void};
use std::ptr::{NonNull, null_mut};
use turbojpeg::raw;

impl Coefficients {
    /// Reads a JPEG of any process that libjpeg decodes: sequential and progressive, Huffman and arithmetic, 8 bits a sample.
    ///
    /// Pixels are a function of what is returned. A file of which that does not hold is refused: one that libjpeg has a
    /// warning about, and a progressive one that lacks bits, which libjpeg makes up for by smoothing.
    ///
    /// # Errors
    /// [`DecodeError::Unsupported`] for what has no coefficients here, [`DecodeError::Corrupt`] for damage,
    /// [`DecodeError::Limit`] for more pixels or scans than `limits` allow.
    pub fn from_jpeg(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        if Format::of(bytes) != Some(Format::Jpeg) {
            return Err(DecodeError::unsupported("not a JPEG"));
        }
        let mut decoder = Decoder::new(limits.clone()).map_err(|error| DecodeError::limit(error.to_string()))?;
        let header = decoder.header(bytes)?;
        let frame = header.frame.ok_or_else(|| DecodeError::unsupported("not a JPEG"))?;
        let found = markers::read(bytes, &frame)?;
        let largest = frame.largest_sampling();
        let mut components = Vec::with_capacity(found.components.len());
        for (component, sampling) in found.components.iter().zip(frame.sampling) {
            let steps =
                component.steps.ok_or_else(|| DecodeError::corrupt("a component without quantisation table"))?;
            let blocks = blocks(frame.size, sampling, largest);
            let values = vec![0; 64 * blocks.pixels() as usize];
            components.push(Component { id: component.id, sampling, steps, blocks, values });
        }
        let mut filled = Self {
            size: frame.size,
            orientation: header.orientation,
            colour: found.colour,
            components,
            metadata: found.metadata,
        };
        fill(bytes, limits.max_scans, &mut filled.components)?;
        if filled.components.iter().any(|c| c.values.contains(&i16::MIN)) {
            return Err(DecodeError::unsupported(
                "a JPEG with the coefficient -32768, which no Huffman code can write",
            ));
        }
        Ok(filled)
    }
}

/// What the callback writes to.
struct Rows<'a> {
    components: &'a mut [Component],
    /// Rows of blocks that came.
    rows: u64,
}

/// A TurboJPEG transformer.
struct Handle(NonNull<c_void>);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle came from `tj3Init` and is destroyed once.
        unsafe { raw::tj3Destroy(self.0.as_ptr()) };
    }
}

impl Handle {
    fn error(&self) -> DecodeError {
        // SAFETY: a nul-terminated string that stays until the thread's next TurboJPEG call.
        let text = unsafe { CStr::from_ptr(raw::tj3GetErrorStr(self.0.as_ptr())) };
        DecodeError::corrupt(text.to_string_lossy())
    }
}

/// Fills `components`, whose sizes are those of the file's frame. Any warning of libjpeg is an error.
fn fill(bytes: &[u8], max_scans: u32, components: &mut [Component]) -> Result<(), DecodeError> {
    // SAFETY: no preconditions; null means that memory ran out.
    let handle = unsafe { raw::tj3Init(raw::TJINIT_TJINIT_TRANSFORM as c_int) };
    let handle = Handle(NonNull::new(handle).ok_or_else(|| DecodeError::limit("libjpeg-turbo found no memory"))?);
    let max_scans = c_int::try_from(max_scans).unwrap_or(c_int::MAX);
    for (parameter, value) in [(raw::TJPARAM_TJPARAM_SCANLIMIT, max_scans), (raw::TJPARAM_TJPARAM_SAVEMARKERS, 0)] {
        // SAFETY: the handle is alive; the function checks its arguments.
        if unsafe { raw::tj3Set(handle.0.as_ptr(), parameter as c_int, value) } != 0 {
            return Err(handle.error());
        }
    }
    let expected: u64 = components.iter().map(|c| u64::from(c.blocks.height)).sum();
    let mut rows = Rows { components, rows: 0 };
    let transform = raw::tjtransform {
        r: raw::tjregion { x: 0, y: 0, w: 0, h: 0 },
        op: raw::TJXOP_TJXOP_NONE as c_int,
        options: (raw::TJXOPT_NOOUTPUT | raw::TJXOPT_COPYNONE) as c_int,
        data: (&raw mut rows).cast(),
        customFilter: Some(take_row),
    };
    let (mut output, mut output_len) = (null_mut(), 0);
    // SAFETY: `bytes` is a live slice, one transform is given, and no output is asked for. The callback's `data` points to
    // `rows`, which outlives the call and is not touched by anyone else during it.
    let code = unsafe {
        raw::tj3Transform(
            handle.0.as_ptr(),
            bytes.as_ptr(),
            bytes.len() as _,
            1,
            &raw mut output,
            &raw mut output_len,
            &raw const transform,
        )
    };
    if code != 0 {
        return Err(handle.error());
    }
    if rows.rows != expected {
        return Err(DecodeError::corrupt("libjpeg found another number of blocks than the JPEG's header tells"));
    }
    Ok(())
}

/// TurboJPEG's custom filter: is given each row of blocks of each component, rows that only fill up units included.
unsafe extern "C" fn take_row(
    coefficients: *mut c_short,
    row: raw::tjregion,
    plane: raw::tjregion,
    component: c_int,
    _transform: c_int,
    transform: *mut raw::tjtransform,
) -> c_int {
    const STOP: c_int = -1;
    // SAFETY: TurboJPEG passes back the transform that it was given, whose `data` points to a live `Rows`.
    let rows = unsafe { &mut *(*transform).data.cast::<Rows>() };
    let Some(component) = usize::try_from(component).ok().and_then(|c| rows.components.get_mut(c)) else { return STOP };
    let side = |len: c_int| u32::try_from(len / 8).unwrap_or(0);
    if Size::new(side(plane.w), side(plane.h)) != component.blocks {
        return STOP;
    }
    let at = side(row.y) as usize;
    if at >= component.blocks.height as usize {
        return 0;
    }
    let len = 64 * component.blocks.width as usize;
    // SAFETY: TurboJPEG gives the coefficients of `plane.w / 8` blocks, which is the component's width as checked above.
    let from = unsafe { std::slice::from_raw_parts(coefficients, len) };
    let Some(to) = component.values.get_mut(at * len..(at + 1) * len) else { return STOP };
    to.copy_from_slice(from);
    rows.rows += 1;
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packed::samples;
    use turbojpeg::Subsamp;

    #[test]
    fn a_progressive_file_has_the_coefficients_of_the_sequential_one() {
        for sampling in [Subsamp::None, Subsamp::Sub2x2, Subsamp::Sub2x1, Subsamp::Gray] {
            let read = |progressive| {
                Coefficients::from_jpeg(&samples::jpeg(67, 45, sampling, progressive), &Limits::default()).unwrap()
            };
            let sequential = read(false);
            assert_eq!(sequential, read(true));
            let first = &sequential.components[0];
            assert_eq!(first.blocks, Size::new(9, 6));
            assert!(first.values.as_chunks::<64>().0.iter().all(|b| b.iter().any(|&v| v != 0)), "each block came");
        }
    }

    /// The flat picture's DC is 8 times its distance from 128 over the step, everything else 0.
    #[test]
    fn the_coefficients_of_a_flat_picture_are_known() {
        let jpeg = samples::compress(&[200; 24 * 16 * 3], 24, 16, Subsamp::None, false);
        let coefficients = Coefficients::from_jpeg(&jpeg, &Limits::default()).unwrap();
        let [luma, rest @ ..] = &coefficients.components[..] else { panic!("three components") };
        for block in luma.values.as_chunks::<64>().0 {
            let expected = 8 * (200 - 128) / i16::try_from(luma.steps[0]).unwrap();
            assert!((block[0] - expected).abs() <= 1, "{}", block[0]);
            assert!(block[1..].iter().all(|&v| v == 0));
        }
        assert!(rest.iter().all(|c| c.values.iter().all(|&v| v == 0)));
    }

    #[test]
    fn a_file_that_libjpeg_warns_of_is_refused() {
        let whole = samples::jpeg(67, 45, Subsamp::None, false);
        let cut = [&whole[..whole.len() / 2], &[0xff, 0xd9]].concat();
        let error = Coefficients::from_jpeg(&cut, &Limits::default()).unwrap_err();
        assert!(matches!(error, DecodeError::Corrupt { .. }), "{error}");
        let error = Coefficients::from_jpeg(&whole[..whole.len() - 2], &Limits::default()).unwrap_err();
        assert!(matches!(error, DecodeError::Unsupported { .. }), "{error}");
    }

    #[test]
    fn a_progressive_file_without_its_last_scan_is_refused() {
        let mut jpeg = samples::jpeg(67, 45, Subsamp::None, true);
        let last = jpeg.windows(2).rposition(|w| w == [0xff, 0xda]).unwrap();
        jpeg.truncate(last);
        jpeg.extend([0xff, 0xd9]);
        let error = Coefficients::from_jpeg(&jpeg, &Limits::default()).unwrap_err();
        assert!(error.to_string().contains("every coefficient whole"), "{error}");
    }
}
