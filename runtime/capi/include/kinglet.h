// Kinglet runs transformers with 4-bit and 8-bit weights on small machines. This is its library for C99 and C++17.
//
// Generated from runtime/capi by `cargo xtask header`; a change made here is lost.
// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Two flavours have these calls:
//   libkinglet.a, libkinglet.so   open files by path, start threads, ask the CPU what it can do, and take memory from the system
//                                 where the caller gives none.
//   libkinglet_core.a             needs no operating system and never allocates: models lie in memory (kgl_model_from_memory),
//                                 every object lies in memory of the caller's, and cores are those of kgl_session_params.run.
//                                 From outside it needs bcmp, getauxval (aarch64), memcmp, memcpy, memset, strlen on Linux, and
//                                 nothing on machines without an operating system.
// kgl_features() tells which one it is.
//
// Errors. A call that can fail returns a kgl_status; KGL_OK is 0. Its last argument is where it says in one sentence what went
// wrong: a kgl_error made by kgl_error_default(), or NULL. Nothing is printed, no call ends the program, and no input is
// fatal as long as pointers point to what their types and lengths say.
//
// Structs. Each begins with its own size, which its _default() fills in. Parameters may be NULL, which means the defaults.
//
// Memory. An object lives until its _free(), which takes the address of the caller's pointer and makes that NULL. With a field
// `memory` an object lies where the caller says, at any address, and that memory is the caller's again when the object is freed.
// A model is freed after what was made from it. Texts and numbers that a call lends are said to be lent, and until when.
//
// Threads. A model may be used by many threads at a time. Every other object serves one call at a time, from any thread: a call that
// comes meanwhile, from another thread or out of a callback, changes nothing and returns KGL_ERROR_BUSY.
//
// Texts are UTF-8 with a length in bytes; a file's name ends with a 0.

#ifndef KINGLET_H
#define KINGLET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// The version that this header belongs to; that of the library is `kgl_version()`.
#define KGL_VERSION_MAJOR 0
#define KGL_VERSION_MINOR 1
#define KGL_VERSION_PATCH 0
#define KGL_VERSION (KGL_VERSION_MAJOR << 16 | KGL_VERSION_MINOR << 8 | KGL_VERSION_PATCH)

/// In place of the length of a text: the text ends with a 0.
#define KGL_TERMINATED SIZE_MAX

/// The library has files and threads, and asks the CPU what it can do. Without it, it is built for machines without an operating system.
#define KGL_FEATURE_STD 1

/// Bytes of the text of an error, its final 0 included.
#define KGL_ERROR_TEXT_BYTES 256

/// An instruction set that kernels are written for.
enum kgl_isa
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// The best that the machine has.
    KGL_ISA_BEST = 0,
    /// Plain code: every machine has it.
    KGL_ISA_SCALAR = 1,
    /// x86-64 with AVX2 and F16C.
    KGL_ISA_AVX2 = 2,
    /// The same with AVX-VNNI.
    KGL_ISA_AVXVNNI = 3,
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI.
    KGL_ISA_AVX512 = 4,
    /// AArch64 with Advanced SIMD.
    KGL_ISA_NEON = 5,
    /// The same with dot products.
    KGL_ISA_DOTPROD = 6,
    /// The same with products of int8 matrices.
    KGL_ISA_I8MM = 7,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kgl_isa kgl_isa;
#else
typedef int32_t kgl_isa;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// How a call ended. The numbers never change; new ones may come.
enum kgl_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// All is well.
    KGL_OK = 0,
    /// A pointer that must point to something is NULL.
    KGL_ERROR_NULL = 1,
    /// A number is out of its range.
    KGL_ERROR_ARGUMENT = 2,
    /// The field `size` of a struct is not one that this library knows: it was not made by its `_default()`.
    KGL_ERROR_SIZE = 3,
    /// The pointer is not to an object of this type, or the object was freed.
    KGL_ERROR_HANDLE = 4,
    /// The object is in use: by another thread, or by the call whose callback this is.
    KGL_ERROR_BUSY = 5,
    /// The model is not freed, because objects that were made from it still live.
    KGL_ERROR_IN_USE = 6,
    /// The caller's buffer is too small; the length that is needed is returned.
    KGL_ERROR_TOO_SMALL = 7,
    /// There is no memory: none was given, and the system has none.
    KGL_ERROR_MEMORY = 8,
    /// The file cannot be opened or mapped.
    KGL_ERROR_FILE = 9,
    /// The bytes are not a sound .kgl file.
    KGL_ERROR_FORMAT = 10,
    /// The file is sound, but this version does not run its model.
    KGL_ERROR_MODEL = 11,
    /// No tokens were given, or an id is not below the vocabulary's size.
    KGL_ERROR_TOKEN = 12,
    /// The tokens do not fit what is left of the context.
    KGL_ERROR_CONTEXT_FULL = 13,
    /// A position to go back to is not possible.
    KGL_ERROR_POSITION = 14,
    /// There are no logits: nothing was evaluated since the position moved.
    KGL_ERROR_NO_LOGITS = 15,
    /// A saved state is damaged, or another model's, or does not fit this session.
    KGL_ERROR_STATE = 16,
    /// The instruction set is unknown, or this machine does not have it.
    KGL_ERROR_ISA = 17,
    /// The system starts no more threads.
    KGL_ERROR_THREADS = 18,
    /// A callback asked to end.
    KGL_ERROR_CANCELLED = 19,
    /// This library was built without what the call needs: an operating system.
    KGL_ERROR_UNSUPPORTED = 20,
    /// A mistake in this library. Please report it.
    KGL_ERROR_INTERNAL = 21,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kgl_status kgl_status;
#else
typedef int32_t kgl_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// How keys and values are stored.
enum kgl_cache
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// As int8, with a scale for each head and position.
    KGL_CACHE_I8 = 0,
    /// As f32: four times the memory, for comparisons.
    KGL_CACHE_F32 = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kgl_cache kgl_cache;
#else
typedef int32_t kgl_cache;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// Which tokens an embedding is of.
enum kgl_pooling
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// The last one.
    KGL_POOLING_LAST = 0,
    /// All of them, on average.
    KGL_POOLING_MEAN = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kgl_pooling kgl_pooling;
#else
typedef int32_t kgl_pooling;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// A model. Threads may share it.
typedef struct kgl_model kgl_model;

/// A conversation with a model: its cache, its position, its buffers. One thread at a time.
typedef struct kgl_session kgl_session;

/// How a model is opened.
typedef struct {
    /// Bytes of this struct.
    size_t size;
    /// Where the object lies, `kgl_model_bytes()` at least, until it is freed; NULL: in memory of the system's.
    void *memory;
    /// Bytes of `memory`.
    size_t memory_bytes;
} kgl_model_params;

/// What a model is.
typedef struct {
    /// Bytes of this struct.
    size_t size;
    /// Tokens of the vocabulary: logits of a position.
    uint32_t vocab;
    /// Positions that it was made for.
    uint32_t context;
    /// Width of the residual stream: numbers of an embedding.
    uint32_t hidden;
    /// Layers.
    uint32_t layers;
    /// Bytes of the file.
    uint64_t file_bytes;
    /// Bytes of weights that decoding one token reads.
    uint64_t bytes_per_token;
    /// Whether the file has a tokenizer.
    bool has_tokenizer;
    /// Whether the file has a chat format.
    bool has_chat;
} kgl_model_info;

/// Where a call says what went wrong, in memory of the caller's. Any call may be given NULL instead.
typedef struct {
    /// Bytes of this struct.
    size_t size;
    /// What the call returned: a number of `kgl_status`.
    int32_t status;
    /// One sentence, ended by a 0: the file if there is one, the field, what was expected, what was found. Empty after `KGL_OK`.
    char text[KGL_ERROR_TEXT_BYTES];
} kgl_error;

/// Runs one chunk of work; what a `kgl_run_fn` is handed.
typedef void (*kgl_task_fn)(const void *task, size_t chunk);

/// Runs `task(context, i)` once for each `i` below `chunks`, in any order, on any cores, and returns when all have returned.
typedef void (*kgl_run_fn)(void *user, size_t chunks, kgl_task_fn task, const void *context);

/// Is told during a long prompt how many of its tokens are done, after each batch; anything but 0 ends the call.
typedef int32_t (*kgl_progress_fn)(void *user, size_t done, size_t total);

/// How a session is made.
typedef struct {
    /// Bytes of this struct.
    size_t size;
    /// Positions that the cache holds; 0: as many as the model was made for.
    size_t context;
    /// Tokens of a prompt that are run at once, at most.
    size_t batch;
    /// A number of `kgl_cache`.
    int32_t cache;
    /// A number of `kgl_isa`.
    int32_t isa;
    /// Threads, the caller's included; 0: one for each core. Without an operating system, or with `run`, the caller's alone.
    size_t threads;
    /// Cores that the caller brings; NULL: `threads` are started.
    kgl_run_fn run;
    /// Handed to `run`.
    void *run_user;
    /// How many chunks `run` runs at the same time; at least 1.
    size_t run_count;
    /// May be NULL.
    kgl_progress_fn progress;
    /// Handed to `progress`.
    void *progress_user;
    /// Where the session lies until it is freed, as many bytes as `kgl_plan` says; NULL: in memory of the system's.
    void *memory;
    /// Bytes of `memory`.
    size_t memory_bytes;
} kgl_session_params;

/// The memory of a session.
typedef struct {
    /// Bytes of this struct.
    size_t size;
    /// Bytes that a session needs in `kgl_session_params.memory`, at any address: exactly these.
    size_t memory_bytes;
    /// Bytes of these that are the cache of keys and values.
    size_t cache_bytes;
    /// Positions of the context.
    size_t context;
    /// Tokens of a batch.
    size_t batch;
} kgl_plan_info;

/// Where a session stands.
typedef struct {
    /// Bytes of this struct.
    size_t size;
    /// Tokens stored so far.
    size_t position;
    /// Positions that the cache holds.
    size_t context;
    /// The kernels that run.
    kgl_isa isa;
    /// Chunks that run at the same time.
    size_t threads;
    /// Whether `kgl_session_logits` has any.
    bool has_logits;
} kgl_session_info;

/// The number of a token: a row of the embedding, a column of the logits.
typedef uint32_t kgl_token;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/// The library's version: `major << 16 | minor << 8 | patch`.
uint32_t kgl_version(void);

/// What the library was built with: the sum of `KGL_FEATURE_` numbers.
uint32_t kgl_features(void);

/// The name that users type, such as `avx2`; `best` for `KGL_ISA_BEST`; NULL for a number that no set has.
const char *kgl_isa_name(int32_t isa);

/// Whether this machine has an instruction set and the library has kernels for it. `KGL_ISA_BEST` and `KGL_ISA_SCALAR` always are.
bool kgl_isa_available(int32_t isa);

/// The best instruction set that this machine has.
kgl_isa kgl_isa_best(void);

/// Parameters that leave everything to the library.
kgl_model_params kgl_model_params_default(void);

/// An info that says nothing yet.
kgl_model_info kgl_model_info_default(void);

/// Bytes of a model's object, for those who bring the memory.
size_t kgl_model_bytes(void);

/// Opens a model file. It is mapped and used in place; it must not be changed or cut while the model lives.
///
/// `path` is the file's name, ended by a 0. `params` may be NULL. On success `*out` is the model, else NULL.
kgl_status kgl_model_open(const char *path, const kgl_model_params *params, kgl_model **out, kgl_error *error);

/// Takes a model file that lies in memory or flash, at an address that is a multiple of 4. It is used in place: the bytes must
/// stay as they are until the model is freed.
kgl_status kgl_model_from_memory(const void *data,
                                 size_t bytes,
                                 const kgl_model_params *params,
                                 kgl_model **out,
                                 kgl_error *error);

/// Frees a model and makes the caller's pointer NULL. `model` or `*model` may be NULL.
///
/// While sessions made from it live it is not freed: `KGL_ERROR_IN_USE`.
kgl_status kgl_model_free(kgl_model **model, kgl_error *error);

/// Tells what a model is. `out` is made by `kgl_model_info_default()`.
kgl_status kgl_model_get_info(const kgl_model *model, kgl_model_info *out, kgl_error *error);

/// 2,048 positions, batches of 128, an int8 cache, the best kernels, all cores.
kgl_session_params kgl_session_params_default(void);

/// A plan that says nothing yet.
kgl_plan_info kgl_plan_info_default(void);

/// An info that says nothing yet.
kgl_session_info kgl_session_info_default(void);

/// Tells the exact memory of a session of a model with these parameters. `out` is made by `kgl_plan_info_default()`.
kgl_status kgl_plan(const kgl_model *model, const kgl_session_params *params, kgl_plan_info *out, kgl_error *error);

/// Makes a session at position 0. The model must not be freed before it.
kgl_status kgl_session_new(const kgl_model *model,
                           const kgl_session_params *params,
                           kgl_session **out,
                           kgl_error *error);

/// Frees a session and makes the caller's pointer NULL. `session` or `*session` may be NULL.
kgl_status kgl_session_free(kgl_session **session, kgl_error *error);

/// Tells where a session stands. `out` is made by `kgl_session_info_default()`.
kgl_status kgl_session_get_info(const kgl_session *session, kgl_session_info *out, kgl_error *error);

/// Runs tokens after those before. Then `kgl_session_logits` has what follows the last.
///
/// If the progress callback ends it, the tokens that it was told of are stored, and there are no logits: `KGL_ERROR_CANCELLED`.
/// After any other error nothing has changed.
kgl_status kgl_session_prefill(kgl_session *session,
                               const kgl_token *tokens,
                               size_t count,
                               kgl_error *error);

/// Runs one token after those before.
kgl_status kgl_session_decode(kgl_session *session, kgl_token token, kgl_error *error);

/// The logits that follow the last token: `*count` numbers at `*logits`, one for each token of the vocabulary. They stay
/// until the next call with this session. `count` may be NULL.
kgl_status kgl_session_logits(const kgl_session *session,
                              const float **logits,
                              size_t *count,
                              kgl_error *error);

/// Runs tokens after those before and writes their embedding, `hidden` numbers: what the model's head would multiply, of the last
/// token or on average (`pooling`, a number of `kgl_pooling`). It is not normalised to length 1. There are no logits then.
kgl_status kgl_session_embed(kgl_session *session,
                             const kgl_token *tokens,
                             size_t count,
                             int32_t pooling,
                             float *out,
                             size_t out_count,
                             kgl_error *error);

/// Goes back to `position`, forgetting what follows. 0 is always possible; where a sliding window has moved on, less else is.
kgl_status kgl_session_truncate(kgl_session *session,
                                size_t position,
                                kgl_error *error);

/// Writes the session's state, its cache and its position, to `out`; `*bytes` is its length, also after `KGL_ERROR_TOO_SMALL`. With
/// `out` NULL and `out_bytes` 0 it only tells the length.
///
/// Another process, on another machine, can go on from it with a session of the same model file.
kgl_status kgl_session_save(const kgl_session *session,
                            void *out,
                            size_t out_bytes,
                            size_t *bytes,
                            kgl_error *error);

/// Goes to where a session of the same model file was saved: the next tokens get the same bits as there. There are no logits
/// until then. After an error nothing has changed.
kgl_status kgl_session_restore(kgl_session *session,
                               const void *state,
                               size_t bytes,
                               kgl_error *error);

/// What a code means, in English: a static text, for any number.
const char *kgl_strerror(int32_t status);

/// An error that says nothing yet.
kgl_error kgl_error_default(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KINGLET_H */
