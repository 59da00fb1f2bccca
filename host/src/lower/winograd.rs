//! How the Winograd kernels are cut to fit scratch: the fastest cut by predicted cycles.

use shared::spec::{Kernel, LayerSpec, Tiling};
use shared::winograd;

/// Cycles of a Winograd kernel's stages, counted from their loops and measured on the
/// virtual board; `docs/kernels.md` has both.
struct Stages {
    /// Of the 3x3 weights of one pair of channels, from where they are stored.
    filter: f64,
    /// How much fields of 4 and 2 bits take on top of that.
    fields: f64,
    /// Of one channel of an input tile.
    input: f64,
    /// Of one channel of an output tile, requantization included.
    output: f64,
}

const WINOGRAD_4: Stages = Stages {
    filter: 73.0,
    fields: 1.0,
    input: 190.0,
    output: 355.0,
};
const WINOGRAD_2: Stages = Stages {
    filter: 31.0,
    fields: 0.0,
    input: 65.0,
    output: 95.0,
};

/// Cycles of one position of a quad and a block, beside the products.
const POSITION: f64 = 26.0;
/// The same of every further turn of 16 pairs.
const TURN: f64 = 7.0;
/// Cycles of a quad and a block outside of assembly.
const QUAD: f64 = 150.0;
/// Cycles of making bytes of a pair of channels' weights in lanes.
const LANES: f64 = 16.0;
/// Cycles of unpacking a weight of 2 to 8 bits.
const UNPACK: [f64; 7] = [1.9, 2.9, 2.0, 2.9, 2.9, 3.8, 1.9];

/// Cycles of the layer, roughly; its kernel must be one of the two.
#[must_use]
pub fn cycles(s: &LayerSpec) -> f64 {
    let stages = match s.kernel {
        Kernel::Winograd2 => &WINOGRAD_2,
        _ => &WINOGRAD_4,
    };
    let blocks = f64::from(s.blocks());
    let quads = f64::from(winograd::quads(s));
    let strips = (quads / f64::from(winograd::strip_quads(s).max(1))).ceil();
    let groups = match s.tiling.blocks {
        0 => 1.0,
        some => (blocks / f64::from(some)).ceil(),
    };
    let c_in = f64::from(s.c_in4());
    let unpacked = match (winograd::unit(s), s.w_bits) {
        (Some(_), 8) => 0.0,
        (Some(_), 4 | 2) => stages.fields,
        (Some(_), _) => LANES,
        (None, bits) => {
            // The whole channel is unpacked for each of its chunks.
            let chunks = (c_in / f64::from(winograd::chunk(s))).ceil();
            9.0 * chunks * UNPACK[usize::from(bits.clamp(2, 8)) - 2]
        }
    };
    let filters = strips * c_in * 2.0 * blocks * (stages.filter + unpacked);
    let input = 4.0 * quads * c_in * stages.input * groups;
    let output = quads * blocks * (8.0 * stages.output + QUAD);
    filters + input + output + quads * blocks * products(s)
}

/// Cycles of all products of one quad and one block.
fn products(s: &LayerSpec) -> f64 {
    let (all, chunk) = (s.c_in4(), winograd::chunk(s).max(4));
    let starts = (0..all).step_by(chunk as usize);
    let of_position: f64 = starts
        .map(|start| {
            let pairs = f64::from(chunk.min(all - start) / 2);
            16.0 * pairs + POSITION + TURN * ((pairs / 16.0).ceil() - 1.0)
        })
        .sum();
    f64::from(winograd::positions(s.kernel)) * of_position
}

/// The layer in the cut with the fewest predicted cycles within `limit` bytes of scratch, the
/// smaller one of equals; `Err` with the bytes that the smallest cut needs.
///
/// # Errors
/// Where nothing fits.
pub fn tiled(spec: &LayerSpec, limit: u64) -> Result<LayerSpec, u64> {
    let whole = LayerSpec {
        strip_rows: spec.conv_out().0,
        tiling: Tiling::WHOLE,
        ..*spec
    };
    let mut best: Option<(f64, u32, LayerSpec)> = None;
    let mut least = u64::MAX;
    for candidate in candidates(&whole, limit) {
        let bytes = candidate.scratch_bytes();
        least = least.min(bytes.into());
        if u64::from(bytes) > limit {
            continue;
        }
        let cost = cycles(&candidate);
        if best.is_none_or(|(c, b, _)| (cost, bytes) < (c, b)) {
            best = Some((cost, bytes, candidate));
        }
    }
    best.map(|(_, _, spec)| spec).ok_or(least)
}

/// Every sensible cut: strips of equal length, input channels in equal turns, and with those
/// as many blocks at a time as `limit` allows.
fn candidates(whole: &LayerSpec, limit: u64) -> impl Iterator<Item = LayerSpec> {
    let quads = winograd::quads(whole);
    let lengths = distinct((1..=quads).map(move |strips| quads.div_ceil(strips)));
    let step = winograd::channel_step(whole);
    let all = whole.c_in4();
    let turns = (2..=all / step).map(move |n| all.div_ceil(n).next_multiple_of(step));
    let channels = distinct(std::iter::once(all).chain(turns));
    let whole = *whole;
    lengths.into_iter().flat_map(move |quads| {
        let channels = channels.clone().into_iter();
        channels.filter_map(move |channels| cut(&whole, quads, channels, limit))
    })
}

/// One cut; `None` where a number does not fit its field.
fn cut(whole: &LayerSpec, quads: u32, channels: u32, limit: u64) -> Option<LayerSpec> {
    let with = |channels, blocks| {
        let quads = if quads == winograd::quads(whole) {
            0
        } else {
            u16::try_from(quads).ok()?
        };
        let tiling = Tiling {
            quads,
            channels,
            blocks,
        };
        Some(LayerSpec { tiling, ..*whole })
    };
    if channels == whole.c_in4() {
        return with(0, 0);
    }
    let channels = u16::try_from(channels).ok()?;
    let one = with(channels, 1)?;
    let slot = u64::from(winograd::sum_bytes(whole.kernel)) * u64::from(quads);
    let more = limit.saturating_sub(u64::from(one.scratch_bytes())) / slot.max(1);
    let most = (1 + more).min(whole.blocks().into()) as u16;
    // As few as give the same number of groups.
    let groups = whole.blocks().div_ceil(most);
    with(channels, whole.blocks().div_ceil(groups))
}

fn distinct(values: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut values: Vec<u32> = values.collect();
    values.dedup();
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_keeps_to_its_limit_and_passes_the_check() {
        for kernel in [Kernel::Winograd4, Kernel::Winograd2] {
            for (h, w, c_in, c_out, w_bits) in [
                (32, 32, 32, 32, 8),
                (8, 8, 128, 128, 4),
                (4, 4, 256, 256, 2),
                (7, 13, 37, 31, 5),
                (1, 1, 3, 1, 8),
            ] {
                let spec = LayerSpec {
                    kernel,
                    w_bits,
                    in_w: w,
                    ..LayerSpec::conv3x3(h, h, c_in, c_out)
                };
                let least = tiled(&spec, 0).expect_err("nothing fits nothing");
                for limit in [least, 16 << 10, 32 << 10, 64 << 10] {
                    let Ok(cut) = tiled(&spec, limit) else {
                        assert!(limit < least);
                        continue;
                    };
                    assert_eq!(cut.check(), Ok(()), "{cut:?}");
                    assert!(u64::from(cut.scratch_bytes()) <= limit);
                }
                assert!(tiled(&spec, least).is_ok());
            }
        }
    }

    #[test]
    fn more_scratch_never_predicts_more_cycles() {
        let spec = LayerSpec {
            kernel: Kernel::Winograd4,
            ..LayerSpec::conv3x3(16, 16, 64, 64)
        };
        let mut before = f64::INFINITY;
        for kib in 6..=64 {
            if let Ok(cut) = tiled(&spec, kib << 10) {
                assert!(cycles(&cut) <= before, "{kib} KiB");
                before = cycles(&cut);
            }
        }
        assert!(before.is_finite());
    }
}
