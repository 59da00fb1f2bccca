//! Writing a planned network as a blob.

use super::LowerError;
use super::encode::weight_section;
use super::integer::{IntLayer, IntNet};
use super::plan::MemoryPlan;
use shared::blob::write::{LayerData, blob_bytes, write};
use shared::blob::{Blob, Header, LayerRecord};
use shared::spec::LayerSpec;

/// A blob and what was decided for each of its layers.
#[derive(Clone, Debug)]
pub struct Emitted {
    /// The bytes, checked by [`Blob::new_checked`].
    pub blob: Vec<u8>,
    /// The specs as written: encoding and strips chosen.
    pub specs: Vec<LayerSpec>,
}

/// Writes the blob.
///
/// # Errors
/// [`LowerError::Encoding`] where a layer cannot be stored as its spec says;
/// [`LowerError::Blob`] where the result does not pass the reader's own check.
///
/// # Panics
/// Where `plan` was made for another network.
pub fn emit(net: &IntNet, plan: &MemoryPlan) -> Result<Emitted, LowerError> {
    assert_eq!(
        net.layers.len(),
        plan.layers.len(),
        "the plan belongs to another network"
    );
    let places = net.layers.iter().zip(&plan.layers);
    let sections: Vec<Vec<u8>> = places
        .map(|(layer, place)| section_of(layer, &place.spec))
        .collect::<Result<_, _>>()?;
    let layers: Vec<LayerData> = net
        .layers
        .iter()
        .zip(&plan.layers)
        .zip(&sections)
        .map(|((layer, place), weights)| LayerData {
            record: LayerRecord {
                spec: place.spec,
                in_off: place.in_off,
                out_off: place.out_off,
                scratch_off: place.scratch_off,
                weights_off: 0,
                weights_len: 0,
                requant_off: 0,
            },
            weights,
            requants: &layer.requants,
        })
        .collect();
    let mut blob = vec![0; blob_bytes(&layers)];
    write(header(net, plan), &layers, &mut blob);
    Blob::new_checked(&blob)?;
    Ok(Emitted {
        blob,
        specs: plan.layers.iter().map(|l| l.spec).collect(),
    })
}

/// The weights of a layer in the order that the planned kernel takes.
fn section_of(layer: &IntLayer, spec: &LayerSpec) -> Result<Vec<u8>, LowerError> {
    weight_section(layer, spec).ok_or_else(|| LowerError::Encoding {
        layer: layer.name.clone(),
        encoding: spec.encoding.name(),
    })
}

fn header(net: &IntNet, plan: &MemoryPlan) -> Header {
    let mut r_c = [0; 4];
    r_c[..net.r_c.len()].copy_from_slice(&net.r_c);
    Header {
        total_len: 0,
        crc32: 0,
        in_h: net.input[0] as u16,
        in_w: net.input[1] as u16,
        in_c: net.input[2] as u16,
        layers: net.layers.len() as u16,
        r_c,
        arena_bytes: plan.arena_bytes,
        logit_scale: net.logit_scale.to_bits(),
    }
}
