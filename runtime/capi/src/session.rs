//! Sessions: tokens in, logits out.

use crate::handle::{self, Block, Entered, Handle, Object};
use crate::isa::{self, kgl_isa};
use crate::log::kgl_log_level;
use crate::model::{Loaded, Parent, kgl_model};
use crate::place::{self, result, slice, slice_mut};
use crate::sized::{self, Versioned};
use crate::status::{Fault, kgl_error, kgl_status, report};
use core::ffi::c_void;
use kinglet::kv::CacheType;
use kinglet::session::state::StateError;
use kinglet::session::{Options, Plan, Pooling, Session, SessionError};
use kinglet::tokenizer::TokenId;
use kinglet::workers::{Serial, Workers};

/// The number of a token: a row of the embedding, a column of the logits.
pub type kgl_token = u32;

/// A conversation with a model: its cache, its position, its buffers. One thread at a time.
pub struct kgl_session {
    _opaque: [u8; 0],
}

/// How keys and values are stored.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kgl_cache {
    /// As int8, with a scale for each head and position.
    KGL_CACHE_I8 = 0,
    /// As f32: four times the memory, for comparisons.
    KGL_CACHE_F32 = 1,
}

/// Which tokens an embedding is of.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kgl_pooling {
    /// The last one.
    KGL_POOLING_LAST = 0,
    /// All of them, on average.
    KGL_POOLING_MEAN = 1,
}

/// Runs one chunk of work; what a `kgl_run_fn` is handed.
pub type kgl_task_fn = unsafe extern "C" fn(task: *const c_void, chunk: usize);

/// Runs `task(context, i)` once for each `i` below `chunks`, in any order, on any cores, and returns when all have returned.
pub type kgl_run_fn = unsafe extern "C" fn(user: *mut c_void, chunks: usize, task: kgl_task_fn, context: *const c_void);

/// Is told how many tokens of a long prompt are done, before each batch of it but the first; anything but 0 ends the call.
pub type kgl_progress_fn = unsafe extern "C" fn(user: *mut c_void, done: usize, total: usize) -> i32;

/// How a session is made.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kgl_session_params {
    /// Bytes of this struct.
    pub size: usize,
    /// Positions that the cache holds; 0: 2,048, or as many as the model was made for if these are fewer.
    pub context: usize,
    /// Tokens of a prompt that are run at once, at most.
    pub batch: usize,
    /// A number of `kgl_cache`.
    pub cache: i32,
    /// A number of `kgl_isa`; with `KGL_ISA_ASSUMED` added, on the caller's word that the machine has it.
    pub isa: i32,
    /// Threads, the caller's included; 0: one for each core. Without an operating system, or with `run`, the caller's alone.
    pub threads: usize,
    /// Cores that the caller brings; NULL: `threads` are started.
    pub run: Option<kgl_run_fn>,
    /// Handed to `run`.
    pub run_user: *mut c_void,
    /// How many chunks `run` runs at the same time; at least 1.
    pub run_count: usize,
    /// May be NULL.
    pub progress: Option<kgl_progress_fn>,
    /// Handed to `progress`.
    pub progress_user: *mut c_void,
    /// Where the session lies until it is freed, as many bytes as `kgl_plan` says; NULL: in memory of the system's.
    pub memory: *mut c_void,
    /// Bytes of `memory`.
    pub memory_bytes: usize,
}

// SAFETY: repr(C), the size first.
unsafe impl Versioned for kgl_session_params {}

/// 2,048 positions at most, batches of 128, an int8 cache, the best kernels, all cores.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_session_params_default() -> kgl_session_params {
    let options = Options::default();
    kgl_session_params {
        size: size_of::<kgl_session_params>(),
        context: 0,
        batch: options.batch,
        cache: kgl_cache::KGL_CACHE_I8 as i32,
        isa: kgl_isa::KGL_ISA_BEST as i32,
        threads: 0,
        run: None,
        run_user: core::ptr::null_mut(),
        run_count: 1,
        progress: None,
        progress_user: core::ptr::null_mut(),
        memory: core::ptr::null_mut(),
        memory_bytes: 0,
    }
}

/// The memory of a session.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kgl_plan_info {
    /// Bytes of this struct.
    pub size: usize,
    /// Bytes that a session needs in `kgl_session_params.memory`, at any address: exactly these.
    pub memory_bytes: usize,
    /// Bytes of these that are the cache of keys and values.
    pub cache_bytes: usize,
    /// Positions of the context.
    pub context: usize,
    /// Tokens of a batch.
    pub batch: usize,
}

// SAFETY: repr(C), the size first.
unsafe impl Versioned for kgl_plan_info {}

/// A plan that says nothing yet.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_plan_info_default() -> kgl_plan_info {
    kgl_plan_info { size: size_of::<kgl_plan_info>(), memory_bytes: 0, cache_bytes: 0, context: 0, batch: 0 }
}

/// Where a session stands.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kgl_session_info {
    /// Bytes of this struct.
    pub size: usize,
    /// Tokens stored so far.
    pub position: usize,
    /// Positions that the cache holds.
    pub context: usize,
    /// The kernels that run.
    pub isa: kgl_isa,
    /// Chunks that run at the same time.
    pub threads: usize,
    /// Whether `kgl_session_logits` has any.
    pub has_logits: bool,
}

// SAFETY: repr(C), the size first.
unsafe impl Versioned for kgl_session_info {}

/// An info that says nothing yet.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_session_info_default() -> kgl_session_info {
    let size = size_of::<kgl_session_info>();
    kgl_session_info { size, position: 0, context: 0, isa: kgl_isa::KGL_ISA_BEST, threads: 0, has_logits: false }
}

/// Cores of the caller's.
#[derive(Clone, Copy, Debug)]
struct Cores {
    run: kgl_run_fn,
    user: *mut c_void,
    count: usize,
}

/// Who works for a session.
enum Crew {
    Serial(Serial),
    Callers(Cores),
    #[cfg(feature = "std")]
    Pool(kinglet::workers::Pool),
}

// SAFETY: what the caller's `user` points to is handed to the caller's function only, from the thread that calls the session.
unsafe impl Sync for Cores {}

type Task<'t> = &'t (dyn Fn(usize) + Sync);

// SAFETY: the caller's function calls each chunk once and returns after all; that is said where it is declared.
unsafe impl Workers for Cores {
    fn count(&self) -> usize {
        self.count
    }

    fn run(&self, chunks: usize, task: Task<'_>) {
        unsafe extern "C" fn call(context: *const c_void, chunk: usize) {
            // SAFETY: `run` below points here to its own task, which lives until the caller's function returns.
            let task = unsafe { *context.cast::<Task<'_>>() };
            task(chunk);
        }
        // SAFETY: the caller's word for its own function.
        unsafe { (self.run)(self.user, chunks, call, (&raw const task).cast()) }
    }
}

impl Crew {
    fn new(params: &kgl_session_params) -> Result<Self, Fault<'static>> {
        if let Some(run) = params.run {
            if params.run_count == 0 {
                return Err(Fault::Argument { what: "params.run_count", expected: "at least 1", got: 0 });
            }
            return Ok(Self::Callers(Cores { run, user: params.run_user, count: params.run_count }));
        }
        #[cfg(feature = "std")]
        if params.threads != 1 {
            const MOST: usize = 1024;
            if params.threads > MOST {
                return Err(Fault::Argument {
                    what: "params.threads",
                    expected: "at most 1024",
                    got: params.threads.try_into().unwrap_or(i64::MAX),
                });
            }
            let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let threads = if params.threads == 0 { cores().min(MOST) } else { params.threads };
            return kinglet::workers::Pool::new(threads).map(Self::Pool).map_err(Fault::Threads);
        }
        Ok(Self::Serial(Serial))
    }

    fn workers(&self) -> &dyn Workers {
        match self {
            Self::Serial(serial) => serial,
            Self::Callers(cores) => cores,
            #[cfg(feature = "std")]
            Self::Pool(pool) => pool,
        }
    }
}

/// A crew in a session's own block, before the arena.
struct OwnCrew(*mut Crew);

impl OwnCrew {
    fn workers(&self) -> &'static dyn Workers {
        // SAFETY: it lives as long as this, which the session's object keeps until the session is gone.
        unsafe { (*self.0).workers() }
    }
}

impl Drop for OwnCrew {
    fn drop(&mut self) {
        // SAFETY: `kgl_session_new` wrote it, and the session that used it is gone: it stands before this in `Talk`.
        unsafe { self.0.drop_in_place() }
    }
}

/// A session and what it borrows. What is borrowed goes last.
pub(crate) struct Talk {
    pub(crate) session: Session<'static, 'static>,
    isa: kgl_isa,
    progress: Option<kgl_progress_fn>,
    progress_user: *mut c_void,
    crew: OwnCrew,
    pub(crate) parent: Parent,
}

impl Talk {
    /// Runs tokens, asking the caller's progress function after each batch.
    pub(crate) fn prefill(&mut self, tokens: &[TokenId]) -> Result<(), Fault<'static>> {
        self.ask(tokens.len(), |session, go_on| session.prefill_while(tokens, go_on))
    }

    /// Runs what asks the caller's progress function whether to go on, and returns how many of `total` tokens were run.
    fn ask(
        &mut self,
        total: usize,
        run: impl FnOnce(&mut Session<'static, 'static>, &mut dyn FnMut(usize) -> bool) -> Result<usize, SessionError>,
    ) -> Result<(), Fault<'static>> {
        let (progress, user) = (self.progress, self.progress_user);
        let mut go_on = |done| match progress {
            // SAFETY: the caller's word for its own function.
            Some(progress) => unsafe { progress(user, done, total) == 0 },
            None => true,
        };
        match run(&mut self.session, &mut go_on).map_err(Fault::Session)? {
            done if done == total => Ok(()),
            done => Err(Fault::Cancelled { done, of: total }),
        }
    }
}

impl Object for Talk {
    const MAGIC: u32 = u32::from_le_bytes(*b"KGLs");
    const NAME: &'static str = "session";
}

fn plan(model: &kinglet::model::Model<'_>, params: &kgl_session_params) -> Result<(Plan, usize), Fault<'static>> {
    let cache = match params.cache {
        cache if cache == kgl_cache::KGL_CACHE_I8 as i32 => CacheType::I8,
        cache if cache == kgl_cache::KGL_CACHE_F32 as i32 => CacheType::F32,
        got => return Err(Fault::Argument { what: "params.cache", expected: "a number of kgl_cache", got: got.into() }),
    };
    let made_for = model.spec().context as usize;
    let context = if params.context == 0 { made_for.min(Options::default().context) } else { params.context };
    let plan = Plan::new(model.spec(), Options { context, batch: params.batch, cache, logit_rows: 1 }).map_err(Fault::Plan)?;
    // The object, the crew and the arena lie one behind the other.
    let bytes = handle::sum([(1, size_of::<Crew>())]).and_then(|crew| plan.arena_bytes().checked_add(crew));
    let bytes = bytes.and_then(handle::block_bytes::<Talk>);
    let bytes = bytes.filter(|bytes| *bytes <= isize::MAX as usize);
    bytes.map(|bytes| (plan, bytes)).ok_or(Fault::Plan(kinglet::session::PlanError::TooLarge))
}

/// Tells the exact memory of a session of a model with these parameters. `out` is made by `kgl_plan_info_default()`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_plan(
    model: *const kgl_model,
    params: *const kgl_session_params,
    out: *mut kgl_plan_info,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (model, params) = unsafe { (Handle::<Loaded>::of(model)?, sized::read(params, "params", kgl_session_params_default())?) };
        let (plan, memory_bytes) = plan(&model.shared().model, &params)?;
        let Options { context, batch, .. } = plan.options();
        let info = kgl_plan_info { memory_bytes, cache_bytes: plan.cache_bytes(), context, batch, ..kgl_plan_info_default() };
        // SAFETY: the caller's duty.
        unsafe { sized::write(out, "plan", info) }
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Makes a session at position 0. The model must not be freed before it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_session_new(
    model: *const kgl_model,
    params: *const kgl_session_params,
    out: *mut *mut kgl_session,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let out = unsafe { result(out, "out")? };
        // SAFETY: the caller's duty.
        let parent = unsafe { Parent::of(model)? };
        // SAFETY: the caller's duty.
        let params = unsafe { sized::read(params, "params", kgl_session_params_default())? };
        let kernels = isa::kernels(params.isa)?;
        let (plan, bytes) = plan(parent.model(), &params)?;
        // SAFETY: the caller's duty.
        let block = unsafe { Block::new(params.memory, params.memory_bytes, bytes, "params.memory")? };
        // SAFETY: the block is new and was made for one.
        let (place, mut rest) = unsafe { block.split::<Talk>() };
        let crew = OwnCrew(rest.put(Crew::new(&params)?)?);
        // SAFETY: the system's bytes are zeros, and the caller's hold something.
        let arena = unsafe { rest.bytes() };
        let session = Session::new(parent.model(), &plan, arena, kernels, crew.workers()).map_err(Fault::Session)?;
        let (log, isa, threads, made_for) = (parent.log(), kernels.isa, crew.workers().count(), parent.model().spec().context);
        let kgl_session_params { progress, progress_user, .. } = params;
        let Options { context, batch, .. } = plan.options();
        let what = format_args!("session: {isa}, {threads} threads, {context} positions, batches of {batch}, {bytes} bytes");
        log.tell(kgl_log_level::KGL_LOG_INFO, &what);
        if context > made_for as usize {
            let what =
                format_args!("session: {context} positions asked for; the model was made for {made_for}, text gets worse after these");
            log.tell(kgl_log_level::KGL_LOG_WARNING, &what);
        }
        // After the log, whose function is the caller's: nobody has the session before this call returns.
        handle::put(place, block, Talk { session, isa: isa::number(isa), progress, progress_user, crew, parent }, out);
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Frees a session and makes the caller's pointer NULL. `session` or `*session` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_session_free(session: *mut *mut kgl_session, error: *mut kgl_error) -> kgl_status {
    // SAFETY: the caller's duty.
    unsafe { report(error, || handle::free(session, |_: &Talk| Ok(()))) }
}

/// # Safety
/// As for [`Handle::of`].
pub(crate) unsafe fn enter<'a>(session: *const kgl_session) -> Result<Entered<'a, Talk>, Fault<'static>> {
    // SAFETY: the caller's duty.
    unsafe { Handle::<Talk>::of(session)? }.enter()
}

/// # Safety
/// As for [`slice`].
pub(crate) unsafe fn tokens<'a>(tokens: *const kgl_token, count: usize) -> Result<&'a [TokenId], Fault<'static>> {
    // SAFETY: a TokenId is the number and nothing else.
    unsafe { slice(tokens.cast::<TokenId>(), count, "tokens") }
}

/// Tells where a session stands. `out` is made by `kgl_session_info_default()`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_session_get_info(
    session: *const kgl_session,
    out: *mut kgl_session_info,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let talk = unsafe { enter(session)? };
        let (session, isa, threads) = (&talk.session, talk.isa, talk.crew.workers().count());
        let (position, context, has_logits) = (session.position(), session.context(), session.logits().is_some());
        let info = kgl_session_info { position, context, isa, threads, has_logits, ..kgl_session_info_default() };
        // SAFETY: the caller's duty.
        unsafe { sized::write(out, "info", info) }
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Runs tokens after those before. Then `kgl_session_logits` has what follows the last.
///
/// If the progress callback ends it, the tokens that it was told of are stored, and there are no logits: `KGL_ERROR_CANCELLED`.
/// After any other error nothing has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_session_prefill(
    session: *mut kgl_session,
    tokens: *const kgl_token,
    count: usize,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (mut talk, tokens) = unsafe { (enter(session)?, self::tokens(tokens, count)?) };
        talk.prefill(tokens)
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Runs one token after those before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_session_decode(session: *mut kgl_session, token: kgl_token, error: *mut kgl_error) -> kgl_status {
    // SAFETY: the caller's duty.
    let body = || unsafe { enter(session)? }.session.prefill(&[TokenId(token)]).map(drop).map_err(Fault::Session);
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// The logits that follow the last token: `*count` numbers at `*logits`, one for each token of the vocabulary. They stay
/// until the next call with this session. `count` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_session_logits(
    session: *const kgl_session,
    logits: *mut *const f32,
    count: *mut usize,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (out, talk) = unsafe { (place::start(logits, core::ptr::null(), "logits")?, enter(session)?) };
        let logits = talk.session.logits().ok_or(Fault::NoLogits)?;
        *out = logits.as_ptr();
        // SAFETY: the caller's duty.
        unsafe { place::tell(count, logits.len()) };
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Runs tokens after those before and writes their embedding, `hidden` numbers: what the model's head would multiply, of the last
/// token or on average (`pooling`, a number of `kgl_pooling`). It is not normalised to length 1. There are no logits then.
/// The progress callback may end it, as with `kgl_session_prefill`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_session_embed(
    session: *mut kgl_session,
    tokens: *const kgl_token,
    count: usize,
    pooling: i32,
    out: *mut f32,
    out_count: usize,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (mut talk, tokens) = unsafe { (enter(session)?, self::tokens(tokens, count)?) };
        let pooling = match pooling {
            pooling if pooling == kgl_pooling::KGL_POOLING_LAST as i32 => Pooling::Last,
            pooling if pooling == kgl_pooling::KGL_POOLING_MEAN as i32 => Pooling::Mean,
            got => return Err(Fault::Argument { what: "pooling", expected: "a number of kgl_pooling", got: got.into() }),
        };
        let needed = talk.parent.model().spec().hidden as usize;
        if out_count < needed {
            return Err(Fault::TooSmall { what: "out", needed, got: out_count });
        }
        // SAFETY: the caller's duty.
        let out = unsafe { slice_mut(out, needed, "out")? };
        talk.ask(tokens.len(), |session, go_on| session.embed_while(tokens, pooling, out, go_on))
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Goes back to `position`, forgetting what follows. 0 is always possible; where a sliding window has moved on, less else is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_session_truncate(session: *mut kgl_session, position: usize, error: *mut kgl_error) -> kgl_status {
    // SAFETY: the caller's duty.
    let body = || unsafe { enter(session)? }.session.truncate(position).map_err(Fault::Session);
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Writes the session's state, its cache and its position, to `out`; `*bytes` is its length, also after `KGL_ERROR_TOO_SMALL`. With
/// `out` NULL and `out_bytes` 0 it only tells the length.
///
/// Another process, on another machine, can go on from it with a session of the same model file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_session_save(
    session: *const kgl_session,
    out: *mut c_void,
    out_bytes: usize,
    bytes: *mut usize,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (bytes, talk) = unsafe { (place::start(bytes, 0, "bytes")?, enter(session)?) };
        *bytes = talk.session.state_bytes();
        // SAFETY: the caller's duty.
        let out = unsafe { slice_mut(out.cast::<u8>(), out_bytes, "out")? };
        talk.session.save(out).map(drop).map_err(|e| match e {
            StateError::TooSmall { needed, got } => Fault::TooSmall { what: "out", needed, got },
            e => Fault::State(e),
        })
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Goes to where a session of the same model file was saved: the next tokens get the same bits as there. There are no logits
/// until then. After an error nothing has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_session_restore(
    session: *mut kgl_session,
    state: *const c_void,
    bytes: usize,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (mut talk, state) = unsafe { (enter(session)?, slice(state.cast::<u8>(), bytes, "state")?) };
        talk.session.restore(state).map_err(Fault::State)
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}
