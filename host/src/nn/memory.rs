//! Memory that is not cleared before it is written.

use rayon::prelude::*;
#[cfg(target_arch = "x86_64")]
use std::cell::RefCell;
use std::mem::MaybeUninit;

#[cfg(target_arch = "x86_64")]
thread_local! {
    static BUFFERS: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A vector of `len` elements that `fill` writes, without clearing it first.
///
/// # Safety
/// `fill` must write every element.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn filled(len: usize, fill: impl FnOnce(*mut f32)) -> Vec<f32> {
    let mut v = Vec::with_capacity(len);
    fill(v.as_mut_ptr());
    // SAFETY: the capacity is there, and the caller's promise.
    unsafe { v.set_len(len) };
    v
}

/// A vector of `planes` planes, each written by `fill`, with what `fill` gives back for each:
/// by all threads, without clearing it first.
///
/// # Safety
/// `fill` must write every element of its plane.
pub(super) unsafe fn filled_planes<T: Send>(
    planes: usize,
    plane: usize,
    fill: impl Fn(usize, &mut [MaybeUninit<f32>]) -> T + Sync + Send,
) -> (Vec<f32>, Vec<T>) {
    let len = planes * plane;
    let mut v = Vec::with_capacity(len);
    let room = &mut v.spare_capacity_mut()[..len];
    let results = room
        .par_chunks_mut(plane.max(1))
        .enumerate()
        .map(|(i, plane)| fill(i, plane))
        .collect();
    // SAFETY: the capacity is there, and the caller's promise.
    unsafe { v.set_len(len) };
    (v, results)
}

/// A buffer that its thread uses again, so that a layer's megabytes are not mapped anew each
/// time: of at least `len` elements with whatever was in them before, given back when dropped.
#[cfg(target_arch = "x86_64")]
pub(super) struct Buffer(Vec<f32>);

#[cfg(target_arch = "x86_64")]
impl Buffer {
    /// Takes the longest buffer that the thread has at hand.
    pub(super) fn take(len: usize) -> Self {
        let mut buffer = BUFFERS.with_borrow_mut(|all| {
            let longest = (0..all.len()).max_by_key(|i| all[*i].len());
            longest.map(|i| all.swap_remove(i)).unwrap_or_default()
        });
        if buffer.len() < len {
            buffer = vec![0.0; len];
        }
        Self(buffer)
    }

    pub(super) fn as_ptr(&self) -> *const f32 {
        self.0.as_ptr()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.0.as_mut_ptr()
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // A thread that ends has no list any more, and needs none.
        let _ = BUFFERS.try_with(|all| all.borrow_mut().push(buffer));
    }
}
