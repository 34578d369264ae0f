#include "check.h"

kgl_error err;
size_t checks, failures, seen[STATUSES];
struct options options = {.stride = 1};

bool check(bool holds, const char *what, const char *file, int line) {
    checks += 1;
    if (!holds) {
        failures += 1;
        fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
    }
    return holds;
}

bool check_status(kgl_status got, kgl_status expected, const char *what, const char *file, int line) {
    if (got >= 0 && got < STATUSES) {
        seen[got] += 1;
    }
    checks += 1;
    const bool ends = memchr(err.text, 0, sizeof err.text) != NULL;
    if (got == expected && err.status == (int32_t)got && ends && (err.text[0] == 0) == (got == KGL_OK)) {
        return true;
    }
    failures += 1;
    fprintf(stderr, "%s:%d: failed: %s\n  expected %s, got %s: %.*s\n", file, line, what, kgl_strerror((int32_t)expected),
            kgl_strerror((int32_t)got), (int)sizeof err.text, err.text);
    return false;
}

struct bytes file_bytes(const char *path) {
    struct bytes bytes = {NULL, 0};
    FILE *file = fopen(path, "rb");
    if (file != NULL && fseek(file, 0, SEEK_END) == 0) {
        const long len = ftell(file);
        rewind(file);
        bytes.len = len < 0 ? 0 : (size_t)len;
        bytes.data = malloc(bytes.len + 1);
        if (bytes.data != NULL && fread(bytes.data, 1, bytes.len, file) == bytes.len) {
            fclose(file);
            return bytes;
        }
    }
    fprintf(stderr, "%s: cannot be read\n", path);
    exit(1);
}

const char *model_path(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s.kgl", options.models, name);
    return path;
}

kgl_model *open_model(const char *name) {
    kgl_model *model;
    OK(kgl_model_open(model_path(name), NULL, &model, &err));
    return model;
}

kgl_session *open_session(const kgl_model *model, size_t context) {
    kgl_session_params params = kgl_session_params_default();
    params.context = context;
    params.batch = 16;
    params.threads = 1;
    kgl_session *session;
    OK(kgl_session_new(model, &params, &session, &err));
    return session;
}

kgl_tokenizer *open_tokenizer(const kgl_model *model) {
    kgl_tokenizer *tokenizer;
    OK(kgl_tokenizer_new(model, NULL, &tokenizer, &err));
    return tokenizer;
}

kgl_sampler *open_sampler(const kgl_model *model, uint64_t seed) {
    kgl_sampler_params params = kgl_sampler_params_default();
    params.seed = seed;
    kgl_sampler *sampler;
    OK(kgl_sampler_new(model, &params, &sampler, &err));
    return sampler;
}

kgl_token golden_token(size_t i, uint32_t vocab) {
    uint64_t z = ((uint64_t)i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (kgl_token)((z ^ (z >> 31)) % vocab);
}

void run_tokens(kgl_session *session, size_t from, size_t count, uint32_t vocab) {
    kgl_token tokens[512];
    if (!CHECK(count <= sizeof tokens / sizeof tokens[0])) {
        exit(1);
    }
    for (size_t i = 0; i < count; i++) {
        tokens[i] = golden_token(from + i, vocab);
    }
    OK(kgl_session_prefill(session, tokens, count, &err));
}

uint64_t fnv1a(uint64_t hash, const void *data, size_t len) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

uint64_t logits_hash(const kgl_session *session) {
    const float *logits;
    size_t count;
    OK(kgl_session_logits(session, &logits, &count, &err));
    return fnv1a(FNV_START, logits, count * sizeof *logits);
}

uint64_t next_random(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 11;
}
