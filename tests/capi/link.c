/* Calls a few functions of a library that was just linked: it must be of the header's version and have the features that are expected.
 * Its one argument is the sum of the features, as a number. */
#include <kinglet.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "expected the sum of features\n");
        return 2;
    }
    const uint32_t features = (uint32_t)strtoul(argv[1], NULL, 10);
    if (kgl_version() != KGL_VERSION || kgl_features() != features) {
        fprintf(stderr, "expected version %#x and features %u, got %#x and %u\n", (unsigned)KGL_VERSION, (unsigned)features,
                (unsigned)kgl_version(), (unsigned)kgl_features());
        return 1;
    }
    kgl_error error = kgl_error_default();
    kgl_model *model = NULL;
    const kgl_status status = kgl_model_open("no/such.kgl", NULL, &model, &error);
    const kgl_status expected = (features & KGL_FEATURE_STD) != 0 ? KGL_ERROR_FILE : KGL_ERROR_UNSUPPORTED;
    if (status != expected || error.status != expected || model != NULL || error.text[0] == 0) {
        fprintf(stderr, "expected status %d, got %d: %s\n", (int)expected, (int)status, error.text);
        return 1;
    }
    printf("%s\n", error.text);
    return 0;
}
