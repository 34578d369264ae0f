//! Models: a file in memory, checked once.

use crate::handle::{self, Block, Handle, Object};
use crate::log::{Log, kgl_log_fn, kgl_log_level};
use crate::place::{self, result, slice};
use crate::sized::{self, Versioned};
use crate::status::{Fault, caught, kgl_error, kgl_status, report, tell};
use core::ffi::{CStr, c_char, c_void};
use core::sync::atomic::{AtomicUsize, Ordering};
use kinglet::model::Model;

/// A model. Threads may share it.
pub struct kgl_model {
    _opaque: [u8; 0],
}

/// How a model is opened.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kgl_model_params {
    /// Bytes of this struct.
    pub size: usize,
    /// Where the object lies, `kgl_model_bytes()` at least, until it is freed; NULL: in memory of the system's.
    pub memory: *mut c_void,
    /// Bytes of `memory`.
    pub memory_bytes: usize,
    /// Is told what the model and the objects made from it do, in English; NULL: nobody is.
    pub log: Option<kgl_log_fn>,
    /// Handed to `log`.
    pub log_user: *mut c_void,
}

// SAFETY: repr(C), the size first.
unsafe impl Versioned for kgl_model_params {}

/// Parameters that leave everything to the library.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_model_params_default() -> kgl_model_params {
    let (memory, log_user) = (core::ptr::null_mut(), core::ptr::null_mut());
    kgl_model_params { size: size_of::<kgl_model_params>(), memory, memory_bytes: 0, log: None, log_user }
}

/// What a model is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kgl_model_info {
    /// Bytes of this struct.
    pub size: usize,
    /// Tokens of the vocabulary: logits of a position.
    pub vocab: u32,
    /// Positions that it was made for.
    pub context: u32,
    /// Width of the residual stream: numbers of an embedding.
    pub hidden: u32,
    /// Layers.
    pub layers: u32,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of weights that decoding one token reads.
    pub bytes_per_token: u64,
    /// Entries of the file's metadata, see `kgl_model_meta_at`.
    pub meta_count: u32,
    /// Whether the file has a tokenizer.
    pub has_tokenizer: bool,
    /// Whether the file has a chat format.
    pub has_chat: bool,
}

// SAFETY: repr(C), the size first.
unsafe impl Versioned for kgl_model_info {}

/// An info that says nothing yet.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_model_info_default() -> kgl_model_info {
    kgl_model_info {
        size: size_of::<kgl_model_info>(),
        vocab: 0,
        context: 0,
        hidden: 0,
        layers: 0,
        file_bytes: 0,
        bytes_per_token: 0,
        meta_count: 0,
        has_tokenizer: false,
        has_chat: false,
    }
}

/// A model and what keeps its bytes.
pub(crate) struct Loaded {
    pub(crate) model: Model<'static>,
    pub(crate) log: Log,
    /// Objects made from it that live.
    children: AtomicUsize,
    #[cfg(feature = "std")]
    _map: Option<kinglet::map::MappedFile>,
}

impl Object for Loaded {
    const MAGIC: u32 = u32::from_le_bytes(*b"KGLm");
    const NAME: &'static str = "model";
}

/// A model as an object has it that was made from it: as long as there is one, the model is not freed.
pub(crate) struct Parent(&'static Handle<Loaded>);

impl Parent {
    /// The model behind a pointer of C's.
    ///
    /// # Safety
    /// As for [`Handle::of`], with a model that is not freed before this goes.
    pub(crate) unsafe fn of(model: *const kgl_model) -> Result<Self, Fault<'static>> {
        // SAFETY: the caller's duty.
        let model: &'static Handle<Loaded> = unsafe { Handle::of(model)? };
        model.shared().children.fetch_add(1, Ordering::AcqRel);
        Ok(Self(model))
    }

    pub(crate) fn model(&self) -> &'static Model<'static> {
        &self.0.shared().model
    }

    pub(crate) fn log(&self) -> Log {
        self.0.shared().log
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        self.0.shared().children.fetch_sub(1, Ordering::AcqRel);
    }
}

const BYTES: usize = match handle::block_bytes::<Loaded>(0) {
    Some(bytes) => bytes,
    None => usize::MAX,
};

/// Bytes of a model's object, for those who bring the memory.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_model_bytes() -> usize {
    BYTES
}

/// Opens a model file. It is mapped and used in place; it must not be changed or cut while the model lives.
///
/// `path` is the file's name, ended by a 0. `params` may be NULL. On success `*out` is the model, else NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_model_open(
    path: *const c_char,
    params: *const kgl_model_params,
    out: *mut *mut kgl_model,
    error: *mut kgl_error,
) -> kgl_status {
    let mut name = None;
    let result = caught(|| {
        // SAFETY: the caller's duty.
        let out = unsafe { result(out, "out")? };
        if path.is_null() {
            return Err(Fault::Null { what: "path" });
        }
        // SAFETY: the caller's duty: it ends with a 0.
        let path = unsafe { CStr::from_ptr(path) };
        name = path.to_str().ok();
        // SAFETY: the caller's duty.
        let params = unsafe { sized::read(params, "params", kgl_model_params_default())? };
        // SAFETY: the caller's duty.
        unsafe { open(path, &params, out) }
    });
    let fault = result.as_ref().err();
    // What the file holds is told with the file's name; the system's words have it already.
    let named = match (fault, name) {
        (Some(fault @ Fault::Model(_)), Some(path)) => Some(Fault::In { path, fault }),
        _ => None,
    };
    // SAFETY: the caller's duty.
    unsafe { tell(error, named.as_ref().or(fault)) }
}

#[cfg(feature = "std")]
unsafe fn open(path: &CStr, params: &kgl_model_params, out: &mut *mut kgl_model) -> Result<(), Fault<'static>> {
    #[cfg(unix)]
    let path = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path.to_bytes());
    #[cfg(not(unix))]
    let path = path.to_str().map_err(|_| Fault::Argument { what: "path", expected: "UTF-8", got: 0 })?;
    let map = kinglet::map::MappedFile::open(path).map_err(Fault::File)?;
    // SAFETY: the mapping lives as long as the object, which owns it, and stays where it is when its owner moves.
    let bytes = unsafe { core::slice::from_raw_parts(map.bytes().as_ptr(), map.bytes().len()) };
    // SAFETY: the caller's duty.
    unsafe { make(bytes, Some(map), params, out) }
}

#[cfg(not(feature = "std"))]
unsafe fn open(_: &CStr, _: &kgl_model_params, _: &mut *mut kgl_model) -> Result<(), Fault<'static>> {
    Err(Fault::Unsupported { what: "kgl_model_open" })
}

/// Takes a model file that lies in memory or flash, at an address that is a multiple of 4. It is used in place: the bytes must
/// stay as they are until the model is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_model_from_memory(
    data: *const c_void,
    bytes: usize,
    params: *const kgl_model_params,
    out: *mut *mut kgl_model,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let out = unsafe { result(out, "out")? };
        // SAFETY: the caller's duty.
        let params = unsafe { sized::read(params, "params", kgl_model_params_default())? };
        // SAFETY: the caller's duty.
        let bytes = unsafe { slice(data.cast::<u8>(), bytes, "data")? };
        // SAFETY: the caller's duty.
        unsafe {
            make(
                bytes,
                #[cfg(feature = "std")]
                None,
                &params,
                out,
            )
        }
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

unsafe fn make(
    bytes: &'static [u8],
    #[cfg(feature = "std")] map: Option<kinglet::map::MappedFile>,
    params: &kgl_model_params,
    out: &mut *mut kgl_model,
) -> Result<(), Fault<'static>> {
    let loaded = Loaded {
        model: Model::new(bytes).map_err(Fault::Model)?,
        log: Log::new(params.log, params.log_user),
        children: AtomicUsize::new(0),
        #[cfg(feature = "std")]
        _map: map,
    };
    // SAFETY: the caller's duty.
    let block = unsafe { Block::new(params.memory, params.memory_bytes, BYTES, "params.memory")? };
    // SAFETY: the block is new and was made for one.
    let (place, _) = unsafe { block.split::<Loaded>() };
    let (log, model) = (loaded.log, loaded.model);
    let (layers, bytes) = (model.spec().stack().len(), model.container().bytes().len());
    log.tell(kgl_log_level::KGL_LOG_INFO, &format_args!("model: {layers} layers, vocabulary of {}, {bytes} bytes", model.spec().vocab));
    // After the log, whose function is the caller's: nobody has the model before this call returns.
    handle::put(place, block, loaded, out);
    Ok(())
}

/// Frees a model and makes the caller's pointer NULL. `model` or `*model` may be NULL.
///
/// While objects made from it live it is not freed: `KGL_ERROR_IN_USE`. `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_model_free(model: *mut *mut kgl_model, error: *mut kgl_error) -> kgl_status {
    let may_go = |model: &Loaded| match model.children.load(Ordering::Acquire) {
        0 => Ok(()),
        children => Err(Fault::InUse { children }),
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, || handle::free(model, may_go)) }
}

/// Tells what a model is. `out` is made by `kgl_model_info_default()`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_model_get_info(model: *const kgl_model, out: *mut kgl_model_info, error: *mut kgl_error) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let model = &unsafe { Handle::<Loaded>::of(model)? }.shared().model;
        let (spec, container) = (model.spec(), model.container());
        let info = kgl_model_info {
            vocab: spec.vocab,
            context: spec.context,
            hidden: spec.hidden,
            layers: spec.stack().len() as u32,
            file_bytes: container.bytes().len() as u64,
            bytes_per_token: model.bytes_per_token(),
            meta_count: container.meta().count() as u32,
            has_tokenizer: model.tokenizer().is_some(),
            has_chat: !container.section(kinglet::format::Section::Chat).is_empty(),
            ..kgl_model_info_default()
        };
        // SAFETY: the caller's duty.
        unsafe { sized::write(out, "info", info) }
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Reads entry `index` of the file's metadata: `*key_bytes` bytes of UTF-8 at `*key`, `*value_bytes` at `*value`, in the file,
/// as long as the model lives. No 0 ends them. Any of the four may be NULL. Beyond the last: `KGL_ERROR_NOT_FOUND`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_model_meta_at(
    model: *const kgl_model,
    index: usize,
    key: *mut *const c_char,
    key_bytes: *mut usize,
    value: *mut *const c_char,
    value_bytes: *mut usize,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let mut entries = unsafe { Handle::<Loaded>::of(model)? }.shared().model.container().meta();
        let (k, v) = entries.nth(index).ok_or(Fault::NotFound { what: "metadata" })?;
        // SAFETY: the caller's duty.
        unsafe {
            place::tell_text(key, key_bytes, k);
            place::tell_text(value, value_bytes, v);
        }
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Reads the metadata of `key`, such as `name`: `*value_bytes` bytes of UTF-8 at `*value`, in the file, as long as the model lives. No
/// 0 ends them. Without such an entry: `KGL_ERROR_NOT_FOUND`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_model_meta(
    model: *const kgl_model,
    key: *const c_char,
    value: *mut *const c_char,
    value_bytes: *mut usize,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (model, key) = unsafe { (Handle::<Loaded>::of(model)?, place::text(key, place::KGL_TERMINATED, "key")?) };
        let found = model.shared().model.container().meta_value(key).ok_or(Fault::NotFound { what: "metadata" })?;
        // SAFETY: the caller's duty.
        unsafe { place::tell_text(value, value_bytes, found) };
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}
