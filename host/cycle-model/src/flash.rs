//! The flash accelerator: two small caches of 16-byte lines in front of slow flash.

/// Bytes in a line of either cache.
pub const LINE_BYTES: u32 = 16;

const NOT_CACHED: u8 = u8::MAX;
/// No line has this number: it would lie beyond the 32-bit address space.
const NO_LINE: u32 = u32::MAX;

/// Where flash lies and how much of it the accelerator keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlashGeometry {
    /// Address of the first byte.
    pub base: u32,
    /// Bytes.
    pub size: u32,
    /// Lines of the instruction cache, 1 to 254.
    pub icache_lines: u8,
    /// Lines of the data cache, 1 to 254.
    pub dcache_lines: u8,
}

/// Line fetches that had to wait for flash. Each costs the board's wait states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Misses {
    /// By instruction fetches.
    pub instruction: u64,
    /// By data reads.
    pub data: u64,
}

/// Both caches of the accelerator and the prefetch buffer.
///
/// Instruction side: entering another line than the last one looks in the cache, then
/// in the prefetch buffer, which holds the line behind the one entered last; otherwise
/// it is a miss. Data side: each read looks up the lines it touches. The two do not
/// influence each other, so an engine may report the fetches of a block before its
/// reads.
#[derive(Debug, Clone)]
pub struct FlashCaches {
    base: u32,
    size: u32,
    instruction: LruCache,
    data: LruCache,
    /// The line that instructions last came from.
    current: u32,
    prefetched: u32,
    /// The line that data was last read from, a shortcut past the lookup.
    last_read: u32,
    misses: Misses,
}

impl FlashCaches {
    /// Two empty caches.
    #[must_use]
    pub fn new(geometry: FlashGeometry) -> Self {
        let lines = geometry.size.div_ceil(LINE_BYTES) as usize;
        Self {
            base: geometry.base,
            size: geometry.size,
            instruction: LruCache::new(geometry.icache_lines, lines),
            data: LruCache::new(geometry.dcache_lines, lines),
            current: NO_LINE,
            prefetched: NO_LINE,
            last_read: NO_LINE,
            misses: Misses::default(),
        }
    }

    /// Empties both caches and the prefetch buffer. The miss counts go on.
    pub fn clear(&mut self) {
        self.instruction.clear();
        self.data.clear();
        (self.current, self.prefetched, self.last_read) = (NO_LINE, NO_LINE, NO_LINE);
    }

    /// Misses since the caches were made.
    #[must_use]
    pub fn misses(&self) -> Misses {
        self.misses
    }

    /// Fetches the instructions in `start..end`, one or a block of them.
    #[inline]
    pub fn fetch(&mut self, start: u32, end: u32) {
        let Some(first) = self.line_of(start) else {
            self.current = NO_LINE;
            return;
        };
        let last = (end.wrapping_sub(1).wrapping_sub(self.base)) / LINE_BYTES;
        for line in first..=last {
            if line != self.current {
                self.enter(line);
            }
        }
    }

    /// Reads `len` bytes of data at `address`; SRAM and peripherals are ignored.
    #[inline]
    pub fn read(&mut self, address: u32, len: u32) {
        let Some(first) = self.line_of(address) else {
            return;
        };
        let last = (address - self.base + len - 1) / LINE_BYTES;
        for line in first..=last.min((self.size - 1) / LINE_BYTES) {
            if line != self.last_read {
                self.last_read = line;
                self.misses.data += u64::from(!self.data.touch(line));
            }
        }
    }

    #[inline]
    fn line_of(&self, address: u32) -> Option<u32> {
        let offset = address.wrapping_sub(self.base);
        (offset < self.size).then_some(offset / LINE_BYTES)
    }

    #[inline]
    fn enter(&mut self, line: u32) {
        let cached = self.instruction.touch(line);
        if !cached && line != self.prefetched {
            self.misses.instruction += 1;
        }
        self.current = line;
        self.prefetched = line + 1;
    }
}

/// A fully associative cache of line numbers that gives up the least recently used.
///
/// The ways form a ring in the order of their use, so that hit and miss take constant
/// time: code that does not fit the cache misses often.
#[derive(Debug, Clone)]
struct LruCache {
    /// For each line of flash, the way that holds it.
    way_of: Vec<u8>,
    ways: Vec<Way>,
    /// The most recently used way; the one before it in the ring is the least.
    newest: u8,
}

#[derive(Debug, Clone, Copy)]
struct Way {
    /// The line it holds, or [`NO_LINE`].
    line: u32,
    newer: u8,
    older: u8,
}

impl LruCache {
    fn new(ways: u8, lines: usize) -> Self {
        let ways = ways.clamp(1, NOT_CACHED - 1);
        let way = |n: u8| Way {
            line: NO_LINE,
            newer: if n == 0 { ways - 1 } else { n - 1 },
            older: if n == ways - 1 { 0 } else { n + 1 },
        };
        Self {
            way_of: vec![NOT_CACHED; lines],
            ways: (0..ways).map(way).collect(),
            newest: 0,
        }
    }

    fn clear(&mut self) {
        for way in &mut self.ways {
            if way.line != NO_LINE {
                self.way_of[way.line as usize] = NOT_CACHED;
            }
            way.line = NO_LINE;
        }
    }

    /// Makes `line` the most recently used; whether it was there already.
    #[inline]
    fn touch(&mut self, line: u32) -> bool {
        let Some(&way) = self.way_of.get(line as usize) else {
            return false;
        };
        if way == NOT_CACHED {
            self.replace_oldest(line);
            return false;
        }
        if way != self.newest {
            self.make_newest(way);
        }
        true
    }

    fn replace_oldest(&mut self, line: u32) {
        let oldest = self.ways[usize::from(self.newest)].newer;
        let way = &mut self.ways[usize::from(oldest)];
        let evicted = std::mem::replace(&mut way.line, line);
        if evicted != NO_LINE {
            self.way_of[evicted as usize] = NOT_CACHED;
        }
        self.way_of[line as usize] = oldest;
        // In a ring, the oldest is the newest's neighbour: turning the ring is enough.
        self.newest = oldest;
    }

    /// Takes `way` out of the ring and puts it back as the newest.
    fn make_newest(&mut self, way: u8) {
        let Way { newer, older, .. } = self.ways[usize::from(way)];
        self.ways[usize::from(newer)].older = older;
        self.ways[usize::from(older)].newer = newer;
        let second = self.newest;
        let oldest = self.ways[usize::from(second)].newer;
        self.ways[usize::from(way)].newer = oldest;
        self.ways[usize::from(way)].older = second;
        self.ways[usize::from(second)].newer = way;
        self.ways[usize::from(oldest)].older = way;
        self.newest = way;
    }
}

#[cfg(test)]
mod tests;
