// One operation of each image that takes one pass over its pixels: tables, blends, sharpness, hue, geometry.
//
// Twins: src/augment/{point,blend,hue,affine}.rs, and src/augment/reference.rs where those round more than need be. Exact but for
// bilinear and bicubic geometry. What the CPU has in f64 or in divisions of f32 is done in integers here, with the CPU's
// roundings where they can be seen.

// One for each image.
struct Params {
    // First words of the image and of its result in `images`.
    src: u32,
    dst: u32,
    width: u32,
    height: u32,
    // One of the constants below.
    kind: u32,
    // First word of what the host made for it in `input`.
    at: u32,
    // First word of its sums in `stats`.
    stats: u32,
    // Colour of what geometry leaves empty.
    fill: u32,
    // A blend's.
    factor: f32,
    // What is added to the hue, 255 for a full turn. Of a blend 0, which no compiler knows.
    turn: u32,
}

@group(0) @binding(1) var<storage, read> params: array<Params>;
// RGBX
@group(0) @binding(3) var<storage, read_write> images: array<u32>;
// As augment_stats.wgsl made them
@group(0) @binding(4) var<storage, read> stats: array<u32>;

// Any function of one value; `at`: 256 bytes.
const TABLE: u32 = 0u;
const AUTO_CONTRAST: u32 = 1u;
const EQUALIZE: u32 = 2u;
const CONTRAST: u32 = 3u;
const COLOR: u32 = 4u;
const SHARPNESS: u32 = 5u;
const HUE: u32 = 6u;
// The pixel that a point lies in; `at`: (2, 3) coefficients of x, y and 1 in 2^-16 pixels.
const NEAREST: u32 = 7u;
// The same from a list of columns and a list of rows; `at`: `width`, then `height` indices.
const PICK: u32 = 8u;
// `at`: (2, 2, 3) coefficients: for u and for v, those of x, y and 1 in 2^-16 pixels, then their rests in 2^-32 pixels; then for
// each row the first column that reads inside the image, and above 16 bits the end of those.
const BILINEAR: u32 = 9u;
const BICUBIC: u32 = 10u;

// A workgroup's pixels: TILE by TILE, LANES rows of them at a time.
const TILE: u32 = 32u;
const LANES: u32 = 8u;

// What each value becomes: in the lowest byte for red, then green, blue.
var<workgroup> table: array<u32, 256>;
// Of each channel: counts of the values up to this one.
var<workgroup> sums: array<vec3<u32>, 256>;
// Of each channel: count of its greatest value.
var<workgroup> greatest_count: array<u32, 3>;

fn channels(word: u32) -> vec3<u32> {
    return (vec3<u32>(word) >> vec3<u32>(0u, 8u, 16u)) & vec3<u32>(0xffu);
}

fn packed(pixel: vec3<u32>) -> u32 {
    return pixel.x | (pixel.y << 8u) | (pixel.z << 16u);
}

fn truncated(value: vec3<f32>) -> vec3<u32> {
    return vec3<u32>(clamp(value, vec3<f32>(0.0), vec3<f32>(255.0)));
}

fn luma(pixel: vec3<u32>) -> u32 {
    return (19595u * pixel.x + 38470u * pixel.y + 7471u * pixel.z + 32768u) >> 16u;
}

// The product is rounded, then the sum, as on the CPU: a compiler would fuse the two, if it knew that nothing happens between.
fn blend(step: Params, origin: vec3<u32>, pixel: vec3<u32>) -> vec3<u32> {
    let start = vec3<f32>(origin);
    let product = (vec3<f32>(pixel) - start) * step.factor;
    return truncated(start + bitcast<vec3<f32>>(bitcast<vec3<u32>>(product) ^ vec3<u32>(step.turn)));
}

// --- Tables -----------------------------------------------------------------------------------------------------------------

// Integers of 64 bits: x has the lower ones.
fn times(a: vec2<u32>, small: u32) -> vec2<u32> {
    let first = (a.x & 0xffffu) * small;
    let second = (a.x >> 16u) * small + (first >> 16u);
    return vec2<u32>((first & 0xffffu) | (second << 16u), a.y * small + (second >> 16u));
}

fn minus(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(a.x - b.x, a.y - b.y - u32(a.x < b.x));
}

// `a` of 61 bits at most rounded to 53, half to even: what f64 keeps.
fn as_f64(a: vec2<u32>) -> vec2<u32> {
    if a.y < (1u << 21u) {
        return a;
    }
    let excess = firstLeadingBit(a.y) - 20u;
    let unit = 1u << excess;
    let gone = a.x & (unit - 1u);
    let is_odd = (a.x & unit) != 0u;
    var kept = vec2<u32>(a.x - gone, a.y);
    if 2u * gone > unit || (2u * gone == unit && is_odd) {
        kept.x += unit;
        kept.y += u32(kept.x < unit);
    }
    return kept;
}

// `v * scale - least * scale` in f64, truncated, where scale is 255 / (greatest - least): where the result is a whole number, it
// depends on f64's roundings whether that number or the one below it comes out.
fn stretched(v: u32, least: u32, greatest: u32) -> u32 {
    if greatest <= least {
        return v;
    }
    // Other values do not occur.
    let value = clamp(v, least, greatest);
    let range = greatest - least;
    // The scale is 2^exponent at least, and has 52 binary digits behind those.
    let exponent = firstLeadingBit(255u / range);
    let high = 255u << (20u - exponent);
    let middle = (high % range) << 16u;
    let low = (middle % range) << 16u;
    var scale = vec2<u32>(((middle / range) << 16u) | (low / range), high / range);
    // Never just one half: 255 * 2^n is no odd multiple of a range's half.
    if 2u * (low % range) > range {
        scale.x += 1u;
        scale.y += u32(scale.x == 0u);
    }
    let difference = as_f64(minus(as_f64(times(scale, value)), as_f64(times(scale, least))));
    return min(difference.y >> (20u - exponent), 255u);
}

// Fills `table`, of which `v` is this lane's value. In uniform control flow.
fn make_table(step: Params, v: u32) {
    switch step.kind {
        case AUTO_CONTRAST: {
            var out = vec3<u32>(0u);
            for (var c = 0u; c < 3u; c++) {
                out[c] = stretched(v, 255u - min(stats[step.stats + 3u + c], 255u), min(stats[step.stats + c], 255u));
            }
            table[v] = packed(out);
        }
        case EQUALIZE: {
            let own = vec3<u32>(stats[step.stats + v], stats[step.stats + 256u + v], stats[step.stats + 512u + v]);
            var sum = own;
            for (var distance = 1u; distance < 256u; distance *= 2u) {
                sums[v] = sum;
                workgroupBarrier();
                if v >= distance {
                    sum += sums[v - distance];
                }
                workgroupBarrier();
            }
            sums[v] = sum;
            workgroupBarrier();
            let total = sums[255];
            for (var c = 0u; c < 3u; c++) {
                if own[c] > 0u && sum[c] == total[c] {
                    greatest_count[c] = own[c];
                }
            }
            workgroupBarrier();
            var out = vec3<u32>(v);
            for (var c = 0u; c < 3u; c++) {
                let width = (total[c] - greatest_count[c]) / 255u;
                if width > 0u {
                    out[c] = min((width / 2u + sum[c] - own[c]) / width, 255u);
                }
            }
            table[v] = packed(out);
        }
        case CONTRAST: {
            let pixels = max(step.width * step.height, 1u);
            let sum = stats[step.stats];
            // The mean, rounded half up.
            let mean = sum / pixels + u32(2u * (sum % pixels) >= pixels);
            table[v] = packed(blend(step, vec3<u32>(mean), vec3<u32>(v)));
        }
        default: {
            table[v] = input_byte(4u * step.at + v) * 0x010101u;
        }
    }
}

fn look_up(word: u32) -> u32 {
    let pixel = channels(word);
    return (table[pixel.x] & 0xffu) | (table[pixel.y] & 0xff00u) | (table[pixel.z] & 0xff0000u);
}

// --- Neighbours and colours -------------------------------------------------------------------------------------------------

// The pixel at a place that may lie outside: the nearest one of the border then.
fn tap(step: Params, x: i32, y: i32) -> vec3<u32> {
    let column = u32(clamp(x, 0, i32(step.width) - 1));
    let row = u32(clamp(y, 0, i32(step.height) - 1));
    return channels(images[step.src + row * step.width + column]);
}

// From the image smoothed by [1 1 1; 1 5 1; 1 1 1] / 13; the outermost pixels as they are.
fn sharpened(step: Params, x: u32, y: u32) -> vec3<u32> {
    let pixel = tap(step, i32(x), i32(y));
    if x == 0u || y == 0u || x + 1u >= step.width || y + 1u >= step.height {
        return pixel;
    }
    var sum = 4u * pixel;
    for (var row = 0; row < 3; row++) {
        for (var column = 0; column < 3; column++) {
            sum += tap(step, i32(x) + column - 1, i32(y) + row - 1);
        }
    }
    return blend(step, (sum + 6u) / 13u, pixel);
}

// `n / d` as f32, in integers of 2^-y; 0 <= n <= d, 0 < d < 256. Never half between two numbers. 25 bits, of which the last is 0.
fn quotient(n: u32, d: u32) -> vec2<u32> {
    if n == 0u {
        return vec2<u32>(0u, 24u);
    }
    var shift = firstLeadingBit(d) - firstLeadingBit(n);
    shift += 23u + u32((n << shift) < d);
    let whole = (n << shift) / d;
    let rest = (n << shift) % d;
    return vec2<u32>(2u * (whole + u32(2u * rest > d)), shift + 1u);
}

// `a` without its last `bits`, below 32, rounded half to even.
fn rounded(a: u32, bits: u32) -> u32 {
    if bits == 0u {
        return a;
    }
    return (a + (1u << (bits - 1u)) - 1u + ((a >> bits) & 1u)) >> bits;
}

// Pillow's hue of a pixel, not grey, in bytes. f32 in turn holds the sixth of a turn, as an integer of 2^-24 here, and the turn.
fn hue(pixel: vec3<u32>, greatest: u32, least: u32) -> u32 {
    let from_greatest = vec3<u32>(greatest) - pixel;
    let range = greatest - least;
    let full = 6u << 24u;
    // Of the two channels that are not the greatest, one is the least, with a share of 1. What the other's share is added to or
    // taken from has as many digits as f32 has for the result.
    var sixth: u32;
    if pixel.x == greatest {
        if pixel.z == least {
            let share = quotient(from_greatest.y, range);
            sixth = (1u << 24u) - rounded(share.x, share.y - 24u);
        } else {
            let share = quotient(from_greatest.z, range);
            sixth = full - ((1u << 24u) - rounded(share.x, share.y - 24u));
        }
    } else if pixel.y == greatest {
        if pixel.x == least {
            let share = quotient(from_greatest.z, range);
            sixth = ((3u << 22u) - rounded(share.x, share.y - 22u)) << 2u;
        } else {
            let share = quotient(from_greatest.x, range);
            sixth = ((1u << 23u) + rounded(share.x, share.y - 23u)) << 1u;
        }
    } else {
        if pixel.x == least {
            let share = quotient(from_greatest.y, range);
            sixth = ((3u << 22u) + rounded(share.x, share.y - 22u)) << 2u;
        } else {
            let share = quotient(from_greatest.x, range);
            sixth = ((5u << 21u) - rounded(share.x, share.y - 21u)) << 3u;
        }
    }
    if sixth < 6u {
        return 0u;
    }
    // The turn as f32, in integers of 2^-(24 + zeros).
    let zeros = 23u - min(firstLeadingBit(sixth / 6u), 23u);
    if zeros >= 8u {
        return 0u;
    }
    var turn = (sixth << zeros) / 6u;
    let rest = (sixth << zeros) % 6u;
    turn += u32(rest > 3u || (rest == 3u && (turn & 1u) == 1u));
    return (turn * 255u) >> (24u + zeros);
}

// To Pillow's 8-bit HSV and back.
fn turned(pixel: vec3<u32>, by: u32) -> vec3<u32> {
    let greatest = max(max(pixel.x, pixel.y), pixel.z);
    let least = min(min(pixel.x, pixel.y), pixel.z);
    if greatest == least {
        return pixel;
    }
    let share = quotient(greatest - least, greatest);
    // 255 times 24 bits are 32.
    let saturation = ((share.x >> 1u) * 255u) >> (share.y - 1u);
    let sixths = 6u * ((hue(pixel, greatest, least) + by) & 0xffu);
    let sector = sixths / 255u;
    // Of 85.
    let part = (sixths % 255u) / 3u;
    // Quotients of an odd number by an even one: at least 1 / 43350 away from where they change; f32, in which the CPU has the
    // saturation, the part and their product, is off by 255 * 3 * 2^-25 at most, which is less.
    let v = greatest;
    let p = (2u * v * (255u - saturation) + 255u) / 510u;
    let q = (2u * v * (21675u - saturation * part) + 21675u) / 43350u;
    let t = (2u * v * (21675u - saturation * (85u - part)) + 21675u) / 43350u;
    switch sector {
        case 1u: { return vec3<u32>(q, v, p); }
        case 2u: { return vec3<u32>(p, v, t); }
        case 3u: { return vec3<u32>(p, q, v); }
        case 4u: { return vec3<u32>(t, p, v); }
        case 5u: { return vec3<u32>(v, p, q); }
        // A full turn, sector 6, is the first sector.
        default: { return vec3<u32>(v, t, p); }
    }
}

// --- Geometry ---------------------------------------------------------------------------------------------------------------

// The source pixel, or the fill colour.
fn picked(step: Params, x: u32, y: u32) -> u32 {
    if x < step.width && y < step.height {
        return images[step.src + y * step.width + x];
    }
    return step.fill;
}

fn nearest(step: Params, x: u32, y: u32) -> u32 {
    let at = step.at;
    let u = bitcast<i32>(input[at] * x + input[at + 1u] * y + input[at + 2u]) >> 16u;
    let v = bitcast<i32>(input[at + 3u] * x + input[at + 4u] * y + input[at + 5u]) >> 16u;
    // What is negative is too large.
    return picked(step, bitcast<u32>(u), bitcast<u32>(v));
}

// A coordinate less one half: the pixel before it, and the share of the way to the next one.
struct Place {
    base: i32,
    part: f32,
}

// The rests add up to less than 2^32, since sides are below 2^15.
fn place(at: u32, x: u32, y: u32) -> Place {
    let rest = input[at + 3u] * x + input[at + 4u] * y + input[at + 5u];
    let whole = input[at] * x + input[at + 1u] * y + input[at + 2u] + (rest >> 16u);
    let part = (whole << 16u) | (rest & 0xffffu);
    return Place(bitcast<i32>(whole) >> 16u, f32(part) * 0x1p-32);
}

fn between2(a: vec3<f32>, b: vec3<f32>, d: f32) -> vec3<f32> {
    return a + (b - a) * d;
}

// Keys' cubic with a = -1, in differences, so that flat areas stay.
fn between4(v: array<vec3<f32>, 4>, d: f32) -> vec3<f32> {
    let p2 = v[2] - v[0];
    let p3 = 2.0 * (v[0] - v[1]) + v[2] - v[3];
    let p4 = v[1] - v[0] - v[2] + v[3];
    return v[1] + d * (p2 + d * (p3 + d * p4));
}

fn bicubic_row(step: Params, x: i32, y: i32, d: f32) -> vec3<f32> {
    let taps = array<vec3<f32>, 4>(
        vec3<f32>(tap(step, x - 1, y)),
        vec3<f32>(tap(step, x, y)),
        vec3<f32>(tap(step, x + 1, y)),
        vec3<f32>(tap(step, x + 2, y)),
    );
    return between4(taps, d);
}

fn interpolated(step: Params, x: u32, y: u32) -> u32 {
    let inside = input[step.at + 12u + y];
    if x < (inside & 0xffffu) || x >= (inside >> 16u) {
        return step.fill;
    }
    let u = place(step.at, x, y);
    let v = place(step.at + 6u, x, y);
    if step.kind == BILINEAR {
        let above = between2(vec3<f32>(tap(step, u.base, v.base)), vec3<f32>(tap(step, u.base + 1, v.base)), u.part);
        let below = between2(vec3<f32>(tap(step, u.base, v.base + 1)), vec3<f32>(tap(step, u.base + 1, v.base + 1)), u.part);
        return packed(truncated(between2(above, below, v.part)));
    }
    let rows = array<vec3<f32>, 4>(
        bicubic_row(step, u.base, v.base - 1, u.part),
        bicubic_row(step, u.base, v.base, u.part),
        bicubic_row(step, u.base, v.base + 1, u.part),
        bicubic_row(step, u.base, v.base + 2, u.part),
    );
    return packed(truncated(between4(rows, v.part)));
}

// ----------------------------------------------------------------------------------------------------------------------------

fn result(step: Params, x: u32, y: u32) -> u32 {
    let word = images[step.src + y * step.width + x];
    switch step.kind {
        case COLOR: {
            let pixel = channels(word);
            return packed(blend(step, vec3<u32>(luma(pixel)), pixel));
        }
        case SHARPNESS: { return packed(sharpened(step, x, y)); }
        case HUE: { return packed(turned(channels(word), step.turn)); }
        case NEAREST: { return nearest(step, x, y); }
        case PICK: { return picked(step, input[step.at + x], input[step.at + step.width + y]); }
        case BILINEAR, BICUBIC: { return interpolated(step, x, y); }
        default: { return look_up(word); }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let step = params[head.first + group.z];
    if group.x * TILE >= step.width || group.y * TILE >= step.height {
        return;
    }
    if step.kind <= CONTRAST {
        make_table(step, lane);
        workgroupBarrier();
    }
    let x = group.x * TILE + lane % TILE;
    if x >= step.width {
        return;
    }
    let top = group.y * TILE + lane / TILE;
    let bottom = min(group.y * TILE + TILE, step.height);
    for (var y = top; y < bottom; y += LANES) {
        images[step.dst + y * step.width + x] = result(step, x, y);
    }
}
