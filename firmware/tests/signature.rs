//! Signatures that another implementation makes, checked as a device does.

mod common;

use common::network::Chain;
use ed25519_dalek::{Signer, SigningKey};
use firmware::signature::check;
use shared::envelope::{SIGNED_BYTES, SignatureError, TRAILER_BYTES, Trailer, key_id};

/// The blob with its trailer.
fn signed(blob: &[u8], version: u32, key: &SigningKey) -> Vec<u8> {
    let public = key.verifying_key().to_bytes();
    let head = Trailer::head(version, blob.len() as u32, &public);
    let mut file = [blob, &head].concat();
    file.extend(key.sign(&file).to_bytes());
    file
}

#[test]
fn what_the_trusted_key_signed_is_taken_and_nothing_else() {
    let blob = Chain::new(3).blob;
    let key = SigningKey::from_bytes(&[1; 32]);
    let public = key.verifying_key().to_bytes();
    let file = signed(&blob, 5, &key);
    assert_eq!(check(&file, blob.len(), &public, 0), Ok(5));
    assert_eq!(check(&file, blob.len(), &public, 5), Ok(5));
    let (version, floor) = (5, 6);
    assert_eq!(
        check(&file, blob.len(), &public, floor),
        Err(SignatureError::Rollback { version, floor })
    );
    assert_eq!(
        check(&blob, blob.len(), &public, 0),
        Err(SignatureError::Unsigned)
    );
    let other = SigningKey::from_bytes(&[2; 32]);
    let stranger = other.verifying_key().to_bytes();
    assert_eq!(
        check(&signed(&blob, 5, &other), blob.len(), &public, 0),
        Err(SignatureError::Signer {
            key: key_id(&stranger),
            trusted: key_id(&public)
        })
    );
}

#[test]
fn every_changed_byte_is_noticed() {
    let blob = Chain::new(3).blob;
    let key = SigningKey::from_bytes(&[1; 32]);
    let public = key.verifying_key().to_bytes();
    let file = signed(&blob, 5, &key);
    assert_eq!(file.len(), blob.len() + TRAILER_BYTES);
    // Of the network every eighth byte, of the trailer each.
    for at in (0..blob.len()).step_by(8).chain(blob.len()..file.len()) {
        let mut bad = file.clone();
        bad[at] ^= 1 << (at / 8 % 8);
        let result = check(&bad, blob.len(), &public, 0);
        let error = result.expect_err("a changed byte");
        if at < blob.len() || at >= blob.len() + SIGNED_BYTES {
            assert_eq!(error, SignatureError::Forged, "byte {at}");
        }
    }
}

/// Another's signature under the trusted key's name, and one key's over another network.
#[test]
fn a_signature_cannot_be_moved() {
    let [blob, another] = [3, 4].map(|seed| Chain::new(seed).blob);
    let key = SigningKey::from_bytes(&[1; 32]);
    let public = key.verifying_key().to_bytes();
    let mut forged = signed(&blob, 5, &SigningKey::from_bytes(&[2; 32]));
    let at = blob.len() + 16;
    forged[at..at + 32].copy_from_slice(&public);
    let forgery = Err(SignatureError::Forged);
    assert_eq!(check(&forged, blob.len(), &public, 0), forgery);
    let file = signed(&blob, 5, &key);
    assert_eq!(another.len(), blob.len(), "networks of one size");
    let moved = [&another[..], &file[blob.len()..]].concat();
    assert_eq!(check(&moved, another.len(), &public, 0), forgery);
}
