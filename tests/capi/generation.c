// Generation: the text of the callback, how a text ends, what is refused.
#include "check.h"

struct sink {
    char text[4096];
    size_t bytes, calls;
    kgl_token tokens[512];
    size_t count;
};

static int32_t keep(void *user, kgl_token token, const char *text, size_t bytes) {
    struct sink *sink = user;
    sink->calls += 1;
    if (sink->bytes + bytes < sizeof sink->text) {
        memcpy(sink->text + sink->bytes, text, bytes + 1);
        sink->bytes += bytes;
    }
    if (token != KGL_TOKEN_NONE && sink->count < 512) {
        sink->tokens[sink->count++] = token;
    }
    return 0;
}

static const char PROMPT[] = "It was a truth universally acknowledged, that";

struct talk {
    kgl_session *session;
    kgl_tokenizer *tokenizer;
    kgl_token prompt[64];
    size_t count;
};

static kgl_generation generate(struct talk *talk, kgl_sampler *sampler, const kgl_generate_params *params) {
    kgl_generation generation = kgl_generation_default();
    OK(kgl_session_truncate(talk->session, 0, &err));
    OK(kgl_generate(talk->session, sampler, talk->tokenizer, talk->prompt, talk->count, params, &generation, &err));
    return generation;
}

static void ends(const kgl_model *model, struct talk *talk) {
    struct sink greedy = {.bytes = 0};
    kgl_generate_params params = kgl_generate_params_default();
    params.max_tokens = 40;
    params.text = keep;
    params.text_user = &greedy;
    kgl_generation generation = generate(talk, NULL, &params);
    CHECK(generation.end == KGL_END_LIMIT && generation.tokens == 40 && greedy.count == 40 && generation.last == greedy.tokens[39]);

    // The same, by hand.
    OK(kgl_session_truncate(talk->session, 0, &err));
    OK(kgl_session_prefill(talk->session, talk->prompt, talk->count, &err));
    for (size_t i = 0; i < 40; i++) {
        const float *logits;
        size_t count;
        OK(kgl_session_logits(talk->session, &logits, &count, &err));
        kgl_token best = 0;
        for (kgl_token token = 1; token < count; token++) {
            best = logits[token] > logits[best] ? token : best;
        }
        CHECK(best == greedy.tokens[i]);
        OK(kgl_session_decode(talk->session, best, &err));
    }
    char text[4096];
    size_t bytes;
    OK(kgl_detokenize(talk->tokenizer, greedy.tokens, 40, KGL_TEXT_CONTINUES, text, sizeof text, &bytes, &err));
    CHECK(strcmp(text, greedy.text) == 0 && bytes > 40);

    // A stop text is no part of the text; what might have been one comes late, and comes.
    char stop[16] = {0};
    memcpy(stop, greedy.text + 30, 5);
    const char *const stops[] = {"never in it", "", stop};
    struct sink stopped = {.bytes = 0};
    params.text_user = &stopped;
    params.stops = stops;
    params.stop_count = 3;
    generation = generate(talk, NULL, &params);
    const char *at = strstr(greedy.text, stop);
    CHECK(generation.end == KGL_END_STOP && generation.stop == 2 && generation.tokens < 40);
    CHECK(at != NULL && stopped.bytes == (size_t)(at - greedy.text) && memcmp(stopped.text, greedy.text, stopped.bytes) == 0);
    char almost[KGL_STOP_BYTES + 2] = {0};
    memcpy(almost, greedy.text + greedy.bytes - 3, 3);
    almost[3] = 0x7f;
    const char *const held[] = {almost};
    struct sink late = {.bytes = 0};
    params.text_user = &late;
    params.stops = held;
    params.stop_count = 1;
    generation = generate(talk, NULL, &params);
    CHECK(generation.end == KGL_END_LIMIT && strcmp(late.text, greedy.text) == 0 && late.calls == 41);

    // Until the context is full; without a callback.
    params = kgl_generate_params_default();
    generation = generate(talk, NULL, &params);
    kgl_session_info info = kgl_session_info_default();
    OK(kgl_session_get_info(talk->session, &info, &err));
    CHECK(generation.end == KGL_END_TOKEN || (generation.end == KGL_END_CONTEXT && info.position == info.context));
    OK(kgl_session_truncate(talk->session, 0, &err));
    OK(kgl_generate(talk->session, NULL, talk->tokenizer, talk->prompt, talk->count, NULL, NULL, &err));

    // A seed means the same text.
    kgl_sampler *sampler = open_sampler(model, 4);
    struct sink a = {.bytes = 0}, b = {.bytes = 0};
    params.max_tokens = 50;
    params.text = keep;
    params.text_user = &a;
    generate(talk, sampler, &params);
    OK(kgl_sampler_reset(sampler, &err));
    params.text_user = &b;
    generate(talk, sampler, &params);
    CHECK(a.bytes > 0 && strcmp(a.text, b.text) == 0 && strcmp(a.text, greedy.text) != 0);
    OK(kgl_sampler_free(&sampler, &err));

    // A token that ends a text: made the most probable by a bias.
    kgl_sampler_params favour = kgl_sampler_params_default();
    const kgl_logit_bias end = {0, 1000};
    favour.biases = &end;
    favour.bias_count = 1;
    OK(kgl_sampler_new(model, &favour, &sampler, &err));
    generation = generate(talk, sampler, &params);
    CHECK(generation.end == KGL_END_TOKEN && generation.tokens == 1 && generation.last == 0);
    OK(kgl_sampler_free(&sampler, &err));
}

// Bytes of characters that never become whole: what is held back comes at the end.
static void unfinished(const kgl_model *model, struct talk *talk) {
    kgl_token bird[8];
    size_t count;
    OK(kgl_tokenize(talk->tokenizer, "\xf0\x9f\x90\xa6", 4, 0, bird, 8, &count, &err));
    kgl_sampler_params favour = kgl_sampler_params_default();
    const kgl_logit_bias first = {bird[0], 1000};
    favour.biases = &first;
    favour.bias_count = 1;
    kgl_sampler *sampler;
    OK(kgl_sampler_new(model, &favour, &sampler, &err));
    struct sink sink = {.bytes = 0};
    kgl_generate_params params = kgl_generate_params_default();
    params.max_tokens = 1;
    params.text = keep;
    params.text_user = &sink;
    const char *const stops[] = {"\xef\xbf\xbd\xef\xbf\xbd"};
    params.stops = stops;
    params.stop_count = 1;
    generate(talk, sampler, &params);
    CHECK(sink.calls == 2 && strcmp(sink.text, "\xef\xbf\xbd") == 0);
    OK(kgl_sampler_free(&sampler, &err));
}

// A text that is made in parts is the one that is made at once, penalties included: what was chosen and not run counts once.
static void in_parts(const kgl_model *model, struct talk *talk) {
    kgl_sampler_params how = kgl_sampler_params_default();
    how.frequency_penalty = 2;
    how.repeat_penalty = 1.2f;
    how.seed = 5;
    for (int greedy = 0; greedy < 2; greedy++) {
        how.temperature = greedy ? 0.0f : 0.8f;
        kgl_sampler *sampler;
        OK(kgl_sampler_new(model, &how, &sampler, &err));
        struct sink whole = {.bytes = 0}, parts = {.bytes = 0};
        kgl_generate_params params = kgl_generate_params_default();
        params.max_tokens = 48;
        params.text = keep;
        params.text_user = &whole;
        CHECK(generate(talk, sampler, &params).tokens == 48);
        OK(kgl_sampler_reset(sampler, &err));
        params.max_tokens = 8;
        params.text_user = &parts;
        kgl_generation part = generate(talk, sampler, &params);
        for (int i = 1; i < 6; i++) {
            const kgl_token last = part.last;
            OK(kgl_generate(talk->session, sampler, talk->tokenizer, &last, 1, &params, &part, &err));
        }
        CHECK(whole.count == 48 && parts.count == 48 && memcmp(whole.tokens, parts.tokens, 48 * sizeof *whole.tokens) == 0);
        OK(kgl_sampler_free(&sampler, &err));
    }
}

static void misused(const kgl_model *model, struct talk *talk) {
    kgl_session *session = talk->session;
    kgl_tokenizer *tokenizer = talk->tokenizer;
    const kgl_token *prompt = talk->prompt;
    const size_t count = talk->count;
    kgl_sampler *sampler = open_sampler(model, 1);
    kgl_generate_params params = kgl_generate_params_default();
    params.max_tokens = 3;
    kgl_generation out = kgl_generation_default();
    OK(kgl_session_truncate(session, 0, &err));
    EXPECT(KGL_ERROR_NULL, kgl_generate(NULL, sampler, tokenizer, prompt, count, &params, &out, &err));
    EXPECT(KGL_ERROR_NULL, kgl_generate(session, sampler, NULL, prompt, count, &params, &out, &err));
    EXPECT(KGL_ERROR_NULL, kgl_generate(session, sampler, tokenizer, NULL, count, &params, &out, &err));
    EXPECT(KGL_ERROR_HANDLE, kgl_generate(session, (kgl_sampler *)(void *)tokenizer, tokenizer, prompt, count, &params, &out, &err));
    EXPECT(KGL_ERROR_HANDLE, kgl_generate(session, sampler, (kgl_tokenizer *)(void *)sampler, prompt, count, &params, &out, &err));
    EXPECT(KGL_ERROR_TOKEN, kgl_generate(session, sampler, tokenizer, prompt, 0, &params, &out, &err));
    const kgl_token beyond = 1024;
    EXPECT(KGL_ERROR_TOKEN, kgl_generate(session, sampler, tokenizer, &beyond, 1, &params, &out, &err));
    out.size = 1;
    EXPECT(KGL_ERROR_SIZE, kgl_generate(session, sampler, tokenizer, prompt, count, &params, &out, &err));
    out = kgl_generation_default();
    params.size = 1;
    EXPECT(KGL_ERROR_SIZE, kgl_generate(session, sampler, tokenizer, prompt, count, &params, &out, &err));
    params = kgl_generate_params_default();
    params.stop_count = 1;
    EXPECT(KGL_ERROR_NULL, kgl_generate(session, sampler, tokenizer, prompt, count, &params, &out, &err));
    const char *many[KGL_STOPS + 1];
    for (size_t i = 0; i <= KGL_STOPS; i++) {
        many[i] = "x";
    }
    params.stops = many;
    params.stop_count = KGL_STOPS + 1;
    EXPECT(KGL_ERROR_TOO_LONG, kgl_generate(session, sampler, tokenizer, prompt, count, &params, &out, &err));
    params.stop_count = 1;
    many[0] = NULL;
    EXPECT(KGL_ERROR_NULL, kgl_generate(session, sampler, tokenizer, prompt, count, &params, &out, &err));
    many[0] = "\xff";
    EXPECT(KGL_ERROR_UTF8, kgl_generate(session, sampler, tokenizer, prompt, count, &params, &out, &err));
    char longest[KGL_STOP_BYTES + 2] = {0};
    memset(longest, 'y', KGL_STOP_BYTES + 1);
    many[0] = longest;
    EXPECT(KGL_ERROR_TOO_LONG, kgl_generate(session, sampler, tokenizer, prompt, count, &params, &out, &err));
    kgl_session_info info = kgl_session_info_default();
    OK(kgl_session_get_info(session, &info, &err));
    CHECK(info.position == 0);
    longest[KGL_STOP_BYTES] = 0;
    params.max_tokens = 3;
    OK(kgl_generate(session, sampler, tokenizer, prompt, count, &params, &out, &err));

    // Objects of different models: an error, or tokens that mean nothing, but nothing worse.
    kgl_model *other = open_model("strict");
    kgl_tokenizer *foreign = open_tokenizer(other);
    kgl_sampler *narrow = open_sampler(other, 1);
    params = kgl_generate_params_default();
    EXPECT(KGL_ERROR_TOKEN, kgl_generate(session, sampler, foreign, prompt, count, &params, &out, &err));
    OK(kgl_session_truncate(session, 0, &err));
    EXPECT(KGL_ERROR_ARGUMENT, kgl_generate(session, narrow, tokenizer, prompt, count, &params, &out, &err));
    OK(kgl_sampler_free(&narrow, &err));
    OK(kgl_tokenizer_free(&foreign, &err));
    OK(kgl_model_free(&other, &err));
    // A prompt that does not fit, and one that just fits: its last logits give one token.
    kgl_session *small = open_session(model, count);
    params.max_tokens = 0;
    OK(kgl_generate(small, NULL, tokenizer, prompt, count, &params, &out, &err));
    CHECK(out.tokens == 1 && (out.end == KGL_END_CONTEXT || out.end == KGL_END_TOKEN));
    EXPECT(KGL_ERROR_CONTEXT_FULL, kgl_generate(small, NULL, tokenizer, prompt, count, &params, &out, &err));
    OK(kgl_session_free(&small, &err));
    OK(kgl_sampler_free(&sampler, &err));
}

void test_generation(void) {
    kgl_model *model = open_model("tiny-q4");
    struct talk talk = {.session = open_session(model, 128), .tokenizer = open_tokenizer(model)};
    OK(kgl_tokenize(talk.tokenizer, PROMPT, KGL_TERMINATED, KGL_TEXT_ADD_SPECIAL, talk.prompt, 64, &talk.count, &err));
    ends(model, &talk);
    unfinished(model, &talk);
    in_parts(model, &talk);
    misused(model, &talk);
    OK(kgl_session_free(&talk.session, &err));
    OK(kgl_tokenizer_free(&talk.tokenizer, &err));
    OK(kgl_model_free(&model, &err));
}
