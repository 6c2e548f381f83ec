//! `kiln init`: a small project that runs at once.

use std::io::Write;
use std::path::Path;

use crate::base::{AtomicFile, display_path};
use crate::cli::args::InitArgs;
use crate::cli::exit::{Exit, complain};

/// What a new project holds. Files that exist are left alone.
const FILES: &[(&str, &str)] = &[
    ("kiln.yaml", include_str!("init/kiln.yaml")),
    ("pipeline.yaml", include_str!("init/pipeline.yaml")),
    ("workflows/card.json", include_str!("init/card.json")),
    ("workflows/glow.json", include_str!("init/glow.json")),
    (".gitignore", "outputs/\n.kiln/\n.env\n"),
];

pub(super) fn init(args: &InitArgs) -> Exit {
    let mut out = anstream::stderr().lock();
    let mut made = 0;
    for (name, text) in FILES {
        let path = args.dir.join(name);
        let shown = display_path(&path);
        if path.exists() {
            let _ = writeln!(out, "  left  {shown} (it is there already)");
            continue;
        }
        if let Err(error) = AtomicFile::put(&path, text.as_bytes()) {
            drop(out);
            complain(&error.to_string());
            return Exit::Report(3);
        }
        made += 1;
        let _ = writeln!(out, "  made  {shown}");
    }
    if made > 0 {
        let start = if args.dir == Path::new(".") {
            "kiln run pipeline.yaml".to_owned()
        } else {
            format!("kiln run {}", display_path(&args.dir.join("pipeline.yaml")))
        };
        let _ = writeln!(out, "\nRun it: {start}");
    }
    Exit::Done
}
