//! The few peripheral registers that start-up needs (RM0090), by address.

/// A 32-bit register.
pub struct Reg(usize);

pub const RCC_CR: Reg = Reg(0x4002_3800);
pub const RCC_PLLCFGR: Reg = Reg(0x4002_3804);
pub const RCC_CFGR: Reg = Reg(0x4002_3808);
pub const RCC_AHB1ENR: Reg = Reg(0x4002_3830);
pub const RCC_APB1ENR: Reg = Reg(0x4002_3840);
pub const RCC_APB2ENR: Reg = Reg(0x4002_3844);
#[cfg(feature = "watchdog")]
pub const RCC_CSR: Reg = Reg(0x4002_3874);
#[cfg(feature = "watchdog")]
pub const IWDG_KR: Reg = Reg(0x4000_3000);
#[cfg(feature = "watchdog")]
pub const IWDG_PR: Reg = Reg(0x4000_3004);
#[cfg(feature = "watchdog")]
pub const IWDG_RLR: Reg = Reg(0x4000_3008);
#[cfg(feature = "watchdog")]
pub const IWDG_SR: Reg = Reg(0x4000_300c);
#[cfg(feature = "watchdog")]
pub const DBGMCU_APB1_FZ: Reg = Reg(0xe004_2008);
pub const PWR_CR: Reg = Reg(0x4000_7000);
pub const FLASH_ACR: Reg = Reg(0x4002_3c00);
#[cfg(any(feature = "signed", feature = "update"))]
pub const FLASH_KEYR: Reg = Reg(0x4002_3c04);
#[cfg(any(feature = "signed", feature = "update"))]
pub const FLASH_SR: Reg = Reg(0x4002_3c0c);
#[cfg(any(feature = "signed", feature = "update"))]
pub const FLASH_CR: Reg = Reg(0x4002_3c10);
pub const GPIOA_MODER: Reg = Reg(0x4002_0000);
pub const GPIOA_AFRH: Reg = Reg(0x4002_0024);
pub const GPIOC_MODER: Reg = Reg(0x4002_0800);
pub const GPIOC_BSRR: Reg = Reg(0x4002_0818);
pub const USART1_SR: Reg = Reg(0x4001_1000);
pub const USART1_DR: Reg = Reg(0x4001_1004);
pub const USART1_BRR: Reg = Reg(0x4001_1008);
pub const USART1_CR1: Reg = Reg(0x4001_100c);

impl Reg {
    pub fn read(&self) -> u32 {
        // SAFETY: the constants above are registers of this chip, aligned, readable.
        unsafe { core::ptr::read_volatile(self.0 as *const u32) }
    }

    pub fn write(&self, value: u32) {
        // SAFETY: as above; none of these registers starts a transfer to memory.
        unsafe { core::ptr::write_volatile(self.0 as *mut u32, value) }
    }

    pub fn set(&self, bits: u32) {
        self.write(self.read() | bits);
    }

    /// Replaces `width` bits at `shift`.
    pub fn field(&self, shift: u32, width: u32, value: u32) {
        let mask = ((1 << width) - 1) << shift;
        self.write(self.read() & !mask | value << shift & mask);
    }

    /// Waits until `bits` are set, but not for ever: emulators may never set them.
    pub fn wait(&self, bits: u32) -> bool {
        (0..50_000).any(|_| self.read() & bits == bits)
    }
}
