//! Any sequence of calls of the C library is a sequence of codes.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// One text of the calls, for the fuzzer here and for random bytes in the test suite.
#[path = "../../src/calls.rs"]
mod calls;

/// Random weights, with tokenizer and chat format; written with the seeds.
const MODEL: &[u8] = include_bytes!("../../models/random.kgl");

fuzz_target!(|program: &[u8]| {
    let _ = calls::run(MODEL, program);
});
