//! Makes the bundled extract of CIFAR-10 from the whole set in parquet:
//! `cargo run -p host --example make_sample -- DIR_WITH_TRAIN_AND_TEST OUT`.

use host::data::write_sample;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut folders = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(from), Some(out)) = (folders.next(), folders.next()) else {
        return Err("usage: make_sample DIR_WITH_TRAIN_AND_TEST OUT".into());
    };
    std::fs::create_dir_all(&out)?;
    let parts = [
        ("train", "train", 0..45_000, 3000),
        ("train", "validation", 45_000..50_000, 1000),
        ("test", "test", 0..10_000, 1000),
    ];
    for (source, name, within, count) in parts {
        let source = from.join(format!("{source}.parquet"));
        let path = out.join(format!("{name}.parquet"));
        let rows = write_sample(&source, within, count, 0, &path)?;
        let bytes = std::fs::metadata(&path)?.len();
        println!("{}: {} pictures, {bytes} bytes", path.display(), rows.len());
    }
    Ok(())
}
