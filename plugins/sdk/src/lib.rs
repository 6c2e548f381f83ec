//! Plugins for kiln.
//!
//! A plugin is a shared library that kiln loads at run time. It may hear of everything that happens in a run, change a graph before it is
//! submitted, replace or add results, provide a kind of step, and add functions and filters to templates:
//!
//! ```
//! use kiln_plugin::{About, Call, Host, Plugin, Result, Submission, Value, json};
//!
//! /// Writes who made it into every picture's file name.
//! struct Prefix(String);
//!
//! impl Plugin for Prefix {
//!     fn about() -> About {
//!         About::new("prefix", "0.1.0").before_submit()
//!     }
//!
//!     fn create(config: &Value, _host: Host) -> Result<Self> {
//!         Ok(Self(config["prefix"].as_str().unwrap_or("kiln").to_owned()))
//!     }
//!
//!     fn before_submit(&mut self, job: &Submission, _call: Call) -> Result<Option<Value>> {
//!         let mut graph = job.graph().clone();
//!         for node in graph.as_object_mut().into_iter().flat_map(|graph| graph.values_mut()) {
//!             if node["class_type"] == "SaveImage" {
//!                 node["inputs"]["filename_prefix"] = json!(self.0);
//!             }
//!         }
//!         Ok(Some(graph))
//!     }
//! }
//!
//! kiln_plugin::export!(Prefix);
//! ```
//!
//! Build it as a `cdylib`, name its folder under `plugins:` in `kiln.yaml`, and that is all. [`testing`] runs it in a test, through the
//! same table of functions that kiln uses. `kiln plugin new NAME` makes a crate to start from.
//!
//! Plugins must be built with `panic = "unwind"` (the default): a panic then fails one call, and with `abort` it ends kiln.
//!
//! The interface itself is in [`abi`]; `include/kiln_plugin.h` is the same for C.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test may stop at the first surprise"
    )
)]

pub mod abi;

mod about;
#[macro_use]
mod error;
mod host;
mod messages;
mod plugin;
pub mod testing;
mod thunks;

pub use about::{About, file_schema, files_schema};
pub use error::{Error, Result};
pub use host::{Call, Host};
pub use messages::{Arguments, Artifact, Change, Event, File, Preview, Results, Submission, Task};
pub use plugin::Plugin;
pub use serde_json::{self, Map, Value, json};
#[doc(hidden)]
pub use thunks::table;

/// Exports a plugin: the one symbol that kiln looks for. Once in a library.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        #[allow(unsafe_code, reason = "the one exported symbol")]
        #[unsafe(no_mangle)]
        extern "C" fn kiln_plugin_entry() -> *const $crate::abi::PluginTable {
            $crate::table::<$plugin>()
        }
    };
}
