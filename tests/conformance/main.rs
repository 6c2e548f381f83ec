//! kiln against what real `ComfyUI` said: recorded answers that do not belong to the project.
//!
//! They are looked for at `$KILN_FIXTURES`, else `../shared/fixtures` beside the workspace; where they are absent every trial shows
//! as ignored. One module per judge; each gives its trials.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

mod classes;
mod client;
mod editors;
mod http;
mod import;
mod pixels;
mod replay;
mod server;
mod transcripts;
mod verdicts;

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let folder = std::env::var_os("KILN_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures"),
        PathBuf::from,
    );
    let fixtures = folder.is_dir().then_some(folder);
    if fixtures.is_none() && std::env::var_os("KILN_REQUIRE_FIXTURES").is_some() {
        eprintln!("the recordings are required, and are not there");
        std::process::exit(1);
    }
    let trials: Vec<Trial> = [
        verdicts::trials(fixtures.as_deref()),
        import::trials(fixtures.as_deref()),
        classes::trials(fixtures.as_deref()),
        pixels::trials(fixtures.as_deref()),
        transcripts::trials(fixtures.as_deref()),
        client::trials(fixtures.as_deref()),
        editors::trials(),
        http::trials(fixtures.as_deref()),
    ]
    .into_iter()
    .flatten()
    .collect();
    libtest_mimic::run(&arguments, trials).exit();
}

/// A trial that is ignored where there are no recordings.
fn trial(fixtures: Option<&Path>, name: &str, run: fn(&Path) -> Result<(), Failed>) -> Trial {
    let folder = fixtures.map(Path::to_path_buf);
    let absent = folder.is_none();
    let run = move || folder.as_deref().map_or(Ok(()), run);
    Trial::test(name, run).with_ignored_flag(absent)
}
