//! Sequential JPEGs of any sampling, colour and division into scans, of made-up coefficients: what no encoder at hand writes.

use super::Random;

/// How a file is written.
#[derive(Debug, Clone)]
pub(crate) struct Coded {
    pub(crate) size: (u32, u32),
    /// Identifier and sampling factors of each component.
    pub(crate) components: Vec<(u8, (u32, u32))>,
    /// The components of each scan, in rising order, and its units between restart markers.
    pub(crate) scans: Vec<(Vec<usize>, u16)>,
    /// The transform of an Adobe segment.
    pub(crate) adobe: Option<u8>,
    /// Whether steps are written in two bytes.
    pub(crate) wide_steps: bool,
    /// Coefficients of a block beside the first.
    pub(crate) details: u32,
}

impl Coded {
    /// One scan, or one for each component where a unit of all would have too many blocks.
    pub(crate) fn new(size: (u32, u32), factors: &[(u32, u32)]) -> Self {
        let all: Vec<usize> = (0..factors.len()).collect();
        let is_one = factors.len() == 1 || factors.iter().map(|f| f.0 * f.1).sum::<u32>() <= 10;
        let scans = if is_one { vec![(all, 0)] } else { all.iter().map(|&c| (vec![c], 0)).collect() };
        let components = (1..).zip(factors.iter().copied()).collect();
        Self { size, components, scans, adobe: None, wide_steps: false, details: 6 }
    }

    fn largest(&self) -> (u32, u32) {
        self.components.iter().fold((1, 1), |most, (_, f)| (most.0.max(f.0), most.1.max(f.1)))
    }

    /// Whether each component's resolution is an integral part of the image's: libjpeg refuses others.
    pub(crate) fn is_integral(&self) -> bool {
        let largest = self.largest();
        self.components.iter().all(|(_, f)| largest.0.is_multiple_of(f.0) && largest.1.is_multiple_of(f.1))
    }

    pub(crate) fn write(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8];
        if let Some(transform) = self.adobe {
            segment(&mut bytes, 0xee, &[b"Adobe\0\x64\0\0\0\0", &[transform][..]].concat());
        }
        let steps = (0..64).flat_map(|k| {
            let step = if k == 0 { 8_u8 } else { 2 + (k % 5) as u8 };
            if self.wide_steps { vec![0, step] } else { vec![step] }
        });
        let table: Vec<u8> = std::iter::once(u8::from(self.wide_steps) << 4 | 1).chain(steps).collect();
        segment(&mut bytes, 0xdb, &table);
        let mut frame = vec![8];
        frame.extend((self.size.1 as u16).to_be_bytes());
        frame.extend((self.size.0 as u16).to_be_bytes());
        frame.push(self.components.len() as u8);
        for (id, (h, v)) in &self.components {
            frame.extend([*id, (h << 4 | v) as u8, 1]);
        }
        segment(&mut bytes, 0xc1, &frame);
        for (number, (components, restart)) in self.scans.iter().enumerate() {
            // Other codes in the same place for each scan.
            let (dc, ac) = (Code::dc(number), Code::ac(number));
            for (target, length, code) in [(0x02, 4, &dc), (0x13, 8, &ac)] {
                let mut table = vec![target];
                table.extend((1..=16).map(|l| if l == length { code.0.len() as u8 } else { 0 }));
                table.extend(&code.0);
                segment(&mut bytes, 0xc4, &table);
            }
            segment(&mut bytes, 0xdd, &restart.to_be_bytes());
            let mut scan = vec![components.len() as u8];
            for &component in components {
                scan.extend([self.components[component].0, 0x23]);
            }
            scan.extend([0, 63, 0]);
            segment(&mut bytes, 0xda, &scan);
            self.write_scan(components, *restart, (&dc, &ac), random, &mut bytes);
        }
        bytes.extend([0xff, 0xd9]);
        bytes
    }

    fn write_scan(
        &self,
        components: &[usize],
        restart: u16,
        (dc, ac): (&Code, &Code),
        random: &mut Random,
        bytes: &mut Vec<u8>,
    ) {
        let largest = self.largest();
        let side = |len: u32, factor: u32, largest: u32| (len * factor).div_ceil(8 * largest);
        let factors = |component: usize| self.components[component].1;
        let units = match *components {
            [only] => {
                let factors = factors(only);
                side(self.size.0, factors.0, largest.0) * side(self.size.1, factors.1, largest.1)
            }
            _ => side(self.size.0, 1, largest.0) * side(self.size.1, 1, largest.1),
        };
        let mut bits = Bits { bytes, waiting: 0, count: 0 };
        let (mut previous, mut level) = ([0; 4], [0_i32; 4]);
        for unit in 0..units {
            if restart > 0 && unit > 0 && unit.is_multiple_of(restart.into()) {
                bits.finish();
                bits.bytes.extend([0xff, 0xd0 + (unit / u32::from(restart) - 1) as u8 % 8]);
                previous = [0; 4];
            }
            for &component in components {
                let (h, v) = if components.len() == 1 { (1, 1) } else { factors(component) };
                for _ in 0..h * v {
                    let level = &mut level[component];
                    *level = (*level + random.between(0, 60) as i32 - 30).clamp(-110, 110);
                    bits.value(dc, 0, *level - previous[component]);
                    previous[component] = *level;
                    let mut at = 0;
                    for _ in 0..self.details {
                        let run = random.between(0, 20);
                        if at + run >= 63 {
                            break;
                        }
                        at += run + 1;
                        if run >= 16 {
                            bits.symbol(ac, 0xf0);
                        }
                        let size = random.between(1, 40) as i32;
                        bits.value(ac, run as u8 % 16, if random.next() & 1 == 0 { size } else { -size });
                    }
                    if at < 63 {
                        bits.symbol(ac, 0);
                    }
                }
            }
        }
        bits.finish();
    }
}

fn segment(bytes: &mut Vec<u8>, marker: u8, content: &[u8]) {
    bytes.extend([0xff, marker]);
    bytes.extend((content.len() as u16 + 2).to_be_bytes());
    bytes.extend(content);
}

/// Symbols in the order of their codes, which are all equally long.
struct Code(Vec<u8>);

impl Code {
    fn dc(turn: usize) -> Self {
        let mut symbols: Vec<u8> = (0..12).collect();
        symbols.rotate_left(turn);
        Self(symbols)
    }

    fn ac(turn: usize) -> Self {
        let mut symbols: Vec<u8> = (0..16).flat_map(|run| (1..=10).map(move |size| run << 4 | size)).collect();
        symbols.extend([0x00, 0xf0]);
        symbols.rotate_left(7 * turn);
        Self(symbols)
    }
}

struct Bits<'a> {
    bytes: &'a mut Vec<u8>,
    waiting: u32,
    count: u32,
}

impl Bits<'_> {
    fn put(&mut self, value: u32, count: u32) {
        for bit in (0..count).rev() {
            self.waiting = self.waiting << 1 | (value >> bit & 1);
            self.count += 1;
            if self.count == 8 {
                let byte = self.waiting as u8;
                self.bytes.push(byte);
                if byte == 0xff {
                    self.bytes.push(0);
                }
                (self.waiting, self.count) = (0, 0);
            }
        }
    }

    fn symbol(&mut self, code: &Code, symbol: u8) {
        let index = code.0.iter().position(|&s| s == symbol).expect("the code has all symbols");
        self.put(index as u32, if code.0.len() > 12 { 8 } else { 4 });
    }

    /// A run of zeros and a value (T.81 F.1.2).
    fn value(&mut self, code: &Code, run: u8, value: i32) {
        let size = 32 - value.unsigned_abs().leading_zeros();
        self.symbol(code, run << 4 | size as u8);
        let bits = if value < 0 { value - 1 } else { value };
        self.put(bits as u32, size);
    }

    fn finish(&mut self) {
        while self.count > 0 {
            self.put(1, 1);
        }
    }
}
