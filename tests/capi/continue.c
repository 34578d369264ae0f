// A conversation that goes on in another process, on another instruction set, on another machine.
//
//     continue whole MODEL ISA             prints the tokens of the whole of it
//     continue save MODEL ISA STATE        prints those of its first half and writes where it stands
//     continue restore MODEL ISA STATE     prints those of its second half
#include <kinglet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HALF = 40 };

static kgl_error error;

static void must(kgl_status status) {
    if (status != KGL_OK) {
        fprintf(stderr, "continue: %s\n", error.text);
        exit(1);
    }
}

static kgl_session *session;
static kgl_sampler *sampler;

// `count` tokens after `last`; returns the last one, which was chosen and not run.
static kgl_token go_on(kgl_token last, int count) {
    for (int i = 0; i < count; i++) {
        must(kgl_session_decode(session, last, &error));
        must(kgl_sampler_sample(sampler, session, &last, &error));
        printf("%u ", (unsigned)last);
    }
    return last;
}

// A block of a state file: its length, then its bytes.
static void put(FILE *file, const void *data, size_t bytes) {
    const uint64_t len = bytes;
    if (fwrite(&len, sizeof len, 1, file) != 1 || fwrite(data, 1, bytes, file) != bytes) {
        fprintf(stderr, "continue: cannot write\n");
        exit(1);
    }
}

static void *get(FILE *file, size_t *bytes) {
    uint64_t len = 0;
    if (fread(&len, sizeof len, 1, file) == 1 && len < 1u << 30) {
        void *data = malloc((size_t)len + 1);
        *bytes = (size_t)len;
        if (data != NULL && fread(data, 1, *bytes, file) == *bytes) {
            return data;
        }
    }
    fprintf(stderr, "continue: cannot read\n");
    exit(1);
}

static void save(const char *path, kgl_token last) {
    size_t session_bytes = 0, sampler_bytes = 0;
    kgl_session_save(session, NULL, 0, &session_bytes, NULL);
    kgl_sampler_save(sampler, NULL, 0, &sampler_bytes, NULL);
    void *session_state = malloc(session_bytes), *sampler_state = malloc(sampler_bytes);
    must(kgl_session_save(session, session_state, session_bytes, &session_bytes, &error));
    must(kgl_sampler_save(sampler, sampler_state, sampler_bytes, &sampler_bytes, &error));
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        fprintf(stderr, "continue: %s cannot be written\n", path);
        exit(1);
    }
    put(file, &last, sizeof last);
    put(file, session_state, session_bytes);
    put(file, sampler_state, sampler_bytes);
    if (fclose(file) != 0) {
        exit(1);
    }
    free(session_state);
    free(sampler_state);
}

static kgl_token restore(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "continue: %s cannot be read\n", path);
        exit(1);
    }
    size_t bytes;
    kgl_token last;
    void *data = get(file, &bytes);
    memcpy(&last, data, sizeof last);
    free(data);
    data = get(file, &bytes);
    must(kgl_session_restore(session, data, bytes, &error));
    free(data);
    data = get(file, &bytes);
    must(kgl_sampler_restore(sampler, data, bytes, &error));
    free(data);
    fclose(file);
    return last;
}

static int32_t number(const char *name) {
    for (int32_t isa = 0; kgl_isa_name(isa) != NULL; isa++) {
        if (strcmp(kgl_isa_name(isa), name) == 0) {
            return isa;
        }
    }
    fprintf(stderr, "continue: there is no instruction set %s\n", name);
    exit(2);
}

int main(int argc, char **argv) {
    error = kgl_error_default();
    if (argc < 4 || (strcmp(argv[1], "whole") != 0) != (argc == 5)) {
        fprintf(stderr, "usage: continue whole MODEL ISA | save MODEL ISA STATE | restore MODEL ISA STATE\n");
        return 2;
    }
    kgl_model *model;
    must(kgl_model_open(argv[2], NULL, &model, &error));
    kgl_session_params params = kgl_session_params_default();
    params.context = 128;
    params.isa = number(argv[3]);
    must(kgl_session_new(model, &params, &session, &error));
    kgl_sampler_params how = kgl_sampler_params_default();
    how.temperature = 0.8f;
    how.seed = 1817;
    how.repeat_penalty = 1.1f;
    how.repeat_last_n = 24;
    // What was saved brings its own place in the sequence.
    if (strcmp(argv[1], "restore") == 0) {
        how.seed = 0;
    }
    must(kgl_sampler_new(model, &how, &sampler, &error));
    const kgl_token first = 5;
    kgl_token last = strcmp(argv[1], "restore") == 0 ? restore(argv[4]) : go_on(first, HALF);
    if (strcmp(argv[1], "save") == 0) {
        save(argv[4], last);
    } else {
        go_on(last, HALF);
    }
    must(kgl_sampler_free(&sampler, &error));
    must(kgl_session_free(&session, &error));
    must(kgl_model_free(&model, &error));
    return 0;
}
