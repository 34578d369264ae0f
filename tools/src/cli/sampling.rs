//! tmp
use super::options::SamplingArgs;
use super::out::{Done, Failure};
use kinglet::tokenizer::{TokenId, Tokenizer};
pub(crate) struct Chooser;
impl Chooser {
    pub(crate) fn new(_args: &SamplingArgs, _t: &Tokenizer<'_>, _vocab: u32, _context: usize, _seed: u64) -> Result<Self, Failure> { Ok(Self) }
    pub(crate) fn see(&mut self, _t: &[TokenId]) {}
    pub(crate) fn choose(&mut self, l: &mut [f32]) -> Result<TokenId, Failure> {
        let mut b = 0; for i in 0..l.len() { if l[i] > l[b] { b = i } } Ok(TokenId(b as u32))
    }
}
pub(crate) struct Stops;
impl Stops {
    pub(crate) fn new(_s: &[String]) -> Result<Self, Failure> { Ok(Self) }
    pub(crate) fn push(&mut self, p: &str, sink: &mut dyn FnMut(&str) -> Done) -> Result<bool, Failure> { sink(p)?; Ok(false) }
    pub(crate) fn finish(&mut self, _sink: &mut dyn FnMut(&str) -> Done) -> Done { Ok(()) }
}
