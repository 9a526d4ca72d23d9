//! The band crop: an image reduced to its low frequencies, `N x N -> B x B`.
//!
//! Two operators share the name (`low-frequency-crop.md` §0). They are not interchangeable, so a run says which one it
//! uses:
//!
//! - [`fourier()`] crops the centred spectrum of f32 values. It is linear, keeps the mean, is not clamped, and depends
//!   on the kept frequencies alone.
//! - [`lanczos()`] resizes 8-bit pixels with an antialiased Lanczos-3 filter. It is what the ++ code does.
//!
//! # Which frequencies are kept
//! `-⌊B/2⌋ ..= ⌈B/2⌉ - 1` along each axis. An even B keeps `-B/2` and not `+B/2`; the real part of the inverse is
//! taken, which adds one rank-1 term to the separable form (see [`Fourier`]). An odd B is honoured, never rounded.
//!
//! # Differences from the released code
//! The released function silently cuts an odd B to `B - 1`, and takes the image to be square. Neither happens here.

pub(crate) mod folded;
pub(crate) mod fourier;
mod lanczos;

pub use fourier::{Fourier, fourier, matrix};
pub use lanczos::lanczos;
