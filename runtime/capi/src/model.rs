//! Models: a file in memory, checked once.

use crate::handle::{self, Block, Handle, Object};
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
}

// SAFETY: repr(C), the size first.
unsafe impl Versioned for kgl_model_params {}

/// Parameters that leave everything to the library.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_model_params_default() -> kgl_model_params {
    kgl_model_params { size: size_of::<kgl_model_params>(), memory: core::ptr::null_mut(), memory_bytes: 0 }
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
        has_tokenizer: false,
        has_chat: false,
    }
}

/// A model and what keeps its bytes.
pub(crate) struct Loaded {
    pub(crate) model: Model<'static>,
    /// Objects made from it that live.
    pub(crate) children: AtomicUsize,
    #[cfg(feature = "std")]
    _map: Option<kinglet::map::MappedFile>,
}

impl Object for Loaded {
    const MAGIC: u32 = u32::from_le_bytes(*b"KGLm");
    const NAME: &'static str = "model";
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

/// Where a call returns an object; NULL until it succeeds.
///
/// # Safety
/// `out` is NULL or points to a pointer that nothing else uses.
pub(crate) unsafe fn result<'a, O>(out: *mut *mut O, what: &'static str) -> Result<&'a mut *mut O, Fault<'static>> {
    // SAFETY: the caller's duty.
    let out = unsafe { out.as_mut() }.ok_or(Fault::Null { what })?;
    *out = core::ptr::null_mut();
    Ok(out)
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

/// `len` elements of the caller's; NULL is allowed for none.
///
/// # Safety
/// `data` is NULL or points to as many, which do not change during the call.
pub(crate) unsafe fn slice<'a, T>(data: *const T, len: usize, what: &'static str) -> Result<&'a [T], Fault<'static>> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Fault::Null { what });
    }
    if !data.is_aligned() {
        return Err(Fault::Misaligned { what, expected: align_of::<T>() });
    }
    if len > isize::MAX as usize / size_of::<T>() {
        return Err(Fault::Argument { what, expected: "a length that fits the address space", got: len as u64 });
    }
    // SAFETY: the caller's duty.
    Ok(unsafe { core::slice::from_raw_parts(data, len) })
}

unsafe fn make(
    bytes: &'static [u8],
    #[cfg(feature = "std")] map: Option<kinglet::map::MappedFile>,
    params: &kgl_model_params,
    out: &mut *mut kgl_model,
) -> Result<(), Fault<'static>> {
    let loaded = Loaded {
        model: Model::new(bytes).map_err(Fault::Model)?,
        children: AtomicUsize::new(0),
        #[cfg(feature = "std")]
        _map: map,
    };
    // SAFETY: the caller's duty.
    let block = unsafe { Block::new(params.memory, params.memory_bytes, BYTES, "params.memory")? };
    // SAFETY: the caller's duty.
    let (place, _) = unsafe { block.split::<Loaded>() };
    *out = core::ptr::from_mut(place.write(Handle::new(block, loaded))).cast();
    Ok(())
}

/// Frees a model and makes the caller's pointer NULL. `model` or `*model` may be NULL.
///
/// While sessions made from it live it is not freed: `KGL_ERROR_IN_USE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_model_free(model: *mut *mut kgl_model, error: *mut kgl_error) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let Some(model) = unsafe { model.as_mut() }.filter(|model| !model.is_null()) else { return Ok(()) };
        // SAFETY: the caller's duty.
        let handle = unsafe { Handle::<Loaded>::of(*model)? };
        let children = handle.shared().children.load(Ordering::Acquire);
        if children > 0 {
            return Err(Fault::InUse { children });
        }
        *model = core::ptr::null_mut();
        let block = {
            // SAFETY: no object of it lives, and that no other thread is about to make one is the caller's duty.
            let (_loaded, block) = unsafe { handle.take() };
            block
        };
        // SAFETY: as above.
        unsafe { block.free() };
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
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
