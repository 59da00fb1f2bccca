//! The options of `compress` that change its result, and the settings that they make.

use super::hint::Complaint;
use super::units;
use crate::agent::AgentKind;
use crate::compress::{Budgets, Refine, Settings};
use crate::lower::Prefer;
use crate::prune::ChannelCriterion;
use crate::reward::{Merit, RewardMode, SpeedModel};
use shared::spec::Kernel;

/// What may be changed of [`Settings::quick`]; whatever is not given stays.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub(super) struct Tuning {
    /// Seed of everything random [default: 0].
    #[arg(long)]
    seed: Option<u64>,
    /// Longest inference, such as 100ms [default: `--cost-share`].
    #[arg(long, value_name = "TIME", value_parser = units::milliseconds)]
    max_latency: Option<f64>,
    /// Largest blob, such as 512KiB [default: `--flash-share`].
    #[arg(long, value_name = "SIZE", value_parser = units::bytes)]
    max_flash: Option<u64>,
    /// Largest arena, such as 100KiB [default: what the board has].
    #[arg(long, value_name = "SIZE", value_parser = units::bytes)]
    max_sram: Option<u64>,
    /// Most multiply-accumulates, such as 20M [default: `--cost-share`,
    /// unless a latency is given].
    #[arg(long, value_name = "COUNT", value_parser = units::count)]
    max_macs: Option<u64>,
    /// Least accuracy on the validation pictures, such as 85%; a result below it is kept, but
    /// the command fails.
    #[arg(long, value_name = "SHARE", value_parser = units::share)]
    min_accuracy: Option<f64>,
    /// Share of the given network's cycles and multiply-accumulates at 8 bits that the result
    /// may have, where neither a latency nor a count is given [default: 0.48].
    #[arg(long, value_name = "SHARE")]
    cost_share: Option<f64>,
    /// Share of the given network's blob at 8 bits that the result may have, where no flash
    /// is given [default: 0.4].
    #[arg(long, value_name = "SHARE")]
    flash_share: Option<f64>,
    /// What matters more in how weights are stored, within the budgets: dense weights as long
    /// as they fit the flash, or the fewest bytes that keep the latency [default: speed].
    #[arg(long, value_enum)]
    prefer: Option<Prefer>,
    /// Who searches [default: ddpg]. Agents that decide beforehand have one episode a stage.
    #[arg(long, value_enum)]
    agent: Option<AgentKind>,
    /// How candidates are scored [default: board].
    #[arg(long, value_enum)]
    reward: Option<RewardMode>,
    /// What of a candidate's answers the budgeted rewards take: the share of pictures that are
    /// right, or the probabilities that the labels get [default: likelihood].
    #[arg(long, value_enum)]
    merit: Option<Merit>,
    /// What the pruning search takes for speed: cycles as measured, or multiply-accumulates, for
    /// comparison; its finalists are then fitted to the measured budgets [default: cycles].
    #[arg(long, value_enum)]
    speed: Option<SpeedModel>,
    /// Whether each episode's policy is fitted to the budgets from both sides before it is
    /// judged, so that the agent decides proportions only [default: true].
    #[arg(long, value_name = "BOOL")]
    fill: Option<bool>,
    /// Episodes of the pruning search [default: 40].
    #[arg(long, value_name = "N")]
    prune_episodes: Option<usize>,
    /// Episodes of the quantization search [default: 30].
    #[arg(long, value_name = "N")]
    quantize_episodes: Option<usize>,
    /// Training steps that a candidate gets before it is judged [default: none for pruned ones,
    /// 10 for quantized ones].
    #[arg(long, value_name = "N")]
    trial_steps: Option<usize>,
    /// Validation pictures that judge a candidate [default: 1000 for pruned ones, 500 for
    /// quantized ones].
    #[arg(long, value_name = "N")]
    trial_images: Option<usize>,
    /// Best candidates of each search that are judged again, with four times the training and
    /// all validation pictures, before one is kept [default: 4].
    #[arg(long, value_name = "N")]
    finalists: Option<usize>,
    /// Channels are rounded to multiples of this [default: 8].
    #[arg(long, value_name = "N")]
    channel_step: Option<usize>,
    /// Width of weights that the pruning search counts on where it fits the flash: more keeps
    /// fewer weights that can be wider [default: 4].
    #[arg(long, value_name = "BITS")]
    expected_width: Option<u8>,
    /// What is done with the pruning before it is trained [default: store].
    #[arg(long, value_enum)]
    refine: Option<Refine>,
    /// How channels are ranked [default: bn-scale].
    #[arg(long, value_enum)]
    criterion: Option<ChannelCriterion>,
    /// Whether the weights that stay make up for the channels that go, by least squares over
    /// training pictures, before anything is trained [default: true].
    #[arg(long, value_name = "BOOL")]
    reconstruct: Option<bool>,
    /// Steps that train the noise which ranks weights, and with `--criterion information` as
    /// many that rank channels; 0 ranks by magnitude [default: 20].
    #[arg(long, value_name = "N")]
    variational_steps: Option<usize>,
    /// Widths of weights that the search may choose [default: 2,4,8].
    #[arg(long, value_name = "BITS", value_delimiter = ',')]
    w_widths: Option<Vec<u8>>,
    /// Widths of activations that the search may choose [default: 4,8].
    #[arg(long, value_name = "BITS", value_delimiter = ',')]
    a_widths: Option<Vec<u8>>,
    /// Passes over the training pictures after pruning [default: 45].
    #[arg(long, value_name = "EPOCHS")]
    finetune_epochs: Option<f64>,
    /// Passes over the training pictures after quantization [default: 6].
    #[arg(long, value_name = "EPOCHS")]
    qat_epochs: Option<f64>,
    /// What each bit that a weight takes at its layer's entropy adds to the loss of the
    /// fine-tuning after quantization: entropy-coded weights get shorter, at the price of
    /// accuracy; of use with `--prefer size` [default: 0].
    #[arg(long, value_name = "WEIGHT")]
    rate_weight: Option<f64>,
    /// Share of the fine-tuning's loss that follows the given network's answers
    /// [default: 0.95].
    #[arg(long, value_name = "SHARE")]
    distillation: Option<f64>,
    /// Whether the given network is asked about each augmented view of a picture, and not once
    /// about each picture: far more to learn from where pictures are few, far slower where the
    /// given network is large [default: true].
    #[arg(long, value_name = "BOOL")]
    distill_views: Option<bool>,
    /// Pictures a step of both fine-tunings [default: 64].
    #[arg(long, value_name = "N")]
    finetune_batch: Option<usize>,
    /// Highest learning rate of the fine-tuning after pruning [default: 0.03].
    #[arg(long, value_name = "RATE")]
    finetune_lr: Option<f64>,
    /// Highest learning rate of the fine-tuning after quantization [default: 0.0002].
    #[arg(long, value_name = "RATE")]
    qat_lr: Option<f64>,
    /// Test pictures that the board runs with the given network [default: 3].
    #[arg(long, value_name = "N")]
    board_images_before: Option<usize>,
    /// Test pictures that the board runs with the result [default: 16].
    #[arg(long, value_name = "N")]
    board_images_after: Option<usize>,
    /// Have a layer of the result computed by this kernel, such as conv3=direct; may be given
    /// several times [default: the one that the board is fastest with].
    #[arg(long = "kernel", value_name = "LAYER=KERNEL", value_parser = kernel)]
    kernels: Vec<(String, Kernel)>,
    /// Also fine-tune the given network likewise, so that more training is not counted as
    /// compression.
    #[arg(long)]
    control: bool,
}

impl Tuning {
    /// Whether an agent or a seed was given.
    pub fn names_agent_or_seed(&self) -> bool {
        self.agent.is_some() || self.seed.is_some()
    }

    /// The settings of a run.
    ///
    /// # Errors
    /// A [`Complaint`] that names the option.
    pub fn settings(&self) -> Result<Settings, Complaint> {
        self.over(Settings::quick(self.seed.unwrap_or(0)))
    }

    /// The settings of a run that trains on what a run with `earlier` settings found.
    ///
    /// # Errors
    /// A [`Complaint`] that names the option, also where it only steers a search.
    pub fn training_of(&self, earlier: &Settings) -> Result<Settings, Complaint> {
        // What is left when everything that training and lowering use is taken out.
        let searching = Self {
            seed: None,
            max_latency: None,
            max_flash: None,
            max_sram: None,
            max_macs: None,
            min_accuracy: None,
            cost_share: None,
            flash_share: None,
            prefer: None,
            finetune_epochs: None,
            qat_epochs: None,
            rate_weight: None,
            distillation: None,
            distill_views: None,
            finetune_batch: None,
            finetune_lr: None,
            qat_lr: None,
            board_images_before: None,
            board_images_after: None,
            kernels: vec![],
            control: false,
            ..self.clone()
        };
        if searching != Self::default() {
            return Err(Complaint::input(
                "nothing is searched again, so options of the search have no effect",
            )
            .at("--from")
            .try_("only budgets and options of the training beside it"));
        }
        self.over(Settings {
            seed: self.seed.unwrap_or(earlier.seed),
            ..earlier.clone()
        })
    }

    /// `s` but for what is given.
    fn over(&self, mut s: Settings) -> Result<Settings, Complaint> {
        let was = s.budgets;
        s.budgets = Budgets {
            latency_ms: self.max_latency.or(was.latency_ms),
            flash_bytes: self.max_flash.or(was.flash_bytes),
            sram_bytes: self.max_sram.or(was.sram_bytes),
            macs: self.max_macs.or(was.macs),
            min_accuracy: self.min_accuracy.or(was.min_accuracy),
            cost_share: self.cost_share.or(was.cost_share),
            flash_share: self.flash_share.or(was.flash_share),
        };
        set(&mut s.prefer, &self.prefer);
        set(&mut s.agent, &self.agent);
        set(&mut s.reward, &self.reward);
        set(&mut s.merit, &self.merit);
        set(&mut s.speed, &self.speed);
        set(&mut s.fill, &self.fill);
        set(&mut s.prune.episodes, &self.prune_episodes);
        set(&mut s.quantize.episodes, &self.quantize_episodes);
        for trial in [&mut s.prune.trial, &mut s.quantize.trial] {
            set(&mut trial.steps, &self.trial_steps);
            set(&mut trial.validation_images, &self.trial_images);
        }
        set(&mut s.finalists, &self.finalists);
        set(&mut s.channel_step, &self.channel_step);
        if let Some(width) = self.expected_width {
            rising("--expected-width", &[width], &[2, 3, 4, 5, 6, 7, 8])?;
            s.expected_width = width;
        }
        set(&mut s.refine, &self.refine);
        set(&mut s.criterion, &self.criterion);
        set(&mut s.reconstruct, &self.reconstruct);
        set(&mut s.variational.steps, &self.variational_steps);
        set(&mut s.finetune.epochs, &self.finetune_epochs);
        set(&mut s.qat.epochs, &self.qat_epochs);
        set(&mut s.rate_weight, &self.rate_weight);
        set(&mut s.distillation, &self.distillation);
        set(&mut s.distill_views, &self.distill_views);
        set(&mut s.finetune.lr, &self.finetune_lr);
        set(&mut s.qat.lr, &self.qat_lr);
        set(&mut s.finetune.batch, &self.finetune_batch);
        set(&mut s.qat.batch, &self.finetune_batch);
        set(&mut s.board_images.0, &self.board_images_before);
        set(&mut s.board_images.1, &self.board_images_after);
        s.control = self.control;
        if !self.kernels.is_empty() {
            s.kernels = self.kernels.clone();
        }
        if let Some(widths) = &self.w_widths {
            s.w_widths = rising("--w-widths", widths, &[2, 3, 4, 5, 6, 7, 8])?;
        }
        if let Some(widths) = &self.a_widths {
            s.a_widths = rising("--a-widths", widths, &[2, 4, 8])?;
        }
        check(&s)?;
        Ok(s.with_agents_episodes())
    }
}

/// Reads `conv3=direct`.
fn kernel(text: &str) -> Result<(String, Kernel), String> {
    let all: Vec<Kernel> = (0..=u8::MAX).filter_map(Kernel::from_code).collect();
    let names: Vec<&str> = all.iter().map(|k| k.name()).collect();
    let bad = || format!("write LAYER=KERNEL, with a kernel of {}", names.join(", "));
    let (layer, name) = text.split_once('=').ok_or_else(bad)?;
    let found = all.iter().find(|k| k.name() == name.trim());
    let kernel = found.ok_or_else(bad)?;
    Ok((layer.trim().to_string(), *kernel))
}

fn set<T: Clone>(to: &mut T, given: &Option<T>) {
    if let Some(value) = given {
        *to = value.clone();
    }
}

/// The widths, rising, each once, all of them among `allowed`.
fn rising(option: &str, widths: &[u8], allowed: &[u8]) -> Result<Vec<u8>, Complaint> {
    if let Some(bad) = widths.iter().find(|w| !allowed.contains(w)) {
        let names: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        return Err(
            Complaint::input(format!("the firmware has no width of {bad} bits"))
                .at(option)
                .try_(format!("some of {}", names.join(", "))),
        );
    }
    let mut widths = widths.to_vec();
    widths.sort_unstable();
    widths.dedup();
    Ok(widths)
}

fn check(s: &Settings) -> Result<(), Complaint> {
    let positive = [
        ("--prune-episodes", s.prune.episodes),
        ("--quantize-episodes", s.quantize.episodes),
        ("--trial-images", s.prune.trial.validation_images),
        ("--channel-step", s.channel_step),
        ("--finalists", s.finalists),
    ];
    if let Some((option, _)) = positive.iter().find(|(_, n)| *n == 0) {
        return Err(Complaint::input("it must be at least 1").at(option));
    }
    let trained = [ChannelCriterion::Variational, ChannelCriterion::Information];
    if trained.contains(&s.criterion) && s.variational.steps == 0 && s.earlier.is_none() {
        return Err(
            Complaint::input("channels are ranked by noise that is to be trained")
                .at("--criterion")
                .try_("`--variational-steps 200`"),
        );
    }
    let fitted = s.fill && s.reward != RewardMode::AccuracyFlops;
    if s.speed == SpeedModel::Macs && !fitted {
        return Err(Complaint::input(
            "finalists have to be fitted to the measured budgets, which `--fill false` and `--reward accuracy-flops` leave out",
        )
        .at("--speed macs")
        .try_("`--reward board` without `--fill false`"));
    }
    let epochs = [
        ("--finetune-epochs", s.finetune.epochs),
        ("--qat-epochs", s.qat.epochs),
    ];
    if let Some((option, _)) = epochs.iter().find(|(_, e)| !(0.0..=1e6).contains(e)) {
        return Err(Complaint::input("it must be a number of passes, 0 or more").at(option));
    }
    if !(0.0..=1e6).contains(&s.rate_weight) {
        return Err(Complaint::input("it must be a number, 0 or more").at("--rate-weight"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_given_is_the_quick_run() {
        let settings = Tuning::default().settings().expect("valid");
        assert_eq!(settings, Settings::quick(0));
    }

    #[test]
    fn a_run_that_goes_on_keeps_what_is_not_given_and_searches_nothing() {
        let mut earlier = Settings::quick(7);
        earlier.budgets.flash_bytes = Some(300_000);
        earlier.prune.episodes = 77;
        let given = Tuning {
            finetune_epochs: Some(9.0),
            max_latency: Some(50.0),
            ..Tuning::default()
        };
        let s = given.training_of(&earlier).expect("valid");
        let budgets = (s.budgets.flash_bytes, s.budgets.latency_ms);
        assert_eq!(budgets, (Some(300_000), Some(50.0)));
        assert_eq!((s.finetune.epochs, s.prune.episodes, s.seed), (9.0, 77, 7));
        for search in [
            Tuning {
                prune_episodes: Some(3),
                ..Tuning::default()
            },
            Tuning {
                agent: Some(AgentKind::Random),
                ..given
            },
        ] {
            let error = search.training_of(&earlier).expect_err("refused");
            assert!(error.to_string().contains("searched"), "{error}");
        }
    }

    #[test]
    fn kernels_are_chosen_by_layer_and_name() {
        assert_eq!(
            kernel("conv3=winograd2"),
            Ok(("conv3".into(), Kernel::Winograd2))
        );
        for text in ["conv3", "conv3=fast", "="] {
            let said = kernel(text).expect_err(text);
            assert!(
                said.contains("direct") && said.contains("LAYER=KERNEL"),
                "{said}"
            );
        }
    }

    #[test]
    fn widths_are_sorted_and_checked() {
        let tuning = Tuning {
            w_widths: Some(vec![8, 3, 3]),
            ..Tuning::default()
        };
        assert_eq!(tuning.settings().expect("valid").w_widths, [3, 8]);
        for (w, a) in [(Some(vec![9]), None), (None, Some(vec![3]))] {
            let tuning = Tuning {
                w_widths: w,
                a_widths: a,
                ..Tuning::default()
            };
            assert!(tuning.settings().is_err());
        }
        let unfitted = Tuning {
            speed: Some(SpeedModel::Macs),
            fill: Some(false),
            ..Tuning::default()
        };
        let error = unfitted.settings().expect_err("refused").to_string();
        assert!(error.contains("fitted"), "{error}");
        let none = Tuning {
            prune_episodes: Some(0),
            ..Tuning::default()
        };
        assert!(none.settings().is_err());
        let expected = |width| {
            let tuning = Tuning {
                expected_width: Some(width),
                ..Tuning::default()
            };
            tuning.settings().map(|s| s.expected_width)
        };
        assert_eq!(expected(3).expect("valid"), 3);
        assert!(expected(9).is_err());
        let rate = |rate_weight| {
            let tuning = Tuning {
                rate_weight: Some(rate_weight),
                ..Tuning::default()
            };
            tuning.settings().map(|s| s.rate_weight)
        };
        assert_eq!(rate(0.25).expect("valid"), 0.25);
        assert!(rate(-1.0).is_err() && rate(f64::NAN).is_err());
    }
}
