//! The kernels against each other, candle and finite differences.

use super::super::gradcheck::{check_gradient, random};
use super::*;
use candle_core::{Device, Var};

#[test]
fn equals_candles_convolution() -> Result<()> {
    for (n, c_in, c_out, h, w) in [
        (3, 5, 7, 8, 8),
        (1, 3, 16, 1, 1),
        (2, 17, 9, 5, 7),
        (5, 33, 40, 4, 4),
    ] {
        let x = random((c_in, n, h, w), 1)?;
        let weight = random((c_out, c_in * 9), 2)?;
        let y = conv3x3(&x, &weight)?;
        let reference = x
            .transpose(0, 1)?
            .contiguous()?
            .conv2d(&weight.reshape((c_out, c_in, 3, 3))?, 1, 1, 1, 1)?
            .transpose(0, 1)?;
        let scale = reference.abs()?.max_all()?.to_scalar::<f32>()?;
        let error = (y - reference)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(
            error < 2e-5 * scale,
            "{n} {c_in} {c_out} {h} {w}: {error} of {scale}"
        );
    }
    Ok(())
}

#[test]
fn gradients_equal_finite_differences() -> Result<()> {
    let x = Var::from_tensor(&random((3, 2, 5, 6), 3)?)?;
    let weight = Var::from_tensor(&random((4, 27), 4)?)?;
    check_gradient(&[x.clone(), weight.clone()], || conv3x3(&x, &weight))
}

/// What other devices compute by, on this one.
#[test]
fn composed_from_candles_operators_it_is_the_same_with_the_same_gradients() -> Result<()> {
    for (n, c_in, c_out, h, w) in [(3, 5, 7, 8, 6), (2, 17, 9, 2, 2), (4, 3, 8, 1, 5)] {
        let x = Var::from_tensor(&random((c_in, n, h, w), 1)?)?;
        let weight = Var::from_tensor(&random((c_out, c_in * 9), 2)?)?;
        let direction = random((c_out, n, h, w), 3)?;
        let by = |f: &dyn Fn(&Tensor, &Tensor) -> Result<Tensor>| -> Result<[Tensor; 3]> {
            let y = f(&x, &weight)?;
            let grads = (&y * &direction)?.sum_all()?.backward()?;
            let of = |var: &Var| grads.get(var).expect("a gradient").clone();
            Ok([y, of(&x), of(&weight)])
        };
        let expected = by(&conv3x3)?;
        for (found, expected) in by(&composed::conv3x3)?.into_iter().zip(expected) {
            assert_eq!(found.dims(), expected.dims());
            let scale = expected.abs()?.max_all()?.to_scalar::<f32>()?;
            let error = (found - expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(error < 2e-5 * scale, "{n} {c_in} {c_out} {h} {w}: {error}");
        }
    }
    Ok(())
}

/// The first layer's input needs no gradient, and none is computed.
#[test]
fn composed_without_the_inputs_gradient() -> Result<()> {
    let x = random((3, 2, 4, 4), 1)?;
    let weight = Var::from_tensor(&random((8, 27), 2)?)?;
    let by = |f: &dyn Fn(&Tensor, &Tensor) -> Result<Tensor>| -> Result<Vec<f32>> {
        let grads = f(&x, &weight)?.sqr()?.sum_all()?.backward()?;
        let dw = grads.get(&weight).expect("a gradient").flatten_all()?;
        dw.to_vec1()
    };
    for (found, expected) in by(&composed::conv3x3)?.iter().zip(by(&conv3x3)?) {
        assert!((found - expected).abs() < 1e-3, "{found} {expected}");
    }
    Ok(())
}

#[test]
fn serial_equals_parallel() -> Result<()> {
    let shape = ConvShape {
        c_in: 6,
        c_out: 10,
        n: 3,
        h: 9,
        w: 7,
    };
    let x = random((6, 3, 9, 7), 5)?;
    let weight = random((10, 54), 6)?;
    let y = conv3x3(&x, &weight)?.flatten_all()?.to_vec1::<f32>()?;
    let mut serial = vec![0.0; y.len()];
    conv3x3_into(
        &x.flatten_all()?.to_vec1::<f32>()?,
        &weight.flatten_all()?.to_vec1::<f32>()?,
        shape,
        &mut serial,
    );
    for (a, b) in y.iter().zip(&serial) {
        assert!((a - b).abs() < 1e-4);
    }
    Ok(())
}

#[test]
fn does_not_depend_on_the_thread_count() -> Result<()> {
    let run = |threads: usize, channels: usize, map: usize| -> Result<Vec<f32>> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("thread pool");
        pool.install(|| {
            let x = random((channels, 16, map, map), 7)?;
            let weight = Var::from_tensor(&random((channels, channels * 9), 8)?)?;
            let y = conv3x3(&x, &weight)?;
            let grads = (&y * &y)?.sum_all()?.backward()?;
            grads
                .get(&weight)
                .expect("gradient")
                .flatten_all()?
                .to_vec1::<f32>()
        })
    };
    for (channels, map) in [(8, 12), (40, 12), (24, 2)] {
        assert_eq!(run(1, channels, map)?, run(5, channels, map)?);
    }
    Ok(())
}

/// The worst difference, as a share of the largest value.
#[cfg(target_arch = "x86_64")]
fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0f32, f32::max) / scale
}

#[cfg(target_arch = "x86_64")]
#[test]
fn fast_kernels_equal_the_portable_ones() -> Result<()> {
    if !std::arch::is_x86_feature_detected!("avx512vl") {
        eprintln!("SKIPPED: this processor has no AVX-512");
        return Ok(());
    }
    let shapes = [
        (2, 3, 8, 32, 32),
        (19, 5, 13, 8, 8),
        (33, 37, 3, 5, 7),
        (3, 24, 37, 9, 7),
        (70, 33, 64, 4, 4),
        (9, 33, 64, 5, 32),
        (1, 24, 24, 14, 14),
        (17, 9, 13, 2, 2),
        (30, 16, 50, 1, 2),
        (8, 40, 100, 1, 1),
    ];
    for (n, c_in, c_out, h, w) in shapes {
        let s = ConvShape {
            c_in,
            c_out,
            n,
            h,
            w,
        };
        let values = |shape: (usize, usize), seed| random(shape, seed)?.flatten_all()?.to_vec1();
        let x: Vec<f32> = values((c_in, s.plane()), 1)?;
        let dy: Vec<f32> = values((c_out, s.plane()), 2)?;
        let weight: Vec<f32> = values((c_out, c_in * 9), 3)?;
        let y = gemm::forward(&x, &weight, s);
        let back = s.transposed();
        let dx = gemm::forward(&dy, &kernels::turned(&weight, back), back);
        let dw = gemm::weight_gradient(&x, &dy, s);

        let mut serial = vec![0.0; y.len()];
        kernels::forward_serial(&x, &weight, s, &mut serial);
        let mut errors = vec![
            worst(&serial, &y),
            worst(&kernels::forward(&x, &weight, s, Direction::Forward), &y),
            worst(
                &kernels::forward(&dy, &weight, back, Direction::Backward),
                &dx,
            ),
            worst(&kernels::weight_gradient(&x, &dy, s), &dw),
        ];
        if direct::fits(s) {
            errors.push(worst(&direct::forward(&x, &weight, s), &y));
            errors.push(worst(&direct::weight_gradient(&x, &dy, s), &dw));
        }
        assert!(errors.iter().all(|e| *e < 2e-5), "{s:?}: {errors:?}");
    }
    Ok(())
}

#[test]
fn wrong_shapes_are_refused() -> Result<()> {
    let x = Tensor::zeros((3, 1, 4, 4), candle_core::DType::F32, &Device::Cpu)?;
    let weight = Tensor::zeros((8, 36), candle_core::DType::F32, &Device::Cpu)?;
    let error = conv3x3(&x, &weight)
        .expect_err("must be refused")
        .to_string();
    assert!(error.contains("3 channels"), "{error}");
    Ok(())
}

/// Best of a few runs, in billions of multiplications and additions a second.
#[cfg(target_arch = "x86_64")]
fn speed(s: ConvShape, run: impl Fn()) -> f64 {
    let seconds = (0..7).map(|_| {
        let start = std::time::Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    2e-9 * (s.c_out * s.c_in * 9 * s.plane()) as f64 / seconds.fold(f64::MAX, f64::min)
}

/// Prints what each kernel does in a second on VGG's layers, the products that it saves
/// counted as if they were done.
#[cfg(target_arch = "x86_64")]
#[test]
#[ignore = "measures; cargo test -p host --lib speed_of_the_kernels -- --ignored --nocapture"]
fn speed_of_the_kernels() -> Result<()> {
    if !std::arch::is_x86_feature_detected!("avx512vl") {
        eprintln!("SKIPPED: this processor has no AVX-512");
        return Ok(());
    }
    println!("batch 128     forward: columns  direct    fast   gradient: columns  direct    fast");
    let layers = [
        (16, 16, 32),
        (32, 32, 32),
        (64, 64, 32),
        (64, 128, 16),
        (128, 128, 16),
        (128, 256, 8),
        (256, 256, 8),
        (256, 512, 4),
        (512, 512, 4),
        (512, 512, 2),
        (48, 40, 16),
        (96, 104, 8),
    ];
    for (c_in, c_out, map) in layers {
        let s = ConvShape {
            c_in,
            c_out,
            n: 128,
            h: map,
            w: map,
        };
        let values = |n, seed| random((n, 1), seed)?.flatten_all()?.to_vec1();
        let x: Vec<f32> = values(c_in * s.plane(), 1)?;
        let dy: Vec<f32> = values(c_out * s.plane(), 2)?;
        let weight: Vec<f32> = values(c_out * c_in * 9, 3)?;
        let forward = Direction::Forward;
        let speeds = [
            speed(s, || drop(gemm::forward(&x, &weight, s))),
            speed(s, || drop(direct::forward(&x, &weight, s))),
            speed(s, || drop(kernels::forward(&x, &weight, s, forward))),
            speed(s, || drop(gemm::weight_gradient(&x, &dy, s))),
            speed(s, || drop(direct::weight_gradient(&x, &dy, s))),
            speed(s, || drop(kernels::weight_gradient(&x, &dy, s))),
        ];
        println!("{c_in:3} to {c_out:3}, {map:2}x{map:2}  {speeds:8.0?} GFLOP/s");
    }
    Ok(())
}
