use super::*;

const BASE: u32 = 0x0800_0000;

fn caches() -> FlashCaches {
    FlashCaches::new(FlashGeometry {
        base: BASE,
        size: 1 << 20,
        icache_lines: 64,
        dcache_lines: 8,
    })
}

#[test]
fn straight_code_waits_once_because_the_next_line_is_prefetched() {
    let mut caches = caches();
    for pc in (BASE..BASE + 1024).step_by(2) {
        caches.fetch(pc, pc + 2);
    }
    assert_eq!(
        caches.misses(),
        Misses {
            instruction: 1,
            data: 0
        }
    );
}

#[test]
fn a_jump_to_a_cold_line_waits_and_to_a_warm_one_does_not() {
    let mut caches = caches();
    for pc in [BASE, BASE + 0x100, BASE, BASE + 0x100] {
        caches.fetch(pc, pc + 2);
    }
    assert_eq!(caches.misses().instruction, 2);
    caches.clear();
    caches.fetch(BASE, BASE + 2);
    assert_eq!(caches.misses().instruction, 3);
}

#[test]
fn a_loop_of_65_lines_thrashes_and_one_of_64_fits() {
    for (lines, misses) in [(64, 64), (65, 65 * 3)] {
        let mut caches = caches();
        for _ in 0..3 {
            // Every other line, so that the prefetch never helps.
            for line in 0..lines {
                caches.fetch(BASE + line * 32, BASE + line * 32 + 2);
            }
        }
        assert_eq!(caches.misses().instruction, misses, "{lines} lines");
    }
}

#[test]
fn an_instruction_across_two_lines_fetches_both() {
    let mut caches = caches();
    caches.fetch(BASE + 14, BASE + 18);
    caches.fetch(BASE + 0x100, BASE + 0x102);
    caches.fetch(BASE + 18, BASE + 20);
    assert_eq!(caches.misses().instruction, 2);
}

#[test]
fn data_reads_have_eight_lines_and_no_prefetch() {
    let mut caches = caches();
    for offset in (0..8 * 16).step_by(4) {
        caches.read(BASE + offset, 4);
    }
    assert_eq!(caches.misses().data, 8);
    caches.read(BASE, 4);
    assert_eq!(caches.misses().data, 8);
    // A ninth line evicts line 1, the oldest since line 0 was read again.
    caches.read(BASE + 8 * 16, 1);
    caches.read(BASE, 1);
    assert_eq!(caches.misses().data, 9);
    caches.read(BASE + 16, 1);
    assert_eq!(caches.misses().data, 10);
}

#[test]
fn sram_costs_nothing_and_bounds_hold() {
    let mut caches = caches();
    caches.read(0x2000_0000, 4);
    caches.fetch(0x2000_0000, 0x2000_0004);
    assert_eq!(caches.misses(), Misses::default());
    caches.read(BASE + (1 << 20) - 2, 8);
    caches.fetch(BASE + (1 << 20) - 2, BASE + (1 << 20) + 2);
    assert_eq!(
        caches.misses(),
        Misses {
            instruction: 1,
            data: 1
        }
    );
}

#[test]
fn a_block_fetches_what_its_instructions_fetch() {
    let (mut whole, mut single) = (caches(), caches());
    let mut seed = 1u32;
    for _ in 0..2000 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let start = BASE + (seed >> 16) % 4096 * 2;
        let len = 2 * (1 + (seed >> 8) % 40);
        whole.fetch(start, start + len);
        for pc in (start..start + len).step_by(2) {
            single.fetch(pc, pc + 2);
        }
    }
    assert_eq!(whole.misses(), single.misses());
    assert!(whole.misses().instruction > 100);
}

#[test]
fn the_ring_evicts_what_a_plain_list_would() {
    for ways in [1u8, 2, 3, 8, 64] {
        let (mut cache, mut list) = (LruCache::new(ways, 256), Vec::new());
        let mut seed = 1u32;
        for step in 0..5000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let line = (seed >> 16) % (u32::from(ways) * 2 + 1);
            let hit = list.contains(&line);
            list.retain(|&l| l != line);
            list.insert(0, line);
            list.truncate(usize::from(ways));
            assert_eq!(cache.touch(line), hit, "{ways} ways, step {step}");
            if step == 2500 {
                cache.clear();
                list.clear();
            }
        }
    }
}
