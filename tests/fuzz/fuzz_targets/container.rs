//! Any bytes are an error, or a file whose accessors all work and agree.
#![no_main]

use kinglet_tests::{properties, synthetic::FileBytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = properties::container(FileBytes::new(bytes).bytes());
});
