//! Signed networks and replaced networks, on the virtual board with the firmware that has
//! them.

use host::board::virt::{Cut, Tear};
use host::board::{
    Board, BoardError, Build, EngineChoice, Options, open_built, open_in_process, self_test_crc32,
    spec,
};
use host::lower::{Bits, IntNet, simulate};
use host::sign::{PrivateKey, public_path};
use host::vgg::{Item, VggConfig};
use shared::blob::{Blob, Malformed};
use shared::envelope::{SignatureError, key_id};
use shared::message::DeviceError;
use shared::update::{Slot, UpdateError};
use std::path::PathBuf;
use tests::network;

const ARENA: u32 = 100 * 1024;
const CUTS: u64 = 50;

/// A network of an 8x8 image, and its blob.
fn net(seed: u32) -> (IntNet, Vec<u8>) {
    use Item::{AvgPool, Conv, MaxPool};
    let config = VggConfig {
        cfg: vec![Conv(8), MaxPool, Conv(12), AvgPool],
        input: [8, 8, 3],
        num_classes: 3,
        ..VggConfig::preset("vgg-small").expect("known")
    };
    let net = network::random(&config, Bits { w: 8, a: 8 }, 100, seed);
    let blob = network::blob(net.clone(), ARENA);
    (net, blob)
}

fn crc(blob: &[u8]) -> u32 {
    Blob::new_checked(blob).expect("valid").header().crc32
}

fn self_test(blob: &[u8]) -> u32 {
    self_test_crc32(&Blob::new_checked(blob).expect("valid")).expect("runs")
}

/// The virtual board's name; `None`, said, where the tests run on a real one.
fn virtual_board() -> Option<String> {
    let name = tests::board();
    if name.starts_with(spec::VIRTUAL_PREFIX) {
        return Some(name);
    }
    eprintln!("SKIPPED: {name} is real, and keeps its firmware");
    None
}

/// Two keys in a folder.
fn keys() -> (tempfile::TempDir, [PrivateKey; 2], PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let keys = ["mine", "other"].map(|name| PrivateKey::generate(&path(name)).expect("is new"));
    let public = public_path(&path("mine"));
    (folder, keys, public)
}

/// `file` with one bit of its first layer's weights changed, and a checksum that fits.
fn tampered(file: &[u8], blob_len: usize) -> Vec<u8> {
    let mut bad = file.to_vec();
    let at = blob_len / 2;
    bad[at] ^= 1;
    let mut digest = shared::CRC32.digest();
    digest.update(&bad[..12]);
    digest.update(&bad[16..blob_len]);
    let crc = digest.finalize();
    bad[12..16].copy_from_slice(&crc.to_le_bytes());
    bad
}

fn refusal(board: &mut dyn Board, file: &[u8]) -> SignatureError {
    board.flash(file).expect("is written");
    match board.hello().expect("answers").blob {
        Err(error) => match error.what {
            Malformed::Signature(error) => error,
            other => panic!("{other:?}"),
        },
        Ok(crc) => panic!("{crc:08x} runs"),
    }
}

#[test]
fn a_board_that_trusts_one_key_runs_what_it_signed_and_nothing_else() {
    let Some(name) = virtual_board() else { return };
    let (_folder, [mine, other], trust) = keys();
    let build = Build {
        trust: Some(trust),
        ..Build::default()
    };
    let (mut board, _) = open_in_process(&name, &build).expect("opens");
    let (net, bytes) = net(1);
    let blob = Blob::new_checked(&bytes).expect("valid");
    let signed = mine.sign(&blob, 2);

    assert_eq!(refusal(&mut *board, &bytes), SignatureError::Unsigned);
    board.flash(&signed).expect("is written");
    assert_eq!(board.hello().expect("answers").blob, Ok(crc(&bytes)));
    let image = vec![99; blob.image_bytes()];
    let logits = board.infer(&image, false).expect("runs").logits;
    assert_eq!(logits, simulate(&net, &image).expect("computes"));

    let bad = tampered(&signed, bytes.len());
    assert_eq!(refusal(&mut *board, &bad), SignatureError::Forged);
    let [key, trusted] = [&other, &mine].map(|key| key_id(&key.public().0));
    let strange = refusal(&mut *board, &other.sign(&blob, 3));
    assert_eq!(strange, SignatureError::Signer { key, trusted });
    let (version, floor) = (1, 2);
    let older = refusal(&mut *board, &mine.sign(&blob, version));
    assert_eq!(older, SignatureError::Rollback { version, floor });
    let refused = board.infer(&image, false).expect_err("does not run");
    let text = refused.to_string();
    assert!(
        text.contains("it is version 1, the device has run 2"),
        "{text}"
    );
    let hint = refused.hint().expect("something to try");
    assert!(hint.contains("--net-version"), "{hint}");

    board.flash(&signed).expect("is written");
    assert!(
        board.hello().expect("answers").blob.is_ok(),
        "the same version again"
    );
}

#[test]
fn an_update_is_signed_too_and_versions_do_not_fall() {
    let Some(name) = virtual_board() else { return };
    let (_folder, [mine, other], trust) = keys();
    let build = Build {
        trust: Some(trust),
        two_slots: true,
        ..Build::default()
    };
    let (mut board, _) = open_in_process(&name, &build).expect("opens");
    let [(_, first), (_, second)] = [net(1), net(2)];
    let [a, b] = [&first, &second].map(|bytes| Blob::new_checked(bytes).expect("valid"));
    board.flash(&mine.sign(&a, 1)).expect("is written");
    let test = self_test(&second);
    let status = board.update(&mine.sign(&b, 2), test).expect("is taken");
    assert_eq!((status.running, status.floor), (Some(1), 2));
    assert_eq!(board.hello().expect("answers").blob, Ok(crc(&second)));

    let mut refused = |file: &[u8]| {
        let error = board.update(file, self_test(&first)).expect_err("refused");
        let BoardError::Refused { error, .. } = &error else {
            panic!("{error}");
        };
        match error {
            DeviceError::Update(UpdateError::Blob(error)) => error.what,
            other => panic!("{other:?}"),
        }
    };
    let older = refused(&mine.sign(&a, 1));
    let (version, floor) = (1, 2);
    let rollback = SignatureError::Rollback { version, floor };
    assert_eq!(older, Malformed::Signature(rollback));
    let unsigned = Malformed::Signature(SignatureError::Unsigned);
    assert_eq!(refused(&first), unsigned);
    assert!(matches!(
        refused(&other.sign(&a, 3)),
        Malformed::Signature(SignatureError::Signer { .. })
    ));
    assert_eq!(board.hello().expect("answers").blob, Ok(crc(&second)));
}

#[test]
fn power_may_go_anywhere_in_an_update_on_the_board() {
    let Some(name) = virtual_board() else { return };
    let build = Build {
        two_slots: true,
        ..Build::default()
    };
    let (mut board, machine) = open_in_process(&name, &build).expect("opens");
    let nets = [net(1), net(2)];
    let image = vec![99; 8 * 8 * 3];
    let logits = [0, 1].map(|i: usize| simulate(&nets[i].0, &image).expect("computes"));
    let crcs = [crc(&nets[0].1), crc(&nets[1].1)];
    board.flash(&nets[0].1).expect("is written");
    let limit = board.slots().expect("has slots").limit;
    assert_eq!(limit, board.spec().blob.slot_bytes - spec::SLOT_HEADER);

    machine.with(|m| m.cut_power_at(None));
    let status = board
        .update(&nets[1].1, self_test(&nets[1].1))
        .expect("is taken");
    assert_eq!(status.slots, [Slot::Bare, Slot::Confirmed { sequence: 1 }]);
    let operations = machine.with(|m| m.flash_operations());
    assert!(operations > nets[1].1.len() as u64 / 4, "{operations}");

    let mut running = 1;
    let mut counts = [0, 0];
    for n in 0..CUTS {
        let next = 1 - running;
        let at = n * operations / CUTS;
        let tear = [Tear::Before, Tear::Within(n as u32), Tear::After][n as usize % 3];
        machine.with(|m| m.cut_power_at(Some(Cut { at, tear })));
        let blob = &nets[next].1;
        let result = board.update(blob, self_test(blob));
        assert!(
            matches!(result, Err(BoardError::Unpowered)),
            "{n}: {result:?}"
        );
        machine.with(|m| m.power_on());
        let found = board.hello().expect("starts again").blob;
        let now = crcs.iter().position(|&crc| found == Ok(crc));
        let now = now.unwrap_or_else(|| panic!("cut {n} at {at}, {tear:?}: {found:?}"));
        let inferred = board.infer(&image, false).expect("runs").logits;
        assert_eq!(inferred, logits[now], "cut {n} at {at}, {tear:?}");
        counts[usize::from(now == next)] += 1;
        running = now;
    }
    println!(
        "{operations} operations; old network after {}, new after {}",
        counts[0], counts[1]
    );
    assert!(counts[0] > 0);
    let next = 1 - running;
    board
        .update(&nets[next].1, self_test(&nets[next].1))
        .expect("is taken in the end");
}

#[test]
fn a_network_that_fails_its_self_test_gives_way() {
    let Some(name) = virtual_board() else { return };
    let build = Build {
        two_slots: true,
        ..Build::default()
    };
    let (mut board, _) = open_in_process(&name, &build).expect("opens");
    let [(_, old), (_, new)] = [net(1), net(2)];
    board.flash(&old).expect("is written");
    let got = self_test(&new);
    let error = board.update(&new, got ^ 1).expect_err("fails");
    let expected = got ^ 1;
    assert!(
        matches!(
            &error,
            BoardError::Refused { error: DeviceError::Update(e), .. }
                if *e == UpdateError::SelfTest { expected, got }
        ),
        "{error}"
    );
    assert_eq!(board.hello().expect("answers").blob, Ok(crc(&old)));
    assert!(
        error.to_string().contains("failed its self-test"),
        "{error}"
    );
    board.update(&new, got).expect("is taken");
    assert_eq!(board.hello().expect("answers").blob, Ok(crc(&new)));
}

#[test]
fn firmware_without_slots_and_engines_without_flash_say_so() {
    let Some(name) = virtual_board() else { return };
    let (mut board, _) = open_in_process(&name, &Build::default()).expect("opens");
    let (_, blob) = net(1);
    board.flash(&blob).expect("is written");
    let error = board.update(&blob, 0).expect_err("has no slots");
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains("--two-slots"), "{error}: {hint}");
    assert_eq!(board.hello().expect("goes on").blob, Ok(crc(&blob)));

    let options = Options {
        engine: EngineChoice::Qemu,
        verbose: false,
    };
    let build = Build {
        two_slots: true,
        ..Build::default()
    };
    let Err(error) = open_built(&name, options, &build) else {
        panic!("QEMU writes no flash");
    };
    assert!(error.to_string().contains("cannot be written"), "{error}");
}
