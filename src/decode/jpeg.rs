//! JPEG pixels by libjpeg-turbo, through the TurboJPEG functions that the `turbojpeg` crate re-exports as `raw`.

use super::markers::Frame;
use super::region::Plan;
use crate::error::DecodeError;
use crate::shape::Size;
use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;
use turbojpeg::raw;

/// A TurboJPEG decompressor that was given one image.
///
/// It is made anew for each image. A kept one remembers the tables of earlier images, so that a file without its own
/// would decode differently on each worker, and it stays in the middle of a header that ended in an error.
pub(crate) struct Turbo {
    handle: NonNull<c_void>,
    can_crop: bool,
}

impl Drop for Turbo {
    fn drop(&mut self) {
        // SAFETY: the handle came from `tj3Init` and is destroyed once.
        unsafe { raw::tj3Destroy(self.handle.as_ptr()) };
    }
}

/// libjpeg's warnings (`jerror.h`, JWRN_*) by the start of their text. The error code alone does not do: it keeps saying
/// "warning" when an error that ends decoding follows one.
const WARNINGS: [&str; 7] = [
    "Unknown Adobe color transform code",
    "Corrupt JPEG data: ",
    "Inconsistent progression sequence",
    "Warning: unknown JFIF revision number",
    "Premature end of JPEG file",
    "Invalid SOS parameters for sequential JPEG",
    "Application transferred too many scanlines",
];

impl Turbo {
    /// Reads the tables and the frame. Decoding will give up after `max_scans` scans.
    ///
    /// `frame` is what the own marker walk found; a file that the two read differently is refused, because the size of
    /// the output is taken from `frame`.
    pub(crate) fn open(bytes: &[u8], frame: &Frame, max_scans: u32) -> Result<Self, DecodeError> {
        // SAFETY: no preconditions; null means that memory ran out.
        let handle = unsafe { raw::tj3Init(raw::TJINIT_TJINIT_DECOMPRESS as c_int) };
        let handle = NonNull::new(handle).ok_or_else(|| DecodeError::limit("libjpeg-turbo found no memory"))?;
        let mut turbo = Self { handle, can_crop: false };
        turbo.set(raw::TJPARAM_TJPARAM_SCANLIMIT, c_int::try_from(max_scans).unwrap_or(c_int::MAX))?;
        // Colour profiles would be copied and are not used.
        turbo.set(raw::TJPARAM_TJPARAM_SAVEMARKERS, 0)?;
        // SAFETY: the pointer and length are those of a slice that outlives the call.
        let code = unsafe { raw::tj3DecompressHeader(turbo.handle.as_ptr(), bytes.as_ptr(), bytes.len() as _) };
        if code != 0 {
            turbo.warning()?;
        }
        let seen = [raw::TJPARAM_TJPARAM_JPEGWIDTH, raw::TJPARAM_TJPARAM_JPEGHEIGHT].map(|side| turbo.get(side));
        if seen.map(i64::from) != [frame.size.width, frame.size.height].map(i64::from) {
            return Err(DecodeError::corrupt(format!(
                "the JPEG header is ambiguous: {}x{} or {}x{} pixels",
                frame.size.width, frame.size.height, seen[0], seen[1]
            )));
        }
        turbo.can_crop = turbo.get(raw::TJPARAM_TJPARAM_SUBSAMP) != raw::TJSAMP_TJSAMP_UNKNOWN;
        Ok(turbo)
    }

    /// Whether the sampling is one that libjpeg-turbo can crop.
    pub(crate) fn can_crop(&self) -> bool {
        self.can_crop
    }

    /// Decodes what `plan` says as dense RGB8 rows to the start of `pixels`, `bytes` and `frame` being those that were opened.
    /// Gives libjpeg's warning, if it had one: some of the pixels are then made up.
    ///
    /// # Panics
    /// If `pixels` is shorter than [`buffer_len`].
    pub(crate) fn decode(
        &mut self,
        bytes: &[u8],
        frame: &Frame,
        plan: &Plan,
        pixels: &mut [u8],
    ) -> Result<Option<String>, DecodeError> {
        let inks = frame.components == 4;
        let (format, channels) = if inks { (raw::TJPF_TJPF_CMYK, 4) } else { (raw::TJPF_TJPF_RGB, 3) };
        assert!(pixels.len() >= buffer_len(frame, plan.decoded), "the buffer holds what is decoded");
        // Each M/8 in use is a unit fraction.
        let scale = raw::tjscalingfactor { num: 1, denom: c_int::from(8 / plan.scale) };
        // SAFETY: the handle is alive; the function checks the value.
        if unsafe { raw::tj3SetScalingFactor(self.handle.as_ptr(), scale) } != 0 {
            return Err(self.error());
        }
        if let Some(crop) = plan.crop {
            let [x, y, w, h] = [crop.x, crop.y, crop.width, crop.height].map(|v| v as c_int);
            self.set_crop(raw::tjregion { x, y, w, h })?;
        }
        let stride = plan.decoded.width as usize * channels;
        // SAFETY: `bytes` is a live slice. libjpeg writes `plan.decoded.height` rows of `stride` bytes: `open` has seen to
        // it that these bytes have the frame's size, the plan was made for that size, scale and crop, and the assertion
        // above covers the product. A header that fails this time fails before anything is written.
        let code = unsafe {
            raw::tj3Decompress8(
                self.handle.as_ptr(),
                bytes.as_ptr(),
                bytes.len() as _,
                pixels.as_mut_ptr(),
                stride as c_int,
                format as c_int,
            )
        };
        let warning = if code == 0 { None } else { Some(self.warning()?) };
        if inks {
            inks_to_rgb(pixels, plan.decoded.pixels() as usize);
        }
        Ok(warning)
    }

    /// A parameter that is refused is an error: without it a limit would not hold.
    fn set(&self, parameter: raw::TJPARAM, value: c_int) -> Result<(), DecodeError> {
        // SAFETY: the handle is alive; the function checks its arguments.
        let code = unsafe { raw::tj3Set(self.handle.as_ptr(), parameter as c_int, value) };
        if code == 0 { Ok(()) } else { Err(self.error()) }
    }

    fn get(&self, parameter: raw::TJPARAM) -> c_int {
        // SAFETY: the handle is alive.
        unsafe { raw::tj3Get(self.handle.as_ptr(), parameter as c_int) }
    }

    fn set_crop(&mut self, region: raw::tjregion) -> Result<(), DecodeError> {
        // SAFETY: the handle is alive; the function checks the region against the image that was opened.
        let code = unsafe { raw::tj3SetCroppingRegion(self.handle.as_ptr(), region) };
        if code == 0 { Ok(()) } else { Err(self.error()) }
    }

    fn message(&self) -> String {
        // SAFETY: a nul-terminated string that stays until the thread's next TurboJPEG call.
        let text = unsafe { CStr::from_ptr(raw::tj3GetErrorStr(self.handle.as_ptr())) };
        text.to_string_lossy().into_owned()
    }

    /// The last call's complaint, if it was one that left an image; else it is the error.
    fn warning(&self) -> Result<String, DecodeError> {
        // SAFETY: the handle is alive.
        let code = unsafe { raw::tj3GetErrorCode(self.handle.as_ptr()) };
        let message = self.message();
        if code == raw::TJERR_TJERR_WARNING as c_int && WARNINGS.iter().any(|w| message.starts_with(w)) {
            return Ok(message);
        }
        Err(self.error())
    }

    fn error(&self) -> DecodeError {
        let message = self.message();
        let has = |words: &[&str]| words.iter().any(|w| message.contains(w));
        if has(&["more than", "Insufficient memory", "Memory allocation failure"]) {
            DecodeError::limit(message)
        } else if has(&["Unsupported color", "not implemented", "Requested features are incompatible"]) {
            DecodeError::unsupported(message)
        } else {
            DecodeError::corrupt(message)
        }
    }
}

/// Bytes that decoding `decoded` pixels needs: inks are decoded to four bytes before they become three.
pub(crate) fn buffer_len(frame: &Frame, decoded: Size) -> usize {
    decoded.pixels() as usize * if frame.components == 4 { 4 } else { 3 }
}

/// Turns dense CMYK pixels to dense RGB in place.
fn inks_to_rgb(pixels: &mut [u8], count: usize) {
    for i in 0..count {
        let [inks @ .., black]: [u8; 4] = std::array::from_fn(|c| pixels[4 * i + c]);
        pixels[3 * i..3 * i + 3].copy_from_slice(&inks.map(|ink| under_black(ink, black)));
    }
}

/// The colour of an ink under black.
///
/// Inks are taken as inverted (255 = none), which is Adobe's convention and what Pillow and djpeg do for every JPEG of
/// four components: a colour is its ink times black, over 255, rounded.
#[inline(always)]
pub(super) fn under_black(ink: u8, black: u8) -> u8 {
    ((u32::from(ink) * u32::from(black) + 127) / 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_libjpeg_turbo_refuses_is_an_error() {
        // SAFETY: no preconditions.
        let handle = unsafe { raw::tj3Init(raw::TJINIT_TJINIT_DECOMPRESS as c_int) };
        let turbo = Turbo { handle: NonNull::new(handle).unwrap(), can_crop: false };
        turbo.set(raw::TJPARAM_TJPARAM_SCANLIMIT, 500).unwrap();
        assert_eq!(turbo.get(raw::TJPARAM_TJPARAM_SCANLIMIT), 500);
        let error = turbo.set(raw::TJPARAM_TJPARAM_SCANLIMIT, -1).unwrap_err();
        assert!(error.to_string().contains("tj3Set"), "{error}");
    }

    #[test]
    fn inks_multiply_to_the_nearest_colour() {
        let mut pixels = vec![255, 0, 128, 255, 255, 10, 128, 100, 9, 9];
        inks_to_rgb(&mut pixels, 2);
        assert_eq!(pixels[..6], [255, 0, 128, 100, 4, 50]);
    }
}
