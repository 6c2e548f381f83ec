//! Where templates commonly go wrong: each trap has a test of its own.

use serde_json::json;

use super::*;

fn undefined(text: &str) {
    let error = eval(text).expect_err(text);
    assert_eq!(
        error.kind,
        TemplateErrorKind::Undefined,
        "{text}: {error:?}"
    );
    assert!(!error.message.contains("__kiln"), "{error:?}");
}

#[test]
fn an_undefined_whole_expression_is_an_error() {
    // minijinja itself answers "undefined" here, even when it is strict.
    undefined("{{ nothing }}");
    undefined("{{ params.nothing }}");
    undefined("{{ params['nothing'] }}");
    undefined("{{ 1 if false }}");
}

#[test]
fn a_broken_chain_of_attributes_is_an_error() {
    undefined("{{ params.nothing.more }}");
    undefined("{{ params.size.w.h }}");
    undefined("x{{ params.size.q }}");
    undefined("{{ params.rows[0].q }}");
    undefined("{{ params.rows | map(attribute='k.q') }}");
}

#[test]
fn undefined_inside_a_list_or_map_is_an_error() {
    undefined("{{ [1, [params.nothing]] }}");
    undefined("{{ {'a': {'b': params.nothing}} }}");
    undefined("x{{ [params.nothing] }}");
    undefined("{{ [params.nothing] | tojson }}");
    undefined("{{ [params.nothing] | join(',') }}");
}

#[test]
fn undefined_that_map_makes_is_an_error() {
    undefined("{{ params.rows | map(attribute='v') }}");
    undefined("{{ params.rows | map(attribute='v') | list }}");
    undefined("{{ params.rows | map(attribute='v') | list | tojson }}");
    undefined("{{ [[]] | map('first') }}");
    undefined("x{{ params.rows | map(attribute='v') | join(' ') }}");
}

#[test]
fn undefined_that_sort_looks_at_is_an_error_where_it_reaches_the_result() {
    undefined("{{ params.rows | sort(attribute='v') | map(attribute='v') }}");
    undefined("{{ params.rows | map(attribute='v') | sort }}");
}

#[test]
fn undefined_that_groupby_makes_is_an_error() {
    undefined("{{ params.rows | groupby('v') }}");
    undefined("{{ params.rows | groupby('v') | map('first') }}");
    assert_eq!(
        value("{{ params.rows | groupby('v', default=0) | map('first') }}"),
        json!([0, 1])
    );
}

#[test]
fn a_slice_beyond_the_end_is_short_and_an_index_beyond_it_an_error() {
    assert_eq!(value("{{ params.tags[1:99] }}"), json!([1, null, true]));
    assert_eq!(value("{{ params.tags[9:] }}"), json!([]));
    undefined("{{ params.tags[9] }}");
    undefined("{{ params.tags[-9] }}");
    undefined("{{ params.tags[9:] | first }}");
    undefined("x{{ params.tags[9] }}");
    undefined("{{ params.nothing[1:2] }}");
}

#[test]
fn default_only_helps_the_value_before_it() {
    assert_eq!(value("{{ params.nothing | default(1) }}"), json!(1));
    assert_eq!(value("{{ params.none | default(1) }}"), json!(null));
    assert_eq!(value("{{ params.none | default(1, true) }}"), json!(1));
    undefined("{{ params.nothing | default(params.other) }}");
    undefined("{{ params.nothing.more | default(1) }}");
    undefined("{{ params.nothing | default }}x{{ nothing }}");
}

#[test]
fn a_loop_over_nothing_known_is_an_error() {
    undefined("{% for x in params.nothing %}{{ x }}{% endfor %}");
    undefined("{% for row in params.rows %}{{ row.v }}{% endfor %}");
    assert_eq!(
        value("{% for x in [] %}{{ x }}{% else %}none{% endfor %}"),
        json!("none")
    );
}

#[test]
fn undefined_in_a_condition_or_operator_is_an_error() {
    for text in [
        "{{ 'a' if params.nothing else 'b' }}",
        "{% if params.nothing %}a{% endif %}",
        "{{ params.nothing == 1 }}",
        "{{ params.nothing in [1] }}",
        "{{ 1 in params.nothing }}",
        "{{ params.nothing ~ 'x' }}",
        "{{ 'x' ~ params.nothing }}",
        "{{ 1 + params.nothing }}",
        "{{ params.nothing * 2 }}",
        "{{ not params.nothing }}",
        "{{ params.nothing and true }}",
    ] {
        undefined(text);
    }
    assert_eq!(value("{{ params.nothing is defined }}"), json!(false));
    let (_, at, message, help) = error("{{ 'x' ~ (1 + params.subjct) }}");
    assert_eq!(at, "params.subjct");
    assert_eq!(message, "`params.subjct` is not defined");
    assert_eq!(help, "did you mean `params.subject`?");
}

#[test]
fn iterators_become_lists() {
    assert_eq!(value("{{ range(3) }}"), json!([0, 1, 2]));
    assert_eq!(
        value("{{ params.tags | reverse }}"),
        json!([true, null, 1, "a"])
    );
    assert_eq!(
        value("{{ params.size | items }}"),
        json!([["w", 512], ["h", 1.5]])
    );
    assert_eq!(value("{{ [1, 2] | map('string') }}"), json!(["1", "2"]));
    assert_eq!(
        value("{{ {'a': range(2), 'b': [range(1)]} }}"),
        json!({"a": [0, 1], "b": [[0]]})
    );
    assert_eq!(
        value("x{{ range(2) | map('string') }}"),
        json!("x[\"0\",\"1\"]")
    );
    assert_eq!(value("{{ [1] | zip([2]) }}"), json!([[1, 2]]));
    assert_eq!(value("{{ [1] | chain([2]) }}"), json!([1, 2]));
}

#[test]
fn text_knows_no_python() {
    assert_eq!(
        value("{{ params.flag }} {{ false }} {{ params.none }} {{ None }} {{ True }}"),
        json!("true false null null true")
    );
    assert_eq!(
        value("x{{ [true, none, {'a': false}] }}"),
        json!("x[true,null,{\"a\":false}]")
    );
    assert_eq!(value("{{ true | string }}"), json!("true"));
    assert_eq!(value("{{ [true, none] | join('/') }}"), json!("true/null"));
    assert_eq!(value("{{ {'a': true} | tojson }}"), json!("{\"a\":true}"));
}

#[test]
fn joined_text_knows_no_python_either() {
    assert_eq!(value("{{ 'a' ~ true }}"), json!("atrue"));
    assert_eq!(value("{{ none ~ '' ~ false }}"), json!("nullfalse"));
    assert_eq!(value("{{ 'x' ~ [true, none] }}"), json!("x[true,null]"));
    assert_eq!(value("{{ 1 ~ 2.0 ~ 'y' }}"), json!("12.0y"));
    assert_eq!(value("{{ 'a' ~ (1 > 0) ~ (2 * 3) }}"), json!("atrue6"));
    assert_eq!(
        value("{{ 'n=' ~ params.count + 1 ~ '!' if false else 'ok' }}"),
        json!("ok")
    );
    assert_eq!(value("{% set x = true ~ '' %}{{ x }}"), json!("true"));
    assert_eq!(
        value("{{ 'big ' ~ params.big ~ ' ' ~ params.size }}"),
        json!("big 18446744073709551615 {\"w\":512,\"h\":1.5}")
    );
}

#[test]
fn the_final_newline_of_a_block_is_kept() {
    assert_eq!(value("a\n{{ params.count }}\n"), json!("a\n4\n"));
    assert_eq!(value("{% if true %}a{% endif %}\n"), json!("a\n"));
    assert_eq!(value("{{ 'a' }}-\n\n"), json!("a-\n\n"));
}

#[test]
fn text_is_never_escaped_for_html() {
    assert_eq!(value("x {{ '<a & \"b\">' }}"), json!("x <a & \"b\">"));
    assert_eq!(value("{{ '<' ~ '>' | safe }}"), json!("<>"));
}

#[test]
fn large_integers_and_floats_stay_exact() {
    assert_eq!(value("{{ params.big }}"), json!(u64::MAX));
    assert_eq!(
        value("{{ params.seed + 0 }}"),
        json!(9_007_199_254_740_993_u64)
    );
    assert_eq!(value("{{ 1.0 }}"), json!(1.0));
    assert_eq!(value("{{ 4 / 2 }}"), json!(2.0));
    assert_eq!(value("{{ 4 // 2 }}"), json!(2));
    assert_eq!(error("{{ params.big + 1 }}").0, TemplateErrorKind::Failed);
}

#[test]
fn braces_inside_texts_and_maps_do_not_split_an_expression() {
    assert_eq!(value("{{ '}} {{' }}"), json!("}} {{"));
    assert_eq!(value("{{ {'a':{'b':1}}}}"), json!({"a": {"b": 1}}));
    assert_eq!(value("{{ 'a' }}{{ 'b' }}"), json!("ab"));
    assert_eq!(value("{{ 'a' ~ '}}' }} {{ '{{' }}"), json!("a}} {{"));
}

#[test]
fn a_keyword_that_a_filter_does_not_know_is_an_error() {
    for text in [
        "{{ [1] | join(with=',') }}",
        "{{ [1] | tojson(ident=2) }}",
        "{{ [2, 1] | sort(backwards=true) }}",
        "{{ mask(steps.one.image, off=steps.one.image) }}",
    ] {
        assert_eq!(error(text).0, TemplateErrorKind::Failed, "{text}");
    }
}

#[test]
fn steps_named_in_any_way_are_known_beforehand() {
    let steps = |text: &str| {
        let template = Template::parse(text).unwrap().unwrap();
        let uses = template.uses();
        (
            uses.steps.iter().cloned().collect::<Vec<_>>().join(","),
            uses.bare_steps.is_some(),
        )
    };
    assert_eq!(steps("{{ steps['up'].y }}"), ("up".to_owned(), false));
    assert_eq!(
        steps("{{ steps.a.image ~ steps.b.text }}"),
        ("a,b".to_owned(), false)
    );
    assert_eq!(steps("{% for i in steps.a.images %}{% endfor %}").0, "a");
    assert!(steps("{{ steps[params.x].y }}").1);
    assert!(steps("{{ steps | list }}").1);
}

#[test]
fn the_dump_of_an_error_holds_no_values() {
    // minijinja's debug information prints the values of all names that a template mentions.
    let scope = Scope::default().with("params", Datum::from(json!({"key": "hunter2", "n": 1})));
    for text in [
        "{{ params.key + params.n }}",
        "{{ params.key == params.m }}",
        "a {{ params.key }} {{ params.n() }}",
        "{{ params.key ~ nothing }}",
    ] {
        let template = Template::parse(text).unwrap().unwrap();
        let error = engine().eval(&template, &scope).unwrap_err();
        let shown = format!("{error:?} {error} {error:#?}");
        assert!(!shown.contains("hunter2"), "{text}: {shown}");
    }
}

#[test]
fn comments_are_comments_and_raw_is_raw() {
    assert_eq!(value("{# {{ nothing }} #}a{{ 1 }}"), json!("a1"));
    assert_eq!(
        value("{% raw %}{{ a ~ b }}{% endraw %}{{ 1 }}"),
        json!("{{ a ~ b }}1")
    );
}
