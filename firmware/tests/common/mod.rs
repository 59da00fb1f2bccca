//! Generated layers: a spec, its data, the kernel's output and the reference's.
#![allow(dead_code)] // Each test file uses its own part.

pub mod edit;
pub mod network;
pub mod small;

use firmware::kernels::{Blocks, Buffers, LayerError, run_layer};
use firmware::reference::{self, Parameters};
use shared::act::Act;
use shared::bench::{Rng, fill_input};
use shared::blob::{Layer, LayerRecord};
use shared::coding::BlockShape;
use shared::coding::section::{self, Writer};
use shared::coding::tans::{self, Model};
use shared::semantics::{REQUANT_BYTES, Requant, weight_max};
use shared::spec::{Encoding, Kernel, Kind, LayerSpec};
use shared::weights::pack_channel;
use shared::winograd::{self, Tiling};

/// What output buffers hold before a run.
pub const UNTOUCHED: u8 = 0xa5;

/// One layer with its data.
pub struct Case {
    pub spec: LayerSpec,
    pub r_c: [u8; 4],
    pub input: Vec<u8>,
    /// Sequences, `[c_out][k_h][k_w][c_in4]`.
    pub sequences: Vec<Vec<i8>>,
    /// The weight section as a blob has it.
    pub weights: Vec<u8>,
    pub requants: Vec<u8>,
}

impl Case {
    pub fn new(spec: LayerSpec, rng: &mut Rng) -> Self {
        assert_eq!(spec.check(), Ok(()), "{spec:?}");
        let pixels = usize::from(spec.in_h) * usize::from(spec.in_w);
        let mut input = vec![0; pixels * spec.input.pixel_bytes(spec.c_in) as usize];
        fill_input(&spec, rng.next(), &mut input);
        let mut r_c = [0; 4];
        for r in r_c.iter_mut().take(spec.c_in.into()) {
            *r = rng.next() as u8;
        }
        let mut case = Self {
            spec,
            r_c,
            input,
            sequences: Vec::new(),
            weights: Vec::new(),
            requants: Vec::new(),
        };
        if spec.has_weights() {
            let max = weight_max(spec.w_bits);
            let zeros = match spec.encoding {
                Encoding::Dense => 5,
                _ => 60,
            };
            case.set_weights(|_, _| {
                if rng.below(100) < zeros {
                    0
                } else {
                    (rng.below(2 * max as u32 + 1) as i32 - max) as i8
                }
            });
            for channel in 0..spec.c_out {
                case.requants
                    .extend(requant(&spec, channel, rng).to_bytes());
            }
        }
        case
    }

    /// Sets every weight to `w(channel, element)`, padding channels left zero.
    pub fn set_weights(&mut self, mut w: impl FnMut(usize, usize) -> i8) {
        let spec = &self.spec;
        self.sequences = (0..usize::from(spec.c_out))
            .map(|channel| {
                (0..spec.sequence_len())
                    .map(|e| {
                        if e % spec.c_in4() < u32::from(spec.c_in) {
                            w(channel, e as usize)
                        } else {
                            0
                        }
                    })
                    .collect()
            })
            .collect();
        self.weights = pack(spec, &self.sequences);
    }

    pub fn layer(&self) -> Layer<'_> {
        Layer::detached(LayerRecord::of(self.spec), &self.weights, &self.requants)
    }

    /// The kernel's output.
    pub fn run(&self, blocks: Blocks) -> Result<Vec<u8>, LayerError> {
        let mut output = vec![UNTOUCHED; self.spec.output_bytes() as usize];
        let mut scratch =
            vec![0xa5a5_a5a5_a5a5_a5a5u64; self.spec.scratch_bytes() as usize / 8 + 1];
        let bytes = bytes_of(&mut scratch);
        let buffers = Buffers {
            input: &self.input,
            output: &mut output,
            scratch: &mut bytes[..self.spec.scratch_bytes() as usize],
        };
        run_layer(&self.layer(), self.r_c, blocks, buffers)?;
        Ok(output)
    }

    /// The reference's output.
    pub fn expected(&self) -> Vec<u8> {
        let (spec, c4) = (&self.spec, self.spec.c_in4() as usize);
        let weight = |channel: usize, y: usize, x: usize, c: usize| {
            let e = (y * usize::from(spec.k_w) + x) * c4 + c;
            i32::from(self.sequences[channel][e])
        };
        let requant = |channel: usize| {
            let at = channel * REQUANT_BYTES;
            Requant::from_bytes(self.requants[at..at + REQUANT_BYTES].try_into().unwrap())
        };
        let parameters = Parameters {
            weight: &weight,
            requant: &requant,
            r_c: self.r_c,
        };
        let mut output = vec![0; spec.output_bytes() as usize];
        reference::layer(spec, &parameters, &self.input, &mut output);
        output
    }

    pub fn check(&self, what: &str) {
        let (got, expected) = (self.run(Blocks::All).unwrap(), self.expected());
        if let Some(at) = (0..got.len()).find(|&i| got[i] != expected[i]) {
            let (g, e) = (got[at], expected[at]);
            panic!(
                "{what}: byte {at} is {g}, the reference has {e}; {:?}",
                self.spec
            );
        }
    }
}

/// A case of which no multiplier is extreme, so that it makes sense in a chain.
pub fn generate_from(spec: LayerSpec, rng: &mut Rng) -> Case {
    let mut case = Case::new(spec, rng);
    let seed = rng.next();
    case.requants = (0..spec.c_out)
        .filter(|_| spec.has_weights())
        .flat_map(|c| shared::bench::requant(&spec, seed, c).to_bytes())
        .collect();
    case
}

/// The weight section of a layer.
pub fn pack(spec: &LayerSpec, sequences: &[Vec<i8>]) -> Vec<u8> {
    if spec.encoding == Encoding::Dense {
        let bytes = spec.dense_channel_bytes() as usize;
        let mut out = vec![0; bytes * sequences.len()];
        for (s, o) in sequences.iter().zip(out.chunks_mut(bytes)) {
            pack_channel(spec, s, o).unwrap();
        }
        return out;
    }
    let blocks: Vec<Vec<i8>> = sequences
        .chunks(spec.kernel.block_channels().into())
        .map(|block| {
            let shape = BlockShape {
                channels: block.len(),
                sequence_len: spec.sequence_len() as usize,
            };
            let block: Vec<&[i8]> = block.iter().map(|s| &s[..]).collect();
            shape.in_order(&block).collect()
        })
        .collect();
    let mut counts = [0; tans::SYMBOLS];
    blocks
        .iter()
        .for_each(|b| tans::count(b, spec.w_bits, &mut counts));
    // Some of the rarer symbols are escaped.
    let model = Model::from_counts(&mut counts, 3).unwrap();
    let (w_bits, longest) = (spec.w_bits, 2 * spec.sequence_len() as usize);
    let bound = section::bound(spec.encoding, w_bits, longest, blocks.len(), blocks.len());
    let mut out = vec![0; bound];
    let mut work = [0; tans::STATES];
    let model = Some((&model, &mut work));
    let mut writer = Writer::new(spec.encoding, w_bits, blocks.len(), model, &mut out).unwrap();
    blocks.iter().for_each(|b| writer.block(b).unwrap());
    let bytes = writer.finish().unwrap();
    out.truncate(bytes);
    out
}

/// Mostly sensible, now and then at an extreme.
fn requant(spec: &LayerSpec, channel: u16, rng: &mut Rng) -> Requant {
    match rng.below(8) {
        0 => Requant::new(i32::MAX, i32::MAX as u32, rng.below(32)).unwrap(),
        1 => Requant::new(i32::MIN, 32, 31).unwrap(),
        2 => Requant::new(rng.next() as i32, 1 << 30, 1).unwrap(),
        _ => shared::bench::requant(spec, rng.next(), channel),
    }
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.below(from.len() as u32) as usize]
}

/// A random spec that passes its own check.
pub fn generate(rng: &mut Rng) -> LayerSpec {
    loop {
        let spec = candidate(rng);
        if spec.check().is_ok() {
            return spec;
        }
    }
}

/// A random layer that a Winograd kernel computes.
pub fn generate_winograd(rng: &mut Rng) -> LayerSpec {
    loop {
        let base = candidate(rng);
        let spec = LayerSpec {
            kind: Kind::Conv,
            kernel: pick(rng, &[Kernel::Winograd4, Kernel::Winograd2]),
            k_h: 3,
            k_w: 3,
            stride: 1,
            pad: pick(rng, &[1, 1, 1, 0, 2]),
            in_h: 1 + rng.below(18) as u16,
            in_w: 1 + rng.below(18) as u16,
            c_in: pick(rng, &[base.c_in, 4, 8, 32, 40]),
            ..base
        };
        let channels = match rng.below(2) {
            0 => 0,
            _ => winograd::channel_step(&spec) as u16 * (1 + rng.below(4) as u16),
        };
        let spec = LayerSpec {
            strip_rows: spec.conv_out().0,
            tiling: Tiling {
                quads: rng.below(4) as u16,
                channels,
                blocks: if channels == 0 {
                    0
                } else {
                    1 + rng.below(3) as u16
                },
            },
            ..spec
        };
        if spec.check().is_ok() {
            return spec;
        }
    }
}

/// A random first layer that the narrow kernel computes.
pub fn generate_narrow(rng: &mut Rng) -> LayerSpec {
    loop {
        let base = candidate(rng);
        let spec = LayerSpec {
            kind: Kind::Conv,
            kernel: Kernel::Narrow,
            input: Act::Image,
            c_in: pick(rng, &[1, 3]),
            k_h: 3,
            k_w: 3,
            stride: 1,
            pad: pick(rng, &[1, 1, 1, 0, 2]),
            ..base
        };
        if spec.check().is_ok() {
            return spec;
        }
    }
}

/// A random layer whose weights are multiplied as they are packed, of any width.
pub fn generate_straight(rng: &mut Rng) -> LayerSpec {
    loop {
        let base = candidate(rng);
        let (h, w) = (1 + rng.below(3) as u16, 1 + rng.below(3) as u16);
        let spec = LayerSpec {
            encoding: Encoding::Dense,
            in_h: h,
            in_w: w,
            c_out: 1 + rng.below(30) as u16,
            ..base
        };
        let spec = match spec.kind {
            Kind::FullyConnected => LayerSpec {
                k_h: h as u8,
                k_w: w as u8,
                ..spec
            },
            _ => LayerSpec {
                strip_rows: spec.conv_out().0,
                ..spec
            },
        };
        if spec.check().is_ok() && spec.is_straight() {
            return spec;
        }
    }
}

fn candidate(rng: &mut Rng) -> LayerSpec {
    let side = |rng: &mut Rng| 1 + rng.below(12) as u16;
    let (h, w) = (side(rng), side(rng));
    let c_in = 1 + rng.below(40) as u16;
    let c_out = 1 + rng.below(9) as u16;
    let inputs = [Act::U8, Act::U8, Act::U4, Act::U2, Act::S16, Act::Image];
    let outputs = [Act::U8, Act::U8, Act::U4, Act::U2, Act::I32];
    if rng.below(12) == 0 {
        return LayerSpec::global_avg_pool(h, w, c_in, pick(rng, &[Act::U8, Act::U4, Act::U2]));
    }
    let k = pick(rng, &[1, 2, 3, 3, 3, 5]);
    let base = LayerSpec {
        w_bits: 2 + rng.below(7) as u8,
        encoding: pick(rng, &Encoding::ALL),
        input: pick(rng, &inputs),
        output: pick(rng, &outputs),
        ..LayerSpec::conv3x3(h, w, c_in, c_out)
    };
    let base = if base.input == Act::Image {
        LayerSpec {
            c_in: 1 + c_in % 4,
            ..base
        }
    } else {
        base
    };
    if rng.below(6) == 0 {
        let (k_h, k_w) = (h as u8, w as u8);
        return LayerSpec {
            kind: Kind::FullyConnected,
            k_h,
            k_w,
            pad: 0,
            strip_rows: 1,
            ..base
        };
    }
    let spec = LayerSpec {
        k_h: k,
        k_w: if rng.below(4) == 0 { 1 + k % 3 } else { k },
        stride: pick(rng, &[1, 1, 1, 2, 3]),
        pad: rng.below(u32::from(k)) as u8,
        pool: pick(rng, &[1, 1, 2]),
        ..base
    };
    let rows = spec.conv_out().0.max(1);
    let some = 1 + rng.below(rows.into()) as u16;
    LayerSpec {
        strip_rows: pick(rng, &[rows, 2.min(rows), some]),
        ..spec
    }
}

/// The bytes of a buffer that is aligned to 8.
pub fn bytes_of(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: bytes have no alignment and no invalid patterns.
    unsafe { words.align_to_mut::<u8>().1 }
}
