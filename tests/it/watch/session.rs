//! What a watch says, waits for and obeys.

use std::sync::atomic::Ordering;

use super::watched::{Watched, runs};
use crate::support::proxy::Proxy;
use crate::support::{CARD, Project, Server, settled, signal, wait_for};

const STEPS: &str = r#"params: { shade: { type: integer, default: 7 } }
steps:
  card: { workflow: card.json, set: { Card: { color: "{{ params.shade + matrix.n }}", width: 20 } }, matrix: { n: [1, 2, 3] }, save_as: "card-{{ matrix.n }}" }
  sum:
    command: [sh, -c, "cat \"$@\" | cksum > out.txt", sh, "{{ steps.card.images }}"]
    outputs: { text: out.txt }
  other: { workflow: other.json }
"#;

fn project() -> Project {
    Project::of(&[
        ("kiln.yaml", "default_server: embedded\n"),
        ("card.json", CARD),
        ("other.json", &CARD.replace("4160", "5")),
        ("p.yaml", STEPS),
    ])
}

#[test]
fn a_line_says_what_changed_what_runs_again_and_why_and_what_stays() {
    let project = project();
    let mut watched = Watched::start(&project, &["p.yaml"]);
    watched.says("done in");
    let line = |watched: &mut Watched| {
        let heard = watched.says("↻");
        heard.lines().last().unwrap().to_owned()
    };
    project.file("p.yaml", STEPS.replace("width: 20", "width: 24"));
    assert_eq!(
        line(&mut watched),
        "↻ p.yaml · card (3 tasks): set Card.width 20 → 24 · then sum · 1 stays"
    );
    watched.says("done in");
    project.file("p.yaml", STEPS.replace("default: 7", "default: 17"));
    assert_eq!(
        line(&mut watched),
        "↻ p.yaml · card (3 tasks): set Card.color 8 → 18, … · then sum · 1 stays"
    );
    watched.says("done in");
    project.file("other.json", CARD.replace("4160", "6"));
    assert_eq!(
        line(&mut watched),
        "↻ other.json · other: Card.color 5 → 6 · 4 stay"
    );
    watched.says("done in");
    project.file(
        "p.yaml",
        format!(
            "# said twice\n{}",
            STEPS.replace("default: 7", "default: 17")
        ),
    );
    assert_eq!(line(&mut watched), "↻ p.yaml · nothing runs again · 5 stay");
    project.file("other.json", CARD.replace("4160", "5"));
    project.file("card.json", CARD.replace("48", "50"));
    let heard = line(&mut watched);
    let expected =
        "↻ card.json, other.json · card (3 tasks): Card.height 48 → 50 · then sum · 1 stays";
    assert_eq!(heard, expected, "the other picture was made before");
    watched.says("done in");
    watched.end();
    assert_eq!(runs(&project), 5);
}

#[test]
fn the_first_words_of_a_watch_and_the_last_ones() {
    let project = project();
    let mut watched = Watched::start(&project, &["p.yaml"]);
    let heard = watched.says("done in");
    assert!(heard.starts_with("watching 4 files\n"), "{heard}");
    assert_eq!(watched.end(), 130);
    let mut again = Watched::start(&project, &["p.yaml"]);
    again.says("nothing to do: 5 tasks done before");
    signal(&again.child, "-TERM");
    let status = wait_for("the end", || again.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(143));
    assert_eq!(runs(&project), 1);
}

#[test]
fn random_seeds_are_drawn_once_for_the_watch() {
    let project = project();
    project.file(
        "p.yaml",
        STEPS
            .replace(
                "{ type: integer, default: 7 }",
                "{ type: seed, default: random }",
            )
            .replace("params.shade +", "params.shade % 1000 +"),
    );
    let mut watched = Watched::start(&project, &["p.yaml"]);
    watched.says("done in");
    project.file("other.json", CARD.replace("4160", "6"));
    let heard = watched.says("↻");
    assert!(
        heard.contains("other: Card.color 5 → 6 · 4 stay"),
        "{heard}"
    );
}

#[test]
fn several_pipelines_are_watched_at_once_and_each_line_says_whose_it_is() {
    let step = |text: &str| {
        format!(
            "steps:\n  say: {{ command: [sh, -c, \"cat $1 > out.txt\", sh, \"{{{{ file('{text}') }}}}\"], outputs: {{ text: out.txt }} }}\n"
        )
    };
    let project = Project::of(&[
        ("kiln.yaml", ""),
        ("one.yaml", &step("a.txt")),
        ("other.yaml", &step("b.txt")),
        ("a.txt", "a"),
        ("b.txt", "b"),
    ]);
    let mut watched = Watched::start(&project, &["one.yaml", "other.yaml", "./one.yaml"]);
    wait_for("both to be done", || {
        (watched.said().matches("done in").count() == 2).then_some(())
    });
    let said = watched.said();
    let labelled = |line: &str| line.starts_with("one   │ ") || line.starts_with("other │ ");
    assert!(said.lines().all(labelled), "{said}");
    project.file("b.txt", "c");
    let heard = watched.says("↻ b.txt · say: ");
    assert!(
        heard.lines().last().unwrap().starts_with("other │ ↻"),
        "{heard}"
    );
    watched.says("done in");
    assert_eq!(watched.said().matches('↻').count(), 1);
    assert_eq!(watched.end(), 130);
}

#[test]
fn a_server_that_is_away_is_waited_for_quietly() {
    let server = Server::start(&[]);
    let (proxy, up) = Proxy::switched(&server.url, false);
    let project = project();
    let mut watched = Watched::start(&project, &["p.yaml", "--server", &proxy.url]);
    let heard = watched.says("waiting: ");
    let heard = settled(&heard, project.path());
    assert!(
        heard.contains("127.0.0.1:[port]") && !heard.contains("error["),
        "{heard}"
    );
    // Meanwhile files change, and only what they say in the end is run.
    project.file("other.json", CARD.replace("4160", "6"));
    watched.says("↻ other.json");
    up.store(true, Ordering::Relaxed);
    let heard = watched.says("done in");
    assert!(!heard.contains("waiting"), "it is said once: {heard}");
    assert!(heard.starts_with("it answers again: going on\n"), "{heard}");
    assert_eq!(watched.end(), 130);
    assert_eq!(runs(&project), 1);
}

#[test]
fn stdin_cannot_be_watched() {
    let project = project();
    let done = project.kiln(&["watch", "-"]).code(2);
    assert_eq!(
        done.stderr,
        "error: what comes through stdin does not change: give a file to watch\n"
    );
}
