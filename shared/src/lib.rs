//! What host and firmware agree on: the blob, the integer semantics, the messages.
//!
//! `no_std`, no allocation. [`semantics`] says what every executor computes, [`spec`]
//! describes one layer, [`weights`], [`coding`] and [`act`] say how numbers lie in memory,
//! [`blob`] is the file that the board runs, [`envelope`] its signature, [`message`] is how host
//! and board talk, [`update`] how a network is replaced, [`bench`]
//! makes the data of a layer benchmark on both sides from one seed, [`pattern`] that of
//! tests at the edges.
//!
//! Nothing here knows a board, a network or a search.
#![no_std]
#![forbid(unsafe_code)]

pub mod act;
pub mod bench;
pub mod blob;
pub mod coding;
pub mod envelope;
pub mod index;
pub mod message;
pub mod narrow;
pub mod pattern;
pub mod semantics;
pub mod spec;
pub mod update;
pub mod weights;
pub mod winograd;

/// CRC-32 (ISO-HDLC, the one of zip and PNG), used by blobs, frames and build ids.
pub const CRC32: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
