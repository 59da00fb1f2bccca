//! The refinement on a toy problem.

use super::settings::Settings;
use super::testing::{Portable, finish, input, settings};
use super::*;
use crate::prune::element_share;
use crate::run::{EpisodeLog, EpisodeRecord, files};
use crate::search::{Best, Candidate};

/// Stage 2 may not go below 4 bits; stage 1 counts on 2 and fills a tight flash with them.
fn too_hopeful() -> Settings {
    let mut s = settings();
    (s.prune.episodes, s.quantize.episodes) = (3, 3);
    s.expected_width = 2;
    s.w_widths = vec![4, 8];
    s.budgets.cost_share = Some(0.9);
    s.budgets.flash_share = Some(0.3);
    s
}

/// The flash takes half of the weights at 4 bits, the latency is no limit.
fn slack() -> Settings {
    let mut s = settings();
    (s.prune.episodes, s.quantize.episodes) = (4, 3);
    s.refine = Refine::Vary;
    s.w_widths = vec![2, 3, 4, 6, 8];
    s.budgets.cost_share = Some(1.0);
    s.budgets.flash_share = Some(0.25);
    s
}

fn start(root: &Path, s: Settings) -> Compress<Portable> {
    Compress::start(input(), s, Portable, root, Ui::new(Verbosity::Quiet)).expect("starts")
}

fn refined(dir: &Path) -> Vec<EpisodeRecord> {
    let log = EpisodeLog::read(&dir.join(files::LOG)).expect("a log");
    log.into_iter()
        .filter(|r| r.stage == Stage::Refine)
        .collect()
}

#[test]
fn what_stage_2_cannot_store_is_fitted_anew_before_it_is_trained() {
    let root = tempfile::tempdir().expect("a folder");
    // Without it, the whole of the fine-tuning is spent on what does not fit.
    let run = start(
        root.path(),
        Settings {
            refine: Refine::Off,
            ..too_hopeful()
        },
    );
    let error = run.run().err().expect("nothing fits");
    let error = error.downcast::<Infeasible>().expect("infeasible");
    assert!(error.exceeded.contains("flash"), "{error}");
    let run = start(root.path(), too_hopeful());
    let (dir, flash) = (run.dir().to_path_buf(), run.targets().flash_bytes);
    let summary = finish(run);
    assert!(Some(summary.after.blob_bytes) <= flash);
    let judged = refined(&dir);
    assert!(judged.iter().any(|r| r.feasible), "{judged:?}");
}

#[test]
fn where_cycles_are_left_other_widths_and_cut_weights_are_tried_and_the_best_goes_on() {
    let root = tempfile::tempdir().expect("a folder");
    let run = start(root.path(), slack());
    let dir = run.dir().to_path_buf();
    finish(run);
    let unvaried = Settings {
        refine: Refine::Store,
        ..slack()
    };
    let run = start(root.path(), unvaried);
    let kept = run.dir().to_path_buf();
    finish(run);
    assert!(refined(&kept).is_empty(), "only where it is asked for");
    let judged = refined(&dir);
    assert!(judged.len() > 2, "{}", judged.len());
    let labels: Vec<_> = judged.iter().filter_map(|r| r.variant.clone()).collect();
    assert_eq!(labels[0], "4 bits expected");
    assert!(labels.iter().any(|l| l == "2 bits expected"), "{labels:?}");
    let cut = |r: &EpisodeRecord| r.actions.iter().any(|a| a.density < Some(0.99));
    assert!(judged.iter().any(cut), "weights are cut in some");
    // The last that was called best is what was trained.
    let best = judged.iter().rev().find(|r| r.best).expect("one is");
    let top = judged.iter().map(|r| r.reward).fold(f64::MIN, f64::max);
    assert_eq!(best.reward, top);
    let pruned = Vgg::load(&dir.join("pruned"), &candle_core::Device::Cpu).expect("kept");
    let widths: Vec<_> = best.actions.iter().filter_map(|a| a.channels).collect();
    assert_eq!(pruned.config.widths(), widths);
}

#[test]
fn a_refinement_that_is_stopped_goes_on_to_the_same_blob() {
    let root = tempfile::tempdir().expect("a folder");
    let whole = start(root.path(), slack());
    let whole_dir = whole.dir().to_path_buf();
    finish(whole);
    let mut run = start(root.path(), slack());
    let dir = run.dir().to_path_buf();
    for stage in [Stage::Prepare, Stage::Prune] {
        let done = if stage == Stage::Prune {
            run.prune()
        } else {
            run.prepare()
        };
        assert!(done.expect("runs"));
        let next = Progress {
            stage: stage.next(),
            step: 0,
        };
        run.save(next, None).expect("saves");
    }
    // A process that died after some of the variants: what the next one finds.
    let stopped = run.refine_at_most(2).expect("runs");
    assert!(!stopped, "variants are left");
    drop(run);
    let ui = Ui::new(Verbosity::Quiet);
    let run = Compress::resume(input(), Portable, &dir, ui).expect("resumes");
    assert_eq!(run.run.progress().stage, Stage::Refine);
    assert_eq!(run.run.progress().step, 2);
    finish(run);
    for file in ["model.blob", "policy.json"] {
        let read = |d: &Path| std::fs::read(d.join(file)).expect("written");
        assert_eq!(read(&whole_dir), read(&dir), "{file}");
    }
    let rewards = |d: &Path| refined(d).iter().map(|r| r.reward).collect::<Vec<_>>();
    assert_eq!(rewards(&whole_dir), rewards(&dir));
}

#[test]
fn the_network_that_is_trained_keeps_the_weights_that_the_search_judged() {
    let root = tempfile::tempdir().expect("a folder");
    let mut run = start(root.path(), settings());
    assert!(run.prepare().expect("runs"));
    let rankings = store::load_rankings(run.dir()).expect("ranked");
    // Actions are not shares: 0.5 keeps three quarters.
    let layers = run.input.network.config.layers();
    let channels = layers.iter().map(|l| crate::run::LayerAction {
        channels: Some(l.c_out),
        ..Default::default()
    });
    run.state.prune_best = Some(Best {
        episode: 0,
        candidate: Candidate {
            actions: vec![vec![1.0, 0.5]; layers.len()],
            accuracy: 0.0,
            likelihood: None,
            costs: Default::default(),
            layers: channels.take(layers.len() - 1).collect(),
        },
        score: crate::reward::Score {
            reward: 0.0,
            feasible: true,
            excess: 0.0,
        },
    });
    let network = run.best_pruned(&rankings).expect("carried out");
    for (i, layer) in crate::prune::pruned_layers(&network)
        .expect("masks")
        .iter()
        .enumerate()
    {
        let kept = layer.density.expect("has weights");
        assert!(
            (kept - f64::from(element_share(0.5))).abs() < 0.02,
            "layer {i}: {kept}"
        );
    }
}
