//! Speed: `benches/kernels` times every kernel beside its rooflines, `peers/` runs other programs on the same weights. No test
//! asserts a time; nothing here is used by another crate.
