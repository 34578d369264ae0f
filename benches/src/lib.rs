//! Speed: `benches/kernels` times every kernel beside its rooflines, `arm_kernels` runs one for `cargo xtask arm-cycles`, `peers/`
//! runs other programs on the same weights. No test asserts a time.

#![deny(unsafe_code)]

pub mod data;
