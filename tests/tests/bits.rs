//! Promise 2: the same bits on every instruction set, for any number of workers and any split of the prompt.

use kinglet::format::{Container, Role, Section, TensorKey};
use kinglet::isa::Isa;
use kinglet::kernels::{Activation, Kernels};
use kinglet::kv::CacheType;
use kinglet::model::Model;
use kinglet::session::{Options, Plan, Session};
use kinglet::spec::{AttnPositions, BlockSpec, Ffn, Head, Norm, Positions, Spec};
use kinglet::tokenizer::TokenId;
use kinglet::workers::{Pool, Serial};
use kinglet_quant::DType;
use kinglet_tests::run::logits;
use kinglet_tests::synthetic::{self, FileBytes, Random};

const TOKENS: usize = 150;

/// Shapes on purpose off the grid: rows that do not fill a tile, inputs that do not fill a unit or a group.
fn specs() -> Vec<(&'static str, Spec<'static>)> {
    let llama = BlockSpec { heads: 6, kv_heads: 2, head_dim: 32, ffn_dim: 200, ..BlockSpec::default() };
    let window = BlockSpec { window: 40, ..llama };
    let biased = BlockSpec { qkv_bias: true, out_bias: true, ffn_bias: true, head_dim: 40, rotary_dim: 24, heads: 3, kv_heads: 3, ..llama };
    let gpt2 = BlockSpec {
        norm: Norm::Layer,
        ffn: Ffn::Plain,
        activation: Activation::GeluTanh,
        positions: AttnPositions::None,
        rotary_dim: 0,
        qkv_bias: true,
        out_bias: true,
        ffn_bias: true,
        ..llama
    };
    let sized = |spec| Spec { vocab: 203, hidden: 168, context: 512, ..spec };
    vec![
        ("llama", sized(Spec::decoder(&[llama], &[0, 0, 0]))),
        ("window in every other layer", sized(Spec { head: Head::Own, ..Spec::decoder(&[llama, window], &[0, 1, 0, 1]) })),
        ("biases, partial rotation", sized(Spec::decoder(&[biased], &[0, 0]))),
        (
            "gpt2",
            sized(Spec {
                positions: Positions::Learned,
                final_norm: Norm::Layer,
                head_bias: true,
                head_scale: 0.5,
                embed_scale: 2.0,
                ..Spec::decoder(&[gpt2], &[0, 0])
            }),
        ),
    ]
}

fn tokens(vocab: usize) -> Vec<TokenId> {
    let mut random = Random::new(7);
    (0..TOKENS).map(|_| TokenId(random.below(vocab) as u32)).collect()
}

const OPTIONS: Options = Options { context: 200, batch: 64, cache: CacheType::I8, logit_rows: 5 };

/// The weight types of tests that ask for nothing of an instruction set but its best kernels. An emulator computes floats one by
/// one, so there those of floats are left to [`every_isa_equals_scalar`].
fn types() -> &'static [DType] {
    let is_emulated = std::env::var_os("KINGLET_RUNNER").is_some();
    if is_emulated { &[DType::Q4, DType::Q8] } else { &DType::ALL }
}

/// Runs `check(name, model, tokens)` for every spec, cache, and one of these weight types.
fn for_all(types: &[DType], check: impl Fn(&str, &Model<'_>, Options, &[TokenId])) {
    for (name, spec) in specs() {
        for &dtype in types {
            let file = synthetic::file(&spec, dtype, 11);
            let model = Model::new(file.bytes()).unwrap();
            for cache in [CacheType::I8, CacheType::F32] {
                check(
                    &format!("{name}, {dtype}, cache {}", cache.name()),
                    &model,
                    Options { cache, ..OPTIONS },
                    &tokens(spec.vocab as usize),
                );
            }
        }
    }
}

#[test]
fn every_isa_equals_scalar() {
    let scalar = Kernels::select(Isa::Scalar).unwrap();
    let ran: Vec<&str> = Isa::available().map(|isa| isa.name()).collect();
    for_all(&DType::ALL, |name, model, options, tokens| {
        let expected = logits(model, options, scalar, &Serial, tokens, &[TOKENS]);
        assert!(expected.iter().all(|&b| f32::from_bits(b).is_finite()), "{name}: logits must be finite");
        assert!(expected.iter().collect::<std::collections::HashSet<_>>().len() > expected.len() / 2, "{name}: logits must differ");
        for isa in Isa::available() {
            let got = logits(model, options, Kernels::select(isa).unwrap(), &Serial, tokens, &[TOKENS]);
            assert!(got == expected, "{name}: {} differs from scalar", isa.name());
        }
    });
    println!("whole models ran on: {}", ran.join(", "));
}

#[test]
fn any_number_of_workers() {
    let pools: Vec<Pool> = [2, 3, 4, 5, 8].into_iter().map(|n| Pool::new(n).unwrap()).collect();
    for_all(types(), |name, model, options, tokens| {
        let expected = logits(model, options, Kernels::best(), &Serial, tokens, &[TOKENS]);
        for pool in &pools {
            assert!(logits(model, options, Kernels::best(), pool, tokens, &[TOKENS]) == expected, "{name}: {pool:?}");
            assert!(logits(model, options, Kernels::best(), pool, tokens, &[100, 1]) == expected, "{name}: {pool:?}, decoding");
        }
    });
}

#[test]
fn any_split_of_the_prompt() {
    for_all(types(), |name, model, options, tokens| {
        let expected = logits(model, options, Kernels::best(), &Serial, tokens, &[TOKENS]);
        for pieces in [&[1][..], &[7], &[32], &[TOKENS - 1], &[3, 64, 1, 1, 50]] {
            assert!(logits(model, options, Kernels::best(), &Serial, tokens, pieces) == expected, "{name}: pieces {pieces:?}");
        }
        for batch in [1, 7, 32, 200] {
            let options = Options { batch, ..options };
            assert!(logits(model, options, Kernels::best(), &Serial, tokens, &[TOKENS]) == expected, "{name}: batch {batch}");
        }
        let options = Options { context: TOKENS, ..options };
        assert!(logits(model, options, Kernels::best(), &Serial, tokens, &[TOKENS]) == expected, "{name}: smallest context");
    });
}

#[test]
fn logits_of_the_last_token_alone() {
    // The last layer then leaves out what only the other tokens' logits need, and nothing of what later tokens see.
    let pool = Pool::new(3).unwrap();
    for_all(types(), |name, model, options, tokens| {
        let vocab = model.spec().vocab as usize;
        let expected = logits(model, options, Kernels::best(), &Serial, tokens, &[TOKENS]);
        for batch in [1, 7, 64, 200] {
            let plan = Plan::new(model.spec(), Options { batch, ..options }).unwrap();
            let mut arena = vec![0xff; plan.arena_bytes()];
            let mut session = Session::new(model, &plan, &mut arena, Kernels::best(), &pool).unwrap();
            for piece in [&tokens[..100], &tokens[100..101], &tokens[101..]] {
                let got: Vec<u32> = session.prefill(piece).unwrap().iter().map(|x| x.to_bits()).collect();
                let end = session.position() * vocab;
                assert!(got == expected[end - vocab..end], "{name}: batch {batch}, {} tokens", session.position());
            }
        }
    });
}

#[test]
fn a_long_context_is_split_over_spans() {
    // Past 512 positions a decoded token's attention is cut by spans; the bits must be those of a batch.
    let (_, spec) = specs().swap_remove(1);
    let file = synthetic::file(&spec, DType::Q4, 5);
    let model = Model::new(file.bytes()).unwrap();
    let mut random = Random::new(9);
    let tokens: Vec<TokenId> = (0..1100).map(|_| TokenId(random.below(spec.vocab as usize) as u32)).collect();
    let pool = Pool::new(3).unwrap();
    for cache in [CacheType::I8, CacheType::F32] {
        let options = Options { context: 1100, batch: 100, cache, logit_rows: 1 };
        let expected = logits(&model, options, Kernels::best(), &Serial, &tokens, &[1100]);
        assert!(logits(&model, options, Kernels::best(), &pool, &tokens, &[500, 1]) == expected, "cache {}", cache.name());
    }
}

#[test]
fn weights_that_are_not_numbers() {
    // Around position 552 a batch's rows leave the first span one by one: whether a row's span is the first of its task
    // depends on the batch, and must not decide whether its NaN is seen.
    let block = BlockSpec { window: 40, heads: 2, kv_heads: 1, head_dim: 16, rotary_dim: 16, ffn_dim: 24, ..BlockSpec::default() };
    let spec = Spec { vocab: 29, hidden: 24, context: 600, ..Spec::decoder(&[block], &[0]) };
    let file = synthetic::file(&spec, DType::F32, 3);
    let container = Container::parse(file.bytes()).unwrap();
    let qkv = container.find(TensorKey { stack: 1, layer: 0, role: Role::AttnQkv }).unwrap();
    let at = container.layout().offset(Section::Data) as usize + qkv.offset as usize;
    // All queries, but neither keys nor values.
    let queries = at..at + 4 * block.q_dim() * spec.hidden as usize;
    let mut bytes = file.bytes().to_vec();
    for weight in bytes[queries].chunks_exact_mut(4) {
        weight.copy_from_slice(&f32::NAN.to_le_bytes());
    }
    let file = FileBytes::new(&bytes);
    let model = Model::new(file.bytes()).unwrap();
    let tokens: Vec<TokenId> = (0..600).map(|i| TokenId(i % spec.vocab)).collect();
    let options = Options { context: 600, batch: 64, cache: CacheType::F32, logit_rows: 1 };
    let is_nan = |pieces: &[usize]| -> Vec<bool> {
        let bits = logits(&model, options, Kernels::best(), &Serial, &tokens, pieces);
        bits.into_iter().map(|x| f32::from_bits(x).is_nan()).collect()
    };
    assert!(is_nan(&[1]).iter().all(|&nan| nan));
    for pieces in [&[600][..], &[545, 55], &[7]] {
        assert!(is_nan(pieces).iter().all(|&nan| nan), "pieces {pieces:?}");
    }
}
