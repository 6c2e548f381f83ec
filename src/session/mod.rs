//! One run in one place: settings → load → plan → servers → check → run.
//!
//! `cli` calls this room and nothing deeper; a watcher or a dashboard would call it the same way.

mod asking;
pub mod care;
mod checking;
mod creating;
mod definitions;
pub mod doctor;
mod earlier;
mod editing;
mod foresight;
pub mod history;
mod importing;
mod kept;
mod load;
mod made_work;
pub mod names;
mod outlook;
mod packs;
mod plugins;
mod pools;
mod prepare;
mod previews;
mod resume;
mod running;
mod settings;
mod signals;
mod told;
mod way_out;
mod why;
mod wishes;

pub use checking::{Catalogs, Checker, FileReport, catalog_file, object_info_file};
pub use creating::{Created, create, given};
pub use editing::{EditorSchema, editor_schema};
pub use foresight::{fates, foresee};
pub use importing::{Import, Importer};
pub use load::{Loaded, Request, Target, load};
pub use plugins::{ListedPlugin, PluginList, list_plugins, look_at_plugin, plugin_schemas};
pub use running::{Broken, Ended, complete, run, run_loaded};
pub use signals::Signals;
pub use why::{Fate, Would, because, fates_json, fates_text};
pub use wishes::{Ask, Resume, Wishes};
