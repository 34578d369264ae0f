//! Instructions whose intrinsics are not stable in the project's compiler (`vdotq_laneq_s32`, `vmmlaq_s32`), as assembly.
//!
//! What touches only registers is `pure` and the compiler may move it as it moves an intrinsic. Where many follow each other, in
//! the products, they are one piece of assembly: the compiler takes each piece for a call of unknown cost, and does not see how
//! a hundred of them are best ordered and kept in registers.

use super::products::{Ints, Sums, Weights};
use core::arch::aarch64::{float32x4_t, int8x16_t, int32x4_t};
use core::arch::asm;
use kinglet_quant::{BLOCK, LANES, UNIT, act, q4, q8};

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

/// What the functions below work on: four rows of a tile and eight tokens, or eight rows and four tokens; many inputs.
pub(super) struct Many {
    /// The quants of the first of the rows in the first unit, and a tile's units from there on.
    pub(super) weights: *const u8,
    /// The rows' scales in that unit.
    pub(super) scales: *const u8,
    /// Not 0; the first begins a group.
    pub(super) units: usize,
    /// The activations of the first token, so many units of them.
    pub(super) x: *const i8,
    /// From there to those of the next token, in bytes.
    pub(super) stride: usize,
    /// The scales of the first token's groups.
    pub(super) token_scales: *const f32,
    /// From there to those of the next token, in floats.
    pub(super) groups: usize,
}

// What is written below as numbers: offsets of scales, of the rows' quants, and how many blocks follow each other.
const _: () = assert!(LANES == 8 && BLOCK == 32 && UNIT == 2 * BLOCK);
const _: () = assert!(act::GROUP.is_power_of_two() && act::GROUP.is_multiple_of(UNIT));

/// A line of the cache.
#[repr(C, align(64))]
struct Constants([[u8; 16]; 4]);

/// Two times zeros; the mask of a low nibble; where each byte of four numbers of 32 bits is among the first four bytes of a
/// register, or beyond its end, which is 0. What begins a sum is loaded, for the pipes of loads have time when those of vectors
/// have none.
static CONSTANTS: Constants =
    Constants([[0; 16], [0; 16], [q4::QUANT_MAX; 16], [0, 16, 16, 16, 1, 16, 16, 16, 2, 16, 16, 16, 3, 16, 16, 16]]);

/// The weights of four rows for sixteen inputs, in `v24` to `v27`: the first four rows of the tile, or the last, which ends the
/// turn of these inputs.
#[rustfmt::skip]
macro_rules! load {
    (q4 first) => { load!(q4 "0", "32") };
    (q4 last) => { concat!(load!(q4 "16", "48"), load!(q4 end)) };
    (q4 end) => { "add {weights}, {weights}, #64\n" };
    (q4 $low:literal, $high:literal) => {
        concat!(
            "ldr q24, [{weights}, #", $low, "]\n",
            "ldr q26, [{weights}, #", $high, "]\n",
            "ushr v25.16b, v24.16b, #4\n",
            "and v24.16b, v24.16b, v31.16b\n",
            "ushr v27.16b, v26.16b, #4\n",
            "and v26.16b, v26.16b, v31.16b\n",
        )
    };
    (q8 first) => { load!(q8 "0", "32", "64", "96") };
    (q8 last) => { concat!(load!(q8 "16", "48", "80", "112"), load!(q8 end)) };
    (q8 end) => { "add {weights}, {weights}, #128\n" };
    (q8 $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "ldr q24, [{weights}, #", $a, "]\n",
            "ldr q25, [{weights}, #", $b, "]\n",
            "ldr q26, [{weights}, #", $c, "]\n",
            "ldr q27, [{weights}, #", $d, "]\n",
        )
    };
}

/// The scales of four rows, which lie `$at` bytes on, in `v28`.
#[rustfmt::skip]
macro_rules! scales {
    ($at:literal) => {
        concat!(
            "ldr s28, [{scales}, #", $at, "]\n",
            "ldr q29, [{constants}, #48]\n",
            "tbl v28.16b, {{v28.16b}}, v29.16b\n",
        )
    };
}

/// Two tokens whose activations are at `$x` and `$y`: sixteen inputs, with the weights of these in `v24` to `v27`.
#[rustfmt::skip]
macro_rules! two {
    ($x:literal $a:literal, $y:literal $b:literal) => {
        concat!(
            "ldr q29, [{", $x, "}, {i}]\n",
            "ldr q30, [{", $y, "}, {i}]\n",
            two!($a, $b, "v24", "0"),
            two!($a, $b, "v25", "1"),
            two!($a, $b, "v26", "2"),
            two!($a, $b, "v27", "3"),
        )
    };
    // The products of these dots with the scales follow them, so that the one pipe that has such products works all along.
    ($x:literal $a:literal $p:literal, $y:literal $b:literal $q:literal) => {
        concat!(
            two!($x $a, $y $b),
            "mla ", $p, ".4s, ", $a, ".4s, v28.4s\n",
            "mla ", $q, ".4s, ", $b, ".4s, v28.4s\n",
        )
    };
    ($a:literal, $b:literal, $weights:literal, $i:literal) => {
        concat!(
            "sdot ", $a, ".4s, ", $weights, ".16b, v29.4b[", $i, "]\n",
            "sdot ", $b, ".4s, ", $weights, ".16b, v30.4b[", $i, "]\n",
        )
    };
}

/// Zeros in `v0` to `v7`, the dots.
macro_rules! clear_dots {
    () => {
        "ldp q0, q1, [{constants}]\nldp q2, q3, [{constants}]\nldp q4, q5, [{constants}]\nldp q6, q7, [{constants}]\n"
    };
}

/// A block of four rows and eight tokens, whose scales lie `$scales` bytes on.
macro_rules! four_by_eight {
    ($dtype:tt, $scales:literal, $more:literal) => {
        concat!(
            clear_dots!(),
            load!($dtype first),
            load!($dtype end),
            two!("x0" "v0", "x1" "v1"),
            two!("x2" "v2", "x3" "v3"),
            two!("x4" "v4", "x5" "v5"),
            two!("x6" "v6", "x7" "v7"),
            "add {i}, {i}, #16\n",
            load!($dtype first),
            load!($dtype end),
            scales!($scales),
            two!("x0" "v0" "v8", "x1" "v1" "v9"),
            two!("x2" "v2" "v10", "x3" "v3" "v11"),
            two!("x4" "v4" "v12", "x5" "v5" "v13"),
            two!("x6" "v6" "v14", "x7" "v7" "v15"),
            "add {i}, {i}, #16\n",
        )
    };
}

/// A block of eight rows and four tokens; the scales of the first four rows lie `$scales` bytes on, the others' `$more`.
macro_rules! eight_by_four {
    ($dtype:tt, $scales:literal, $more:literal) => {
        concat!(
            clear_dots!(),
            load!($dtype first),
            two!("x0" "v0", "x1" "v1"),
            two!("x2" "v2", "x3" "v3"),
            load!($dtype last),
            two!("x0" "v4", "x1" "v5"),
            two!("x2" "v6", "x3" "v7"),
            "add {i}, {i}, #16\n",
            load!($dtype first),
            scales!($scales),
            two!("x0" "v0" "v8", "x1" "v1" "v9"),
            two!("x2" "v2" "v10", "x3" "v3" "v11"),
            load!($dtype last),
            scales!($more),
            two!("x0" "v4" "v12", "x1" "v5" "v13"),
            two!("x2" "v6" "v14", "x3" "v7" "v15"),
            "add {i}, {i}, #16\n",
        )
    };
}

/// Adds to the sums `$p` to `$s` of four tokens their products of a group in `$a` to `$d`, by the scales at `$x` to `$w`. Each
/// instruction for all four, so that none waits for the one before.
#[rustfmt::skip]
macro_rules! sum_four {
    ($x:literal $a:literal $p:literal, $y:literal $b:literal $q:literal, $z:literal $c:literal $r:literal, $w:literal $d:literal $s:literal) => {
        concat!(
            "ldr s24, [{", $x, "}, {group}]\n",
            "ldr s25, [{", $y, "}, {group}]\n",
            "ldr s26, [{", $z, "}, {group}]\n",
            "ldr s27, [{", $w, "}, {group}]\n",
            "scvtf ", $a, ".4s, ", $a, ".4s\n",
            "scvtf ", $b, ".4s, ", $b, ".4s\n",
            "scvtf ", $c, ".4s, ", $c, ".4s\n",
            "scvtf ", $d, ".4s, ", $d, ".4s\n",
            "fmul ", $a, ".4s, ", $a, ".4s, v24.s[0]\n",
            "fmul ", $b, ".4s, ", $b, ".4s, v25.s[0]\n",
            "fmul ", $c, ".4s, ", $c, ".4s, v26.s[0]\n",
            "fmul ", $d, ".4s, ", $d, ".4s, v27.s[0]\n",
            "fadd ", $p, ".4s, ", $p, ".4s, ", $a, ".4s\n",
            "fadd ", $q, ".4s, ", $q, ".4s, ", $b, ".4s\n",
            "fadd ", $r, ".4s, ", $r, ".4s, ", $c, ".4s\n",
            "fadd ", $s, ".4s, ", $s, ".4s, ", $d, ".4s\n",
        )
    };
}

/// Functions of [`Many`]: `$block` is a block's assembly, `$s4` to `$s7` are the scales of the sums after the first four,
/// and `$token`s those that are there besides the first four.
macro_rules! many {
    (
        $(#[$doc:meta])*
        $name:ident, $dtype:tt, $block:ident, $s4:literal $s5:literal $s6:literal $s7:literal,
        { $($x:ident $s:ident $token:literal),* }
    ) => {
        $(#[$doc])*
        ///
        /// Dots, products and sums are 24 registers; the other eight are the operands'.
        ///
        /// # Safety
        /// The machine has the features, and [`Many`] says what is there and how much of it.
        #[target_feature(enable = "neon,dotprod")]
        pub(super) unsafe fn $name(o: Many, mut sums: [float32x4_t; 8]) -> [float32x4_t; 8] {
            debug_assert!(o.units > 0 && o.units.div_ceil(act::GROUP / UNIT) <= o.groups);
            // SAFETY: instructions that the function's features have; the rest is the caller's duty.
            unsafe {
                asm!(
                    "ldr q31, [{constants}, #32]",
                    "2:",
                    "ldp q8, q9, [{constants}]",
                    "ldp q10, q11, [{constants}]",
                    "ldp q12, q13, [{constants}]",
                    "ldp q14, q15, [{constants}]",
                    "3:",
                    $block!($dtype, "0", "4"),
                    $block!($dtype, "8", "12"),
                    // Behind the blocks of a unit come its scales and minima.
                    "add {weights}, {weights}, #{behind}",
                    "add {scales}, {scales}, #{unit_bytes}",
                    "subs {units}, {units}, #1",
                    "b.eq 4f",
                    "tst {i}, #{last_of_group}",
                    "b.ne 3b",
                    "4:",
                    sum_four!("s0" "v8" "v16", "s1" "v9" "v17", "s2" "v10" "v18", "s3" "v11" "v19"),
                    sum_four!($s4 "v12" "v20", $s5 "v13" "v21", $s6 "v14" "v22", $s7 "v15" "v23"),
                    "add {group}, {group}, #4",
                    "cbnz {units}, 2b",
                    behind = const $dtype::UNIT_BYTES - $dtype::QUANT_BYTES,
                    unit_bytes = const $dtype::UNIT_BYTES,
                    last_of_group = const act::GROUP - 1,
                    constants = in(reg) &raw const CONSTANTS,
                    weights = inout(reg) o.weights => _,
                    scales = inout(reg) o.scales => _,
                    units = inout(reg) o.units => _,
                    i = inout(reg) 0_usize => _,
                    group = inout(reg) 0_usize => _,
                    x0 = in(reg) o.x.add(0 * o.stride),
                    x1 = in(reg) o.x.add(1 * o.stride),
                    x2 = in(reg) o.x.add(2 * o.stride),
                    x3 = in(reg) o.x.add(3 * o.stride),
                    s0 = in(reg) o.token_scales.add(0 * o.groups),
                    s1 = in(reg) o.token_scales.add(1 * o.groups),
                    s2 = in(reg) o.token_scales.add(2 * o.groups),
                    s3 = in(reg) o.token_scales.add(3 * o.groups),
                    $(
                        $x = in(reg) o.x.add($token * o.stride),
                        $s = in(reg) o.token_scales.add($token * o.groups),
                    )*
                    inout("v16") sums[0],
                    inout("v17") sums[1],
                    inout("v18") sums[2],
                    inout("v19") sums[3],
                    inout("v20") sums[4],
                    inout("v21") sums[5],
                    inout("v22") sums[6],
                    inout("v23") sums[7],
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
                    out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                    options(readonly, nostack),
                );
            }
            sums
        }
    };
}

many!(
    /// Four rows of q4 weights and eight tokens: adds `f32(Σ s_b Σ q x) * scale` of each group to the sums of each token.
    sdot_q4_four_by_eight, q4, four_by_eight, "s4" "s5" "s6" "s7", { x4 s4 4, x5 s5 5, x6 s6 6, x7 s7 7 }
);
many!(
    /// Four rows of q8 weights and eight tokens; as [`sdot_q4_four_by_eight`].
    sdot_q8_four_by_eight, q8, four_by_eight, "s4" "s5" "s6" "s7", { x4 s4 4, x5 s5 5, x6 s6 6, x7 s7 7 }
);
many!(
    /// Eight rows of q4 weights and four tokens: the sums of the first four rows for each token, then those of the others.
    sdot_q4_eight_by_four, q4, eight_by_four, "s0" "s1" "s2" "s3", {}
);
many!(
    /// Eight rows of q8 weights and four tokens; as [`sdot_q4_eight_by_four`].
    sdot_q8_eight_by_four, q8, eight_by_four, "s0" "s1" "s2" "s3", {}
);
