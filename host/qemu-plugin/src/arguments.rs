// SPDX-License-Identifier: GPL-2.0-or-later
//! The plugin's arguments.

use crate::api::Argument;
use cycle_model::FlashGeometry;
use std::ffi::{CStr, c_int};

/// What the plugin was told to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Address of the begin marker.
    pub begin: u32,
    /// Address of the end marker.
    pub end: u32,
    /// Path of the socket that takes the intervals.
    pub out: String,
    /// The flash to model, if any.
    pub flash: Option<FlashGeometry>,
}

impl Arguments {
    /// Reads the arguments that QEMU passes.
    ///
    /// # Safety
    /// `argv` must hold `argc` C strings.
    pub unsafe fn parse(argc: c_int, argv: *const Argument) -> Result<Self, String> {
        let texts = (0..usize::try_from(argc).unwrap_or(0)).map(|i| {
            // SAFETY: as the caller guarantees.
            unsafe { CStr::from_ptr(*argv.add(i)) }
                .to_string_lossy()
                .into_owned()
        });
        Self::from_texts(texts)
    }

    fn from_texts(texts: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut begin, mut end, mut out, mut flash) = (None, None, None, None);
        for text in texts {
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| format!("`{text}` is not key=value"))?;
            match key {
                "begin" => begin = Some(hexadecimal(value)? & !1),
                "end" => end = Some(hexadecimal(value)? & !1),
                "out" => out = Some(value.to_owned()),
                "flash" => flash = Some(geometry(value)?),
                _ => return Err(format!("unknown argument `{key}`")),
            }
        }
        Ok(Self {
            begin: begin.ok_or("begin= is missing")?,
            end: end.ok_or("end= is missing")?,
            out: out.ok_or("out= is missing")?,
            flash,
        })
    }
}

fn hexadecimal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text.trim_start_matches("0x"), 16).map_err(|e| format!("`{text}`: {e}"))
}

fn geometry(text: &str) -> Result<FlashGeometry, String> {
    let fields: Vec<&str> = text.split(':').collect();
    let [base, size, icache, dcache] = fields[..] else {
        return Err(format!("flash=`{text}` is not BASE:SIZE:ICACHE:DCACHE"));
    };
    let lines = |text: &str| text.parse().map_err(|e| format!("`{text}`: {e}"));
    Ok(FlashGeometry {
        base: hexadecimal(base)?,
        size: hexadecimal(size)?,
        icache_lines: lines(icache)?,
        dcache_lines: lines(dcache)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Arguments, String> {
        Arguments::from_texts(text.split(' ').map(str::to_owned))
    }

    #[test]
    fn all_arguments_are_read() {
        let flash = FlashGeometry {
            base: 0x0800_0000,
            size: 0x10_0000,
            icache_lines: 64,
            dcache_lines: 8,
        };
        assert_eq!(
            parse("begin=0x8000101 end=8000201 out=/tmp/a flash=8000000:100000:64:8"),
            Ok(Arguments {
                begin: 0x0800_0100,
                end: 0x0800_0200,
                out: "/tmp/a".into(),
                flash: Some(flash)
            })
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("begin=1 end=2", "out= is missing"),
            ("begin=x end=2 out=a", "`x`"),
            ("begin", "key=value"),
            ("size=3", "unknown argument `size`"),
            ("flash=1:2:3", "BASE:SIZE"),
        ] {
            assert!(parse(text).unwrap_err().contains(part), "{text}");
        }
    }
}
