//! From a file to a session: what every command that runs a model does first.

use super::hardware::cores::Cores;
use super::options::ModelArgs;
use super::out::{Failure, error, note};
use super::text::{count, size};
use super::{Global, memory};
use kinglet::isa::Isa;
use kinglet::kernels::Kernels;
use kinglet::kv::CacheType;
use kinglet::map::MappedFile;
use kinglet::model::Model;
use kinglet::session::{Options, Plan, Session};
use kinglet::tokenizer::{EncodeOptions, TokenId, Tokenizer};
use kinglet::workers::Pool;
use memmap2::MmapMut;
use std::path::Path;

/// Rows of logits that a session computes at once: generation needs one.
pub(crate) const LOGIT_ROWS: usize = 1;

/// The cores and kernels that a command uses.
pub(crate) struct Machine {
    pub(crate) kernels: &'static Kernels,
    pub(crate) threads: usize,
    /// Where the threads are kept, if they are.
    cores: Option<Cores>,
    pub(crate) pool: Pool,
}

impl Machine {
    /// The kernels of `--isa`, or the best; that many threads, or one for each fast core.
    pub(crate) fn new(global: Global, threads: Option<usize>) -> Result<Self, Failure> {
        Self::on(global, Cores::choose(threads))
    }

    /// Threads on these cores. The calling thread, which works with them, stays on them too.
    pub(crate) fn on(global: Global, cores: Cores) -> Result<Self, Failure> {
        let bound = cores.bind();
        if let Err(e) = &bound {
            note!("kinglet: warning: the threads cannot be kept on {cores}: {e}");
        }
        let machine = Self { cores: bound.is_ok().then(|| cores.clone()), ..Self::anywhere(global, cores.threads)? };
        if global.verbose {
            note!("{machine}");
        }
        Ok(machine)
    }

    /// Threads on whatever cores the system gives them.
    pub(crate) fn anywhere(global: Global, threads: usize) -> Result<Self, Failure> {
        let pool = Pool::new(threads).map_err(error)?;
        Ok(Self { kernels: kernels(global)?, threads, cores: None, pool })
    }
}

impl std::fmt::Display for Machine {
    /// As in `neon kernels, 4 threads on 4 of 8 cores: Cortex-A76`; where no core is left out, without the cores.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} kernels, {}", self.kernels.isa, count(self.threads as u64, "thread"))?;
        match self.cores.as_ref().filter(|cores| cores.are_narrowed()) {
            Some(cores) => write!(f, " on {cores}"),
            None => Ok(()),
        }
    }
}

/// The kernels of `--isa`, or the best of this machine.
pub(crate) fn kernels(global: Global) -> Result<&'static Kernels, Failure> {
    match global.isa {
        None => Ok(Kernels::best()),
        Some(isa) => Kernels::select(isa).ok_or_else(|| {
            let have: Vec<String> = Isa::available().map(|isa| isa.to_string()).collect();
            error(format_args!("--isa {isa}: this machine does not have it; expected one of {}", have.join(", ")))
        }),
    }
}

/// Maps a model file.
pub(crate) fn open(path: &Path) -> Result<MappedFile, Failure> {
    MappedFile::open(path).map_err(error)
}

/// Checks a mapped file and binds its tensors.
pub(crate) fn model<'m>(path: &Path, file: &'m MappedFile) -> Result<Model<'m>, Failure> {
    Model::new(file.bytes()).map_err(|e| Failure::file(path, e))
}

/// The cache type of this name; the command line allows no other.
pub(crate) fn cache_type(name: &str) -> CacheType {
    if name == "f32" { CacheType::F32 } else { CacheType::I8 }
}

/// The memory of a session with these arguments. The batch never needs to be larger than the context.
pub(crate) fn plan(model: &Model<'_>, args: &ModelArgs, context: usize) -> Result<Plan, Failure> {
    let options = Options { context, batch: args.batch.min(context.max(1)), cache: cache_type(&args.cache), logit_rows: LOGIT_ROWS };
    Plan::new(model.spec(), options).map_err(|e| Failure::file(&args.model, e))
}

/// Zeroed memory from the system, which hands out its pages when they are first written.
pub(crate) fn arena(plan: &Plan) -> Result<MmapMut, Failure> {
    let bytes = plan.arena_bytes();
    if let Some(free) = memory::available().filter(|&free| (bytes as u64) > free) {
        note!("kinglet: warning: the session needs {}, {} are free; expect swapping, or a smaller -c", size(bytes as u64), size(free));
    }
    MmapMut::map_anon(bytes.max(1)).map_err(|e| error(format_args!("cannot reserve {} for the session: {e}", size(bytes as u64))))
}

/// A session over an arena of the plan.
pub(crate) fn session<'a, 'm>(
    model: &'a Model<'m>,
    plan: &Plan,
    arena: &'a mut [u8],
    machine: &'a Machine,
) -> Result<Session<'a, 'm>, Failure> {
    Session::new(model, plan, arena, machine.kernels, &machine.pool).map_err(error)
}

/// The file's tokenizer, or what to do without.
pub(crate) fn tokenizer<'a, 'm>(path: &Path, model: &'a Model<'m>) -> Result<&'a Tokenizer<'m>, Failure> {
    model.tokenizer().ok_or_else(|| Failure::file(path, "the file has no tokenizer; convert a folder that has a tokenizer.json"))
}

/// Text to ids.
pub(crate) fn encode(tokenizer: &Tokenizer<'_>, text: &str, options: &EncodeOptions<'_>) -> Result<Vec<TokenId>, Failure> {
    let mut scratch = vec![0; tokenizer.scratch_words(text.len())];
    let mut ids = vec![TokenId(0); tokenizer.max_tokens(text.len())];
    let n = tokenizer.encode(text, options, &mut scratch, &mut ids).map_err(|e| error(format_args!("the prompt: {e}")))?;
    ids.truncate(n);
    ids.shrink_to_fit();
    Ok(ids)
}
