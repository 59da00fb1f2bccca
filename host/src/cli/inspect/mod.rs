//! `inspect`: the layers of a blob, a run or a model, a row each; of a blob also its kernels'
//! code ([`code`]), how its weights could be stored ([`storage`]) and, on a board, each layer's
//! cycles ([`measure`]).

mod code;
mod measure;
mod storage;

use super::artifact::{self, Artifact, BlobFile};
use super::board::BoardArgs;
use super::output::Output;
use super::table::Table;
use super::units::{grouped, kib};
use crate::board::spec;
use crate::lower::{IntNet, from_blob};
use crate::run::{Policy, RunConfig, files, read_json};
use crate::vgg::{LayerKind, LayerShape, Pool, Vgg};
use anyhow::Result;
use serde_json::{Value, json};
use shared::blob::{Blob, LAYER_BYTES};
use shared::semantics::REQUANT_BYTES;
use shared::spec::{Kind, LayerSpec};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Options of `inspect`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A blob, a folder of a run, or a model (its folder or safetensors file).
    path: PathBuf,
    /// Store the network of a blob or a run anew, to the file of `--out`.
    #[arg(long, value_enum, value_name = "HOW", requires = "out")]
    store: Option<storage::Store>,
    /// Where to write it.
    #[arg(long, value_name = "FILE", requires = "store")]
    out: Option<PathBuf>,
    #[command(flatten)]
    board: BoardArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    let (text, value) = match artifact::open(&args.path)? {
        Artifact::Blob(file) => whole(&file, &Cycles::default(), args, output)?,
        Artifact::Model(network) => model(&network, &args.path)?,
        Artifact::Run { config, dir } => {
            let file = artifact::open_blob(&dir)?;
            let cycles = Cycles::of_run(&dir, &config)?;
            whole(&file, &cycles, args, output)?
        }
    };
    output.result(&text);
    output.json(&value);
    Ok(ExitCode::SUCCESS)
}

/// All of a blob: its layers, the code that they need, and their cycles where a board is
/// named.
fn whole(
    file: &BlobFile,
    cycles: &Cycles,
    args: &Args,
    output: &Output,
) -> Result<(String, Value)> {
    let (mut text, mut value) = blob(file, cycles)?;
    let checked = file.blob();
    let names: Vec<String> = value["layers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| row["name"].as_str().unwrap_or_default().to_string())
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (board, _) = spec::find(args.board.name())?;
    let (more, code) = code::kernels(&checked, &names, &board)?;
    text += &format!("\n\n{more}");
    value["code"] = code;
    let net = net_of(file)?;
    let arena = storage::arena(checked.header().arena_bytes);
    let (more, stored) = storage::candidates(&net, arena);
    text += &format!("\n\n{more}");
    value["storage"] = stored;
    if let (Some(how), Some(out)) = (args.store, &args.out) {
        text += &format!("\n\n{}", storage::store(net, how, arena, out)?);
    }
    if args.board.board.is_some() {
        let mut board = args.board.open(output)?;
        let (more, measured) = measure::on_board(file, &names, &mut *board)?;
        text += &format!("\n\n{more}");
        value["measured"] = measured;
    }
    Ok((text, value))
}

/// The integers of a blob.
fn net_of(file: &BlobFile) -> Result<IntNet, super::hint::Complaint> {
    from_blob(&file.blob()).map_err(|error| {
        super::hint::Complaint::input(format!("blob: {error}"))
            .at(file.path.display())
            .try_("copy the file again, or make it anew with `compress`")
    })
}

/// Cycles of the layers with weights, as a run measured them; a global pool's count for the
/// layer before it.
#[derive(Default)]
struct Cycles {
    by_layer: Vec<u64>,
    source: &'static str,
    clock_hz: u64,
}

impl Cycles {
    fn of_run(dir: &Path, config: &RunConfig) -> Result<Self> {
        let policy: Option<Policy> = read_json(dir, files::POLICY)?;
        let layers = policy.map(|p| p.layers).unwrap_or_default();
        Ok(Self {
            by_layer: layers.iter().map(|l| l.after.cycles).collect(),
            source: config.cycle_source.label(),
            clock_hz: config.clock_hz,
        })
    }

    fn total(&self) -> Option<u64> {
        (!self.by_layer.is_empty()).then(|| self.by_layer.iter().sum())
    }
}

fn blob(file: &BlobFile, cycles: &Cycles) -> Result<(String, Value)> {
    let blob = file.blob();
    let net = net_of(file)?;
    let rows: Vec<Value> = blob_rows(&blob, &net, cycles);
    let header = blob.header();
    let total = json!({
        "blob_bytes": file.bytes().len(),
        "arena_bytes": header.arena_bytes,
        "parameters": net.parameters(),
        "parameters_dense": net.parameters_dense(),
        "macs": net.macs(),
        "cycles": cycles.total(),
    });
    let mut text = format!(
        "{}: input {}x{}x{}, {} classes, CRC-32 {:08x}\n",
        file.path.display(),
        header.in_h,
        header.in_w,
        header.in_c,
        blob.classes(),
        header.crc32
    );
    text += &blob_table(&rows);
    text += &format!(
        "\n{} parameters that are not zero (of {}), {} MACs\nblob {} ({} bytes), arena {} ({} bytes)",
        grouped(net.parameters()),
        grouped(net.parameters_dense()),
        grouped(net.macs()),
        kib(file.bytes().len() as u64),
        grouped(file.bytes().len() as u64),
        kib(header.arena_bytes.into()),
        grouped(header.arena_bytes.into())
    );
    if let Some(total) = cycles.total() {
        text += &format!(
            ", {} {}, {:.2} ms",
            grouped(total),
            cycles.source,
            total as f64 * 1e3 / cycles.clock_hz.max(1) as f64
        );
    }
    Ok((
        text,
        json!({ "path": file.path, "kind": "blob", "layers": rows, "total": total }),
    ))
}

fn blob_rows(blob: &Blob, net: &IntNet, cycles: &Cycles) -> Vec<Value> {
    let mut weighted = cycles.by_layer.iter();
    let rows = blob.layers().zip(&net.layers).enumerate();
    rows.map(|(i, (stored, layer))| {
        let (s, r) = (stored.spec(), &stored.record);
        let requants = layer.requants.len() * REQUANT_BYTES;
        let cycles = s.has_weights().then(|| weighted.next()).flatten();
        json!({
            "name": layer.name,
            "kind": kind(s),
            "input": [s.in_h, s.in_w, s.c_in],
            "output": [s.out_hw().0, s.out_hw().1, s.c_out],
            "pool": s.pool == 2,
            "kernel": s.kernel.name(),
            "w_bits": s.w_bits,
            "a_bits": s.output.bits(),
            "encoding": s.has_weights().then(|| s.encoding.name()),
            "density": net.density(i),
            "bytes": LAYER_BYTES + stored.weights().len() + requants,
            "macs": s.macs(),
            "cycles": cycles,
            "strip_rows": s.strip_rows,
            "in_offset": r.in_off,
            "out_offset": r.out_off,
            "scratch_offset": r.scratch_off,
            "scratch_bytes": s.scratch_bytes(),
        })
    })
    .collect()
}

fn blob_table(rows: &[Value]) -> String {
    let heads = [
        "layer",
        "kind",
        "shape",
        "kernel",
        "w",
        "a",
        "encoding",
        "density",
        "bytes",
        "MACs",
        "cycles",
        "out at",
        "scratch at",
    ];
    let mut table = Table::new(&heads, &[0, 1, 2, 3, 6]);
    for row in rows {
        let number = |key: &str| row[key].as_u64().map_or("-".into(), grouped);
        let word = |key: &str| row[key].as_str().unwrap_or("-").to_string();
        let pool = if row["pool"] == true { " max2" } else { "" };
        let weights = row["w_bits"] != 0;
        table.row(vec![
            word("name"),
            word("kind"),
            format!("{}->{}{pool}", dims(&row["input"]), row["output"][2]),
            if weights { word("kernel") } else { "-".into() },
            if weights {
                number("w_bits")
            } else {
                "-".into()
            },
            number("a_bits"),
            word("encoding"),
            format!("{:.0} %", 100.0 * row["density"].as_f64().unwrap_or(0.0)),
            number("bytes"),
            number("macs"),
            number("cycles"),
            number("out_offset"),
            number("scratch_offset"),
        ]);
    }
    table.render()
}

fn dims(shape: &Value) -> String {
    let parts = shape.as_array().into_iter().flatten();
    parts.map(Value::to_string).collect::<Vec<_>>().join("x")
}

fn kind(s: &LayerSpec) -> String {
    match s.kind {
        Kind::Conv => format!("conv {}x{}", s.k_h, s.k_w),
        Kind::FullyConnected => "fully connected".into(),
        Kind::GlobalAvgPool => "average pool".into(),
    }
}

fn model(network: &Vgg, path: &Path) -> Result<(String, Value)> {
    let config = &network.config;
    let mut rows = Vec::new();
    for (i, shape) in config.layers().iter().enumerate() {
        let weights = network.weight(i).flatten_all()?.to_vec1::<f32>()?;
        let nonzero = weights.iter().filter(|w| **w != 0.0).count();
        rows.push(model_row(
            i,
            shape,
            nonzero as f64 / weights.len().max(1) as f64,
        ));
    }
    let mut table = Table::new(
        &["layer", "kind", "shape", "density", "weights", "MACs"],
        &[0, 1, 2],
    );
    for row in &rows {
        let number = |key: &str| row[key].as_u64().map_or("-".into(), grouped);
        let pool = row["pool"]
            .as_str()
            .map_or(String::new(), |p| format!(" {p}"));
        table.row(vec![
            row["name"].as_str().unwrap_or("-").into(),
            row["kind"].as_str().unwrap_or("-").into(),
            format!("{}->{}{pool}", dims(&row["input"]), row["output"][2]),
            format!("{:.0} %", 100.0 * row["density"].as_f64().unwrap_or(0.0)),
            number("weights"),
            number("macs"),
        ]);
    }
    let text = format!(
        "{}: {}, float, input {:?}, {} classes\n{}\n{} parameters, {} MACs",
        path.display(),
        config.architecture,
        config.input,
        config.num_classes,
        table.render(),
        grouped(config.parameters() as u64),
        grouped(config.macs())
    );
    let total = json!({ "parameters": config.parameters(), "macs": config.macs() });
    Ok((
        text,
        json!({
            "path": path, "kind": "model", "architecture": config.architecture,
            "layers": rows, "total": total,
        }),
    ))
}

fn model_row(i: usize, shape: &LayerShape, density: f64) -> Value {
    let conv = shape.kind == LayerKind::Conv;
    json!({
        "name": format!("{}{i}", if conv { "conv" } else { "linear" }),
        "kind": if conv { "conv 3x3" } else { "fully connected" },
        "input": [shape.h, shape.w, shape.c_in],
        "output": shape.output(),
        "pool": shape.pool.map(|p| if p == Pool::Max { "max2" } else { "average" }),
        "density": density,
        "weights": shape.weights(),
        "macs": shape.macs(),
    })
}
