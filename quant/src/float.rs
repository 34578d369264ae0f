//! Plain floats in files: little-endian f32 and f16, row-major.

use half::f16;

/// The f32 at byte offset `at`.
///
/// # Panics
/// If `bytes` ends before `at + 4`.
#[must_use]
pub fn f32_at(bytes: &[u8], at: usize) -> f32 {
    f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Decodes little-endian f32 values; the shorter of the two sides ends it.
pub fn read_f32(bytes: &[u8], out: &mut [f32]) {
    for (value, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
        *value = f32_at(b, 0);
    }
}

/// Decodes little-endian f16 values, exactly; the shorter of the two sides ends it.
pub fn read_f16(bytes: &[u8], out: &mut [f32]) {
    for (value, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
        *value = f16::from_le_bytes([b[0], b[1]]).to_f32();
    }
}

/// Encodes values as little-endian f32; the shorter of the two sides ends it.
pub fn write_f32(values: &[f32], out: &mut [u8]) {
    for (b, value) in out.chunks_exact_mut(4).zip(values) {
        b.copy_from_slice(&value.to_le_bytes());
    }
}

/// Encodes values as little-endian f16, rounding half to even; the shorter of the two sides ends it.
///
/// Values of 65,520 and more in size become infinite: a writer of files looks for them first, see [`fits_f16`].
pub fn write_f16(values: &[f32], out: &mut [u8]) {
    for (b, value) in out.chunks_exact_mut(2).zip(values) {
        b.copy_from_slice(&f16::from_f32(*value).to_le_bytes());
    }
}

/// Whether `value` is finite and stays so as an f16.
#[must_use]
pub const fn fits_f16(value: f32) -> bool {
    value.abs() < 65_520.0
}
