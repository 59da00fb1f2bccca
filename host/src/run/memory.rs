//! Memory and processor time of this process, as Linux counts them; nothing is known elsewhere.

use std::fs;

/// Most bytes that this process held in memory since [`reset_peak`], or its start.
#[must_use]
pub fn peak_bytes() -> Option<u64> {
    field("/proc/self/status", "VmHWM:")
}

/// Begins a new measurement of [`peak_bytes`]; whether that could be done.
pub fn reset_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Bytes that this process could still take without the machine swapping or a limit of its
/// control group being met.
#[must_use]
pub fn available_bytes() -> Option<u64> {
    let machine = field("/proc/meminfo", "MemAvailable:");
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = number("/sys/fs/cgroup/memory.max")
        .map(|limit| limit.saturating_sub(number("/sys/fs/cgroup/memory.current").unwrap_or(0)));
    [machine, group].into_iter().flatten().min()
}

/// Seconds that all threads of this process have computed, all cores together.
#[must_use]
pub fn cpu_seconds() -> Option<f64> {
    /// Linux's unit in this file, whatever the kernel's own is.
    const TICKS: f64 = 100.0;
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in brackets, may hold anything; user and system time are fields 14 and 15.
    let fields = text.rsplit_once(')')?.1.split_whitespace();
    let ticks = fields.skip(11).take(2).map(str::parse::<u64>);
    let sum: u64 = ticks.collect::<Result<Vec<_>, _>>().ok()?.iter().sum();
    Some(sum as f64 / TICKS)
}

/// A line such as `VmHWM:  1234 kB` of one of the kernel's files, in bytes.
fn field(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    let number = line.trim().strip_suffix("kB")?.trim();
    number.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_seen() {
        let before = peak_bytes().expect("known");
        let block = vec![1u8; 64 << 20];
        assert!(block.contains(&1));
        let after = peak_bytes().expect("known");
        assert!(after >= before && after >= 64 << 20, "{before} {after}");
        let computed = cpu_seconds().expect("known");
        let start = std::time::Instant::now();
        while cpu_seconds().expect("known") < computed + 0.05 {
            assert!(start.elapsed().as_secs() < 120, "no time passes");
        }
        assert!(available_bytes().expect("known") > 1 << 20);
    }
}
