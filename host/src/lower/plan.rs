//! Memory: how many rows a strip has, and where each buffer lies in the arena.

use super::LowerError;
use super::integer::IntNet;
use super::kernel::choose_kernel;
use super::winograd;
use shared::act::Act;
use shared::spec::{LayerSpec, Tiling};

/// One layer with its place in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedLayer {
    /// The layer, with `strip_rows` chosen.
    pub spec: LayerSpec,
    /// Arena offset of the input; 0 for the image.
    pub in_off: u32,
    /// Arena offset of the output.
    pub out_off: u32,
    /// Arena offset of the scratch.
    pub scratch_off: u32,
}

/// The arena of a whole network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Layers in order.
    pub layers: Vec<PlannedLayer>,
    /// Bytes of arena that inference touches, exactly.
    pub arena_bytes: u32,
}

/// Chooses kernels, strips and offsets for `net` within `limit` bytes of arena.
///
/// Each layer gets the fewest strips that the SRAM left by its input and output allows:
/// every strip decodes the weights again. Tensors lie in turn at the two ends of the
/// arena, scratch between them; the arena is as large as the most demanding layer.
///
/// # Errors
/// [`LowerError::Sram`] names the layer that does not fit even with the smallest strip.
pub fn plan(net: &IntNet, limit: u32) -> Result<MemoryPlan, LowerError> {
    let mut specs = Vec::with_capacity(net.layers.len());
    for layer in &net.layers {
        let spec = choose_kernel(&layer.spec, limit, layer.one_sided, layer.forced);
        let (spec, need) = spec.map_err(|need| LowerError::Sram {
            layer: layer.name.clone(),
            need,
            limit: limit.into(),
        })?;
        specs.push((spec, need));
    }
    let arena_bytes = specs.iter().map(|&(_, need)| need).max().unwrap_or(0);
    Ok(MemoryPlan {
        layers: place(&specs, arena_bytes),
        arena_bytes,
    })
}

/// The layer with the fewest strips that fit `limit`, and the bytes that it then needs;
/// `Err` with the bytes that the smallest strip needs.
pub fn layer_in(spec: &LayerSpec, limit: u32) -> Result<(LayerSpec, u32), u64> {
    if spec.kernel.is_winograd() {
        let tensors = need(spec) - u64::from(spec.scratch_bytes()).next_multiple_of(4);
        let scratch = u64::from(limit).saturating_sub(tensors);
        let cut = winograd::tiled(spec, scratch).map_err(|scratch| tensors + scratch)?;
        return Ok((cut, need(&cut) as u32));
    }
    let rows = spec.conv_out().0;
    let step = u16::from(spec.pool.max(1));
    let mut strips = 1;
    loop {
        // The smallest strip of whole pooled rows that gives this many strips.
        let strip = rows
            .div_ceil(strips)
            .next_multiple_of(step)
            .min(rows)
            .max(1);
        let candidate = LayerSpec {
            strip_rows: strip,
            tiling: Tiling::WHOLE,
            ..*spec
        };
        let need = need(&candidate);
        if need <= u64::from(limit) {
            return Ok((candidate, need as u32));
        }
        if strip <= step {
            return Err(need);
        }
        strips += 1;
    }
}

fn need(s: &LayerSpec) -> u64 {
    let aligned = |bytes: u32| u64::from(bytes).next_multiple_of(4);
    aligned(s.input_bytes()) + aligned(s.output_bytes()) + aligned(s.scratch_bytes())
}

fn place(specs: &[(LayerSpec, u32)], arena: u32) -> Vec<PlannedLayer> {
    let mut in_off = 0;
    specs
        .iter()
        .enumerate()
        .map(|(i, (spec, _))| {
            let output = spec.output_bytes().next_multiple_of(4);
            let input = spec.input_bytes().next_multiple_of(4);
            // The image is the caller's, so the first output may lie at either end: even
            // layers write at the top, odd ones at the bottom.
            let top = i % 2 == 0;
            let out_off = if top { arena - output } else { 0 };
            let scratch_off = match (top, spec.input == Act::Image) {
                (true, true) => 0,
                (true, false) => input,
                (false, _) => output,
            };
            let layer = PlannedLayer {
                spec: *spec,
                in_off,
                out_off,
                scratch_off,
            };
            in_off = out_off;
            layer
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::coding::tans::STATES;
    use shared::spec::{Encoding, Kernel};

    /// What a decoder's table takes is part of the plan: a layer that fits dense may not fit
    /// coded, and then no blob is made of it.
    #[test]
    fn a_table_that_does_not_fit_the_scratch_is_refused() {
        for kernel in [Kernel::Direct, Kernel::Winograd4] {
            let dense = LayerSpec {
                kernel,
                ..LayerSpec::conv3x3(8, 8, 32, 32)
            };
            let coded = LayerSpec {
                encoding: Encoding::Coded,
                ..dense
            };
            let least = layer_in(&coded, 0).expect_err("nothing fits no memory");
            let least = u32::try_from(least).expect("small");
            let (fits, need) = layer_in(&coded, least).expect("fits");
            assert_eq!((need, fits.scratch().table), (least, 4 * STATES as u32));
            assert_eq!(layer_in(&coded, least - 4), Err(least.into()));
            assert!(layer_in(&dense, least - 4).is_ok(), "dense needs no table");
        }
    }
}
