// Huffman codes of sequential JPEGs to quantised coefficients: one workgroup for each scan, one lane for each subsequence of
// its bits, 256 of these at once.
//
// Twin: src/decode/baseline/{bits,huffman}.rs. Integers only: exact. Clauses are those of ITU-T T.81.
//
// A chunk of 256 subsequences goes through
// 1. count: each subsequence is decoded from a guessed state to its end, blocks are counted and DC differences summed up; where
//    another state is found at the end of the one before it, it is decoded again, until all agree. Where an interval begins, the
//    state is known, and no lane needs to know what comes of the end of one;
// 2. sums over the lanes: the first block of each, and its DC predictors;
// 3. write: each lane decodes its own from the right state, and writes the coefficients of needed blocks. Lanes without any are
//    left out, except at the end of an interval, where the number of blocks and of bits is compared.
// What the last lane came to is carried to the next chunk. All loops are bounded: a symbol takes a bit at least.

// One for each scan. Words are places in `input`.
struct Params {
    // The image's word in `status`, and its first in `coefficients`.
    image: u32,
    coefficients: u32,
    // The first Huffman code, of CODE_WORDS each, and the number of codes.
    codes: u32,
    code_count: u32,
    // The first component, of PART_WORDS each: first word of its coefficients after the image's; x, y, width and height of the
    // needed rectangle in blocks; blocks across and down in a unit; M of the low M x M that are kept.
    parts: u32,
    // The first interval, of INTERVAL_WORDS each, and the number of them; see `Interval`.
    intervals: u32,
    interval_count: u32,
    // The bits, the highest of a word first, and the number of words.
    data: u32,
    data_words: u32,
    // Number of subsequences, and bits of each that does not end an interval.
    subsequences: u32,
    length: u32,
    // Most rounds of a chunk.
    rounds: u32,
    // Number of blocks of a unit; and of each, two bits from the lowest on: its component, its column and its row in the unit.
    blocks: u32,
    components: u32,
    across: u32,
    down: u32,
    // Eight bits for each component: the codes for DC and, higher, for AC.
    tables: u32,
    // Units in a row, the needed rows of units, and the unit from which on nothing is read.
    columns: u32,
    first_row: u32,
    end_row: u32,
    stop: u32,
}

@group(0) @binding(1) var<storage, read> params: array<Params>;
// Two i16 in a word, 64 values a block in the order of rows; zero where this was not yet.
@group(0) @binding(3) var<storage, read_write> coefficients: array<atomic<u32>>;
// (images): 0, or what is wrong.
@group(0) @binding(4) var<storage, read_write> status: array<atomic<u32>>;

const LANES: u32 = 256u;
const CODE_WORDS: u32 = 77u;
const MOST_CODES: u32 = 8u;
const PART_WORDS: u32 = 8u;
const INTERVAL_WORDS: u32 = 10u;

// What is wrong, as in src/gpu/jpeg/mod.rs.
const BAD_CODE: u32 = 1u;
const NOT_IN_STEP: u32 = 2u;
const BAD_DC: u32 = 4u;
const BAD_END: u32 = 8u;
const BAD_POINT: u32 = 16u;

// Bits that a look-up sees: of ImageNet's codes nearly all are that short, and eight tables fit into half of the memory that a
// workgroup has everywhere.
const LOOK_BITS: u32 = 9u;
// Words of a table of look-ups, two in a word.
const LOOK_WORDS: u32 = 256u;
// In place of a symbol: a code that is longer; no code.
const LONG: u32 = 0u;
const BAD: u32 = 0x8000u;
// The step of an end of block.
const END: u32 = 31u;
// No state that `packed` makes.
const NO_STATE: u32 = 0xffffffffu;
const BAD_FLAG: u32 = 0x80000000u;
// In place of a block's first word: it is not needed.
const NOWHERE: u32 = 0xffffffffu;

// Zigzag order to rows (figure A.6), four in a word.
const ZIGZAG = array<u32, 16>(
    0x10080100u, 0x0a030209u, 0x19201811u, 0x05040b12u, 0x211a130cu, 0x22293028u, 0x060d141bu, 0x1c150e07u,
    0x38312a23u, 0x242b3239u, 0x170f161du, 0x332c251eu, 0x2d343b3au, 0x2e271f26u, 0x363d3c35u, 0x3f3e372fu,
);

var<private> job: Params;

var<workgroup> look: array<u32, 2048>;
var<workgroup> zigzag: array<u32, 16>;
// By lane: the state after its subsequence; the blocks that ended in it, with BAD_FLAG if it is damaged; its DC differences. Of the
// last two, sums over all lanes up to it later.
var<workgroup> exits: array<u32, 256>;
var<workgroup> ended: array<u32, 256>;
var<workgroup> sums: array<vec4<i32>, 256>;
// Lanes whose subsequences are to be counted, in the lowest eight bits, with the states that these begin with; and the number of
// them. Any lane counts for any other, so that few of them keep few lanes busy, and no more subgroups than needed.
var<workgroup> queue: array<u32, 256>;
var<workgroup> waiting: atomic<u32>;
// What the lane before the chunk's first came to: its state, blocks of the interval so far, and DC predictors.
var<workgroup> carried_exit: u32;
var<workgroup> carried_blocks: u32;
var<workgroup> carried_dc: vec4<i32>;
// Whether all is read that is of interest.
var<workgroup> is_done: u32;

// A symbol: bits of code and magnitude together, five bits of how far it moves in the block, four bits of the magnitude's size.
fn symbol_of(byte: u32, code_bits: u32, is_dc: bool) -> u32 {
    let run = byte >> 4u;
    let size = byte & 15u;
    var step = run + 1u;
    if !is_dc && size == 0u {
        step = select(END, 16u, run == 15u);
    }
    // Sizes that 8-bit samples do not have.
    if size > select(10u, 11u, is_dc) || (is_dc && run > 0u) {
        return BAD;
    }
    return (code_bits + size) | (step << 5u) | (size << 10u);
}

// The symbol of the code of this length at the start of 16 bits.
fn symbol_at(code: u32, bits: u32, length: u32) -> u32 {
    let offset = (input[code + 9u + ((length - 1u) >> 2u)] >> (((length - 1u) & 3u) * 8u)) & 0xffu;
    let index = (offset + (bits >> (16u - length))) & 0xffu;
    let byte = (input[code + 13u + (index >> 2u)] >> ((index & 3u) * 8u)) & 0xffu;
    return symbol_of(byte, length, input[code] != 0u);
}

// 1 for each of the two lengths in a word of ends that 16 bits are too large for.
fn too_large(code: u32, word: u32, bits: u32) -> u32 {
    let ends = input[code + 1u + word];
    return select(0u, 1u, bits >= (ends & 0xffffu)) + select(0u, 1u, bits >= (ends >> 16u));
}

// The symbol at the start of 16 bits, whose code may be of any length from `first` on, an odd one.
fn search(code: u32, bits: u32, first: u32) -> u32 {
    var length = first;
    for (var word = first >> 1u; word < 8u; word++) {
        length += too_large(code, word, bits);
    }
    if length > 16u {
        return BAD;
    }
    return symbol_at(code, bits, length);
}

// What a table has for `index`: the symbol, if its code is short.
fn short_symbol(code: u32, index: u32) -> u32 {
    let bits = index << (16u - LOOK_BITS);
    let symbol = search(code, bits, 1u);
    // Zeros are below the bits of the index: whatever code is not longer is there whole.
    let end = input[code + 1u + (LOOK_BITS >> 1u)] & 0xffffu;
    return select(LONG, symbol, bits < end);
}

struct Reader {
    // The next bit.
    bit: u32,
    // The words that it and the bits after it are in.
    high: u32,
    low: u32,
}

fn word_at(index: u32) -> u32 {
    return input[job.data + min(index, job.data_words - 1u)];
}

fn open(bit: u32) -> Reader {
    return Reader(bit, word_at(bit >> 5u), word_at((bit >> 5u) + 1u));
}

// The next 32 bits.
fn peek(reader: Reader) -> u32 {
    let shift = reader.bit & 31u;
    return (reader.high << shift) | ((reader.low >> 1u) >> (31u - shift));
}

// Goes on by less than 32 bits.
fn take(reader: ptr<function, Reader>, bits: u32) {
    let word = (*reader).bit >> 5u;
    (*reader).bit += bits;
    if ((*reader).bit >> 5u) != word {
        (*reader).high = (*reader).low;
        (*reader).low = word_at(word + 2u);
    }
}

// The symbol at the start of 32 bits; it takes no bits if there is none.
fn symbol(table: u32, bits: u32) -> u32 {
    let index = bits >> (32u - LOOK_BITS);
    let found = (look[table * LOOK_WORDS + (index >> 1u)] >> ((index & 1u) * 16u)) & 0xffffu;
    if found != LONG {
        return found;
    }
    return search(job.codes + table * CODE_WORDS, bits >> 16u, LOOK_BITS);
}

// F.2.2.1, EXTEND: the value of the `size` highest of 32 bits.
fn extend(bits: u32, size: u32) -> i32 {
    let value = i32((bits >> 1u) >> (31u - size));
    return select(value - ((1i << size) - 1i), value, (bits >> 31u) == 1u);
}

fn component_of(block: u32) -> u32 {
    return (job.components >> (2u * block)) & 3u;
}

// The tables of a block's component: four bits for DC and, higher, four for AC.
fn tables_of(block: u32) -> u32 {
    return job.tables >> (8u * component_of(block));
}

// That for a coefficient in zigzag order.
fn table_for(coefficient: u32, tables: u32) -> u32 {
    return (tables >> select(4u, 0u, coefficient == 0u)) & 7u;
}

fn only(component: u32, value: i32) -> vec4<i32> {
    return select(vec4<i32>(), vec4<i32>(value), vec4<u32>(0u, 1u, 2u, 3u) == vec4<u32>(component));
}

// Where decoding is: bits past the start of the subsequence, block of the unit, coefficient of the block.
fn packed(overrun: u32, block: u32, coefficient: u32) -> u32 {
    return overrun | (block << 8u) | (coefficient << 16u);
}

struct Counted {
    // The state after the subsequence.
    exit: u32,
    // Blocks that ended.
    blocks: u32,
    dc: vec4<i32>,
    is_bad: bool,
}

// Decodes the subsequence from bit `at` to bit `end`.
fn count(at: u32, end: u32, state: u32) -> Counted {
    var reader = open(at + (state & 0xffu));
    var block = (state >> 8u) & 0xffu;
    var coefficient = state >> 16u;
    var tables = tables_of(block);
    var counted = Counted(0u, 0u, vec4<i32>(), false);
    while reader.bit < end {
        let bits = peek(reader);
        let found = symbol(table_for(coefficient, tables), bits);
        let takes = found & 31u;
        if takes == 0u {
            // Out of step, or damaged: any state will do.
            counted.is_bad = true;
            block = 0u;
            coefficient = 0u;
            tables = tables_of(0u);
            take(&reader, 1u);
            continue;
        }
        let size = (found >> 10u) & 15u;
        if coefficient == 0u {
            counted.dc += only(component_of(block), extend(bits << (takes - size), size));
        }
        take(&reader, takes);
        let step = (found >> 5u) & 31u;
        coefficient += step;
        counted.is_bad = counted.is_bad || (step != END && coefficient > 64u);
        if step == END || coefficient >= 64u {
            coefficient = 0u;
            counted.blocks += 1u;
            block = select(block + 1u, 0u, block + 1u >= job.blocks);
            tables = tables_of(block);
        }
    }
    counted.exit = packed(reader.bit - end, block, coefficient);
    return counted;
}

// Units of which the first one's state is known.
struct Interval {
    // Its first subsequence, its first bit, and the end of its bits, which may be those of its last byte.
    first: u32,
    begin: u32,
    end: u32,
    // The first unit, and the number of units.
    unit: u32,
    units: u32,
    // DC predictors, two in a word.
    dc: vec2<u32>,
    // Whether the end is that of the last unit, and DC predictors are then `end_dc`.
    is_exact: u32,
    end_dc: vec2<u32>,
}

fn interval_at(index: u32) -> Interval {
    let at = job.intervals + index * INTERVAL_WORDS;
    let dc = vec2<u32>(input[at + 5u], input[at + 6u]);
    let end_dc = vec2<u32>(input[at + 8u], input[at + 9u]);
    return Interval(input[at], input[at + 1u], input[at + 2u], input[at + 3u], input[at + 4u], dc, input[at + 7u], end_dc);
}

// The first subsequence of an interval, or the number of subsequences.
fn first_of(index: u32) -> u32 {
    if index >= job.interval_count {
        return job.subsequences;
    }
    return input[job.intervals + index * INTERVAL_WORDS];
}

// The interval of a subsequence.
fn interval_of(subsequence: u32) -> u32 {
    var low = 0u;
    var high = job.interval_count;
    // The first of `low` is at or before it, that of `high` after it.
    while high - low > 1u {
        let middle = (low + high) >> 1u;
        if first_of(middle) <= subsequence {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

// The first bit of a subsequence.
fn begin_of(subsequence: u32) -> u32 {
    let at = job.intervals + interval_of(subsequence) * INTERVAL_WORDS;
    return input[at + 1u] + (subsequence - input[at]) * job.length;
}

// Values from a pair of i16 in each word.
fn unpacked(words: vec2<u32>) -> vec4<i32> {
    let values = bitcast<vec2<i32>>(words);
    let low = (values << vec2<u32>(16u)) >> vec2<u32>(16u);
    let high = values >> vec2<u32>(16u);
    return vec4<i32>(low.x, high.x, low.y, high.y);
}

fn damage(reason: u32) {
    atomicOr(&status[job.image], reason);
}

// The first word of a block's coefficients, if it is needed.
fn place_of(block: u32, column: u32, row: u32) -> u32 {
    let part = job.parts + component_of(block) * PART_WORDS;
    let x = column * input[part + 5u] + ((job.across >> (2u * block)) & 3u) - input[part + 1u];
    let y = row * input[part + 6u] + ((job.down >> (2u * block)) & 3u) - input[part + 2u];
    let width = input[part + 3u];
    // Unsigned: what lies before the rectangle is far behind it.
    if x >= width || y >= input[part + 4u] {
        return NOWHERE;
    }
    return job.coefficients + input[part] + 32u * (y * width + x);
}

// M of the low M x M of a block's coefficients.
fn low_of(block: u32) -> u32 {
    return input[job.parts + component_of(block) * PART_WORDS + 7u];
}

fn put(place: u32, at: u32, value: i32) {
    atomicOr(&coefficients[place + (at >> 1u)], (u32(value) & 0xffffu) << ((at & 1u) * 16u));
}

// Decodes the subsequence from bit `at` to bit `end`, and no more than the interval's blocks, of which `ended_before` ended in the
// subsequences before; writes coefficients.
fn write(at: u32, end: u32, state: u32, ended_before: u32, dc_before: vec4<i32>, interval: Interval, is_last: bool) {
    let total = interval.units * job.blocks;
    var reader = open(at + (state & 0xffu));
    var block = (state >> 8u) & 0xffu;
    var coefficient = state >> 16u;
    var done = ended_before;
    var dc = dc_before;
    let unit = interval.unit + done / job.blocks;
    var row = unit / job.columns;
    var column = unit - row * job.columns;
    var place = place_of(block, column, row);
    var tables = tables_of(block);
    var low = low_of(block);
    while reader.bit < end && done < total {
        let bits = peek(reader);
        let found = symbol(table_for(coefficient, tables), bits);
        let takes = found & 31u;
        let size = (found >> 10u) & 15u;
        let step = (found >> 5u) & 31u;
        if takes == 0u || (step != END && coefficient + step > 64u) {
            damage(BAD_CODE);
            return;
        }
        let value = extend(bits << (takes - size), size);
        take(&reader, takes);
        if coefficient == 0u {
            let component = component_of(block);
            dc += only(component, value);
            let own = dot(only(component, 1i), dc);
            if own != clamp(own, -32768i, 32767i) {
                damage(BAD_DC);
                return;
            }
            if place != NOWHERE {
                put(place, 0u, own);
            }
        } else if size > 0u && place != NOWHERE {
            let k = coefficient + step - 1u;
            let natural = (zigzag[k >> 2u] >> ((k & 3u) * 8u)) & 63u;
            if max(natural & 7u, natural >> 3u) < low {
                put(place, natural, value);
            }
        }
        coefficient += step;
        if step == END || coefficient >= 64u {
            coefficient = 0u;
            done += 1u;
            block += 1u;
            if block >= job.blocks {
                block = 0u;
                column += 1u;
                if column >= job.columns {
                    column = 0u;
                    row += 1u;
                }
            }
            place = place_of(block, column, row);
            tables = tables_of(block);
            low = low_of(block);
        }
    }
    if !is_last {
        return;
    }
    // Within the byte that was begun nothing else may follow, and of a known end nothing at all.
    let most = select(7u, 0u, interval.is_exact != 0u);
    if done != total || coefficient != 0u || interval.end - reader.bit > most {
        damage(BAD_END);
    } else if interval.is_exact != 0u && any(dc != unpacked(interval.end_dc)) {
        damage(BAD_POINT);
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    job = params[head.first + group.x];
    let subsequences = params[head.first + group.x].subsequences;
    let code_count = min(params[head.first + group.x].code_count, MOST_CODES);
    for (var code = 0u; code < code_count; code++) {
        let start = job.codes + code * CODE_WORDS;
        look[code * LOOK_WORDS + lane] =
            short_symbol(start, 2u * lane) | (short_symbol(start, 2u * lane + 1u) << 16u);
    }
    if lane < 16u {
        zigzag[lane] = ZIGZAG[lane];
    }
    workgroupBarrier();

    for (var first = 0u; first < subsequences; first += LANES) {
        let number = first + lane;
        let is_there = number < subsequences;
        let index = interval_of(min(number, subsequences - 1u));
        let interval = interval_at(index);
        let is_first = number == interval.first;
        let is_last = number + 1u == first_of(index + 1u);
        let at = interval.begin + (number - interval.first) * job.length;
        let end = select(at + job.length, interval.end, is_last);
        // What comes after the end of an interval does not depend on what is before.
        let is_counted = is_there && !is_last;

        // No state, so that all begin with the guess: the start of a unit at the first bit.
        var state = NO_STATE;
        exits[lane] = 0u;
        ended[lane] = 0u;
        sums[lane] = vec4<i32>();
        var is_lost = false;
        for (var round = 0u; ; round++) {
            if lane == 0u {
                atomicStore(&waiting, 0u);
            }
            workgroupBarrier();
            var expected = 0u;
            if !is_first {
                expected = carried_exit;
                if lane > 0u {
                    expected = exits[lane - 1u];
                }
            }
            if is_counted && expected != state {
                queue[atomicAdd(&waiting, 1u)] = lane | (expected << 8u);
            }
            state = expected;
            let queued = workgroupUniformLoad(&waiting);
            if queued == 0u {
                break;
            }
            if round > params[head.first + group.x].rounds {
                is_lost = true;
                break;
            }
            if lane < queued {
                let owner = queue[lane] & 0xffu;
                let begin = begin_of(first + owner);
                let counted = count(begin, begin + job.length, queue[lane] >> 8u);
                exits[owner] = counted.exit;
                ended[owner] = counted.blocks | select(0u, BAD_FLAG, counted.is_bad);
                sums[owner] = counted.dc;
            }
        }
        if is_lost {
            if lane == 0u {
                damage(NOT_IN_STEP);
            }
            break;
        }

        let blocks = ended[lane] & ~BAD_FLAG;
        let is_bad = (ended[lane] & BAD_FLAG) != 0u;
        let differences = sums[lane];
        ended[lane] = blocks;
        workgroupBarrier();
        for (var distance = 1u; distance < LANES; distance <<= 1u) {
            var more_ended = 0u;
            var more_dc = vec4<i32>();
            if lane >= distance {
                more_ended = ended[lane - distance];
                more_dc = sums[lane - distance];
            }
            workgroupBarrier();
            ended[lane] += more_ended;
            sums[lane] += more_dc;
            workgroupBarrier();
        }
        // Of the interval alone: without what the lanes before it came to, and with what the chunks before have of it.
        var ended_before = 0u;
        var dc = unpacked(interval.dc);
        let first_lane = max(interval.first, first) - first;
        if interval.first < first {
            ended_before = carried_blocks;
            dc = carried_dc;
        }
        if lane > first_lane {
            ended_before += ended[lane - 1u];
            dc += sums[lane - 1u];
            if first_lane > 0u {
                ended_before -= ended[first_lane - 1u];
                dc -= sums[first_lane - 1u];
            }
        }
        workgroupBarrier();
        if lane == LANES - 1u {
            carried_exit = exits[lane];
            carried_blocks = ended_before + blocks;
            carried_dc = dc + differences;
            let next = interval.unit + carried_blocks / job.blocks;
            is_done = select(0u, 1u, is_there && !is_last && next >= job.stop);
        }

        if is_there {
            let last_ended = ended_before + blocks;
            let is_needed = (interval.unit + ended_before / job.blocks) / job.columns < job.end_row
                && (interval.unit + last_ended / job.blocks) / job.columns >= job.first_row;
            if is_last || is_needed {
                write(at, end, state, ended_before, dc, interval, is_last);
            } else if is_bad {
                damage(BAD_CODE);
            }
        }
        if workgroupUniformLoad(&is_done) != 0u {
            break;
        }
    }
}
