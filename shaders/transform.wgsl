// The inverse DCT of 32 blocks in workgroup memory: part of idct.wgsl and of bands.wgsl.
//
// Twins: src/decode/baseline/idct.rs (`pass`, `checked`) for side 8, columns first; src/decode/baseline/scaled.rs (`pass`, `plain`)
// for smaller sides, rows first. All integer, so exact. 32 bits are enough: the largest value of `checked` is below 2^31, as its
// sums of magnitudes are at most 32767 (4 * 1.3871 * 32767 between the passes, 8192 * 1.3871 of that in the second); of the smaller
// sides it is the CPU's own width. Beyond these sums values wrap, and the block is refused.

// By place (8 * v + u, later 8 * y + x), then by lane. A lane more than there are blocks, so that neither a row of places nor a row
// of lanes falls on one bank.
const PITCH: u32 = 33u;
var<workgroup> values: array<i32, 2112>;

var<workgroup> entry: u32;

// The entry of `params` that a workgroup is of: the last one that begins with it or before.
fn entry_of(number: u32, thread: u32) -> u32 {
    if thread == 0u {
        var low = head.first;
        var high = head.first + head.count;
        while high - low > 1u {
            let middle = (low + high) / 2u;
            if params[middle].first_group <= number {
                low = middle;
            } else {
                high = middle;
            }
        }
        entry = low;
    }
    return workgroupUniformLoad(&entry);
}

// Bit of a sample's status: a block is so far out of range that the CPU leaves the file to libjpeg.
const OUT_OF_RANGE: u32 = 32u;

// Bits that go after the passes.
const FIRST: u32 = 11u;
const SECOND: u32 = 18u;

// Constants in 1 / 8192.
const F0_298: i32 = 2446;
const F0_390: i32 = 3196;
const F0_541: i32 = 4433;
const F0_765: i32 = 6270;
const F0_899: i32 = 7373;
const F1_175: i32 = 9633;
const F1_501: i32 = 12299;
const F1_847: i32 = 15137;
const F1_961: i32 = 16069;
const F2_053: i32 = 16819;
const F2_562: i32 = 20995;
const F3_072: i32 = 25172;

// 8192 sqrt(2) cos(k pi / 24), by k.
const C0: i32 = 11585;
const C2: i32 = 11190;
const C3: i32 = 10703;
const C4: i32 = 10033;
const C6: i32 = 8192;
const C8: i32 = 5793;
const C9: i32 = 4433;
const C10: i32 = 2998;

// The sums and differences of even and odd parts, rounded.
fn fold(even: vec4<i32>, odd: vec4<i32>, shift: u32) -> array<vec4<i32>, 2> {
    let bits = vec4<u32>(shift);
    let half = vec4<i32>(1i << (shift - 1u));
    return array<vec4<i32>, 2>((even + odd + half) >> bits, (even - odd + half) >> bits);
}

// Eight values to eight.
fn pass_8(v: array<i32, 8>, shift: u32) -> array<i32, 8> {
    var z1 = (v[2] + v[6]) * F0_541;
    let even2 = z1 - v[6] * F1_847;
    let even3 = z1 + v[2] * F0_765;
    let even0 = (v[0] + v[4]) * 8192;
    let even1 = (v[0] - v[4]) * 8192;
    let z5 = (v[7] + v[3] + v[5] + v[1]) * F1_175;
    z1 = (v[7] + v[1]) * -F0_899;
    let z2 = (v[5] + v[3]) * -F2_562;
    let z3 = z5 - (v[7] + v[3]) * F1_961;
    let z4 = z5 - (v[5] + v[1]) * F0_390;
    let even = vec4<i32>(even0 + even3, even1 + even2, even1 - even2, even0 - even3);
    let odd = vec4<i32>(
        v[1] * F1_501 + z1 + z4,
        v[3] * F3_072 + z2 + z3,
        v[5] * F2_053 + z2 + z4,
        v[7] * F0_298 + z1 + z3,
    );
    let out = fold(even, odd, shift);
    let sums = out[0];
    let differences = out[1];
    return array<i32, 8>(
        sums.x, sums.y, sums.z, sums.w, differences.w, differences.z, differences.y, differences.x,
    );
}

// `side` values, fewer than eight, to as many: the even and the odd ones weighed for the first half of the outputs.
fn pass_low(v: array<i32, 8>, side: u32, shift: u32) -> array<i32, 8> {
    var even = vec4<i32>(v[0] * 8192);
    var odd = vec4<i32>();
    switch side {
        case 2u: {
            odd.x = v[1] * C6;
        }
        case 3u: {
            even += v[2] * vec4<i32>(C8, -C0, 0, 0);
            odd.x = v[1] * C4;
        }
        case 4u: {
            even += v[2] * vec4<i32>(C6, -C6, 0, 0);
            odd = v[1] * vec4<i32>(C3, C9, 0, 0) + v[3] * vec4<i32>(C9, -C3, 0, 0);
        }
        case 6u: {
            even += v[2] * vec4<i32>(C4, 0, -C4, 0) + v[4] * vec4<i32>(C8, -C0, C8, 0);
            odd = v[1] * vec4<i32>(C2, C6, C10, 0) + v[3] * vec4<i32>(C6, -C6, -C6, 0)
                + v[5] * vec4<i32>(C10, -C6, C2, 0);
        }
        default: {}
    }
    let out = fold(even, odd, shift);
    let a = out[0];
    let b = out[1];
    switch side {
        case 2u: {
            return array<i32, 8>(a.x, b.x, 0, 0, 0, 0, 0, 0);
        }
        case 3u: {
            return array<i32, 8>(a.x, a.y, b.x, 0, 0, 0, 0, 0);
        }
        case 4u: {
            return array<i32, 8>(a.x, a.y, b.y, b.x, 0, 0, 0, 0);
        }
        default: {
            return array<i32, 8>(a.x, a.y, a.z, b.z, b.y, b.x, 0, 0);
        }
    }
}

fn one_pass(v: array<i32, 8>, side: u32, shift: u32) -> array<i32, 8> {
    if side == 8u {
        return pass_8(v, shift);
    }
    return pass_low(v, side, shift);
}

// `side` values `step` places apart; what comes behind them is the last again.
fn read_line(first: u32, step: u32, side: u32, lane: u32) -> array<i32, 8> {
    let at = first * PITCH + lane;
    let pitch = step * PITCH;
    let last = side - 1u;
    return array<i32, 8>(
        values[at],
        values[at + min(1u, last) * pitch],
        values[at + min(2u, last) * pitch],
        values[at + min(3u, last) * pitch],
        values[at + min(4u, last) * pitch],
        values[at + min(5u, last) * pitch],
        values[at + min(6u, last) * pitch],
        values[at + min(7u, last) * pitch],
    );
}

fn write_line(v: array<i32, 8>, first: u32, step: u32, side: u32, lane: u32) {
    let at = first * PITCH + lane;
    let pitch = step * PITCH;
    values[at] = v[0];
    if side > 1u {
        values[at + pitch] = v[1];
    }
    if side > 2u {
        values[at + 2u * pitch] = v[2];
    }
    if side > 3u {
        values[at + 3u * pitch] = v[3];
    }
    if side > 4u {
        values[at + 4u * pitch] = v[4];
        values[at + 5u * pitch] = v[5];
    }
    if side > 6u {
        values[at + 6u * pitch] = v[6];
        values[at + 7u * pitch] = v[7];
    }
}

// A magnitude, held to 16 bits: a sum of 64 of them fits, and is above every limit where one is.
fn magnitude(value: i32) -> u32 {
    return min(u32(abs(value)), 65535u);
}

// Transforms the line `line` of the first pass in its place. Gives its sum of magnitudes.
fn first_pass(line: u32, side: u32, lane: u32) -> u32 {
    let is_whole = side == 8u;
    let first = select(8u * line, line, is_whole);
    let step = select(1u, 8u, is_whole);
    let v = read_line(first, step, side, lane);
    var sum = magnitude(v[0]);
    sum += select(0u, magnitude(v[1]), side > 1u);
    sum += select(0u, magnitude(v[2]), side > 2u);
    sum += select(0u, magnitude(v[3]), side > 3u);
    sum += select(0u, magnitude(v[4]) + magnitude(v[5]), side > 4u);
    sum += select(0u, magnitude(v[6]) + magnitude(v[7]), side > 6u);
    write_line(one_pass(v, side, FIRST), first, step, side, lane);
    return sum;
}

fn is_sample(value: i32) -> bool {
    return value >= -512 && value < 512;
}

fn sample(value: i32) -> i32 {
    return clamp(value + 128, 0, 255);
}

// Transforms the line `line` of the second pass to samples, at 8 * y + x. Whether libjpeg's vectors compute the same: the CPU looks
// whether the inputs of this pass, and sums of two of them, fit 16 bits, and whether the samples are in range. The
// last is enough. The pass is orthogonal, and the largest output is at least the largest input over 32, or that of a sum of two over
// 32 sqrt(2): above 700 where these do not fit.
fn second_pass(line: u32, side: u32, lane: u32) -> bool {
    let is_whole = side == 8u;
    let first = select(line, 8u * line, is_whole);
    let step = select(8u, 1u, is_whole);
    let v = read_line(first, step, side, lane);
    var out = one_pass(v, side, SECOND);
    let is_fit = is_sample(out[0]) && is_sample(out[1]) && is_sample(out[2]) && is_sample(out[3])
        && is_sample(out[4]) && is_sample(out[5]) && is_sample(out[6]) && is_sample(out[7]);
    out = array<i32, 8>(
        sample(out[0]), sample(out[1]), sample(out[2]), sample(out[3]),
        sample(out[4]), sample(out[5]), sample(out[6]), sample(out[7]),
    );
    write_line(out, first, step, side, lane);
    return is_fit || !is_whole;
}

// Words of a tile's samples, which has 8 by 4 blocks of `side` by `side`.
fn tile_words(side: u32) -> u32 {
    return 8u * side * side;
}

// Four samples of a tile's row, of which each has 2 * side words.
fn tile_word(word: u32, side: u32) -> u32 {
    let row = word / (2u * side);
    let line = 8u * (row % side);
    let lanes = 8u * (row / side);
    var packed = 0u;
    for (var i = 0u; i < 4u; i++) {
        let x = 4u * (word % (2u * side)) + i;
        packed |= u32(values[(line + x % side) * PITCH + lanes + x / side]) << (8u * i);
    }
    return packed;
}

// Where that word is in a plane of this many columns of tiles.
fn plane_word(word: u32, side: u32, columns: u32, column: u32, row: u32) -> u32 {
    let y = row * 4u * side + word / (2u * side);
    return (y * columns + column) * 2u * side + word % (2u * side);
}
