//! Instructions whose intrinsics are not stable in the project's compiler (`vdotq_laneq_s32`, `vmmlaq_s32`), as assembly.
//!
//! What touches only registers is `pure` and the compiler may move it as it moves an intrinsic. Where many follow each other, in
//! the products, they are one piece of assembly: the compiler takes each piece for a call of unknown cost, and does not see how
//! a hundred of them are best ordered and kept in registers.

use super::products::{Ints, Sums, Weights};
use core::arch::aarch64::{float32x4_t, int8x16_t, int32x4_t};
use core::arch::asm;
use kinglet_quant::{q4, q8};

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

/// `v`, of which the compiler knows nothing: where it sees that bytes are never negative, it makes of a product of signed
/// bytes one of 16-bit numbers, for half as many of which there is room in a register.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn opaque(mut v: int8x16_t) -> int8x16_t {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {v:v} */", v = inout(vreg) v, options(pure, nomem, nostack, preserves_flags)) };
    v
}

/// `asm!` with the registers of a block's weights as `w0` to `w15`.
macro_rules! asm_with_weights {
    ($weights:ident, $($template_and_operands:tt)*) => {
        asm!(
            $($template_and_operands)*
            w0 = in(vreg) $weights[0][0],
            w1 = in(vreg) $weights[0][1],
            w2 = in(vreg) $weights[1][0],
            w3 = in(vreg) $weights[1][1],
            w4 = in(vreg) $weights[2][0],
            w5 = in(vreg) $weights[2][1],
            w6 = in(vreg) $weights[3][0],
            w7 = in(vreg) $weights[3][1],
            w8 = in(vreg) $weights[4][0],
            w9 = in(vreg) $weights[4][1],
            w10 = in(vreg) $weights[5][0],
            w11 = in(vreg) $weights[5][1],
            w12 = in(vreg) $weights[6][0],
            w13 = in(vreg) $weights[6][1],
            w14 = in(vreg) $weights[7][0],
            w15 = in(vreg) $weights[7][1],
        )
    };
}

macro_rules! sdot {
    ($sum:literal, $weights:literal, $x:literal, $i:literal) => {
        concat!("sdot {", $sum, ":v}.4s, {", $weights, ":v}.16b, {", $x, ":v}.4b[", $i, "]\n")
    };
}

/// `dots` and the products of a block with the 32 activations at `x`.
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
        asm_with_weights!(
            weights,
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
        asm_with_weights!(
            weights,
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
/// # Safety
/// There are 32 activations of each.
#[inline]
#[target_feature(enable = "neon,i8mm")]
pub(super) unsafe fn smmla_two(weights: &Weights, x: *const i8, y: *const i8, scales: [int32x4_t; 4], sums: &mut [[int32x4_t; 4]; 2]) {
    #[rustfmt::skip]
    macro_rules! eight {
        ($x:literal, $w0:literal, $w1:literal, $w2:literal, $w3:literal) => {
            concat!(
                "smmla {d0:v}.4s, {", $x, ":v}.16b, {", $w0, ":v}.16b\n",
                "smmla {d1:v}.4s, {", $x, ":v}.16b, {", $w1, ":v}.16b\n",
                "smmla {d2:v}.4s, {", $x, ":v}.16b, {", $w2, ":v}.16b\n",
                "smmla {d3:v}.4s, {", $x, ":v}.16b, {", $w3, ":v}.16b\n",
            )
        };
    }
    // SAFETY: as in `sdot_two`.
    unsafe {
        asm_with_weights!(
            weights,
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

/// Tokens of [`sdot_q4`] and [`sdot_q8`].
pub(super) const TOKENS: usize = 12;
const _: () = assert!(TOKENS == 12, "the registers below are those of twelve");

/// What [`sdot_q4`] and [`sdot_q8`] work on: four rows, twelve tokens, a group.
pub(super) struct Twelve<'a> {
    /// The first block; not none.
    pub(super) weights: *const u8,
    pub(super) blocks: usize,
    /// The scales of the rows for the first block, less those of the next; those of the next are two registers further on.
    pub(super) scales: *const int32x4_t,
    /// The activations of the first token.
    pub(super) x: *const i8,
    /// From there to those of the next token.
    pub(super) stride: usize,
    /// The scales of the tokens' activations.
    pub(super) token_scales: &'a [f32; TOKENS],
    /// What grows by `f32(Σ s_b Σ q x) * scale` of the first token; that of the next is two registers further on.
    pub(super) out: *mut float32x4_t,
}

/// Three tokens whose activations are at `$x`, `$y`, `$z`: sixteen inputs, with the weights of these in `v24` to `v27`.
/// Three, so that no instruction waits for the one before.
#[rustfmt::skip]
macro_rules! three {
    ($x:literal $a:literal, $y:literal $b:literal, $z:literal $c:literal) => {
        concat!(
            "ldr q29, [{", $x, "}, {i}]\n",
            "ldr q30, [{", $y, "}, {i}]\n",
            "ldr q31, [{", $z, "}, {i}]\n",
            three!($a, $b, $c, "v24", "0"),
            three!($a, $b, $c, "v25", "1"),
            three!($a, $b, $c, "v26", "2"),
            three!($a, $b, $c, "v27", "3"),
        )
    };
    ($a:literal, $b:literal, $c:literal, $weights:literal, $i:literal) => {
        concat!(
            "sdot ", $a, ".4s, ", $weights, ".16b, v29.4b[", $i, "]\n",
            "sdot ", $b, ".4s, ", $weights, ".16b, v30.4b[", $i, "]\n",
            "sdot ", $c, ".4s, ", $weights, ".16b, v31.4b[", $i, "]\n",
        )
    };
}

/// The products `$p`, `$q`, `$r` of three tokens, from their dots and the scales in `v28`.
#[rustfmt::skip]
macro_rules! scaled {
    ($op:literal, $p:literal $a:literal, $q:literal $b:literal, $r:literal $c:literal) => {
        concat!(
            $op, $p, ".4s, ", $a, ".4s, v28.4s\n",
            $op, $q, ".4s, ", $b, ".4s, v28.4s\n",
            $op, $r, ".4s, ", $c, ".4s, v28.4s\n",
        )
    };
}

/// A block: its first sixteen inputs, and then its last ones, where the products of three tokens follow on their last dots, so
/// that the one pipe that has such products works all along.
macro_rules! block {
    ($load:literal, $op:literal) => {
        concat!(
            $load,
            three!("x0" "v0", "x1" "v1", "x2" "v2"),
            three!("x3" "v3", "x4" "v4", "x5" "v5"),
            three!("x6" "v6", "x7" "v7", "x8" "v8"),
            three!("x9" "v9", "x10" "v10", "x11" "v11"),
            "add {i}, {i}, #16\n",
            $load,
            "ldr q28, [{scales}], #32\n",
            three!("x0" "v0", "x1" "v1", "x2" "v2"),
            scaled!($op, "v12" "v0", "v13" "v1", "v14" "v2"),
            three!("x3" "v3", "x4" "v4", "x5" "v5"),
            scaled!($op, "v15" "v3", "v16" "v4", "v17" "v5"),
            three!("x6" "v6", "x7" "v7", "x8" "v8"),
            scaled!($op, "v18" "v6", "v19" "v7", "v20" "v8"),
            three!("x9" "v9", "x10" "v10", "x11" "v11"),
            scaled!($op, "v21" "v9", "v22" "v10", "v23" "v11"),
            "add {i}, {i}, #16\n",
        )
    };
}

/// Adds to four tokens' `out`, so many bytes from the first's, their products in `$p` to `$s`, which `$scales` scales. Each
/// instruction for all four, so that none waits for the one before.
#[rustfmt::skip]
macro_rules! out_four {
    ($scales:literal, $p:literal $p_at:literal, $q:literal $q_at:literal, $r:literal $r_at:literal, $s:literal $s_at:literal) => {
        concat!(
            "ldr q24, [{out}, #", $p_at, "]\n",
            "ldr q25, [{out}, #", $q_at, "]\n",
            "ldr q26, [{out}, #", $r_at, "]\n",
            "ldr q27, [{out}, #", $s_at, "]\n",
            "scvtf v", $p, ".4s, v", $p, ".4s\n",
            "scvtf v", $q, ".4s, v", $q, ".4s\n",
            "scvtf v", $r, ".4s, v", $r, ".4s\n",
            "scvtf v", $s, ".4s, v", $s, ".4s\n",
            "fmul v", $p, ".4s, v", $p, ".4s, ", $scales, ".s[0]\n",
            "fmul v", $q, ".4s, v", $q, ".4s, ", $scales, ".s[1]\n",
            "fmul v", $r, ".4s, v", $r, ".4s, ", $scales, ".s[2]\n",
            "fmul v", $s, ".4s, v", $s, ".4s, ", $scales, ".s[3]\n",
            "fadd v", $p, ".4s, v24.4s, v", $p, ".4s\n",
            "fadd v", $q, ".4s, v25.4s, v", $q, ".4s\n",
            "fadd v", $r, ".4s, v26.4s, v", $r, ".4s\n",
            "fadd v", $s, ".4s, v27.4s, v", $s, ".4s\n",
            "str q", $p, ", [{out}, #", $p_at, "]\n",
            "str q", $q, ", [{out}, #", $q_at, "]\n",
            "str q", $r, ", [{out}, #", $r_at, "]\n",
            "str q", $s, ", [{out}, #", $s_at, "]\n",
        )
    };
}

macro_rules! group_of_twelve {
    ($(#[$doc:meta])* $name:ident, $load:literal, $behind:expr) => {
        $(#[$doc])*
        ///
        /// The sums take up all registers but eight.
        ///
        /// # Safety
        /// All that is pointed to is there.
        #[target_feature(enable = "neon,dotprod")]
        pub(super) unsafe fn $name(o: Twelve<'_>) {
            // SAFETY: instructions that the function's features have; the rest is the caller's duty.
            unsafe {
                asm!(
                    "movi v0.4s, #0", "movi v1.4s, #0", "movi v2.4s, #0", "movi v3.4s, #0", "movi v4.4s, #0", "movi v5.4s, #0",
                    "movi v6.4s, #0", "movi v7.4s, #0", "movi v8.4s, #0", "movi v9.4s, #0", "movi v10.4s, #0", "movi v11.4s, #0",
                    block!($load, "mul "),
                    "subs {blocks}, {blocks}, #1",
                    "b.eq 3f",
                    "2:",
                    block!($load, "mla "),
                    // Behind the second block of a unit come its scales and minima.
                    "eor {behind}, {behind}, {unit_end}",
                    "add {weights}, {weights}, {behind}",
                    "subs {blocks}, {blocks}, #1",
                    "b.ne 2b",
                    "3:",
                    "ldp q28, q29, [{token_scales}]",
                    "ldr q30, [{token_scales}, #32]",
                    out_four!("v28", "12" "0", "13" "32", "14" "64", "15" "96"),
                    out_four!("v29", "16" "128", "17" "160", "18" "192", "19" "224"),
                    out_four!("v30", "20" "256", "21" "288", "22" "320", "23" "352"),
                    weights = inout(reg) o.weights => _,
                    blocks = inout(reg) o.blocks => _,
                    scales = inout(reg) o.scales => _,
                    behind = inout(reg) 0_usize => _,
                    i = inout(reg) 0_usize => _,
                    unit_end = in(reg) $behind,
                    out = in(reg) o.out,
                    token_scales = in(reg) o.token_scales,
                    x0 = in(reg) o.x.add(0 * o.stride),
                    x1 = in(reg) o.x.add(1 * o.stride),
                    x2 = in(reg) o.x.add(2 * o.stride),
                    x3 = in(reg) o.x.add(3 * o.stride),
                    x4 = in(reg) o.x.add(4 * o.stride),
                    x5 = in(reg) o.x.add(5 * o.stride),
                    x6 = in(reg) o.x.add(6 * o.stride),
                    x7 = in(reg) o.x.add(7 * o.stride),
                    x8 = in(reg) o.x.add(8 * o.stride),
                    x9 = in(reg) o.x.add(9 * o.stride),
                    x10 = in(reg) o.x.add(10 * o.stride),
                    x11 = in(reg) o.x.add(11 * o.stride),
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
                    out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
                    out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                    options(nostack),
                );
            }
        }
    };
}

group_of_twelve!(
    /// q4 weights.
    sdot_q4,
    "ldr q24, [{weights}]\n\
     ldr q26, [{weights}, #32]\n\
     add {weights}, {weights}, #64\n\
     movi v28.16b, #15\n\
     ushr v25.16b, v24.16b, #4\n\
     and v24.16b, v24.16b, v28.16b\n\
     ushr v27.16b, v26.16b, #4\n\
     and v26.16b, v26.16b, v28.16b\n",
    q4::UNIT_BYTES - q4::QUANT_BYTES
);

group_of_twelve!(
    /// q8 weights.
    sdot_q8,
    "ldr q24, [{weights}]\n\
     ldr q25, [{weights}, #32]\n\
     ldr q26, [{weights}, #64]\n\
     ldr q27, [{weights}, #96]\n\
     add {weights}, {weights}, #128\n",
    q8::UNIT_BYTES - q8::QUANT_BYTES
);
