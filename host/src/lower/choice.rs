//! Which encoding each layer of a network takes.

use super::encode::{Candidate, encodings, fixed_bytes};
use super::integer::IntNet;
use serde::{Deserialize, Serialize};
use shared::spec::Encoding;

/// What matters more where budgets leave a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Prefer {
    /// Dense weights, as long as they fit the flash budget.
    #[default]
    Speed,
    /// The fewest bytes, as long as they keep the latency.
    Size,
}

/// What decides how weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Most bytes of the blob.
    pub flash: u64,
    /// Bytes of arena, which decide into how many strips a layer is cut, and so how often its
    /// weights are decoded.
    pub arena: u32,
    /// Most cycles of an inference, where there is a limit.
    pub cycles: Option<u64>,
    /// What to do where both would do.
    pub prefer: Prefer,
}

impl Storage {
    /// Dense weights, however many bytes they take.
    #[must_use]
    pub fn dense(arena: u32) -> Self {
        Self {
            flash: u64::MAX,
            arena,
            cycles: None,
            prefer: Prefer::Speed,
        }
    }

    /// As few bytes as there can be, however many cycles they take.
    #[must_use]
    pub fn smallest(arena: u32) -> Self {
        Self {
            flash: 0,
            arena,
            cycles: None,
            prefer: Prefer::Size,
        }
    }
}

/// Which of each layer's candidates to take for a blob of `fixed` bytes besides weights, by
/// index.
///
/// For speed, the first of each layer (dense), until the blob exceeds the flash; then, one
/// after the other, the change that costs the fewest cycles a byte saved, until it is met or
/// nothing is left to save. For size, the shortest of each layer, until the predicted cycles
/// exceed the limit; then, within the flash, the change that costs the fewest bytes a cycle
/// saved, until the limit is met; and what can be shortened again without exceeding it, is.
#[must_use]
pub fn choose(layers: &[Vec<Candidate>], fixed: usize, storage: &Storage) -> Vec<usize> {
    match storage.prefer {
        Prefer::Speed => fast_within_flash(layers, fixed, storage.flash),
        Prefer::Size => short_within_cycles(layers, fixed, storage),
    }
}

fn fast_within_flash(layers: &[Vec<Candidate>], fixed: usize, flash: u64) -> Vec<usize> {
    let mut chosen = vec![0; layers.len()];
    let mut total = bytes(layers, &chosen, fixed);
    while total > flash {
        let price = |now: Candidate, to: Candidate| {
            let saved = now.bytes.checked_sub(to.bytes).filter(|&s| s > 0)?;
            Some((to.cycles - now.cycles) / saved as f64)
        };
        let Some((layer, to)) = cheapest_change(layers, &chosen, price) else {
            break;
        };
        chosen[layer] = to;
        total = bytes(layers, &chosen, fixed);
    }
    chosen
}

fn short_within_cycles(layers: &[Vec<Candidate>], fixed: usize, storage: &Storage) -> Vec<usize> {
    let shortest = |c: &Vec<Candidate>| (0..c.len()).min_by_key(|&i| c[i].bytes).unwrap_or(0);
    let mut chosen: Vec<usize> = layers.iter().map(shortest).collect();
    let Some(limit) = storage.cycles.map(|c| c as f64) else {
        return chosen;
    };
    if cycles(layers, &chosen) <= limit {
        return chosen;
    }
    while cycles(layers, &chosen) > limit {
        let room = storage.flash.saturating_sub(bytes(layers, &chosen, fixed));
        let price = |now: Candidate, to: Candidate| {
            let (saved, more) = (now.cycles - to.cycles, to.bytes as f64 - now.bytes as f64);
            (saved > 0.0 && more <= room as f64).then_some(more / saved)
        };
        let Some((layer, to)) = cheapest_change(layers, &chosen, price) else {
            return chosen;
        };
        chosen[layer] = to;
    }
    // A later, larger change may have made an earlier one unnecessary.
    loop {
        let room = limit - cycles(layers, &chosen);
        let price = |now: Candidate, to: Candidate| {
            let fits = to.bytes < now.bytes && to.cycles - now.cycles <= room;
            fits.then_some(to.bytes as f64 - now.bytes as f64)
        };
        let Some((layer, to)) = cheapest_change(layers, &chosen, price) else {
            return chosen;
        };
        chosen[layer] = to;
    }
}

/// The change with the least price, and where it leads: layer and candidate.
fn cheapest_change(
    layers: &[Vec<Candidate>],
    chosen: &[usize],
    price: impl Fn(Candidate, Candidate) -> Option<f64>,
) -> Option<(usize, usize)> {
    let price = &price;
    let changes = layers.iter().zip(chosen).enumerate();
    let changes = changes.flat_map(|(layer, (candidates, &now))| {
        let of = candidates.iter().enumerate();
        of.filter_map(move |(to, c)| Some((price(*candidates.get(now)?, *c)?, (layer, to))))
    });
    changes
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, change)| change)
}

fn taken<'a>(
    layers: &'a [Vec<Candidate>],
    chosen: &'a [usize],
) -> impl Iterator<Item = &'a Candidate> {
    let each = layers.iter().zip(chosen);
    each.filter_map(|(candidates, &i)| candidates.get(i))
}

fn bytes(layers: &[Vec<Candidate>], chosen: &[usize], fixed: usize) -> u64 {
    let weights: usize = taken(layers, chosen).map(|c| c.bytes).sum();
    (fixed + weights) as u64
}

fn cycles(layers: &[Vec<Candidate>], chosen: &[usize]) -> f64 {
    taken(layers, chosen).map(|c| c.cycles).sum()
}

/// Chooses the encoding of each layer as [`choose`] does, from exact bytes. Must come before
/// [`super::plan()`], because the encoding is part of what a layer costs.
pub fn choose_encoding(net: &mut IntNet, storage: &Storage) {
    let all = all_candidates(net, storage.arena);
    let chosen = choose(&all, fixed_bytes(net), storage);
    take(net, &all, &chosen);
}

/// The candidates of each layer, in order.
#[must_use]
pub fn all_candidates(net: &IntNet, arena: u32) -> Vec<Vec<Candidate>> {
    let layers = net.layers.iter();
    layers.map(|layer| encodings(layer, arena)).collect()
}

/// Stores each layer of `net` by the chosen one of its candidates.
pub fn take(net: &mut IntNet, all: &[Vec<Candidate>], chosen: &[usize]) {
    for ((layer, candidates), &i) in net.layers.iter_mut().zip(all).zip(chosen) {
        layer.spec.encoding = candidates.get(i).map_or(Encoding::Dense, |c| c.encoding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Encoding::{Coded, Dense, Sparse};

    fn candidate(encoding: Encoding, bytes: usize, cycles: f64) -> Candidate {
        Candidate {
            encoding,
            bytes,
            cycles,
        }
    }

    fn layers() -> [Vec<Candidate>; 3] {
        [
            vec![candidate(Dense, 100, 0.0), candidate(Sparse, 90, 50.0)],
            vec![
                candidate(Dense, 400, 0.0),
                candidate(Sparse, 200, 100.0),
                candidate(Coded, 100, 400.0),
            ],
            vec![candidate(Dense, 300, 0.0), candidate(Sparse, 350, 10.0)],
        ]
    }

    #[test]
    fn layers_leave_dense_only_as_the_flash_asks() {
        let by = |flash, prefer| {
            let storage = Storage {
                flash,
                arena: 0,
                cycles: None,
                prefer,
            };
            choose(&layers(), 50, &storage)
        };
        assert_eq!(by(850, Prefer::Speed), [0, 0, 0]);
        assert_eq!(by(849, Prefer::Speed), [0, 1, 0], "half a cycle a byte");
        assert_eq!(by(600, Prefer::Speed), [0, 2, 0], "three more");
        assert_eq!(by(10, Prefer::Speed), [1, 2, 0]);
        assert_eq!(by(u64::MAX, Prefer::Size), [1, 2, 0]);
    }

    #[test]
    fn the_fewest_bytes_that_keep_the_latency() {
        let by = |cycles, flash| {
            let storage = Storage {
                flash,
                arena: 0,
                cycles: Some(cycles),
                prefer: Prefer::Size,
            };
            choose(&layers(), 50, &storage)
        };
        let any = u64::MAX;
        assert_eq!(by(450, any), [1, 2, 0], "all fits");
        assert_eq!(by(449, any), [0, 2, 0], "10 bytes for 50 cycles come first");
        assert_eq!(by(399, any), [1, 1, 0], "and are taken back for 100 more");
        assert_eq!(by(149, any), [0, 1, 0]);
        assert_eq!(by(99, any), [1, 0, 0]);
        assert_eq!(by(0, any), [0, 0, 0]);
        assert_eq!(by(0, 650), [0, 1, 0], "as near as the flash allows");
    }
}
