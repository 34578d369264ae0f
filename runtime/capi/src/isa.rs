//! Instruction sets, as numbers.

use crate::status::Fault;
use core::ffi::{CStr, c_char};
use kinglet::isa::Isa;
use kinglet::kernels::Kernels;

/// An instruction set that kernels are written for.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kgl_isa {
    /// The best that the machine has.
    KGL_ISA_BEST = 0,
    /// Plain code: every machine has it.
    KGL_ISA_SCALAR = 1,
    /// x86-64 with AVX2 and F16C.
    KGL_ISA_AVX2 = 2,
    /// The same with AVX-VNNI.
    KGL_ISA_AVXVNNI = 3,
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI.
    KGL_ISA_AVX512 = 4,
    /// AArch64 with Advanced SIMD.
    KGL_ISA_NEON = 5,
    /// The same with dot products.
    KGL_ISA_DOTPROD = 6,
    /// The same with products of int8 matrices.
    KGL_ISA_I8MM = 7,
}

use kgl_isa::*;

const NAMES: [(kgl_isa, Isa, &CStr); 7] = [
    (KGL_ISA_SCALAR, Isa::Scalar, c"scalar"),
    (KGL_ISA_AVX2, Isa::Avx2, c"avx2"),
    (KGL_ISA_AVXVNNI, Isa::AvxVnni, c"avxvnni"),
    (KGL_ISA_AVX512, Isa::Avx512, c"avx512"),
    (KGL_ISA_NEON, Isa::Neon, c"neon"),
    (KGL_ISA_DOTPROD, Isa::DotProd, c"dotprod"),
    (KGL_ISA_I8MM, Isa::I8mm, c"i8mm"),
];

/// Its number.
pub(crate) fn number(isa: Isa) -> kgl_isa {
    NAMES.iter().find(|(_, known, _)| *known == isa).map_or(KGL_ISA_BEST, |(number, ..)| *number)
}

/// Added to an instruction set: it is taken on the caller's word that the machine has it and that it is switched on, for boards
/// where no operating system can be asked. If the machine does not have it, the program ends at its first instruction.
pub const KGL_ISA_ASSUMED: i32 = 0x100;

/// The kernels of a number that C gave.
pub(crate) fn kernels(isa: i32) -> Result<&'static Kernels, Fault<'static>> {
    if isa == KGL_ISA_BEST as i32 {
        return Ok(Kernels::best());
    }
    let named = isa & !KGL_ISA_ASSUMED;
    let unknown = Fault::Argument { what: "isa", expected: "a number of kgl_isa", got: isa.into() };
    let (_, set, name) = NAMES.iter().find(|(number, ..)| *number as i32 == named).ok_or(unknown)?;
    let kernels = if named == isa {
        Kernels::select(*set)
    } else {
        // SAFETY: the caller's word.
        unsafe { Kernels::assume(*set) }
    };
    kernels.ok_or(Fault::Isa { name: name.to_str().unwrap_or_default() })
}

/// The name that users type, such as `avx2`; `best` for `KGL_ISA_BEST`; NULL for a number that no set has.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_isa_name(isa: i32) -> *const c_char {
    if isa == KGL_ISA_BEST as i32 {
        return c"best".as_ptr();
    }
    NAMES.iter().find(|(number, ..)| *number as i32 == isa).map_or(core::ptr::null(), |(.., name)| name.as_ptr())
}

/// Whether this machine has an instruction set and the library has kernels for it. `KGL_ISA_BEST` and `KGL_ISA_SCALAR` always are.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_isa_available(isa: i32) -> bool {
    isa & KGL_ISA_ASSUMED == 0 && kernels(isa).is_ok()
}

/// The best instruction set that this machine has.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_isa_best() -> kgl_isa {
    number(Kernels::best().isa)
}
