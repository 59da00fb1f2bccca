//! `train`: a VGG from pictures, from scratch.

mod pictures;

use super::device::DeviceArgs;
use super::output::Output;
use super::{INTERRUPTED, interrupt_flag, units};
use crate::compress::check_memory;
use crate::data::Crop;
use crate::nn::{Rng, write_atomically};
use crate::vgg::{Progress, TrainConfig, TrainOutcome, Trainer, Vgg, VggConfig};
use anyhow::{Context, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use pictures::Pictures;
use serde::{Deserialize, Serialize};
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const CHECKPOINT: &str = "checkpoint.safetensors";
const SETTINGS: &str = "train.json";
/// Validation pictures that are looked at while training.
const GLANCE: usize = 1000;

/// Options of `train`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// vgg-small, vgg11, vgg13, vgg16, vgg19, the last four with -imagenet or -bn-imagenet
    /// behind them, or a config.json.
    #[arg(long, default_value = "vgg-small")]
    arch: String,
    /// Pictures: parquet files, CIFAR-10 binary batches, or a folder per class.
    #[arg(long, required_unless_present = "resume")]
    data: Option<PathBuf>,
    /// Folder for model.safetensors and config.json.
    #[arg(long, required_unless_present = "resume")]
    out: Option<PathBuf>,
    /// Times that every training picture is seen.
    #[arg(long, default_value_t = 20.0)]
    epochs: f64,
    /// Seed of the weights, the order of the pictures and their augmentation.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Highest learning rate.
    #[arg(long)]
    lr: Option<f64>,
    /// Weight decay.
    #[arg(long)]
    weight_decay: Option<f64>,
    /// Pictures a step [default: 128].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
    /// Share of the steps in which the learning rate rises [default: 0.15].
    #[arg(long, value_name = "SHARE", value_parser = fraction)]
    warmup: Option<f64>,
    /// Share of each target that is spread over all classes [default: 0.1].
    #[arg(long, value_name = "SHARE", value_parser = fraction)]
    label_smoothing: Option<f64>,
    /// Side of the square that is cut out of each training picture [default: none].
    #[arg(long, value_name = "PIXELS")]
    cutout: Option<usize>,
    /// Keep a moving average of the weights, of which a step leaves this share, such as 0.999;
    /// it is what is saved in the end.
    #[arg(long, value_name = "SHARE", value_parser = fraction)]
    ema: Option<f64>,
    /// Pictures of any size, left on the disk and read as they are needed: random parts of
    /// them, resized to this many pixels, to train on, the centre to judge by.
    #[arg(long, value_name = "SIDE", value_parser = clap::value_parser!(u16).range(8..))]
    crop: Option<u16>,
    /// Also measure the test pictures, once, when all is done.
    #[arg(long)]
    test: bool,
    /// What a killed training loses at most, such as 10s.
    #[arg(long, value_name = "TIME", value_parser = units::milliseconds, default_value = "60s")]
    checkpoint_every: f64,
    /// Go on with the training in this folder; its own settings apply.
    #[arg(long, conflicts_with_all = ["data", "out"])]
    resume: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Everything that a resumed training needs to be the same one.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    network: VggConfig,
    data: PathBuf,
    training: TrainConfig,
    test: bool,
    /// How streamed pictures become squares; `None` holds pictures of one size in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crop: Option<Crop>,
}

fn fraction(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok();
    let value = value.filter(|v| (0.0..1.0).contains(v));
    value.ok_or_else(|| format!("`{text}` is no share from 0 to below 1, such as 0.1"))
}

/// Runs the command.
pub(super) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    let start = Instant::now();
    let out = match (&args.resume, &args.out) {
        (Some(folder), _) | (None, Some(folder)) => folder.clone(),
        (None, None) => bail!("either --out or --resume is needed"),
    };
    let (settings, pictures) = match &args.resume {
        Some(folder) => resumed(folder)?,
        None => fresh(args, &out)?,
    };
    let device = args.device.open(&output.ui())?;
    check_memory(&settings.network, &settings.training, &device)?;
    let seed = settings.training.seed;
    let mut net = Vgg::new(settings.network.clone(), &mut Rng::new(seed), &device)?;
    let session = Session {
        out,
        settings,
        pictures,
        resume: args.resume.is_some(),
        checkpoint_every: Duration::from_secs_f64(args.checkpoint_every / 1e3),
    };
    let outcome = session.train(&net)?;
    if !outcome.finished {
        eprintln!(
            "stopped at step {} of {}; to go on: cargo run -p host -- train --resume {}",
            outcome.step,
            session.settings.training.steps,
            session.out.display()
        );
        return Ok(ExitCode::from(INTERRUPTED));
    }
    session.finish(&mut net, &outcome, start, output)?;
    Ok(ExitCode::SUCCESS)
}

fn fresh(args: &Args, out: &Path) -> Result<(Settings, Pictures)> {
    let path = args
        .data
        .as_ref()
        .ok_or_else(|| anyhow!("--data is needed"))?;
    let crop = args.crop.map(|side| Crop::new(side.into()));
    let pictures = Pictures::load(path, crop)?;
    let network = pictures.network(&args.arch)?;
    let training = schedule(args, &network, pictures.train_len());
    let settings = Settings {
        network,
        data: path.canonicalize().unwrap_or_else(|_| path.clone()),
        training,
        test: args.test,
        crop,
    };
    std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    write_atomically(&out.join(SETTINGS), &serde_json::to_vec_pretty(&settings)?)?;
    Ok((settings, pictures))
}

/// The default schedule with what the options change.
fn schedule(args: &Args, network: &VggConfig, pictures: usize) -> TrainConfig {
    let mut training = TrainConfig::from_scratch(network, pictures, args.epochs, args.seed);
    if let Some(batch) = args.batch {
        training = training.with_batch(pictures, args.epochs, batch.into());
    }
    training.lr = args.lr.unwrap_or(training.lr);
    training.warmup = args.warmup.unwrap_or(training.warmup);
    let smoothing = args.label_smoothing.map(|s| s as f32);
    training.label_smoothing = smoothing.unwrap_or(training.label_smoothing);
    training.ema = args.ema;
    if let (Some(augment), Some(cutout)) = (&mut training.augment, args.cutout) {
        augment.cutout = cutout;
    }
    if let Some(decay) = args.weight_decay {
        training.optimizer.set_weight_decay(decay);
    }
    training
}

fn resumed(folder: &Path) -> Result<(Settings, Pictures)> {
    let path = folder.join(SETTINGS);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("no training to resume: cannot read {}", path.display()))?;
    let settings: Settings =
        serde_json::from_str(&text).with_context(|| format!("cannot parse {}", path.display()))?;
    let pictures = Pictures::load(&settings.data, settings.crop)?;
    pictures.check_fits(&settings.network)?;
    Ok((settings, pictures))
}

struct Session {
    out: PathBuf,
    settings: Settings,
    pictures: Pictures,
    resume: bool,
    /// Between checkpoints.
    checkpoint_every: Duration,
}

impl Session {
    fn train(&self, net: &Vgg) -> Result<TrainOutcome> {
        let config = &self.settings.training;
        let mut trainer = Trainer::new(net, config.clone())?;
        let checkpoint = self.out.join(CHECKPOINT);
        if self.resume && checkpoint.is_file() {
            trainer.restore(&checkpoint)?;
            eprintln!("resumed at step {} of {}", trainer.step(), config.steps);
        }
        let interrupted = interrupt_flag()?;
        let bar = progress_bar(config.steps);
        let per_epoch = (self.pictures.train_len() / config.batch).max(1);
        let all: Vec<usize> = (0..self.pictures.train_len()).collect();
        let mut saved = Instant::now();
        let mut failure = None;
        let outcome = trainer.run(self.pictures.train(), &all, |trainer, p| {
            let message = describe(p, per_epoch);
            bar.set_position(p.step as u64);
            bar.set_message(message.clone());
            let stop = interrupted.load(Ordering::SeqCst);
            let epoch_ends = p.step % per_epoch == 0;
            let mut write = || -> Result<()> {
                if epoch_ends && p.step < p.steps {
                    let accuracy = self.save_model(net, GLANCE)?;
                    say(
                        &bar,
                        &match accuracy {
                            Some(share) => format!("{message}, validation {:.2} %", 100.0 * share),
                            None => message.clone(),
                        },
                    );
                }
                if stop || saved.elapsed() >= self.checkpoint_every || p.step == p.steps {
                    trainer.save(&checkpoint)?;
                    saved = Instant::now();
                }
                Ok(())
            };
            failure = write().err();
            match stop || failure.is_some() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        bar.finish_and_clear();
        if let Some(error) = failure {
            return Err(error);
        }
        if outcome.finished {
            trainer.take_average()?;
        }
        Ok(outcome)
    }

    /// Writes the model as it is, with its accuracy on the first `n` validation pictures, if there
    /// are any.
    fn save_model(&self, net: &Vgg, n: usize) -> Result<Option<f64>> {
        let (accuracy, images) = self.pictures.validation_accuracy(&net.fold()?, n)?;
        let accuracy = (images > 0).then_some(accuracy);
        let mut model = net.clone();
        let extra = &mut model.config.extra;
        extra.insert("parameters".into(), net.config.parameters().into());
        extra.insert("validation_accuracy".into(), accuracy.into());
        extra.insert("validation_images".into(), images.into());
        model.save(&self.out, false)?;
        Ok(accuracy)
    }

    fn finish(
        &self,
        net: &mut Vgg,
        outcome: &TrainOutcome,
        start: Instant,
        output: &Output,
    ) -> Result<()> {
        let training = &self.settings.training;
        let epochs =
            training.steps as f64 * training.batch as f64 / self.pictures.train_len() as f64;
        let extra = &mut net.config.extra;
        extra.insert("epochs".into(), ((epochs * 10.0).round() / 10.0).into());
        extra.insert("seed".into(), training.seed.into());
        let test = match self.settings.test {
            true => self.pictures.test_accuracy(&net.fold()?)?,
            false => None,
        };
        if let Some(accuracy) = test {
            net.config
                .extra
                .insert("test_accuracy".into(), accuracy.into());
        }
        let accuracy = self.save_model(net, usize::MAX)?;
        let seconds = start.elapsed().as_secs_f64();
        let summary = serde_json::json!({
            "out": self.out,
            "architecture": net.config.architecture,
            "parameters": net.config.parameters(),
            "macs": net.config.macs(),
            "epochs": epochs,
            "images_trained": outcome.images,
            "images_per_second": outcome.images as f64 / seconds,
            "loss": outcome.mean_loss,
            "validation_accuracy": accuracy,
            "test_accuracy": net.config.extra.get("test_accuracy"),
            "seconds": seconds,
        });
        let measured = match accuracy {
            Some(share) => {
                let images = self.pictures.validation_len();
                format!(
                    "validation accuracy {:.2} % on {images} pictures",
                    100.0 * share
                )
            }
            None => "no validation pictures (every tenth of ten or more is one)".into(),
        };
        output.result(&format!(
            "{measured}, {} parameters, {:.0} s: {}",
            net.config.parameters(),
            seconds,
            self.out.display()
        ));
        output.json(&summary);
        Ok(())
    }
}

fn describe(p: &Progress, per_epoch: usize) -> String {
    format!(
        "epoch {}/{}, loss {:.3}, {} px, {:.0} img/s",
        p.step.div_ceil(per_epoch),
        p.steps.div_ceil(per_epoch),
        p.loss,
        p.side,
        p.images_per_second
    )
}

/// A line above the bar, or on its own where there is no terminal.
fn say(bar: &ProgressBar, line: &str) {
    match std::io::stderr().is_terminal() {
        true => bar.println(line),
        false => eprintln!("{line}"),
    }
}

fn progress_bar(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("train {bar:24} {msg}, eta {eta}");
    ProgressBar::new(steps as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
