// Tokenizers: text to tokens and back, at once and in a stream.
#include "check.h"

static const char *const TEXTS[] = {
    "",
    "a",
    "It was a truth universally acknowledged, that she turned away.",
    "  two spaces, a tab\tand\r\n\n\nlines  ",
    "Gr\xc3\xbc\xc3\x9f Gott, \xe2\x82\xac 12.50, \xf0\x9f\x90\xa6 and \xe6\xbc\xa2\xe5\xad\x97",
    "<|im_start|>user<|im_end|>",
    "1234567890",
};
enum { TEXT_COUNT = sizeof TEXTS / sizeof TEXTS[0] };

static void there_and_back(kgl_tokenizer *tokenizer) {
    for (size_t i = 0; i < TEXT_COUNT; i++) {
        const char *text = TEXTS[i];
        const size_t len = strlen(text);
        kgl_token tokens[128], again[128];
        size_t count = 7, needed = 7, bytes;
        // The length first, then the tokens.
        const kgl_status asked = kgl_tokenize(tokenizer, text, len, 0, NULL, 0, &needed, &err);
        CHECK(asked == (needed == 0 ? KGL_OK : KGL_ERROR_TOO_SMALL));
        OK(kgl_tokenize(tokenizer, text, KGL_TERMINATED, 0, tokens, 128, &count, &err));
        CHECK(count == needed && (count == 0) == (len == 0));
        OK(kgl_tokenize(tokenizer, text, len, 0, again, needed, &count, &err));
        CHECK(count == needed && memcmp(tokens, again, count * sizeof *tokens) == 0);
        if (needed > 0) {
            EXPECT(KGL_ERROR_TOO_SMALL, kgl_tokenize(tokenizer, text, len, 0, again, needed - 1, &count, &err));
            CHECK(count == needed);
        }
        char out[256];
        OK(kgl_detokenize(tokenizer, tokens, count, 0, out, sizeof out, &bytes, &err));
        CHECK(bytes == len && memcmp(out, text, len + 1) == 0);
        OK(kgl_detokenize(tokenizer, tokens, count, 0, out, len + 1, &bytes, &err));
        EXPECT(KGL_ERROR_TOO_SMALL, kgl_detokenize(tokenizer, tokens, count, 0, out, len, &bytes, &err));
        CHECK(bytes == len && (len == 0 || out[0] == 0));
        EXPECT(KGL_ERROR_TOO_SMALL, kgl_detokenize(tokenizer, tokens, count, 0, NULL, 0, &bytes, &err));
        CHECK(bytes == len);
        // The same in a stream, with another text in between.
        char streamed[256];
        size_t at = 0, piece_bytes;
        const char *piece;
        OK(kgl_tokenizer_start(tokenizer, 0, &err));
        for (size_t t = 0; t < count; t++) {
            OK(kgl_tokenizer_push(tokenizer, tokens[t], &piece, &piece_bytes, &err));
            CHECK(piece[piece_bytes] == 0);
            memcpy(streamed + at, piece, piece_bytes);
            at += piece_bytes;
            OK(kgl_detokenize(tokenizer, tokens, count, 0, out, sizeof out, &bytes, &err));
        }
        OK(kgl_tokenizer_finish(tokenizer, &piece, NULL, &err));
        memcpy(streamed + at, piece, strlen(piece) + 1);
        CHECK(strcmp(streamed, text) == 0);
    }
}

static void special(kgl_tokenizer *tokenizer) {
    kgl_token tokens[64], start;
    size_t count, bytes;
    char out[64];
    OK(kgl_token_find(tokenizer, "<|im_start|>", KGL_TERMINATED, &start, &err));
    CHECK(start == 1);
    OK(kgl_tokenize(tokenizer, "<|im_start|>", KGL_TERMINATED, KGL_TEXT_PARSE_SPECIAL, tokens, 64, &count, &err));
    CHECK(count == 1 && tokens[0] == start);
    OK(kgl_detokenize(tokenizer, tokens, 1, KGL_TEXT_SHOW_SPECIAL, out, sizeof out, &bytes, &err));
    CHECK(strcmp(out, "<|im_start|>") == 0);
    OK(kgl_detokenize(tokenizer, tokens, 1, 0, out, sizeof out, &bytes, &err));
    CHECK(bytes == 0 && out[0] == 0);
    OK(kgl_tokenize(tokenizer, "<|im_start|>", KGL_TERMINATED, 0, tokens, 64, &count, &err));
    CHECK(count > 1);
    OK(kgl_tokenize(tokenizer, " a", 2, KGL_TEXT_ADD_SPECIAL | KGL_TEXT_CONTINUES, tokens, 64, &count, &err));
    // A 0 inside is a character as any other.
    OK(kgl_tokenize(tokenizer, "a\0b", 3, 0, tokens, 64, &count, &err));
    OK(kgl_detokenize(tokenizer, tokens, count, KGL_TEXT_CONTINUES, out, sizeof out, &bytes, &err));
    CHECK(bytes == 3 && memcmp(out, "a\0b", 4) == 0);
    // Half a character waits for the other half; alone it is U+FFFD.
    kgl_token first, second;
    const char *piece;
    OK(kgl_tokenize(tokenizer, "\xf0\x9f\x90\xa6", 4, 0, tokens, 64, &count, &err));
    CHECK(count > 1);
    first = tokens[0];
    second = tokens[1];
    OK(kgl_tokenizer_start(tokenizer, KGL_TEXT_CONTINUES, &err));
    OK(kgl_tokenizer_push(tokenizer, first, &piece, &bytes, &err));
    CHECK(bytes == 0);
    OK(kgl_tokenizer_push(tokenizer, second, &piece, &bytes, &err));
    OK(kgl_tokenizer_finish(tokenizer, &piece, &bytes, &err));
    CHECK(count > 2 ? strcmp(piece, "\xef\xbf\xbd") == 0 : bytes == 0);
}

static void of_tokens(kgl_tokenizer *tokenizer, uint32_t vocab) {
    kgl_tokenizer_info info = kgl_tokenizer_info_default();
    OK(kgl_tokenizer_get_info(tokenizer, &info, &err));
    CHECK(info.vocab == vocab && info.has_chat && !info.adds_begin && info.longest_token_bytes >= 12);
    size_t ends = 0, controls = 0;
    for (kgl_token token = 0; token < vocab; token++) {
        kgl_token_info about = kgl_token_info_default();
        OK(kgl_token_get_info(tokenizer, token, &about, &err));
        CHECK(about.text_bytes <= info.longest_token_bytes && about.kind >= KGL_TOKEN_NORMAL && about.kind <= KGL_TOKEN_ADDED);
        ends += about.is_end;
        controls += about.kind == KGL_TOKEN_CONTROL;
        kgl_token found = 5;
        if (about.kind == KGL_TOKEN_CONTROL) {
            OK(kgl_token_find(tokenizer, about.text, about.text_bytes, &found, &err));
            CHECK(found == token);
        }
    }
    CHECK(ends >= 1 && controls == 3);
    kgl_token_info about = kgl_token_info_default();
    EXPECT(KGL_ERROR_TOKEN, kgl_token_get_info(tokenizer, vocab, &about, &err));
    EXPECT(KGL_ERROR_TOKEN, kgl_token_get_info(tokenizer, KGL_TOKEN_NONE, &about, &err));
    EXPECT(KGL_ERROR_NULL, kgl_token_get_info(tokenizer, 0, NULL, &err));
    EXPECT(KGL_ERROR_NULL, kgl_token_get_info(NULL, 0, &about, &err));
    about.size = 0;
    EXPECT(KGL_ERROR_SIZE, kgl_token_get_info(tokenizer, 0, &about, &err));
    EXPECT(KGL_ERROR_NULL, kgl_tokenizer_get_info(tokenizer, NULL, &err));
    EXPECT(KGL_ERROR_NULL, kgl_tokenizer_get_info(NULL, &info, &err));
    info.size += 1;
    EXPECT(KGL_ERROR_SIZE, kgl_tokenizer_get_info(tokenizer, &info, &err));
    kgl_token token = 5;
    EXPECT(KGL_ERROR_NOT_FOUND, kgl_token_find(tokenizer, "no such token at all", KGL_TERMINATED, &token, &err));
    CHECK(token == KGL_TOKEN_NONE);
    EXPECT(KGL_ERROR_UTF8, kgl_token_find(tokenizer, "\xff", 1, &token, &err));
    EXPECT(KGL_ERROR_NULL, kgl_token_find(tokenizer, NULL, 1, &token, &err));
    EXPECT(KGL_ERROR_NULL, kgl_token_find(tokenizer, "a", 1, NULL, &err));
    EXPECT(KGL_ERROR_NULL, kgl_token_find(NULL, "a", 1, &token, &err));
}

static void misused(const kgl_model *model, kgl_tokenizer *tokenizer) {
    kgl_token tokens[8] = {0};
    size_t count = 9, bytes = 9;
    char out[8];
    const char *piece;
    EXPECT(KGL_ERROR_NULL, kgl_tokenize(NULL, "a", 1, 0, tokens, 8, &count, &err));
    EXPECT(KGL_ERROR_NULL, kgl_tokenize(tokenizer, NULL, 1, 0, tokens, 8, &count, &err));
    CHECK(count == 0);
    EXPECT(KGL_ERROR_NULL, kgl_tokenize(tokenizer, NULL, KGL_TERMINATED, 0, tokens, 8, &count, &err));
    OK(kgl_tokenize(tokenizer, NULL, 0, 0, tokens, 8, &count, &err));
    EXPECT(KGL_ERROR_NULL, kgl_tokenize(tokenizer, "a", 1, 0, NULL, 8, &count, &err));
    EXPECT(KGL_ERROR_NULL, kgl_tokenize(tokenizer, "a", 1, 0, tokens, 8, NULL, &err));
    EXPECT(KGL_ERROR_TOO_LONG, kgl_tokenize(tokenizer, "a", SIZE_MAX - 1, 0, tokens, 8, &count, &err));
    EXPECT(KGL_ERROR_ARGUMENT, kgl_tokenize(tokenizer, "a", 1, KGL_TEXT_SHOW_SPECIAL, tokens, 8, &count, &err));
    EXPECT(KGL_ERROR_ARGUMENT, kgl_tokenize(tokenizer, "a", 1, UINT32_MAX, tokens, 8, &count, &err));
    static const char *const NOT_UTF8[] = {"\xff", "a\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\x80"};
    for (size_t i = 0; i < sizeof NOT_UTF8 / sizeof NOT_UTF8[0]; i++) {
        EXPECT(KGL_ERROR_UTF8, kgl_tokenize(tokenizer, NOT_UTF8[i], KGL_TERMINATED, 0, tokens, 8, &count, &err));
    }
    tokens[1] = 70000;
    EXPECT(KGL_ERROR_TOKEN, kgl_detokenize(tokenizer, tokens, 2, 0, out, 8, &bytes, &err));
    CHECK(bytes == 0);
    EXPECT(KGL_ERROR_NULL, kgl_detokenize(NULL, tokens, 1, 0, out, 8, &bytes, &err));
    EXPECT(KGL_ERROR_NULL, kgl_detokenize(tokenizer, NULL, 1, 0, out, 8, &bytes, &err));
    EXPECT(KGL_ERROR_NULL, kgl_detokenize(tokenizer, tokens, 1, 0, NULL, 8, &bytes, &err));
    EXPECT(KGL_ERROR_NULL, kgl_detokenize(tokenizer, tokens, 1, 0, out, 8, NULL, &err));
    EXPECT(KGL_ERROR_ARGUMENT, kgl_detokenize(tokenizer, tokens, 1, KGL_TEXT_PARSE_SPECIAL, out, 8, &bytes, &err));
    OK(kgl_detokenize(tokenizer, NULL, 0, 0, out, 8, &bytes, &err));
    CHECK(bytes == 0 && out[0] == 0);
    EXPECT(KGL_ERROR_NULL, kgl_tokenizer_start(NULL, 0, &err));
    EXPECT(KGL_ERROR_ARGUMENT, kgl_tokenizer_start(tokenizer, KGL_TEXT_ADD_SPECIAL, &err));
    EXPECT(KGL_ERROR_TOKEN, kgl_tokenizer_push(tokenizer, 70000, &piece, &bytes, &err));
    EXPECT(KGL_ERROR_NULL, kgl_tokenizer_push(tokenizer, 5, NULL, &bytes, &err));
    EXPECT(KGL_ERROR_NULL, kgl_tokenizer_push(NULL, 5, &piece, &bytes, &err));
    EXPECT(KGL_ERROR_NULL, kgl_tokenizer_finish(tokenizer, NULL, &bytes, &err));
    EXPECT(KGL_ERROR_NULL, kgl_tokenizer_finish(NULL, &piece, &bytes, &err));
    kgl_tokenizer *none = tokenizer;
    EXPECT(KGL_ERROR_NULL, kgl_tokenizer_new(NULL, NULL, &none, &err));
    CHECK(none == NULL);
    EXPECT(KGL_ERROR_NULL, kgl_tokenizer_new(model, NULL, NULL, &err));
    kgl_tokenizer_params params = kgl_tokenizer_params_default();
    params.size = 3;
    EXPECT(KGL_ERROR_SIZE, kgl_tokenizer_new(model, &params, &none, &err));
    EXPECT(KGL_ERROR_SIZE, kgl_tokenizer_plan(model, &params, &bytes, &err));
    EXPECT(KGL_ERROR_NULL, kgl_tokenizer_plan(NULL, NULL, &bytes, &err));
    EXPECT(KGL_ERROR_NULL, kgl_tokenizer_plan(model, NULL, NULL, &err));
    params = kgl_tokenizer_params_default();
    params.text_bytes = SIZE_MAX;
    bytes = 7;
    EXPECT(KGL_ERROR_ARGUMENT, kgl_tokenizer_plan(model, &params, &bytes, &err));
    CHECK(bytes == 0);
    params.text_bytes = 0;
    params.messages = SIZE_MAX / 8;
    EXPECT(KGL_ERROR_ARGUMENT, kgl_tokenizer_plan(model, &params, &bytes, &err));
    kgl_model *bare = open_model("bare");
    EXPECT(KGL_ERROR_NO_TOKENIZER, kgl_tokenizer_new(bare, NULL, &none, &err));
    EXPECT(KGL_ERROR_NO_TOKENIZER, kgl_tokenizer_plan(bare, NULL, &bytes, &err));
    OK(kgl_model_free(&bare, &err));
    OK(kgl_tokenizer_free(&none, &err));
    OK(kgl_tokenizer_free(NULL, &err));
    kgl_tokenizer *wrong = (kgl_tokenizer *)(void *)(uintptr_t)model;
    EXPECT(KGL_ERROR_HANDLE, kgl_tokenizer_free(&wrong, &err));
}

// In the caller's memory there is room for what was planned; in the system's for any text.
static void in_memory(const kgl_model *model) {
    kgl_tokenizer_params params = kgl_tokenizer_params_default();
    params.text_bytes = 100;
    params.messages = 2;
    size_t needed;
    OK(kgl_tokenizer_plan(model, &params, &needed, &err));
    static char text[300000];
    memset(text, 'x', sizeof text - 1);
    kgl_token *tokens = malloc(sizeof text * sizeof *tokens);
    size_t count, bytes;
    for (size_t skip = 0; skip < 65; skip += 13) {
        unsigned char *memory = malloc(skip + needed + 1);
        memset(memory, 0xa5, skip + needed + 1);
        params.memory = memory + skip;
        params.memory_bytes = needed - 1;
        kgl_tokenizer *tokenizer;
        EXPECT(KGL_ERROR_TOO_SMALL, kgl_tokenizer_new(model, &params, &tokenizer, &err));
        params.memory_bytes = needed;
        OK(kgl_tokenizer_new(model, &params, &tokenizer, &err));
        OK(kgl_tokenize(tokenizer, text, 100, 0, tokens, 100, &count, &err));
        EXPECT(KGL_ERROR_TOO_LONG, kgl_tokenize(tokenizer, text, sizeof text - 1, 0, tokens, sizeof text, &count, &err));
        const kgl_message messages[] = {{KGL_ROLE_USER, "a", 1}, {KGL_ROLE_ASSISTANT, "b", 1}, {KGL_ROLE_USER, text, 90}};
        OK(kgl_chat_render(tokenizer, KGL_ROLE_NONE, messages, 2, KGL_CHAT_STOP, NULL, 0, &bytes, NULL) == KGL_ERROR_TOO_SMALL
               ? kgl_tokenizer_start(tokenizer, 0, &err)
               : KGL_ERROR_INTERNAL);
        EXPECT(KGL_ERROR_TOO_LONG, kgl_chat_render(tokenizer, KGL_ROLE_NONE, messages, 3, KGL_CHAT_STOP, NULL, 0, &bytes, &err));
        EXPECT(KGL_ERROR_TOO_LONG, kgl_chat_tokenize(tokenizer, KGL_ROLE_NONE, messages + 2, 1, KGL_CHAT_REPLY, NULL, 0, &count, &err));
        kgl_tokenizer *copy = tokenizer;
        OK(kgl_tokenizer_free(&tokenizer, &err));
        CHECK(tokenizer == NULL);
        EXPECT(KGL_ERROR_HANDLE, kgl_tokenizer_start(copy, 0, &err));
        CHECK(memory[skip + needed] == 0xa5);
        free(memory);
    }
    kgl_tokenizer *tokenizer = open_tokenizer(model);
    OK(kgl_tokenize(tokenizer, text, KGL_TERMINATED, 0, tokens, sizeof text, &count, &err));
    CHECK(count > 1000);
    // A long text that is not one word.
    uint64_t state = 3;
    for (size_t i = 0; i < sizeof text - 1; i++) {
        text[i] = (char)(next_random(&state) % 90 + 32);
    }
    OK(kgl_tokenize(tokenizer, text, KGL_TERMINATED, 0, tokens, sizeof text, &count, &err));
    char *out = malloc(sizeof text);
    OK(kgl_detokenize(tokenizer, tokens, count, 0, out, sizeof text, &bytes, &err));
    CHECK(bytes == sizeof text - 1 && memcmp(out, text, sizeof text) == 0);
    free(out);
    free(tokens);
    OK(kgl_tokenizer_free(&tokenizer, &err));
}

// A model with more rows than its tokenizer has tokens: the gap is tokens without text.
static void gap(void) {
    kgl_model *model = open_model("padded");
    kgl_tokenizer *tokenizer = open_tokenizer(model);
    kgl_tokenizer_info info = kgl_tokenizer_info_default();
    OK(kgl_tokenizer_get_info(tokenizer, &info, &err));
    CHECK(info.vocab == 272);
    kgl_token_info about = kgl_token_info_default();
    OK(kgl_token_get_info(tokenizer, 265, &about, &err));
    CHECK(about.kind == KGL_TOKEN_UNUSED && about.text_bytes == 0 && !about.is_end);
    const kgl_token tokens[] = {70, 265, 71};
    char text[16];
    size_t bytes;
    OK(kgl_detokenize(tokenizer, tokens, 3, KGL_TEXT_CONTINUES, text, sizeof text, &bytes, &err));
    CHECK(bytes == 2);
    kgl_sampler_params favour = kgl_sampler_params_default();
    const kgl_logit_bias unused = {265, 1000};
    favour.biases = &unused;
    favour.bias_count = 1;
    kgl_sampler *sampler;
    OK(kgl_sampler_new(model, &favour, &sampler, &err));
    kgl_session *session = open_session(model, 16);
    kgl_generation generation = kgl_generation_default();
    kgl_generate_params params = kgl_generate_params_default();
    params.max_tokens = 3;
    OK(kgl_generate(session, sampler, tokenizer, tokens, 3, &params, &generation, &err));
    CHECK(generation.end == KGL_END_LIMIT && generation.last == 265);
    OK(kgl_session_free(&session, &err));
    OK(kgl_sampler_free(&sampler, &err));
    OK(kgl_tokenizer_free(&tokenizer, &err));
    OK(kgl_model_free(&model, &err));
}

// A vocabulary that spells what it lacks by bytes: 3 to 258 are those, 259 is a space, 260 an a with an accent.
static void bytes_of_characters(void) {
    kgl_model *model = open_model("random");
    kgl_tokenizer *tokenizer = open_tokenizer(model);
    kgl_token_info about = kgl_token_info_default();
    OK(kgl_token_get_info(tokenizer, 3 + 0xe6, &about, &err));
    CHECK(about.kind == KGL_TOKEN_BYTE && about.text_bytes == 1 && memcmp(about.text, "\xe6", 1) == 0);
    OK(kgl_token_get_info(tokenizer, 260, &about, &err));
    CHECK(about.kind == KGL_TOKEN_NORMAL && about.text_bytes == 2 && memcmp(about.text, "\xc3\xa1", 2) == 0);
    const char *const text = "\xc3\xa1\xe6\xbc\xa2";
    const kgl_token expected[] = {261, 3 + 0xe6, 3 + 0xbc, 3 + 0xa2};
    kgl_token tokens[8];
    size_t count, bytes;
    OK(kgl_tokenize(tokenizer, text, KGL_TERMINATED, 0, tokens, 8, &count, &err));
    CHECK(count == 4 && memcmp(tokens, expected, sizeof expected) == 0);
    char out[16];
    OK(kgl_detokenize(tokenizer, tokens, count, 0, out, sizeof out, &bytes, &err));
    CHECK(strcmp(out, text) == 0);
    // In a stream a character is there when its bytes are decided: here, at the end of the text.
    size_t lengths[4];
    const char *piece;
    OK(kgl_tokenizer_start(tokenizer, 0, &err));
    for (size_t i = 0; i < 4; i++) {
        OK(kgl_tokenizer_push(tokenizer, tokens[i], &piece, &lengths[i], &err));
    }
    CHECK(lengths[0] == 2 && lengths[1] == 0 && lengths[2] == 0 && lengths[3] == 0);
    OK(kgl_tokenizer_finish(tokenizer, &piece, &bytes, &err));
    CHECK(bytes == 3 && strcmp(piece, "\xe6\xbc\xa2") == 0);
    OK(kgl_tokenizer_free(&tokenizer, &err));
    OK(kgl_model_free(&model, &err));
}

void test_texts(void) {
    kgl_model *model = open_model("tiny-q4");
    kgl_tokenizer *tokenizer = open_tokenizer(model);
    there_and_back(tokenizer);
    special(tokenizer);
    of_tokens(tokenizer, 1024);
    misused(model, tokenizer);
    in_memory(model);
    gap();
    bytes_of_characters();
    EXPECT(KGL_ERROR_IN_USE, kgl_model_free(&model, &err));
    OK(kgl_tokenizer_free(&tokenizer, &err));
    OK(kgl_model_free(&model, &err));
}
