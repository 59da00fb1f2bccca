//! Other people's decoders, which assert some of what a malformed file may say.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::sync::Once;

thread_local! {
    /// Whether a panic here becomes an error.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// What `work` gives; `None` where it panics, which is not printed: the caller tells an error
/// instead.
///
/// `work` is calls of a crate that reads a file, and nothing of ours. Fuzzing found that these need
/// it: `parquet` 60 (column chunks of negative length, dictionaries that never come, lengths beyond
/// a page) and `zune-jpeg` 0.5 (rows beyond the end of its output).
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                tell(panic);
            }
        }));
    });
    let before = GUARDED.replace(true);
    let done = std::panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(before);
    done.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_nothing_and_the_next_one_outside_is_told() {
        assert_eq!(guarded(|| 5), Some(5));
        let within = guarded(|| {
            assert_eq!(guarded::<()>(|| panic!("not told")), None);
            GUARDED.get()
        });
        assert_eq!(within, Some(true), "still guarded");
        assert!(!GUARDED.get());
    }
}
