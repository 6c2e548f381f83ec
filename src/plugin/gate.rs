//! The gate: what may be a plugin, decided before anything of it is called but its one exported function.
#![expect(
    unsafe_code,
    reason = "a library is loaded, and its table read, here and nowhere else"
)]

use std::error::Error;
use std::mem::size_of;
use std::path::Path;

use kiln_plugin::abi::{self, Entry, PluginTable};

/// Loads a library and reads its table.
///
/// # Errors
/// A fragment that reads well after the path and a colon.
pub(super) fn open(path: &Path) -> Result<PluginTable, String> {
    // SAFETY: loading a library runs whatever it does when it is loaded. The user named this path as one to trust; nothing safer exists.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| {
        format!(
            "it is no library that can be loaded here: {}",
            causes(&error)
        )
    })?;
    // A library is never unloaded: its threads, its thread-local values and everything that points into it stay valid.
    let library: &'static libloading::Library = Box::leak(Box::new(library));
    // SAFETY: whatever exports this symbol promises that it has this type; there is no way to check it.
    let entry = unsafe { library.get::<Entry>(abi::SYMBOL) }
        .map_err(|_| format!("it exports no `{}`, so it is no plugin", abi::SYMBOL))?;
    // SAFETY: as above; the function takes nothing.
    let table = unsafe { entry() };
    // SAFETY: the interface promises that what is not null is a table that stays valid.
    unsafe { read(table) }
}

/// Reads a table, as much of it as there is.
///
/// # Safety
/// `table` is null, or leads to at least the first 16 bytes of a table, and to as many as it says it has.
unsafe fn read(table: *const PluginTable) -> Result<PluginTable, String> {
    if table.is_null() {
        return Err(format!(
            "its `{}` returned null: it says that it cannot work here",
            abi::SYMBOL
        ));
    }
    if !table.is_aligned() {
        return Err("its table lies at an odd address, so it is none".to_owned());
    }
    // SAFETY: the caller promises that these members are there; they are read one by one, since the whole may be shorter.
    let (magic, size, major, minor) = unsafe {
        (
            (&raw const (*table).magic).read(),
            (&raw const (*table).size).read(),
            (&raw const (*table).major).read(),
            (&raw const (*table).minor).read(),
        )
    };
    let size = size as usize;
    if let Some(reason) = refused(magic, (major, minor), size) {
        return Err(reason);
    }
    let mut whole = PluginTable {
        magic,
        size: 0,
        major,
        minor,
        describe: None,
        create: None,
        destroy: None,
        event: None,
        call: None,
        preview: None,
        extension: None,
    };
    // Whole members only: all that come after the first ones are functions.
    let known = size.min(size_of::<PluginTable>());
    let known = known - known % size_of::<usize>();
    // SAFETY: both are at least `known` bytes long: the caller promises it of the one, and the other was made above. All members are
    // numbers or functions that may be null, so that any zero or valid value of the other side is one here.
    unsafe {
        std::ptr::copy_nonoverlapping(table.cast::<u8>(), (&raw mut whole).cast::<u8>(), known);
    }
    for (name, missing) in [
        ("describe", whole.describe.is_none()),
        ("create", whole.create.is_none()),
    ] {
        if missing {
            return Err(format!("its table has no function `{name}`"));
        }
    }
    Ok(whole)
}

/// Why a table that begins so is not read any further.
fn refused(magic: u64, (major, minor): (u16, u16), size: usize) -> Option<String> {
    if magic != abi::MAGIC {
        let reason = "its table does not begin with the magic number: it was not built with the plugin interface";
        return Some(reason.to_owned());
    }
    if major != abi::MAJOR {
        return Some(format!(
            "it was built for version {major}.{minor} of the plugin interface, and this kiln speaks {}.{}",
            abi::MAJOR,
            abi::MINOR
        ));
    }
    (size < abi::PLUGIN_TABLE_1_0).then(|| {
        format!(
            "its table has {size} bytes, and that of version 1.0 has {}: it is cut short",
            abi::PLUGIN_TABLE_1_0
        )
    })
}

/// An error with what caused it.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}
