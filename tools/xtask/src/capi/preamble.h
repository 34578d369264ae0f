// Kinglet runs transformers with 4-bit and 8-bit weights on small machines. This is its library for C99 and C++17.
//
// Generated from runtime/capi by `cargo xtask header`; a change made here is lost.
// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Two flavours have these calls:
//   libkinglet.a, libkinglet.so   open files by path, start threads, ask the CPU what it can do, and take memory from the system
//                                 where the caller gives none.
//   libkinglet_core.a             needs no operating system and never allocates: models lie in memory (kgl_model_from_memory),
//                                 every object lies in memory of the caller's, and cores are those of kgl_session_params.run.
//                                 From outside it needs @CORE_LINUX@ on Linux, and
//                                 @CORE_BARE@ on machines without an operating system.
// kgl_features() tells which one it is.
//
// Errors. A call that can fail returns a kgl_status; KGL_OK is 0. Its last argument is where it says in one sentence what went
// wrong: a kgl_error made by kgl_error_default(), or NULL. Nothing is printed, no call ends the program, and no input is
// fatal as long as pointers point to what their types and lengths say.
//
// Structs. Each begins with its own size, which its _default() fills in. Parameters may be NULL, which means the defaults.
//
// Memory. An object lives until its _free(), which takes the address of the caller's pointer and makes that NULL. With a field
// `memory` an object lies where the caller says, at any address, and that memory is the caller's again when the object is freed.
// A model is freed after what was made from it. Texts and numbers that a call lends are said to be lent, and until when.
//
// Threads. A model may be used by many threads at a time. Every other object serves one call at a time, from any thread: a call that
// comes meanwhile, from another thread or out of a callback, changes nothing and returns KGL_ERROR_BUSY; so does a call that only
// reads. Whoever frees an object knows that no other thread is about to use it. Threads of a session do not survive fork().
//
// Stack. A call takes up to 16 KiB of it; measured on Cortex-M, where CI compares.
//
// Callbacks return to their caller: no exception of C++ and no longjmp may leave one. What the function for text throws, kinglet.hpp carries past
// that border.
//
// Texts are UTF-8, with a length in bytes or KGL_TERMINATED in its place. A text without a length ends with a 0, as the names of files do.
