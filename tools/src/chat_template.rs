//! A checkpoint's chat template to the chat section of a model file.
//!
//! The template is a Jinja program. It is run here, on many conversations, and what it does is compiled into a table of the texts that stand between two
//! contents (`kinglet::tokenizer::chat`):
//!
//! 1. Conversations with recognisable contents show the text of each transition. Those where user and assistant alternate, with or
//!    without a system message first, must agree with each other.
//! 2. The same with white space around the contents shows what the template trims.
//! 3. Other orders of speakers add their transitions if they agree, too; else they are left out, and the runtime refuses them.
//! 4. The table is compared with the template on contents of many kinds. Any difference means that the template cannot be expressed.
//!
//! ```
//! let template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
//! let compiled = kinglet_tools::chat_template::compile(template, None, None).unwrap();
//! assert!(kinglet::tokenizer::chat::ChatTemplate::parse(&compiled.section).is_ok());
//! ```

use std::collections::BTreeMap;
use std::fmt;

use kinglet::tokenizer::chat::{
    ChatTemplate, End, MAGIC, Message, NO_EMPTY, Next, PRESENT, Piece, Role, TRANSITIONS, TRIM_AFTER, TRIM_BEFORE, VERSION,
    transition_index,
};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, context};
use serde_json::{Value, json};

/// A section and what the converter reports about it.
#[derive(Debug)]
pub struct CompiledChat {
    /// The bytes that `kinglet::tokenizer::chat::ChatTemplate::parse` reads.
    pub section: Vec<u8>,
    /// What the template does not allow, in words, for the user to read.
    pub notes: Vec<String>,
}

/// Why a template is not compiled.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum ChatTemplateError {
    /// `tokenizer_config.json` does not hold a template where it should.
    Config {
        /// What is wrong.
        reason: String,
    },
    /// The template is not valid, or uses what the compiler does not have.
    Syntax {
        /// The template engine's words.
        reason: String,
    },
    /// The template fails on a single message of the user.
    Fails {
        /// Its own or the engine's words.
        reason: String,
    },
    /// The text depends on the day.
    DependsOnDate,
    /// The template does more than put texts between contents. This is the smallest conversation found that shows it.
    NotExpressible {
        /// The conversation as JSON.
        conversation: String,
        /// What the template makes of it.
        template: String,
        /// What the table would make of it.
        compiled: String,
    },
}

impl fmt::Display for ChatTemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config { reason } => write!(f, "tokenizer_config.json: chat_template: {reason}"),
            Self::Syntax { reason } => write!(f, "chat template: {reason}"),
            Self::Fails { reason } => write!(f, "chat template fails on one message of the user: {reason}"),
            Self::DependsOnDate => write!(f, "chat template: its text depends on the date"),
            Self::NotExpressible { conversation, template, compiled } => {
                write!(
                    f,
                    "chat template cannot be expressed as texts between messages: for {conversation} it gives {template:?}, the table {compiled:?}"
                )
            }
        }
    }
}

impl std::error::Error for ChatTemplateError {}

/// The template in the bytes of `tokenizer_config.json`: a string, or the one named `default` of a list.
///
/// # Errors
/// [`ChatTemplateError::Config`].
pub fn find(tokenizer_config: &[u8]) -> Result<Option<String>, ChatTemplateError> {
    let config = |reason: String| ChatTemplateError::Config { reason };
    let root: Value = serde_json::from_slice(tokenizer_config).map_err(|error| config(error.to_string()))?;
    match &root["chat_template"] {
        Value::Null => Ok(None),
        Value::String(template) => Ok(Some(template.clone())),
        Value::Array(named) => {
            let default = named.iter().find(|entry| entry["name"] == "default");
            match default.map(|entry| &entry["template"]) {
                Some(Value::String(template)) => Ok(Some(template.clone())),
                _ => Err(config("expected a template named \"default\" in the list".to_owned())),
            }
        }
        other => Err(config(format!("expected a string or a list, found {other}"))),
    }
}

/// Compiles a template. `bos` and `eos` are the texts of those tokens, which templates use by name.
///
/// # Errors
/// [`ChatTemplateError`]; for a template that the table cannot express with the smallest conversation that shows it.
pub fn compile(template: &str, bos: Option<&str>, eos: Option<&str>) -> Result<CompiledChat, ChatTemplateError> {
    let program = Program::new(template, bos, eos)?;
    let first = Conversation { messages: vec![(Role::User, content(0))], end: End::Reply };
    let text = program.run(&first, DATES[0]).map_err(|reason| ChatTemplateError::Fails { reason })?;
    if program.run(&first, DATES[1]).as_ref() != Ok(&text) {
        return Err(ChatTemplateError::DependsOnDate);
    }

    let mut table = Table::default();
    let shapes = alternating();
    for shape in &shapes {
        if let Ok(text) = program.run(shape, DATES[0]) {
            table.learn(shape, &text)?;
        }
    }
    for shape in &shapes {
        let spaced = shape.with(|_, content| format!("{SPACE_BEFORE}{content}{SPACE_AFTER}"));
        if let (Ok(text), true) = (program.run(&spaced, DATES[0]), table.has_all(shape)) {
            table.learn_trimming(&spaced, &text)?;
        }
    }
    // Unusual orders: all of their transitions, or none.
    let mut wider = table.clone();
    let agree = unusual().iter().all(|shape| {
        let spaced = shape.with(|_, content| format!("{SPACE_BEFORE}{content}{SPACE_AFTER}"));
        match (program.run(shape, DATES[0]), program.run(&spaced, DATES[0])) {
            (Ok(text), Ok(spaced_text)) => wider.learn(shape, &text).is_ok() && wider.learn_trimming(&spaced, &spaced_text).is_ok(),
            _ => true,
        }
    });
    if agree && unusual().iter().all(|shape| wider.agrees(&program, shape)) {
        table = wider;
    }

    for shape in &shapes {
        for content in CONTENTS {
            for position in 0..shape.messages.len() {
                table.check(&program, &shape.with(|at, own| if at == position { (*content).to_owned() } else { own.to_owned() }))?;
            }
        }
    }
    table.no_empty = !shapes.iter().all(|shape| {
        ["", " ", "\n\n"].iter().all(|empty| {
            (0..shape.messages.len()).all(|position| {
                table.agrees(&program, &shape.with(|at, own| if at == position { (*empty).to_owned() } else { own.to_owned() }))
            })
        })
    });
    Ok(CompiledChat { notes: table.notes(), section: table.section() })
}

const DATES: [&str; 2] = ["26 Jul 2024", "01 Jan 2031"];
/// White space of different lengths, so that what is left of it tells which of it was trimmed.
const SPACE_BEFORE: &str = "\n \t \n";
const SPACE_AFTER: &str = " \n ";

/// Contents that templates might treat in a way of their own. None is empty or starts or ends with white space, which is probed apart, except the last ones.
const CONTENTS: &[&str] = &[
    "x",
    "two words",
    "line one\nline two\n\nline four",
    "<b>bold</b> & \"quoted\" 'text'",
    "{{ content }} {% if x %} {# c #}",
    "user",
    "system",
    "<think>thought</think>answer",
    "</think>",
    "<|im_end|>",
    "</s>",
    "[INST] x [/INST]",
    "<<SYS>>\nx\n<</SYS>>",
    "<tool_call>{\"name\": \"f\"}</tool_call>",
    "{\"json\": [1, 2.5, null]}",
    "0",
    "False",
    "naïve 日本語 👩‍👩‍👧 \u{200f}עברית",
    "a\tb  c\u{a0}d",
    "\\n \\ %s $1",
    "  indented\n",
];

/// A conversation of one kind of probe.
#[derive(Clone, Debug)]
struct Conversation {
    messages: Vec<(Role, String)>,
    end: End,
}

impl Conversation {
    fn of(roles: &[Role], end: End) -> Self {
        Self { messages: roles.iter().enumerate().map(|(at, role)| (*role, content(at))).collect(), end }
    }

    fn with(&self, change: impl Fn(usize, &str) -> String) -> Self {
        let messages = self.messages.iter().enumerate().map(|(at, (role, content))| (*role, change(at, content))).collect();
        Self { messages, end: self.end }
    }

    fn json(&self) -> Value {
        self.messages.iter().map(|(role, content)| json!({ "role": name(*role), "content": content })).collect()
    }

    /// The steps from the start to the end.
    fn transitions(&self) -> Vec<(Option<Role>, Next)> {
        let mut from = None;
        let mut steps = Vec::new();
        for (role, _) in &self.messages {
            steps.push((from, Next::Message(*role)));
            from = Some(*role);
        }
        steps.push((from, Next::End(self.end)));
        steps
    }
}

fn name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// A content that no template contains.
fn content(at: usize) -> String {
    format!("kinglet{at}probe")
}

/// User and assistant in turn, with or without a system message, shortest first.
fn alternating() -> Vec<Conversation> {
    let mut shapes = Vec::new();
    for turns in 1..=5 {
        for system in [false, true] {
            let mut roles = if system { vec![Role::System] } else { Vec::new() };
            roles.extend((0..turns).map(|turn| if turn % 2 == 0 { Role::User } else { Role::Assistant }));
            shapes.push(Conversation::of(&roles, End::Stop));
            if turns % 2 == 1 {
                shapes.push(Conversation::of(&roles, End::Reply));
            }
        }
    }
    shapes
}

/// All other orders of up to three messages, with or without a system message.
fn unusual() -> Vec<Conversation> {
    let mut shapes = Vec::new();
    for turns in 0..=3 {
        for order in 0..1 << turns {
            for system in [false, true] {
                let mut roles = if system { vec![Role::System] } else { Vec::new() };
                roles.extend((0..turns).map(|turn| if order >> turn & 1 == 0 { Role::User } else { Role::Assistant }));
                if roles.is_empty() {
                    continue;
                }
                shapes.push(Conversation::of(&roles, End::Stop));
                shapes.push(Conversation::of(&roles, End::Reply));
            }
        }
    }
    shapes
}

/// The template, ready to run as the reference runs it.
struct Program<'t> {
    environment: Environment<'t>,
    bos: Option<&'t str>,
    eos: Option<&'t str>,
}

impl<'t> Program<'t> {
    fn new(template: &'t str, bos: Option<&'t str>, eos: Option<&'t str>) -> Result<Self, ChatTemplateError> {
        let syntax = |error: minijinja::Error| ChatTemplateError::Syntax { reason: error.to_string() };
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(syntax)?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |reason: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, reason))
        });
        // A template is a loop over messages; whatever runs this long is not one.
        environment.set_fuel(Some(1_000_000));
        environment.add_template("chat", template).map_err(syntax)?;
        Ok(Self { environment, bos, eos })
    }

    /// The text of a conversation, or the template's objection.
    fn run(&self, conversation: &Conversation, date: &str) -> Result<String, String> {
        let today = date.to_owned();
        let context = context! {
            messages => minijinja::Value::from(Serde(conversation.json())),
            add_generation_prompt => conversation.end == End::Reply,
            bos_token => self.bos.unwrap_or_default(),
            eos_token => self.eos.unwrap_or_default(),
            strftime_now => minijinja::Value::from_function(move |_format: String| today.clone()),
        };
        let template = self.environment.get_template("chat").map_err(|error| error.to_string())?;
        template.render(context).map_err(|error| error.to_string())
    }
}

/// What has been learned.
#[derive(Clone, Default)]
struct Table {
    texts: BTreeMap<(Option<Role>, Next), String>,
    flags: BTreeMap<(Option<Role>, Next), u32>,
    no_empty: bool,
}

impl Table {
    fn has_all(&self, shape: &Conversation) -> bool {
        shape.transitions().iter().all(|step| self.texts.contains_key(step))
    }

    /// Takes over the texts between the contents; those known already must be the same.
    fn learn(&mut self, shape: &Conversation, text: &str) -> Result<(), ChatTemplateError> {
        let Some(parts) = between(shape, text) else { return Err(self.difference(shape, text)) };
        for (step, part) in shape.transitions().into_iter().zip(&parts) {
            if self.texts.get(&step).is_some_and(|known| known != part) {
                return Err(self.difference(shape, text));
            }
            self.texts.insert(step, (*part).to_owned());
        }
        Ok(())
    }

    /// Takes over what is trimmed, from contents with white space around them.
    fn learn_trimming(&mut self, spaced: &Conversation, text: &str) -> Result<(), ChatTemplateError> {
        let inner = spaced.with(|_, content| content.trim().to_owned());
        let Some(parts) = between(&inner, text) else { return Err(self.difference(spaced, text)) };
        for (step, part) in spaced.transitions().into_iter().zip(parts) {
            let own = self.texts.get(&step).cloned().unwrap_or_default();
            let (tail, head) = (step.0.map_or("", |_| SPACE_AFTER), if matches!(step.1, Next::Message(_)) { SPACE_BEFORE } else { "" });
            let found = [0, TRIM_BEFORE, TRIM_AFTER, TRIM_BEFORE | TRIM_AFTER].into_iter().find(|flags| {
                let tail = if flags & TRIM_BEFORE != 0 { "" } else { tail };
                let head = if flags & TRIM_AFTER != 0 { "" } else { head };
                part == format!("{tail}{own}{head}")
            });
            match (found, self.flags.get(&step)) {
                (Some(flags), None) => {
                    self.flags.insert(step, flags);
                }
                (Some(flags), Some(known)) if flags == *known => {}
                _ => return Err(self.difference(spaced, text)),
            }
        }
        Ok(())
    }

    /// What the table makes of a conversation: by the runtime's own code.
    fn render(&self, conversation: &Conversation) -> Result<String, String> {
        let section = self.section();
        let template = ChatTemplate::parse(&section).map_err(|error| error.to_string())?;
        let messages: Vec<Message<'_>> = conversation.messages.iter().map(|(role, content)| Message { role: *role, content }).collect();
        let pieces = template.render(None, &messages, conversation.end).map_err(|error| error.to_string())?;
        Ok(pieces.map(Piece::text).collect())
    }

    /// Whether template and table make the same of a conversation, or both refuse it.
    fn agrees(&self, program: &Program<'_>, conversation: &Conversation) -> bool {
        match (program.run(conversation, DATES[0]), self.render(conversation)) {
            (Ok(expected), Ok(got)) => expected == got,
            (expected, got) => expected.is_err() && got.is_err(),
        }
    }

    fn check(&self, program: &Program<'_>, conversation: &Conversation) -> Result<(), ChatTemplateError> {
        if self.agrees(program, conversation) {
            return Ok(());
        }
        let text = program.run(conversation, DATES[0]).unwrap_or_else(|reason| format!("error: {reason}"));
        Err(self.difference(conversation, &text))
    }

    fn difference(&self, conversation: &Conversation, text: &str) -> ChatTemplateError {
        ChatTemplateError::NotExpressible {
            conversation: conversation.json().to_string(),
            template: text.to_owned(),
            compiled: self.render(conversation).unwrap_or_else(|reason| format!("error: {reason}")),
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.texts.contains_key(&(None, Next::Message(Role::System))) {
            notes.push("the chat template has no system message".to_owned());
        }
        if self.no_empty {
            notes.push("the chat template has no meaning for empty messages; they are refused".to_owned());
        }
        notes
    }

    fn section(&self) -> Vec<u8> {
        let mut entries = vec![(0, String::new()); TRANSITIONS];
        for (&(from, to), text) in &self.texts {
            let flags = PRESENT | self.flags.get(&(from, to)).copied().unwrap_or(0);
            entries[transition_index(from, to)] = (flags, text.clone());
        }
        let text: String = entries.iter().map(|(_, text)| text.as_str()).collect();
        let mut section = MAGIC.to_vec();
        let mut words = vec![VERSION, if self.no_empty { NO_EMPTY } else { 0 }, text.len() as u32];
        let mut end = 0;
        for (flags, text) in &entries {
            end += text.len() as u32;
            words.extend([*flags, end]);
        }
        section.extend(words.into_iter().flat_map(u32::to_le_bytes));
        section.extend(text.as_bytes());
        section.resize(section.len().next_multiple_of(4), 0);
        section
    }
}

/// The texts before, between and after the contents, if each occurs once and in order.
fn between<'t>(shape: &Conversation, text: &'t str) -> Option<Vec<&'t str>> {
    let mut rest = text;
    let mut parts = Vec::new();
    for (_, content) in &shape.messages {
        let (before, after) = rest.split_once(content.as_str())?;
        parts.push(before);
        rest = after;
    }
    parts.push(rest);
    let repeated = shape.messages.iter().any(|(_, content)| parts.iter().any(|part| part.contains(content.as_str())));
    (!repeated).then_some(parts)
}
