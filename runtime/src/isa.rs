//! Instruction sets: their names, which ones this machine has, and tokens that prove it.
//!
//! This room detects and nothing else: which kernels an instruction set has is said in [`crate::kernels`]. With
//! feature `std` the CPU is asked at run time; without it, what the compiler was allowed to use is what there is, or what a
//! board says: [`crate::kernels::Kernels::assume`].
//!
//! ```
//! use kinglet::isa::Isa;
//! assert_eq!(Isa::available().next(), Some(Isa::Scalar));
//! assert_eq!("avx2".parse(), Ok(Isa::Avx2));
//! ```

/// An instruction set that kernels are written for, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust: every machine has it, and every other set gives its bits.
    Scalar,
    /// x86-64 with AVX2 and F16C.
    Avx2,
    /// The same with AVX-VNNI: dot products of bytes in 256-bit registers (Alder Lake, its small cores alone, Zen 5).
    AvxVnni,
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI: dot products of bytes in 512-bit registers (Ice Lake, Zen 4).
    Avx512,
    /// AArch64 with Advanced SIMD (NEON), as every Linux machine of that kind has (Cortex-A53 and A72: Raspberry Pi 3, Zero 2 and 4).
    Neon,
    /// The same with `FEAT_DotProd`: dot products of bytes (Cortex-A55, A76, A78AE: Raspberry Pi 5, Jetson Orin).
    DotProd,
    /// The same with `FEAT_I8MM`: products of 2×8 by 8×2 bytes (Cortex-A510, A710, Neoverse V1 and later).
    I8mm,
}

/// A name that no instruction set has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownIsa;

impl core::fmt::Display for UnknownIsa {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("unknown instruction set; known are")?;
        Isa::ALL.iter().try_for_each(|isa| write!(f, " {isa}"))
    }
}

impl core::error::Error for UnknownIsa {}

impl Isa {
    /// Every instruction set, worst first, whether this machine has it or not.
    pub const ALL: [Isa; 7] = [Isa::Scalar, Isa::Avx2, Isa::AvxVnni, Isa::Avx512, Isa::Neon, Isa::DotProd, Isa::I8mm];

    /// The name that users type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
            Isa::DotProd => "dotprod",
            Isa::I8mm => "i8mm",
        }
    }

    /// Whether this machine has it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => AvxVnni::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Avx512::detect().is_some(),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Isa::Neon => Neon::detect().is_some(),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Isa::DotProd => DotProd::detect().is_some(),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Isa::I8mm => I8mm::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => false,
            #[cfg(not(all(target_arch = "aarch64", target_feature = "neon")))]
            Isa::Neon | Isa::DotProd | Isa::I8mm => false,
        }
    }

    /// What this machine has, best last.
    pub fn available() -> impl DoubleEndedIterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }
}

impl core::fmt::Display for Isa {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}

impl core::str::FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Self, UnknownIsa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name).ok_or(UnknownIsa)
    }
}

/// Declares a proof token, its detection, and a macro that makes functions for its features, all from one list.
///
/// A token `: Base` exists only where the base's does, so that its table may take over the base's entries.
///
/// `$entry! { fn name(args) = body; }` defines a plain function that calls `body` inside a function with the features.
/// The call is safe only if the list covers every feature that `body` asks for, so the compiler checks the list
/// against bodies with features of their own; generic ones, which are compiled into the function, are their tables' care.
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
macro_rules! level {
    ($dollar:tt $(#[$doc:meta])* $token:ident $(: $base:ident)?, $entry:ident: $($feature:tt),+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $token(());

        impl $token {
            /// A token, if this machine has every feature: asked at run time with feature `std`, else the build's word.
            #[must_use]
            pub fn detect() -> Option<Self> {
                $($base::detect()?;)?
                #[cfg(all(feature = "std", target_arch = "x86_64"))]
                let has = $(std::arch::is_x86_feature_detected!($feature))&&+;
                #[cfg(all(feature = "std", target_arch = "aarch64"))]
                let has = $(std::arch::is_aarch64_feature_detected!($feature))&&+;
                #[cfg(not(feature = "std"))]
                let has = $(cfg!(target_feature = $feature))&&+;
                has.then_some(Self(()))
            }

            /// A token, on the word of the caller: a board that knows its CPU and has no operating system to ask.
            ///
            /// # Safety
            /// As for [`crate::kernels::Kernels::assume`].
            #[expect(unsafe_code, reason = "declares a duty, and does nothing")]
            #[must_use]
            pub const unsafe fn assume() -> Self {
                Self(())
            }
        }

        macro_rules! $entry {
            ($dollar($dollar(#[$dollar meta:meta])* fn $dollar name:ident($dollar($dollar arg:ident: $dollar ty:ty),*) = $dollar body:path;)*) => {$dollar(
                $dollar(#[$dollar meta])*
                fn $dollar name($dollar($dollar arg: $dollar ty),*) {
                    #[target_feature($(enable = $feature),+)]
                    fn featured($dollar($dollar arg: $dollar ty),*) {
                        $dollar body($dollar($dollar arg),*)
                    }
                    // SAFETY: only tables of this instruction set and of larger ones name this function, and a table is
                    // handed out against a token, which exists only where the features do, and those of its base.
                    unsafe { featured($dollar($dollar arg),*) }
                }
            )*};
        }
        pub(crate) use $entry;
    };
}

#[cfg(target_arch = "x86_64")]
level!($
    /// Proof that this machine has AVX2 and F16C. FMA is left out on purpose: no product may be contracted.
    Avx2, avx2_entry: "avx2", "f16c");
#[cfg(target_arch = "x86_64")]
level!($
    /// Proof that this machine has AVX-VNNI besides what [`Avx2`] proves.
    AvxVnni: Avx2, avxvnni_entry: "avx2", "f16c", "avxvnni");
#[cfg(target_arch = "x86_64")]
level!($
    /// Proof that this machine has AVX-512 F, BW, DQ, VL and VNNI besides what [`Avx2`] proves. These bring FMA along;
    /// the compiler contracts no product that is not written so.
    Avx512: Avx2, avx512_entry: "avx2", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni");
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
level!($
    /// Proof that this machine has Advanced SIMD.
    Neon, neon_entry: "neon");
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
level!($
    /// Proof that this machine has `FEAT_DotProd` besides what [`Neon`] proves.
    DotProd: Neon, dotprod_entry: "neon", "dotprod");
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
level!($
    /// Proof that this machine has `FEAT_I8MM` besides what [`DotProd`] proves.
    I8mm: DotProd, i8mm_entry: "neon", "dotprod", "i8mm");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for isa in Isa::ALL {
            assert_eq!(isa.name().parse(), Ok(isa));
        }
        assert_eq!("AVX-7".parse::<Isa>(), Err(UnknownIsa));
        assert_eq!(UnknownIsa.to_string(), "unknown instruction set; known are scalar avx2 avxvnni avx512 neon dotprod i8mm");
    }

    #[test]
    fn available_is_sorted_and_starts_with_scalar() {
        let all: Vec<_> = Isa::available().collect();
        assert_eq!(all[0], Isa::Scalar);
        assert!(all.is_sorted());
    }
}
