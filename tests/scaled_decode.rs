//! JPEGs decoded at M/8: what is left of them after the renderer, where a region lies, and that damage does no harm.
//! That a region has the pixels of the whole is in `jpeg_corpus`.

mod jpeg_fixtures;

use bandfeed::Recipe;
use bandfeed::decode::{Decoder, Limits, Patch, SCALE_MARGIN};
use bandfeed::error::DecodeError;
use bandfeed::ops::{Renderer, View};
use bandfeed::plan::{self, BandPlan, ResizedCrop, SampleKey, SamplePlan};
use bandfeed::schedule::Stage;
use bandfeed::shape::{BandCrop, Filter, Rect, Size};
use jpeg_fixtures::{Random, jpeg, picture, rectangle, shared_data, tar_jpegs, with_orientation};
use std::f64::consts::{FRAC_1_SQRT_2, PI};
use std::time::{Duration, Instant};
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

/// The samplings that the own decoder reads.
const SAMPLINGS: [Subsamp; 5] = [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2, Subsamp::Gray];

/// M of M/8, and how many decoded pixels for each needed one it takes at the default margin.
const SCALES: [(u32, f64); 5] = [(1, 3.0), (2, 2.0), (3, 1.75), (4, 1.5), (6, 1.5)];

/// The largest size of which a region of `size` is decoded at M/8 when it is needed.
fn need(size: Size, (m, kept): (u32, f64)) -> Size {
    let side = |side: u32| (f64::from(side * m) / 8.0 / kept) as u32;
    Size::new(side(size.width), side(size.height))
}

/// Random resized crops to the base of 224, bicubic, with a Lanczos band: values are grey levels.
fn crop_plan(position: usize, epoch: u64, band: u32, size: Size) -> SamplePlan {
    let key = SampleKey { seed: 1, epoch, position: position as u64, replay: 0 };
    let stage = Stage::fixed(224, band, BandCrop::Lanczos, 1);
    let crop = plan::train(key, &stage, 0.0, &Recipe::default(), size).expect("the image has pixels").crop;
    with_band(ResizedCrop { filter: Filter::Bicubic, ..crop }, band)
}

fn with_band(crop: ResizedCrop, band: u32) -> SamplePlan {
    let band = (band != crop.grid.width).then_some(BandPlan { band, crop: BandCrop::Lanczos });
    SamplePlan { band, mean: [0.0; 3], std: [1.0 / 255.0; 3], ..SamplePlan::new(crop) }
}

/// A decoder and a renderer, as a worker has them.
struct Path {
    decoder: Decoder,
    renderer: Renderer,
    decode: Duration,
    render: Duration,
}

impl Path {
    fn new(decoder: Decoder) -> Self {
        Self { decoder, renderer: Renderer::new(), decode: Duration::ZERO, render: Duration::ZERO }
    }

    /// The plan's output, with M of the scale.
    fn run(&mut self, bytes: &[u8], plan: &SamplePlan, need: Size) -> (Vec<f32>, u8) {
        let start = Instant::now();
        let header = self.decoder.header(bytes).expect("the header is sound");
        let patch = self.decoder.decode_region(bytes, &header, plan.crop.region, need).expect("the image is sound");
        let decoded = Instant::now();
        let mut out = vec![f32::NAN; 3 * (plan.output() as usize).pow(2)];
        let view = View { pixels: patch.pixels, stride: patch.stride, size: patch.size };
        self.renderer.render(view, patch.area, plan, &mut out).expect("the plan fits");
        self.render += decoded.elapsed();
        self.decode += decoded - start;
        (out, patch.scale)
    }
}

fn decoder(margin: f64) -> Decoder {
    let decoder = Decoder::new(Limits::default()).expect("the limits are in range");
    decoder.scale_margin(margin).expect("the margin is in range").with_own_decoder()
}

fn psnr(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let mean = sum / a.len() as f64;
    assert!(mean.is_finite());
    10.0 * (255.0 * 255.0 / mean.max(1e-9)).log10()
}

/// Median and 5th percentile.
fn spread(values: &mut [f64]) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    if values.is_empty() { (f64::NAN, f64::NAN) } else { (values[values.len() / 2], values[values.len() / 20]) }
}

#[test]
fn a_block_is_the_inverse_of_its_low_coefficients() {
    let (width, height) = (88_usize, 64_usize);
    let bytes = jpeg(width as u32, height as u32, Subsamp::Gray, false);
    let mut decoder = decoder(SCALE_MARGIN);
    let header = decoder.header(&bytes).expect("the header is sound");
    let full = decoder.decode(&bytes).expect("the image is sound");
    let weight = |points: usize, u: usize, x: usize| {
        let scale = if u == 0 { FRAC_1_SQRT_2 } else { 1.0 };
        scale * (((2 * x + 1) * u) as f64 * PI / (2 * points) as f64).cos() / 2.0
    };
    for (m, kept) in SCALES {
        let patch = decoder.decode_region(&bytes, &header, Rect::whole(header.size), need(header.size, (m, kept)));
        let patch = patch.expect("the image is sound");
        let side = m as usize;
        assert_eq!((patch.scale, patch.size), (m as u8, Size::new(11 * m, 8 * m)));
        for (by, bx) in (0..height / 8).flat_map(|by| (0..width / 8).map(move |bx| (by, bx))) {
            // The coefficients, but for the rounding of the pixels that they are taken from.
            let pixel = |y: usize, x: usize| f64::from(full.data[3 * ((8 * by + y) * width + 8 * bx + x)]);
            let sum = |f: &dyn Fn(usize, usize) -> f64, n: usize| -> f64 { (0..n * n).map(|i| f(i / n, i % n)).sum() };
            let coefficient = |v, u| sum(&|y, x| weight(8, v, y) * weight(8, u, x) * pixel(y, x), 8);
            let low: Vec<f64> = (0..side * side).map(|i| coefficient(i / side, i % side)).collect();
            for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
                let exact = sum(&|v, u| weight(side, v, y) * weight(side, u, x) * low[v * side + u], side);
                let got = f64::from(patch.pixels[(by * side + y) * patch.stride + 3 * (bx * side + x)]);
                assert!((got - exact.clamp(0.0, 255.0)).abs() <= 1.5, "{m}/8: block {bx}, {by}: {got} and not {exact}");
            }
        }
    }
}

/// Waves that go their own way in each channel, 20 decoded pixels long: half a decoded pixel aside is 14 grey levels.
#[test]
fn a_wave_stays_where_it_is_at_every_scale_sampling_and_orientation() {
    let (width, height) = (288_usize, 240_usize);
    let mut random = Random(11);
    let (mut own, mut exact) = (Path::new(decoder(SCALE_MARGIN)), Path::new(decoder(f64::INFINITY)));
    for scale in SCALES {
        let length = 160.0 / f64::from(scale.0);
        let wave = |x: f64| (128.0 + 90.0 * (2.0 * PI * x / length).sin()) as u8;
        let mut pixels = Vec::new();
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y as f64, x as f64))) {
            pixels.extend([wave(x), wave(y), wave(0.6 * x - 0.8 * y)]);
        }
        let (mut worst, mut count) = (0.0_f32, 0);
        for subsamp in SAMPLINGS {
            let mut compressor = Compressor::new().expect("libjpeg-turbo starts");
            compressor.set_quality(98).expect("the quality is in range");
            compressor.set_subsamp(subsamp).expect("the sampling is known");
            let image = Image { pixels: &pixels[..], width, pitch: 3 * width, height, format: PixelFormat::RGB };
            let upright = compressor.compress_to_vec(image).expect("a picture compresses");
            for orientation in 1..=8 {
                let bytes = with_orientation(&upright, orientation);
                let size = exact.decoder.header(&bytes).expect("the header is sound").size;
                let (w, h) = (random.between(190, size.width), random.between(190, size.height));
                let (x, y) = (random.between(0, size.width - w), random.between(0, size.height - h));
                let region = Rect { x, y, width: w, height: h };
                let need = need(region.size(), scale);
                let grid = Size::square(need.width.min(need.height));
                let crop = ResizedCrop { region, grid, window: Rect::whole(grid), filter: Filter::Bicubic };
                let plan = with_band(crop, grid.width);
                let (out, found) = own.run(&bytes, &plan, need);
                assert_eq!(u32::from(found), scale.0, "{region:?} for {need:?}");
                let (expected, _) = exact.run(&bytes, &plan, need);
                // At the region's edges the two filters see other neighbours.
                let side = grid.width as usize;
                let is_inner =
                    |i: usize| (2..side - 2).contains(&(i % side)) && (2..side - 2).contains(&(i / side % side));
                for i in (0..out.len()).filter(|&i| is_inner(i)) {
                    let difference = (out[i] - expected[i]).abs();
                    (worst, count) = (worst.max(difference), count + 1);
                    assert!(difference <= 6.0, "{subsamp:?} {orientation} {found}/8 {region:?}: by {difference}");
                }
            }
        }
        println!("{}/8: {worst:.2} grey levels at most of {count} values", scale.0);
        assert!(count > 200, "{count}: too few to tell anything");
    }
}

#[test]
fn photos_keep_their_band_at_the_default_margin() {
    let Some(tar) = shared_data("imagenet-200.tar") else { return };
    let (mut own, mut exact) = (Path::new(decoder(SCALE_MARGIN)), Path::new(decoder(f64::INFINITY)));
    for band in [96, 160] {
        let mut values = Vec::new();
        for (position, (_, bytes)) in tar_jpegs(&tar).iter().enumerate() {
            let size = exact.decoder.header(bytes).expect("the header is sound").size;
            let plan = crop_plan(position, 0, band, size);
            let (out, scale) = own.run(bytes, &plan, Size::square(band));
            if scale < 8 {
                values.push(psnr(&out, &exact.run(bytes, &plan, Size::square(band)).0));
            }
        }
        let (count, (median, low)) = (values.len(), spread(&mut values));
        println!("B={band}: {median:.1} / {low:.1} dB of {count} photos");
        assert!(median >= 51.0 && low >= 43.0 && count >= 20, "B={band}: {median} / {low} dB of {count} photos");
    }
}

type Dense = (Vec<u8>, Size, [f64; 4], u8, Option<String>);

/// What a patch holds, however its rows lie.
fn dense(patch: Result<Patch<'_>, DecodeError>) -> Result<Dense, DecodeError> {
    let Patch { pixels, stride, size, area, scale, warning, .. } = patch?;
    let row = 3 * size.width as usize;
    let rows = pixels.chunks(stride).flat_map(|pixels| &pixels[..row]).copied();
    Ok((rows.collect(), size, area, scale, warning.map(str::to_owned)))
}

#[test]
fn damage_ends_in_pixels_or_as_with_libjpeg_at_every_scale() {
    const CASES: usize = 10_000;
    let (width, height) = (75, 61);
    let mut files = Vec::new();
    for subsamp in SAMPLINGS {
        files.extend([jpeg(width, height, subsamp, false), restarted(width, height, subsamp)]);
    }
    let mut random = Random(12);
    let new = || Decoder::new(Limits { max_pixels: 300_000, max_scans: 20 }).expect("the limits are in range");
    let (mut own, mut plain) = (new().with_own_decoder(), new().without_vectors());
    let mut libjpeg = new().without_own_decoder();
    let mut served = [0; 9];
    for case in 0..CASES {
        let mut bytes = files[case % files.len()].clone();
        let reach = if case % 3 == 0 { bytes.len().min(700) } else { bytes.len() } as u32;
        for _ in 0..random.between(1, 3) {
            let at = random.between(2, reach - 1) as usize;
            match random.between(0, 3) {
                0 => bytes[at] = random.next() as u8,
                1 => bytes[at] ^= 1 << random.between(0, 7),
                2 => bytes[at] = [0, 0xff, 0x7f, 0x80][random.between(0, 3) as usize],
                _ => {
                    let from = random.between(2, reach - 1) as usize;
                    let len = (random.between(1, 16) as usize).min(bytes.len() - at.max(from));
                    bytes.copy_within(from..from + len, at);
                }
            }
        }
        if random.between(0, 19) == 0 {
            bytes.truncate(random.between(2, reach) as usize);
        }
        let Ok(header) = own.header(&bytes) else { continue };
        for scale in SCALES {
            let region = if case % 2 == 0 { Rect::whole(header.size) } else { rectangle(&mut random, header.size) };
            let need = need(region.size(), scale);
            let before = own.own_decodes();
            let first = dense(own.decode_region(&bytes, &header, region, need));
            let second = dense(plain.decode_region(&bytes, &header, region, need));
            assert!(first == second, "case {case} at {scale:?}: the machine makes no difference");
            if own.own_decodes() == before {
                let by_libjpeg = dense(libjpeg.decode_region(&bytes, &header, region, need));
                assert!(first == by_libjpeg, "case {case} at {scale:?}");
                continue;
            }
            let (_, size, [x, y, width, height], scale, warning) = first.expect("an own decode is one");
            served[usize::from(scale)] += 1;
            assert_eq!(warning, None);
            let (right, bottom) = (f64::from(size.width), f64::from(size.height));
            assert!(x + width <= right && y + height <= bottom, "case {case} at {scale}/8: {size:?}");
        }
    }
    println!("decoded by M without libjpeg: {served:?}");
    assert!(SCALES.iter().all(|&(m, _)| served[m as usize] > CASES / 20), "{served:?}: too few to tell anything");
}

/// A JPEG with optimised tables and a restart marker after every second unit.
fn restarted(width: u32, height: u32, subsamp: Subsamp) -> Vec<u8> {
    use turbojpeg::raw;
    let pixels = picture(width, height);
    let (mut to, mut len) = (std::ptr::null_mut(), 0);
    // SAFETY: the handle is used between its start and end; the pixels have the size that is claimed; the buffer is
    // libjpeg's, of the length that it says, and is given back.
    unsafe {
        let handle = raw::tj3Init(raw::TJINIT_TJINIT_COMPRESS as _);
        for (parameter, value) in [
            (raw::TJPARAM_TJPARAM_SUBSAMP, subsamp as i32),
            (raw::TJPARAM_TJPARAM_QUALITY, 80),
            (raw::TJPARAM_TJPARAM_OPTIMIZE, 1),
            (raw::TJPARAM_TJPARAM_RESTARTBLOCKS, 2),
        ] {
            assert_eq!(raw::tj3Set(handle, parameter as _, value), 0);
        }
        let (format, pitch) = (raw::TJPF_TJPF_RGB as _, 3 * width as i32);
        let code =
            raw::tj3Compress8(handle, pixels.as_ptr(), width as _, pitch, height as _, format, &mut to, &mut len);
        assert_eq!(code, 0);
        let bytes = std::slice::from_raw_parts(to, len as usize).to_vec();
        raw::tj3Free(to.cast());
        raw::tj3Destroy(handle);
        bytes
    }
}

/// The tables at `SCALE_MARGIN` and in the bench records:
/// `cargo test --release --test scaled_decode -- --ignored --nocapture`. Times are those of one thread, all ways in turn for
/// each photo, the shortest of four.
#[test]
#[ignore = "a measurement"]
fn margins_are_measured_on_photos() {
    let Some(tar) = shared_data("imagenet-200.tar") else { return };
    let files: Vec<_> = tar_jpegs(&tar).into_iter().map(|(_, bytes)| bytes).collect();
    println!("base 224, bicubic, Lanczos band: PSNR of what is scaled, median / 5th percentile; ms of a photo");
    let new = || Decoder::new(Limits::default()).expect("the limits are in range");
    let mut paths: Vec<(String, Path)> = [1.0, 1.25, 1.5, 2.0, f64::INFINITY]
        .map(|margin| (format!("own {margin}"), Path::new(decoder(margin))))
        .into_iter()
        .collect();
    paths.push(("no vectors".into(), Path::new(new().without_vectors())));
    for margin in [SCALE_MARGIN, f64::INFINITY] {
        let decoder = new().scale_margin(margin).expect("the margin is in range").without_own_decoder();
        paths.push((format!("libjpeg {}", margin / 0.75), Path::new(decoder)));
    }
    const OWN: usize = 2;
    const LIBJPEG: usize = 6;
    let mut exact = Path::new(decoder(f64::INFINITY));
    for band in [96, 128, 160, 192, 224] {
        let mut found: Vec<(Vec<f64>, [usize; 9], [Duration; 2])> = vec![Default::default(); paths.len()];
        // Of the photos that libjpeg scales, by the own decoder and by libjpeg.
        let mut common = [Vec::new(), Vec::new()];
        for (epoch, (position, bytes)) in (0..3).flat_map(|epoch| files.iter().enumerate().map(move |f| (epoch, f))) {
            let size = exact.decoder.header(bytes).expect("the header is sound").size;
            let plan = crop_plan(position, epoch, band, size);
            let need = Size::square(band);
            let exact = exact.run(bytes, &plan, need).0;
            // The shortest of four: others use this machine as well.
            let mut shortest = vec![[Duration::MAX; 2]; paths.len()];
            let mut decibels = vec![f64::INFINITY; paths.len()];
            for turn in 0..4 * paths.len() {
                let i = (turn + position) % paths.len();
                let ((_, path), (values, scales, _)) = (&mut paths[i], &mut found[i]);
                (path.decode, path.render) = Default::default();
                let (out, scale) = path.run(bytes, &plan, need);
                shortest[i] = [shortest[i][0].min(path.decode), shortest[i][1].min(path.render)];
                if turn < paths.len() {
                    scales[usize::from(scale)] += 1;
                    if scale < 8 {
                        decibels[i] = psnr(&out, &exact);
                        values.push(decibels[i]);
                    }
                }
            }
            if decibels[LIBJPEG].is_finite() {
                [OWN, LIBJPEG].into_iter().zip(&mut common).for_each(|(i, values)| values.push(decibels[i]));
            }
            for ((.., times), shortest) in found.iter_mut().zip(shortest) {
                *times = [times[0] + shortest[0], times[1] + shortest[1]];
            }
        }
        for ((name, _), (values, scales, times)) in paths.iter().zip(&mut found) {
            let [decode, render] = times.map(|time| time.as_secs_f64() * 1e3 / (3 * files.len()) as f64);
            let both = decode + render;
            let (median, low) = spread(values);
            let scales = [1, 2, 3, 4, 6, 8].map(|m| scales[m]);
            println!(
                "B={band} {name:11} {median:5.1} / {low:4.1} dB; {scales:3?} at 1, 2, 3, 4, 6, 8; \
                 decode {decode:.3}, render {render:.3}, both {both:.3} ms"
            );
        }
        let count = common[0].len();
        let [by_own, by_libjpeg] = common.map(|mut values| spread(&mut values));
        println!("B={band} the {count} that libjpeg scales: {by_own:.1?}, by libjpeg {by_libjpeg:.1?} dB");
    }
    println!(
        "by scale and margin, band half of the base: median / 5th percentile of own and libjpeg, at the same scale"
    );
    let mut own = Path::new(decoder(1.0));
    let mut libjpeg = Path::new(decoder(1.0).without_own_decoder());
    for m in [1, 2, 3, 4, 6] {
        for ratio in [1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0] {
            let mut found = [Vec::new(), Vec::new()];
            for (position, bytes) in files.iter().enumerate() {
                let size = exact.decoder.header(bytes).expect("sound").size;
                let region = crop_plan(position, 0, 96, size).crop.region;
                let decoded = Size::new(region.width * m / 8, region.height * m / 8);
                let band = (f64::from(decoded.width.min(decoded.height)) / ratio) as u32;
                if band < 8 {
                    continue;
                }
                let grid = Size::square(2 * band);
                let plan =
                    with_band(ResizedCrop { region, grid, window: Rect::whole(grid), filter: Filter::Bicubic }, band);
                let expected = exact.run(bytes, &plan, decoded).0;
                // The margins of M/8 as they are in `scale_for`, of which 1.0 is set: this makes it choose M.
                let more = [0.0, 2.0, 4.0 / 3.0, 7.0 / 6.0, 1.0, 0.0, 1.0][m as usize];
                for (path, more, which) in [(&mut own, more, 0), (&mut libjpeg, 4.0 / 3.0, 1)] {
                    let need = [decoded.width, decoded.height].map(|side| (f64::from(side) / more) as u32);
                    let (out, scale) = path.run(bytes, &plan, Size::new(need[0], need[1]));
                    if u32::from(scale) == m {
                        found[which].push(psnr(&out, &expected));
                    }
                }
            }
            let count = found.each_ref().map(Vec::len);
            println!("{m}/8 margin {ratio:4}: {:5.1?} {count:?}", found.map(|mut values| spread(&mut values)));
        }
    }
}
