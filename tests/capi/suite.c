// The calls of kinglet.h, used well and used wrongly.
//
//     suite MODELS q4=HASH q8=HASH [stride=N] [limits=0] [only=logits]
//
// MODELS has tiny-q4, tiny-q8, window, positions, strict, plain, padded and bare, each a .kgl file; `cargo xtask ctests` makes them.
#include "check.h"

// What no call here brings about, and why.
static const struct {
    kgl_status status;
    const char *reason;
} NEVER[] = {
    {KGL_ERROR_UNSUPPORTED, "only the flavour without an operating system lacks anything: core.c has it"},
    {KGL_ERROR_INTERNAL, "a mistake in the library; none is known"},
    {KGL_ERROR_THREADS, "needs a limit of the system's (limits=0 was given)"},
};

static bool may_be_missing(kgl_status status) {
    for (size_t i = 0; i < sizeof NEVER / sizeof NEVER[0]; i++) {
        if (NEVER[i].status == status) {
            return status != KGL_ERROR_THREADS || !options.limits;
        }
    }
    return false;
}

static const struct {
    const char *name;
    void (*run)(void);
} TESTS[] = {
    {"library", test_library},       {"models", test_models},       {"damage", test_damage},         {"sessions", test_sessions},
    {"states", test_states},         {"callbacks", test_callbacks}, {"texts", test_texts},           {"chats", test_chats},
    {"samplers", test_samplers},     {"generation", test_generation}, {"threads", test_threads},     {"logits", test_logits},
};

static bool option(const char *argument) {
    char name[16], value[64];
    if (sscanf(argument, "%15[a-z0-9]=%63s", name, value) != 2) {
        return false;
    }
    if (strcmp(name, "q4") == 0) {
        options.q4 = strtoull(value, NULL, 16);
    } else if (strcmp(name, "q8") == 0) {
        options.q8 = strtoull(value, NULL, 16);
    } else if (strcmp(name, "stride") == 0) {
        options.stride = strtoull(value, NULL, 10);
    } else if (strcmp(name, "limits") == 0) {
        options.limits = strcmp(value, "0") != 0;
    } else if (strcmp(name, "only") == 0) {
        options.logits = strcmp(value, "logits") == 0;
        return options.logits;
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    err = kgl_error_default();
    options.limits = true;
    bool understood = argc >= 2;
    for (int i = 2; i < argc; i++) {
        understood = option(argv[i]) && understood;
    }
    if (!understood || options.q4 == 0 || options.q8 == 0 || options.stride == 0) {
        fprintf(stderr, "usage: suite MODELS q4=HASH q8=HASH [stride=N] [limits=0] [only=logits]\n");
        return 2;
    }
    options.models = argv[1];
    size_t count = 0;
    for (size_t i = 0; i < sizeof TESTS / sizeof TESTS[0]; i++) {
        if (options.logits && TESTS[i].run != test_logits) {
            continue;
        }
        const size_t before = checks;
        TESTS[i].run();
        printf("%-10s %6zu checks\n", TESTS[i].name, checks - before);
        count += 1;
    }
    if (!options.logits) {
        for (int32_t status = 0; status < STATUSES; status++) {
            if (seen[status] == 0 && CHECK(may_be_missing((kgl_status)status))) {
                for (size_t i = 0; i < sizeof NEVER / sizeof NEVER[0]; i++) {
                    if ((int32_t)NEVER[i].status == status) {
                        printf("never came: %d, %s: %s\n", (int)status, kgl_strerror(status), NEVER[i].reason);
                    }
                }
            }
        }
    }
    printf("suite: %zu checks in %zu tests, %zu failed, kernels %s\n", checks, count, failures, kgl_isa_name((int32_t)kgl_isa_best()));
    return failures == 0 ? 0 : 1;
}
