//! Instructions whose intrinsics are not stable in the project's compiler, as assembly.
//!
//! A piece is what tokens do with the weights of a block, not one instruction: the compiler takes each piece for a call of
//! unknown cost, and does not see how a hundred of them are best ordered and kept in registers.

use super::products::{Ints, Sums, Weights};
use core::arch::aarch64::int32x4_t;
use core::arch::asm;

macro_rules! sdot {
    ($sum:literal, $weights:literal, $x:literal, $i:literal) => {
        concat!("sdot {", $sum, ":v}.4s, {", $weights, ":v}.16b, {", $x, ":v}.4b[", $i, "]\n")
    };
}

/// `dots` and the products of a block with the 32 activations at `x`.
///
/// Assembly because `vdotq_laneq_s32` is unstable (`stdarch_neon_dotprod`).
///
/// # Safety
/// There are 32 activations.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn sdot_block(dots: Ints, weights: &Weights, x: *const i8) -> Ints {
    macro_rules! four {
        ($low:literal, $high:literal, $x:literal, $i:literal) => {
            concat!(sdot!("low", $low, $x, $i), sdot!("high", $high, $x, $i))
        };
    }
    let [mut low, mut high] = dots;
    // SAFETY: instructions that the function's features have; the loads are the caller's duty.
    unsafe {
        asm!(
            "ldp {x0:q}, {x1:q}, [{x}]",
            four!("w0", "w1", "x0", "0"),
            four!("w2", "w3", "x0", "1"),
            four!("w4", "w5", "x0", "2"),
            four!("w6", "w7", "x0", "3"),
            four!("w8", "w9", "x1", "0"),
            four!("w10", "w11", "x1", "1"),
            four!("w12", "w13", "x1", "2"),
            four!("w14", "w15", "x1", "3"),
            x = in(reg) x,
            low = inout(vreg) low,
            high = inout(vreg) high,
            w0 = in(vreg) weights[0][0],
            w1 = in(vreg) weights[0][1],
            w2 = in(vreg) weights[1][0],
            w3 = in(vreg) weights[1][1],
            w4 = in(vreg) weights[2][0],
            w5 = in(vreg) weights[2][1],
            w6 = in(vreg) weights[3][0],
            w7 = in(vreg) weights[3][1],
            w8 = in(vreg) weights[4][0],
            w9 = in(vreg) weights[4][1],
            w10 = in(vreg) weights[5][0],
            w11 = in(vreg) weights[5][1],
            w12 = in(vreg) weights[6][0],
            w13 = in(vreg) weights[6][1],
            w14 = in(vreg) weights[7][0],
            w15 = in(vreg) weights[7][1],
            x0 = out(vreg) _,
            x1 = out(vreg) _,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    [low, high]
}

/// For the tokens whose 32 activations are at `x` and `y`: adds the products of a block to `sums[t].dots`, and those times
/// `scales` to `sums[t].product`.
///
/// Assembly as in [`sdot_block`].
///
/// # Safety
/// There are 32 activations of each.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn sdot_two(weights: &Weights, x: *const i8, y: *const i8, scales: Ints, sums: &mut [Sums; 2]) {
    macro_rules! four {
        ($low:literal, $high:literal, $x:literal, $y:literal, $i:literal) => {
            concat!(sdot!("a0", $low, $x, $i), sdot!("b0", $low, $y, $i), sdot!("a1", $high, $x, $i), sdot!("b1", $high, $y, $i))
        };
    }
    // SAFETY: as in `sdot_block`; `Sums` is two registers of dots and two of products.
    unsafe {
        asm!(
            "ldp {x0:q}, {x1:q}, [{x}]",
            "ldp {y0:q}, {y1:q}, [{y}]",
            "ldp {a0:q}, {a1:q}, [{sums}]",
            "ldp {b0:q}, {b1:q}, [{sums}, #64]",
            four!("w0", "w1", "x0", "y0", "0"),
            four!("w2", "w3", "x0", "y0", "1"),
            four!("w4", "w5", "x0", "y0", "2"),
            four!("w6", "w7", "x0", "y0", "3"),
            four!("w8", "w9", "x1", "y1", "0"),
            four!("w10", "w11", "x1", "y1", "1"),
            four!("w12", "w13", "x1", "y1", "2"),
            four!("w14", "w15", "x1", "y1", "3"),
            "ldp {x0:q}, {x1:q}, [{sums}, #32]",
            "ldp {y0:q}, {y1:q}, [{sums}, #96]",
            "mla {x0:v}.4s, {a0:v}.4s, {s0:v}.4s",
            "mla {y0:v}.4s, {b0:v}.4s, {s0:v}.4s",
            "mla {x1:v}.4s, {a1:v}.4s, {s1:v}.4s",
            "mla {y1:v}.4s, {b1:v}.4s, {s1:v}.4s",
            "stp {a0:q}, {a1:q}, [{sums}]",
            "stp {x0:q}, {x1:q}, [{sums}, #32]",
            "stp {b0:q}, {b1:q}, [{sums}, #64]",
            "stp {y0:q}, {y1:q}, [{sums}, #96]",
            x = in(reg) x,
            y = in(reg) y,
            sums = in(reg) sums.as_mut_ptr(),
            s0 = in(vreg) scales[0],
            s1 = in(vreg) scales[1],
            w0 = in(vreg) weights[0][0],
            w1 = in(vreg) weights[0][1],
            w2 = in(vreg) weights[1][0],
            w3 = in(vreg) weights[1][1],
            w4 = in(vreg) weights[2][0],
            w5 = in(vreg) weights[2][1],
            w6 = in(vreg) weights[3][0],
            w7 = in(vreg) weights[3][1],
            w8 = in(vreg) weights[4][0],
            w9 = in(vreg) weights[4][1],
            w10 = in(vreg) weights[5][0],
            w11 = in(vreg) weights[5][1],
            w12 = in(vreg) weights[6][0],
            w13 = in(vreg) weights[6][1],
            w14 = in(vreg) weights[7][0],
            w15 = in(vreg) weights[7][1],
            x0 = out(vreg) _,
            x1 = out(vreg) _,
            y0 = out(vreg) _,
            y1 = out(vreg) _,
            a0 = out(vreg) _,
            a1 = out(vreg) _,
            b0 = out(vreg) _,
            b1 = out(vreg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// As [`sdot_two`], with weights and sums as `smmla` has them: register `4k + r` of `weights` holds rows `2r` and `2r + 1`
/// of inputs `8k..8k + 8`; lane `2t + i` of register `r` of the sums, counted through both tokens, is token `t` and row
/// `2r + i`; `scales[r]` has the scales of these rows twice.
///
/// Assembly because `vmmlaq_s32` is unstable (`stdarch_neon_i8mm`).
///
/// # Safety
/// There are 32 activations of each.
#[inline]
#[target_feature(enable = "neon,i8mm")]
pub(super) unsafe fn smmla_two(weights: &Weights, x: *const i8, y: *const i8, scales: [int32x4_t; 4], sums: &mut [[int32x4_t; 4]; 2]) {
    macro_rules! eight {
        ($x:literal, $w0:literal, $w1:literal, $w2:literal, $w3:literal) => {
            concat!(
                "smmla {d0:v}.4s, {",
                $x,
                ":v}.16b, {",
                $w0,
                ":v}.16b\n",
                "smmla {d1:v}.4s, {",
                $x,
                ":v}.16b, {",
                $w1,
                ":v}.16b\n",
                "smmla {d2:v}.4s, {",
                $x,
                ":v}.16b, {",
                $w2,
                ":v}.16b\n",
                "smmla {d3:v}.4s, {",
                $x,
                ":v}.16b, {",
                $w3,
                ":v}.16b\n",
            )
        };
    }
    // SAFETY: as in `sdot_two`.
    unsafe {
        asm!(
            "ldp {x0:q}, {x1:q}, [{x}]",
            "ldp {x2:q}, {x3:q}, [{y}]",
            "ldp {d0:q}, {d1:q}, [{sums}]",
            "ldp {d2:q}, {d3:q}, [{sums}, #32]",
            "zip1 {e:v}.2d, {x0:v}.2d, {x2:v}.2d",
            "zip2 {x0:v}.2d, {x0:v}.2d, {x2:v}.2d",
            eight!("e", "w0", "w1", "w2", "w3"),
            "zip1 {x2:v}.2d, {x1:v}.2d, {x3:v}.2d",
            eight!("x0", "w4", "w5", "w6", "w7"),
            "zip2 {x3:v}.2d, {x1:v}.2d, {x3:v}.2d",
            eight!("x2", "w8", "w9", "w10", "w11"),
            eight!("x3", "w12", "w13", "w14", "w15"),
            "ldp {x0:q}, {x1:q}, [{sums}, #64]",
            "ldp {x2:q}, {x3:q}, [{sums}, #96]",
            "mla {x0:v}.4s, {d0:v}.4s, {s0:v}.4s",
            "mla {x1:v}.4s, {d1:v}.4s, {s1:v}.4s",
            "mla {x2:v}.4s, {d2:v}.4s, {s2:v}.4s",
            "mla {x3:v}.4s, {d3:v}.4s, {s3:v}.4s",
            "stp {d0:q}, {d1:q}, [{sums}]",
            "stp {d2:q}, {d3:q}, [{sums}, #32]",
            "stp {x0:q}, {x1:q}, [{sums}, #64]",
            "stp {x2:q}, {x3:q}, [{sums}, #96]",
            x = in(reg) x,
            y = in(reg) y,
            sums = in(reg) sums.as_mut_ptr(),
            s0 = in(vreg) scales[0],
            s1 = in(vreg) scales[1],
            s2 = in(vreg) scales[2],
            s3 = in(vreg) scales[3],
            w0 = in(vreg) weights[0][0],
            w1 = in(vreg) weights[0][1],
            w2 = in(vreg) weights[1][0],
            w3 = in(vreg) weights[1][1],
            w4 = in(vreg) weights[2][0],
            w5 = in(vreg) weights[2][1],
            w6 = in(vreg) weights[3][0],
            w7 = in(vreg) weights[3][1],
            w8 = in(vreg) weights[4][0],
            w9 = in(vreg) weights[4][1],
            w10 = in(vreg) weights[5][0],
            w11 = in(vreg) weights[5][1],
            w12 = in(vreg) weights[6][0],
            w13 = in(vreg) weights[6][1],
            w14 = in(vreg) weights[7][0],
            w15 = in(vreg) weights[7][1],
            x0 = out(vreg) _,
            x1 = out(vreg) _,
            x2 = out(vreg) _,
            x3 = out(vreg) _,
            e = out(vreg) _,
            d0 = out(vreg) _,
            d1 = out(vreg) _,
            d2 = out(vreg) _,
            d3 = out(vreg) _,
            options(nostack, preserves_flags),
        );
    }
}
