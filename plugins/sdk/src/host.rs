//! What kiln offers to a plugin, made safe.

use std::ffi::c_void;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::abi::{self, Bytes, HostTable};
use crate::error::{Error, Result};
use crate::messages::Artifact;

/// kiln, as a plugin sees it. Cheap to copy; may be used from any thread. Once the plugin has ended, it does nothing.
#[derive(Clone, Copy)]
pub struct Host {
    table: *const HostTable,
    /// How much of the table there is.
    size: usize,
}

// SAFETY: the interface promises that the table is immutable and there for as long as the process lives, and that its functions may be
// called from any thread, also when the instance has ended.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

/// Reads a member of the host's table; `None` when this host does not have it.
macro_rules! service {
    ($host:expr, $name:ident) => {{
        let end = std::mem::offset_of!(HostTable, $name) + std::mem::size_of::<usize>();
        if $host.size < end {
            None
        } else {
            // SAFETY: the table is valid for ever, and its size says that the member is a part of it. The member is read through a
            // pointer, so that no reference to a longer table than there is comes to be.
            unsafe { std::ptr::addr_of!((*$host.table).$name).read() }
        }
    }};
}

impl Host {
    /// # Errors
    /// When it is no table of a host that this crate can talk to.
    ///
    /// # Safety
    /// `table` is null, or points to what begins as a [`HostTable`] and is valid for the process's life.
    pub(crate) unsafe fn of(table: *const HostTable) -> Result<Self> {
        if table.is_null() {
            fail!("the host has no table");
        }
        // SAFETY: the caller promises that these members are there; they are the same in all versions.
        let (magic, size, major) = unsafe {
            (
                std::ptr::addr_of!((*table).magic).read(),
                std::ptr::addr_of!((*table).size).read(),
                std::ptr::addr_of!((*table).major).read(),
            )
        };
        let size = size as usize;
        if magic != abi::MAGIC || major != abi::MAJOR || size < abi::HOST_TABLE_1_0 {
            fail!(
                "the host does not speak version {} of the interface",
                abi::MAJOR
            );
        }
        Ok(Self { table, size })
    }

    fn context(self) -> *mut c_void {
        // SAFETY: the table is valid for ever, and every version has this member.
        unsafe { std::ptr::addr_of!((*self.table).context).read() }
    }

    /// The settings as they cross the edge: `name`, `kiln` and `config`.
    pub(crate) fn settings(self) -> Result<Value> {
        let Some(config) = service!(self, config) else {
            return Ok(json!({}));
        };
        // SAFETY: the function comes from the host's table and is given its own context.
        let bytes = unsafe { config(self.context()) };
        if bytes.length == 0 {
            return Ok(json!({}));
        }
        // SAFETY: the interface promises that these bytes are valid as long as the table is.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.data, bytes.length) };
        Ok(serde_json::from_slice(bytes)?)
    }

    /// How long one call of this plugin may take; `None` when kiln does not say. An event that has to be heard of elsewhere should be given
    /// up in less.
    pub fn time_limit(self) -> Option<Duration> {
        let settings = self.settings().ok()?;
        settings["timeout_ms"].as_u64().map(Duration::from_millis)
    }

    fn log(self, level: u32, text: &str) {
        if let Some(log) = service!(self, log) {
            // SAFETY: the function comes from the host's table and is given its own context; the text outlives the call.
            unsafe { log(self.context(), level, Bytes::of(text.as_bytes())) };
        }
    }

    /// Tells the user that something went wrong.
    pub fn error(self, text: &str) {
        self.log(abi::level::ERROR, text);
    }

    /// Tells the user something that should be known.
    pub fn warn(self, text: &str) {
        self.log(abi::level::WARN, text);
    }

    /// A line for the user.
    pub fn info(self, text: &str) {
        self.log(abi::level::INFO, text);
    }

    /// A line for the plugin's author.
    pub fn debug(self, text: &str) {
        self.log(abi::level::DEBUG, text);
    }

    /// A table that a later version of kiln offers under a name; null when this one does not.
    pub fn extension(self, name: &str) -> *const c_void {
        match service!(self, extension) {
            // SAFETY: the function comes from the host's table and is given its own context; the name outlives the call.
            Some(extension) => unsafe { extension(self.context(), Bytes::of(name.as_bytes())) },
            None => std::ptr::null(),
        }
    }
}

/// One call of a hook, as long as it lasts.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    host: Host,
    id: u64,
}

impl Call {
    pub(crate) fn new(host: Host, id: u64) -> Self {
        Self { host, id }
    }

    /// kiln.
    pub fn host(self) -> Host {
        self.host
    }

    /// How far it is, 0 to 1, and what it is at.
    pub fn progress(self, fraction: f64, note: &str) {
        if let Some(progress) = service!(self.host, progress) {
            let note = Bytes::of(note.as_bytes());
            // SAFETY: the function comes from the host's table and is given its own context; the note outlives the call.
            unsafe { progress(self.host.context(), self.id, fraction, note) };
        }
    }

    /// Whether nobody waits for the answer any more. Ask in every loop that may take long, and return in whatever way.
    pub fn is_cancelled(self) -> bool {
        match service!(self.host, cancelled) {
            // SAFETY: the function comes from the host's table and is given its own context.
            Some(cancelled) => unsafe { cancelled(self.host.context(), self.id) != 0 },
            None => false,
        }
    }

    /// An error as soon as nobody waits for the answer any more.
    pub fn go_on(self) -> Result {
        if self.is_cancelled() {
            fail!("cancelled");
        }
        Ok(())
    }

    /// Adds an artifact to what `step` or `after_download` answers, while it is still at work.
    #[expect(clippy::should_implement_trait, reason = "nothing is summed here")]
    pub fn add(self, artifact: &Artifact) -> Result {
        let Some(add) = service!(self.host, add_artifact) else {
            fail!("this kiln takes no artifacts before the end of a call");
        };
        let json = artifact.to_json().to_string();
        // SAFETY: the function comes from the host's table and is given its own context; the text outlives the call.
        let taken = unsafe { add(self.host.context(), self.id, Bytes::of(json.as_bytes())) };
        if taken == abi::OK {
            return Ok(());
        }
        Err(Error::new("kiln did not take the artifact"))
    }

    /// Adds a file, which must lie in the folder of the call.
    pub fn add_file(self, path: &Path) -> Result {
        self.add(&Artifact::file(path))
    }
}
