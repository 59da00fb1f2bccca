//! The inference engine that runs on the board, and on the host as the definition.
//!
//! Two layers. [`engine`] and [`kernels`] are what others use in their own firmware: a
//! checked blob and a buffer in, logits out; no heap, no recursion, errors as values.
//! [`app`] is the message loop of Pressboard's own firmware, generic over a board's parts.
//! [`mod@bench`] runs single layers on seeded data, [`reference`] says once more, naively and
//! slowly, what every kernel must compute; tests hold the kernels against it. By feature,
//! `signature` lets only signed networks run, and `update` replaces them on a device so that
//! no cut of power leaves it without one.
//!
//! Kernels work on 16-bit lanes. With the feature `dsp` on an ARMv7E-M core the inner
//! loops are assembly, else their portable twins run; all else is the same code.
#![no_std]

pub mod app;
pub mod bench;
pub mod engine;
pub mod kernels;
pub mod reference;
#[cfg(feature = "signed")]
pub mod signature;
#[cfg(any(feature = "signed", feature = "update"))]
pub mod update;
