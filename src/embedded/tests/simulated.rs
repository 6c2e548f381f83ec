//! Rehearsals: graphs that this server cannot compute, acted.

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Fixture, kinds};
use crate::embedded::{Options, Simulate};
use crate::protocol::Frame;

async fn rehearsal() -> Fixture {
    Fixture::with(Options {
        simulate: Some(Simulate::default()),
        ..Options::default()
    })
    .await
}

fn txt2img(seed: u64) -> Value {
    json!({
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "any.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 96, "height": 64, "batch_size": 2}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a teapot", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}},
        "3": {"class_type": "KSampler", "inputs": {"seed": seed, "steps": 8, "cfg": 7.0, "sampler_name": "euler",
            "scheduler": "normal", "denoise": 1.0, "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "shot"}},
    })
}

async fn fetch(server: &Fixture, file: &Value) -> Vec<u8> {
    let text = |key: &str| file[key].as_str().unwrap();
    let query = format!(
        "/view?filename={}&subfolder={}&type={}",
        text("filename"),
        text("subfolder"),
        text("type")
    );
    let answer = server.get(&query).await;
    assert!(answer.status().is_success());
    answer.bytes().await.unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_txt2img_graph_rehearses_into_marked_pictures_of_its_size() {
    let server = rehearsal().await;
    let mut pictures = Vec::new();
    for seed in [1, 1, 2] {
        let record = server.run(txt2img(seed)).await;
        assert_eq!(record["status"]["status_str"], "success", "{record}");
        let files = record["outputs"]["9"]["images"].as_array().unwrap().clone();
        assert_eq!(files.len(), 2, "the batch");
        let bytes = fetch(&server, &files[0]).await;
        pictures.push(kiln_pixels::decode(&bytes).unwrap().image);
    }
    assert_eq!((pictures[0].width(), pictures[0].height()), (96, 64));
    assert_eq!(pictures[0], pictures[1], "the same seed, the same picture");
    assert_ne!(pictures[0], pictures[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sampler_tells_of_its_steps_and_shows_previews() {
    let server = rehearsal().await;
    let mut socket = server.socket("me").await;
    let body = json!({ "prompt": txt2img(3), "client_id": "me" });
    server.post("/prompt", body).await;
    let (mut texts, mut previews) = (Vec::new(), 0);
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                let end = message["type"] == "executing" && message["data"]["node"].is_null();
                texts.push(message);
                if end {
                    break;
                }
            }
            Message::Binary(bytes) => {
                let Frame::PreviewWithMetadata { metadata, image } = Frame::parse(&bytes).unwrap()
                else {
                    panic!("a preview says whose it is")
                };
                assert_eq!(metadata["node_id"], "3");
                assert!(kiln_pixels::decode(image).is_ok());
                previews += 1;
            }
            _ => {}
        }
    }
    let steps = texts.iter().filter(|m| m["type"] == "progress");
    let steps: Vec<_> = steps
        .map(|m| m["data"]["value"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(previews, 4);
    assert!(kinds(&texts).contains(&"execution_success"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_sounds_and_videos_each_rehearse() {
    let server = rehearsal().await;
    server.upload("cat.png", &png(), &[]).await;
    let graph = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}},
        "2": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "4x-sharp.pth"}},
        "3": {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["2", 0], "image": ["1", 0]}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "large"}},
        "5": {"class_type": "EmptyHunyuanLatentVideo", "inputs": {"width": 64, "height": 48, "length": 5, "batch_size": 1}},
        "6": {"class_type": "VAELoader", "inputs": {"vae_name": "v"}},
        "7": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["6", 0]}},
        "8": {"class_type": "CreateVideo", "inputs": {"images": ["7", 0], "fps": 8.0}},
        "9": {"class_type": "SaveVideo", "inputs": {"video": ["8", 0], "filename_prefix": "film", "format": "auto", "codec": "auto"}},
        "10": {"class_type": "EmptyLatentAudio", "inputs": {"seconds": 1.5, "batch_size": 1}},
        "11": {"class_type": "VAEDecodeAudio", "inputs": {"samples": ["10", 0], "vae": ["6", 0]}},
        "12": {"class_type": "SaveAudio", "inputs": {"audio": ["11", 0], "filename_prefix": "song"}},
        "13": {"class_type": "Pack Odd Thing", "inputs": {"anything": ["7", 0], "text": "odd"}},
    });
    let record = server.run(graph).await;
    assert_eq!(record["status"]["status_str"], "success", "{record}");
    let outputs = &record["outputs"];
    let large = fetch(&server, &outputs["4"]["images"][0]).await;
    let large = kiln_pixels::decode(&large).unwrap().image;
    assert_eq!(
        (large.width(), large.height()),
        (64, 32),
        "four times 16 × 8"
    );
    let film = fetch(&server, &outputs["9"]["images"][0]).await;
    assert_eq!(&film[4..8], b"ftyp");
    let name = outputs["9"]["images"][0]["filename"].as_str().unwrap();
    assert!(name.strip_suffix(".mp4").is_some(), "{name}");
    let song = fetch(&server, &outputs["12"]["audio"][0]).await;
    assert_eq!(&song[..4], b"RIFF");
    let odd = outputs["13"]["images"].as_array().unwrap();
    assert_eq!(
        odd.len(),
        5,
        "a class that nobody declared shows what it was given"
    );
}

fn png() -> Vec<u8> {
    let image = kiln_pixels::empty_image(16, 8, 1, 0x0033_6699).unwrap();
    kiln_pixels::encode_png(&image, 0, &[]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rehearsal_declares_is_judged_and_can_be_asked_for() {
    let server = rehearsal().await;
    let info = server.json("/object_info/KSampler").await;
    assert_eq!(info["KSampler"]["python_module"], "kiln.simulated");
    assert!(server.json("/object_info").await["LoadImage"]["python_module"] == "nodes");
    let mut graph = txt2img(1);
    graph["3"]["inputs"]
        .as_object_mut()
        .unwrap()
        .remove("model");
    let answer = server.post("/prompt", json!({ "prompt": graph })).await;
    assert_eq!(answer.status(), 400);
    let plain = Fixture::new().await;
    let answer = plain.post("/prompt", json!({ "prompt": txt2img(1) })).await;
    assert_eq!(answer.status(), 400, "nothing is acted unasked");
}
