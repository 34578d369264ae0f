//! The converter's library: reading checkpoints, mapping model families onto the spec, compiling tokenizers, writing files.

pub mod tokenizer_compiler;
