//! Faults and panics: said over defmt, then shown by a fast blinking marker pin. With two slots
//! the board then starts again, so that a network on trial has one attempt less and nobody needs to
//! come by.

use crate::reg::GPIOC_BSRR;
use core::arch::asm;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};
use cortex_m_rt::exception;

/// Takes a fresh stack first: after an overflow the old one is outside of memory.
#[exception(trampoline = false)]
unsafe fn HardFault() -> ! {
    // SAFETY: nothing returns to the old stack; `fault` takes its pointer as a number.
    unsafe {
        asm!(
            "mrs r0, msp",
            "ldr r1, =_stack_start",
            "msr msp, r1",
            "b {fault}",
            fault = sym fault,
            options(noreturn)
        )
    }
}

/// Configurable Fault Status Register.
const CFSR: *const u32 = 0xe000_ed28 as *const u32;

extern "C" fn fault(stack_pointer: u32) -> ! {
    let stack = crate::image::stack();
    // SAFETY: a register of the core.
    let cfsr = unsafe { core::ptr::read_volatile(CFSR) };
    // The program counter is the seventh word that exception entry pushes.
    let at = stack_pointer as usize + 24;
    if stack_pointer.is_multiple_of(4) && stack.contains(&at) {
        // SAFETY: an aligned word of the stack.
        let pc = unsafe { core::ptr::read_volatile(at as *const u32) };
        defmt::error!("fault at {=u32:#x}, CFSR {=u32:#x}", pc, cfsr);
    } else {
        defmt::error!(
            "fault, stack overflow? SP {=u32:#x}, CFSR {=u32:#x}",
            stack_pointer,
            cfsr
        );
    }
    end()
}

/// Whether a panic is being told: defmt panics where it is called within itself, as it is when
/// a fault cuts a message short.
static TELLING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    if TELLING.swap(true, Ordering::Relaxed) {
        end()
    }
    match info.location() {
        Some(l) => defmt::error!("panic at {=str}:{=u32}", l.file(), l.line()),
        None => defmt::error!("panic"),
    }
    end()
}

/// Blinks for ever; with two slots for about a second, in which a probe reads what was said.
fn end() -> ! {
    let mut blinks = 0u32;
    while cfg!(not(feature = "update")) || blinks < 10 {
        GPIOC_BSRR.write(1 << 12);
        cortex_m::asm::delay(8_000_000);
        GPIOC_BSRR.write(1 << 28);
        cortex_m::asm::delay(8_000_000);
        blinks = blinks.saturating_add(1);
    }
    cortex_m::peripheral::SCB::sys_reset()
}
