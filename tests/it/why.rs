//! What runs again, what does not, and what `kiln plan` and `kiln show` say about it.

use serde_json::{Value, json};

use crate::support::{Done, Project, Server};

const PIPELINE: &str = r#"
params:
  size: { type: integer, default: 8 }
steps:
  base:
    workflow: base.json
    set: { EmptyImage: { width: "{{ params.size }}" } }
  small:
    workflow: small.json
    set: { LoadImage: { image: "{{ steps.base.image }}" } }
    save_as: small
"#;

/// The same for two pictures, the second step growing out of the first.
const FANNED: &str = r#"
params:
  size: { type: integer, default: 8 }
steps:
  base:
    workflow: base.json
    matrix: { i: [0, 1] }
    set: { EmptyImage: { width: "{{ params.size }}", color: "{{ matrix.i }}" } }
  small:
    workflow: small.json
    for_each: steps.base
    set: { LoadImage: { image: "{{ item.image }}" } }
    save_as: "small-{{ item.matrix.i }}"
"#;

fn base() -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "base"}}
    })
}

fn small() -> Value {
    json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
        "2": {"class_type": "ImageScaleBy", "inputs": {"image": ["1", 0], "upscale_method": "area", "scale_by": 0.5}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "small"}}
    })
}

fn project() -> Project {
    let project = Project::new();
    project.file("p.yaml", PIPELINE);
    project.file("base.json", base().to_string());
    project.file("small.json", small().to_string());
    project
}

/// The last part of `kiln plan`, with run ids made equal.
fn would(project: &Project, more: &[&str]) -> String {
    let Done { stdout, .. } = project.kiln(&[&["plan", "p.yaml"], more].concat()).ok();
    let at = stdout.find("would run").unwrap();
    let from = stdout[..at].rfind('\n').map_or(0, |at| at + 1);
    let run = regex_lite::Regex::new(r"\d{8}-\d{6}-[a-z0-9]{4}").unwrap();
    run.replace_all(&stdout[from..], "RUN").into_owned()
}

/// How many tasks of a run were cached, and how many ran.
fn counts(project: &Project, more: &[&str]) -> (u64, u64) {
    let args = [&["run", "p.yaml", "--output", "json"], more].concat();
    let done = project.kiln(&args).ok();
    let last = done.stdout.lines().last().unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    let count = |name: &str| last["counts"][name].as_u64().unwrap();
    (count("cached"), count("done"))
}

#[test]
fn before_anything_ran_every_task_would_run_and_nothing_is_written() {
    let project = project();
    assert_eq!(
        would(&project, &[]),
        "1 would run, 1 open until others ran
  base   runs     never ran
  small  open     waits for base (its inputs may change)
"
    );
    assert!(!project.path().join(".kiln").exists());
}

#[test]
fn what_was_done_is_cached_and_a_change_is_told_with_old_and_new() {
    let project = project();
    assert_eq!(counts(&project, &[]), (0, 2));
    assert_eq!(
        would(&project, &[]),
        "0 would run, 2 cached
  base   cached   from run RUN
  small  cached   from run RUN
"
    );
    assert_eq!(
        would(&project, &["-p", "size=10"]),
        "1 would run, 1 open until others ran
  base   runs     param size 8 → 10; EmptyImage.width 8 → 10
  small  open     waits for base (its inputs may change)
"
    );
    assert_eq!(counts(&project, &["-p", "size=10"]), (0, 2));
    assert_eq!(
        counts(&project, &[]),
        (2, 0),
        "what was made first is still there"
    );
}

/// Enough tasks for several threads.
const MANY: &str = r#"
params:
  more: { type: integer, default: 0 }
steps:
  base:
    workflow: base.json
    matrix: { i: "{{ range(150) }}" }
    set: { EmptyImage: { color: "{{ matrix.i * 16 + (params.more if matrix.i == 77 else 0) }}" } }
    save_as: "base-{{ matrix.i }}"
  small:
    workflow: small.json
    for_each: steps.base
    set: { LoadImage: { image: "{{ item.image }}" } }
    save_as: "small-{{ item.matrix.i }}"
"#;

#[test]
fn among_many_tasks_the_one_that_changed_is_found() {
    let project = project();
    project.file("p.yaml", MANY);
    let first = project.kiln(&["run", "p.yaml"]).ok();
    let again = project.kiln(&["run", "p.yaml"]).ok();
    assert!(again.stderr.contains("nothing to do: 300 tasks"));
    let sorted = |done: &Done| {
        let mut lines: Vec<String> = done.stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&again), sorted(&first));
    let of_step = |step: &str| {
        let names = (0..150).map(|i| format!("{step}-{i}.png"));
        names.collect::<Vec<_>>()
    };
    let told: Vec<&str> = again
        .stdout
        .lines()
        .filter_map(|line| line.rsplit('/').next())
        .collect();
    assert_eq!(told, [of_step("base"), of_step("small")].concat());

    // An input: what it makes and what follows from that.
    assert_eq!(counts(&project, &["-p", "more=1"]), (298, 2));
    assert_eq!(counts(&project, &[]), (300, 0));
    // A result that a person edited, one that is gone, and a blob that is gone.
    let latest = project.path().join("outputs/p/latest");
    for spoil in [0, 1, 2] {
        let result = latest.join("base/base-101.png");
        let whole = std::fs::read(&result).unwrap();
        match spoil {
            0 => std::fs::write(&result, [&whole[..], b"!"].concat()).unwrap(),
            1 => std::fs::remove_file(&result).unwrap(),
            _ => {
                let hash = blake3::hash(&whole).to_hex().to_string();
                let blob = project.path().join(".kiln/blobs").join(&hash[..2]);
                std::fs::remove_file(blob.join(&hash)).unwrap();
            }
        }
        let done = project.kiln(&["run", "p.yaml"]).ok();
        assert!(!done.stderr.contains("nothing to do"), "{spoil}");
        assert_eq!(std::fs::read(&result).unwrap(), whole, "{spoil}");
        let done = project.kiln(&["run", "p.yaml"]).ok();
        assert!(done.stderr.contains("nothing to do"), "{spoil}");
    }
}

/// Steps that end as skipped in every way there is, and what depends on them.
const SKIPPED: &str = r#"
params:
  go: { type: boolean, default: false }
steps:
  off: { command: [echo, hi], when: params.go }
  none: { command: [echo, "{{ item }}"], for_each: [] }
  after_off: { command: [echo, "{{ steps.off.texts }}"] }
  after_none: { command: [touch, "o.txt", "{{ steps.none.texts | length }}"], outputs: { o: "*.txt" } }
  further: { command: [echo, x], needs: [after_off] }
  each: { command: [echo, "{{ item.text }}"], for_each: steps.off, matrix: { i: [1, 2] } }
  after_each: { command: [echo, x], needs: [each] }
  anyway: { command: [echo, "{{ steps.off.status }}"], needs: [{ step: off, optional: true }] }
  listed: { command: [echo, "{{ item }}"], for_each: "steps.anyway.text | lines" }
  after_listed: { command: [echo, x], needs: [listed] }
  maybe: { command: [echo, x], when: steps.anyway.text == 'skipped' }
  after_maybe: { command: [echo, x], needs: [maybe] }
  both: { command: [echo, x], needs: [anyway, off] }
"#;

#[test]
fn a_plan_skips_what_a_run_skips_and_promises_nothing_of_what_may_yet_be_skipped() {
    let project = Project::new();
    project.file("p.yaml", SKIPPED);
    assert_eq!(
        would(&project, &[]),
        "2 would run, 3 open until others ran, 6 skipped
  off           skipped  because its `when` is false
  none          skipped  because there is nothing to do it for
  after_off     skipped  because off is skipped
  after_none    skipped  because none is skipped
  further       skipped  because after_off is skipped
  each          skipped  because off is skipped
  after_each    skipped  because each is skipped
  anyway        runs     a command without `outputs` always runs
  listed        runs     a command without `outputs` always runs
  after_listed  open     waits for listed (its inputs may change)
  maybe         open     waits for anyway (its inputs may change)
  after_maybe   open     waits for maybe (its inputs may change)
  both          skipped  because off is skipped
"
    );
    let run = project.kiln(&["run", "p.yaml", "--output", "json"]).ok();
    let events = run.stdout.lines();
    let events = events.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let skipped: Vec<String> = events
        .filter(|event| event["status"] == "skipped")
        .filter_map(|event| Some(event["task"].as_str()?.to_owned()))
        .collect();
    let mut skipped = skipped;
    skipped.sort_unstable();
    assert_eq!(
        skipped,
        [
            "after_each",
            "after_none",
            "after_off",
            "both",
            "further",
            "off"
        ]
    );
}

#[test]
fn a_skipped_step_and_what_needs_it_are_nothing_to_do() {
    let project = project();
    let more = "  off: { command: [echo, hi], when: false }\n  post: { command: [echo, \"{{ steps.off.text }}\"] }\n";
    project.file("p.yaml", format!("{PIPELINE}{more}"));
    let first = project.kiln(&["run", "p.yaml"]).ok();
    let again = project.kiln(&["run", "p.yaml"]).ok();
    assert!(again.stderr.contains("nothing to do: "), "{}", again.stderr);
    assert_eq!(again.stdout, first.stdout, "the same results");
}

#[test]
fn with_nothing_to_do_no_folder_is_made_and_the_results_are_told() {
    let project = project();
    let first = project.kiln(&["run", "p.yaml"]).ok();
    let folders = || {
        std::fs::read_dir(project.path().join("outputs/p"))
            .unwrap()
            .count()
    };
    let before = folders();
    let again = project.kiln(&["run", "p.yaml"]).ok();
    assert_eq!(folders(), before);
    assert_eq!(again.stdout, first.stdout, "the same results");
    again.says("nothing to do: ");
    let json = project.kiln(&["run", "p.yaml", "--output", "json"]).ok();
    let last: Value = serde_json::from_str(json.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["up_to_date"], true);
    assert_eq!(last["counts"]["cached"], 2);
    // Another name is another file.
    project.file(
        "p.yaml",
        PIPELINE.replace("save_as: small", "save_as: tiny"),
    );
    let renamed = project.kiln(&["run", "p.yaml"]).ok();
    assert_eq!(folders(), before + 1);
    assert!(
        renamed.stdout.contains("small/tiny.png"),
        "{}",
        renamed.stdout
    );
}

#[test]
fn tasks_that_grow_out_of_cached_results_are_foreseen() {
    let project = project();
    project.file("p.yaml", FANNED);
    assert_eq!(counts(&project, &[]), (0, 4));
    assert_eq!(
        would(&project, &[]),
        "0 would run, 4 cached
  base[i=0]         cached   from run RUN
  base[i=1]         cached   from run RUN
  small[base[i=0]]  cached   from run RUN
  small[base[i=1]]  cached   from run RUN
"
    );
    let more = FANNED.replace("[0, 1]", "[0, 1, 2]");
    project.file("p.yaml", more);
    assert_eq!(
        would(&project, &[]),
        "1 would run, 1 open until others ran, 2 cached
  base[i=0]  cached   from run RUN
  base[i=1]  cached   from run RUN
  base[i=2]  runs     never ran
  small      open     waits for base (its inputs may change)
"
    );
    assert_eq!(counts(&project, &[]), (4, 2));
}

#[test]
#[cfg(unix)]
fn a_step_that_makes_the_same_again_leaves_those_after_it_cached() {
    let project = Project::new();
    let pipeline = |how: &str| {
        format!(
            r#"
steps:
  base:
    command: [sh, -c, "{how} > a.txt"]
    outputs: {{ text: "*.txt" }}
  copy:
    command: [cp, "{{{{ steps.base.outputs.text.file }}}}", b.txt]
    outputs: {{ copy: b.txt }}
"#
        )
    };
    project.file("p.yaml", pipeline("echo hello"));
    assert_eq!(counts(&project, &[]), (0, 2));
    project.file("p.yaml", pipeline("printf 'hello\\n'"));
    assert_eq!(
        would(&project, &[]),
        "1 would run, 1 open until others ran
  base  runs     argument 2 echo hello > a.txt → printf 'hello\\n' > a.txt
  copy  open     waits for base (its inputs may change)
"
    );
    assert_eq!(counts(&project, &[]), (1, 1));
}

#[test]
fn an_edited_output_spoils_nothing_and_a_lost_blob_is_made_again() {
    let project = project();
    counts(&project, &[]);
    let latest = project.path().join("outputs/p/latest/small/small.png");
    let right = std::fs::read(&latest).unwrap();
    std::fs::write(&latest, "scribbled over").unwrap();
    assert_eq!(counts(&project, &[]), (2, 0));
    assert_eq!(std::fs::read(&latest).unwrap(), right);
    std::fs::remove_dir_all(project.path().join(".kiln/blobs")).unwrap();
    let told = would(&project, &[]);
    assert!(
        told.contains("base   runs     its earlier result `"),
        "{told}"
    );
    assert!(told.contains("` is damaged or gone"), "{told}");
    assert_eq!(counts(&project, &[]), (0, 2));
}

#[test]
fn a_file_of_the_servers_own_that_changes_under_its_name_makes_another_result() {
    let server = Server::start(&[]);
    let photo = server.dir().join("input/photo.png");
    let paint = |grey: u8| {
        image::RgbImage::from_pixel(8, 8, image::Rgb([grey; 3]))
            .save(&photo)
            .unwrap();
    };
    let graph = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "copy"}}
    });
    let project = Project::new();
    project.file(
        "p.yaml",
        "steps:\n  copy: { workflow: copy.json, save_as: copy }\n",
    );
    project.file("copy.json", graph.to_string());
    let more = ["--server", server.url.as_str()];
    let made = || {
        let copy = project.path().join("outputs/p/latest/copy/copy.png");
        image::open(copy).unwrap().to_rgb8().get_pixel(0, 0).0[0]
    };
    paint(50);
    assert_eq!(counts(&project, &more), (0, 1));
    assert_eq!(counts(&project, &more), (1, 0));
    let told = would(&project, &more);
    assert!(
        told.contains("if the server's files are the same"),
        "{told}"
    );
    paint(200);
    assert_eq!(counts(&project, &more), (0, 1));
    assert_eq!(made(), 200);
    let shown = project.kiln(&["show", "last", "copy"]).ok().stdout;
    assert!(shown.contains("server: file photo.png "), "{shown}");
    paint(50);
    assert_eq!(counts(&project, &more), (1, 0));
    assert_eq!(made(), 50);
}

#[test]
fn force_and_cache_false_are_reasons() {
    let project = project();
    counts(&project, &[]);
    assert_eq!(counts(&project, &["--force"]), (0, 2));
    project.file("p.yaml", format!("cache: false\n{PIPELINE}"));
    assert_eq!(
        would(&project, &[]),
        "2 would run
  base   runs     `cache: false`
  small  runs     `cache: false`
"
    );
    assert_eq!(counts(&project, &[]), (0, 2));
}

#[test]
fn programs_get_the_reasons_as_data() {
    let project = project();
    counts(&project, &[]);
    let done = project
        .kiln(&["plan", "p.yaml", "-p", "size=10", "--output", "json"])
        .ok();
    let json: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        json["would"][0],
        json!({
            "step": "base",
            "task": "base",
            "would": "run",
            "why": [
                {"reason": "param", "name": "size", "old": "8", "new": "10"},
                {"reason": "input", "node": "1", "label": "EmptyImage", "input": "width", "old": "8", "new": "10"}
            ],
            "because": ["param size 8 → 10", "EmptyImage.width 8 → 10"]
        })
    );
    assert_eq!(json["would"][1]["would"], "open");
}

#[test]
fn each_file_has_a_record_of_what_made_it() {
    let project = project();
    counts(&project, &[]);
    let record = |run: &str| -> Value {
        let path = format!("outputs/p/{run}/small/small.png.kiln.json");
        serde_json::from_slice(&std::fs::read(project.path().join(path)).unwrap()).unwrap()
    };
    let first = record("latest");
    assert_eq!(first["task"], "small");
    assert_eq!(first["graph"]["2"]["inputs"]["scale_by"], 0.5);
    assert!(first.get("cached_from").is_none());
    project.file(
        "p.yaml",
        PIPELINE.replace("width: \"{{ params.size }}\"", "width: 16"),
    );
    counts(&project, &[]);
    project.file("p.yaml", PIPELINE);
    counts(&project, &[]);
    let again = record("latest");
    assert_eq!(again["cached_from"]["task"], "small");
    assert_ne!(again["cached_from"]["run"], again["run"]);
}
