// Bytes to normalised planes.
//
// Twin: src/ops/normalize.rs. One product and one sum, which a device may fuse: within one unit in the last place of the sum.

// One for each image.
struct Params {
    // Its first word in `images`, rows without gaps, and its number of pixels.
    first: u32,
    pixels: u32,
    // Where it goes to: 0 `slots`, 1 `values`; and its first word there.
    destination: u32,
    to: u32,
    // By channel: v * scale + offset.
    scale_red: f32,
    scale_green: f32,
    scale_blue: f32,
    offset_red: f32,
    offset_green: f32,
    offset_blue: f32,
}

@group(0) @binding(1) var<storage, read> params: array<Params>;
// RGBX
@group(0) @binding(3) var<storage, read> images: array<u32>;
// (3, H, W)
@group(0) @binding(4) var<storage, read_write> values: array<f32>;
// (3, H, W)
@group(0) @binding(5) var<storage, read_write> slots: array<f32>;

// Workgroups along x, of which rows make up an image.
const ROW: u32 = 32768u;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let image = params[head.first + group.z];
    let at = (group.y * ROW + group.x) * 256u + lane;
    if at >= image.pixels {
        return;
    }
    let word = images[image.first + at];
    let rgb = vec3<f32>(vec3<u32>(word & 0xffu, (word >> 8u) & 0xffu, (word >> 16u) & 0xffu));
    let scale = vec3<f32>(image.scale_red, image.scale_green, image.scale_blue);
    let offset = vec3<f32>(image.offset_red, image.offset_green, image.offset_blue);
    let scaled = rgb * scale + offset;
    if image.destination == 0u {
        slots[image.to + at] = scaled.x;
        slots[image.to + image.pixels + at] = scaled.y;
        slots[image.to + 2u * image.pixels + at] = scaled.z;
    } else {
        values[image.to + at] = scaled.x;
        values[image.to + image.pixels + at] = scaled.y;
        values[image.to + 2u * image.pixels + at] = scaled.z;
    }
}
