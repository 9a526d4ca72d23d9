// Random erasing: boxes of normalised planes filled in place, with a colour or with normal noise.
//
// Twin: src/ops/erase.rs, which describes the noise. Integers are exact. The polynomials differ in the last digits where a device
// fuses multiply and add, and its square root may be off by some units in the last place: within 1e-5 in all.

// One for each box. Those of one image follow one another.
struct Params {
    // First word of the image's planes, and their size.
    first: u32,
    width: u32,
    height: u32,
    // The box, which lies in the image.
    x: u32,
    y: u32,
    columns: u32,
    rows: u32,
    // Boxes of the same image behind this one, which are seen where they overlap.
    later: u32,
    // 1: noise of this key, spread.
    noise: u32,
    key_k: u32,
    key_l: u32,
    // Else this colour.
    red: f32,
    green: f32,
    blue: f32,
}

@group(0) @binding(1) var<storage, read> params: array<Params>;
// (3, H, W)
@group(0) @binding(3) var<storage, read_write> planes: array<f32>;

// Workgroups along x, of which rows make up a box.
const ROW: u32 = 32768u;
// Most boxes of one image.
const CAPACITY: u32 = 4u;
const LN_2: f32 = 0.693147180559945309417;
const FRAC_PI_4: f32 = 0.785398163397448309616;

// MurmurHash3's 32-bit finaliser (Appleby).
fn hash(number: u32) -> u32 {
    var z = number;
    z = (z ^ (z >> 16u)) * 0x85ebca6bu;
    z = (z ^ (z >> 13u)) * 0xc2b2ae35u;
    return z ^ (z >> 16u);
}

// Natural logarithm of a normal number in (0, 1].
fn ln(u: f32) -> f32 {
    // sqrt(1/2): exponents are counted from here.
    let e = bitcast<i32>(bitcast<u32>(u) - 0x3f3504f3u) >> 23u;
    let x = bitcast<f32>(bitcast<u32>(u) - bitcast<u32>(e << 23u)) - 1.0;
    var p = -0.10347896;
    p = p * x + 0.1627897;
    p = p * x - 0.17201579;
    p = p * x + 0.19893998;
    p = p * x - 0.24973384;
    p = p * x + 0.3333509;
    p = p * x - 0.50000286;
    return f32(e) * LN_2 + (x + x * x * p);
}

// Cosine and sine of `t` eighths of a circle, `t` in -1..1.
fn wave(t: f32) -> vec2<f32> {
    let z = t * t;
    var cosine = -0.00031916;
    cosine = cosine * z + 0.0158504;
    cosine = cosine * z - 0.3084245;
    var sine = -0.00003587726;
    sine = sine * z + 0.002489872;
    sine = sine * z - 0.08074537;
    sine = sine * z + FRAC_PI_4;
    return vec2<f32>(cosine * z + 1.0, sine * t);
}

// Two independent standard normal values.
fn pair(k: u32, l: u32, index: u32) -> vec2<f32> {
    let a = hash(hash(index + k) + l);
    let b = hash(a ^ k);
    let u = f32((a >> 8u) + 1u) * (1.0 / 16777216.0);
    let t = f32(bitcast<i32>(b) >> 8u) * (1.0 / 8388608.0);
    let radius = sqrt(max(-2.0 * ln(u), 0.0));
    let directions = wave(t);
    let turned = select(directions.yx, directions, (b & 1u) == 0u);
    return radius * turned * select(-1.0, 1.0, (b & 2u) == 0u);
}

// Whether a later box of the image covers this place.
fn is_covered(entry: u32, later: u32, x: u32, y: u32) -> bool {
    for (var other = entry + 1u; other <= entry + min(later, CAPACITY - 1u); other++) {
        // Unsigned: what lies before the box is far behind it.
        if x - params[other].x < params[other].columns && y - params[other].y < params[other].rows {
            return true;
        }
    }
    return false;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let entry = head.first + group.z;
    let erased = params[entry];
    // Rows are filled in pairs: `half` apart.
    let half = (erased.rows + 1u) / 2u;
    let pairs = half * erased.columns;
    let at = (group.y * ROW + group.x) * 256u + lane;
    if at >= 3u * pairs {
        return;
    }
    let channel = at / pairs;
    let row = at % pairs / erased.columns;
    let x = erased.x + at % erased.columns;
    var fill = vec2<f32>(select(select(erased.blue, erased.green, channel == 1u), erased.red, channel == 0u));
    if erased.noise == 1u {
        // (channel * half + row) * columns + column
        fill = pair(erased.key_k, erased.key_l, at);
    }
    let plane = erased.first + channel * erased.width * erased.height;
    let upper = erased.y + row;
    if !is_covered(entry, erased.later, x, upper) {
        planes[plane + upper * erased.width + x] = fill.x;
    }
    let lower = upper + half;
    if row + half < erased.rows && !is_covered(entry, erased.later, x, lower) {
        planes[plane + lower * erased.width + x] = fill.y;
    }
}
