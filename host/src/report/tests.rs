//! A synthetic run, rendered: complete, well formed, escaped, and without the network.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::well_formed::check_well_formed;
use super::*;
use crate::{
    reward::{Costs, Merit, Quality, Reward, Score},
    run::{
        BrokenImage, ControlFigures, EpisodeSeconds, LayerAction, LayerFigures, Loss,
        NetworkFigures, PolicyLayer, testing::config,
    },
};

const HOSTILE: &str = "</title><script>alert(\"x\")</script>&'";

/// Episodes whose accuracy falls with what is cut, and rises with experience.
fn episodes(
    stage: Stage,
    count: usize,
    config: &RunConfig,
    rng: &mut ChaCha8Rng,
) -> Vec<EpisodeRecord> {
    let reward = Reward {
        mode: config.reward,
        merit: Merit::Accuracy,
        targets: config.targets,
        accuracy_before: 0.85,
    };
    let mut best: Option<Score> = None;
    (0..count)
        .map(|episode| {
            let kept: f64 =
                0.1 + 0.6 * rng.random::<f64>() * (1.0 - 0.6 * episode as f64 / count as f64);
            let learned = 0.04 * (episode as f64 / count as f64);
            let accuracy =
                0.86 - 0.25 * (1.0 - kept).powi(6) + learned - 0.03 * rng.random::<f64>();
            let costs = Costs {
                macs: (37.0e6 * kept) as u64,
                flash_bytes: (260_000.0 * kept.powf(1.3)) as u64,
                sram_bytes: 40_000 + (50_000.0 * kept) as u64,
                cycles: (44.0e6 * kept) as u64,
            };
            let score = reward.score(
                Quality {
                    accuracy,
                    likelihood: None,
                },
                &costs,
            );
            let is_best = best.is_none_or(|b| score.beats(&b));
            if is_best {
                best = Some(score);
            }
            EpisodeRecord {
                stage,
                episode,
                variant: None,
                agent: "ddpg".into(),
                reward: score.reward,
                accuracy,
                likelihood: None,
                costs,
                feasible: score.feasible,
                excess: score.excess,
                best: is_best,
                cycles_error: is_best.then_some(0.012),
                images: None,
                actions: vec![LayerAction {
                    layer: "conv1".into(),
                    channels: Some(24),
                    density: Some(0.5),
                    ..LayerAction::default()
                }],
                seconds: 3.2,
                seconds_by_part: Some(EpisodeSeconds {
                    choose: 0.3,
                    make: 0.4,
                    judge: 2.1,
                    board: 0.4,
                }),
            }
        })
        .collect()
}

fn policy() -> Policy {
    let shapes = [
        (3, 32, 32, 5),
        (32, 32, 24, 8),
        (32, 64, 40, 4),
        (64, 64, 48, 4),
        (64, 128, 72, 2),
        (128, 128, 64, 2),
    ];
    let mut c_in_after = 3;
    let mut layers: Vec<PolicyLayer> = Vec::new();
    for (i, (c_in, c_out, kept, w_bits)) in shapes.into_iter().enumerate() {
        let figures = |c_in: usize, c_out: usize, bits: u64| {
            let side = [32u64, 32, 16, 16, 8, 8][i];
            let macs = side * side * (c_in * c_out * 9) as u64;
            LayerFigures {
                c_in,
                c_out,
                macs,
                flash_bytes: (c_in * c_out * 9) as u64 * bits / 8 + 12 * c_out as u64,
                cycles: (macs as f64 * 1.3) as u64,
            }
        };
        layers.push(PolicyLayer {
            name: format!("conv{}", i + 1),
            kind: "conv 3x3".into(),
            before: figures(c_in, c_out, 8),
            after: figures(c_in_after, kept, w_bits),
            density: 1.0 - 0.12 * i as f64,
            w_bits: w_bits as u8,
            a_bits: if i > 2 { 4 } else { 8 },
            kernel: "dsp s8".into(),
            encoding: if i > 3 { "sparse" } else { "dense" }.into(),
        });
        c_in_after = kept;
    }
    Policy {
        layers,
        prune_episode: Some(31),
        quantize_episode: Some(22),
    }
}

fn summary() -> Summary {
    let before = NetworkFigures {
        accuracy_float: 0.851,
        accuracy_integer: 0.849,
        accuracy_board: Some(1.0),
        images_board: 3,
        parameters: 288_746,
        parameters_dense: 288_746,
        macs: 37_160_000,
        blob_bytes: 291_320,
        sram_bytes: 82_944,
        cycles: 48_300_000,
        ms: 287.5,
        board_reason: None,
    };
    let after = NetworkFigures {
        accuracy_float: 0.842,
        accuracy_integer: 0.839,
        accuracy_board: Some(0.875),
        images_board: 16,
        parameters: 61_210,
        parameters_dense: 98_400,
        macs: 8_900_000,
        blob_bytes: 48_112,
        sram_bytes: 61_440,
        cycles: 11_400_000,
        ms: 67.9,
        board_reason: None,
    };
    Summary {
        run: "runs/2026-01-31-vgg-small".into(),
        board: "virtual-stm32f405".into(),
        seed: 0,
        control: Some(ControlFigures {
            accuracy_float: 0.853,
            epochs: Some(16.0),
        }),
        before,
        after,
        episodes: 70,
        timings_measured: 412,
        timings_cached: 0,
        seconds: 512.0,
        seconds_by_part: BTreeMap::from(
            [
                ("prune: train", 130.0),
                ("prune: board", 90.0),
                ("quantize: train", 120.0),
                ("fine-tune", 140.0),
                ("board", 32.0),
            ]
            .map(|(part, seconds)| (part.to_owned(), seconds)),
        ),
        report: "runs/2026-01-31-vgg-small/report.html".into(),
    }
}

fn evaluation(rng: &mut ChaCha8Rng) -> Evaluation {
    let classes = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ];
    let mut confusion = |right: u32| -> Vec<Vec<u32>> {
        let cell = |i, j, rng: &mut ChaCha8Rng| {
            if i == j {
                right
            } else {
                rng.random_range(0..4)
            }
        };
        (0..10)
            .map(|i| (0..10).map(|j| cell(i, j, rng)).collect())
            .collect()
    };
    let (before, after) = (confusion(86), confusion(82));
    let broken = (0..9)
        .map(|i| {
            let pixels: Vec<u8> = (0..32 * 32)
                .flat_map(|p| [(p / 32 * 8) as u8, (p % 32 * 8) as u8, 28 * i as u8])
                .collect();
            BrokenImage::new(120 + i, i, (i + 1) % 10, &pixels, [32, 32]).unwrap()
        })
        .collect();
    Evaluation {
        classes: classes.map(String::from).into(),
        before,
        after,
        broken,
    }
}

fn storage() -> Vec<StoredFigures> {
    let ways = [
        ("dense", 52_480, 61_440, 9_700_000),
        ("sparse", 49_920, 61_440, 11_300_000),
        ("coded", 40_112, 58_368, 12_900_000),
        (StoredFigures::CHOSEN, 48_112, 61_440, 10_100_000),
    ];
    let figures = ways.map(|(stored, blob_bytes, sram_bytes, cycles)| StoredFigures {
        stored: stored.into(),
        blob_bytes,
        sram_bytes,
        cycles,
    });
    figures.to_vec()
}

fn sensitivity() -> Vec<LayerSensitivity> {
    let layer = |i: usize| LayerSensitivity {
        name: format!("conv{i}"),
        channels: vec![Loss {
            at: 0.5,
            loss: 0.1 * i as f64,
        }],
        elements: vec![Loss {
            at: 0.25,
            loss: 0.02,
        }],
        weights: vec![Loss { at: 4, loss: -0.01 }],
        activations: vec![],
    };
    (0..3).map(layer).collect()
}

pub(super) fn synthetic() -> RunData {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut config = config();
    config.run = "2026-01-31-vgg-small".into();
    config.created = "2026-01-31T12:00:00Z".into();
    config.version = "0.1.0".into();
    let mut log = episodes(Stage::Prune, 40, &config, &mut rng);
    log.extend(refinement(&log[0]));
    log.extend(episodes(Stage::Quantize, 30, &config, &mut rng));
    RunData {
        config,
        log,
        policy: Some(policy()),
        summary: Some(summary()),
        sensitivity: Some(sensitivity()),
        storage: Some(storage()),
        evaluation: Some(evaluation(&mut rng)),
    }
}

/// Two variants of a refinement; the second one is better and goes on.
fn refinement(of: &EpisodeRecord) -> Vec<EpisodeRecord> {
    let variants = [("4 bits expected", 0.71), ("3 bits <expected>", 0.74)];
    let record = |(i, (label, accuracy)): (usize, (&str, f64))| EpisodeRecord {
        stage: Stage::Refine,
        episode: i,
        variant: Some(label.into()),
        accuracy,
        reward: accuracy,
        best: true,
        ..of.clone()
    };
    variants.into_iter().enumerate().map(record).collect()
}

#[test]
fn a_finished_run_makes_a_whole_page() {
    let html = render(&synthetic());
    check_well_formed(&html);
    for heading in [
        "Before and after",
        "Trade-off",
        "Reward by episode",
        "Refinement",
        "Policy by layer",
        "Storage",
        "Sensitivity",
        "What it gets wrong",
        "To get the same",
    ] {
        assert!(html.contains(&format!("<h2>{heading}</h2>")), "{heading}");
    }
    for text in [
        "83.90 %",
        "288,746",
        "6.06x",
        "67.9 ms",
        "16 images",
        "model cycles",
        "1c291ca3",
        "168 MHz",
        "chosen",
        "budget 71.4 ms",
        "50 % channels",
        "25 % weights",
        ">-2.0<",
        ">+1.0<",
        ">4 bits expected</th>",
        "<b>3 bits &lt;expected&gt;</b></th><td>74.00 %",
        "<small>-23.6 %</small>",
        "<small>+33.0 %</small>",
        "conv6",
        "<th scope=\"col\">control</th>",
        "<td>85.30 %</td>",
        "(16.0 epochs)",
    ] {
        assert!(html.contains(text), "{text}");
    }
    // One mark an episode in each of the two kinds of chart, and the variants in one.
    assert_eq!(html.matches("<path class=\"dot").count(), 72);
    assert_eq!(html.matches("<path class=\"reward").count(), 70);
    assert_eq!(html.matches("<path class=\"best\"").count(), 2);
    assert_eq!(html.matches("<path class=\"way\"").count(), 3);
}

#[test]
fn the_page_needs_no_network() {
    let html = render(&synthetic());
    for word in [
        "http:", "https:", "//cdn", "<script", "<link", "@import", "url(",
    ] {
        assert!(!html.contains(word), "{word}");
    }
    for (i, _) in html.match_indices("src=\"") {
        assert!(html[i..].starts_with("src=\"data:image/png;base64,"));
    }
}

#[test]
fn whatever_stands_in_the_files_is_escaped() {
    let mut data = synthetic();
    data.config.model = HOSTILE.into();
    data.config.dataset = HOSTILE.into();
    data.config.board = HOSTILE.into();
    data.config.version = HOSTILE.into();
    data.config.settings = serde_json::json!({ HOSTILE: [HOSTILE, { HOSTILE: null }] });
    data.log.iter_mut().for_each(|r| r.agent = HOSTILE.into());
    let layer = &mut data.policy.as_mut().unwrap().layers[0];
    layer.name = HOSTILE.into();
    layer.kind = HOSTILE.into();
    layer.kernel = HOSTILE.into();
    layer.encoding = HOSTILE.into();
    data.storage.as_mut().unwrap()[0].stored = HOSTILE.into();
    let evaluation = data.evaluation.as_mut().unwrap();
    evaluation.classes[1] = HOSTILE.into();
    evaluation.broken[0].png_base64 = HOSTILE.into();
    let summary = data.summary.as_mut().unwrap();
    summary.before.accuracy_board = None;
    summary.before.board_reason = Some(HOSTILE.into());
    summary.seconds_by_part.insert(HOSTILE.into(), 1.0);
    let html = render(&data);
    check_well_formed(&html);
    assert!(!html.contains("<script"));
}

#[test]
fn the_pace_of_a_search_is_told_where_the_log_has_it() {
    let mut data = synthetic();
    let told = "19 policies judged a minute; seconds each: 0.30 to choose";
    assert!(render(&data).contains(told));
    data.log.iter_mut().for_each(|r| r.seconds_by_part = None);
    assert!(!render(&data).contains("policies judged a minute"));
}

#[test]
fn an_unfinished_run_says_so_and_odd_values_do_no_harm() {
    let mut data = synthetic();
    data.policy = None;
    data.summary = None;
    data.evaluation = None;
    data.sensitivity = None;
    data.storage = None;
    data.log.truncate(1);
    let html = render(&data);
    check_well_formed(&html);
    assert!(html.contains("not finished") && !html.contains("Before and after"));
    data.log[0].accuracy = f64::NAN;
    data.log[0].reward = f64::NEG_INFINITY;
    data.config.targets = Default::default();
    data.config.clock_hz = 0;
    data.storage = Some(storage());
    check_well_formed(&render(&data));
    data.log.clear();
    check_well_formed(&render(&data));
}

#[test]
fn the_report_is_made_from_the_folders_files() {
    let dir = tempfile::tempdir().unwrap();
    let data = synthetic();
    let put = |file: &str, value: &dyn Fn() -> String| {
        std::fs::write(dir.path().join(file), value()).unwrap()
    };
    put(files::CONFIG, &|| {
        serde_json::to_string(&data.config).unwrap()
    });
    put(files::LOG, &|| {
        data.log
            .iter()
            .map(|r| serde_json::to_string(r).unwrap() + "\n")
            .collect()
    });
    put(files::POLICY, &|| {
        serde_json::to_string(&data.policy).unwrap()
    });
    put(files::SUMMARY, &|| {
        serde_json::to_string(&data.summary).unwrap()
    });
    put(files::SENSITIVITY, &|| {
        serde_json::to_string(&data.sensitivity).unwrap()
    });
    put(files::STORAGE, &|| {
        serde_json::to_string(&data.storage).unwrap()
    });
    put(files::EVALUATION, &|| {
        serde_json::to_string(&data.evaluation).unwrap()
    });
    let path = write(dir.path()).unwrap();
    assert_eq!(path, dir.path().join("report.html"));
    assert_eq!(std::fs::read_to_string(path).unwrap(), render(&data));
    assert!(matches!(
        RunData::read(&dir.path().join("none")),
        Err(RunError::NotARun { .. })
    ));
}
