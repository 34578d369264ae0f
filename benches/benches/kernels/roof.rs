//! Rooflines: loops that do one thing, multiply or read, as fast as an instruction set can.
//!
//! A product is a chain of dependent steps in registers, and many independent chains hide its latency. Each step takes its
//! own result, and the first values are opaque, so that nothing is left for the compiler to hoist, merge or fold.

use kinglet::isa::Isa;
use std::hint::black_box;

/// What is multiplied, hence which instructions are the best for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operands {
    /// Weights of 4 bits with int8: products may be summed in 16 bits.
    Q4,
    /// int8 with int8: a pair of products fits 16 bits, two pairs do not.
    I8,
    /// Floats, rounded after the product and after the sum.
    F32,
}

/// A loop of multiply-adds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Multiply {
    /// Its instructions.
    pub(crate) name: &'static str,
    /// What a call of `run` does.
    pub(crate) multiply_adds: usize,
    pub(crate) run: fn(),
}

/// Steps of every chain in one call: some microseconds.
const STEPS: usize = 4096;

/// The best multiply-add of `isa` for these operands.
pub(crate) fn multiply(isa: Isa, operands: Operands) -> Multiply {
    assert!(isa.is_available());
    let (name, multiply_adds, run): (_, _, fn()) = match (isa, operands) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, Operands::Q4 | Operands::I8) => ("vpdpbusd zmm", x86::DPBUSD_ZMM, || {
            // SAFETY: `isa` is available.
            unsafe { x86::dpbusd_zmm() }
        }),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, Operands::F32) => ("vmulps + vaddps zmm", x86::MUL_ADD_ZMM, || {
            // SAFETY: `isa` is available.
            unsafe { x86::mul_add_zmm() }
        }),
        #[cfg(target_arch = "x86_64")]
        (Isa::AvxVnni, Operands::Q4 | Operands::I8) => ("vpdpbusd ymm", x86::DPBUSD_YMM, || {
            // SAFETY: `isa` is available.
            unsafe { x86::dpbusd_ymm() }
        }),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, Operands::Q4) => ("vpmaddubsw + vpaddw ymm", x86::MADDUBS, || {
            // SAFETY: `isa` is available.
            unsafe { x86::maddubs() }
        }),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, Operands::I8) => ("vpmaddubsw + vpmaddwd + vpaddd ymm", x86::MADDUBS_MADD, || {
            // SAFETY: `isa` is available.
            unsafe { x86::maddubs_madd() }
        }),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2 | Isa::AvxVnni, Operands::F32) => ("vmulps + vaddps ymm", x86::MUL_ADD_YMM, || {
            // SAFETY: `isa` is available, and AVX-VNNI has all of AVX2.
            unsafe { x86::mul_add_ymm() }
        }),
        (_, Operands::Q4) => ("i16 multiply-add", plain::I16, plain::i16),
        (_, Operands::I8) => ("i32 multiply-add", plain::I32, plain::i32),
        (_, Operands::F32) => ("f32 multiply, add", plain::F32, plain::f32),
    };
    Multiply { name, multiply_adds, run }
}

/// Reads every byte once, in order, in the registers of `isa`. What is left after the last multiple of 512 is not read.
pub(crate) fn read(isa: Isa) -> fn(&[u8]) {
    assert!(isa.is_available());
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => |bytes| {
            // SAFETY: `isa` is available.
            unsafe { x86::read_zmm(bytes) }
        },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::AvxVnni => |bytes| {
            // SAFETY: `isa` is available, and AVX-VNNI has all of AVX2.
            unsafe { x86::read_ymm(bytes) }
        },
        _ => plain::read,
    }
}

/// `$chains` chains that start from opaque copies of `$first` and take `STEPS` steps each.
macro_rules! chains {
    ($chains:expr, $first:expr, |$sum:ident| $step:expr) => {
        let mut sums = black_box([$first; $chains]);
        for _ in 0..STEPS {
            for sum in &mut sums {
                let $sum = *sum;
                *sum = $step;
            }
        }
        black_box(sums);
    };
}

/// What the compiler makes of Rust for the whole architecture.
mod plain {
    use super::{STEPS, black_box};
    use std::array::from_fn;

    const CHAINS: usize = 12;
    pub(super) const I16: usize = STEPS * CHAINS * 8;
    pub(super) const I32: usize = STEPS * CHAINS * 8;
    pub(super) const F32: usize = STEPS * CHAINS * 4;

    #[inline(never)]
    pub(super) fn i16() {
        let (w, c) = (black_box([3_i16; 8]), black_box([1_i16; 8]));
        chains!(CHAINS, [1_i16; 8], |sum| from_fn(|i| sum[i].wrapping_mul(w[i]).wrapping_add(c[i])));
    }

    /// Two products of 16-bit numbers to each sum. The numbers are opaque in every step, for 32-bit sums cannot be their own
    /// factors.
    #[inline(never)]
    pub(super) fn i32() {
        let (mut sums, w) = (black_box([[1_i32; 4]; CHAINS]), black_box([3_i16; 8]));
        let mut x = [[5_i16; 8]; CHAINS];
        for _ in 0..STEPS {
            for (sums, x) in sums.iter_mut().zip(black_box(&mut x)) {
                for i in 0..4 {
                    sums[i] += i32::from(x[2 * i]) * i32::from(w[2 * i]) + i32::from(x[2 * i + 1]) * i32::from(w[2 * i + 1]);
                }
            }
        }
        black_box(sums);
    }

    #[inline(never)]
    pub(super) fn f32() {
        let (w, c) = (black_box([0.5_f32; 4]), black_box([1.0_f32; 4]));
        chains!(CHAINS, [1.0_f32; 4], |sum| from_fn(|i| sum[i] * w[i] + c[i]));
    }

    #[inline(never)]
    pub(super) fn read(bytes: &[u8]) {
        let mut seen = [0; 128];
        for chunk in bytes.as_chunks::<512>().0 {
            for part in chunk.as_chunks::<128>().0 {
                for i in 0..128 {
                    seen[i] |= part[i];
                }
            }
        }
        black_box(seen);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{STEPS, black_box};
    use core::arch::x86_64::*;

    /// With two operands and a product these fill the 16 registers of AVX2; no machine needs more.
    const YMM_CHAINS: usize = 13;
    /// AVX-512 has 32 registers.
    const ZMM_CHAINS: usize = 24;
    pub(super) const MADDUBS: usize = STEPS * YMM_CHAINS * 32;
    pub(super) const MADDUBS_MADD: usize = STEPS * YMM_CHAINS * 32;
    pub(super) const DPBUSD_YMM: usize = STEPS * YMM_CHAINS * 32;
    pub(super) const DPBUSD_ZMM: usize = STEPS * ZMM_CHAINS * 64;
    pub(super) const MUL_ADD_YMM: usize = STEPS * YMM_CHAINS * 8;
    pub(super) const MUL_ADD_ZMM: usize = STEPS * ZMM_CHAINS * 16;

    #[inline(never)]
    #[target_feature(enable = "avx2")]
    pub(super) fn maddubs() {
        let w = black_box(_mm256_set1_epi8(3));
        chains!(YMM_CHAINS, _mm256_set1_epi8(1), |sum| _mm256_add_epi16(sum, _mm256_maddubs_epi16(sum, w)));
    }

    #[inline(never)]
    #[target_feature(enable = "avx2")]
    pub(super) fn maddubs_madd() {
        let (w, ones) = (black_box(_mm256_set1_epi8(3)), black_box(_mm256_set1_epi16(1)));
        chains!(YMM_CHAINS, _mm256_set1_epi8(1), |sum| _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(sum, w), ones)));
    }

    #[inline(never)]
    #[target_feature(enable = "avx2,avxvnni")]
    pub(super) fn dpbusd_ymm() {
        let (w, x) = (black_box(_mm256_set1_epi8(3)), black_box(_mm256_set1_epi8(-5)));
        chains!(YMM_CHAINS, _mm256_set1_epi8(1), |sum| _mm256_dpbusd_avx_epi32(sum, w, x));
    }

    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn dpbusd_zmm() {
        let (w, x) = (black_box(_mm512_set1_epi8(3)), black_box(_mm512_set1_epi8(-5)));
        chains!(ZMM_CHAINS, _mm512_set1_epi8(1), |sum| _mm512_dpbusd_epi32(sum, w, x));
    }

    #[inline(never)]
    #[target_feature(enable = "avx2")]
    pub(super) fn mul_add_ymm() {
        let (w, c) = (black_box(_mm256_set1_ps(0.5)), black_box(_mm256_set1_ps(1.0)));
        chains!(YMM_CHAINS, _mm256_set1_ps(1.0), |sum| _mm256_add_ps(_mm256_mul_ps(sum, w), c));
    }

    #[inline(never)]
    #[target_feature(enable = "avx512f")]
    pub(super) fn mul_add_zmm() {
        let (w, c) = (black_box(_mm512_set1_ps(0.5)), black_box(_mm512_set1_ps(1.0)));
        chains!(ZMM_CHAINS, _mm512_set1_ps(1.0), |sum| _mm512_add_ps(_mm512_mul_ps(sum, w), c));
    }

    /// How far ahead of its loads a read prefetches, to stay ahead across the ends of pages.
    const AHEAD: usize = 4096;
    /// Up to this many bytes lie in the first cache, where a prefetch only costs.
    const NEAR: usize = 32 << 10;

    /// A read of lines of 64 bytes, which four registers take turns to see.
    macro_rules! read {
        ($bytes:ident, $zero:expr, |$line:ident, $seen:ident| $see:expr) => {
            let mut seen = [$zero; 4];
            let far = $bytes.len() > NEAR;
            for chunk in $bytes.as_chunks::<512>().0 {
                for ($line, i) in chunk.as_chunks::<64>().0.iter().zip(0..) {
                    if far {
                        _mm_prefetch::<_MM_HINT_T0>($line.as_ptr().wrapping_add(AHEAD).cast());
                    }
                    let $seen = seen[i % 4];
                    seen[i % 4] = $see;
                }
            }
            black_box(seen);
        };
    }

    #[inline(never)]
    #[target_feature(enable = "avx2")]
    pub(super) fn read_ymm(bytes: &[u8]) {
        read!(bytes, [_mm256_setzero_si256(); 2], |line, seen| {
            // SAFETY: `line` has two times 32 bytes; the instruction takes any address.
            let [a, b] = [0, 32].map(|at| unsafe { _mm256_loadu_si256(line.as_ptr().add(at).cast()) });
            [_mm256_or_si256(seen[0], a), _mm256_or_si256(seen[1], b)]
        });
    }

    #[inline(never)]
    #[target_feature(enable = "avx512f")]
    pub(super) fn read_zmm(bytes: &[u8]) {
        read!(bytes, _mm512_setzero_si512(), |line, seen| {
            // SAFETY: `line` has the 64 bytes; the instruction takes any address.
            _mm512_or_si512(seen, unsafe { _mm512_loadu_si512(line.as_ptr().cast()) })
        });
    }
}
