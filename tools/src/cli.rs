//! tmp
mod bandwidth;
mod boards;
mod divergence;
mod describe;
mod memory;
mod options;
#[macro_use]
mod out;
mod text;
