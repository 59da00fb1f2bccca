//! `verify`: the board's logits against the host's integer simulation, image by image.

use super::artifact::{self, BlobFile};
use super::board::{BoardArgs, FirmwareArgs};
use super::hint::Complaint;
use super::input::DataArgs;
use super::output::Output;
use super::units::{grouped, percent};
use super::{FAILED_CHECK, artifact::check_flashed};
use crate::board::{Board, BoardSpec, Engine, Inference};
use crate::data::Dataset;
use crate::lower::{IntNet, accuracy, from_blob, simulate};
use anyhow::Result;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Blob of a board's package that is looked at where none is named.
const BUNDLED: &str = "default.blob";
/// Images in process, where each takes seconds, and elsewhere.
const IMAGES: (usize, usize) = (16, 1000);

/// Options of `verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of a run, or a blob [default: the blob that is bundled with the firmware].
    path: Option<PathBuf>,
    /// Test pictures [default: 1000, in process 16].
    #[arg(long, value_name = "N")]
    images: Option<usize>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    board: BoardArgs,
    #[command(flatten)]
    firmware: FirmwareArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    // A board that is not there is found out before pictures are loaded for it.
    crate::board::spec::find(args.board.name())?;
    let file = blob_file(args)?;
    let net = from_blob(&file.blob()).map_err(|error| {
        Complaint::input(format!("blob: {error}"))
            .at(file.path.display())
            .try_("copy the file again, or make it anew with `compress`")
    })?;
    let test = test_images(args, &net)?;
    let mut board = args
        .board
        .open_built(output, &args.firmware.build(false)?)?;
    let n = wanted(args, &*board, test.len(), output)?;
    let host = simulate(&net, &test.images[..n * test.image_bytes()])?;
    let ran = on_board(&mut *board, &file, &test, n, output)?;
    let found = Found::new(&net, &host, &ran, &test);
    found.report(&file, &mut *board, args, output)?;
    Ok(ExitCode::from(if found.passed(&file) {
        0
    } else {
        FAILED_CHECK
    }))
}

fn blob_file(args: &Args) -> Result<BlobFile> {
    if let Some(path) = &args.path {
        return artifact::open_blob(path);
    }
    let (spec, _) = crate::board::spec::find(args.board.name())?;
    let path = spec.folder.join(BUNDLED);
    if !path.is_file() {
        return Err(
            Complaint::input(format!("no blob is bundled with {}", spec.name))
                .at(path.display())
                .try_("`verify RUN`, with a run that `compress` has made")
                .into(),
        );
    }
    BlobFile::read(&path)
}

/// The test images; where the data has none, the validation images stand in.
fn test_images(args: &Args, net: &IntNet) -> Result<Dataset> {
    let test = args.data.test_images(args.images)?;
    test.check_fits(net.input, net.classes())?;
    Ok(test)
}

fn wanted(args: &Args, board: &dyn Board, there: usize, output: &Output) -> Result<usize> {
    let default = match board.engine() {
        Engine::InProcess => IMAGES.0,
        Engine::Qemu | Engine::Probe => IMAGES.1,
    };
    match args.images {
        Some(0) => Err(Complaint::input("nothing to verify with 0 images")
            .at("--images")
            .into()),
        Some(n) if n > there => Err(Complaint::input(format!(
            "{n} images were asked for, the data has {there}"
        ))
        .at(args.data.path().display())
        .try_(format!("`--images {there}`, or `--data` with more"))
        .into()),
        Some(n) => Ok(n),
        None => {
            let n = default.min(there);
            output.ui().detail(&format!("{n} of {there} images"));
            Ok(n)
        }
    }
}

fn on_board(
    board: &mut dyn Board,
    file: &BlobFile,
    test: &Dataset,
    n: usize,
    output: &Output,
) -> Result<Vec<Inference>> {
    board.flash(file.bytes())?;
    check_flashed(&board.hello()?, file)?;
    let mut bar = output.ui().bar("verify", n, 0);
    // Painting tells how much of the arena is touched; once is enough, sizes do not depend
    // on the image.
    let mut ran = vec![board.infer(test.image(0), true)?];
    bar.set(1, "");
    let mut rest = (1..n).map(|i| test.image(i));
    board.infer_many(&mut rest, &mut |i, inference| {
        ran.push(inference);
        bar.set(i + 2, "");
    })?;
    bar.finish(&format!("{n} images"));
    Ok(ran)
}

/// What came of it.
struct Found {
    images: usize,
    mismatched_logits: usize,
    first_mismatch: Option<String>,
    accuracy_board: f64,
    accuracy_host: f64,
    arena_used: Option<u32>,
    cycles_mean: Option<u64>,
}

impl Found {
    fn new(net: &IntNet, host: &[i32], ran: &[Inference], test: &Dataset) -> Self {
        let n = ran.len();
        let board: Vec<i32> = ran.iter().flat_map(|r| r.logits.iter().copied()).collect();
        let mismatched = host.iter().zip(&board).filter(|(a, b)| a != b).count();
        let first = host
            .chunks_exact(net.classes())
            .zip(ran)
            .position(|(h, r)| h != r.logits);
        let cycles: Option<u64> = ran.iter().map(Inference::cycles).sum();
        Self {
            images: n,
            mismatched_logits: mismatched + host.len().abs_diff(board.len()),
            first_mismatch: first.map(|i| {
                let ours = &host[i * net.classes()..(i + 1) * net.classes()];
                format!(
                    "image {i} (row {}): the board has {:?}, the host {ours:?}",
                    test.rows[i], ran[i].logits
                )
            }),
            accuracy_board: accuracy(&board, &test.labels[..n]),
            accuracy_host: accuracy(host, &test.labels[..n]),
            arena_used: ran.first().and_then(|r| r.arena_used),
            cycles_mean: cycles.map(|c| c / n.max(1) as u64),
        }
    }

    fn passed(&self, file: &BlobFile) -> bool {
        let predicted = file.blob().header().arena_bytes;
        self.mismatched_logits == 0 && self.arena_used == Some(predicted)
    }

    fn report(
        &self,
        file: &BlobFile,
        board: &mut dyn Board,
        args: &Args,
        output: &Output,
    ) -> Result<()> {
        let predicted = file.blob().header().arena_bytes;
        let hello = board.hello()?;
        if let Some(first) = &self.first_mismatch {
            output.result(first);
        }
        let cycles = self.cycles_mean.map_or("cycles unknown".into(), |c| {
            let spec: &BoardSpec = board.spec();
            format!(
                "{} {} ({:.2} ms)",
                grouped(c),
                board.engine().cycle_source(),
                spec.milliseconds(c)
            )
        });
        output.result(&format!(
            "{} blob {:08x} on {} (firmware {:08x}): {} images, {} mismatched logits, accuracy board {} host {}, arena {} of {} stated, {cycles}",
            if self.passed(file) { "ok" } else { "FAILED" },
            file.blob().header().crc32,
            args.board.name(),
            hello.build_id,
            self.images,
            self.mismatched_logits,
            percent(self.accuracy_board),
            percent(self.accuracy_host),
            self.arena_used.map_or("?".into(), |a| grouped(a.into())),
            grouped(predicted.into()),
        ));
        output.json(&json!({
            "images": self.images,
            "mismatched_logits": self.mismatched_logits,
            "accuracy_board": self.accuracy_board,
            "accuracy_host": self.accuracy_host,
            "arena_predicted": predicted,
            "arena_used": self.arena_used,
            "cycles_mean": self.cycles_mean,
        }));
        Ok(())
    }
}
