//! Many tasks from one step: which there are, what they are called, in which order their results come.

use super::{count, ended, latest, names, project, run, status, text};

/// The names of all tasks of a step that ended.
fn tasks(events: &[serde_json::Value], step: &str) -> Vec<String> {
    let ends = events.iter().filter(|e| e["event"] == "task_finished");
    let names = ends.map(|e| e["task"].as_str().unwrap());
    let mut names: Vec<String> = names
        .filter(|name| name.split('[').next() == Some(step))
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

#[test]
fn a_matrix_excludes_first_and_then_includes_and_its_first_key_is_slowest() {
    let project = project(
        r#"steps:
  draw:
    matrix:
      style: [photo, ink]
      i: "{{ range(3) }}"
      exclude: [{ style: ink, i: 0 }, { i: 1 }]
      include: [{ style: sketch, i: 9 }, { style: ink, i: 0 }]
    command: [echo, "{{ matrix.style }}{{ matrix.i }}"]
  all: { command: [echo, "{{ steps.draw.texts | join(' ') }}"] }
  only:
    matrix: { include: [{ size: 8, name: small }, { size: 99, name: large }] }
    command: [echo, "{{ matrix.name }} {{ matrix.size }}"]
"#,
    );
    let events = run(&project, &[], 0);
    assert_eq!(text(&events, "all"), "photo0 photo2 ink2 sketch9 ink0");
    assert_eq!(
        tasks(&events, "draw"),
        [
            "draw[style=ink,i=0]",
            "draw[style=ink,i=2]",
            "draw[style=photo,i=0]",
            "draw[style=photo,i=2]",
            "draw[style=sketch,i=9]"
        ]
    );
    assert_eq!(text(&events, "only[size=99,name=large]"), "large 99");
}

#[test]
fn for_each_and_matrix_multiply_with_the_items_outermost() {
    let project = project(
        r#"steps:
  both:
    for_each: [x, y]
    matrix: { k: [1, 2, 3], exclude: [{ k: 2 }] }
    command: [echo, "{{ item }}{{ matrix.k }}/{{ task.index }}"]
  all: { command: [echo, "{{ steps.both.texts | join(' ') }}"] }
  after:
    for_each: steps.both
    matrix: { s: [a, b] }
    command: [echo, "{{ item.item }}{{ item.matrix.k }}{{ matrix.s }}"]
  end: { command: [echo, "{{ steps.after.texts | join(' ') }}"] }
"#,
    );
    let events = run(&project, &[], 0);
    assert_eq!(text(&events, "all"), "x1/0 x3/1 y1/2 y3/3");
    assert_eq!(text(&events, "end"), "x1a x1b x3a x3b y1a y1b y3a y3b");
    assert_eq!(text(&events, "after[both[x,k=3],s=b]"), "x3b");
}

#[test]
fn tasks_are_called_by_short_scalars_and_else_by_their_index() {
    let long = "a word that is longer than forty characters are";
    let project = project(&format!(
        r#"params: {{ words: {{ type: list, default: [tea pot, "{long}"] }} }}
steps:
  words: {{ for_each: params.words, command: [echo, "{{{{ item }}}}"] }}
  maps: {{ for_each: [{{ a: 1 }}, {{ a: 2 }}], command: [echo, "{{{{ item.a }}}}"] }}
  lists: {{ matrix: {{ size: [[1, 2], [3, 4]], on: [true] }}, command: [echo, "{{{{ matrix.size | join('x') }}}}"] }}
  numbers: {{ for_each: "{{{{ [1, 2.5, true] }}}}", command: [echo, "{{{{ item }}}}"] }}
  same: {{ for_each: [a, a], command: [echo, "{{{{ task.name }}}}"] }}
  files: {{ for_each: "glob('*.json')", command: [basename, "{{{{ item }}}}"] }}
"#
    ));
    let events = run(&project, &[], 0);
    assert_eq!(tasks(&events, "words"), ["words[1]", "words[tea pot]"]);
    assert_eq!(text(&events, "words[1]"), long);
    assert_eq!(tasks(&events, "maps"), ["maps[0]", "maps[1]"]);
    assert_eq!(text(&events, "lists[size=1,on=true]"), "3x4");
    assert_eq!(tasks(&events, "numbers").len(), 3);
    assert_eq!(text(&events, "numbers[2.5]"), "2.5");
    let same = tasks(&events, "same");
    assert_eq!(same.len(), 2);
    assert_ne!(same[0], same[1], "names are never shared");
    assert_eq!(text(&events, "files[0]"), "card.json", "globs are sorted");
    assert_eq!(text(&events, "files[1]"), "words.json");
}

#[test]
fn a_list_of_pictures_streams_and_each_knows_where_it_is_from() {
    let project = project(
        r#"steps:
  draw:
    workflow: card.json
    matrix: { n: [2, 1] }
    set: { Card: { batch_size: "{{ matrix.n }}" } }
  each:
    for_each: steps.draw.images
    command: [echo, "{{ item.task }} {{ item.kind }} {{ item.node }} {{ item.size > 60 }}"]
  named:
    for_each: steps.pair.outputs.a.images
    command: [echo, "{{ item.output }}"]
  pair: { workflow: card.json, outputs: { a: Save } }
  all: { command: [echo, "{{ steps.each.texts | join(',') }}"] }
"#,
    );
    let events = run(&project, &[], 0);
    assert_eq!(
        text(&events, "all"),
        "draw[n=2] image 9 true,draw[n=2] image 9 true,draw[n=1] image 9 true"
    );
    assert_eq!(tasks(&events, "each").len(), 3);
    assert_eq!(text(&events, "named[pair,0]"), "a");
    let plan = project
        .kiln(&["plan", "p.yaml", "--output", "mermaid"])
        .ok();
    assert!(plan.stdout.contains("each"), "{}", plan.stdout);
}

#[test]
fn anything_but_a_path_waits_for_the_whole_step() {
    let project = project("");
    let log = project.path().join("log");
    project.file(
        "p.yaml",
        format!(
            r#"max_parallel: 1
steps:
  base: {{ matrix: {{ i: [0, 1, 2] }}, command: [sh, -c, "echo base >> {log}; echo {{{{ matrix.i }}}}"] }}
  rest: {{ for_each: "steps.base.texts | reverse", command: [sh, -c, "echo rest >> {log}; echo {{{{ item }}}}"] }}
  all: {{ command: [echo, "{{{{ steps.rest.texts }}}}"] }}
"#,
            log = log.display()
        ),
    );
    let events = run(&project, &[], 0);
    assert_eq!(
        std::fs::read_to_string(log).unwrap(),
        "base\nbase\nbase\nrest\nrest\nrest\n"
    );
    assert_eq!(text(&events, "all"), "2 1 0");
}

#[test]
fn an_empty_list_skips_its_step_and_what_needs_it() {
    let project = project(
        r#"steps:
  none: { for_each: "glob('*.nothing')", command: [echo, x] }
  after: { command: [echo, "{{ steps.none.texts }}"] }
  list: { command: [echo, "[]"] }
  grown: { for_each: "steps.list.data | list", command: [echo, x] }
  told:
    command: [echo, "{{ steps.none.status }} {{ steps.grown.status }} {{ steps.grown.texts | length }}"]
    needs: [{ step: none, optional: true }, { step: grown, optional: true }]
"#,
    );
    let events = run(&project, &[], 0);
    assert_eq!(status(&events, "after"), "skipped");
    assert_eq!(text(&events, "told"), "skipped skipped 0");
    assert_eq!(count(&events, "task_started"), 2);
}

#[test]
fn a_chain_of_streams_sees_every_task_before_it() {
    let steps = |last: &str| {
        format!(
            r#"steps:
  draw: {{ workflow: card.json, matrix: {{ c: [255, 65280] }}, set: {{ Card: {{ color: "{{{{ matrix.c }}}}" }} }} }}
  weigh: {{ for_each: steps.draw, command: [sh, -c, "wc -c < '{{{{ item.image }}}}'"] }}
  tell: {{ for_each: steps.weigh, command: [echo, "{{{{ item.item.matrix.c }}}} {{{{ item.item.image.kind }}}} {{{{ item.item.name }}}}{last}"] }}
  sum: {{ command: [echo, "{{{{ steps.tell.tasks | map(attribute='item.item.matrix.c') | sum }}}}"] }}
"#
        )
    };
    let project = project(&steps(""));
    let events = run(&project, &[], 0);
    let told = "tell[weigh[draw[c=65280]]]";
    assert_eq!(text(&events, told), "65280 image draw[c=65280]");
    assert_eq!(text(&events, "sum"), "65535");
    let events = run(&project, &["--only", "tell"], 0);
    assert_eq!(text(&events, told), "65280 image draw[c=65280]");
    assert_eq!(ended(&events, told)["status"], "done");
}

#[test]
fn files_of_many_tasks_keep_apart_or_count_up_with_a_warning() {
    let project = project(
        r#"steps:
  known: { workflow: card.json, matrix: { i: [1, 2] }, save_as: "{{ matrix.i }}/{{ file.index }}" }
  later: { for_each: steps.known, workflow: card.json, set: { Card: { width: "{{ 8 * item.matrix.i }}" } }, save_as: "{{ item.image.kind }}" }
"#,
    );
    let events = run(&project, &[], 0);
    assert_eq!(names(&latest(&project).join("known")), ["1", "2"]);
    assert_eq!(names(&latest(&project).join("known/2")), ["0.png"]);
    assert_eq!(
        names(&latest(&project).join("later")),
        ["image-2.png", "image.png"]
    );
    let warned = events.iter().filter(|e| e["event"] == "task_warning");
    let codes: Vec<&serde_json::Value> = warned.map(|e| &e["diagnostic"]["code"]).collect();
    assert_eq!(codes, ["K0509"]);
    project.file(
        "p.yaml",
        "steps:\n  known: { workflow: card.json, matrix: { i: [1, 2] }, save_as: same }\n",
    );
    let refused = project.kiln(&["run", "p.yaml"]).code(3);
    assert!(
        refused.stderr.contains("error[K0120]"),
        "{}",
        refused.stderr
    );
}
