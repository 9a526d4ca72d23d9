// Second half of the Fourier band crop: `middle` R_w^T, less the checkerboard term, scaled, to a slot or to bytes.
//
// Twin: `dense_products` and `subtract_checkerboard` of src/band/fourier.rs. f32 sums in another order: see
// src/gpu/render/fourier.rs for the tolerance.
//
// A matrix product in tiles of workgroup memory: a workgroup makes ROWS x COLUMNS values, 2 x 4 for each thread, of one plane, or of
// all three where they end as bytes of one word.

// One for each image: as in fourier_rows.wgsl, which has the same.
struct Params {
    height: u32,
    width: u32,
    band: u32,
    row_table: u32,
    column_table: u32,
    first: u32,
    middle: u32,
    destination: u32,
    to: u32,
    scale_red: f32,
    scale_green: f32,
    scale_blue: f32,
    offset_red: f32,
    offset_green: f32,
    offset_blue: f32,
}

@group(0) @binding(1) var<storage, read> params: array<Params>;
// (3, band + 1, width)
@group(0) @binding(3) var<storage, read> middle: array<f32>;
// RGBX
@group(0) @binding(4) var<storage, read_write> images: array<u32>;
// (3, band, band)
@group(0) @binding(5) var<storage, read_write> slots: array<f32>;

// Workgroups along x, of which rows make up an image's tiles.
const ROW: u32 = 32768u;
// Values of a tile.
const ROWS: u32 = 32u;
const COLUMNS: u32 = 64u;
// Terms of the sums that are in workgroup memory at a time.
const DEPTH: u32 = 16u;
// Rows of `left` are two longer than a tile's: so 32 threads that write it, 16 of each of two rows, meet 32 banks.
const PITCH: u32 = ROWS + 2u;

// Part of `middle`, transposed, (DEPTH, PITCH), and of R_w^T, (DEPTH, COLUMNS).
var<workgroup> left: array<f32, DEPTH * PITCH>;
var<workgroup> right: array<f32, DEPTH * COLUMNS>;
// Parts of the checkerboard's sum.
var<workgroup> sums: array<f32, 256>;

// What belongs at a place of the tile, before it is scaled, goes into a slot, or into byte `channel` of `word`.
fn put(plane: Params, channel: u32, row: u32, column: u32, value: f32, sigma: f32, word: u32) -> u32 {
    if row >= plane.band || column >= plane.band {
        return word;
    }
    let scales = vec3<f32>(plane.scale_red, plane.scale_green, plane.scale_blue);
    let offsets = vec3<f32>(plane.offset_red, plane.offset_green, plane.offset_blue);
    let scale = select(select(scales.z, scales.y, channel == 1u), scales.x, channel == 0u);
    let offset = select(select(offsets.z, offsets.y, channel == 1u), offsets.x, channel == 0u);
    let term = sigma * scale;
    let result = value * scale + offset - select(-term, term, (row + column) % 2u == 0u);
    if plane.destination == 2u {
        return word | (u32(clamp(result, 0.0, 255.0) + 0.5) << (8u * channel));
    }
    slots[plane.to + (channel * plane.band + row) * plane.band + column] = result;
    return word;
}

@compute @workgroup_size(16, 16)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) thread: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let plane = params[head.first + group.z];
    let across = (plane.band + COLUMNS - 1u) / COLUMNS;
    let tiles = across * ((plane.band + ROWS - 1u) / ROWS);
    let work = group.y * ROW + group.x;
    let packs = plane.destination == 2u;
    if work >= select(3u * tiles, tiles, packs) {
        return;
    }
    let first_row = work % tiles / across * ROWS;
    let first_column = work % across * COLUMNS;
    let first_channel = work / tiles;
    let last_channel = select(first_channel, 2u, packs);
    let s = plane.column_table + plane.width * plane.band;
    var upper_words = vec4<u32>(0u);
    var lower_words = vec4<u32>(0u);
    for (var channel = first_channel; channel <= last_channel; channel++) {
        let source = plane.middle + channel * (plane.band + 1u) * plane.width;
        var sigma = 0.0;
        if plane.band % 2u == 0u {
            for (var k = lane; k < plane.width; k += 256u) {
                sigma += middle[source + plane.band * plane.width + k] * bitcast<f32>(input[s + k]);
            }
            sums[lane] = sigma;
            for (var step = 128u; step > 0u; step /= 2u) {
                workgroupBarrier();
                if lane < step {
                    sums[lane] += sums[lane + step];
                }
            }
            workgroupBarrier();
            sigma = sums[0];
        }
        // Rows thread.y and thread.y + 16 of the tile, columns thread.x and every 16th from there.
        var upper = vec4<f32>(0.0);
        var lower = vec4<f32>(0.0);
        for (var depth = 0u; depth < plane.width; depth += DEPTH) {
            for (var i = lane; i < DEPTH * ROWS; i += 256u) {
                let k = depth + i % DEPTH;
                let row = first_row + i / DEPTH;
                var value = 0.0;
                if k < plane.width && row < plane.band {
                    value = middle[source + row * plane.width + k];
                }
                left[i % DEPTH * PITCH + i / DEPTH] = value;
            }
            for (var i = lane; i < DEPTH * COLUMNS; i += 256u) {
                let k = depth + i / COLUMNS;
                let column = first_column + i % COLUMNS;
                var value = 0.0;
                if k < plane.width && column < plane.band {
                    value = bitcast<f32>(input[plane.column_table + k * plane.band + column]);
                }
                right[i] = value;
            }
            workgroupBarrier();
            for (var k = 0u; k < DEPTH; k++) {
                let at = k * COLUMNS + thread.x;
                let terms = vec4<f32>(right[at], right[at + 16u], right[at + 32u], right[at + 48u]);
                upper += left[k * PITCH + thread.y] * terms;
                lower += left[k * PITCH + thread.y + 16u] * terms;
            }
            workgroupBarrier();
        }
        // Four times around: each vector is back where it began.
        for (var j = 0u; j < 4u; j++) {
            let row = first_row + thread.y;
            let column = first_column + thread.x + 16u * j;
            upper_words.x = put(plane, channel, row, column, upper.x, sigma, upper_words.x);
            lower_words.x = put(plane, channel, row + 16u, column, lower.x, sigma, lower_words.x);
            upper = upper.yzwx;
            lower = lower.yzwx;
            upper_words = upper_words.yzwx;
            lower_words = lower_words.yzwx;
        }
    }
    if packs {
        for (var j = 0u; j < 4u; j++) {
            let row = first_row + thread.y;
            let column = first_column + thread.x + 16u * j;
            if column < plane.band && row < plane.band {
                images[plane.to + row * plane.band + column] = upper_words.x;
            }
            if column < plane.band && row + 16u < plane.band {
                images[plane.to + (row + 16u) * plane.band + column] = lower_words.x;
            }
            upper_words = upper_words.yzwx;
            lower_words = lower_words.yzwx;
        }
    }
}
