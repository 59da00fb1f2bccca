use super::*;

/// A seeded xorshift generator: the crate has no dependencies, not even for tests.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn run(stream: &[(u32, (u16, u16))]) -> Pipeline {
    let mut pipeline = Pipeline::default();
    for &(pc, (first, second)) in stream {
        pipeline.step(pc, Instr::decode(first, second));
    }
    pipeline
}

const BEQ: (u16, u16) = (0xD0FE, 0);
const NOP: (u16, u16) = (0xBF00, 0);
const LDR: (u16, u16) = (0x6808, 0);

#[test]
fn a_taken_branch_costs_two_more() {
    assert_eq!(run(&[(0x100, BEQ), (0x102, NOP)]).cycles, 2);
    assert_eq!(run(&[(0x100, BEQ), (0x200, NOP)]).cycles, 4);
    // An exception is no branch.
    assert_eq!(run(&[(0x100, NOP), (0x200, NOP)]).cycles, 2);
}

#[test]
fn n_loads_take_n_plus_one() {
    let loads: Vec<_> = (0..10).map(|i| (0x100 + 2 * i, LDR)).collect();
    assert_eq!(run(&loads).cycles, 11);
    assert_eq!(run(&loads).instructions, 10);
}

#[test]
fn the_refill_is_charged_once() {
    let mut pipeline = run(&[(0x100, BEQ)]);
    pipeline.arrive(0x200);
    pipeline.arrive(0x200);
    assert_eq!(pipeline.cycles, 3);
    pipeline.step(0x200, Instr::decode(NOP.0, NOP.1));
    assert_eq!(pipeline.cycles, 4);
}

#[test]
fn blocks_and_steps_count_the_same_on_random_streams() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for _ in 0..200 {
        let (mut stepped, mut blocked) = (Pipeline::default(), Pipeline::default());
        let mut pc = 0x0800_0000u32;
        for _ in 0..50 {
            if random.next().is_multiple_of(2) {
                pc = 0x0800_0000 + (random.next() % 0x1000) as u32 * 2;
            }
            let mut block: Option<Block> = None;
            for _ in 0..=random.next() % 12 {
                let word = random.next();
                let instr = Instr::decode(word as u16, (word >> 16) as u16);
                stepped.step(pc, instr);
                pc = pc.wrapping_add(instr.size());
                match &mut block {
                    None => block = Some(Block::new(pc.wrapping_sub(instr.size()), instr)),
                    Some(block) => block.push(instr),
                }
            }
            blocked.run_block(&block.expect("at least one instruction"));
        }
        assert_eq!(stepped.cycles, blocked.cycles);
        assert_eq!(stepped.instructions, blocked.instructions);
    }
}
