// The same as hello.c, in C++17.
//
//     c++ -std=c++17 hello.cpp $(pkg-config --cflags --libs kinglet) -o hello
//     ./hello MODEL.kgl "What is the capital of France?"
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <iostream>
#include <kinglet.hpp>

int main(int argc, char **argv) {
    if (argc != 3) {
        std::cerr << "usage: hello MODEL.kgl PROMPT\n";
        return 1;
    }
    const std::string prompt = argv[2];
    try {
        kgl::Model model(argv[1]);
        kgl::Tokenizer tokenizer(model);
        kgl::Session session(model);
        kgl_sampler_params how = kgl_sampler_params_default();
        how.seed = 1;
        kgl::Sampler sampler(model, how);

        const std::vector<kgl_token> tokens =
            tokenizer.info().has_chat ? tokenizer.chat_tokenize({{KGL_ROLE_USER, prompt}}) : tokenizer.tokenize(prompt);
        kgl::GenerateOptions options;
        options.max_tokens = 60;
        options.text = [](kgl_token, std::string_view text) {
            std::cout << text << std::flush;
            return true;
        };
        kgl::generate(session, &sampler, tokenizer, tokens, options);
        std::cout << "\n";
    } catch (const kgl::Error &error) {
        std::cerr << "hello: " << error.what() << "\n";
        return 1;
    }
    return 0;
}
