//! Chat templates of the supported families, compiled and rendered by the runtime.
//!
//! The compiler itself compares every table with its template on many conversations; here stand the texts that must come out, written
//! from the formats' descriptions, and the templates that must be refused.

use kinglet::tokenizer::chat::{ChatError, ChatTemplate, End, Message, Next, Piece, Role};
use kinglet_tools::chat_template::{ChatTemplateError, CompiledChat, compile, find};

/// ChatML with a default system message, as SmolLM2 has it.
const SMOLLM2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe a small bird.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// ChatML with tools, as Qwen 2.5 has it.
const QWEN25: &str = r#"{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- for tool in tools %}
        {{- tool | tojson }}
    {%- endfor %}
    {{- '<|im_end|>\n' }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou help.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"#;

/// The system message inside the first user message, contents stripped, as Llama 2 has it.
const LLAMA2: &str = "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}";

/// Headers and trimmed contents, as Llama 3 has it.
const LLAMA3: &str = "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

/// No system message, as Mistral 7B v0.1 has it.
const MISTRAL: &str = "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}";

/// Zephyr and TinyLlama; the template's own line breaks are part of it.
const ZEPHYR: &str = "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}";

const SYSTEM: Message<'_> = Message { role: Role::System, content: "S" };
const USER: Message<'_> = Message { role: Role::User, content: "U" };
const ASSISTANT: Message<'_> = Message { role: Role::Assistant, content: "A" };

fn render(compiled: &CompiledChat, messages: &[Message<'_>], end: End) -> Result<String, ChatError> {
    let template = ChatTemplate::parse(&compiled.section).unwrap();
    Ok(template.render(None, messages, end)?.map(Piece::text).collect())
}

fn check(template: &str, cases: &[(&[Message<'_>], End, &str)]) -> CompiledChat {
    let compiled = compile(template, Some("<s>"), Some("</s>")).unwrap_or_else(|error| panic!("{error}"));
    for (messages, end, expected) in cases {
        assert_eq!(render(&compiled, messages, *end).as_deref(), Ok(*expected));
    }
    compiled
}

#[test]
fn smollm2() {
    let user = "<|im_start|>user\nU<|im_end|>\n";
    let compiled = check(
        SMOLLM2,
        &[
            (&[USER], End::Reply, &format!("<|im_start|>system\nBe a small bird.<|im_end|>\n{user}<|im_start|>assistant\n")),
            (&[SYSTEM, USER], End::Stop, &format!("<|im_start|>system\nS<|im_end|>\n{user}")),
            (
                &[SYSTEM, USER, ASSISTANT, USER],
                End::Reply,
                &format!("<|im_start|>system\nS<|im_end|>\n{user}<|im_start|>assistant\nA<|im_end|>\n{user}<|im_start|>assistant\n"),
            ),
            (&[USER, USER], End::Stop, &format!("<|im_start|>system\nBe a small bird.<|im_end|>\n{user}{user}")),
        ],
    );
    assert!(compiled.notes.is_empty(), "{:?}", compiled.notes);
}

#[test]
fn qwen25() {
    check(
        QWEN25,
        &[
            (&[USER], End::Reply, "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"),
            (&[SYSTEM, USER], End::Reply, "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"),
        ],
    );
}

#[test]
fn llama2() {
    let compiled = check(
        LLAMA2,
        &[
            (&[USER], End::Reply, "<s>[INST] U [/INST]"),
            (&[SYSTEM, USER], End::Reply, "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST]"),
            (&[USER, ASSISTANT, USER], End::Reply, "<s>[INST] U [/INST] A </s><s>[INST] U [/INST]"),
        ],
    );
    // White space is trimmed only where the template strips what it has put together.
    let spaced = [Message { role: Role::System, content: " S " }, Message { role: Role::User, content: " U " }];
    assert_eq!(render(&compiled, &spaced, End::Reply).as_deref(), Ok("<s>[INST] <<SYS>>\n S \n<</SYS>>\n\n U [/INST]"));
    assert_eq!(render(&compiled, &spaced[1..], End::Reply).as_deref(), Ok("<s>[INST] U [/INST]"));
    // An empty message would let the strip eat the template's own line breaks.
    let empty = [SYSTEM, Message { role: Role::User, content: " \n" }];
    assert_eq!(render(&compiled, &empty, End::Reply), Err(ChatError::EmptyContent { position: 1 }));
    let unsupported = ChatError::Unsupported { position: 1, from: Some(Role::User), to: Next::Message(Role::User) };
    assert_eq!(render(&compiled, &[USER, USER], End::Reply), Err(unsupported));
}

#[test]
fn llama3() {
    let compiled = check(
        LLAMA3,
        &[
            (
                &[SYSTEM, USER],
                End::Reply,
                "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            ),
            (&[USER], End::Stop, "<s><|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|>"),
        ],
    );
    let spaced = [Message { role: Role::User, content: "\n U \u{3000}" }];
    assert_eq!(render(&compiled, &spaced, End::Stop).as_deref(), Ok("<s><|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|>"));
}

#[test]
fn mistral() {
    let compiled = check(
        MISTRAL,
        &[(&[USER], End::Reply, "<s>[INST] U [/INST]"), (&[USER, ASSISTANT, USER], End::Reply, "<s>[INST] U [/INST]A</s>[INST] U [/INST]")],
    );
    assert_eq!(compiled.notes, ["the chat template has no system message"]);
    let unsupported = ChatError::Unsupported { position: 0, from: None, to: Next::Message(Role::System) };
    assert_eq!(render(&compiled, &[SYSTEM, USER], End::Reply), Err(unsupported));
}

#[test]
fn zephyr() {
    check(
        ZEPHYR,
        &[
            (&[USER], End::Reply, "<|user|>\nU</s>\n<|assistant|>\n"),
            (&[SYSTEM, USER, ASSISTANT], End::Stop, "<|system|>\nS</s>\n<|user|>\nU</s>\n<|assistant|>\nA</s>\n"),
        ],
    );
}

#[test]
fn a_conversation_goes_on() {
    let compiled = compile(SMOLLM2, None, None).unwrap();
    let template = ChatTemplate::parse(&compiled.section).unwrap();
    let (mut out, mut literal) = ([0; 100], [0..0, 0..0]);
    let (text, ranges) = template.assemble(Some(Role::Assistant), &[USER], End::Reply, &mut out, &mut literal).unwrap();
    assert_eq!(text, "<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n");
    assert_eq!(ranges.iter().map(|range| &text[range.clone()]).collect::<Vec<_>>(), ["U"]);
    assert!(matches!(template.assemble(None, &[USER], End::Reply, &mut [0; 3], &mut literal), Err(ChatError::TooSmall(_))));
    assert!(matches!(template.assemble(None, &[USER], End::Reply, &mut [0; 200], &mut []), Err(ChatError::TooSmall(_))));
}

#[test]
fn what_cannot_be_expressed_is_reported_with_an_example() {
    let refused = |template: &str| compile(template, Some("<s>"), Some("</s>")).unwrap_err();
    let plain = |inner: &str| format!("{{% for m in messages %}}<{{{{ m.role }}}}>{inner}{{% endfor %}}<assistant>");

    // Thoughts are cut out of earlier replies.
    match refused(&plain("{{ m.content.split('</think>')[-1] }}")) {
        ChatTemplateError::NotExpressible { conversation, template, compiled } => {
            assert_eq!(conversation, r#"[{"content":"<think>thought</think>answer","role":"user"}]"#);
            assert_eq!(template, "<user>answer<assistant>");
            assert_eq!(compiled, "<user><think>thought</think>answer<assistant>");
        }
        other => panic!("{other}"),
    }
    // A count of messages, contents twice, contents changed, the system message moved to the end.
    let counted = plain("{{ loop.index }} {{ m.content }}");
    let twice = plain("{{ m.content }}{{ m.content }}");
    let upper = plain("{{ m.content | upper }}");
    let escaped = plain("{{ m.content | e }}");
    let moved = "{% for m in messages %}{% if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}";
    for template in [counted.as_str(), &twice, &upper, &escaped, moved] {
        assert!(matches!(refused(template), ChatTemplateError::NotExpressible { .. }), "{template}: {}", refused(template));
    }
    assert_eq!(refused(&plain("{{ strftime_now('%d %b %Y') }}{{ m.content }}")), ChatTemplateError::DependsOnDate);
    assert!(matches!(refused("{% for m in messages %}"), ChatTemplateError::Syntax { .. }));
    assert!(matches!(refused("{{ raise_exception('no') }}"), ChatTemplateError::Fails { .. }));
    assert!(matches!(
        refused("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}"),
        ChatTemplateError::Fails { .. }
    ));
}

#[test]
fn the_template_is_found_in_the_configuration() {
    assert_eq!(find(br#"{"chat_template": "x"}"#), Ok(Some("x".to_owned())));
    assert_eq!(find(b"{}"), Ok(None));
    let list = br#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#;
    assert_eq!(find(list), Ok(Some("d".to_owned())));
    assert!(matches!(find(br#"{"chat_template": [{"name": "rag", "template": "t"}]}"#), Err(ChatTemplateError::Config { .. })));
    assert!(matches!(find(br#"{"chat_template": 3}"#), Err(ChatTemplateError::Config { .. })));
    assert!(matches!(find(b"["), Err(ChatTemplateError::Config { .. })));
}

#[test]
fn malformed_sections_are_errors() {
    let good = compile(SMOLLM2, None, None).unwrap().section;
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        ChatTemplate::parse(&bytes).unwrap_err()
    };
    assert_eq!(ChatTemplate::parse(&[]).unwrap_err(), ChatError::Length { expected: 176, got: 0 });
    assert_eq!(with(0, b'X'), ChatError::Magic);
    assert_eq!(with(4, 2), ChatError::Version { got: 2 });
    assert_eq!(with(8, 2), ChatError::Flags);
    assert!(matches!(with(15, 0xff), ChatError::Length { .. }));
    assert_eq!(with(16, 8), ChatError::Flags);
    assert_eq!(with(23, 0xff), ChatError::Transition { index: 0 });
    // The steps from the system message's start are there, so its text may not be cut inside a character.
    assert!(matches!(with(176, 0xff), ChatError::Transition { .. }));
    for len in 0..good.len() {
        assert!(ChatTemplate::parse(&good[..len]).is_err());
    }
    // Whatever a byte becomes: an error, or a table that renders.
    for at in 0..good.len() {
        for byte in [0, 1, 0x7f, 0x80, 0xff, good[at] ^ 1, good[at] ^ 4] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            if let Ok(template) = ChatTemplate::parse(&bytes) {
                let _ = template.render(None, &[SYSTEM, USER, ASSISTANT], End::Reply).map(Iterator::count);
            }
        }
    }
}
