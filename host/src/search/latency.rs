//! Layer timings beside the search: a thread owns the board, the search asks ahead.
//!
//! A candidate's layers are requested before it is trained and collected after, so that
//! board and host work at the same time. What was measured once in a run is never asked
//! again; what an earlier run measured comes from the user's table inside [`MeasureLayer`].

use serde::{Deserialize, Serialize};
use shared::spec::LayerSpec;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Everything that decides a layer's cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LayerKey {
    /// Shape, formats, kernel, encoding, strips.
    pub spec: LayerSpec,
    /// Share of stored weights in percent, rounded up to five; 100 for dense weights.
    pub density_percent: u8,
}

impl LayerKey {
    /// The key of a layer whose weights have this density (0 to 1). Dense encodings do not
    /// depend on it; for sparse ones it is rounded to a percent, so that timings are reused.
    /// (Steps of five were tried: where decoding dominates, the sum was 3 % off.)
    #[must_use]
    pub fn new(spec: LayerSpec, density: f64) -> Self {
        let percent = (density * 100.0).round().clamp(0.0, 100.0) as u8;
        let dense = spec.encoding == shared::spec::Encoding::Dense;
        Self {
            spec,
            density_percent: if dense { 100 } else { percent },
        }
    }
}

/// What a board says of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayerCost {
    /// Cycles of the whole layer.
    Cycles(u64),
    /// It does not fit the SRAM.
    TooLarge {
        /// Bytes needed.
        need: u32,
        /// Bytes there are.
        limit: u32,
    },
}

/// A cost and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The cost.
    pub cost: LayerCost,
    /// Whether an earlier run had measured it.
    pub from_table: bool,
}

/// Something that times layers: a board, real or virtual, behind the user's table.
pub trait MeasureLayer: Send {
    /// Times one layer, or looks it up.
    ///
    /// # Errors
    /// Where the board cannot be reached or gave a wrong result.
    fn measure(&mut self, key: &LayerKey) -> anyhow::Result<Timing>;
}

type Answer = (LayerKey, anyhow::Result<Timing>);
type Job<M> = Box<dyn FnOnce(&mut M) + Send>;

/// What the board's thread is asked.
enum Message<M> {
    Measure(LayerKey),
    Run(Job<M>),
}

/// The result of [`Latency::with_board`], while it is under way.
pub struct Pending<R>(Receiver<R>);

impl<R> Pending<R> {
    /// Waits for the result.
    ///
    /// # Errors
    /// Where the board's thread has ended.
    pub fn wait(self) -> anyhow::Result<R> {
        self.0.recv().map_err(|_| gone())
    }
}

fn gone() -> anyhow::Error {
    anyhow::anyhow!("the board's thread has ended")
}

/// The search's view of the board.
pub struct Latency<M: MeasureLayer + 'static> {
    requests: Option<Sender<Message<M>>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<M>>,
    /// `None` while the answer is under way.
    known: HashMap<LayerKey, Option<LayerCost>>,
    measured: usize,
    from_table: usize,
    waited: Duration,
}

impl<M: MeasureLayer + 'static> Latency<M> {
    /// Moves `board` to its own thread.
    #[must_use]
    pub fn new(mut board: M) -> Self {
        let (requests, inbox) = channel::<Message<M>>();
        let (outbox, answers) = channel();
        let thread = std::thread::spawn(move || {
            for message in inbox {
                match message {
                    Message::Run(job) => job(&mut board),
                    Message::Measure(key) => {
                        let answer = board.measure(&key);
                        if outbox.send((key, answer)).is_err() {
                            break;
                        }
                    }
                }
            }
            board
        });
        Self {
            requests: Some(requests),
            answers,
            thread: Some(thread),
            known: HashMap::new(),
            measured: 0,
            from_table: 0,
            waited: Duration::ZERO,
        }
    }

    /// Asks for what is not known yet, without waiting.
    pub fn request(&mut self, keys: &[LayerKey]) {
        for key in keys {
            if !self.known.contains_key(key) {
                self.known.insert(*key, None);
                if let Some(requests) = &self.requests {
                    // A board thread that is gone is reported by `costs`.
                    let _ = requests.send(Message::Measure(*key));
                }
            }
        }
    }

    /// The cost of each layer, waiting for what is under way.
    ///
    /// # Errors
    /// The board's first error.
    pub fn costs(&mut self, keys: &[LayerKey]) -> anyhow::Result<Vec<LayerCost>> {
        self.request(keys);
        let start = Instant::now();
        let costs = keys.iter().map(|key| self.wait_for(key)).collect();
        self.waited += start.elapsed();
        costs
    }

    /// How long [`Self::costs`] has waited for the board so far.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    fn wait_for(&mut self, wanted: &LayerKey) -> anyhow::Result<LayerCost> {
        loop {
            if let Some(Some(cost)) = self.known.get(wanted) {
                return Ok(*cost);
            }
            let (key, answer) = self.answers.recv().map_err(|_| gone())?;
            match answer {
                Ok(timing) => {
                    self.known.insert(key, Some(timing.cost));
                    if timing.from_table {
                        self.from_table += 1
                    } else {
                        self.measured += 1
                    }
                }
                Err(error) => {
                    self.known.remove(&key);
                    return Err(error);
                }
            }
        }
    }

    /// Runs `job` on the board's thread, after what was asked before.
    pub fn with_board<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut M) -> R + Send + 'static,
    ) -> Pending<R> {
        let (sender, receiver) = channel();
        if let Some(requests) = &self.requests {
            // A thread that is gone is reported by `Pending::wait`.
            let _ = requests.send(Message::Run(Box::new(move |board| {
                let _ = sender.send(job(board));
            })));
        }
        Pending(receiver)
    }

    /// What is known so far, in a fixed order, for a checkpoint.
    #[must_use]
    pub fn known(&self) -> Vec<(LayerKey, LayerCost)> {
        let mut known: Vec<_> = self
            .known
            .iter()
            .filter_map(|(k, c)| c.map(|c| (*k, c)))
            .collect();
        known.sort_unstable_by_key(|(key, _)| *key);
        known
    }

    /// Takes over what a checkpoint kept, so that a resumed run sees the same timings.
    pub fn preload(
        &mut self,
        known: Vec<(LayerKey, LayerCost)>,
        (measured, from_table): (usize, usize),
    ) {
        self.known
            .extend(known.into_iter().map(|(k, c)| (k, Some(c))));
        (self.measured, self.from_table) = (measured, from_table);
    }

    /// Layers that this run had to measure, and those that came from the table.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.measured, self.from_table)
    }

    /// Ends the thread and gives the board back.
    ///
    /// # Errors
    /// Where the thread panicked.
    pub fn into_board(mut self) -> anyhow::Result<M> {
        self.requests = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(board)) => Ok(board),
            _ => anyhow::bail!("the board's thread has panicked"),
        }
    }
}

impl<M: MeasureLayer + 'static> Drop for Latency<M> {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // Leaving the board half-way through a measurement would lose its state.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::spec::Encoding;

    struct Fake(usize);

    impl MeasureLayer for Fake {
        fn measure(&mut self, key: &LayerKey) -> anyhow::Result<Timing> {
            self.0 += 1;
            anyhow::ensure!(key.spec.c_in != 13, "no board likes 13 channels");
            Ok(Timing {
                cost: LayerCost::Cycles(key.spec.macs()),
                from_table: key.spec.c_in == 2,
            })
        }
    }

    fn key(c_in: u16) -> LayerKey {
        LayerKey::new(LayerSpec::conv3x3(4, 4, c_in, 4), 0.3)
    }

    #[test]
    fn each_layer_is_asked_for_once() -> anyhow::Result<()> {
        let mut latency = Latency::new(Fake(0));
        latency.request(&[key(1), key(2)]);
        let costs = latency.costs(&[key(2), key(1), key(2)])?;
        assert_eq!(costs[1], LayerCost::Cycles(key(1).spec.macs()));
        assert_eq!(latency.counts(), (1, 1));
        assert!(latency.costs(&[key(13)]).is_err());
        assert!(
            latency.costs(&[key(1)]).is_ok(),
            "an error ends one question, not the board"
        );
        assert_eq!(latency.into_board()?.0, 3);
        Ok(())
    }

    #[test]
    fn density_only_matters_where_zeros_are_left_out() {
        let spec = LayerSpec::conv3x3(4, 4, 8, 8);
        assert_eq!(LayerKey::new(spec, 0.3), LayerKey::new(spec, 0.9));
        let sparse = LayerSpec {
            encoding: Encoding::Sparse,
            ..spec
        };
        assert_eq!(LayerKey::new(sparse, 0.314).density_percent, 31);
        assert_eq!(LayerKey::new(sparse, 0.30).density_percent, 30);
    }
}
