// Two threads share one model, each with a session of its own: lines of stdin are answered by whoever is free.
//
//     cc server.c $(pkg-config --cflags --libs kinglet) -lpthread -o server
//     printf 'It was\nShe said\nThe end\nMr.\n' | ./server MODEL.kgl
//
// An answer is written as a whole, so answers never mix. Their order is that of their ends. Each line has its own seed, so its text does
// not depend on who answers it, nor when.
// SPDX-License-Identifier: MIT OR Apache-2.0
#define _POSIX_C_SOURCE 200809L
#include <kinglet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 2, LINE_BYTES = 1024, ANSWER_BYTES = 4096, ANSWER_TOKENS = 30 };

static const kgl_model *shared;
static pthread_mutex_t input = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;
static unsigned lines;

// What a worker has for itself; nothing of it is shared.
struct worker {
    kgl_session *session;
    kgl_tokenizer *tokenizer;
    kgl_error error;
    char answer[ANSWER_BYTES];
    size_t bytes;
};

static int32_t collect(void *user, kgl_token token, const char *text, size_t bytes) {
    struct worker *worker = user;
    (void)token;
    if (bytes > sizeof worker->answer - worker->bytes) {
        return 1; // the answer ends here
    }
    memcpy(worker->answer + worker->bytes, text, bytes);
    worker->bytes += bytes;
    return 0;
}

static kgl_status answer(struct worker *worker, const char *line, unsigned number) {
    kgl_token tokens[LINE_BYTES + 8];
    size_t count;
    kgl_error *error = &worker->error;
    worker->bytes = 0;
    kgl_status status = kgl_session_truncate(worker->session, 0, error);
    if (status == KGL_OK) {
        status = kgl_tokenize(worker->tokenizer, line, KGL_TERMINATED, KGL_TEXT_ADD_SPECIAL, tokens, sizeof tokens / sizeof *tokens, &count, error);
    }
    kgl_sampler_params how = kgl_sampler_params_default();
    how.seed = number;
    kgl_sampler *sampler = NULL;
    if (status == KGL_OK) {
        status = kgl_sampler_new(shared, &how, &sampler, error);
    }
    if (status == KGL_OK) {
        kgl_generate_params params = kgl_generate_params_default();
        params.max_tokens = ANSWER_TOKENS;
        params.text = collect;
        params.text_user = worker;
        status = kgl_generate(worker->session, sampler, worker->tokenizer, tokens, count, &params, NULL, error);
    }
    kgl_sampler_free(&sampler, NULL);
    return status;
}

// Reads the next line; false at the end of the input.
static bool next(char *line, unsigned *number) {
    pthread_mutex_lock(&input);
    const bool is_there = fgets(line, LINE_BYTES, stdin) != NULL;
    *number = lines++;
    pthread_mutex_unlock(&input);
    if (is_there) {
        line[strcspn(line, "\r\n")] = 0;
    }
    return is_there;
}

static void *work(void *user) {
    struct worker *worker = user;
    char line[LINE_BYTES];
    unsigned number;
    while (next(line, &number)) {
        const kgl_status status = answer(worker, line, number);
        pthread_mutex_lock(&output);
        if (status == KGL_OK) {
            printf("%u: %s|%.*s\n", number, line, (int)worker->bytes, worker->answer);
        } else {
            printf("%u: %s: %s\n", number, line, worker->error.text);
        }
        fflush(stdout);
        pthread_mutex_unlock(&output);
    }
    return NULL;
}

static void check(kgl_status status, const kgl_error *error) {
    if (status != KGL_OK) {
        fprintf(stderr, "server: %s\n", error->text);
        exit(EXIT_FAILURE);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: server MODEL.kgl\n");
        return EXIT_FAILURE;
    }
    kgl_error error = kgl_error_default();
    kgl_model *model;
    check(kgl_model_open(argv[1], NULL, &model, &error), &error);
    shared = model;

    kgl_session_params params = kgl_session_params_default();
    params.context = 512;
    params.threads = 1; // the workers are the threads
    static struct worker workers[WORKERS];
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        workers[i].error = kgl_error_default();
        check(kgl_session_new(model, &params, &workers[i].session, &error), &error);
        check(kgl_tokenizer_new(model, NULL, &workers[i].tokenizer, &error), &error);
    }
    for (int i = 0; i < WORKERS; i++) {
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0) {
            fprintf(stderr, "server: a thread cannot be started\n");
            return EXIT_FAILURE;
        }
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
        check(kgl_tokenizer_free(&workers[i].tokenizer, &error), &error);
        check(kgl_session_free(&workers[i].session, &error), &error);
    }
    check(kgl_model_free(&model, &error), &error);
    return EXIT_SUCCESS;
}
