// SPDX-License-Identifier: GPL-2.0-or-later
//! The part of QEMU's plugin interface, version 1, that is used here.

use std::ffi::{c_char, c_int, c_uint, c_void};

/// Identifies a loaded plugin.
pub type Id = u64;

/// A block being translated, known to QEMU only.
#[repr(C)]
pub struct TranslationBlock(());

/// An instruction of such a block.
#[repr(C)]
pub struct Insn(());

/// Memory callbacks on loads and stores. QEMU 7.2 takes loads for stores when asked for one
/// kind, so ask for both and look at each access.
pub const MEMORY_BOTH: c_int = 3;

/// Called once for each block before it first runs.
pub type TranslateCallback = extern "C" fn(Id, *mut TranslationBlock);
/// Called each time that a block is entered.
pub type ExecuteCallback = extern "C" fn(c_uint, *mut c_void);
/// Called at each access: core, kind of access, address, user data.
pub type MemoryCallback = extern "C" fn(c_uint, u32, u64, *mut c_void);

unsafe extern "C" {
    pub fn qemu_plugin_register_vcpu_tb_trans_cb(id: Id, callback: TranslateCallback);
    pub fn qemu_plugin_register_vcpu_tb_exec_cb(
        tb: *mut TranslationBlock,
        callback: ExecuteCallback,
        flags: c_int,
        data: *mut c_void,
    );
    pub fn qemu_plugin_register_vcpu_mem_cb(
        insn: *mut Insn,
        callback: MemoryCallback,
        flags: c_int,
        reads_or_writes: c_int,
        data: *mut c_void,
    );
    pub fn qemu_plugin_tb_n_insns(tb: *const TranslationBlock) -> usize;
    pub fn qemu_plugin_tb_vaddr(tb: *const TranslationBlock) -> u64;
    pub fn qemu_plugin_tb_get_insn(tb: *const TranslationBlock, index: usize) -> *mut Insn;
    pub fn qemu_plugin_insn_data(insn: *const Insn) -> *const u8;
    pub fn qemu_plugin_mem_is_store(info: u32) -> bool;
    pub fn qemu_plugin_mem_size_shift(info: u32) -> c_uint;
}

/// What `qemu_plugin_install` takes as one argument.
pub type Argument = *const c_char;
