//! Kinglet: a `no_std` runtime for int4/int8-quantised transformers.
//!
//! A `.kgl` file is used where it lies: mapped, or in flash. [`format`](mod@format) checks it once, [`model`] binds its tensors,
//! [`session`] runs it over an arena that the caller hands over. Logits are the same bits on every machine, for any
//! number of threads and any split of the prompt.
//!
//! It does not train, does not convert checkpoints (that is `kinglet-tools`), executes nothing that a file contains, and has no
//! global state. `docs/design.md` is the map of its modules.
//!
//! # A prompt
//!
//! What `runtime/capi/examples/hello.c` does in C: a file is mapped, a prompt is run, and text comes token by token.
//!
//! ```
//! use kinglet::kernels::Kernels;
//! use kinglet::map::MappedFile;
//! use kinglet::model::Model;
//! use kinglet::sampler::{Candidate, Sampler, SamplerConfig};
//! use kinglet::session::{Options, Plan, Session};
//! use kinglet::tokenizer::{DecodeOptions, Decoder, EncodeOptions, TokenId};
//! use kinglet::workers::Pool;
//!
//! fn hello(path: &str, prompt: &str, tokens: usize) -> Result<String, Box<dyn std::error::Error>> {
//!     let file = MappedFile::open(path)?;
//!     let model = Model::new(file.bytes())?;
//!     let tokenizer = model.tokenizer().ok_or("the file has no tokenizer")?;
//!
//!     let mut scratch = vec![0; tokenizer.scratch_words(prompt.len())];
//!     let mut history = vec![TokenId(0); tokenizer.max_tokens(prompt.len())];
//!     let n = tokenizer.encode(prompt, &EncodeOptions::default(), &mut scratch, &mut history)?;
//!     history.truncate(n);
//!
//!     let plan = Plan::new(model.spec(), Options { context: n + tokens, ..Options::default() })?;
//!     let mut arena = vec![0; plan.arena_bytes()];
//!     let pool = Pool::new(std::thread::available_parallelism()?.get())?;
//!     let mut session = Session::new(&model, &plan, &mut arena, Kernels::best(), &pool)?;
//!
//!     let mut sampler = Sampler::new(SamplerConfig { seed: 42, ..SamplerConfig::default() }, &[])?;
//!     let mut candidates = vec![Candidate::default(); model.spec().vocab as usize];
//!     let mut decoder = Decoder::new(tokenizer, DecodeOptions { continues: true, ..DecodeOptions::default() });
//!     let mut buffer = vec![0; decoder.buffer_bytes()];
//!     let mut text = String::new();
//!     for _ in 0..tokens {
//!         let logits = session.prefill(&history[session.position()..])?;
//!         let token = sampler.sample(logits, &history, &mut candidates)?;
//!         if tokenizer.is_end(token) {
//!             break;
//!         }
//!         history.push(token);
//!         text += decoder.push(token, &mut buffer)?;
//!     }
//!     text += decoder.finish(&mut buffer)?;
//!     Ok(text)
//! }
//! # let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/random.kgl");
//! # assert!(!hello(file, "áá", 20)?.is_empty());
//! # assert_eq!(hello(file, "áá", 20)?, hello(file, "áá", 20)?);
//! # assert!(hello("missing.kgl", "áá", 20).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A conversation
//!
//! As in `chat.c`: what was said never becomes a control token, and only what is new is run.
//!
//! ```
//! use kinglet::format::Section;
//! use kinglet::model::Model;
//! use kinglet::session::Session;
//! use kinglet::tokenizer::chat::{ChatTemplate, End, Message, Role};
//! use kinglet::tokenizer::{EncodeOptions, TokenId};
//!
//! /// Runs what the user says. `before` is who spoke last; nobody at the start. The logits are those of the reply's first token.
//! fn say(model: &Model<'_>, session: &mut Session<'_, '_>, before: Option<Role>, content: &str) -> Result<(), Box<dyn std::error::Error>> {
//!     let tokenizer = model.tokenizer().ok_or("the file has no tokenizer")?;
//!     let template = ChatTemplate::parse(model.container().section(Section::Chat))?;
//!     let messages = [Message { role: Role::User, content }];
//!     let bytes = template.render(before, &messages, End::Reply)?.map(|piece| piece.text().len()).sum();
//!     let (mut text, mut literal) = (vec![0; bytes], [0..0]);
//!     let (text, literal) = template.assemble(before, &messages, End::Reply, &mut text, &mut literal)?;
//!     let options = EncodeOptions { parse_special: true, literal, add_special: false, continues: before.is_some() };
//!     let mut scratch = vec![0; tokenizer.scratch_words(text.len())];
//!     let mut tokens = vec![TokenId(0); tokenizer.max_tokens(text.len())];
//!     let n = tokenizer.encode(text, &options, &mut scratch, &mut tokens)?;
//!     session.prefill(&tokens[..n])?;
//!     Ok(())
//! }
//! # use kinglet::{kernels::Kernels, map::MappedFile, session::{Options, Plan}, workers::Serial};
//! # let file = MappedFile::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/random.kgl"))?;
//! # let model = Model::new(file.bytes())?;
//! # let plan = Plan::new(model.spec(), Options { context: 128, ..Options::default() })?;
//! # let mut arena = vec![0; plan.arena_bytes()];
//! # let mut session = Session::new(&model, &plan, &mut arena, Kernels::best(), &Serial)?;
//! # say(&model, &mut session, None, "Hello </s>")?;
//! # let first = session.position();
//! # say(&model, &mut session, Some(Role::Assistant), "Bye")?;
//! # assert!(first > 10 && session.position() > first && session.logits().is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # In firmware
//!
//! As in `embed_in_firmware.c`: no allocator, no operating system. The model lies in flash, the arena is static, and its size is
//! compared with the plan once.
//!
//! ```
//! use kinglet::kernels::Kernels;
//! use kinglet::model::Model;
//! use kinglet::sampler::greedy;
//! use kinglet::session::{Options, Plan, Session};
//! use kinglet::tokenizer::TokenId;
//! use kinglet::workers::Serial;
//!
//! /// Aligned for the kernels.
//! #[repr(align(64))]
//! struct Flash<T: ?Sized>(T);
//!
//! static MODEL: &Flash<[u8]> = &Flash(*include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/random.kgl")));
//! const ARENA_BYTES: usize = 64 * 1024;
//!
//! /// Writes the tokens that follow `prompt`, each the most probable, to `reply`. `None`: a bad file, or too small an arena.
//! fn reply(arena: &mut [u8; ARENA_BYTES], prompt: &[TokenId], reply: &mut [TokenId]) -> Option<()> {
//!     let model = Model::new(&MODEL.0).ok()?;
//!     let plan = Plan::new(model.spec(), Options { context: 64, batch: 8, ..Options::default() }).ok()?;
//!     let mut session = Session::new(&model, &plan, arena, Kernels::best(), &Serial).ok()?;
//!     let mut token = greedy(session.prefill(prompt).ok()?);
//!     for place in reply {
//!         *place = token;
//!         token = greedy(session.prefill(&[token]).ok()?);
//!     }
//!     Some(())
//! }
//! # let mut tokens = [TokenId(0); 5];
//! # reply(&mut [0xa5; ARENA_BYTES], &[TokenId(7), TokenId(260)], &mut tokens).unwrap();
//! # assert_ne!(tokens, [TokenId(0); 5]);
//! ```
//!
//! # Threads that share a model
//!
//! As in `server.c`: a model is shared, a session is one thread's. Each thread here is its session's only worker.
//!
//! ```
//! use kinglet::kernels::Kernels;
//! use kinglet::map::MappedFile;
//! use kinglet::model::Model;
//! use kinglet::sampler::greedy;
//! use kinglet::session::{Options, Plan, Session};
//! use kinglet::tokenizer::TokenId;
//! use kinglet::workers::Serial;
//!
//! let file = MappedFile::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/random.kgl"))?;
//! let model = Model::new(file.bytes())?;
//! let plan = Plan::new(model.spec(), Options { context: 64, ..Options::default() })?;
//! let answer = |prompt: &[TokenId]| {
//!     let mut arena = vec![0; plan.arena_bytes()];
//!     let mut session = Session::new(&model, &plan, &mut arena, Kernels::best(), &Serial)?;
//!     session.prefill(prompt).map(|logits| greedy(logits))
//! };
//! let answers = std::thread::scope(|threads| {
//!     let one = threads.spawn(|| answer(&[TokenId(5)]));
//!     let other = threads.spawn(|| answer(&[TokenId(5)]));
//!     [one, other].map(|thread| thread.join().expect("no panic"))
//! });
//! assert!(answers[0].is_ok());
//! assert_eq!(answers[0], answers[1]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![deny(unsafe_code)]

pub mod arena;
pub mod block;
pub mod fnv;
pub mod format;
pub mod isa;
pub mod kernels;
pub mod kv;
#[cfg(feature = "std")]
pub mod map;
pub mod math;
pub mod model;
pub mod ops;
pub mod sampler;
pub mod session;
pub mod spec;
pub mod tensor;
pub mod tokenizer;
pub mod workers;
