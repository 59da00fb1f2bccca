//! The commands `export` and `lower`, as a user types them.

use host::lower::{from_blob, simulate};
use host::vgg::Vgg;
use serde_json::Value;
use shared::blob::Blob;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn host(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    command.args(args).output().expect("runs")
}

/// The JSON that `host ARGS --json` ends with.
fn json(args: &[&str]) -> Value {
    let ran = host(&[args, &["--json"]].concat());
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{args:?}: {stderr}");
    let stdout = String::from_utf8_lossy(&ran.stdout);
    serde_json::from_str(stdout.lines().last().expect("a line")).expect("JSON")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn bundled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/vgg-small-cifar10")
}

#[test]
fn a_model_goes_to_hugging_faces_names_and_back() {
    let folder = tempfile::tempdir().expect("folder");
    let [there, back] = ["there", "back"].map(|name| folder.path().join(name));
    let model = bundled();
    let said = json(&[
        "export",
        text(&model),
        "--out",
        text(&there),
        "--names",
        "hugging-face",
        "--precision",
        "f16",
        "--shard",
        "200kB",
    ]);
    assert!(said["files"].as_array().expect("a list").len() > 1);
    assert!(there.join("model.safetensors.index.json").is_file());
    json(&["export", text(&there), "--out", text(&back)]);
    let load = |path: &Path| {
        let network = Vgg::load(path, &candle_core::Device::Cpu).expect("loads");
        network.fold().expect("folds").layers
    };
    assert_eq!(load(&back), load(&model));
    // The index is a model for every command.
    let seen = json(&["inspect", text(&there)]);
    assert_eq!(seen["total"]["parameters"], said["parameters"]);
    let over = host(&["export", text(&there), "--out", text(&there)]);
    assert_eq!(over.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&over.stderr).contains("overwrite"));
}

const CONFIG: &str = r#"{"architecture": "tiny", "cfg": [16, "M", 24, "M"], "num_classes": 7,
    "input": [16, 16, 3], "mean": [0.5, 0.4, 0.6], "std": [0.25, 0.2, 0.2],
    "batch_norm": false, "hidden": [40, 24], "dropout": 0.5}"#;

#[test]
fn a_network_with_hidden_layers_becomes_a_blob() {
    let folder = tempfile::tempdir().expect("folder");
    let [config, out] = ["config.json", "small.blob"].map(|name| folder.path().join(name));
    std::fs::write(&config, CONFIG).expect("writes");
    let said = json(&[
        "lower",
        "--arch",
        text(&config),
        "--random",
        "3",
        "--generated",
        "24",
        "--keep",
        "50%",
        "--density",
        "0.6",
        "--out",
        text(&out),
    ]);
    // Half of 16, 24, 40 and 24, in multiples of 8; flattened, a map has 4x4 pixels.
    let dense = 27 * 8 + 8 + 72 * 16 + 16 + 16 * 16 * 24 + 24 + 24 * 16 + 16 + 16 * 7 + 7;
    assert_eq!(said["parameters_dense"], dense);
    let macs = 27 * 8 * 256 + 72 * 16 * 64 + 16 * 16 * 24 + 24 * 16 + 16 * 7;
    assert_eq!(said["macs"], macs);
    let kept = said["parameters"].as_f64().expect("a number") / f64::from(dense);
    assert!((0.5..0.75).contains(&kept), "{kept}");
    assert!(
        said["check"]["same_answer"].as_u64() >= Some(14),
        "{}",
        said["check"]
    );
    assert!(said["check"]["accuracy_float"].is_null());
    for stage in said["stages"].as_array().expect("a list") {
        assert!(stage["peak_bytes"].as_u64() > Some(1 << 20), "{stage}");
    }
    let bytes = std::fs::read(&out).expect("reads");
    assert_eq!(said["blob_bytes"], bytes.len());
    let blob = Blob::new_checked(&bytes).expect("valid");
    let net = from_blob(&blob).expect("not damaged");
    assert_eq!(
        simulate(&net, &vec![77; 16 * 16 * 3]).expect("fits").len(),
        7
    );
}

/// What no board holds is written all the same, and refused by the boards' names.
#[test]
fn what_no_board_holds_is_written_and_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("large.blob");
    let said = json(&[
        "lower",
        "--arch",
        "vgg11",
        "--random",
        "1",
        "--generated",
        "2",
        "--out",
        text(&out),
    ]);
    // All weights at a byte, the three input channels as four; biases with multipliers, 8
    // bytes each; the header and nine records.
    let weights = 9_225_610 - 2_762 + 9 * 64;
    assert_eq!(said["blob_bytes"], weights + 8 * 2_762 + 48 + 9 * 64);
    assert_eq!(said["macs"], 152_769_536);
    let refused = &said["refused"][0];
    assert_eq!(refused["board"], "stm32f405");
    let why = refused["why"].as_str().expect("text");
    assert!(
        why.contains("the blob has") && why.contains("917,504"),
        "{why}"
    );
    let flashed = host(&["flash", text(&out), "--board", "virtual-stm32f405"]);
    assert_eq!(flashed.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&flashed.stderr);
    assert!(stderr.contains("stm32f405 has room for 917504"), "{stderr}");
}
