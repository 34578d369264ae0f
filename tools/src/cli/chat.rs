//! `kinglet chat`: a conversation, in the format that the model was trained on.

use super::Global;
use super::engine::{self, Machine};
use super::generate::{End, Limits, Story, Writer, note_memory};
use super::options::{ContextArgs, ModelArgs, PromptArgs, SamplingArgs, read_text};
use super::out::{Done, Failure, error, interrupt, model_text, note, text};
use super::sampling::{self, Chooser, Stops};
use super::text::{duration, printable, rate, thousands};
use kinglet::format::{Container, Section};
use kinglet::tokenizer::chat::{self, ChatTemplate, Message, Next, Piece, Role};
use kinglet::tokenizer::{EncodeOptions, TokenId, Tokenizer};
use rustyline::error::ReadlineError;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

/// Talk to a model
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kinglet chat -m smol.kgl
  kinglet chat -m smol.kgl --system \"Answer in one sentence.\"
  kinglet chat -m smol.kgl -p \"What is the capital of France?\" --temp 0    one answer

A line is a message; one that ends with \\ goes on in the next line. Ctrl-C ends an answer, Ctrl-D the conversation. \
/help lists commands. When the context is full the oldest messages are forgotten, never the system prompt. Messages can \
be piped in, a line each; answers go to stdout, everything else to stderr.")]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    prompt: PromptArgs,

    /// System prompt (also -sys)
    #[arg(long, visible_alias = "system-prompt", value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,

    /// File with the system prompt (also -sysf)
    #[arg(long, visible_alias = "system-prompt-file", value_name = "FILE", conflicts_with = "system")]
    system_file: Option<PathBuf>,

    /// Tokens of an answer, at most; -1: until it ends
    #[arg(short = 'n', long = "predict", visible_alias = "n-predict", value_name = "N", default_value_t = -1, allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-2..))]
    predict: i64,

    #[command(flatten)]
    sampling: SamplingArgs,
}

const COMMANDS: &str = "\
/help     this list
/reset    forget the conversation, keep the system prompt
/stats    tokens, speed, memory
/exit     leave, as Ctrl-D does
A line that ends with \\ goes on in the next one. Ctrl-C ends an answer.";

/// The roles that a file's chat section knows; none without one.
///
/// # Errors
/// If the section is malformed.
pub(crate) fn roles(container: &Container<'_>) -> Result<Vec<String>, String> {
    let section = container.section(Section::Chat);
    if section.is_empty() {
        return Ok(Vec::new());
    }
    let template = ChatTemplate::parse(section).map_err(|e| format!("chat: {e}"))?;
    let sources = [None, Some(Role::System), Some(Role::User), Some(Role::Assistant)];
    let has = |role| sources.iter().any(|&from| template.has(from, Next::Message(role)));
    let names = [("system", Role::System), ("user", Role::User), ("assistant", Role::Assistant)];
    Ok(names.iter().filter(|(_, role)| has(*role)).map(|(name, _)| (*name).to_owned()).collect())
}

/// A message and what was answered.
struct Exchange {
    message: String,
    /// The answer's tokens without the end token: the template says what stands there.
    answer: Vec<TokenId>,
}

/// The conversation as text and tokens.
struct Conversation<'a, 'm> {
    template: &'a ChatTemplate<'m>,
    tokenizer: &'a Tokenizer<'m>,
    system: Option<String>,
    exchanges: Vec<Exchange>,
}

impl Conversation<'_, '_> {
    /// Everything so far, ready for the next answer.
    fn tokens(&self) -> Result<Vec<TokenId>, Failure> {
        let mut tokens = Vec::new();
        for (i, exchange) in self.exchanges.iter().enumerate() {
            let user = Message { role: Role::User, content: &exchange.message };
            let system = self.system.as_deref().map(|content| Message { role: Role::System, content });
            let messages: Vec<Message<'_>> = system.filter(|_| i == 0).into_iter().chain([user]).collect();
            let from = (i > 0).then_some(Role::Assistant);
            let (mut text, mut literal) = (String::new(), Vec::new());
            for piece in self.template.render(from, &messages, chat::End::Reply).map_err(error)? {
                let start = text.len();
                text += piece.text();
                if let Piece::Content(_) = piece {
                    literal.push(start..text.len());
                }
            }
            let options = EncodeOptions { parse_special: true, literal: &literal, add_special: false, continues: i > 0 };
            tokens.extend(engine::encode(self.tokenizer, &text, &options)?);
            tokens.extend(&exchange.answer);
        }
        Ok(tokens)
    }

    /// [`Conversation::tokens`], after the oldest exchanges are forgotten as far as `room` demands.
    fn tokens_within(&mut self, room: usize) -> Result<Vec<TokenId>, Failure> {
        let mut forgotten = 0;
        loop {
            let tokens = self.tokens()?;
            if tokens.len() <= room || self.exchanges.len() <= 1 {
                if forgotten > 0 {
                    note!("[context full: the oldest {forgotten} of {} messages forgotten]", forgotten + self.exchanges.len());
                }
                return Ok(tokens);
            }
            self.exchanges.remove(0);
            forgotten += 1;
        }
    }
}

pub(crate) fn run(global: Global, args: &ChatArgs) -> Done {
    let path = &args.model.model;
    let once = args.prompt.read()?;
    let system = match &args.system_file {
        Some(file) => Some(read_text(file)?),
        None => args.system.as_deref().map(|text| args.prompt.unescaped(text)),
    };
    let machine = Machine::new(global, args.model.threads)?;
    let file = engine::open(path)?;
    let model = engine::model(path, &file)?;
    let tokenizer = engine::tokenizer(path, &model)?;
    let section = model.container().section(Section::Chat);
    if section.is_empty() {
        return Err(Failure::file(path, "the model has no chat format; use `kinglet run`, which continues a text"));
    }
    let template = ChatTemplate::parse(section).map_err(|e| Failure::file(path, e))?;
    let context = args.context.resolve(model.spec().context);
    let plan = engine::plan(&model, &args.model, context)?;
    let mut arena = engine::arena(&plan)?;
    let mut session = engine::session(&model, &plan, &mut arena, &machine)?;
    let seed = args.sampling.seed();
    let biases = sampling::biases(&args.sampling, tokenizer, model.spec().vocab)?;
    let chooser = Chooser::new(&args.sampling, &biases, model.spec().vocab, context, seed)?;
    let stops: Vec<String> = args.sampling.stop.iter().map(|s| args.prompt.unescaped(s)).collect();
    let limits = Limits { tokens: usize::try_from(args.predict).ok(), keep: None };
    let mut talk = Talk {
        conversation: Conversation { template: &template, tokenizer, system, exchanges: Vec::new() },
        writer: Writer::new(&mut session, tokenizer, args.model.batch),
        chooser,
        stops: stops.iter().map(String::as_str).collect(),
        limits,
        context,
        answered: (0, 0.0),
    };
    // Whatever is wrong with the system prompt is better said before the first message.
    talk.conversation.exchanges.push(Exchange { message: "x".into(), answer: Vec::new() });
    let least = talk.conversation.tokens()?.len();
    talk.conversation.exchanges.clear();
    if least >= context {
        return Err(error(format_args!("the system prompt takes {least} tokens of a context of {context}: expected a larger -c")));
    }

    interrupt::install();
    if let Some(message) = once {
        let story = talk.answer(message)?;
        if global.verbose {
            note!("\nseed     {seed}");
            story.note();
        }
        return match story.end {
            End::Interrupt => Err(Failure::Interrupted),
            End::ContextFull => Err(error(format_args!("the context of {context} positions is full: expected a larger -c"))),
            _ => Ok(()),
        };
    }
    let mut input = Input::new();
    if input.is_terminal() {
        note!("{machine}, context {}, seed {seed}; /help lists commands, Ctrl-D leaves", thousands(context as u64));
    }
    while let Some(line) = input.next()? {
        match line.trim() {
            "" => {}
            "/exit" | "/quit" => break,
            "/help" => note!("{COMMANDS}"),
            "/reset" => talk.conversation.exchanges.clear(),
            "/stats" => talk.note(),
            word if word.starts_with('/') && !word.contains(char::is_whitespace) => {
                note!("unknown command {}; /help lists them", printable(word));
            }
            _ => match talk.answer(line) {
                Ok(story) => {
                    if global.verbose {
                        story.note();
                    }
                    if story.end == End::ContextFull {
                        note!("[context full: the answer is cut]");
                    }
                }
                // A message that the model cannot take is no reason to lose the conversation.
                Err(Failure::Error(message)) if input.is_terminal() => note!("kinglet: error: {message}"),
                Err(failure) => return Err(failure),
            },
        }
    }
    Ok(())
}

/// A running conversation.
struct Talk<'s, 'a, 'm> {
    conversation: Conversation<'s, 'm>,
    writer: Writer<'s, 'a, 'm>,
    chooser: Chooser<'s>,
    stops: Vec<&'s str>,
    limits: Limits,
    context: usize,
    /// Tokens of all answers, and the seconds that they took.
    answered: (usize, f64),
}

impl Talk<'_, '_, '_> {
    /// Prints the answer to a message. Only what is new since the last answer is evaluated.
    fn answer(&mut self, message: String) -> Result<Story, Failure> {
        interrupt::clear();
        self.conversation.exchanges.push(Exchange { message, answer: Vec::new() });
        let story = self.write();
        if story.is_err() {
            // Half an exchange would be in every later prompt.
            self.conversation.exchanges.pop();
        }
        story
    }

    /// Prints the answer to the last message, and keeps it.
    fn write(&mut self) -> Result<Story, Failure> {
        let prompt = self.prompt()?;
        let start = prompt.len();
        self.writer.rebase(prompt)?;
        let mut held = sampling::held(&self.stops);
        let mut stops = Stops::new(&self.stops, &mut held)?;
        let story = self.writer.write(&[], self.limits, &mut self.chooser, &mut stops, &mut |piece| model_text(piece))?;
        text(b"\n")?;
        self.answered = (self.answered.0 + story.generated(), self.answered.1 + story.seconds());
        let mut answer = self.writer.tokens()[start..].to_vec();
        if story.end == End::Token {
            answer.pop();
        }
        if let Some(exchange) = self.conversation.exchanges.last_mut() {
            exchange.answer = answer;
        }
        Ok(story)
    }

    /// The conversation's tokens, with room for an answer where forgetting can make it.
    fn prompt(&mut self) -> Result<Vec<TokenId>, Failure> {
        let reserve = self.limits.tokens.unwrap_or(usize::MAX).min(self.context / 4);
        let prompt = self.conversation.tokens_within(self.context - reserve)?;
        if prompt.len() >= self.context {
            let n = thousands(prompt.len() as u64);
            return Err(error(format_args!(
                "the message takes {n} tokens of a context of {}: expected a shorter one, or a larger -c",
                self.context
            )));
        }
        Ok(prompt)
    }

    fn note(&self) {
        let (tokens, seconds) = self.answered;
        let used = thousands(self.conversation.tokens().map_or(0, |t| t.len()) as u64);
        note!("context  {used} of {} tokens of context used", thousands(self.context as u64));
        note!("answers  {} tokens in {}, {:.1} tokens/s", thousands(tokens as u64), duration(seconds), rate(tokens, seconds));
        note_memory();
    }
}

/// Where messages come from: a line editor on a terminal, plain lines otherwise.
enum Input {
    Editor { editor: Box<rustyline::Editor<Continuation, rustyline::history::FileHistory>>, history: Option<PathBuf> },
    Lines,
}

/// Lets a line that ends with a backslash go on.
struct Continuation;

impl rustyline::validate::Validator for Continuation {
    fn validate(
        &self,
        context: &mut rustyline::validate::ValidationContext<'_>,
    ) -> rustyline::Result<rustyline::validate::ValidationResult> {
        use rustyline::validate::ValidationResult::{Incomplete, Valid};
        Ok(if context.input().ends_with('\\') { Incomplete } else { Valid(None) })
    }
}
impl rustyline::completion::Completer for Continuation {
    type Candidate = String;
}
impl rustyline::hint::Hinter for Continuation {
    type Hint = String;
}
impl rustyline::highlight::Highlighter for Continuation {}
impl rustyline::Helper for Continuation {}

/// Where the history is kept: `$XDG_STATE_HOME/kinglet/history`, or under `~/.local/state`.
fn history_path() -> Option<PathBuf> {
    let home = |key: &str| std::env::var_os(key).filter(|v| !v.is_empty()).map(PathBuf::from);
    let state = home("XDG_STATE_HOME").or_else(|| Some(home("HOME")?.join(".local/state")))?;
    Some(state.join("kinglet/history"))
}

impl Input {
    fn new() -> Self {
        if !std::io::stdin().is_terminal() {
            return Input::Lines;
        }
        // On the terminal itself, so that stdout has answers only.
        let config = rustyline::Config::builder().auto_add_history(true).behavior(rustyline::Behavior::PreferTerm).build();
        let Ok(mut editor) = rustyline::Editor::with_config(config) else { return Input::Lines };
        editor.set_helper(Some(Continuation));
        let history = history_path().filter(|path| path.parent().is_some_and(|folder| std::fs::create_dir_all(folder).is_ok()));
        if let Some(path) = &history {
            // There is none before the first conversation.
            let _ = editor.load_history(path);
        }
        Input::Editor { editor: Box::new(editor), history }
    }

    fn is_terminal(&self) -> bool {
        matches!(self, Input::Editor { .. })
    }

    /// The next message; `None` at the end.
    fn next(&mut self) -> Result<Option<String>, Failure> {
        match self {
            Input::Lines => {
                let mut whole = String::new();
                loop {
                    let mut line = String::new();
                    let n = std::io::stdin().lock().read_line(&mut line).map_err(|e| error(format_args!("stdin: {e}")))?;
                    whole += line.trim_end_matches(['\n', '\r']);
                    if n == 0 {
                        return Ok((!whole.is_empty()).then_some(whole));
                    }
                    if !whole.ends_with('\\') {
                        return Ok(Some(whole));
                    }
                    whole.pop();
                    whole.push('\n');
                }
            }
            Input::Editor { editor, .. } => loop {
                match editor.readline("> ") {
                    Ok(line) => return Ok(Some(line.replace("\\\n", "\n"))),
                    Err(ReadlineError::Interrupted) => note!("Ctrl-D leaves"),
                    Err(ReadlineError::Eof) => return Ok(None),
                    Err(e) => return Err(error(format_args!("terminal: {e}"))),
                }
            },
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Input::Editor { editor, history: Some(path) } = self {
            // A history that cannot be saved is a comfort lost, not a failure.
            let _ = editor.save_history(path);
        }
    }
}
