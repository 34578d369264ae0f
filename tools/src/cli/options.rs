//! Options that several commands share, under the names that people know.

use super::out::{Failure, error, usage};
use clap::Args;
use std::path::{Path, PathBuf};

/// The model file and what runs it.
#[derive(Args, Clone, Debug)]
pub(crate) struct ModelArgs {
    /// Model file (.kgl)
    #[arg(short = 'm', long, value_name = "FILE")]
    pub(crate) model: PathBuf,

    /// Threads [default: the fast cores that this process may use]
    #[arg(short = 't', long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<usize>,

    /// Cache of keys and values; i8 is a quarter of f32 (also -ctk)
    #[arg(long = "cache", visible_alias = "cache-type-k", value_name = "TYPE", default_value = "i8", value_parser = ["i8", "f32"])]
    pub(crate) cache: String,

    /// Tokens of a prompt that are evaluated together; logits do not depend on it (also -ub)
    #[arg(short = 'b', long = "batch-size", visible_alias = "ubatch-size", value_name = "N", default_value_t = DEFAULT_BATCH, value_parser = positive)]
    pub(crate) batch: usize,
}

/// Large enough that weights are read from memory once for many tokens, small enough for a few MiB of activations.
pub(crate) const DEFAULT_BATCH: usize = 128;

/// The context where nothing is asked for: the model's own, up to this.
pub(crate) const DEFAULT_CONTEXT: usize = 4096;

/// The most threads that can be asked for.
pub(crate) const MAX_THREADS: usize = 256;

/// How many positions there is room for.
#[derive(Args, Clone, Debug)]
pub(crate) struct ContextArgs {
    /// Context size in tokens; 0: what the model was made for [default: that, at most 4096]
    #[arg(short = 'c', long = "ctx-size", value_name = "N")]
    pub(crate) context: Option<usize>,
}

impl ContextArgs {
    /// The context for a model that was made for `own` positions.
    #[must_use]
    pub(crate) fn resolve(&self, own: u32) -> usize {
        match self.context {
            None => DEFAULT_CONTEXT.min(own as usize),
            Some(0) => own as usize,
            Some(n) => n,
        }
    }
}

/// Where the prompt comes from.
#[derive(Args, Clone, Debug)]
pub(crate) struct PromptArgs {
    /// Prompt
    #[arg(short = 'p', long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,

    /// File with the prompt, `-` for stdin; one newline at its end is dropped
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "prompt")]
    pub(crate) file: Option<PathBuf>,

    /// Take \n, \t, \\, \" and the like in -p and -r as they stand
    #[arg(long)]
    pub(crate) no_escape: bool,

    /// Take \n, \t, \\, \" and the like in -p and -r as escapes (the default)
    #[arg(short = 'e', long, conflicts_with = "no_escape")]
    pub(crate) escape: bool,
}

impl PromptArgs {
    /// The prompt, if there is one.
    ///
    /// # Errors
    /// If the file cannot be read or is not UTF-8.
    pub(crate) fn read(&self) -> Result<Option<String>, Failure> {
        match (&self.prompt, &self.file) {
            (Some(text), _) => Ok(Some(self.unescaped(text))),
            (None, Some(path)) => read_text(path).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Text from the command line, its escapes resolved unless `--no-escape` was given.
    #[must_use]
    pub(crate) fn unescaped(&self, text: &str) -> String {
        if self.no_escape { text.to_owned() } else { unescape(text) }
    }
}

/// A text file, or stdin for `-`, without one newline at its end.
///
/// # Errors
/// If it cannot be read or is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    }
    .map_err(|e| Failure::file(path, e))?;
    let mut text = String::from_utf8(bytes)
        .map_err(|e| Failure::file(path, format_args!("expected UTF-8, got an invalid byte at {}", e.utf8_error().valid_up_to())))?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

/// The escapes `\n \r \t \' \" \\ \xHH`; any other backslash stays.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let hex = after.strip_prefix('x').and_then(|h| h.get(..2)).filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
        let hex = hex.and_then(|h| u8::from_str_radix(h, 16).ok()).filter(u8::is_ascii);
        let (c, len) = match (after.chars().next(), hex) {
            (Some('n'), _) => ('\n', 1),
            (Some('r'), _) => ('\r', 1),
            (Some('t'), _) => ('\t', 1),
            (Some(c @ ('\'' | '"' | '\\')), _) => (c, 1),
            (Some('x'), Some(byte)) => (byte.into(), 3),
            _ => ('\\', 0),
        };
        out.push(c);
        rest = &after[len..];
    }
    out + rest
}

/// How the next token is chosen.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Seed; negative: a new one, shown at the end
    #[arg(short = 's', long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) seed: i64,

    /// Temperature; 0: always the likeliest token
    #[arg(long = "temp", visible_alias = "temperature", value_name = "T", default_value_t = 0.8, allow_negative_numbers = true, value_parser = not_negative)]
    pub(crate) temperature: f32,

    /// Only the K likeliest tokens; 0: all
    #[arg(long, value_name = "K", default_value_t = 40)]
    pub(crate) top_k: u32,

    /// Only the likeliest tokens that together have probability P; 1: all
    #[arg(long, value_name = "P", default_value_t = 0.95, value_parser = share)]
    pub(crate) top_p: f32,

    /// Only tokens at least P times as likely as the likeliest; 0: all
    #[arg(long, value_name = "P", default_value_t = 0.05, value_parser = share)]
    pub(crate) min_p: f32,

    /// Divide (or multiply, where negative) the logits of recent tokens by this; 1: do not
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = above_zero)]
    pub(crate) repeat_penalty: f32,

    /// How many tokens count as recent; 0: none, -1: the context
    #[arg(long, value_name = "N", default_value_t = 64, allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    pub(crate) repeat_last_n: i64,

    /// Subtract this from the logits of recent tokens
    #[arg(long, value_name = "F", default_value_t = 0.0, allow_negative_numbers = true, value_parser = finite)]
    pub(crate) presence_penalty: f32,

    /// Subtract this from the logits of recent tokens, times their count
    #[arg(long, value_name = "F", default_value_t = 0.0, allow_negative_numbers = true, value_parser = finite)]
    pub(crate) frequency_penalty: f32,

    /// Add BIAS to a token's logit, as in 15043+1 or 2-inf; may be repeated
    #[arg(short = 'l', long, value_name = "ID(+/-)BIAS", value_parser = logit_bias)]
    pub(crate) logit_bias: Vec<(u32, f32)>,

    /// Never end by the model's own end token
    #[arg(long)]
    pub(crate) ignore_eos: bool,

    /// End before this text; may be repeated
    #[arg(short = 'r', long = "reverse-prompt", visible_alias = "stop", value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) stop: Vec<String>,
}

impl SamplingArgs {
    /// The seed to use: the given one, or a new one.
    #[must_use]
    pub(crate) fn seed(&self) -> u64 {
        u64::try_from(self.seed).unwrap_or_else(|_| {
            // The standard library's hasher is seeded by the system. 32 bits are enough to tell runs apart, and short to type.
            use std::hash::{BuildHasher, Hasher};
            std::collections::hash_map::RandomState::new().build_hasher().finish() >> 32
        })
    }
}

fn number(text: &str, what: &str, ok: impl Fn(f32) -> bool) -> Result<f32, String> {
    text.parse::<f32>().ok().filter(|&v| v.is_finite() && ok(v)).ok_or_else(|| format!("expected {what}"))
}

fn finite(text: &str) -> Result<f32, String> {
    number(text, "a number", |_| true)
}

fn not_negative(text: &str) -> Result<f32, String> {
    number(text, "a number of at least 0", |v| v >= 0.0)
}

fn above_zero(text: &str) -> Result<f32, String> {
    number(text, "a number above 0", |v| v > 0.0)
}

fn share(text: &str) -> Result<f32, String> {
    number(text, "a number from 0 to 1", |v| (0.0..=1.0).contains(&v))
}

/// A whole number of at least 1.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a whole number of at least 1".to_owned())
}

/// A number of threads.
pub(crate) fn threads(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=MAX_THREADS).contains(n)).ok_or_else(|| format!("expected 1 to {MAX_THREADS} threads"))
}

fn logit_bias(text: &str) -> Result<(u32, f32), String> {
    let parsed = || {
        let (id, bias) = text.split_at(text.find(['+', '-'])?);
        // `+inf` would leave no choice between two of them; `-inf` forbids a token.
        let bias: f32 = bias.parse().ok().filter(|b: &f32| b.is_finite() || *b == f32::NEG_INFINITY)?;
        Some((id.parse().ok()?, bias))
    };
    parsed().ok_or_else(|| "expected a token id, a sign and a number, as in 15043+1 or 2-inf".to_owned())
}

/// The short options of more than one letter that llama.cpp has: only these whole words, before any `--`.
#[must_use]
pub(crate) fn expand_short_options(args: impl IntoIterator<Item = std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    const LONG: [(&str, &str); 4] = [("-ctk", "--cache"), ("-ub", "--batch-size"), ("-sys", "--system"), ("-sysf", "--system-file")];
    let mut options = true;
    args.into_iter()
        .map(|arg| {
            options &= arg != "--";
            LONG.iter().find(|(short, _)| options && arg == *short).map_or(arg, |(_, long)| long.into())
        })
        .collect()
}

/// The prompt, or why there must be one.
///
/// # Errors
/// [`Failure::Usage`] without a prompt; what [`PromptArgs::read`] says.
pub(crate) fn required_prompt(args: &PromptArgs) -> Result<String, Failure> {
    let text = args.read()?.ok_or_else(|| usage("no prompt: expected -p TEXT or -f FILE"))?;
    if text.is_empty() { Err(error("the prompt is empty: expected text in -p or -f")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_resolve_and_others_stay() {
        let cases = [
            ("a\\nb\\tc", "a\nb\tc"),
            ("\\\\n", "\\n"),
            ("\\q\\", "\\q\\"),
            ("\\x41\\x4\\xff\\xé", "A\\x4\\xff\\xé"),
            ("\\'\\\"", "'\""),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(unescape(text), expected, "{text}");
        }
    }

    #[test]
    fn logit_biases_parse() {
        assert_eq!(logit_bias("15043+1"), Ok((15043, 1.0)));
        assert_eq!(logit_bias("2-inf"), Ok((2, f32::NEG_INFINITY)));
        assert_eq!(logit_bias("7-0.5"), Ok((7, -0.5)));
        for bad in ["", "7", "+1", "7+", "7+inf", "7+nan", "-7-1", "x+1"] {
            assert!(logit_bias(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn known_short_options_expand_once_and_only_as_words() {
        let expand = |args: &[&str]| -> Vec<String> {
            expand_short_options(args.iter().map(|a| a.into())).into_iter().map(|a| a.into_string().unwrap()).collect()
        };
        assert_eq!(expand(&["run", "-ctk", "f32", "-ctkx", "--", "-ub"]), ["run", "--cache", "f32", "-ctkx", "--", "-ub"]);
    }

    #[test]
    fn contexts_resolve() {
        let context = |n| ContextArgs { context: n };
        assert_eq!(context(None).resolve(8192), 4096);
        assert_eq!(context(None).resolve(512), 512);
        assert_eq!(context(Some(0)).resolve(8192), 8192);
        assert_eq!(context(Some(77)).resolve(8192), 77);
    }
}
