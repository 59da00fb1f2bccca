//! Min-max normalisation of state features over the layers of a network.

use serde::{Deserialize, Serialize};

/// Lowest and highest value of each feature over all layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MinMax {
    low: Vec<f32>,
    high: Vec<f32>,
}

impl MinMax {
    /// The ranges over `rows`, one row of features a layer.
    ///
    /// # Panics
    /// If rows differ in length.
    pub fn over(rows: &[Vec<f32>]) -> Self {
        let width = rows.first().map_or(0, Vec::len);
        let mut range = Self {
            low: vec![f32::INFINITY; width],
            high: vec![f32::NEG_INFINITY; width],
        };
        for row in rows {
            assert_eq!(row.len(), width, "every layer has the same features");
            for (i, &value) in row.iter().enumerate() {
                range.low[i] = range.low[i].min(value);
                range.high[i] = range.high[i].max(value);
            }
        }
        range
    }

    /// The same ranges with feature `index` between `low` and `high`: for features that change
    /// during an episode (MACs removed, previous actions), whose range is known beforehand.
    ///
    /// # Panics
    /// If there is no such feature.
    pub fn with_range(mut self, index: usize, low: f32, high: f32) -> Self {
        self.low[index] = low;
        self.high[index] = high;
        self
    }

    /// `row` with each feature mapped to `[0, 1]`; values outside the range are clamped, and a
    /// feature that is the same for all layers says nothing and becomes 0.
    ///
    /// # Panics
    /// If `row` has another length than the ranges.
    pub fn apply(&self, row: &[f32]) -> Vec<f32> {
        assert_eq!(row.len(), self.low.len());
        let ranges = self.low.iter().zip(&self.high);
        row.iter()
            .zip(ranges)
            .map(|(&v, (&low, &high))| {
                if high > low {
                    ((v - low) / (high - low)).clamp(0.0, 1.0)
                } else {
                    0.0
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_each_feature_over_the_layers() {
        let rows = vec![
            vec![3.0, 8.0, 1.0],
            vec![64.0, 8.0, 3.0],
            vec![33.5, 8.0, 2.0],
        ];
        let range = MinMax::over(&rows).with_range(2, 0.0, 4.0);
        assert_eq!(range.apply(&rows[0]), [0.0, 0.0, 0.25]);
        assert_eq!(range.apply(&rows[1]), [1.0, 0.0, 0.75]);
        assert_eq!(range.apply(&[33.5, 9.0, 9.0]), [0.5, 0.0, 1.0]);
    }
}
