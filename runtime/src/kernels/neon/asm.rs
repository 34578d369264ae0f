//! The instructions whose intrinsics are unstable in the Rust that we build with (`vdotq_laneq_s32`, `vdotq_s32`,
//! `vmmlaq_s32`).
//!
//! None touches memory or flags, so that the compiler may move and merge them as it does with intrinsics.

use core::arch::aarch64::{int8x16_t, int32x4_t};
use core::arch::asm;

/// `acc[i] + Σ w[4i + j] * x[4 LANE + j]`, `j` being 0 to 3: the four bytes of one lane of `x` meet those of every lane.
///
/// # Safety
/// The machine has the features.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn sdot_lane<const LANE: i32>(mut acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: the features are enabled here.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {w:v}.16b, {x:v}.4b[{lane}]",
            acc = inout(vreg) acc,
            w = in(vreg) w,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// For rows `i` and `j` of two, of eight bytes each: `acc[2i + j] + Σ a[8i + k] * b[8j + k]`, `k` being 0 to 7.
///
/// # Safety
/// The machine has the features.
#[inline]
#[target_feature(enable = "neon,i8mm")]
pub(super) unsafe fn smmla(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the features are enabled here.
    unsafe {
        asm!(
            "smmla {acc:v}.4s, {a:v}.16b, {b:v}.16b",
            acc = inout(vreg) acc,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}
