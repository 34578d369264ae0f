//! Speed: `benches/kernels.rs` times every kernel beside the memory's bandwidth, `peers/` runs other programs on the same
//! weights. No test asserts a time; nothing here is used by another crate.
