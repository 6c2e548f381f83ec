//! The C header and the Rust layout say the same.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::fmt::Write as _;
use std::mem::{align_of, offset_of, size_of};
use std::path::Path;
use std::process::Command;

use kiln_plugin::abi::{self, Bytes, HostTable, PluginTable, Reply};

/// What a C program prints of the header.
fn printed(lines: &[String]) -> String {
    let folder = std::env::temp_dir().join(format!("kiln-header-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let source = folder.join("layout.c");
    let program = folder.join("layout");
    let mut text = "#include <stdio.h>\n#include \"kiln_plugin.h\"\nint main(void) {\n".to_owned();
    for line in lines {
        writeln!(text, "  {line}").unwrap();
    }
    text.push_str("  return 0;\n}\n");
    std::fs::write(&source, text).unwrap();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let built = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"])
        .args([&include, &source])
        .arg("-o")
        .arg(&program)
        .status()
        .unwrap();
    assert!(built.success());
    let out = Command::new(&program).output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn the_header_has_the_layout_of_the_rust_side() {
    let mut lines = Vec::new();
    let mut wanted = String::new();
    macro_rules! structure {
        ($rust:ident, $c:literal: $($member:ident),*) => {
            lines.push(format!("printf(\"{0} %zu %zu\\n\", sizeof({0}), _Alignof({0}));", $c));
            writeln!(wanted, "{} {} {}", $c, size_of::<$rust>(), align_of::<$rust>()).unwrap();
            let mut whole = 0;
            $(
                let name = stringify!($member);
                lines.push(format!(
                    "printf(\"{0}.{1} %zu\\n\", offsetof({0}, {1}));", $c, name
                ));
                writeln!(wanted, "{}.{} {}", $c, name, offset_of!($rust, $member)).unwrap();
                whole += 1;
            )*
            assert!(whole > 0);
        };
    }
    structure!(Bytes, "kiln_bytes": data, length);
    structure!(Reply, "kiln_reply": data, length, owner, free);
    structure!(HostTable, "kiln_host_table": magic, size, major, minor, context, config, log, progress, cancelled, add_artifact, extension);
    structure!(PluginTable, "kiln_plugin_table": magic, size, major, minor, describe, create, destroy, event, call, preview, extension);
    for (name, value) in [
        ("KILN_PLUGIN_MAGIC", abi::MAGIC),
        ("KILN_PLUGIN_MAJOR", abi::MAJOR.into()),
        ("KILN_PLUGIN_MINOR", abi::MINOR.into()),
        ("KILN_OK", u64::try_from(abi::OK).unwrap()),
        ("KILN_FAILED", u64::try_from(abi::FAILED).unwrap()),
        ("KILN_PANICKED", u64::try_from(abi::PANICKED).unwrap()),
        ("KILN_ERROR", abi::level::ERROR.into()),
        ("KILN_WARN", abi::level::WARN.into()),
        ("KILN_INFO", abi::level::INFO.into()),
        ("KILN_DEBUG", abi::level::DEBUG.into()),
    ] {
        lines.push(format!(
            "printf(\"{name} %llu\\n\", (unsigned long long){name});"
        ));
        writeln!(wanted, "{name} {value}").unwrap();
    }
    for (name, value) in [
        ("KILN_BEFORE_SUBMIT", abi::hook::BEFORE_SUBMIT),
        ("KILN_AFTER_DOWNLOAD", abi::hook::AFTER_DOWNLOAD),
        ("KILN_STEP", abi::hook::STEP),
        ("KILN_FUNCTION", abi::hook::FUNCTION),
        ("KILN_FILTER", abi::hook::FILTER),
    ] {
        lines.push(format!("printf(\"{name} %s\\n\", {name});"));
        writeln!(wanted, "{name} {value}").unwrap();
    }
    assert_eq!(printed(&lines), wanted);
}
