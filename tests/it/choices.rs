//! What the command line, the environment and profiles choose: settings, large runs, resuming, rehearsals.

use serde_json::{Value, json};

use crate::support::Project;

const CARD: &str = r#"{
  "1": { "class_type": "EmptyImage", "inputs": { "width": 16, "height": 16, "batch_size": 1, "color": 255 } },
  "9": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "card" } }
}"#;

fn project(kiln_yaml: &str, pipeline: &str) -> Project {
    let project = Project::new();
    project.file("kiln.yaml", kiln_yaml);
    project.file("p.yaml", pipeline);
    project.file("card.json", CARD);
    project
}

fn planned(project: &Project, flags: &[&str], env: &[(&str, &str)]) -> Value {
    let mut args = vec!["plan", "p.yaml", "--output", "json"];
    args.extend(flags);
    let mut command = project.command(&args);
    command.envs(env.iter().copied());
    serde_json::from_str(&crate::support::finish(&mut command).ok().stdout).unwrap()
}

#[test]
fn flags_win_over_variables_over_the_profile_over_the_files() {
    let project = project(
        "servers:\n  sketch: { kind: embedded }\nprofiles:\n  draft: { server: sketch, max_parallel: 3, params: { size: 64, other: 1 } }\n",
        "params:\n  size: { type: integer, default: 16 }\nmax_parallel: 5\nsteps:\n  card:\n    workflow: card.json\n    server: local\n    set: { EmptyImage: { width: \"{{ params.size }}\" } }\n",
    );
    let seen = |flags: &[&str], env: &[(&str, &str)]| {
        let plan = planned(&project, flags, env);
        let servers = plan["servers"].as_object().unwrap();
        let servers = servers.keys().cloned().collect::<Vec<_>>().join(",");
        let size = &plan["params"]["size"];
        let size = size.get("value").unwrap_or(size).as_i64().unwrap();
        (servers, size)
    };
    assert_eq!(seen(&[], &[]), ("local".to_owned(), 16));
    let draft = [("KILN_PROFILE", "draft")];
    assert_eq!(seen(&[], &draft), ("sketch".to_owned(), 64));
    assert_eq!(
        seen(&["--profile", "draft", "-p", "size=32"], &[]),
        ("sketch".to_owned(), 32)
    );
    let both = [("KILN_PROFILE", "draft"), ("KILN_SERVER", "embedded")];
    assert_eq!(seen(&[], &both), ("embedded".to_owned(), 64));
    let typed = seen(&["--server", "sketch"], &both);
    assert_eq!(typed, ("sketch".to_owned(), 64), "what is typed wins");
}

#[test]
fn a_profile_that_is_not_declared_is_a_mistake_on_the_command_line() {
    let project = project(
        "profiles:\n  draft: { params: {} }\n",
        "steps:\n  card: { workflow: card.json }\n",
    );
    let done = project
        .kiln(&["run", "p.yaml", "--profile", "drift"])
        .code(2);
    done.says("there is no profile `drift`");
    done.says("did you mean `draft`?");
}

#[test]
fn a_run_of_very_many_tasks_is_not_started_unasked() {
    let project = project(
        "",
        "steps:\n  card:\n    workflow: card.json\n    matrix: { i: \"{{ range(1001) }}\" }\n",
    );
    let done = project.kiln(&["run", "p.yaml"]).code(2);
    done.says("this run has 1001 tasks");
    done.says("--yes");
    assert!(
        !project.path().join("outputs").exists(),
        "nothing was begun"
    );
}

#[test]
fn resuming_what_is_done_or_unknown_says_so() {
    let project = project(
        "",
        "params:\n  size: { type: integer, default: 16 }\nsteps:\n  card:\n    workflow: card.json\n    set: { EmptyImage: { width: \"{{ params.size }}\" } }\n",
    );
    let none = project.kiln(&["run", "--resume", "last"]).code(2);
    none.says("there is no run to resume");
    project.kiln(&["run", "p.yaml", "-p", "size=24"]).ok();
    let done = project.kiln(&["run", "--resume", "last"]).ok();
    done.says("nothing to do: run ");
    let unknown = project
        .kiln(&["run", "--resume", "20200101-000000-abcd"])
        .code(2);
    unknown.says("there is no run");
    let fixed = project
        .kiln(&["run", "--resume", "last", "--server", "local"])
        .code(2);
    fixed.says("`--server` would change it");
    let wrong = project
        .kiln(&["run", "--resume", "last", "-p", "sice=3"])
        .code(2);
    wrong.says("did you mean `size`?");
}

#[test]
fn resuming_with_other_params_takes_the_rest_from_the_earlier_run() {
    let project = project(
        "",
        "params:\n  size: { type: integer, default: 16 }\n  seed: { type: seed, default: random }\nsteps:\n  card:\n    workflow: card.json\n    set: { EmptyImage: { width: \"{{ params.size }}\", height: \"{{ 8 + params.seed % 64 }}\" } }\n",
    );
    let heights = || {
        let folder = project.path().join("outputs/p/latest/card");
        let file = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap();
        let picture = kiln_pixels::decode(&std::fs::read(file.path()).unwrap())
            .unwrap()
            .image;
        (picture.width(), picture.height())
    };
    project.kiln(&["run", "p.yaml", "-p", "size=24"]).ok();
    let (width, height) = heights();
    assert_eq!(width, 24);
    project
        .kiln(&["run", "--resume", "last", "-p", "size=40"])
        .ok();
    assert_eq!(heights(), (40, height), "the seed that was drawn is kept");
}

#[test]
fn a_pipeline_of_model_nodes_rehearses_on_a_simulating_server() {
    let project = project(
        "servers:\n  sketch: { kind: embedded, simulate: true }\n",
        "server: sketch\nsteps:\n  base:\n    workflow: txt2img.json\n    set: { KSampler: { seed: 7 } }\n  large:\n    workflow: upscale.json\n    set: { LoadImage: { image: \"{{ steps.base.image }}\" } }\n",
    );
    let txt2img = json!({
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 48, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a teapot", "clip": ["4", 1]}},
        "3": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 4, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal",
            "denoise": 1.0, "model": ["4", 0], "positive": ["6", 0], "negative": ["6", 0], "latent_image": ["5", 0]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "base"}},
    });
    let upscale = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
        "2": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "2x.pth"}},
        "3": {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["2", 0], "image": ["1", 0]}},
        "4": {"class_type": "PackNodeThatNobodyKnows", "inputs": {"image": ["3", 0], "strength": 0.5}},
        "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "large"}},
    });
    project.file("txt2img.json", txt2img.to_string());
    project.file("upscale.json", upscale.to_string());
    project
        .kiln(&["check", "p.yaml", "--deny", "warnings"])
        .ok();
    let done = project.kiln(&["run", "p.yaml"]).ok();
    let paths: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(paths.len(), 2, "{}\n{}", done.stdout, done.stderr);
    let last = std::fs::read(project.path().join(paths[1])).unwrap();
    let last = kiln_pixels::decode(&last).unwrap().image;
    assert_eq!((last.width(), last.height()), (128, 96));
    let real = project
        .kiln(&["check", "p.yaml", "--server", "embedded"])
        .code(3);
    assert!(
        real.stderr.contains("K0201"),
        "nothing is acted unasked: {}",
        real.stderr
    );
}
