//! Pressboard's host side: from a trained VGG and images to verified firmware.
//!
//! Data flows one way: [`data`] and [`vgg`] → search ([`prune`], [`quant`], driven by
//! [`agent`] and scored by [`reward`]) → [`lower`] → blob (→ [`sign`]) → [`board`] → [`report`].
//! A module knows the ones before it, never the ones after.

pub mod agent;
pub mod board;
pub mod cli;
pub mod compress;
pub mod data;
pub mod lower;
pub mod nn;
pub mod prune;
pub mod quant;
pub mod report;
pub mod reward;
pub mod run;
pub mod search;
pub mod sign;
pub mod vgg;
