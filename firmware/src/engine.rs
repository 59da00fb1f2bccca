//! A network in one contiguous arena, layer after layer.

use crate::kernels::{self, Blocks, Buffers, LayerError};
use shared::act::Act;
use shared::blob::{Blob, LayerRecord};
use shared::coding::Corrupt;
use shared::coding::tans::STATES;
use shared::spec::{Ability, Encoding};

/// Why a network cannot be set up or run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EngineError {
    /// The blob needs more arena than there is, in bytes.
    ArenaTooSmall {
        /// What the blob states.
        need: u32,
        /// What was given.
        limit: u32,
    },
    /// The arena does not start at a multiple of 4.
    Unaligned,
    /// The image does not have as many bytes as the network takes.
    ImageSize {
        /// Bytes given.
        got: u32,
        /// Bytes needed.
        need: u32,
    },
    /// This build lacks a kernel that a layer needs.
    NotBuilt {
        /// Index of the layer.
        layer: u16,
        /// The kernel.
        kernel: Ability,
    },
    /// A stored weight stream is damaged.
    Corrupt {
        /// Index of the layer.
        layer: u16,
        /// Index of the block of output channels.
        block: u16,
    },
    /// A buffer lies outside the arena; a checked blob has none such.
    Buffers {
        /// Index of the layer.
        layer: u16,
    },
}

impl core::fmt::Display for EngineError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::ArenaTooSmall { need, limit } => {
                write!(
                    f,
                    "the network needs {need} bytes of arena, there are {limit}"
                )
            }
            Self::Unaligned => write!(f, "the arena is not aligned to 4 bytes"),
            Self::ImageSize { got, need } => {
                write!(f, "the image has {got} bytes, the network takes {need}")
            }
            Self::NotBuilt { layer, kernel } => {
                let kernel = kernel.name();
                write!(
                    f,
                    "layer {layer} needs the kernel {kernel}, which was not built in"
                )
            }
            Self::Corrupt { layer, block } => {
                write!(f, "the weights of layer {layer}, block {block} are damaged")
            }
            Self::Buffers { layer } => write!(f, "a buffer of layer {layer} is out of range"),
        }
    }
}

impl core::error::Error for EngineError {}

/// Called around each layer, to mark and time it.
pub trait LayerHook {
    /// Layer `layer` begins.
    fn begin(&mut self, layer: u16);
    /// Layer `layer` has ended.
    fn end(&mut self, layer: u16);
}

/// No hook.
impl LayerHook for () {
    fn begin(&mut self, _layer: u16) {}
    fn end(&mut self, _layer: u16) {}
}

/// A checked blob and the memory that it runs in.
#[derive(Debug)]
pub struct Network<'a> {
    blob: Blob<'a>,
    arena: &'a mut [u8],
}

/// The last layer's raw accumulators, one a class.
#[derive(Clone, Copy, Debug)]
pub struct Logits<'a>(&'a [u8]);

impl Logits<'_> {
    /// The accumulators in order.
    pub fn iter(&self) -> impl Iterator<Item = i32> {
        self.0
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&b| i32::from_le_bytes(b))
    }

    /// The index of the largest; the first one of equals.
    #[must_use]
    pub fn argmax(&self) -> usize {
        let mut best = (0, i32::MIN);
        for (i, v) in self.iter().enumerate() {
            if v > best.1 {
                best = (i, v);
            }
        }
        best.0
    }
}

impl<'a> Network<'a> {
    /// Sets a network up in the first `blob.header().arena_bytes` bytes of `arena`.
    ///
    /// # Errors
    /// [`EngineError::NotBuilt`], [`EngineError::ArenaTooSmall`], [`EngineError::Unaligned`].
    pub fn new(blob: Blob<'a>, arena: &'a mut [u8]) -> Result<Self, EngineError> {
        let need = blob.header().arena_bytes;
        let limit = arena.len() as u32;
        for (i, layer) in blob.numbered_layers() {
            let kernel = Ability::of(layer.spec());
            if !kernels::BUILT.contains(kernel) {
                return Err(EngineError::NotBuilt { layer: i, kernel });
            }
        }
        if arena.as_ptr().align_offset(4) != 0 {
            return Err(EngineError::Unaligned);
        }
        match arena.get_mut(..need as usize) {
            Some(arena) => Ok(Self { blob, arena }),
            None => Err(EngineError::ArenaTooSmall { need, limit }),
        }
    }

    /// The blob.
    #[must_use]
    pub fn blob(&self) -> &Blob<'a> {
        &self.blob
    }

    /// Runs all layers on one image of `[h, w, c]` bytes.
    ///
    /// # Errors
    /// [`EngineError::ImageSize`]; [`EngineError::Corrupt`] where a weight stream lies.
    pub fn infer(
        &mut self,
        image: &[u8],
        hook: &mut impl LayerHook,
    ) -> Result<Logits<'_>, EngineError> {
        let need = self.blob.image_bytes();
        if image.len() != need {
            return Err(EngineError::ImageSize {
                got: image.len() as u32,
                need: need as u32,
            });
        }
        let r_c = self.blob.header().r_c;
        let mut last = 0..0;
        for (i, layer) in self.blob.numbered_layers() {
            let buffers = buffers(self.arena, &layer.record, image)
                .ok_or(EngineError::Buffers { layer: i })?;
            hook.begin(i);
            let result = kernels::run_layer(&layer, r_c, Blocks::All, buffers);
            hook.end(i);
            result.map_err(|e| match e {
                LayerError::Buffers => EngineError::Buffers { layer: i },
                LayerError::NotBuilt(kernel) => EngineError::NotBuilt { layer: i, kernel },
                LayerError::Corrupt { block } => EngineError::Corrupt { layer: i, block },
            })?;
            let start = layer.record.out_off as usize;
            last = start..start.saturating_add(layer.spec().output_bytes() as usize);
        }
        Ok(Logits(self.arena.get(last).unwrap_or(&[])))
    }

    /// Decodes every coded weight stream without running it.
    ///
    /// # Errors
    /// [`EngineError::Corrupt`] names the first one that is damaged.
    pub fn verify_streams(&self) -> Result<(), EngineError> {
        verify_streams(&self.blob)
    }
}

/// Decodes every coded weight stream of a blob; see [`Network::verify_streams`].
///
/// # Errors
/// [`EngineError::Corrupt`] names the first one that is damaged, or that has weights for which
/// its kernel is not exact.
pub fn verify_streams(blob: &Blob) -> Result<(), EngineError> {
    let mut table = [0; STATES];
    for (i, layer) in blob.numbered_layers() {
        let spec = layer.spec();
        if !spec.has_weights() || spec.encoding == Encoding::Dense {
            continue;
        }
        let corrupt = |block| EngineError::Corrupt { layer: i, block };
        layer
            .decoder_table(&mut table)
            .map_err(|Corrupt| corrupt(0))?;
        for block in 0..spec.blocks() {
            layer
                .verify_block(block, &table)
                .map_err(|Corrupt| corrupt(block))?;
        }
    }
    Ok(())
}

/// The layer's input, output and scratch, out of one arena.
fn buffers<'b>(arena: &'b mut [u8], r: &LayerRecord, image: &'b [u8]) -> Option<Buffers<'b>> {
    let range = |off: u32, len: u32| (off as usize, len as usize);
    let input = range(r.in_off, r.spec.input_bytes());
    let output = range(r.out_off, r.spec.output_bytes());
    let scratch = range(r.scratch_off, r.spec.scratch_bytes());
    let [input, output, scratch] = split(arena, [input, output, scratch])?;
    Some(Buffers {
        input: if r.spec.input == Act::Image {
            image
        } else {
            input
        },
        output,
        scratch,
    })
}

/// Three parts `(offset, length)` of one buffer; `None` where they overlap or stick out.
/// Empty ones may lie anywhere.
fn split(buffer: &mut [u8], parts: [(usize, usize); 3]) -> Option<[&mut [u8]; 3]> {
    let mut order = [0usize, 1, 2];
    order.sort_unstable_by_key(|&i| parts.get(i).map_or(0, |p| p.0));
    let mut out: [&mut [u8]; 3] = [&mut [], &mut [], &mut []];
    let (mut rest, mut at) = (buffer, 0);
    for i in order {
        let &(offset, len) = parts.get(i)?;
        if len == 0 {
            continue;
        }
        let (_, tail) = rest.split_at_mut_checked(offset.checked_sub(at)?)?;
        let (part, tail) = tail.split_at_mut_checked(len)?;
        *out.get_mut(i)? = part;
        (rest, at) = (tail, offset.checked_add(len)?);
    }
    Some(out)
}
