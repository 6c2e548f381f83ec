//! Everything that is read from outside, each as a function of bytes that must come back: libFuzzer calls them by way of `fuzz_targets`,
//! and the tests by way of `tests/it/fuzzed.rs`, which needs no nightly toolchain.
//!
//! A target does with what it reads what the program does with it, and asserts what must hold of everything that was understood.

mod seeds;

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::Duration;

use kiln::artifact::{Datum, FileValue};
use kiln::base::{Inputs, ServerName, safe_name};
use kiln::catalog::Catalog;
use kiln::client::Client;
use kiln::diagnostic::{Report, SourceMap, render_human, to_json};
use kiln::protocol::{
    Event, FileRef, Frame, Head, HistoryEntry, Job, JobPage, PromptAnswer, Queue, QueueItem,
    ResultValue, history_entry, history_items, tolerant_json,
};
use kiln::spec;
use kiln::template::{Engine, Scope, Template, World};
use kiln::workflow::import;
use kiln::workflow::verdict::{self, JudgeOptions};
use kiln::workflow::{self, Graph};
use serde_json::Value;

use seeds::*;

/// A target, and what it may begin with.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: &'static [&'static str],
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "event",
        run: event,
        seeds: EVENTS,
    },
    Target {
        name: "frame",
        run: frame,
        seeds: FRAMES,
    },
    Target {
        name: "record",
        run: record,
        seeds: RECORDS,
    },
    Target {
        name: "history",
        run: history,
        seeds: HISTORIES,
    },
    Target {
        name: "queue",
        run: queue,
        seeds: QUEUES,
    },
    Target {
        name: "object_info",
        run: object_info,
        seeds: CATALOGS,
    },
    Target {
        name: "prompt_answer",
        run: prompt_answer,
        seeds: ANSWERS,
    },
    Target {
        name: "http",
        run: http,
        seeds: HTTP,
    },
    Target {
        name: "pipeline",
        run: pipeline,
        seeds: PIPELINES,
    },
    Target {
        name: "project",
        run: project,
        seeds: PROJECTS,
    },
    Target {
        name: "params",
        run: params,
        seeds: PARAMS,
    },
    Target {
        name: "workflow",
        run: workflow,
        seeds: WORKFLOWS,
    },
    Target {
        name: "drawing",
        run: drawing,
        seeds: DRAWINGS,
    },
    Target {
        name: "media",
        run: media,
        seeds: MEDIA,
    },
    Target {
        name: "catalog",
        run: catalog,
        seeds: SAVED,
    },
    Target {
        name: "template",
        run: template,
        seeds: TEMPLATES,
    },
];

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// A text message of a socket.
pub fn event(bytes: &[u8]) {
    let text = text(bytes);
    let (head, event) = (Head::read(&text), Event::parse(&text));
    // Of a member that stands twice, which nobody writes who has a map, the head takes the first: it reads no further.
    let once = text.matches("prompt_id").count() <= 1 && !text.contains("\\u");
    if once
        && let (Some(head), Ok(event)) = (head, event)
        && let (Some(short), Some(long)) = (head.prompt_id, event.prompt_id())
    {
        assert_eq!(short, long, "two readers, two jobs");
    }
}

/// A binary message of a socket.
pub fn frame(bytes: &[u8]) {
    let _ = Frame::parse(bytes);
}

/// What a record says of a job's end.
fn judge(entry: &HistoryEntry) {
    let _ = (entry.verdict(), entry.cached(), entry.taken());
    let mut seen = HashSet::new();
    for result in entry.results() {
        if let ResultValue::File(file) = result.value {
            let _ = safe_name(&file.filename);
            // A value that an input is given leads back to the file, unless its name has a folder's form.
            let named = FileRef::named(&file.annotated());
            assert_eq!(
                named.annotated(),
                FileRef::named(&named.annotated()).annotated()
            );
            seen.insert(file);
        }
    }
}

/// The record of a job, as Comfy Cloud and `/api/jobs/{id}` tell it.
pub fn record(bytes: &[u8]) {
    let Ok(value) = tolerant_json(&text(bytes)) else {
        return;
    };
    let _ = Job::from_value(&value);
    judge(&HistoryEntry::of_job(&value));
    let _ = JobPage::from_value(&value);
}

/// Histories of both shapes.
pub fn history(bytes: &[u8]) {
    let text = text(bytes);
    if let Ok(Some(entry)) = history_entry(&text, "p") {
        judge(&entry);
    }
    if let Ok(value) = tolerant_json(&text) {
        let _ = history_items(&value);
    }
}

/// Queues of both orders.
pub fn queue(bytes: &[u8]) {
    let Ok(value) = tolerant_json(&text(bytes)) else {
        return;
    };
    if let Some(queue) = Queue::from_value(&value) {
        let _ = queue.running.len() + queue.pending.len();
    }
    for item in value
        .get("queue_pending")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let _ = QueueItem::from_value(item);
    }
}

/// Node definitions, and the verdict on a graph of them.
pub fn object_info(bytes: &[u8]) {
    static GRAPH: LazyLock<Graph> = LazyLock::new(|| {
        let text = r#"{"1":{"class_type":"A","inputs":{"x":1,"y":["2",0],"z":"a","w.v":[1,2]}},"2":{"class_type":"B","inputs":{}}}"#;
        workflow::parse(text).unwrap_or_else(|_| unreachable!("it is a graph"))
    });
    if let Ok((catalog, _warnings)) = Catalog::from_json(&text(bytes)) {
        verdict_on(&GRAPH, &catalog);
    }
}

fn verdict_on(graph: &Graph, catalog: &Catalog) {
    struct Nothing;
    impl verdict::FileOracle for Nothing {
        fn exists(&self, _: &str, _: &str, _: &str) -> Option<bool> {
            None
        }
    }
    let options = JudgeOptions {
        targets: None,
        files: &Nothing,
    };
    let _ = verdict::judge(graph, catalog, &options).to_response();
}

/// What `POST /prompt` answers.
pub fn prompt_answer(bytes: &[u8]) {
    let Ok(value) = tolerant_json(&text(bytes)) else {
        return;
    };
    if let Some(answer) = PromptAnswer::from_value(&value) {
        let _ = (answer.is_partial(), answer.summary());
    }
}

/// What a server says, whatever it is asked, and the client that asks it for a file and for what it is.
struct Mouth {
    client: Client,
    says: Arc<Mutex<Vec<u8>>>,
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

static MOUTH: LazyLock<Mutex<Mouth>> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let says = Arc::new(Mutex::new(Vec::new()));
    let said = Arc::clone(&says);
    let (sender, streams) = mpsc::channel::<std::net::TcpStream>();
    std::thread::spawn(move || {
        for mut stream in streams {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let mut head = Vec::new();
            let mut piece = [0; 2048];
            while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(read @ 1..) => head.extend_from_slice(&piece[..read]),
                    _ => break,
                }
            }
            let _ = stream.write_all(&said.lock().unwrap());
        }
    });
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = sender.send(stream);
        }
    });
    Mutex::new(Mouth {
        client: Client::new(ServerName::from("fuzzed"), &url).unwrap(),
        says,
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap(),
        folder: tempfile::tempdir().unwrap(),
    })
});

/// A whole answer, head and body, to a question about a file and to one about the queue. Answers that make the client wait and ask again
/// are another test's matter: only what it understands at once is wanted here.
pub fn http(bytes: &[u8]) {
    let mouth = MOUTH.lock().unwrap();
    *mouth.says.lock().unwrap() = bytes.to_vec();
    let file = FileRef {
        filename: "a.bin".to_owned(),
        subfolder: String::new(),
        folder: "output".to_owned(),
    };
    let target = mouth.folder.path().join("a.bin");
    mouth.runtime.block_on(async {
        let moment = Duration::from_millis(50);
        let _ = tokio::time::timeout(moment, mouth.client.size_of(&file)).await;
        let _ = tokio::time::timeout(moment, mouth.client.unchanged(&file, "\"tag\"")).await;
        let _ = tokio::time::timeout(moment, mouth.client.queue()).await;
        let fetched = mouth.client.download(&file, &target, |_, _| {});
        if let Ok(Ok(fetched)) = tokio::time::timeout(moment, fetched).await {
            let bytes = std::fs::read(&target).unwrap();
            assert_eq!(bytes.len() as u64, fetched.finished.size);
        }
    });
}

/// Everything wrong with a file can be told, in its lines.
fn told(report: &Report, sources: &SourceMap) {
    let _ = render_human(report, sources);
    for diagnostic in &report.items {
        let _ = to_json(diagnostic, sources);
    }
}

/// A pipeline file.
pub fn pipeline(bytes: &[u8]) {
    let (mut sources, mut report) = (SourceMap::default(), Report::default());
    let path = Path::new("p.yaml");
    let file = sources.add_file(path, &text(bytes));
    let read = spec::pipeline_from_text(file, path, &sources, &mut report);
    assert!(
        read.is_some() || !report.items.is_empty(),
        "nothing, and no reason"
    );
    told(&report, &sources);
}

/// A project file.
pub fn project(bytes: &[u8]) {
    let folder = MOUTH.lock().unwrap().folder.path().join("project");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("kiln.yaml");
    std::fs::write(&path, bytes).unwrap();
    let (mut sources, mut report) = (SourceMap::default(), Report::default());
    let read = spec::load_project(&path, &Inputs::default(), &mut sources, &mut report);
    assert!(
        read.is_some() || !report.items.is_empty(),
        "nothing, and no reason"
    );
    told(&report, &sources);
}

/// A file of params.
pub fn params(bytes: &[u8]) {
    let (mut sources, mut report) = (SourceMap::default(), Report::default());
    let file = sources.add_file(Path::new("params.yaml"), &text(bytes));
    let read = spec::values_from_text(file, &sources, &mut report);
    assert!(
        read.is_some() || !report.items.is_empty(),
        "nothing, and no reason"
    );
    told(&report, &sources);
}

/// A workflow file, and the verdict on it.
pub fn workflow(bytes: &[u8]) {
    static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
        let (catalog, _) = Catalog::from_json(CATALOGS[0]).unwrap();
        catalog
    });
    let text = text(bytes);
    let (mut sources, mut report) = (SourceMap::default(), Report::default());
    let file = sources.add_file(Path::new("w.json"), &text);
    let read = workflow::read(file, &sources, &mut report);
    assert!(
        read.is_some() || !report.items.is_empty(),
        "nothing, and no reason"
    );
    told(&report, &sources);
    let Some(graph) = read else {
        return;
    };
    verdict_on(&graph, &CATALOG);
    for key in ["1", "KSampler", "A title", "*", "1.seed"] {
        let _ = workflow::address(&graph, key);
    }
    let again = serde_json::to_string(&graph).unwrap();
    let again =
        workflow::parse(&again).unwrap_or_else(|_| panic!("what was written is not read: {again}"));
    assert_eq!(again.nodes.len(), graph.nodes.len());
}

/// A workflow as the interface saves it, converted by the definitions of a server.
pub fn drawing(bytes: &[u8]) {
    static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
        let (catalog, _) = Catalog::from_json(SAVED[1]).unwrap();
        catalog
    });
    let text = text(bytes);
    let Some(drawn) = import::drawn(&text) else {
        return;
    };
    let _ = drawn.classes();
    let imported = drawn.convert(&CATALOG, 7);
    let mut sources = SourceMap::default();
    let file = sources.add_file(Path::new("drawn.json"), &text);
    told(&imported.report(file, &sources), &sources);
    let refused = imported.refusals(file, &sources).has_errors();
    assert!(
        refused || !imported.graph.nodes.is_empty(),
        "nothing, and no reason"
    );
    for node in imported.graph.nodes.values() {
        for (target, _) in node.inputs.values().filter_map(workflow::is_link) {
            let there = imported.graph.nodes.contains_key(target);
            assert!(there, "a link to `{target}`, which is left out");
        }
    }
    verdict_on(&imported.graph, &CATALOG);
    let again = serde_json::to_value(&imported.graph).unwrap();
    let again = workflow::from_request(again);
    assert_eq!(again.unwrap().nodes.len(), imported.graph.nodes.len());
}

/// What media files begin with, where that is no text: seeds and mutations say it in words.
const HEADS: &[(&[u8], &[u8])] = &[
    (b"PNG:", b"\x89PNG\r\n\x1a\n"),
    (b"JPEG:", b"\xff\xd8"),
    (b"MKV:", b"\x1a\x45\xdf\xa3"),
];

/// A picture, a film, a sound or a model that may carry a workflow.
pub fn media(bytes: &[u8]) {
    let head = HEADS.iter().find_map(|(word, head)| {
        let rest = bytes.strip_prefix(*word)?;
        Some([*head, rest].concat())
    });
    let bytes = head.unwrap_or_else(|| bytes.to_vec());
    match workflow::media::read(&mut std::io::Cursor::new(bytes)) {
        Ok(carried) => assert!(carried.prompt.is_some() || carried.workflow.is_some()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A saved catalog, and all that is done with one: a graph is judged by it, told of and described to editors, and a drawing converted.
pub fn catalog(bytes: &[u8]) {
    const GRAPH: &str = r#"{"1":{"class_type":"Make","inputs":{"width":8,"of":"big","of.side":3,"more.x0":["2",0],"strange":["1",0]}},"2":{"class_type":"Gone","inputs":{"old":5}},"3":{"class_type":"Save","inputs":{"images":["1",0],"mode":"x"}}}"#;
    static FILES: LazyLock<Mutex<(SourceMap, kiln::diagnostic::FileId, Graph)>> =
        LazyLock::new(|| {
            let mut sources = SourceMap::default();
            let file = sources.add_file(Path::new("w.json"), GRAPH);
            Mutex::new((sources, file, workflow::parse(GRAPH).unwrap()))
        });
    let Ok(catalog) = Catalog::open(&text(bytes)) else {
        return;
    };
    let readable = catalog.nodes().count();
    assert!(readable + catalog.broken().len() >= catalog.len());
    assert!(Catalog::open(&catalog.to_object_info()).is_ok());
    let files = FILES
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let (sources, file, graph) = &*files;
    let verdict = verdict::judge(graph, &catalog, &JudgeOptions::default());
    let _ = verdict.to_response();
    let places = |node: &kiln::base::NodeId, input: Option<&str>| {
        let pointer = match input {
            Some(input) => workflow::pointer([node.as_str(), "inputs", input]),
            None => workflow::pointer([node.as_str()]),
        };
        Some(kiln::diagnostic::Origin::Json {
            file: *file,
            pointer,
        })
    };
    let setting = kiln::check::Setting::default();
    let items =
        kiln::check::verdict_diagnostics(&verdict, graph, &catalog, &places, sources, setting);
    told(&Report { items }, sources);
    let fragment = kiln::check::editor::fragment("s", graph, Some(&catalog));
    let _ = spec::pipeline_schema_for([("s".to_owned(), fragment)]);
    if let Some(drawn) = import::drawn(DRAWINGS[0]) {
        let _ = drawn.convert(&catalog, 7);
    }
}

struct Nowhere;

impl World for Nowhere {
    fn file(&self, _: &str) -> Result<FileValue, String> {
        Err("there is no such file".to_owned())
    }
    fn exists(&self, _: &str) -> bool {
        false
    }
    fn glob(&self, _: &str) -> Result<Vec<FileValue>, String> {
        Ok(Vec::new())
    }
    fn read_text(&self, _: &str) -> Result<String, String> {
        Ok("a: [1, 2]".to_owned())
    }
    fn env(&self, _: &str) -> Option<String> {
        None
    }
    fn run_seed(&self) -> u64 {
        7
    }
    fn now(&self) -> jiff::Zoned {
        jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC)
    }
}

/// A template in a scalar, evaluated; its complaint points into it.
pub fn template(bytes: &[u8]) {
    static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(Arc::new(Nowhere)));
    let text = text(bytes);
    let scope = || {
        Scope::default()
            .with("params", Datum::Null)
            .with("n", Datum::Null)
    };
    let inside = |range: &std::ops::Range<usize>| {
        assert!(
            range.start <= range.end && range.end <= text.len(),
            "{range:?} of {text:?}"
        );
        assert!(text.is_char_boundary(range.start) && text.is_char_boundary(range.end));
    };
    for parsed in [Template::parse(&text), Template::parse_in_workflow(&text)] {
        match parsed {
            Err(error) => inside(&error.range),
            Ok(None) => {}
            Ok(Some(template)) => {
                if let Err(error) = ENGINE.eval(&template, &scope()) {
                    inside(&error.range);
                }
                for error in ENGINE.check(&template, &scope()) {
                    inside(&error.range);
                }
            }
        }
    }
    if let Err(error) = Template::parse_expression(&text) {
        inside(&error.range);
    }
}
