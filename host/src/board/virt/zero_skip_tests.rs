//! What a kernel that skips zeros would take at the least: its inner loop, alone, on the core.
//!
//! A turn fetches one stored weight and multiplies the activations of 1, 2, 4 or 6 output
//! pixels by it. Two pixels far apart share a word, so that any tap's words are aligned. In
//! `words` a weight has 4 bytes, the place of its activations among them; in `halves` 2, and
//! the place is a gap. Loops are unrolled without an end, activations are there already, sums
//! are neither begun nor stored: no kernel could take less. Break-evens in docs/kernels.md are
//! the dense kernels' cycles divided by these.

use super::{Machine, Parts};
use cycle_model::FlashGeometry;

const FLASH: u32 = 0x0800_0000;
const SRAM: u32 = 0x2000_0000;
const CODE: u32 = FLASH + 0x400;
const ENTRIES: u32 = SRAM;
const ACTIVATIONS: u32 = SRAM + 0x1000;

/// One turn of an unrolled loop: R0 entries, R1 activations, sums from R2 on.
struct Turn {
    /// Pixels that a weight is multiplied with.
    pixels: usize,
    /// Whether entries are gaps of 16 bits.
    halves: bool,
    /// Weights a turn.
    weights: usize,
    code: &'static [u16],
}

const TURNS: [Turn; 8] = [
    Turn {
        // ldm r0!,{r4-r7}; four lsr r8,r4,#16; four ldrsh r8,[r1,r8]; four smlabb r2,r8,r4,r2
        pixels: 1,
        halves: false,
        weights: 4,
        code: &[
            0xC8F0, 0xEA4F, 0x4814, 0xEA4F, 0x4915, 0xEA4F, 0x4A16, 0xEA4F, 0x4B17, 0xF931, 0x8008,
            0xF931, 0x9009, 0xF931, 0xA00A, 0xF931, 0xB00B, 0xFB18, 0x2204, 0xFB19, 0x2205, 0xFB1A,
            0x2206, 0xFB1B, 0x2207,
        ],
    },
    Turn {
        // ldm r0!,{r11,r12}; add r8,r1,r11,lsr #16; add lr,r1,r12,lsr #16; for both: ldr r8,[r8];
        // smlabb r2,r8,r11,r2; smlatb r3,r8,r11,r3
        pixels: 2,
        halves: false,
        weights: 2,
        code: &[
            0xE8B0, 0x1800, 0xEB01, 0x481B, 0xEB01, 0x4E1C, 0xF8D8, 0x8000, 0xFB18, 0x220B, 0xFB18,
            0x332B, 0xF8DE, 0x8000, 0xFB18, 0x220C, 0xFB18, 0x332C,
        ],
    },
    Turn {
        // The same with ldrd r8,r9,[r8] and four products.
        pixels: 4,
        halves: false,
        weights: 2,
        code: &[
            0xE8B0, 0x1800, 0xEB01, 0x481B, 0xEB01, 0x4E1C, 0xE9D8, 0x8900, 0xFB18, 0x220B, 0xFB18,
            0x332B, 0xFB19, 0x440B, 0xFB19, 0x552B, 0xE9DE, 0x8900, 0xFB18, 0x220C, 0xFB18, 0x332C,
            0xFB19, 0x440C, 0xFB19, 0x552C,
        ],
    },
    Turn {
        // The same with ldm r8,{r8-r10} and six products. All registers are in use.
        pixels: 6,
        halves: false,
        weights: 2,
        code: &[
            0xE8B0, 0x1800, 0xEB01, 0x481B, 0xEB01, 0x4E1C, 0xE898, 0x0700, 0xFB18, 0x220B, 0xFB18,
            0x332B, 0xFB19, 0x440B, 0xFB19, 0x552B, 0xFB1A, 0x660B, 0xFB1A, 0x772B, 0xE89E, 0x0700,
            0xFB18, 0x220C, 0xFB18, 0x332C, 0xFB19, 0x440C, 0xFB19, 0x552C, 0xFB1A, 0x660C, 0xFB1A,
            0x772C,
        ],
    },
    Turn {
        // ldrsh r11,[r0],#2; ldrsh r12,[r0],#2; for both: uxtb r8,r11; add r1,r1,r8,lsl #1;
        // asr r11,r11,#8; ldrsh r8,[r1]; smlabb r2,r8,r11,r2
        pixels: 1,
        halves: true,
        weights: 2,
        code: &[
            0xF930, 0xBB02, 0xF930, 0xCB02, 0xFA5F, 0xF88B, 0xEB01, 0x0148, 0xEA4F, 0x2B2B, 0xF9B1,
            0x8000, 0xFB18, 0x220B, 0xFA5F, 0xF88C, 0xEB01, 0x0148, 0xEA4F, 0x2C2C, 0xF9B1, 0x8000,
            0xFB18, 0x220C,
        ],
    },
    Turn {
        pixels: 2,
        halves: true,
        weights: 2,
        code: &[
            0xF930, 0xBB02, 0xF930, 0xCB02, 0xFA5F, 0xF88B, 0xEB01, 0x0188, 0xEA4F, 0x2B2B, 0xF8D1,
            0x8000, 0xFB18, 0x220B, 0xFB18, 0x332B, 0xFA5F, 0xF88C, 0xEB01, 0x0188, 0xEA4F, 0x2C2C,
            0xF8D1, 0x8000, 0xFB18, 0x220C, 0xFB18, 0x332C,
        ],
    },
    Turn {
        pixels: 4,
        halves: true,
        weights: 2,
        code: &[
            0xF930, 0xBB02, 0xF930, 0xCB02, 0xFA5F, 0xF88B, 0xEB01, 0x01C8, 0xEA4F, 0x2B2B, 0xE9D1,
            0x8900, 0xFB18, 0x220B, 0xFB18, 0x332B, 0xFB19, 0x440B, 0xFB19, 0x552B, 0xFA5F, 0xF88C,
            0xEB01, 0x01C8, 0xEA4F, 0x2C2C, 0xE9D1, 0x8900, 0xFB18, 0x220C, 0xFB18, 0x332C, 0xFB19,
            0x440C, 0xFB19, 0x552C,
        ],
    },
    Turn {
        pixels: 6,
        halves: true,
        weights: 2,
        code: &[
            0xF930, 0xBB02, 0xF930, 0xCB02, 0xFA5F, 0xF88B, 0xEB01, 0x1108, 0xEA4F, 0x2B2B, 0xE891,
            0x0700, 0xFB18, 0x220B, 0xFB18, 0x332B, 0xFB19, 0x440B, 0xFB19, 0x552B, 0xFB1A, 0x660B,
            0xFB1A, 0x772B, 0xFA5F, 0xF88C, 0xEB01, 0x1108, 0xEA4F, 0x2C2C, 0xE891, 0x0700, 0xFB18,
            0x220C, 0xFB18, 0x332C, 0xFB19, 0x440C, 0xFB19, 0x552C, 0xFB1A, 0x660C, 0xFB1A, 0x772C,
        ],
    },
];

/// Turns that are run; two counts, since the difference has no beginning.
const COUNTS: [usize; 2] = [16, 48];

impl Turn {
    /// Bytes of the activations of one channel and tap.
    fn stride(&self) -> usize {
        match self.pixels {
            6 if self.halves => 16,
            pixels => 2 * pixels,
        }
    }

    /// Zero-wait cycles of `turns` turns and the sums.
    fn run(&self, turns: usize) -> (u64, Vec<i32>) {
        let flash = FlashGeometry {
            base: FLASH,
            size: 1 << 15,
            icache_lines: 64,
            dcache_lines: 8,
        };
        let mut machine = Machine::new(&Parts {
            flash,
            sram_base: SRAM,
            sram_size: 1 << 15,
            wait_states: 0,
            clock_hz: 168_000_000,
        })
        .expect("makes sense");
        machine.place(FLASH, &(SRAM + (1 << 15)).to_le_bytes());
        machine.place(FLASH + 4, &(CODE | 1).to_le_bytes());
        let code = self.code.repeat(turns);
        let bytes: Vec<u8> = code.iter().flat_map(|h| h.to_le_bytes()).collect();
        let end = CODE + bytes.len() as u32;
        machine.place(CODE, &bytes);
        machine.place(end, &0xE7FEu16.to_le_bytes());
        machine.place(ENTRIES, &self.entries(turns));
        machine.place(ACTIVATIONS, &activations());
        machine.reset();
        machine.halted = false;
        (machine.core.r[0], machine.core.r[1]) = (ENTRIES, ACTIVATIONS);
        for sum in &mut machine.core.r[2..8] {
            *sum = 0;
        }
        machine.set_markers(CODE, end);
        machine.run(code.len() as u32 + 4);
        let intervals = machine.take_intervals();
        let sums = &machine.core.r[2..2 + self.pixels];
        (
            intervals[0].cycles,
            sums.iter().map(|&s| s as i32).collect(),
        )
    }

    /// Stored weights and how many channels each lies behind the one before it.
    fn stored(&self, turns: usize) -> impl Iterator<Item = (i8, usize)> {
        (0..self.weights * turns).map(|i| ((i * 37 % 255) as i8, 1 + i * i % 5))
    }

    fn entries(&self, turns: usize) -> Vec<u8> {
        let mut at = 0;
        let entry = |(w, gap): (i8, usize)| -> Vec<u8> {
            at += gap * self.stride();
            if self.halves {
                vec![gap as u8, w as u8]
            } else {
                let w = i16::from(w).to_le_bytes();
                [w, (at as u16).to_le_bytes()].concat()
            }
        };
        self.stored(turns).flat_map(entry).collect()
    }

    /// The sums that must come out.
    fn expected(&self, turns: usize) -> Vec<i32> {
        let bytes = activations();
        let (mut at, mut sums) = (0, vec![0; self.pixels]);
        for (w, gap) in self.stored(turns) {
            at += gap * self.stride();
            for (pixel, sum) in sums.iter_mut().enumerate() {
                let lane = at + 2 * pixel;
                let x = i16::from_le_bytes([bytes[lane], bytes[lane + 1]]);
                *sum += i32::from(w) * i32::from(x);
            }
        }
        sums
    }
}

fn activations() -> Vec<u8> {
    let lanes = (0..0x3000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20 & 255) as u16);
    lanes.flat_map(u16::to_le_bytes).collect()
}

#[test]
fn a_product_that_skips_zeros_takes_at_least_so_many_cycles() {
    let mut found = Vec::new();
    for turn in &TURNS {
        let [few, many] = COUNTS.map(|turns| {
            let (cycles, sums) = turn.run(turns);
            assert_eq!(sums, turn.expected(turns), "{} pixels", turn.pixels);
            cycles
        });
        let weights = (COUNTS[1] - COUNTS[0]) * turn.weights;
        let each = (many - few) as f64 / weights as f64;
        println!(
            "{} pixels, {}: {each} cycles a weight, {:.2} a product",
            turn.pixels,
            if turn.halves { "halves" } else { "words" },
            each / turn.pixels as f64
        );
        found.push(each);
    }
    // docs/kernels.md divides by these.
    assert_eq!(found, [4.5, 6.5, 9.5, 12.5, 7.5, 8.5, 11.5, 14.5]);
}
