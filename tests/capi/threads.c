// Threads: one model with a session each, one session for all, threads of the caller's that work for a session.
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, TOKENS = 48 };

struct worker {
    const kgl_model *model;
    kgl_session *session;
    kgl_status status;
    uint64_t hash;
    size_t busy;
};

static void golden(kgl_token *tokens) {
    for (size_t i = 0; i < TOKENS; i++) {
        tokens[i] = golden_token(i, 259);
    }
}

// No checks here: their counters belong to the main thread.
static void *own_session(void *user) {
    struct worker *worker = user;
    kgl_session_params params = kgl_session_params_default();
    params.context = 64;
    params.threads = 1 + worker->hash % 2;
    kgl_token tokens[TOKENS];
    golden(tokens);
    const float *logits;
    size_t count;
    kgl_status status = kgl_session_new(worker->model, &params, &worker->session, NULL);
    for (size_t round = 0; status == KGL_OK && round < 5; round++) {
        status = kgl_session_truncate(worker->session, 0, NULL);
        if (status == KGL_OK) {
            status = kgl_session_prefill(worker->session, tokens, TOKENS, NULL);
        }
        if (status == KGL_OK) {
            status = kgl_session_logits(worker->session, &logits, &count, NULL);
        }
        if (status == KGL_OK) {
            worker->hash = fnv1a(FNV_START, logits, count * sizeof *logits);
        }
    }
    kgl_session_free(&worker->session, NULL);
    worker->status = status;
    return NULL;
}

static void sessions_of_their_own(const kgl_model *model) {
    kgl_session *session = open_session(model, 64);
    run_tokens(session, 0, TOKENS, 259);
    const uint64_t expected = logits_hash(session);
    OK(kgl_session_free(&session, &err));
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.model = model, .hash = i};
        CHECK(pthread_create(&threads[i], NULL, own_session, &workers[i]) == 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(workers[i].status == KGL_OK && workers[i].hash == expected);
    }
}

// Calls one session from several threads: each call is served, or is told that the session is in use.
static void *one_session(void *user) {
    struct worker *worker = user;
    kgl_token tokens[TOKENS];
    golden(tokens);
    for (size_t round = 0; round < 300; round++) {
        kgl_status status = kgl_session_prefill(worker->session, tokens, 3, NULL);
        if (status == KGL_ERROR_CONTEXT_FULL) {
            status = kgl_session_truncate(worker->session, 0, NULL);
        }
        if (status == KGL_ERROR_BUSY) {
            worker->busy += 1;
        } else if (status != KGL_OK) {
            worker->status = status;
        }
    }
    return NULL;
}

static void one_for_all(const kgl_model *model) {
    kgl_session *session = open_session(model, 64);
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.session = session};
        CHECK(pthread_create(&threads[i], NULL, one_session, &workers[i]) == 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(workers[i].status == KGL_OK);
    }
    OK(kgl_session_truncate(session, 0, &err));
    run_tokens(session, 0, TOKENS, 259);
    OK(kgl_session_free(&session, &err));
}

// Chunks of one call, dealt to threads.
struct share {
    kgl_task_fn task;
    const void *context;
    size_t first, chunks;
};

static void *work(void *user) {
    const struct share *share = user;
    for (size_t i = share->first; i < share->chunks; i += THREADS) {
        share->task(share->context, i);
    }
    return NULL;
}

static void deal(void *user, size_t chunks, kgl_task_fn task, const void *context) {
    pthread_t threads[THREADS];
    struct share shares[THREADS];
    *(size_t *)user += 1;
    for (size_t i = 0; i < THREADS; i++) {
        shares[i] = (struct share){task, context, i, chunks};
        if (i > 0 && pthread_create(&threads[i], NULL, work, &shares[i]) != 0) {
            fprintf(stderr, "no thread\n");
            exit(1);
        }
    }
    work(&shares[0]);
    for (size_t i = 1; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void callers_threads(const kgl_model *model) {
    kgl_session *session = open_session(model, 64);
    run_tokens(session, 0, TOKENS, 259);
    const uint64_t expected = logits_hash(session);
    OK(kgl_session_free(&session, &err));
    kgl_session_params params = kgl_session_params_default();
    size_t runs = 0;
    params.context = 64;
    params.run = deal;
    params.run_user = &runs;
    params.run_count = THREADS;
    OK(kgl_session_new(model, &params, &session, &err));
    run_tokens(session, 0, TOKENS, 259);
    CHECK(logits_hash(session) == expected && runs > 0);
    OK(kgl_session_free(&session, &err));
}

// A system that starts no more threads, because there is no room for their stacks. In a process of its own, for the limit stays.
static void no_more_threads(const kgl_model *model) {
    if (!options.limits) {
        return;
    }
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        const struct rlimit limit = {(rlim_t)256 << 20, (rlim_t)256 << 20};
        kgl_session_params params = kgl_session_params_default();
        params.context = 16;
        params.threads = 1024;
        kgl_session *session = NULL;
        const kgl_status status = setrlimit(RLIMIT_AS, &limit) == 0 ? kgl_session_new(model, &params, &session, NULL) : KGL_OK;
        _exit(session == NULL ? (int)status : 0);
    }
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    if (CHECK(WIFEXITED(status) && WEXITSTATUS(status) == KGL_ERROR_THREADS)) {
        seen[KGL_ERROR_THREADS] += 1;
    } else {
        fprintf(stderr, "the child ended with %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -status);
    }
}

void test_threads(void) {
    kgl_model *model = open_model("strict");
    sessions_of_their_own(model);
    one_for_all(model);
    callers_threads(model);
    no_more_threads(model);
    OK(kgl_model_free(&model, &err));
}
