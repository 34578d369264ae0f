//! What a panic is where there is no operating system: a trap. No input reaches one; a debugger that sees it has found a mistake
//! in this library.

use core::panic::PanicInfo;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        // SAFETY: the instruction that every debugger and fault handler knows; it touches nothing.
        #[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
        unsafe {
            core::arch::asm!("udf #0", options(nomem, nostack));
        }
        // SAFETY: as above.
        #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
        unsafe {
            core::arch::asm!("ud2", options(nomem, nostack));
        }
    }
}
