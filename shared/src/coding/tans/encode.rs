//! From symbols to bytes.

use super::{LOG_STATES, Model, STATES, spread, symbol, weights_per_symbol};
use crate::index::{ix, low_bits};

/// A model made ready to encode with.
#[derive(Debug)]
pub struct Encoder<'a> {
    model: &'a Model,
    /// In the upper halves, the states of each symbol, symbol after symbol, rising. In the
    /// lower half of word `s`, the place of the first state of symbol `s`.
    states: &'a [u32; STATES],
}

/// Bytes that are enough for a block of `symbols` symbols: ten bits each, a byte where it is
/// escaped, and the mark.
#[must_use]
pub const fn bound(symbols: usize) -> usize {
    symbols
        .saturating_mul(LOG_STATES as usize)
        .div_ceil(8)
        .saturating_add(symbols)
        .saturating_add(1)
}

impl<'a> Encoder<'a> {
    /// Makes `model` ready; `work` is memory for it.
    #[must_use]
    pub fn new(model: &'a Model, work: &'a mut [u32; STATES]) -> Self {
        // Places and states are below `STATES`, since the shares add up to it; the masks say so
        // to the compiler.
        spread(model, |state, symbol| work[state % STATES] = symbol.into());
        let (mut places, mut at) = ([0u16; super::SYMBOLS], 0u16);
        for (place, &share) in places.iter_mut().zip(model.shares()) {
            *place = at;
            at = at.wrapping_add(share);
        }
        for state in 0..STATES {
            let place = &mut places[usize::from(work[state] as u8)];
            work[usize::from(*place) % STATES] |= (state as u32) << 16;
            *place = place.wrapping_add(1);
        }
        for ((word, &end), &share) in work.iter_mut().zip(&places).zip(model.shares()) {
            *word = *word & 0xffff_0000 | u32::from(end.wrapping_sub(share));
        }
        let states = work;
        Self { model, states }
    }

    /// Writes one block of weights in block order into `out`; returns its bytes and the state
    /// that it begins in, or `None` where `out` is shorter than [`bound`] could need, or a
    /// symbol can neither be written nor escaped.
    #[must_use]
    pub fn block(&self, weights: &[i8], w_bits: u8, out: &mut [u8]) -> Option<(usize, u32)> {
        let symbols = weights
            .chunks(weights_per_symbol(w_bits))
            .map(|chunk| symbol(chunk, w_bits));
        let mut escapes = 0usize;
        for symbol in symbols.clone().filter(|&s| !self.model.keeps(s)) {
            *out.get_mut(escapes)? = symbol;
            escapes = escapes.saturating_add(1);
        }
        let bits = out.get_mut(escapes..)?;
        bits.fill(0);
        // Backwards: the decoder's last state is 0, and it reads what is written last first.
        let (mut state, mut at) = (0u32, ix(0));
        for symbol in symbols.rev() {
            let symbol = if self.model.keeps(symbol) {
                symbol
            } else {
                super::ESCAPE
            };
            let share = u32::from(self.model.shares()[usize::from(symbol)]);
            if share == 0 {
                return None;
            }
            let x = state + STATES as u32;
            // No share is above `STATES`; the bits that are left bring `x` to share..2 · share.
            let most = LOG_STATES.checked_sub(share.ilog2())?;
            let count = most.saturating_sub(u32::from(x >> most < share));
            put_bits(bits, at.0, x & low_bits(count), count)?;
            at = at + count as usize;
            let first = ix(self.states[usize::from(symbol)] as usize & 0xffff);
            let place = first + (x >> count) as usize - share as usize;
            state = *self.states.get(place.0)? >> 16;
        }
        put_bits(bits, at.0, 1, 1)?;
        Some(((ix(escapes) + at.0 / 8 + 1).0, state))
    }
}

/// Sets the `count` bits of `value` from bit `at` on.
fn put_bits(out: &mut [u8], at: usize, value: u32, count: u32) -> Option<()> {
    for i in 0..count {
        let at = (ix(at) + i as usize).0;
        *out.get_mut(at / 8)? |= (value.unbounded_shr(i) as u8 & 1) << (at % 8);
    }
    Some(())
}
