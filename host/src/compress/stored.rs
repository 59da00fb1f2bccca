//! The result in each encoding: what every one of them would take, on the board.

use super::finish::Tested;
use super::lowered::Lowered;
use super::{BoardInference, Compress, Device, Disagreement};
use crate::data::Dataset;
use crate::lower::{IntNet, simulate};
use crate::run::StoredFigures;
use crate::search::Pending;
use anyhow::Result;
use shared::spec::{Encoding, LayerSpec};

/// Encodings that all layers are stored in; gaps are of use for single layers only.
const WAYS: [Encoding; 3] = [Encoding::Dense, Encoding::Sparse, Encoding::Coded];

/// A blob on its way through the board.
pub(super) struct Way {
    encoding: Encoding,
    blob_bytes: u64,
    sram_bytes: u64,
    answer: Pending<Result<Vec<BoardInference>>>,
}

impl<D: Device + 'static> Compress<D> {
    /// Has the board run one test picture through `net` in each encoding, without waiting.
    /// What does not fit the board in an encoding is left out.
    pub(super) fn run_each_encoding(&self, net: &IntNet, test: &Dataset) -> Result<Vec<Way>> {
        let mut ways = Vec::new();
        for encoding in WAYS {
            let lowered = Lowered::of(stored_in(net, encoding), self.arena())?;
            let (None, Some(emitted)) = (lowered.refusal(self.limits.blob), lowered.emitted) else {
                continue;
            };
            let (blob, size) = (emitted.blob, test.image_bytes());
            let image = test.image(0).to_vec();
            ways.push(Way {
                encoding,
                blob_bytes: blob.len() as u64,
                sram_bytes: lowered.price.costs.sram_bytes,
                answer: self
                    .latency
                    .with_board(move |board| board.run(&blob, &image, size)),
            });
        }
        Ok(ways)
    }

    /// What came of [`Compress::run_each_encoding`], and the result as it was kept. Every
    /// encoding must give the host's logits.
    pub(super) fn stored_figures(
        &self,
        ways: Vec<Way>,
        kept: &Tested,
        test: &Dataset,
    ) -> Result<Vec<StoredFigures>> {
        let host = simulate(&kept.lowered.net, test.image(0))?;
        let mut all = Vec::new();
        for way in ways {
            let ran = way.answer.wait()??;
            for inference in &ran {
                if inference.logits != host {
                    return Err(Disagreement {
                        image: 0,
                        row: test.rows[0],
                        board: inference.logits.clone(),
                        host,
                    }
                    .into());
                }
            }
            let cycles = ran.first().map_or(0, BoardInference::total);
            all.push(StoredFigures {
                stored: way.encoding.name().into(),
                blob_bytes: way.blob_bytes,
                sram_bytes: way.sram_bytes,
                cycles,
            });
        }
        all.push(StoredFigures {
            stored: StoredFigures::CHOSEN.into(),
            blob_bytes: kept.figures.blob_bytes,
            sram_bytes: kept.figures.sram_bytes,
            cycles: kept.figures.cycles,
        });
        Ok(all)
    }
}

/// `net` with all its weights in `encoding`. Kernels that the user chose stay.
fn stored_in(net: &IntNet, encoding: Encoding) -> IntNet {
    let mut net = net.clone();
    for layer in net.layers.iter_mut().filter(|l| l.spec.has_weights()) {
        layer.spec = LayerSpec {
            encoding,
            ..layer.spec
        };
    }
    net
}
