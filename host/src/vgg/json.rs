//! A network's description as `config.json` has it.

use super::{Item, VggConfig};
use crate::data::Normalization;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Conv(width) => serializer.serialize_u64(*width as u64),
            Self::MaxPool => serializer.serialize_str("M"),
            Self::AvgPool => serializer.serialize_str("A"),
        }
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By way of `Value`: serde's own buffering (`untagged`, `flatten`) cannot read
        // numbers once any dependency turns on serde_json's arbitrary precision.
        let value = Value::deserialize(deserializer)?;
        match (value.as_u64(), value.as_str()) {
            (Some(width), _) => Ok(Self::Conv(width as usize)),
            (_, Some("M")) => Ok(Self::MaxPool),
            (_, Some("A")) => Ok(Self::AvgPool),
            _ => Err(serde::de::Error::custom(format!(
                "layer {value} is neither a width nor \"M\" nor \"A\""
            ))),
        }
    }
}

impl TryFrom<Map<String, Value>> for VggConfig {
    type Error = String;

    fn try_from(mut map: Map<String, Value>) -> Result<Self, String> {
        Ok(Self {
            architecture: take(&mut map, "architecture")?,
            cfg: take(&mut map, "cfg")?,
            num_classes: take(&mut map, "num_classes")?,
            input: take(&mut map, "input")?,
            normalization: Normalization {
                mean: take(&mut map, "mean")?,
                std: take(&mut map, "std")?,
            },
            batch_norm: take::<Option<bool>>(&mut map, "batch_norm")?.unwrap_or(true),
            hidden: take::<Option<Vec<usize>>>(&mut map, "hidden")?.unwrap_or_default(),
            dropout: take::<Option<f32>>(&mut map, "dropout")?.unwrap_or_default(),
            extra: map,
        })
    }
}

/// Takes a key out of a JSON object; a missing one counts as null.
fn take<T: DeserializeOwned>(map: &mut Map<String, Value>, key: &str) -> Result<T, String> {
    let value = map.shift_remove(key).unwrap_or(Value::Null);
    serde_json::from_value(value).map_err(|e| format!("key `{key}`: {e}"))
}

impl From<VggConfig> for Map<String, Value> {
    fn from(config: VggConfig) -> Self {
        let mut map = Self::new();
        map.insert("architecture".into(), config.architecture.into());
        let items = config.cfg.iter().map(|item| match item {
            Item::Conv(width) => Value::from(*width),
            Item::MaxPool => "M".into(),
            Item::AvgPool => "A".into(),
        });
        map.insert("cfg".into(), items.collect());
        map.insert("num_classes".into(), config.num_classes.into());
        map.insert("input".into(), config.input.to_vec().into());
        map.insert("mean".into(), decimals(&config.normalization.mean));
        map.insert("std".into(), decimals(&config.normalization.std));
        map.insert("batch_norm".into(), config.batch_norm.into());
        if !config.hidden.is_empty() {
            map.insert("hidden".into(), config.hidden.into());
        }
        if config.dropout > 0.0 {
            map.insert("dropout".into(), decimal(config.dropout));
        }
        map.extend(config.extra);
        map
    }
}

/// Numbers in their shortest decimal form that reads back as the same `f32`.
fn decimals(values: &[f32]) -> Value {
    values.iter().map(|v| decimal(*v)).collect()
}

fn decimal(value: f32) -> Value {
    let shortest = value.to_string().parse::<f64>();
    shortest.unwrap_or(f64::from(value)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_unknown_keys() {
        let text = r#"{"architecture":"x","cfg":[8,"M",16,"A"],"num_classes":3,
            "input":[8,8,3],"mean":[0.5,0.5,0.5],"std":[0.2,0.2,0.2],"test_accuracy":0.5}"#;
        let config: VggConfig = serde_json::from_str(text).expect("parses");
        assert_eq!(config.cfg[1], Item::MaxPool);
        assert!(config.batch_norm);
        assert_eq!(config.extra["test_accuracy"], 0.5);
        let again: VggConfig =
            serde_json::from_str(&serde_json::to_string(&config).expect("writes")).expect("parses");
        assert_eq!(again, config);
    }
}
