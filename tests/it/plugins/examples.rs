//! The plugins that people keep, in the pipelines that show them.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::library;
use crate::support::{Project, files, finish, repository};

/// The example project, with the libraries that were built with the tests.
fn examples() -> Project {
    let project = Project::new();
    // Whoever tried them left results there.
    let left =
        |entry: &walkdir::DirEntry| entry.file_name() == ".kiln" || entry.file_name() == "outputs";
    let all = walkdir::WalkDir::new(repository().join("pipelines")).into_iter();
    for entry in all.filter_entry(|entry| !left(entry)) {
        let entry = entry.unwrap();
        let inside = entry.path().strip_prefix(repository()).unwrap();
        if entry.file_type().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            project.file(&inside.display().to_string(), bytes);
        }
    }
    let file = project.path().join("pipelines/plugins/kiln.yaml");
    let mut text = std::fs::read_to_string(&file).unwrap();
    for name in [
        "watermark",
        "sidecar",
        "contact-sheet",
        "quality-gate",
        "webhook",
    ] {
        let built = library(&format!("kiln_{}", name.replace('-', "_")));
        let path = format!("path: ../../plugins/{name}");
        assert!(text.contains(&path), "{name} is shown in no example");
        text = text.replace(&path, &format!("path: {}", built.display()));
    }
    std::fs::write(&file, text).unwrap();
    project
}

/// Listens for as many requests, and gives what was sent.
fn listen(count: usize) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let heard = std::thread::spawn(move || {
        (0..count)
            .map(|_| {
                let (mut stream, _) = listener.accept().unwrap();
                let (mut bytes, mut piece) = (Vec::new(), vec![0; 65536]);
                loop {
                    let n = stream.read(&mut piece).unwrap();
                    bytes.extend_from_slice(&piece[..n]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    if n == 0 || text.ends_with('}') {
                        write!(
                            stream,
                            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                        )
                        .unwrap();
                        return text;
                    }
                }
            })
            .collect()
    });
    (url, heard)
}

#[test]
fn gallery_marks_describes_and_shows_every_picture_and_tells_of_it() {
    let project = examples();
    let (url, heard) = listen(2);
    let pipeline = "pipelines/plugins/gallery.yaml";
    project
        .kiln(&["check", pipeline, "--deny", "warnings"])
        .ok();
    let done = finish(project.command(&["run", pipeline]).env("HOOK_URL", &url)).ok();
    done.says_not("warning");
    let latest = project
        .path()
        .join("pipelines/plugins/outputs/gallery/latest");
    let made = files(&latest.join("develop"));
    assert_eq!(
        made.len(),
        12,
        "four pictures, each with two sidecars: {made:?}"
    );
    let xmp = std::fs::read_to_string(latest.join("develop/coffee-240.xmp")).unwrap();
    assert!(xmp.contains("kiln:pipeline=\"gallery\""), "{xmp}");
    let sheet = image::open(latest.join("sheet/gallery.png")).unwrap();
    assert_eq!(sheet.width(), 2 * 212 + 12);
    let bodies = heard.join().unwrap();
    assert!(
        bodies[0].contains(r#""event":"run_started""#),
        "{}",
        bodies[0]
    );
    assert!(
        bodies[1].contains(r#""event":"run_finished""#),
        "{}",
        bodies[1]
    );
    // The mark is on the picture: without it the corner is another one.
    let marked = image::open(latest.join("develop/coffee-480.png"))
        .unwrap()
        .to_rgb8();
    let text = std::fs::read_to_string(project.path().join("pipelines/plugins/kiln.yaml")).unwrap();
    project.file(
        "pipelines/plugins/kiln.yaml",
        text.replace("opacity: 0.6", "opacity: 0"),
    );
    project.kiln(&["run", pipeline, "--to", "develop"]).ok();
    let plain = image::open(latest.join("develop/coffee-480.png"))
        .unwrap()
        .to_rgb8();
    assert_ne!(marked, plain);
    assert_eq!(marked.get_pixel(5, 5), plain.get_pixel(5, 5));
}

#[test]
fn keepers_are_softened_less_until_they_are_sharp_enough() {
    let project = examples();
    let pipeline = "pipelines/plugins/keepers.yaml";
    project
        .kiln(&["check", pipeline, "--deny", "warnings"])
        .ok();
    let done = project.kiln(&["run", pipeline, "--output", "json"]).ok();
    let events = done.json_lines();
    let retried = events
        .iter()
        .filter(|event| event["event"] == "task_retried")
        .count();
    assert!(
        (1..4).contains(&retried),
        "{retried} attempts were not good enough"
    );
    let latest = project
        .path()
        .join("pipelines/plugins/outputs/keepers/latest");
    assert_eq!(files(&latest.join("keep")), ["contact-sheet.png"]);
    // Nothing is sharp enough for this one.
    let done = project.kiln(&["run", pipeline, "-p", "sharp=1"]).code(4);
    done.says("error[K0513]");
}
