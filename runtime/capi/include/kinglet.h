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
//                                 From outside it needs bcmp, getauxval (aarch64), memcmp, memcpy, memmove, memset, strlen on Linux, and
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
// comes meanwhile, from another thread or out of a callback, changes nothing and returns KGL_ERROR_BUSY; so does a call that only
// reads. Whoever frees an object knows that no other thread is about to use it. Threads of a session do not survive fork().
//
// Stack. A call takes up to 16 KiB of it; measured on Cortex-M, where CI compares.
//
// Callbacks return to their caller: no exception of C++ and no longjmp may leave one. What the function for text throws, kinglet.hpp carries past
// that border.
//
// Texts are UTF-8, with a length in bytes or KGL_TERMINATED in its place. A text without a length ends with a 0, as the names of files do.

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

/// Added to an instruction set: it is taken on the caller's word that the machine has it and that it is switched on, for boards
/// where no operating system can be asked. If the machine does not have it, the program ends at its first instruction.
#define KGL_ISA_ASSUMED 256

/// Bytes of the text of an error, its final 0 included.
#define KGL_ERROR_TEXT_BYTES 256

/// To tokenize: add what the model expects around a text, such as the token that begins it.
#define KGL_TEXT_ADD_SPECIAL 1

/// To tokenize: text that spells a control token becomes that token. Not for text that comes from outside.
#define KGL_TEXT_PARSE_SPECIAL 2

/// Both ways: the text goes on from earlier text, so that nothing is put in front of it, and its first space stays.
#define KGL_TEXT_CONTINUES 4

/// To make text: control tokens are shown in it.
#define KGL_TEXT_SHOW_SPECIAL 8

/// Most stop texts of a generation.
#define KGL_STOPS 16

/// Most bytes of a stop text.
#define KGL_STOP_BYTES 256

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
    /// The caller's buffer is too small; where the call tells a length, it tells the one that is needed.
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
    /// This machine does not have the instruction set.
    KGL_ERROR_ISA = 17,
    /// The system starts no more threads.
    KGL_ERROR_THREADS = 18,
    /// A callback asked to end.
    KGL_ERROR_CANCELLED = 19,
    /// This library was built without what the call needs: an operating system.
    KGL_ERROR_UNSUPPORTED = 20,
    /// A mistake in this library. Please report it.
    KGL_ERROR_INTERNAL = 21,
    /// The model's file has no tokenizer, or no chat format.
    KGL_ERROR_NO_TOKENIZER = 22,
    /// A text is not UTF-8.
    KGL_ERROR_UTF8 = 23,
    /// A text, or a list, is longer than was planned for, or than is possible at all.
    KGL_ERROR_TOO_LONG = 24,
    /// The model's chat format has no such conversation.
    KGL_ERROR_CHAT = 25,
    /// There is no such entry or token.
    KGL_ERROR_NOT_FOUND = 26,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kgl_status kgl_status;
#else
typedef int32_t kgl_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// Why a text ended.
enum kgl_end
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// The model ended it.
    KGL_END_TOKEN = 0,
    /// As many tokens as were asked for.
    KGL_END_LIMIT = 1,
    /// A stop text.
    KGL_END_STOP = 2,
    /// The callback.
    KGL_END_CALLBACK = 3,
    /// The context has no room for another token.
    KGL_END_CONTEXT = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kgl_end kgl_end;
#else
typedef int32_t kgl_end;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

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

/// What a token is for.
enum kgl_token_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// It stands for text.
    KGL_TOKEN_NORMAL = 0,
    /// It is for the model, not for people.
    KGL_TOKEN_CONTROL = 1,
    /// It is one byte of a character.
    KGL_TOKEN_BYTE = 2,
    /// The vocabulary has a gap here.
    KGL_TOKEN_UNUSED = 3,
    /// It stands for text that is cut out as a whole before anything else.
    KGL_TOKEN_ADDED = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kgl_token_kind kgl_token_kind;
#else
typedef int32_t kgl_token_kind;
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

/// What follows the last message.
enum kgl_chat_end
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// The model's reply.
    KGL_CHAT_REPLY = 0,
    /// Nothing.
    KGL_CHAT_STOP = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kgl_chat_end kgl_chat_end;
#else
typedef int32_t kgl_chat_end;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// How much a message matters.
enum kgl_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// For those who want to know.
    KGL_LOG_INFO = 0,
    /// Something is probably not as it was meant.
    KGL_LOG_WARNING = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kgl_log_level kgl_log_level;
#else
typedef int32_t kgl_log_level;
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

/// Who speaks.
enum kgl_role
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// Nobody: the start of a conversation.
    KGL_ROLE_NONE = 0,
    /// Instructions, usually first or not at all.
    KGL_ROLE_SYSTEM = 1,
    /// The person.
    KGL_ROLE_USER = 2,
    /// The model.
    KGL_ROLE_ASSISTANT = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kgl_role kgl_role;
#else
typedef int32_t kgl_role;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// A model. Threads may share it.
typedef struct kgl_model kgl_model;

/// Chooses tokens: settings, a generator, and the tokens that it has seen. One thread at a time.
typedef struct kgl_sampler kgl_sampler;

/// A conversation with a model: its cache, its position, its buffers. One thread at a time.
typedef struct kgl_session kgl_session;

/// A model's tokenizer and its chat format, with working memory. One thread at a time.
typedef struct kgl_tokenizer kgl_tokenizer;

/// One turn of a conversation.
typedef struct {
    /// Who speaks: a number of `kgl_role`.
    int32_t role;
    /// What is said, UTF-8.
    const char *text;
    /// Its length, or `KGL_TERMINATED`.
    size_t text_bytes;
} kgl_message;

/// Where a call says what went wrong, in memory of the caller's. Any call may be given NULL instead. One whose `size` is not right is
/// left as it is.
typedef struct {
    /// Bytes of this struct.
    size_t size;
    /// What the call returned: a number of `kgl_status`.
    int32_t status;
    /// One sentence, ended by a 0: the file if there is one, the field, what was expected, what was found. Empty after `KGL_OK`.
    char text[KGL_ERROR_TEXT_BYTES];
} kgl_error;

/// The number of a token: a row of the embedding, a column of the logits.
typedef uint32_t kgl_token;

/// Is told each token as it is chosen, but for one that ends the text, and what is known to be text now: `bytes` bytes of UTF-8, whole characters, often none, ended by a 0, gone after
/// the call. Text that was held back at the end comes with `KGL_TOKEN_NONE`. Anything but 0 ends the generation.
typedef int32_t (*kgl_text_fn)(void *user, kgl_token token, const char *text, size_t bytes);

/// How text is generated.
typedef struct {
    /// Bytes of this struct.
    size_t size;
    /// Tokens to generate, at most; 0: as many as the context has room for.
    size_t max_tokens;
    /// Texts that end the generation and are no part of it, each ended by a 0; `KGL_STOPS` at most, of `KGL_STOP_BYTES` at most.
    const char *const *stops;
    /// How many.
    size_t stop_count;
    /// May be NULL.
    kgl_text_fn text;
    /// Handed to `text`.
    void *text_user;
} kgl_generate_params;

/// What was generated.
typedef struct {
    /// Bytes of this struct.
    size_t size;
    /// Tokens generated, the one that ended the text included.
    size_t tokens;
    /// Why the text ended.
    kgl_end end;
    /// The last token. It was chosen, but not run: whoever goes on from here passes it first, unless `end` is `KGL_END_TOKEN` and what
    /// comes next says itself what stands there, as chat formats do.
    kgl_token last;
    /// Which stop text, if `end` is `KGL_END_STOP`.
    size_t stop;
} kgl_generation;

/// Is told something: `level`, a number of `kgl_log_level`, and a text that ends with a 0 and is gone after the call. Threads that
/// share a model may call it at the same time.
typedef void (*kgl_log_fn)(void *user, int32_t level, const char *text);

/// How a model is opened.
typedef struct {
    /// Bytes of this struct.
    size_t size;
    /// Where the object lies, `kgl_model_bytes()` at least, until it is freed; NULL: in memory of the system's.
    void *memory;
    /// Bytes of `memory`.
    size_t memory_bytes;
    /// Is told what the model and the objects made from it do, in English; NULL: nobody is.
    kgl_log_fn log;
    /// Handed to `log`.
    void *log_user;
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
    /// Entries of the file's metadata, see `kgl_model_meta_at`.
    uint32_t meta_count;
    /// Whether the file has a tokenizer.
    bool has_tokenizer;
    /// Whether the file has a chat format.
    bool has_chat;
} kgl_model_info;

/// What is added to a token's logit.
typedef struct {
    /// The token; one beyond the vocabulary is ignored.
    kgl_token token;
    /// A number, or minus infinity to forbid the token.
    float bias;
} kgl_logit_bias;

/// How tokens are chosen, in this order: biases, penalties, top-k, top-p, min-p, temperature.
typedef struct {
    /// Bytes of this struct.
    size_t size;
    /// Above 1 flattens the distribution, below 1 sharpens it; 0 takes the most probable token always.
    float temperature;
    /// How many of the highest logits are kept; 0 keeps all.
    uint32_t top_k;
    /// The probability that the kept tokens reach together; 1 keeps all.
    float top_p;
    /// The least probability kept, as a part of the highest; 0 keeps all.
    float min_p;
    /// Divides the positive and multiplies the other logits of recent tokens; 1 changes nothing.
    float repeat_penalty;
    /// Taken off a recent token's logit for each time it occurs.
    float frequency_penalty;
    /// Taken off a recent token's logit once.
    float presence_penalty;
    /// How many of the last tokens are recent; they take memory.
    uint32_t repeat_last_n;
    /// Where the generator starts.
    uint64_t seed;
    /// May be NULL; copied.
    const kgl_logit_bias *biases;
    /// How many.
    size_t bias_count;
    /// Where the sampler lies until it is freed, as many bytes as `kgl_sampler_plan` says; NULL: in memory of the system's.
    void *memory;
    /// Bytes of `memory`.
    size_t memory_bytes;
} kgl_sampler_params;

/// Runs one chunk of work; what a `kgl_run_fn` is handed.
typedef void (*kgl_task_fn)(const void *task, size_t chunk);

/// Runs `task(context, i)` once for each `i` below `chunks`, in any order, on any cores, and returns when all have returned.
typedef void (*kgl_run_fn)(void *user, size_t chunks, kgl_task_fn task, const void *context);

/// Is told how many tokens of a long prompt are done, before each batch of it but the first; anything but 0 ends the call.
typedef int32_t (*kgl_progress_fn)(void *user, size_t done, size_t total);

/// How a session is made.
typedef struct {
    /// Bytes of this struct.
    size_t size;
    /// Positions that the cache holds; 0: 2,048, or as many as the model was made for if these are fewer.
    size_t context;
    /// Tokens of a prompt that are run at once, at most.
    size_t batch;
    /// A number of `kgl_cache`.
    int32_t cache;
    /// A number of `kgl_isa`; with `KGL_ISA_ASSUMED` added, on the caller's word that the machine has it.
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

/// How a tokenizer is made.
typedef struct {
    /// Bytes of this struct.
    size_t size;
    /// In the caller's memory: bytes of the longest text, or rendered conversation, that is sure to be tokenized. The system's
    /// memory takes what a text needs.
    size_t text_bytes;
    /// In the caller's memory: messages of a conversation, at most.
    size_t messages;
    /// Where the tokenizer lies until it is freed, as many bytes as `kgl_tokenizer_plan` says; NULL: in memory of the system's.
    void *memory;
    /// Bytes of `memory`.
    size_t memory_bytes;
} kgl_tokenizer_params;

/// What a tokenizer is.
typedef struct {
    /// Bytes of this struct.
    size_t size;
    /// Tokens of the vocabulary.
    uint32_t vocab;
    /// The token that begins a text, or `KGL_TOKEN_NONE`.
    kgl_token begin;
    /// The token for what the vocabulary cannot spell, or `KGL_TOKEN_NONE`.
    kgl_token unknown;
    /// Bytes of the longest token.
    uint32_t longest_token_bytes;
    /// Whether `KGL_TEXT_ADD_SPECIAL` puts `begin` in front.
    bool adds_begin;
    /// Whether there is a chat format.
    bool has_chat;
} kgl_tokenizer_info;

/// What a token is.
typedef struct {
    /// Bytes of this struct.
    size_t size;
    /// The bytes that it stands for, in the model's file; no 0 ends them, and they may be a part of a character.
    const char *text;
    /// How many.
    size_t text_bytes;
    /// What it is for.
    kgl_token_kind kind;
    /// Whether it ends a text.
    bool is_end;
} kgl_token_info;

/// No token.
#define KGL_TOKEN_NONE UINT32_MAX

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/// The library's version: `major << 16 | minor << 8 | patch`.
uint32_t kgl_version(void);

/// The same as a text, such as `0.1.0`.
const char *kgl_version_string(void);

/// What the library was built with: the sum of `KGL_FEATURE_` numbers.
uint32_t kgl_features(void);

/// Renders messages into the text that the model was trained on, UTF-8, ended by a 0. `from` says who spoke last in what was rendered
/// before, a number of `kgl_role`; `end` is a number of `kgl_chat_end`. `*bytes` is the text's length without the 0, for which one more is needed, also
/// after `KGL_ERROR_TOO_SMALL`; with `out` NULL and `out_bytes` 0 it only tells that.
kgl_status kgl_chat_render(kgl_tokenizer *tokenizer,
                           int32_t from,
                           const kgl_message *messages,
                           size_t message_count,
                           int32_t end,
                           char *out,
                           size_t out_bytes,
                           size_t *bytes,
                           kgl_error *error);

/// The same as tokens, in which what was said never becomes a control token: `*count` of them, also after `KGL_ERROR_TOO_SMALL`;
/// with `out` NULL and `out_count` 0 it only tells that.
kgl_status kgl_chat_tokenize(kgl_tokenizer *tokenizer,
                             int32_t from,
                             const kgl_message *messages,
                             size_t message_count,
                             int32_t end,
                             kgl_token *out,
                             size_t out_count,
                             size_t *count,
                             kgl_error *error);

/// Text until the model ends it or the context is full.
kgl_generate_params kgl_generate_params_default(void);

/// A generation of nothing.
kgl_generation kgl_generation_default(void);

/// Runs a prompt and generates what follows.
///
/// `sampler` may be NULL: then the most probable token is taken. `prompt` has at least one token. `out`, made by
/// `kgl_generation_default()`, may be NULL. All three objects are in use until the call returns; a text that the tokenizer has begun
/// (`kgl_tokenizer_start`) is lost.
///
/// If the progress callback of the session ends the prompt: `KGL_ERROR_CANCELLED`. After it, as after any error, the tokens that were run are
/// stored: `kgl_session_truncate` goes back.
kgl_status kgl_generate(kgl_session *session,
                        kgl_sampler *sampler,
                        kgl_tokenizer *tokenizer,
                        const kgl_token *prompt,
                        size_t prompt_count,
                        const kgl_generate_params *params,
                        kgl_generation *out,
                        kgl_error *error);

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
/// While objects made from it live it is not freed: `KGL_ERROR_IN_USE`. `error` may be NULL.
kgl_status kgl_model_free(kgl_model **model, kgl_error *error);

/// Tells what a model is. `out` is made by `kgl_model_info_default()`.
kgl_status kgl_model_get_info(const kgl_model *model, kgl_model_info *out, kgl_error *error);

/// Reads entry `index` of the file's metadata: `*key_bytes` bytes of UTF-8 at `*key`, `*value_bytes` at `*value`, in the file,
/// as long as the model lives. No 0 ends them. Any of the four may be NULL. Beyond the last: `KGL_ERROR_NOT_FOUND`.
kgl_status kgl_model_meta_at(const kgl_model *model,
                             size_t index,
                             const char **key,
                             size_t *key_bytes,
                             const char **value,
                             size_t *value_bytes,
                             kgl_error *error);

/// Reads the metadata of `key`, such as `name`: `*value_bytes` bytes of UTF-8 at `*value`, in the file, as long as the model lives. No
/// 0 ends them. Without such an entry: `KGL_ERROR_NOT_FOUND`.
kgl_status kgl_model_meta(const kgl_model *model,
                          const char *key,
                          const char **value,
                          size_t *value_bytes,
                          kgl_error *error);

/// Temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, no penalties, seed 0.
kgl_sampler_params kgl_sampler_params_default(void);

/// Tells the exact memory of a sampler of a model with these parameters, for those who bring it.
kgl_status kgl_sampler_plan(const kgl_model *model, const kgl_sampler_params *params, size_t *bytes, kgl_error *error);

/// Makes a sampler for a model's logits. The model must not be freed before it.
kgl_status kgl_sampler_new(const kgl_model *model,
                           const kgl_sampler_params *params,
                           kgl_sampler **out,
                           kgl_error *error);

/// Frees a sampler and makes the caller's pointer NULL. `sampler` or `*sampler` may be NULL.
kgl_status kgl_sampler_free(kgl_sampler **sampler, kgl_error *error);

/// Chooses what follows the last token of a session, and remembers it.
kgl_status kgl_sampler_sample(kgl_sampler *sampler, const kgl_session *session, kgl_token *token, kgl_error *error);

/// Chooses by logits of the caller's, one for each token of the vocabulary, and remembers the token.
kgl_status kgl_sampler_sample_logits(kgl_sampler *sampler,
                                     const float *logits,
                                     size_t count,
                                     kgl_token *token,
                                     kgl_error *error);

/// Remembers tokens that it did not choose, such as a prompt's, for the penalties.
kgl_status kgl_sampler_accept(kgl_sampler *sampler, const kgl_token *tokens, size_t count, kgl_error *error);

/// Forgets all tokens and starts the generator again.
kgl_status kgl_sampler_reset(kgl_sampler *sampler, kgl_error *error);

/// Writes where the generator stands and the recent tokens to `out`; `*bytes` is the length, also after `KGL_ERROR_TOO_SMALL`. With
/// `out` NULL and `out_bytes` 0 it only tells that. The settings are no part of it.
kgl_status kgl_sampler_save(const kgl_sampler *sampler,
                            void *out,
                            size_t out_bytes,
                            size_t *bytes,
                            kgl_error *error);

/// Goes on as the sampler would that was saved, with this one's settings. After an error nothing has changed.
kgl_status kgl_sampler_restore(kgl_sampler *sampler, const void *state, size_t bytes, kgl_error *error);

/// 2,048 positions at most, batches of 128, an int8 cache, the best kernels, all cores.
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
/// The progress callback may end it, as with `kgl_session_prefill`.
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

/// Texts of 4,096 bytes and 32 messages in the caller's memory.
kgl_tokenizer_params kgl_tokenizer_params_default(void);

/// An info that says nothing yet.
kgl_tokenizer_info kgl_tokenizer_info_default(void);

/// An info that says nothing yet.
kgl_token_info kgl_token_info_default(void);

/// Tells the exact memory of a tokenizer of a model with these parameters, for those who bring it.
kgl_status kgl_tokenizer_plan(const kgl_model *model,
                              const kgl_tokenizer_params *params,
                              size_t *bytes,
                              kgl_error *error);

/// Makes a tokenizer of a model whose file has one. The model must not be freed before it.
kgl_status kgl_tokenizer_new(const kgl_model *model,
                             const kgl_tokenizer_params *params,
                             kgl_tokenizer **out,
                             kgl_error *error);

/// Frees a tokenizer and makes the caller's pointer NULL. `tokenizer` or `*tokenizer` may be NULL.
kgl_status kgl_tokenizer_free(kgl_tokenizer **tokenizer, kgl_error *error);

/// Tells what a tokenizer is. `out` is made by `kgl_tokenizer_info_default()`.
kgl_status kgl_tokenizer_get_info(const kgl_tokenizer *tokenizer, kgl_tokenizer_info *out, kgl_error *error);

/// Tells what a token is. `out` is made by `kgl_token_info_default()`.
kgl_status kgl_token_get_info(const kgl_tokenizer *tokenizer, kgl_token token, kgl_token_info *out, kgl_error *error);

/// Finds the token of exactly this text, such as `<|im_end|>`. `bytes` may be `KGL_TERMINATED`. If there is none:
/// `KGL_ERROR_NOT_FOUND`.
kgl_status kgl_token_find(const kgl_tokenizer *tokenizer,
                          const char *text,
                          size_t bytes,
                          kgl_token *token,
                          kgl_error *error);

/// Turns a text of UTF-8 into tokens. `bytes` may be `KGL_TERMINATED`; `flags` is a sum of `KGL_TEXT_` numbers. `*count` is the number
/// of tokens, also after `KGL_ERROR_TOO_SMALL`; with `out` NULL and `out_count` 0 it only tells that.
kgl_status kgl_tokenize(kgl_tokenizer *tokenizer,
                        const char *text,
                        size_t bytes,
                        uint32_t flags,
                        kgl_token *out,
                        size_t out_count,
                        size_t *count,
                        kgl_error *error);

/// Turns tokens into text: UTF-8, ended by a 0; what is no character becomes U+FFFD. `flags` is a sum of `KGL_TEXT_` numbers. `*bytes` is the text's length without
/// the 0, for which one more is needed, also after `KGL_ERROR_TOO_SMALL`; with `out` NULL and `out_bytes` 0 it only tells that. A text begun by
/// `kgl_tokenizer_start` is not touched.
kgl_status kgl_detokenize(kgl_tokenizer *tokenizer,
                          const kgl_token *tokens,
                          size_t count,
                          uint32_t flags,
                          char *out,
                          size_t out_bytes,
                          size_t *bytes,
                          kgl_error *error);

/// Begins a text that comes token by token; `flags` is a sum of `KGL_TEXT_` numbers.
kgl_status kgl_tokenizer_start(kgl_tokenizer *tokenizer, uint32_t flags, kgl_error *error);

/// Adds a token to the text: `*bytes` bytes of UTF-8 at `*text`, ended by a 0, are what is known to be text now, whole characters, often none. They
/// stay until the next call with this tokenizer. `bytes` may be NULL.
kgl_status kgl_tokenizer_push(kgl_tokenizer *tokenizer,
                              kgl_token token,
                              const char **text,
                              size_t *bytes,
                              kgl_error *error);

/// Ends the text: as `kgl_tokenizer_push`, with what was held back. Then a new one begins, with the same flags.
kgl_status kgl_tokenizer_finish(kgl_tokenizer *tokenizer, const char **text, size_t *bytes, kgl_error *error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KINGLET_H */
