//! The rooms of `src/` stand in one order; a room imports only rooms above it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// The rooms in order. `cli` is last: nothing imports it but the program.
const ROOMS: &[&str] = &[
    "base",
    "diagnostic",
    "artifact",
    "template",
    "spec",
    "protocol",
    "catalog",
    "workflow",
    "event",
    "client",
    "plugin",
    "embedded",
    "servers",
    "plan",
    "check",
    "machine",
    "store",
    "run",
    "report",
    "session",
    "watch",
    "cli",
];

/// Every `crate::x` that a file mentions, in `use` trees and in paths alike.
#[derive(Default)]
struct Mentions(BTreeSet<String>);

impl Mentions {
    fn tree(&mut self, tree: &syn::UseTree, depth: usize) {
        match tree {
            syn::UseTree::Path(path) if depth == 0 && path.ident == "crate" => {
                self.tree(&path.tree, 1);
            }
            syn::UseTree::Path(path) if depth == 1 => {
                self.0.insert(path.ident.to_string());
            }
            syn::UseTree::Name(name) if depth == 1 => {
                self.0.insert(name.ident.to_string());
            }
            syn::UseTree::Rename(name) if depth == 1 => {
                self.0.insert(name.ident.to_string());
            }
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.tree(item, depth));
            }
            _ => {}
        }
    }
}

impl<'ast> Visit<'ast> for Mentions {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, 0);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut segments = path.segments.iter();
        if segments.next().is_some_and(|first| first.ident == "crate")
            && let Some(room) = segments.next()
        {
            self.0.insert(room.ident.to_string());
        }
        syn::visit::visit_path(self, path);
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect()
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn a_room_imports_only_rooms_above_it() {
    let mut wrong = Vec::new();
    for (at, room) in ROOMS.iter().enumerate() {
        let files = rust_files(&source().join(room));
        assert!(!files.is_empty(), "the room `{room}` is empty");
        for file in files {
            let parsed = syn::parse_file(&std::fs::read_to_string(&file).unwrap()).unwrap();
            let mut mentions = Mentions::default();
            mentions.visit_file(&parsed);
            for other in mentions.0 {
                match ROOMS.iter().position(|r| *r == other) {
                    Some(position) if position <= at => {}
                    Some(_) => wrong.push(format!(
                        "{} imports `{other}`, which stands below `{room}`",
                        file.display()
                    )),
                    None => wrong.push(format!(
                        "{} imports `{other}`, which is no room",
                        file.display()
                    )),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_folder_is_a_room_of_the_list() {
    let folders: BTreeSet<String> = std::fs::read_dir(source())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, ROOMS.iter().map(|r| (*r).to_owned()).collect());
}

/// The most lines that a file may have; the most of a function are in `clippy.toml`.
const LONG: usize = 600;

#[test]
fn no_file_is_longer_than_one_reads_at_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["src", "tests", "benches", "crates"];
    let files = folders
        .iter()
        .flat_map(|folder| rust_files(&root.join(folder)));
    let long: Vec<String> = files
        .filter_map(|file| {
            let lines = std::fs::read_to_string(&file).unwrap().lines().count();
            (lines > LONG).then(|| format!("{} has {lines} lines", file.display()))
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn mod_files_only_declare_and_export() {
    let mut wrong = Vec::new();
    for file in rust_files(&source()) {
        let tests = file
            .parent()
            .is_some_and(|folder| folder.ends_with("tests"));
        if tests || file.file_name().is_none_or(|name| name != "mod.rs") {
            continue;
        }
        let parsed = syn::parse_file(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let more = parsed
            .items
            .iter()
            .any(|item| !matches!(item, syn::Item::Mod(_) | syn::Item::Use(_)));
        let inline = parsed
            .items
            .iter()
            .any(|item| matches!(item, syn::Item::Mod(module) if module.content.is_some()));
        if more || inline {
            wrong.push(file.display().to_string());
        }
    }
    assert!(
        wrong.is_empty(),
        "more than declarations in {}",
        wrong.join(", ")
    );
}

#[test]
fn files_stay_readable() {
    for file in rust_files(&source()) {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(
            lines <= 650,
            "{} has grown to {lines} lines",
            file.display()
        );
    }
}
