// Calls from inside callbacks, callbacks that end a call, cores of the caller's.
#include "check.h"

struct inside {
    kgl_session *session;
    kgl_tokenizer *tokenizer;
    kgl_sampler *sampler;
    kgl_session *other;
    size_t calls, cancel_at;
    bool is_generation;
};

// Every call with an object that is in use.
static void try_all(struct inside *inside) {
    kgl_session *session = inside->session;
    kgl_session_info info = kgl_session_info_default();
    const kgl_token one = 1;
    const float *logits;
    float embedding[64];
    size_t n;
    EXPECT(KGL_ERROR_BUSY, kgl_session_prefill(session, &one, 1, &err));
    EXPECT(KGL_ERROR_BUSY, kgl_session_decode(session, 1, &err));
    EXPECT(KGL_ERROR_BUSY, kgl_session_logits(session, &logits, &n, &err));
    EXPECT(KGL_ERROR_BUSY, kgl_session_embed(session, &one, 1, KGL_POOLING_LAST, embedding, 64, &err));
    EXPECT(KGL_ERROR_BUSY, kgl_session_truncate(session, 0, &err));
    EXPECT(KGL_ERROR_BUSY, kgl_session_save(session, NULL, 0, &n, &err));
    EXPECT(KGL_ERROR_BUSY, kgl_session_restore(session, NULL, 0, &err));
    EXPECT(KGL_ERROR_BUSY, kgl_session_get_info(session, &info, &err));
    EXPECT(KGL_ERROR_BUSY, kgl_session_free(&session, &err));
    CHECK(session == inside->session);
    EXPECT(KGL_ERROR_BUSY, kgl_generate(session, NULL, inside->tokenizer, &one, 1, NULL, NULL, &err));
    const kgl_status expected = inside->is_generation ? KGL_ERROR_BUSY : KGL_OK;
    kgl_tokenizer *tokenizer = inside->tokenizer;
    kgl_tokenizer_info tokenizer_info = kgl_tokenizer_info_default();
    kgl_token_info token_info = kgl_token_info_default();
    kgl_token tokens[8];
    char text[64];
    const char *piece;
    const kgl_message message = {KGL_ROLE_USER, "a", 1};
    EXPECT(expected, kgl_tokenizer_get_info(tokenizer, &tokenizer_info, &err));
    EXPECT(expected, kgl_token_get_info(tokenizer, 3, &token_info, &err));
    EXPECT(expected, kgl_token_find(tokenizer, "a", 1, tokens, &err));
    EXPECT(expected, kgl_tokenize(tokenizer, "ab", 2, 0, tokens, 8, &n, &err));
    EXPECT(expected, kgl_detokenize(tokenizer, &one, 1, KGL_TEXT_SHOW_SPECIAL, text, sizeof text, &n, &err));
    EXPECT(expected, kgl_tokenizer_start(tokenizer, 0, &err));
    EXPECT(expected, kgl_tokenizer_push(tokenizer, 5, &piece, &n, &err));
    EXPECT(expected, kgl_tokenizer_finish(tokenizer, &piece, &n, &err));
    EXPECT(expected, kgl_chat_render(tokenizer, 0, &message, 1, KGL_CHAT_REPLY, text, sizeof text, &n, &err));
    EXPECT(expected, kgl_chat_tokenize(tokenizer, 0, &message, 1, KGL_CHAT_REPLY, tokens, 8, &n, &err));
    if (inside->is_generation) {
        EXPECT(KGL_ERROR_BUSY, kgl_tokenizer_free(&tokenizer, &err));
        kgl_sampler *sampler = inside->sampler;
        EXPECT(KGL_ERROR_BUSY, kgl_sampler_free(&sampler, &err));
        EXPECT(KGL_ERROR_BUSY, kgl_sampler_accept(sampler, &one, 1, &err));
        EXPECT(KGL_ERROR_BUSY, kgl_sampler_reset(sampler, &err));
        EXPECT(KGL_ERROR_BUSY, kgl_sampler_save(sampler, NULL, 0, &n, &err));
        EXPECT(KGL_ERROR_BUSY, kgl_sampler_restore(sampler, NULL, 0, &err));
        EXPECT(KGL_ERROR_BUSY, kgl_sampler_sample_logits(sampler, NULL, 0, tokens, &err));
        EXPECT(KGL_ERROR_BUSY, kgl_sampler_sample(sampler, inside->other, tokens, &err));
    } else {
        EXPECT(KGL_ERROR_BUSY, kgl_sampler_sample(inside->sampler, session, tokens, &err));
    }
    // An object that has nothing to do with the call works.
    OK(kgl_session_truncate(inside->other, 0, &err));
    OK(kgl_session_decode(inside->other, 2, &err));
}

static int32_t progress(void *user, size_t done, size_t total) {
    struct inside *inside = user;
    inside->calls += 1;
    CHECK(done <= total);
    if (!inside->is_generation) {
        try_all(inside);
    }
    return inside->calls == inside->cancel_at;
}

static int32_t text(void *user, kgl_token token, const char *piece, size_t bytes) {
    struct inside *inside = user;
    CHECK((token < 259 || token == KGL_TOKEN_NONE) && strlen(piece) <= bytes && piece[bytes] == 0);
    try_all(inside);
    inside->calls += 1;
    return inside->calls == inside->cancel_at ? -5 : 0;
}

static void inside_calls(const kgl_model *model) {
    struct inside inside = {.other = open_session(model, 16), .tokenizer = open_tokenizer(model), .sampler = open_sampler(model, 1)};
    kgl_session_params params = kgl_session_params_default();
    params.context = 64;
    params.batch = 8;
    params.threads = 1;
    params.progress = progress;
    params.progress_user = &inside;
    OK(kgl_session_new(model, &params, &inside.session, &err));
    kgl_token tokens[40];
    for (size_t i = 0; i < 40; i++) {
        tokens[i] = golden_token(i, 259);
    }
    inside.cancel_at = 3;
    EXPECT(KGL_ERROR_CANCELLED, kgl_session_prefill(inside.session, tokens, 40, &err));
    CHECK(strstr(err.text, "24 of 40") != NULL);
    kgl_session_info info = kgl_session_info_default();
    OK(kgl_session_get_info(inside.session, &info, &err));
    CHECK(info.position == 24 && !info.has_logits);
    inside.cancel_at = 0;
    OK(kgl_session_prefill(inside.session, tokens + 24, 16, &err));
    const uint64_t cancelled = logits_hash(inside.session);
    OK(kgl_session_truncate(inside.session, 0, &err));
    OK(kgl_session_prefill(inside.session, tokens, 40, &err));
    CHECK(logits_hash(inside.session) == cancelled);

    // An embedding asks as a prompt does.
    float embedding[64];
    kgl_model_info about = kgl_model_info_default();
    OK(kgl_model_get_info(model, &about, &err));
    CHECK(about.hidden <= 64);
    OK(kgl_session_truncate(inside.session, 0, &err));
    inside.calls = 0;
    inside.cancel_at = 2;
    EXPECT(KGL_ERROR_CANCELLED, kgl_session_embed(inside.session, tokens, 40, KGL_POOLING_MEAN, embedding, 64, &err));
    CHECK(strstr(err.text, "16 of 40") != NULL);

    // In a generation all three are in use, and either callback ends it.
    OK(kgl_session_truncate(inside.session, 0, &err));
    inside.is_generation = true;
    inside.calls = 0;
    inside.cancel_at = 2;
    kgl_generation generation = kgl_generation_default();
    EXPECT(KGL_ERROR_CANCELLED,
           kgl_generate(inside.session, inside.sampler, inside.tokenizer, tokens, 40, NULL, &generation, &err));
    OK(kgl_session_truncate(inside.session, 0, &err));
    OK(kgl_session_free(&inside.session, &err));
    inside.session = open_session(model, 64);
    inside.calls = 0;
    inside.cancel_at = 3;
    kgl_generate_params generate = kgl_generate_params_default();
    generate.text = text;
    generate.text_user = &inside;
    OK(kgl_generate(inside.session, inside.sampler, inside.tokenizer, tokens, 20, &generate, &generation, &err));
    CHECK((generation.end == KGL_END_CALLBACK && generation.tokens == 3) || generation.end == KGL_END_TOKEN);
    // And are free again.
    OK(kgl_session_decode(inside.session, 1, &err));
    OK(kgl_sampler_reset(inside.sampler, &err));
    OK(kgl_session_free(&inside.session, &err));
    OK(kgl_session_free(&inside.other, &err));
    OK(kgl_tokenizer_free(&inside.tokenizer, &err));
    OK(kgl_sampler_free(&inside.sampler, &err));
}

struct cores {
    kgl_session *session;
    size_t runs, chunks;
    bool forwards;
};

static void run(void *user, size_t chunks, kgl_task_fn task, const void *context) {
    struct cores *cores = user;
    cores->runs += 1;
    cores->chunks += chunks;
    EXPECT(KGL_ERROR_BUSY, kgl_session_decode(cores->session, 1, &err));
    EXPECT(KGL_ERROR_BUSY, kgl_session_free(&cores->session, &err));
    for (size_t i = 0; i < chunks; i++) {
        task(context, cores->forwards ? i : chunks - 1 - i);
    }
}

static void callers_cores(const kgl_model *model) {
    kgl_session *session = open_session(model, 64);
    run_tokens(session, 0, 40, 259);
    const uint64_t expected = logits_hash(session);
    OK(kgl_session_free(&session, &err));
    for (size_t count = 1; count <= 4; count++) {
        struct cores cores = {.forwards = count % 2 == 0};
        kgl_session_params params = kgl_session_params_default();
        params.context = 64;
        params.batch = 16;
        params.run = run;
        params.run_user = &cores;
        params.run_count = count;
        params.threads = 99999;
        OK(kgl_session_new(model, &params, &session, &err));
        cores.session = session;
        kgl_session_info info = kgl_session_info_default();
        OK(kgl_session_get_info(session, &info, &err));
        CHECK(info.threads == count);
        run_tokens(session, 0, 40, 259);
        CHECK(logits_hash(session) == expected);
        CHECK(count == 1 || (cores.runs > 0 && cores.chunks >= cores.runs));
        OK(kgl_session_free(&session, &err));
        params.run_count = 0;
        EXPECT(KGL_ERROR_ARGUMENT, kgl_session_new(model, &params, &session, &err));
    }
}

void test_callbacks(void) {
    kgl_model *model = open_model("strict");
    inside_calls(model);
    callers_cores(model);
    OK(kgl_model_free(&model, &err));
}
