//! The schema of `kiln schema pipeline --pipeline FILE` in the real yaml-language-server: what it offers and what it complains of at
//! given places of example files.
//!
//! The server is looked for at `$KILN_YAML_LANGUAGE_SERVER`, else as `yaml-language-server` on the `PATH`; where it is absent every trial
//! shows as ignored, unless `KILN_REQUIRE_YAML_LANGUAGE_SERVER` is set.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

/// How long the language server may take to answer: it starts a runtime of its own.
const PATIENCE: Duration = Duration::from_mins(1);

type Test = fn(&Path) -> Result<(), Failed>;

pub(crate) fn trials() -> Vec<Trial> {
    let program = program();
    if program.is_none() && std::env::var_os("KILN_REQUIRE_YAML_LANGUAGE_SERVER").is_some() {
        eprintln!("yaml-language-server is required, and is not there");
        std::process::exit(1);
    }
    let tests: [(&str, Test); 4] = [
        ("editors_offer_the_nodes_of_a_workflow", nodes),
        ("editors_offer_inputs_and_choices", inputs),
        ("editors_complain_of_what_is_wrong", complaints),
        ("editors_have_nothing_against_the_examples", examples),
    ];
    tests
        .into_iter()
        .map(|(name, test)| {
            let program = program.clone();
            let absent = program.is_none();
            Trial::test(name, move || program.as_deref().map_or(Ok(()), test))
                .with_ignored_flag(absent)
        })
        .collect()
}

fn program() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("KILN_YAML_LANGUAGE_SERVER") {
        return Some(PathBuf::from(given)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    let mut folders = std::env::split_paths(&path);
    folders.find_map(|dir| {
        let program = dir.join("yaml-language-server");
        program.is_file().then_some(program)
    })
}

/// A language server that talks over its standard streams.
struct Server {
    child: Child,
    stdin: ChildStdin,
    said: Receiver<Value>,
    next: u64,
    diagnostics: HashMap<String, Value>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(program: &Path, folder: &Path) -> Self {
        let mut child = Command::new(program)
            .arg("--stdio")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, said) = channel();
        std::thread::spawn(move || {
            while let Some(message) = receive(&mut stdout) {
                if tell.send(message).is_err() {
                    break;
                }
            }
        });
        let mut server = Self {
            child,
            stdin,
            said,
            next: 0,
            diagnostics: HashMap::new(),
        };
        let root = uri(folder);
        server.request(
            "initialize",
            &json!({"processId": null, "rootUri": root, "workspaceFolders": [{"uri": root, "name": "x"}], "capabilities": {
                "textDocument": {"completion": {"completionItem": {"snippetSupport": true, "documentationFormat": ["markdown", "plaintext"]}}},
            }}),
        );
        server.notify("initialized", &json!({}));
        server.notify(
            "workspace/didChangeConfiguration",
            &json!({"settings": {"yaml": {"validate": true, "completion": true, "hover": true, "schemaStore": {"enable": false}}}}),
        );
        server
    }

    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        write!(self.stdin, "Content-Length: {}\r\n\r\n{text}", text.len()).unwrap();
        self.stdin.flush().unwrap();
    }

    fn notify(&mut self, method: &str, params: &Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    fn request(&mut self, method: &str, params: &Value) -> Value {
        self.next += 1;
        let id = self.next;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        loop {
            let message = self.hear();
            if message.get("method").is_none() && message["id"] == id {
                return message["result"].clone();
            }
        }
    }

    /// The next message; what the server asks of an editor is answered with nothing.
    fn hear(&mut self) -> Value {
        let message = self.said.recv_timeout(PATIENCE).unwrap();
        if message["method"] == "textDocument/publishDiagnostics" {
            let uri = message["params"]["uri"].as_str().unwrap().to_owned();
            let found = message["params"]["diagnostics"].clone();
            self.diagnostics.insert(uri, found);
        }
        if let (Some(_), Some(id)) = (message.get("method"), message.get("id")) {
            self.send(&json!({"jsonrpc": "2.0", "id": id, "result": null}));
        }
        message
    }

    fn open(&mut self, path: &Path, text: &str) {
        self.notify(
            "textDocument/didOpen",
            &json!({"textDocument": {"uri": uri(path), "languageId": "yaml", "version": 1, "text": text}}),
        );
    }

    /// What is offered where `|` stands in the text: label, documentation and inserted text of each.
    fn offered(&mut self, path: &Path, text: &str) -> Vec<(String, String, String)> {
        let at = text.find('|').unwrap();
        let line = text[..at].matches('\n').count();
        let character = at - text[..at].rfind('\n').map_or(0, |n| n + 1);
        self.open(path, &text.replacen('|', "", 1));
        let answer = self.request(
            "textDocument/completion",
            &json!({"textDocument": {"uri": uri(path)}, "position": {"line": line, "character": character}}),
        );
        let items = answer.get("items").unwrap_or(&answer);
        let plain = |value: &Value| match value {
            Value::String(text) => text.clone(),
            value => value["value"].as_str().unwrap_or_default().to_owned(),
        };
        let mut offered: Vec<(String, String, String)> = items
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                let insert = item["insertText"]
                    .as_str()
                    .or(item["textEdit"]["newText"].as_str());
                (
                    plain(&item["label"]),
                    plain(&item["documentation"]),
                    insert.unwrap_or_default().to_owned(),
                )
            })
            .collect();
        offered.sort();
        offered
    }

    /// What is complained of: line (from 0) and message of each.
    fn complaints(&mut self, path: &Path, text: &str) -> Vec<(u64, String)> {
        self.diagnostics.remove(&uri(path));
        self.open(path, text);
        while !self.diagnostics.contains_key(&uri(path)) {
            self.hear();
        }
        let found = &self.diagnostics[&uri(path)];
        let mut found: Vec<(u64, String)> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|d| {
                let line = d["range"]["start"]["line"].as_u64().unwrap();
                (line, d["message"].as_str().unwrap().to_owned())
            })
            .collect();
        found.sort();
        found
    }
}

fn receive(stdout: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stdout.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some(("Content-Length", number)) => length = number.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    stdout.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

fn uri(path: &Path) -> String {
    url::Url::from_file_path(path).unwrap().to_string()
}

/// A copy of the repository's examples, each with the schema that kiln makes for it on its embedded server.
struct Examples {
    folder: tempfile::TempDir,
}

impl Examples {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for entry in walkdir::WalkDir::new(root.join("pipelines")) {
            let entry = entry.unwrap();
            let target = folder.path().join(entry.path().strip_prefix(root).unwrap());
            if entry.file_type().is_dir() {
                std::fs::create_dir_all(&target).unwrap();
            } else {
                std::fs::copy(entry.path(), &target).unwrap();
            }
        }
        std::fs::copy(root.join("kiln.yaml"), folder.path().join("kiln.yaml")).unwrap();
        Self { folder }
    }

    /// A file of `pipelines/`, with its schema written and named in its first line.
    fn pipeline(&self, name: &str, text: &str) -> (PathBuf, String) {
        let path = self.folder.path().join("pipelines").join(name);
        std::fs::write(&path, text.replacen('|', "", 1)).unwrap();
        let schema = path.with_extension("schema.json");
        let done = Command::new(env!("CARGO_BIN_EXE_kiln"))
            .args(["schema", "pipeline", "--server", "embedded", "--pipeline"])
            .arg(&path)
            .arg("-o")
            .arg(&schema)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        let (_, rest) = text.split_once('\n').unwrap();
        let name = schema.file_name().unwrap().to_str().unwrap();
        let text = format!("# yaml-language-server: $schema=./{name}\n{rest}");
        std::fs::write(&path, text.replacen('|', "", 1)).unwrap();
        (path, text)
    }
}

const START: &str = "# a pipeline
steps:
  develop:
    workflow: workflows/develop.json
    set:
";

fn offered(program: &Path, set: &str) -> Vec<(String, String, String)> {
    let examples = Examples::new();
    let (path, text) = examples.pipeline("new.yaml", &format!("{START}{set}"));
    Server::start(program, examples.folder.path()).offered(&path, &text)
}

fn find<'a>(
    offered: &'a [(String, String, String)],
    label: &str,
) -> Result<&'a (String, String, String), Failed> {
    let found = offered.iter().find(|(name, ..)| name == label);
    found.ok_or_else(|| format!("no `{label}` among {offered:?}").into())
}

fn nodes(program: &Path) -> Result<(), Failed> {
    let offered = offered(program, "      |\n");
    let (_, about, _) = find(&offered, "Resize")?;
    assert!(about.starts_with("`ImageScale`, node "), "{about}");
    find(&offered, "Photo")?;
    let ids = offered.iter().any(|(name, ..)| name.parse::<u32>().is_ok());
    assert!(!ids, "one name for each node is enough: {offered:?}");
    Ok(())
}

fn inputs(program: &Path) -> Result<(), Failed> {
    let names = offered(program, "      Resize:\n        |\n");
    let (_, about, insert) = find(&names, "width")?;
    assert!(about.starts_with("INT, 0 to 16384"), "{about}");
    assert!(insert.starts_with("width: "), "{insert}");
    find(&names, "upscale_method")?;
    let choices = offered(program, "      Resize:\n        upscale_method: |\n");
    find(&choices, "lanczos")?;
    find(&choices, "nearest-exact")?;
    Ok(())
}

fn complaints(program: &Path) -> Result<(), Failed> {
    let examples = Examples::new();
    let set = "      Resise: { width: 1 }
      Resize:
        width: 99999
        upscale_method: lanczoss
        hieght: 3
        crop: '{{ params.any }}'
      Photo: { image: \"{{ file('inputs/coffee.png') }}\" }
";
    let (path, text) = examples.pipeline("new.yaml", &format!("{START}{set}"));
    let mut server = Server::start(program, examples.folder.path());
    let found = server.complaints(&path, &text);
    let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [5, 7, 8, 9], "{found:?}");
    for ((_, message), part) in found.iter().zip(["Resise", "16384", "lanczos", "hieght"]) {
        if !message.contains(part) {
            return Err(format!("no `{part}` in {message}").into());
        }
    }
    Ok(())
}

fn examples(program: &Path) -> Result<(), Failed> {
    let examples = Examples::new();
    let mut server = Server::start(program, examples.folder.path());
    let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let mut seen = 0;
    for entry in std::fs::read_dir(pipelines)? {
        let path = entry?.path();
        // That one is there to be wrong.
        if path.extension().is_none_or(|e| e != "yaml") || path.ends_with("mistake.yaml") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let (path, text) = examples.pipeline(name, &std::fs::read_to_string(&path)?);
        let found = server.complaints(&path, &text);
        if !found.is_empty() {
            return Err(format!("{name}: {found:?}").into());
        }
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} examples were found");
    Ok(())
}
