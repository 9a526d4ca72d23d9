//! The GPU engine against the CPU engine: the same batches, whatever the files, recipes and stages are.
//!
//! On the adapter that `BANDFEED_WGPU` names, or else on llvmpipe, the software Vulkan driver. Without one the tests fail.

mod jpeg_fixtures;
mod loader_fixtures;

use bandfeed::decode::Limits;
use bandfeed::engine::{DeviceName, Engine, EngineOptions, Output, Wgpu};
use bandfeed::gpu::{Device, adapters};
use bandfeed::loader::{Loader, LoaderBuilder, OnBadFile};
use bandfeed::recipe::{AugmentAt, Preset, ReplayMode};
use bandfeed::schedule::{Options, Schedule, StageReplay};
use bandfeed::source::{self, Memory, Source, Tar};
use bandfeed::{BandCrop, Batch, Error, Recipe, Stage};
use jpeg_fixtures::shared_data;
use std::path::Path;
use std::sync::{Arc, OnceLock};

fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let open = || {
        let name = std::env::var("BANDFEED_WGPU").unwrap_or_else(|_| "llvmpipe".to_owned());
        let device = Device::open(Some(&name)).unwrap_or_else(|error| {
            panic!("{error}\nThese tests need an adapter: install mesa-vulkan-drivers, or name one in BANDFEED_WGPU")
        });
        println!("adapter: {:?}", device.report());
        device
    };
    DEVICE.get_or_init(open).clone()
}

fn engine() -> Wgpu {
    Wgpu::new(device(), &EngineOptions::default()).unwrap()
}

/// How two engines' values differ, in grey levels of the recipe's mean deviation.
#[derive(Debug, Clone, Copy, Default)]
struct Difference {
    most: f64,
    /// Share of values that differ by more than a hundredth of a level.
    differ: f64,
    /// Share that differs by more than 1.5 levels.
    far: f64,
}

/// Levels of 255 of one unit of a normalised value.
const LEVELS: f64 = 255.0 * 0.226;

fn compare(what: &str, ours: &[Batch], theirs: &[Batch]) -> Difference {
    assert_eq!(ours.len(), theirs.len(), "{what}: number of batches");
    let (mut most, mut differ, mut far, mut values) = (0f64, 0, 0, 0);
    for (a, b) in ours.iter().zip(theirs) {
        assert_eq!((&a.labels, &a.indices, &a.stage), (&b.labels, &b.indices, &b.stage), "{what}");
        assert_eq!((a.images.shape(), &a.mixing, a.fresh), (b.images.shape(), &b.mixing, b.fresh), "{what}");
        for (x, y) in a.images.as_slice().iter().zip(b.images.as_slice()) {
            let difference = f64::from((x - y).abs()) * LEVELS;
            assert!(difference.is_finite(), "{what}: {x} and {y}");
            most = most.max(difference);
            differ += usize::from(difference > 0.01);
            far += usize::from(difference > 1.5);
            values += 1;
        }
    }
    let share = |n: usize| n as f64 / values.max(1) as f64;
    Difference { most, differ: share(differ), far: share(far) }
}

fn batches(builder: LoaderBuilder, count: usize) -> Vec<Batch> {
    builder.build().unwrap().take(count).map(Result::unwrap).collect()
}

/// Batches of both engines from the same settings.
fn both(what: &str, count: usize, build: impl Fn() -> LoaderBuilder) -> Difference {
    let ours = batches(build().engine(Arc::new(engine())), count);
    let theirs = batches(build(), count);
    assert!(!ours.is_empty(), "{what}");
    let difference = compare(what, &ours, &theirs);
    println!("{what}: {difference:?}");
    difference
}

fn fixed(base: u32, band: u32, crop: BandCrop, batch: usize) -> Stage {
    let mut stage = Stage::fixed(base, band, crop, batch);
    stage.magnitude = 9.0;
    stage
}

fn endless(stage: Stage) -> Schedule {
    Schedule::fixed(stage).with_epochs(1000.0).unwrap()
}

/// Files of every kind that the loader reads: JPEGs of all samplings, gray, CMYK, restart intervals, progressive, turned by EXIF, and
/// the other formats.
fn kinds() -> Vec<(Vec<u8>, u32)> {
    use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};
    let picture = |seed: u32, width: usize, height: usize, channels: usize| -> Vec<u8> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as f64 / 255.0 - 0.5
        };
        let value = |i: usize| {
            let (c, x, y) = (i % channels, i / channels % width, i / channels / width);
            let wave = ((x as f64 / (4.0 + c as f64)).sin() + (y as f64 / 9.0).cos()) * 45.0;
            let edge = if (x / 13 + y / 17) % 2 == 0 { 35.0 } else { -35.0 };
            (128.0 + wave + edge + 40.0 * noise()).clamp(0.0, 255.0) as u8
        };
        (0..channels * width * height)
            .map({
                let mut value = value;
                move |i| value(i)
            })
            .collect()
    };
    let mut files = Vec::new();
    let sizes = [(97, 71), (64, 120), (33, 150), (160, 90), (121, 121)];
    let kinds = [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2, Subsamp::Sub4x1, Subsamp::Gray];
    for (i, subsamp) in kinds.into_iter().enumerate() {
        let (width, height) = sizes[i % sizes.len()];
        let pixels = picture(i as u32 + 1, width, height, 3);
        let image = Image { pixels: pixels.as_slice(), width, pitch: 3 * width, height, format: PixelFormat::RGB };
        for quality in [60, 92] {
            let mut compressor = Compressor::new().unwrap();
            compressor.set_subsamp(subsamp).unwrap();
            compressor.set_quality(quality).unwrap();
            files.push(compressor.compress_to_vec(image).unwrap());
        }
    }
    let (width, height) = (140, 100);
    let pixels = picture(50, width, height, 4);
    let image = Image { pixels: pixels.as_slice(), width, pitch: 4 * width, height, format: PixelFormat::CMYK };
    let mut compressor = Compressor::new().unwrap();
    compressor.set_subsamp(Subsamp::None).unwrap();
    files.push(compressor.compress_to_vec(image).unwrap());
    let base = files[4].clone();
    let transform = |change: fn(&mut turbojpeg::Transform)| {
        let mut transform = turbojpeg::Transform::default();
        change(&mut transform);
        turbojpeg::transform(&transform, &base).unwrap().to_vec()
    };
    files.push(transform(|t| t.progressive = true));
    files.push(transform(|t| t.optimize = true));
    for orientation in [3, 6, 7] {
        files.push(jpeg_fixtures::with_orientation(&base, orientation));
    }
    let pixels = picture(60, 90, 77, 3);
    for format in [image::ImageFormat::Png, image::ImageFormat::WebP, image::ImageFormat::Bmp] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let buffer = image::RgbImage::from_raw(90, 77, pixels.clone()).unwrap();
        image::DynamicImage::from(buffer).write_to(&mut bytes, format).unwrap();
        files.push(bytes.into_inner());
    }
    files.into_iter().enumerate().map(|(i, file)| (file, i as u32 % 4)).collect()
}

fn source_of_kinds() -> Arc<dyn Source> {
    loader_fixtures::memory(kinds())
}

#[test]
fn plain_training_is_the_cpu_s_up_to_the_last_bits() {
    let source = source_of_kinds();
    for (band, crop) in
        [(48, BandCrop::Lanczos), (24, BandCrop::Lanczos), (24, BandCrop::FOURIER), (20, BandCrop::FOURIER)]
    {
        let build = || Loader::builder(source.clone(), endless(fixed(48, band, crop, 7))).seed(3);
        let difference = both(&format!("48 -> {band} {crop}"), 6, build);
        // f32 sums in another order.
        assert!(difference.most < 0.01, "{difference:?}");
    }
}

#[test]
fn evaluation_has_the_same_bytes() {
    let source = source_of_kinds();
    for (band, crop) in [(48, BandCrop::Lanczos), (32, BandCrop::Lanczos)] {
        let build = || Loader::evaluation(source.clone(), fixed(48, band, crop, 8));
        let difference = both(&format!("evaluation at {band}"), 10, build);
        // The bytes are equal; normalisation may fuse a product and a sum.
        assert!(difference.most < 1e-4, "{difference:?}");
    }
}

#[test]
fn every_recipe_at_the_first_a_middle_and_the_last_stage() {
    let source = source_of_kinds();
    for (name, _) in Preset::names() {
        let preset = Preset::named(name).unwrap();
        for schedule in ["efficient_train", "efficient_train_pp_deit"] {
            let options = Options { base: 64, patch: 8, batch_size: 8, ..Options::default() };
            let stages = Schedule::named(schedule, &options).unwrap();
            let stages = stages.stages();
            for stage in [&stages[0], &stages[stages.len() / 2], &stages[stages.len() - 1]] {
                let mut stage = stage.clone();
                // Policies with a magnitude of their own ask for it at the end of the schedule, which this is.
                (stage.batch_size, stage.accumulate, stage.magnitude) = (8, 1, 9.0);
                let (band, crop) = (stage.band, stage.crop);
                let build =
                    || Loader::builder(source.clone(), endless(stage.clone())).recipe(preset.transform.clone()).seed(5);
                let difference = both(&format!("{name}, {schedule}, {band} {crop}"), 4, build);
                // 8-bit values that lie on the edge of two levels may take the other; Equalize and Posterize then spread it.
                assert!(difference.far < 1e-3 && difference.differ < 0.02, "{name} {band}: {difference:?}");
            }
        }
    }
}

#[test]
fn augmentation_at_the_band_the_plain_path_and_exact_decoding() {
    let source = source_of_kinds();
    let preset = Preset::named("efficienttrain_pp_deit_small").unwrap().transform;
    let recipes = [
        ("at the band", Recipe { augment_at: AugmentAt::Band, ..preset.clone() }),
        ("plain", Recipe { fuse: false, ..preset.clone() }),
        ("plain at the band", Recipe { fuse: false, augment_at: AugmentAt::Band, ..preset.clone() }),
        ("exact", Recipe { fidelity: bandfeed::decode::Fidelity::Exact, ..preset.clone() }),
    ];
    for (name, recipe) in recipes {
        for crop in [BandCrop::Lanczos, BandCrop::FOURIER] {
            let build =
                || Loader::builder(source.clone(), endless(fixed(64, 40, crop, 8))).recipe(recipe.clone()).seed(8);
            let difference = both(&format!("{name}, {crop}"), 4, build);
            assert!(difference.far < 1e-3 && difference.differ < 0.02, "{name} {crop}: {difference:?}");
        }
    }
}

#[test]
fn packed_records_and_a_side_index_make_the_same_batches() {
    let folder = tempfile::tempdir().unwrap();
    let images: Vec<_> = kinds();
    let classes = ["a", "b", "c", "d"];
    for (i, (bytes, label)) in images.iter().enumerate() {
        let class = folder.path().join("images").join(classes[*label as usize]);
        std::fs::create_dir_all(&class).unwrap();
        std::fs::write(class.join(format!("{i:03}.jpg")), bytes).unwrap();
    }
    let files = folder.path().join("images");
    let run = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_bandfeed")).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let packed = folder.path().join("packed");
    run(&["pack", files.to_str().unwrap(), "--out", packed.to_str().unwrap()]);
    let before = source::open(files.to_str().unwrap()).unwrap();
    run(&["index", files.to_str().unwrap()]);
    let indexed = source::open(files.to_str().unwrap()).unwrap();
    let packed = source::open(packed.to_str().unwrap()).unwrap();
    let build = |source: &Arc<dyn Source>| {
        Loader::builder(source.clone(), endless(fixed(40, 24, BandCrop::Lanczos, 6))).seed(2)
    };
    let plain = batches(build(&before).engine(Arc::new(engine())), 8);
    for (name, source) in [("packed", &packed), ("indexed", &indexed)] {
        let ours = engine();
        let loader = build(source).engine(Arc::new(ours.clone())).build().unwrap();
        let meter = loader.meter();
        let got: Vec<Batch> = loader.take(8).map(Result::unwrap).collect();
        let difference = compare(name, &got, &plain);
        assert_eq!(difference.most, 0.0, "{name}: {difference:?}");
        assert!(name != "indexed" || meter.counters().sought > 10, "the index is used: {:?}", meter.counters());
        let difference = both(name, 8, || build(source));
        assert!(difference.most < 0.01, "{name}: {difference:?}");
        assert_eq!(ours.traffic().unwrap().refused, 0, "{name}");
    }
}

/// Sound files with damaged ones among them.
fn damaged() -> Arc<dyn Source> {
    let mut files: Vec<(Vec<u8>, u32)> = kinds();
    for at in [1, 4, 7] {
        let mut bytes = files[at].0.clone();
        let half = bytes.len() / 2;
        match at {
            1 => bytes.truncate(half),
            4 => bytes[half..half + 40].fill(0xa5),
            _ => bytes[half] ^= 0xff,
        }
        files.push((bytes, at as u32 % 4));
    }
    // No image at all.
    files.push((b"not an image".to_vec(), 0));
    loader_fixtures::memory(files)
}

#[test]
fn damaged_files_follow_the_policy_and_do_not_touch_their_batch_mates() {
    let source = damaged();
    for policy in [OnBadFile::Skip, OnBadFile::Substitute] {
        for strict in [false, true] {
            let options = EngineOptions { strict, ..EngineOptions::default() };
            let build = || {
                Loader::builder(source.clone(), endless(fixed(40, 24, BandCrop::Lanczos, 9)))
                    .seed(4)
                    .on_bad_file(policy)
            };
            let run = |engine: Arc<dyn Engine>| {
                let mut loader = build().engine(engine).build().unwrap();
                let made: Vec<Batch> = (&mut loader).take(9).map(Result::unwrap).collect();
                // Batches made ahead may have met more of them.
                let mut bad: Vec<_> = loader.bad_files().into_iter().map(|file| (file.index, file.reason)).collect();
                let mut damaged: Vec<_> = loader.damaged_files().into_iter().map(|f| (f.index, f.reason)).collect();
                bad.sort();
                damaged.sort();
                (made, bad, damaged)
            };
            let ours = Wgpu::new(device(), &options).unwrap();
            let cpu = DeviceName::Cpu.open(&options).unwrap().engine;
            let ((a, bad, damaged), (b, bad_too, damaged_too)) = (run(Arc::new(ours.clone())), run(cpu));
            let what = format!("{policy:?}, strict {strict}");
            let difference = compare(&what, &a, &b);
            println!("{what}: {difference:?} {:?}", ours.traffic());
            assert!(difference.most < 0.01, "{what}: {difference:?}");
            assert_eq!((bad, damaged), (bad_too, damaged_too), "{what}");
            assert!(strict || ours.traffic().unwrap().refused > 0, "some damage is found on the device alone");
        }
    }
    let mut failing = Loader::builder(source, endless(fixed(40, 24, BandCrop::Lanczos, 9)))
        .engine(Arc::new(engine()))
        .build()
        .unwrap();
    let error = failing.find_map(Result::err).unwrap();
    assert!(matches!(error, Error::Decode { .. }), "{error}");
}

#[test]
fn the_launches_of_a_batch_do_not_grow_with_it() {
    let source = loader_fixtures::memory([kinds(), kinds(), kinds()].concat());
    let recipe = Preset::named("deit_small").unwrap().transform;
    for (name, recipe, crop) in [
        ("plain Lanczos", Recipe::default(), BandCrop::Lanczos),
        ("plain Fourier", Recipe::default(), BandCrop::FOURIER),
        ("deit_small Lanczos", recipe.clone(), BandCrop::Lanczos),
        ("deit_small Fourier", recipe, BandCrop::FOURIER),
    ] {
        let most = |size: usize| {
            let engine = engine();
            let stage = fixed(64, 40, crop, size);
            let builder = Loader::builder(source.clone(), endless(stage)).recipe(recipe.clone());
            batches(builder.engine(Arc::new(engine.clone())).prefetch(1), 3);
            engine.traffic().unwrap().most_launches
        };
        let counts = [4, 24, 60].map(most);
        println!("{name}: {counts:?} launches");
        // A batch of few images may do without some of them.
        assert!(counts[1] == counts[2] && counts[0] <= counts[1], "{name}: {counts:?}");
        let bound = if name.starts_with("plain") { 9 } else { 20 };
        assert!(counts[2] <= bound, "{name}: {counts:?}");
    }
}

#[test]
fn what_does_not_fit_into_a_buffer_is_made_in_parts_or_refused_in_words() {
    let largest = device().report().largest_buffer;
    // Pixels of 1500 x 1400 take 8.4 MB each: more than 128 MiB in a batch of 24, and no more than that is asked of any device.
    let (width, height) = (1500, 1400);
    let file = jpeg_fixtures::jpeg(width, height, turbojpeg::Subsamp::Sub2x2, false);
    let source = loader_fixtures::memory((0..24).map(|i| (file.clone(), i % 4)).collect());
    let ours = engine();
    let build = || Loader::evaluation(source.clone(), fixed(32, 32, BandCrop::Lanczos, 24));
    let got = batches(build().engine(Arc::new(ours.clone())), 2);
    let difference = compare("large images", &got, &batches(build(), 2));
    assert!(difference.most < 1e-4, "{difference:?}");
    let traffic = ours.traffic().unwrap();
    let is_split = u64::from(width * height) * 4 * 24 > largest;
    println!("{traffic:?}, split: {is_split}");
    assert_eq!(traffic.launches > traffic.most_launches, is_split, "{traffic:?}");

    let many: Vec<_> = (0..20).flat_map(|_| kinds()).collect();
    let images = many.len();
    let bytes = images as u64 * 3 * 224 * 224 * 4;
    let mut loader = Loader::evaluation(loader_fixtures::memory(many), fixed(224, 224, BandCrop::Lanczos, images))
        .engine(Arc::new(engine()))
        .build()
        .unwrap();
    let batch = loader.next().unwrap();
    if bytes > largest {
        let error = batch.unwrap_err();
        assert!(matches!(error, Error::Device { .. }), "{error}");
        assert!(error.to_string().contains("use smaller batches"), "{error}");
    } else {
        assert_eq!(batch.unwrap().len(), images);
    }
}

#[test]
fn a_device_is_shared_with_its_owner() {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let name = device().report().name.clone();
    let all = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let adapter = all.into_iter().find(|adapter| adapter.get_info().name == name).unwrap();
    let with = |limits: wgpu::Limits| {
        let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
        pollster::block_on(adapter.request_device(&descriptor)).unwrap()
    };
    // Less than the kernels need is told.
    let (own, queue) = with(wgpu::Limits { max_storage_buffers_per_shader_stage: 4, ..wgpu::Limits::default() });
    let error = Device::share(&adapter, own, queue).unwrap_err();
    assert!(error.to_string().contains("4 storage buffers for a kernel where 8 are needed"), "{error}");
    let (own, queue) = with(wgpu::Limits::default());
    let shared = Device::share(&adapter, own.clone(), queue.clone()).unwrap();
    let engine = Wgpu::new(shared, &EngineOptions::default()).unwrap().output(Output::Device);
    let source = source_of_kinds();
    let build = || Loader::builder(source.clone(), endless(fixed(40, 24, BandCrop::Lanczos, 5))).seed(1);
    let batch = batches(build().engine(Arc::new(engine)), 1).remove(0);
    let expected = batches(build(), 1).remove(0);
    // The owner's buffer, filled on the owner's queue, and read there.
    let size = batch.images.on_device().unwrap().bytes();
    let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
    let target = own.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
    batch.images.on_device().unwrap().copy_into(&target, 0).unwrap();
    drop(batch);
    target.map_async(wgpu::MapMode::Read, .., Result::unwrap);
    own.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let bytes = target.get_mapped_range(..).unwrap();
    let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    assert_eq!(values.len(), expected.images.as_slice().len());
    assert!(values.iter().zip(expected.images.as_slice()).all(|(a, b)| (a - b).abs() < 1e-4));
    drop(bytes);
    // The owner may end it at any time; nobody has set a handler for errors, so that one that no call tells would be a panic.
    for output in [Output::Host, Output::Device] {
        let (own, queue) = with(wgpu::Limits::default());
        let shared = Device::share(&adapter, own.clone(), queue).unwrap();
        let engine: Arc<dyn Engine> = Arc::new(Wgpu::new(shared, &EngineOptions::default()).unwrap().output(output));
        let mut loader = build().engine(engine.clone()).build().unwrap();
        loader.next().unwrap().unwrap();
        own.destroy();
        let error = loader.find_map(Result::err).unwrap();
        assert!(matches!(error, Error::Device { .. }), "{error}");
        let error = build().engine(engine).build().map(drop).unwrap_err();
        assert!(matches!(error, Error::Device { .. }), "{error}");
    }
    drop(queue);
}

#[test]
fn images_stay_on_the_device_where_that_is_asked_for() {
    let source = source_of_kinds();
    let build = || Loader::builder(source.clone(), endless(fixed(40, 23, BandCrop::Lanczos, 5))).seed(1);
    let expected = batches(build().engine(Arc::new(engine())), 3);
    for (output, tolerance) in [(Output::Device, 0.0), (Output::DeviceHalf, 2e-3)] {
        let engine = engine().output(output);
        let got = batches(build().engine(Arc::new(engine.clone())), 3);
        let traffic = engine.traffic().unwrap();
        assert!(traffic.downloaded <= 4 * 5 * 8, "a word of status for each image: {traffic:?}");
        for (batch, expected) in got.into_iter().zip(&expected) {
            let on_device = batch.images.on_device().unwrap();
            assert_eq!(on_device.is_half(), output == Output::DeviceHalf);
            // Into a buffer of the consumer's, behind something else.
            let (raw, queue) = device_raw(on_device.device());
            let descriptor = wgpu_buffer(on_device.bytes() + 8);
            let target = raw.create_buffer(&descriptor);
            queue.write_buffer(&target, 0, &[7; 4]);
            on_device.copy_into(&target, 4).unwrap();
            assert!(on_device.copy_into(&target, 12).unwrap_err().to_string().contains("do not fit"));
            let shape = batch.images.shape();
            let images = batch.images.download().unwrap();
            assert_eq!(images.shape(), shape);
            for (a, b) in images.as_slice().iter().zip(expected.images.as_slice()) {
                assert!((a - b).abs() <= tolerance, "{output:?}: {a} and {b}");
            }
        }
    }
}

fn device_raw(device: &Device) -> (&wgpu::Device, &wgpu::Queue) {
    device.raw()
}

fn wgpu_buffer(size: u64) -> wgpu::BufferDescriptor<'static> {
    let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
    wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false }
}

#[test]
fn replayed_images_are_the_cpu_s() {
    let source = damaged();
    for mode in [ReplayMode::Repeat, ReplayMode::Reaugment] {
        let replay = StageReplay { times: 3, capacity: 2 };
        let mut stage = fixed(48, 32, BandCrop::Lanczos, 9);
        stage.replay = replay;
        let recipe = Recipe { replay: mode, ..Recipe::default() };
        let build = || {
            Loader::builder(source.clone(), endless(stage.clone()))
                .recipe(recipe.clone())
                .seed(6)
                .on_bad_file(OnBadFile::Substitute)
        };
        let difference = both(&format!("{mode:?}"), 8, build);
        // The CPU keeps finished values in f16.
        assert!(difference.most < 0.2, "{mode:?}: {difference:?}");
    }
}

#[test]
fn a_lost_device_is_an_error_and_not_a_hang_and_the_cpu_goes_on_if_it_may() {
    let source = source_of_kinds();
    let build = || Loader::builder(source.clone(), endless(fixed(40, 24, BandCrop::Lanczos, 5))).seed(9);
    let name = device().report().name.clone();
    let expected = batches(build(), 8);
    for fallback in [false, true] {
        let device = Device::open(Some(&name)).unwrap();
        let engine = Wgpu::new(device.clone(), &EngineOptions::default()).unwrap();
        let lost: Arc<dyn Engine> = Arc::new(engine);
        let mut builder = build().engine(lost.clone());
        let cpu = DeviceName::Cpu.open(&EngineOptions::default()).unwrap().engine;
        if fallback {
            builder = builder.fallback(cpu.clone());
        }
        let mut loader = builder.build().unwrap();
        let mut got = vec![loader.next().unwrap().unwrap()];
        device.raw().0.destroy();
        if !fallback {
            let error = loader.find_map(Result::err).expect("the device is gone");
            assert!(matches!(error, Error::Device { .. }), "{error}");
            continue;
        }
        got.extend((&mut loader).take(7).map(Result::unwrap));
        assert_eq!(loader.engine(), "cpu");
        let difference = compare("fallback", &got, &expected);
        // Another loader of the same engines, as for an evaluation between two epochs.
        let again = batches(build().engine(lost.clone()).fallback(cpu.clone()), 2);
        assert!(compare("another loader", &again, &expected[..2]).most < 0.01);
        assert!(matches!(build().engine(lost).build(), Err(Error::Device { .. })));
        assert!(difference.most < 0.01, "{difference:?}");
    }
}

#[test]
fn devices_that_are_not_there_are_told_with_those_that_are() {
    device();
    let error = Device::open(Some("no such GPU")).unwrap_err();
    assert!(matches!(error, Error::NoDevice { .. }));
    assert!(
        error.to_string().contains("no such GPU") && error.to_string().contains(&device().report().name),
        "{error}"
    );
    let options = EngineOptions::default();
    let only_software = adapters().iter().all(|adapter| adapter.is_software);
    let (auto, wgpu) = (DeviceName::Auto.open(&options).unwrap(), DeviceName::Wgpu(None).open(&options));
    if only_software {
        assert_eq!(auto.engine.name(), "cpu", "a software adapter is taken by name only");
        assert!(wgpu.is_err_and(|error| error.to_string().contains("used only if asked for by name")));
    } else {
        assert!(auto.engine.name().starts_with("wgpu:") && auto.fallback.is_some());
    }
}

#[test]
fn real_photos_and_hostile_files() {
    let Some(data) = shared_data("") else { return };
    let photos: Arc<dyn Source> = Arc::new(Tar::open(data.join("imagenet-200.tar").to_str().unwrap()).unwrap());
    let preset = Preset::named("efficienttrain_pp_deit_small").unwrap().transform;
    for (name, recipe, band, crop) in [
        ("photos, plain", Recipe::default(), 96, BandCrop::Lanczos),
        ("photos, Fourier", Recipe::default(), 96, BandCrop::FOURIER),
        ("photos, EfficientTrain++", preset, 160, BandCrop::Lanczos),
    ] {
        let build =
            || Loader::builder(photos.clone(), endless(fixed(224, band, crop, 16))).recipe(recipe.clone()).seed(1);
        let difference = both(name, 2, build);
        assert!(difference.far < 1e-3 && difference.differ < 0.02, "{name}: {difference:?}");
    }
    let files = |folder: &Path| -> Vec<(Vec<u8>, u32)> {
        let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|e| e == "jpg"));
        paths.sort();
        paths.iter().map(|path| (std::fs::read(path).unwrap(), 0)).collect()
    };
    for folder in ["jpeg-conformance", "hostile"] {
        let files = files(&data.join(folder));
        let count = files.len();
        assert!(count > 20, "{folder}: {count} files");
        let limits = Limits { max_pixels: 4_000_000, ..Limits::default() };
        let options = EngineOptions { limits, ..EngineOptions::default() };
        let source: Arc<dyn Source> = Arc::new(Memory::new(files, vec!["all".into()]).unwrap());
        let run = |engine: Arc<dyn Engine>| {
            let builder = Loader::evaluation(source.clone(), fixed(64, 64, BandCrop::Lanczos, 32));
            let mut loader = builder.engine(engine).on_bad_file(OnBadFile::Skip).build().unwrap();
            let made: Vec<Batch> = (&mut loader).map(Result::unwrap).collect();
            (made, loader.bad_files().len(), loader.damaged_files().len())
        };
        let ours = Wgpu::new(device(), &options).unwrap();
        let (a, b) = (run(Arc::new(ours.clone())), run(DeviceName::Cpu.open(&options).unwrap().engine));
        let difference = compare(folder, &a.0, &b.0);
        println!("{folder}: {count} files, {difference:?}, {} bad, {} damaged, {:?}", a.1, a.2, ours.traffic());
        assert_eq!((a.1, a.2), (b.1, b.2), "{folder}: bad and damaged files");
        assert!(difference.most < 1e-4, "{folder}: {difference:?}");
    }
}
