//! The C header and the Rust layout say the same.
#![cfg(not(miri))]
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::ffi::c_void;
use std::fmt::Write as _;
use std::mem::{align_of, offset_of, size_of};
use std::path::Path;
use std::process::Command;

use kiln_plugin::abi::{self, Bytes, HostTable, PluginTable, Reply};

/// What a C program prints of the header.
fn printed(lines: &[String]) -> String {
    // Two tests may do this at a time.
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default().replace(':', "-");
    let folder = std::env::temp_dir().join(format!("kiln-header-{}-{name}", std::process::id()));
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

/// What C calls a type.
trait InC {
    const NAME: &'static str;
}

macro_rules! in_c {
    ($($rust:ty => $c:literal,)*) => {
        $(impl InC for $rust { const NAME: &'static str = $c; })*
    };
}

in_c! {
    () => "void",
    i32 => "int32_t",
    u32 => "uint32_t",
    u64 => "uint64_t",
    f64 => "double",
    Bytes => "kiln_bytes",
    *mut Reply => "kiln_reply *",
    *mut c_void => "void *",
    *mut *mut c_void => "void **",
    *const c_void => "const void *",
    *const HostTable => "const kiln_host_table *",
    *const PluginTable => "const kiln_plugin_table *",
}

/// A function of one of the tables: what C calls the like.
trait Signature {
    fn pointer(name: &str) -> String;
}

macro_rules! signature {
    ($($argument:ident)*) => {
        impl<R: InC, $($argument: InC),*> Signature for unsafe extern "C" fn($($argument),*) -> R {
            fn pointer(name: &str) -> String {
                let arguments: &[&str] = &[$($argument::NAME),*];
                let arguments = match arguments {
                    [] => "void".to_owned(),
                    some => some.join(", "),
                };
                format!("{} (*{name})({arguments})", R::NAME)
            }
        }
    };
}

signature!();
signature!(A);
signature!(A B);
signature!(A B C);
signature!(A B C D);
signature!(A B C D E);

/// The pointer in C to what a member of a table holds in Rust.
fn pointer<T, F: Signature>(name: &str, _member: fn(&T) -> &Option<F>) -> String {
    F::pointer(name)
}

#[test]
fn the_functions_of_the_header_take_and_give_what_those_of_the_rust_side_do() {
    let mut lines = Vec::new();
    macro_rules! functions {
        ($rust:ident, $c:literal: $($member:ident),*) => {
            lines.push(format!("{0} a_{0} = {{0}};", $c));
            $(
                let name = stringify!($member);
                let declared = pointer::<$rust, _>(&format!("of_{name}_{}", $c), |table| &table.$member);
                // Another type is an error here.
                lines.push(format!("{declared} = a_{0}.{name}; (void)of_{name}_{0};", $c));
            )*
        };
    }
    functions!(Reply, "kiln_reply": free);
    functions!(HostTable, "kiln_host_table": config, log, progress, cancelled, add_artifact, extension);
    functions!(PluginTable, "kiln_plugin_table": describe, create, destroy, event, call, preview, extension);
    let entry = <abi::Entry as Signature>::pointer("entry");
    lines.push(format!("{entry} = (kiln_plugin_entry_fn)0; (void)entry;"));
    lines.push("printf(\"the same\");".to_owned());
    assert_eq!(printed(&lines), "the same");
}
