//! Small files and calls that claim much: each is refused without memory for what it claims.
//!
//! A program of its own, since it counts every allocation.

use bandfeed::band::{Fourier, fourier};
use bandfeed::decode::{Decoder, Limits, Pixels};
use bandfeed::ops::{View, resize};
use bandfeed::{DecodeError, Filter, Grid, Size};
use image::{DynamicImage, ImageFormat};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Cursor;

/// The system's allocator, which keeps what each thread holds and the most that it held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    HELD.set(HELD.get() + bytes);
    MOST.set(MOST.get().max(HELD.get()));
}

// SAFETY: every call is the system allocator's, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new are both there while one is copied to the other.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Decodes, and gives the bytes that were held at most on the way.
fn decode(bytes: &[u8]) -> (Result<Pixels, DecodeError>, isize) {
    let mut decoder = Decoder::new(Limits::default()).unwrap();
    let before = HELD.get();
    MOST.set(before);
    let result = decoder.decode(bytes);
    (result, MOST.get() - before)
}

/// Room of a decoder for a small image, whatever the file claims: tables, a refused profile.
const ROOM: isize = 40 << 20;

fn refuse(name: &str, bytes: &[u8], kind: &str, part: &str) {
    let (result, held) = decode(bytes);
    let error = result.expect_err(name);
    let text = error.to_string();
    let found = match error {
        DecodeError::Limit { .. } => "limit",
        DecodeError::Corrupt { .. } => "corrupt",
        _ => "other",
    };
    assert!(found == kind && text.contains(part), "{name}: `{text}` is not {kind} with `{part}`");
    assert!(held < ROOM, "{name}: held {held} bytes of memory");
}

fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    DynamicImage::new_rgb8(width, height).write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

fn png_chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [name, data].concat();
    [&(data.len() as u32).to_be_bytes(), &body[..], &crc(&body).to_be_bytes()].concat()
}

#[test]
fn a_png_allocates_for_its_own_size_only() {
    let small = encoded(2, 2, ImageFormat::Png);
    // A sound zlib stream of 121 MB of zeros: another image's data.
    let mut zeros = Vec::new();
    DynamicImage::new_luma8(11_000, 11_000).write_to(&mut Cursor::new(&mut zeros), ImageFormat::Png).unwrap();
    let (mut at, mut profile) = (33, b"p\0\0".to_vec());
    while at < zeros.len() {
        let len = u32::from_be_bytes(zeros[at..at + 4].try_into().unwrap()) as usize;
        if &zeros[at + 4..at + 8] == b"IDAT" {
            profile.extend(&zeros[at + 8..at + 8 + len]);
        }
        at += 12 + len;
    }
    assert!(profile.len() < 4 << 20, "{} bytes", profile.len());
    let bomb = [&small[..33], &png_chunk(b"iCCP", &profile), &small[33..]].concat();
    let (result, held) = decode(&bomb);
    assert!(held < ROOM, "held {held} bytes of memory");
    // Broken metadata may cost the picture or not, but nothing else.
    assert!(result.map_or_else(|e| matches!(e, DecodeError::Limit { .. }), |p| p.size == Size::square(2)));

    let header = [&100_000u32.to_be_bytes()[..], &100_000u32.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let large = [&small[..8], &png_chunk(b"IHDR", &header), &small[33..]].concat();
    refuse("100000x100000", &large, "limit", "100000x100000");
    refuse("no IHDR", &[&small[..8], &small[33..]].concat(), "corrupt", "IHDR");
    refuse("cut in its header", &small[..20], "corrupt", "ends at byte 20");
}

fn riff_chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut bytes = [name, &(data.len() as u32).to_le_bytes()[..], data].concat();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

fn webp(chunks: &[Vec<u8>]) -> Vec<u8> {
    riff_chunk(b"RIFF", &[b"WEBP", &chunks.concat()[..]].concat())
}

fn u24(v: u32) -> [u8; 3] {
    let [a, b, c, _] = v.to_le_bytes();
    [a, b, c]
}

fn canvas(flags: u8, width: u32, height: u32) -> Vec<u8> {
    riff_chunk(b"VP8X", &[&[flags, 0, 0, 0][..], &u24(width - 1), &u24(height - 1)].concat())
}

fn animation_frame(x: u32, width: u32, height: u32, parts: &[Vec<u8>]) -> Vec<u8> {
    let head = [u24(x / 2), u24(0), u24(width - 1), u24(height - 1), u24(100)].concat();
    riff_chunk(b"ANMF", &[&head, &[0][..], &parts.concat()].concat())
}

const ANIMATED: u8 = 2;

#[test]
fn a_webp_frame_has_the_size_that_its_container_announces() {
    let huge = 16383u16.to_le_bytes();
    let lossy = riff_chunk(b"VP8 ", &[&[0x10, 0, 0, 0x9d, 0x01, 0x2a][..], &huge, &huge, &[0; 40]].concat());
    let bits: u32 = 16382 | 16382 << 14;
    let lossless = riff_chunk(b"VP8L", &[&[0x2f][..], &bits.to_le_bytes(), &[0; 40]].concat());
    let animation = riff_chunk(b"ANIM", &[0; 6]);
    for huge in [&lossy, &lossless] {
        refuse("alone", &webp(std::slice::from_ref(huge)), "limit", "16383x16383");
        refuse("on a small canvas", &webp(&[canvas(0, 8, 8), huge.clone()]), "corrupt", "where 8x8");
        let alpha = riff_chunk(b"ALPH", &[0; 8]);
        for parts in [vec![huge.clone()], vec![alpha, huge.clone()]] {
            let animated = [canvas(ANIMATED, 8, 8), animation.clone(), animation_frame(0, 4, 4, &parts)];
            refuse("in an animation", &webp(&animated), "corrupt", "where 4x4");
        }
    }
    let outside = [canvas(ANIMATED, 8, 8), animation.clone(), animation_frame(6, 4, 4, std::slice::from_ref(&lossy))];
    refuse("a frame outside", &webp(&outside), "corrupt", "at (6, 0) of a canvas of 8x8");
    refuse("a large canvas", &webp(&[canvas(0, 1 << 24, 200), lossy.clone()]), "limit", "16777216x200");
    let mut metadata = webp(&[canvas(8, 8, 8), lossless, riff_chunk(b"EXIF", &[0; 4])]);
    let at = metadata.len() - 8;
    metadata[at..at + 4].copy_from_slice(&0xffff_fff0u32.to_le_bytes());
    refuse("metadata past the end", &metadata[..], "corrupt", "");
    let mut metadata = webp(&[canvas(8, 8, 8), riff_chunk(b"EXIF", &[0; 4])]);
    let at = metadata.len() - 8;
    metadata[at..at + 4].copy_from_slice(&0xffff_fff0u32.to_le_bytes());
    refuse("metadata alone past the end", &metadata, "corrupt", "EXIF has 4294967280 bytes");
}

#[test]
fn sound_containers_of_webp_still_decode() {
    let simple = encoded(6, 4, ImageFormat::WebP);
    let frame = simple[12..].to_vec();
    assert_eq!(&frame[..4], b"VP8L");
    let animation = riff_chunk(b"ANIM", &[0; 6]);
    let second = animation_frame(2, 6, 4, std::slice::from_ref(&frame));
    let first = animation_frame(0, 6, 4, std::slice::from_ref(&frame));
    let files = [
        (simple.clone(), Size::new(6, 4)),
        ([&simple[..], b"trailing bytes"].concat(), Size::new(6, 4)),
        (webp(&[canvas(0, 6, 4), frame.clone(), riff_chunk(b"EXIF", b"no TIFF")]), Size::new(6, 4)),
        (webp(&[canvas(0, 6, 4), riff_chunk(b"ABCD", &[1; 5]), frame]), Size::new(6, 4)),
        (webp(&[canvas(ANIMATED, 8, 5), animation, first, second]), Size::new(8, 5)),
    ];
    for (n, (bytes, size)) in files.iter().enumerate() {
        assert_eq!(decode(bytes).0.unwrap_or_else(|e| panic!("file {n}: {e}")).size, *size, "file {n}");
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused_before_memory_is_taken() {
    let (large, before) = (Size::square(100_000), HELD.get());
    MOST.set(before);
    let refuse = |what: &str, error: Option<bandfeed::Error>, part: &str| {
        let text = error.unwrap_or_else(|| panic!("{what} is not refused")).to_string();
        assert!(text.contains(part), "{what}: `{text}` does not say `{part}`");
    };
    refuse(
        "a short plane",
        fourier(&[0.0; 9], large, large, Grid::Paper).err(),
        "9 values: expected a plane of 100000",
    );
    refuse("a large band", fourier(&[0.0; 9], Size::square(3), large, Grid::Paper).err(), "100000 of 3");
    let wide = Size::new(200_000, 100_000);
    refuse("one large band", Fourier::new(large, wide, Grid::HalfPixel).err(), "200000 of 100000");
    let pixels = [0; 12];
    let view = View::packed(&pixels, Size::square(2));
    let resized = resize(view, [0.0, 0.0, 2.0, 2.0], Size::square(u32::MAX), Filter::Bicubic);
    refuse("a large result", resized.err(), "4294967295x4294967295");
    let resized = resize(view, [0.0, 0.0, 2.5, 2.0], Size::square(20_000), Filter::Bicubic);
    refuse("a large area", resized.err(), "does not lie in 2x2");
    assert!(MOST.get() - before < 1 << 20, "held {} bytes", MOST.get() - before);
}

#[test]
fn a_gif_frame_larger_than_its_screen_has_little_room() {
    let gif = encoded(1, 1, ImageFormat::Gif);
    assert_eq!(decode(&gif).0.unwrap().size, Size::square(1));
    let frame = gif.windows(9).position(|w| w == [0x2c, 0, 0, 0, 0, 1, 0, 1, 0]).expect("an image descriptor");
    let mut hostile = gif;
    // 400 MB as RGBA: more than such a screen may take, though the pixel limit would allow as much.
    hostile[frame + 5..frame + 9].copy_from_slice(&[10_000u16.to_le_bytes(); 2].concat());
    refuse("a frame of 10000x10000", &hostile, "limit", "");
    hostile[frame + 5..frame + 9].fill(0xff);
    refuse("a frame of 65535x65535", &hostile, "limit", "");
    hostile[6..10].fill(0xff);
    refuse("a screen of 65535x65535", &hostile, "limit", "65535x65535");
}

#[test]
fn a_bmp_of_any_header_is_measured_first() {
    let mut bmp = encoded(3, 2, ImageFormat::Bmp);
    assert_eq!(decode(&bmp).0.unwrap().size, Size::new(3, 2));
    bmp[18..22].copy_from_slice(&65_000i32.to_le_bytes());
    bmp[22..26].copy_from_slice(&(-65_000i32).to_le_bytes());
    refuse("65000 rows from the top", &bmp, "limit", "65000x65000");
    let core = [&b"BM"[..], &[0; 8], &26u32.to_le_bytes(), &12u32.to_le_bytes(), &[0xff; 4], &[1, 0, 24, 0]].concat();
    refuse("a header of 12 bytes", &core, "limit", "65535x65535");
}

/// A little-endian TIFF of one 8-bit gray pixel, with these entries added or replaced: tag, type, count, value.
fn tiff(entries: &[(u16, u16, u32, u32)]) -> Vec<u8> {
    let mut all: std::collections::BTreeMap<u16, (u16, u32, u32)> =
        [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 1)]
            .map(|(tag, value)| (tag, (4, 1, value)))
            .into();
    all.extend(entries.iter().map(|&(tag, kind, count, value)| (tag, (kind, count, value))));
    let mut bytes = [&b"II\x2a\0"[..], &12u32.to_le_bytes(), &[7, 0, 0, 0], &(all.len() as u16).to_le_bytes()].concat();
    for (tag, (kind, count, value)) in all {
        bytes.extend(tag.to_le_bytes().into_iter().chain(kind.to_le_bytes()));
        bytes.extend(count.to_le_bytes().into_iter().chain(value.to_le_bytes()));
    }
    bytes.extend([0; 4]);
    bytes
}

#[test]
fn a_tiff_has_its_values_in_the_file_and_tiles_of_its_size() {
    let pixels = decode(&tiff(&[])).0.unwrap();
    assert_eq!((pixels.size, &pixels.data[..]), (Size::square(1), &[7; 3][..]));
    refuse("100000x100000", &tiff(&[(256, 4, 1, 100_000), (257, 4, 1, 100_000)]), "limit", "100000x100000");
    refuse("60 million strips", &tiff(&[(273, 4, 60_000_000, 8)]), "corrupt", "tag 273 take 240000000 bytes");
    let side = 1 << 31;
    let tiles = [(322, 4, 1, side), (323, 4, 1, side), (324, 4, 1, 8), (325, 4, 1, 1)];
    refuse("large tiles", &tiff(&tiles), "corrupt", "tiles of 2147483648x2147483648");
    // The description is not read.
    assert!(decode(&tiff(&[(270, 2, 60_000_000, 8)])).0.is_ok());
}
