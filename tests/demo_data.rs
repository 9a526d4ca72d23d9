//! The drawn data set: the same each time, in memory as on disk, and as mixed as its documentation says.

use bandfeed::Source;
use bandfeed::demo_data::{DemoData, Motif};
use bandfeed::source::Folder;
use tempfile::TempDir;

fn few() -> DemoData {
    DemoData { train_per_class: 4, val_per_class: 2, ..DemoData::default() }
}

fn bytes(source: &dyn Source) -> Vec<Vec<u8>> {
    (0..source.len()).map(|index| source.read(index, &mut Vec::new()).unwrap().to_vec()).collect()
}

#[test]
fn a_seed_names_the_images() {
    let (train, val) = few().generate().unwrap();
    let again = few().generate().unwrap();
    assert_eq!((bytes(&train), bytes(&val)), (bytes(&again.0), bytes(&again.1)));
    let other = DemoData { seed: 1, ..few() }.generate().unwrap();
    assert!(bytes(&train).iter().zip(bytes(&other.0)).all(|(a, b)| *a != b));
    assert!(
        bytes(&val).iter().all(|image| !bytes(&train).contains(image)),
        "a validation image is in the training set"
    );
}

#[test]
fn more_images_leave_the_first_as_they_are() {
    let (train, _) = few().generate().unwrap();
    let (more, _) = DemoData { train_per_class: 6, classes: Motif::ALL[..3].to_vec(), ..few() }.generate().unwrap();
    let of = |source: &dyn Source, class: &str| {
        let index = source.classes().iter().position(|name| name == class).unwrap() as u32;
        let all = bytes(source);
        (0..source.len()).filter(|&i| source.label(i) == index).map(|i| all[i].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of(&train, "ring"), of(&more, "ring")[..4]);
}

#[test]
fn the_folder_and_the_memory_hold_the_same_samples() {
    let root = TempDir::new().unwrap();
    few().write(root.path()).unwrap();
    let (train, val) = few().generate().unwrap();
    for (part, memory) in [("train", &train), ("val", &val)] {
        let folder = Folder::open(root.path().join(part)).unwrap();
        assert_eq!(folder.classes(), memory.classes());
        assert_eq!(bytes(&folder), bytes(memory));
        for index in 0..folder.len() {
            assert_eq!(folder.label(index), memory.label(index));
            let tail = memory.name(index);
            let tail = tail.strip_prefix("demo/").unwrap();
            assert!(folder.path(index).ends_with(tail), "{} is not {tail}", folder.name(index));
        }
    }
    let error = few().write(root.path()).unwrap_err().to_string();
    assert!(error.contains("train") && error.contains("already"), "{error}");
}

#[test]
fn sizes_and_kinds_of_jpeg_are_mixed() {
    let (train, _) = DemoData { train_per_class: 25, ..few() }.generate().unwrap();
    assert_eq!(train.class_counts(), [25; 12]);
    let (mut gray, mut halved, mut full, mut square) = (0, 0, 0, 0);
    for jpeg in bytes(&train) {
        let header = turbojpeg::read_header(&jpeg).unwrap();
        assert!((96..=160).contains(&header.width) && (96..=160).contains(&header.height), "{header:?}");
        square += usize::from(header.width == header.height);
        match header.subsamp {
            turbojpeg::Subsamp::Gray => gray += 1,
            turbojpeg::Subsamp::Sub2x2 => halved += 1,
            turbojpeg::Subsamp::None => full += 1,
            other => panic!("{other:?}"),
        }
        turbojpeg::decompress(&jpeg, turbojpeg::PixelFormat::RGB).unwrap();
    }
    // Of 300: 15 gray, and half of the rest each, within four standard deviations.
    assert!((1..=30).contains(&gray) && halved.min(full) > 105 && square < 30, "{gray} {halved} {full} {square}");
}

#[test]
fn mean_colours_do_not_give_the_class_away() {
    // Nearest class mean of the average colour, over images that were not used for the means: chance is 1 of 12, and
    // 600 images have a standard deviation of 1.1 %.
    let (train, val) = DemoData { train_per_class: 50, val_per_class: 50, ..few() }.generate().unwrap();
    let mean = |jpeg: &[u8]| {
        let image = turbojpeg::decompress(jpeg, turbojpeg::PixelFormat::RGB).unwrap();
        let mut sum = [0f64; 3];
        for pixel in image.pixels.chunks(3) {
            (0..3).for_each(|c| sum[c] += f64::from(pixel[c]));
        }
        sum.map(|s| s / (image.pixels.len() / 3) as f64)
    };
    let mut centers = [[0f64; 3]; 12];
    for (index, jpeg) in bytes(&train).iter().enumerate() {
        let color = mean(jpeg);
        (0..3).for_each(|c| centers[train.label(index) as usize][c] += color[c] / 50.0);
    }
    let images = bytes(&val);
    let right = images.iter().enumerate().filter(|(index, jpeg)| {
        let color = mean(jpeg);
        let distance = |center: &[f64; 3]| (0..3).map(|c| (center[c] - color[c]).powi(2)).sum::<f64>();
        let nearest = (0..12).min_by(|&a, &b| distance(&centers[a]).total_cmp(&distance(&centers[b]))).unwrap();
        nearest as u32 == val.label(*index)
    });
    let share = right.count() as f64 / 600.0;
    assert!(share < 0.14, "{share} of the images are told by their mean colour");
}

#[test]
fn settings_that_cannot_be_drawn_are_refused() {
    let refused = |data: DemoData, word: &str| {
        let error = data.generate().unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(DemoData { classes: vec![], ..few() }, "none given");
    refused(DemoData { classes: vec![Motif::Disc, Motif::Disc], ..few() }, "disc is given twice");
    refused(DemoData { val_per_class: 0, ..few() }, "0 images");
    refused(DemoData { side: 63, ..few() }, "64 to 1024");
}
