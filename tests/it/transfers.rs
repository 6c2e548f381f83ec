//! Files between this machine and servers, and from one server to another.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::proxy::{Fate, Proxy};
use crate::support::{Project, Server, finish, settled};

fn load() -> String {
    json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}, "_meta": {"title": "Photo"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "out"}}
    })
    .to_string()
}

/// A picture that does not compress.
fn noise(edge: u32, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let picture = image::RgbImage::from_fn(edge, edge, |_, _| {
        image::Rgb([0, 1, 2].map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[1]
        }))
    });
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

/// The head of a PNG of such a size: what tells its edges without anybody having to hold it.
fn head(width: u32, height: u32) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(data);
        let length = u32::try_from(data.len()).unwrap();
        [
            &length.to_be_bytes(),
            &kind[..],
            data,
            &crc.sum().to_be_bytes(),
        ]
        .concat()
    };
    let edges = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let about = [&edges[..], &[1, 0, 0, 0, 0]].concat();
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &about),
        chunk(b"IDAT", &[0x78, 0x9c]),
        chunk(b"IEND", &[]),
    ]
    .concat()
}

/// What a server was given.
fn inputs(server: &Server) -> Vec<PathBuf> {
    let folder = server.dir().join("input/kiln");
    let found = std::fs::read_dir(folder).into_iter().flatten();
    let mut found: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn events(project: &Project, args: &[&str]) -> Vec<Value> {
    let args = [&["run", "p.yaml", "--output", "json"], args].concat();
    project.kiln(&args).ok().json_lines()
}

fn uploads(events: &[Value]) -> Vec<&str> {
    let all = events.iter().filter(|e| e["event"] == "task_uploaded");
    all.map(|e| e["task"].as_str().unwrap()).collect()
}

fn is_named_by_content(path: &Path) -> bool {
    let hash = blake3::hash(&std::fs::read(path).unwrap()).to_hex();
    path.file_stem().unwrap().to_str() == Some(&hash[..16])
}

/// Two steps on two servers, of which the first gets so much said beside its workflow.
fn onward(one: &Server, two: &Server, first: &str) -> Project {
    let project = Project::of(&[("load.json", &load())]);
    project.file(
        "kiln.yaml",
        format!(
            "servers:\n  one: {{ url: \"{}\" }}\n  two: {{ url: \"{}\" }}\n",
            one.url, two.url
        ),
    );
    let text = r#"params: { photo: { type: file } }
steps:
  first: { FIRST workflow: load.json, server: one, set: { Photo: { image: "{{ params.photo }}" } } }
  second: { workflow: load.json, server: two, set: { Photo: { image: "{{ steps.first.image }}" } } }
"#;
    project.file("p.yaml", text.replace("FIRST", first));
    project.file("large.png", noise(1300, 7));
    project.file("small.png", noise(64, 9));
    project
}

#[test]
fn a_large_result_goes_on_to_the_next_server_while_it_is_fetched() {
    let (one, two) = (Server::start(&[]), Server::start(&[]));
    for (photo, by_content) in [("small.png", true), ("large.png", false)] {
        let project = onward(&one, &two, "");
        let before = inputs(&two);
        let told = events(&project, &["-p", &format!("photo={photo}")]);
        assert_eq!(uploads(&told), ["first", "second"], "{photo}");
        let now = inputs(&two);
        let new: Vec<_> = now.iter().filter(|path| !before.contains(path)).collect();
        let [new] = new[..] else {
            panic!("it is sent once: {before:?} {now:?}")
        };
        assert_eq!(is_named_by_content(new), by_content, "{photo}");
        let made = project.path().join("outputs/p/latest/first");
        let made = std::fs::read_dir(made).unwrap().map(|e| e.unwrap().path());
        let made = made.filter(|path| path.extension().is_some_and(|e| e == "png"));
        let made: Vec<_> = made.collect();
        assert_eq!(
            std::fs::read(&made[0]).unwrap(),
            std::fs::read(new).unwrap()
        );
        // Where it lies there is remembered as of any other file.
        let again = events(
            &project,
            &["-p", &format!("photo={photo}"), "--from", "second"],
        );
        assert_eq!(uploads(&again), Vec::<&str>::new(), "{photo}");
    }
}

#[test]
fn a_large_result_goes_nowhere_while_what_an_earlier_run_left_may_do() {
    let (one, two) = (Server::start(&[]), Server::start(&[]));
    let project = onward(&one, &two, "cache: false,");
    let photo = ["-p", "photo=large.png"];
    assert_eq!(uploads(&events(&project, &photo)), ["first", "second"]);
    let there = inputs(&two);
    assert_eq!(there.len(), 1);
    for _ in 0..2 {
        let again = events(&project, &photo);
        assert_eq!(again.last().unwrap()["counts"]["cached"], 1, "{again:#?}");
        assert_eq!(inputs(&two), there);
    }
    // What is there already is not taken from elsewhere, although it comes along.
    let forced = events(&project, &["-p", "photo=large.png", "--force"]);
    assert_eq!(uploads(&forced), Vec::<&str>::new());
}

/// Servers in front of which a proxy stands that takes requests of at most 24,000 bytes, if they tell.
fn narrow(server: &Server) -> Proxy {
    let is_features = |line: &str| line.contains("/features ");
    let fate = move |line: &str| {
        if is_features(line) {
            Fate::Say("104857600", "24000")
        } else {
            Fate::Pass
        }
    };
    Proxy::start(&server.url, Box::new(fate))
}

#[test]
fn a_result_is_too_large_only_when_it_has_to_be_sent() {
    let server = Server::start(&[]);
    let proxy = narrow(&server);
    let large = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}, "_meta": {"title": "Photo"}},
        "2": {"class_type": "ImageScale", "inputs": {"image": ["1", 0], "upscale_method": "bilinear", "width": 600, "height": 600, "crop": "disabled"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "out"}}
    });
    let project = Project::of(&[("load.json", &load()), ("large.json", &large.to_string())]);
    project.file(
        "kiln.yaml",
        format!(
            "default_server: one\nservers:\n  one: {{ url: \"{}\" }}\n",
            proxy.url
        ),
    );
    let text = r#"steps:
  first: { workflow: large.json, set: { Photo: { image: "{{ file('small.png') }}" } } }
  second: { HOW workflow: load.json, set: { Photo: { image: "{{ steps.first.image }}" } } }
"#;
    project.file("small.png", noise(64, 9));
    project.file("p.yaml", text.replace("HOW", ""));
    assert_eq!(uploads(&events(&project, &[])), ["first"]);
    let there = inputs(&server);
    assert_eq!(there.len(), 1);
    project.file(
        "p.yaml",
        text.replace("HOW", "transfer: upload, cache: false,"),
    );
    let refused = project.kiln(&["run", "p.yaml"]).code(4);
    assert!(refused.stderr.contains("K0306"), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("takes requests of at most"),
        "{}",
        refused.stderr
    );
    assert_eq!(inputs(&server), there);
}

#[test]
fn tasks_that_need_the_same_file_at_the_same_time_wait_for_one_upload() {
    let server = Server::start(&[]);
    let project = Project::of(&[("load.json", &load())]);
    project.file(
        "kiln.yaml",
        format!(
            "servers:\n  one: {{ url: \"{}\", max_jobs: 8 }}\n",
            server.url
        ),
    );
    project.file(
        "p.yaml",
        r#"steps:
  one:
    workflow: load.json
    server: one
    matrix: { i: "{{ range(8) }}" }
    set: { Photo: { image: "{{ file('photo.png') }}" }, "9": { filename_prefix: "out-{{ matrix.i }}" } }
"#,
    );
    project.file("photo.png", noise(700, 5));
    let told = events(&project, &[]);
    assert_eq!(uploads(&told).len(), 1, "{told:#?}");
    assert_eq!(inputs(&server).len(), 1);
    assert_eq!(told.last().unwrap()["counts"]["done"], 8);
}

#[test]
fn an_upload_of_an_earlier_run_counts_while_it_is_what_it_was() {
    let server = Server::start(&[]);
    let project = Project::of(&[("load.json", &load())]);
    project.file(
        "kiln.yaml",
        format!("servers:\n  one: {{ url: \"{}\" }}\n", server.url),
    );
    project.file(
        "p.yaml",
        r#"params: { prefix: { type: string, default: a } }
steps:
  one:
    workflow: load.json
    server: one
    set: { Photo: { image: "{{ file('photo.png') }}" }, "9": { filename_prefix: "{{ params.prefix }}" } }
"#,
    );
    project.file("photo.png", noise(32, 3));
    assert_eq!(uploads(&events(&project, &[])), ["one"]);
    assert!(uploads(&events(&project, &["-p", "prefix=b"])).is_empty());
    let there = inputs(&server);
    assert_eq!(there.len(), 1);
    // Somebody writes as many other bytes into it.
    let mut other = std::fs::read(&there[0]).unwrap();
    let last = other.len() - 20;
    other[last] ^= 1;
    std::fs::write(&there[0], other).unwrap();
    assert_eq!(uploads(&events(&project, &["-p", "prefix=c"])), ["one"]);
    assert_eq!(inputs(&server).len(), 2, "nobody's file is overwritten");
    for path in inputs(&server) {
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(uploads(&events(&project, &["-p", "prefix=d"])), ["one"]);
    let [there] = &inputs(&server)[..] else {
        panic!("it is there again")
    };
    let own = std::fs::read(project.path().join("photo.png")).unwrap();
    assert_eq!(std::fs::read(there).unwrap(), own);
}

#[test]
fn a_picture_that_no_node_would_load_is_refused_before_anything_is_queued() {
    let server = Server::start(&[]);
    let project = Project::of(&[
        ("load.json", &load()),
        (
            "p.yaml",
            "steps:\n  one:\n    workflow: load.json\n    set:\n      Photo: { image: \"{{ file('wide.png') }}\" }\n",
        ),
    ]);
    project.file("wide.png", head(14_000, 13_000));
    let args = ["run", "p.yaml", "--server", &server.url];
    let done = project.kiln(&args).code(3);
    insta::assert_snapshot!(settled(&done.stderr, project.path()));
    assert_eq!(inputs(&server), Vec::<PathBuf>::new());
    // The limit itself is none too many.
    project.file("wide.png", head(13_377, 13_377));
    project
        .kiln(&["check", "p.yaml", "--server", &server.url])
        .ok();
}

#[test]
fn a_result_that_the_next_step_could_not_load_is_refused_before_it_is_sent() {
    let server = Server::start(&[]);
    let project = Project::of(&[
        ("load.json", &load()),
        (
            "p.yaml",
            "steps:\n  make:\n    command: [cp, \"{{ file('wide.bin') }}\", wide.png]\n    outputs: { wide: wide.png }\n  one:\n    workflow: load.json\n    set:\n      Photo: { image: \"{{ steps.make.file }}\" }\n",
        ),
    ]);
    project.file("wide.bin", head(20_000, 20_000));
    let done = project
        .kiln(&["run", "p.yaml", "--server", &server.url])
        .code(4);
    insta::assert_snapshot!(settled(&done.stderr, project.path()));
    assert_eq!(inputs(&server), Vec::<PathBuf>::new());
}

#[test]
fn what_a_server_does_not_take_is_refused_before_anything_is_queued() {
    let server = Server::start(&[]);
    let project = Project::of(&[
        ("load.json", &load()),
        (
            "p.yaml",
            "steps:\n  one:\n    workflow: load.json\n    set:\n      Photo: { image: \"{{ file('large.png') }}\" }\n",
        ),
    ]);
    let file = std::fs::File::create(project.path().join("large.png")).unwrap();
    file.set_len(120 << 20).unwrap();
    let done = project
        .kiln(&["run", "p.yaml", "--server", &server.url])
        .code(3);
    insta::assert_snapshot!(settled(&done.stderr, project.path()));
}

#[test]
fn the_limits_of_the_cloud_are_known_without_asking_it() {
    let project = Project::of(&[
        ("load.json", &load()),
        (
            "kiln.yaml",
            "servers:\n  cloud: { kind: cloud, url: \"http://127.0.0.1:9\", api_key: \"{{ secret('K') }}\" }\n",
        ),
        (
            "p.yaml",
            "steps:\n  long: { workflow: load.json, server: cloud, set: { Photo: { image: \"{{ file('long.png') }}\" } } }\n  many: { workflow: load.json, server: cloud, set: { Photo: { image: \"{{ file('many.png') }}\" } } }\n",
        ),
    ]);
    project.file("long.png", head(16_385, 2));
    project.file("many.png", head(8_001, 8_000));
    let mut command = project.command(&["check", "p.yaml"]);
    let done = finish(command.env("K", "x")).code(3);
    insta::assert_snapshot!(settled(&done.stderr, project.path()));
}
