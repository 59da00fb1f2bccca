//! Collecting a frame, in place, from whichever stream sends one.

use super::FrameBuffer;
use embedded_io::{Read, ReadReady};

/// Empty polls of a stream after which its unfinished frame is dropped where the other
/// stream waits: a broken cable must not block the other connection.
const PATIENCE: u32 = 1 << 16;

/// The one frame that is being received.
#[derive(Default)]
pub(super) struct Receiver {
    /// The stream that the frame comes from.
    owner: usize,
    /// Bytes so far; 0 where no stream owns the buffer.
    len: usize,
    /// The frame is too long: what follows up to its end is dropped.
    overflow: bool,
    idle: u32,
}

impl Receiver {
    /// Reads what `stream` has; returns a frame's length without its zero byte once whole.
    ///
    /// A frame that does not fit counts as one of its first bytes, and so is refused by
    /// its checksum.
    pub(super) fn read<S: Read + ReadReady>(
        &mut self,
        index: usize,
        stream: &mut S,
        buffer: &mut FrameBuffer,
    ) -> Option<usize> {
        if !matches!(stream.read_ready(), Ok(true)) {
            if index == self.owner {
                self.idle = self.idle.saturating_add(1);
            }
            return None;
        }
        if self.len > 0 && index != self.owner {
            if self.idle < PATIENCE {
                return None;
            }
            self.reset();
        }
        (self.owner, self.idle) = (index, 0);
        loop {
            let mut byte = [0];
            match stream.read(&mut byte) {
                Ok(1..) => {}
                _ => return None,
            }
            if byte == [0] {
                let len = self.len;
                self.reset();
                return Some(len);
            }
            match buffer.get_mut(self.len) {
                Some(slot) if !self.overflow => *slot = byte[0],
                _ => self.overflow = true,
            }
            self.len = self.len.saturating_add(1).min(buffer.len());
            if !matches!(stream.read_ready(), Ok(true)) {
                return None;
            }
        }
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}
