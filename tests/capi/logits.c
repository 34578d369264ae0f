// The bits that every machine computes: the tiny model at both types, on each instruction set, for one and several threads.
#include "check.h"

static uint64_t hash_of(const kgl_model *model, int32_t isa, size_t threads, size_t batch) {
    kgl_session_params params = kgl_session_params_default();
    params.context = 256;
    params.batch = batch;
    params.threads = threads;
    params.isa = isa;
    kgl_session *session;
    OK(kgl_session_new(model, &params, &session, &err));
    kgl_session_info info = kgl_session_info_default();
    OK(kgl_session_get_info(session, &info, &err));
    CHECK(info.isa == (kgl_isa)(isa & ~KGL_ISA_ASSUMED) && (threads == 0 || info.threads == threads));
    run_tokens(session, 0, 200, 1024);
    const uint64_t hash = logits_hash(session);
    OK(kgl_session_free(&session, &err));
    return hash;
}

void test_logits(void) {
    static const char *const NAMES[] = {"tiny-q4", "tiny-q8"};
    const uint64_t expected[] = {options.q4, options.q8};
    for (size_t i = 0; i < 2; i++) {
        kgl_model *model = open_model(NAMES[i]);
        for (int32_t isa = KGL_ISA_SCALAR; isa <= KGL_ISA_I8MM; isa++) {
            if (!kgl_isa_available(isa)) {
                continue;
            }
            // The scalar kernels are slow; they have the shortest list.
            static const size_t WAYS[][2] = {{1, 128}, {2, 7}, {3, 200}, {0, 64}};
            const size_t ways = isa == KGL_ISA_SCALAR ? 2 : 4;
            for (size_t way = 0; way < ways; way++) {
                const uint64_t hash = hash_of(model, isa, WAYS[way][0], WAYS[way][1]);
                if (!CHECK(hash == expected[i])) {
                    fprintf(stderr, "%s on %s: expected %016llx, got %016llx\n", NAMES[i], kgl_isa_name(isa),
                            (unsigned long long)expected[i], (unsigned long long)hash);
                }
            }
            const uint64_t hash = hash_of(model, isa | KGL_ISA_ASSUMED, 1, 128);
            CHECK(hash == expected[i]);
            printf("logits %016llx of %s on %s, %zu ways and assumed\n", (unsigned long long)hash, NAMES[i], kgl_isa_name(isa), ways);
        }
        OK(kgl_model_free(&model, &err));
    }
}
