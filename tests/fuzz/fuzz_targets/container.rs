//! Any bytes are an error, or a file whose accessors all work and agree.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// One text of the properties, for the fuzzer here and for the random damage of the test suite.
#[path = "../../src/properties.rs"]
#[allow(dead_code, reason = "each target uses its half")]
mod properties;

fuzz_target!(|bytes: &[u8]| {
    let _ = properties::container(bytes);
});
