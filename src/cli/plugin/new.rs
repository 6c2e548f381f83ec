//! `kiln plugin new NAME`: a crate that builds and passes its test at once. The plugin interface lies beside it, so that it needs no
//! repository of kiln's.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::base::{AtomicFile, display_path};
use crate::cli::exit::{Exit, complain};

#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// The plugin's name, such as `sharpness`
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,

    /// Where its folder is made
    #[arg(long, value_name = "DIR", default_value = "plugins")]
    dir: PathBuf,
}

/// A name that cargo and `kiln.yaml` both take, once `-` is `_`.
fn name(text: &str) -> Result<String, String> {
    let mut chars = text.chars();
    let good = chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
    if good && !KEPT.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err("a name has lower-case letters, digits, `-` and `_`, begins with a letter, and is no word of Rust's own".to_owned())
    }
}

/// Words that Rust keeps for itself, and crates that the new one uses.
const KEPT: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "kiln-plugin",
    "kiln_plugin",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "serde_json",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Types that the new crate uses: its own must be called otherwise.
const TYPES: &[&str] = &[
    "About",
    "Arguments",
    "Artifact",
    "Call",
    "Err",
    "Event",
    "Host",
    "None",
    "Ok",
    "Option",
    "Plugin",
    "Result",
    "Some",
    "String",
    "Task",
    "Value",
    "Vec",
];

/// What the plugin's type is called.
fn type_name(id: &str) -> String {
    let name: String = id.split('_').map(capital).collect();
    if TYPES.contains(&name.as_str()) {
        format!("My{name}")
    } else {
        name
    }
}

/// The crate; NAME and TYPE are put in.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("scaffold/Cargo.toml.in")),
    ("src/lib.rs", include_str!("scaffold/lib.rs.in")),
    ("README.md", include_str!("scaffold/README.md.in")),
    (".gitignore", "/target\n"),
];

/// The plugin interface as it is.
const SDK: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("scaffold/sdk.toml.in")),
    ("README.md", include_str!("../../../plugins/sdk/README.md")),
    (
        "include/kiln_plugin.h",
        include_str!("../../../plugins/sdk/include/kiln_plugin.h"),
    ),
    (
        "src/abi.rs",
        include_str!("../../../plugins/sdk/src/abi.rs"),
    ),
    (
        "src/about.rs",
        include_str!("../../../plugins/sdk/src/about.rs"),
    ),
    (
        "src/error.rs",
        include_str!("../../../plugins/sdk/src/error.rs"),
    ),
    (
        "src/host.rs",
        include_str!("../../../plugins/sdk/src/host.rs"),
    ),
    (
        "src/lib.rs",
        include_str!("../../../plugins/sdk/src/lib.rs"),
    ),
    (
        "src/messages.rs",
        include_str!("../../../plugins/sdk/src/messages.rs"),
    ),
    (
        "src/plugin.rs",
        include_str!("../../../plugins/sdk/src/plugin.rs"),
    ),
    (
        "src/testing.rs",
        include_str!("../../../plugins/sdk/src/testing.rs"),
    ),
    (
        "src/thunks.rs",
        include_str!("../../../plugins/sdk/src/thunks.rs"),
    ),
];

pub(super) fn new(args: &NewArgs) -> Exit {
    let folder = args.dir.join(&args.name);
    if folder.exists() {
        complain(&format!(
            "`{}` is there already; choose another name, or remove it first",
            display_path(&folder)
        ));
        return Exit::Usage;
    }
    let id = args.name.replace('-', "_");
    let ty = type_name(&id);
    let filled = |text: &str| {
        text.replace("{{NAME}}", &args.name)
            .replace("{{ID}}", &id)
            .replace("{{TYPE}}", &ty)
            .replace("{{PATH}}", &display_path(&folder))
    };
    let own = FILES
        .iter()
        .map(|(name, text)| (folder.join(name), filled(text)));
    let sdk = folder.join("kiln-plugin");
    let sdk = SDK
        .iter()
        .map(|(name, text)| (sdk.join(name), (*text).to_owned()));
    for (path, text) in own.chain(sdk) {
        if let Err(error) = AtomicFile::put(&path, text.as_bytes()) {
            complain(&error.to_string());
            return Exit::Report(3);
        }
    }
    let shown = display_path(&folder);
    let mut out = anstream::stderr().lock();
    let _ = write!(
        out,
        "  made  {shown}\n  made  {shown}/kiln-plugin (the plugin interface, as this kiln speaks it)\n\n\
         Build and test it:  cd {shown} && cargo test && cargo build --release\n\
         Declare it in kiln.yaml:\n\n  plugins:\n    {id}: {{ path: {shown} }}\n"
    );
    Exit::Done
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    match chars.next() {
        Some(first) => first.to_ascii_uppercase().to_string() + chars.as_str(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugins_name_is_one_that_a_crate_may_have() {
        for good in ["sharpness", "first-light", "a_2", "matches"] {
            assert_eq!(name(good), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "First",
            "2d",
            "a b",
            "é",
            "match",
            "test",
            "kiln-plugin",
            "../a",
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_plugins_type_is_none_that_its_crate_uses() {
        assert_eq!(type_name("first_light"), "FirstLight");
        let scaffold = include_str!("scaffold/lib.rs.in");
        let words = scaffold.split(|c: char| !c.is_ascii_alphanumeric());
        for word in words.filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase())) {
            let id = word.to_ascii_lowercase();
            let clashes = type_name(&id) == *word;
            // Constants, words of texts, and what is put in itself.
            let harmless = word.chars().all(|c| c.is_ascii_uppercase())
                || ["A", "Good", "Hello", "One", "The", "Who", "Writes"].contains(&word);
            assert!(!clashes || harmless || word == "Self", "{word}");
        }
    }
}
