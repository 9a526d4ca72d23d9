// Coefficients to samples: dequantisation and the inverse DCT of the blocks of a component that are needed.
//
// Twin: src/decode/baseline/mod.rs (`samples`). Exact. A workgroup makes a tile of 8 by 4 blocks: it loads whole blocks, each word
// by its own thread, transforms with a thread for each line of each block, and writes whole words of the plane. shaders/
// transform.wgsl has the transform.

// One for each component of each sample.
struct Params {
    // The first workgroup of it.
    first_group: u32,
    // Place of the sample's status.
    sample: u32,
    // Where the needed blocks are, row by row, 32 words each: in `coefficients`, or in `input` if they came from the host.
    coefficients: u32,
    from_host: u32,
    // The 64 quantisation steps by place, in `input`.
    steps: u32,
    // First word of the plane.
    plane: u32,
    // Samples of a block along an axis: 1, 2, 3, 4, 6 or 8.
    side: u32,
    // Largest sum of a block's magnitudes that is computed here.
    limit: u32,
    // Needed blocks.
    width: u32,
    height: u32,
}

@group(0) @binding(1) var<storage, read> params: array<Params>;
// Quantised, two of 16 bits in a word, by place.
@group(0) @binding(3) var<storage, read> coefficients: array<u32>;
// Four samples in a word; rows of whole tiles.
@group(0) @binding(4) var<storage, read_write> planes: array<u32>;
// One for each sample; 0 is good.
@group(0) @binding(5) var<storage, read_write> status: array<atomic<u32>>;

// Workgroups along x, of which rows make up the tiles.
const ROW: u32 = 32768u;

// Sums of magnitudes of the blocks.
var<workgroup> sums: array<atomic<u32>, 32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let number = group.y * ROW + group.x;
    let p = params[entry_of(number, thread)];
    let columns = (p.width + 7u) / 8u;
    let tile = number - p.first_group;
    if tile >= columns * ((p.height + 3u) / 4u) {
        return;
    }
    let column = tile % columns;
    let row = tile / columns;

    // A row of coefficients is four words.
    let word = thread % 32u;
    let x = column * 8u + thread / 32u;
    let is_low = word < 4u * p.side;
    let even_step = i32(input[p.steps + 2u * word]);
    let odd_step = i32(input[p.steps + 2u * word + 1u]);
    for (var i = 0u; i < 4u; i++) {
        let y = row * 4u + i;
        var pair = 0u;
        if is_low && x < p.width && y < p.height {
            let at = p.coefficients + (y * p.width + x) * 32u + word;
            if p.from_host != 0u {
                pair = input[at];
            } else {
                pair = coefficients[at];
            }
        }
        let lane = 8u * i + thread / 32u;
        values[2u * word * PITCH + lane] = (i32(pair << 16u) >> 16u) * even_step;
        values[(2u * word + 1u) * PITCH + lane] = (i32(pair) >> 16u) * odd_step;
    }
    if thread < 32u {
        atomicStore(&sums[thread], 0u);
    }
    workgroupBarrier();

    let line = thread / 32u;
    let lane = thread % 32u;
    if line < p.side {
        atomicAdd(&sums[lane], first_pass(line, p.side, lane));
    }
    workgroupBarrier();
    if line < p.side {
        let is_fit = second_pass(line, p.side, lane);
        if !is_fit || atomicLoad(&sums[lane]) > p.limit {
            atomicOr(&status[p.sample], OUT_OF_RANGE);
        }
    }
    workgroupBarrier();
    for (var at = thread; at < tile_words(p.side); at += 256u) {
        planes[p.plane + plane_word(at, p.side, columns, column, row)] = tile_word(at, p.side);
    }
}
