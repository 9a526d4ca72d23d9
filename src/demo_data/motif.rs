//! What the images show, and how it is drawn.

use crate::rng::Draw;
use crate::shape::Size;
use std::f32::consts::{PI, TAU};

/// What one class shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Motif {
    /// A filled circle.
    Disc,
    /// A circle with a wide hole.
    Ring,
    /// A square, turned by 15 degrees at most.
    Square,
    /// A triangle of equal sides, turned at will.
    Triangle,
    /// A plus sign, turned by 15 degrees at most.
    Cross,
    /// A star of five points, turned at will.
    Star,
    /// Upright fine stripes.
    Vertical,
    /// Level fine stripes.
    Horizontal,
    /// Fine stripes at 45 degrees, rising or falling: a mirrored image keeps its class.
    Diagonal,
    /// A fine chessboard.
    Checker,
    /// Fine dots in rows and columns.
    Dots,
    /// Fine circles round one centre.
    Ripples,
}

impl Motif {
    /// All of them, shapes first.
    pub const ALL: [Self; 12] = [
        Self::Disc,
        Self::Ring,
        Self::Square,
        Self::Triangle,
        Self::Cross,
        Self::Star,
        Self::Vertical,
        Self::Horizontal,
        Self::Diagonal,
        Self::Checker,
        Self::Dots,
        Self::Ripples,
    ];

    /// The class name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disc => "disc",
            Self::Ring => "ring",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Cross => "cross",
            Self::Star => "star",
            Self::Vertical => "vertical",
            Self::Horizontal => "horizontal",
            Self::Diagonal => "diagonal",
            Self::Checker => "checker",
            Self::Dots => "dots",
            Self::Ripples => "ripples",
        }
    }

    /// Whether only the high frequencies tell it from its like.
    pub fn is_texture(self) -> bool {
        matches!(self, Self::Vertical | Self::Horizontal | Self::Diagonal | Self::Checker | Self::Dots | Self::Ripples)
    }
}

/// Red, green, blue in `0..=255`.
type Color = [f32; 3];

/// Draws one image: `3 * width * height` bytes, red green blue, row by row.
pub(super) fn draw(motif: Motif, draw: &mut Draw, size: Size) -> Vec<u8> {
    let (width, height) = (size.width as f32, size.height as f32);
    let shorter = width.min(height);
    let background = Background::of(draw, width, height);
    let place = Place::of(motif, draw, width, height);
    let paint = if motif.is_texture() { Paint::texture(draw, shorter) } else { Paint::plain(draw, background.luma()) };
    let outline = Outline::of(motif, draw);
    let noise = real(draw, 2.0, 8.0);

    let mut pixels = Vec::with_capacity(3 * size.pixels() as usize);
    for row in 0..size.height {
        for column in 0..size.width {
            let (x, y) = (column as f32 + 0.5, row as f32 + 0.5);
            let local = place.local(x, y);
            // Of a shape, one pixel at the edge is mixed; a blob fades over a third of its radius, so that its outline says
            // nothing.
            let softness = if motif.is_texture() { 0.33 } else { 1.0 / place.radius };
            let cover = (0.5 - outline.distance(local) / softness).clamp(0.0, 1.0);
            let mut color = background.at(x, y);
            if cover > 0.0 {
                let front = paint.at(motif, [x - place.center[0], y - place.center[1]]);
                color = lerp(color, front, cover);
            }
            let grain = draw.bits();
            for (channel, value) in color.into_iter().enumerate() {
                // The difference of two uniform draws: a triangle of variance 1/6 round 0.
                let part = |shift: usize| ((grain >> shift) & 0x3ff) as f32 / 1023.0;
                let deviation = (part(20 * channel) - part(20 * channel + 10)) * 6f32.sqrt();
                pixels.push((value + noise * deviation).round().clamp(0.0, 255.0) as u8);
            }
        }
    }
    pixels
}

/// Uniform in `[low, high)`.
fn real(draw: &mut Draw, low: f32, high: f32) -> f32 {
    draw.uniform(f64::from(low), f64::from(high)) as f32
}

fn color(draw: &mut Draw) -> Color {
    std::array::from_fn(|_| real(draw, 20.0, 235.0))
}

fn lerp(a: Color, b: Color, t: f32) -> Color {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * t)
}

/// Brightness as JPEG's luma has it.
fn luma([r, g, b]: Color) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

/// Turned by an angle in radians.
fn turned([x, y]: [f32; 2], angle: f32) -> [f32; 2] {
    let (sin, cos) = angle.sin_cos();
    [cos * x - sin * y, sin * x + cos * y]
}

/// A slope from one colour to another, with soft clouds.
struct Background {
    ends: [Color; 2],
    /// `t = slope . (x, y, 1)` runs from 0 to 1 across the image.
    slope: [f32; 3],
    /// Waves of brightness: angular frequency in x and y, phase, height.
    clouds: [[f32; 4]; 3],
}

impl Background {
    fn of(draw: &mut Draw, width: f32, height: f32) -> Self {
        let first = color(draw);
        // Not too far apart, or no colour in front would stand out everywhere.
        let second = std::array::from_fn(|i| (first[i] + real(draw, -60.0, 60.0)).clamp(10.0, 245.0));
        let [dx, dy] = turned([1.0, 0.0], real(draw, 0.0, TAU));
        let reach = dx.abs() * width + dy.abs() * height;
        let slope = [dx / reach, dy / reach, 0.5 - 0.5 * (dx * width + dy * height) / reach];
        let clouds = std::array::from_fn(|_| {
            let [u, v] = turned([real(draw, 0.5, 3.0), 0.0], real(draw, 0.0, TAU));
            [TAU * u / width, TAU * v / height, real(draw, 0.0, TAU), real(draw, 2.0, 9.0)]
        });
        Self { ends: [first, second], slope, clouds }
    }

    fn luma(&self) -> f32 {
        0.5 * (luma(self.ends[0]) + luma(self.ends[1]))
    }

    fn at(&self, x: f32, y: f32) -> Color {
        let t = (self.slope[0] * x + self.slope[1] * y + self.slope[2]).clamp(0.0, 1.0);
        let cloud: f32 = self.clouds.iter().map(|[u, v, phase, height]| height * (u * x + v * y + phase).cos()).sum();
        lerp(self.ends[0], self.ends[1], t).map(|value| value + cloud)
    }
}

/// Where the motif is.
struct Place {
    /// In pixels.
    center: [f32; 2],
    /// Length of 1 of the motif's own units in pixels.
    radius: f32,
    angle: f32,
}

impl Place {
    fn of(motif: Motif, draw: &mut Draw, width: f32, height: f32) -> Self {
        let center = [width * real(draw, 0.38, 0.62), height * real(draw, 0.38, 0.62)];
        let share = if motif.is_texture() { real(draw, 0.36, 0.5) } else { real(draw, 0.22, 0.38) };
        let angle = match motif {
            Motif::Square | Motif::Cross => real(draw, -PI / 12.0, PI / 12.0),
            _ => real(draw, 0.0, TAU),
        };
        Self { center, radius: share * width.min(height), angle }
    }

    /// Pixel coordinates to the motif's own.
    fn local(&self, x: f32, y: f32) -> [f32; 2] {
        turned([(x - self.center[0]) / self.radius, (y - self.center[1]) / self.radius], -self.angle)
    }
}

/// The edge of a shape, in its own units.
enum Outline {
    Disc,
    Ring {
        /// Half the width of the band.
        half: f32,
    },
    Polygon(Vec<[f32; 2]>),
    /// `|x / a|^n + |y / b|^n = 1`.
    Blob {
        a: f32,
        b: f32,
        n: f32,
    },
}

impl Outline {
    fn of(motif: Motif, draw: &mut Draw) -> Self {
        let corner = |radius: f32, turn: f32| turned([0.0, -radius], TAU * turn);
        match motif {
            Motif::Disc => Self::Disc,
            Motif::Ring => Self::Ring { half: real(draw, 0.14, 0.2) },
            Motif::Square => Self::Polygon(vec![[-0.8, -0.8], [0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]]),
            Motif::Triangle => Self::Polygon((0..3).map(|i| corner(1.1, i as f32 / 3.0)).collect()),
            Motif::Star => {
                let radius = |i: u32| if i.is_multiple_of(2) { 1.15 } else { 0.48 };
                Self::Polygon((0..10).map(|i| corner(radius(i), i as f32 / 10.0)).collect())
            }
            Motif::Cross => {
                let (arm, end) = (0.28, 0.95);
                // One arm's corners, turned into the four places.
                let arms = (0..4).flat_map(|quarter| {
                    [[-arm, -arm], [-arm, -end], [arm, -end]].map(|point| turned(point, 0.5 * PI * quarter as f32))
                });
                Self::Polygon(arms.collect())
            }
            _ => Self::Blob { a: real(draw, 0.75, 1.1), b: real(draw, 0.75, 1.1), n: real(draw, 2.0, 5.0) },
        }
    }

    /// Distance to the edge, negative inside. Exact but for the blob, where it is good near the edge only.
    fn distance(&self, [x, y]: [f32; 2]) -> f32 {
        match self {
            Self::Disc => x.hypot(y) - 0.88,
            Self::Ring { half } => (x.hypot(y) - 0.78).abs() - half,
            Self::Polygon(corners) => polygon_distance(corners, [x, y]),
            Self::Blob { a, b, n } => ((x / a).abs().powf(*n) + (y / b).abs().powf(*n)).powf(1.0 / n) - 1.0,
        }
    }
}

/// Distance to a closed polygon, negative inside: the nearest of its edges, and the even-odd rule for the sign.
fn polygon_distance(corners: &[[f32; 2]], [x, y]: [f32; 2]) -> f32 {
    let mut nearest = f32::INFINITY;
    let mut inside = false;
    let mut from = corners[corners.len() - 1];
    for &to in corners {
        let (ex, ey) = (to[0] - from[0], to[1] - from[1]);
        let (px, py) = (x - from[0], y - from[1]);
        let along = ((px * ex + py * ey) / (ex * ex + ey * ey)).clamp(0.0, 1.0);
        nearest = nearest.min((px - along * ex).hypot(py - along * ey));
        if (from[1] > y) != (to[1] > y) && px < py * ex / ey {
            inside = !inside;
        }
        from = to;
    }
    if inside { -nearest } else { nearest }
}

/// What fills a shape or a blob.
enum Paint {
    Plain(Color),
    /// A wave between two colours.
    Texture {
        ends: [Color; 2],
        /// Radians for a pixel, along x and along y.
        frequency: f32,
        phase: [f32; 2],
        /// Diagonal stripes fall instead of rise.
        falling: bool,
    },
}

impl Paint {
    /// A colour that stands out from a background of this brightness.
    fn plain(draw: &mut Draw, behind: f32) -> Self {
        loop {
            let color = color(draw);
            if (luma(color) - behind).abs() > 45.0 {
                return Self::Plain(color);
            }
        }
    }

    fn texture(draw: &mut Draw, shorter: f32) -> Self {
        let ends = loop {
            let ends = [color(draw), color(draw)];
            if (luma(ends[0]) - luma(ends[1])).abs() > 60.0 {
                break ends;
            }
        };
        // Repetitions along the shorter side: see the head of `demo_data`.
        let frequency = TAU * real(draw, 22.0, 28.0) / shorter;
        let phase = [real(draw, 0.0, TAU), real(draw, 0.0, TAU)];
        Self::Texture { ends, frequency, phase, falling: draw.chance(0.5) }
    }

    /// The colour at an offset from the motif's centre in pixels. Textures do not turn with their blob.
    fn at(&self, motif: Motif, [x, y]: [f32; 2]) -> Color {
        match self {
            Self::Plain(color) => *color,
            Self::Texture { ends, frequency, phase, falling } => {
                let (u, v) = (frequency * x + phase[0], frequency * y + phase[1]);
                // Each has its lowest frequency in x or in y at `frequency`, so that one band hides them all.
                let wave = match motif {
                    Motif::Vertical => u.cos(),
                    Motif::Horizontal => v.cos(),
                    Motif::Diagonal => (if *falling { u - v } else { u + v }).cos(),
                    Motif::Checker => u.cos() * v.cos(),
                    Motif::Dots => 0.5 * (u.cos() + v.cos()),
                    // Where the circles run at 45 degrees, a wave along the radius is slower in x and y by the root of 2.
                    _ => (std::f32::consts::SQRT_2 * frequency * x.hypot(y) + phase[0]).cos(),
                };
                lerp(ends[0], ends[1], 0.5 + 0.5 * wave)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_polygon_knows_inside_from_outside_and_how_far() {
        let square = [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]];
        for (point, expected) in
            [([0.0, 0.0], -1.0), ([0.75, 0.0], -0.25), ([3.0, 0.5], 2.0), ([4.0, 5.0], 5.0), ([0.0, -1.0], 0.0)]
        {
            let distance = polygon_distance(&square, point);
            assert!((distance - expected).abs() < 1e-6, "{point:?}: {distance}, expected {expected}");
        }
    }

    #[test]
    fn a_cross_and_a_star_have_notches() {
        let mut draw = Draw::at(0, 0, 0, crate::rng::Purpose::Demo);
        for (motif, inside, outside) in [
            (Motif::Cross, [0.0, 0.9], [0.6, 0.6]),
            (Motif::Star, [0.0, -1.0], [0.0, 0.9]),
            (Motif::Ring, [0.78, 0.0], [0.0, 0.0]),
        ] {
            let outline = Outline::of(motif, &mut draw);
            assert!(outline.distance(inside) < 0.0 && outline.distance(outside) > 0.0, "{motif:?}");
        }
    }

    #[test]
    fn a_view_of_40_pixels_holds_no_texture() {
        const SIDE: usize = 128;
        // The lowest 20 repetitions along the side, less one that the window smears over the edge.
        const LOW: i32 = 19;
        let mut draw = Draw::at(3, 0, 0, crate::rng::Purpose::Demo);
        for motif in Motif::ALL.into_iter().filter(|motif| motif.is_texture()) {
            let paint = Paint::texture(&mut draw, SIDE as f32);
            let window = |i: usize| (PI * (i as f32 + 0.5) / SIDE as f32).sin().powi(2);
            let center = SIDE as f32 / 2.0;
            let mut image = vec![0f32; SIDE * SIDE];
            let mut mean = 0.0;
            for (i, value) in image.iter_mut().enumerate() {
                let offset = [(i % SIDE) as f32 - center, (i / SIDE) as f32 - center];
                *value = luma(paint.at(motif, offset));
                mean += *value / (SIDE * SIDE) as f32;
            }
            for (i, value) in image.iter_mut().enumerate() {
                *value = (*value - mean) * window(i % SIDE) * window(i / SIDE);
            }
            let total: f32 = image.iter().map(|v| v * v).sum();
            // A naive transform, rows first; Parseval gives the energy of the low square.
            let wave =
                |k: i32, i: usize| (TAU * ((k * i as i32).rem_euclid(SIDE as i32)) as f32 / SIDE as f32).sin_cos();
            let mut low = 0.0;
            for u in -LOW..=LOW {
                let rows: Vec<[f32; 2]> = image
                    .chunks(SIDE)
                    .map(|row| {
                        row.iter().enumerate().fold([0.0; 2], |[re, im], (i, value)| {
                            let (sin, cos) = wave(u, i);
                            [re + value * cos, im - value * sin]
                        })
                    })
                    .collect();
                for v in -LOW..=LOW {
                    let [re, im] = rows.iter().enumerate().fold([0.0; 2], |[re, im], (i, row)| {
                        let (sin, cos) = wave(v, i);
                        [re + row[0] * cos + row[1] * sin, im + row[1] * cos - row[0] * sin]
                    });
                    low += (re * re + im * im) / (SIDE * SIDE) as f32;
                }
            }
            assert!(low < 0.02 * total, "{motif:?}: {:.2} % of the energy is low", 100.0 * low / total);
        }
    }
}
