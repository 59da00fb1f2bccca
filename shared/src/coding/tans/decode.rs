//! From bytes to weights.

use super::super::Corrupt;
use super::{ESCAPE, LOG_STATES, Model, STATES, spread, weight, weights_per_symbol};

/// Fills the decoder's table, a word a state:
///
/// | bits | |
/// |---|---|
/// | 0 to 7 | 32 minus the number of bits that lead to the next state |
/// | 8 to 15 | the symbol |
/// | 16 | whether it is [`ESCAPE`] |
/// | 17 to 26 | the next state, before those bits are added |
///
/// The `k`-th state of a symbol of share `s`, in rising order, has `x = s + k`; it takes
/// `10 − floor(log2 x)` bits `n`, and leads to `(x << n) − 1024` and up. So the next state is
/// below [`STATES`] whatever the bits are.
pub fn table(model: Model, table: &mut [u32; STATES]) {
    spread(&model, |state, symbol| {
        if let Some(entry) = table.get_mut(state) {
            *entry = symbol.into();
        }
    });
    let mut next = model.into_shares();
    for entry in table {
        let symbol = *entry as u8;
        let x = &mut next[usize::from(symbol)];
        // A symbol in the table has a share, so `x` is not 0, and below twice the states.
        let log = u32::from(*x).checked_ilog2().unwrap_or(0);
        let bits = LOG_STATES.saturating_sub(log);
        let base = (u32::from(*x) << bits).saturating_sub(STATES as u32);
        let escape = u32::from(symbol == ESCAPE) << 16;
        *entry = (32 - bits) | u32::from(symbol) << 8 | escape | base << 17;
        *x = x.saturating_add(1);
    }
}

/// A block being decoded: what the reference, and the firmware's assembly, carry from symbol
/// to symbol.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The block.
    pub block: &'a [u8],
    /// The state, below [`STATES`].
    pub state: u32,
    /// Index of the highest bit that is not read yet, from the block's start; −1 where all are.
    pub bit: i32,
    /// Escaped bytes read.
    pub escapes: usize,
}

/// Whether a stored initial state is one.
#[must_use]
pub const fn check_state(state: u32) -> bool {
    state < STATES as u32
}

/// Begins a block in `state`.
///
/// # Errors
/// [`Corrupt`] where the block is empty or ends with a zero byte, or the state is none.
pub fn start(block: &[u8], state: u32) -> Result<Reader<'_>, Corrupt> {
    let last = *block.last().ok_or(Corrupt)?;
    // 32 bits count the bits of any blob: its length is stated in 32, and flash is smaller.
    if last == 0 || !check_state(state) || block.len() > i32::MAX as usize / 8 {
        return Err(Corrupt);
    }
    Ok(Reader {
        block,
        state,
        bit: 8 * block.len() as i32 - 2 - last.leading_zeros() as i32,
        escapes: 0,
    })
}

impl Reader<'_> {
    /// The next symbol, escaped ones resolved.
    ///
    /// # Errors
    /// [`Corrupt`] where bits or escaped bytes run out.
    pub fn next(&mut self, table: &[u32; STATES]) -> Result<u8, Corrupt> {
        let entry = *table.get(self.state as usize).ok_or(Corrupt)?;
        let mut bits = 0;
        for _ in 0..32u32.saturating_sub(entry & 0xff) {
            bits = bits << 1 | self.take_bit()?;
        }
        self.state = (entry >> 17).saturating_add(bits);
        if entry & 1 << 16 == 0 {
            return Ok((entry >> 8) as u8);
        }
        let byte = *self.block.get(self.escapes).ok_or(Corrupt)?;
        self.escapes = self.escapes.saturating_add(1);
        Ok(byte)
    }

    fn take_bit(&mut self) -> Result<u32, Corrupt> {
        let at = usize::try_from(self.bit).map_err(|_| Corrupt)?;
        let byte = *self.block.get(at / 8).ok_or(Corrupt)?;
        self.bit = self.bit.saturating_sub(1);
        Ok(u32::from(byte >> (at % 8) & 1))
    }

    /// Whether the block ended as an encoder ends it.
    ///
    /// # Errors
    /// [`Corrupt`] where the state is not 0, or bits and escaped bytes do not meet.
    pub fn finish(&self) -> Result<(), Corrupt> {
        let read = usize::try_from(self.bit.saturating_add(1));
        let met = read == Ok(self.escapes.saturating_mul(8));
        if met && self.state == 0 {
            Ok(())
        } else {
            Err(Corrupt)
        }
    }
}

/// Decodes a block of `weights` weights (a multiple of 4) that begins in `state`: calls
/// `put(k, weight)` for each, `k` rising.
///
/// # Errors
/// [`Corrupt`] as [`start`], [`Reader::next`] and [`Reader::finish`]. What was put before
/// stays put.
pub fn decode(
    block: &[u8],
    state: u32,
    table: &[u32; STATES],
    weights: usize,
    w_bits: u8,
    mut put: impl FnMut(usize, i16),
) -> Result<(), Corrupt> {
    let mut reader = start(block, state)?;
    let step = weights_per_symbol(w_bits);
    for k in (0..weights).step_by(step) {
        let symbol = reader.next(table)?;
        for i in 0..step {
            put(k.saturating_add(i), weight(symbol, i, w_bits));
        }
    }
    reader.finish()
}
