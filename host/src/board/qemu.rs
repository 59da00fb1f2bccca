//! The same firmware on QEMU, with our plugin counting: the fast way for long work.
//!
//! Messages go over the machine's first serial port, a unix socket, except for those that are
//! too long for its tenth of a millisecond a byte: they go through RTT, whose buffers the gdb
//! stub reaches at a third socket. The plugin reports intervals over another. QEMU is stopped (SIGSTOP) while nothing is asked, because the
//! firmware never sleeps, and it is killed with the host, however that ends.

use super::gdb::Gdb;
use super::gdb_rtt::GdbRtt;
use super::link::Link;
use super::{BoardError, BoardSpec, Firmware, process::Child};
use cycle_model::{Interval, Misses};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The program.
pub(super) const QEMU: &str = "qemu-system-arm";
/// How long QEMU may take to open its sockets.
const START_UP: Duration = Duration::from_secs(20);
/// How long one look for bytes waits.
const READ_TIMEOUT: Duration = Duration::from_millis(20);
/// File of the gdb stub's socket.
const GDB_SOCKET: &str = "gdb";
/// Longer requests go through RTT.
const SERIAL_BYTES: usize = 256;
/// Bytes of one interval on the plugin's socket.
const RECORD_BYTES: usize = 32;

/// Whether QEMU is installed.
#[must_use]
pub fn is_installed() -> bool {
    let version = Command::new(QEMU)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// A connection to firmware that runs on QEMU.
pub(super) struct QemuLink {
    machine: String,
    plugin: PathBuf,
    firmware: Firmware,
    flash: super::spec::FlashSpec,
    blob_base: u32,
    /// Address of the firmware's RTT control block.
    control_block: u32,
    server: Option<Server>,
}

/// A running QEMU. The order of fields is the order in which they are dropped: the process
/// first, its files last.
struct Server {
    process: Child,
    serial: UnixStream,
    intervals: UnixStream,
    /// From the first long request on.
    rtt: Option<GdbRtt>,
    /// Whether the reply to the last request comes through RTT.
    through_rtt: bool,
    /// Bytes of a record that is not complete.
    record: Vec<u8>,
    folder: tempfile::TempDir,
}

impl QemuLink {
    /// Prepares; QEMU starts with [`Link::load`].
    pub(super) fn new(
        spec: &BoardSpec,
        firmware: Firmware,
        plugin: PathBuf,
    ) -> Result<Self, BoardError> {
        let machine = spec
            .emulated
            .as_ref()
            .and_then(|emulated| emulated.qemu.clone());
        let machine = machine.ok_or_else(|| {
            BoardError::Qemu(format!(
                "{} names no machine under [virtual]",
                spec.file().display()
            ))
        })?;
        Ok(Self {
            machine,
            plugin,
            flash: spec.flash,
            blob_base: spec.blob.base,
            control_block: firmware.rtt_control_block()?,
            firmware,
            server: None,
        })
    }

    /// What flash holds, from its first byte on: firmware and blob, erased in between.
    fn image(&self, blob: Option<&[u8]>) -> Vec<u8> {
        let mut image = Vec::new();
        let parts = self
            .firmware
            .sections
            .iter()
            .map(|(address, bytes)| (*address, &bytes[..]));
        for (address, bytes) in parts.chain(blob.map(|blob| (self.blob_base, blob))) {
            let start = (address - self.flash.base) as usize;
            if image.len() < start + bytes.len() {
                image.resize(start + bytes.len(), 0xFF);
            }
            image[start..start + bytes.len()].copy_from_slice(bytes);
        }
        image
    }

    fn start(&self, blob: Option<&[u8]>) -> Result<Server, BoardError> {
        let folder = tempfile::tempdir().map_err(io("creating a temporary folder"))?;
        let path = |name: &str| folder.path().join(name);
        let (image, serial, intervals) = (path("flash.bin"), path("serial"), path("intervals"));
        std::fs::write(&image, self.image(blob)).map_err(io("writing the flash image"))?;
        let listener = UnixListener::bind(&intervals).map_err(io("opening a socket"))?;
        listener
            .set_nonblocking(true)
            .map_err(io("opening a socket"))?;
        let messages = std::fs::File::create(path("stderr")).map_err(io("creating a file"))?;
        let mut command = Command::new(QEMU);
        command
            .args([
                "-M",
                &self.machine,
                "-display",
                "none",
                "-monitor",
                "none",
                "-kernel",
            ])
            .arg(&image);
        command
            .arg("-serial")
            .arg(format!("unix:{},server=on,wait=on", serial.display()));
        command.arg("-gdb").arg(format!(
            "unix:{},server=on,wait=off",
            path(GDB_SOCKET).display()
        ));
        command.arg("-plugin").arg(self.plugin_argument(&intervals));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(messages);
        let mut process = Child::spawn(command).map_err(io("starting"))?;
        let started = Instant::now();
        let mut wait = |doing: &str| -> Result<(), BoardError> {
            if process.has_ended() || started.elapsed() > START_UP {
                let said = std::fs::read_to_string(path("stderr")).unwrap_or_default();
                return Err(BoardError::Qemu(format!("{doing}: {}", said.trim())));
            }
            std::thread::sleep(Duration::from_millis(2));
            Ok(())
        };
        let serial = loop {
            match UnixStream::connect(&serial) {
                Ok(stream) => break stream,
                Err(_) => wait("it does not open its serial port")?,
            }
        };
        let intervals = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(_) => wait("it does not load the plugin")?,
            }
        };
        serial
            .set_read_timeout(Some(READ_TIMEOUT))
            .map_err(io("opening a socket"))?;
        intervals
            .set_nonblocking(true)
            .map_err(io("opening a socket"))?;
        Ok(Server {
            process,
            serial,
            intervals,
            rtt: None,
            through_rtt: false,
            record: Vec::new(),
            folder,
        })
    }

    fn plugin_argument(&self, intervals: &Path) -> String {
        let flash = &self.flash;
        format!(
            "{},begin={:x},end={:x},out={},flash={:x}:{:x}:{}:{}",
            self.plugin.display(),
            self.firmware.begin,
            self.firmware.end,
            intervals.display(),
            flash.base,
            flash.bytes,
            flash.icache_lines,
            flash.dcache_lines,
        )
    }

    fn server(&mut self) -> Result<&mut Server, BoardError> {
        self.server
            .as_mut()
            .ok_or_else(|| BoardError::Qemu("it was not started".into()))
    }
}

impl Link for QemuLink {
    fn load(&mut self, blob: Option<&[u8]>) -> Result<(), BoardError> {
        self.server = None;
        self.server = Some(self.start(blob)?);
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), BoardError> {
        let control_block = self.control_block;
        let server = self.server()?;
        server.process.resume();
        server.through_rtt = bytes.len() > SERIAL_BYTES;
        if server.through_rtt {
            let rtt = server.rtt(control_block).map_err(io("attaching to RTT"))?;
            return rtt.send(bytes).map_err(io("sending a request over RTT"));
        }
        server
            .serial
            .write_all(bytes)
            .map_err(io("sending a request"))
    }

    fn receive(&mut self, bytes: &mut Vec<u8>) -> Result<(), BoardError> {
        let server = self.server()?;
        if let (true, Some(rtt)) = (server.through_rtt, &mut server.rtt) {
            let received = rtt.receive(bytes);
            return received.map_err(|e| {
                BoardError::Qemu(format!(
                    "waiting for a reply over RTT: {e} {}",
                    server.said()
                ))
            });
        }
        let mut buffer = [0; 1024];
        match server.serial.read(&mut buffer) {
            Ok(0) => Err(BoardError::Qemu(format!("it ended: {}", server.said()))),
            Ok(read) => {
                bytes.extend_from_slice(&buffer[..read]);
                Ok(())
            }
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                Ok(())
            }
            Err(e) => Err(io("waiting for a reply")(e)),
        }
    }

    fn intervals(&mut self) -> Result<Vec<Interval>, BoardError> {
        let server = self.server()?;
        let mut buffer = [0; 4096];
        loop {
            match server.intervals.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => server.record.extend_from_slice(&buffer[..read]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(io("reading the plugin's intervals")(e)),
            }
        }
        let whole = server.record.len() / RECORD_BYTES * RECORD_BYTES;
        let records: Vec<u8> = server.record.drain(..whole).collect();
        Ok(records.chunks_exact(RECORD_BYTES).map(interval).collect())
    }

    fn rest(&mut self) {
        if let Some(server) = &mut self.server {
            server.process.pause();
        }
    }
}

impl Server {
    fn rtt(&mut self, control_block: u32) -> std::io::Result<&mut GdbRtt> {
        if self.rtt.is_none() {
            let stub = UnixStream::connect(self.folder.path().join(GDB_SOCKET))?;
            self.rtt = Some(GdbRtt::new(Gdb::new(stub)?, control_block)?);
        }
        let missing = || std::io::Error::other("no connection");
        self.rtt.as_mut().ok_or_else(missing)
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr"))
            .unwrap_or_default()
            .trim()
            .to_owned()
    }
}

/// Reads one of the plugin's records.
fn interval(record: &[u8]) -> Interval {
    let mut values = [0; 4];
    for (value, bytes) in values.iter_mut().zip(record.as_chunks::<8>().0) {
        *value = u64::from_le_bytes(*bytes);
    }
    let [instructions, cycles, instruction, data] = values;
    let misses = (instruction != u64::MAX).then_some(Misses { instruction, data });
    Interval {
        instructions,
        cycles,
        misses,
    }
}

fn io(doing: &str) -> impl Fn(std::io::Error) -> BoardError {
    move |error| BoardError::Qemu(format!("{doing}: {error}"))
}
