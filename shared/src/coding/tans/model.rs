//! How many states each symbol owns, and how that is written.

use super::super::Corrupt;
use super::{ESCAPE, STATES};

/// Symbols that a byte can be.
pub const SYMBOLS: usize = 256;

/// The states that each symbol owns; all of them together [`STATES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model([u16; SYMBOLS]);

impl Model {
    /// The model for symbols that occur `counts` times. Those that occur less than
    /// `keep_from` times are escaped. `None` where nothing occurs.
    ///
    /// `counts` afterwards has those of escaped symbols added up under [`ESCAPE`]: it is
    /// changed in place, because a board has no kilobyte of stack to spare.
    #[must_use]
    pub fn from_counts(counts: &mut [u32; SYMBOLS], keep_from: u32) -> Option<Self> {
        let mut escaped = core::mem::take(&mut counts[usize::from(ESCAPE)]);
        for count in counts.iter_mut().filter(|c| **c < keep_from) {
            escaped = escaped.saturating_add(core::mem::take(count));
        }
        counts[usize::from(ESCAPE)] = escaped;
        let mut model = Self([0; SYMBOLS]);
        model.share(counts)?;
        Some(model)
    }

    /// The states, symbol by symbol.
    #[must_use]
    pub fn into_shares(self) -> [u16; SYMBOLS] {
        self.0
    }

    /// States of each symbol.
    #[must_use]
    pub fn shares(&self) -> &[u16; SYMBOLS] {
        &self.0
    }

    /// Whether `symbol` is written as itself.
    #[must_use]
    pub fn keeps(&self, symbol: u8) -> bool {
        symbol != ESCAPE && self.0[usize::from(symbol)] > 0
    }

    /// Writes the model through `push`, a byte at a time.
    ///
    /// Symbol by symbol from 0: a share of 1 to 127 is that byte; a larger one is `0x80` plus
    /// its bits 8 and up, then its lower byte; `0` and a byte `n` stand for `n + 1` symbols
    /// without states.
    pub fn write(&self, mut push: impl FnMut(u8)) {
        let mut rest = &self.0[..];
        while let Some((&share, after)) = rest.split_first() {
            if share > 0 {
                if share < 0x80 {
                    push(share as u8);
                } else {
                    push(0x80 | (share >> 8) as u8);
                    push(share as u8);
                }
                rest = after;
                continue;
            }
            let more = after.iter().take_while(|&&s| s == 0).count();
            push(0);
            push(more as u8);
            rest = after.get(more..).unwrap_or(&[]);
        }
    }

    /// Bytes that [`Model::write`] writes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let mut bytes = 0usize;
        self.write(|_| bytes = bytes.saturating_add(1));
        bytes
    }

    /// Reads what [`Model::write`] wrote.
    ///
    /// # Errors
    /// [`Corrupt`] where `bytes` describe more or fewer than 256 symbols, are more or fewer
    /// than that takes, or the shares do not add up to [`STATES`].
    pub fn read(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut shares = [0u16; SYMBOLS];
        let (mut rest, mut symbol, mut sum) = (bytes.iter(), 0, 0usize);
        while symbol < SYMBOLS {
            let first = u16::from(*rest.next().ok_or(Corrupt)?);
            if first == 0 {
                symbol += 1 + usize::from(*rest.next().ok_or(Corrupt)?);
                continue;
            }
            let share = match first {
                1..=0x7f => first,
                _ => (first & 0x7f) << 8 | u16::from(*rest.next().ok_or(Corrupt)?),
            };
            sum = sum.saturating_add(share.into());
            *shares.get_mut(symbol).ok_or(Corrupt)? = share;
            symbol += 1;
        }
        if symbol == SYMBOLS && sum == STATES && rest.next().is_none() {
            Ok(Self(shares))
        } else {
            Err(Corrupt)
        }
    }

    /// Gives out [`STATES`] states for `counts`, at least 1 where there is a count; `None`
    /// where there is none.
    ///
    /// Rounded, then corrected a state at a time where it costs the fewest bits: a state more
    /// or less for a symbol of share `s` changes its cost by about `count / (s ± 1/2)`.
    fn share(&mut self, counts: &[u32; SYMBOLS]) -> Option<()> {
        let add = |sum: u64, &count: &u32| sum.saturating_add(count.into());
        let total = counts.iter().fold(0, add);
        if total == 0 {
            return None;
        }
        let mut sum = 0usize;
        for (share, &count) in self.0.iter_mut().zip(counts) {
            let exact = (u64::from(count) * STATES as u64 + total / 2) / total;
            *share = if count > 0 { exact.max(1) as u16 } else { 0 };
            sum = sum.saturating_add((*share).into());
        }
        while sum > STATES {
            let able = (0..SYMBOLS).filter(|&i| self.0[i] > 1);
            let cost = |i: usize| (u64::from(counts[i]) << 20) / (2 * u64::from(self.0[i]) - 1);
            let cheapest = able.min_by_key(|&i| cost(i))?;
            let share = self.0.get_mut(cheapest)?;
            *share = share.saturating_sub(1);
            sum -= 1;
        }
        while sum < STATES {
            let able = (0..SYMBOLS).filter(|&i| self.0[i] > 0);
            let gain = |i: usize| (u64::from(counts[i]) << 20) / (2 * u64::from(self.0[i]) + 1);
            let dearest = able.max_by_key(|&i| gain(i))?;
            let share = self.0.get_mut(dearest)?;
            *share = share.saturating_add(1);
            sum += 1;
        }
        Some(())
    }
}
