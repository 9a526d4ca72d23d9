//! Plain values that every part shares: sizes, rectangles, filters, kinds of band crop.

use serde::{Deserialize, Serialize};

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// `width` columns by `height` rows.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Both sides `side`.
    pub const fn square(side: u32) -> Self {
        Self { width: side, height: side }
    }

    /// Number of pixels.
    pub const fn pixels(self) -> u64 {
        self.width as u64 * self.height as u64
    }

    /// Columns and rows exchanged.
    pub const fn transposed(self) -> Self {
        Self { width: self.height, height: self.width }
    }
}

/// A rectangle of pixels, `x` to the right and `y` downwards from the upper left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rect {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Rect {
    /// The whole of an image of this size.
    pub const fn whole(size: Size) -> Self {
        Self { x: 0, y: 0, width: size.width, height: size.height }
    }

    /// Width and height.
    pub const fn size(self) -> Size {
        Size { width: self.width, height: self.height }
    }

    /// Whether all of it lies in an image of this size, and it is not empty.
    pub const fn is_inside(self, size: Size) -> bool {
        self.width > 0
            && self.height > 0
            && self.x as u64 + self.width as u64 <= size.width as u64
            && self.y as u64 + self.height as u64 <= size.height as u64
    }
}

/// Resampling filter, always antialiased: the support grows with the reduction, as in Pillow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Triangle, support 1. torchvision's default.
    Bilinear,
    /// Keys' cubic with a = -0.5, support 2. The papers' training filter.
    #[default]
    Bicubic,
    /// Windowed sinc, support 3.
    Lanczos3,
}

impl std::str::FromStr for Filter {
    type Err = crate::Error;

    fn from_str(s: &str) -> crate::Result<Self> {
        match s {
            "bilinear" => Ok(Self::Bilinear),
            "bicubic" => Ok(Self::Bicubic),
            "lanczos3" => Ok(Self::Lanczos3),
            _ => Err(crate::Error::config("filter", format!("`{s}` is not known; use bilinear, bicubic or lanczos3"))),
        }
    }
}

/// Where the samples of a Fourier band crop sit. The two differ by half an output pixel less half an input pixel,
/// which is up to 27 dB on photos: say which one is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grid {
    /// The papers' grid: sample `i` sits at input coordinate `i N / B` (`low-frequency-crop.md` §1).
    #[default]
    Paper,
    /// The resizers' grid: sample `i` sits at `(i + 1/2) N / B - 1/2` (`low-frequency-crop.md` §3).
    HalfPixel,
}

/// How the base image is reduced to the band `B x B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum BandCrop {
    /// Crop of the centred spectrum, on normalised f32 values, in training and in evaluation
    /// (`low-frequency-crop.md` §1 and §4, "ICCV code").
    Fourier {
        /// The sampling grid.
        #[serde(default)]
        grid: Grid,
    },
    /// Antialiased Lanczos-3 resize of the 8-bit image, in training only; evaluation resizes straight to `B`
    /// (`low-frequency-crop.md` §4, "++ code").
    Lanczos,
}

impl BandCrop {
    /// The papers' Fourier crop.
    pub const FOURIER: Self = Self::Fourier { grid: Grid::Paper };
}

impl std::fmt::Display for BandCrop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fourier { grid: Grid::Paper } => "fourier",
            Self::Fourier { grid: Grid::HalfPixel } => "fourier-half-pixel",
            Self::Lanczos => "lanczos",
        })
    }
}

impl std::str::FromStr for BandCrop {
    type Err = crate::Error;

    fn from_str(s: &str) -> crate::Result<Self> {
        match s {
            "fourier" => Ok(Self::FOURIER),
            "fourier-half-pixel" => Ok(Self::Fourier { grid: Grid::HalfPixel }),
            "lanczos" => Ok(Self::Lanczos),
            _ => Err(crate::Error::config(
                "band crop",
                format!("`{s}` is not known; use fourier, fourier-half-pixel or lanczos"),
            )),
        }
    }
}
