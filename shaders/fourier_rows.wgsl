// First half of the Fourier band crop: `middle` = R_h X, the low vertical frequencies of every column, and below it s_h^T X / H,
// from which the second half makes the checkerboard term.
//
// Twin: `dense_products` of src/band/fourier.rs. f32 sums in another order: see src/gpu/render/fourier.rs for the tolerance.
//
// A matrix product in tiles of workgroup memory: a workgroup makes ROWS x COLUMNS values of one plane, 2 x 4 for each thread.

// One for each image.
struct Params {
    // Size of a plane, and side of what is kept.
    height: u32,
    width: u32,
    band: u32,
    // Tables in the input: R_h (band, height) with s_h / H behind it, and R_w^T (width, band) with s_w / W behind it. Odd bands
    // have no s.
    row_table: u32,
    column_table: u32,
    // First word in `values` and `middle`.
    first: u32,
    middle: u32,
    // Where the result goes to: 0 `slots`, 2 `images`; and its first word there.
    destination: u32,
    to: u32,
    // What becomes of it, by channel: v * scale + offset.
    scale_red: f32,
    scale_green: f32,
    scale_blue: f32,
    offset_red: f32,
    offset_green: f32,
    offset_blue: f32,
}

@group(0) @binding(1) var<storage, read> params: array<Params>;
// (3, height, width)
@group(0) @binding(3) var<storage, read> values: array<f32>;
// (3, band + 1, width)
@group(0) @binding(4) var<storage, read_write> middle: array<f32>;

// Workgroups along x, of which rows make up an image's tiles.
const ROW: u32 = 32768u;
// Values of a tile.
const ROWS: u32 = 32u;
const COLUMNS: u32 = 64u;
// Terms of the sums that are in workgroup memory at a time.
const DEPTH: u32 = 16u;
// Rows of `left` are two longer than a tile's: so 32 threads that write it, 16 of each of two rows, meet 32 banks.
const PITCH: u32 = ROWS + 2u;

// Part of R_h, transposed, (DEPTH, PITCH), and of X, (DEPTH, COLUMNS).
var<workgroup> left: array<f32, DEPTH * PITCH>;
var<workgroup> right: array<f32, DEPTH * COLUMNS>;
// Part of s_h / H.
var<workgroup> wave: array<f32, DEPTH>;

@compute @workgroup_size(16, 16)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) thread: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let plane = params[head.first + group.z];
    let across = (plane.width + COLUMNS - 1u) / COLUMNS;
    let tiles = across * ((plane.band + ROWS - 1u) / ROWS);
    let work = group.y * ROW + group.x;
    if work >= 3u * tiles {
        return;
    }
    let channel = work / tiles;
    let first_row = work % tiles / across * ROWS;
    let first_column = work % across * COLUMNS;
    let x = plane.first + channel * plane.height * plane.width;
    // The tiles of the first row make the row for the checkerboard as well.
    let waves = plane.band % 2u == 0u && first_row == 0u;
    let s = plane.row_table + plane.band * plane.height;
    // Rows thread.y and thread.y + 16 of the tile, columns thread.x and every 16th from there.
    var upper = vec4<f32>(0.0);
    var lower = vec4<f32>(0.0);
    var product = 0.0;
    for (var depth = 0u; depth < plane.height; depth += DEPTH) {
        for (var i = lane; i < DEPTH * ROWS; i += 256u) {
            let k = depth + i % DEPTH;
            let row = first_row + i / DEPTH;
            var value = 0.0;
            if k < plane.height && row < plane.band {
                value = bitcast<f32>(input[plane.row_table + row * plane.height + k]);
            }
            left[i % DEPTH * PITCH + i / DEPTH] = value;
        }
        for (var i = lane; i < DEPTH * COLUMNS; i += 256u) {
            let k = depth + i / COLUMNS;
            let column = first_column + i % COLUMNS;
            var value = 0.0;
            if k < plane.height && column < plane.width {
                value = values[x + k * plane.width + column];
            }
            right[i] = value;
        }
        if lane < DEPTH {
            var value = 0.0;
            if waves && depth + lane < plane.height {
                value = bitcast<f32>(input[s + depth + lane]);
            }
            wave[lane] = value;
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let at = k * COLUMNS + thread.x;
            let terms = vec4<f32>(right[at], right[at + 16u], right[at + 32u], right[at + 48u]);
            upper += left[k * PITCH + thread.y] * terms;
            lower += left[k * PITCH + thread.y + 16u] * terms;
        }
        if waves && lane < COLUMNS {
            for (var k = 0u; k < DEPTH; k++) {
                product += wave[k] * right[k * COLUMNS + lane];
            }
        }
        workgroupBarrier();
    }
    let to = plane.middle + channel * (plane.band + 1u) * plane.width;
    for (var j = 0u; j < 4u; j++) {
        let row = first_row + thread.y;
        let column = first_column + thread.x + 16u * j;
        if column < plane.width && row < plane.band {
            middle[to + row * plane.width + column] = upper.x;
        }
        if column < plane.width && row + 16u < plane.band {
            middle[to + (row + 16u) * plane.width + column] = lower.x;
        }
        upper = upper.yzwx;
        lower = lower.yzwx;
    }
    if waves && lane < COLUMNS && first_column + lane < plane.width {
        middle[to + plane.band * plane.width + first_column + lane] = product;
    }
}
