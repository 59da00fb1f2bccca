//! A float network with batch normalisation folded away: what is quantized.

use super::LowerError;

/// Step of the network's input: it sees `(pixel − r_c) · INPUT_STEP`.
///
/// A power of two near the images' own deviation keeps the first layer's weights in the
/// range of the others', which training needs; the integer network multiplies it away.
pub const INPUT_STEP: f32 = 1.0 / 64.0;

/// A VGG as plain numbers: convolutions (3x3, pad 1, ReLU), an optional global average
/// pool, fully connected layers (ReLU between them).
#[derive(Clone, Debug, PartialEq)]
pub struct FoldedNet {
    /// Input `[h, w, c]`.
    pub input: [usize; 3],
    /// What is subtracted from each channel of a pixel, one a channel.
    pub r_c: Vec<u8>,
    /// Convolutions in order.
    pub convs: Vec<FoldedLayer>,
    /// Whether the last map is averaged before the classifier.
    pub gap: bool,
    /// Fully connected layers in order; the last gives the logits.
    pub fcs: Vec<FoldedFc>,
}

/// One folded convolution: 3x3 (or 1x1), stride 1, "same" padding, ReLU.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldedLayer {
    /// Name in reports and errors, such as `conv3`.
    pub name: String,
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Kernel side, odd; padding is `(k − 1)/2`.
    pub k: usize,
    /// Whether a 2x2 max-pool follows.
    pub pool: bool,
    /// Input height and width.
    pub in_hw: (usize, usize),
    /// `[c_out, c_in, k, k]`.
    pub weight: Vec<f32>,
    /// `[c_out]`.
    pub bias: Vec<f32>,
}

/// One fully connected layer over an `[h, w, c]` map (1x1 for a vector).
#[derive(Clone, Debug, PartialEq)]
pub struct FoldedFc {
    /// Name in reports and errors, such as `fc1`.
    pub name: String,
    /// Input map `(h, w, c)`; `features = h·w·c`.
    pub map: (usize, usize, usize),
    /// Outputs.
    pub c_out: usize,
    /// `[c_out, c, h, w]`, as PyTorch flattens.
    pub weight: Vec<f32>,
    /// `[c_out]`.
    pub bias: Vec<f32>,
}

/// What a quantizable layer is; the global pool has nothing to quantize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerOp {
    /// A convolution.
    Conv,
    /// A fully connected layer.
    Fc,
}

impl FoldedLayer {
    /// Output height and width, the pool included.
    #[must_use]
    pub fn out_hw(&self) -> (usize, usize) {
        let (h, w) = self.in_hw;
        if self.pool { (h / 2, w / 2) } else { (h, w) }
    }

    /// Weights of one output channel.
    #[must_use]
    pub fn fan_in(&self) -> usize {
        self.c_in * self.k * self.k
    }
}

impl FoldedFc {
    /// Inputs of the layer.
    #[must_use]
    pub fn features(&self) -> usize {
        self.map.0 * self.map.1 * self.map.2
    }
}

impl FoldedNet {
    /// Number of layers with weights.
    #[must_use]
    pub fn len(&self) -> usize {
        self.convs.len() + self.fcs.len()
    }

    /// Never true for a network that can classify.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.fcs.last().map_or(0, |f| f.c_out)
    }

    /// Name of layer `i`, convolutions first.
    #[must_use]
    pub fn name(&self, i: usize) -> &str {
        match self.convs.get(i) {
            Some(c) => &c.name,
            None => &self.fcs[i - self.convs.len()].name,
        }
    }

    /// Weights (mutable) and output channels of layer `i`, convolutions first.
    pub fn weight_mut(&mut self, i: usize) -> (&mut Vec<f32>, usize) {
        let n = self.convs.len();
        if i < n {
            let c = &mut self.convs[i];
            (&mut c.weight, c.c_out)
        } else {
            let f = &mut self.fcs[i - n];
            (&mut f.weight, f.c_out)
        }
    }

    /// Weights and output channels of layer `i`, convolutions first.
    #[must_use]
    pub fn weight(&self, i: usize) -> (&[f32], usize) {
        let n = self.convs.len();
        if i < n {
            (&self.convs[i].weight, self.convs[i].c_out)
        } else {
            (&self.fcs[i - n].weight, self.fcs[i - n].c_out)
        }
    }

    /// Biases of layer `i`, convolutions first.
    pub fn bias_mut(&mut self, i: usize) -> &mut Vec<f32> {
        let n = self.convs.len();
        if i < n {
            &mut self.convs[i].bias
        } else {
            &mut self.fcs[i - n].bias
        }
    }

    /// Checks that every weight and bias is a finite number.
    ///
    /// # Errors
    /// [`LowerError::NotFinite`] with layer and index.
    pub fn check_finite(&self) -> Result<(), LowerError> {
        let convs = self.convs.iter().map(|c| (&c.name, &c.weight, &c.bias));
        let fcs = self.fcs.iter().map(|f| (&f.name, &f.weight, &f.bias));
        for (name, weight, bias) in convs.chain(fcs) {
            for (what, values) in [("weight", weight), ("bias", bias)] {
                if let Some(index) = values.iter().position(|v| !v.is_finite()) {
                    let layer = name.clone();
                    return Err(LowerError::NotFinite {
                        layer,
                        what,
                        index,
                        value: values[index],
                    });
                }
            }
        }
        Ok(())
    }
}
