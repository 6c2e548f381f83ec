//! Tasks as values: `steps.X.tasks`, `item`, `result`; and files inside the text of commands.

use indexmap::IndexMap;
use serde_json::json;

use super::*;

fn task(name: &str, index: u32, artifacts: Vec<Arc<Artifact>>) -> TaskResult {
    TaskResult {
        name: name.to_owned(),
        index,
        source: None,
        matrix: IndexMap::from([("i".to_owned(), Datum::from(json!(index)))]).into(),
        item: Some(Datum::from(json!({"animal": "fox"}))),
        status: "done".to_owned(),
        artifacts,
    }
}

fn many() -> Scope {
    let mut named = Artifact::clone(&artifact("n.png", None));
    named.output = Some("final".to_owned());
    let first = task(
        "base[i=0]",
        0,
        vec![Arc::new(named), artifact("a.png", None)],
    );
    let second = task("base[i=1]", 1, vec![artifact("", Some("{\"n\": [7]}"))]);
    let result = StepResult {
        status: "done".to_owned(),
        tasks: vec![first.clone(), second.clone()],
        outputs: vec!["final".to_owned()],
    };
    Scope::default()
        .with_step("base", result)
        .with_item(first)
        .with_result(second)
}

fn get(text: &str) -> Result<serde_json::Value, TemplateError> {
    let template = Template::parse(text)?.expect("a template");
    engine()
        .eval(&template, &many())
        .map(|datum| datum.to_json())
}

#[test]
fn a_step_a_task_and_an_output_have_the_same_accessors() {
    for (text, expected) in [
        (
            "{{ steps.base.files | map(attribute='name') }}",
            json!(["n.png", "a.png"]),
        ),
        ("{{ steps.base.tasks | length }}", json!(2)),
        ("{{ steps.base.tasks[0].images | length }}", json!(2)),
        ("{{ steps.base.tasks[1].data.n[0] }}", json!(7)),
        ("{{ steps.base.data.n }}", json!([7])),
        (
            "{{ steps.base.tasks[0].outputs.final.image.name }}",
            json!("n.png"),
        ),
        ("{{ steps.base.outputs.final.images | length }}", json!(1)),
        ("{{ steps.base.status }}", json!("done")),
        (
            "{{ steps.base.tasks | map(attribute='name') }}",
            json!(["base[i=0]", "base[i=1]"]),
        ),
        (
            "{{ steps.base.tasks | map(attribute='matrix.i') }}",
            json!([0, 1]),
        ),
        ("{{ item.images[1].name }}", json!("a.png")),
        ("{{ item.outputs.final.file.name }}", json!("n.png")),
        ("{{ item.matrix.i }}", json!(0)),
        (
            "{{ item.name }} {{ item.index }} {{ item.status }}",
            json!("base[i=0] 0 done"),
        ),
        ("{{ item.item.animal }}", json!("fox")),
        ("{{ result.text }}", json!("{\"n\": [7]}")),
        ("{{ result.data.n[0] > 3 }}", json!(true)),
        ("{{ result.images | length == 0 }}", json!(true)),
        (
            "{% for t in steps.base.tasks %}{{ t.name }};{% endfor %}",
            json!("base[i=0];base[i=1];"),
        ),
        (
            "{{ (steps.base.tasks | selectattr('matrix.i', 'eq', 1) | first).text | length }}",
            json!(10),
        ),
    ] {
        assert_eq!(
            get(text).unwrap_or_else(|e| panic!("{text}: {e:?}")),
            expected,
            "{text}"
        );
    }
}

#[test]
fn what_a_task_does_not_have_is_told() {
    let error = get("{{ item.imag }}").unwrap_err();
    assert_eq!(error.message, "`item.imag` is not defined");
    assert_eq!(error.help.as_deref(), Some("did you mean `item.image`?"));
    let error = get("{{ item.matrix.j }}").unwrap_err();
    assert_eq!(error.message, "`item.matrix.j` is not defined");
    let error = get("{{ item.image }}").unwrap_err();
    assert_eq!(error.kind, TemplateErrorKind::Count);
    assert!(
        error.message.starts_with("`item` made 2 images"),
        "{error:?}"
    );
    let error = get("{{ item }}").unwrap_err();
    assert_eq!(
        error.message,
        "`item` is everything that a task made, not one value"
    );
    let error = get("{{ steps.base.tasks[5].image }}").unwrap_err();
    assert_eq!(error.kind, TemplateErrorKind::Undefined);
    let error = get("{{ steps.base.tasks[1].image }}").unwrap_err();
    assert_eq!(error.message, "`steps.base.tasks[1]` made no image");
}

#[test]
fn members_of_a_task_are_checked_before_it_runs() {
    let scope = Scope::default()
        .with_item(TaskResult::default())
        .with_steps();
    let check = |text: &str| {
        let template = Template::parse(text).unwrap().unwrap();
        let errors = engine().check(&template, &scope);
        errors.into_iter().map(|e| e.message).collect::<Vec<_>>()
    };
    assert_eq!(
        check("{{ item.image }} {{ item.matrix.i }} {{ item.outputs.final.image }}"),
        [""; 0]
    );
    assert_eq!(check("{{ item.imge }}"), ["`item.imge` is not defined"]);
}

#[test]
fn a_temp_file_counts_only_where_its_own_task_saved_nothing() {
    let mut temp = Artifact::clone(&artifact("t.png", None));
    temp.temp = true;
    let temp = Arc::new(temp);
    let result = StepResult {
        tasks: vec![
            task("a", 0, vec![artifact("a.png", None), Arc::clone(&temp)]),
            task("b", 1, vec![temp]),
        ],
        ..StepResult::default()
    };
    let scope = Scope::default().with_step("s", result);
    let template = Template::parse("{{ steps.s.files | map(attribute='name') }}")
        .unwrap()
        .unwrap();
    let names = engine().eval(&template, &scope).unwrap().to_json();
    assert_eq!(names, json!(["a.png", "t.png"]));
}

#[test]
fn what_a_command_prints_is_its_text_beside_the_files_it_leaves() {
    let mut stdout = Artifact::clone(&artifact("", Some("{\"n\": 3}")));
    stdout.node = Artifact::STDOUT.into();
    let mut report = Artifact::clone(&artifact("caption.txt", None));
    report.output = Some("report".to_owned());
    let made = vec![Arc::new(stdout), Arc::new(report)];
    let scope = Scope::default()
        .with_item(task("c", 0, made.clone()))
        .with_step(
            "two",
            StepResult {
                tasks: vec![task("a", 0, made.clone()), task("b", 1, made)],
                ..StepResult::default()
            },
        );
    let get = |text: &str| {
        let template = Template::parse(text).unwrap().unwrap();
        engine()
            .eval(&template, &scope)
            .map(|datum| datum.to_json())
    };
    assert_eq!(get("{{ item.data.n }}").unwrap(), json!(3));
    assert_eq!(
        get("{{ item.outputs.report.text }}").unwrap(),
        json!("a fox")
    );
    assert_eq!(get("{{ item.texts | length }}").unwrap(), json!(2));
    assert_eq!(
        get("{{ steps.two.text }}").unwrap_err().kind,
        TemplateErrorKind::Count
    );
}

#[test]
fn files_inside_the_text_of_a_command_are_their_paths() {
    let eval =
        |text: &str, scope: Scope| engine().eval(&Template::parse(text).unwrap().unwrap(), &scope);
    for (text, expected) in [
        ("in={{ steps.one.image }}", "in=/out/one.png"),
        (
            "{{ 'in=' ~ steps.one.image ~ ',' ~ file('x.png') }}",
            "in=/out/one.png,/p/x.png",
        ),
        (
            "{{ steps.base.images | join(' ') }}",
            "/out/a.png /out/b.png",
        ),
        (
            "--all {{ steps.base.images }}",
            r#"--all ["/out/a.png","/out/b.png"]"#,
        ),
        (
            "{{ {'f': steps.one.image} | tojson }}",
            r#"{"f":"/out/one.png"}"#,
        ),
        ("{{ steps.one.image | string }}", "/out/one.png"),
        (
            "{{ steps.one.image.name }}: {{ steps.one.image.path }}",
            "one.png: /out/one.png",
        ),
    ] {
        assert_eq!(
            eval(text, scope().with_paths()).unwrap().to_json(),
            json!(expected),
            "{text}"
        );
        if !text.contains(".path") {
            let refused = eval(text, scope()).expect_err(text);
            assert_eq!(refused.kind, TemplateErrorKind::FileInText, "{text}");
        }
    }
    let whole = eval("{{ steps.one.image }}", scope().with_paths()).unwrap();
    assert!(
        matches!(whole, Datum::Artifact(_)),
        "a whole expression stays a file"
    );
}

#[test]
fn a_mask_is_made_of_two_files() {
    assert_eq!(
        value("{{ mask(file('m.png'), of=steps.one.image) | basename }}"),
        json!("m.png+one.png")
    );
    let (_, _, message, help) = error("{{ mask('m.png', of=steps.one.image) }}");
    assert_eq!(message, "`mask` takes two pictures, not a string");
    assert_eq!(help, "a path becomes a file with `file('…')`");
    assert_eq!(
        error("{{ mask(steps.one.image) }}").3,
        "write `mask(image, of=picture)`"
    );
    assert_eq!(
        error("{{ mask(file('m.png'), of=file('bad.png')) }}").2,
        "`mask`: the sizes differ"
    );
}
