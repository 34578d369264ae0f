// States: saved, restored, damaged, another's.
#include "check.h"

static struct bytes save(const kgl_session *session) {
    struct bytes state = {NULL, 0};
    EXPECT(KGL_ERROR_TOO_SMALL, kgl_session_save(session, NULL, 0, &state.len, &err));
    const size_t needed = state.len;
    state.data = malloc(needed);
    EXPECT(KGL_ERROR_TOO_SMALL, kgl_session_save(session, state.data, needed - 1, &state.len, &err));
    CHECK(state.len == needed);
    OK(kgl_session_save(session, state.data, needed, &state.len, &err));
    CHECK(state.len == needed);
    return state;
}

static void good(const kgl_model *model) {
    kgl_session *a = open_session(model, 64), *b = open_session(model, 128);
    run_tokens(a, 0, 30, 259);
    const struct bytes state = save(a);
    OK(kgl_session_restore(b, state.data, state.len, &err));
    const float *logits;
    EXPECT(KGL_ERROR_NO_LOGITS, kgl_session_logits(b, &logits, NULL, &err));
    const struct bytes again = save(b);
    CHECK(again.len == state.len && memcmp(again.data, state.data, state.len) == 0);
    run_tokens(a, 30, 10, 259);
    run_tokens(b, 30, 10, 259);
    CHECK(logits_hash(a) == logits_hash(b));
    const uint64_t before = logits_hash(b);

    EXPECT(KGL_ERROR_NULL, kgl_session_save(NULL, NULL, 0, &(size_t){0}, &err));
    EXPECT(KGL_ERROR_NULL, kgl_session_save(a, NULL, 0, NULL, &err));
    EXPECT(KGL_ERROR_NULL, kgl_session_save(a, NULL, 5, &(size_t){0}, &err));
    EXPECT(KGL_ERROR_NULL, kgl_session_restore(NULL, state.data, state.len, &err));
    EXPECT(KGL_ERROR_NULL, kgl_session_restore(b, NULL, state.len, &err));
    EXPECT(KGL_ERROR_STATE, kgl_session_restore(b, NULL, 0, &err));
    EXPECT(KGL_ERROR_TOO_LONG, kgl_session_restore(b, state.data, SIZE_MAX, &err));

    // Every byte is held by something, at any address; a state that is refused changes nothing.
    unsigned char *damaged = malloc(state.len + 1);
    memcpy(damaged + 1, state.data, state.len);
    for (size_t i = 0; i < state.len; i += (i < 96 ? 1 : 7) * options.stride) {
        damaged[1 + i] ^= 1u << i % 8;
        EXPECT(KGL_ERROR_STATE, kgl_session_restore(b, damaged + 1, state.len, &err));
        damaged[1 + i] ^= 1u << i % 8;
    }
    for (size_t len = 0; len < state.len; len += (len < 128 ? 1 : 97) * options.stride) {
        EXPECT(KGL_ERROR_STATE, kgl_session_restore(b, damaged + 1, len, &err));
    }
    CHECK(logits_hash(b) == before);
    OK(kgl_session_restore(b, damaged + 1, state.len, &err));
    free(damaged);

    // A session without room for it, one with another cache, and one of another model.
    kgl_session *small = open_session(model, 16);
    EXPECT(KGL_ERROR_STATE, kgl_session_restore(small, state.data, state.len, &err));
    OK(kgl_session_free(&small, &err));
    kgl_session_params params = kgl_session_params_default();
    params.context = 64;
    params.cache = KGL_CACHE_F32;
    params.threads = 1;
    OK(kgl_session_new(model, &params, &small, &err));
    EXPECT(KGL_ERROR_STATE, kgl_session_restore(small, state.data, state.len, &err));
    OK(kgl_session_free(&small, &err));
    kgl_model *other = open_model("window");
    small = open_session(other, 64);
    EXPECT(KGL_ERROR_STATE, kgl_session_restore(small, state.data, state.len, &err));
    OK(kgl_session_free(&small, &err));
    OK(kgl_model_free(&other, &err));

    free(state.data);
    free(again.data);
    OK(kgl_session_free(&a, &err));
    OK(kgl_session_free(&b, &err));
}

void test_states(void) {
    kgl_model *model = open_model("strict");
    good(model);
    OK(kgl_model_free(&model, &err));
}
