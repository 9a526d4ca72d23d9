//! Whole batches against the CPU's `Renderer`.

use super::batch::{Area, Batch, Sample, Step};
use super::stage::Stager;
use super::tables::Tables;
use crate::augment::{Op, Ops};
use crate::erase::{Erasure, Erasures, Fill};
use crate::gpu::device::{HEAD_PITCH, HEADS, Launch, STORAGE};
use crate::gpu::memory::Buffer;
use crate::gpu::testing::{SENTINEL, assert_close, device};
use crate::ops::{Renderer, View};
use crate::plan::{BandPlan, ResizedCrop, SamplePlan};
use crate::recipe::AugmentAt;
use crate::rng::{Draw, Purpose};
use crate::shape::{BandCrop, Filter, Grid, Rect, Size};

/// Decoded pixels and the plan for them.
struct Case {
    pixels: Vec<u8>,
    size: Size,
    area: [f64; 4],
    plan: SamplePlan,
}

impl Case {
    /// Pixels with much contrast: smooth waves, edges and noise.
    fn new(seed: u64, size: Size, grid: Size) -> Self {
        let mut draw = Draw::at(seed, 0, 0, Purpose::Crop);
        let pixel = |x: u32, y: u32| {
            let wave = 127.0 + 100.0 * (f64::from(x) * 0.37).sin() * (f64::from(y) * 0.23 + seed as f64).cos();
            let noise = draw.bits();
            std::array::from_fn::<u8, 3, _>(|c| match (x / 5 + y / 7 + c as u32) % 4 {
                0 => 255,
                1 => 0,
                _ => (wave as i64 + (noise >> (8 * c) & 31) as i64).clamp(0, 255) as u8,
            })
        };
        let pixels = (0..size.height).flat_map(|y| (0..size.width).map(move |x| (x, y)));
        let pixels = pixels.map({
            let mut pixel = pixel;
            move |(x, y)| pixel(x, y)
        });
        let crop = ResizedCrop { region: Rect::whole(size), grid, window: Rect::whole(grid), filter: Filter::Bicubic };
        let area = [0.0, 0.0, f64::from(size.width), f64::from(size.height)];
        Self { pixels: pixels.flatten().collect(), size, area, plan: SamplePlan::new(crop) }
    }

    fn plan(mut self, change: impl FnOnce(&mut SamplePlan)) -> Self {
        change(&mut self.plan);
        self
    }

    fn expected(&self) -> Vec<f32> {
        let mut out = vec![f32::NAN; 3 * (self.plan.output() as usize).pow(2)];
        Renderer::new().render(View::packed(&self.pixels, self.size), self.area, &self.plan, &mut out).unwrap();
        out
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let SamplePlan { crop, flip, band, fuse, augment_at, .. } = self.plan;
        let (size, ops, boxes) = (self.size, self.plan.ops.len(), self.plan.erasures.len());
        write!(f, "{size:?}, {crop:?}, flip {flip}, {band:?}, fuse {fuse}, {ops} ops at {augment_at:?}, {boxes} boxes")
    }
}

/// Buffers of a batch on the device, garbage behind their contents.
struct Buffers {
    all: [Buffer; 5],
    words: [u64; 5],
}

const AREAS: [Area; 5] = [Area::Pixels, Area::Images, Area::Values, Area::Middle, Area::Slots];

impl Buffers {
    fn new(pixels: &[u32], batch: &Batch<'_>, slots: u64) -> Self {
        let words = [pixels.len() as u64, batch.images_words(), batch.values_words(), batch.middle_words(), slots];
        let device = device();
        let all = std::array::from_fn(|at| {
            let buffer = device.buffer(4 * (words[at] + 64), STORAGE).unwrap();
            let mut contents = if at == 0 { pixels.to_vec() } else { Vec::new() };
            contents.resize(buffer.size() as usize / 4, SENTINEL);
            device.upload(&buffer, bytemuck::cast_slice(&contents));
            buffer
        });
        Self { all, words }
    }

    fn at(&self, area: Area) -> &Buffer {
        &self.all[AREAS.iter().position(|a| *a == area).unwrap()]
    }

    fn run(&self, steps: &[Step], input: &[u32]) {
        let device = device();
        let mut heads = vec![0u8; (steps.len().max(1)) * HEAD_PITCH as usize];
        for (step, head) in steps.iter().zip(heads.chunks_exact_mut(HEAD_PITCH as usize)) {
            head[..16].copy_from_slice(bytemuck::bytes_of(&step.head));
        }
        let on_device = device.buffer(heads.len() as u64, HEADS).unwrap();
        device.upload(&on_device, &heads);
        let words = device.buffer(4 * input.len() as u64, STORAGE).unwrap();
        device.upload(&words, bytemuck::cast_slice(input));
        let launches: Vec<Launch<'_>> = (0..)
            .step_by(HEAD_PITCH as usize)
            .zip(steps)
            .map(|(head, step)| Launch {
                kernel: step.kernel,
                head,
                buffers: step.areas.iter().map(|area| self.at(*area)).collect(),
                grid: step.grid,
            })
            .collect();
        let (raw, queue) = device.raw();
        let mut encoder = raw.create_command_encoder(&Default::default());
        device.encode(&mut encoder, &on_device, &words, &launches, None).unwrap();
        queue.submit([encoder.finish()]);
    }

    fn words(&self, area: Area) -> Vec<u32> {
        let buffer = self.at(area);
        bytemuck::pod_collect_to_vec(&device().download(buffer, buffer.size()).unwrap())
    }

    fn check_sentinels(&self) {
        for (area, words) in AREAS.iter().zip(self.words) {
            let behind = self.words(*area).split_off(words as usize);
            assert!(behind.iter().all(|word| *word == SENTINEL), "something was written behind the end of {area:?}");
        }
    }
}

/// All cases as one batch, in slots from the last to the first. Operations other than `Invert` are not known here.
fn render(cases: &[Case]) -> Vec<Vec<f32>> {
    let (mut stager, mut input, mut pixels) = (Stager::default(), vec![SENTINEL; 5], vec![SENTINEL; 3]);
    let staged: Vec<_> = cases
        .iter()
        .map(|case| {
            let mut words = vec![SENTINEL; 7];
            let staged = stager.stage(&case.plan, case.size, case.area, &mut words).unwrap();
            let base = input.len() as u32;
            input.append(&mut words);
            let (first, gap) = (pixels.len() as u32, 2);
            for row in case.pixels.chunks_exact(3 * case.size.width as usize) {
                pixels.extend(row.as_chunks::<3>().0.iter().map(|[r, g, b]| u32::from_le_bytes([*r, *g, *b, 0])));
                pixels.extend(vec![SENTINEL; gap]);
            }
            (staged, base, first, case.size.width + gap as u32)
        })
        .collect();
    let last = cases.len() as u32 - 1;
    let samples: Vec<Sample<'_>> = (0..)
        .zip(&staged)
        .map(|(at, (staged, base, pixels, stride))| Sample {
            staged,
            base: *base,
            pixels: *pixels,
            stride: *stride,
            slot: last - at,
        })
        .collect();
    let slot = 3 * (cases[0].plan.output() as usize).pow(2);
    let mut batch = Batch::new(&samples);
    let buffers = Buffers::new(&pixels, &batch, (slot * cases.len()) as u64);
    let mut tables = Tables::default();
    let crop = batch.crop(&mut tables, &mut input).unwrap();
    assert!(crop.len() <= 4, "{crop:?}");
    buffers.run(&crop, &input);
    // What the augmentation's kernels do, with the result in the other area.
    let mut images = buffers.words(Area::Images);
    for image in (0..samples.len()).filter_map(|at| batch.image(at)) {
        let [from, to] = [image.held, 1 - image.held].map(|area| image.areas[area] as usize);
        for at in 0..image.size.pixels() as usize {
            assert_eq!(images[from + at] >> 24, 0, "the fourth byte of a pixel is 0");
            images[to + at] = !images[from + at] & 0xff_ffff;
        }
        images[from..from + image.size.pixels() as usize].fill(SENTINEL);
    }
    device().upload(buffers.at(Area::Images), bytemuck::cast_slice(&images));
    let held = |at: usize| 1 - batch.image(at).unwrap().held;
    let held: Vec<usize> = (0..samples.len()).map(|at| batch.image(at).map_or(9, |_| held(at))).collect();
    let finish = batch.finish(|at| held[at], &mut tables, &mut input).unwrap();
    assert!(finish.len() <= 6, "{finish:?}");
    buffers.run(&finish, &input);
    buffers.check_sentinels();
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(&buffers.words(Area::Slots));
    values.chunks_exact(slot).take(cases.len()).rev().map(<[f32]>::to_vec).collect()
}

/// Compares every case of a batch with the CPU.
fn check(name: &str, cases: &[Case], tolerance: f32) {
    for (at, (case, got)) in cases.iter().zip(render(cases)).enumerate() {
        assert_close(&format!("{name}, sample {at}: {case}"), &got, &case.expected(), tolerance);
    }
}

/// The same where f32 was rounded to bytes. A tie that is rounded the other way is one value a level off, and a band after it spreads
/// it over the values that read it: under a level at each, and little in the mean.
fn check_rounded(name: &str, cases: &[Case]) {
    for (at, (case, got)) in cases.iter().zip(render(cases)).enumerate() {
        let (what, expected) = (format!("{name}, sample {at}: {case}"), case.expected());
        assert_close(&what, &got, &expected, 1.01 * LEVEL);
        let sum: f32 = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).sum();
        let mean = sum / got.len() as f32;
        assert!(mean <= 0.01 * LEVEL, "{what}: {mean:.1e} in the mean");
        if case.plan.band.is_none() || case.plan.augment_at == AugmentAt::Band && !case.plan.ops.is_empty() {
            let off = got.iter().zip(&expected).filter(|(a, b)| (**a - **b).abs() > 1e-5).count();
            assert!(off <= 1 + got.len() / 1000, "{what}: {off} of {} are a level off", got.len());
        }
    }
}

/// One grey level of normalised values, of the channel where it is most.
const LEVEL: f32 = 1.0 / (255.0 * 0.224);

const FILTERS: [Filter; 3] = [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos3];

/// Sizes of images, awkward and plain; all are reduced or enlarged to `side`.
fn sizes() -> Vec<Size> {
    [(1, 1), (1, 50), (50, 1), (37, 23), (33, 64), (20, 31), (101, 67), (640, 9), (9, 640), (300, 211)]
        .map(|(width, height)| Size::new(width, height))
        .to_vec()
}

/// A plan's kinds of band, none first.
fn bands(band: u32) -> [Option<BandPlan>; 4] {
    let fourier = |grid| BandCrop::Fourier { grid };
    let kinds = [BandCrop::Lanczos, fourier(Grid::Paper), fourier(Grid::HalfPixel)];
    [None, Some(kinds[0]), Some(kinds[1]), Some(kinds[2])].map(|crop| crop.map(|crop| BandPlan { band, crop }))
}

/// A case of each size and filter, of output side `side`, from a grid that is larger where there is a band.
fn cases(side: u32, base: u32, fuse: bool, band: Option<BandPlan>) -> Vec<Case> {
    let grid = Size::square(if band.is_some() { base } else { side });
    let case = |(n, size): (usize, Size)| {
        Case::new(n as u64, size, grid).plan(|plan| {
            plan.flip = n % 2 == 1;
            plan.crop.filter = FILTERS[n % 3];
            plan.fuse = fuse;
            plan.band = band;
        })
    };
    sizes().into_iter().enumerate().map(case).collect()
}

#[test]
fn plain_plans_have_the_cpu_s_bytes() {
    for (side, base) in [(32, 47), (33, 33), (1, 3)] {
        for band in &bands(side)[..2] {
            check("plain", &cases(side, base, false, *band), 1e-6);
        }
    }
}

#[test]
fn fused_plans_are_the_cpu_s_linear_maps() {
    for (side, base) in [(32, 47), (31, 65), (1, 3)] {
        for band in bands(side) {
            check("fused", &cases(side, base, true, band), 2e-5);
        }
    }
}

#[test]
fn a_fourier_band_follows_8_bits_on_the_plain_path() {
    for (side, base) in [(32, 47), (31, 64), (65, 65), (2, 2)] {
        for band in &bands(side)[2..] {
            check("plain fourier", &cases(side, base, false, *band), 1e-5);
        }
    }
}

#[test]
fn images_of_the_usual_size_are_cut_to_the_usual_bands() {
    let mut batch = Vec::new();
    for (n, band) in bands(96).into_iter().flatten().enumerate() {
        for fuse in [true, false] {
            batch.push(Case::new(n as u64, Size::new(500, 375), Size::square(224)).plan(|plan| {
                (plan.fuse, plan.band, plan.flip) = (fuse, Some(band), fuse);
            }));
        }
    }
    check("usual sizes", &batch, 2e-5);
}

#[test]
fn areas_may_be_fractional_and_windows_smaller_than_the_grid() {
    let mut batch = Vec::new();
    for (n, fuse) in [true, false, true, false].into_iter().enumerate() {
        for band in bands(24) {
            let (width, height) = (90 + n as u32, 75);
            let mut case = Case::new(n as u64, Size::new(width, height), Size::new(70, 55)).plan(|plan| {
                plan.crop.window = Rect { x: 13, y: 9, width: 41, height: 37 };
                plan.crop.filter = FILTERS[n % 3];
                plan.fuse = fuse;
                plan.band = Some(band.unwrap_or(BandPlan { band: 24, crop: BandCrop::FOURIER }));
                plan.flip = n > 1;
            });
            case.area = [3.25, 1.6, f64::from(width) - 7.7, f64::from(height) - 4.1];
            batch.push(case);
        }
    }
    check("areas", &batch, 2e-5);
}

/// Every kind of plan that has operations, of output side `side`.
fn augmented(side: u32, base: u32) -> Vec<Case> {
    let mut cases = Vec::new();
    for (n, band) in bands(side).into_iter().enumerate() {
        for (fuse, augment_at) in [true, false].into_iter().flat_map(|f| [(f, AugmentAt::Base), (f, AugmentAt::Band)]) {
            let grid = if band.is_some() { base } else { side };
            cases.push(Case::new(n as u64, Size::new(71 + n as u32, 90), Size::square(grid)).plan(|plan| {
                (plan.fuse, plan.augment_at, plan.band) = (fuse, augment_at, band);
                plan.flip = n % 2 == 0;
                plan.ops.push(Op::Invert).unwrap();
            }));
        }
    }
    cases
}

#[test]
fn what_is_augmented_is_rounded_once_before_and_goes_on_after() {
    for (side, base) in [(32, 47), (33, 65), (96, 131)] {
        check_rounded("augmented", &augmented(side, base));
    }
}

#[test]
fn plans_that_are_augmented_and_not_fused_are_the_cpu_s() {
    let cases: Vec<Case> = augmented(32, 50).into_iter().filter(|case| !case.plan.fuse).collect();
    let (fourier, exact): (Vec<_>, Vec<_>) =
        cases.into_iter().partition(|case| case.plan.band.is_some_and(|band| band.crop != BandCrop::Lanczos));
    check("augmented, plain", &exact, 1e-6);
    let (rounded, not): (Vec<_>, Vec<_>) =
        fourier.into_iter().partition(|case| case.plan.augment_at == AugmentAt::Band);
    check_rounded("augmented, plain, after a fourier band", &rounded);
    check("augmented, plain, before a fourier band", &not, 1e-5);
}

#[test]
fn boxes_are_erased_before_the_band_or_after_it() {
    let rect = |x, y, width, height| Rect { x, y, width, height };
    let noise = |rect| Erasure { rect, fill: Fill::Noise { key: 77 << 32 | 5 } };
    let color = |rect| Erasure { rect, fill: Fill::Color([1.5, -0.5, 0.25]) };
    let lists = [
        vec![noise(rect(0, 0, 23, 17))],
        vec![noise(rect(3, 4, 9, 5)), color(rect(7, 2, 3, 20)), noise(rect(20, 19, 4, 5)), noise(rect(5, 5, 1, 1))],
        vec![color(rect(23, 23, 1, 1)), color(rect(22, 0, 2, 24))],
    ];
    let mut cases = Vec::new();
    for (n, list) in lists.iter().enumerate() {
        for band in bands(24) {
            for (fuse, ops) in [(true, false), (false, false), (true, true), (false, true)] {
                let is_fourier = band.is_some_and(|band| band.crop != BandCrop::Lanczos);
                let grid = Size::square(if band.is_some() { 41 } else { 24 });
                cases.push(Case::new(n as u64, Size::new(50, 61), grid).plan(|plan| {
                    (plan.fuse, plan.band) = (fuse, band);
                    plan.erasures = Erasures::try_from(&list[..]).unwrap();
                    plan.erase_before_band = is_fourier && n != 1;
                    if ops {
                        plan.ops = Ops::NONE;
                        plan.ops.push(Op::Invert).unwrap();
                    }
                }));
            }
        }
    }
    let (rounded, not): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| case.plan.fuse && case.plan.has_steps());
    check_rounded("erased", &rounded);
    check("erased", &not, 2e-5);
}

#[test]
fn what_the_cpu_refuses_is_refused_with_the_same_words() {
    let fine = || Case::new(0, Size::new(20, 30), Size::square(16));
    let boxes = Erasures::try_from(
        &[Erasure { rect: Rect { x: 0, y: 0, width: 2, height: 2 }, fill: Fill::Noise { key: 1 } }][..],
    );
    let lanczos = Some(BandPlan { band: 8, crop: BandCrop::Lanczos });
    let bad = [
        fine().plan(|plan| plan.crop.window.width = 17),
        fine().plan(|plan| plan.band = Some(BandPlan { band: 17, crop: BandCrop::FOURIER })),
        fine().plan(|plan| plan.band = Some(BandPlan { band: 0, crop: BandCrop::Lanczos })),
        fine().plan(|plan| (plan.erasures, plan.erase_before_band, plan.band) = (boxes.unwrap(), true, lanczos)),
        Case { area: [0.0, 0.0, 21.0, 30.0], ..fine() },
        Case { area: [0.0, f64::NAN, 20.0, 30.0], ..fine() },
        Case { size: Size::new(0, 30), ..fine() },
    ];
    for case in bad {
        let mut words = Vec::new();
        let error = Stager::default().stage(&case.plan, case.size, case.area, &mut words).unwrap_err().to_string();
        let mut out = vec![0.0; 3 * (case.plan.output() as usize).pow(2)];
        let expected = Renderer::new().render(View::packed(&case.pixels, case.size), case.area, &case.plan, &mut out);
        assert_eq!(error, expected.unwrap_err().to_string());
        assert!(words.is_empty());
    }
    let case = fine().plan(|plan| {
        let outside = Erasure { rect: Rect { x: 15, y: 0, width: 2, height: 2 }, fill: Fill::Noise { key: 1 } };
        plan.erasures = Erasures::try_from(&[outside][..]).unwrap();
    });
    let error = Stager::default().stage(&case.plan, case.size, case.area, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("does not lie in 16x16"), "{error}");
}
