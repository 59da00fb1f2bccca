//! A client of a gdb stub, as far as a debugger's memory access needs it: halt, read, write,
//! resume. See "The GDB Remote Serial Protocol" in GDB's manual.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long the stub may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of memory in one packet; stubs take at least 4,096 characters, two a byte.
const CHUNK: usize = 1024;
/// What a debugger's Ctrl-C sends.
const INTERRUPT: u8 = 0x03;

/// A connection to a stub; connecting halts the core.
pub(super) struct Gdb {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Gdb {
    /// Takes over a stub that listens at the other end of `stream`.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut gdb = Self {
            stream,
            received: Vec::new(),
        };
        gdb.ask("?")?;
        Ok(gdb)
    }

    /// Halts the running core.
    pub(super) fn halt(&mut self) -> io::Result<()> {
        self.stream.write_all(&[INTERRUPT])?;
        let reply = self.packet()?;
        match reply.as_bytes().first() {
            Some(b'T' | b'S') => Ok(()),
            _ => Err(unexpected("a halt", &reply)),
        }
    }

    /// Lets the halted core run.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        self.send("c")
    }

    /// Reads `len` bytes from `address` on; the core is halted.
    pub(super) fn read(&mut self, address: u32, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let part = CHUNK.min(len - bytes.len());
            let reply = self.ask(&format!("m{:x},{part:x}", address as usize + bytes.len()))?;
            let read = from_hex(&reply).filter(|read| read.len() == part);
            bytes.extend(read.ok_or_else(|| unexpected("a read", &reply))?);
        }
        Ok(bytes)
    }

    /// Writes `bytes` from `address` on; the core is halted.
    pub(super) fn write(&mut self, address: u32, bytes: &[u8]) -> io::Result<()> {
        for (i, part) in bytes.chunks(CHUNK).enumerate() {
            let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
            let to = address as usize + i * CHUNK;
            let reply = self.ask(&format!("M{to:x},{:x}:{hex}", part.len()))?;
            if reply != "OK" {
                return Err(unexpected("a write", &reply));
            }
        }
        Ok(())
    }

    fn ask(&mut self, command: &str) -> io::Result<String> {
        self.send(command)?;
        self.packet()
    }

    /// Sends a packet and waits until the stub has acknowledged it.
    fn send(&mut self, command: &str) -> io::Result<()> {
        let packet = format!("${command}#{:02x}", checksum(command.as_bytes()));
        self.stream.write_all(packet.as_bytes())?;
        loop {
            match self.byte()? {
                b'+' => return Ok(()),
                // Connecting halts the core, which the stub reports unasked.
                b'$' => drop(self.rest_of_packet()?),
                other => {
                    let other = char::from(other).escape_default().to_string();
                    return Err(unexpected("a packet", &other));
                }
            };
        }
    }

    /// The next packet, acknowledged.
    fn packet(&mut self) -> io::Result<String> {
        while self.byte()? != b'$' {}
        self.rest_of_packet()
    }

    fn rest_of_packet(&mut self) -> io::Result<String> {
        let mut text = Vec::new();
        loop {
            match self.byte()? {
                b'#' => break,
                byte => text.push(byte),
            }
        }
        let stated = [self.byte()?, self.byte()?];
        let text = String::from_utf8_lossy(&text).into_owned();
        if stated != *format!("{:02x}", checksum(text.as_bytes())).as_bytes() {
            return Err(unexpected("a command: a wrong checksum", &text));
        }
        self.stream.write_all(b"+")?;
        Ok(text)
    }

    fn byte(&mut self) -> io::Result<u8> {
        while self.received.is_empty() {
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                // Taken from the end, so kept the other way round.
                Ok(read) => self.received.extend(buffer[..read].iter().rev()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.received
            .pop()
            .ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }
}

fn checksum(text: &[u8]) -> u8 {
    text.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn unexpected(to: &str, reply: &str) -> io::Error {
    io::Error::other(format!("its gdb stub answered {reply:?} to {to}"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::thread;

    /// A stub with 4 KiB of memory from 0x100 on, that answers what the client sends and
    /// gives the memory back when the client has gone. While the core runs, `run` changes it.
    pub(in super::super) fn stub(
        mut stream: UnixStream,
        mut memory: Vec<u8>,
        mut run: impl FnMut(&mut [u8]),
    ) -> Vec<u8> {
        let (mut text, mut buffer) = (Vec::new(), [0; 1 << 14]);
        loop {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return memory,
                Ok(n) => text.extend_from_slice(&buffer[..n]),
            }
            text.retain(|b| *b != b'+');
            if text == [INTERRUPT] {
                text.clear();
                let sum = checksum(b"T02thread:01;");
                let halted = format!("$T02thread:01;#{sum:02x}");
                stream.write_all(halted.as_bytes()).unwrap();
            }
            let Some(end) = text.iter().position(|b| *b == b'#') else {
                continue;
            };
            if text.len() < end + 3 {
                continue;
            }
            let command = String::from_utf8(text[1..end].to_vec()).unwrap();
            text.clear();
            if command == "c" {
                run(&mut memory);
            }
            let reply = answer(&command, &mut memory);
            let reply = reply.map(|r| format!("${r}#{:02x}", checksum(r.as_bytes())));
            let reply = format!("+{}", reply.unwrap_or_default());
            stream.write_all(reply.as_bytes()).unwrap();
        }
    }

    fn answer(command: &str, memory: &mut [u8]) -> Option<String> {
        let place = |text: &str| -> (usize, usize) {
            let (at, len) = text.split_once(',').unwrap();
            let hex = |t| usize::from_str_radix(t, 16).unwrap();
            (hex(at) - 0x100, hex(len))
        };
        match command.split_at(1) {
            ("?", _) => Some("S05".into()),
            ("m", rest) => {
                let (at, len) = place(rest);
                Some(
                    memory[at..][..len]
                        .iter()
                        .map(|b| format!("{b:02x}"))
                        .collect(),
                )
            }
            ("M", rest) => {
                let (rest, hex) = rest.split_once(':').unwrap();
                let (at, len) = place(rest);
                memory[at..][..len].copy_from_slice(&from_hex(hex).unwrap());
                Some("OK".into())
            }
            ("c", _) => None,
            _ => Some(String::new()),
        }
    }

    #[test]
    fn memory_is_read_and_written_in_packets_that_stubs_take() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stub = thread::spawn(move || stub(theirs, vec![0; 4096], |_| {}));
        let mut gdb = Gdb::new(ours).unwrap();
        let bytes: Vec<u8> = (0..3000u32).map(|i| (i * 7) as u8).collect();
        gdb.write(0x180, &bytes).unwrap();
        assert_eq!(gdb.read(0x180, 3000).unwrap(), bytes);
        assert_eq!(gdb.read(0x17F, 1).unwrap(), [0]);
        gdb.resume().unwrap();
        gdb.halt().unwrap();
        drop(gdb);
        assert_eq!(stub.join().unwrap()[0x80..][..3000], bytes);
    }

    #[test]
    fn a_wrong_checksum_and_an_end_are_errors() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"+$S05#00").unwrap();
        let error = Gdb::new(ours).err().unwrap();
        assert!(error.to_string().contains("checksum"), "{error}");
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(Gdb::new(ours).is_err());
    }
}
