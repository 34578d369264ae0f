//! What the suites of this crate share: synthetic models of any spec, and runs over them.
//!
//! The suites stand in `tests/`. [`synthetic`] writes a complete `.kgl` file with seeded random weights straight from
//! a spec, so that options no committed checkpoint has are exercised too; [`run`] feeds tokens to a session;
//! [`properties`] states what holds for any bytes, [`calls`] for any
//! calls of the C library; [`floats`] evaluates the float helpers everywhere.

pub mod calls;
pub mod floats;
pub mod golden;
pub mod properties;
pub mod run;
pub mod synthetic;
