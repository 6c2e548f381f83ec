//! Small promises of the language that are easily broken: texts that get names, warnings before a run, members of items.

use crate::support::{Project, Server, settled};

const CAPTION: &str = r#"{"1": {"class_type": "StringConcatenate", "inputs": {"string_a": "a", "string_b": "b", "delimiter": "-"}},
 "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}}"#;

fn project(pipeline: &str) -> Project {
    Project::of(&[("caption.json", CAPTION), ("p.yaml", pipeline)])
}

fn checked(pipeline: &str) -> String {
    let project = project(pipeline);
    let done = project.kiln(&["check", "p.yaml"]);
    settled(&done.stderr, project.path())
}

#[test]
fn a_result_that_is_only_text_is_saved_where_save_as_says() {
    let steps = |name: &str| {
        format!(
            r#"steps:
  say: {{ command: [printf, "hello\n\n"], save_as: greeting }}
  both: {{ command: [sh, -c, "echo told; echo kept > a.txt"], outputs: {{ a: a.txt }}, save_as: both }}
  caption: {{ workflow: caption.json, save_as: "{name}" }}
  use:
    command: [printf, "%s|%s|%s", "{{{{ steps.say.text }}}}", "{{{{ steps.caption.text }}}}", "{{{{ steps.both.text }}}}"]
    save_as: all.md
  data: {{ command: [cat, "{{{{ steps.use.file }}}}"], save_as: "{{{{ file.kind }}}}-{{{{ file.name }}}}" }}
"#
        )
    };
    let project = project(&steps("deep/caption"));
    let done = project.kiln(&["run", "p.yaml"]).ok();
    assert_eq!(project.result("say/greeting.txt"), "hello\n");
    assert_eq!(project.result("both/both.txt"), "kept\n");
    assert_eq!(project.result("caption/deep/caption.txt"), "a-b");
    assert_eq!(project.result("use/all.md"), "hello\n|a-b|told");
    assert_eq!(project.result("data/text-stdout.txt"), "hello\n|a-b|told");
    assert!(done.stdout.contains("say/greeting.txt"), "{}", done.stdout);

    // The text is what was made before, and its new name is no reason to make it again.
    project.file("p.yaml", steps("other"));
    let done = project.kiln(&["run", "p.yaml"]).ok();
    assert_eq!(project.result("caption/other.txt"), "a-b");
    assert!(
        done.stderr.contains("1 cached") || done.stderr.contains("2 cached"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_secret_in_a_graph_is_warned_of() {
    insta::assert_snapshot!(checked(
        "steps:\n  a:\n    workflow: caption.json\n    set: { StringConcatenate: { string_a: \"x {{ secret('PATH') }}\", string_b: \"{{ steps.b.text }} {{ secret('PATH') }}\" } }\n  b: { command: [echo] }\n"
    ));
}

#[test]
fn a_program_that_is_not_in_path_is_warned_of_before_the_run() {
    let told =
        checked("steps:\n  a: { command: [kiln-no-such-program, x] }\n  b: { command: [echo] }\n");
    assert!(
        told.contains(
            "warning[K0511]: there is no program `kiln-no-such-program` in PATH\n --> p.yaml:2:18"
        ),
        "{told}"
    );
}

#[test]
fn members_of_items_and_of_results_are_checked_before_the_run() {
    let told = checked(
        r#"steps:
  a: { command: [echo, x] }
  tasks: { command: [echo, "{{ item.imge }}", "{{ item.matrix.i }}", "{{ item.text }}"], for_each: steps.a }
  files: { command: [echo, "{{ item.pth }}", "{{ item.name }}", "{{ item }}"], for_each: steps.a.images }
  texts: { command: [echo, "{{ item }}"], for_each: steps.a.texts }
  maps: { command: [echo, "{{ item.a }}"], for_each: [{ a: 1 }] }
  again: { command: [echo], retry: { attempts: 2, until: "result.txt == 'x'" } }
"#,
    );
    for (line, name, near) in [
        (3, "item.imge", "item.image"),
        (4, "item.pth", "item.path"),
        (7, "result.txt", "result.text"),
    ] {
        assert!(
            told.contains(&format!("`{name}` is not defined\n --> p.yaml:{line}:")),
            "{told}"
        );
        assert!(told.contains(&format!("did you mean `{near}`?")), "{told}");
    }
    assert!(told.contains("3 errors;"), "{told}");
}

const WRITTEN_OUT: &str = r#"default_server: studio
servers:
  studio: { url: "URL", token: tok-written-out, headers: { X-Team: "hdr-written-out" } }
partner_api_key: 'key-written-out'
"#;

#[test]
fn secrets_that_are_written_out_in_the_project_file_are_sent_and_neither_stored_nor_shown() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = vec![0; 4096];
            let length = std::io::Read::read(&mut stream, &mut request).unwrap();
            let _ = sender.send(String::from_utf8_lossy(&request[..length]).into_owned());
            let answer =
                "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
        }
    });
    let project = project("steps:\n  a: { workflow: caption.json, template: false }\n");
    project.file("kiln.yaml", WRITTEN_OUT.replace("URL", &url));
    let refused = project.kiln(&["run", "p.yaml"]);
    let request = requests
        .recv_timeout(std::time::Duration::from_mins(1))
        .unwrap()
        .to_lowercase();
    assert!(request.contains("bearer tok-written-out"), "{request}");
    assert!(request.contains("x-team: hdr-written-out"), "{request}");
    let told = format!("{}{}", refused.stdout, refused.stderr);
    assert!(!told.contains("written-out"), "{told}");

    let server = Server::start(&[]);
    project.file("kiln.yaml", WRITTEN_OUT.replace("URL", &server.url));
    project.kiln(&["run", "p.yaml"]).ok();
    for entry in walkdir::WalkDir::new(project.path()) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() && entry.file_name() != "kiln.yaml" {
            let bytes = std::fs::read(entry.path()).unwrap();
            let found = bytes.windows(11).any(|window| window == b"written-out");
            assert!(!found, "{} holds a secret", entry.path().display());
        }
    }

    // A mistake on the same line is shown without it, also where it keeps the server from being read.
    let wrong = WRITTEN_OUT
        .replace("URL", "nowhere")
        .replace("X-Team", "X Team");
    project.file("kiln.yaml", wrong);
    for args in [["check", "p.yaml"], ["plan", "p.yaml"]] {
        let told = project.kiln(&args);
        let told = format!("{}{}", told.stdout, told.stderr);
        assert!(told.contains("token: ***************, headers"), "{told}");
        assert!(!told.contains("written-out"), "{told}");
    }
}
