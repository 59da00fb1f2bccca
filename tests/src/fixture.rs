//! A network and pictures for runs of seconds.

use candle_core::Device;
use host::data::Normalization;
use host::nn::Rng;
use host::vgg::{Item, Vgg, VggConfig};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Pictures of each class.
const PICTURES: u32 = 40;

/// A folder with a network, pictures, runs and a table of timings.
pub struct Fixture {
    /// The folder, removed in the end.
    pub folder: tempfile::TempDir,
}

impl Fixture {
    /// Writes network and pictures.
    ///
    /// # Panics
    /// Where the disk refuses.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_model(&folder.path().join("model"), 1);
        write_pictures(&folder.path().join("pictures"));
        Self { folder }
    }

    /// A path below the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command with these arguments.
    #[must_use]
    pub fn host(&self, args: &[&str]) -> Command {
        let mut command = super::command::host(&self.path("cache"));
        command.args(args).current_dir(self.folder.path());
        command
    }

    /// `compress` on network and pictures into the folder `runs`, with few episodes.
    #[must_use]
    pub fn compress(&self, runs: &str, more: &[&str]) -> Command {
        self.compress_on("pictures", runs, more)
    }

    /// The same on the pictures in the folder `data`.
    #[must_use]
    pub fn compress_on(&self, data: &str, runs: &str, more: &[&str]) -> Command {
        let mut command = self.few("compress", data);
        command.args(["--runs", runs]).args(more);
        command
    }

    /// `compare` likewise, its cells in the folder `out`.
    #[must_use]
    pub fn compare(&self, out: &str, more: &[&str]) -> Command {
        let mut command = self.few("compare", "pictures");
        command.args(["--out", out]).args(more);
        command
    }

    /// A sub-command that compresses, with few episodes.
    fn few(&self, name: &str, data: &str) -> Command {
        let mut command = self.host(&[name, "--model", "model", "--data", data]);
        let board = super::board();
        let few = [
            ("--board", board.as_str()),
            ("--engine", "in-process"),
            ("--prune-episodes", "4"),
            ("--quantize-episodes", "4"),
            ("--trial-steps", "2"),
            ("--trial-images", "8"),
            ("--variational-steps", "2"),
            ("--finetune-epochs", "2"),
            ("--qat-epochs", "2"),
            ("--channel-step", "4"),
            ("--board-images-before", "1"),
            ("--board-images-after", "2"),
            ("--max-latency", "10s"),
            ("--max-flash", "256KiB"),
        ];
        command.args(few.iter().flat_map(|(name, value)| [*name, *value]));
        command
    }

    /// The one run in the folder `runs`.
    ///
    /// # Panics
    /// Where there is not exactly one.
    #[must_use]
    pub fn run(&self, runs: &str) -> PathBuf {
        let all = self.all_runs(runs);
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    }

    /// All runs in the folder `runs`.
    #[must_use]
    pub fn all_runs(&self, runs: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path(runs)).into_iter().flatten();
        entries.flatten().map(|e| e.path()).collect()
    }
}

impl Default for Fixture {
    fn default() -> Self {
        Self::new()
    }
}

/// The network's configuration: 8x8 pictures, three classes.
#[must_use]
pub fn config() -> VggConfig {
    use Item::{AvgPool, Conv, MaxPool};
    VggConfig {
        architecture: "vgg-tiny".into(),
        cfg: vec![Conv(8), MaxPool, Conv(16), AvgPool],
        num_classes: 3,
        input: [8, 8, 3],
        normalization: Normalization {
            mean: vec![0.5; 3],
            std: vec![0.25; 3],
        },
        ..VggConfig::preset("vgg-small").expect("known")
    }
}

/// Writes a network of random weights, as a model is stored.
///
/// # Panics
/// Where the disk refuses.
pub fn write_model(folder: &Path, seed: u64) {
    let net = Vgg::new(config(), &mut Rng::new(seed), &Device::Cpu).expect("valid");
    net.save(folder, false).expect("the disk takes it");
}

/// Three classes of pictures that differ in colour, with a texture that does not tell them
/// apart.
fn write_pictures(folder: &Path) {
    for (class, name) in ["red", "green", "blue"].into_iter().enumerate() {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).expect("the disk takes it");
        for i in 0..PICTURES {
            let pixel = |x: u32, y: u32| {
                let mut rgb = [60 + (x * 7 + y * 13 + i * 29) as u8 % 60; 3];
                rgb[class] += 100;
                image::Rgb(rgb)
            };
            let picture = image::RgbImage::from_fn(8, 8, pixel);
            let path = folder.join(format!("{i:02}.png"));
            picture.save(path).expect("the disk takes it");
        }
    }
}
