// SPDX-License-Identifier: GPL-2.0-or-later
//! A QEMU TCG plugin that counts instructions and model cycles between two functions of
//! the firmware and writes each interval to a socket.
//!
//! Arguments, after the path of the library:
//! - `begin=HEX`, `end=HEX`: addresses of the marker functions
//! - `out=PATH`: a unix socket that somebody listens on
//! - `flash=BASE:SIZE:ICACHE:DCACHE` (hexadecimal, hexadecimal, decimal, decimal): turns
//!   the flash model on, which needs a callback on every load and is much slower
//!
//! Each interval is a record of four little-endian 64-bit numbers: instructions,
//! zero-wait cycles, instruction misses, data misses (both `u64::MAX` without the flash
//! model). It is written before the core goes on behind the end marker, so that whoever
//! waits for the firmware's reply finds it there.

mod api;
mod arguments;

use api::{Id, Insn, TranslationBlock};
use arguments::Arguments;
use cycle_model::{Block, Instr, Interval, Meter};
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::io::Write;
use std::os::unix::net::UnixStream;

/// The version of QEMU's plugin interface that this is written for (QEMU 4.2 to 8.x).
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 1;

/// What the callbacks share. One core runs, so they never run at the same time.
struct Counter {
    meter: Meter,
    arguments: Arguments,
    out: UnixStream,
    /// Between the markers; loads elsewhere need not be looked at.
    inside: bool,
}

/// A translated block, and where to count it.
struct Translated {
    block: Block,
    mark: Mark,
    counter: *mut Counter,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    None,
    Begin,
    End,
}

/// The counter, for the translation callback, which takes no argument of ours.
static COUNTER: std::sync::atomic::AtomicPtr<Counter> =
    std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());

impl Counter {
    fn mark(&mut self, mark: Mark, pc: u32) {
        match mark {
            Mark::None => {}
            Mark::Begin => {
                self.meter.begin(pc);
                self.inside = true;
            }
            Mark::End => {
                let interval = self.meter.end(pc);
                self.inside = false;
                self.report(&interval);
            }
        }
    }

    fn report(&mut self, interval: &Interval) {
        let misses = interval
            .misses
            .map_or([u64::MAX; 2], |m| [m.instruction, m.data]);
        let mut record = [0; 32];
        let values = [interval.instructions, interval.cycles, misses[0], misses[1]];
        for (to, value) in record.chunks_exact_mut(8).zip(values) {
            to.copy_from_slice(&value.to_le_bytes());
        }
        // A host that is gone takes no record; QEMU ends with it.
        let _ = self.out.write_all(&record);
    }
}

extern "C" fn translate(_: Id, tb: *mut TranslationBlock) {
    let counter = COUNTER.load(std::sync::atomic::Ordering::Relaxed);
    // SAFETY: set once before this callback was registered and never freed; QEMU calls
    // with a block that is valid during the call, and runs one core.
    let (arguments, block) = unsafe { (&(*counter).arguments, decode(tb)) };
    let Some(block) = block else { return };
    let mark = match block.start {
        start if start == arguments.begin => Mark::Begin,
        start if start == arguments.end => Mark::End,
        _ => Mark::None,
    };
    // Never freed: QEMU may execute the block until the process ends.
    let translated = Box::leak(Box::new(Translated {
        block,
        mark,
        counter,
    }));
    let flash = arguments.flash.is_some();
    // SAFETY: `tb` is valid during this call, the user data lives on.
    unsafe {
        api::qemu_plugin_register_vcpu_tb_exec_cb(
            tb,
            execute,
            0,
            std::ptr::from_mut(translated).cast(),
        );
        if flash {
            for index in 0..api::qemu_plugin_tb_n_insns(tb) {
                let insn = api::qemu_plugin_tb_get_insn(tb, index);
                api::qemu_plugin_register_vcpu_mem_cb(
                    insn,
                    read,
                    0,
                    api::MEMORY_BOTH,
                    counter.cast(),
                );
            }
        }
    }
}

/// Sums up a block that QEMU is translating.
///
/// # Safety
/// `tb` must be the block of the translation callback that is running.
unsafe fn decode(tb: *mut TranslationBlock) -> Option<Block> {
    // SAFETY: as the caller guarantees.
    let (count, start) = unsafe {
        (
            api::qemu_plugin_tb_n_insns(tb),
            api::qemu_plugin_tb_vaddr(tb) as u32,
        )
    };
    let mut block: Option<Block> = None;
    for index in 0..count {
        // SAFETY: the index is below the count.
        let instr = unsafe { instruction(api::qemu_plugin_tb_get_insn(tb, index)) };
        match &mut block {
            None => block = Some(Block::new(start, instr)),
            Some(block) => block.push(instr),
        }
    }
    block
}

/// Decodes an instruction from its bytes. Its size is taken from the first halfword: QEMU
/// 7.2 states a wrong one where the next instruction crosses a page.
///
/// # Safety
/// `insn` must be an instruction of the block being translated.
unsafe fn instruction(insn: *const Insn) -> Instr {
    // SAFETY: the data holds the whole instruction, two or four bytes.
    unsafe {
        let halfwords = api::qemu_plugin_insn_data(insn).cast::<u16>();
        let first = halfwords.read_unaligned();
        let second = if Instr::is_wide(first) {
            halfwords.add(1).read_unaligned()
        } else {
            0
        };
        Instr::decode(first, second)
    }
}

extern "C" fn execute(_: c_uint, translated: *mut c_void) {
    // SAFETY: the user data of this callback is a leaked `Translated`, whose counter is
    // never freed and used by one core only.
    unsafe {
        let translated = &*translated.cast::<Translated>();
        let counter = &mut *translated.counter;
        if translated.mark != Mark::None {
            counter.mark(translated.mark, translated.block.start);
        }
        counter.meter.run_block(&translated.block);
    }
}

extern "C" fn read(_: c_uint, info: u32, address: u64, counter: *mut c_void) {
    // SAFETY: as in `execute`; `info` is this access's.
    unsafe {
        let counter = &mut *counter.cast::<Counter>();
        if counter.inside && !api::qemu_plugin_mem_is_store(info) {
            counter
                .meter
                .read(address as u32, 1 << api::qemu_plugin_mem_size_shift(info));
        }
    }
}

/// Called by QEMU when it loads the plugin. Returns 0, or 1 after saying on standard error
/// what is wrong.
///
/// # Safety
/// `argv` must hold `argc` C strings, as QEMU guarantees.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: Id,
    _info: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: QEMU passes `argc` valid strings.
    let arguments = unsafe { Arguments::parse(argc, argv) };
    let counter = arguments.and_then(|arguments| {
        let out =
            UnixStream::connect(&arguments.out).map_err(|e| format!("{}: {e}", arguments.out))?;
        Ok(Counter {
            meter: Meter::new(arguments.flash),
            arguments,
            out,
            inside: false,
        })
    });
    match counter {
        Ok(counter) => {
            let counter = Box::into_raw(Box::new(counter));
            COUNTER.store(counter, std::sync::atomic::Ordering::Relaxed);
            // SAFETY: `id` is ours, the callback has the right signature.
            unsafe { api::qemu_plugin_register_vcpu_tb_trans_cb(id, translate) };
            0
        }
        Err(error) => {
            eprintln!("pressboard plugin: {error}");
            1
        }
    }
}
