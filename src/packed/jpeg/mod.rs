//! JPEG files to coefficients and back, without loss in the coefficients.
//!
//! | step | file |
//! |---|---|
//! | what the markers say | `markers.rs` |
//! | entropy decoding, by libjpeg-turbo | `read.rs` |
//! | entropy coding, with codes made for the image | `write.rs`, `huffman.rs` |

mod huffman;
mod markers;
mod read;
mod write;
