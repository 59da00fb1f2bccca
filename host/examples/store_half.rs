//! Stores a trained model in half precision, with the accuracies of what is stored:
//! `cargo run -p host --example store_half -- MODEL DATA OUT`.

use candle_core::Device;
use host::data::{Dataset, load};
use host::vgg::{Vgg, evaluate};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(model), Some(data), Some(out)) = (paths.next(), paths.next(), paths.next()) else {
        return Err("usage: store_half MODEL DATA OUT".into());
    };
    Vgg::load(&model, &Device::Cpu)?.save(&out, true)?;
    let mut stored = Vgg::load(&out, &Device::Cpu)?;
    let folded = stored.fold()?;
    let accuracy = |part: &Dataset| evaluate(&folded, part, &(0..part.len()).collect::<Vec<_>>());
    let splits = load(&data)?;
    let extra = &mut stored.config.extra;
    extra.insert(
        "validation_accuracy".into(),
        accuracy(&splits.validation).into(),
    );
    extra.insert("validation_images".into(), splits.validation.len().into());
    if let Some(test) = &splits.test {
        extra.insert("test_accuracy".into(), accuracy(test).into());
    }
    stored.save(&out, true)?;
    println!("{}", serde_json::to_string(&stored.config)?);
    Ok(())
}
