//! A host for tests: runs a plugin in the test's own process, through the same table of functions that kiln uses.
//!
//! ```
//! # use kiln_plugin::{About, Arguments, Call, Host, Plugin, Result, Value, json, testing};
//! # struct Double;
//! # impl Plugin for Double {
//! #     fn about() -> About { About::new("double", "0.1.0").function("double", "Twice a number.") }
//! #     fn create(_: &Value, _: Host) -> Result<Self> { Ok(Self) }
//! #     fn function(&mut self, given: &Arguments, _: Call) -> Result<Value> {
//! #         Ok(json!(given.number(0, "n", 0.0)? * 2.0))
//! #     }
//! # }
//! let mut host = testing::host::<Double>(json!({})).unwrap();
//! assert_eq!(host.function("double", json!([21])).unwrap(), json!(42.0));
//! ```

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::abi::{self, Bytes, HostTable, PluginTable, Reply, hook};
use crate::plugin::Plugin;

/// What the plugin of one host may call. A thread of the plugin's may do so when the host is gone: like kiln, nobody ever frees it.
struct Services {
    config: Vec<u8>,
    /// `None` once the instance has ended.
    heard: Mutex<Option<Arc<Heard>>>,
}

/// Whatever was made for plugins, so that it is still known and nobody takes it for lost.
static MADE: Mutex<Vec<(&'static Services, Table)>> = Mutex::new(Vec::new());

struct Table(#[expect(dead_code, reason = "it is only kept")] &'static HostTable);

// SAFETY: a table is never changed once it is made.
unsafe impl Send for Table {}

/// What a plugin did beside answering.
#[derive(Debug, Default)]
struct Heard {
    lines: Mutex<Vec<(u32, String)>>,
    progress: Mutex<Vec<(f64, String)>>,
    added: Mutex<Vec<Value>>,
    cancelled: Mutex<bool>,
}

/// A plugin at work.
#[derive(Debug)]
pub struct TestHost {
    table: &'static PluginTable,
    instance: *mut c_void,
    services: &'static Services,
    heard: Arc<Heard>,
    calls: u64,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

fn lock<T>(held: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a plugin with a config.
///
/// # Errors
/// What the plugin says when it cannot be made.
pub fn host<P: Plugin>(config: Value) -> Result<TestHost, String> {
    TestHost::of(crate::table::<P>(), config)
}

/// As [`host`], where one call may take so long.
///
/// # Errors
/// What the plugin says when it cannot be made.
#[expect(
    clippy::needless_pass_by_value,
    reason = "so that tests can write `json!` in the call"
)]
pub fn host_with<P: Plugin>(config: Value, time_limit: Duration) -> Result<TestHost, String> {
    TestHost::made(crate::table::<P>(), &config, time_limit)
}

impl TestHost {
    /// Makes the plugin of a table.
    ///
    /// # Errors
    /// What the plugin says when it cannot be made.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "so that tests can write `json!` in the call"
    )]
    pub fn of(table: &'static PluginTable, config: Value) -> Result<Self, String> {
        Self::made(table, &config, Duration::from_secs(30))
    }

    fn made(
        table: &'static PluginTable,
        config: &Value,
        time_limit: Duration,
    ) -> Result<Self, String> {
        let time_limit = u64::try_from(time_limit.as_millis()).unwrap_or(u64::MAX);
        let settings = json!({
            "name": "test", "kiln": "test", "config": config, "timeout_ms": time_limit,
        });
        let heard = Arc::new(Heard::default());
        let services: &'static Services = Box::leak(Box::new(Services {
            config: settings.to_string().into_bytes(),
            heard: Mutex::new(Some(Arc::clone(&heard))),
        }));
        let host: &'static HostTable = Box::leak(Box::new(host_table(services)));
        lock(&MADE).push((services, Table(host)));
        let mut this = Self {
            table,
            instance: null_mut(),
            services,
            heard,
            calls: 0,
        };
        let Some(create) = table.create else {
            return Err("the plugin has no `create`".to_owned());
        };
        let mut instance = null_mut();
        let made = answered(|reply| {
            // SAFETY: the host's table is never freed, and the two places are ours.
            unsafe { create(host, &raw mut instance, reply) }
        });
        this.instance = instance;
        made.map(|_| this)
    }

    /// What the plugin says of itself.
    ///
    /// # Errors
    /// What the plugin says when it cannot.
    pub fn about(&self) -> Result<Value, String> {
        let Some(describe) = self.table.describe else {
            return Err("the plugin has no `describe`".to_owned());
        };
        // SAFETY: `describe` wants nothing but a place for its answer.
        answered(|reply| unsafe { describe(reply) }).and_then(|bytes| parsed(&bytes))
    }

    /// Calls a hook.
    ///
    /// # Errors
    /// What the plugin says when it fails.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "so that tests can write `json!` in the call"
    )]
    pub fn call(&mut self, hook: &str, request: Value) -> Result<Value, String> {
        let Some(call) = self.table.call else {
            return Err("the plugin has no `call`".to_owned());
        };
        self.calls += 1;
        let (instance, id) = (self.instance, self.calls);
        let request = request.to_string();
        let (hook, request) = (Bytes::of(hook.as_bytes()), Bytes::of(request.as_bytes()));
        // SAFETY: the instance is this plugin's own and alive, and all bytes outlive the call.
        answered(|reply| unsafe { call(instance, id, hook, request, reply) })
            .and_then(|bytes| parsed(&bytes))
    }

    /// Calls a function with arguments by position.
    ///
    /// # Errors
    /// What the plugin says when it fails.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers write `json!` in place"
    )]
    pub fn function(&mut self, name: &str, args: Value) -> Result<Value, String> {
        let request = json!({ "name": name, "args": args, "named": {} });
        let answer = self.call(hook::FUNCTION, request)?;
        Ok(answer["value"].clone())
    }

    /// Applies a filter; the first argument is what it is applied to.
    ///
    /// # Errors
    /// What the plugin says when it fails.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers write `json!` in place"
    )]
    pub fn filter(&mut self, name: &str, args: Value) -> Result<Value, String> {
        let request = json!({ "name": name, "args": args, "named": {} });
        let answer = self.call(hook::FILTER, request)?;
        Ok(answer["value"].clone())
    }

    /// Carries out a task with this `with:`, in a folder; the artifacts that it made.
    ///
    /// # Errors
    /// What the plugin says when it fails.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "so that tests can write `json!` in the call"
    )]
    pub fn step(&mut self, with: Value, folder: &std::path::Path) -> Result<Vec<Value>, String> {
        let request = json!({
            "run": "test", "pipeline": "test", "step": "test", "task": "test",
            "attempt": 1, "folder": folder.to_string_lossy(), "with": with,
        });
        let answer = self.call(hook::STEP, request)?;
        let mut made = std::mem::take(&mut *lock(&self.heard.added));
        made.extend(answer["artifacts"].as_array().cloned().unwrap_or_default());
        Ok(made)
    }

    /// Tells of an event.
    ///
    /// # Errors
    /// What the plugin says when it fails.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "so that tests can write `json!` in the call"
    )]
    pub fn event(&mut self, event: Value) -> Result<(), String> {
        let Some(tell) = self.table.event else {
            return Err("the plugin has no `event`".to_owned());
        };
        let instance = self.instance;
        let event = event.to_string();
        let event = Bytes::of(event.as_bytes());
        // SAFETY: the instance is this plugin's own and alive, and the event outlives the call.
        answered(|reply| unsafe { tell(instance, event, reply) }).map(drop)
    }

    /// Shows a preview frame.
    ///
    /// # Errors
    /// What the plugin says when it fails.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "so that tests can write `json!` in the call"
    )]
    pub fn preview(&mut self, about: Value, picture: &[u8]) -> Result<(), String> {
        let Some(preview) = self.table.preview else {
            return Err("the plugin has no `preview`".to_owned());
        };
        let instance = self.instance;
        let about = about.to_string();
        let (about, picture) = (Bytes::of(about.as_bytes()), Bytes::of(picture));
        // SAFETY: the instance is this plugin's own and alive, and all bytes outlive the call.
        answered(|reply| unsafe { preview(instance, about, picture, reply) }).map(drop)
    }

    /// The lines that the plugin logged, each with its level.
    pub fn lines(&self) -> Vec<(u32, String)> {
        lock(&self.heard.lines).clone()
    }

    /// The progress that the plugin told of.
    pub fn progress(&self) -> Vec<(f64, String)> {
        lock(&self.heard.progress).clone()
    }

    /// Lets all calls from now on find themselves cancelled, or not.
    pub fn cancel(&self, cancelled: bool) {
        *lock(&self.heard.cancelled) = cancelled;
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        if let Some(destroy) = self.table.destroy.filter(|_| !self.instance.is_null()) {
            // SAFETY: it is the instance's last call.
            unsafe { destroy(self.instance) };
        }
        *lock(&self.services.heard) = None;
    }
}

fn parsed(bytes: &[u8]) -> Result<Value, String> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(bytes).map_err(|error| format!("the answer is no JSON: {error}"))
}

/// Makes a call and takes its answer.
fn answered(call: impl FnOnce(*mut Reply) -> i32) -> Result<Vec<u8>, String> {
    let mut reply = Reply::EMPTY;
    let status = call(&raw mut reply);
    let bytes = if reply.data.is_null() {
        Vec::new()
    } else {
        // SAFETY: the plugin promises that so many bytes are valid until `free`.
        unsafe { std::slice::from_raw_parts(reply.data, reply.length) }.to_vec()
    };
    if let Some(free) = reply.free {
        // SAFETY: called once, right after the call, with the answer as it was filled in.
        unsafe { free(&raw mut reply) };
    }
    if status == abi::OK {
        return Ok(bytes);
    }
    let words = String::from_utf8_lossy(&bytes).into_owned();
    Err(match status {
        abi::PANICKED => format!("panicked: {words}"),
        _ => words,
    })
}

fn host_table(services: &'static Services) -> HostTable {
    HostTable {
        magic: abi::MAGIC,
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a table of some hundred bytes"
        )]
        size: size_of::<HostTable>() as u32,
        major: abi::MAJOR,
        minor: abi::MINOR,
        context: std::ptr::from_ref(services).cast_mut().cast(),
        config: Some(config_of),
        log: Some(log),
        progress: Some(progress),
        cancelled: Some(cancelled),
        add_artifact: Some(add_artifact),
        extension: Some(extension),
    }
}

/// # Safety
/// `context` is that of a [`TestHost`], whether it lives or not.
unsafe fn services(context: *mut c_void) -> &'static Services {
    // SAFETY: the caller promises it, and services are never freed.
    unsafe { &*context.cast::<Services>() }
}

/// # Safety
/// As for [`services`].
unsafe fn heard(context: *mut c_void) -> Option<Arc<Heard>> {
    // SAFETY: the caller promises it.
    lock(&unsafe { services(context) }.heard).clone()
}

/// # Safety
/// The bytes are valid for the call.
unsafe fn text(bytes: Bytes) -> String {
    if bytes.data.is_null() {
        return String::new();
    }
    // SAFETY: the caller promises it.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.data, bytes.length) };
    String::from_utf8_lossy(bytes).into_owned()
}

unsafe extern "C" fn config_of(context: *mut c_void) -> Bytes {
    // SAFETY: the plugin hands back the context of its host.
    Bytes::of(&unsafe { services(context) }.config)
}

unsafe extern "C" fn log(context: *mut c_void, level: u32, line: Bytes) {
    // SAFETY: the plugin hands back the context of its host, and a text that outlives the call.
    let (heard, line) = unsafe { (heard(context), text(line)) };
    if let Some(heard) = heard {
        lock(&heard.lines).push((level, line));
    }
}

unsafe extern "C" fn progress(context: *mut c_void, _call: u64, fraction: f64, note: Bytes) {
    // SAFETY: the plugin hands back the context of its host, and a text that outlives the call.
    let (heard, note) = unsafe { (heard(context), text(note)) };
    if let Some(heard) = heard {
        lock(&heard.progress).push((fraction, note));
    }
}

unsafe extern "C" fn cancelled(context: *mut c_void, _call: u64) -> u32 {
    // SAFETY: the plugin hands back the context of its host.
    let heard = unsafe { heard(context) };
    u32::from(heard.is_none_or(|heard| *lock(&heard.cancelled)))
}

unsafe extern "C" fn add_artifact(context: *mut c_void, _call: u64, artifact: Bytes) -> i32 {
    // SAFETY: the plugin hands back the context of its host, and a text that outlives the call.
    let (heard, artifact) = unsafe { (heard(context), text(artifact)) };
    match (heard, serde_json::from_str(&artifact)) {
        (Some(heard), Ok(artifact)) => {
            lock(&heard.added).push(artifact);
            abi::OK
        }
        _ => abi::FAILED,
    }
}

unsafe extern "C" fn extension(_context: *mut c_void, _name: Bytes) -> *const c_void {
    std::ptr::null()
}
