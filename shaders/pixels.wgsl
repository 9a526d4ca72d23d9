// Planes of samples to upright RGBX pixels of the window: upsampling, colour, orientation. Pixels from the host are put beside them.
//
// Twins: src/decode/baseline/pixels.rs, src/decode/baseline/rows.rs, `Orientation::turn`. All integer, so exact. A thread makes a
// pixel: threads side by side write words side by side.

// Four for each sample: what is said of a component. The sample's own fields count in the first.
struct Params {
    // The sample's first workgroup.
    first_group: u32,
    // What the components are: 0 gray, 1 YCbCr, 2 RGB, 3 CMYK, 4 YCCK; 5 pixels from the host.
    colour: u32,
    // 1: stored columns run backwards, 2: stored rows do, 4: columns become rows.
    turn: u32,
    // The window in the stored image at its scale.
    left: u32,
    top: u32,
    width: u32,
    height: u32,
    // First word of the upright pixels, and words from one row to the next.
    to: u32,
    stride: u32,
    // First word of the component's plane, or of the pixels in `input`, and words from one row to the next.
    plane: u32,
    plane_stride: u32,
    // Column and row of the plane's first sample in the component, and its columns and rows.
    first_x: u32,
    first_y: u32,
    plane_width: u32,
    plane_height: u32,
    // Columns and rows of samples in the image.
    columns: u32,
    rows: u32,
    // Pixels to a sample, 1 to 4, and whether pixels are blended of two samples along an axis with two pixels to a sample.
    across: u32,
    down: u32,
    is_smooth: u32,
}

@group(0) @binding(1) var<storage, read> params: array<Params>;
// Four samples in a word.
@group(0) @binding(3) var<storage, read> planes: array<u32>;
// RGBX, R lowest.
@group(0) @binding(4) var<storage, read_write> pixels: array<u32>;

// Workgroups along x, of which rows make up the pixels.
const ROW: u32 = 32768u;

const GRAY: u32 = 0u;
const YCBCR: u32 = 1u;
const RGB: u32 = 2u;
const CMYK: u32 = 3u;
const FROM_HOST: u32 = 5u;

// The sample in these columns and rows of the component. Held to the plane; a pixel asks for none beyond it.
fn sample_at(p: Params, x: u32, y: u32) -> i32 {
    let column = min(max(x, p.first_x) - p.first_x, p.plane_width - 1u);
    let row = min(max(y, p.first_y) - p.first_y, p.plane_height - 1u);
    let word = planes[p.plane + row * p.plane_stride + column / 4u];
    return i32((word >> (8u * (column % 4u))) & 0xffu);
}

// The neighbour of the sample `at` that the pixel looks to: the sample itself at the edges of the image.
fn neighbour(pixel: u32, at: u32, count: u32) -> u32 {
    return select(min(at + 1u, count - 1u), max(at, 1u) - 1u, pixel % 2u == 0u);
}

// The component at a pixel of the image: `upsample`.
fn component_at(at: u32, x: u32, y: u32) -> i32 {
    let p = params[at];
    let near_x = x / p.across;
    let near_y = y / p.down;
    let near = sample_at(p, near_x, near_y);
    if p.is_smooth == 0u {
        return near;
    }
    let far_y = neighbour(y, near_y, p.rows);
    if p.across == 1u {
        let bias = select(2, 1, y % 2u == 0u);
        return (3 * near + sample_at(p, near_x, far_y) + bias) >> 2u;
    }
    let far_x = neighbour(x, near_x, p.columns);
    let beside = sample_at(p, far_x, near_y);
    let is_left = x % 2u == 0u;
    if p.down == 1u {
        return (3 * near + beside + select(2, 1, is_left)) >> 2u;
    }
    let near_sum = 3 * near + sample_at(p, near_x, far_y);
    let beside_sum = 3 * beside + sample_at(p, far_x, far_y);
    return (3 * near_sum + beside_sum + select(7, 8, is_left)) >> 4u;
}

// The JFIF matrix with 16 fraction bits, rounded.
fn color(y: i32, blue: i32, red: i32) -> vec3<i32> {
    let cb = blue - 128;
    let cr = red - 128;
    let rounded = (vec3<i32>(91881 * cr, -22554 * cb - 46802 * cr, 116130 * cb) + (1 << 15u)) >> vec3<u32>(16u);
    return clamp(y + rounded, vec3<i32>(0), vec3<i32>(255));
}

// Inks are inverted: a colour is its ink times black.
fn under_black(ink: vec3<i32>, black: i32) -> vec3<i32> {
    return (ink * black + 127) / 255;
}

fn pixel_at(first: u32, x: u32, y: u32) -> vec3<i32> {
    let colour = params[first].colour;
    let a = component_at(first, x, y);
    if colour == GRAY {
        return vec3<i32>(a);
    }
    let b = component_at(first + 1u, x, y);
    let c = component_at(first + 2u, x, y);
    if colour == YCBCR {
        return color(a, b, c);
    }
    if colour == RGB {
        return vec3<i32>(a, b, c);
    }
    let black = component_at(first + 3u, x, y);
    if colour == CMYK {
        return under_black(vec3<i32>(a, b, c), black);
    }
    return under_black(255 - color(a, b, c), black);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = group.y * ROW + group.x;
    // The last sample that begins with this workgroup or before.
    var low = 0u;
    var high = head.count / 4u;
    while high - low > 1u {
        let middle = (low + high) / 2u;
        if params[head.first + 4u * middle].first_group <= number {
            low = middle;
        } else {
            high = middle;
        }
    }
    let first = head.first + 4u * low;
    let p = params[first];
    let at = (number - p.first_group) * 256u + lane;
    if at >= p.width * p.height {
        return;
    }
    let transposes = (p.turn & 4u) != 0u;
    let columns = select(p.width, p.height, transposes);
    let column = at % columns;
    let row = at / columns;
    var x = select(column, row, transposes);
    var y = select(row, column, transposes);
    x = select(x, p.width - 1u - x, (p.turn & 1u) != 0u);
    y = select(y, p.height - 1u - y, (p.turn & 2u) != 0u);
    var pixel = 0u;
    if p.colour == FROM_HOST {
        pixel = input[p.plane + y * p.plane_stride + x];
    } else {
        let rgb = vec3<u32>(pixel_at(first, p.left + x, p.top + y));
        pixel = rgb.x | (rgb.y << 8u) | (rgb.z << 16u);
    }
    pixels[p.to + row * p.stride + column] = pixel;
}
