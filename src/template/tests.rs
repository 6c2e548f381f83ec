//! Behaviour of whole templates.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

mod limits;
mod secrets;
mod tasks;
mod traps;

use super::*;
use crate::artifact::{Artifact, Datum, FileValue, Kind};
use crate::base::ContentHash;

struct Desk;

impl World for Desk {
    fn file(&self, path: &str) -> Result<FileValue, String> {
        if path == "none.png" {
            return Err("there is no such file".to_owned());
        }
        Ok(FileValue {
            path: PathBuf::from("/p").join(path),
            hash: ContentHash::of(b"x"),
            size: 1,
        })
    }
    fn exists(&self, path: &str) -> bool {
        path != "none.png"
    }
    fn glob(&self, _: &str) -> Result<Vec<FileValue>, String> {
        Ok(vec![self.file("a.png")?, self.file("b.png")?])
    }
    fn read_text(&self, path: &str) -> Result<String, String> {
        match path {
            "a.json" => Ok(r#"{"n": 18446744073709551615, "l": [1.0, null]}"#.to_owned()),
            "a.yaml" => Ok("b: &x {c: 1}\nd:\n  <<: *x\n".to_owned()),
            "a.csv" => Ok("name,n\nfox,1\n\"a, b\",2\n".to_owned()),
            "bad.csv" => Ok("name,n\nfox\n".to_owned()),
            "forged" => Ok(crate::base::secret::placeholder("KEY")),
            "forged.json" => Ok(json!([crate::base::secret::placeholder("KEY")]).to_string()),
            "/out/caption.txt" => Ok("a fox".to_owned()),
            _ => Err("there is no such file".to_owned()),
        }
    }
    fn env(&self, name: &str) -> Option<String> {
        match name {
            "HOME" => Some("/home/me".to_owned()),
            "KEY" => Some("s3cret".to_owned()),
            "FORGED" => Some(crate::base::secret::placeholder("KEY")),
            _ => None,
        }
    }
    fn mask(&self, mask: &Datum, of: &Datum) -> Result<FileValue, String> {
        let name = |datum: &Datum| match datum {
            Datum::File(file) => super::objects::file_name(&file.path),
            Datum::Artifact(artifact) => artifact.name.clone(),
            _ => unreachable!("only files are handed over"),
        };
        match name(of).as_str() {
            "bad.png" => Err("the sizes differ".to_owned()),
            of => self.file(&format!("{}+{of}", name(mask))),
        }
    }
    fn run_seed(&self) -> u64 {
        7
    }
    fn now(&self) -> jiff::Zoned {
        "2026-11-22T14:15:30+01:00[Europe/Berlin]".parse().unwrap()
    }
}

fn engine() -> Engine {
    Engine::new(Arc::new(Desk))
}

fn artifact(name: &str, text: Option<&str>) -> Arc<Artifact> {
    Arc::new(Artifact {
        kind: if text.is_some() {
            Kind::Text
        } else {
            Kind::of_name(name)
        },
        name: name.to_owned(),
        path: text.is_none().then(|| PathBuf::from("/out").join(name)),
        text: text.map(str::to_owned),
        hash: ContentHash::of(name.as_bytes()),
        size: 3,
        key: "images".to_owned(),
        meta: json!({"frame_rate": 8}).as_object().unwrap().clone(),
        ..Artifact::blank("base".into(), "base".into(), "9".into())
    })
}

fn step(artifacts: Vec<Arc<Artifact>>) -> StepResult {
    StepResult {
        status: "done".to_owned(),
        tasks: vec![TaskResult {
            name: "base".to_owned(),
            status: "done".to_owned(),
            artifacts,
            ..TaskResult::default()
        }],
        outputs: vec!["final".to_owned()],
    }
}

fn scope() -> Scope {
    Scope::default()
        .with(
            "params",
            Datum::from(json!({
                "subject": "a teapot", "count": 4, "seed": 9_007_199_254_740_993_u64, "big": u64::MAX, "low": i64::MIN,
                "style": "photo", "flag": true, "tags": ["a", 1, null, true], "none": null, "size": {"w": 512, "h": 1.5},
                "rows": [{"k": "x", "v": 1}, {"k": "y"}],
            })),
        )
        .with_step(
            "base",
            step(vec![artifact("a.png", None), artifact("b.png", None), artifact("", Some("hello"))]),
        )
        .with_step("one", step(vec![artifact("one.png", None)]))
        .with_step("words", step(vec![artifact("caption.txt", None)]))
        .with_step("json", step(vec![artifact("", Some("{\"a\": [1]}"))]))
}

fn eval(text: &str) -> Result<Datum, TemplateError> {
    let template = Template::parse(text)?.expect("a template");
    let engine = engine();
    let evaluated = engine.eval(&template, &scope());
    // Whoever evaluates it again sees the same, also with no more than it uses.
    let uses = |name: &str| template.uses().names.contains(name);
    let mut small = scope();
    small.values.retain(|name, _| uses(name));
    small.tasks.retain(|name, _| uses(name));
    for _ in 0..2 {
        let again = engine.eval_again(&template, &small);
        assert_eq!(again.as_ref(), evaluated.as_ref().ok(), "{text}");
    }
    evaluated
}

fn value(text: &str) -> serde_json::Value {
    eval(text)
        .unwrap_or_else(|e| panic!("{text}: {e:?}"))
        .to_json()
}

/// The error's kind, what it points at, its message and its help.
fn error(text: &str) -> (TemplateErrorKind, String, String, String) {
    let error = eval(text).expect_err(text);
    (
        error.kind,
        text[error.range].to_owned(),
        error.message,
        error.help.unwrap_or_default(),
    )
}

#[test]
fn a_whole_expression_keeps_its_type() {
    for (text, expected) in [
        ("{{ params.seed }}", json!(9_007_199_254_740_993_u64)),
        ("{{ params.big }}", json!(u64::MAX)),
        ("{{ params.low }}", json!(i64::MIN)),
        ("{{ params.seed + 1 }}", json!(9_007_199_254_740_994_u64)),
        ("{{ params.flag }}", json!(true)),
        ("{{ params.none }}", json!(null)),
        ("{{ 1.0 }}", json!(1.0)),
        ("{{ params.tags }}", json!(["a", 1, null, true])),
        ("{{ range(3) }}", json!([0, 1, 2])),
        ("{{ params.size }}", json!({"w": 512, "h": 1.5})),
        ("{{ params.rows | map(attribute='k') }}", json!(["x", "y"])),
        ("{{ {'a':{'b':1}}}}", json!({"a": {"b": 1}})),
        ("{{ params.count > 3 and 'x' or 'y' }}", json!("x")),
        (" {{- params.count -}}\n", json!(4)),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn text_prints_as_yaml_and_json_do() {
    for (text, expected) in [
        ("{{ params.flag }}/{{ params.none }}", "true/null"),
        ("x{{ params.tags }}", r#"x["a",1,null,true]"#),
        ("x{{ params.size }}", r#"x{"w":512,"h":1.5}"#),
        ("x{{ 1.0 }} {{ params.big }}", "x1.0 18446744073709551615"),
        ("a\n{{ params.subject }}\n", "a\na teapot\n"),
        ("x{{ [true, none] | join(', ') }}", "xtrue, null"),
        ("x{{ params.flag | string }}", "xtrue"),
        ("x{{ '<&>' | tojson }}", "x\"<&>\""),
        (
            "{% for t in params.tags %}{{ t }};{% endfor %}",
            "a;1;null;true;",
        ),
        ("{# gone #}x{{ 1 }}", "x1"),
    ] {
        assert_eq!(value(text), json!(expected), "{text}");
    }
}

#[test]
fn a_comment_in_a_workflow_file_stays() {
    let template = Template::parse_in_workflow("{# kept #}{{ 1 }}x")
        .unwrap()
        .unwrap();
    assert_eq!(
        engine().eval(&template, &scope()).unwrap().to_json(),
        json!("{# kept #}1x")
    );
}

#[test]
fn nothing_undefined_leaves_an_expression() {
    for text in [
        "{{ nothing }}",
        "{{ params.subjct }}",
        "{{ params.subjct.x }}",
        "x {{ params.subjct }}",
        "{{ [1, params.subjct] }}",
        "{{ {'a': params.subjct} }}",
        "{{ params.rows | map(attribute='v') }}",
        "{{ params.rows | map(attribute='v') | list }}",
        "x{{ params.rows | map(attribute='v') }}",
        "{{ params.rows | sort(attribute='v') | map(attribute='v') }}",
        "{{ params.rows | groupby('v') }}",
        "{{ params.tags[9] }}",
        "{{ [[]] | map('first') }}",
        "{{ 1 if false }}",
        "x{{ 1 if false }}",
        "{{ steps.none.image }}",
        "{{ steps.base.outputs.nothing.image }}",
        "{{ params.subjct | upper }}",
        "{{ [] | first }}",
    ] {
        let error = eval(text).expect_err(text);
        assert_eq!(
            error.kind,
            TemplateErrorKind::Undefined,
            "{text}: {error:?}"
        );
    }
    assert_eq!(value("{{ params.subjct | default('x') }}"), json!("x"));
    assert_eq!(value("{{ params.tags[1:99] }}"), json!([1, null, true]));
    assert_eq!(value("{{ params.subjct is defined }}"), json!(false));
}

#[track_caller]
fn case(text: &str, at: &str, message: &str, help: &str) {
    let expected = [at, message, help].map(str::to_owned);
    let (kind, at, message, help) = error(text);
    assert_eq!(kind, TemplateErrorKind::Undefined, "{text}");
    assert_eq!([at, message, help], expected, "{text}");
}

#[test]
fn an_undefined_name_is_shown_and_corrected() {
    case(
        "ü {{ 1 }} {{ params.subjct }}",
        "params.subjct",
        "`params.subjct` is not defined",
        "did you mean `params.subject`?",
    );
    case(
        "{{ 1 + params.size.q }}",
        "params.size.q",
        "`params.size.q` is not defined",
        "`params.size` has `w` and `h`",
    );
    case(
        "{{ parms.x }}",
        "parms",
        "`parms` is not defined",
        "did you mean `params`?",
    );
    case(
        "{{ steps.bse.image }}",
        "steps.bse",
        "`steps.bse` is not defined",
        "did you mean `steps.base`?",
    );
    case(
        "{{ steps.one.imag }}",
        "steps.one.imag",
        "`steps.one.imag` is not defined",
        "did you mean `steps.one.image`?",
    );
    case(
        "{{ steps.one.image.pth }}",
        "steps.one.image.pth",
        "`steps.one.image.pth` is not defined",
        "did you mean `steps.one.image.path`?",
    );
    case(
        "{{ steps.one.outputs.finl.image }}",
        "steps.one.outputs.finl",
        "`steps.one.outputs.finl` is not defined",
        "did you mean `steps.one.outputs.final`?",
    );
}

#[test]
fn a_filter_a_function_or_a_test_that_does_not_exist_is_shown_and_corrected() {
    case(
        "x{{ 'a' | uper }}",
        "uper",
        "there is no filter `uper`",
        "did you mean `upper`?",
    );
    case(
        "{{ ranje(3) }}",
        "ranje",
        "there is no function `ranje`",
        "did you mean `range`?",
    );
    case(
        "{{ 1 is evn }}",
        "evn",
        "there is no test `evn`",
        "did you mean `even`?",
    );
}

#[test]
fn nothing_prints_all_that_is_in_scope() {
    assert_eq!(error("{{ debug() }}").0, TemplateErrorKind::Undefined);
}

#[test]
fn files_keep_their_identity_and_never_melt_into_text() {
    assert!(matches!(eval("{{ steps.one.image }}"), Ok(Datum::Artifact(a)) if a.name == "one.png"));
    assert!(
        matches!(eval("{{ file('a.png') }}"), Ok(Datum::File(f)) if f.path == std::path::Path::new("/p/a.png"))
    );
    assert_eq!(value("{{ steps.base.images | length }}"), json!(2));
    assert_eq!(value("{{ steps.base.files[1].name }}"), json!("b.png"));
    assert_eq!(
        value(
            "{{ steps.one.image.name }} {{ steps.one.image.path }} {{ steps.one.image.meta.frame_rate }}"
        ),
        json!("one.png /out/one.png 8")
    );
    assert_eq!(value("{{ steps.one.image | stem }}"), json!("one"));
    assert_eq!(
        value("{{ file('x/a.b.png') | basename | stem }}"),
        json!("a.b")
    );
    for text in [
        "x {{ steps.one.image }}",
        "{{ steps.one.image ~ 'x' }}",
        "{{ [steps.one.image] | join(',') }}",
        "x {{ steps.base.images }}",
        "x{{ 'a' ~ steps.one.image }}",
        "{{ file('a.png') | upper }}",
        "{{ steps.one.image | tojson }}",
    ] {
        assert_eq!(error(text).0, TemplateErrorKind::FileInText, "{text}");
    }
    assert_eq!(error("{{ steps.one }}").0, TemplateErrorKind::Failed);
}

#[test]
fn a_text_is_its_string() {
    assert_eq!(value("{{ steps.base.text }}"), json!("hello"));
    assert_eq!(value("{{ steps.base.text == 'hello' }}"), json!(true));
    assert_eq!(
        value("say {{ steps.base.text | upper }}"),
        json!("say HELLO")
    );
    assert_eq!(value("{{ 'hello' in steps.base.texts }}"), json!(true));
    assert_eq!(value("{{ steps.words.text }}"), json!("a fox"));
    assert_eq!(value("{{ steps.json.data.a[0] }}"), json!(1));
    assert_eq!(error("{{ steps.base.data }}").0, TemplateErrorKind::Failed);
}

#[test]
fn a_singular_takes_exactly_one() {
    let (kind, at, message, help) = error("x: {{ steps.base.image }}");
    assert_eq!(kind, TemplateErrorKind::Count);
    assert_eq!(at, "steps.base.image");
    assert_eq!(
        message,
        "`steps.base` made 2 images, and `.image` takes exactly one: `a.png` and `b.png`"
    );
    assert!(help.contains("`steps.base.images[0]`"), "{help}");
    let (kind, _, message, help) = error("{{ steps.one.video }}");
    assert_eq!(kind, TemplateErrorKind::Count);
    assert_eq!(message, "`steps.one` made no video");
    assert_eq!(help, "it made `one.png`");
}

#[test]
fn outputs_and_tasks_narrow_a_step() {
    let mut named = Artifact::clone(&artifact("n.png", None));
    named.output = Some("final".to_owned());
    let mut temp = Artifact::clone(&artifact("t.png", None));
    temp.temp = true;
    let results = step(vec![
        Arc::new(named),
        artifact("o.png", None),
        Arc::new(temp),
    ]);
    let scope = Scope::default().with_step("s", results);
    let eval = |text: &str| {
        engine()
            .eval(&Template::parse(text).unwrap().unwrap(), &scope)
            .unwrap()
            .to_json()
    };
    assert_eq!(
        eval("{{ steps.s.outputs.final.image.name }}"),
        json!("n.png")
    );
    assert_eq!(
        eval("{{ steps['s'].outputs['final'].files | length }}"),
        json!(1)
    );
    assert_eq!(
        eval("{{ steps.s.files | map(attribute='name') }}"),
        json!(["n.png", "o.png"])
    );
    assert_eq!(eval("{{ steps.s.tasks[0].images | length }}"), json!(2));
    assert_eq!(eval("{{ steps.s.status }}"), json!("done"));
}

#[test]
fn functions_reach_the_world_and_nothing_else() {
    assert_eq!(value("{{ env('HOME') }}"), json!("/home/me"));
    assert_eq!(value("{{ env('NOPE', 3) }}"), json!(3));
    assert_eq!(
        error("{{ env('NOPE') }}").2,
        "the environment variable `NOPE` is not set"
    );
    assert_eq!(value("{{ exists('none.png') }}"), json!(false));
    assert_eq!(
        value("{{ glob('*.png') | map('stem') }}"),
        json!(["a", "b"])
    );
    assert_eq!(value("{{ read_json('a.json').n }}"), json!(u64::MAX));
    assert_eq!(value("{{ read_yaml('a.yaml').d }}"), json!({"c": 1}));
    assert_eq!(
        value("{{ read_csv('a.csv') }}"),
        json!([{"name": "fox", "n": "1"}, {"name": "a, b", "n": "2"}])
    );
    assert_eq!(
        error("{{ read_csv('bad.csv') }}").0,
        TemplateErrorKind::Failed
    );
    assert_eq!(value("{{ read_text(steps.words.file) }}"), json!("a fox"));
    assert_eq!(value("{{ now() }}"), json!("2026-11-22T14:15:30+01:00"));
    assert_eq!(value("{{ now('%Y') }}"), json!("2026"));
    assert_eq!(
        error("{{ file('none.png') }}").2,
        "`file` of `none.png`: there is no such file"
    );
    assert_eq!(value("{{ 'Größe & Maß' | slug }}"), json!("grosse-mass"));
    assert_eq!(value("{{ '{\"a\": 1}' | fromjson }}"), json!({"a": 1}));
    assert_eq!(
        value("{{ 'a {b|b} {{c}}' | wildcard(params.seed) }}"),
        json!("a b c")
    );
    assert_eq!(
        error("{{ '{a|b}' | wildcard(1.5) }}").0,
        TemplateErrorKind::Failed
    );
}

#[test]
fn drawn_numbers_repeat_with_the_run_and_differ_between_places() {
    assert_eq!(value("{{ seed('a', 1) }}"), value("{{ seed('a', 1) }}"));
    assert_ne!(value("{{ seed('a', 1) }}"), value("{{ seed('a', 2) }}"));
    let draw = |salt: &str| {
        let template = Template::parse("{{ [random(), random()] }}")
            .unwrap()
            .unwrap();
        engine()
            .eval(&template, &scope().with_salt(salt))
            .unwrap()
            .to_json()
    };
    assert_eq!(draw("base/3/seed"), draw("base/3/seed"));
    assert_ne!(draw("base/3/seed"), draw("base/4/seed"));
    assert_ne!(draw("x")[0], draw("x")[1]);
    assert!(draw("x")[0].as_u64().unwrap() < 1 << 32);
}

#[test]
fn a_syntax_error_points_into_the_text() {
    for (text, at) in [
        ("a {{ b", "b"),
        ("a {{ b + }} c", "}}"),
        ("{{ 1 2 }}", "2"),
        ("{% if a %}b", "b"),
        ("{{ }}", "}}"),
    ] {
        let error = Template::parse(text).expect_err(text);
        assert_eq!(error.kind, TemplateErrorKind::Syntax);
        assert_eq!(&text[error.range.clone()], at, "{text}: {error:?}");
        assert!(!error.message.contains("in <"), "{error:?}");
    }
}

#[test]
fn a_template_that_must_wait_is_still_checked() {
    let check = |text: &str| {
        let scope = Scope::default().with("params", Datum::from(json!({"subject": "x"})));
        engine()
            .check(&Template::parse(text).unwrap().unwrap(), &scope)
            .into_iter()
            .map(|e| (text[e.range].to_owned(), e.help.unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    assert_eq!(check("{{ steps.a.image }} {{ params.subject }}"), []);
    assert_eq!(
        check("{{ steps.a.imge | uper }} {{ params.subjct }} {{ nme }} {{ rnge(1) }}"),
        [
            (
                "steps.a.imge".to_owned(),
                "did you mean `steps.a.image`?".to_owned()
            ),
            ("uper".to_owned(), "did you mean `upper`?".to_owned()),
            (
                "params.subjct".to_owned(),
                "did you mean `params.subject`?".to_owned()
            ),
            ("nme".to_owned(), "known names are `params`".to_owned()),
            ("rnge".to_owned(), "did you mean `range`?".to_owned()),
        ]
    );
    // A default is for what may be missing, and which params there are is known.
    assert_eq!(
        check("{{ params.subjct | default(steps.a.imge) }}"),
        [(
            "params.subjct".to_owned(),
            "did you mean `params.subject`?".to_owned()
        )]
    );
    assert_eq!(
        check("{{ params.other if params.other is defined else 1 }}"),
        []
    );
}

#[test]
fn every_listed_filter_and_test_exists() {
    let env = &super::engine::WITH_COMMENTS;
    for name in super::filters::FILTERS {
        let error = env.empty_state().apply_filter(name, &[]).map(|_| ());
        assert!(
            !error.is_err_and(|e| e.kind() == minijinja::ErrorKind::UnknownFilter),
            "{name}"
        );
    }
    for name in super::filters::TESTS {
        let error = env.empty_state().perform_test(name, &[]).map(|_| ());
        assert!(
            !error.is_err_and(|e| e.kind() == minijinja::ErrorKind::UnknownTest),
            "{name}"
        );
    }
}

#[test]
fn values_never_appear_in_errors() {
    let scope = Scope::default().with("params", Datum::from(json!({"key": "hunter2"})));
    for text in [
        "{{ params.key + 1 }}",
        "{{ params.key.x.y }}",
        "{{ params.key() }}",
        "{{ params.key | round }}",
    ] {
        let template = Template::parse(text).unwrap().unwrap();
        let error = engine().eval(&template, &scope).unwrap_err();
        let shown = format!("{error:?}");
        assert!(!shown.contains("hunter2"), "{text}: {shown}");
    }
}
