//! A plugin of QEMU's translator (TCG) that writes down the instructions a program executes between two markers.
//!
//! ```text
//! qemu-aarch64 -plugin target/release/libtcg_trace.so,out=TRACE PROGRAM
//! ```
//!
//! `hint #90` begins a trace and `hint #91` ends it: encodings that mean nothing yet, so that every core passes over
//! them. The file is one little-endian `u64` for each instruction in the order of execution: the low half of its
//! address above its 32-bit encoding. A program that reaches no end marker leaves no file.
//!
//! For programs of 32-bit instructions with one thread, in user mode. The interface is QEMU's
//! [documented one](https://www.qemu.org/docs/master/devel/tcg-plugins.html); only what all its versions since 1
//! have in common is used. QEMU refuses a plugin that names another version than it supports: build with
//! `KINGLET_QEMU_PLUGIN_API=2` for QEMU 9 and later.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::{Mutex, PoisonError};

/// `hint #90`.
const BEGIN: u32 = 0xd503_2b5f;
/// `hint #91`.
const END: u32 = 0xd503_2b7f;
/// No callback looks at registers.
const NO_REGISTERS: c_int = 0;

/// The version of the interface that this plugin asks for; QEMU reads it before anything else.
// SAFETY: QEMU asks for this name, and for an int under it.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = match option_env!("KINGLET_QEMU_PLUGIN_API") {
    None => 1,
    Some(version) => match version.as_bytes() {
        [digit @ b'1'..=b'9'] => (*digit - b'0') as c_int,
        _ => panic!("KINGLET_QEMU_PLUGIN_API: expected one digit, 1 to 9"),
    },
};

#[repr(C)]
struct Block(c_void);
#[repr(C)]
struct Instruction(c_void);

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, translated: extern "C" fn(u64, *mut Block));
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    fn qemu_plugin_insn_vaddr(instruction: *const Instruction) -> u64;
    fn qemu_plugin_insn_haddr(instruction: *const Instruction) -> *mut c_void;
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        executed: extern "C" fn(c_uint, *mut c_void),
        flags: c_int,
        data: *mut c_void,
    );
}

struct State {
    out: String,
    recording: bool,
    trace: Vec<u64>,
}

static STATE: Mutex<State> = Mutex::new(State { out: String::new(), recording: false, trace: Vec::new() });

/// QEMU's call after loading: arguments are `out=FILE` and no other. Returns 0 if they are.
///
/// # Safety
/// `argv` has `argc` strings.
// SAFETY: the name and the signature that QEMU's interface asks for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(id: u64, _info: *const c_void, argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: the caller's word.
    let mut args = (0..argc as usize).map(|i| unsafe { CStr::from_ptr(*argv.add(i)) }.to_string_lossy());
    let (Some(arg), None) = (args.next(), args.next()) else {
        eprintln!("tcg-trace: expected one argument, out=FILE");
        return 1;
    };
    let Some(out) = arg.strip_prefix("out=") else {
        eprintln!("tcg-trace: expected out=FILE, got {arg:?}");
        return 1;
    };
    STATE.lock().unwrap_or_else(PoisonError::into_inner).out = out.to_owned();
    // SAFETY: a plugin's own id, and a function of the type that is asked for.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
    0
}

/// Every instruction of a new block gets a callback that carries address and encoding in its pointer.
extern "C" fn translated(_id: u64, block: *mut Block) {
    // SAFETY: the block is alive during this call, and so are its instructions. In user mode the program's memory is
    // part of this process, so the address on the host can be read.
    unsafe {
        for index in 0..qemu_plugin_tb_n_insns(block) {
            let instruction = qemu_plugin_tb_get_insn(block, index);
            let word = u32::from_le_bytes(qemu_plugin_insn_haddr(instruction).cast::<[u8; 4]>().read_unaligned());
            let record = qemu_plugin_insn_vaddr(instruction) << 32 | u64::from(word);
            let data = std::ptr::without_provenance_mut(record as usize);
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, executed, NO_REGISTERS, data);
        }
    }
}

extern "C" fn executed(_cpu: c_uint, data: *mut c_void) {
    let record = data.addr() as u64;
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    match record as u32 {
        BEGIN => state.recording = true,
        END if state.recording => {
            state.recording = false;
            let bytes: Vec<u8> = state.trace.drain(..).flat_map(u64::to_le_bytes).collect();
            if let Err(e) = std::fs::write(&state.out, bytes) {
                eprintln!("tcg-trace: {}: {e}", state.out);
            }
        }
        _ if state.recording => state.trace.push(record),
        _ => {}
    }
}
