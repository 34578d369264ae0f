//! Instructions whose intrinsics are not stable in the project's compiler, as assembly of one instruction each.
//!
//! Each is a function of its registers and nothing else, so that the compiler may move it as it moves an intrinsic.

use core::arch::aarch64::{int8x16_t, int32x4_t};
use core::arch::asm;

/// In each of four lanes, `acc + Σ w[j] * x[j]` over the lane's four bytes of `w` and the four bytes `LANE` (0 to 3) of `x`.
///
/// `vdotq_laneq_s32` is unstable (`stdarch_neon_dotprod`).
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(super) fn sdot_lane<const LANE: i32>(acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    let mut sum = acc;
    // SAFETY: one instruction on registers, which the function's features have.
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[{3}]", inout(vreg) sum, in(vreg) w, in(vreg) x, const LANE,
            options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// `acc + A Bᵀ` with `A` and `B` of 2 rows by 8 bytes: lane `2i + j` has row `i` of `a` and row `j` of `b`.
///
/// `vmmlaq_s32` is unstable (`stdarch_neon_i8mm`).
#[inline]
#[target_feature(enable = "neon,i8mm")]
pub(super) fn smmla(acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    let mut sum = acc;
    // SAFETY: as in `sdot_lane`.
    unsafe {
        asm!("smmla {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sum, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    sum
}
