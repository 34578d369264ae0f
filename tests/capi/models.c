// Models: files, memory, metadata, and files of every kind that are none.
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <unistd.h>

static void opened(void) {
    kgl_model *model = open_model("tiny-q4");
    kgl_model_info info = kgl_model_info_default();
    OK(kgl_model_get_info(model, &info, &err));
    CHECK(info.vocab == 1024 && info.context == 512 && info.hidden == 192 && info.layers == 4);
    CHECK(info.has_tokenizer && info.has_chat && info.meta_count > 3 && info.bytes_per_token > 0);
    struct bytes file = file_bytes(model_path("tiny-q4"));
    CHECK(info.file_bytes == file.len && info.bytes_per_token < info.file_bytes);

    EXPECT(KGL_ERROR_NULL, kgl_model_get_info(model, NULL, &err));
    info.size = 8;
    EXPECT(KGL_ERROR_SIZE, kgl_model_get_info(model, &info, &err));
    info = kgl_model_info_default();
    EXPECT(KGL_ERROR_NULL, kgl_model_get_info(NULL, &info, &err));
    CHECK(kgl_model_get_info(model, NULL, NULL) == KGL_ERROR_NULL);
    OK(kgl_model_get_info(model, &info, &err));

    const char *key, *value;
    size_t key_bytes, value_bytes, at = 0;
    bool has_name = false;
    while (kgl_model_meta_at(model, at, &key, &key_bytes, &value, &value_bytes, &err) == KGL_OK) {
        char copy[64] = {0};
        CHECK(key_bytes > 0 && key_bytes < sizeof copy);
        memcpy(copy, key, key_bytes < sizeof copy ? key_bytes : 0);
        const char *found;
        size_t found_bytes;
        OK(kgl_model_meta(model, copy, &found, &found_bytes, &err));
        CHECK(found == value && found_bytes == value_bytes);
        has_name |= strcmp(copy, "name") == 0 && value_bytes == 4 && memcmp(value, "tiny", 4) == 0;
        at += 1;
    }
    CHECK(has_name && at == info.meta_count);
    EXPECT(KGL_ERROR_NOT_FOUND, kgl_model_meta_at(model, at, &key, &key_bytes, &value, &value_bytes, &err));
    EXPECT(KGL_ERROR_NOT_FOUND, kgl_model_meta_at(model, SIZE_MAX, NULL, NULL, NULL, NULL, &err));
    OK(kgl_model_meta_at(model, 0, NULL, NULL, NULL, NULL, &err));
    EXPECT(KGL_ERROR_NULL, kgl_model_meta_at(NULL, 0, &key, &key_bytes, &value, &value_bytes, &err));
    EXPECT(KGL_ERROR_NOT_FOUND, kgl_model_meta(model, "nobody", &value, &value_bytes, &err));
    EXPECT(KGL_ERROR_UTF8, kgl_model_meta(model, "\xff", &value, &value_bytes, &err));
    EXPECT(KGL_ERROR_NULL, kgl_model_meta(model, NULL, &value, &value_bytes, &err));
    EXPECT(KGL_ERROR_NULL, kgl_model_meta(NULL, "name", &value, &value_bytes, &err));
    OK(kgl_model_meta(model, "name", NULL, NULL, &err));

    OK(kgl_model_free(&model, &err));
    CHECK(model == NULL);
    OK(kgl_model_free(&model, &err));
    OK(kgl_model_free(NULL, &err));
    CHECK(kgl_model_free(NULL, NULL) == KGL_OK);
    free(file.data);
}

static void in_memory(void) {
    struct bytes file = file_bytes(model_path("bare"));
    kgl_model *model;
    OK(kgl_model_from_memory(file.data, file.len, NULL, &model, &err));
    EXPECT(KGL_ERROR_NULL, kgl_session_get_info(NULL, NULL, &err));
    EXPECT(KGL_ERROR_HANDLE, kgl_session_decode((kgl_session *)(void *)model, 0, &err));
    EXPECT(KGL_ERROR_HANDLE, kgl_model_get_info((const kgl_model *)(const void *)file.data, NULL, &err));
    EXPECT(KGL_ERROR_HANDLE, kgl_model_get_info((const kgl_model *)(const void *)(file.data + 1), NULL, &err));
    kgl_model *wrong = (kgl_model *)(void *)file.data;
    EXPECT(KGL_ERROR_HANDLE, kgl_model_free(&wrong, &err));
    CHECK((void *)wrong == (void *)file.data);
    OK(kgl_model_free(&model, &err));

    EXPECT(KGL_ERROR_NULL, kgl_model_from_memory(NULL, 9, NULL, &model, &err));
    EXPECT(KGL_ERROR_FORMAT, kgl_model_from_memory(NULL, 0, NULL, &model, &err));
    EXPECT(KGL_ERROR_NULL, kgl_model_from_memory(file.data, file.len, NULL, NULL, &err));
    EXPECT(KGL_ERROR_TOO_LONG, kgl_model_from_memory(file.data, SIZE_MAX, NULL, &model, &err));
    CHECK(kgl_model_from_memory(NULL, 9, NULL, &model, NULL) == KGL_ERROR_NULL && model == NULL);
    kgl_model_params params = kgl_model_params_default();
    params.size += 8;
    EXPECT(KGL_ERROR_SIZE, kgl_model_from_memory(file.data, file.len, &params, &model, &err));
    // A sound file at an odd address.
    unsigned char *odd = malloc(file.len + 1);
    memcpy(odd + 1, file.data, file.len);
    EXPECT(KGL_ERROR_ARGUMENT, kgl_model_from_memory(odd + 1, file.len, NULL, &model, &err));
    // A struct at an odd address is no struct.
    params = kgl_model_params_default();
    memcpy(odd + 1, &params, sizeof params);
    EXPECT(KGL_ERROR_ARGUMENT,
           kgl_model_from_memory(file.data, file.len, (const kgl_model_params *)(const void *)(odd + 1), &model, &err));
    CHECK(model == NULL);
    free(odd);

    // In the caller's memory, wherever that begins; nothing around it changes.
    const size_t bytes = kgl_model_bytes();
    for (size_t skip = 0; skip < 70; skip++) {
        unsigned char *memory = malloc(skip + bytes + 1);
        memset(memory, 0xa5, skip + bytes + 1);
        params = kgl_model_params_default();
        params.memory = memory + skip;
        params.memory_bytes = bytes - 1;
        EXPECT(KGL_ERROR_TOO_SMALL, kgl_model_from_memory(file.data, file.len, &params, &model, &err));
        params.memory_bytes = 0;
        EXPECT(KGL_ERROR_TOO_SMALL, kgl_model_from_memory(file.data, file.len, &params, &model, &err));
        params.memory_bytes = bytes;
        OK(kgl_model_from_memory(file.data, file.len, &params, &model, &err));
        kgl_model_info info = kgl_model_info_default();
        OK(kgl_model_get_info(model, &info, &err));
        CHECK(info.vocab == 259 && !info.has_tokenizer && !info.has_chat);
        kgl_model *copy = model;
        OK(kgl_model_free(&model, &err));
        EXPECT(KGL_ERROR_HANDLE, kgl_model_get_info(copy, &info, &err));
        EXPECT(KGL_ERROR_HANDLE, kgl_model_free(&copy, &err));
        CHECK(memory[skip + bytes] == 0xa5);
        for (size_t i = 0; i < skip; i++) {
            CHECK(memory[i] == 0xa5);
        }
        free(memory);
    }
    free(file.data);
}

static void write_file(const char *path, const void *data, size_t len) {
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(data, 1, len, file) != len || fclose(file) != 0) {
        fprintf(stderr, "%s: cannot be written\n", path);
        exit(1);
    }
}

static void no_files(void) {
    kgl_model *model = (kgl_model *)(void *)&err;
    EXPECT(KGL_ERROR_FILE, kgl_model_open("/nowhere/x.kgl", NULL, &model, &err));
    CHECK(model == NULL && strstr(err.text, "/nowhere/x.kgl: ") == err.text);
    EXPECT(KGL_ERROR_FILE, kgl_model_open("", NULL, &model, &err));
    EXPECT(KGL_ERROR_FILE, kgl_model_open("/nowhere/\xff.kgl", NULL, &model, &err));
    EXPECT(KGL_ERROR_FILE, kgl_model_open("/", NULL, &model, &err));
    EXPECT(KGL_ERROR_NULL, kgl_model_open(NULL, NULL, &model, &err));
    EXPECT(KGL_ERROR_NULL, kgl_model_open("x", NULL, NULL, &err));
    CHECK(kgl_model_open("/nowhere/x.kgl", NULL, &model, NULL) == KGL_ERROR_FILE);
    kgl_model_params params = kgl_model_params_default();
    params.size = 0;
    EXPECT(KGL_ERROR_SIZE, kgl_model_open("x", &params, &model, &err));

    char path[] = "/tmp/kinglet-capi-XXXXXX";
    const int place = mkstemp(path);
    if (!CHECK(place >= 0)) {
        exit(1);
    }
    close(place);
    const kgl_status empty = kgl_model_open(path, NULL, &model, &err);
    CHECK(empty == KGL_ERROR_FORMAT || empty == KGL_ERROR_FILE);
    char garbage[10000];
    uint64_t state = 7;
    for (size_t i = 0; i < sizeof garbage; i++) {
        garbage[i] = (char)next_random(&state);
    }
    write_file(path, garbage, sizeof garbage);
    EXPECT(KGL_ERROR_FORMAT, kgl_model_open(path, NULL, &model, &err));
    CHECK(strncmp(err.text, path, strlen(path)) == 0);
    struct bytes file = file_bytes(model_path("bare"));
    write_file(path, file.data, file.len / 2);
    EXPECT(KGL_ERROR_FORMAT, kgl_model_open(path, NULL, &model, &err));
    write_file(path, file.data, file.len);
    OK(kgl_model_open(path, NULL, &model, &err));
    OK(kgl_model_free(&model, &err));
    unlink(path);
    free(file.data);
}

struct messages {
    size_t infos, warnings;
    char last[256];
};

static void note(void *user, int32_t level, const char *text) {
    struct messages *messages = user;
    messages->infos += level == KGL_LOG_INFO;
    messages->warnings += level == KGL_LOG_WARNING;
    snprintf(messages->last, sizeof messages->last, "%s", text);
}

static void log_messages(void) {
    struct messages messages = {0};
    kgl_model_params params = kgl_model_params_default();
    params.log = note;
    params.log_user = &messages;
    kgl_model *model;
    OK(kgl_model_open(model_path("bare"), &params, &model, &err));
    CHECK(messages.infos == 1 && strstr(messages.last, "vocabulary of 259") != NULL);
    kgl_session_params session_params = kgl_session_params_default();
    session_params.context = 300;
    session_params.threads = 1;
    kgl_session *session;
    OK(kgl_session_new(model, &session_params, &session, &err));
    CHECK(messages.infos == 2 && messages.warnings == 1 && strstr(messages.last, "300 positions") != NULL);
    EXPECT(KGL_ERROR_IN_USE, kgl_model_free(&model, &err));
    CHECK(model != NULL && kgl_model_free(&model, NULL) == KGL_ERROR_IN_USE);
    OK(kgl_session_free(&session, &err));
    OK(kgl_model_free(&model, &err));
}

void test_models(void) {
    opened();
    in_memory();
    no_files();
    log_messages();
}
