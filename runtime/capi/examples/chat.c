// A conversation: a line from stdin, a reply that streams to stdout, until the input ends. Only what is new is run each time.
//
//     cc chat.c $(pkg-config --cflags --libs kinglet) -o chat
//     printf 'Hello\nWho are you?\nAnd then?\n' | ./chat MODEL.kgl
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <kinglet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 4096, REPLY_TOKENS = 40, TURN_TOKENS = LINE_BYTES + 64 };

static kgl_error error;

static void check(kgl_status status) {
    if (status != KGL_OK) {
        fprintf(stderr, "chat: %s\n", error.text);
        exit(EXIT_FAILURE);
    }
}

static int32_t print(void *user, kgl_token token, const char *text, size_t bytes) {
    (void)user;
    (void)token;
    fwrite(text, 1, bytes, stdout);
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: chat MODEL.kgl\n");
        return EXIT_FAILURE;
    }
    error = kgl_error_default();
    kgl_model *model;
    check(kgl_model_open(argv[1], NULL, &model, &error));
    kgl_tokenizer *tokenizer;
    check(kgl_tokenizer_new(model, NULL, &tokenizer, &error));
    kgl_session *session;
    check(kgl_session_new(model, NULL, &session, &error));
    kgl_sampler_params how = kgl_sampler_params_default();
    how.seed = 1;
    kgl_sampler *sampler;
    check(kgl_sampler_new(model, &how, &sampler, &error));
    kgl_generate_params params = kgl_generate_params_default();
    params.max_tokens = REPLY_TOKENS;
    params.text = print;

    char line[LINE_BYTES];
    // One more, for a token that was chosen last turn and not run yet.
    static kgl_token tokens[1 + TURN_TOKENS];
    kgl_generation reply = kgl_generation_default();
    kgl_role from = KGL_ROLE_NONE;
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\r\n")] = 0;
        const kgl_message message = {KGL_ROLE_USER, line, KGL_TERMINATED};
        size_t count = 0, before = 0;
        // A reply that was cut off ends with a token that the session has not seen. What ends a reply of its own accord stands in
        // the format, between the reply and the next message.
        if (from == KGL_ROLE_ASSISTANT && reply.end != KGL_END_TOKEN) {
            tokens[before++] = reply.last;
        }
        check(kgl_chat_tokenize(tokenizer, (int32_t)from, &message, 1, KGL_CHAT_REPLY, tokens + before, TURN_TOKENS, &count, &error));
        kgl_status status = kgl_generate(session, sampler, tokenizer, tokens, before + count, &params, &reply, &error);
        if (status == KGL_ERROR_CONTEXT_FULL) {
            // The simplest way out: everything is forgotten, and this message begins anew.
            fprintf(stderr, "chat: the context is full; the conversation begins anew\n");
            check(kgl_session_truncate(session, 0, &error));
            check(kgl_chat_tokenize(tokenizer, KGL_ROLE_NONE, &message, 1, KGL_CHAT_REPLY, tokens, TURN_TOKENS, &count, &error));
            status = kgl_generate(session, sampler, tokenizer, tokens, count, &params, &reply, &error);
        }
        check(status);
        from = KGL_ROLE_ASSISTANT;
        printf("\n");
    }

    check(kgl_sampler_free(&sampler, &error));
    check(kgl_session_free(&session, &error));
    check(kgl_tokenizer_free(&tokenizer, &error));
    check(kgl_model_free(&model, &error));
    return EXIT_SUCCESS;
}
