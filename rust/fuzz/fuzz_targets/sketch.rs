//! Any bytes are refused, or make a sketch that is one: it encodes to itself, merges exactly and has a range.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xslim_kernels::sketch::Sketch;

fuzz_target!(|bytes: &[u8]| {
    let Ok(sketch) = Sketch::from_bytes(bytes) else { return };
    assert_eq!(Sketch::from_bytes(&sketch.to_bytes()).as_ref(), Ok(&sketch));
    assert_eq!(sketch.is_empty(), sketch.count() == 0);
    let _ = sketch.percentile(0.5);
    let _ = sketch.histogram(16, -1.0, 1.0);
    let mut twice = sketch.clone();
    if twice.merge(&sketch).is_ok() {
        assert_eq!(twice.count(), 2 * sketch.count());
    }
});
