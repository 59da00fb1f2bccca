//! A quantized network with everything that follows from it: integers, plan, blob, price.

use crate::lower::{
    Bits, Centred, Emitted, IntNet, LayerQuant, LowerError, Storage, calibrate, choose_encoding,
    emit, plan, quantize,
};
use crate::quant::QatNet;
use crate::search::{Price, SearchData, price_net};
use candle_core::Device;

/// A network as the board gets it.
pub struct Lowered {
    /// The integers.
    pub net: IntNet,
    /// The blob; `None` where the network does not fit the board's SRAM.
    pub emitted: Option<Emitted>,
    /// Why there is no blob.
    pub misfit: Option<LowerError>,
    /// What it costs but for cycles, and the layers to time.
    pub price: Price,
}

impl Lowered {
    /// Lowers `network` for a board with `storage.arena` bytes; layers are stored as
    /// [`choose_encoding`] says.
    ///
    /// # Errors
    /// [`LowerError`], but for a network that is too large for the SRAM.
    pub fn new(
        network: &Centred,
        quants: &[LayerQuant],
        storage: &Storage,
    ) -> Result<Self, LowerError> {
        let mut net = quantize(network, quants)?;
        choose_encoding(&mut net, storage);
        Self::of(net, storage.arena)
    }

    /// Plans `net` for a board with `arena` bytes.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of(net: IntNet, arena: u32) -> Result<Self, LowerError> {
        let price = price_net(&net, arena);
        let (emitted, misfit) = match plan(&net, arena) {
            Ok(plan) => (Some(emit(&net, &plan)?), None),
            Err(e @ LowerError::Sram { .. }) => (None, Some(e)),
            Err(e) => return Err(e),
        };
        Ok(Self {
            net,
            emitted,
            misfit,
            price,
        })
    }

    /// Why the board cannot run it, if it cannot: too little SRAM or flash.
    #[must_use]
    pub fn refusal(&self, blob_limit: u32) -> Option<String> {
        let too_long = self
            .emitted
            .as_ref()
            .map(|e| e.blob.len())
            .filter(|&n| n > blob_limit as usize);
        match (&self.misfit, too_long) {
            (Some(misfit), _) => Some(misfit.to_string()),
            (None, Some(n)) => Some(format!(
                "the blob has {n} bytes, the board takes {blob_limit}"
            )),
            _ => None,
        }
    }
}

/// 8-bit quantization of a network that was not trained for it.
///
/// # Errors
/// Where the images do not fit the network.
pub fn post_training_8bit(
    network: &Centred,
    data: &SearchData,
    images: usize,
    device: &Device,
) -> candle_core::Result<Vec<LayerQuant>> {
    let ranges = calibrate(&network.network, data.train, &data.first_train(images));
    let bits = vec![Bits { w: 8, a: 8 }; network.network.layers.len()];
    QatNet::new(network, &bits, &ranges, device)?.quants()
}
