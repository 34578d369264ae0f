//! The activation functions and the exponential of attention: the bodies of [`lanes`] and [`math`], some registers at a
//! time.
//!
//! A function of one register is a chain of some thirty operations, each of which waits for the one before. Cores that issue
//! in order do nothing meanwhile, and so have several chains side by side: the compiler unrolls a loop whose length it knows.

use crate::kernels::{Activation, lanes};
use crate::math;

/// Numbers of four registers: more chains than that do not fit the registers.
const SIDE_BY_SIDE: usize = 16;

/// `x[p] = exp(x[p] - max)`, of which no difference is above 0, for whole chunks of `x`.
///
/// Not inlined, and of any length: the compiler would unroll a whole block, whose chains do not fit the registers.
#[inline(never)]
#[target_feature(enable = "neon")]
pub(super) fn exps(x: &mut [f32], max: f32) {
    for x in x.as_chunks_mut::<SIDE_BY_SIDE>().0 {
        for p in 0..SIDE_BY_SIDE {
            x[p] = math::exp_nonpositive(x[p] - max);
        }
    }
}

/// Entry `activate`.
#[target_feature(enable = "neon")]
pub(super) fn activate(f: Activation, x: &mut [f32]) {
    let (chunks, tail) = x.as_chunks_mut::<SIDE_BY_SIDE>();
    let mut last = lanes::padded::<SIDE_BY_SIDE>(tail);
    for x in chunks.iter_mut().chain(&mut last) {
        lanes::activate(f, x);
    }
    put_back(&last, tail);
}

/// Entry `activate_gated`.
#[target_feature(enable = "neon")]
pub(super) fn activate_gated(f: Activation, up: &[f32], gate: &mut [f32]) {
    assert_eq!(up.len(), gate.len());
    let (up_chunks, up_tail) = up.as_chunks::<SIDE_BY_SIDE>();
    let (chunks, tail) = gate.as_chunks_mut::<SIDE_BY_SIDE>();
    let mut last = lanes::padded::<SIDE_BY_SIDE>(tail);
    for (up, gate) in up_chunks.iter().chain(&lanes::padded(up_tail)).zip(chunks.iter_mut().chain(&mut last)) {
        // In a copy, which overlaps nothing: the compiler would ask, and have scalar code ready for the answer yes.
        let mut y = *gate;
        lanes::activate(f, &mut y);
        for i in 0..SIDE_BY_SIDE {
            y[i] *= up[i];
        }
        *gate = y;
    }
    put_back(&last, tail);
}

/// Where it came from.
#[inline]
fn put_back(last: &Option<[f32; SIDE_BY_SIDE]>, tail: &mut [f32]) {
    if let Some(chunk) = last {
        tail.copy_from_slice(&chunk[..tail.len()]);
    }
}
