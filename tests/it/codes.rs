//! Every diagnostic code has a page, and a snapshot of its exact text.

use std::collections::BTreeSet;

use kiln::diagnostic::codes;

use crate::support::{finish, kiln, repository};

#[test]
fn every_code_has_a_snapshot() {
    let mut shown = BTreeSet::new();
    for folder in ["src", "tests"] {
        for entry in walkdir::WalkDir::new(repository().join(folder)) {
            let entry = entry.unwrap();
            if entry.path().extension().is_some_and(|e| e == "snap") {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                for code in codes::ALL {
                    if text.contains(&format!("[{}]", code.id)) {
                        shown.insert(code.id);
                    }
                }
            }
        }
    }
    let missing: Vec<&str> = codes::ALL
        .iter()
        .map(|c| c.id)
        .filter(|id| !shown.contains(id))
        .collect();
    assert!(
        missing.is_empty(),
        "no snapshot shows the text of {missing:?}"
    );
}

#[test]
fn every_code_is_explained() {
    let list = finish(kiln().arg("explain")).ok().stdout;
    assert_eq!(list.lines().count(), codes::ALL.len());
    for code in codes::ALL {
        let page = finish(kiln().args(["explain", &code.id.to_lowercase()]))
            .ok()
            .stdout;
        assert!(page.starts_with(&format!("{}: ", code.id)), "{page}");
        // People read it in a terminal: no marks of Markdown, and no line but code goes beyond its edge.
        for line in page.lines().filter(|line| !line.starts_with("    ")) {
            let marked = line.starts_with('#') || line.starts_with("```") || line.contains("**");
            assert!(!marked && line.chars().count() <= 88, "{}: {line}", code.id);
        }
    }
}

#[test]
fn every_page_belongs_to_a_code() {
    for entry in std::fs::read_dir(repository().join("docs/codes")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let id = name.strip_suffix(".md").unwrap_or(&name);
        assert!(
            codes::find(id).is_some(),
            "docs/codes/{name} explains no code"
        );
    }
}

#[test]
fn an_unknown_code_is_answered_with_the_nearest() {
    let done = finish(kiln().args(["explain", "K0293"])).code(2);
    assert_eq!(
        done.stderr,
        "error: there is no code `K0293`, did you mean `K0203`?; `kiln explain` alone lists them all\n"
    );
}

/// What the reference says: every code with its kind and title, by family.
fn reference() -> String {
    use std::fmt::Write as _;
    let families = [
        ("K00", "Files and the command line"),
        ("K01", "The language"),
        ("K02", "What a server refuses"),
        ("K03", "Beyond the server"),
        ("K04", "Servers and connections"),
        ("K05", "Failures while running"),
        ("K06", "Plugins"),
        ("K07", "State"),
        ("K08", "Workflows from elsewhere"),
        ("K09", "Others"),
    ];
    let mut text = String::from(
        "# Diagnostic codes\n\nEvery complaint of kiln's has a code that stays the same, and a page: `kiln explain K0203` shows it in a terminal. In the JSON of `kiln check`\na diagnostic also has a `kind`: what a server would raise itself has the server's own error type.\n\nThis page is generated from the pages in [`docs/codes`](../codes) by `KILN_BLESS=1 cargo test reference_of_codes`.\n",
    );
    for (prefix, family) in families {
        let codes: Vec<_> = codes::ALL
            .iter()
            .filter(|code| code.id.starts_with(prefix))
            .collect();
        if codes.is_empty() {
            continue;
        }
        let _ = write!(
            text,
            "\n## {prefix}xx: {family}\n\n| code | kind | what it says |\n|---|---|---|\n"
        );
        for code in codes {
            let title = code.page.lines().next().unwrap();
            let title = title.split_once(": ").unwrap().1;
            let body = code.page.split_once('\n').unwrap().1.trim_start();
            let paragraph: Vec<&str> = body.lines().take_while(|line| !line.is_empty()).collect();
            let paragraph = paragraph.join(" ");
            let first = paragraph
                .split_inclusive(". ")
                .next()
                .unwrap()
                .trim()
                .trim_end_matches(':');
            let first = first.replace('|', "\\|");
            let _ = writeln!(
                text,
                "| [{id}](../codes/{id}.md) {title} | `{kind}` | {first} |",
                id = code.id,
                kind = code.kind,
            );
        }
    }
    text
}

#[test]
fn the_reference_of_codes_is_made_from_their_pages() {
    let path = repository().join("docs/reference/codes.md");
    let now = reference();
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &now).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == now,
        "docs/reference/codes.md is stale: KILN_BLESS=1 cargo test reference_of_codes"
    );
    for code in codes::ALL {
        assert!(
            now.contains(&format!("[{}]", code.id)),
            "{} is in no family",
            code.id
        );
    }
}
