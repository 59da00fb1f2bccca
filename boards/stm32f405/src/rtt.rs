//! RTT: defmt on up channel 0, replies on up channel 1, requests on down channel 0.

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};
use rtt_target::ChannelMode::{NoBlockSkip, NoBlockTrim};
use rtt_target::{DownChannel, UpChannel, rtt_init, set_defmt_channel};

/// Attempts to write into a full buffer before the reply is given up: about a second.
const PATIENCE: u32 = 1 << 22;

/// The stream of requests and replies.
pub struct Rtt {
    up: UpChannel,
    down: DownChannel,
    ahead: [u8; 64],
    next: usize,
    len: usize,
}

/// Sets the channels up, and defmt with them.
pub fn init() -> Rtt {
    let channels = rtt_init! {
        up: {
            0: { size: 512, mode: NoBlockSkip, name: "defmt" }
            1: { size: 1024, mode: NoBlockTrim, name: "reply" }
        }
        down: {
            0: { size: 1024, name: "request" }
        }
    };
    set_defmt_channel(channels.up.0);
    Rtt {
        up: channels.up.1,
        down: channels.down.0,
        ahead: [0; 64],
        next: 0,
        len: 0,
    }
}

impl ErrorType for Rtt {
    type Error = ErrorKind;
}

impl ReadReady for Rtt {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        if self.next == self.len {
            (self.next, self.len) = (0, self.down.read(&mut self.ahead));
        }
        Ok(self.next < self.len)
    }
}

impl Read for Rtt {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        while !self.read_ready()? {}
        let ahead = self.ahead.get(self.next..self.len).unwrap_or(&[]);
        let n = ahead.len().min(out.len());
        for (o, &b) in out.iter_mut().zip(ahead) {
            *o = b;
        }
        self.next += n;
        Ok(n)
    }
}

impl Write for Rtt {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        for _ in 0..PATIENCE {
            match self.up.write(bytes) {
                0 => {}
                n => return Ok(n),
            }
        }
        Err(ErrorKind::TimedOut)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
