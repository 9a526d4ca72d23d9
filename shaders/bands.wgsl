// Chunks of packed records to samples: the band coder and the inverse DCT in one, coefficients in workgroup memory.
//
// Twins: src/packed/band/decode.rs (`portable`), src/decode/bands/idct.rs. Exact. A workgroup of 32 threads makes a tile, each a block.
// shaders/transform.wgsl has the transform.
//
// No thread asks another for its bits: all read the same words, and a mask stays as it is coded, one bit for each lane that it is
// about. A lane keeps the place of its bit: the number of lanes below that had a one in the mask before. So neither a ballot
// nor a barrier is needed, and there is no form for subgroups.

// One for each component of each sample.
struct Params {
    // The first workgroup of it.
    first_group: u32,
    // Place of the sample's status, and the first word of what the host sent of it.
    sample: u32,
    base: u32,
    // The coefficients in the record's order, one word each: step, base of the Rice parameter << 16, place << 20.
    order: u32,
    // By band and by row of tiles: where the chunk of each column begins, and where the last ends, in bytes from `base`.
    chunks: u32,
    // First word of the plane.
    plane: u32,
    // Samples of a block along an axis: 1, 2, 3, 4, 6 or 8.
    side: u32,
    // Largest sum of a block's magnitudes that is computed here.
    limit: u32,
    // Needed tiles, and the first of them in the component.
    columns: u32,
    rows: u32,
    first_column: u32,
    first_row: u32,
    // Blocks of the component.
    width: u32,
    height: u32,
}

@group(0) @binding(1) var<storage, read> params: array<Params>;
// Four samples in a word; rows of whole tiles.
@group(0) @binding(3) var<storage, read_write> planes: array<u32>;
// One for each sample; 0 is good.
@group(0) @binding(4) var<storage, read_write> status: array<atomic<u32>>;

// Workgroups along x, of which rows make up the tiles.
const ROW: u32 = 32768u;

// Bit of a sample's status: a chunk is damaged.
const BAD_CHUNK: u32 = 64u;

// Coefficients before the end of the band.
fn places_before_end(band: u32) -> u32 {
    switch band {
        case 0u: { return 4u; }
        case 1u: { return 9u; }
        case 2u: { return 16u; }
        case 3u: { return 36u; }
        default: { return 64u; }
    }
}

// Bands that hold all of the low `side` by `side`.
fn bands_for(side: u32) -> u32 {
    switch side {
        case 1u, 2u: { return 1u; }
        case 3u: { return 2u; }
        case 4u: { return 3u; }
        case 6u: { return 4u; }
        default: { return 5u; }
    }
}

// 32 bits from `bit` on, counted from the word `base`.
fn peek(base: u32, bit: u32) -> u32 {
    let at = base + (bit >> 5u);
    let shift = bit & 31u;
    // A shift counts modulo 32.
    return (input[at] >> shift) | select(input[at + 1u] << (32u - shift), 0u, shift == 0u);
}

// The low `count` bits of 32, at most 32.
fn low_bits(count: u32) -> u32 {
    return select((1u << count) - 1u, 0xffffffffu, count >= 32u);
}

// The lane of a thread: whether it has a block, how many of the lanes below have one, and how many of all.
struct Lane {
    lane: u32,
    is_active: bool,
    rank: u32,
    count: u32,
}

// A chunk to the lane's values at the places from `first` to `end`, multiplied by their steps, except the first of all. False where
// it is not sound: it asks for more bits than it has, leaves some, or has a bad parameter. Every turn of a loop takes at least a bit
// of the chunk, or a place, and words are read to the one behind the chunk's end only, which the host sent.
fn decode(p: Params, first: u32, end_place: u32, start: u32, end: u32, own: Lane) -> bool {
    let has_bits = end > start;
    var at = start;
    var coded = 0u;
    if has_bits {
        coded = peek(p.base, at);
        at += end_place - first;
    }
    for (var i = first; i < end_place; i++) {
        let entry = input[p.order + i];
        var value = 0;
        if ((coded >> (i - first)) & 1u) != 0u {
            if at > end {
                return false;
            }
            let code = peek(p.base, at);
            // Unsigned: one less than 0 is above all.
            var k = (entry >> 16u) & 15u;
            at += 2u;
            switch code & 3u {
                case 0u: {}
                case 1u: { k -= 1u; }
                case 2u: { k += 1u; }
                default: {
                    k = (code >> 2u) & 15u;
                    at += 4u;
                }
            }
            if k > 15u || at > end {
                return false;
            }
            // One bit for each active lane.
            var ones = peek(p.base, at) & low_bits(own.count);
            at += own.count;
            var nonzero = ones;
            var rank = own.rank;
            var absolute = 0u;
            var is_in = own.is_active;
            var left = countOneBits(ones);
            while left != 0u {
                is_in = is_in && ((ones >> rank) & 1u) != 0u;
                absolute += select(0u, 1u << k, is_in);
                rank = countOneBits(ones & low_bits(rank));
                if at > end {
                    return false;
                }
                ones = peek(p.base, at) & low_bits(left);
                at += left;
                left = countOneBits(ones);
            }
            for (var plane = 0u; plane < k; plane++) {
                if at > end {
                    return false;
                }
                let mask = peek(p.base, at) & low_bits(own.count);
                at += own.count;
                nonzero |= mask;
                absolute += ((mask >> own.rank) & 1u) << plane;
            }
            if at > end {
                return false;
            }
            let negative = peek(p.base, at);
            at += countOneBits(nonzero);
            let is_nonzero = own.is_active && ((nonzero >> own.rank) & 1u) != 0u;
            let sign = (negative >> countOneBits(nonzero & low_bits(own.rank))) & 1u;
            absolute = select(absolute, 0u - absolute, sign != 0u);
            value = select(0, i32(absolute << 16u) >> 16u, is_nonzero);
        }
        if i > 0u {
            value *= i32(entry & 0xffffu);
        }
        values[((entry >> 20u) & 63u) * PITCH + own.lane] = value;
    }
    // It ends where its bits do, and with zeros.
    if at > end || end - at >= 8u {
        return false;
    }
    return !has_bits || (peek(p.base, at) & low_bits(end - at)) == 0u;
}

// The DC coefficient of the lane: predicted down the first column, then along each row, modulo 2^16.
fn sum_up(lane: u32) -> i32 {
    var sum = 0;
    for (var row = 0u; row <= lane / 8u; row++) {
        sum += values[8u * row];
    }
    for (var column = 1u; column <= lane % 8u; column++) {
        sum += values[lane / 8u * 8u + column];
    }
    return (sum << 16u) >> 16u;
}

@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = group.y * ROW + group.x;
    let p = params[entry_of(number, lane)];
    let tile = number - p.first_group;
    if tile >= p.columns * p.rows {
        return;
    }
    let column = tile % p.columns;
    let row = tile / p.columns;
    let across = min(p.width - (p.first_column + column) * 8u, 8u);
    let down = min(p.height - (p.first_row + row) * 4u, 4u);
    let is_active = lane % 8u < across && lane / 8u < down;
    let own = Lane(lane, is_active, select(0u, lane / 8u * across + lane % 8u, is_active), across * down);

    var is_sound = true;
    var first = 0u;
    for (var band = 0u; band < bands_for(p.side); band++) {
        let at = p.chunks + (band * p.rows + row) * (p.columns + 1u) + column;
        let end = places_before_end(band);
        is_sound = is_sound && decode(p, first, end, 8u * input[at], 8u * input[at + 1u], own);
        first = end;
    }
    if !is_sound {
        atomicOr(&status[p.sample], BAD_CHUNK);
    }
    workgroupBarrier();
    let dc = sum_up(lane);
    workgroupBarrier();
    values[lane] = dc * i32(input[p.order] & 0xffffu);

    // Each thread has its own block.
    var sum = 0u;
    for (var line = 0u; line < p.side; line++) {
        sum += first_pass(line, p.side, lane);
    }
    var is_fit = sum <= p.limit;
    for (var line = 0u; line < p.side; line++) {
        is_fit = second_pass(line, p.side, lane) && is_fit;
    }
    if is_active && !is_fit {
        atomicOr(&status[p.sample], OUT_OF_RANGE);
    }
    workgroupBarrier();
    for (var at = lane; at < tile_words(p.side); at += 32u) {
        planes[p.plane + plane_word(at, p.side, p.columns, column, row)] = tile_word(at, p.side);
    }
}
