//! USART1 on PA9 and PA10, polled, 115,200 baud 8N1.

use crate::reg::{
    GPIOA_AFRH, GPIOA_MODER, RCC_AHB1ENR, RCC_APB2ENR, USART1_BRR, USART1_CR1, USART1_DR, USART1_SR,
};
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};

const BAUD: u32 = 115_200;
const RECEIVED: u32 = 1 << 5;
const OVERRUN: u32 = 1 << 3;
const SENT: u32 = 1 << 7;

/// The serial stream.
pub struct Usart1;

impl Usart1 {
    /// Sets pins and baud rate up; APB2 runs at half of the core clock from the PLL.
    pub fn init(core_hz: u32) -> Self {
        let bus_hz = if core_hz > 84_000_000 {
            core_hz / 2
        } else {
            core_hz
        };
        RCC_AHB1ENR.set(1);
        RCC_APB2ENR.set(1 << 4);
        for pin in [9, 10] {
            GPIOA_AFRH.field(4 * (pin - 8), 4, 7);
            GPIOA_MODER.field(2 * pin, 2, 0b10);
        }
        USART1_BRR.write((bus_hz + BAUD / 2) / BAUD);
        // Enable the port, its transmitter and its receiver.
        USART1_CR1.write(1 << 13 | 1 << 3 | 1 << 2);
        Self
    }
}

impl ErrorType for Usart1 {
    type Error = ErrorKind;
}

impl ReadReady for Usart1 {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        // An overrun also wants the data register read to go away.
        Ok(USART1_SR.read() & (RECEIVED | OVERRUN) != 0)
    }
}

impl Read for Usart1 {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        while !self.read_ready()? {}
        match out.first_mut() {
            Some(o) => *o = USART1_DR.read() as u8,
            None => return Ok(0),
        }
        Ok(1)
    }
}

impl Write for Usart1 {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let Some(&byte) = bytes.first() else {
            return Ok(0);
        };
        if !USART1_SR.wait(SENT) {
            return Err(ErrorKind::TimedOut);
        }
        USART1_DR.write(u32::from(byte));
        Ok(1)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
