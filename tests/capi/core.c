// The flavour without an operating system, on one: what it lacks is told, and it computes the same.
//
//     core MODEL HASH ISA      ISA: a set that this machine has
#include "check.h"

static void *room(size_t bytes) {
    void *memory = malloc(bytes);
    if (memory == NULL) {
        exit(1);
    }
    memset(memory, 0x5a, bytes);
    return memory;
}

int main(int argc, char **argv) {
    err = kgl_error_default();
    if (argc != 4) {
        fprintf(stderr, "usage: core MODEL HASH ISA\n");
        return 2;
    }
    CHECK((kgl_features() & KGL_FEATURE_STD) == 0);
    kgl_model *model;
    EXPECT(KGL_ERROR_UNSUPPORTED, kgl_model_open(argv[1], NULL, &model, &err));
    struct bytes file = file_bytes(argv[1]);
    EXPECT(KGL_ERROR_MEMORY, kgl_model_from_memory(file.data, file.len, NULL, &model, &err));
    kgl_model_params how = kgl_model_params_default();
    how.memory_bytes = kgl_model_bytes();
    how.memory = room(how.memory_bytes);
    OK(kgl_model_from_memory(file.data, file.len, &how, &model, &err));

    kgl_tokenizer *tokenizer;
    EXPECT(KGL_ERROR_MEMORY, kgl_tokenizer_new(model, NULL, &tokenizer, &err));
    kgl_tokenizer_params texts = kgl_tokenizer_params_default();
    texts.text_bytes = 200;
    OK(kgl_tokenizer_plan(model, &texts, &texts.memory_bytes, &err));
    texts.memory = room(texts.memory_bytes);
    OK(kgl_tokenizer_new(model, &texts, &tokenizer, &err));
    kgl_token tokens[64];
    char text[64];
    size_t count, bytes;
    OK(kgl_tokenize(tokenizer, "It was a truth", KGL_TERMINATED, 0, tokens, 64, &count, &err));
    OK(kgl_detokenize(tokenizer, tokens, count, 0, text, sizeof text, &bytes, &err));
    CHECK(strcmp(text, "It was a truth") == 0);

    kgl_sampler *sampler;
    EXPECT(KGL_ERROR_MEMORY, kgl_sampler_new(model, NULL, &sampler, &err));
    kgl_sampler_params choice = kgl_sampler_params_default();
    OK(kgl_sampler_plan(model, &choice, &choice.memory_bytes, &err));
    choice.memory = room(choice.memory_bytes);
    OK(kgl_sampler_new(model, &choice, &sampler, &err));

    kgl_session_params params = kgl_session_params_default();
    params.context = 256;
    params.threads = 8;
    kgl_plan_info plan = kgl_plan_info_default();
    OK(kgl_plan(model, &params, &plan, &err));
    kgl_session *session;
    EXPECT(KGL_ERROR_MEMORY, kgl_session_new(model, &params, &session, &err));
    params.memory_bytes = plan.memory_bytes;
    params.memory = room(plan.memory_bytes);
    OK(kgl_session_new(model, &params, &session, &err));
    kgl_session_info info = kgl_session_info_default();
    OK(kgl_session_get_info(session, &info, &err));
    CHECK(info.threads == 1);
    run_tokens(session, 0, 200, 1024);
    const uint64_t hash = logits_hash(session);
    CHECK(hash == strtoull(argv[2], NULL, 16));
    kgl_token token;
    OK(kgl_sampler_sample(sampler, session, &token, &err));
    OK(kgl_session_free(&session, &err));
    // A set that nobody can be asked about, on this program's word.
    int32_t isa = 1;
    while (kgl_isa_name(isa) != NULL && strcmp(kgl_isa_name(isa), argv[3]) != 0) {
        isa += 1;
    }
    params.isa = isa | KGL_ISA_ASSUMED;
    OK(kgl_session_new(model, &params, &session, &err));
    OK(kgl_session_get_info(session, &info, &err));
    CHECK((int32_t)info.isa == isa);
    run_tokens(session, 0, 200, 1024);
    CHECK(logits_hash(session) == hash);
    OK(kgl_session_truncate(session, 0, &err));
    kgl_generate_params generate = kgl_generate_params_default();
    generate.max_tokens = 5;
    OK(kgl_generate(session, sampler, tokenizer, tokens, count, &generate, NULL, &err));
    OK(kgl_session_free(&session, &err));
    OK(kgl_sampler_free(&sampler, &err));
    OK(kgl_tokenizer_free(&tokenizer, &err));
    OK(kgl_model_free(&model, &err));
    free(params.memory);
    free(choice.memory);
    free(texts.memory);
    free(how.memory);
    free(file.data);
    printf("core: %zu checks, %zu failed, logits %016llx, kernels %s\n", checks, failures, (unsigned long long)hash,
           kgl_isa_name((int32_t)info.isa));
    return failures == 0 ? 0 : 1;
}
