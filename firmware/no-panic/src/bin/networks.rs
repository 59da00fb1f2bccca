//! The same for how a device comes by its network: the choice among slots, the check of
//! signatures, an update from its first request to its last. With the feature `signed` alone
//! there is one place for a network, with `update` there are two.
#![no_std]
#![no_main]

#[path = "../flash.rs"]
mod flash;

use core::hint::black_box;
use firmware::app::Networks;
use panic_never as _;

#[unsafe(no_mangle)]
pub extern "C" fn _start() {
    let arena: &mut [u8] = black_box(&mut []);
    let mut networks = flash::networks();
    black_box(networks.select(arena).is_ok());
    #[cfg(feature = "update")]
    {
        use shared::update::UpdateRequest::{Begin, Finish, Status, Write};
        let [length, self_test, offset] = black_box([0; 3]);
        let bytes: &[u8] = black_box(&[]);
        let write = Write { offset, bytes };
        for request in [Status, Begin { length, self_test }, write, Finish] {
            black_box(networks.update(black_box(request)).is_ok());
        }
        black_box(networks.finish(arena).is_ok());
    }
}
