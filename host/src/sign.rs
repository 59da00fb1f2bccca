//! Keys, and signatures beside blobs ([`shared::envelope`]).
//!
//! A key is a text file of one line. The private one is made readable by its owner only,
//! is never overwritten, and never leaves the host; the public one beside it is built into
//! the firmware that trusts it.

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use shared::blob::Blob;
use shared::envelope::{SignatureError, Trailer};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const PRIVATE: &str = "ed25519-private:";
const PUBLIC: &str = "ed25519-public:";

/// What can go wrong with keys and signatures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// A file could not be read or written.
    #[error("key {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A key would overwrite a file.
    #[error("key {}: there is a file already, and keys overwrite nothing", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file holds no such key.
    #[error("key {}: it holds no {wanted} key", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// Private or public.
        wanted: &'static str,
    },
    /// Others than its owner can read a private key.
    #[error("key {}: others can read it (mode {mode:03o})", path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The system gives no random bytes.
    #[error("no random bytes for a key: {0}")]
    Random(getrandom::Error),
}

impl SignError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Io { .. } => "check the path; `cargo run -p host -- key FILE` makes a key".into(),
            Self::Exists { .. } => {
                "another name; whoever loses a key cannot sign for it again".into()
            }
            Self::NotAKey { wanted, .. } => match *wanted {
                "private" => "the file without .pub that `key` wrote".into(),
                _ => "the .pub file that `key` wrote".into(),
            },
            Self::Readable { path, .. } => format!("chmod 600 {}", path.display()),
            Self::Random(_) => "run again".into(),
        }
    }
}

/// A private key.
pub struct PrivateKey(SigningKey);

/// A public key, as firmware has it built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl PrivateKey {
    /// Makes a key in the file `path`, and its public half in [`public_path`].
    ///
    /// # Errors
    /// [`SignError::Exists`] where either file is there; nothing was changed then.
    pub fn generate(path: &Path) -> Result<Self, SignError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(SignError::Random)?;
        let key = Self(SigningKey::from_bytes(&seed));
        let public = public_path(path);
        if public.exists() {
            return Err(SignError::Exists { path: public });
        }
        write_new(path, 0o600, &format!("{PRIVATE}{}\n", hex(&seed)))?;
        write_new(&public, 0o644, &format!("{PUBLIC}{}\n", key.public()))?;
        Ok(key)
    }

    /// Reads a private key.
    ///
    /// # Errors
    /// [`SignError::Readable`] where the file is not its owner's alone.
    pub fn read(path: &Path) -> Result<Self, SignError> {
        check_mode(path)?;
        let seed = read(path, PRIVATE, "private")?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// `blob` with a trailer that says: this is version `version`, and I signed it.
    #[must_use]
    pub fn sign(&self, blob: &Blob, version: u32) -> Vec<u8> {
        let bytes = blob.bytes();
        let head = Trailer::head(version, bytes.len() as u32, &self.public().0);
        let mut file = [bytes, &head].concat();
        file.extend(self.0.sign(&file).to_bytes());
        file
    }
}

impl PublicKey {
    /// Reads a public key.
    ///
    /// # Errors
    /// [`SignError::NotAKey`], also for 32 bytes that are no point of the curve.
    pub fn read(path: &Path) -> Result<Self, SignError> {
        let bytes = read(path, PUBLIC, "public")?;
        match VerifyingKey::from_bytes(&bytes) {
            Ok(key) if !key.is_weak() => Ok(Self(bytes)),
            _ => Err(SignError::NotAKey {
                path: path.into(),
                wanted: "public",
            }),
        }
    }
}

/// Where the public half of the key in `path` lies: beside it, with `.pub` appended.
#[must_use]
pub fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// The trailer of a file with a blob; `None` where it has none. The signature is checked
/// against the key that the trailer names, whoever that is.
///
/// # Errors
/// [`SignatureError`]: the trailer is damaged, or the signature does not belong here.
pub fn trailer(file: &[u8], blob: &Blob) -> Result<Option<Trailer>, SignatureError> {
    let len = blob.bytes().len();
    let trailer = match Trailer::read(file, len) {
        Ok(trailer) => trailer,
        Err(SignatureError::Unsigned) => return Ok(None),
        Err(error) => return Err(error),
    };
    let signed = &file[..len + shared::envelope::SIGNED_BYTES];
    let signature = ed25519_dalek::Signature::from_bytes(&trailer.signature);
    VerifyingKey::from_bytes(&trailer.key)
        .and_then(|key| key.verify_strict(signed, &signature))
        .map_err(|_| SignatureError::Forged)?;
    Ok(Some(trailer))
}

/// What a device that refuses a network says, in words.
#[must_use]
pub fn describe(error: &SignatureError) -> String {
    match error {
        SignatureError::Unsigned => {
            "it is not signed, the firmware runs signed networks only".into()
        }
        SignatureError::Format { found } => {
            format!("its signature has the layout {found}, which is not known, or a wrong length")
        }
        SignatureError::Signer { key, trusted } => {
            format!("it is signed with the key {key:08x}…, the firmware trusts {trusted:08x}…")
        }
        SignatureError::Forged => "its signature does not belong to these bytes".into(),
        SignatureError::Rollback { version, floor } => {
            format!("it is version {version}, the device has run {floor} and takes nothing older")
        }
        SignatureError::Unnoted => {
            "its version cannot be noted: the ledger of versions is full or cannot be written"
                .into()
        }
        other => format!("{other:?}"),
    }
}

/// What to try then.
#[must_use]
pub fn hint(error: &SignatureError) -> &'static str {
    match error {
        SignatureError::Unsigned => "`--sign KEY --net-version N`, or `sign` it first",
        SignatureError::Signer { .. } => {
            "sign it with the key that the firmware trusts, or build firmware with `--trust` of yours"
        }
        SignatureError::Rollback { .. } => "sign it again with a higher `--net-version`",
        SignatureError::Unnoted => {
            "check the supply; a full ledger needs the chip erased: `probe-rs erase`, then `flash`"
        }
        _ => "copy the file again, or sign it again",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read(path: &Path, prefix: &str, wanted: &'static str) -> Result<[u8; 32], SignError> {
    let text = std::fs::read_to_string(path).map_err(|error| SignError::Io {
        path: path.into(),
        error,
    })?;
    let parsed = text.trim().strip_prefix(prefix).and_then(of_hex);
    parsed.ok_or_else(|| SignError::NotAKey {
        path: path.into(),
        wanted,
    })
}

fn of_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), SignError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => SignError::Exists { path: path.into() },
        _ => SignError::Io {
            path: path.into(),
            error,
        },
    })
}

#[cfg(unix)]
fn check_mode(path: &Path) -> Result<(), SignError> {
    use std::os::unix::fs::PermissionsExt;
    let found = std::fs::metadata(path).map_err(|error| SignError::Io {
        path: path.into(),
        error,
    })?;
    match found.permissions().mode() & 0o777 {
        mode if mode & 0o077 != 0 => Err(SignError::Readable {
            path: path.into(),
            mode,
        }),
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
fn check_mode(_path: &Path) -> Result<(), SignError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_owners_alone_and_overwrites_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let key = PrivateKey::generate(&path).unwrap();
        let public = PublicKey::read(&public_path(&path)).unwrap();
        assert_eq!(PrivateKey::read(&path).unwrap().public(), public);
        assert_eq!(key.public(), public);
        let before = std::fs::read(&path).unwrap();
        for taken in [path.clone(), public_path(&path)] {
            let again = PrivateKey::generate(&path);
            assert!(matches!(again, Err(SignError::Exists { .. })));
            std::fs::remove_file(&taken).unwrap();
            if taken == path {
                let again = PrivateKey::generate(&path);
                assert!(matches!(again, Err(SignError::Exists { .. })));
                assert!(!path.exists(), "no half of a key");
                std::fs::write(&path, &before).unwrap();
            }
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let set = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode));
            set(0o640).unwrap();
            let read = PrivateKey::read(&path).err().unwrap();
            assert!(read.to_string().contains("mode 640"), "{read}");
            set(0o600).unwrap();
            assert!(PrivateKey::read(&path).is_ok());
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_new_key_has_mode_0600() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let _ = PrivateKey::generate(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        // No point of the curve has this y.
        let nowhere = format!("02{}", "00".repeat(31));
        for text in [
            "",
            "ed25519-public:00",
            "ed25519-private:zz",
            &format!("{PUBLIC}{nowhere}"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = PublicKey::read(&path).unwrap_err();
            assert!(
                matches!(error, SignError::NotAKey { .. }),
                "{text}: {error}"
            );
        }
        // The point of order 1, under which anything verifies somewhere.
        std::fs::write(&path, format!("{PUBLIC}01{}", "00".repeat(31))).unwrap();
        assert!(PublicKey::read(&path).is_err());
    }
}
