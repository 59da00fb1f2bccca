//! Floats in JSON checkpoints, bit for bit: a resumed search must compare the very same
//! numbers, and decimal text read back may be off by one in the last place.

/// `#[serde(with = "exact::number")]`: an `f64` as the integer of its bits.
pub mod number {
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the bits.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(value: &f64, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(value.to_bits())
    }

    /// Reads the bits.
    ///
    /// # Errors
    /// The deserializer's.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
        u64::deserialize(d).map(f64::from_bits)
    }
}

/// `#[serde(with = "exact::option")]`: an `f64` that may be missing.
pub mod option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes the bits.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(value: &Option<f64>, s: S) -> Result<S::Ok, S::Error> {
        value.map(f64::to_bits).serialize(s)
    }

    /// Reads the bits.
    ///
    /// # Errors
    /// The deserializer's.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
        Ok(Option::<u64>::deserialize(d)?.map(f64::from_bits))
    }
}

/// `#[serde(with = "exact::rows")]`: lists of `f64` by width.
pub mod rows {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    /// Writes the bits.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(
        rows: &BTreeMap<u8, Vec<f64>>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        let bits = |row: &Vec<f64>| row.iter().map(|v| v.to_bits()).collect::<Vec<u64>>();
        rows.iter()
            .map(|(k, row)| (*k, bits(row)))
            .collect::<BTreeMap<u8, Vec<u64>>>()
            .serialize(s)
    }

    /// Reads the bits.
    ///
    /// # Errors
    /// The deserializer's.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<BTreeMap<u8, Vec<f64>>, D::Error> {
        let bits = BTreeMap::<u8, Vec<u64>>::deserialize(d)?;
        Ok(bits
            .into_iter()
            .map(|(k, row)| (k, row.into_iter().map(f64::from_bits).collect()))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use std::collections::BTreeMap;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Pair {
        #[serde(with = "super::number")]
        a: f64,
        #[serde(with = "super::rows")]
        b: BTreeMap<u8, Vec<f64>>,
        #[serde(default, with = "super::option")]
        c: Option<f64>,
    }

    #[test]
    fn every_bit_survives_json() {
        for a in [
            0.1 + 0.2,
            -1e-310,
            0.834,
            f64::MIN_POSITIVE,
            -9.999_999_999_999_998,
        ] {
            let pair = Pair {
                a,
                b: BTreeMap::from([(2, vec![a, a / 3.0])]),
                c: Some(a / 7.0),
            };
            let text = serde_json::to_string(&pair).expect("writes");
            assert_eq!(serde_json::from_str::<Pair>(&text).expect("reads"), pair);
            let old = text.split(",\"c\"").next().expect("a part").to_owned() + "}";
            assert_eq!(serde_json::from_str::<Pair>(&old).expect("reads").c, None);
        }
    }
}
