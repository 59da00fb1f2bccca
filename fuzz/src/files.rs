//! The host's loaders: data and models that people bring, runs that were copied about.

use candle_core::Device;
use host::agent::{Agent, AgentState, Transition};
use host::board::LatencyTable;
use host::data::{Augment, Crop, Normalization, Source};
use host::nn::Rng;
use host::run::{Checkpoints, fingerprint};
use host::vgg::{Vgg, VggConfig};
use host::{data, report};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// A folder in memory, where there is such a thing; loaders take paths.
fn folder(name: &str) -> PathBuf {
    static ROOT: OnceLock<TempDir> = OnceLock::new();
    let root = ROOT.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let made = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        made.expect("a folder for files")
    });
    let folder = root.path().join(name);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    fs::write(folder.join(name), bytes).expect("written");
}

/// Splits off what a length of 16 bits at the start says, or all there is.
fn split(data: &[u8]) -> (&[u8], &[u8]) {
    match data.split_first_chunk::<2>() {
        Some((len, rest)) => rest.split_at(usize::from(u16::from_le_bytes(*len)).min(rest.len())),
        None => (data, &[]),
    }
}

/// Joins parts as the targets of more than one file take them apart.
///
/// # Panics
/// Where one has more than 65,535 bytes.
#[must_use]
pub fn join(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        let len = u16::try_from(part.len()).expect("a short file");
        all.extend(len.to_le_bytes());
        all.extend_from_slice(part);
    }
    all
}

/// A model: `config.json`, then `model.safetensors`, which is also imported without, then an index
/// of several such files, if there is one.
pub fn import(data: &[u8]) {
    let (config, rest) = split(data);
    let (weights, rest) = split(rest);
    let (index, _) = split(rest);
    let folder = folder("model");
    write(&folder, "config.json", config);
    write(&folder, "model.safetensors", weights);
    let _ = Vgg::load(&folder, &Device::Cpu);
    let path = folder.join("model.safetensors");
    if let Ok(config) = VggConfig::of_weights(&path) {
        let _ = Vgg::import(config, &path, &Device::Cpu);
    }
    if !index.is_empty() {
        write(&folder, "model.safetensors.index.json", index);
        let _ = Vgg::load(&folder.join("model.safetensors.index.json"), &Device::Cpu);
        let _ = fs::remove_file(folder.join("model.safetensors.index.json"));
    }
}

/// A parquet file, whole and streamed.
pub fn parquet(data: &[u8]) {
    let folder = folder("parquet");
    write(&folder, "train.parquet", data);
    let file = folder.join("train.parquet");
    let _ = data::load(&file);
    stream(&file);
}

/// Crops of the first pictures of each part, as training and judging take them.
fn stream(path: &Path) {
    let crop = Crop::new(4);
    let Ok(splits) = data::open(path, crop) else {
        return;
    };
    let normalization = Normalization {
        mean: vec![0.5; 3],
        std: vec![0.25; 3],
    };
    let augment = Augment {
        pad: 0,
        flip: true,
        cutout: 2,
    };
    for part in [&splits.train, &splits.validation] {
        let mut first: Vec<usize> = (0..part.len().min(3)).collect();
        let mut rng = Rng::new(1);
        part.shuffle(&mut first, &mut rng);
        let _ = part.plain(&first, &normalization);
        let _ = part.augmented(&first, &normalization, augment, crop.side, &mut rng);
    }
}

/// A file of CIFAR-10's binary layout and its class names.
pub fn cifar(data: &[u8]) {
    let (names, records) = split(data);
    let folder = folder("cifar");
    write(&folder, "batches.meta.txt", names);
    write(&folder, "data_batch_1.bin", records);
    let _ = data::load(&folder);
}

/// A folder of two classes with a picture each, whole and streamed.
pub fn images(data: &[u8]) {
    let (first, rest) = split(data);
    let (second, _) = split(rest);
    let root = folder("images");
    for (class, name, bytes) in [("a", "1.png", first), ("b", "2.jpg", second)] {
        let class = root.join(class);
        fs::create_dir_all(&class).expect("a folder");
        write(&class, name, bytes);
    }
    let _ = data::load(&root);
    stream(&root);
}

/// A checkpoint's manifest, whose checksum is made right, one part, and a saved agent, which goes on
/// with an episode.
///
/// # Panics
/// Where an action has another length than it should, or an agent that can go on cannot be saved
/// and loaded again.
pub fn checkpoint(data: &[u8]) {
    let (manifest, rest) = split(data);
    let (part, agent) = split(rest);
    let folder = folder("checkpoint");
    let check = fingerprint(manifest);
    let text = [manifest, b"\n", check.as_bytes(), b"\n"].concat();
    write(&folder, "manifest.json", &text);
    write(&folder, "a-1.part", part);
    if let Ok(checkpoints) = Checkpoints::open(&folder) {
        let names = checkpoints.latest().map(|m| m.parts.keys().cloned());
        for name in names.into_iter().flatten() {
            checkpoints
                .part(&name)
                .expect("was checked when it was opened");
        }
    }
    let (agent, _) = split(agent);
    if let Ok(state) = AgentState::from_bytes(agent) {
        let learns = state.samples_an_episode();
        let (features, numbers) = state.dimensions();
        if let Ok(agent) = state.load() {
            go_on(agent, features.unwrap_or(1), numbers, learns);
        }
    }
}

/// Samples of an agent above which it does not learn: its time is what it states.
const LEARNS: usize = 1 << 10;

/// An episode of two steps, as a search that is resumed has it.
fn go_on(mut agent: Box<dyn Agent>, features: usize, numbers: usize, learns: usize) {
    agent.begin_episode();
    agent.begin_again(1);
    let steps = [0.5, 0.25].map(|feature| {
        let state = vec![feature; features];
        let action = agent.act(&state);
        assert_eq!(action.len(), numbers, "one number each");
        Transition { state, action }
    });
    if learns > LEARNS {
        return;
    }
    agent.end_episode(&steps, 0.5);
    // Saved after one episode more than an agent may have had that is loaded.
    if agent.check().is_ok() && agent.episode() <= 1 << 20 {
        let saved = agent.save().to_bytes().expect("plain data");
        let again = AgentState::from_bytes(&saved).expect("what was saved is read");
        assert_eq!(again.to_bytes().expect("plain data"), saved);
        again.load().expect("what can go on is loaded");
    }
}

/// The files of a run, down to its report; and a table of timings.
pub fn run_folder(data: &[u8]) {
    let folder = folder("run");
    let mut rest = data;
    let put = |name, part: &[u8]| match part.is_empty() {
        true => drop(fs::remove_file(folder.join(name))),
        false => write(&folder, name, part),
    };
    for name in RUN_FILES {
        let (part, more) = split(rest);
        rest = more;
        put(name, part);
    }
    let (table, rest) = split(rest);
    put("storage.json", split(rest).0);
    let _ = report::write(&folder);
    write(&folder, "table.jsonl", table);
    let _ = LatencyTable::open(&folder.join("table.jsonl"), false);
}

/// What [`run_folder`] takes apart, in this order; then come the table, and `storage.json`.
pub const RUN_FILES: [&str; 6] = [
    "config.json",
    "log.jsonl",
    "policy.json",
    "summary.json",
    "sensitivity.json",
    "evaluation.json",
];
