//! What `kiln check` finds beyond a server's own validation, and how it tells it.

mod across;
mod formats;

use serde_json::{Value, json};

use crate::support::{Done, Project, Server, finish, repository};

/// A picture that a step may make.
const BASE: &str = r#"{
  "1": {"class_type": "EmptyImage", "inputs": {"width": 8}},
  "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}
}"#;

/// A catalog of our own, in the shape of a server's answer.
fn catalog() -> Value {
    let matched = |id: &str, types: &str| json!(["COMFY_MATCHTYPE_V3", {"template": {"template_id": id, "allowed_types": types}}]);
    json!({
        "EmptyImage": {"input": {"required": {"width": ["INT", {"default": 512, "min": 1, "max": 4096, "tooltip": "How wide."}]}}, "output": ["IMAGE"], "python_module": "nodes"},
        "EmptyLatent": {"input": {"required": {}}, "output": ["LATENT"]},
        "LoadImage": {"input": {"required": {"image": [["a.png"], {"image_upload": true}]}}, "output": ["IMAGE", "MASK"]},
        "LoadAudio": {"input": {"required": {"audio": ["COMBO", {"options": ["a.mp3"], "audio_upload": true}]}}, "output": ["AUDIO"]},
        "ImageInvert": {"input": {"required": {"image": ["IMAGE", {}]}}, "output": ["IMAGE"]},
        "OldInvert": {"input": {"required": {"image": ["IMAGE", {}]}}, "output": ["IMAGE"], "deprecated": true},
        "NewInvert": {"input": {"required": {"image": ["IMAGE", {}]}}, "output": ["IMAGE"], "experimental": true},
        "Painted": {"input": {"required": {"prompt": ["STRING", {"multiline": true}]}}, "output": ["IMAGE"], "api_node": true},
        "Switch": {"input": {"required": {"on": ["BOOLEAN", {}]}, "optional": {"yes": matched("t", "*"), "no": matched("t", "*")}}, "output": ["COMFY_MATCHTYPE_V3"], "output_matchtypes": ["t"]},
        "Either": {"input": {"required": {"input": matched("e", "IMAGE,MASK")}}, "output": ["COMFY_MATCHTYPE_V3"], "output_matchtypes": ["e"]},
        "Lora": {"input": {"required": {"lora_name": [["style/ink.safetensors"], {}], "strength": ["FLOAT", {"default": 1.0, "min": -2.0, "max": 2.0}]}}, "output": ["MODEL"]},
        "Checkpoint": {"input": {"required": {"ckpt_name": [["sd15.safetensors", "sdxl\\base.safetensors"], {}]}}, "output": ["MODEL"]},
        "ShowModel": {"input": {"required": {"model": ["MODEL", {}]}}, "output": [], "output_node": true},
        "SaveImage": {"input": {"required": {"images": ["IMAGE", {}], "filename_prefix": ["STRING", {"default": "x"}]}}, "output": [], "output_node": true},
        "SaveVideo": {"input": {"required": {"video": ["VIDEO", {}]}}, "output": [], "output_node": true},
        "SaveLatent": {"input": {"required": {"samples": ["LATENT", {}]}}, "output": [], "output_node": true},
        "Film": {"input": {"required": {"images": ["IMAGE", {}]}}, "output": ["VIDEO"]},
    })
}

fn node(class: &str, inputs: &Value) -> Value {
    json!({"class_type": class, "inputs": inputs})
}

/// A workflow that makes an image with `nodes` and saves node `1`.
fn saving(nodes: &Value) -> String {
    let mut all = nodes.clone();
    all["9"] = node(
        "SaveImage",
        &json!({"images": ["1", 0], "filename_prefix": "x"}),
    );
    format!("{all:#}")
}

fn project(files: &[(&str, &str)]) -> Project {
    let project = Project::new();
    project.file("catalog.json", catalog().to_string());
    for (name, text) in files {
        project.file(name, text);
    }
    project
}

fn check(project: &Project, rest: &[&str]) -> Done {
    let mut command = project.command(&["check", "--catalog", "catalog.json"]);
    finish(command.args(rest))
}

/// What is said about a workflow; one that a server accepts exits with 0.
fn told(nodes: &Value) -> String {
    let project = project(&[("w.json", &saving(nodes))]);
    check(&project, &["w.json"]).ok().stderr
}

/// What is said about a workflow by code.
fn codes_of(nodes: &Value) -> Vec<String> {
    let project = project(&[("w.json", &saving(nodes))]);
    let done = check(&project, &["--output", "json", "w.json"]);
    let line: Value = serde_json::from_str(done.stdout.trim()).unwrap();
    let found = line["diagnostics"].as_array().unwrap();
    found
        .iter()
        .map(|d| d["code"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn classes_that_their_pack_gives_up_and_nodes_that_lead_nowhere_are_named() {
    insta::assert_snapshot!(told(&json!({
        "0": node("EmptyImage", &json!({"width": 8})),
        "1": node("OldInvert", &json!({"image": ["2", 0]})),
        "2": node("OldInvert", &json!({"image": ["3", 0]})),
        "3": node("NewInvert", &json!({"image": ["0", 0]})),
        "4": node("ImageInvert", &json!({"image": ["5", 0]})),
        "5": node("ImageInvert", &json!({"image": ["0", 0]})),
        "6": node("EmptyImage", &json!({"width": 0})),
    })));
}

#[test]
fn what_flows_through_a_switch_is_followed() {
    let image = || node("EmptyImage", &json!({"width": 8}));
    insta::assert_snapshot!(told(&json!({
        "0": node("EmptyLatent", &json!({})),
        "1": node("Switch", &json!({"on": true, "yes": ["0", 0], "no": ["2", 0]})),
        "2": node("Either", &json!({"input": ["0", 0]})),
    })));
    for sound in [
        json!({"0": image(), "1": node("Switch", &json!({"on": true, "yes": ["0", 0], "no": ["0", 0]}))}),
        json!({"0": image(), "1": node("Either", &json!({"input": ["0", 0]}))}),
        json!({"0": image(), "1": node("Switch", &json!({"on": true, "yes": ["2", 0]})), "2": node("Switch", &json!({"on": true, "no": ["0", 0]}))}),
        // A node that passes on its own result is a cycle, which the server tells of.
        json!({"0": image(), "1": node("Switch", &json!({"on": true, "yes": ["0", 0], "no": "x"}))}),
    ] {
        assert_eq!(codes_of(&sound), [""; 0], "{sound}");
    }
}

#[test]
fn a_value_where_only_a_link_can_stand_is_told() {
    insta::assert_snapshot!(told(&json!({
        "1": node("ImageInvert", &json!({"image": "photo.png"})),
    })));
}

#[test]
fn a_node_without_inputs_kills_servers() {
    let mut nodes = json!({"1": node("EmptyImage", &json!({"width": 8}))});
    nodes["2"] = json!({"class_type": "EmptyLatent"});
    nodes["3"] = node("SaveLatent", &json!({"samples": ["2", 0]}));
    insta::assert_snapshot!(told(&nodes));
}

#[test]
fn partner_nodes_want_a_key() {
    let nodes = json!({"1": node("Painted", &json!({"prompt": "a teapot"}))});
    insta::assert_snapshot!(told(&nodes));
    let project = project(&[
        ("w.json", &saving(&nodes)),
        ("kiln.yaml", "partner_api_key: x\n"),
    ]);
    check(&project, &["w.json"]).ok().says_not("K0313");
    let unused = json!({
        "1": node("EmptyImage", &json!({"width": 8})),
        "2": node("Painted", &json!({"prompt": "a teapot"})),
    });
    assert_eq!(codes_of(&unused), ["K0308"]);
}

#[test]
fn a_model_is_found_in_the_folder_where_it_lies() {
    let show = |nodes: &Value| {
        let mut all = nodes.clone();
        all["s"] = node("ShowModel", &json!({"model": ["m", 0]}));
        let project = project(&[("w.json", &format!("{all:#}"))]);
        check(&project, &["w.json"]).code(3).stderr
    };
    let checkpoint =
        |name: &str| show(&json!({"m": node("Checkpoint", &json!({"ckpt_name": name}))}));
    insta::assert_snapshot!(checkpoint("ink.safetensors"));
    // The same file with the other system's separator.
    let near = checkpoint("sdxl/base.safetensors");
    assert!(
        near.contains(r"did you mean `sdxl\base.safetensors`?"),
        "{near}"
    );
    let moved = checkpoint("other/sd15.safetensors");
    assert!(
        moved.contains("did you mean `sd15.safetensors`?"),
        "{moved}"
    );
}

#[test]
fn a_saved_catalog_tells_the_folder_of_a_model() {
    let saved = json!({
        "kiln_catalog": 1,
        "models": {"loras": ["style/paint.safetensors"], "vae": []},
        "object_info": catalog(),
    });
    let workflow = json!({
        "m": node("Checkpoint", &json!({"ckpt_name": "paint.safetensors"})),
        "s": node("ShowModel", &json!({"model": ["m", 0]})),
    });
    let project = project(&[
        ("saved.json", &saved.to_string()),
        ("w.json", &workflow.to_string()),
    ]);
    let done = project
        .kiln(&["check", "--catalog", "saved.json", "w.json"])
        .code(3);
    done.says("it lies in `loras`, where `ckpt_name` does not look");
}

#[test]
fn whether_a_server_accepts_what_nobody_here_can_know_is_left_open() {
    let accepted = |name: &str, more: &Value| {
        let mut nodes = json!({"1": node("LoadImage", &json!({"image": name}))});
        for (id, node) in more.as_object().unwrap() {
            nodes[id] = node.clone();
        }
        let project = project(&[("w.json", &saving(&nodes))]);
        let done = check(&project, &["--output", "json", "w.json"]);
        let line: Value = serde_json::from_str(done.stdout.trim()).unwrap();
        (line["accepted"].clone(), line["runs"].clone())
    };
    let none = json!({});
    assert_eq!(accepted("a.png", &none), (json!(true), json!(["9"])));
    assert_eq!(accepted("b.png", &none), (json!(false), json!([])));
    assert_eq!(accepted("mine/b.png", &none), (json!(null), json!(["9"])));
    // Another output runs in any case.
    let other = json!({"2": node("EmptyImage", &json!({"width": 8})), "3": node("SaveImage", &json!({"images": ["2", 0], "filename_prefix": "x"}))});
    assert_eq!(
        accepted("mine/b.png", &other),
        (json!(true), json!(["3", "9"]))
    );
    // Another mistake refuses it in any case.
    let broken = json!({"1": node("ImageInvert", &json!({"image": ["2", 0]})), "2": node("EmptyImage", &json!({"width": 0}))});
    assert_eq!(accepted("mine/b.png", &broken), (json!(false), json!([])));
}

/// What `check` answers in JSON: whether it is accepted, what runs, and code, severity and input of each complaint.
fn answer(project: &Project, args: &[&str]) -> (Value, Value, Vec<String>) {
    let done = check(project, &[&["--output", "json"], args].concat());
    let line: Value = serde_json::from_str(done.stdout.trim()).unwrap();
    let told = line["diagnostics"].as_array().unwrap().iter();
    let told = told.map(|d| {
        let word = |name: &str| d[name].as_str().unwrap_or("-").to_owned();
        [word("code"), word("severity"), word("input")].join(" ")
    });
    let told = told.collect();
    (line["accepted"].clone(), line["runs"].clone(), told)
}

#[test]
fn what_set_changes_is_answered_as_a_server_would() {
    let nodes = json!({
        "0": node("EmptyImage", &json!({"width": 8})),
        "1": node("LoadImage", &json!({"image": "mine/b.png"})),
        "2": node("ImageInvert", &json!({"image": ["0", 0]})),
    });
    let project = project(&[
        ("w.json", &saving(&nodes)),
        ("p.yaml", "steps: { a: { workflow: w.json } }\n"),
        (
            "q.yaml",
            "steps: { a: { workflow: w.json, set: { '1': { image: a.png } } } }\n",
        ),
        ("photo.png", "not really"),
    ]);
    let unsure = |args: &[&str]| {
        let (accepted, runs, told) = answer(&project, args);
        assert!(
            told.iter().any(|told| told == "K0304 warning image"),
            "{told:?}"
        );
        (accepted, runs)
    };
    let nothing = (json!(null), json!(["9"]));
    assert_eq!(unsure(&["w.json"]), nothing);
    assert_eq!(unsure(&["--set", "9.filename_prefix=y", "w.json"]), nothing);
    assert_eq!(unsure(&["p.yaml"]), (json!(null), json!([])), "a pipeline");
    for sound in ["1.image=a.png", "1.image={{ file('photo.png') }}"] {
        let (accepted, runs, _) = answer(&project, &["--set", sound, "w.json"]);
        assert_eq!((accepted, runs), (json!(true), json!(["9"])), "{sound}");
    }
    let (accepted, runs, _) = answer(&project, &["--set", "1.image=b.png", "w.json"]);
    assert_eq!((accepted, runs), (json!(false), json!([])));
    assert_eq!(answer(&project, &["q.yaml"]).0, json!(true));
}

#[test]
fn what_a_pack_may_check_by_itself_is_a_warning() {
    let mut info = catalog();
    info["Pack"] = json!({"input": {"required": {"mode": [["a"], {}], "n": ["INT", {"max": 10}]}}, "output": ["IMAGE"], "python_module": "custom_nodes.pack"});
    let nodes = json!({"1": node("Pack", &json!({"mode": "b", "n": 11}))});
    let project = project(&[("w.json", &saving(&nodes))]);
    project.file("catalog.json", info.to_string());
    let (accepted, runs, told) = answer(&project, &["w.json"]);
    assert_eq!((accepted, runs), (json!(null), json!(["9"])));
    assert_eq!(told, ["K0203 warning mode", "K0206 warning n"]);
    insta::assert_snapshot!(check(&project, &["w.json"]).ok().stderr);
}

#[test]
fn inputs_that_nobody_declares_are_told_by_what_becomes_of_them() {
    let mut info = catalog();
    info["Pack"] = json!({"input": {"required": {"strength": ["FLOAT", {}]}}, "output": ["IMAGE"], "python_module": "custom_nodes.pack"});
    let nodes = json!({
        "0": node("EmptyImage", &json!({"width": 8, "extra": ["2", 0], "more": 1})),
        "1": node("Pack", &json!({"strength": 1.0, "lora_1": {"on": true}, "strenght": 2, "any_01": ["0", 0]})),
        "2": node("EmptyImage", &json!({"width": 8})),
    });
    let project = project(&[("w.json", &saving(&nodes))]);
    project.file("catalog.json", info.to_string());
    insta::assert_snapshot!(check(&project, &["w.json"]).ok().stderr);
    let (_, _, told) = answer(&project, &["w.json"]);
    let wanted = [
        "K0301 warning extra",
        "K0301 warning more",
        "K0301 note lora_1",
        "K0301 warning strenght",
        "K0301 note any_01",
    ];
    assert_eq!(told, wanted);
}

#[test]
fn circles_through_inputs_that_no_server_looks_at_are_told() {
    let circle = json!({
        "0": node("EmptyImage", &json!({"width": 8, "after": ["2", 0]})),
        "1": node("ImageInvert", &json!({"image": ["2", 0]})),
        "2": node("ImageInvert", &json!({"image": ["0", 0]})),
    });
    insta::assert_snapshot!(told(&circle));
    let own = json!({"1": node("EmptyImage", &json!({"width": 8, "after": ["1", 0]}))});
    assert_eq!(codes_of(&own), ["K0301", "K0317"]);
    // The same links without a way back.
    let sound = json!({
        "0": node("EmptyImage", &json!({"width": 8})),
        "1": node("ImageInvert", &json!({"image": ["2", 0], "after": ["0", 0]})),
        "2": node("ImageInvert", &json!({"image": ["0", 0]})),
    });
    assert_eq!(codes_of(&sound), ["K0301"]);
    // A circle of declared inputs is the server's to tell.
    let declared = json!({
        "1": node("ImageInvert", &json!({"image": ["2", 0]})),
        "2": node("ImageInvert", &json!({"image": ["1", 0]})),
    });
    assert!(!codes_of(&declared).contains(&"K0317".to_owned()));
}

#[test]
fn a_class_that_another_takes_the_place_of_is_not_missing() {
    let mut info = catalog();
    info["ControlNetLoader"] =
        json!({"input": {"required": {"control_net_name": [["a.pth"], {}]}}, "output": ["MODEL"]});
    let workflow = |name: &str, more: &Value| {
        let mut old = node("T2IAdapterLoader", &json!({"t2i_adapter_name": name}));
        for (key, value) in more.as_object().unwrap() {
            old[key] = value.clone();
        }
        json!({"1": old, "2": node("ShowModel", &json!({"model": ["1", 0]}))}).to_string()
    };
    let titled = json!({"_meta": {"title": "Old one"}});
    let replaced = json!({"T2IAdapterLoader": [{"new_node_id": "ControlNetLoader", "input_mapping": [{"new_id": "control_net_name", "old_id": "t2i_adapter_name"}]}]});
    let saved = |replaced: &Value| {
        json!({"kiln_catalog": 1, "models": {}, "node_replacements": replaced, "object_info": info})
            .to_string()
    };
    let project = project(&[
        ("w.json", &workflow("a.pth", &titled)),
        ("bare.json", &workflow("a.pth", &json!({}))),
        ("wrong.json", &workflow("b.pth", &titled)),
    ]);
    // Nobody knows what this server does.
    project.file("catalog.json", info.to_string());
    let (accepted, runs, told) = answer(&project, &["w.json"]);
    assert_eq!((accepted, runs), (json!(null), json!(["2"])));
    assert_eq!(told, ["K0316 warning -"]);
    insta::assert_snapshot!(check(&project, &["bare.json"]).ok().stderr);
    // It says what it does.
    project.file("catalog.json", saved(&replaced));
    let (accepted, _, told) = answer(&project, &["w.json"]);
    assert_eq!(
        (accepted, told),
        (json!(true), vec!["K0316 note -".to_owned()])
    );
    assert_eq!(answer(&project, &["bare.json"]).2, ["K0316 warning -"]);
    insta::assert_snapshot!(check(&project, &["wrong.json"]).code(3).stderr);
    // It says that it does nothing of the kind.
    project.file("catalog.json", saved(&json!({})));
    let (accepted, _, told) = answer(&project, &["w.json"]);
    assert_eq!(
        (accepted, told),
        (json!(false), vec!["K0201 error -".to_owned()])
    );
}

#[test]
fn definitions_that_cannot_be_read_are_told_when_they_are_needed() {
    let project = project(&[("w.json", BASE)]);
    let mut odd = catalog();
    odd["SaveVideo"] = json!({"input": 7});
    project.file("catalog.json", odd.to_string());
    assert_eq!(check(&project, &["w.json"]).ok().stderr, "ok w.json\n");
    odd["EmptyImage"] = json!({"input": {"required": {"width": 5}}});
    project.file("catalog.json", odd.to_string());
    let done = check(&project, &["w.json"]).code(3);
    done.says("warning: node `EmptyImage` is left out: input `width`: its type is neither a name nor a list");
    done.says("the server has no node class `EmptyImage`");
}

#[test]
fn what_servers_write_into_json_and_what_is_no_catalog_is_told_apart() {
    let project = project(&[("w.json", BASE)]);
    let text = catalog()
        .to_string()
        .replacen("\"max\":4096", "\"max\":Infinity,\"x\":NaN", 1);
    project.file("catalog.json", format!("\u{feff}{text}"));
    check(&project, &["w.json"]).ok();
    let deep = format!(
        "{{\"EmptyImage\":{{\"input\":{}{}}},\"SaveImage\":{{}}}}",
        "[".repeat(5_000_000),
        "]".repeat(5_000_000)
    );
    for (text, complaint) in [
        (
            "<html>".to_owned(),
            "the catalog `catalog.json` is not JSON",
        ),
        (
            "[1]".to_owned(),
            "the catalog `catalog.json` is no map of node classes",
        ),
        (
            "{\"error\": \"no\"}".to_owned(),
            "the catalog `catalog.json` is no map of node classes",
        ),
        (
            catalog().to_string()[..500].to_owned(),
            "the catalog `catalog.json` is not JSON: EOF",
        ),
        (
            deep,
            "node `EmptyImage` is left out: recursion limit exceeded",
        ),
    ] {
        project.file("catalog.json", &text);
        check(&project, &["w.json"]).code(3).says(complaint);
    }
    std::fs::write(project.path().join("catalog.json"), b"{\"\xff\": 1}").unwrap();
    check(&project, &["w.json"]).code(3).says("catalog.json");
}

#[test]
fn a_server_is_asked_for_files_that_its_lists_do_not_show() {
    let server = Server::start(&[]);
    let input = server.dir().join("input/mine");
    std::fs::create_dir_all(&input).unwrap();
    std::fs::copy(
        repository().join("pipelines/inputs/coffee.png"),
        input.join("b.png"),
    )
    .unwrap();
    let workflow = |name: &str| saving(&json!({"1": node("LoadImage", &json!({"image": name}))}));
    let project = Project::of(&[
        ("there.json", &workflow("mine/b.png")),
        ("gone.json", &workflow("mine/c.png")),
    ]);
    let accepted = |file: &str| {
        let done = project.kiln(&["check", "--server", &server.url, "--output", "json", file]);
        let line: Value = serde_json::from_str(done.stdout.trim()).unwrap();
        line["accepted"].clone()
    };
    assert_eq!(accepted("there.json"), json!(true));
    assert_eq!(accepted("gone.json"), json!(false));
}

#[test]
fn a_server_that_is_away_is_checked_against_what_it_told_before() {
    let server = Server::start(&[]);
    let address = server.url.clone();
    let wrong = saving(
        &json!({"1": node("EmptyImage", &json!({"width": 0, "height": 8, "batch_size": 1, "color": 0}))}),
    );
    let project = Project::of(&[("w.json", &wrong)]);
    let check = |file: &str| project.kiln(&["check", "--server", &address, file]);
    check("w.json").code(3).says("K0205");
    // Nothing is written where nothing ever ran.
    assert!(!project.path().join(".kiln").exists());
    std::fs::create_dir(project.path().join(".kiln")).unwrap();
    check("w.json").code(3).says("K0205");
    drop(server);
    let away = check("w.json").code(3);
    away.says("K0401");
    away.says("checked against what it offered on 20");
    away.says("K0205");
    // Of classes that it was never asked for nothing is known.
    let other = saving(
        &json!({"1": node("ImageInvert", &json!({"image": "x"})), "2": node("Emty", &json!({}))}),
    );
    project.file("other.json", other);
    let blind = check("other.json").ok();
    blind.says("checked without it");
    blind.says_not("K0201");
    // It is in the format that `--catalog` reads.
    let kept = std::fs::read_dir(project.path().join(".kiln/catalogs")).unwrap();
    let kept = kept.map(|entry| entry.unwrap().path()).next().unwrap();
    project
        .kiln(&["check", "--catalog", kept.to_str().unwrap(), "w.json"])
        .code(3)
        .says("K0205");
}

#[test]
fn a_missing_class_is_told_with_the_pack_that_another_server_has_it_from() {
    let kept = json!({
        "kiln_catalog": 1, "version": "0.33.0", "saved": "2026-11-22T10:00:00Z",
        "object_info": {"FaceDetailer": {"input": {}, "output": ["IMAGE"], "python_module": "custom_nodes.ComfyUI-Impact-Pack"}},
    });
    let nodes = json!({"1": node("FaceDetailer", &json!({}))});
    let project = project(&[
        ("w.json", &saving(&nodes)),
        (".kiln/catalogs/farm-0123abcd.json", &kept.to_string()),
    ]);
    check(&project, &["w.json"]).code(3).says(
        "the server `farm` has `FaceDetailer` from the node pack `ComfyUI-Impact-Pack`: install that pack",
    );
}

#[test]
fn one_bad_file_does_not_keep_the_others_from_being_checked() {
    let good = saving(&json!({"1": node("EmptyImage", &json!({"width": 8}))}));
    let project = project(&[("good.json", &good)]);
    project.file("latin.json", b"{\"1\": {\"class_type\": \"Emp\xe9\"}}");
    let utf16: Vec<u8> = std::iter::once(0xfeff)
        .chain(good.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    project.file("utf16.json", utf16);
    project.file("deep.json", "[".repeat(1_000_000));
    project.file(
        "nested.json",
        format!(
            "{{\"1\": {{\"class_type\": \"EmptyImage\", \"inputs\": {{\"width\": {}1{}}}}}}}",
            "[".repeat(5000),
            "]".repeat(5000)
        ),
    );
    project.file("cut.json", &good[..good.len() / 2]);
    let mut big = json!({});
    for at in 0..50_000 {
        big[at.to_string()] = node("EmptyImage", &json!({"width": 8, "text": "x".repeat(400)}));
    }
    project.file("big.json", big.to_string());
    let files = [
        "latin.json",
        "utf16.json",
        "deep.json",
        "nested.json",
        "cut.json",
        "big.json",
        "good.json",
    ];
    let done = check(&project, &[&["--output", "json"], &files[..]].concat()).code(3);
    let lines = done.json_lines();
    assert_eq!(lines.len(), files.len());
    for (line, file) in lines.iter().zip(files) {
        assert_eq!(line["file"], file);
        let found = line["diagnostics"].as_array().unwrap();
        let is_good = ["good.json", "utf16.json"].contains(&file);
        assert_eq!(found.is_empty(), is_good, "{file}");
        assert!(found.len() < 1000, "{file} says too much");
    }
    assert_eq!(lines[6]["accepted"], true);
}
