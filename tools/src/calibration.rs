//! Calibration: how much each input of a matrix matters, measured by running the model on a text.
//!
//! An error in a weight costs what its input makes of it, so that the quantisers minimise `Σ h_c (w - ŵ)²` with
//! `h_c = E[x_c²]`, the mean square of input `c`: the diagonal of the Hessian that GPTQ (Frantar et al. 2022) works
//! with. Large models feed a few channels hundreds of times as strongly as the others; without `h` those would be
//! rounded no better than the rest.
//!
//! The model runs from an f16 copy, which stands unnamed on the disk of the output while it is needed. The runtime gives
//! the same bits on every machine and for any number of threads, and so does the calibration.

use kinglet::format::Section;
use kinglet::kernels::Kernels;
use kinglet::kv::CacheType;
use kinglet::model::Model;
use kinglet::session::{Options, Plan, Session};
use kinglet::spec::TensorKey;
use kinglet::tokenizer::chat::{ChatTemplate, End, Message, Role};
use kinglet::tokenizer::{EncodeError, EncodeOptions, TokenId, Tokenizer};
use kinglet::workers::Workers;
use std::collections::BTreeMap;

/// The text that is used when none is given: novels, letters, code, a little of other languages.
pub const BUILT_IN: &str = include_str!("calibration/text.txt");
/// Questions and answers of the kind that assistants are asked.
const CONVERSATIONS: [(&str, &str); 8] = [
    ("What is the largest planet of the solar system?", "The largest planet of the solar system is Jupiter."),
    ("Who wrote Pride and Prejudice?", "Pride and Prejudice was written by Jane Austen and published in 1813."),
    (
        "Please explain how bread rises.",
        "Yeast eats sugar in the dough and gives off carbon dioxide. The gas is caught by gluten, so the dough rises.",
    ),
    ("Write a function in Python that returns the square of a number.", "def square(x):\n    return x * x"),
    ("What is 12 plus 30?", "12 plus 30 is 42."),
    ("Give me three names for a small bird.", "1. Pip\n2. Goldie\n3. Thimble"),
    ("How do I say good morning in German?", "In German, good morning is \"Guten Morgen\"."),
    ("Can you shorten this: The meeting that was planned for Monday will be held on Tuesday.", "The meeting moves from Monday to Tuesday."),
];
/// Tokens that are run, at most: the figures hardly change beyond.
pub const MAX_TOKENS: usize = 6144;
/// Tokens that see each other: long enough for the beginning of a text, whose channels are the strongest, and its rest.
const CONTEXT: usize = 1024;
/// Tokens that are run at once.
const BATCH: usize = 64;

/// Mean squares of the inputs of matrices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Importance {
    of: BTreeMap<TensorKey, Vec<f32>>,
}

impl Importance {
    /// The importance of the columns of a matrix, the greatest being 1; `None` if it was not measured.
    #[must_use]
    pub fn of(&self, key: TensorKey) -> Option<&[f32]> {
        self.of.get(&key).map(Vec::as_slice)
    }

    /// Runs `model`, whose matrices must be f16 or f32, on `text`. `progress` is told the share done, 0 to 1, after each
    /// batch, and ends it by returning `false`: the result is then `None`.
    ///
    /// # Errors
    /// A sentence, if the model cannot run the text.
    pub fn measure(
        model: &Model<'_>,
        tokenizer: &Tokenizer<'_>,
        text: &str,
        workers: &dyn Workers,
        progress: &mut dyn FnMut(f64) -> bool,
    ) -> Result<Option<Self>, String> {
        let context = CONTEXT.min(model.spec().context as usize);
        let texts = texts(model, tokenizer, text, context).map_err(|e| e.to_string())?;
        let total: usize = texts.iter().map(Vec::len).sum();
        if total == 0 {
            return Err("the text has no tokens".to_owned());
        }
        let options = Options { context, batch: BATCH.min(context), cache: CacheType::I8, logit_rows: 1 };
        let plan = Plan::new(model.spec(), options).map_err(|e| e.to_string())?;
        let mut arena = vec![0; plan.arena_bytes()];
        let mut session = Session::new(model, &plan, &mut arena, Kernels::best(), workers).map_err(|e| e.to_string())?;
        let mut sums: BTreeMap<TensorKey, Vec<f64>> = BTreeMap::new();
        let mut done = 0;
        for text in &texts {
            session.truncate(0).map_err(|e| e.to_string())?;
            for batch in text.chunks(options.batch) {
                let mut add = |key: TensorKey, inputs: &[f32]| {
                    let cols = inputs.len() / batch.len();
                    let sums = sums.entry(key).or_insert_with(|| vec![0.0; cols]);
                    for inputs in inputs.chunks_exact(cols) {
                        sums.iter_mut().zip(inputs).for_each(|(sum, x)| *sum += f64::from(*x) * f64::from(*x));
                    }
                };
                session.observe(batch, &mut add).map_err(|e| e.to_string())?;
                done += batch.len();
                if !progress(done as f64 / total as f64) {
                    return Ok(None);
                }
            }
        }
        let normal = |sums: Vec<f64>| -> Option<Vec<f32>> {
            let greatest = sums.iter().fold(0.0f64, |m, s| m.max(*s));
            // Weights that are not finite give such sums; the conversion itself then names the weight.
            (greatest > 0.0 && sums.iter().all(|s| s.is_finite())).then(|| sums.iter().map(|s| (s / greatest) as f32).collect())
        };
        Ok(Some(Self { of: sums.into_iter().filter_map(|(key, sums)| Some((key, normal(sums)?))).collect() }))
    }
}

/// What is run, each from an empty cache: the text in pieces, and a few conversations if the model has a chat format,
/// because it begins those with tokens that no text has.
fn texts(model: &Model<'_>, tokenizer: &Tokenizer<'_>, text: &str, context: usize) -> Result<Vec<Vec<TokenId>>, EncodeError> {
    let mut tokens = encode(tokenizer, text, &EncodeOptions::default())?;
    tokens.truncate(MAX_TOKENS);
    let mut texts: Vec<Vec<TokenId>> = tokens.chunks(context).map(<[_]>::to_vec).collect();
    let Ok(template) = ChatTemplate::parse(model.container().section(Section::Chat)) else { return Ok(texts) };
    for (question, answer) in CONVERSATIONS {
        let messages = [Message { role: Role::User, content: question }, Message { role: Role::Assistant, content: answer }];
        let mut out = vec![0; 8192];
        let mut literal = vec![0..0; 16];
        // A template that cannot say this is no reason to fail: the text is calibration enough.
        let Ok((prompt, literal)) = template.assemble(None, &messages, End::Stop, &mut out, &mut literal) else { continue };
        let options = EncodeOptions { parse_special: true, literal, add_special: false, continues: false };
        let mut tokens = encode(tokenizer, prompt, &options)?;
        tokens.truncate(context);
        texts.push(tokens);
    }
    Ok(texts)
}

fn encode(tokenizer: &Tokenizer<'_>, text: &str, options: &EncodeOptions<'_>) -> Result<Vec<TokenId>, EncodeError> {
    let mut scratch = vec![0; tokenizer.scratch_words(text.len())];
    let mut tokens = vec![TokenId(0); tokenizer.max_tokens(text.len())];
    let n = tokenizer.encode(text, options, &mut scratch, &mut tokens)?;
    tokens.truncate(n);
    Ok(tokens)
}
