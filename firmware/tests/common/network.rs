//! A small network as a blob: convolution, sparse convolution, global pool, classifier.

use super::{Case, generate_from};
use shared::act::Act;
use shared::bench::Rng;
use shared::blob::write::{LayerData, blob_bytes, write};
use shared::blob::{Header, LayerRecord};
use shared::semantics::{REQUANT_BYTES, Requant};
use shared::spec::{Encoding, LayerSpec};

/// A chain of layers with its blob.
pub struct Chain {
    pub cases: Vec<Case>,
    pub blob: Vec<u8>,
    pub r_c: [u8; 4],
    pub arena_bytes: u32,
}

pub fn specs() -> [LayerSpec; 4] {
    [
        LayerSpec {
            input: Act::Image,
            output: Act::U4,
            pool: 2,
            strip_rows: 2,
            ..LayerSpec::conv3x3(10, 10, 3, 6)
        },
        LayerSpec {
            input: Act::U4,
            encoding: Encoding::Sparse,
            w_bits: 3,
            ..LayerSpec::conv3x3(5, 5, 6, 9)
        },
        LayerSpec::global_avg_pool(5, 5, 9, Act::U8),
        LayerSpec {
            input: Act::S16,
            output: Act::I32,
            w_bits: 4,
            ..LayerSpec::fully_connected(1, 1, 9, 10)
        },
    ]
}

impl Chain {
    pub fn new(seed: u32) -> Self {
        Self::of(specs(), seed)
    }

    pub fn of(specs: impl IntoIterator<Item = LayerSpec>, seed: u32) -> Self {
        let mut rng = Rng::new(seed);
        let cases: Vec<Case> = specs
            .into_iter()
            .map(|spec| generate_from(spec, &mut rng))
            .collect();
        let r_c = cases[0].r_c;
        let mut records = Vec::new();
        let mut arena_bytes = 0;
        for case in &cases {
            let record = place(&case.spec, records.last());
            let s = &case.spec;
            for (off, len) in [
                (record.out_off, s.output_bytes()),
                (record.scratch_off, s.scratch_bytes()),
            ] {
                arena_bytes = arena_bytes.max(off + len);
            }
            records.push(record);
        }
        let requants: Vec<Vec<Requant>> = cases
            .iter()
            .map(|c| {
                let entries = c.requants.as_chunks::<REQUANT_BYTES>().0;
                entries.iter().map(|&b| Requant::from_bytes(b)).collect()
            })
            .collect();
        let layers: Vec<LayerData> = cases
            .iter()
            .zip(&records)
            .zip(&requants)
            .map(|((case, record), requants)| LayerData {
                record: *record,
                weights: &case.weights,
                requants,
            })
            .collect();
        let mut blob = vec![0; blob_bytes(&layers)];
        write(header(&cases[0].spec, r_c, arena_bytes), &layers, &mut blob);
        Self {
            cases,
            blob,
            r_c,
            arena_bytes,
        }
    }

    pub fn image(&self, seed: u32) -> Vec<u8> {
        let mut image = vec![0; self.cases[0].input.len()];
        shared::bench::fill_input(&self.cases[0].spec, seed, &mut image);
        image
    }

    /// The logits by the reference, layer after layer.
    pub fn expected(&mut self, image: &[u8]) -> Vec<i32> {
        let mut tensor = image.to_vec();
        for case in &mut self.cases {
            case.r_c = self.r_c;
            case.input = tensor;
            tensor = case.expected();
        }
        let logits = tensor.as_chunks::<4>().0;
        logits.iter().map(|&b| i32::from_le_bytes(b)).collect()
    }
}

/// Outputs alternate between the arena's start and behind the input; scratch comes last.
fn place(s: &LayerSpec, before: Option<&LayerRecord>) -> LayerRecord {
    let round = |n: u32| n.next_multiple_of(4);
    let in_off = before.map_or(0, |b| b.out_off);
    let input = round(s.input_bytes());
    let out_off = if in_off == 0 {
        input
    } else {
        // In front of the input, if there is room, else behind it.
        match in_off >= round(s.output_bytes()) {
            true => 0,
            false => in_off + input,
        }
    };
    let end = (in_off + input).max(out_off + round(s.output_bytes()));
    LayerRecord {
        spec: *s,
        in_off,
        out_off,
        scratch_off: if s.has_weights() { end } else { 0 },
        weights_off: 0,
        weights_len: 0,
        requant_off: 0,
    }
}

fn header(s: &LayerSpec, r_c: [u8; 4], arena_bytes: u32) -> Header {
    Header {
        total_len: 0,
        crc32: 0,
        in_h: s.in_h,
        in_w: s.in_w,
        in_c: s.c_in,
        layers: 0,
        r_c,
        arena_bytes,
        logit_scale: 1f32.to_bits(),
    }
}
