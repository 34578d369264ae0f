//! Kinglet: a `no_std` runtime for int4/int8-quantised transformers.
//!
//! A `.kgl` file is used where it lies: mapped, or in flash. [`format`](mod@format) checks it once, [`model`] binds its tensors,
//! [`session`] runs it over an arena that the caller hands over. Logits are the same bits on every machine, for any
//! number of threads and any split of the prompt.
//!
//! It does not train, does not convert checkpoints (that is `kinglet-tools`), executes nothing that a file contains, and has no
//! global state. `docs/design.md` is the map of its modules.
//!
//! ```
//! use kinglet::kernels::Kernels;
//! use kinglet::model::Model;
//! use kinglet::session::{Options, Plan, Session};
//! use kinglet::tokenizer::TokenId;
//! use kinglet::workers::Serial;
//!
//! /// The logits that follow `tokens`; the file lies in memory or flash.
//! fn logits(file: &[u8], tokens: &[TokenId]) -> Result<Vec<f32>, Box<dyn std::error::Error>> {
//!     let model = Model::new(file)?;
//!     let plan = Plan::new(model.spec(), Options { context: 64, ..Options::default() })?;
//!     let mut arena = vec![0; plan.arena_bytes()];
//!     let mut session = Session::new(&model, &plan, &mut arena, Kernels::best(), &Serial)?;
//!     let logits = session.prefill(tokens)?.to_vec();
//!     Ok(logits)
//! }
//! assert!(logits(b"not a model", &[TokenId(0)]).is_err());
//! ```
#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![deny(unsafe_code)]

pub mod arena;
pub mod block;
pub mod fnv;
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
