//! What fuzzing kept and what it found, as plain tests; and the same without a fuzzer's
//! instruments, for as long as is asked.

use fuzz::{blob, files, message, network, update};
use host::agent::{Agent, AgentState, Ddpg, DdpgConfig, Transition};
use shared::bench::Rng;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 10] = [
    ("blob", blob::run),
    ("network", network::run),
    ("message", message::run),
    ("update", update::run),
    ("import", files::import),
    ("parquet", files::parquet),
    ("cifar", files::cifar),
    ("images", files::images),
    ("checkpoint", files::checkpoint),
    ("run_folder", files::run_folder),
];

fn root(kind: &str, target: &str) -> PathBuf {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    fuzz.join(kind).join(target)
}

/// The inputs in a folder, in the order of their names; none where there is none.
fn inputs(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.path()).collect();
    paths.sort();
    let read = |p: PathBuf| {
        let bytes = fs::read(&p).unwrap_or_else(|e| panic!("{}: {e}", p.display()));
        (p, bytes)
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn what_fuzzing_kept_and_found_does_no_harm() {
    for (target, run) in TARGETS {
        let kept = inputs(&root("corpus", target));
        assert!(kept.len() >= 2, "{target} has {} inputs", kept.len());
        let found = inputs(&root("found", target));
        for (path, bytes) in kept.iter().chain(&found) {
            let outcome = std::panic::catch_unwind(|| run(bytes));
            assert!(outcome.is_ok(), "{target}: {}", path.display());
        }
    }
}

/// The seeds that pyarrow 26 wrote: encodings, page versions, compressions and types that other
/// writers of parquet files use.
#[test]
fn what_pyarrow_writes_loads() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("train.parquet");
    let seeds = inputs(&root("corpus", "parquet"));
    let mut loaded = 0;
    for (path, bytes) in seeds {
        let name = path.file_name().expect("a file").to_string_lossy();
        let Some(name) = name.strip_prefix("seed-pyarrow-") else {
            continue;
        };
        fs::write(&file, &bytes).expect("written");
        let whole = host::data::load(&file);
        let streamed = host::data::open(&file, host::data::Crop::new(4));
        if name == "nulls" || name == "big-labels" {
            let (whole, streamed) = (whole.expect_err(name), streamed.expect_err(name));
            let told = [whole.to_string(), streamed.to_string()];
            let told = told
                .iter()
                .all(|told| told.contains("label") || told.contains("null"));
            assert!(told, "{name}: {whole}; {streamed}");
            continue;
        }
        let (whole, streamed) = (whole.expect(name), streamed.expect(name));
        // By their names in the file, or by their folders.
        let [a, b] = [&whole.train, &whole.validation].map(|part| &part.class_names);
        assert_eq!((a.len(), b), (5, a), "{name}");
        assert_eq!(&streamed.train.class_names, a, "{name}");
        let rows: Vec<usize> = (0..streamed.train.len()).collect();
        let crops = streamed.train.dataset(&rows).expect(name);
        for (row, label) in crops.rows.iter().zip(&crops.labels) {
            assert_eq!(row * 7 % 5, *label, "{name}");
        }
        assert_eq!((whole.train.h, whole.train.w, whole.train.c), (4, 4, 3));
        let all = whole.train.len() + whole.validation.len();
        assert_eq!(all, streamed.train.len() + streamed.validation.len());
        loaded += 1;
    }
    assert_eq!(loaded, 9);
}

/// A picture at which `zune-jpeg` 0.5 panics, where the processor has AVX2: an error with its name.
#[test]
fn a_picture_that_a_decoder_panics_at_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let class = folder.path().join("a");
    fs::create_dir(&class).expect("a folder");
    let found = root("found", "images").join("row-beyond-the-output");
    let found = fs::read(found).expect("it is kept");
    // Behind the length that the target reads.
    fs::write(class.join("1.jpg"), &found[2..]).expect("written");
    let whole = host::data::load(folder.path()).map(|_| ());
    let parts = host::data::open(folder.path(), host::data::Crop::new(4)).expect("listed");
    // One of them has the picture.
    let cut = |part: &host::data::Stream| part.dataset(&(0..part.len()).collect::<Vec<_>>());
    let streamed = cut(&parts.train).and_then(|_| cut(&parts.validation));
    for loaded in [whole, streamed.map(|_| ())] {
        let told = loaded.map_err(|e| e.to_string());
        // Other processors may decode it, or say what else is wrong.
        let named = told
            .as_ref()
            .err()
            .is_none_or(|told| told.contains("1.jpg"));
        assert!(named, "{told:?}");
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            let told = told.expect_err("it cannot be decoded");
            assert!(told.contains("contradicts itself"), "{told}");
        }
    }
}

/// Changes a few bytes, or cuts, doubles and swaps pieces.
fn mutated(rng: &mut Rng, from: &[u8], other: &[u8]) -> Vec<u8> {
    const EDGES: [u32; 8] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff_ffff, 0x8000_0000, u32::MAX];
    let mut bytes = from.to_vec();
    for _ in 0..=rng.below(4) {
        let len = bytes.len() as u32;
        let at = rng.below(len) as usize;
        let end = (at + 1 + rng.below(16) as usize).min(bytes.len());
        match rng.below(7) {
            _ if bytes.is_empty() => bytes.push(rng.next() as u8),
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.next() as u8,
            2 => {
                let edge = EDGES[rng.below(8) as usize].to_le_bytes();
                bytes.splice(at..(at + 4).min(len as usize), edge);
            }
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => bytes.truncate(at),
            _ if other.is_empty() => {}
            _ => {
                let start = rng.below(other.len() as u32) as usize;
                let stop = (start + 1 + rng.below(64) as usize).min(other.len());
                bytes.splice(at..end, other[start..stop].iter().copied());
            }
        }
    }
    bytes
}

/// `FUZZ_SECONDS` for each target, of inputs made from the corpus by chance.
#[test]
#[ignore = "takes as long as FUZZ_SECONDS says, 60 a target"]
fn nothing_made_from_the_corpus_by_chance_does_harm() {
    let seconds = std::env::var("FUZZ_SECONDS").map_or(60, |s| s.parse().expect("a number"));
    let only = std::env::var("FUZZ_TARGET").ok();
    for (target, run) in TARGETS {
        if only.as_ref().is_some_and(|name| name != target) {
            continue;
        }
        let seeds = inputs(&root("corpus", target));
        let (mut rng, started) = (Rng::new(seconds as u32), Instant::now());
        let (mut runs, mut found) = (0u64, 0);
        let pick = |rng: &mut Rng| &seeds[rng.below(seeds.len() as u32) as usize].1;
        while started.elapsed() < Duration::from_secs(seconds) {
            let (one, other) = (pick(&mut rng), pick(&mut rng));
            let bytes = mutated(&mut rng, one, other);
            let begun = Instant::now();
            let outcome = std::panic::catch_unwind(|| run(&bytes));
            if outcome.is_err() || begun.elapsed() > Duration::from_secs(20) {
                let path = root("found", target).join(format!("chance-{runs}"));
                fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                fs::write(&path, &bytes).expect("written");
                found += 1;
                assert!(found < 20, "{target}: see {}", path.display());
            }
            runs += 1;
        }
        println!("{target}: {runs} runs in {seconds} s, {found} found");
        assert_eq!(found, 0, "{target}: see fuzz/found/{target}");
    }
}

/// A learner that is as small as one can be and has learned from an episode.
fn learner() -> AgentState {
    let mut config = DdpgConfig::new(2, 1, 2, 4, 7);
    (config.hidden, config.batch, config.updates, config.replay) = (2, 2, 2, 4);
    (config.schedule.warmup, config.schedule.settled) = (1, 9);
    let mut agent = Ddpg::new(config);
    let state = vec![0.5, 0.25];
    agent.begin_episode();
    let action = agent.act(&state);
    let step = Transition { state, action };
    agent.end_episode(&[step.clone(), step], 0.5);
    agent.save()
}

#[test]
#[ignore = "writes fuzz/corpus for the host's loaders"]
fn write_seeds() {
    let put = |target: &str, name: &str, bytes: &[u8]| {
        let folder = root("corpus", target);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(format!("seed-{name}")), bytes).expect("written");
    };
    let fixture = tests::fixture::Fixture::new();
    let read = |name: &str| fs::read(fixture.path(name)).expect("was written");
    let (config, weights) = (read("model/config.json"), read("model/model.safetensors"));
    put("import", "model", &files::join(&[&config, &weights]));
    put("import", "weights", &files::join(&[b"{}", &weights]));
    let index = br#"{"weight_map":{"features.0.weight":"model.safetensors"}}"#;
    put("import", "index", &files::join(&[&config, &weights, index]));
    let timm = br#"{"architecture":"vgg11_bn","num_classes":10,
        "pretrained_cfg":{"mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225]}}"#;
    put("import", "timm", &files::join(&[timm, b""]));

    let sample =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/models/cifar10-sample/test.parquet");
    let small = fixture.path("small.parquet");
    host::data::write_sample(&sample, 0..1000, 10, 1, &small).expect("a sample");
    put("parquet", "ten", &fs::read(&small).expect("was written"));
    host::data::write_sample(&sample, 0..1000, 2, 2, &small).expect("a sample");
    put("parquet", "two", &fs::read(&small).expect("was written"));

    let record: Vec<u8> = (0..3073u32).map(|i| (i * 7) as u8 % 10).collect();
    put(
        "cifar",
        "one",
        &[&files::join(&[b"a b c d e f g h i j"])[..], &record].concat(),
    );
    put(
        "cifar",
        "unnamed",
        &[&files::join(&[b""])[..], &record, &record].concat(),
    );

    let picture = |side: u32, format| {
        let pixel = |x: u32, y: u32| image::Rgb([x as u8 * 30, y as u8 * 30, 7]);
        let picture = image::RgbImage::from_fn(side, side, pixel);
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).expect("is encoded");
        bytes.into_inner()
    };
    let (png, jpg) = (
        picture(4, image::ImageFormat::Png),
        picture(4, image::ImageFormat::Jpeg),
    );
    put("images", "both", &files::join(&[&png, &jpg]));
    put("images", "pngs", &files::join(&[&png, &png]));

    let folder = tests::samples().join("checkpoint-1");
    let manifest = fs::read(folder.join("manifest.json")).expect("a sample");
    let body = manifest.split(|&b| b == b'\n').next().expect("a line");
    let agent = fs::read(folder.join("a-1.part")).expect("a sample");
    put(
        "checkpoint",
        "random",
        &files::join(&[body, &agent, &agent]),
    );
    put("checkpoint", "none", &files::join(&[b"{}", b"", &agent]));
    let learner = learner().to_bytes().expect("plain data");
    put("checkpoint", "ddpg", &files::join(&[b"{}", b"", &learner]));

    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/vgg-small-default");
    let table = fs::read(tests::samples().join("latency-table-v1.jsonl")).expect("a sample");
    let mut parts: Vec<Vec<u8>> = files::RUN_FILES
        .iter()
        .map(|name| fs::read(run.join(name)).unwrap_or_default())
        .collect();
    // A few episodes are enough.
    parts[1] = parts[1]
        .split_inclusive(|&b| b == b'\n')
        .take(3)
        .flatten()
        .copied()
        .collect();
    parts.push(table);
    // A run whose pruning was refined between the searches.
    let refined = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/refine/vary");
    let log = fs::read_to_string(refined.join("log.jsonl")).expect("a result");
    let variants = log
        .lines()
        .filter(|line| line.contains("\"refine\""))
        .take(4);
    let variants = variants.collect::<Vec<_>>().join("\n");
    let mut varied = parts.clone();
    varied[1] = variants.into_bytes();
    varied[2] = fs::read(refined.join("policy.json")).expect("a result");
    varied[3] = fs::read(refined.join("summary.json")).expect("a result");
    let varied: Vec<&[u8]> = varied.iter().map(Vec::as_slice).collect();
    put("run_folder", "refined", &files::join(&varied));
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    put("run_folder", "default", &files::join(&parts));
    put("run_folder", "config", &files::join(&parts[..1]));
    let evaluation = br#"{"classes":["a","b"],"before":[[9,1],[0,10]],"after":[[8,2],[1,9]],
        "broken":[{"row":3,"class":0,"predicted":1,"png_base64":"iVBO"}]}"#;
    let storage = br#"[{"stored":"dense","blob_bytes":9,"sram_bytes":8,"cycles":7},
        {"stored":"chosen","blob_bytes":6,"sram_bytes":8,"cycles":9}]"#;
    let mut whole = parts.clone();
    whole[5] = evaluation;
    whole.push(storage);
    put("run_folder", "whole", &files::join(&whole));
}
