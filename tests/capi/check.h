// Checks for programs without a framework: one that fails says where, and the program ends with 1.
#ifndef CHECK_H
#define CHECK_H

#include <kinglet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What the last call checked by `EXPECT` or `OK` said.
extern kgl_error err;

// A failure is told, and the program goes on.
#define CHECK(condition) check((condition), #condition, __FILE__, __LINE__)

// A call, whose last argument is `&err`, and the code that it must return. What it says of itself is checked, too.
#define EXPECT(expected, call) check_status((call), (expected), #call, __FILE__, __LINE__)

// A call that must succeed: without it the test makes no sense, so the program ends.
#define OK(call)                       \
    do {                               \
        if (!EXPECT(KGL_OK, (call))) { \
            exit(1);                   \
        }                              \
    } while (0)

bool check(bool holds, const char *what, const char *file, int line);
bool check_status(kgl_status got, kgl_status expected, const char *what, const char *file, int line);

// How many checks there were, and how many failed.
extern size_t checks, failures;
// How often each code came back.
#define STATUSES 27
extern size_t seen[STATUSES];

// What the command line said.
struct options {
    // Where the model files lie.
    const char *models;
    // Hashes of the logits that every machine computes.
    uint64_t q4, q8;
    // Of the many damaged files, every `stride`th is tried.
    size_t stride;
    // Whether the system's limits can be tried: not where a sanitizer or an emulator stands between.
    bool limits;
    // Only the logits.
    bool logits;
};
extern struct options options;

// A file's bytes at an aligned address; the program ends if there is none.
struct bytes {
    unsigned char *data;
    size_t len;
};
struct bytes file_bytes(const char *path);

// The path of a model file; overwritten by the next call.
const char *model_path(const char *name);
// The model in a file, in the system's memory; and what tests usually make of it.
kgl_model *open_model(const char *name);
kgl_session *open_session(const kgl_model *model, size_t context);
kgl_tokenizer *open_tokenizer(const kgl_model *model);
kgl_sampler *open_sampler(const kgl_model *model, uint64_t seed);

// Tokens that every run evaluates: SplitMix64 of their place.
kgl_token golden_token(size_t i, uint32_t vocab);
// Runs `count` of them, beginning with `from`.
void run_tokens(kgl_session *session, size_t from, size_t count, uint32_t vocab);

#define FNV_START UINT64_C(0xcbf29ce484222325)
uint64_t fnv1a(uint64_t hash, const void *data, size_t len);
// The hash of a session's logits, as their bits stand in little-endian memory.
uint64_t logits_hash(const kgl_session *session);

// Numbers that look random, the same ones every time.
uint64_t next_random(uint64_t *state);

void test_library(void);
void test_models(void);
void test_damage(void);
void test_sessions(void);
void test_states(void);
void test_callbacks(void);
void test_texts(void);
void test_chats(void);
void test_samplers(void);
void test_generation(void);
void test_threads(void);
void test_logits(void);

#endif
