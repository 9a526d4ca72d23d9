// Crop and resize of a batch's images: a separable linear map by weights that the host made, in f32 or in Pillow's integers.
//
// Twins: src/ops/render/fused.rs (f32) and src/ops/resize.rs (integers of 2^-22, 8 bits after each axis).
//
// A workgroup makes a tile of SIDE x SIDE outputs. It walks the source rows that the tile needs, CHUNK at a time: each is
// reduced to the tile's columns in workgroup memory, and from there taken into the sums of the rows that read it. So nothing goes
// through global memory between the axes, and any reduction fits.

// One for each image.
struct Params {
    // Where it comes from: 0 `pixels`, 1 `images`.
    source: u32,
    // Word of its first pixel, and words from a row to the next.
    first: u32,
    stride: u32,
    // Its size.
    width: u32,
    height: u32,
    // Size of the result.
    columns: u32,
    rows: u32,
    // Tables of weights in the input, as `column_table` and `row_table` of src/gpu/render/tables.rs make them.
    column_table: u32,
    row_table: u32,
    // 1: weights are integers of 2^-22.
    fixed: u32,
    // 1: mirrored left to right.
    mirror: u32,
    // What becomes of a value in f32: 0 nothing, 1 it is clamped to 0..255, 2 it is also rounded. Integers are both.
    limit: u32,
    // Where it goes to: 0 `slots`, 1 `values`, 2 `images`.
    destination: u32,
    // First word there.
    to: u32,
    // What becomes of it in `slots` and `values`, by channel: v * scale + offset.
    scale_red: f32,
    scale_green: f32,
    scale_blue: f32,
    offset_red: f32,
    offset_green: f32,
    offset_blue: f32,
}

@group(0) @binding(1) var<storage, read> params: array<Params>;
// RGBX
@group(0) @binding(3) var<storage, read> pixels: array<u32>;
// RGBX, rows without gaps
@group(0) @binding(4) var<storage, read_write> images: array<u32>;
// (3, rows, columns)
@group(0) @binding(5) var<storage, read_write> values: array<f32>;
// (3, rows, columns)
@group(0) @binding(6) var<storage, read_write> slots: array<f32>;

// Workgroups along x, of which rows make up an image's tiles.
const ROW: u32 = 32768u;
// Outputs along each side of a tile.
const SIDE: u32 = 32u;
// Source rows in workgroup memory.
const CHUNK: u32 = 32u;
// Rows of a workgroup: each of its threads has every STEP-th row of the tile, four in all.
const STEP: u32 = 8u;
// Bits of an integer weight behind the point, and one half of such a sum.
const PRECISION: u32 = 22u;
const HALF: i32 = 2097152;
// Words of one channel of `middle`.
const PLANE: u32 = CHUNK * SIDE;

// The chunk's rows at the tile's columns, (3, CHUNK, SIDE): bits of f32, or bytes.
var<workgroup> middle: array<u32, 3u * PLANE>;

fn pixel(image: Params, x: u32, y: u32) -> vec3<u32> {
    let at = image.first + min(y, image.height - 1u) * image.stride + min(x, image.width - 1u);
    var word: u32;
    if image.source == 0u {
        word = pixels[at];
    } else {
        word = images[at];
    }
    return vec3<u32>(word & 0xffu, (word >> 8u) & 0xffu, (word >> 16u) & 0xffu);
}

// Sums of integers to bytes.
fn to_bytes(sums: vec3<i32>) -> vec3<u32> {
    return vec3<u32>(clamp(sums >> vec3<u32>(PRECISION), vec3<i32>(0), vec3<i32>(255)));
}

fn keep(row: u32, column: u32, value: vec3<u32>) {
    let at = row * SIDE + column;
    middle[at] = value.x;
    middle[PLANE + at] = value.y;
    middle[2u * PLANE + at] = value.z;
}

fn kept(row: u32, column: u32) -> vec3<u32> {
    let at = row * SIDE + column;
    return vec3<u32>(middle[at], middle[PLANE + at], middle[2u * PLANE + at]);
}

// Source rows y, y + STEP, … before `end` to column x of the result, at `lane` of `middle`. They share their weights.
fn reduce_rows(image: Params, x: u32, y: u32, end: u32, lane: vec2<u32>) {
    let longest = input[image.column_table];
    let run = image.column_table + 1u + 2u * x;
    let start = input[run];
    let taps = min(input[run + 1u], longest);
    let weights = image.column_table + 1u + 2u * image.columns + x;
    let second = y + STEP < end;
    let third = y + 2u * STEP < end;
    let fourth = y + 3u * STEP < end;
    if image.fixed == 1u {
        var a = vec3<i32>(HALF);
        var b = vec3<i32>(HALF);
        var c = vec3<i32>(HALF);
        var d = vec3<i32>(HALF);
        for (var k = 0u; k < taps; k++) {
            let weight = bitcast<i32>(input[weights + k * image.columns]);
            a += weight * vec3<i32>(pixel(image, start + k, y));
            if second { b += weight * vec3<i32>(pixel(image, start + k, y + STEP)); }
            if third { c += weight * vec3<i32>(pixel(image, start + k, y + 2u * STEP)); }
            if fourth { d += weight * vec3<i32>(pixel(image, start + k, y + 3u * STEP)); }
        }
        keep(lane.y, lane.x, to_bytes(a));
        keep(lane.y + STEP, lane.x, to_bytes(b));
        keep(lane.y + 2u * STEP, lane.x, to_bytes(c));
        keep(lane.y + 3u * STEP, lane.x, to_bytes(d));
    } else {
        var a = vec3<f32>(0.0);
        var b = vec3<f32>(0.0);
        var c = vec3<f32>(0.0);
        var d = vec3<f32>(0.0);
        for (var k = 0u; k < taps; k++) {
            let weight = bitcast<f32>(input[weights + k * image.columns]);
            a += weight * vec3<f32>(pixel(image, start + k, y));
            if second { b += weight * vec3<f32>(pixel(image, start + k, y + STEP)); }
            if third { c += weight * vec3<f32>(pixel(image, start + k, y + 2u * STEP)); }
            if fourth { d += weight * vec3<f32>(pixel(image, start + k, y + 3u * STEP)); }
        }
        keep(lane.y, lane.x, bitcast<vec3<u32>>(a));
        keep(lane.y + STEP, lane.x, bitcast<vec3<u32>>(b));
        keep(lane.y + 2u * STEP, lane.x, bitcast<vec3<u32>>(c));
        keep(lane.y + 3u * STEP, lane.x, bitcast<vec3<u32>>(d));
    }
}

// `sum` with those of the chunk's rows, the first of which is source row `first`, that row y of the result reads.
fn add_rows(image: Params, sum: vec3<u32>, y: u32, first: u32, column: u32) -> vec3<u32> {
    if y >= image.rows {
        return sum;
    }
    let longest = input[image.row_table];
    // Behind first and last source row of each tile.
    let runs = image.row_table + 1u + 2u * ((image.rows + SIDE - 1u) / SIDE);
    let start = input[runs + 2u * y];
    let begin = max(start, first);
    let to = min(start + min(input[runs + 2u * y + 1u], longest), first + CHUNK);
    let weights = runs + 2u * image.rows + y * longest;
    if image.fixed == 1u {
        var fixed = bitcast<vec3<i32>>(sum);
        for (var row = begin; row < to; row++) {
            fixed += bitcast<i32>(input[weights + row - start]) * vec3<i32>(kept(row - first, column));
        }
        return bitcast<vec3<u32>>(fixed);
    }
    var floating = bitcast<vec3<f32>>(sum);
    for (var row = begin; row < to; row++) {
        floating += bitcast<f32>(input[weights + row - start]) * bitcast<vec3<f32>>(kept(row - first, column));
    }
    return bitcast<vec3<u32>>(floating);
}

fn store(image: Params, x: u32, y: u32, sum: vec3<u32>) {
    if x >= image.columns || y >= image.rows {
        return;
    }
    var value: vec3<f32>;
    if image.fixed == 1u {
        value = vec3<f32>(to_bytes(bitcast<vec3<i32>>(sum)));
    } else {
        value = bitcast<vec3<f32>>(sum);
        if image.limit != 0u {
            value = clamp(value, vec3<f32>(0.0), vec3<f32>(255.0));
        }
        if image.limit == 2u {
            // Halves up, as on the CPU; `round` would take them to even.
            value = floor(value + 0.5);
        }
    }
    let at = y * image.columns + select(x, image.columns - 1u - x, image.mirror == 1u);
    if image.destination == 2u {
        let bytes = vec3<u32>(value);
        images[image.to + at] = bytes.x | (bytes.y << 8u) | (bytes.z << 16u);
        return;
    }
    let scale = vec3<f32>(image.scale_red, image.scale_green, image.scale_blue);
    let offset = vec3<f32>(image.offset_red, image.offset_green, image.offset_blue);
    let scaled = value * scale + offset;
    let plane = image.columns * image.rows;
    if image.destination == 0u {
        slots[image.to + at] = scaled.x;
        slots[image.to + plane + at] = scaled.y;
        slots[image.to + 2u * plane + at] = scaled.z;
    } else {
        values[image.to + at] = scaled.x;
        values[image.to + plane + at] = scaled.y;
        values[image.to + 2u * plane + at] = scaled.z;
    }
}

@compute @workgroup_size(32, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let image = params[head.first + group.z];
    let across = (image.columns + SIDE - 1u) / SIDE;
    let down = (image.rows + SIDE - 1u) / SIDE;
    let tile = group.y * ROW + group.x;
    if tile >= across * down {
        return;
    }
    let tile_row = tile / across;
    let x = tile % across * SIDE + lane.x;
    let y = tile_row * SIDE + lane.y;
    let end = min(input[image.row_table + 2u + 2u * tile_row], image.height);
    let half = select(vec3<u32>(0u), vec3<u32>(u32(HALF)), image.fixed == 1u);
    var a = half;
    var b = half;
    var c = half;
    var d = half;
    for (var first = input[image.row_table + 1u + 2u * tile_row]; first < end; first += CHUNK) {
        if x < image.columns && first + lane.y < end {
            reduce_rows(image, x, first + lane.y, end, lane.xy);
        }
        workgroupBarrier();
        a = add_rows(image, a, y, first, lane.x);
        b = add_rows(image, b, y + STEP, first, lane.x);
        c = add_rows(image, c, y + 2u * STEP, first, lane.x);
        d = add_rows(image, d, y + 3u * STEP, first, lane.x);
        workgroupBarrier();
    }
    store(image, x, y, a);
    store(image, x, y + STEP, b);
    store(image, x, y + 2u * STEP, c);
    store(image, x, y + 3u * STEP, d);
}
