//! Weights in one safetensors file, or in several that an index names, as Hugging Face stores
//! large models.

use super::store::{StoreError, Stored, read_tensors};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// How an index's name ends.
const INDEX: &str = ".safetensors.index.json";

/// Reads a safetensors file, or all files of an index (`*.safetensors.index.json`).
///
/// # Errors
/// [`StoreError`], naming the file, and the tensor that an index promises and no file has.
pub fn read_weights(path: &Path) -> Result<Stored, StoreError> {
    if !is_index(path) {
        return read_tensors(path);
    }
    let mut all = Stored {
        tensors: HashMap::new(),
        metadata: HashMap::new(),
    };
    for (file, names) in shards(path)? {
        let stored = read_tensors(&file)?;
        if let Some(name) = names.iter().find(|n| !stored.tensors.contains_key(*n)) {
            return Err(malformed(
                &file,
                format!("the index promises `{name}` in it"),
            ));
        }
        all.tensors.extend(stored.tensors);
        all.metadata.extend(stored.metadata);
    }
    Ok(all)
}

/// The files that hold the weights at `path`: itself, or those that it names.
///
/// # Errors
/// As [`read_weights`], but the files themselves are not read.
pub fn weight_files(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    match is_index(path) {
        true => Ok(shards(path)?.into_keys().collect()),
        false => Ok(vec![path.to_owned()]),
    }
}

fn is_index(path: &Path) -> bool {
    let name = path.file_name().map(|n| n.to_string_lossy());
    name.is_some_and(|n| n.ends_with(INDEX))
}

/// The files of an index, each with the tensors that should be in it.
fn shards(path: &Path) -> Result<BTreeMap<PathBuf, Vec<String>>, StoreError> {
    let text = fs::read(path).map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })?;
    let index: Value = serde_json::from_slice(&text).map_err(|e| malformed(path, e.to_string()))?;
    let map = index["weight_map"]
        .as_object()
        .ok_or_else(|| malformed(path, "it has no `weight_map`".into()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for (tensor, file) in map {
        let file = file.as_str().unwrap_or_default();
        // An index names its neighbours, nothing else on this machine.
        if Path::new(file).file_name().is_none_or(|name| name != file) {
            let reason = format!("it says that `{tensor}` is in `{file}`, which is no file name");
            return Err(malformed(path, reason));
        }
        files
            .entry(folder.join(file))
            .or_default()
            .push(tensor.clone());
    }
    Ok(files)
}

fn malformed(path: &Path, reason: String) -> StoreError {
    StoreError::Malformed {
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::super::write_tensors;
    use super::*;
    use candle_core::{Device, Tensor};

    #[test]
    fn an_index_is_read_whole_or_not_at_all() -> Result<(), StoreError> {
        let folder = tempfile::tempdir().expect("folder");
        let at = |name: &str| folder.path().join(name);
        for (i, name) in ["a", "b"].into_iter().enumerate() {
            let tensors =
                HashMap::from([(name.to_owned(), Tensor::new(&[i as u32], &Device::Cpu)?)]);
            write_tensors(&at(&format!("m-{i}.safetensors")), &tensors, HashMap::new())?;
        }
        let index = at("m.safetensors.index.json");
        let with = |map: &str| {
            fs::write(&index, format!(r#"{{"weight_map": {map}}}"#)).expect("writes");
            read_weights(&index)
                .map(|s| s.tensors.len())
                .map_err(|e| e.to_string())
        };
        let whole = r#"{"a": "m-0.safetensors", "b": "m-1.safetensors"}"#;
        assert_eq!(with(whole), Ok(2));
        assert_eq!(weight_files(&index)?.len(), 2);
        for (map, reason) in [
            (
                r#"{"a": "m-0.safetensors", "c": "m-1.safetensors"}"#,
                "promises `c`",
            ),
            (r#"{"a": "m-2.safetensors"}"#, "m-2.safetensors"),
            (r#"{"a": "../m-0.safetensors"}"#, "no file name"),
            (r#"{"a": 7}"#, "no file name"),
            ("7", "weight_map"),
        ] {
            let error = with(map).expect_err("refused");
            assert!(error.contains(reason), "{error}");
        }
        Ok(())
    }
}
