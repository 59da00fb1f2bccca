//! `--device`: what trains networks.

use super::hint::Complaint;
use crate::compress::Ui;
use crate::nn::{Cuda, open_cuda};
use anyhow::Result;
use candle_core::Device;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// The option.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(super) struct DeviceArgs {
    /// What trains networks: cpu, cuda, cuda:N for the GPU of that number, or auto: a GPU where this
    /// build can use one and there is one, and else the CPU.
    #[arg(long, value_name = "DEVICE", default_value_t)]
    device: Choice,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Choice {
    #[default]
    Auto,
    Cpu,
    Cuda(usize),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is none of auto, cpu, cuda and cuda:N");
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", number)) => number.parse().map(Self::Cuda).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

impl Display for Choice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl DeviceArgs {
    /// Opens the device. Where a GPU could be used but does not answer, `auto` says so and takes
    /// the CPU.
    ///
    /// # Errors
    /// Where a GPU was asked for and there is none, or the build has no CUDA.
    pub fn open(&self, ui: &Ui) -> Result<Device> {
        let number = match self.device {
            Choice::Cpu => return Ok(Device::Cpu),
            Choice::Auto => 0,
            Choice::Cuda(number) => number,
        };
        match (open_cuda(number), self.device) {
            (Ok(device), _) => {
                ui.say(&format!("networks are trained by the GPU cuda:{number}"));
                Ok(device)
            }
            (Err(Cuda::NotBuilt), Choice::Auto) => Ok(Device::Cpu),
            (Err(reason), Choice::Auto) => {
                ui.say(&format!("networks are trained by the CPU: {reason}"));
                Ok(Device::Cpu)
            }
            (Err(reason), _) => Err(refused(&reason, self.device).into()),
        }
    }
}

fn refused(reason: &Cuda, choice: Choice) -> Complaint {
    let hint = match reason {
        Cuda::NotBuilt => {
            "build it with --features cuda,cudnn (docs/gpu.md says what that needs), or leave \
             --device out"
        }
        Cuda::DoesNotAnswer(_) => {
            "see what nvidia-smi says, whether LD_LIBRARY_PATH reaches the CUDA libraries, or take \
             --device cpu"
        }
    };
    let complaint = Complaint::input(reason.to_string());
    complaint.at(format!("--device {choice}")).try_(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::Verbosity;

    fn ui() -> Ui {
        Ui::new(Verbosity::Quiet)
    }

    #[test]
    fn what_is_written_is_read() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3"] {
            let choice: Choice = text.parse().expect("a device");
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(Choice::Cuda(0)));
        for text in ["gpu", "cuda:", "cuda:x", "cuda:-1", "", "metal:0"] {
            let refused = text.parse::<Choice>().expect_err("refused");
            assert!(refused.contains("cuda:N"), "{refused}");
        }
    }

    #[test]
    fn the_cpu_is_there() -> Result<()> {
        let cpu = DeviceArgs {
            device: Choice::Cpu,
        };
        assert!(cpu.open(&ui())?.is_cpu());
        Ok(())
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_so_where_it_is_asked_for() -> Result<()> {
        assert!(DeviceArgs::default().open(&ui())?.is_cpu());
        let gpu = DeviceArgs {
            device: Choice::Cuda(1),
        };
        let error = super::super::hint::explain(&gpu.open(&ui()).expect_err("refused"));
        assert_eq!(error.place.as_deref(), Some("--device cuda:1"));
        assert!(error.hint.is_some_and(|h| h.contains("--features cuda")));
        Ok(())
    }
}
