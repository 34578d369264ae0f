// One prompt, one answer: in the model's chat format if the file has one, else as a text that goes on.
//
//     cc hello.c $(pkg-config --cflags --libs kinglet) -o hello
//     ./hello MODEL.kgl "What is the capital of France?"
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <kinglet.h>
#include <stdio.h>
#include <stdlib.h>

// Every call can say in one sentence what went wrong.
static kgl_error error;

static void check(kgl_status status) {
    if (status != KGL_OK) {
        fprintf(stderr, "hello: %s\n", error.text);
        exit(EXIT_FAILURE);
    }
}

// Is called with each token; `text` is what is known to be text now, whole characters, often none.
static int32_t print(void *user, kgl_token token, const char *text, size_t bytes) {
    (void)user;
    (void)token;
    fwrite(text, 1, bytes, stdout);
    fflush(stdout);
    return 0; // go on
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: hello MODEL.kgl PROMPT\n");
        return EXIT_FAILURE;
    }
    const char *prompt = argv[2];
    error = kgl_error_default();

    kgl_model *model;
    check(kgl_model_open(argv[1], NULL, &model, &error));
    kgl_tokenizer *tokenizer;
    check(kgl_tokenizer_new(model, NULL, &tokenizer, &error));
    kgl_session *session;
    check(kgl_session_new(model, NULL, &session, &error));
    kgl_sampler_params how = kgl_sampler_params_default();
    how.seed = 1; // the same text each time, on every machine
    kgl_sampler *sampler;
    check(kgl_sampler_new(model, &how, &sampler, &error));

    // Text to tokens: first how many, then the tokens.
    kgl_tokenizer_info info = kgl_tokenizer_info_default();
    check(kgl_tokenizer_get_info(tokenizer, &info, &error));
    const kgl_message message = {KGL_ROLE_USER, prompt, KGL_TERMINATED};
    kgl_token *tokens = NULL;
    size_t room = 0, count = 0;
    for (;;) {
        const kgl_status status =
            info.has_chat ? kgl_chat_tokenize(tokenizer, KGL_ROLE_NONE, &message, 1, KGL_CHAT_REPLY, tokens, room, &count, &error)
                          : kgl_tokenize(tokenizer, prompt, KGL_TERMINATED, KGL_TEXT_ADD_SPECIAL, tokens, room, &count, &error);
        if (status != KGL_ERROR_TOO_SMALL) {
            check(status);
            break;
        }
        room = count;
        tokens = realloc(tokens, room * sizeof *tokens);
        if (tokens == NULL) {
            fprintf(stderr, "hello: no memory\n");
            return EXIT_FAILURE;
        }
    }

    kgl_generate_params params = kgl_generate_params_default();
    params.max_tokens = 60;
    params.text = print;
    check(kgl_generate(session, sampler, tokenizer, tokens, count, &params, NULL, &error));
    printf("\n");

    // In any order, but the model last.
    free(tokens);
    check(kgl_sampler_free(&sampler, &error));
    check(kgl_session_free(&session, &error));
    check(kgl_tokenizer_free(&tokenizer, &error));
    check(kgl_model_free(&model, &error));
    return EXIT_SUCCESS;
}
