//! Replacing the network of a device that runs, message by message.

use super::BoardError;
use super::device::Device;
use super::link::Link;
use firmware::update::self_test_crc32 as run_self_test;
use shared::blob::Blob;
use shared::message::{DeviceError, Reply, Request};
use shared::update::{MAX_WRITE, Status, UpdateError, UpdateReply, UpdateRequest};

/// How often a request is repeated whose answer came damaged: each says all of itself, so
/// that a device which carried it out already only says so again.
const ATTEMPTS: usize = 4;
/// What an arena is aligned to.
const ALIGN: usize = 4;

/// What the self-test of `blob` must give, by the portable kernels.
///
/// # Errors
/// Where the network does not run: a stream of its weights is damaged.
pub fn self_test_crc32(blob: &Blob) -> Result<u32, firmware::engine::EngineError> {
    let mut memory = vec![0u8; blob.header().arena_bytes as usize + ALIGN];
    let start = memory.as_ptr().align_offset(ALIGN);
    run_self_test(*blob, memory.get_mut(start..).unwrap_or_default())
}

impl<L: Link> Device<L> {
    pub(super) fn slots_now(&mut self) -> Result<Status, BoardError> {
        self.ensure_loaded()?;
        match self.say(UpdateRequest::Status)? {
            UpdateReply::Status(status) => Ok(status),
            other => Err(self.strange(other)),
        }
    }

    pub(super) fn replace(&mut self, network: &[u8], self_test: u32) -> Result<Status, BoardError> {
        self.check_size(network)?;
        self.ensure_loaded()?;
        // From here on the device knows better than we what a restart must find.
        self.blob = None;
        let replaced = self.replace_now(network, self_test);
        self.loaded = replaced.is_ok();
        replaced
    }

    fn replace_now(&mut self, network: &[u8], self_test: u32) -> Result<Status, BoardError> {
        let length = network.len() as u32;
        self.say(UpdateRequest::Begin { length, self_test })?;
        for (n, bytes) in network.chunks(MAX_WRITE).enumerate() {
            let offset = (n * MAX_WRITE) as u32;
            let next = UpdateReply::Next(offset + bytes.len() as u32);
            match self.say(UpdateRequest::Write { offset, bytes })? {
                reply if reply == next => {}
                other => return Err(self.strange(other)),
            }
        }
        let before = self.slots_now()?.running;
        match self.say(UpdateRequest::Finish) {
            Ok(UpdateReply::Running(_)) => {}
            Ok(other) => return Err(self.strange(other)),
            // The answer to the first `Finish` was lost, and the device had done its work.
            Err(error) if is_repeated(&error) && self.slots_now()?.running != before => {}
            Err(error) => return Err(error),
        }
        self.slots_now()
    }

    /// Asks, and asks again where the answer came damaged.
    fn say(&mut self, request: UpdateRequest) -> Result<UpdateReply, BoardError> {
        let request = Request::Update(request);
        let mut attempt = 1;
        loop {
            match self.ask_running(&request) {
                Ok(Reply::Update(reply)) => return Ok(reply),
                // The request came damaged; firmware without slots knows none such.
                Ok(Reply::Error(DeviceError::BadFrame)) if attempt < ATTEMPTS => {}
                Err(BoardError::Frame { .. }) if attempt < ATTEMPTS => {}
                Ok(Reply::Error(error)) => return Err(self.refused("update", error)),
                Ok(other) => return Err(self.unexpected("update", &other)),
                Err(error) => return Err(error),
            }
            attempt += 1;
        }
    }

    fn strange(&self, reply: UpdateReply) -> BoardError {
        self.unexpected("update", &Reply::Update(reply))
    }
}

fn is_repeated(error: &BoardError) -> bool {
    matches!(
        error,
        BoardError::Refused {
            error: DeviceError::Update(UpdateError::NotBegun),
            ..
        }
    )
}
