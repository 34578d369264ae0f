// Samplers: seeds, settings, memory, states.
#include "check.h"
#include <math.h>

enum { VOCAB = 259 };

static float logits[VOCAB];

static void draw(kgl_sampler *sampler, kgl_token *tokens, size_t count) {
    for (size_t i = 0; i < count; i++) {
        OK(kgl_sampler_sample_logits(sampler, logits, VOCAB, tokens + i, &err));
        CHECK(tokens[i] < VOCAB);
    }
}

static void seeds(const kgl_model *model) {
    enum { COUNT = 100 };
    kgl_token first[COUNT], again[COUNT], other[COUNT];
    kgl_sampler *a = open_sampler(model, 42), *b = open_sampler(model, 42), *c = open_sampler(model, 43);
    draw(a, first, COUNT);
    draw(b, again, COUNT);
    draw(c, other, COUNT);
    CHECK(memcmp(first, again, sizeof first) == 0 && memcmp(first, other, sizeof first) != 0);
    OK(kgl_sampler_reset(a, &err));
    draw(a, again, COUNT);
    CHECK(memcmp(first, again, sizeof first) == 0);
    OK(kgl_sampler_free(&a, &err));
    OK(kgl_sampler_free(&b, &err));
    OK(kgl_sampler_free(&c, &err));
    CHECK(a == NULL && b == NULL && c == NULL);
    OK(kgl_sampler_free(&a, &err));
    OK(kgl_sampler_free(NULL, &err));
}

static kgl_token highest(void) {
    kgl_token best = 0;
    for (kgl_token token = 1; token < VOCAB; token++) {
        best = logits[token] > logits[best] ? token : best;
    }
    return best;
}

static void settings(const kgl_model *model) {
    kgl_sampler_params params = kgl_sampler_params_default();
    kgl_sampler *sampler;
    kgl_token token, tokens[20];
    params.temperature = 0;
    OK(kgl_sampler_new(model, &params, &sampler, &err));
    draw(sampler, &token, 1);
    const kgl_token best = highest();
    CHECK(token == best);
    OK(kgl_sampler_free(&sampler, &err));

    // A forbidden token never comes; the list is copied.
    kgl_logit_bias biases[] = {{best, -INFINITY}, {best + 1 < VOCAB ? best + 1 : 0, 100}, {999999, 5}};
    params.biases = biases;
    params.bias_count = 3;
    OK(kgl_sampler_new(model, &params, &sampler, &err));
    const kgl_token favoured = biases[1].token;
    memset(biases, 0, sizeof biases);
    draw(sampler, tokens, 20);
    for (size_t i = 0; i < 20; i++) {
        CHECK(tokens[i] == favoured);
    }
    OK(kgl_sampler_free(&sampler, &err));
    params.biases = NULL;
    EXPECT(KGL_ERROR_NULL, kgl_sampler_new(model, &params, &sampler, &err));
    params.bias_count = 0;

    // A penalty makes the tokens that were seen worse, chosen or told.
    params.presence_penalty = 1000;
    params.repeat_last_n = 4;
    OK(kgl_sampler_new(model, &params, &sampler, &err));
    draw(sampler, tokens, 20);
    for (size_t i = 4; i < 20; i++) {
        CHECK(tokens[i] != tokens[i - 1] && tokens[i] != tokens[i - 2] && tokens[i] != tokens[i - 3]);
        CHECK(i < 5 || tokens[i] == tokens[i - 5]);
    }
    OK(kgl_sampler_reset(sampler, &err));
    OK(kgl_sampler_accept(sampler, &best, 1, &err));
    OK(kgl_sampler_accept(sampler, NULL, 0, &err));
    draw(sampler, &token, 1);
    CHECK(token != best);
    kgl_token many[50];
    for (size_t i = 0; i < 50; i++) {
        many[i] = best;
    }
    OK(kgl_sampler_accept(sampler, many, 50, &err));
    draw(sampler, &token, 1);
    CHECK(token != best);
    OK(kgl_sampler_free(&sampler, &err));

    // A number out of its range is refused, by its name.
    static const struct {
        size_t offset;
        float value;
        const char *name;
    } WRONG[] = {
        {offsetof(kgl_sampler_params, temperature), -1, "temperature"},
        {offsetof(kgl_sampler_params, temperature), INFINITY, "temperature"},
        {offsetof(kgl_sampler_params, temperature), NAN, "temperature"},
        {offsetof(kgl_sampler_params, top_p), 1.5f, "top-p"},
        {offsetof(kgl_sampler_params, min_p), -0.1f, "min-p"},
        {offsetof(kgl_sampler_params, repeat_penalty), 0, "repetition"},
        {offsetof(kgl_sampler_params, frequency_penalty), NAN, "frequency"},
        {offsetof(kgl_sampler_params, presence_penalty), INFINITY, "presence"},
    };
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        params = kgl_sampler_params_default();
        memcpy((char *)&params + WRONG[i].offset, &WRONG[i].value, sizeof(float));
        EXPECT(KGL_ERROR_ARGUMENT, kgl_sampler_new(model, &params, &sampler, &err));
        CHECK(sampler == NULL && strstr(err.text, WRONG[i].name) != NULL);
    }
    const kgl_logit_bias nan = {1, NAN};
    params = kgl_sampler_params_default();
    params.biases = &nan;
    params.bias_count = 1;
    EXPECT(KGL_ERROR_ARGUMENT, kgl_sampler_new(model, &params, &sampler, &err));
    params.size = 0;
    EXPECT(KGL_ERROR_SIZE, kgl_sampler_new(model, &params, &sampler, &err));
    size_t bytes;
    EXPECT(KGL_ERROR_SIZE, kgl_sampler_plan(model, &params, &bytes, &err));
    params.size = sizeof params;
    params.bias_count = SIZE_MAX / 4;
    EXPECT(KGL_ERROR_ARGUMENT, kgl_sampler_plan(model, &params, &bytes, &err));
    EXPECT(KGL_ERROR_TOO_LONG, kgl_sampler_new(model, &params, &sampler, &err));
    EXPECT(KGL_ERROR_NULL, kgl_sampler_plan(NULL, NULL, &bytes, &err));
    EXPECT(KGL_ERROR_NULL, kgl_sampler_plan(model, NULL, NULL, &err));
    EXPECT(KGL_ERROR_NULL, kgl_sampler_new(NULL, NULL, &sampler, &err));
    EXPECT(KGL_ERROR_NULL, kgl_sampler_new(model, NULL, NULL, &err));
}

static void misused(const kgl_model *model) {
    kgl_sampler *sampler = open_sampler(model, 1);
    kgl_session *session = open_session(model, 16);
    kgl_token token = 0;
    size_t bytes;
    EXPECT(KGL_ERROR_NO_LOGITS, kgl_sampler_sample(sampler, session, &token, &err));
    OK(kgl_session_decode(session, 5, &err));
    OK(kgl_sampler_sample(sampler, session, &token, &err));
    CHECK(token < VOCAB);
    EXPECT(KGL_ERROR_NULL, kgl_sampler_sample(NULL, session, &token, &err));
    EXPECT(KGL_ERROR_NULL, kgl_sampler_sample(sampler, NULL, &token, &err));
    EXPECT(KGL_ERROR_NULL, kgl_sampler_sample(sampler, session, NULL, &err));
    EXPECT(KGL_ERROR_HANDLE, kgl_sampler_sample(sampler, (const kgl_session *)(const void *)sampler, &token, &err));
    EXPECT(KGL_ERROR_NULL, kgl_sampler_sample_logits(NULL, logits, VOCAB, &token, &err));
    EXPECT(KGL_ERROR_NULL, kgl_sampler_sample_logits(sampler, NULL, VOCAB, &token, &err));
    EXPECT(KGL_ERROR_NULL, kgl_sampler_sample_logits(sampler, logits, VOCAB, NULL, &err));
    EXPECT(KGL_ERROR_ARGUMENT, kgl_sampler_sample_logits(sampler, logits, VOCAB - 1, &token, &err));
    EXPECT(KGL_ERROR_ARGUMENT, kgl_sampler_sample_logits(sampler, logits, 0, &token, &err));
    EXPECT(KGL_ERROR_NULL, kgl_sampler_accept(NULL, &token, 1, &err));
    EXPECT(KGL_ERROR_NULL, kgl_sampler_accept(sampler, NULL, 1, &err));
    EXPECT(KGL_ERROR_NULL, kgl_sampler_reset(NULL, &err));
    EXPECT(KGL_ERROR_NULL, kgl_sampler_save(NULL, NULL, 0, &bytes, &err));
    EXPECT(KGL_ERROR_NULL, kgl_sampler_save(sampler, NULL, 0, NULL, &err));
    EXPECT(KGL_ERROR_NULL, kgl_sampler_save(sampler, NULL, 5, &bytes, &err));
    EXPECT(KGL_ERROR_NULL, kgl_sampler_restore(NULL, &bytes, 4, &err));
    EXPECT(KGL_ERROR_NULL, kgl_sampler_restore(sampler, NULL, 4, &err));
    EXPECT(KGL_ERROR_STATE, kgl_sampler_restore(sampler, NULL, 0, &err));
    // Logits that no model should give: something is chosen, or nothing, but in bounds.
    float strange[VOCAB];
    static const float VALUES[] = {NAN, INFINITY, -INFINITY, 0, 3e38f};
    for (size_t i = 0; i < sizeof VALUES / sizeof VALUES[0]; i++) {
        for (size_t j = 0; j < VOCAB; j++) {
            strange[j] = VALUES[i];
        }
        OK(kgl_sampler_sample_logits(sampler, strange, VOCAB, &token, &err));
        CHECK(token < VOCAB);
        memcpy(strange + 1, logits + 1, sizeof logits - sizeof *logits);
        OK(kgl_sampler_sample_logits(sampler, strange, VOCAB, &token, &err));
        CHECK(token < VOCAB);
    }
    // Another model's logits are others.
    kgl_model *tiny = open_model("tiny-q4");
    kgl_session *wide = open_session(tiny, 16);
    OK(kgl_session_decode(wide, 5, &err));
    EXPECT(KGL_ERROR_ARGUMENT, kgl_sampler_sample(sampler, wide, &token, &err));
    OK(kgl_session_free(&wide, &err));
    OK(kgl_model_free(&tiny, &err));
    OK(kgl_session_free(&session, &err));
    OK(kgl_sampler_free(&sampler, &err));
}

static void in_memory(const kgl_model *model) {
    kgl_sampler_params params = kgl_sampler_params_default();
    params.seed = 5;
    params.repeat_last_n = 10;
    kgl_logit_bias bias = {3, 1};
    params.biases = &bias;
    params.bias_count = 1;
    size_t needed;
    OK(kgl_sampler_plan(model, &params, &needed, &err));
    kgl_sampler *sampler;
    OK(kgl_sampler_new(model, &params, &sampler, &err));
    kgl_token expected[40], tokens[40];
    draw(sampler, expected, 40);
    OK(kgl_sampler_free(&sampler, &err));
    for (size_t skip = 0; skip < 65; skip += 7) {
        unsigned char *memory = malloc(skip + needed + 1);
        memset(memory, 0xa5, skip + needed + 1);
        params.memory = memory + skip;
        params.memory_bytes = needed - 1;
        EXPECT(KGL_ERROR_TOO_SMALL, kgl_sampler_new(model, &params, &sampler, &err));
        params.memory_bytes = needed;
        OK(kgl_sampler_new(model, &params, &sampler, &err));
        draw(sampler, tokens, 40);
        CHECK(memcmp(tokens, expected, sizeof tokens) == 0);
        kgl_sampler *copy = sampler;
        OK(kgl_sampler_free(&sampler, &err));
        EXPECT(KGL_ERROR_HANDLE, kgl_sampler_reset(copy, &err));
        EXPECT(KGL_ERROR_HANDLE, kgl_sampler_free(&copy, &err));
        CHECK(memory[skip + needed] == 0xa5);
        free(memory);
    }
}

static void states(const kgl_model *model) {
    kgl_sampler_params params = kgl_sampler_params_default();
    params.seed = 9;
    params.repeat_penalty = 1.3f;
    params.repeat_last_n = 16;
    kgl_sampler *a, *b;
    OK(kgl_sampler_new(model, &params, &a, &err));
    params.seed = 77;
    OK(kgl_sampler_new(model, &params, &b, &err));
    kgl_token tokens[50], again[50];
    size_t bytes;
    draw(a, tokens, 50);
    EXPECT(KGL_ERROR_TOO_SMALL, kgl_sampler_save(a, NULL, 0, &bytes, &err));
    unsigned char state[256];
    if (!CHECK(bytes == 24 + 16 * 4 + 8)) {
        exit(1);
    }
    EXPECT(KGL_ERROR_TOO_SMALL, kgl_sampler_save(a, state, bytes - 1, &bytes, &err));
    OK(kgl_sampler_save(a, state, sizeof state, &bytes, &err));
    draw(a, tokens, 50);
    draw(b, again, 50);
    for (size_t i = 0; i < bytes; i++) {
        state[i] ^= 4;
        EXPECT(KGL_ERROR_STATE, kgl_sampler_restore(b, state, bytes, &err));
        state[i] ^= 4;
    }
    for (size_t len = 0; len < bytes; len++) {
        EXPECT(KGL_ERROR_STATE, kgl_sampler_restore(b, state, len, &err));
    }
    EXPECT(KGL_ERROR_STATE, kgl_sampler_restore(b, state, sizeof state, &err));
    OK(kgl_sampler_restore(b, state, bytes, &err));
    draw(b, again, 50);
    CHECK(memcmp(tokens, again, sizeof tokens) == 0);
    OK(kgl_sampler_free(&a, &err));
    OK(kgl_sampler_free(&b, &err));
}

void test_samplers(void) {
    uint64_t state = 1;
    for (size_t i = 0; i < VOCAB; i++) {
        logits[i] = (float)(next_random(&state) % 1000) / 200.0f;
    }
    kgl_model *model = open_model("strict");
    seeds(model);
    settings(model);
    misused(model);
    in_memory(model);
    states(model);
    OK(kgl_model_free(&model, &err));
}
