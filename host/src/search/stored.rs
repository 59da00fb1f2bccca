//! Encodings that keep the latency as the board measures it.

use super::latency::{Latency, LayerCost, LayerKey, MeasureLayer};
use crate::lower::{
    Candidate, IntNet, Prefer, Storage, all_candidates, choose, choose_encoding, choose_kernel,
    fixed_bytes, take,
};

/// Chooses the encoding of each layer of `net` as [`choose_encoding`] does. Where bytes come
/// first and there is a limit of cycles, the choice goes by predictions only at first: what the
/// board measures of the chosen candidates takes their place, and the choice is made again,
/// until it keeps the limit as measured, or nothing else is left to choose.
///
/// # Errors
/// Where the board fails.
pub fn store_net<M: MeasureLayer + 'static>(
    net: &mut IntNet,
    storage: &Storage,
    latency: &mut Latency<M>,
) -> anyhow::Result<()> {
    let (Prefer::Size, Some(limit)) = (storage.prefer, storage.cycles) else {
        choose_encoding(net, storage);
        return Ok(());
    };
    let mut all = all_candidates(net, storage.arena);
    let mut chosen = choose(&all, fixed_bytes(net), storage);
    loop {
        take(net, &all, &chosen);
        let measured = measured(net, storage.arena, latency)?;
        if measured.iter().flatten().sum::<u64>() <= limit {
            return Ok(());
        }
        for ((candidates, &i), cycles) in all.iter_mut().zip(&chosen).zip(measured) {
            if let (Some(candidate), Some(cycles)) = (candidates.get_mut(i), cycles) {
                *candidate = Candidate {
                    cycles: cycles as f64,
                    ..*candidate
                };
            }
        }
        // Every candidate is measured once at most, so this ends.
        let next = choose(&all, fixed_bytes(net), storage);
        if next == chosen {
            return Ok(());
        }
        chosen = next;
    }
}

/// Cycles of each layer as it is stored; `None` where it does not fit the board.
fn measured<M: MeasureLayer + 'static>(
    net: &IntNet,
    arena: u32,
    latency: &mut Latency<M>,
) -> anyhow::Result<Vec<Option<u64>>> {
    let keys = net.layers.iter().enumerate().map(|(i, layer)| {
        let placed = choose_kernel(&layer.spec, arena, layer.one_sided, layer.forced);
        placed
            .ok()
            .map(|(spec, _)| LayerKey::new(spec, net.density(i)))
    });
    let keys: Vec<Option<LayerKey>> = keys.collect();
    let asked: Vec<LayerKey> = keys.iter().flatten().copied().collect();
    let mut costs = latency.costs(&asked)?.into_iter();
    let cycles = keys
        .into_iter()
        .map(|key| match key.and_then(|_| costs.next()) {
            Some(LayerCost::Cycles(cycles)) => Some(cycles),
            _ => None,
        });
    Ok(cycles.collect())
}

#[cfg(test)]
mod tests {
    use super::super::latency::Timing;
    use super::*;
    use crate::lower::{IntLayer, one_sided_sum};
    use shared::bench::requant;
    use shared::spec::{Encoding, LayerSpec};

    /// A million cycles a layer, and two more where it is not stored dense: far more than is
    /// predicted.
    struct SlowDecoder;

    impl MeasureLayer for SlowDecoder {
        fn measure(&mut self, key: &LayerKey) -> anyhow::Result<Timing> {
            let dense = key.spec.encoding == Encoding::Dense;
            Ok(Timing {
                cost: LayerCost::Cycles(if dense { 1_000_000 } else { 3_000_000 }),
                from_table: false,
            })
        }
    }

    /// Two layers whose weights are mostly zero, the second the larger.
    fn net() -> IntNet {
        let layer = |(name, spec): (&str, LayerSpec)| {
            let weights: Vec<i8> = (0..spec.weight_count() as usize)
                .map(|i| if i % 9 == 0 { 1 } else { 0 })
                .collect();
            IntLayer {
                name: name.into(),
                requants: (0..spec.c_out).map(|c| requant(&spec, 3, c)).collect(),
                bound: i64::from(i32::MAX),
                one_sided: one_sided_sum(&spec, &weights),
                forced: None,
                weights,
                spec,
            }
        };
        let specs = [
            ("conv0", LayerSpec::conv3x3(8, 8, 16, 16)),
            ("conv1", LayerSpec::conv3x3(8, 8, 16, 32)),
        ];
        IntNet {
            input: [8, 8, 16],
            r_c: vec![0; 16],
            layers: specs.into_iter().map(layer).collect(),
            logit_scale: 1.0,
        }
    }

    #[test]
    fn the_shortest_that_was_measured_to_keep_the_latency() -> anyhow::Result<()> {
        let encodings = |cycles, prefer| -> anyhow::Result<Vec<bool>> {
            let mut net = net();
            let storage = Storage {
                flash: u64::MAX,
                arena: 60_000,
                cycles,
                prefer,
            };
            store_net(&mut net, &storage, &mut Latency::new(SlowDecoder))?;
            let dense = |l: &IntLayer| l.spec.encoding == Encoding::Dense;
            Ok(net.layers.iter().map(dense).collect())
        };
        assert_eq!(encodings(None, Prefer::Size)?, [false, false]);
        assert_eq!(encodings(Some(6_000_000), Prefer::Size)?, [false, false]);
        assert_eq!(
            encodings(Some(4_000_000), Prefer::Size)?,
            [true, false],
            "the larger one saves more bytes"
        );
        assert_eq!(encodings(Some(2_000_000), Prefer::Size)?, [true, true]);
        assert_eq!(encodings(Some(1), Prefer::Size)?, [true, true]);
        assert_eq!(encodings(None, Prefer::Speed)?, [true, true]);
        Ok(())
    }
}
