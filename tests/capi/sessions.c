// Sessions: memory, tokens, logits, embeddings, going back.
#include "check.h"
#include <math.h>

static void plans(const kgl_model *model) {
    kgl_session_params params = kgl_session_params_default();
    kgl_plan_info plan = kgl_plan_info_default(), other = kgl_plan_info_default();
    OK(kgl_plan(model, NULL, &plan, &err));
    OK(kgl_plan(model, &params, &other, &err));
    CHECK(memcmp(&plan, &other, sizeof plan) == 0);
    // The default is 2,048 positions, but no more than the model was made for.
    CHECK(params.context == 0 && plan.context == 256 && plan.batch == params.batch && plan.cache_bytes < plan.memory_bytes);
    params.context = 512;
    OK(kgl_plan(model, &params, &plan, &err));
    CHECK(plan.context == 512);
    params.cache = KGL_CACHE_F32;
    OK(kgl_plan(model, &params, &other, &err));
    CHECK(other.cache_bytes > 3 * plan.cache_bytes);

    EXPECT(KGL_ERROR_NULL, kgl_plan(NULL, &params, &plan, &err));
    EXPECT(KGL_ERROR_NULL, kgl_plan(model, &params, NULL, &err));
    CHECK(kgl_plan(NULL, NULL, NULL, NULL) == KGL_ERROR_NULL);
    plan.size -= 1;
    EXPECT(KGL_ERROR_SIZE, kgl_plan(model, &params, &plan, &err));
    plan = kgl_plan_info_default();
    params.size = SIZE_MAX;
    EXPECT(KGL_ERROR_SIZE, kgl_plan(model, &params, &plan, &err));
    params = kgl_session_params_default();
    params.batch = 0;
    EXPECT(KGL_ERROR_ARGUMENT, kgl_plan(model, &params, &plan, &err));
    // A batch is no longer than the context.
    params.batch = SIZE_MAX;
    OK(kgl_plan(model, &params, &plan, &err));
    CHECK(plan.batch == plan.context);
    params.batch = 1;
    params.context = SIZE_MAX / 2;
    EXPECT(KGL_ERROR_ARGUMENT, kgl_plan(model, &params, &plan, &err));
    params.context = 16;
    static const int32_t CACHES[] = {-1, 2, INT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        params.cache = CACHES[i];
        EXPECT(KGL_ERROR_ARGUMENT, kgl_plan(model, &params, &plan, &err));
    }
    // Positions that the model has learned, and no more.
    kgl_model *positions = open_model("positions");
    params = kgl_session_params_default();
    params.context = 65;
    EXPECT(KGL_ERROR_ARGUMENT, kgl_plan(positions, &params, &plan, &err));
    OK(kgl_model_free(&positions, &err));
}

static void refused(const kgl_model *model) {
    kgl_session *session = (kgl_session *)(void *)&err;
    kgl_session_params params = kgl_session_params_default();
    params.context = 16;
    params.threads = 1;
    EXPECT(KGL_ERROR_NULL, kgl_session_new(NULL, &params, &session, &err));
    CHECK(session == NULL);
    EXPECT(KGL_ERROR_NULL, kgl_session_new(model, &params, NULL, &err));
    CHECK(kgl_session_new(NULL, NULL, NULL, NULL) == KGL_ERROR_NULL);
    params.size = 0;
    EXPECT(KGL_ERROR_SIZE, kgl_session_new(model, &params, &session, &err));
    params.size = sizeof params;
    static const int32_t ISAS[] = {-1, 8, KGL_ISA_ASSUMED, KGL_ISA_ASSUMED | 8, INT32_MIN};
    for (size_t i = 0; i < sizeof ISAS / sizeof ISAS[0]; i++) {
        params.isa = ISAS[i];
        EXPECT(KGL_ERROR_ARGUMENT, kgl_session_new(model, &params, &session, &err));
    }
    // Of another architecture: not there, whatever is assumed.
    const int32_t foreign = kgl_isa_available(KGL_ISA_NEON) ? KGL_ISA_AVX2 : KGL_ISA_NEON;
    params.isa = foreign;
    EXPECT(KGL_ERROR_ISA, kgl_session_new(model, &params, &session, &err));
    CHECK(strstr(err.text, kgl_isa_name(foreign)) != NULL);
    params.isa = foreign | KGL_ISA_ASSUMED;
    EXPECT(KGL_ERROR_ISA, kgl_session_new(model, &params, &session, &err));
    params.isa = KGL_ISA_BEST;
    static const size_t THREADS[] = {1025, SIZE_MAX};
    for (size_t i = 0; i < 2; i++) {
        params.threads = THREADS[i];
        EXPECT(KGL_ERROR_ARGUMENT, kgl_session_new(model, &params, &session, &err));
    }
    params.threads = 1;
    // More than any machine has, and yet a size.
    params.context = (size_t)1 << 44;
    EXPECT(KGL_ERROR_MEMORY, kgl_session_new(model, &params, &session, &err));
    CHECK(session == NULL);
    CHECK(kgl_session_free(&session, NULL) == KGL_OK && kgl_session_free(NULL, NULL) == KGL_OK);
}

static void in_memory(const kgl_model *model) {
    kgl_session_params params = kgl_session_params_default();
    params.context = 32;
    params.batch = 8;
    params.threads = 1;
    kgl_plan_info plan = kgl_plan_info_default();
    OK(kgl_plan(model, &params, &plan, &err));
    kgl_session *session = open_session(model, 32);
    run_tokens(session, 0, 20, 259);
    const uint64_t expected = logits_hash(session);
    OK(kgl_session_free(&session, &err));
    for (size_t skip = 0; skip < 67; skip++) {
        unsigned char *memory = malloc(skip + plan.memory_bytes + 1);
        memset(memory, (int)skip * 37, skip + plan.memory_bytes + 1);
        const unsigned char mark = memory[0];
        params.memory = memory + skip;
        params.memory_bytes = plan.memory_bytes - 1;
        EXPECT(KGL_ERROR_TOO_SMALL, kgl_session_new(model, &params, &session, &err));
        params.memory_bytes = plan.memory_bytes;
        OK(kgl_session_new(model, &params, &session, &err));
        run_tokens(session, 0, 20, 259);
        CHECK(logits_hash(session) == expected);
        kgl_session *copy = session, *again = session;
        OK(kgl_session_free(&session, &err));
        CHECK(session == NULL);
        OK(kgl_session_free(&session, &err));
        EXPECT(KGL_ERROR_HANDLE, kgl_session_free(&again, &err));
        EXPECT(KGL_ERROR_HANDLE, kgl_session_decode(copy, 0, &err));
        CHECK(memory[skip + plan.memory_bytes] == mark);
        for (size_t i = 0; i < skip; i++) {
            CHECK(memory[i] == mark);
        }
        free(memory);
    }
}

static void tokens(const kgl_model *model) {
    kgl_session *session = open_session(model, 32);
    const float *logits = NULL;
    size_t count = 0;
    EXPECT(KGL_ERROR_NO_LOGITS, kgl_session_logits(session, &logits, &count, &err));
    run_tokens(session, 0, 20, 259);
    const uint64_t whole = logits_hash(session);
    kgl_session_info info = kgl_session_info_default();
    OK(kgl_session_get_info(session, &info, &err));
    CHECK(info.position == 20 && info.context == 32 && info.threads == 1 && info.has_logits && info.isa == kgl_isa_best());
    OK(kgl_session_logits(session, &logits, NULL, &err));
    OK(kgl_session_logits(session, &logits, &count, &err));
    CHECK(count == 259 && isfinite(logits[0]) && isfinite(logits[258]));

    // Whatever is refused changes nothing.
    const kgl_token bad[] = {1, 2, 259};
    EXPECT(KGL_ERROR_TOKEN, kgl_session_prefill(session, bad, 3, &err));
    EXPECT(KGL_ERROR_TOKEN, kgl_session_prefill(session, bad, 0, &err));
    EXPECT(KGL_ERROR_TOKEN, kgl_session_prefill(session, NULL, 0, &err));
    EXPECT(KGL_ERROR_NULL, kgl_session_prefill(session, NULL, 3, &err));
    EXPECT(KGL_ERROR_TOO_LONG, kgl_session_prefill(session, bad, SIZE_MAX, &err));
    EXPECT(KGL_ERROR_ARGUMENT, kgl_session_prefill(session, (const kgl_token *)(const void *)((const char *)bad + 1), 1, &err));
    EXPECT(KGL_ERROR_NULL, kgl_session_prefill(NULL, bad, 1, &err));
    CHECK(kgl_session_prefill(NULL, NULL, 1, NULL) == KGL_ERROR_NULL);
    EXPECT(KGL_ERROR_TOKEN, kgl_session_decode(session, 259, &err));
    EXPECT(KGL_ERROR_TOKEN, kgl_session_decode(session, UINT32_MAX, &err));
    EXPECT(KGL_ERROR_NULL, kgl_session_decode(NULL, 0, &err));
    kgl_token many[13] = {0};
    EXPECT(KGL_ERROR_CONTEXT_FULL, kgl_session_prefill(session, many, 13, &err));
    EXPECT(KGL_ERROR_NULL, kgl_session_logits(session, NULL, &count, &err));
    EXPECT(KGL_ERROR_NULL, kgl_session_logits(NULL, &logits, &count, &err));
    EXPECT(KGL_ERROR_NULL, kgl_session_get_info(session, NULL, &err));
    info.size = 1;
    EXPECT(KGL_ERROR_SIZE, kgl_session_get_info(session, &info, &err));
    EXPECT(KGL_ERROR_POSITION, kgl_session_truncate(session, 21, &err));
    EXPECT(KGL_ERROR_NULL, kgl_session_truncate(NULL, 0, &err));
    CHECK(logits_hash(session) == whole);

    // Token by token, the same bits; as well after going back.
    OK(kgl_session_truncate(session, 7, &err));
    EXPECT(KGL_ERROR_NO_LOGITS, kgl_session_logits(session, &logits, &count, &err));
    for (size_t i = 7; i < 20; i++) {
        OK(kgl_session_decode(session, golden_token(i, 259), &err));
    }
    CHECK(logits_hash(session) == whole);
    OK(kgl_session_truncate(session, 20, &err));
    for (size_t i = 20; i < 32; i++) {
        OK(kgl_session_decode(session, golden_token(i, 259), &err));
    }
    EXPECT(KGL_ERROR_CONTEXT_FULL, kgl_session_decode(session, 0, &err));
    OK(kgl_session_truncate(session, 0, &err));
    run_tokens(session, 0, 20, 259);
    CHECK(logits_hash(session) == whole);
    OK(kgl_session_free(&session, &err));
}

// In a model whose layers see the last eight positions, what a window has left behind cannot be gone back to.
static void window(void) {
    kgl_model *model = open_model("window");
    kgl_session *session = open_session(model, 1024);
    run_tokens(session, 0, 500, 259);
    run_tokens(session, 500, 500, 259);
    EXPECT(KGL_ERROR_POSITION, kgl_session_truncate(session, 10, &err));
    OK(kgl_session_truncate(session, 999, &err));
    OK(kgl_session_truncate(session, 0, &err));
    OK(kgl_session_free(&session, &err));
    OK(kgl_model_free(&model, &err));
}

static void embeddings(const kgl_model *model) {
    enum { HIDDEN = 64 };
    kgl_session *session = open_session(model, 32);
    kgl_token tokens[20];
    for (size_t i = 0; i < 20; i++) {
        tokens[i] = golden_token(i, 259);
    }
    float last[HIDDEN + 1], mean[HIDDEN + 1], one[HIDDEN + 1];
    last[HIDDEN] = mean[HIDDEN] = one[HIDDEN] = -7.0f;
    OK(kgl_session_embed(session, tokens, 20, KGL_POOLING_LAST, last, HIDDEN + 1, &err));
    const float *logits;
    EXPECT(KGL_ERROR_NO_LOGITS, kgl_session_logits(session, &logits, NULL, &err));
    OK(kgl_session_truncate(session, 0, &err));
    OK(kgl_session_embed(session, tokens, 20, KGL_POOLING_MEAN, mean, HIDDEN, &err));
    CHECK(memcmp(last, mean, HIDDEN * sizeof *last) != 0 && last[HIDDEN] == -7.0f && mean[HIDDEN] == -7.0f);
    // The last of one is the mean of one; the mean of all is that of each on its own.
    double sums[HIDDEN] = {0};
    OK(kgl_session_truncate(session, 0, &err));
    for (size_t i = 0; i < 20; i++) {
        OK(kgl_session_embed(session, tokens + i, 1, KGL_POOLING_MEAN, one, HIDDEN, &err));
        for (size_t j = 0; j < HIDDEN; j++) {
            sums[j] += (double)one[j] / 20;
        }
    }
    CHECK(memcmp(last, one, HIDDEN * sizeof *last) == 0);
    for (size_t j = 0; j < HIDDEN; j++) {
        CHECK(fabs(sums[j] - (double)mean[j]) < 1e-5 * (1 + fabs(sums[j])));
    }
    EXPECT(KGL_ERROR_TOO_SMALL, kgl_session_embed(session, tokens, 1, KGL_POOLING_LAST, one, HIDDEN - 1, &err));
    EXPECT(KGL_ERROR_NULL, kgl_session_embed(session, tokens, 1, KGL_POOLING_LAST, NULL, HIDDEN, &err));
    EXPECT(KGL_ERROR_ARGUMENT, kgl_session_embed(session, tokens, 1, 2, one, HIDDEN, &err));
    EXPECT(KGL_ERROR_ARGUMENT, kgl_session_embed(session, tokens, 1, -1, one, HIDDEN, &err));
    EXPECT(KGL_ERROR_TOKEN, kgl_session_embed(session, tokens, 0, KGL_POOLING_LAST, one, HIDDEN, &err));
    EXPECT(KGL_ERROR_NULL, kgl_session_embed(session, NULL, 1, KGL_POOLING_LAST, one, HIDDEN, &err));
    EXPECT(KGL_ERROR_NULL, kgl_session_embed(NULL, tokens, 1, KGL_POOLING_LAST, one, HIDDEN, &err));
    EXPECT(KGL_ERROR_CONTEXT_FULL, kgl_session_embed(session, tokens, 20, KGL_POOLING_LAST, one, HIDDEN, &err));
    OK(kgl_session_free(&session, &err));
}

void test_sessions(void) {
    kgl_model *model = open_model("strict");
    plans(model);
    refused(model);
    in_memory(model);
    tokens(model);
    embeddings(model);
    window();
    OK(kgl_model_free(&model, &err));
}
