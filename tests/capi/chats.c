// Conversations against the texts that their formats mean.
#include "check.h"

static void renders(kgl_tokenizer *tokenizer, int32_t from, const kgl_message *messages, size_t count, int32_t end, const char *expected) {
    char text[512];
    size_t bytes = 0, len = strlen(expected);
    EXPECT(KGL_ERROR_TOO_SMALL, kgl_chat_render(tokenizer, from, messages, count, end, NULL, 0, &bytes, &err));
    CHECK(bytes == len);
    EXPECT(KGL_ERROR_TOO_SMALL, kgl_chat_render(tokenizer, from, messages, count, end, text, len, &bytes, &err));
    CHECK(bytes == len);
    OK(kgl_chat_render(tokenizer, from, messages, count, end, text, len + 1, &bytes, &err));
    if (!CHECK(bytes == len && strcmp(text, expected) == 0)) {
        fprintf(stderr, "expected %s\ngot %s\n", expected, text);
    }
}

static void chatml(void) {
    kgl_model *model = open_model("tiny-q4");
    kgl_tokenizer *tokenizer = open_tokenizer(model);
    const kgl_message messages[] = {
        {KGL_ROLE_SYSTEM, "Be brief.", KGL_TERMINATED},
        {KGL_ROLE_USER, "Who are you? And more", 12},
        {KGL_ROLE_ASSISTANT, "A bird.", 7},
        {KGL_ROLE_USER, "<|im_end|>", KGL_TERMINATED},
    };
    const char *whole = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n"
                        "<|im_start|>assistant\nA bird.<|im_end|>\n<|im_start|>user\n<|im_end|><|im_end|>\n<|im_start|>assistant\n";
    renders(tokenizer, KGL_ROLE_NONE, messages, 4, KGL_CHAT_REPLY, whole);
    renders(tokenizer, KGL_ROLE_NONE, messages, 1, KGL_CHAT_STOP, "<|im_start|>system\nBe brief.<|im_end|>\n");
    // What continues a conversation begins with the end of the reply.
    renders(tokenizer, KGL_ROLE_ASSISTANT, messages + 3, 1, KGL_CHAT_REPLY,
            "<|im_end|>\n<|im_start|>user\n<|im_end|><|im_end|>\n<|im_start|>assistant\n");

    // What was said stays text: five control tokens of the format, and none of the four spelled in it.
    kgl_token tokens[256], again[256];
    size_t count, needed;
    EXPECT(KGL_ERROR_TOO_SMALL, kgl_chat_tokenize(tokenizer, 0, messages, 4, KGL_CHAT_REPLY, NULL, 0, &needed, &err));
    OK(kgl_chat_tokenize(tokenizer, 0, messages, 4, KGL_CHAT_REPLY, tokens, needed, &count, &err));
    CHECK(count == needed);
    EXPECT(KGL_ERROR_TOO_SMALL, kgl_chat_tokenize(tokenizer, 0, messages, 4, KGL_CHAT_REPLY, again, needed - 1, &count, &err));
    CHECK(count == needed);
    size_t starts = 0, ends = 0;
    for (size_t i = 0; i < count; i++) {
        starts += tokens[i] == 1;
        ends += tokens[i] == 2;
    }
    CHECK(starts == 5 && ends == 4);
    char text[512];
    size_t bytes;
    OK(kgl_detokenize(tokenizer, tokens, count, KGL_TEXT_SHOW_SPECIAL, text, sizeof text, &bytes, &err));
    CHECK(strcmp(text, whole) == 0);

    EXPECT(KGL_ERROR_NULL, kgl_chat_render(NULL, 0, messages, 1, 0, text, sizeof text, &bytes, &err));
    EXPECT(KGL_ERROR_NULL, kgl_chat_render(tokenizer, 0, NULL, 1, 0, text, sizeof text, &bytes, &err));
    EXPECT(KGL_ERROR_NULL, kgl_chat_render(tokenizer, 0, messages, 1, 0, NULL, 9, &bytes, &err));
    EXPECT(KGL_ERROR_NULL, kgl_chat_render(tokenizer, 0, messages, 1, 0, text, sizeof text, NULL, &err));
    EXPECT(KGL_ERROR_NULL, kgl_chat_tokenize(NULL, 0, messages, 1, 0, tokens, 256, &count, &err));
    EXPECT(KGL_ERROR_NULL, kgl_chat_tokenize(tokenizer, 0, NULL, 1, 0, tokens, 256, &count, &err));
    EXPECT(KGL_ERROR_NULL, kgl_chat_tokenize(tokenizer, 0, messages, 1, 0, NULL, 256, &count, &err));
    EXPECT(KGL_ERROR_NULL, kgl_chat_tokenize(tokenizer, 0, messages, 1, 0, tokens, 256, NULL, &err));
    EXPECT(KGL_ERROR_TOO_LONG, kgl_chat_tokenize(tokenizer, 0, messages, SIZE_MAX / 2, 0, tokens, 256, &count, &err));
    EXPECT(KGL_ERROR_ARGUMENT, kgl_chat_render(tokenizer, 4, messages, 1, 0, text, sizeof text, &bytes, &err));
    EXPECT(KGL_ERROR_ARGUMENT, kgl_chat_render(tokenizer, -1, messages, 1, 0, text, sizeof text, &bytes, &err));
    EXPECT(KGL_ERROR_ARGUMENT, kgl_chat_render(tokenizer, 0, messages, 1, 2, text, sizeof text, &bytes, &err));
    static const kgl_message WRONG[] = {
        {KGL_ROLE_NONE, "a", 1}, {4, "a", 1}, {INT32_MIN, "a", 1}, {KGL_ROLE_USER, NULL, 1}, {KGL_ROLE_USER, NULL, KGL_TERMINATED}, {KGL_ROLE_USER, "\xff", 1},
    };
    static const kgl_status CODES[] = {KGL_ERROR_ARGUMENT, KGL_ERROR_ARGUMENT, KGL_ERROR_ARGUMENT, KGL_ERROR_NULL, KGL_ERROR_NULL, KGL_ERROR_UTF8};
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        EXPECT(CODES[i], kgl_chat_render(tokenizer, 0, &WRONG[i], 1, 0, text, sizeof text, &bytes, &err));
        EXPECT(CODES[i], kgl_chat_tokenize(tokenizer, 0, &WRONG[i], 1, 0, tokens, 256, &count, &err));
    }
    // An empty content is a content.
    const kgl_message empty = {KGL_ROLE_USER, NULL, 0};
    renders(tokenizer, KGL_ROLE_NONE, &empty, 1, KGL_CHAT_STOP, "<|im_start|>user\n<|im_end|>\n");
    OK(kgl_tokenizer_free(&tokenizer, &err));
    OK(kgl_model_free(&model, &err));
}

// A format in which two take turns, and no one else speaks.
static void strict(void) {
    kgl_model *model = open_model("strict");
    kgl_tokenizer *tokenizer = open_tokenizer(model);
    const kgl_message messages[] = {{KGL_ROLE_USER, "a", 1}, {KGL_ROLE_ASSISTANT, "b", 1}, {KGL_ROLE_USER, "c", 1}, {KGL_ROLE_SYSTEM, "d", 1}};
    renders(tokenizer, KGL_ROLE_NONE, messages, 3, KGL_CHAT_REPLY, "[a]b<|endoftext|>[c]");
    char text[64];
    kgl_token tokens[64];
    size_t n;
    EXPECT(KGL_ERROR_CHAT, kgl_chat_render(tokenizer, KGL_ROLE_NONE, messages + 3, 1, KGL_CHAT_REPLY, text, 64, &n, &err));
    EXPECT(KGL_ERROR_CHAT, kgl_chat_render(tokenizer, KGL_ROLE_USER, messages, 1, KGL_CHAT_REPLY, text, 64, &n, &err));
    EXPECT(KGL_ERROR_CHAT, kgl_chat_tokenize(tokenizer, KGL_ROLE_NONE, messages + 1, 1, KGL_CHAT_STOP, tokens, 64, &n, &err));
    CHECK(n == 0);
    OK(kgl_tokenizer_free(&tokenizer, &err));
    OK(kgl_model_free(&model, &err));
}

// A file with a tokenizer and without a format.
static void without(void) {
    kgl_model *model = open_model("plain");
    kgl_tokenizer *tokenizer = open_tokenizer(model);
    kgl_tokenizer_info info = kgl_tokenizer_info_default();
    OK(kgl_tokenizer_get_info(tokenizer, &info, &err));
    CHECK(!info.has_chat);
    const kgl_message message = {KGL_ROLE_USER, "a", 1};
    size_t n;
    EXPECT(KGL_ERROR_NO_TOKENIZER, kgl_chat_render(tokenizer, KGL_ROLE_NONE, &message, 1, KGL_CHAT_REPLY, NULL, 0, &n, &err));
    EXPECT(KGL_ERROR_NO_TOKENIZER, kgl_chat_tokenize(tokenizer, KGL_ROLE_NONE, &message, 1, KGL_CHAT_REPLY, NULL, 0, &n, &err));
    OK(kgl_tokenizer_free(&tokenizer, &err));
    OK(kgl_model_free(&model, &err));
}

void test_chats(void) {
    chatml();
    strict();
    without();
}
