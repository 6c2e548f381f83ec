//! What tasks make, as later steps and people find it: accessors, artifacts, names of files, folders, functions.

use serde_json::json;

use super::{complaint, count, latest, names, picture, png, project, record, run, status, text};

#[test]
fn a_step_a_task_and_an_output_have_the_same_accessors() {
    let workflow = json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 2, "color": 255}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}, "_meta": {"title": "Look"}},
        "4": {"class_type": "PreviewAny", "inputs": {"source": "{\"score\": 0.5}"}, "_meta": {"title": "Say"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "pair"}, "_meta": {"title": "Save"}}
    });
    let project = project(
        r#"steps:
  pair: { workflow: w.json }
  look: { workflow: w.json, outputs: { look: Look, say: Say } }
  only: { workflow: only.json }
  tool: { command: [sh, -c, "echo hi; echo 1 > a.txt; echo 2 > b.dat"], outputs: { a: a.txt, b: b.dat } }
  counts: { command: [echo, "{{ steps.pair.files | length }} {{ steps.pair.images | length }} {{ steps.pair.texts | length }} {{ steps.pair.videos }}{{ steps.pair.audios }}{{ steps.pair.models3d }}"] }
  data: { command: [echo, "{{ steps.pair.data.score }} {{ steps.pair.text }} {{ steps.look.outputs.say.data.score }}"] }
  temp: { command: [echo, "{{ steps.look.outputs.look.images | length }} {{ steps.only.image.kind }} {{ steps.pair.images | map(attribute='node') | unique }}"] }
  task: { command: [echo, "{{ steps.pair.tasks[0].images | length }} {{ steps.pair.tasks[0].name }} {{ steps.pair.tasks[0].index }} {{ steps.pair.tasks[0].status }} {{ steps.pair.status }} {{ steps.look.tasks[0].outputs.say.text | length }}"] }
  tools: { command: [echo, "{{ steps.tool.text }} {{ steps.tool.files | length }} {{ steps.tool.outputs.a.text | trim }} {{ steps.tool.outputs.b.file.kind }} {{ steps.tool.file | default('x') if false else 'y' }}"] }
  two: { command: [echo, "{{ steps.pair.image }}"] }
  no: { command: [echo, "{{ steps.pair.video }}"] }
"#,
    );
    project.file("w.json", workflow.to_string());
    let mut only = workflow.clone();
    only.as_object_mut()
        .unwrap()
        .retain(|id, _| id == "1" || id == "3");
    only["1"]["inputs"]["batch_size"] = json!(1);
    project.file("only.json", only.to_string());
    let events = run(&project, &["--keep-going"], 4);
    assert_eq!(text(&events, "counts"), "2 2 1 [][][]");
    assert_eq!(text(&events, "data"), "0.5 {\"score\": 0.5} 0.5");
    assert_eq!(text(&events, "temp"), "2 image [\"9\"]");
    assert_eq!(text(&events, "task"), "2 pair 0 done done 14");
    assert_eq!(text(&events, "tools"), "hi 2 1 other y");
    let two = complaint(&events, "two");
    assert!(two.contains("`.image` takes exactly one"), "{two}");
    let no = complaint(&events, "no");
    assert!(no.contains("`steps.pair` made no video"), "{no}");
}

#[test]
fn an_artifact_tells_of_itself() {
    let project = project(
        r#"steps:
  draw: { workflow: card.json, matrix: { i: [1] }, outputs: { final: Save }, save_as: "pictures/card-{{ matrix.i }}" }
  told:
    command: [printf, "%s\n", "{{ item.name }}", "{{ item.kind }}", "{{ item.node }}", "{{ item.meta }}", "{{ item.task }}", "{{ item.output }}", "{{ item.size > 60 }}", "{{ item.path | basename }}", "{{ item | stem }}"]
    for_each: steps.draw.images
"#,
    );
    let events = run(&project, &[], 0);
    assert_eq!(
        text(&events, "told[draw[i=1],0]"),
        "card_00001_.png\nimage\n9\n{}\ndraw[i=1]\nfinal\ntrue\ncard-1.png\ncard_00001_"
    );
    assert_eq!(
        names(&latest(&project).join("draw/pictures")),
        ["card-1.png"]
    );
}

#[test]
fn a_file_is_its_path_for_programs_and_an_error_inside_other_text() {
    let project = project(
        r#"steps:
  draw: { workflow: card.json }
  paths:
    command: [sh, -c, "cmp \"$1\" \"$ONE\" && cmp \"${2#in=}\" \"$ONE\" && cat > said.txt", x, "{{ steps.draw.image }}", "in={{ steps.draw.image }}"]
    env: { ONE: "{{ steps.draw.image }}" }
    stdin: "{{ steps.draw.image }} and {{ steps.draw.images }}"
    outputs: { said: said.txt }
  melted: { workflow: words.json, set: { Words: { string_a: "see {{ steps.draw.image }}" } } }
  name: { workflow: words.json, set: { Words: { string_a: "see {{ steps.draw.image.name }}" } } }
  saved: { command: [sh, -c, "echo x > a.txt"], outputs: { a: a.txt }, save_as: "{{ steps.draw.image }}" }
"#,
    );
    let events = run(&project, &["--keep-going"], 4);
    let path = latest(&project)
        .canonicalize()
        .unwrap()
        .join("draw/card_00001_.png");
    let said = std::fs::read_to_string(latest(&project).join("paths/said.txt")).unwrap();
    let path = path.display();
    assert_eq!(said, format!("{path} and [\"{path}\"]"));
    let melted = complaint(&events, "melted");
    assert!(
        melted.contains("`card_00001_.png` stands inside longer text"),
        "{melted}"
    );
    assert_eq!(text(&events, "name"), "see card_00001_.png-b");
    assert_eq!(status(&events, "saved"), "failed");
}

#[test]
fn a_text_is_its_string_and_is_never_uploaded() {
    let project = project(
        r#"steps:
  say: { workflow: words.json }
  use: { workflow: words.json, set: { Words: { string_a: "{{ steps.say.text }}" } } }
  list: { workflow: words.json, set: { Words: { string_a: "{{ steps.say.texts }}" } } }
"#,
    );
    let events = run(&project, &["--to", "use"], 0);
    assert_eq!(text(&events, "use"), "a-b-b");
    assert_eq!(count(&events, "task_uploaded"), 0);
    assert!(!latest(&project).join("say").exists(), "a text is no file");
}

#[test]
fn a_mask_becomes_the_alpha_of_a_picture_of_its_size() {
    let load = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}, "_meta": {"title": "Photo"}},
        "2": {"class_type": "MaskToImage", "inputs": {"mask": ["1", 1]}},
        "8": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "photo"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "mask"}}
    });
    let project = project(
        r#"params: { mask: { type: file, default: white.png } }
steps:
  cut: { workflow: load.json, set: { Photo: { image: "{{ mask(params.mask, of=file('red.png')) }}" } }, save_as: "{{ file.name }}" }
"#,
    );
    project.file("load.json", load.to_string());
    project.file("red.png", png(8, 8, [200, 0, 0]));
    project.file("white.png", png(8, 8, [255; 3]));
    project.file("black.png", png(8, 8, [0; 3]));
    project.file("small.png", png(4, 4, [255; 3]));
    let seen = |name: &str| {
        let path = latest(&project)
            .join("cut")
            .join(format!("{name}_00001_.png"));
        picture(&path).get_pixel(3, 3).0
    };
    run(&project, &[], 0);
    assert_eq!(
        (seen("photo"), seen("mask")),
        ([200, 0, 0], [255; 3]),
        "white is repainted"
    );
    run(&project, &["-p", "mask=black.png"], 0);
    assert_eq!((seen("photo"), seen("mask")), ([200, 0, 0], [0; 3]));
    let refused = project
        .kiln(&["run", "p.yaml", "-p", "mask=small.png"])
        .code(3);
    assert!(
        refused.stderr.contains("4×4") && refused.stderr.contains("8×8"),
        "{}",
        refused.stderr
    );
}

#[test]
fn save_as_sees_the_file_adds_its_extension_and_stays_in_its_folder() {
    let project = project(
        r#"params: { where: { type: string, default: a/b } }
steps:
  named: { command: [sh, -c, "echo 1 > x.txt; echo 2 > y.dat"], outputs: { text: x.txt, other: y.dat }, save_as: "{{ params.where }}/{{ file.index }}-{{ file.output }}-{{ file.kind }}" }
  given: { command: [sh, -c, "echo 1 > x.txt"], outputs: { t: x.txt }, save_as: page.md, needs: named }
  late: { command: [sh, -c, "echo 1 > x.txt"], outputs: { t: x.txt }, save_as: "{{ steps.say.text }}" }
  say: { command: [echo, "../../outside"] }
"#,
    );
    let events = run(&project, &["--keep-going"], 4);
    assert_eq!(
        names(&latest(&project).join("named/a/b")),
        ["0-text-text.txt", "1-other-other.dat"]
    );
    assert_eq!(names(&latest(&project).join("given")), ["page.md"]);
    let late = complaint(&events, "late");
    assert!(late.contains("`../../outside` leaves its folder"), "{late}");
    assert!(!project.path().join("outputs/p/outside.txt").exists());
    let refused = project
        .kiln(&["run", "p.yaml", "-p", "where=../up"])
        .code(4);
    assert!(
        refused.stderr.contains("leaves its folder"),
        "{}",
        refused.stderr
    );
}

#[test]
fn results_lie_under_the_run_and_latest_leads_to_the_newest() {
    let project = project("name: cups\nsteps:\n  draw: { workflow: card.json, cache: false }\n");
    for _ in 0..2 {
        project.kiln(&["run", "p.yaml"]).ok();
    }
    let folder = project.path().join("outputs/cups");
    let runs = names(&folder);
    let runs: Vec<&String> = runs.iter().filter(|n| n.contains('-')).collect();
    assert_eq!(runs.len(), 2, "{runs:?}");
    let newest = folder.join("latest").canonicalize().unwrap();
    let shown = project.kiln(&["show", "last"]).ok();
    let newest = newest.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(
        shown.stdout.contains(&newest) || shown.stderr.contains(&newest),
        "{}",
        shown.stdout
    );
    assert!(folder.join("latest/draw/card_00001_.png").exists());
}

#[test]
fn functions_read_what_is_there_and_what_steps_made() {
    let project = project(
        r#"steps:
  made: { command: [sh, -c, "printf 'name,n\nfox,1\n' > t.csv; printf '{\"a\": [1, 2]}' > d.json; printf 'b: {c: 3}' > d.yaml"], outputs: { csv: t.csv, json: d.json, yaml: d.yaml } }
  files: { command: [echo, "{{ read_text('in.txt') | trim }} {{ read_json('in.json').k }} {{ read_yaml('in.yaml').k }} {{ read_csv('in.csv')[1].b }} {{ exists('in.txt') }} {{ exists('no.txt') }} {{ glob('in.*') | map(attribute='name') }} {{ file('in.txt').size }}"] }
  artifacts: { command: [echo, "{{ read_csv(steps.made.outputs.csv.file)[0].name }} {{ read_json(steps.made.outputs.json.file).a[1] }} {{ read_yaml(steps.made.outputs.yaml.file).b.c }} {{ read_text(steps.made.outputs.csv.file) | length }} {{ exists(steps.made.outputs.csv.file) }}"] }
  filters: { command: [echo, "{{ 'Größe & Maß' | slug }} {{ 'a/b.png' | stem }} {{ 'a/b.png' | basename }} {{ '[1, 2]' | fromjson | last }} {{ '{a|a}' | wildcard(task.seed) }} {a|b}"] }
  about: { command: [echo, "{{ pipeline.name }} {{ task.name }} {{ task.index }} {{ task.attempt }} {{ run.id | length }} {{ now('%Y') | length }} {{ run.started_at == now() }} {{ env('LANGUAGE_TEST', 'none') }} {{ env('PATH') | length > 0 }}"] }
"#,
    );
    project.file("in.txt", "text\n");
    project.file("in.json", r#"{"k": 1}"#);
    project.file("in.yaml", "k: v\n");
    project.file("in.csv", "a,b\n1,2\n3,4\n");
    let events = run(&project, &["--keep-going"], 0);
    assert_eq!(
        text(&events, "files"),
        "text 1 v 4 true false [\"in.csv\",\"in.json\",\"in.txt\",\"in.yaml\"] 5"
    );
    assert_eq!(text(&events, "artifacts"), "fox 2 3 13 true");
    let filters = text(&events, "filters");
    assert_eq!(filters, "grosse-mass b b.png 2 a {a|b}");
    assert_eq!(text(&events, "about"), "p about 0 1 20 4 true none true");
}

#[test]
fn what_was_done_is_not_run_again_unless_somebody_says_so() {
    let project = project(
        r"steps:
  kept: { workflow: card.json, save_as: kept }
  never: { workflow: card.json, cache: false, set: { Card: { color: 1 } } }
  strict: { workflow: card.json, cache: strict, set: { Card: { color: 2 } } }
",
    );
    let ends = |flags: &[&str]| {
        let events = run(&project, flags, 0);
        ["kept", "never", "strict"].map(|task| status(&events, task).to_owned())
    };
    assert_eq!(ends(&[]), ["done", "done", "done"]);
    assert_eq!(ends(&[]), ["cached", "done", "cached"]);
    assert_eq!(ends(&["--force"]), ["done", "done", "done"]);
    // A file that is gone is put back from what was kept.
    let file = latest(&project).join("kept/kept.png");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ends(&[]), ["cached", "done", "cached"]);
    assert!(latest(&project).join("kept/kept.png").exists());
    assert_eq!(record(&project, "kept")["step"], "kept");
}
