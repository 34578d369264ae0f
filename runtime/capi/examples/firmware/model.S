// The model file as a part of the program, at a multiple of 64. MODEL_FILE is its name in quotes.
// SPDX-License-Identifier: MIT OR Apache-2.0
    .section .rodata.model, "a"
    .balign 64
    .global model_start
model_start:
    .incbin MODEL_FILE
    .global model_end
model_end:
    .byte 0
#if defined(__linux__) && defined(__ELF__)
    .section .note.GNU-stack, "", %progbits
#endif
