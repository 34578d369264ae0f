//! Inputs shared by the tokenizer tests.

pub(crate) mod families;
pub(crate) mod text;
