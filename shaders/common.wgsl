// Appended to every shader. What a launch tells its kernel, and the batch's words from the host.

struct Head {
    // Index of the launch's first entry of `params`.
    first: u32,
    // Number of entries.
    count: u32,
    // For the kernel's own use.
    a: u32,
    b: u32,
}

@group(0) @binding(0) var<uniform> head: Head;
@group(0) @binding(2) var<storage, read> input: array<u32>;

// Byte `at` of the input, counted from its start: bytes are packed in words, the lowest first.
fn input_byte(at: u32) -> u32 {
    return (input[at >> 2u] >> ((at & 3u) * 8u)) & 0xffu;
}
