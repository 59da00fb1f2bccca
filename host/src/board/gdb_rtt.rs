//! Frames through the firmware's RTT buffers, by a gdb stub's access to memory: what a debug
//! probe does, for an emulator whose serial port takes a tenth of a millisecond a byte.

use super::gdb::Gdb;
use std::io;
use std::time::{Duration, Instant};

/// Where the control block's channels begin, after its name and two counts.
const CHANNELS: usize = 24;
/// Bytes of a channel's descriptor: name, buffer, size, write, read, flags.
const CHANNEL: usize = 24;
/// Where a descriptor has its write and read offsets.
const WRITE: u32 = 12;
const READ: u32 = 16;
/// The up channel of replies, the down channel of requests.
const REPLIES: usize = 1;
const REQUESTS: usize = 0;
/// How long the firmware may take nothing of a full buffer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pauses between two looks for a reply: each halts the core for a moment.
const PAUSES: (Duration, Duration) = (Duration::from_micros(500), Duration::from_millis(8));

/// The buffers, and the core that they belong to, which runs between calls.
pub(super) struct GdbRtt {
    gdb: Gdb,
    /// Address of the control block.
    block: u32,
    pause: Duration,
}

/// One channel as its descriptor says.
struct Channel {
    /// Address of the descriptor.
    at: u32,
    buffer: u32,
    size: u32,
    write: u32,
    read: u32,
}

impl GdbRtt {
    /// Uses the control block at `block` of the core that `gdb` has halted; lets it run.
    pub(super) fn new(mut gdb: Gdb, block: u32) -> io::Result<Self> {
        gdb.resume()?;
        Ok(Self {
            gdb,
            block,
            pause: PAUSES.0,
        })
    }

    /// Sends all of `bytes`.
    pub(super) fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut progress = Instant::now();
        self.pause = PAUSES.0;
        while !bytes.is_empty() {
            let sent = self.halted(|rtt| rtt.fill(bytes))?;
            bytes = &bytes[sent..];
            if sent > 0 {
                progress = Instant::now();
            } else if progress.elapsed() > PATIENCE {
                return Err(io::Error::other("the firmware takes nothing over RTT"));
            }
        }
        Ok(())
    }

    /// Appends what has come to `bytes`, after a pause that grows as long as nothing comes.
    pub(super) fn receive(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        std::thread::sleep(self.pause);
        let came = self.halted(Self::drain)?;
        self.pause = if came.is_empty() {
            (2 * self.pause).min(PAUSES.1)
        } else {
            PAUSES.0
        };
        bytes.extend(came);
        Ok(())
    }

    /// Does something with the core halted.
    fn halted<T>(&mut self, act: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        self.gdb.halt()?;
        let result = act(self)?;
        self.gdb.resume()?;
        Ok(result)
    }

    /// Puts as much of `bytes` into the buffer of requests as is free there.
    fn fill(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let ups = self.words(self.block + 16, 1)?[0] as usize;
        let mut channel = self.channel(ups + REQUESTS)?;
        // One byte stays free: equal offsets mean empty.
        let free = (channel.read + channel.size - channel.write - 1) % channel.size;
        let sent = bytes.len().min(free as usize);
        let to_end = ((channel.size - channel.write) as usize).min(sent);
        let (first, second) = bytes[..sent].split_at(to_end);
        self.gdb.write(channel.buffer + channel.write, first)?;
        self.gdb.write(channel.buffer, second)?;
        channel.write = (channel.write + sent as u32) % channel.size;
        self.gdb
            .write(channel.at + WRITE, &channel.write.to_le_bytes())?;
        Ok(sent)
    }

    /// Takes what the buffer of replies holds.
    fn drain(&mut self) -> io::Result<Vec<u8>> {
        let channel = self.channel(REPLIES)?;
        let (read, write) = (channel.read, channel.write);
        if read == write {
            return Ok(Vec::new());
        }
        let until = if write > read { write } else { channel.size };
        let mut bytes = self
            .gdb
            .read(channel.buffer + read, (until - read) as usize)?;
        if write < read {
            bytes.extend(self.gdb.read(channel.buffer, write as usize)?);
        }
        self.gdb.write(channel.at + READ, &write.to_le_bytes())?;
        Ok(bytes)
    }

    fn channel(&mut self, index: usize) -> io::Result<Channel> {
        let at = self.block + (CHANNELS + index * CHANNEL) as u32;
        let words = self.words(at + 4, 4)?;
        let channel = Channel {
            at,
            buffer: words[0],
            size: words[1],
            write: words[2],
            read: words[3],
        };
        if channel.size == 0 || channel.write.max(channel.read) >= channel.size {
            return Err(io::Error::other("the firmware's RTT buffers are damaged"));
        }
        Ok(channel)
    }

    fn words(&mut self, at: u32, count: usize) -> io::Result<Vec<u32>> {
        let bytes = self.gdb.read(at, 4 * count)?;
        let words = bytes.as_chunks::<4>().0.iter();
        Ok(words.map(|word| u32::from_le_bytes(*word)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::gdb::tests::stub;
    use super::*;
    use std::os::unix::net::UnixStream;

    const BASE: u32 = 0x100;
    /// Where the descriptors of the reply and the request channel lie, after that of the log.
    const UP: usize = CHANNELS + CHANNEL;
    const DOWN: usize = CHANNELS + 2 * CHANNEL;

    fn word(memory: &[u8], at: usize) -> usize {
        u32::from_le_bytes(memory[at..][..4].try_into().unwrap()) as usize
    }

    fn set(memory: &mut [u8], at: usize, value: usize) {
        memory[at..][..4].copy_from_slice(&(value as u32).to_le_bytes());
    }

    /// Two up channels and one down channel; reply and request buffers of 16 and 8 bytes.
    fn memory() -> Vec<u8> {
        let mut memory = vec![0; 4096];
        set(&mut memory, 16, 2);
        set(&mut memory, 20, 1);
        for (descriptor, buffer, size) in [(UP, 0x300, 16), (DOWN, 0x400, 8)] {
            set(&mut memory, descriptor + 4, BASE as usize + buffer);
            set(&mut memory, descriptor + 8, size);
        }
        memory
    }

    /// Firmware that answers each byte with the byte plus one, three a turn.
    fn echo(memory: &mut [u8]) {
        for _ in 0..3 {
            let (write, read) = (word(memory, DOWN + 12), word(memory, DOWN + 16));
            if write == read {
                return;
            }
            let byte = memory[0x400 + read];
            set(memory, DOWN + 16, (read + 1) % 8);
            let write = word(memory, UP + 12);
            memory[0x300 + write] = byte + 1;
            set(memory, UP + 12, (write + 1) % 16);
        }
    }

    #[test]
    fn bytes_go_round_both_buffers_in_order() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stub = std::thread::spawn(move || stub(theirs, memory(), echo));
        let mut rtt = GdbRtt::new(Gdb::new(ours).unwrap(), BASE).unwrap();
        let mut received = Vec::new();
        for round in 0..9u8 {
            let bytes: Vec<u8> = (0..11).map(|i| 11 * round + i).collect();
            rtt.send(&bytes).unwrap();
            while received.len() < 11 * (usize::from(round) + 1) {
                rtt.receive(&mut received).unwrap();
            }
        }
        assert_eq!(received, (1..100).collect::<Vec<u8>>());
        drop(rtt);
        stub.join().unwrap();
    }

    #[test]
    fn buffers_that_cannot_be_are_refused() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut broken = memory();
        set(&mut broken, DOWN + 12, 8);
        let stub = std::thread::spawn(move || stub(theirs, broken, |_| {}));
        let mut rtt = GdbRtt::new(Gdb::new(ours).unwrap(), BASE).unwrap();
        let error = rtt.send(&[1]).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        drop(rtt);
        stub.join().unwrap();
    }
}
