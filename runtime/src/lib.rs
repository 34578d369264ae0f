//! Kinglet: a `no_std` runtime for int4/int8-quantised transformers.
//!
//! A `.kgl` file is used where it lies: mapped, or in flash. [`format`](mod@format) checks it once, [`model`] binds its tensors,
//! [`session`] runs it over an arena that the caller hands over. Logits are the same bits on every machine, for any
//! number of threads and any split of the prompt.
#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![deny(unsafe_code)]

pub mod arena;
pub mod block;
pub mod format;
pub mod isa;
pub mod kernels;
pub mod kv;
#[cfg(feature = "std")]
pub mod map;
pub mod math;
pub mod model;
pub mod ops;
pub mod sampler;
pub mod session;
pub mod spec;
pub mod tensor;
pub mod tokenizer;
pub mod workers;
