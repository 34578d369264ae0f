//! A library with one function, which catches its own panic. It is packed as the C library is, to see that panics are caught
//! after that: the C library itself has none that a test could cause.

/// 0 if a panic was caught.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_test_catch(index: usize) -> i32 {
    std::panic::set_hook(Box::new(|_| ()));
    let numbers = [1, 2, 3];
    match std::panic::catch_unwind(|| numbers[index]) {
        Ok(number) => number,
        Err(_) => 0,
    }
}
