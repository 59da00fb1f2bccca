use super::*;

fn alone(first: u16, second: u16) -> u32 {
    Instr::decode(first, second).cycles_after(Instr::default())
}

fn pair(first: (u16, u16), second: (u16, u16)) -> u32 {
    Instr::decode(second.0, second.1).cycles_after(Instr::decode(first.0, first.1))
}

/// Encodings from `arm-none-eabi-as`, with the cycles each takes alone.
const TABLE: &[(&str, u16, u16, u32)] = &[
    ("ldr r2,[r3,#4]", 0x685A, 0, 2),
    ("ldr.w r2,[r3,r4,lsl #2]", 0xF853, 0x2024, 2),
    ("ldrh r0,[r1]", 0x8808, 0, 2),
    ("ldrsb r0,[r1,r2]", 0x5688, 0, 2),
    ("ldr r0,[pc,#8]", 0x4802, 0, 2),
    ("ldr r0,[sp,#8]", 0x9802, 0, 2),
    ("str r0,[r1]", 0x6008, 0, 1),
    ("strb r0,[r1,r2]", 0x5488, 0, 1),
    ("str.w r0,[r1],#4", 0xF841, 0x0B04, 1),
    ("ldr.w r0,[r1],#4", 0xF851, 0x0B04, 2),
    ("ldrd r0,r1,[r2]", 0xE9D2, 0x0100, 3),
    ("strd r0,r1,[r2,#8]", 0xE9C2, 0x0102, 3),
    ("ldrex r0,[r1]", 0xE851, 0x0F00, 2),
    ("strex r2,r0,[r1]", 0xE841, 0x0200, 2),
    ("ldrexb r0,[r1]", 0xE8D1, 0x0F4F, 2),
    ("ldm r0!,{r1,r2,r3}", 0xC80E, 0, 4),
    ("stm r0!,{r1,r2}", 0xC006, 0, 3),
    ("ldmdb r0,{r4-r11}", 0xE910, 0x0FF0, 9),
    ("push {r4,lr}", 0xB510, 0, 3),
    ("pop {r4,pc}", 0xBD10, 0, 3),
    ("pop.w {r4-r8,pc}", 0xE8BD, 0x81F0, 7),
    ("push.w {r4-r8,lr}", 0xE92D, 0x41F0, 7),
    ("ldr.w pc,[r0]", 0xF8D0, 0xF000, 5),
    ("ldr.w pc,[r0,r1,lsl #2]", 0xF850, 0xF021, 5),
    ("tbb [pc,r0]", 0xE8DF, 0xF000, 6),
    ("tbh [pc,r0,lsl #1]", 0xE8DF, 0xF010, 6),
    ("sdiv r0,r1,r2", 0xFB91, 0xF0F2, 6),
    ("udiv r0,r1,r2", 0xFBB1, 0xF0F2, 6),
    ("mul r1,r2,r3", 0xFB02, 0xF103, 1),
    ("smlad r1,r2,r3,r4", 0xFB22, 0x4103, 1),
    ("smull r1,r2,r3,r4", 0xFB83, 0x1204, 1),
    ("smlal r1,r2,r3,r4", 0xFBC3, 0x1204, 1),
    ("bl .", 0xF7FF, 0xFFFE, 1),
    ("it eq", 0xBF08, 0, 0),
    ("nop", 0xBF00, 0, 1),
    ("nop.w", 0xF3AF, 0x8000, 1),
    ("svc #1", 0xDF01, 0, 1),
    ("dsb", 0xF3BF, 0x8F4F, 1),
    ("pld [r1]", 0xF891, 0xF000, 1),
    ("vmla.f32", 0xEE00, 0x0A81, 3),
    ("vfma.f32", 0xEEA0, 0x0A81, 3),
    ("vnmls.f32", 0xEE10, 0x0A81, 3),
    ("vfnma.f32", 0xEE90, 0x0AC1, 3),
    ("vadd.f32", 0xEE30, 0x0A81, 1),
    ("vmul.f32", 0xEE20, 0x0A81, 1),
    ("vdiv.f32", 0xEE80, 0x0A81, 14),
    ("vsqrt.f32", 0xEEB1, 0x0AE0, 14),
    ("vneg.f32", 0xEEB1, 0x0A60, 1),
    ("vcvt.s32.f32", 0xEEBD, 0x0AE0, 1),
    ("vldr s0,[r1]", 0xED91, 0x0A00, 2),
    ("vldr d0,[r1]", 0xED91, 0x0B00, 3),
    ("vstr s0,[r1]", 0xED81, 0x0A00, 2),
    ("vldmia r0!,{s0-s7}", 0xECB0, 0x0A08, 9),
    ("vpush {d8-d9}", 0xED2D, 0x8B04, 5),
    ("vmov s0,r1", 0xEE00, 0x1A10, 1),
    ("vmov r1,s0", 0xEE10, 0x1A10, 1),
    ("vmov r1,r2,d0", 0xEC52, 0x1B10, 2),
    ("vmov d0,r1,r2", 0xEC42, 0x1B10, 2),
];

#[test]
fn every_row_of_the_table_takes_its_cycles() {
    for &(text, first, second, cycles) in TABLE {
        assert_eq!(alone(first, second), cycles, "{text}");
    }
}

#[test]
fn only_branches_may_branch() {
    let branches = [
        (0xE7FE, 0),
        (0xD0FE, 0),
        (0xF7FF, 0xBFFE),
        (0xF43F, 0xAFFE),
        (0xF7FF, 0xFFFE),
        (0x4770, 0),
        (0x4798, 0),
        (0xB110, 0),
        (0xB910, 0),
        (0x4687, 0),
        (0x4487, 0),
        (0xBD10, 0),
        (0xE8BD, 0x81F0),
    ];
    for (first, second) in branches {
        assert!(
            Instr::decode(first, second).may_branch(),
            "{first:04x} {second:04x}"
        );
    }
    // Their refill is in the table already.
    for (first, second) in [(0xF8D0, 0xF000), (0xE8DF, 0xF000)] {
        assert!(
            !Instr::decode(first, second).may_branch(),
            "{first:04x} {second:04x}"
        );
    }
    // push, nop, svc, udf, nop.w, msr, ldm without the PC, mov r8
    for (first, second) in [
        (0xB510, 0),
        (0xBF00, 0),
        (0xDF01, 0),
        (0xDE01, 0),
        (0xF3AF, 0x8000),
        (0xF381, 0x8810),
        (0xE910, 0x0FF0),
        (0x4688, 0),
    ] {
        assert!(
            !Instr::decode(first, second).may_branch(),
            "{first:04x} {second:04x}"
        );
    }
}

#[test]
fn sizes_follow_the_first_halfword() {
    assert_eq!(Instr::decode(0xE7FE, 0).size(), 2);
    assert_eq!(Instr::decode(0xE800, 0).size(), 4);
    assert_eq!(Instr::decode(0xF891, 0xF000).size(), 4);
}

const LDR_R0_R1: (u16, u16) = (0x6808, 0);
const LDR_R2_R3: (u16, u16) = (0x685A, 0);
const LDR_R2_R0: (u16, u16) = (0x6842, 0);
const ADDS_R1: (u16, u16) = (0x3104, 0);
const CMP_R1: (u16, u16) = (0x2903, 0);

#[test]
fn back_to_back_loads_share_a_cycle_unless_one_feeds_the_next() {
    assert_eq!(pair(LDR_R0_R1, LDR_R2_R3), 1);
    assert_eq!(pair(LDR_R0_R1, LDR_R2_R0), 2);
    // A base that the load before wrote back is ready: ldr r0,[r1],#4 twice.
    assert_eq!(pair((0xF851, 0x0B04), (0xF851, 0x0B04)), 1);
    // LDM and LDRD are no single loads.
    assert_eq!(pair((0xC80E, 0), LDR_R2_R3), 2);
    assert_eq!(pair(LDR_R0_R1, (0xE9D2, 0x0100)), 3);
    // A loaded address does not delay a store.
    assert_eq!(pair((0x6809, 0), (0x6008, 0)), 1);
}

#[test]
fn an_address_computed_just_before_costs_a_cycle() {
    assert_eq!(pair(ADDS_R1, LDR_R0_R1), 3);
    assert_eq!(pair(ADDS_R1, (0x6008, 0)), 2);
    assert_eq!(pair(CMP_R1, LDR_R0_R1), 2);
    assert_eq!(pair(ADDS_R1, LDR_R2_R3), 2);
    // The offset register counts too: mov r4 (as movw), then ldr r2,[r3,r4].
    assert_eq!(pair((0xF240, 0x44D2), (0xF853, 0x2024)), 3);
    // sub sp, then push.
    assert_eq!(pair((0xB082, 0), (0xB510, 0)), 4);
    // The stored value is no address: adds r0 with strb r0,[r1,r2].
    assert_eq!(pair((0x3004, 0), (0x5488, 0)), 1);
    // Both halves of a long product: smull r1,r2 then loads from r1 and from r2.
    assert_eq!(pair((0xFB83, 0x1204), LDR_R0_R1), 3);
    assert_eq!(pair((0xFB83, 0x1204), (0x6810, 0)), 3);
}

#[test]
fn no_encoding_panics() {
    for first in 0..=u16::MAX {
        for second in [0, 0x0F00, 0x5555, 0x8000, 0xAAAA, 0xF000, 0xFFFF] {
            let instr = Instr::decode(first, second);
            assert!(instr.cycles_after(instr) <= 300);
        }
    }
}
