#![no_main]

/// libFuzzer ends at every panic. The crate `parquet` asserts some of what a malformed file may
/// say, and the loader makes errors of that (`guarded`): such a panic is a finding only where it
/// is not caught, which libFuzzer notices all the same.
fn let_the_loader_catch() {
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let of_the_reader = |place: &std::panic::Location| place.file().contains("/parquet-");
        if !panic.location().is_some_and(of_the_reader) {
            abort(panic);
        }
    }));
}

libfuzzer_sys::fuzz_target!(
    init: let_the_loader_catch(),
    |data: &[u8]| fuzz::files::parquet(data)
);
