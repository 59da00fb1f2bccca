//! Memory that is not cleared before it is written.

use std::cell::RefCell;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A vector of `len` elements that `fill` writes, without clearing it first.
///
/// # Safety
/// `fill` must write every element.
pub(super) unsafe fn filled(len: usize, fill: impl FnOnce(*mut f32)) -> Vec<f32> {
    let mut v = Vec::with_capacity(len);
    fill(v.as_mut_ptr());
    // SAFETY: the capacity is there, and the caller's promise.
    unsafe { v.set_len(len) };
    v
}

/// A buffer that its thread uses again, so that a layer's megabytes are not mapped anew each
/// time: of `len` elements with whatever was in it before, given back when dropped.
pub(super) struct Buffer(Vec<f32>);

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

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // A thread that ends has no list any more, and needs none.
        let _ = BUFFERS.try_with(|all| all.borrow_mut().push(buffer));
    }
}
