// Gaussian blur: three box blurs along rows (`head.a` = 0), in a second launch three along columns (1). A workgroup owns a few
// lines and holds them while all three go over them.
//
// Twin: src/augment/blur.rs. Integers: exact.

// One for each image.
struct Params {
    // First words of the image and of its result in `images`. Rows are read there and written here, columns blurred here.
    src: u32,
    dst: u32,
    width: u32,
    height: u32,
    // Whole pixels on either side.
    reach: u32,
    // Weights of the whole pixels and of the two at the ends, in 2^-24.
    whole: u32,
    end: u32,
}

@group(0) @binding(1) var<storage, read> params: array<Params>;
// RGBX
@group(0) @binding(3) var<storage, read_write> images: array<u32>;

// Pixels that a workgroup holds: the longest line.
const HELD: u32 = 2048u;
// Most lines of a workgroup.
const LINES: u32 = 16u;

// Lines one after the other, twice: before and after a box blur.
var<workgroup> lines: array<u32, 4096>;

fn channels(word: u32) -> vec3<u32> {
    return (vec3<u32>(word) >> vec3<u32>(0u, 8u, 16u)) & vec3<u32>(0xffu);
}

fn packed(pixel: vec3<u32>) -> u32 {
    return pixel.x | (pixel.y << 8u) | (pixel.z << 16u);
}

// Pixel `at` of the line that begins at `line`; the nearest one if it lies outside.
fn tap(line: u32, length: u32, at: i32) -> vec3<u32> {
    return channels(lines[line + u32(clamp(at, 0, i32(length) - 1))]);
}

// Pixels `start..end` of a line of `length`, which begins at `line`, to the line at `blurred`: the first's sum from scratch,
// each other's from the one before.
fn blur(step: Params, line: u32, blurred: u32, length: u32, start: u32, end: u32) {
    if start >= end {
        return;
    }
    let reach = i32(step.reach);
    let last = i32(length) - 1;
    let low = i32(start) - reach;
    let high = i32(start) + reach;
    var sum = tap(line, length, 0) * u32(max(-low, 0)) + tap(line, length, last) * u32(max(high - last, 0));
    for (var at = max(low, 0); at <= min(high, last); at++) {
        sum += tap(line, length, at);
    }
    for (var at = i32(start); at < i32(end); at++) {
        let before = tap(line, length, at - reach - 1);
        let after = tap(line, length, at + reach + 1);
        let value = sum * step.whole + (before + after) * step.end;
        lines[blurred + u32(at)] = packed((value + (1u << 23u)) >> vec3<u32>(24u));
        sum += after - tap(line, length, at - reach);
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let step = params[head.first + group.z];
    let down = head.a == 1u;
    let length = select(step.width, step.height, down);
    let count = select(step.height, step.width, down);
    if length == 0u || length > HELD {
        return;
    }
    // A power of two: as many as fit if each were a power of two long.
    let most = min(HELD >> (32u - countLeadingZeros(length - 1u)), LINES);
    let first = group.x * most;
    if first >= count {
        return;
    }
    let here = min(most, count - first);
    let src = select(step.src, step.dst, down);

    for (var i = lane; i < here * length; i += 256u) {
        if down {
            lines[i % here * length + i / here] = images[src + i / here * step.width + first + i % here];
        } else {
            // Rows lie one after the other there too.
            lines[i] = images[src + first * step.width + i];
        }
    }
    workgroupBarrier();

    let lanes = 256u / most;
    // Odd: lanes then read from different banks.
    let share = ((length + lanes - 1u) / lanes) | 1u;
    let line = lane / lanes;
    let start = min(lane % lanes * share, length);
    let end = select(start, min(start + share, length), line < here);
    for (var time = 0u; time < 3u; time++) {
        let before = time % 2u * HELD + line * length;
        let after = (time + 1u) % 2u * HELD + line * length;
        blur(step, before, after, length, start, end);
        workgroupBarrier();
    }

    for (var i = lane; i < here * length; i += 256u) {
        if down {
            images[step.dst + i / here * step.width + first + i % here] = lines[HELD + i % here * length + i / here];
        } else {
            images[step.dst + first * step.width + i] = lines[HELD + i];
        }
    }
}
