//! Opening a GPU, or saying why there is none.

use candle_core::Device;

/// Why a GPU cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cuda {
    /// The feature `cuda` is off.
    #[error("this build has no CUDA")]
    NotBuilt,
    /// A library is missing, or the driver or the device gives an error.
    #[error("no GPU can be used: {0}")]
    DoesNotAnswer(String),
}

/// Opens GPU `number`. Products of matrices and convolutions round their inputs to TF32 there.
///
/// # Errors
/// Where the build has no CUDA, where a library of it is missing (a binary that looks for them when
/// they are needed only: docs/gpu.md), or where the driver does not answer.
#[cfg(feature = "cuda")]
pub fn open_cuda(number: usize) -> Result<Device, Cuda> {
    let opened = quietly(|| Device::new_cuda(number));
    let device = match opened {
        Ok(device) => device.map_err(|error| Cuda::DoesNotAnswer(error.to_string()))?,
        Err(panic) => return Err(Cuda::DoesNotAnswer(panic)),
    };
    candle_core::cuda::set_gemm_reduced_precision_f32(true);
    Ok(device)
}

/// As with the feature `cuda`, without which there is none.
///
/// # Errors
/// Always.
#[cfg(not(feature = "cuda"))]
pub fn open_cuda(_number: usize) -> Result<Device, Cuda> {
    Err(Cuda::NotBuilt)
}

/// What `f` gives, or what it panicked with: that is how the bindings say that a library cannot be
/// found, without the thirty names that they looked for. Nothing is printed.
#[cfg(any(feature = "cuda", test))]
fn quietly<T>(f: impl FnOnce() -> T + std::panic::UnwindSafe) -> Result<T, String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let result = std::panic::catch_unwind(f);
    std::panic::set_hook(hook);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let first = text.and_then(|text| text.lines().next());
        let first = first.map(|line| line.split(" - searched").next().unwrap_or(line));
        first.unwrap_or("the bindings panicked").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_bindings_becomes_a_short_reason() {
        assert_eq!(quietly(|| 3), Ok(3));
        let (name, places) = ("\"cuda\"", "[\"libcuda.so\", \"libcuda.so.1\"]. Ensure");
        let missing = quietly(|| -> u8 { panic!("No {name} - searched for: {places}\nand more") });
        assert_eq!(missing, Err("No \"cuda\"".to_owned()));
    }
}
