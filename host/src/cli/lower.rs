//! `lower`: a network's blob without a search: pruned by one share, quantized after training,
//! for inspection where no board holds it.

use super::input::{InputArgs, load_network};
use super::output::Output;
use super::stages::Stages;
use super::units::{grouped, percent, share};
use crate::board::{BoardSpec, spec};
use crate::data::{self, Dataset};
use crate::lower::{
    Bits, Centred, IntNet, Storage, accuracy, argmax, calibrate, centre_owned, choose_encoding,
    emit, plan, post_training, quantize, simulate,
};
use crate::nn::Rng;
use crate::prune::{
    ChannelCriterion, PrunePolicy, Rankings, channel_scores, magnitude_scores, round_channels,
};
use crate::vgg::{Folded, Vgg, VggConfig};
use anyhow::Result;
use candle_core::Device;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `lower`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    input: InputArgs,
    /// Random weights for `--arch` by this seed, instead of a model: for time, memory and
    /// bytes; accuracy means nothing then.
    #[arg(long, value_name = "SEED", conflicts_with = "model", requires = "arch")]
    random: Option<u64>,
    /// So many generated pictures instead of `--data`; accuracy means nothing then.
    #[arg(long, value_name = "N", conflicts_with = "data")]
    generated: Option<usize>,
    /// Training pictures that ranges of activations are measured on.
    #[arg(long, value_name = "N", default_value_t = 32)]
    calibrate: usize,
    /// Test pictures that the integers are compared with the floats on.
    #[arg(long, value_name = "N", default_value_t = 16)]
    check: usize,
    /// Share of each layer's channels, or features, to keep, by the L1 norm of their weights.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "1")]
    keep: f64,
    /// Channels are kept in multiples of this.
    #[arg(long, value_name = "N", default_value_t = 8)]
    channel_step: usize,
    /// Share of the remaining weights to keep, by magnitude.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "1")]
    density: f64,
    /// Bits of the weights, 2 to 8.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(2..=8))]
    w_bits: u8,
    /// Bits of the activations: 2, 4 or 8.
    #[arg(long, default_value = "8", value_parser = ["2", "4", "8"])]
    a_bits: String,
    /// Each layer in the encoding of the fewest bytes, not dense.
    #[arg(long)]
    smallest: bool,
    /// Where to write the blob.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Bytes of arena beyond which no layer is cut into strips: what the blob is for has enough.
const ARENA: u32 = u32::MAX;

/// Runs the command.
pub(super) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    let mut stages = Stages::default();
    let network = stages.run("load", || load(args))?;
    let pictures = stages.run("pictures", || Pictures::load(args, &network.config))?;
    let (dense, folded) = prune_and_fold(args, network, &mut stages)?;
    let (net, check) = to_integers(args, folded, &pictures, &mut stages)?;
    let emitted = stages.run("write", || -> Result<_> {
        let emitted = emit(&net, &plan(&net, ARENA)?)?;
        crate::nn::write_atomically(&args.out, &emitted.blob)?;
        Ok(emitted)
    })?;
    let blob = shared::blob::Blob::new_checked(&emitted.blob)?;
    let arena = blob.header().arena_bytes;
    let refusals = refusals(&spec::all()?, emitted.blob.len(), arena);
    let value = json!({
        "out": args.out,
        "parameters_given": dense.parameters(),
        "macs_given": dense.macs(),
        "parameters": net.parameters(),
        "parameters_dense": net.parameters_dense(),
        "macs": net.macs(),
        "blob_bytes": emitted.blob.len(),
        "sram_bytes": arena,
        "check": check,
        "refused": refusals.iter().map(|(board, why)| json!({ "board": board, "why": why })).collect::<Vec<_>>(),
        "stages": stages.to_json(),
    });
    output.result(&text(args, &value, &stages, &refusals));
    output.json(&value);
    Ok(ExitCode::SUCCESS)
}

fn load(args: &Args) -> Result<Vgg> {
    let device = Device::Cpu;
    if let (Some(seed), Some(arch)) = (args.random, &args.input.arch) {
        let config = super::input::architecture(arch)?;
        return Ok(Vgg::new(config, &mut Rng::new(seed), &device)?);
    }
    let model = args.input.model_path();
    Ok(load_network(&model, args.input.arch.as_deref(), &device)?.0)
}

/// What is calibrated on and what is compared on.
struct Pictures {
    calibration: Dataset,
    check: Dataset,
    /// Whether labels mean something.
    real: bool,
}

impl Pictures {
    fn load(args: &Args, config: &VggConfig) -> Result<Self> {
        let first = |n: usize, of: usize| (0..n.min(of)).collect::<Vec<_>>();
        if let Some(n) = args.generated {
            let all = generated(n, config);
            return Ok(Self {
                calibration: all.select(&first(args.calibrate, n)),
                check: all.select(&first(args.check, n)),
                real: false,
            });
        }
        let (calibration, check) = match args.input.data.open()? {
            Some(splits) => {
                let test = splits.test.as_ref().unwrap_or(&splits.validation);
                let train = &splits.train;
                (
                    train.dataset(&first(args.calibrate, train.len()))?,
                    test.dataset(&first(args.check, test.len()))?,
                )
            }
            None => {
                let splits = data::load(&args.input.data.path())?;
                let test = splits.test.as_ref().unwrap_or(&splits.validation);
                let train = &splits.train;
                (
                    train.select(&first(args.calibrate, train.len())),
                    test.select(&first(args.check, test.len())),
                )
            }
        };
        for part in [&calibration, &check] {
            part.check_fits(config.input, config.num_classes)?;
        }
        Ok(Self {
            calibration,
            check,
            real: args.random.is_none(),
        })
    }
}

/// Pictures of soft random blobs, each of another colour and place.
fn generated(n: usize, config: &VggConfig) -> Dataset {
    let [h, w, c] = config.input;
    let mut images = Vec::with_capacity(n * h * w * c);
    for i in 0..n {
        let mut rng = Rng::stream(1, i as u64);
        let (y0, x0) = (rng.uniform(), rng.uniform());
        let colour: Vec<f32> = (0..c).map(|_| 255.0 * rng.uniform()).collect();
        for y in 0..h {
            for x in 0..w {
                let (dy, dx) = (y as f32 / h as f32 - y0, x as f32 / w as f32 - x0);
                let near = (-8.0 * (dy * dy + dx * dx)).exp();
                let noise = 40.0 * (rng.uniform() - 0.5);
                images.extend(
                    colour
                        .iter()
                        .map(|v| (v * near + 64.0 * (1.0 - near) + noise) as u8),
                );
            }
        }
    }
    Dataset {
        images,
        labels: vec![0; n],
        rows: (0..n as u32).collect(),
        class_names: (0..config.num_classes)
            .map(|i| format!("class {i}"))
            .collect(),
        h,
        w,
        c,
    }
}

/// The given configuration, and the network cut and folded. Nothing else of it stays.
fn prune_and_fold(args: &Args, network: Vgg, stages: &mut Stages) -> Result<(VggConfig, Folded)> {
    let dense = network.config.clone();
    let pruned = stages.run("prune", || prune(args, network))?;
    let folded = stages.run("fold", || pruned.fold())?;
    Ok((dense, folded))
}

fn prune(args: &Args, network: Vgg) -> Result<Vgg> {
    if args.keep >= 1.0 && args.density >= 1.0 {
        return Ok(network);
    }
    let keep = args.keep as f32;
    let channels = channel_scores(&network, ChannelCriterion::L1, None)?;
    let policy = PrunePolicy {
        channels: channels
            .iter()
            .map(|scores| round_channels(keep, scores.len(), args.channel_step))
            .collect(),
        elements: vec![args.density as f32; channels.len() + 1],
    };
    let elements = magnitude_scores(&network)?;
    let rankings = Rankings { channels, elements };
    Ok(policy.apply(&network, &rankings)?)
}

/// The integers, and how they compare with the floats.
fn to_integers(
    args: &Args,
    folded: Folded,
    pictures: &Pictures,
    stages: &mut Stages,
) -> Result<(IntNet, Value)> {
    let a = args.a_bits.parse().unwrap_or(8);
    let bits = vec![Bits { w: args.w_bits, a }; folded.layers.len()];
    let centred: Centred = stages.run("centre", || centre_owned(folded));
    let ranges = stages.run("calibrate", || {
        let all: Vec<usize> = (0..pictures.calibration.len()).collect();
        calibrate(&centred.network, &pictures.calibration, &all)
    });
    let mut net = stages.run("quantize", || {
        quantize(&centred, &post_training(&centred, &bits, &ranges))
    })?;
    let all: Vec<usize> = (0..pictures.check.len()).collect();
    let floats = stages.run("floats", || centred.network.logits(&pictures.check, &all));
    drop(centred);
    if args.smallest {
        stages.run("encode", || {
            choose_encoding(&mut net, &Storage::smallest(ARENA))
        });
    }
    let integers = stages.run("simulate", || simulate(&net, &pictures.check.images))?;
    Ok((net, compared(&floats, &integers, pictures)))
}

/// How often both say the same, and how often each is right.
fn compared(floats: &[f32], integers: &[i32], pictures: &Pictures) -> Value {
    let images = pictures.check.len();
    let classes = floats.len() / images.max(1);
    let rows = floats.chunks_exact(classes.max(1));
    let same = rows
        .zip(integers.chunks_exact(classes.max(1)))
        .filter(|(a, b)| argmax(a) == argmax(b))
        .count();
    let labels = (pictures.real && images > 0).then_some(&pictures.check.labels);
    json!({
        "images": images,
        "same_answer": same,
        "accuracy_float": labels.map(|l| accuracy(floats, l)),
        "accuracy_integer": labels.map(|l| accuracy(integers, l)),
    })
}

/// The boards that cannot hold the blob, and why.
fn refusals(boards: &[BoardSpec], bytes: usize, arena: u32) -> Vec<(String, String)> {
    let why = |b: &BoardSpec| {
        let (flash, sram) = (
            b.blob.bytes,
            b.sram.bytes.saturating_sub(b.sram.stack_bytes),
        );
        if bytes > flash as usize {
            let bytes = grouped(bytes as u64);
            return Some(format!(
                "the blob has {bytes} bytes, the board has room for {}",
                grouped(flash.into())
            ));
        }
        let arena_bytes = grouped(arena.into());
        (arena > sram).then(|| {
            format!(
                "the arena has {arena_bytes} bytes, the board at most {}",
                grouped(sram.into())
            )
        })
    };
    let refused = boards
        .iter()
        .filter_map(|b| Some((b.name.clone(), why(b)?)));
    refused.collect()
}

fn text(args: &Args, value: &Value, stages: &Stages, refusals: &[(String, String)]) -> String {
    let number = |key: &str| grouped(value[key].as_u64().unwrap_or(0));
    let check = &value["check"];
    let mut text = format!(
        "{}\n{}: {} bytes, arena {} bytes\n{} parameters that are not zero (of {}, given {}), {} MACs (given {})\n\
         floats and integers say the same for {} of {} pictures",
        stages.table(),
        args.out.display(),
        number("blob_bytes"),
        number("sram_bytes"),
        number("parameters"),
        number("parameters_dense"),
        number("parameters_given"),
        number("macs"),
        number("macs_given"),
        check["same_answer"],
        check["images"],
    );
    match (
        check["accuracy_float"].as_f64(),
        check["accuracy_integer"].as_f64(),
    ) {
        (Some(float), Some(integer)) => {
            text += &format!(": accuracy {}, {}", percent(float), percent(integer));
        }
        _ if check["images"] == 0 => text += ": there are no validation pictures",
        _ => text += "; accuracy means nothing with generated pictures or random weights",
    }
    for (board, why) in refusals {
        text += &format!("\n{board} refuses it: {why}");
    }
    text + &format!(
        "\ninspect  cargo run -p host -- inspect {}",
        args.out.display()
    )
}
