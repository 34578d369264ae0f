/* Has the library of panic.rs catch a panic. */
#include <stddef.h>
#include <stdint.h>

int32_t kgl_test_catch(size_t index);

int main(void) {
    return kgl_test_catch(1) == 2 && kgl_test_catch(7) == 0 ? 0 : 1;
}
