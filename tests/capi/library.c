// What needs no object: versions, codes, instruction sets, the sizes of structs.
#include "check.h"

static void versions(void) {
    char text[32];
    CHECK(kgl_version() == KGL_VERSION);
    snprintf(text, sizeof text, "%d.%d.%d", KGL_VERSION_MAJOR, KGL_VERSION_MINOR, KGL_VERSION_PATCH);
    CHECK(strcmp(kgl_version_string(), text) == 0);
    CHECK(kgl_features() == KGL_FEATURE_STD);
}

static void codes(void) {
    const char *unknown = kgl_strerror(-1);
    CHECK(strcmp(kgl_strerror(STATUSES), unknown) == 0 && strcmp(kgl_strerror(INT32_MAX), unknown) == 0);
    for (int32_t a = 0; a < STATUSES; a++) {
        CHECK(strlen(kgl_strerror(a)) > 0 && strcmp(kgl_strerror(a), unknown) != 0);
        for (int32_t b = 0; b < a; b++) {
            CHECK(strcmp(kgl_strerror(a), kgl_strerror(b)) != 0);
        }
    }
}

static void errors(void) {
    kgl_error fresh = kgl_error_default();
    CHECK(fresh.size == sizeof fresh && fresh.status == KGL_OK && fresh.text[0] == 0);
    kgl_model *model = NULL;
    // Nothing is written behind what a struct of another size would have.
    kgl_error other = kgl_error_default();
    other.size = 16;
    memset(other.text, 'x', sizeof other.text);
    CHECK(kgl_model_open("nowhere.kgl", NULL, &model, &other) == KGL_ERROR_FILE);
    CHECK(other.status == KGL_OK && other.text[0] == 'x' && other.text[sizeof other.text - 1] == 'x');
    // A long sentence leaves out whole characters of its middle, wherever the cuts fall, and keeps the reason at its end.
    for (size_t shift = 0; shift < 4; shift++) {
        char path[512] = "abc";
        size_t len = shift;
        while (len + 4 < 400) {
            memcpy(path + len, "\xf0\x9f\x90\xa6", 4);
            len += 4;
        }
        path[len] = 0;
        EXPECT(KGL_ERROR_FILE, kgl_model_open(path, NULL, &model, &err));
        const size_t len_of_text = strlen(err.text);
        const char *gap = strstr(err.text, "...");
        CHECK(len_of_text > sizeof err.text - 9 && len_of_text < sizeof err.text);
        CHECK(gap != NULL && ((size_t)(gap - err.text) - shift) % 4 == 0 && memcmp(gap + 3, "\xf0\x9f\x90\xa6", 4) == 0);
        CHECK(strcmp(err.text + len_of_text - 13, "(os error 36)") == 0);
    }
    // A success wipes what was said before.
    model = open_model("bare");
    CHECK(err.text[0] == 0);
    OK(kgl_model_free(&model, &err));
}

static void instruction_sets(void) {
    static const char *const NAMES[] = {"best", "scalar", "avx2", "avxvnni", "avx512", "neon", "dotprod", "i8mm"};
    const int32_t count = sizeof NAMES / sizeof NAMES[0];
    for (int32_t isa = 0; isa < count; isa++) {
        CHECK(strcmp(kgl_isa_name(isa), NAMES[isa]) == 0);
        CHECK(kgl_isa_name(isa | KGL_ISA_ASSUMED) == NULL);
        CHECK(!kgl_isa_available(isa | KGL_ISA_ASSUMED));
    }
    CHECK(kgl_isa_name(count) == NULL && kgl_isa_name(-1) == NULL);
    CHECK(!kgl_isa_available(count) && !kgl_isa_available(-1) && !kgl_isa_available(INT32_MIN));
    CHECK(kgl_isa_available(KGL_ISA_BEST) && kgl_isa_available(KGL_ISA_SCALAR));
    const int32_t best = (int32_t)kgl_isa_best();
    CHECK(best != KGL_ISA_BEST && kgl_isa_available(best));
    CHECK(!kgl_isa_available(KGL_ISA_AVX2) || !kgl_isa_available(KGL_ISA_NEON));
}

static void sizes(void) {
    CHECK(kgl_model_params_default().size == sizeof(kgl_model_params));
    CHECK(kgl_model_info_default().size == sizeof(kgl_model_info));
    CHECK(kgl_session_params_default().size == sizeof(kgl_session_params));
    CHECK(kgl_plan_info_default().size == sizeof(kgl_plan_info));
    CHECK(kgl_session_info_default().size == sizeof(kgl_session_info));
    CHECK(kgl_tokenizer_params_default().size == sizeof(kgl_tokenizer_params));
    CHECK(kgl_tokenizer_info_default().size == sizeof(kgl_tokenizer_info));
    CHECK(kgl_token_info_default().size == sizeof(kgl_token_info));
    CHECK(kgl_sampler_params_default().size == sizeof(kgl_sampler_params));
    CHECK(kgl_generate_params_default().size == sizeof(kgl_generate_params));
    CHECK(kgl_generation_default().size == sizeof(kgl_generation));
    const kgl_session_params session = kgl_session_params_default();
    CHECK(session.batch == 128 && session.isa == KGL_ISA_BEST && session.run == NULL && session.memory == NULL);
    const kgl_sampler_params sampler = kgl_sampler_params_default();
    CHECK(sampler.temperature == 0.8f && sampler.top_k == 40 && sampler.seed == 0 && sampler.biases == NULL);
    CHECK(kgl_token_info_default().text == NULL && kgl_tokenizer_info_default().begin == KGL_TOKEN_NONE);
    CHECK(kgl_generation_default().last == KGL_TOKEN_NONE && kgl_model_info_default().vocab == 0);
}

void test_library(void) {
    versions();
    codes();
    errors();
    instruction_sets();
    sizes();
}
