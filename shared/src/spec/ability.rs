//! What a firmware can compute: kernels that it may be built without.

use super::{Kernel, Kind, LayerSpec};
use serde::{Deserialize, Serialize};

/// One kernel with all its stages; the name is that of the Cargo feature of `firmware`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Ability {
    /// Convolutions of any shape, and sparse fully connected layers.
    Direct = 0,
    /// Weights multiplied as they are packed: fully connected layers and the smallest maps.
    Straight = 1,
    /// First layers.
    Narrow = 2,
    /// F(4x4,3x3).
    Winograd4 = 3,
    /// F(2x2,3x3).
    Winograd2 = 4,
    /// The global average pool.
    GlobalAvgPool = 5,
}

impl Ability {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Direct,
        Self::Straight,
        Self::Narrow,
        Self::Winograd4,
        Self::Winograd2,
        Self::GlobalAvgPool,
    ];

    /// The name of the Cargo feature.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Straight => "straight",
            Self::Narrow => "narrow",
            Self::Winograd4 => "winograd4",
            Self::Winograd2 => "winograd2",
            Self::GlobalAvgPool => "global-avg-pool",
        }
    }

    /// What a layer needs.
    #[must_use]
    pub const fn of(spec: &LayerSpec) -> Self {
        match (spec.kind, spec.kernel) {
            (Kind::GlobalAvgPool, _) => Self::GlobalAvgPool,
            (_, Kernel::Narrow) => Self::Narrow,
            (_, Kernel::Winograd4) => Self::Winograd4,
            (_, Kernel::Winograd2) => Self::Winograd2,
            (_, Kernel::Direct) if spec.is_straight() => Self::Straight,
            (_, Kernel::Direct) => Self::Direct,
        }
    }
}

/// A set of [`Ability`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Abilities(u8);

impl Abilities {
    /// None.
    pub const NONE: Self = Self(0);

    /// The set with `ability` in it if `there`.
    #[must_use]
    pub const fn with(self, ability: Ability, there: bool) -> Self {
        Self(self.0 | (there as u8) << ability as u8)
    }

    /// Whether `ability` is in the set.
    #[must_use]
    pub const fn contains(self, ability: Ability) -> bool {
        self.0 & 1 << ability as u8 != 0
    }

    /// Its members in order.
    pub fn iter(self) -> impl Iterator<Item = Ability> {
        Ability::ALL.into_iter().filter(move |a| self.contains(*a))
    }
}

impl FromIterator<Ability> for Abilities {
    fn from_iter<I: IntoIterator<Item = Ability>>(abilities: I) -> Self {
        abilities
            .into_iter()
            .fold(Self::NONE, |set, ability| set.with(ability, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_into_it() {
        let set: Abilities = [Ability::Narrow, Ability::Winograd2].into_iter().collect();
        for ability in Ability::ALL {
            let there = matches!(ability, Ability::Narrow | Ability::Winograd2);
            assert_eq!(set.contains(ability), there);
        }
        assert_eq!(set.iter().count(), 2);
        assert_eq!(
            Abilities::NONE.with(Ability::Direct, false),
            Abilities::NONE
        );
    }
}
