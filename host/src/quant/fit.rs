//! Fitting an episode's widths to the budgets, for every agent alike.
//!
//! With `fill`, actions are preferences: from the narrowest network upwards, widths are raised
//! in the order in which one offset on all actions would raise them, as far as flash and SRAM
//! allow; single raises then use what is left. Without it, actions are widths, and the ones
//! with the least predicted loss are lowered until the bytes fit. Either way, where the
//! measured cycles are over their budget, single widths are changed, up or down by any number
//! of bits, as long as that was measured to help; where that is not enough, they become those of
//! the flattest network that meets the budgets, one by one, until these do.

use super::env::QuantEnv;
use super::sensitivity::Sensitivity;
use crate::lower::Bits;
use crate::reward::{Costs, Targets};
use crate::search::{Environment, MeasureLayer};

/// Loss, a fraction, that a change of width is counted with at least: below is noise.
const LEAST_LOSS: f64 = 0.001;

impl<M: MeasureLayer + 'static> QuantEnv<'_, M> {
    /// The budgets that need no measurement.
    fn bytes(&self) -> Targets {
        Targets {
            macs: None,
            cycles: None,
            ..self.setup.targets
        }
    }

    fn bytes_fit(&self, bits: &[Bits]) -> anyhow::Result<bool> {
        Ok(self.bytes().feasible(&self.price(bits)?.costs))
    }

    /// The widest network on the path of `actions` that the bytes allow, then the single
    /// raises of the rest of the path that still fit.
    pub(super) fn filled(&self, actions: &[Vec<f32>]) -> anyhow::Result<Vec<Bits>> {
        let path = self.path(actions);
        let walked = |n: usize| -> Vec<Bits> {
            let narrowest = Bits {
                w: self.setup.w_widths[0],
                a: self.setup.a_widths[0],
            };
            let start = vec![narrowest; self.layers.len()];
            path[..n].iter().fold(start, |bits, &step| {
                self.moved(&bits, step, true).unwrap_or(bits)
            })
        };
        let (mut fits, mut fails) = (0, path.len() + 1);
        while fails - fits > 1 {
            let middle = usize::midpoint(fits, fails);
            if self.bytes_fit(&walked(middle))? {
                fits = middle;
            } else {
                fails = middle;
            }
        }
        let mut bits = walked(fits);
        let mut closed = vec![false; self.steps()];
        for &step in &path[fits..] {
            if closed[step] {
                continue;
            }
            match self.moved(&bits, step, true) {
                Some(next) if self.bytes_fit(&next)? => bits = next,
                _ => closed[step] = true,
            }
        }
        Ok(bits)
    }

    /// The steps to raise, one width at a time, in the order in which an offset on all
    /// `actions` that grows would.
    fn path(&self, actions: &[Vec<f32>]) -> Vec<usize> {
        let mut events: Vec<(f32, usize)> = Vec::new();
        for (step, action) in actions.iter().enumerate() {
            let n = self.widths(step).len();
            events.extend((1..n).map(|k| (k as f32 / n as f32 - action[0], step)));
        }
        events.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        events.into_iter().map(|(_, step)| step).collect()
    }

    /// Lowers widths, the one with the least loss by `losses` first (`by_byte`: the least loss
    /// per excess taken away), while a budget of bytes or SRAM is exceeded and a step is left
    /// that lowers it.
    pub(super) fn lowered_to_bytes(
        &self,
        mut bits: Vec<Bits>,
        losses: &Sensitivity,
        by_byte: bool,
    ) -> anyhow::Result<Vec<Bits>> {
        let governed = self.bytes();
        loop {
            let now = governed.excess(&self.price(&bits)?.costs);
            if now == 0.0 {
                return Ok(bits);
            }
            let mut best: Option<(f64, Vec<Bits>)> = None;
            for step in 0..self.steps() {
                let Some(next) = self.moved(&bits, step, false) else {
                    continue;
                };
                let saved = now - governed.excess(&self.price(&next)?.costs);
                let loss = self.loss(losses, &next, step) - self.loss(losses, &bits, step);
                let loss = if by_byte { loss.max(0.0) / saved } else { loss };
                if saved > 0.0 && best.as_ref().is_none_or(|(least, _)| loss < *least) {
                    best = Some((loss, next));
                }
            }
            match best {
                Some((_, next)) => bits = next,
                None => return Ok(bits),
            }
        }
    }

    /// Brings the measured cycles below their budget, if there is a way: by single widths, else
    /// towards the flattest network that meets the budgets.
    pub(super) fn lowered_to_cycles(&mut self, bits: Vec<Bits>) -> anyhow::Result<Vec<Bits>> {
        let Some(limit) = self.setup.targets.cycles else {
            return Ok(bits);
        };
        let bits = self.changed_singly(bits, limit)?;
        if self.cycles(&bits)? <= limit {
            return Ok(bits);
        }
        let nearer = self.towards_flattest(bits.clone(), limit, Self::measured)?;
        Ok(nearer.unwrap_or(bits))
    }

    /// Widths near to `bits` that meet the budgets as the network is really stored, whose bytes and
    /// encodings fitting only expects: `None` where the flattest do not either.
    pub(super) fn rescued(&mut self, bits: Vec<Bits>) -> anyhow::Result<Option<Vec<Bits>>> {
        let limit = self.setup.targets.cycles.unwrap_or(u64::MAX);
        self.towards_flattest(bits, limit, |env, bits| {
            env.untrained_costs(&env.actions_of(bits))
        })
    }

    /// Changes single widths, the one with the least predicted loss per cycle saved first,
    /// while the measured cycles are over `limit` and a change was measured to help.
    fn changed_singly(&mut self, mut bits: Vec<Bits>, limit: u64) -> anyhow::Result<Vec<Bits>> {
        loop {
            let now = self.cycles(&bits)?;
            if now <= limit {
                return Ok(bits);
            }
            let mut best: Option<(f64, Vec<Bits>)> = None;
            for step in 0..self.steps() {
                // Not only the next width: 2 and 4 bits may cost the same, and 8 less.
                for width in self.widths(step).to_vec() {
                    let next = self.with_width(&bits, step, width);
                    let cycles = self.cycles(&next)?;
                    if cycles >= now || !self.bytes_fit(&next)? {
                        continue;
                    }
                    let losses = self.setup.sensitivity;
                    let loss = self.loss(losses, &next, step) - self.loss(losses, &bits, step);
                    // More than what is needed is worth nothing.
                    let saved = now - cycles.max(limit);
                    let price = loss.max(LEAST_LOSS) / saved as f64;
                    if best.as_ref().is_none_or(|(least, _)| price < *least) {
                        best = Some((price, next));
                    }
                }
            }
            match best {
                Some((_, next)) => bits = next,
                None => return Ok(bits),
            }
        }
    }

    /// Narrow weights may take more cycles, and wider ones not fit the flash, so single widths can be
    /// of no help. Takes one after the other from the flattest network that fits, if that meets the
    /// budgets at its `costs`, until these do.
    fn towards_flattest(
        &mut self,
        mut bits: Vec<Bits>,
        limit: u64,
        costs: fn(&mut Self, &[Bits]) -> anyhow::Result<Costs>,
    ) -> anyhow::Result<Option<Vec<Bits>>> {
        let flat = self.filled(&self.flat(self.setup.w_widths[0]))?;
        let flattest = self.changed_singly(flat, limit)?;
        let targets = self.bytes_and_cycles();
        if !targets.feasible(&costs(self, &flattest)?) {
            return Ok(None);
        }
        while bits != flattest && !targets.feasible(&costs(self, &bits)?) {
            let mut best: Option<(f64, Vec<Bits>)> = None;
            for step in 0..self.steps() {
                let width = self.width(&flattest, step);
                if width == self.width(&bits, step) {
                    continue;
                }
                let next = self.with_width(&bits, step, width);
                let excess = targets.excess(&costs(self, &next)?);
                if best.as_ref().is_none_or(|(least, _)| excess < *least) {
                    best = Some((excess, next));
                }
            }
            let Some((_, next)) = best else { break };
            bits = next;
        }
        Ok(Some(bits))
    }

    fn bytes_and_cycles(&self) -> Targets {
        Targets {
            cycles: self.setup.targets.cycles,
            ..self.bytes()
        }
    }

    fn cycles(&mut self, bits: &[Bits]) -> anyhow::Result<u64> {
        Ok(self.measured(bits)?.cycles)
    }

    /// What these widths cost.
    pub(super) fn measured(&mut self, bits: &[Bits]) -> anyhow::Result<Costs> {
        let priced = self.price(bits)?;
        Ok(priced.with_cycles(&self.latency.costs(&priced.keys)?))
    }

    /// `bits` with the width of `step` one up or one down, where there is one.
    fn moved(&self, bits: &[Bits], step: usize, raise: bool) -> Option<Vec<Bits>> {
        let (now, widths) = (self.width(bits, step), self.widths(step));
        let width = if raise {
            *widths.iter().find(|w| **w > now)?
        } else {
            *widths.iter().rfind(|w| **w < now)?
        };
        Some(self.with_width(bits, step, width))
    }

    fn with_width(&self, bits: &[Bits], step: usize, width: u8) -> Vec<Bits> {
        let mut next = bits.to_vec();
        match self.place(step) {
            (layer, true) => next[layer].a = width,
            (layer, false) => next[layer].w = width,
        }
        next
    }

    /// The accuracy that the width of `step` loses by itself.
    fn loss(&self, s: &Sensitivity, bits: &[Bits], step: usize) -> f64 {
        match self.place(step) {
            (layer, true) => s.activation(layer, bits[layer].a),
            (layer, false) => s.weight(layer, bits[layer].w),
        }
    }
}
