//! A plugin in this process: its table, called.
#![expect(
    unsafe_code,
    reason = "functions of a plugin are called here and nowhere else"
)]

use std::ffi::c_void;
use std::mem::size_of;
use std::path::Path;
use std::ptr::null_mut;
use std::sync::{Arc, PoisonError, RwLock};

use kiln_plugin::abi::{self, Bytes, HostTable, PluginTable, Reply};
use serde_json::Value;

use super::about::About;
use super::body::{Body, LONGEST, Sink, bounded};
use super::fault::Fault;
use super::gate;

/// The largest answer that is taken, bytes.
pub(super) const MOST_REPLY: usize = 16 << 20;
/// The largest artifact description that is taken, bytes.
const MOST_ARTIFACT: usize = 16 << 20;

/// A plugin that went through the gate. It is used on the thread that made it.
pub(super) struct Loaded {
    table: PluginTable,
    instance: *mut c_void,
    /// What the instance may call. A thread of the plugin's may do so at any time, also when the instance has ended: it is never freed,
    /// and serves nobody then.
    services: Option<&'static Services>,
}

/// What the host's functions work with.
struct Services {
    settings: Vec<u8>,
    /// `None` once the instance has ended.
    sink: RwLock<Option<Arc<dyn Sink>>>,
}

impl Services {
    fn sink(&self) -> Option<Arc<dyn Sink>> {
        let sink = self.sink.read().unwrap_or_else(PoisonError::into_inner);
        sink.clone()
    }

    /// Serves nobody any more.
    fn close(&self) {
        *self.sink.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Loaded {
    /// Loads a library and asks it what it is: its description, which is sound.
    ///
    /// # Errors
    /// A fragment that reads well after the path and a colon.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<u8>), String> {
        let table = gate::open(path)?;
        let Some(describe) = table.describe else {
            return Err("its table has no function `describe`".to_owned());
        };
        let described = answered(|reply| {
            // SAFETY: the function is that of a table which went through the gate, and `reply` is a place for its answer.
            unsafe { describe(reply) }
        });
        let described = described.map_err(|fault| format!("it cannot describe itself: {fault}"))?;
        let about = About::read(&described).map_err(|why| format!("its description {why}"))?;
        let lacks = |name: &str, does: &str| {
            Err(format!(
                "it says that it {does}, and its table has no function `{name}`"
            ))
        };
        if about.is_called() && table.call.is_none() {
            return lacks("call", "has hooks");
        }
        if about.hears() && table.event.is_none() {
            return lacks("event", "hears of events");
        }
        if about.previews && table.preview.is_none() {
            return lacks("preview", "wants previews");
        }
        let loaded = Self {
            table,
            instance: null_mut(),
            services: None,
        };
        Ok((loaded, described))
    }

    /// Makes the instance. `settings` is what `config` of the host's table tells.
    pub(super) fn create(&mut self, settings: &str, sink: Arc<dyn Sink>) -> Result<(), Fault> {
        let Some(create) = self.table.create else {
            return Err(Fault::Said("it has no function `create`".to_owned()));
        };
        let services: &'static Services = Box::leak(Box::new(Services {
            settings: settings.as_bytes().to_vec(),
            sink: RwLock::new(Some(sink)),
        }));
        self.services = Some(services);
        let host: &'static HostTable = Box::leak(Box::new(host_table(services)));
        let mut instance = null_mut();
        let made = answered(|reply| {
            // SAFETY: the function is that of a table which went through the gate; the host's table is there for ever, and the two
            // places are ours.
            unsafe { create(host, &raw mut instance, reply) }
        });
        let made = made.and_then(|_| {
            if instance.is_null() {
                return Err(Fault::Wrong("has no instance".to_owned()));
            }
            Ok(())
        });
        if made.is_err() {
            services.close();
        }
        self.instance = instance;
        made
    }
}

impl Body for Loaded {
    fn event(&mut self, event: &[u8]) -> Result<(), Fault> {
        let Some(tell) = self.table.event else {
            return Ok(());
        };
        let (instance, event) = (self.instance, Bytes::of(event));
        // SAFETY: the instance is that which this table's `create` made, this is its thread, and the bytes outlive the call.
        answered(|reply| unsafe { tell(instance, event, reply) }).map(drop)
    }

    fn preview(&mut self, about: &[u8], picture: &[u8]) -> Result<(), Fault> {
        let Some(preview) = self.table.preview else {
            return Ok(());
        };
        let (instance, about, picture) = (self.instance, Bytes::of(about), Bytes::of(picture));
        // SAFETY: as for `event`.
        answered(|reply| unsafe { preview(instance, about, picture, reply) }).map(drop)
    }

    fn call(&mut self, id: u64, hook: &str, request: &[u8]) -> Result<Vec<u8>, Fault> {
        let Some(call) = self.table.call else {
            return Err(Fault::Said("it has no function `call`".to_owned()));
        };
        let instance = self.instance;
        let (hook, request) = (Bytes::of(hook.as_bytes()), Bytes::of(request));
        // SAFETY: as for `event`.
        answered(|reply| unsafe { call(instance, id, hook, request, reply) })
    }

    fn end(self: Box<Self>) {
        if let Some(destroy) = self.table.destroy
            && !self.instance.is_null()
        {
            // SAFETY: it is the instance's last call, on its thread.
            unsafe { destroy(self.instance) };
        }
        if let Some(services) = self.services {
            services.close();
        }
    }
}

/// Makes a call and takes its answer, which must be text of a bounded length.
fn answered(call: impl FnOnce(*mut Reply) -> i32) -> Result<Vec<u8>, Fault> {
    let mut reply = Reply::EMPTY;
    let status = call(&raw mut reply);
    let taken = take(&reply, status);
    if let Some(free) = reply.free {
        // SAFETY: the one who filled it in wants it called once, right after the call, on this thread.
        unsafe { free(&raw mut reply) };
    }
    let bytes = taken?;
    let words = || {
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim();
        bounded(if text.is_empty() {
            "it did not say why"
        } else {
            text
        })
    };
    match status {
        abi::OK if std::str::from_utf8(&bytes).is_err() => Err(Fault::NotText),
        abi::OK => Ok(bytes),
        abi::FAILED => Err(Fault::Said(words())),
        abi::PANICKED => Err(Fault::Panicked(words())),
        other => Err(Fault::Status(other)),
    }
}

/// Copies an answer. Of one that is too long, nothing is looked at; of the words of a failure, the beginning is enough.
fn take(reply: &Reply, status: i32) -> Result<Vec<u8>, Fault> {
    if reply.data.is_null() || reply.length == 0 {
        return Ok(Vec::new());
    }
    let length = if status == abi::OK {
        if reply.length > MOST_REPLY {
            return Err(Fault::TooLarge(reply.length));
        }
        reply.length
    } else {
        reply.length.min(LONGEST)
    };
    // SAFETY: the plugin promises that so many bytes are valid until `free`; fewer are read than it says it has.
    Ok(unsafe { std::slice::from_raw_parts(reply.data, length) }.to_vec())
}

fn host_table(services: &'static Services) -> HostTable {
    HostTable {
        magic: abi::MAGIC,
        size: u32::try_from(size_of::<HostTable>()).unwrap_or(u32::MAX),
        major: abi::MAJOR,
        minor: abi::MINOR,
        context: std::ptr::from_ref(services).cast_mut().cast(),
        config: Some(config),
        log: Some(log),
        progress: Some(progress),
        cancelled: Some(cancelled),
        add_artifact: Some(add_artifact),
        extension: Some(extension),
    }
}

/// # Safety
/// `context` is null, or that of a host's table which a plugin was given.
unsafe fn services(context: *mut c_void) -> Option<&'static Services> {
    // SAFETY: the caller promises it; services are only ever shared, and there for ever.
    unsafe { context.cast::<Services>().as_ref() }
}

/// # Safety
/// The bytes are valid for the call.
unsafe fn text(bytes: Bytes, most: usize) -> String {
    if bytes.data.is_null() || bytes.length == 0 {
        return String::new();
    }
    // SAFETY: the caller promises it; no more is read than there is.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.data, bytes.length.min(most)) };
    String::from_utf8_lossy(bytes).into_owned()
}

unsafe extern "C" fn config(context: *mut c_void) -> Bytes {
    // SAFETY: the plugin hands back its host's context.
    match unsafe { services(context) } {
        Some(services) => Bytes::of(&services.settings),
        None => Bytes::of(b"{}"),
    }
}

unsafe extern "C" fn log(context: *mut c_void, level: u32, line: Bytes) {
    // SAFETY: the plugin hands back its host's context, and a text that outlives the call.
    let (services, line) = unsafe { (services(context), text(line, LONGEST)) };
    if let Some(sink) = services.and_then(Services::sink) {
        sink.log(level, line);
    }
}

unsafe extern "C" fn progress(context: *mut c_void, call: u64, fraction: f64, note: Bytes) {
    // SAFETY: the plugin hands back its host's context, and a text that outlives the call.
    let (services, note) = unsafe { (services(context), text(note, LONGEST)) };
    if let Some(sink) = services.and_then(Services::sink) {
        sink.progress(call, fraction, note);
    }
}

unsafe extern "C" fn cancelled(context: *mut c_void, call: u64) -> u32 {
    // SAFETY: the plugin hands back its host's context.
    let services = unsafe { services(context) };
    let sink = services.and_then(Services::sink);
    u32::from(sink.is_none_or(|sink| sink.is_cancelled(call)))
}

unsafe extern "C" fn add_artifact(context: *mut c_void, call: u64, artifact: Bytes) -> i32 {
    if artifact.length > MOST_ARTIFACT {
        return abi::FAILED;
    }
    // SAFETY: the plugin hands back its host's context, and a text that outlives the call.
    let (services, artifact) = unsafe { (services(context), text(artifact, MOST_ARTIFACT)) };
    let sink = services.and_then(Services::sink);
    let json = serde_json::from_str::<Value>(&artifact).ok();
    let added = sink.zip(json);
    match added.map(|(sink, json)| sink.add_artifact(call, json, artifact.len())) {
        Some(true) => abi::OK,
        _ => abi::FAILED,
    }
}

unsafe extern "C" fn extension(_context: *mut c_void, _name: Bytes) -> *const c_void {
    std::ptr::null()
}
