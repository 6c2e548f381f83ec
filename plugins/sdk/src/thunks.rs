//! From the C table to the trait: every panic is caught here, and nothing else of this crate is called by kiln.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use serde_json::Value;

use crate::abi::{self, Bytes, HostTable, PluginTable, Reply, hook};
use crate::error::{Error, Result};
use crate::host::{Call, Host};
use crate::messages::{Arguments, Change, Event, Preview, Results, Submission, Task};
use crate::plugin::Plugin;

/// The table of a plugin. [`crate::export`] hands it to kiln.
pub fn table<P: Plugin>() -> &'static PluginTable {
    &Of::<P>::TABLE
}

struct Of<P>(PhantomData<P>);

impl<P: Plugin> Of<P> {
    const TABLE: PluginTable = PluginTable {
        magic: abi::MAGIC,
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a table of some hundred bytes"
        )]
        size: std::mem::size_of::<PluginTable>() as u32,
        major: abi::MAJOR,
        minor: abi::MINOR,
        describe: Some(describe::<P>),
        create: Some(create::<P>),
        destroy: Some(destroy::<P>),
        event: Some(event::<P>),
        call: Some(call::<P>),
        preview: Some(preview::<P>),
        extension: None,
    };
}

/// What the host is given as an instance.
struct Instance<P> {
    plugin: P,
    host: Host,
}

unsafe extern "C" fn describe<P: Plugin>(reply: *mut Reply) -> i32 {
    guarded(reply, || Ok(P::about().to_json().to_string().into_bytes()))
}

unsafe extern "C" fn create<P: Plugin>(
    host: *const HostTable,
    instance: *mut *mut c_void,
    reply: *mut Reply,
) -> i32 {
    guarded(reply, || {
        // SAFETY: the interface promises that the table is valid until `destroy`.
        let host = unsafe { Host::of(host) }?;
        let settings = host.settings()?;
        let plugin = P::create(&settings["config"], host)?;
        let made = Box::into_raw(Box::new(Instance { plugin, host }));
        // SAFETY: the interface promises a place for the instance.
        unsafe { instance.write(made.cast()) };
        Ok(Vec::new())
    })
}

unsafe extern "C" fn destroy<P: Plugin>(instance: *mut c_void) {
    let mut none = Reply::EMPTY;
    guarded(&raw mut none, || {
        if !instance.is_null() {
            // SAFETY: the host gives back what `create` made, once, as its last call.
            drop(unsafe { Box::from_raw(instance.cast::<Instance<P>>()) });
        }
        Ok(Vec::new())
    });
    if let Some(free) = none.free {
        // SAFETY: `guarded` filled it in, and nobody else has it.
        unsafe { free(&raw mut none) };
    }
}

/// # Safety
/// `instance` is what `create::<P>` made, and is used by nobody else until `'a` ends.
unsafe fn alive<'a, P>(instance: *mut c_void) -> Result<&'a mut Instance<P>> {
    // SAFETY: the caller promises it; calls come one at a time.
    unsafe { instance.cast::<Instance<P>>().as_mut() }.ok_or_else(|| Error::new("no instance"))
}

unsafe extern "C" fn event<P: Plugin>(
    instance: *mut c_void,
    event: Bytes,
    reply: *mut Reply,
) -> i32 {
    guarded(reply, || {
        // SAFETY: the host gives back what `create` made, and calls come one at a time.
        let this = unsafe { alive::<P>(instance) }?;
        // SAFETY: the bytes are valid until this call returns, and `Event` lives no longer.
        let event = Event::new(unsafe { slice(event) });
        match event.kind() {
            "run" => this.plugin.run_event(&event)?,
            "server" => this.plugin.server_event(&event)?,
            // Of a later version.
            _ => {}
        }
        Ok(Vec::new())
    })
}

unsafe extern "C" fn preview<P: Plugin>(
    instance: *mut c_void,
    about: Bytes,
    picture: Bytes,
    reply: *mut Reply,
) -> i32 {
    guarded(reply, || {
        // SAFETY: the host gives back what `create` made, and calls come one at a time.
        let this = unsafe { alive::<P>(instance) }?;
        // SAFETY: the bytes are valid until this call returns, and `Preview` lives no longer.
        let (about, picture) = unsafe { (slice(about), slice(picture)) };
        let about = serde_json::from_slice(about)?;
        this.plugin.preview(&Preview { about, picture })?;
        Ok(Vec::new())
    })
}

unsafe extern "C" fn call<P: Plugin>(
    instance: *mut c_void,
    id: u64,
    hook: Bytes,
    request: Bytes,
    reply: *mut Reply,
) -> i32 {
    guarded(reply, || {
        // SAFETY: the host gives back what `create` made, and calls come one at a time.
        let this = unsafe { alive::<P>(instance) }?;
        // SAFETY: the bytes are valid until this call returns.
        let (hook, request) = unsafe { (slice(hook), slice(request)) };
        let hook = std::str::from_utf8(hook)?;
        let request: Value = serde_json::from_slice(request)?;
        let answer = answer(&mut this.plugin, hook, request, Call::new(this.host, id))?;
        Ok(answer.to_string().into_bytes())
    })
}

fn answer<P: Plugin>(plugin: &mut P, name: &str, request: Value, call: Call) -> Result<Value> {
    Ok(match name {
        hook::BEFORE_SUBMIT => match plugin.before_submit(&Submission::new(request), call)? {
            Some(graph) => serde_json::json!({ "graph": graph }),
            None => Value::Null,
        },
        hook::AFTER_DOWNLOAD => match plugin.after_download(&Results::new(request), call)? {
            Some(changes) => {
                let changes: Vec<Value> = changes.iter().map(Change::to_json).collect();
                serde_json::json!({ "artifacts": changes })
            }
            None => Value::Null,
        },
        hook::STEP => {
            let made = plugin.step(&Task::new(request), call)?;
            let made: Vec<Value> = made.iter().map(crate::Artifact::to_json).collect();
            serde_json::json!({ "artifacts": made })
        }
        hook::FUNCTION => {
            let value = plugin.function(&Arguments::new(request), call)?;
            serde_json::json!({ "value": value })
        }
        hook::FILTER => {
            let value = plugin.filter(&Arguments::new(request), call)?;
            serde_json::json!({ "value": value })
        }
        other => return Err(Error::new(format!("there is no hook `{other}`"))),
    })
}

/// # Safety
/// The bytes are valid for `'a`.
unsafe fn slice<'a>(bytes: Bytes) -> &'a [u8] {
    if bytes.data.is_null() || bytes.length == 0 {
        return &[];
    }
    // SAFETY: the caller promises it, and neither is null.
    unsafe { std::slice::from_raw_parts(bytes.data, bytes.length) }
}

thread_local! {
    /// Whether this thread is inside a thunk.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic inside a thunk was.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic inside a thunk is told as the answer of a call, and not on stderr. A cdylib has a hook of its own, so this changes nothing for
/// kiln; in a test, where the plugin is linked in, panics outside of thunks are told as before.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if INSIDE.get() {
                let place = info
                    .location()
                    .map(|at| format!("{}:{}", at.file(), at.line()));
                PLACE.set(place);
            } else {
                before(info);
            }
        }));
    });
}

/// Runs what a thunk is for; nothing unwinds out of it.
fn guarded(reply: *mut Reply, work: impl FnOnce() -> Result<Vec<u8>>) -> i32 {
    quiet_panics();
    let outer = INSIDE.replace(true);
    let ended = catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(outer);
    let (status, bytes) = match ended {
        Ok(Ok(bytes)) => (abi::OK, bytes),
        Ok(Err(error)) => (abi::FAILED, error.message().as_bytes().to_vec()),
        Err(panic) => (abi::PANICKED, words(panic).into_bytes()),
    };
    if !reply.is_null() && !bytes.is_empty() {
        let owner = Box::into_raw(Box::new(bytes));
        // SAFETY: `owner` was made just now.
        let (data, length) = unsafe { ((*owner).as_ptr(), (*owner).len()) };
        // SAFETY: the host hands over a place for the answer.
        unsafe {
            reply.write(Reply {
                data,
                length,
                owner: owner.cast(),
                free: Some(free),
            });
        }
    }
    status
}

unsafe extern "C" fn free(reply: *mut Reply) {
    // SAFETY: the host hands back the answer that `guarded` filled in, once.
    unsafe {
        let owner = (*reply).owner.cast::<Vec<u8>>();
        *reply = Reply::EMPTY;
        if !owner.is_null() {
            drop(Box::from_raw(owner));
        }
    }
}

/// What a panic said, and where.
fn words(panic: Box<dyn Any + Send>) -> String {
    let said = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "it did not say why".to_owned(),
    };
    // What it carries may panic once more when it is dropped.
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        // Words are harmless. Whatever else it is, it is not asked a third time.
        if !again.is::<String>() && !again.is::<&str>() {
            std::mem::forget(again);
        }
    }
    match PLACE.take() {
        Some(place) => format!("{said} ({place})"),
        None => said,
    }
}
