// A model in a device without an operating system: weights in flash, memory in static arrays, no allocation, no libc.
//
// The flavour is libkinglet_core.a. On this machine, with `board_host.c` in place of a board:
//
//     cc -DMODEL_FILE='"MODEL.kgl"' embed_in_firmware.c board_host.c model.S $(pkg-config --cflags --libs kinglet-core) -o embed_in_firmware
//     ./embed_in_firmware
//
// For a Cortex-M4 with an FPU, on a board that QEMU has, where PREFIX is a folder to which `cargo xtask install
// --target thumbv7em-none-eabihf` put the library:
//
//     clang --target=thumbv7em-none-eabihf -mcpu=cortex-m4 -ffreestanding -Os -I$PREFIX/include -c embed_in_firmware.c board_cortex_m.c
//     clang --target=thumbv7em-none-eabihf -mcpu=cortex-m4 -DMODEL_FILE='"MODEL.kgl"' -c model.S
//     ld.lld -T mps2_an386.ld embed_in_firmware.o board_cortex_m.o model.o $PREFIX/lib/libkinglet_core.a -o firmware.elf
//     qemu-system-arm -M mps2-an386 -nodefaults -display none -chardev stdio,id=text -semihosting-config enable=on,chardev=text -kernel firmware.elf
//
// For a Cortex-M33: thumbv8m.main-none-eabihf, cortex-m33 and an505 in place of these.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "board.h"
#include <kinglet.h>

// What the device is for. The arrays below are for a model and these numbers; `check_room` tells by how much they miss another one.
enum {
    CONTEXT = 64,      // tokens of prompt and answer together
    BATCH = 8,         // of a prompt, run at once
    TEXT_BYTES = 64,   // of the longest prompt
    ANSWER_TOKENS = 24,
};

enum {
    MODEL_ROOM = 2 * 1024,
    SESSION_ROOM = 128 * 1024,
    TOKENIZER_ROOM = 4 * 1024,
    STACK_ROOM = 16 * 1024, // the library's and this program's
};

// At any address: the library aligns by itself, and says so in what it asks for.
static unsigned char model_room[MODEL_ROOM];
static unsigned char session_room[SESSION_ROOM];
static unsigned char tokenizer_room[TOKENIZER_ROOM];

static kgl_error error;

static void print_number(size_t number) {
    char digits[21];
    size_t at = sizeof digits - 1;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    board_print(digits + at);
}

static void check(kgl_status status) {
    if (status != KGL_OK) {
        board_print(error.text);
        board_print("\n");
        board_exit(1);
    }
}

static void check_room(const char *what, size_t needed, size_t room) {
    board_print(what);
    board_print(": ");
    print_number(needed);
    board_print(" of ");
    print_number(room);
    board_print(" bytes\n");
    if (needed > room) {
        board_exit(1);
    }
}

static int32_t print_text(void *user, kgl_token token, const char *text, size_t bytes) {
    (void)user;
    (void)token;
    (void)bytes; // a 0 ends it, too
    board_print(text);
    return 0;
}

int main(void) {
    error = kgl_error_default();

    kgl_model_params with = kgl_model_params_default();
    with.memory = model_room;
    with.memory_bytes = sizeof model_room;
    check_room("model", kgl_model_bytes(), sizeof model_room);
    kgl_model *model;
    check(kgl_model_from_memory(model_start, (size_t)(model_end - model_start), &with, &model, &error));

    kgl_session_params place = kgl_session_params_default();
    place.context = CONTEXT;
    place.batch = BATCH;
    place.memory = session_room;
    place.memory_bytes = sizeof session_room;
    kgl_plan_info plan = kgl_plan_info_default();
    check(kgl_plan(model, &place, &plan, &error));
    check_room("session", plan.memory_bytes, sizeof session_room);
    kgl_session *session;
    check(kgl_session_new(model, &place, &session, &error));

    kgl_tokenizer_params texts = kgl_tokenizer_params_default();
    texts.text_bytes = TEXT_BYTES;
    texts.messages = 0;
    texts.memory = tokenizer_room;
    texts.memory_bytes = sizeof tokenizer_room;
    size_t needed;
    check(kgl_tokenizer_plan(model, &texts, &needed, &error));
    check_room("tokenizer", needed, sizeof tokenizer_room);
    kgl_tokenizer *tokenizer;
    check(kgl_tokenizer_new(model, &texts, &tokenizer, &error));

    static const char prompt[] = "It was a truth universally acknowledged, that";
    kgl_token tokens[TEXT_BYTES];
    size_t count;
    check(kgl_tokenize(tokenizer, prompt, sizeof prompt - 1, KGL_TEXT_ADD_SPECIAL, tokens, TEXT_BYTES, &count, &error));
    kgl_generate_params params = kgl_generate_params_default();
    params.max_tokens = ANSWER_TOKENS;
    params.text = print_text;
    board_print(prompt);
    // Without a sampler: the most probable token each time.
    check(kgl_generate(session, NULL, tokenizer, tokens, count, &params, NULL, &error));
    board_print("\n");
    if (board_stack_used() > 0) {
        check_room("stack", board_stack_used(), STACK_ROOM);
    }
    // A device never ends; this one frees what it has, so that the memory could serve another model.
    check(kgl_tokenizer_free(&tokenizer, &error));
    check(kgl_session_free(&session, &error));
    check(kgl_model_free(&model, &error));
    board_exit(0);
}
