// The batch as it is handed over: slots that were made, closed up, mixed by Mixup and CutMix, as f32 or as pairs of f16.
//
// Twin: src/ops/mix.rs. f32 sums of two products: the device may fuse one of them, which the CPU does not.

// One for each image of the batch.
struct Params {
    // Slot of the image, and of its partner.
    own: u32,
    partner: u32,
    // What becomes of it: 0 nothing, 1 a blend, 2 a box of the partner's.
    kind: u32,
    // Shares of a blend.
    lambda: f32,
    rest: f32,
    // The box, in pixels.
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

@group(0) @binding(1) var<storage, read> params: array<Params>;
// (slots, 3, B, B)
@group(0) @binding(3) var<storage, read> slots: array<f32>;
// (head.count, 3, B, B): f32, or two f16 in a word
@group(0) @binding(4) var<storage, read_write> images: array<u32>;

// Workgroups along x, of which rows make up the batch.
const ROW: u32 = 32768u;

fn value(at: u32) -> f32 {
    let side = head.a;
    let plane = side * side;
    let length = 3u * plane;
    let image = params[head.first + at / length];
    let within = at % length;
    let own = slots[image.own * length + within];
    let partner = slots[image.partner * length + within];
    if image.kind == 1u {
        return own * image.lambda + partner * image.rest;
    }
    let y = within % plane / side;
    let x = within % side;
    // Unsigned: what lies before the box is far behind it.
    let inside = x - image.x < image.width && y - image.y < image.height;
    return select(own, partner, image.kind == 2u && inside);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let word = (group.y * ROW + group.x) * 256u + lane;
    let total = head.count * 3u * head.a * head.a;
    if head.b == 0u {
        if word < total {
            images[word] = bitcast<u32>(value(word));
        }
    } else if 2u * word < total {
        // The last word of an odd number of values has a zero behind the last.
        var second = 0.0;
        if 2u * word + 1u < total {
            second = value(2u * word + 1u);
        }
        images[word] = pack2x16float(vec2<f32>(value(2u * word), second));
    }
}
