//! Power that goes in the middle of an operation of the flash.

/// When the power goes, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The operation (a word programmed, a sector erased) that it hits, counted from 0.
    pub at: u64,
    /// What is left of that operation.
    pub tear: Tear,
}

/// What is left of an operation that lost its power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tear {
    /// Nothing was done.
    Before,
    /// Some bits changed; which ones, the seed says.
    Within(u32),
    /// All was done, and nothing after it.
    After,
}

impl Cut {
    /// What is left of operation `operation`, if the cut hits it.
    pub(super) fn tear_of(self, operation: u64) -> Option<Tear> {
        (self.at == operation).then_some(self.tear)
    }
}

impl Tear {
    /// Gives, byte after byte, which bits are changed.
    pub(super) fn mask(self) -> impl FnMut() -> u8 {
        let mut rng = match self {
            Self::Within(seed) => Some(shared::bench::Rng::new(seed)),
            Self::Before | Self::After => None,
        };
        move || match &mut rng {
            Some(rng) => rng.next() as u8,
            None if self == Self::After => 0xFF,
            None => 0,
        }
    }
}
