//! The workstation side of Kinglet: from a Hugging Face checkpoint to a `.kgl` file.
//!
//! [`checkpoint`] reads the folder, [`family`] says what the model is and which tensors feed which, [`convert`]
//! streams them through the quantisers into a [`writer`]; [`report`] and [`parameters`] are tables for people.
//! [`cli`] is the `kinglet` command. The engine itself is the crate `kinglet`; nothing here computes a logit, and nothing
//! reaches for the network.
//!
//! ```
//! use kinglet_quant::DType;
//! use kinglet_tools::checkpoint::Checkpoint;
//! use kinglet_tools::convert::{Conversion, Options};
//!
//! # let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/tiny");
//! let checkpoint = Checkpoint::open(&folder)?;
//! let conversion = Conversion::plan(&checkpoint, &Options::of(DType::Q4))?;
//! // `Conversion::run` writes so many bytes, and not one more.
//! assert!(conversion.file_bytes() < 2 << 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

pub mod calibration;
pub mod chat_template;
pub mod checkpoint;
pub mod cli;
pub mod convert;
pub mod digest;
pub mod family;
pub mod golden;
pub mod output;
pub mod parameters;
pub mod report;
pub mod tokenizer_compiler;
pub mod writer;
