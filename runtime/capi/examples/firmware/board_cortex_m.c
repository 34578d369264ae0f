// A Cortex-M with an FPU that a debugger, or QEMU, watches: text and exit go to it by semihosting. On a board of your own, replace
// `board_print` by the UART and keep the rest.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "board.h"
#include <stddef.h>
#include <stdint.h>

extern uint32_t bss_start[], bss_end[], data_start[], data_end[], stack_start[], stack_end[];
extern const uint32_t data_load[];

int main(void);

// ---- Semihosting: a breakpoint with a number, which the debugger serves.

static uintptr_t semihost(uintptr_t operation, uintptr_t argument) {
    register uintptr_t r0 __asm__("r0") = operation;
    register uintptr_t r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void board_print(const char *text) {
    enum { SYS_WRITE0 = 4 };
    semihost(SYS_WRITE0, (uintptr_t)text);
}

void board_exit(int code) {
    enum { SYS_EXIT_EXTENDED = 0x20, APPLICATION_EXIT = 0x20026 };
    const uintptr_t why[] = {APPLICATION_EXIT, (uintptr_t)code};
    for (;;) {
        semihost(SYS_EXIT_EXTENDED, (uintptr_t)why);
    }
}

// ---- The stack is painted at the start; what lost its colour was used.

enum { COLOUR = 0x5a5a5a5a };

size_t board_stack_used(void) {
    const uint32_t *word = stack_start;
    while (word < stack_end && *word == COLOUR) {
        word++;
    }
    return (size_t)(stack_end - word) * sizeof *word;
}

// ---- What compilers call without being asked. The library brings its own.

void *memcpy(void *restrict to, const void *restrict from, size_t bytes) {
    unsigned char *out = to;
    const unsigned char *in = from;
    while (bytes-- > 0) {
        *out++ = *in++;
    }
    return to;
}

void *memset(void *to, int value, size_t bytes) {
    unsigned char *out = to;
    while (bytes-- > 0) {
        *out++ = (unsigned char)value;
    }
    return to;
}

// ARM's names for them, with other arguments.
void __aeabi_memcpy(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes); }
void __aeabi_memcpy4(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes); }
void __aeabi_memcpy8(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes); }
void __aeabi_memset(void *to, size_t bytes, int value) { memset(to, value, bytes); }
void __aeabi_memclr(void *to, size_t bytes) { memset(to, 0, bytes); }
void __aeabi_memclr4(void *to, size_t bytes) { memset(to, 0, bytes); }
void __aeabi_memclr8(void *to, size_t bytes) { memset(to, 0, bytes); }

// ---- From power on to `main`.

void reset(void);
void reset(void) {
    // Access for the FPU, before anything uses it.
    volatile uint32_t *const cpacr = (volatile uint32_t *)0xe000ed88;
    *cpacr |= 0xfu << 20;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    const uint32_t *from = data_load;
    for (uint32_t *to = data_start; to < data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = bss_start; to < bss_end; to++) {
        *to = 0;
    }
    // As far as this function's own part of it, which is small.
    const uint32_t *const here = (const uint32_t *)__builtin_frame_address(0) - 64;
    for (volatile uint32_t *to = stack_start; to < here; to++) {
        *to = COLOUR;
    }
    main();
    board_exit(1);
}

// A fault, such as the trap that ends a broken promise of the library.
static void fault(void) {
    board_print("fault\n");
    board_exit(2);
}

struct vectors {
    const void *stack;
    void (*handlers[15])(void);
};

__attribute__((section(".vectors"), used)) static const struct vectors vectors = {
    stack_end, {reset, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault}};
