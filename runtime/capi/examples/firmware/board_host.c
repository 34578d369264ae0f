// A board that is a process, so that firmware can be tried on a workstation.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "board.h"
#include <stdio.h>
#include <stdlib.h>

void board_print(const char *text) {
    fputs(text, stdout);
}

void board_exit(int code) {
    exit(code);
}

size_t board_stack_used(void) {
    return 0;
}
