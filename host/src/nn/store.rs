//! Tensors in safetensors files, written so that a crash leaves the old file or the new.

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Errors of reading and writing tensor files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Reading or writing failed.
    #[error("cannot access {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Not a whole safetensors file.
    #[error("{path} is not a complete safetensors file: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        reason: String,
    },
    /// A number type that is not read or written.
    #[error(
        "tensor `{tensor}` in {path} has the type {dtype}; F32, F16, BF16, I64, U32 and U8 are read"
    )]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: String,
    },
    /// candle could not make or read a tensor.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Tensors by name, and the file's metadata.
pub struct Stored {
    /// On the CPU; half precision widened to `f32`.
    pub tensors: HashMap<String, Tensor>,
    /// Free text by key.
    pub metadata: HashMap<String, String>,
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError + '_ {
    |source| StoreError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Writes `bytes` to a temporary file beside `path`, flushes it to the disk and renames
/// it, so that `path` is never half written.
///
/// # Errors
/// [`StoreError::Io`].
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    };
    write().map_err(io(path))
}

/// Writes tensors atomically in the order of their names; `F32`, `F16`, `BF16`, `U32`
/// and `U8` are stored as they are.
///
/// # Errors
/// [`StoreError`], naming the tensor or the file.
pub fn write_tensors(
    path: &Path,
    tensors: &HashMap<String, Tensor>,
    metadata: HashMap<String, String>,
) -> Result<(), StoreError> {
    let mut raw = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        raw.push((
            name.as_str(),
            tensor.dims().to_vec(),
            raw_bytes(path, name, tensor)?,
        ));
    }
    let malformed = |e: safetensors::SafeTensorError| StoreError::Malformed {
        path: path.to_owned(),
        reason: e.to_string(),
    };
    let views = raw
        .iter()
        .map(|(name, shape, (dtype, bytes))| {
            Ok((*name, TensorView::new(*dtype, shape.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(malformed)?;
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(malformed)?;
    write_atomically(path, &bytes)
}

fn raw_bytes(path: &Path, name: &str, tensor: &Tensor) -> Result<(Dtype, Vec<u8>), StoreError> {
    let flat = tensor.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::F32 => {
            let values = flat.to_vec1::<f32>()?;
            (
                Dtype::F32,
                values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            )
        }
        DType::F16 => {
            let values = flat.to_vec1::<half::f16>()?;
            (
                Dtype::F16,
                values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            )
        }
        DType::BF16 => {
            let values = flat.to_vec1::<half::bf16>()?;
            (
                Dtype::BF16,
                values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            )
        }
        DType::U32 => {
            let values = flat.to_vec1::<u32>()?;
            (
                Dtype::U32,
                values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            )
        }
        DType::U8 => (Dtype::U8, flat.to_vec1::<u8>()?),
        other => {
            return Err(StoreError::Dtype {
                path: path.to_owned(),
                tensor: name.to_owned(),
                dtype: format!("{other:?}"),
            });
        }
    })
}

/// Reads a safetensors file.
///
/// # Errors
/// [`StoreError`], naming the tensor or the file.
pub fn read_tensors(path: &Path) -> Result<Stored, StoreError> {
    let bytes = fs::read(path).map_err(io(path))?;
    let malformed = |e: safetensors::SafeTensorError| StoreError::Malformed {
        path: path.to_owned(),
        reason: e.to_string(),
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(malformed)?;
    let file = SafeTensors::deserialize(&bytes).map_err(malformed)?;
    let mut tensors = HashMap::new();
    for (name, view) in file.tensors() {
        let tensor = tensor_of(path, &name, &view)?;
        tensors.insert(name, tensor);
    }
    Ok(Stored {
        tensors,
        metadata: header.metadata().clone().unwrap_or_default(),
    })
}

fn tensor_of(path: &Path, name: &str, view: &TensorView<'_>) -> Result<Tensor, StoreError> {
    let bytes = view.data();
    let shape = view.shape().to_vec();
    let halves = |convert: fn([u8; 2]) -> f32| -> Vec<f32> {
        bytes
            .chunks_exact(2)
            .map(|b| convert([b[0], b[1]]))
            .collect()
    };
    let floats = match view.dtype() {
        Dtype::F32 => words(bytes, f32::from_le_bytes),
        Dtype::F16 => halves(|b| half::f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => halves(|b| half::bf16::from_le_bytes(b).to_f32()),
        Dtype::U8 => return Ok(Tensor::from_slice(bytes, shape, &Device::Cpu)?),
        // Counters of batches, which PyTorch stores beside normalization.
        Dtype::I64 => {
            let values = bytes.as_chunks::<8>().0.iter();
            let values = values.map(|b| i64::from_le_bytes(*b)).collect();
            return Ok(Tensor::from_vec::<_, i64>(values, shape, &Device::Cpu)?);
        }
        Dtype::U32 => {
            let values = words(bytes, u32::from_le_bytes);
            return Ok(Tensor::from_vec(values, shape, &Device::Cpu)?);
        }
        other => {
            return Err(StoreError::Dtype {
                path: path.to_owned(),
                tensor: name.to_owned(),
                dtype: format!("{other:?}"),
            });
        }
    };
    Ok(Tensor::from_vec(floats, shape, &Device::Cpu)?)
}

fn words<T>(bytes: &[u8], convert: fn([u8; 4]) -> T) -> Vec<T> {
    bytes
        .chunks_exact(4)
        .map(|b| convert([b[0], b[1], b[2], b[3]]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_and_metadata_survive() -> Result<(), StoreError> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("t.safetensors");
        let a = Tensor::new(&[[1.5f32, -2.0], [0.25, 4.0]], &Device::Cpu)?;
        let tensors = HashMap::from([
            ("a".to_owned(), a.clone()),
            ("half".to_owned(), a.to_dtype(DType::F16)?),
            ("brain".to_owned(), a.to_dtype(DType::BF16)?),
            ("n".to_owned(), Tensor::new(&[7u32], &Device::Cpu)?),
        ]);
        let metadata = HashMap::from([("step".to_owned(), "12".to_owned())]);
        write_tensors(&path, &tensors, metadata.clone())?;
        let stored = read_tensors(&path)?;
        assert_eq!(stored.metadata, metadata);
        for name in ["a", "half", "brain"] {
            assert_eq!(stored.tensors[name].to_vec2::<f32>()?, a.to_vec2::<f32>()?);
        }
        assert_eq!(stored.tensors["n"].to_vec1::<u32>()?, [7]);
        assert!(!folder.path().join("t.safetensors.tmp").exists());
        Ok(())
    }

    #[test]
    fn a_truncated_file_is_refused() -> Result<(), StoreError> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("t.safetensors");
        let a = Tensor::new(&[1.0f32; 64], &Device::Cpu)?;
        write_tensors(&path, &HashMap::from([("a".to_owned(), a)]), HashMap::new())?;
        let bytes = fs::read(&path).expect("read");
        for end in [0, 4, 20, bytes.len() - 1] {
            fs::write(&path, &bytes[..end]).expect("write");
            assert!(matches!(
                read_tensors(&path),
                Err(StoreError::Malformed { .. })
            ));
        }
        let missing = read_tensors(&folder.path().join("none"));
        assert!(matches!(missing, Err(StoreError::Io { .. })));
        Ok(())
    }
}
