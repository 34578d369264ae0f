//! The kernels: one table of functions per instruction set, all with the same bits.
//!
//! [`Kernels::select`] gives the table for an [`Isa`]; `scalar` is the oracle of all others.
//! Names follow operation, weights, activations: `matmul_q4` takes q4 weights and int8 activations to f32 outputs.
//!
//! **Laws** that every table keeps, bit for bit:
//! - No fused multiply-add, no reassociation, no libm: floats are `+ - * / sqrt`, min/max by comparison, conversions.
//! - A *lane sum* of `x[0..n]`: lane `l` adds `x[l], x[l+8], x[l+16], ...` in order, starting from 0, the last chunk
//!   padded with zeros; then `((l0+l4) + (l2+l6)) + ((l1+l5) + (l3+l7))`.
//! - `matmul_f32`, `matmul_f16`: a row's output is the lane sum of `w[k] * x[k]`.
//! - `matmul_q8`: `y = row_scale * A`, where `A` starts at 0 and adds, group of activations after group,
//!   `f32(Σ s_b Σ q x) * scale_g`; the inner sums are exact in i32.
//! - `matmul_q4`: `y = row_scale * A - row_min * M`, with `M` likewise from `f32(Σ m_b * sum_b) * scale_g`.
//! - Attention: see [`attention`].
#![expect(clippy::needless_range_loop, reason = "rows, lanes and tokens index several arrays at once")]

mod attend;
pub mod attention;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "intrinsics on pointers whose bounds are asserted at the door")]
mod avx2;
#[cfg(feature = "std")]
pub mod contract;
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
#[expect(unsafe_code, reason = "eight at a time of slices whose lengths are asserted")]
mod float;
mod lanes;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
#[expect(unsafe_code, reason = "intrinsics on pointers whose bounds are asserted at the door")]
mod neon;
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
#[expect(unsafe_code, reason = "pointers whose bounds are asserted at the door")]
mod product;
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
mod quantise;
mod scalar;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "intrinsics on pointers whose bounds are asserted at the door")]
mod vnni;

use crate::isa::Isa;
use crate::tensor::{Acts, ActsMut, Matrix, Outputs};
use attention::{CacheF32, CacheI8, Partials, QueriesF32, QueriesI8};
use kinglet_quant::{DType, act};

/// The activation function of a feed-forward layer. The discriminants are those of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu = 0,
    /// `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x³)))`, the tanh form of GELU.
    GeluTanh = 1,
    /// `0.5 x (1 + erf(x / sqrt 2))`.
    GeluErf = 2,
    /// `max(x, 0)`.
    Relu = 3,
}

impl Activation {
    /// The function with this value in the file.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Silu),
            1 => Some(Self::GeluTanh),
            2 => Some(Self::GeluErf),
            3 => Some(Self::Relu),
            _ => None,
        }
    }
}

/// One instruction set's kernels. Entries are coarse, so that a call through a pointer costs nothing.
///
/// An entry panics when its arguments do not fit each other; matrices have at least one column.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::type_complexity, reason = "the signatures are the contract; a name for each would hide it")]
pub struct Kernels {
    /// Which instruction set these use.
    pub isa: Isa,
    /// Quantises `x: [tokens][cols]` by the law of [`kinglet_quant::act`].
    pub quantise: fn(x: &[f32], out: &mut ActsMut<'_>),
    /// Quantises `x: [scales.len()][head_dim]` by the law of [`act::quantise_group`], each row as one group: queries,
    /// keys and values.
    pub quantise_heads: fn(x: &[f32], scales: &mut [f32], quants: &mut [i8]),
    /// Takes what `acts` stand for off `x: [tokens][cols]`, as [`act::subtract`] does: what is left over for the next term.
    pub subtract: fn(acts: &Acts<'_>, x: &mut [f32]),
    /// q4 weights, int8 activations: fills the tiles of `out`.
    pub matmul_q4: fn(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>),
    /// q8 weights, int8 activations: fills the tiles of `out`.
    pub matmul_q8: fn(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>),
    /// f16 weights, f32 activations `[tokens][cols]`: fills the tiles of `out`.
    pub matmul_f16: fn(w: &Matrix<'_>, x: &[f32], out: &mut Outputs<'_>),
    /// f32 weights, f32 activations `[tokens][cols]`: fills the tiles of `out`.
    pub matmul_f32: fn(w: &Matrix<'_>, x: &[f32], out: &mut Outputs<'_>),
    /// `out[i] = (x[i] * r) * weight[i]`, `r = 1 / sqrt(lane_sum(x²) / n + eps)`; one vector.
    pub rms_norm: fn(weight: &[f32], eps: f32, x: &[f32], out: &mut [f32]),
    /// `out[i] = ((x[i] - mean) * r) * weight[i] + bias[i]`, `mean = lane_sum(x) / n`,
    /// `r = 1 / sqrt(lane_sum((x - mean)²) / n + eps)`; one vector.
    pub layer_norm: fn(weight: &[f32], bias: &[f32], eps: f32, x: &[f32], out: &mut [f32]),
    /// Rotates one head in place by halves: `a' = a cos - b sin`, `b' = b cos + a sin`, where `a` is `x[i]` and `b`
    /// is `x[i + cos.len()]`; what follows the first `2 * cos.len()` elements stays.
    pub rope: fn(cos: &[f32], sin: &[f32], x: &mut [f32]),
    /// `x[i] = f(x[i])`.
    pub activate: fn(f: Activation, x: &mut [f32]),
    /// `gate[i] = f(gate[i]) * up[i]`.
    pub activate_gated: fn(f: Activation, up: &[f32], gate: &mut [f32]),
    /// `y[i] = y[i] + x[i]`.
    pub add: fn(x: &[f32], y: &mut [f32]),
    /// Attention of some query rows over one span of an int8 cache.
    pub attend_i8: fn(cache: &CacheI8<'_>, queries: &QueriesI8<'_>, span: usize, out: &mut Partials<'_>),
    /// Attention of some query rows over one span of an f32 cache.
    pub attend_f32: fn(cache: &CacheF32<'_>, queries: &QueriesF32<'_>, span: usize, out: &mut Partials<'_>),
    /// Adds to `out` what a later span gave the same rows.
    pub merge: fn(later: &Partials<'_>, out: &mut Partials<'_>),
}

impl Kernels {
    /// The kernels of `isa`, if this machine has it. What a larger set has no kernel of its own for, it takes from a smaller one.
    #[expect(unsafe_code, reason = "the machine was asked")]
    #[must_use]
    pub fn select(isa: Isa) -> Option<&'static Kernels> {
        // SAFETY: the machine has it.
        if isa.is_available() { unsafe { Self::assume(isa) } } else { None }
    }

    /// The kernels of `isa`, on the word of the caller: a board that knows its CPU, where no operating system can be asked and
    /// the build is for less. `None` if the architecture has no such set.
    ///
    /// # Safety
    /// The machine has the instructions of `isa`, and they are switched on. On AArch64 without a system: weights and
    /// activations lie in Normal memory (that is, the MMU is on), alignment is not checked (`SCTLR_ELx.A` is 0), and `FPCR` is 0,
    /// which equal bits need.
    #[expect(unsafe_code, reason = "the caller's word makes tokens")]
    #[cfg_attr(
        not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon"))),
        expect(unused_unsafe, reason = "scalar needs no word")
    )]
    #[inline] // so that a board which names one set links one table
    #[must_use]
    pub unsafe fn assume(isa: Isa) -> Option<&'static Kernels> {
        // SAFETY: the caller's duty.
        unsafe {
            match isa {
                Isa::Scalar => Some(&scalar::TABLE),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => Some(avx2::kernels(crate::isa::Avx2::assume())),
                #[cfg(target_arch = "x86_64")]
                Isa::AvxVnni => Some(vnni::avxvnni::kernels(crate::isa::AvxVnni::assume())),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => Some(vnni::avx512::kernels(crate::isa::Avx512::assume())),
                #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
                Isa::Neon => Some(neon::kernels(crate::isa::Neon::assume())),
                #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
                Isa::DotProd => Some(neon::dotprod::kernels(crate::isa::DotProd::assume())),
                #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
                Isa::I8mm => Some(neon::i8mm::kernels(crate::isa::I8mm::assume())),
                #[cfg(not(target_arch = "x86_64"))]
                Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => None,
                #[cfg(not(all(target_arch = "aarch64", target_feature = "neon")))]
                Isa::Neon | Isa::DotProd | Isa::I8mm => None,
            }
        }
    }

    /// The kernels of the best instruction set that this machine has.
    #[must_use]
    pub fn best() -> &'static Kernels {
        Isa::available().rev().find_map(Kernels::select).unwrap_or(&scalar::TABLE)
    }
}

/// Asks for the cache lines of `bytes` bytes. It is a hint: any address will do.
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
#[expect(unsafe_code, reason = "the one instruction")]
#[inline(always)]
fn prefetch(first: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        let line = first.wrapping_add(line);
        // SAFETY: every machine of the architecture has the instruction, which faults nowhere and changes nothing.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(line.cast());
        }
        // SAFETY: as above. No intrinsic for it is stable.
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        unsafe {
            core::arch::asm!("prfm pldl1keep, [{line}]", line = in(reg) line.addr(), options(nomem, nostack, preserves_flags));
        }
    }
}

/// The entries whose bodies are those of [`lanes`], compiled with the features of an instruction set.
#[cfg(target_arch = "x86_64")]
macro_rules! lane_entries {
    ($entry:ident) => {
        $entry! {
            fn subtract(acts: &crate::tensor::Acts<'_>, x: &mut [f32]) = crate::kernels::lanes::subtract;
            fn rms_norm(weight: &[f32], eps: f32, x: &[f32], out: &mut [f32]) = crate::kernels::lanes::rms_norm;
            fn layer_norm(weight: &[f32], bias: &[f32], eps: f32, x: &[f32], out: &mut [f32]) = crate::kernels::lanes::layer_norm;
            fn rope(cos: &[f32], sin: &[f32], x: &mut [f32]) = crate::kernels::lanes::rope;
            fn activate(f: crate::kernels::Activation, x: &mut [f32]) = crate::kernels::lanes::activate;
            fn activate_gated(f: crate::kernels::Activation, up: &[f32], gate: &mut [f32]) = crate::kernels::lanes::activate_gated;
            fn add(x: &[f32], y: &mut [f32]) = crate::kernels::lanes::add;
        }
    };
}
#[cfg(target_arch = "x86_64")]
use lane_entries;

/// What every quantised product asserts at its door; its pointers run free inside.
#[inline(always)]
fn check_quantised(dtype: DType, w: &Matrix<'_>, x: &Acts<'_>, out: &Outputs<'_>) {
    assert!(w.dtype() == dtype && w.cols() > 0 && w.cols() == x.cols());
    assert!(out.rows() == w.rows() && out.tokens() == x.tokens() && out.tiles().end <= w.tiles());
}

/// What every float product asserts at its door.
#[inline(always)]
fn check_float(dtype: DType, w: &Matrix<'_>, x: &[f32], out: &Outputs<'_>) {
    assert!(w.dtype() == dtype && w.cols() > 0 && out.rows() == w.rows() && out.tiles().end <= w.tiles());
    assert!(w.cols().checked_mul(out.tokens()) == Some(x.len()));
}

/// What quantising a batch asserts at its door.
#[inline(always)]
fn check_quantise(x: &[f32], out: &ActsMut<'_>) {
    assert!(out.cols().checked_mul(out.tokens()) == Some(x.len()));
}

/// What quantising heads asserts at its door; returns their size, at least 1.
#[inline(always)]
fn check_heads(x: &[f32], scales: &[f32], quants: &[i8]) -> usize {
    let head_dim = x.len().checked_div(scales.len()).unwrap_or(0);
    assert!(x.len() == head_dim * scales.len() && quants.len() == x.len());
    head_dim.max(1)
}

/// Quants, scales and block sums of token `t`.
#[inline(always)]
fn token<'a>(x: &Acts<'a>, t: usize) -> (&'a [i8], &'a [f32], &'a [i16]) {
    let (padded, groups, blocks) = (act::padded(x.cols()), act::groups(x.cols()), act::blocks(x.cols()));
    (&x.quants()[t * padded..][..padded], &x.scales()[t * groups..][..groups], &x.sums()[t * blocks..][..blocks])
}
