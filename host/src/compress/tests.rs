//! The whole run on a toy problem.

use super::testing::{Portable, finish, input, settings};
use super::*;
use crate::run::EpisodeRecord;
use crate::vgg::{Vgg, evaluate};
use shared::blob::Blob;

#[test]
fn a_toy_network_becomes_a_smaller_blob_that_the_engine_runs() {
    let root = tempfile::tempdir().expect("a folder");
    let ui = Ui::new(Verbosity::Quiet);
    let run = Compress::start(input(), settings(), Portable, root.path(), ui).expect("starts");
    let dir = run.dir().to_path_buf();
    let s = finish(run);
    assert_eq!((s.before.images_board, s.after.images_board), (3, 16));
    assert!(
        s.before.accuracy_float > 0.95,
        "the problem is easy: {}",
        s.before.accuracy_float
    );
    assert!(
        s.after.accuracy_integer > 0.9,
        "{}",
        s.after.accuracy_integer
    );
    assert!((s.after.accuracy_integer - s.after.accuracy_float).abs() <= 0.07);
    let share = settings()
        .budgets
        .cost_share
        .expect("a share of the cycles");
    assert!(
        s.after.cycles as f64 <= share * s.before.cycles as f64 + 100.0,
        "{} of {}",
        s.after.cycles,
        s.before.cycles
    );
    assert!(
        s.after.blob_bytes < s.before.blob_bytes && s.after.parameters <= s.after.parameters_dense
    );
    let blob = std::fs::read(dir.join("model.blob")).expect("a blob");
    assert_eq!(blob.len() as u64, s.after.blob_bytes);
    let header = *Blob::new_checked(&blob).expect("valid").header();
    assert_eq!(u64::from(header.arena_bytes), s.after.sram_bytes);
    assert!(std::path::Path::new(&s.report).is_file());
    let sensitivity = std::fs::read(dir.join("sensitivity.json")).expect("kept");
    let layers: Vec<crate::run::LayerSensitivity> =
        serde_json::from_slice(&sensitivity).expect("JSON");
    let points = |l: &crate::run::LayerSensitivity| (l.channels.len(), l.elements.len());
    // The last layer keeps its channels.
    assert_eq!(
        layers.iter().map(points).collect::<Vec<_>>(),
        [(3, 3), (3, 3), (0, 3)]
    );
}

#[test]
fn what_a_training_made_worse_is_not_kept() {
    let root = tempfile::tempdir().expect("a folder");
    let ui = Ui::new(Verbosity::Quiet);
    let accuracy = |lr: f64, epochs: f64| {
        let mut s = settings();
        (s.finetune.lr, s.finetune.epochs, s.qat.epochs) = (lr, epochs, 0.0);
        let run = Compress::start(input(), s, Portable, root.path(), ui).expect("starts");
        let pruned = run.dir().join("pruned");
        finish(run);
        let network = Vgg::load(&pruned, &candle_core::Device::Cpu).expect("a network");
        let images = input().splits.validation;
        let all: Vec<usize> = (0..images.len()).collect();
        evaluate(&network.fold().expect("folds"), &images, &all)
    };
    let untrained = accuracy(0.0, 2.0);
    assert!(untrained > 0.6, "{untrained}");
    // Rates that no network survives, and no loss that is refused.
    for lr in [5.0, 20.0] {
        let kept = accuracy(lr, 2.0);
        assert!(kept >= untrained, "{kept} after {lr}, {untrained} before");
    }
}

#[test]
fn the_log_says_where_an_episodes_time_went() {
    let root = tempfile::tempdir().expect("a folder");
    let ui = Ui::new(Verbosity::Quiet);
    let run = Compress::start(input(), settings(), Portable, root.path(), ui).expect("starts");
    let dir = run.dir().to_path_buf();
    finish(run);
    let log = std::fs::read_to_string(dir.join("log.jsonl")).expect("a log");
    let records: Vec<EpisodeRecord> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record"))
        .collect();
    for stage in [Stage::Prune, Stage::Quantize] {
        let parts: Vec<_> = records
            .iter()
            .filter(|r| r.stage == stage)
            .filter_map(|r| Some((r.seconds, r.seconds_by_part?)))
            .collect();
        assert!(!parts.is_empty());
        for (seconds, p) in parts {
            let each = [p.choose, p.make, p.judge, p.board];
            assert!(each.iter().all(|s| *s >= 0.0) && p.judge > 0.0, "{p:?}");
            let sum: f64 = each.iter().sum();
            assert!(
                (sum - seconds).abs() < 0.01 + 0.1 * seconds,
                "{sum} {seconds}"
            );
        }
    }
}

#[test]
fn a_run_that_is_stopped_anywhere_ends_with_the_same_blob() {
    let root = tempfile::tempdir().expect("a folder");
    let ui = Ui::new(Verbosity::Quiet);
    let start = || Compress::start(input(), settings(), Portable, root.path(), ui).expect("starts");
    let whole = start();
    let whole_dir = whole.dir().to_path_buf();
    finish(whole);
    // A copy of the folder after each checkpoint is what a killed process leaves.
    let broken = start();
    let dir = broken.dir().to_path_buf();
    let mut run = broken;
    for _ in 0..6 {
        let progress = run.run.progress();
        let done = match progress.stage {
            Stage::Prepare => run.prepare(),
            Stage::Prune => run.prune(),
            Stage::Refine => run.refine(),
            Stage::FinetunePruned => run.finetune_pruned(),
            Stage::Quantize => run.quantize(),
            _ => run.finetune_quantized(),
        };
        assert!(done.expect("runs"));
        let saved = !matches!(progress.stage, Stage::Prune | Stage::Quantize);
        if saved {
            run.save(
                Progress {
                    stage: progress.stage.next(),
                    step: 0,
                },
                None,
            )
            .expect("saves");
        }
        // Where it was not saved, the search's own last checkpoint counts and the rest of
        // the stage is done again.
        drop(run);
        run = Compress::resume(input(), Portable, &dir, ui).expect("resumes");
        if !saved {
            assert_eq!(
                run.run.progress().stage,
                progress.stage,
                "not saved, so not done"
            );
            run.save(
                Progress {
                    stage: progress.stage,
                    step: run.run.progress().step,
                },
                None,
            )
            .expect("saves");
            let again = match progress.stage {
                Stage::Prune => run.prune(),
                _ => run.quantize(),
            };
            assert!(again.expect("runs"));
            run.save(
                Progress {
                    stage: progress.stage.next(),
                    step: 0,
                },
                None,
            )
            .expect("saves");
        }
    }
    finish(run);
    for file in ["model.blob", "policy.json", "model/quantization.json"] {
        let read = |d: &Path| std::fs::read(d.join(file)).expect("written");
        assert_eq!(read(&whole_dir), read(&dir), "{file}");
    }
}

#[test]
fn every_agent_keeps_the_budgets_and_says_what_it_cost() {
    use crate::agent::AgentKind::{Gradient, Greedy, Hessian, Magnitude, Random, Uniform};
    let root = tempfile::tempdir().expect("a folder");
    let ui = Ui::new(Verbosity::Quiet);
    for agent in [Gradient, Greedy, Hessian, Magnitude, Random, Uniform] {
        let mut s = settings();
        s.agent = agent;
        // Stage 2 has something to decide.
        s.budgets.flash_share = Some(0.45);
        let s = s.with_agents_episodes();
        let run = Compress::start(input(), s.clone(), Portable, root.path(), ui).expect("starts");
        let dir = run.dir().to_path_buf();
        let summary = finish(run);
        assert_eq!(summary.episodes, s.prune.episodes + s.quantize.episodes);
        assert!(summary.after.cycles as f64 <= 0.48 * summary.before.cycles as f64 + 100.0);
        assert!(summary.after.blob_bytes as f64 <= 0.45 * summary.before.blob_bytes as f64 + 1.0);
        let log = crate::run::EpisodeLog::read(&dir.join("log.jsonl")).expect("a log");
        let episodes = log.iter().filter(|r| r.stage != Stage::Refine);
        assert_eq!(episodes.count(), summary.episodes);
        assert!(log.iter().all(|r| r.agent == agent.name()));
        let cost: u64 = log.iter().filter_map(|r| r.images).sum();
        assert!(cost > 0, "{agent:?} looked at images");
    }
}

#[test]
fn a_search_by_macs_still_keeps_the_measured_budgets() {
    let root = tempfile::tempdir().expect("a folder");
    let ui = Ui::new(Verbosity::Quiet);
    let mut s = settings();
    s.speed = crate::reward::SpeedModel::Macs;
    let run = Compress::start(input(), s.clone(), Portable, root.path(), ui).expect("starts");
    let (dir, targets) = (run.dir().to_path_buf(), *run.targets());
    let summary = finish(run);
    let log = crate::run::EpisodeLog::read(&dir.join("log.jsonl")).expect("a log");
    let pruned: Vec<_> = log.iter().filter(|r| r.stage == Stage::Prune).collect();
    // The uniform policy comes first, and nobody gets more MACs than it.
    let most = pruned[0].costs.macs;
    assert!(pruned.iter().all(|r| r.costs.macs <= most && r.feasible));
    let limit = targets.cycles.expect("a budget");
    assert!(
        summary.after.cycles <= limit + 100,
        "{}",
        summary.after.cycles
    );
    // One finalist is fitted to the measured budget too.
    (s.finalists, s.seed) = (1, 1);
    let run = Compress::start(input(), s, Portable, root.path(), ui).expect("starts");
    let summary = finish(run);
    assert!(
        summary.after.cycles <= limit + 100,
        "{}",
        summary.after.cycles
    );
}

#[test]
fn without_filling_the_uniform_policy_still_keeps_the_budgets() {
    let root = tempfile::tempdir().expect("a folder");
    for agent in [
        crate::agent::AgentKind::Uniform,
        crate::agent::AgentKind::Ddpg,
    ] {
        let mut s = settings();
        (s.agent, s.fill) = (agent, false);
        (s.prune.episodes, s.quantize.episodes) = (2, 2);
        let ui = Ui::new(Verbosity::Quiet);
        let s = s.with_agents_episodes();
        let summary =
            finish(Compress::start(input(), s, Portable, root.path(), ui).expect("starts"));
        assert!(summary.after.cycles as f64 <= 0.48 * summary.before.cycles as f64 + 100.0);
    }
}

#[test]
fn impossible_budgets_are_refused_with_the_nearest() {
    let root = tempfile::tempdir().expect("a folder");
    let mut s = settings();
    s.budgets.latency_ms = Some(0.001);
    let run = Compress::start(input(), s, Portable, root.path(), Ui::new(Verbosity::Quiet));
    let error = run
        .err()
        .expect("refused")
        .downcast::<Infeasible>()
        .expect("infeasible");
    assert!(error.exceeded.contains("latency of 0.00 ms"), "{error}");
    assert_eq!(
        std::fs::read_dir(root.path()).expect("readable").count(),
        0,
        "no run is left behind"
    );
}

#[test]
fn too_little_sram_is_refused_with_what_is_enough() {
    let root = tempfile::tempdir().expect("a folder");
    let ui = Ui::new(Verbosity::Quiet);
    let start = |sram, latency_ms| {
        let mut s = settings();
        (s.budgets.sram_bytes, s.budgets.latency_ms) = (Some(sram), latency_ms);
        let run = Compress::start(input(), s, Portable, root.path(), ui);
        run.map_err(|e| e.downcast::<Infeasible>().expect("infeasible"))
    };
    let error = start(64, Some(1e3)).err().expect("refused");
    let need = error.exceeded.strip_prefix("sram of 64 bytes (needs ");
    let need = need.and_then(|n| n.strip_suffix(')')).expect("only that");
    let need: u64 = need.parse().expect("bytes");
    assert!(start(need - 1, Some(1e3)).is_err());
    // In as much SRAM as the nearest needs, its latency is the least: what is below is refused, and
    // what is above is not.
    let ms = error.nearest.split_once(" ms").expect("a latency").0;
    let ms: f64 = ms.parse().expect("a number");
    let tight = start(need, Some(ms - 0.01)).err().expect("refused");
    assert!(tight.exceeded.starts_with("the latency"), "{tight}");
    let run = start(need, Some(ms + 0.01)).expect("starts");
    // What a budget takes its share of does not depend on another budget.
    let whole = start(u64::MAX, None).expect("starts").state.dense;
    assert_eq!(run.state.dense, whole);
}

#[test]
fn an_accuracy_that_was_not_reached_is_refused_with_what_was() {
    let root = tempfile::tempdir().expect("a folder");
    let mut s = settings();
    (s.prune.episodes, s.quantize.episodes) = (1, 1);
    s.budgets.min_accuracy = Some(0.5);
    let start = |s| {
        let ui = Ui::new(Verbosity::Quiet);
        Compress::start(input(), s, Portable, root.path(), ui).expect("starts")
    };
    finish(start(s.clone()));
    s.budgets.min_accuracy = Some(1.1);
    let run = start(s);
    let dir = run.dir().to_path_buf();
    let error = run.run().err().expect("refused");
    let error = error.downcast::<Infeasible>().expect("infeasible");
    assert!(error.exceeded.contains("accuracy of 110.0 %"), "{error}");
    assert!(error.nearest.contains(" ms, "), "{error}");
    assert!(dir.join("model.blob").is_file(), "it is kept");
    let front = std::fs::read_to_string(dir.join("pareto.json")).expect("a front");
    let front: Vec<crate::run::FrontPoint> = serde_json::from_str(&front).expect("JSON");
    let searched = front.iter().filter(|p| p.stage != Stage::Refine);
    assert_eq!(searched.count(), 2, "one policy a stage: {front:?}");
}

#[test]
fn a_run_of_another_model_is_refused() {
    let root = tempfile::tempdir().expect("a folder");
    let ui = Ui::new(Verbosity::Quiet);
    let run = Compress::start(input(), settings(), Portable, root.path(), ui).expect("starts");
    let dir = run.dir().to_path_buf();
    drop(run);
    let other = Input {
        model_bytes: vec![9],
        ..input()
    };
    assert!(Compress::resume(other, Portable, &dir, ui).is_err());
    assert!(Compress::resume(input(), Portable, &dir, ui).is_ok());
}

#[test]
fn a_run_goes_on_from_what_another_found() {
    let root = tempfile::tempdir().expect("a folder");
    let ui = Ui::new(Verbosity::Quiet);
    let start = |s: &Settings| {
        Compress::start(input(), s.clone(), Portable, root.path(), ui).expect("starts")
    };
    let mut s = settings();
    s.control = true;
    let first = start(&s);
    let dir = first.dir().to_path_buf();
    assert!(EarlierRun::read(&dir).is_err(), "it is not finished");
    let found = finish(first);
    let earlier = EarlierRun::read(&dir).expect("finished");
    let longer = Settings {
        finetune: FineTune {
            epochs: 3.0,
            ..s.finetune
        },
        control: false,
        ..s.clone()
    };
    let continued = earlier.continued(longer);
    assert_eq!(continued.epochs(), 2.0 + 2.0 + 3.0 + 2.0);
    let mut run = start(&continued);
    run.take_over(&earlier).expect("copies");
    // Stopped after each stage, it ends as it would have; the other run may be gone by then.
    let dir_of_second = run.dir().to_path_buf();
    let kept = root.path().join("kept");
    std::fs::rename(&dir, &kept).expect("moves");
    for stage in [Stage::Prune, Stage::FinetunePruned, Stage::Quantize] {
        let done = match stage {
            Stage::Prune => run.prepare(),
            Stage::FinetunePruned => run.prune(),
            _ => run.finetune_pruned(),
        };
        assert!(done.expect("runs"));
        run.save(Progress { stage, step: 0 }, None).expect("saves");
        drop(run);
        run = Compress::resume(input(), Portable, &dir_of_second, ui).expect("resumes");
    }
    let second = finish(run);
    let read = |dir: &Path, file: &str| -> Vec<u8> { std::fs::read(dir.join(file)).expect(file) };
    let same = |file: &str| read(&kept, file) == read(&dir_of_second, file);
    assert!(same("sensitivity.json"));
    let episodes = |dir: &Path| {
        let log = crate::run::EpisodeLog::read(&dir.join("log.jsonl")).expect("a log");
        let episodes = log.iter().filter(|r| r.stage != Stage::Refine);
        episodes.map(|r| (r.stage, r.episode)).collect::<Vec<_>>()
    };
    assert_eq!(episodes(&dir_of_second), episodes(&kept));
    assert_eq!(episodes(&kept).len(), found.episodes);
    assert!(!same("model.blob"), "it was trained");
    assert_eq!(
        (second.after.macs, second.after.parameters_dense),
        (found.after.macs, found.after.parameters_dense)
    );
    assert!(
        second.after.parameters <= found.after.parameters,
        "zeros stay zeros"
    );
    assert!(second.control.is_some() && second.control == found.control);
    let third = EarlierRun::read(&dir_of_second).expect("finished");
    let other = third.continued(Settings {
        distillation: 0.0,
        ..s.clone()
    });
    let deeper = other.earlier.expect("set");
    assert_eq!((deeper.generation, deeper.epochs), (2, 9.0));
    assert!(!deeper.same_recipe && deeper.bits.len() == 3);
    // Budgets that it does not meet are told before anything is trained.
    let mut tight = earlier.continued(s);
    tight.budgets.latency_ms = Some(0.9 * found.after.ms);
    std::fs::rename(&kept, &dir).expect("moves");
    let mut run = start(&tight);
    run.take_over(&earlier).expect("copies");
    let error = run.run().err().expect("refused");
    let error = error.downcast::<Infeasible>().expect("infeasible");
    assert!(error.exceeded.contains("latency"), "{error}");
    assert!(error.nearest.contains("found"), "{error}");
}
