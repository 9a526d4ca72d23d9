// What the operations need to know of a whole image: histograms for Equalize, ranges for AutoContrast, the sum of the luma for
// Contrast. Several workgroups for each image; the sums start from 0.
//
// Twin: src/augment/point.rs. Integers: exact.

// One for each image, the same as in augment_apply.wgsl.
struct Params {
    // First words of the image and of its result in `images`.
    src: u32,
    dst: u32,
    width: u32,
    height: u32,
    kind: u32,
    at: u32,
    // First word of its sums in `stats`.
    stats: u32,
    fill: u32,
    factor: f32,
    turn: u32,
}

@group(0) @binding(1) var<storage, read> params: array<Params>;
// RGBX
@group(0) @binding(3) var<storage, read> images: array<u32>;
// AutoContrast: the greatest of each channel's values, then of 255 less them; Equalize: (3, 256) counts; Contrast: the sum
@group(0) @binding(4) var<storage, read_write> stats: array<atomic<u32>>;

const AUTO_CONTRAST: u32 = 1u;
const EQUALIZE: u32 = 2u;
const CONTRAST: u32 = 3u;

// Pixels of a workgroup.
const PART: u32 = 4096u;
// Histograms side by side, so that neighbours of one colour seldom wait for each other.
const COPIES: u32 = 4u;

// Counts of (copy, channel, value), or the few sums of the other operations.
var<workgroup> sums: array<atomic<u32>, 3072>;

fn channels(word: u32) -> vec3<u32> {
    return (vec3<u32>(word) >> vec3<u32>(0u, 8u, 16u)) & vec3<u32>(0xffu);
}

fn luma(pixel: vec3<u32>) -> u32 {
    return (19595u * pixel.x + 38470u * pixel.y + 7471u * pixel.z + 32768u) >> 16u;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let step = params[head.first + group.z];
    let pixels = step.width * step.height;
    let start = group.x * PART;
    if start >= pixels {
        return;
    }
    let end = min(start + PART, pixels);
    for (var i = lane; i < select(8u, 3072u, step.kind == EQUALIZE); i += 256u) {
        atomicStore(&sums[i], 0u);
    }
    workgroupBarrier();
    if step.kind == EQUALIZE {
        let copy = lane % COPIES * 768u;
        for (var i = start + lane; i < end; i += 256u) {
            let pixel = channels(images[step.src + i]);
            atomicAdd(&sums[copy + pixel.x], 1u);
            atomicAdd(&sums[copy + 256u + pixel.y], 1u);
            atomicAdd(&sums[copy + 512u + pixel.z], 1u);
        }
        workgroupBarrier();
        for (var i = lane; i < 768u; i += 256u) {
            var count = 0u;
            for (var k = 0u; k < COPIES; k++) {
                count += atomicLoad(&sums[768u * k + i]);
            }
            if count > 0u {
                atomicAdd(&stats[step.stats + i], count);
            }
        }
    } else if step.kind == AUTO_CONTRAST {
        var greatest = vec3<u32>(0u);
        var least = vec3<u32>(255u);
        for (var i = start + lane; i < end; i += 256u) {
            let pixel = channels(images[step.src + i]);
            greatest = max(greatest, pixel);
            least = min(least, pixel);
        }
        for (var c = 0u; c < 3u; c++) {
            atomicMax(&sums[c], greatest[c]);
            atomicMax(&sums[3u + c], 255u - least[c]);
        }
        workgroupBarrier();
        if lane < 6u {
            atomicMax(&stats[step.stats + lane], atomicLoad(&sums[lane]));
        }
    } else if step.kind == CONTRAST {
        var sum = 0u;
        for (var i = start + lane; i < end; i += 256u) {
            sum += luma(channels(images[step.src + i]));
        }
        atomicAdd(&sums[0], sum);
        workgroupBarrier();
        if lane == 0u {
            atomicAdd(&stats[step.stats], atomicLoad(&sums[0]));
        }
    }
}
