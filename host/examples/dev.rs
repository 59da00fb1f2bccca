//! Throw-away.
use anyhow::Result;
use host::compress::*;
use host::search::*;
use host::vgg::Vgg;
struct Fake;
impl MeasureLayer for Fake {
    fn measure(&mut self, key: &LayerKey) -> Result<Timing> {
        let s = &key.spec;
        let (h, w) = s.conv_out();
        let c = (s.macs() as f64 * 1.25) as u64
            + u64::from(h) * u64::from(w) * u64::from(s.c_out) * 12
            + 500;
        Ok(Timing {
            cost: LayerCost::Cycles(c),
            from_table: false,
        })
    }
}
#[repr(align(16))]
struct Arena([u8; 118_000]);
impl Device for Fake {
    fn limits(&self) -> DeviceLimits {
        DeviceLimits {
            name: "fake".into(),
            description: "".into(),
            arena: 116_000,
            blob: 896 * 1024,
            clock_hz: 168_000_000,
            build_id: 1,
            cycle_source: host::run::CycleSource::Model,
        }
    }
    fn run(&mut self, blob: &[u8], images: &[u8], n: usize) -> Result<Vec<BoardInference>> {
        let mut arena = Box::new(Arena([0; 118_000]));
        let blob = shared::blob::Blob::new_checked(blob)?;
        let cycles: Vec<u64> = blob.layers().map(|l| l.spec().macs()).collect();
        let mut net = firmware::engine::Network::new(blob, &mut arena.0)
            .map_err(|e| anyhow::anyhow!("{e:?}"))?;
        images
            .chunks_exact(n)
            .map(|i| {
                let l = net
                    .infer(i, &mut ())
                    .map_err(|e| anyhow::anyhow!("{e:?}"))?;
                Ok(BoardInference {
                    logits: l.iter().collect(),
                    cycles: cycles.clone(),
                })
            })
            .collect()
    }
}
fn main() -> Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let device = candle_core::Device::Cpu;
    let network = Vgg::load(std::path::Path::new(&a[1]), &device)?;
    let splits = host::data::load(std::path::Path::new(&a[2]))?;
    let mut s = Settings::quick(0);
    for kv in &a[3..] {
        let (k, v) = kv.split_once('=').unwrap();
        match k {
            "pe" => s.prune.episodes = v.parse()?,
            "qe" => s.quantize.episodes = v.parse()?,
            "fe" => s.finetune.epochs = v.parse()?,
            "qat" => s.qat.epochs = v.parse()?,
            "flr" => s.finetune.lr = v.parse()?,
            "plr" => s.prune.trial.lr = v.parse()?,
            "d" => s.distillation = v.parse()?,
            "ms" => s.budgets.latency_ms = Some(v.parse()?),
            "qlr" => s.qat.lr = v.parse()?,
            "agent" => {
                if v == "random" {
                    s.agent = host::agent::AgentKind::Random
                }
            }
            "seed" => {
                s.seed = v.parse()?;
                s.variational.seed = s.seed
            }
            "vs" => s.variational.steps = v.parse()?,
            "share" => s.budgets.cost_share = Some(v.parse()?),
            "fshare" => s.budgets.flash_share = Some(v.parse()?),
            "kib" => s.budgets.flash_bytes = Some(v.parse::<u64>()? * 1024),
            _ => panic!("{k}"),
        }
    }
    let input = Input {
        network,
        model_bytes: vec![1],
        model: "dev".into(),
        splits,
        dataset: "d".into(),
        device,
    };
    let run = Compress::start(
        input,
        s,
        Fake,
        std::path::Path::new("/tmp/devruns"),
        Ui::new(Verbosity::Verbose),
    )?;
    if let Outcome::Done(s) = run.run()? {
        println!("{}", serde_json::to_string_pretty(&*s)?);
    }
    Ok(())
}
