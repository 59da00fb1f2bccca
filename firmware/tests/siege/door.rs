//! Networks of 204 bytes with versions, and the gate to them: what the updater sees of a network,
//! without one.

use firmware::update::Gate;
use shared::CRC32;
use shared::blob::{BlobError, Malformed};
use shared::update::UpdateError;

/// A network as the updater sees one: a number, a version, whether it passes, a checksum.
pub fn network(number: u8, version: u8, passes: bool) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..200).map(|i| i ^ number).collect();
    bytes[..3].copy_from_slice(&[number, version, u8::from(passes)]);
    let crc = CRC32.checksum(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

/// The gate to such networks; notes which ones were tried.
#[derive(Default)]
pub struct Door {
    pub tried: Vec<u8>,
}

impl Gate for Door {
    fn check(&mut self, network: &[u8], floor: u32) -> Result<u32, UpdateError> {
        let refused = |what| Err(UpdateError::Blob(BlobError { what, at: 0 }));
        let Some((body, crc)) = network.get(..204).and_then(|n| n.split_last_chunk::<4>()) else {
            return refused(Malformed::Truncated);
        };
        let computed = CRC32.checksum(body);
        let stated = u32::from_le_bytes(*crc);
        if computed != stated {
            return refused(Malformed::Crc { stated, computed });
        }
        let version = u32::from(body[1]);
        if version < floor {
            return refused(Malformed::Length);
        }
        Ok(version)
    }

    fn self_test(&mut self, network: &[u8], expected: u32) -> Result<(), UpdateError> {
        self.tried.push(network[0]);
        let got = u32::from(network[0]);
        if network[2] == 1 && got == expected {
            Ok(())
        } else {
            Err(UpdateError::SelfTest { expected, got })
        }
    }
}
