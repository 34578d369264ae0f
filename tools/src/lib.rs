//! tmp
pub mod cli;
