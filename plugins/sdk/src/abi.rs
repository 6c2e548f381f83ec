//! The layout that crosses the edge between kiln and a plugin. `include/kiln_plugin.h` says the same in C; a test compares both.
//!
//! A plugin is a shared library that exports one function, [`SYMBOL`], which returns a pointer to a [`PluginTable`] that stays valid for
//! as long as the process lives. Libraries are loaded once and never unloaded.
//!
//! **Versions.** Both tables begin with [`MAGIC`], their own size, and the major and minor version that they were built with. Another major
//! version is refused. Within one, members are only added at the end: whoever reads a table reads no further than its `size`, and takes a
//! member beyond that for absent. Any function may be absent (null); what a plugin does not have it does not name in its description.
//!
//! **Threads.** Every plugin has a thread of its own. All functions of [`PluginTable`] but `describe` are called from that thread alone,
//! one at a time, between `create` and `destroy`. Functions of [`HostTable`] may be called from any thread and at any time; once the
//! instance has ended, they do nothing.
//!
//! **Lifetimes.** Bytes that are handed over ([`Bytes`]) belong to whoever hands them over and are valid until the call returns; copy what
//! you keep. What a plugin answers ([`Reply`]) belongs to the plugin: kiln copies it and calls `free`, once, right after the call.
//!
//! **Texts** are UTF-8 without a final zero. Messages are JSON; `schema/messages.schema.json` describes them. Preview frames are raw bytes.
//!
//! **Unwinding** across the edge aborts the process. The thunks of this crate catch every panic; a plugin in another language must do the
//! same with its exceptions.

use std::ffi::c_void;

/// `kilnplug`, as a big-endian number: the first member of both tables.
pub const MAGIC: u64 = u64::from_be_bytes(*b"kilnplug");
/// The major version. Another one is refused.
pub const MAJOR: u16 = 1;
/// The minor version: 1 added `preview` and both `extension` functions.
pub const MINOR: u16 = 1;
/// The name of the one function that a plugin exports; its type is [`Entry`].
pub const SYMBOL: &str = "kiln_plugin_entry";
/// The size of [`PluginTable`] in version 1.0: no table may be smaller.
pub const PLUGIN_TABLE_1_0: usize = std::mem::offset_of!(PluginTable, preview);
/// The size of [`HostTable`] in version 1.0.
pub const HOST_TABLE_1_0: usize = std::mem::offset_of!(HostTable, extension);

/// A call went well; the reply, if there is one, is the answer.
pub const OK: i32 = 0;
/// A call failed; the reply is a sentence that says why, lower case, without a full stop.
pub const FAILED: i32 = 1;
/// The plugin panicked; the reply is what it said.
pub const PANICKED: i32 = 2;

/// Log levels of [`HostTable::log`].
pub mod level {
    /// Something went wrong.
    pub const ERROR: u32 = 1;
    /// Something that will not stop anything, but should be known.
    pub const WARN: u32 = 2;
    /// Something worth a line.
    pub const INFO: u32 = 3;
    /// Of interest to the plugin's author.
    pub const DEBUG: u32 = 4;
}

/// The names of the hooks that [`PluginTable::call`] is given.
pub mod hook {
    /// A graph is about to be submitted, and may be changed.
    pub const BEFORE_SUBMIT: &str = "before_submit";
    /// A job's results are here, and may be replaced, dropped or added to.
    pub const AFTER_DOWNLOAD: &str = "after_download";
    /// A task of a step `plugin: NAME` is to be carried out.
    pub const STEP: &str = "step";
    /// A template calls a function.
    pub const FUNCTION: &str = "function";
    /// A template uses a filter.
    pub const FILTER: &str = "filter";
}

/// Bytes that somebody else owns, valid until the call returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    /// The first byte; may be null when `length` is 0.
    pub data: *const u8,
    /// How many.
    pub length: usize,
}

impl Bytes {
    /// The bytes of a slice.
    pub const fn of(bytes: &[u8]) -> Self {
        Self {
            data: bytes.as_ptr(),
            length: bytes.len(),
        }
    }
}

/// An answer. Whoever calls hands over an empty one; whoever answers fills it in, or leaves it.
///
/// It stays the property of the one who filled it in: the caller copies `length` bytes from `data` and then calls `free` once, on the
/// thread on which the call was made. Without `free`, the bytes must stay valid until the next call.
#[repr(C)]
#[derive(Debug)]
pub struct Reply {
    /// The first byte; null for no answer.
    pub data: *const u8,
    /// How many.
    pub length: usize,
    /// For the one who filled it in.
    pub owner: *mut c_void,
    /// Gives the bytes back.
    pub free: Option<unsafe extern "C" fn(reply: *mut Reply)>,
}

impl Reply {
    /// No answer.
    pub const EMPTY: Self = Self {
        data: std::ptr::null(),
        length: 0,
        owner: std::ptr::null_mut(),
        free: None,
    };
}

/// What kiln offers to a plugin. It is there for as long as the process lives, so that a thread which outlives the instance does no harm;
/// once the instance has ended, its functions do nothing.
///
/// All functions may be called from any thread; `context` is handed back to each of them. A `call` is the number that
/// [`PluginTable::call`] was given; after that call has returned, services for it do nothing.
#[repr(C)]
#[derive(Debug)]
pub struct HostTable {
    /// [`MAGIC`].
    pub magic: u64,
    /// The size of this table in bytes.
    pub size: u32,
    /// [`MAJOR`] of kiln.
    pub major: u16,
    /// [`MINOR`] of kiln.
    pub minor: u16,
    /// For the host.
    pub context: *mut c_void,
    /// The plugin's settings: a JSON object with `name` (as `kiln.yaml` calls the plugin), `kiln` (the program's version), `config`, and
    /// `timeout_ms` (how long one call may take). The bytes are valid as long as the table is.
    pub config: Option<unsafe extern "C" fn(context: *mut c_void) -> Bytes>,
    /// A line for the user, with one of the levels of [`level`].
    pub log: Option<unsafe extern "C" fn(context: *mut c_void, level: u32, text: Bytes)>,
    /// How far a call is, 0 to 1, and a few words on what it does. Often is fine: kiln tells no more than it can show.
    pub progress:
        Option<unsafe extern "C" fn(context: *mut c_void, call: u64, fraction: f64, note: Bytes)>,
    /// 1 when nobody waits for a call any more: it is to end soon, in whatever way. 0 otherwise.
    pub cancelled: Option<unsafe extern "C" fn(context: *mut c_void, call: u64) -> u32>,
    /// Adds an artifact to what a call of `step` or `after_download` answers: a JSON object as in its reply. Returns [`OK`] or [`FAILED`].
    pub add_artifact:
        Option<unsafe extern "C" fn(context: *mut c_void, call: u64, artifact: Bytes) -> i32>,
    /// **1.1.** A table of functions that a later version offers under a name; null when kiln does not have it. Valid as long as this table is.
    pub extension: Option<unsafe extern "C" fn(context: *mut c_void, name: Bytes) -> *const c_void>,
}

/// What a plugin offers.
///
/// Each function returns [`OK`], [`FAILED`] or [`PANICKED`]; anything else counts as failed.
#[repr(C)]
#[derive(Debug)]
pub struct PluginTable {
    /// [`MAGIC`].
    pub magic: u64,
    /// The size of this table in bytes.
    pub size: u32,
    /// [`MAJOR`] that the plugin was built with.
    pub major: u16,
    /// [`MINOR`] that the plugin was built with.
    pub minor: u16,
    /// What the plugin is: a JSON object. Called first, on the plugin's thread, before any instance exists. Required.
    pub describe: Option<unsafe extern "C" fn(reply: *mut Reply) -> i32>,
    /// Makes the instance that all other functions are given. `host` stays valid; `instance` must be set, and not to null, unless the call
    /// fails. Required.
    pub create: Option<
        unsafe extern "C" fn(
            host: *const HostTable,
            instance: *mut *mut c_void,
            reply: *mut Reply,
        ) -> i32,
    >,
    /// Ends the instance. The last call; not made when the plugin was given up.
    pub destroy: Option<unsafe extern "C" fn(instance: *mut c_void)>,
    /// An event that the plugin's description asks for: a JSON object whose `kind` is `run` or `server`.
    pub event:
        Option<unsafe extern "C" fn(instance: *mut c_void, event: Bytes, reply: *mut Reply) -> i32>,
    /// A hook, by one of the names of [`hook`]. `call` is a number of this call for the host's services.
    pub call: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            call: u64,
            hook: Bytes,
            request: Bytes,
            reply: *mut Reply,
        ) -> i32,
    >,
    /// **1.1.** A preview frame: a JSON object about it, and the encoded picture as the server sent it.
    pub preview: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            about: Bytes,
            picture: Bytes,
            reply: *mut Reply,
        ) -> i32,
    >,
    /// **1.1.** A table of functions that a later version of the plugin offers under a name; null when it does not have it. Called on the
    /// plugin's thread, after `create`.
    pub extension:
        Option<unsafe extern "C" fn(instance: *mut c_void, name: Bytes) -> *const c_void>,
}

/// The type of the exported function. It may be called more than once and always returns the same table, or null when the plugin cannot
/// work here.
pub type Entry = unsafe extern "C" fn() -> *const PluginTable;
