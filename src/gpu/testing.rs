//! What tests of kernels need: a device, launches of one kernel, a comparer.

use super::device::{Device, HEADS, Launch, STORAGE};
use super::kernel::{Head, Kernel};
use super::memory::Buffer;
use bytemuck::Pod;
use std::sync::OnceLock;

/// What buffers hold behind their contents, and what outputs hold before they are written.
pub(crate) const SENTINEL: u32 = 0xa5c3_91f7;
const SENTINELS: usize = 64;

/// The device that tests run on: `BANDFEED_WGPU` by name, or else the software adapter, which is what CI has.
///
/// # Panics
/// If there is none: a machine without one does not pass these tests in silence.
pub(crate) fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let open = || {
        let name = std::env::var("BANDFEED_WGPU").unwrap_or_else(|_| "llvmpipe".to_owned());
        Device::open(Some(&name)).unwrap_or_else(|error| {
            panic!(
                "{error}\nThe tests of the GPU engine need an adapter: install mesa-vulkan-drivers for the software one, or name one \
                 of yours in BANDFEED_WGPU"
            )
        })
    };
    DEVICE.get_or_init(open).clone()
}

/// Contents of a kernel's buffers, from binding 3 on, in words.
pub(crate) struct Case<'a, P> {
    pub(crate) kernel: &'static Kernel,
    pub(crate) params: &'a [P],
    /// The rest of the input, which begins at word `words(params)`; see [`input_start`].
    pub(crate) input: &'a [u32],
    pub(crate) a: u32,
    pub(crate) b: u32,
    pub(crate) buffers: &'a [Vec<u32>],
    pub(crate) grid: [u32; 3],
}

/// First word of the input behind `params`, whose offsets in `input` must count from the start of the whole.
pub(crate) fn input_start<P: Pod>(params: &[P]) -> u32 {
    (size_of_val(params) / 4) as u32
}

/// An output of this many words, filled with garbage.
pub(crate) fn garbage(words: usize) -> Vec<u32> {
    vec![SENTINEL; words]
}

/// Runs one launch and returns the buffers' contents after it.
///
/// # Panics
/// If the device fails, or if anything was written behind a buffer's contents.
pub(crate) fn run<P: Pod>(case: Case<'_, P>) -> Vec<Vec<u32>> {
    let device = device();
    let head = Head { first: 0, count: case.params.len() as u32, a: case.a, b: case.b };
    let heads = device.buffer(256, HEADS).unwrap();
    device.upload(&heads, bytemuck::bytes_of(&head));
    let mut words: Vec<u32> = bytemuck::cast_slice(case.params).to_vec();
    words.extend_from_slice(case.input);
    words.extend([SENTINEL; SENTINELS]);
    let input = device.buffer(4 * words.len() as u64, STORAGE).unwrap();
    device.upload(&input, bytemuck::cast_slice(&words));
    let buffers: Vec<Buffer> = case
        .buffers
        .iter()
        .map(|contents| {
            let buffer = device.buffer(4 * (contents.len() + SENTINELS) as u64, STORAGE).unwrap();
            let mut filled = contents.clone();
            filled.resize(buffer.size() as usize / 4, SENTINEL);
            device.upload(&buffer, bytemuck::cast_slice(&filled));
            buffer
        })
        .collect();
    let launch = Launch { kernel: case.kernel, head: 0, buffers: buffers.iter().collect(), grid: case.grid };
    let (raw, queue) = device.raw();
    let mut encoder = raw.create_command_encoder(&Default::default());
    device.encode(&mut encoder, &heads, &input, &[launch], None).unwrap();
    queue.submit([encoder.finish()]);
    let read = |(buffer, contents): (&Buffer, &Vec<u32>)| {
        let bytes = device.download(buffer, buffer.size()).unwrap();
        let mut words: Vec<u32> = bytemuck::pod_collect_to_vec(&bytes);
        let behind = words.split_off(contents.len());
        let stem = case.kernel.stem;
        assert!(behind.iter().all(|word| *word == SENTINEL), "{stem} writes behind the end of a buffer");
        words
    };
    buffers.iter().zip(case.buffers).map(read).collect()
}

/// Compares values; says where the largest difference is.
///
/// # Panics
/// If a difference is above `tolerance`, or is no number.
pub(crate) fn assert_close(what: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{what}: lengths");
    let difference = |at: usize| (got[at] - expected[at]).abs();
    let worst = (0..got.len()).max_by(|a, b| {
        // What is no number is the worst.
        let key = |at: usize| if difference(at).is_nan() { f32::INFINITY } else { difference(at) };
        key(*a).total_cmp(&key(*b))
    });
    if let Some(at) = worst {
        let near = difference(at) <= tolerance;
        assert!(
            near,
            "{what}: value {at} of {} is {}, not {} (tolerance {tolerance})",
            got.len(),
            got[at],
            expected[at]
        );
    }
}

/// Compares words bit for bit.
///
/// # Panics
/// At the first that differs.
pub(crate) fn assert_equal(what: &str, got: &[u32], expected: &[u32]) {
    assert_eq!(got.len(), expected.len(), "{what}: lengths");
    if let Some(at) = (0..got.len()).find(|&at| got[at] != expected[at]) {
        let differ = (0..got.len()).filter(|&at| got[at] != expected[at]).count();
        panic!("{what}: word {at} of {} is {:#010x}, not {:#010x}; {differ} differ", got.len(), got[at], expected[at]);
    }
}

mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "value 1 of 3 is NaN")]
    fn what_is_no_number_is_not_close() {
        assert_close("case", &[1.0, f32::NAN, 9.0], &[1.0, 1.0, 1.0], 0.5);
    }

    #[test]
    #[should_panic(expected = "value 2 of 3 is 1.75, not 1")]
    fn the_largest_difference_is_told() {
        assert_close("case", &[1.6, 1.0, 1.75], &[1.0, 1.0, 1.0], 0.5);
    }

    #[test]
    #[should_panic(expected = "word 1 of 2 is 0x00000003")]
    fn words_that_differ_are_told() {
        assert_equal("case", &[1, 3], &[1, 2]);
    }
}
