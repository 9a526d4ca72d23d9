//! The decoder against files: own fixtures always, the shared corpora of sound and hostile JPEGs where they are at hand.

mod jpeg_fixtures;

use bandfeed::DecodeError;
use bandfeed::decode::{Decoder, Format, Header, Limits, Patch, Pixels};
use bandfeed::shape::{Rect, Size};
use jpeg_fixtures::{
    Random, hex_sha256, jpeg, manifest, picture, rectangle, shared_data, tar_jpegs, with_orientation, with_size,
};
use std::time::{Duration, Instant};
use turbojpeg::Subsamp;

const SAMPLINGS: [Subsamp; 6] =
    [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2, Subsamp::Sub4x1, Subsamp::Gray];

fn decoder() -> Decoder {
    Decoder::new(Limits::default()).expect("the limits are in range")
}

fn kind(result: &Result<Pixels, DecodeError>) -> &'static str {
    match result {
        Ok(_) => "decode",
        Err(DecodeError::Unsupported { .. }) => "unsupported",
        Err(DecodeError::Limit { .. }) => "limit",
        Err(_) => "corrupt",
    }
}

fn whole(decoder: &mut Decoder, bytes: &[u8]) -> (Header, Pixels) {
    let header = decoder.header(bytes).expect("the header is sound");
    (header, decoder.decode(bytes).expect("the image is sound"))
}

/// Every row of the region equals the whole image's.
fn assert_region(decoder: &mut Decoder, name: &str, bytes: &[u8], header: &Header, image: &Pixels, region: Rect) {
    let patch = decoder
        .decode_region(bytes, header, region, region.size())
        .unwrap_or_else(|error| panic!("{name}: {region:?}: {error}"));
    assert_eq!((patch.size, patch.scale), (region.size(), 8), "{name}: {region:?}");
    assert_eq!(patch.area, [0.0, 0.0, f64::from(region.width), f64::from(region.height)], "{name}: {region:?}");
    let row = 3 * region.width as usize;
    assert_eq!(patch.pixels.len(), (region.height as usize - 1) * patch.stride + row, "{name}: {region:?}");
    for y in 0..region.height as usize {
        let start = ((region.y as usize + y) * image.size.width as usize + region.x as usize) * 3;
        let (got, expected) = (&patch.pixels[y * patch.stride..][..row], &image.data[start..][..row]);
        if let Some(at) = (0..row).find(|&i| got[i] != expected[i]) {
            panic!("{name}: {region:?}: row {y}, byte {at} is {} and not {}", got[at], expected[at]);
        }
    }
}

#[test]
fn sound_files_decode_to_the_reference_pixels_and_others_say_why_not() {
    let Some(folder) = shared_data("jpeg-conformance") else { return };
    let mut decoder = decoder();
    let (mut wrong, mut exact) = (Vec::new(), 0);
    for (row, bytes) in manifest(&folder) {
        let file = &row["file"];
        let stored = decoder.header(&bytes).and_then(|h| Ok((h, decoder.decode_stored(&bytes, &h)?)));
        let upright = decoder.decode(&bytes);
        let outcome = kind(&upright);
        if outcome != row["expected"] && !row["also_ok"].split(' ').any(|ok| ok == outcome) {
            wrong.push(format!("{file}: {outcome}, expected {}: {:?}", row["expected"], upright.err()));
            continue;
        }
        let (Ok(upright), Ok((header, stored))) = (upright, stored) else { continue };
        if [header.stored.width, header.stored.height].map(|v| v.to_string())
            != [&row["width"], &row["height"]].map(String::as_str)
        {
            wrong.push(format!("{file}: {:?}, expected {}x{}", header.stored, row["width"], row["height"]));
        }
        if header.orientation.to_exif().to_string() != row["orientation"] {
            wrong.push(format!("{file}: {:?}, expected {}", header.orientation, row["orientation"]));
        }
        if !matches!(row["hash_kind"].as_str(), "exact" | "exact-cmyk") {
            continue;
        }
        exact += 1;
        let oriented = &row["sha256_rgb_fancy_oriented"];
        let oriented = if oriented.is_empty() { &row["sha256_rgb_fancy"] } else { oriented };
        if hex_sha256(&stored.data) != row["sha256_rgb_fancy"] {
            wrong.push(format!("{file}: other pixels as stored ({:?})", stored.warning));
        } else if hex_sha256(&upright.data) != *oriented {
            wrong.push(format!("{file}: other pixels when upright"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(exact > 150, "only {exact} files had binding pixels");
}

#[test]
fn hostile_files_end_as_they_should_within_bounded_time() {
    let Some(folder) = shared_data("hostile") else { return };
    let mut decoder = decoder();
    let mut wrong = Vec::new();
    for (row, bytes) in manifest(&folder) {
        let start = Instant::now();
        let result = decoder.decode(&bytes);
        let outcome = kind(&result);
        let is_right = match row["expected"].as_str() {
            "decode" => outcome == "decode",
            "limit" => outcome == "limit",
            // A sound picture of another format that is merely named .jpg decodes: the bytes tell the format.
            "error" if row["kind"] == "wrong-magic" && Format::of(&bytes).is_some() => outcome == "decode",
            "error" => outcome != "decode",
            "error-or-image" => true,
            other => panic!("{}: the manifest expects `{other}`", row["file"]),
        };
        if !is_right {
            wrong.push(format!("{}: {outcome}, expected {}: {:?}", row["file"], row["expected"], result.err()));
        }
        if start.elapsed() > Duration::from_secs(5) {
            wrong.push(format!("{}: took {:?}", row["file"], start.elapsed()));
        }
        if let Ok(header) = decoder.header(&bytes) {
            let region = Rect { x: 0, y: 0, width: 1, height: header.size.height.div_ceil(2) };
            _ = decoder.decode_region(&bytes, &header, region, Size::square(1));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_region_of_a_corpus_file_is_bit_identical_to_the_whole_image() {
    let mut random = Random(1);
    let mut decoder = decoder();
    if let Some(folder) = shared_data("jpeg-conformance") {
        for (row, bytes) in manifest(&folder) {
            let Ok(image) = decoder.decode(&bytes) else { continue };
            let header = decoder.header(&bytes).expect("the image was decoded");
            let count = if image.size.pixels() > 300_000 { 4 } else { 40 };
            for _ in 0..count {
                let region = rectangle(&mut random, header.size);
                assert_region(&mut decoder, &row["file"], &bytes, &header, &image, region);
            }
        }
    }
    if let Some(tar) = shared_data("imagenet-200.tar") {
        for (name, bytes) in tar_jpegs(&tar) {
            let (header, image) = whole(&mut decoder, &bytes);
            for _ in 0..5 {
                let region = rectangle(&mut random, header.size);
                assert_region(&mut decoder, &name, &bytes, &header, &image, region);
            }
        }
    }
}

#[test]
fn a_region_is_bit_identical_to_the_whole_image_in_every_sampling_and_orientation() {
    let mut random = Random(2);
    let mut decoder = decoder();
    for subsamp in SAMPLINGS {
        for (progressive, (width, height)) in
            [(false, (67, 45)), (false, (131, 70)), (false, (5, 90)), (false, (90, 1)), (true, (67, 45))]
        {
            let plain = jpeg(width, height, subsamp, progressive);
            for value in 1..=8 {
                let bytes = with_orientation(&plain, value);
                let (header, image) = whole(&mut decoder, &bytes);
                assert_eq!(header.orientation.to_exif(), value);
                let name = format!("{width}x{height} {subsamp:?} orientation {value} progressive {progressive}");
                for _ in 0..40 {
                    let region = rectangle(&mut random, header.size);
                    assert_region(&mut decoder, &name, &bytes, &header, &image, region);
                }
            }
        }
    }
}

#[test]
fn every_start_and_end_of_a_region_is_bit_identical() {
    let mut decoder = decoder();
    for subsamp in SAMPLINGS {
        let bytes = jpeg(83, 53, subsamp, false);
        let (header, image) = whole(&mut decoder, &bytes);
        for x in 0..83 {
            for width in [1, 2, 3, 15, 16, 17, 33, 83 - x].into_iter().filter(|w| x + w <= 83) {
                let region = Rect { x, y: 20, width, height: 3 };
                assert_region(&mut decoder, &format!("{subsamp:?}"), &bytes, &header, &image, region);
            }
        }
        for y in 0..53 {
            for height in 1..=53 - y {
                let region = Rect { x: 30, y, width: 9, height };
                assert_region(&mut decoder, &format!("{subsamp:?}"), &bytes, &header, &image, region);
            }
        }
    }
}

#[test]
fn a_scaled_region_is_bit_identical_to_the_scaled_whole() {
    let mut random = Random(3);
    let (mut decoder, mut second) = (decoder(), decoder());
    let mut scaled = [0; 9];
    for subsamp in SAMPLINGS {
        for (progressive, value) in [(false, 1), (false, 6), (false, 3), (true, 1), (true, 5)] {
            let bytes = with_orientation(&jpeg(203, 157, subsamp, progressive), value);
            let header = decoder.header(&bytes).expect("the header is sound");
            // Pixels that libjpeg and the own decoder keep at M/8 for each that is needed, by M: see `scale_for`.
            let scales: &[(u8, u32)] =
                if progressive { &[(4, 16), (2, 16), (1, 16)] } else { &[(6, 12), (4, 12), (3, 14), (2, 16), (1, 24)] };
            for &(scale, share) in scales {
                let need = |side: u32| side * u32::from(scale) / share;
                let need = |size: Size| Size::new(need(size.width), need(size.height));
                let all = second
                    .decode_region(&bytes, &header, Rect::whole(header.size), need(header.size))
                    .expect("the image is sound");
                assert_eq!(all.scale, scale);
                for _ in 0..60 {
                    let region = rectangle(&mut random, header.size);
                    let patch = decoder.decode_region(&bytes, &header, region, need(region.size()));
                    let patch = patch.expect("the image is sound");
                    if patch.scale != scale {
                        continue;
                    }
                    scaled[usize::from(scale)] += 1;
                    // Mirrored patches count from the other edge, where a part of a pixel may hang over.
                    let factor = f64::from(scale) / 8.0;
                    let x = (all.area[0] + f64::from(region.x) * factor - patch.area[0]).round() as usize;
                    let y = (all.area[1] + f64::from(region.y) * factor - patch.area[1]).round() as usize;
                    for row in 0..patch.size.height as usize {
                        let len = 3 * patch.size.width as usize;
                        let (got, from) = (&patch.pixels[row * patch.stride..][..len], (y + row) * all.stride + 3 * x);
                        assert_eq!(
                            got,
                            &all.pixels[from..][..len],
                            "{subsamp:?} {value} {scale}/8 {region:?} row {row}"
                        );
                    }
                }
            }
        }
    }
    assert!([6, 4, 3, 2, 1].iter().all(|&m| scaled[m] > 100), "each scale was met: {scaled:?}");
}

#[test]
fn half_scale_by_libjpeg_is_the_mean_of_two_by_two_pixels() {
    let bytes = jpeg(64, 48, Subsamp::Gray, false);
    let mut decoder = decoder().without_own_decoder();
    let (header, image) = whole(&mut decoder, &bytes);
    let region = Rect { x: 8, y: 4, width: 40, height: 32 };
    let patch = decoder.decode_region(&bytes, &header, region, Size::new(10, 8)).expect("the image is sound");
    assert_eq!((patch.scale, patch.area), (4, [0.0, 0.0, 20.0, 16.0]));
    let full = |x: u32, y: u32| i32::from(image.data[((y * 64 + x) * 3) as usize]);
    for y in 0..16 {
        for x in 0..20 {
            let (fx, fy) = (8 + 2 * x, 4 + 2 * y);
            let mean = (full(fx, fy) + full(fx + 1, fy) + full(fx, fy + 1) + full(fx + 1, fy + 1) + 2) / 4;
            let got = i32::from(patch.pixels[y as usize * patch.stride + 3 * x as usize]);
            // The four pixels are rounded and clamped before their mean, the box average is not.
            assert!((got - mean).abs() <= 3, "({x}, {y}): {got} and not {mean}");
        }
    }
}

#[test]
fn a_scale_margin_that_keeps_too_few_pixels_is_refused() {
    use bandfeed::engine::{Cpu, Engine};
    for margin in [0.0, -1.0, 0.999, f64::NAN, f64::NEG_INFINITY] {
        let error = decoder().scale_margin(margin).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("scale_margin") && error.contains(&margin.to_string()), "{error}");
        assert!(Cpu::default().scale_margin(margin).worker().is_err(), "{margin}");
    }
    assert!(decoder().scale_margin(1.0).is_ok());
}

#[test]
fn an_infinite_margin_never_scales() {
    let bytes = jpeg(200, 160, Subsamp::Sub2x2, false);
    let mut decoder = decoder().scale_margin(f64::INFINITY).unwrap();
    let header = decoder.header(&bytes).expect("the header is sound");
    let patch = decoder.decode_region(&bytes, &header, Rect::whole(header.size), Size::square(1)).expect("sound");
    assert_eq!((patch.scale, patch.size), (8, header.size));
}

#[test]
fn a_cut_file_gives_an_image_with_a_warning_or_an_error_when_strict() {
    let bytes = jpeg(120, 90, Subsamp::Sub2x2, false);
    let cut = &bytes[..bytes.len() * 2 / 3];
    let image = decoder().decode(cut).expect("the upper part is there");
    assert_eq!(image.warning.as_deref(), Some("Premature end of JPEG file"));
    let intact = decoder().decode(&bytes).expect("the image is sound");
    assert_eq!(image.data[..3 * 120 * 32], intact.data[..3 * 120 * 32]);
    assert_eq!(intact.warning, None);
    let error = decoder().strict(true).decode(cut).expect_err("a strict decoder refuses warnings");
    assert_eq!(error, DecodeError::Corrupt { reason: "Premature end of JPEG file".into() });
}

#[test]
fn an_error_after_a_warning_is_an_error() {
    let sound = jpeg(40, 30, Subsamp::Sub2x2, false);
    let table = sound.windows(2).position(|w| w == [0xff, 0xc4]).expect("the file has a Huffman table");
    let mut bytes = sound.clone();
    bytes.splice(table..table, [1, 2, 3]);
    let warned = decoder().decode(&bytes).expect("stray bytes between segments do no harm");
    assert_eq!(warned.warning.as_deref(), Some("Corrupt JPEG data: 3 extraneous bytes before marker 0xc4"));
    bytes[table + 3 + 4] = 7;
    let error = decoder().decode(&bytes).expect_err("there is no Huffman table 7");
    assert_eq!(error, DecodeError::Corrupt { reason: "Bogus DHT index 7".into() });
}

#[test]
fn a_bomb_is_refused_by_its_header_alone() {
    let small = jpeg(16, 16, Subsamp::Sub2x2, false);
    let bomb = with_size(&small, 65500, 65500);
    for error in [decoder().header(&bomb).expect_err("limit"), decoder().decode(&bomb).expect_err("limit")] {
        assert_eq!(error.to_string(), "image over the limit: 65500x65500 pixels, 100000000 are allowed");
    }
    let mut decoder = Decoder::new(Limits { max_scans: 3, ..Limits::default() }).expect("the limits are in range");
    let error = decoder.decode(&jpeg(16, 16, Subsamp::Sub2x2, true)).expect_err("it has ten scans");
    assert!(matches!(error, DecodeError::Limit { .. }), "{error}");
    assert!(decoder.decode(&small).is_ok());
}

#[test]
fn a_bad_file_leaves_no_trace_in_the_next() {
    let good = jpeg(67, 45, Subsamp::Sub2x2, false);
    let expected = decoder().decode(&good).expect("the image is sound");
    let mut random = Random(4);
    let mut decoder = decoder();
    for round in 0..200 {
        let mut bad = jpeg(40, 30, SAMPLINGS[round % SAMPLINGS.len()], round % 2 == 0);
        for _ in 0..3 {
            let at = random.between(2, bad.len() as u32 - 1) as usize;
            bad[at] = random.next() as u8;
        }
        bad.truncate(random.between(2, bad.len() as u32) as usize);
        if let Ok(header) = decoder.header(&bad) {
            _ = decoder.decode_region(&bad, &header, Rect::whole(header.size), Size::square(3));
        }
        assert!(decoder.decode(&good).as_ref() == Ok(&expected), "other pixels after bad file {round}");
    }
}

#[test]
fn tables_of_one_file_do_not_serve_the_next() {
    let good = jpeg(67, 45, Subsamp::Sub2x2, false);
    let without = |marker: u8| {
        let mut bytes = good.clone();
        while let Some(at) = bytes.windows(2).position(|w| w == [0xff, marker]) {
            let len = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
            bytes.drain(at..at + 2 + len);
        }
        bytes
    };
    let (no_quantisation, no_huffman) = (without(0xdb), without(0xc4));
    let alone = decoder().decode(&no_huffman);
    let mut decoder = decoder();
    for _ in 0..2 {
        assert!(decoder.decode(&good).is_ok());
        let error = decoder.decode(&no_quantisation).expect_err("it has no quantisation tables");
        assert_eq!(error, DecodeError::Corrupt { reason: "Quantization table 0x00 was not defined".into() });
        assert_eq!(decoder.decode(&no_huffman), alone);
    }
}

#[test]
fn a_header_of_another_file_is_an_error() {
    let (one, other) = (jpeg(67, 45, Subsamp::Sub2x2, false), jpeg(60, 45, Subsamp::Sub2x2, false));
    let mut decoder = decoder();
    let header = decoder.header(&one).expect("the header is sound");
    let error = decoder.decode_region(&other, &header, Rect::whole(header.size), header.size).expect_err("other size");
    assert!(matches!(error, DecodeError::Corrupt { .. }), "{error}");
}

#[test]
fn workers_in_parallel_decode_the_same_pixels() {
    let files: Vec<Vec<u8>> =
        SAMPLINGS.iter().flat_map(|&s| [jpeg(131, 90, s, false), jpeg(97, 60, s, true)]).collect();
    let hashes = |first: usize| -> Vec<String> {
        let mut decoder = decoder();
        let order = (first..first + files.len()).map(|i| i % files.len());
        let mut found: Vec<_> =
            order.map(|i| (i, hex_sha256(&decoder.decode(&files[i]).expect("the image is sound").data))).collect();
        found.sort();
        found.into_iter().map(|(_, hash)| hash).collect()
    };
    let expected = hashes(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8).map(|first| scope.spawn(move || hashes(first))).collect();
        for worker in workers {
            assert_eq!(worker.join().expect("no worker panics"), expected);
        }
    });
}

/// The picture in each format that the `image` crate can write.
fn other_formats(width: u32, height: u32) -> Vec<(Format, Vec<u8>)> {
    use image::ImageFormat::{Bmp, Gif, Png, Tiff, WebP};
    let pixels = image::RgbImage::from_raw(width, height, picture(width, height)).expect("the length fits");
    [(Format::Png, Png), (Format::WebP, WebP), (Format::Gif, Gif), (Format::Bmp, Bmp), (Format::Tiff, Tiff)]
        .map(|(format, writer)| {
            let mut bytes = std::io::Cursor::new(Vec::new());
            pixels.write_to(&mut bytes, writer).expect("the picture is written");
            (format, bytes.into_inner())
        })
        .into()
}

#[test]
fn other_formats_are_told_by_their_bytes_and_decode_to_the_written_pixels() {
    let mut decoder = decoder();
    let expected = picture(31, 23);
    for (format, bytes) in other_formats(31, 23) {
        let (header, image) = whole(&mut decoder, &bytes);
        assert_eq!((header.format, header.size, header.frame), (format, Size::new(31, 23), None));
        if format != Format::Gif {
            assert_eq!(image.data, expected, "{format:?}");
        }
        let region = Rect { x: 3, y: 5, width: 20, height: 11 };
        assert_region(&mut decoder, &format!("{format:?}"), &bytes, &header, &image, region);
        let mut strict =
            Decoder::new(Limits { max_pixels: 700, ..Limits::default() }).expect("the limits are in range");
        assert!(matches!(strict.decode(&bytes), Err(DecodeError::Limit { .. })), "{format:?}");
    }
}

#[test]
fn alpha_is_dropped_and_sixteen_bits_keep_their_high_byte() {
    use image::{DynamicImage, ImageBuffer};
    let png = |image: DynamicImage| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).expect("a PNG is written");
        decoder().decode(&bytes.into_inner()).expect("the PNG is sound").data
    };
    let raw8 = |n: usize| (0..n as u8).map(|v| v * 20).collect::<Vec<_>>();
    let raw16 = [0x00ff, 0x0100, 0x7f80, 0xffff];
    assert_eq!(
        png(ImageBuffer::<image::Rgba<u8>, _>::from_raw(2, 1, raw8(8)).unwrap().into()),
        [0, 20, 40, 80, 100, 120]
    );
    assert_eq!(png(ImageBuffer::<image::LumaA<u8>, _>::from_raw(2, 1, raw8(4)).unwrap().into()), [0, 0, 0, 40, 40, 40]);
    assert_eq!(png(ImageBuffer::<image::Luma<u8>, _>::from_raw(1, 1, vec![9]).unwrap().into()), [9; 3]);
    assert_eq!(png(ImageBuffer::<image::Rgba<u16>, _>::from_raw(1, 1, raw16.to_vec()).unwrap().into()), [0, 1, 0x7f]);
    assert_eq!(
        png(ImageBuffer::<image::Rgb<u16>, _>::from_raw(1, 1, raw16[1..].to_vec()).unwrap().into()),
        [1, 0x7f, 255]
    );
    let gray = ImageBuffer::<image::Luma<u16>, _>::from_raw(2, 1, raw16[2..].to_vec()).unwrap();
    assert_eq!(png(gray.into()), [0x7f, 0x7f, 0x7f, 255, 255, 255]);
    let gray = ImageBuffer::<image::LumaA<u16>, _>::from_raw(1, 1, raw16[2..].to_vec()).unwrap();
    assert_eq!(png(gray.into()), [0x7f; 3]);
}

/// Whether two patches have the same pixels, without what lies between the rows.
fn same_patch(a: &Result<Patch<'_>, DecodeError>, b: &Result<Patch<'_>, DecodeError>) -> bool {
    let (Ok(a), Ok(b)) = (a, b) else { return a == b };
    let row =
        |patch: &Patch<'_>, y: u32| patch.pixels[y as usize * patch.stride..][..3 * patch.size.width as usize].to_vec();
    (a.size, a.area, a.scale, a.warning) == (b.size, b.area, b.scale, b.warning)
        && (0..a.size.height).all(|y| row(a, y) == row(b, y))
}

#[test]
fn no_bytes_make_the_decoder_panic_or_remember() {
    const CASES: usize = 10_000;
    let mut files: Vec<Vec<u8>> = other_formats(29, 21).into_iter().map(|(_, bytes)| bytes).collect();
    for subsamp in SAMPLINGS {
        files.push(with_orientation(&jpeg(45, 37, subsamp, false), 6));
        files.push(jpeg(45, 37, subsamp, true));
    }
    let mut random = Random(5);
    let limits = Limits { max_pixels: 300_000, max_scans: 20 };
    let mut decoder = Decoder::new(limits.clone()).expect("the limits are in range");
    let start = Instant::now();
    let mut decoded = 0_usize;
    for case in 0..CASES {
        let mut bytes = files[case % files.len()].clone();
        // Headers are the smaller part of a file and the richer in ways to be wrong.
        let reach = if case % 2 == 0 { bytes.len().min(700) } else { bytes.len() } as u32;
        for _ in 0..random.between(1, 4) {
            let at = random.between(0, reach - 1) as usize;
            match random.between(0, 3) {
                0 => bytes[at] = random.next() as u8,
                1 => bytes[at] ^= 1 << random.between(0, 7),
                2 => bytes[at] = [0, 0xff, 0x7f, 0x80][random.between(0, 3) as usize],
                _ => {
                    let from = random.between(0, reach - 1) as usize;
                    let len = (random.between(1, 16) as usize).min(bytes.len() - at.max(from));
                    bytes.copy_within(from..from + len, at);
                }
            }
        }
        if random.between(0, 9) == 0 {
            bytes.truncate(random.between(0, reach) as usize);
        }
        // A decoder with a past and a new one must agree, also on damage.
        let mut fresh = Decoder::new(limits.clone()).expect("the limits are in range");
        let image = decoder.decode(&bytes);
        assert!(image == fresh.decode(&bytes), "case {case} depends on what was decoded before");
        decoded += usize::from(image.is_ok());
        if let Ok(header) = decoder.header(&bytes) {
            let region = rectangle(&mut random, header.size);
            let patch = decoder.decode_region(&bytes, &header, region, Size::square(8));
            let is_same = same_patch(&patch, &fresh.decode_region(&bytes, &header, region, Size::square(8)));
            assert!(is_same, "{region:?} of case {case} depends on what was decoded before");
        }
    }
    eprintln!("{decoded} of {CASES} damaged files still gave an image, {:?}", start.elapsed());
    assert!((CASES / 10..CASES * 9 / 10).contains(&decoded), "{decoded}: too weak or too strong to tell anything");
}
