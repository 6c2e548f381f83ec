//! Version 1.0 of the plugin interface, frozen for a test.

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
mod thunks;

pub use about::{About, file_schema, files_schema};
pub use error::{Error, Result};
pub use host::{Call, Host};
pub use messages::{Arguments, Artifact, Change, File, Results, Submission, Task};
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
