// kinglet.hpp: lifetimes, exceptions, texts.
//
//     wrapper MODELS q4=HASH
#include <kinglet.hpp>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <type_traits>

static std::size_t checks, failures;

#define CHECK(condition) check((condition), #condition, __LINE__)

static void check(bool holds, const char *what, int line) {
    checks += 1;
    if (!holds) {
        failures += 1;
        std::cerr << "wrapper.cpp:" << line << ": failed: " << what << "\n";
    }
}

// What a call throws.
template <typename Call>
static kgl_status thrown(Call call) {
    try {
        call();
    } catch (const kgl::Error &error) {
        CHECK(std::strlen(error.what()) > 0);
        return error.status();
    }
    return KGL_OK;
}

static_assert(!std::is_copy_constructible_v<kgl::Model> && !std::is_copy_assignable_v<kgl::Model>);
static_assert(!std::is_copy_constructible_v<kgl::Session> && !std::is_copy_constructible_v<kgl::Tokenizer>);
static_assert(!std::is_copy_constructible_v<kgl::Sampler>);
static_assert(std::is_nothrow_move_constructible_v<kgl::Session> && std::is_nothrow_move_assignable_v<kgl::Tokenizer>);

static kgl::Session outlives(const std::string &path) {
    kgl::Model model(path);
    kgl_session_params params = kgl_session_params_default();
    params.context = 256;
    return kgl::Session(model, params);
}

static void hashes(const std::string &path, std::uint64_t expected) {
    kgl::Session session = outlives(path);
    std::vector<kgl_token> tokens(200);
    for (std::size_t i = 0; i < tokens.size(); i++) {
        std::uint64_t z = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        tokens[i] = static_cast<kgl_token>((z ^ (z >> 31)) % 1024);
    }
    session.prefill(tokens);
    std::uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const float logit : session.logits()) {
        unsigned char bytes[sizeof logit];
        std::memcpy(bytes, &logit, sizeof logit);
        for (const unsigned char byte : bytes) {
            hash = (hash ^ byte) * UINT64_C(0x100000001b3);
        }
    }
    CHECK(hash == expected);
}

int main(int argc, char **argv) {
    if (argc != 3 || std::strncmp(argv[2], "q4=", 3) != 0) {
        std::cerr << "usage: wrapper MODELS q4=HASH\n";
        return 2;
    }
    const std::string path = std::string(argv[1]) + "/tiny-q4.kgl", bare_path = std::string(argv[1]) + "/bare.kgl";
    CHECK(thrown([&] { kgl::Model("/nowhere.kgl"); }) == KGL_ERROR_FILE);
    CHECK(thrown([&] { kgl::Model("x", 1); }) == KGL_ERROR_FORMAT);
    hashes(path, std::strtoull(argv[2] + 3, nullptr, 16));

    kgl::Model model(path), bare(bare_path);
    CHECK(model.info().vocab == 1024 && model.meta("name") == "tiny" && !model.meta("nobody"));
    CHECK(thrown([&] { model.meta("\xff"); }) == KGL_ERROR_UTF8);
    CHECK(model.meta().size() == model.info().meta_count && model.meta().front().first == "calibration");
    CHECK(thrown([&] { kgl::Tokenizer{bare}; }) == KGL_ERROR_NO_TOKENIZER);

    kgl::Tokenizer tokenizer(model);
    const std::string text = "It was a truth \xf0\x9f\x90\xa6";
    const std::vector<kgl_token> tokens = tokenizer.tokenize(text);
    CHECK(tokenizer.detokenize(tokens) == text && tokenizer.tokenize("").empty() && tokenizer.detokenize({}).empty());
    CHECK(tokenizer.info().vocab == 1024 && tokenizer.token_info(1).kind == KGL_TOKEN_CONTROL);
    CHECK(tokenizer.find("<|im_end|>") == kgl_token{2} && !tokenizer.find("no such token"));
    CHECK(thrown([&] { tokenizer.find("\xff"); }) == KGL_ERROR_UTF8);
    CHECK(thrown([&] { tokenizer.tokenize("\xff"); }) == KGL_ERROR_UTF8);
    CHECK(thrown([&] { tokenizer.detokenize({5000}); }) == KGL_ERROR_TOKEN);
    std::string streamed;
    tokenizer.start();
    for (const kgl_token token : tokens) {
        streamed += tokenizer.push(token);
    }
    CHECK(streamed + tokenizer.finish() == text);
    const std::vector<kgl::Message> messages = {{KGL_ROLE_USER, "Hello"}};
    CHECK(tokenizer.chat_render(messages) == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n");
    CHECK(tokenizer.detokenize(tokenizer.chat_tokenize(messages), KGL_TEXT_SHOW_SPECIAL) == tokenizer.chat_render(messages));

    kgl_session_params params = kgl_session_params_default();
    params.context = 64;
    params.threads = 1;
    CHECK(kgl::Session::plan(model, params).context == 64);
    kgl::Session session(model, params);
    CHECK(thrown([&] { session.logits(); }) == KGL_ERROR_NO_LOGITS);
    session.prefill(tokens);
    session.decode(5);
    const std::vector<float> logits = session.logits();
    CHECK(logits.size() == 1024 && session.info().position == tokens.size() + 1);
    const std::vector<unsigned char> state = session.save();
    session.truncate(0);
    CHECK(session.embed(tokens).size() == 192);
    session.restore(state);
    session.truncate(tokens.size());
    session.decode(5);
    CHECK(session.logits() == logits);
    CHECK(thrown([&] { session.restore({1, 2, 3}); }) == KGL_ERROR_STATE);

    kgl::Sampler sampler(model);
    const std::vector<unsigned char> start = sampler.save();
    const kgl_token first = sampler.sample(session), second = sampler.sample(logits);
    sampler.accept(tokens);
    sampler.reset();
    CHECK(sampler.sample(session) == first && sampler.sample(logits) == second);
    sampler.restore(start);
    CHECK(sampler.sample(logits) == first);

    std::string all;
    std::size_t calls = 0;
    kgl::GenerateOptions options;
    options.max_tokens = 20;
    options.text = [&](kgl_token, std::string_view piece) {
        all += piece;
        calls += 1;
        return true;
    };
    session.truncate(0);
    kgl_generation generation = kgl::generate(session, nullptr, tokenizer, tokens, options);
    CHECK(generation.end == KGL_END_LIMIT && generation.tokens == 20 && all.size() > 20 && calls >= 20);
    options.stops = {"never in it", all.substr(10, 4)};
    const std::string whole = std::exchange(all, "");
    session.truncate(0);
    generation = kgl::generate(session, nullptr, tokenizer, tokens, options);
    CHECK(generation.end == KGL_END_STOP && generation.stop == 1 && whole.compare(0, all.size(), all) == 0);
    options.stops.clear();
    options.text = [&](kgl_token, std::string_view) { return false; };
    session.truncate(0);
    CHECK(kgl::generate(session, &sampler, tokenizer, tokens, options).end == KGL_END_CALLBACK);
    session.truncate(0);
    CHECK(kgl::generate(session, &sampler, tokenizer, tokens, {3, {}, nullptr}).tokens == 3);
    // What a callback throws comes out, and leaves everything usable.
    options.text = [&](kgl_token, std::string_view) -> bool { throw std::out_of_range("enough"); };
    session.truncate(0);
    bool came_out = false;
    try {
        kgl::generate(session, &sampler, tokenizer, tokens, options);
    } catch (const std::out_of_range &error) {
        came_out = std::string(error.what()) == "enough";
    }
    CHECK(came_out);
    CHECK(thrown([&] { kgl::generate(session, &sampler, tokenizer, {}, {}); }) == KGL_ERROR_TOKEN);

    // Moved to where another lives, and from there.
    kgl::Session other(bare, params);
    other = std::move(session);
    other.truncate(0);
    other.prefill(tokens);
    kgl::Tokenizer moved(std::move(tokenizer));
    tokenizer = std::move(moved);
    sampler = kgl::Sampler(model);
    bare = std::move(model);
    CHECK(tokenizer.detokenize(tokens) == text && bare.info().vocab == 1024);

    std::cout << "wrapper: " << checks << " checks, " << failures << " failed\n";
    return failures == 0 ? 0 : 1;
}
