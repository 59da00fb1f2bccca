//! Timing one layer: which blocks, what the output must be, what follows for the whole.
//!
//! A layer's cycles are affine in the number of blocks of output channels. In process, where
//! a second of a real board takes minutes, two small counts are timed and the rest follows;
//! QEMU and real boards time all blocks. Every output is compared with the portable kernel's.

use super::{Board, BoardError, Engine, Timing};
use crate::lower::layer_in;
use crate::search::LayerKey;
use shared::message::{BenchLayer, DeviceError};
use shared::pattern::Pattern;
use shared::spec::{Kernel, LayerSpec, Tiling};

/// Seed of the data that layers are timed on.
const SEED: u32 = 1;
/// Blocks that are timed where the rest is extrapolated.
const FEW: [u16; 2] = [2, 4];
/// The same where four blocks are computed together.
const FEW_STRAIGHT: [u16; 2] = [4, 8];
/// Below these MACs a layer is timed whole on any engine.
const SMALL_MACS: u64 = 300_000;

/// Errors of timing a layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TimingError {
    /// The board failed or refused.
    #[error(transparent)]
    Board(#[from] BoardError),
    /// The host cannot compute what the board should have.
    #[error("layer {spec:?} cannot be timed: {error:?}")]
    Layer {
        /// The layer.
        spec: Box<LayerSpec>,
        /// Why.
        error: DeviceError,
    },
    /// The board computed something else than the portable kernel.
    #[error(
        "{board} computed {got:#010x} where the portable kernel has {want:#010x}, in layer {spec:?}"
    )]
    Mismatch {
        /// The board.
        board: String,
        /// The layer.
        spec: Box<LayerSpec>,
        /// CRC-32 of the board's output.
        got: u32,
        /// CRC-32 of the output that it must have.
        want: u32,
    },
}

impl TimingError {
    /// Need and limit in bytes, where the layer does not fit the board's SRAM.
    #[must_use]
    pub fn too_large(&self) -> Option<(u32, u32)> {
        match self {
            Self::Board(error) => error.too_large(),
            _ => None,
        }
    }
}

/// How much of a layer is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All blocks.
    Whole,
    /// Two small counts of blocks, the rest extrapolated, where that saves time.
    Few,
}

impl Extent {
    /// What fits an engine: only in process is a whole layer too slow.
    #[must_use]
    pub fn of(engine: Engine) -> Self {
        match engine {
            Engine::InProcess => Self::Few,
            Engine::Qemu | Engine::Probe => Self::Whole,
        }
    }
}

/// What a whole layer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerTiming {
    /// The layer as it was timed: strips may be smaller than asked, to leave room for the
    /// benchmark's own tables.
    pub spec: LayerSpec,
    /// Cycles on this board.
    pub cycles: u64,
    /// Cycles at zero wait states; `None` on a real board.
    pub zero_wait: Option<u64>,
    /// Line fetches that wait for flash; `None` on a real board.
    pub misses: Option<u64>,
    /// Instructions; `None` on a real board.
    pub instructions: Option<u64>,
    /// Whether some blocks were extrapolated.
    pub extrapolated: bool,
    /// Whether a fast kernel ran.
    pub fast: bool,
}

impl LayerTiming {
    /// Cycles with another count of wait states; `None` on a real board.
    #[must_use]
    pub fn cycles_at(&self, wait_states: u32) -> Option<u64> {
        Some(self.zero_wait? + u64::from(wait_states) * self.misses?)
    }
}

/// Times a layer and holds its output against the portable kernel's.
///
/// `arena` is the board's limit: where the benchmark's tables do not fit beside the layer,
/// it is timed in smaller strips.
///
/// # Errors
/// [`TimingError`]; a layer that does not fit is [`TimingError::too_large`].
pub fn time_layer(
    board: &mut dyn Board,
    key: &LayerKey,
    arena: u32,
    extent: Extent,
) -> Result<LayerTiming, TimingError> {
    let spec = with_room(key, arena)?;
    let request = |blocks| BenchLayer {
        spec,
        blocks,
        density_percent: key.density_percent,
        pattern: Pattern::Typical,
        seed: SEED,
    };
    let whole = spec.blocks();
    let counts = few(&spec);
    let few = extent == Extent::Few && whole > counts[1] && spec.macs() > SMALL_MACS;
    if !few {
        let timing = checked(board, &request(whole.max(1)))?;
        return Ok(layer_timing(spec, timing, timing, [whole; 2]));
    }
    let small = checked(board, &request(counts[0]))?;
    let large = checked(board, &request(counts[1]))?;
    Ok(layer_timing(spec, small, large, counts))
}

/// The counts of blocks to time: whole groups, where blocks come in groups.
fn few(spec: &LayerSpec) -> [u16; 2] {
    match spec.tiling.blocks {
        0 if spec.is_straight() => FEW_STRAIGHT,
        0 => FEW,
        group => [group, group.saturating_mul(2)],
    }
}

/// Puts the whole layer together from two counts of blocks, which may be the same.
fn layer_timing(spec: LayerSpec, small: Timing, large: Timing, counts: [u16; 2]) -> LayerTiming {
    let affine = |a: u64, b: u64| extrapolate([a, b], counts, spec.blocks());
    let both = |value: fn(&Timing) -> Option<u64>| Some(affine(value(&small)?, value(&large)?));
    LayerTiming {
        spec,
        cycles: affine(small.cycles.board, large.cycles.board),
        zero_wait: both(|t| t.cycles.zero_wait()),
        misses: both(|t| {
            let misses = t.cycles.interval?.misses?;
            Some(misses.instruction + misses.data)
        }),
        instructions: both(|t| t.cycles.interval.map(|i| i.instructions)),
        extrapolated: counts[0] != counts[1],
        fast: large.fast,
    }
}

/// The value at `whole` blocks of the line through two counts.
fn extrapolate([a, b]: [u64; 2], [from, to]: [u16; 2], whole: u16) -> u64 {
    if from == to {
        return b;
    }
    let slope = (b as f64 - a as f64) / f64::from(to - from);
    (b as f64 + slope * f64::from(whole - to)).round().max(0.0) as u64
}

fn checked(board: &mut dyn Board, request: &BenchLayer) -> Result<Timing, TimingError> {
    let timing = board.bench_layer(request)?;
    let want = expected(request)?;
    if timing.output_crc32 == want {
        return Ok(timing);
    }
    Err(TimingError::Mismatch {
        board: board.name().to_string(),
        spec: Box::new(request.spec),
        got: timing.output_crc32,
        want,
    })
}

/// CRC-32 of the whole layer's output, computed by this build's portable kernel.
///
/// # Errors
/// [`TimingError::Layer`] where the layer makes no sense.
pub fn expected_crc32(key: &LayerKey) -> Result<u32, TimingError> {
    expected(&BenchLayer {
        spec: key.spec,
        blocks: key.spec.blocks(),
        density_percent: key.density_percent,
        pattern: Pattern::Typical,
        seed: SEED,
    })
}

/// Whether the layer's kernel gives what the direct one gives, both computed here: two output
/// channels of it, on random data over the whole ranges.
///
/// # Errors
/// [`TimingError::Layer`] where the layer makes no sense.
pub fn agrees_with_direct(key: &LayerKey) -> Result<bool, TimingError> {
    let few = LayerSpec {
        c_out: key.spec.c_out.min(2),
        tiling: Tiling {
            blocks: key.spec.tiling.blocks.min(1),
            ..key.spec.tiling
        },
        ..key.spec
    };
    let direct = LayerSpec {
        kernel: Kernel::Direct,
        tiling: Tiling::WHOLE,
        strip_rows: few.conv_out().0,
        ..few
    };
    let output = |spec: LayerSpec| {
        expected(&BenchLayer {
            spec,
            blocks: spec.blocks(),
            density_percent: key.density_percent,
            pattern: Pattern::Random,
            seed: SEED,
        })
    };
    Ok(output(few)? == output(direct)?)
}

/// CRC-32 of the output that any board must give.
fn expected(request: &BenchLayer) -> Result<u32, TimingError> {
    let error = |error| TimingError::Layer {
        spec: Box::new(request.spec),
        error,
    };
    let bytes = firmware::bench::arena_bytes(request).map_err(error)? as usize;
    let mut arena = vec![0u8; bytes + 4];
    let start = arena.as_ptr().align_offset(4);
    firmware::bench::expected_crc32(request, &mut arena[start..start + bytes]).map_err(error)
}

/// The layer in as many strips as leave room for the benchmark's tables; as it is where even
/// the smallest strips do not, for the board to say so.
fn with_room(key: &LayerKey, arena: u32) -> Result<LayerSpec, TimingError> {
    let mut spec = key.spec;
    let mut limit = arena;
    loop {
        let request = BenchLayer {
            spec,
            blocks: 1,
            density_percent: key.density_percent,
            pattern: Pattern::Typical,
            seed: SEED,
        };
        let need = firmware::bench::arena_bytes(&request).map_err(|error| TimingError::Layer {
            spec: Box::new(spec),
            error,
        })?;
        if need <= arena {
            return Ok(spec);
        }
        limit = limit.saturating_sub((need - arena).max(4));
        match layer_in(&key.spec, limit) {
            Ok((smaller, _)) if smaller.scratch_bytes() < spec.scratch_bytes() => spec = smaller,
            Ok(_) if limit > 0 => {}
            _ => return Ok(key.spec),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EngineChoice, Options, open};
    use super::*;

    #[test]
    fn a_line_goes_through_both_counts() {
        assert_eq!(extrapolate([120, 220], [2, 4], 16), 820);
        assert_eq!(extrapolate([7, 7], [3, 3], 3), 7);
    }

    #[test]
    fn tables_make_strips_smaller_but_not_the_layer() {
        let spec = LayerSpec::conv3x3(32, 32, 32, 32);
        let arena = 100 << 10;
        let (placed, need) = layer_in(&spec, arena).expect("fits");
        let key = LayerKey::new(placed, 1.0);
        let tight = with_room(&key, need).expect("makes sense");
        assert!(tight.strip_rows < placed.strip_rows);
        assert_eq!(tight.macs(), spec.macs());
        let hopeless = LayerKey::new(LayerSpec::conv3x3(64, 64, 64, 64), 1.0);
        assert_eq!(
            with_room(&hopeless, arena).expect("makes sense"),
            hopeless.spec
        );
    }

    #[test]
    fn few_blocks_tell_the_whole_layer_within_a_percent() {
        let options = Options {
            engine: EngineChoice::InProcess,
            verbose: false,
        };
        let mut board = open("virtual-stm32f405", options).expect("opens");
        for (c_in, c_out, w_bits) in [(24, 40, 8), (37, 31, 4)] {
            let spec = LayerSpec {
                w_bits,
                ..LayerSpec::conv3x3(8, 8, c_in, c_out)
            };
            let key = LayerKey::new(spec, 1.0);
            let mut time = |extent| time_layer(&mut *board, &key, 100 << 10, extent).expect("fits");
            let (few, whole) = (time(Extent::Few), time(Extent::Whole));
            assert!(few.extrapolated && !whole.extrapolated);
            let error = few.cycles as f64 / whole.cycles as f64 - 1.0;
            assert!(
                error.abs() < 0.03,
                "{c_in}->{c_out}: {:+.2} %",
                100.0 * error
            );
        }
    }
}
