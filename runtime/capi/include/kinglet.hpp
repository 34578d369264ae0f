// Kinglet for C++17: the calls of kinglet.h behind classes that free what they hold. Nothing to compile; nothing that kinglet.h cannot do.
// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Whatever fails throws a kgl::Error. Objects can be moved and not copied; one that was moved from may only be destroyed or assigned to.
// What is made from a model keeps it alive, so the order in which objects go does not matter; memory that was given to one of them must
// outlive it, and a model's all of them. No object may go, or be assigned to, in a callback of a call that it is in: it would never be
// freed, which an assert says. Of callbacks, GenerateOptions::text alone may throw.
//
//     kgl::Model model("tiny.kgl");
//     kgl::Tokenizer tokenizer(model);
//     kgl::Session session(model);
//     kgl::GenerateOptions options;
//     options.text = [](kgl_token, std::string_view piece) { std::cout << piece << std::flush; return true; };
//     kgl::generate(session, nullptr, tokenizer, tokenizer.tokenize("Once upon a time"), options);

#ifndef KINGLET_HPP
#define KINGLET_HPP

#include "kinglet.h"

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kgl {

/// Why a call failed: its code, and in what() one sentence.
class Error : public std::runtime_error {
public:
    Error(kgl_status status, const char *text) : std::runtime_error(text), status_(status) {}
    kgl_status status() const noexcept { return status_; }

private:
    kgl_status status_;
};

namespace detail {

/// Makes a call with a place for its error, and throws what it says there.
template <typename Call>
void check(Call call) {
    kgl_error error = kgl_error_default();
    const kgl_status status = call(&error);
    if (status != KGL_OK) {
        throw Error(status, error.text);
    }
}

/// What a call writes whose length it tells first: `call(out, room, &length, &error)`. `extra` elements are needed behind it.
template <typename Out, typename Call>
Out sized(std::size_t extra, Call call) {
    Out out;
    std::size_t length = 0;
    kgl_error error = kgl_error_default();
    kgl_status status = call(nullptr, 0, &length, &error);
    if (status == KGL_ERROR_TOO_SMALL) {
        out.resize(length + extra);
        status = call(out.data(), out.size(), &length, &error);
    }
    if (status != KGL_OK) {
        throw Error(status, error.text);
    }
    out.resize(length);
    return out;
}

struct Free {
    void operator()(kgl_session *object) const noexcept { freed(kgl_session_free(&object, nullptr)); }
    void operator()(kgl_tokenizer *object) const noexcept { freed(kgl_tokenizer_free(&object, nullptr)); }
    void operator()(kgl_sampler *object) const noexcept { freed(kgl_sampler_free(&object, nullptr)); }
    void operator()(kgl_model *object) const noexcept { freed(kgl_model_free(&object, nullptr)); }

private:
    static void freed(kgl_status status) noexcept {
        assert(status == KGL_OK);
        (void)status;
    }
};

} // namespace detail

/// A model file. Threads may share it.
class Model {
public:
    /// Opens a file. It must not be changed or cut while the model lives.
    explicit Model(const std::string &path, const kgl_model_params &params = kgl_model_params_default()) {
        kgl_model *model = nullptr;
        detail::check([&](kgl_error *error) { return kgl_model_open(path.c_str(), &params, &model, error); });
        model_.reset(model, detail::Free());
    }

    /// Takes a file that lies in memory, at a multiple of 4, and stays there until the model and all made from it are gone.
    Model(const void *data, std::size_t bytes, const kgl_model_params &params = kgl_model_params_default()) {
        kgl_model *model = nullptr;
        detail::check([&](kgl_error *error) { return kgl_model_from_memory(data, bytes, &params, &model, error); });
        model_.reset(model, detail::Free());
    }

    Model(Model &&) noexcept = default;
    Model &operator=(Model &&) noexcept = default;

    kgl_model_info info() const {
        kgl_model_info info = kgl_model_info_default();
        detail::check([&](kgl_error *error) { return kgl_model_get_info(get(), &info, error); });
        return info;
    }

    /// The metadata of a key, if the file has it.
    std::optional<std::string> meta(const std::string &key) const {
        const char *value = nullptr;
        std::size_t bytes = 0;
        kgl_error error = kgl_error_default();
        switch (kgl_model_meta(get(), key.c_str(), &value, &bytes, &error)) {
        case KGL_OK:
            return std::string(value, bytes);
        case KGL_ERROR_NOT_FOUND:
            return std::nullopt;
        default:
            throw Error(static_cast<kgl_status>(error.status), error.text);
        }
    }

    /// All metadata: keys and values.
    std::vector<std::pair<std::string, std::string>> meta() const {
        std::vector<std::pair<std::string, std::string>> entries(info().meta_count);
        for (std::size_t i = 0; i < entries.size(); i++) {
            const char *key = nullptr, *value = nullptr;
            std::size_t key_bytes = 0, value_bytes = 0;
            detail::check([&](kgl_error *error) {
                return kgl_model_meta_at(get(), i, &key, &key_bytes, &value, &value_bytes, error);
            });
            entries[i] = {std::string(key, key_bytes), std::string(value, value_bytes)};
        }
        return entries;
    }

    kgl_model *get() const noexcept { return model_.get(); }

private:
    friend class Session;
    friend class Tokenizer;
    friend class Sampler;
    std::shared_ptr<kgl_model> model_;
};

/// A conversation with a model. One thread at a time.
class Session {
public:
    explicit Session(const Model &model, const kgl_session_params &params = kgl_session_params_default()) : model_(model.model_) {
        kgl_session *session = nullptr;
        detail::check([&](kgl_error *error) { return kgl_session_new(model.get(), &params, &session, error); });
        session_.reset(session);
    }

    Session(Session &&) noexcept = default;
    Session &operator=(Session &&other) noexcept {
        // What was here goes before its model.
        session_ = std::move(other.session_);
        model_ = std::move(other.model_);
        return *this;
    }

    /// The memory that a session with these parameters takes.
    static kgl_plan_info plan(const Model &model, const kgl_session_params &params = kgl_session_params_default()) {
        kgl_plan_info info = kgl_plan_info_default();
        detail::check([&](kgl_error *error) { return kgl_plan(model.get(), &params, &info, error); });
        return info;
    }

    kgl_session_info info() const {
        kgl_session_info info = kgl_session_info_default();
        detail::check([&](kgl_error *error) { return kgl_session_get_info(get(), &info, error); });
        return info;
    }

    void prefill(const std::vector<kgl_token> &tokens) {
        detail::check([&](kgl_error *error) { return kgl_session_prefill(get(), tokens.data(), tokens.size(), error); });
    }

    void decode(kgl_token token) {
        detail::check([&](kgl_error *error) { return kgl_session_decode(get(), token, error); });
    }

    /// A copy of the logits that follow the last token.
    std::vector<float> logits() const {
        const float *logits = nullptr;
        std::size_t count = 0;
        detail::check([&](kgl_error *error) { return kgl_session_logits(get(), &logits, &count, error); });
        return std::vector<float>(logits, logits + count);
    }

    /// Runs tokens and returns their embedding.
    std::vector<float> embed(const std::vector<kgl_token> &tokens, kgl_pooling pooling = KGL_POOLING_LAST) {
        kgl_model_info info = kgl_model_info_default();
        detail::check([&](kgl_error *error) { return kgl_model_get_info(model_.get(), &info, error); });
        std::vector<float> out(info.hidden);
        detail::check([&](kgl_error *error) {
            return kgl_session_embed(get(), tokens.data(), tokens.size(), pooling, out.data(), out.size(), error);
        });
        return out;
    }

    void truncate(std::size_t position) {
        detail::check([&](kgl_error *error) { return kgl_session_truncate(get(), position, error); });
    }

    std::vector<unsigned char> save() const {
        return detail::sized<std::vector<unsigned char>>(0, [&](unsigned char *out, std::size_t room, std::size_t *bytes, kgl_error *error) {
            return kgl_session_save(get(), out, room, bytes, error);
        });
    }

    void restore(const std::vector<unsigned char> &state) {
        detail::check([&](kgl_error *error) { return kgl_session_restore(get(), state.data(), state.size(), error); });
    }

    kgl_session *get() const noexcept { return session_.get(); }

private:
    // Declared first, so that it goes last.
    std::shared_ptr<kgl_model> model_;
    std::unique_ptr<kgl_session, detail::Free> session_;
};

/// One turn of a conversation.
struct Message {
    kgl_role role;
    std::string text;
};

/// A model's tokenizer and its chat format. One thread at a time.
class Tokenizer {
public:
    explicit Tokenizer(const Model &model, const kgl_tokenizer_params &params = kgl_tokenizer_params_default()) : model_(model.model_) {
        kgl_tokenizer *tokenizer = nullptr;
        detail::check([&](kgl_error *error) { return kgl_tokenizer_new(model.get(), &params, &tokenizer, error); });
        tokenizer_.reset(tokenizer);
    }

    Tokenizer(Tokenizer &&) noexcept = default;
    Tokenizer &operator=(Tokenizer &&other) noexcept {
        tokenizer_ = std::move(other.tokenizer_);
        model_ = std::move(other.model_);
        return *this;
    }

    kgl_tokenizer_info info() const {
        kgl_tokenizer_info info = kgl_tokenizer_info_default();
        detail::check([&](kgl_error *error) { return kgl_tokenizer_get_info(get(), &info, error); });
        return info;
    }

    kgl_token_info token_info(kgl_token token) const {
        kgl_token_info info = kgl_token_info_default();
        detail::check([&](kgl_error *error) { return kgl_token_get_info(get(), token, &info, error); });
        return info;
    }

    /// The token of exactly this text, if there is one.
    std::optional<kgl_token> find(std::string_view text) const {
        kgl_token token = KGL_TOKEN_NONE;
        kgl_error error = kgl_error_default();
        switch (kgl_token_find(get(), text.data(), text.size(), &token, &error)) {
        case KGL_OK:
            return token;
        case KGL_ERROR_NOT_FOUND:
            return std::nullopt;
        default:
            throw Error(static_cast<kgl_status>(error.status), error.text);
        }
    }

    std::vector<kgl_token> tokenize(std::string_view text, std::uint32_t flags = KGL_TEXT_ADD_SPECIAL) {
        return tokens([&](kgl_token *out, std::size_t room, std::size_t *count, kgl_error *error) {
            return kgl_tokenize(get(), text.data(), text.size(), flags, out, room, count, error);
        });
    }

    std::string detokenize(const std::vector<kgl_token> &tokens, std::uint32_t flags = 0) {
        return text([&](char *out, std::size_t room, std::size_t *bytes, kgl_error *error) {
            return kgl_detokenize(get(), tokens.data(), tokens.size(), flags, out, room, bytes, error);
        });
    }

    /// Begins a text that comes token by token.
    void start(std::uint32_t flags = 0) {
        detail::check([&](kgl_error *error) { return kgl_tokenizer_start(get(), flags, error); });
    }

    /// What is known to be text after one more token: whole characters, often none.
    std::string push(kgl_token token) {
        const char *text = nullptr;
        std::size_t bytes = 0;
        detail::check([&](kgl_error *error) { return kgl_tokenizer_push(get(), token, &text, &bytes, error); });
        return std::string(text, bytes);
    }

    /// What was held back at the end.
    std::string finish() {
        const char *text = nullptr;
        std::size_t bytes = 0;
        detail::check([&](kgl_error *error) { return kgl_tokenizer_finish(get(), &text, &bytes, error); });
        return std::string(text, bytes);
    }

    std::string chat_render(const std::vector<Message> &messages, kgl_role from = KGL_ROLE_NONE, kgl_chat_end end = KGL_CHAT_REPLY) {
        const std::vector<kgl_message> list = lent(messages);
        return text([&](char *out, std::size_t room, std::size_t *bytes, kgl_error *error) {
            return kgl_chat_render(get(), from, list.data(), list.size(), end, out, room, bytes, error);
        });
    }

    std::vector<kgl_token> chat_tokenize(const std::vector<Message> &messages, kgl_role from = KGL_ROLE_NONE, kgl_chat_end end = KGL_CHAT_REPLY) {
        const std::vector<kgl_message> list = lent(messages);
        return tokens([&](kgl_token *out, std::size_t room, std::size_t *count, kgl_error *error) {
            return kgl_chat_tokenize(get(), from, list.data(), list.size(), end, out, room, count, error);
        });
    }

    kgl_tokenizer *get() const noexcept { return tokenizer_.get(); }

private:
    template <typename Call>
    static std::vector<kgl_token> tokens(Call call) {
        return detail::sized<std::vector<kgl_token>>(0, call);
    }

    template <typename Call>
    static std::string text(Call call) {
        return detail::sized<std::string>(1, call);
    }

    static std::vector<kgl_message> lent(const std::vector<Message> &messages) {
        std::vector<kgl_message> list;
        list.reserve(messages.size());
        for (const Message &message : messages) {
            list.push_back({message.role, message.text.data(), message.text.size()});
        }
        return list;
    }

    std::shared_ptr<kgl_model> model_;
    std::unique_ptr<kgl_tokenizer, detail::Free> tokenizer_;
};

/// Chooses tokens. One thread at a time.
class Sampler {
public:
    explicit Sampler(const Model &model, const kgl_sampler_params &params = kgl_sampler_params_default()) : model_(model.model_) {
        kgl_sampler *sampler = nullptr;
        detail::check([&](kgl_error *error) { return kgl_sampler_new(model.get(), &params, &sampler, error); });
        sampler_.reset(sampler);
    }

    Sampler(Sampler &&) noexcept = default;
    Sampler &operator=(Sampler &&other) noexcept {
        sampler_ = std::move(other.sampler_);
        model_ = std::move(other.model_);
        return *this;
    }

    /// Chooses what follows the last token of a session.
    kgl_token sample(const Session &session) {
        kgl_token token = KGL_TOKEN_NONE;
        detail::check([&](kgl_error *error) { return kgl_sampler_sample(get(), session.get(), &token, error); });
        return token;
    }

    /// Chooses by these logits.
    kgl_token sample(const std::vector<float> &logits) {
        kgl_token token = KGL_TOKEN_NONE;
        detail::check([&](kgl_error *error) { return kgl_sampler_sample_logits(get(), logits.data(), logits.size(), &token, error); });
        return token;
    }

    void accept(const std::vector<kgl_token> &tokens) {
        detail::check([&](kgl_error *error) { return kgl_sampler_accept(get(), tokens.data(), tokens.size(), error); });
    }

    void reset() {
        detail::check([&](kgl_error *error) { return kgl_sampler_reset(get(), error); });
    }

    std::vector<unsigned char> save() const {
        return detail::sized<std::vector<unsigned char>>(0, [&](unsigned char *out, std::size_t room, std::size_t *bytes, kgl_error *error) {
            return kgl_sampler_save(get(), out, room, bytes, error);
        });
    }

    void restore(const std::vector<unsigned char> &state) {
        detail::check([&](kgl_error *error) { return kgl_sampler_restore(get(), state.data(), state.size(), error); });
    }

    kgl_sampler *get() const noexcept { return sampler_.get(); }

private:
    std::shared_ptr<kgl_model> model_;
    std::unique_ptr<kgl_sampler, detail::Free> sampler_;
};

/// How text is generated.
struct GenerateOptions {
    /// Tokens at most; 0: as many as the context has room for.
    std::size_t max_tokens = 0;
    /// Texts that end the generation and are no part of it.
    std::vector<std::string> stops;
    /// Is told each token (KGL_TOKEN_NONE for what was held back at the end) and what is known to be text now; false ends the generation.
    /// What it throws comes out of generate().
    std::function<bool(kgl_token, std::string_view)> text;
};

/// Runs a prompt and generates what follows; without a sampler, the most probable.
inline kgl_generation generate(Session &session, Sampler *sampler, Tokenizer &tokenizer, const std::vector<kgl_token> &prompt,
                               const GenerateOptions &options = {}) {
    struct Sink {
        const GenerateOptions &options;
        std::exception_ptr thrown;

        // C's frames lie above this one, so nothing may be thrown through it.
        static std::int32_t pass(void *user, kgl_token token, const char *text, std::size_t bytes) noexcept {
            Sink &sink = *static_cast<Sink *>(user);
            try {
                return sink.options.text(token, std::string_view(text, bytes)) ? 0 : 1;
            } catch (...) {
                sink.thrown = std::current_exception();
                return 1;
            }
        }
    };
    Sink sink{options, nullptr};
    std::vector<const char *> stops;
    for (const std::string &stop : options.stops) {
        stops.push_back(stop.c_str());
    }
    kgl_generate_params params = kgl_generate_params_default();
    params.max_tokens = options.max_tokens;
    params.stops = stops.data();
    params.stop_count = stops.size();
    if (options.text) {
        params.text = Sink::pass;
        params.text_user = &sink;
    }
    kgl_generation generation = kgl_generation_default();
    kgl_error error = kgl_error_default();
    const kgl_status status = kgl_generate(session.get(), sampler == nullptr ? nullptr : sampler->get(), tokenizer.get(), prompt.data(),
                                           prompt.size(), &params, &generation, &error);
    if (sink.thrown) {
        std::rethrow_exception(sink.thrown);
    }
    if (status != KGL_OK) {
        throw Error(status, error.text);
    }
    return generation;
}

} // namespace kgl

#endif
