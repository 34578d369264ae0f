// What the firmware needs of its board.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>

// Where the model file lies in flash; see model.S. Where it was flashed by itself, these are addresses from the linker script.
extern const unsigned char model_start[], model_end[];

// Shows a text that ends with a 0.
void board_print(const char *text);

// Ends the program. A device would wait for its watchdog.
#if defined(__GNUC__)
__attribute__((noreturn))
#endif
void board_exit(int code);

// Bytes of the stack that were used so far, at most; 0 where nobody counts.
size_t board_stack_used(void);

#endif
