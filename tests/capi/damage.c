// Model files that are cut or changed: an error, or a model that can be used, and never a crash.
#include "check.h"

// Uses whatever a damaged file still is.
static void use(const kgl_model *model) {
    kgl_model_info info = kgl_model_info_default();
    OK(kgl_model_get_info(model, &info, &err));
    for (size_t i = 0; i < info.meta_count; i++) {
        OK(kgl_model_meta_at(model, i, NULL, NULL, NULL, NULL, &err));
    }
    kgl_tokenizer *tokenizer;
    if (kgl_tokenizer_new(model, NULL, &tokenizer, NULL) == KGL_OK) {
        kgl_token tokens[64];
        char text[1024];
        size_t count, bytes;
        if (kgl_tokenize(tokenizer, "<|im_start|>A b\xc3\xa4\n1234", KGL_TERMINATED, KGL_TEXT_PARSE_SPECIAL, tokens, 64, &count, NULL) == KGL_OK) {
            kgl_detokenize(tokenizer, tokens, count, KGL_TEXT_SHOW_SPECIAL, text, sizeof text, &bytes, NULL);
        }
        const kgl_message messages[] = {{KGL_ROLE_USER, "a", 1}, {KGL_ROLE_ASSISTANT, "b", 1}};
        kgl_chat_render(tokenizer, KGL_ROLE_NONE, messages, 2, KGL_CHAT_STOP, text, sizeof text, &bytes, NULL);
        kgl_chat_tokenize(tokenizer, KGL_ROLE_USER, messages + 1, 1, KGL_CHAT_REPLY, tokens, 64, &count, NULL);
        OK(kgl_tokenizer_free(&tokenizer, &err));
    }
    kgl_session_params params = kgl_session_params_default();
    params.context = 8;
    params.batch = 4;
    params.threads = 1;
    kgl_session *session;
    if (kgl_session_new(model, &params, &session, NULL) == KGL_OK) {
        const kgl_token tokens[] = {0, 1, 2, 3, 4, 5};
        kgl_session_prefill(session, tokens, 6, NULL);
        OK(kgl_session_free(&session, &err));
    }
}

// How the opening of damaged files ended.
static size_t ends[STATUSES];

static void try_bytes(const unsigned char *data, size_t len) {
    kgl_model *model;
    const kgl_status status = kgl_model_from_memory(data, len, NULL, &model, &err);
    checks += 1;
    if (status != KGL_OK && status != KGL_ERROR_FORMAT && status != KGL_ERROR_MODEL) {
        EXPECT(KGL_ERROR_FORMAT, status);
    }
    ends[status] += 1;
    seen[status] += 1;
    if (status == KGL_OK) {
        use(model);
        OK(kgl_model_free(&model, &err));
    }
}

// Every prefix of the first bytes, then prefixes in steps; each is a block of its own, so that reading behind it is seen.
static void cut(const char *name) {
    struct bytes file = file_bytes(model_path(name));
    size_t step = 1;
    for (size_t len = 0; len < file.len; len += step * options.stride) {
        unsigned char *part = malloc(len + 1);
        memcpy(part, file.data, len);
        unsigned char *exact = realloc(part, len == 0 ? 1 : len);
        kgl_model *model;
        const kgl_status status = kgl_model_from_memory(exact, len, NULL, &model, &err);
        EXPECT(KGL_ERROR_FORMAT, status);
        free(exact);
        step = len < 512 ? 1 : file.len / 200 + 1;
    }
    free(file.data);
}

// Single bytes changed in the head of the file, where everything is that says what the rest means, and some in its weights.
static void flip(const char *name, size_t step) {
    struct bytes file = file_bytes(model_path(name));
    uint64_t head;
    memcpy(&head, file.data + 96, sizeof head);
    uint64_t state = 11;
    for (size_t i = 0; i < file.len; i += (i < 1024 ? 1 : i < head ? step : step * 20) * options.stride) {
        static const unsigned char CHANGES[] = {0x01, 0x80, 0xff, 0x10};
        const unsigned char change = CHANGES[next_random(&state) % sizeof CHANGES];
        file.data[i] ^= change;
        try_bytes(file.data, file.len);
        file.data[i] ^= change;
    }
    // Numbers of four bytes set to what numbers should not be.
    for (size_t i = 8; i < 2048; i += 4 * options.stride) {
        static const uint32_t NUMBERS[] = {0, 1, 2, 0x7fffffff, 0xffffffff, 0x7fc00000, 0x10000};
        for (size_t n = 0; n < sizeof NUMBERS / sizeof NUMBERS[0]; n++) {
            unsigned char before[4];
            memcpy(before, file.data + i, 4);
            memcpy(file.data + i, &NUMBERS[n], 4);
            try_bytes(file.data, file.len);
            memcpy(file.data + i, before, 4);
        }
    }
    free(file.data);
}

// A sound file whose spec says what this version does not run: one of its flags changed.
static void unsupported(const char *name) {
    struct bytes file = file_bytes(model_path(name));
    uint64_t spec[2];
    memcpy(spec, file.data + 32, sizeof spec);
    for (uint64_t i = spec[0]; i < spec[0] + spec[1] && ends[KGL_ERROR_MODEL] == 0; i++) {
        file.data[i] ^= 1;
        try_bytes(file.data, file.len);
        file.data[i] ^= 1;
    }
    free(file.data);
}

void test_damage(void) {
    unsupported("bare");
    static const char *const NAMES[] = {"window", "positions", "strict", "bare"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        cut(NAMES[i]);
        flip(NAMES[i], 3);
    }
    cut("tiny-q8");
    flip("tiny-q4", 37);
    CHECK(ends[KGL_OK] > 0 && ends[KGL_ERROR_FORMAT] > 0 && ends[KGL_ERROR_MODEL] > 0);
    printf("damaged files: %zu refused as files, %zu as models, %zu usable\n", ends[KGL_ERROR_FORMAT], ends[KGL_ERROR_MODEL], ends[KGL_OK]);
}
