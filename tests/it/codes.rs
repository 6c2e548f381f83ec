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
        assert!(page.starts_with(&format!("# {}: ", code.id)), "{page}");
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
