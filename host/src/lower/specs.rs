//! From a configuration and bit widths to the layers that the firmware runs.

use super::LowerError;
use crate::vgg::{LayerKind, LayerShape, Pool, VggConfig};
use serde::{Deserialize, Serialize};
use shared::act::Act;
use shared::spec::LayerSpec;

/// Bit widths of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bits {
    /// Of the weights, 2 to 8.
    pub w: u8,
    /// Of the output activations: 2, 4 or 8. Meaningless in the last layer.
    pub a: u8,
}

/// A layer of the firmware, and which layer with weights it is.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedSpec {
    /// `conv0`, …, `gap`, `linear0`, ….
    pub name: String,
    /// Index among the layers with weights; `None` for the global pool.
    pub index: Option<usize>,
    /// Direct kernel, dense weights, one strip.
    pub spec: LayerSpec,
}

/// The layers that `config` becomes with these widths, convolutions first.
///
/// # Errors
/// [`LowerError`]: a pool in the wrong place, a shape that the firmware cannot run.
///
/// # Panics
/// Where `bits` has another length than there are layers with weights.
pub fn specs(config: &VggConfig, bits: &[Bits]) -> Result<Vec<NamedSpec>, LowerError> {
    let shapes = config.layers();
    assert_eq!(shapes.len(), bits.len(), "widths for each layer");
    let convs = shapes.iter().filter(|s| s.kind == LayerKind::Conv).count();
    let (mut act, mut map) = (Act::Image, config.input);
    let mut out: Vec<NamedSpec> = Vec::with_capacity(shapes.len() + 1);
    for (i, (shape, bits)) in shapes.iter().zip(bits).enumerate() {
        let (name, spec) = match shape.kind {
            LayerKind::Conv => (format!("conv{i}"), conv(shape, *bits, act)),
            LayerKind::Linear => {
                let last = i + 1 == shapes.len();
                (
                    format!("linear{}", i - convs),
                    linear(map, shape.c_out, *bits, act, last),
                )
            }
        };
        push(&mut out, name, Some(i), spec)?;
        (act, map) = (spec.output, shape.output());
        if shape.pool == Some(Pool::Average) {
            if i + 1 != convs || convs == shapes.len() {
                return Err(LowerError::PoolPlace {
                    layer: format!("conv{i}"),
                });
            }
            let pool =
                LayerSpec::global_avg_pool(shape.h as u16, shape.w as u16, shape.c_out as u16, act);
            push(&mut out, "gap".into(), None, pool)?;
            act = Act::S16;
        }
    }
    Ok(out)
}

fn push(
    out: &mut Vec<NamedSpec>,
    name: String,
    index: Option<usize>,
    spec: LayerSpec,
) -> Result<(), LowerError> {
    spec.check().map_err(|error| LowerError::Spec {
        layer: name.clone(),
        error,
    })?;
    out.push(NamedSpec { name, index, spec });
    Ok(())
}

fn conv(shape: &LayerShape, bits: Bits, input: Act) -> LayerSpec {
    LayerSpec {
        w_bits: bits.w,
        input,
        output: unsigned_act(bits.a),
        pool: if shape.pool == Some(Pool::Max) { 2 } else { 1 },
        ..LayerSpec::conv3x3(
            shape.h as u16,
            shape.w as u16,
            shape.c_in as u16,
            shape.c_out as u16,
        )
    }
}

fn linear([h, w, c]: [usize; 3], c_out: usize, bits: Bits, input: Act, last: bool) -> LayerSpec {
    LayerSpec {
        w_bits: bits.w,
        input,
        output: if last { Act::I32 } else { unsigned_act(bits.a) },
        ..LayerSpec::fully_connected(h as u8, w as u8, c as u16, c_out as u16)
    }
}

fn unsigned_act(bits: u8) -> Act {
    match bits {
        2 => Act::U2,
        4 => Act::U4,
        _ => Act::U8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_vgg_has_its_layers_in_order() {
        let config = VggConfig::preset("vgg-small").expect("known");
        let layers = specs(&config, &[Bits { w: 4, a: 4 }; 7]).expect("runs");
        let names: Vec<&str> = layers.iter().map(|l| l.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "conv0", "conv1", "conv2", "conv3", "conv4", "conv5", "gap", "linear0"
            ]
        );
        assert_eq!(
            layers.iter().map(|l| l.spec.macs()).sum::<u64>(),
            config.macs()
        );
        for pair in layers.windows(2) {
            let (a, b) = (&pair[0].spec, &pair[1].spec);
            assert_eq!(
                (a.out_hw(), a.c_out, a.output),
                ((b.in_h, b.in_w), b.c_in, b.input)
            );
        }
    }

    #[test]
    fn flattened_maps_become_fully_connected_kernels() {
        let config = VggConfig::preset("vgg16").expect("known");
        let config = VggConfig {
            input: [64, 64, 3],
            ..config
        };
        let layers = specs(&config, &[Bits { w: 8, a: 8 }; 14]).expect("runs");
        let fc = layers.last().expect("a classifier").spec;
        assert_eq!((fc.k_h, fc.k_w, fc.c_in, fc.macs()), (2, 2, 512, 20_480));
    }
}
