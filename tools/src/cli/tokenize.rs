//! `kinglet tokenize`: text to ids and back, as the model sees it.

use super::engine;
use super::options::PromptArgs;
use super::out::{Done, error, model_text, say, text, usage};
use super::text::printable;
use kinglet::tokenizer::{DecodeOptions, Decoder, EncodeOptions, TokenId, Tokenizer};
use std::path::PathBuf;

/// Show how a text becomes tokens, or tokens become text
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kinglet tokenize -m smol.kgl -p \"Hello, world\"         id and text of each token, a line each
  kinglet tokenize -m smol.kgl -f book.txt --count       only their number
  kinglet tokenize -m smol.kgl -p Hello --ids            ids on one line
  kinglet tokenize -m smol.kgl --decode 19556,28,905     ids back to text")]
pub(crate) struct TokenizeArgs {
    /// Model file (.kgl)
    #[arg(short = 'm', long, value_name = "FILE")]
    model: PathBuf,

    #[command(flatten)]
    prompt: PromptArgs,

    /// Print only the ids, on one line
    #[arg(long)]
    ids: bool,

    /// Print only the number of tokens
    #[arg(long, alias = "show-count", conflicts_with = "ids")]
    count: bool,

    /// Do not add the tokens that the model expects around a text
    #[arg(long, visible_alias = "no-bos")]
    no_special: bool,

    /// Take text that spells a control token as text
    #[arg(long)]
    no_parse_special: bool,

    /// Ids to turn into text, separated by commas or spaces
    #[arg(long, value_name = "IDS", num_args = 1.., value_delimiter = ',', conflicts_with_all = ["prompt", "file", "ids", "count"])]
    decode: Vec<String>,
}

pub(crate) fn run(args: &TokenizeArgs) -> Done {
    let file = engine::open(&args.model)?;
    let model = engine::model(&args.model, &file)?;
    let tokenizer = engine::tokenizer(&args.model, &model)?;
    if !args.decode.is_empty() {
        return decode(tokenizer, &args.decode);
    }
    let prompt = args.prompt.read()?.ok_or_else(|| usage("nothing to tokenize: expected -p TEXT, -f FILE or --decode IDS"))?;
    let options = EncodeOptions { parse_special: !args.no_parse_special, add_special: !args.no_special, ..EncodeOptions::default() };
    let tokens = engine::encode(tokenizer, &prompt, &options)?;
    if args.count {
        return say!("{}", tokens.len());
    }
    if args.ids {
        return say!("{}", tokens.iter().map(|t| t.0.to_string()).collect::<Vec<_>>().join(","));
    }
    let mut lines = String::new();
    for &token in &tokens {
        lines += &format!("{:>7}  {}\n", token.0, printable(&String::from_utf8_lossy(tokenizer.bytes(token))));
    }
    text(lines.as_bytes())
}

fn decode(tokenizer: &Tokenizer<'_>, ids: &[String]) -> Done {
    let mut decoder = Decoder::new(tokenizer, DecodeOptions { skip_special: false, ..DecodeOptions::default() });
    let mut buffer = vec![0; decoder.buffer_bytes()];
    let mut out = String::new();
    for id in ids.iter().flat_map(|part| part.split([',', ' '])).filter(|id| !id.is_empty()) {
        let bad = || usage(format_args!("--decode: expected a token id below {}, got `{}`", tokenizer.vocab_size(), printable(id)));
        let id = id.parse().ok().filter(|&id| id < tokenizer.vocab_size()).ok_or_else(bad)?;
        out += decoder.push(TokenId(id), &mut buffer).map_err(error)?;
    }
    out += decoder.finish(&mut buffer).map_err(error)?;
    model_text(&(out + "\n"))
}
