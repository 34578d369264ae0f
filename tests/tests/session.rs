//! What a session promises its caller: exact memory, errors that change nothing, going back, and no panic for any spec.

use kinglet::arena::{ALIGN, TooSmall};
use kinglet::format::{Container, Section};
use kinglet::isa::Isa;
use kinglet::kernels::{Activation, Kernels};
use kinglet::kv::CacheType;
use kinglet::model::Model;
use kinglet::session::state::{HEADER_BYTES, StateError};
use kinglet::session::{Options, Plan, PlanError, Pooling, Session, SessionError};
use kinglet::spec::{AttnPositions, BlockSpec, Ffn, Head, Norm, Positions, Spec, SpecError, TensorKey};
use kinglet::tokenizer::TokenId;
use kinglet::workers::{Pool, Serial};
use kinglet_quant::DType;
use kinglet_tests::synthetic::{self, FileBytes, Random};
use proptest::prelude::*;

const VOCAB: u32 = 61;

const BLOCK: BlockSpec = BlockSpec {
    norm: Norm::Rms,
    norm_place: kinglet::spec::NormPlace::Pre,
    norm_eps: 1e-5,
    heads: 2,
    kv_heads: 1,
    head_dim: 16,
    qkv_bias: false,
    out_bias: false,
    qk_norm: false,
    positions: AttnPositions::RotaryHalves,
    rotary_dim: 16,
    rotary_scaling: kinglet::spec::RotaryScaling::None,
    rotary_theta: 10_000.0,
    rotary_magnitude: 1.0,
    mask: kinglet::spec::Mask::Causal,
    window: 0,
    attn_scale: 0.25,
    attn_soft_cap: 0.0,
    ffn: Ffn::Gated,
    activation: Activation::Silu,
    ffn_dim: 24,
    ffn_bias: false,
    experts: 0,
    experts_used: 0,
    residual_scale: 1.0,
};

fn spec(kinds: &[BlockSpec], layers: &'static [u8]) -> Spec<'static> {
    Spec { vocab: VOCAB, hidden: 24, context: 1024, ..Spec::decoder(kinds, layers) }
}

/// A layer that sees everything, and one that sees 40 positions.
fn windowed() -> Spec<'static> {
    spec(&[BLOCK, BlockSpec { window: 40, ..BLOCK }], &[0, 1])
}

const OPTIONS: Options = Options { context: 300, batch: 16, cache: CacheType::I8, logit_rows: 1 };

fn tokens(n: usize) -> Vec<TokenId> {
    let mut random = Random::new(3);
    (0..n).map(|_| TokenId(random.below(VOCAB as usize) as u32)).collect()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| x.to_bits()).collect()
}

/// Runs `body` over a session of a model with this spec.
fn with_session<R>(file: &FileBytes, options: Options, body: impl FnOnce(&mut Session<'_, '_>) -> R) -> R {
    let model = Model::new(file.bytes()).unwrap();
    let plan = Plan::new(model.spec(), options).unwrap();
    let mut arena = vec![0x5a; plan.arena_bytes()];
    body(&mut Session::new(&model, &plan, &mut arena, Kernels::best(), &Serial).unwrap())
}

/// The logits after `tokens` in a session of their own.
fn fresh(file: &FileBytes, options: Options, tokens: &[TokenId]) -> Vec<u32> {
    with_session(file, options, |session| bits(session.prefill(tokens).unwrap()))
}

#[test]
fn the_plan_is_exact_to_the_byte() {
    let file = synthetic::file(&windowed(), DType::Q4, 1);
    let model = Model::new(file.bytes()).unwrap();
    let tokens = tokens(50);
    for cache in [CacheType::I8, CacheType::F32] {
        let options = Options { cache, ..OPTIONS };
        let expected = fresh(&file, options, &tokens);
        let plan = Plan::new(model.spec(), options).unwrap();
        let needed = plan.arena_bytes();
        assert!(plan.cache_bytes() < needed);
        let mut memory = vec![0xff; needed + 2 * ALIGN];
        let aligned = memory.as_ptr().align_offset(ALIGN);
        for shift in 0..ALIGN {
            let arena = &mut memory[aligned + shift..][..needed];
            let mut session = Session::new(&model, &plan, arena, Kernels::best(), &Serial).unwrap();
            assert_eq!(bits(session.prefill(&tokens).unwrap()), expected, "{shift} bytes past a cache line");
            for less in [0, 1, needed / 2, needed - 1] {
                let error = Session::new(&model, &plan, &mut memory[aligned + shift..][..less], Kernels::best(), &Serial).unwrap_err();
                assert_eq!(error, SessionError::Arena(TooSmall { needed, got: less }));
            }
        }
        // Where the memory starts one byte after a cache line, all of it is used: nothing is planned in vain.
        let arena = &mut memory[aligned + 1..][..needed];
        let range = arena.as_ptr_range();
        assert!((range.end as usize).is_multiple_of(ALIGN), "planned {needed} bytes");
    }
}

#[test]
fn errors_change_nothing() {
    let file = synthetic::file(&windowed(), DType::Q8, 2);
    let (all, extra) = (tokens(300), tokens(400));
    let expected = fresh(&file, OPTIONS, &all);
    with_session(&file, OPTIONS, |session| {
        session.prefill(&all[..290]).unwrap();
        let refused = [
            (&extra[..0], SessionError::NoTokens),
            (&extra[..11], SessionError::ContextFull { context: 300, needed: 301 }),
            (&extra[..], SessionError::ContextFull { context: 300, needed: 690 }),
            (&[TokenId(0), TokenId(VOCAB), TokenId(1)], SessionError::Token { got: TokenId(VOCAB), vocab: VOCAB }),
            (&[TokenId(u32::MAX)], SessionError::Token { got: TokenId(u32::MAX), vocab: VOCAB }),
        ];
        for (tokens, error) in refused {
            assert_eq!(session.prefill(tokens).unwrap_err(), error);
            assert_eq!(session.prefill_each(tokens, &mut |_, _| panic!("no logits")).unwrap_err(), error);
            assert_eq!(session.truncate(291).unwrap_err(), SessionError::Truncate { got: 291, least: least(session), most: 290 });
            assert_eq!(session.position(), 290);
        }
        assert_eq!(bits(session.prefill(&all[290..]).unwrap()), expected);
        assert_eq!(session.position(), session.context());
        let full = SessionError::ContextFull { context: 300, needed: 301 };
        assert_eq!(session.prefill(&extra[..1]).unwrap_err(), full);
    });
}

/// The least position to go back to, besides 0.
fn least(session: &mut Session<'_, '_>) -> usize {
    match session.truncate(usize::MAX) {
        Err(SessionError::Truncate { least, .. }) => least,
        other => panic!("{other:?}"),
    }
}

#[test]
fn going_back_is_as_if_never_gone() {
    let (path, other) = (tokens(300), tokens(600).split_off(300));
    for (spec, windowed) in [(spec(&[BLOCK], &[0, 0]), false), (windowed(), true)] {
        let file = synthetic::file(&spec, DType::F32, 3);
        for cache in [CacheType::I8, CacheType::F32] {
            for batch in [1, 16, 100] {
                let options = Options { cache, batch, ..OPTIONS };
                with_session(&file, options, |session| {
                    session.prefill(&path[..290]).unwrap();
                    let least = least(session);
                    assert_eq!(least > 0, windowed, "batch {batch}");
                    // Each time after new tokens have been stored over the old ones.
                    for back in [270, least + 3, least + 1, least] {
                        session.truncate(back).unwrap();
                        let n = other.len().min(13);
                        let got = bits(session.prefill(&other[..n]).unwrap());
                        let whole = [&path[..back], &other[..n]].concat();
                        assert_eq!(got, fresh(&file, options, &whole), "back to {back}, batch {batch}, cache {}", cache.name());
                        session.truncate(back).unwrap();
                    }
                    if windowed {
                        let error = SessionError::Truncate { got: least - 1, least, most: least };
                        assert_eq!(session.truncate(least - 1).unwrap_err(), error);
                        assert_eq!(session.position(), least);
                    }
                    // The start is always possible, and forgets what a window had lost.
                    session.truncate(0).unwrap();
                    assert_eq!(bits(session.prefill(&other[..70]).unwrap()), fresh(&file, options, &other[..70]));
                    session.truncate(60).unwrap();
                });
            }
        }
    }
}

#[test]
fn a_used_arena_makes_the_same_session() {
    let file = synthetic::file(&windowed(), DType::Q4, 4);
    let model = Model::new(file.bytes()).unwrap();
    let plan = Plan::new(model.spec(), OPTIONS).unwrap();
    let tokens = tokens(280);
    let mut arena = vec![0xff; plan.arena_bytes()];
    let mut runs = Vec::new();
    for _ in 0..2 {
        let mut session = Session::new(&model, &plan, &mut arena, Kernels::best(), &Serial).unwrap();
        runs.push(bits(session.prefill(&tokens).unwrap()));
    }
    assert_eq!(runs[0], runs[1]);
    assert!(runs[0].iter().all(|&x| f32::from_bits(x).is_finite()));
}

#[test]
fn options_without_a_plan() {
    let learned = Spec { positions: Positions::Learned, context: 100, ..windowed() };
    for (options, option) in [
        (Options { context: 0, ..OPTIONS }, "context"),
        (Options { batch: 0, ..OPTIONS }, "batch"),
        (Options { logit_rows: 0, ..OPTIONS }, "logit rows"),
    ] {
        assert_eq!(Plan::new(&windowed(), options).unwrap_err(), PlanError::Zero { option });
    }
    assert_eq!(Plan::new(&learned, OPTIONS).unwrap_err(), PlanError::Context { most: 100, got: 300 });
    assert!(Plan::new(&learned, Options { context: 100, ..OPTIONS }).is_ok());
    for context in [usize::MAX, usize::MAX / 2, usize::MAX / 64] {
        for cache in [CacheType::I8, CacheType::F32] {
            for (batch, logit_rows) in [(1, 1), (1 << 20, usize::MAX), (usize::MAX, 1), (usize::MAX / 8, usize::MAX)] {
                let options = Options { context, batch, cache, logit_rows };
                assert_eq!(Plan::new(&windowed(), options).unwrap_err(), PlanError::TooLarge, "{options:?}");
            }
        }
    }
    // A spec made by hand may break any rule.
    let wrong = Spec { hidden: 0, ..windowed() };
    let error = SpecError::Range { field: "hidden", value: 0, min: 1, max: 1 << 17 };
    assert_eq!(Plan::new(&wrong, OPTIONS).unwrap_err(), PlanError::Spec(error));
    let huge = BlockSpec { heads: u32::MAX, kv_heads: u32::MAX, head_dim: u32::MAX, ffn_dim: u32::MAX, ..BLOCK };
    assert!(matches!(Plan::new(&spec(&[huge], &[0]), OPTIONS), Err(PlanError::Spec(SpecError::Range { .. }))));
}

#[test]
fn what_cannot_be_used_is_not_planned() {
    let most = Options { batch: 300, logit_rows: 300, ..OPTIONS };
    let plan = Plan::new(&windowed(), Options { batch: usize::MAX, logit_rows: usize::MAX, ..OPTIONS }).unwrap();
    assert_eq!(plan.options(), most);
    assert_eq!(plan, Plan::new(&windowed(), most).unwrap());
    let few = Plan::new(&windowed(), Options { batch: 16, logit_rows: 64, ..OPTIONS }).unwrap();
    assert_eq!(few.options().logit_rows, 16);
}

#[test]
fn a_window_keeps_its_cache_small() {
    let windows =
        |context| Plan::new(&spec(&[BlockSpec { window: 40, ..BLOCK }], &[0]), Options { context, ..OPTIONS }).unwrap().cache_bytes();
    assert_eq!(windows(1 << 10), windows(1 << 16));
    let all = |context| Plan::new(&spec(&[BLOCK], &[0]), Options { context, ..OPTIONS }).unwrap().cache_bytes();
    // One key/value head of 16 channels: two bytes a channel, two scales.
    assert_eq!(all(1 << 10), (1 << 10) * (2 * 16 + 8));
    assert_eq!(all((1 << 10) + 1), ((1 << 10) + 64) * (2 * 16 + 8));
}

#[test]
fn a_plan_of_another_model_is_refused() {
    let file = synthetic::file(&windowed(), DType::Q4, 5);
    let model = Model::new(file.bytes()).unwrap();
    let other = Plan::new(&Spec { hidden: 32, ..windowed() }, OPTIONS).unwrap();
    let mut arena = vec![0; other.arena_bytes() + (1 << 20)];
    assert_eq!(Session::new(&model, &other, &mut arena, Kernels::best(), &Serial).unwrap_err(), SessionError::Plan);
}

#[test]
fn every_row_of_logits_comes_once_and_in_order() {
    let file = synthetic::file(&windowed(), DType::Q4, 6);
    let tokens = tokens(50);
    let rows = |logit_rows| {
        with_session(&file, Options { logit_rows, ..OPTIONS }, |session| {
            let (mut positions, mut all) = (Vec::new(), Vec::new());
            for piece in tokens.chunks(33) {
                session
                    .prefill_each(piece, &mut |position, logits| {
                        positions.push(position);
                        all.push(bits(logits));
                    })
                    .unwrap();
            }
            assert_eq!(positions, (0..50).collect::<Vec<_>>());
            all
        })
    };
    let one = rows(1);
    for n in [1, 2, 5, 16, 17, 1000] {
        assert_eq!(rows(n), one, "{n} rows at once");
    }
    assert_eq!(one[49], fresh(&file, OPTIONS, &tokens));
}

/// A block within the limits of sizes that are quickly made, at the edges more often than not.
fn any_block() -> impl Strategy<Value = BlockSpec> {
    let heads = (1..=3u32, 1..=3u32);
    let head_dim = prop_oneof![Just(8), Just(16), Just(40), Just(72), Just(256)];
    let window = prop_oneof![Just(0), Just(1), Just(2), Just(63), Just(64), Just(65), Just(1 << 24), 1..200u32];
    let ffn_dim = prop_oneof![Just(1), Just(31), Just(129), 1..70u32];
    let positive = || prop_oneof![Just(1.0f32), Just(f32::MIN_POSITIVE), Just(f32::from_bits(1)), Just(f32::MAX), Just(1e-5)];
    let activation = prop_oneof![Just(Activation::Silu), Just(Activation::GeluTanh), Just(Activation::GeluErf), Just(Activation::Relu)];
    let flags = proptest::array::uniform6(any::<bool>());
    (heads, head_dim, window, ffn_dim, (positive(), positive(), positive()), activation, flags, 0..=128u32).prop_map(
        |((kv_heads, group), head_dim, window, ffn_dim, (norm_eps, attn_scale, rotary_magnitude), activation, flags, half)| {
            let [layer_norm, rotary, plain, qkv_bias, out_bias, ffn_bias] = flags;
            BlockSpec {
                norm: if layer_norm { Norm::Layer } else { Norm::Rms },
                heads: kv_heads * group,
                kv_heads,
                head_dim,
                positions: if rotary { AttnPositions::RotaryHalves } else { AttnPositions::None },
                rotary_dim: if rotary { 2 * half.clamp(1, head_dim / 2) } else { 0 },
                window,
                ffn: if plain { Ffn::Plain } else { Ffn::Gated },
                ffn_dim,
                norm_eps,
                attn_scale,
                rotary_magnitude,
                activation,
                qkv_bias,
                out_bias,
                ffn_bias,
                ..BLOCK
            }
        },
    )
}

/// The file with other weights, of random bytes: infinities and NaN among them.
fn scrambled(file: &FileBytes, seed: u64) -> FileBytes {
    let mut bytes = file.bytes().to_vec();
    let data = Container::parse(&bytes).unwrap().layout().offset(Section::Data) as usize;
    let mut random = Random::new(seed);
    // Zeros between tensors are weights of none, and nobody's concern.
    bytes[data..].fill_with(|| random.next_u64() as u8);
    FileBytes::new(&bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any spec that this version runs, with weights of any bytes, runs: over the smallest arena, for any options, and
    /// what a batch gives on the best kernels equals what single tokens give on the scalar ones.
    #[test]
    fn any_spec_runs(
        kinds in proptest::collection::vec(any_block(), 1..=4),
        layers in proptest::collection::vec(any::<proptest::sample::Index>(), 1..=5),
        (vocab, hidden) in (prop_oneof![Just(1u32), Just(9), 1..40u32], prop_oneof![Just(1u32), Just(127), Just(129), 1..70u32]),
        (learned, own_head, layer_norm, head_bias, f32_cache) in any::<(bool, bool, bool, bool, bool)>(),
        dtype in prop_oneof![Just(DType::F32), Just(DType::F16), Just(DType::Q8), Just(DType::Q4)],
        (context, batch, logit_rows, n) in (prop_oneof![Just(1usize), Just(64), Just(65), Just(600), 1..200usize], 1..70usize, 1..9usize, 1..600usize),
        (seed, any_bytes) in any::<(u64, bool)>(),
    ) {
        let layers: Vec<u8> = layers.iter().map(|i| i.index(kinds.len()) as u8).collect();
        let spec = Spec {
            vocab,
            hidden,
            context: 600,
            positions: if learned { Positions::Learned } else { Positions::None },
            final_norm: if layer_norm { Norm::Layer } else { Norm::Rms },
            head: if own_head { Head::Own } else { Head::Tied },
            head_bias,
            ..Spec::decoder(&kinds, &layers)
        };
        let file = synthetic::file(&spec, dtype, seed);
        let file = if any_bytes { scrambled(&file, seed) } else { file };
        let model = Model::new(file.bytes()).unwrap();
        prop_assert_eq!(model.spec(), &spec);
        let options = Options { context, batch, logit_rows, cache: if f32_cache { CacheType::F32 } else { CacheType::I8 } };
        let mut random = Random::new(seed);
        let tokens: Vec<_> = (0..n.min(context)).map(|_| TokenId(random.below(vocab as usize) as u32)).collect();
        let run = |batch, isa, workers: &dyn kinglet::workers::Workers| {
            let kernels = Kernels::select(isa).unwrap();
            let pieces = if batch == 1 { &[1][..] } else { &[n][..] };
            let bits = kinglet_tests::run::logits(&model, Options { batch, ..options }, kernels, workers, &tokens, pieces);
            // Which NaN is not promised.
            bits.into_iter().map(|x| if f32::from_bits(x).is_nan() { f32::NAN.to_bits() } else { x }).collect::<Vec<_>>()
        };
        let batches = run(batch, Kernels::best().isa, &Serial);
        prop_assert_eq!(batches.len(), tokens.len() * vocab as usize);
        let pool = Pool::new(2).unwrap();
        prop_assert!(run(1, Isa::Scalar, &pool) == batches, "single tokens differ");
    }
}

/// The state after `tokens`.
fn saved(file: &FileBytes, options: Options, tokens: &[TokenId]) -> Vec<u8> {
    with_session(file, options, |session| {
        session.prefill(tokens).unwrap();
        let mut state = vec![0xaa; session.state_bytes() + 7];
        let len = session.save(&mut state).unwrap();
        assert_eq!((len, &state[len..]), (session.state_bytes(), &[0xaa; 7][..]));
        state.truncate(len);
        state
    })
}

#[test]
fn a_restored_session_goes_on_with_the_same_bits() {
    let (plain, windowed) = (spec(&[BLOCK], &[0, 0]), windowed());
    let tokens = tokens(290);
    for (spec, is_windowed) in [(&plain, false), (&windowed, true)] {
        let file = synthetic::file(spec, DType::Q8, 5);
        for cache in [CacheType::I8, CacheType::F32] {
            let options = Options { cache, ..OPTIONS };
            for n in [1, 63, 64, 65, 200] {
                let expected = fresh(&file, options, &tokens);
                let state = saved(&file, options, &tokens[..n]);
                // Another context and another batch, where no window wraps around.
                let other = Options { context: 291, batch: 7, ..options };
                for isa in Isa::available() {
                    for options in [options, other].into_iter().take(if is_windowed { 1 } else { 2 }) {
                        let model = Model::new(file.bytes()).unwrap();
                        let plan = Plan::new(model.spec(), options).unwrap();
                        let mut arena = vec![0xff; plan.arena_bytes()];
                        let (kernels, pool) = (Kernels::select(isa).unwrap(), Pool::new(3).unwrap());
                        let mut session = Session::new(&model, &plan, &mut arena, kernels, &pool).unwrap();
                        session.prefill(&tokens[..33]).unwrap();
                        session.restore(&state).unwrap();
                        assert_eq!(session.position(), n);
                        assert_eq!(bits(session.prefill(&tokens[n..]).unwrap()), expected, "{cache:?}, {n} tokens, {isa}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_state_shows_nothing_of_the_memory_before() {
    let file = synthetic::file(&windowed(), DType::Q4, 1);
    let model = Model::new(file.bytes()).unwrap();
    let plan = Plan::new(model.spec(), OPTIONS).unwrap();
    let states = [0x00, 0x5a, 0xff].map(|byte| {
        let mut arena = vec![byte; plan.arena_bytes()];
        let mut session = Session::new(&model, &plan, &mut arena, Kernels::best(), &Serial).unwrap();
        session.prefill(&tokens(70)).unwrap();
        let mut state = vec![0; session.state_bytes()];
        session.save(&mut state).unwrap();
        state
    });
    assert!(states[0] == states[1] && states[1] == states[2]);
}

/// A state changed by someone who knows how it is checked.
fn forged(state: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut state = state.to_vec();
    change(&mut state);
    state[40..48].fill(0);
    let sum = kinglet::fnv::fnv1a(kinglet::fnv::START, state.iter().copied());
    state[40..48].copy_from_slice(&sum.to_le_bytes());
    state
}

#[test]
fn a_forged_state_is_refused_where_machines_would_disagree() {
    let file = synthetic::file(&windowed(), DType::Q4, 1);
    let state = saved(&file, OPTIONS, &tokens(200));
    let f32_state = saved(&file, Options { cache: CacheType::F32, ..OPTIONS }, &tokens(200));
    with_session(&file, OPTIONS, |session| {
        assert_eq!(session.restore(&forged(&state, |_| {})), Ok(()));
        for at in [HEADER_BYTES, HEADER_BYTES + 2 * 256 * 16 - 1] {
            assert_eq!(session.restore(&forged(&state, |bytes| bytes[at] = 0x80)), Err(StateError::Quant), "byte {at}");
        }
        // The scales behind the quants may hold any byte.
        assert_eq!(session.restore(&forged(&state, |bytes| bytes[HEADER_BYTES + 2 * 256 * 16] = 0x80)), Ok(()));
        // A window of 40 in batches of 16 keeps two blocks: of 200 positions those from 72 on.
        let position = |n: u64| forged(&state, |bytes| bytes[16..24].copy_from_slice(&n.to_le_bytes()));
        let refused = |got| Err(StateError::Field { field: "position in a window", expected: 111, got });
        assert_eq!([110, 1].map(|n| session.restore(&position(n))), [110, 1].map(refused));
        assert_eq!([111, 0].map(|n| session.restore(&position(n))), [Ok(()); 2]);
    });
    with_session(&file, Options { cache: CacheType::F32, ..OPTIONS }, |session| {
        assert_eq!(session.restore(&forged(&f32_state, |bytes| bytes[HEADER_BYTES] = 0x80)), Ok(()));
    });
}

#[test]
fn a_wrong_state_is_refused_and_changes_nothing() {
    let file = synthetic::file(&windowed(), DType::Q4, 1);
    let state = saved(&file, OPTIONS, &tokens(100));
    let field = |state: &[u8], options: Options| {
        with_session(&file, options, |session| {
            let before = bits(session.prefill(&tokens(5)).unwrap());
            let error = session.restore(state).unwrap_err();
            assert_eq!(session.position(), 5);
            session.truncate(0).unwrap();
            assert_eq!(bits(session.prefill(&tokens(5)).unwrap()), before);
            error
        })
    };
    for len in [0, 1, 8, HEADER_BYTES - 1, HEADER_BYTES, state.len() - 1] {
        let error = field(&state[..len], OPTIONS);
        assert!(matches!(error, StateError::Field { .. } | StateError::Magic), "{len} bytes: {error}");
    }
    for at in (0..HEADER_BYTES).chain([HEADER_BYTES, state.len() / 2, state.len() - 1]) {
        let mut damaged = state.clone();
        damaged[at] ^= 0x10;
        let error = field(&damaged, OPTIONS);
        let is_named = match at {
            0..8 => error == StateError::Magic,
            8..12 => matches!(error, StateError::Field { field: "version", .. }),
            12..16 => matches!(error, StateError::Field { field: "cache type", .. }),
            48..80 => error == StateError::Model,
            16..40 => matches!(error, StateError::Field { .. } | StateError::Checksum),
            _ => error == StateError::Checksum,
        };
        assert!(is_named, "byte {at}: {error:?}");
    }
    let longer: Vec<u8> = [&state[..], &[0]].concat();
    assert!(matches!(field(&longer, OPTIONS), StateError::Field { field: "bytes after the header", .. }));
    let expected = StateError::Field { field: "positions", expected: 99, got: 100 };
    assert_eq!(field(&state, Options { context: 99, ..OPTIONS }), expected);
    assert!(matches!(field(&state, Options { cache: CacheType::F32, ..OPTIONS }), StateError::Field { field: "cache type", .. }));
    with_session(&file, OPTIONS, |session| {
        session.prefill(&tokens(3)).unwrap();
        let needed = session.state_bytes();
        assert_eq!(session.save(&mut vec![0; needed - 1]), Err(StateError::TooSmall { needed, got: needed - 1 }));
    });
}

#[test]
fn logits_are_there_while_they_follow_the_last_token() {
    let file = synthetic::file(&spec(&[BLOCK], &[0, 0]), DType::Q8, 5);
    let tokens = tokens(40);
    with_session(&file, OPTIONS, |session| {
        assert_eq!(session.logits(), None);
        let expected = bits(session.prefill(&tokens).unwrap());
        assert_eq!(bits(session.logits().unwrap()), expected);
        session.truncate(40).unwrap();
        assert_eq!(bits(session.logits().unwrap()), expected);
        let mut state = vec![0; session.state_bytes()];
        session.save(&mut state).unwrap();
        assert_eq!(bits(session.logits().unwrap()), expected);
        session.restore(&state).unwrap();
        assert_eq!(session.logits(), None);
        session.truncate(39).unwrap();
        assert_eq!(bits(session.prefill(&tokens[39..]).unwrap()), expected);
        session.truncate(39).unwrap();
        assert_eq!(session.logits(), None);
    });
}

#[test]
fn a_prefill_is_ended_between_batches() {
    let file = synthetic::file(&spec(&[BLOCK], &[0, 0]), DType::Q8, 5);
    let tokens = tokens(40);
    let expected = fresh(&file, OPTIONS, &tokens);
    with_session(&file, Options { batch: 7, ..OPTIONS }, |session| {
        let mut asked = Vec::new();
        let done = session.prefill_while(&tokens, &mut |done| {
            asked.push(done);
            done < 21
        });
        assert_eq!((done, &asked[..]), (Ok(21), &[7, 14, 21][..]));
        assert_eq!((session.position(), session.logits()), (21, None));
        assert_eq!(session.prefill_while(&tokens[21..], &mut |_| true), Ok(19));
        assert_eq!(bits(session.logits().unwrap()), expected);
    });
}

#[test]
fn embeddings_are_what_the_head_multiplies() {
    let spec = spec(&[BLOCK], &[0, 0]);
    let (file, hidden) = (synthetic::file(&spec, DType::F32, 5), spec.hidden as usize);
    let tokens = tokens(40);
    // What is shown of the head's inputs is the oracle.
    let mut rows: Vec<Vec<f32>> = Vec::new();
    with_session(&file, OPTIONS, |session| {
        let mut watch = |key: TensorKey, inputs: &[f32]| {
            if key.stack == 0 {
                rows.extend(inputs.chunks_exact(hidden).map(<[f32]>::to_vec));
            }
        };
        session.observe(&tokens, &mut watch).unwrap();
    });
    assert_eq!(rows.len(), 40);
    for batch in [1, 7, 64] {
        with_session(&file, Options { batch, ..OPTIONS }, |session| {
            let mut out = vec![1.0; hidden];
            session.embed(&tokens, Pooling::Last, &mut out).unwrap();
            assert_eq!(bits(&out), bits(&rows[39]), "batch {batch}");
            assert_eq!((session.position(), session.logits()), (40, None));
            session.truncate(0).unwrap();
            session.embed(&tokens, Pooling::Mean, &mut out).unwrap();
            let sum = |i: usize| rows.iter().fold(0.0f32, |sum, row| sum + row[i]);
            let mean: Vec<f32> = (0..hidden).map(|i| sum(i) / 40.0).collect();
            assert_eq!(bits(&out), bits(&mean), "batch {batch}");
            let wrong = session.embed(&tokens[..1], Pooling::Last, &mut out[1..]).unwrap_err();
            assert!(matches!(wrong, SessionError::Tensor(_)));
        });
    }
}
