//! The workstation side of Kinglet: from a Hugging Face checkpoint to a `.kgl` file.
//!
//! [`checkpoint`] reads the folder, [`family`] says what the model is and which tensors feed which, [`convert`]
//! streams them through the quantisers into a [`writer`]; [`report`] and [`parameters`] are tables for people.
//! Nothing here runs a model: that is the crate `kinglet`.
#![deny(unsafe_code)]

pub mod chat_template;
pub mod checkpoint;
pub mod cli;
pub mod convert;
pub mod digest;
pub mod family;
pub mod output;
pub mod parameters;
pub mod report;
pub mod tokenizer_compiler;
pub mod writer;
