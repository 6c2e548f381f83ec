//! What the papers promise: commands are typed, their output is compared, YAML is checked.

use crate::support::{finish, kiln, repository};

/// Fenced blocks of a Markdown text: their language and their lines.
pub(crate) fn blocks(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some("")) => found.extend(open.take()),
            (Some((_, body)), _) => {
                body.push_str(line);
                body.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

#[test]
fn every_console_block_of_the_readme_shows_what_kiln_prints() {
    let readme = repository().join("README.md");
    let text = std::fs::read_to_string(&readme).unwrap();
    let mut fresh = text.clone();
    let mut typed = 0;
    for (language, body) in blocks(&text) {
        if language != "console" {
            continue;
        }
        let (command, shown) = body.split_once('\n').unwrap();
        let words: Vec<&str> = command
            .strip_prefix("$ kiln ")
            .unwrap()
            .split(' ')
            .collect();
        let done = finish(kiln().args(&words).current_dir(repository()));
        let printed = format!("{}{}", done.stdout, done.stderr);
        typed += 1;
        if printed.trim_end() != shown.trim_end() {
            fresh = fresh.replace(&body, &format!("{command}\n{}\n", printed.trim_end()));
        }
    }
    assert!(typed >= 2, "{typed}");
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::write(&readme, &fresh).unwrap();
    } else {
        assert!(
            fresh == text,
            "README.md shows old output: KILN_BLESS=1 cargo test readme\n{fresh}"
        );
    }
}

#[test]
fn the_readme_names_the_two_commands() {
    let text = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let shell: Vec<String> = blocks(&text)
        .into_iter()
        .filter(|(l, _)| l == "sh")
        .map(|(_, body)| body)
        .collect();
    assert!(shell.contains(&"cargo run --release -- run pipelines/quickstart.yaml\n".to_owned()));
    assert!(shell.contains(&"cargo test --workspace\n".to_owned()));
    let gate = std::fs::read_to_string(repository().join(".ci/run")).unwrap();
    assert!(
        gate.contains("\ncargo test --workspace\n")
            && gate.contains("\ncargo run --release -- run pipelines/quickstart.yaml\n")
    );
}

#[test]
fn files_that_the_papers_link_to_exist() {
    let mut papers = vec![
        repository().join("README.md"),
        repository().join("ARCHITECTURE.md"),
    ];
    papers.extend(
        std::fs::read_dir(repository().join("docs/guide"))
            .unwrap()
            .map(|e| e.unwrap().path()),
    );
    for paper in papers {
        let text = std::fs::read_to_string(&paper).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if !link.starts_with("http") && !link.starts_with('#') {
                let file = link.split('#').next().unwrap_or(link);
                let target = paper.parent().unwrap().join(file);
                assert!(target.exists(), "{}: {link}", paper.display());
            }
        }
    }
}

#[test]
fn init_makes_a_project_that_runs() {
    let project = crate::support::Project::new();
    let made = project.kiln(&["init", "mine"]).ok();
    made.says("kiln run mine/pipeline.yaml");
    project
        .kiln(&["check", "mine/pipeline.yaml", "--deny", "warnings"])
        .ok();
    let done = project.kiln(&["run", "mine/pipeline.yaml"]).ok();
    assert!(
        done.stdout.lines().any(|l| l.ends_with("/glow/hello.png")),
        "{}",
        done.stdout
    );

    // A second init changes nothing.
    project.file("mine/pipeline.yaml", "mine now");
    let again = project.kiln(&["init", "mine"]).ok();
    again.says("left  mine/pipeline.yaml");
    assert_eq!(
        std::fs::read_to_string(project.path().join("mine/pipeline.yaml")).unwrap(),
        "mine now"
    );
}
