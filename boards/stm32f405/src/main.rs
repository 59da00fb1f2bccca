//! Start-up of the STM32F405: clock, streams, pins, then the app.
#![no_std]
#![no_main]

mod clock;
mod fault;
#[cfg(any(feature = "signed", feature = "update"))]
mod flash;
mod image;
#[cfg(any(feature = "signed", feature = "update"))]
mod networks;
mod reg;
mod rtt;
mod usart;
#[cfg(feature = "watchdog")]
mod watchdog;

use core::ops::Range;
use cortex_m_rt::entry;
use embedded_hal::digital::{ErrorType, OutputPin};
use firmware::app::{App, Board, FrameBuffer, Info, paint};
use shared::message::MAX_REQUEST;

struct Stm32f405 {
    rtt: rtt::Rtt,
    usart: usart::Usart1,
    marker: Marker,
    info: Info,
}

#[entry]
fn main() -> ! {
    static mut FRAME: FrameBuffer = [0; MAX_REQUEST];
    let stack = image::stack();
    // SAFETY: the linker reserves these addresses for the one stack there is.
    unsafe { paint::stack(stack.clone()) };
    let rtt = rtt::init();
    let clock = clock::init();
    enable_cycle_counter();
    let usart = usart::Usart1::init(clock.hz);
    let build_id = image::build_id();
    defmt::info!("stm32f405: build {=u32:08x}, {=u32} Hz", build_id, clock.hz);
    #[cfg(feature = "watchdog")]
    watchdog::start();
    let board = Stm32f405 {
        rtt,
        usart,
        marker: Marker::init(),
        info: Info {
            name: "stm32f405",
            build_id,
            clock_hz: clock.hz,
            hse: clock.hse,
            stack,
        },
    };
    // SAFETY: called once; the linker gives these addresses to nothing else.
    let arena = unsafe { image::arena() };
    #[cfg(not(any(feature = "signed", feature = "update")))]
    let networks = image::blob();
    #[cfg(any(feature = "signed", feature = "update"))]
    let networks = networks::of_this_board();
    App::new(board, networks, arena, FRAME).run()
}

impl Board for Stm32f405 {
    type Probe = rtt::Rtt;
    type Serial = usart::Usart1;
    type Marker = Marker;

    fn info(&self) -> Info {
        self.info.clone()
    }

    fn cycles(&self) -> u32 {
        cortex_m::peripheral::DWT::cycle_count()
    }

    fn streams(&mut self) -> (&mut rtt::Rtt, &mut usart::Usart1) {
        (&mut self.rtt, &mut self.usart)
    }

    fn marker(&mut self) -> &mut Marker {
        &mut self.marker
    }

    #[cfg(feature = "watchdog")]
    fn alive(&self) {
        watchdog::feed();
    }
}

fn enable_cycle_counter() {
    if let Some(mut core) = cortex_m::Peripherals::take() {
        core.DCB.enable_trace();
        core.DWT.enable_cycle_counter();
    }
}

/// PC12, high while an inference runs.
pub struct Marker;

impl Marker {
    const PIN: u32 = 12;

    fn init() -> Self {
        reg::RCC_AHB1ENR.set(1 << 2);
        reg::GPIOC_MODER.field(2 * Self::PIN, 2, 0b01);
        Self
    }
}

impl ErrorType for Marker {
    type Error = core::convert::Infallible;
}

impl OutputPin for Marker {
    fn set_low(&mut self) -> Result<(), Self::Error> {
        reg::GPIOC_BSRR.write(1 << (Self::PIN + 16));
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Self::Error> {
        reg::GPIOC_BSRR.write(1 << Self::PIN);
        Ok(())
    }
}

/// A range of addresses from two linker symbols.
fn between(start: *const u8, end: *const u8) -> Range<usize> {
    start as usize..end as usize
}
