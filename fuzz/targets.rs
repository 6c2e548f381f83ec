//! Everything that is read from outside, each as a function of bytes that must come back: libFuzzer calls them by way of `fuzz_targets`,
//! and the tests by way of `tests/it/fuzzed.rs`, which needs no nightly toolchain.
//!
//! A target does with what it reads what the program does with it, and asserts what must hold of everything that was understood.

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
use kiln::workflow::verdict::{self, JudgeOptions};
use kiln::workflow::{self, Graph};
use serde_json::Value;

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

const EVENTS: &[&str] = &[
    r#"{"type":"status","data":{"status":{"exec_info":{"queue_remaining":2}},"sid":"abc"}}"#,
    r#"{"type": "execution_start", "data": {"prompt_id": "p", "timestamp": 1760000000000}}"#,
    r#"{"type":"execution_cached","data":{"nodes":["1","2.0.0.3"],"prompt_id":"p","timestamp":1}}"#,
    r#"{"type":"progress_state","data":{"prompt_id":"p","nodes":{"3":{"value":1.0,"max":20.0,"state":"running","node_id":"3","prompt_id":"p","display_node_id":"3","parent_node_id":null,"real_node_id":"3"}}}}"#,
    r#"{"type":"executing","data":{"node":null,"prompt_id":"p"}}"#,
    r#"{"type":"executing","data":{"node":"2"}}"#,
    r#"{"type":"progress","data":{"value":3,"max":6,"prompt_id":"p","node":"3"}}"#,
    r#"{"type":"executed","data":{"node":"9","display_node":"9","output":{"images":[{"filename":"a_00001_.png","subfolder":"","type":"output"}],"values":[NaN,Infinity,-Infinity,1.5]},"prompt_id":"p"}}"#,
    r#"{"type":"execution_error","data":{"prompt_id":"p","node_id":"4","node_type":"X","executed":["1"],"exception_message":"no\n","exception_type":"ValueError","traceback":["a"],"current_inputs":{"a":[NaN]},"current_outputs":["1"]}}"#,
    r#"{"type":"execution_interrupted","data":{"prompt_id":"p","node_id":"3","node_type":"KSampler","executed":[]}}"#,
    r#"{"type":"execution_success","data":{"prompt_id":"p","timestamp":1}}"#,
    r#"{"type":"feature_flags","data":{"supports_preview_metadata":true,"max_upload_size":104857600}}"#,
];

const FRAMES: &[&str] = &[
    "\0\0\0\u{1}\0\0\0\u{2}\u{7f}PNG",
    "\0\0\0\u{3}\0\0\0\u{1}9a line of text",
    "\0\0\0\u{4}\0\0\0\u{20}{\"node_id\":\"3\",\"image_type\":\"x\"}JPEG",
    "\0\0\0\u{9}what",
];

const RECORDS: &[&str] = &[
    r#"{"id":"p","status":"completed","create_time":1,"execution_start_time":2,"execution_end_time":3,"outputs_count":1,"outputs":{"9":{"images":[{"filename":"a.png","subfolder":"sub","type":"output"}],"text":["t"]}},"preview_output":{"filename":"a.png","nodeId":"9","mediaType":"images"}}"#,
    r#"{"id":"p","status":"failed","execution_error":{"node_id":"4","node_type":"X","exception_message":"no","exception_type":"ModelDownloadError","current_inputs":{},"current_outputs":{}}}"#,
    r#"{"id":"p","status":"completed","execution_status":{"status_str":"success","completed":true,"messages":[["execution_start",{"prompt_id":"p"}],["execution_error",{"node_id":"3"}]]},"execution_meta":{"5.0":{"node_id":"5.0","display_node":"5"}},"outputs":{"5.0":{"gifs":[[{"filename":"g.gif","frame_rate":8.0}]]}}}"#,
    r#"{"jobs":[{"id":"a","status":"waiting_to_dispatch"},{"id":"b","status":"non_retryable_error"}],"pagination":{"offset":0,"limit":100,"total":2,"has_more":false,"next_cursor":"2"}}"#,
];

const HISTORIES: &[&str] = &[
    r#"{"p":{"prompt":[0,"p",{"1":{"class_type":"EmptyImage","inputs":{}}},{"create_time":1},["9"]],"outputs":{"9":{"images":[{"filename":"a.png","subfolder":"","type":"temp"}],"animated":[true]}},"status":{"status_str":"success","completed":true,"messages":[["execution_cached",{"nodes":["1"],"prompt_id":"p"}]]},"meta":{"9":{"node_id":"9","display_node":"9","parent_node":null,"real_node_id":"9"}}}}"#,
    r#"{"p":{"outputs":{"1":{"values":[NaN]}},"status":{"status_str":"error","completed":false,"messages":[["execution_interrupted",{"node_id":"2"}]]}}}"#,
    r#"{"history":[{"prompt_id":"p","create_time":3,"prompt":{"priority":0,"prompt_id":"p","extra_data":{}},"outputs":{},"status":{"status_str":"success"}}]}"#,
];

const QUEUES: &[&str] = &[
    r#"{"queue_running":[[7,"r",{},{},[]]],"queue_pending":[[11,"c",{"1":{}},{"create_time":1},["9"]],[-3.0,"a",{},["9"],{"create_time":5}]]}"#,
    r#"{"queue_running":[],"queue_pending":[[1e400,"x"],["odd"],null,[18446744073709551615,"y"]]}"#,
];

const CATALOGS: &[&str] = &[
    r#"{"A":{"input":{"required":{"x":["INT",{"default":1,"min":0,"max":18446744073709551615,"step":1}],"y":["IMAGE"],"z":[["a","b"],{"default":"a","image_upload":true}],"f":["FLOAT",{"min":-1.5,"max":1e300,"round":false}]},"optional":{"m":["MASK,IMAGE",{"tooltip":"t"}],"s":["STRING",{"multiline":true}],"c":["COMBO",{"options":["a",1,true],"multiselect":true}]},"hidden":{"u":"UNIQUE_ID"}},"input_order":{"required":["x","y"]},"output":["IMAGE",["a","b"]],"output_is_list":[false,true],"output_name":["o","p"],"name":"A","display_name":"A title","description":"","python_module":"nodes","category":"c","output_node":true,"deprecated":false,"experimental":false}}"#,
    r#"{"B":{"input":{"required":{"w":["COMFY_AUTOGROW_V3",{"template":{"input":{"required":{"v":["IMAGE",{}]}},"prefix":"v","min":1,"max":50}}],"d":["COMFY_DYNAMICCOMBO_V3",{"options":[{"key":"k","inputs":{"required":{"i":["INT",{}]}}}]}],"t":["COMFY_MATCHTYPE_V3",{"template":{"template_id":"T","allowed_types":"*"}}]}},"output":["*"],"output_node":false,"api_node":true}}"#,
];

const ANSWERS: &[&str] = &[
    r#"{"prompt_id":"p","number":3,"node_errors":{}}"#,
    r#"{"prompt_id":"p","number":-0.0,"node_errors":{"9":{"errors":[{"type":"value_not_in_list","message":"Value not in list","details":"sampler_name: 'x'","extra_info":{"input_name":"sampler_name","input_config":[["a"],{}],"received_value":"x"}}],"dependent_outputs":["9"],"class_type":"KSampler"}}}"#,
    r#"{"error":{"type":"prompt_outputs_failed_validation","message":"Prompt outputs failed validation","details":"","extra_info":{}},"node_errors":{"1":{"errors":[],"class_type":null}}}"#,
    r#"{"error":"text","code":"X","message":"no"}"#,
];

const HTTP: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 5\r\nETag: \"tag\"\r\nContent-Disposition: filename=\"a.png\"\r\nConnection: close\r\n\r\nhello",
    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 3-4/5\r\nContent-Length: 2\r\nConnection: close\r\n\r\nlo",
    "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/files/a?signature=%zz\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 302 Found\r\nLocation: //[::1:/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 429 Too Many\r\nRetry-After: 1.5e9\r\nContent-Type: application/json\r\nContent-Length: 52\r\nConnection: close\r\n\r\n{\"error\":{\"type\":\"QUEUE_LIMIT\",\"message\":\"later\"}}  ",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n20\r\n{\"queue_running\":[],\"queue_pendi\r\n7\r\nng\":[]}\r\n0\r\n\r\n",
    "HTTP/1.1 416 No\r\nContent-Range: bytes */5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nETag: W/\"tag\"\r\nConnection: close\r\n\r\n",
];

const PIPELINES: &[&str] = &[
    include_str!("../pipelines/quickstart.yaml"),
    include_str!("../pipelines/product-shots.yaml"),
    include_str!("../pipelines/retouch.yaml"),
    include_str!("../pipelines/framed.yaml"),
    "name: x\nparams:\n  n: { type: int, default: 3, min: 1, max: 9 }\n  s: [a, b]\nretry: { attempts: 3, delay: 2s, for: [transient, oom], until: \"result.images | length == 4\" }\nsteps:\n  a:\n    workflow: a.json\n    matrix: { i: \"{{ range(3) }}\", j: [x, y], exclude: [{ i: 1 }] }\n    set: { KSampler: { seed: \"{{ seed() }}\" }, 3.cfg: 7.5 }\n    remove: [9]\n    timeout: 1h30m\n    when: \"{{ params.n > 1 }}\"\n  b:\n    command: [sh, -c, \"echo {{ item.image }}\"]\n    for_each: steps.a\n    outputs: { f: \"*.txt\" }\n    needs: [a]\n    claims: [gpu]\n",
    "steps: { a: { command: [x], when: )) : [ } }\n",
    "steps:\n  a: { when: x): y }: {\n",
];

const PROJECTS: &[&str] = &[
    "default_server: farm\nservers:\n  farm: { urls: [\"http://a:8188\", \"http://b:8188\"], max_jobs: 2, lost_after: 3s, token: \"{{ secret('T') }}\" }\n  cloud: { kind: cloud, api_key: \"{{ secret('K') }}\" }\n  own: { kind: embedded, simulate: true }\nprofiles:\n  draft: { params: { steps: 4 } }\noutputs: out\n",
    "servers: { x: { url: \"http://user:pass@h\", headers: { X-Key: abc }, ca_cert: c.pem } }\npartner_api_key: secret\n",
];

const PARAMS: &[&str] = &[
    "prompt: \"a kiln\"\nsteps: 20\ncfg: 7.5e0\nlist: [1, 2, {a: b}]\nnull_: ~\nyes: true\ntext: |\n  two\n  lines\n",
    "{\"a\": 18446744073709551615, \"b\": -9223372036854775808, \"c\": 1e999, \"d\": .nan}",
    "a: &x [1]\nb: *x\nc: !!str 5\n<<: {d: 1}\n? {complex: key}\n: v\n",
];

const WORKFLOWS: &[&str] = &[
    include_str!("../pipelines/workflows/txt2img.json"),
    include_str!("../pipelines/workflows/repaint.json"),
    include_str!("../pipelines/workflows/framed.json.j2"),
    r#"{"1":{"class_type":"A","inputs":{"x":18446744073709551615,"y":["2",0],"z":"a","l":{"__value__":[1,["1",0]]}},"_meta":{"title":"A title"}},"2":{"class_type":"B","inputs":{},"is_changed":["x"]}}"#,
    r#"{"last_node_id":2,"nodes":[{"id":1,"type":"KSampler","widgets_values":[1,"fixed"],"inputs":[{"name":"m","link":null}]}],"links":[[1,1,0,2,0,"IMAGE"]],"version":0.4}"#,
];

const TEMPLATES: &[&str] = &[
    "{{ params.n + 1 }}",
    "a {{ n | default('x') | upper }} b {% if n %}c{% else %}d{% endif %} {# no #}",
    "{{ steps.draw['task'].image[0:2] | map(attribute='path') | join(', ') }}",
    "{{ range(1000000) | list | length }}",
    "{% for i in range(10) %}{{ loop.index }}{% if i > 3 %}{% break %}{% endif %}{% endfor %}",
    "{{ read_yaml('a.yaml').a[1] }} {{ file('x.png').hash }} {{ glob('*') | length }} {{ env('X') }}",
    "{{ {'a': [1, 2.5, 'ü', none, true]}['a'][-1] }}",
    "{{ 'x' * 100000 * 100000 }}",
    "{% set x = 'a' %}{{ x ~ x }}{% macro m(a) %}{{ m(a) }}{% endmacro %}{{ m(1) }}",
];
