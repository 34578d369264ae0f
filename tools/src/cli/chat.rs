//! tmp
use super::out::Done; use super::Global;
use kinglet::format::Container;
/// chat
#[derive(clap::Args, Debug)]
pub(crate) struct ChatArgs {}
pub(crate) fn run(_g: Global, _a: &ChatArgs) -> Done { Ok(()) }
pub(crate) fn roles(_c: &Container<'_>) -> Vec<String> { Vec::new() }
