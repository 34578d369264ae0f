//! The converter's library: reading checkpoints, mapping model families onto the spec, compiling tokenizers, writing files.

pub mod chat_template;
pub mod tokenizer_compiler;
