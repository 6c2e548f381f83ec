//! What works on a ComfyUI works on Comfy Cloud, and the key stays between the two of us.

use super::{KEY, VARIABLE, cloud, declared, ended, ended_with, keyed};
use crate::proofs::{assert_right, two_by};
use crate::quickstart::{complaints, examples, picture};
use crate::rules::secrets::kept_quiet;
use crate::support::{finish, repository};

#[test]
fn the_main_job_makes_every_picture_there_and_the_key_goes_nowhere_else() {
    let server = cloud(&[]);
    let project = examples();
    project.file("kiln.yaml", declared(&server.url));
    let photo = picture(&repository().join("pipelines/inputs/coffee.png"));
    let mut said = Vec::new();
    for flags in [&["--force"][..], &["--output", "json", "--force"]] {
        let args = [
            &["run", "pipelines/quickstart.yaml", "--server", "cloud"],
            flags,
        ]
        .concat();
        // The host that hands out files refuses whoever shows it a key.
        said.push(finish(&mut keyed(&project, KEY, &args)).ok());
        let results = project.path().join("outputs/quickstart/latest");
        assert_eq!(complaints(&results, &photo), Vec::<&str>::new());
    }
    assert_eq!(ended(&server).len(), 8);
    let shown = finish(&mut keyed(
        &project,
        KEY,
        &["show", "last", "--output", "json"],
    ));
    let plan = ["plan", "pipelines/quickstart.yaml", "--output", "json"];
    let plan = finish(&mut keyed(&project, KEY, &plan));
    let said = [&said[0], &said[1], &shown, &plan];
    kept_quiet(&project, &said, KEY);
    assert!(said[1].stdout.contains("prompt_id"), "events were told");
}

#[test]
fn results_feed_later_steps_there() {
    let server = cloud(&["--jobs", "3"]);
    let project = two_by(5, 64);
    project.file("kiln.yaml", declared(&server.url));
    finish(&mut keyed(&project, KEY, &["run", "p.yaml"])).ok();
    assert_right(&project.path().join("outputs/p/latest"), 5);
    assert_eq!(
        (ended_with(&server, "draw"), ended_with(&server, "invert")),
        (5, 5)
    );
    // The second run finds everything done.
    finish(&mut keyed(&project, KEY, &["run", "p.yaml"])).ok();
    assert_eq!(ended(&server).len(), 10);
}

#[test]
fn a_key_that_is_written_out_is_a_secret_all_the_same() {
    let server = cloud(&[]);
    let project = two_by(1, 64);
    let key = format!("api_key: \"{{{{ secret('{VARIABLE}') }}}}\"");
    let written = declared(&server.url).replace(&key, &format!("api_key: {KEY}"));
    assert!(written.contains(KEY));
    project.file("kiln.yaml", written);
    let run = project.kiln(&["run", "p.yaml", "--output", "json"]).ok();
    let plan = project.kiln(&["plan", "p.yaml", "--output", "json"]).ok();
    let show = project.kiln(&["show", "last", "--output", "json"]).ok();
    kept_quiet(&project, &[&run, &plan, &show], KEY);
}

#[test]
fn an_undeclared_cloud_takes_its_key_from_the_environment_and_says_so_when_there_is_none() {
    let project = two_by(1, 64);
    let done = project.kiln(&["run", "p.yaml", "--server", "cloud"]);
    assert_eq!(done.code, 5, "{}", done.stderr);
    done.says("COMFY_CLOUD_API_KEY");
}

#[test]
fn a_missing_key_is_named_before_anything_is_asked() {
    let server = cloud(&[]);
    let project = two_by(1, 64);
    project.file("kiln.yaml", declared(&server.url));
    project.kiln(&["run", "p.yaml"]).code(3).says(VARIABLE);
    assert!(ended(&server).is_empty());
}
