//! `kiln schema`: what editors and tools need to know of kiln's files.

use std::io::Write;

use super::args::{SchemaArgs, SchemaKind};
use super::exit::Exit;
use crate::{event, spec};

pub(super) fn schema(args: &SchemaArgs) -> Exit {
    let schema = match args.which {
        SchemaKind::Pipeline => spec::pipeline_schema(),
        SchemaKind::Project => spec::project_schema(),
        SchemaKind::Event => event::schema(),
    };
    // A broken pipe is success: the reader has seen enough.
    let _ = writeln!(std::io::stdout(), "{schema:#}");
    Exit::Done
}
