//! Recorded answers of `ComfyUI`'s routes, each read by the client's own reader of that route: what it makes of them is what they hold.

use std::path::Path;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, any};
use kiln::base::ServerName;
use kiln::client::{Client, ClientError, JobQuery, RefusalKind};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;

pub(crate) fn trials(fixtures: Option<&Path>) -> Vec<Trial> {
    vec![crate::trial(
        fixtures,
        "every_recorded_answer_is_read_by_its_reader",
        answers,
    )]
}

/// Which file is the answer to which path, and its status.
const ROUTES: &[(&str, &str, u16)] = &[
    ("/api/system_stats", "system_stats.json", 200),
    ("/api/features", "features.json", 200),
    ("/api/jobs", "worker_dead_api_jobs.json", 200),
    ("/api/jobs/none", "api_jobs_unknown.json", 404),
    ("/api/queue", "worker_dead_queue.json", 200),
    ("/api/history", "history.json", 200),
    ("/api/object_info", "../object_info.json", 200),
    (
        "/api/object_info/KSampler",
        "api_object_info_KSampler.json",
        200,
    ),
    ("/api/object_info/None", "object_info_unknown.json", 200),
    ("/api/models", "models.json", 200),
    ("/api/models/none", "models_unknown.txt", 404),
    ("/api/experiment/models", "experiment_models.json", 200),
    (
        "/api/experiment/models/checkpoints",
        "experiment_models_checkpoints.json",
        200,
    ),
    ("/api/embeddings", "embeddings.json", 200),
    ("/api/extensions", "extensions.json", 200),
    ("/api/settings", "settings.json", 200),
    ("/api/settings/none", "setting_unknown.json", 200),
    ("/api/users", "users.json", 200),
    ("/api/user", "api_user.txt", 404),
    ("/api/userdata", "userdata_workflows.txt", 404),
    ("/api/node_replacements", "node_replacements.json", 200),
    ("/api/view_metadata/loras", "view_metadata_none.txt", 404),
    ("/api/prompt", "prompt_get.json", 200),
    ("/internal/logs/raw", "internal_logs_raw.json", 200),
    ("/internal/files/input", "internal_files_input.json", 200),
    ("/internal/files/output", "internal_files_output.json", 200),
];

/// The recorded answer in a file.
type Recorded<'a> = &'a (dyn Fn(&str) -> Value + Sync);

async fn answer(State(files): State<Vec<(String, String, u16)>>, request: Request) -> Response {
    let path = request.uri().path();
    match files.iter().find(|(known, ..)| known == path) {
        Some((_, text, status)) => {
            let kind = [(header::CONTENT_TYPE, "application/json")];
            let status = StatusCode::from_u16(*status).unwrap();
            (status, kind, text.clone()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn answers(folder: &Path) -> Result<(), Failed> {
    let folder = folder.join("http");
    let files = ROUTES
        .iter()
        .map(|(path, file, status)| {
            let text = std::fs::read_to_string(folder.join(file));
            Ok((
                (*path).to_owned(),
                text.map_err(|e| format!("{file}: {e}"))?,
                *status,
            ))
        })
        .collect::<Result<Vec<_>, String>>()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let recorded = |file: &str| -> Value {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        let router = Router::new().fallback(any(answer)).with_state(files);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let client = Client::new(ServerName::from("recorded"), &url)?;
        read_all(&client, &recorded).await
    })
}

async fn read_all(client: &Client, recorded: Recorded<'_>) -> Result<(), Failed> {
    read_the_server(client, recorded).await?;
    read_jobs(client, recorded).await?;
    read_classes_and_models(client, recorded).await?;
    read_the_rest(client, recorded).await
}

async fn read_the_server(client: &Client, recorded: Recorded<'_>) -> Result<(), Failed> {
    let info = client.probe().await?;
    assert_eq!(info.version, "0.33.0");
    assert_eq!(info.max_upload_size, Some(104_857_600));
    let system = client.system().await?;
    let told = recorded("system_stats.json");
    assert_eq!(system.ram_total, told["system"]["ram_total"].as_u64());
    assert_eq!(
        system.argv.len(),
        told["system"]["argv"].as_array().unwrap().len()
    );
    assert_eq!(
        system.devices.len(),
        told["devices"].as_array().unwrap().len()
    );
    assert_eq!(
        client.features().await?.len(),
        recorded("features.json").as_object().unwrap().len()
    );
    Ok(())
}

async fn read_jobs(client: &Client, recorded: Recorded<'_>) -> Result<(), Failed> {
    let page = client.jobs(&JobQuery::default()).await?;
    let jobs = recorded("worker_dead_api_jobs.json");
    assert_eq!(page.jobs.len(), jobs["jobs"].as_array().unwrap().len());
    assert_eq!(page.total, jobs["pagination"]["total"].as_u64());
    assert!(
        page.jobs
            .iter()
            .all(|job| job.created.is_some() && job.number.is_some())
    );
    let queue = client.queue_listing().await?;
    let items = recorded("worker_dead_queue.json");
    assert_eq!(
        queue.running.len(),
        items["queue_running"].as_array().unwrap().len()
    );
    assert_eq!(
        queue.pending.len(),
        items["queue_pending"].as_array().unwrap().len()
    );
    assert!(queue.pending.is_sorted_by_key(|item| item.number));
    assert!(
        queue
            .pending
            .iter()
            .all(|item| item.nodes > 0 && !item.titles.is_empty())
    );
    assert!(client.history(100).await?.is_empty());
    Ok(())
}

async fn read_classes_and_models(client: &Client, recorded: Recorded<'_>) -> Result<(), Failed> {
    let whole = client.object_info().await?;
    assert!(whole.as_object().unwrap().len() > 800);
    assert_eq!(
        client.object_info_class("KSampler").await?["KSampler"]["name"],
        "KSampler"
    );
    assert_eq!(
        client.object_info_class("None").await?,
        serde_json::json!({})
    );
    assert_eq!(
        client.models().await?.len(),
        recorded("models.json").as_array().unwrap().len()
    );
    assert!(client.models_in("none").await?.is_empty());
    assert!(client.model_files("checkpoints").await?.is_empty());
    assert!(client.embeddings().await?.is_empty());
    Ok(())
}

async fn read_the_rest(client: &Client, recorded: Recorded<'_>) -> Result<(), Failed> {
    let scripts = recorded("extensions.json");
    assert_eq!(
        client.extensions().await?.len(),
        scripts.as_array().unwrap().len()
    );
    assert!(client.settings().await?.is_empty());
    assert!(client.setting("none").await?.is_null());
    assert_eq!(client.users().await?, None);
    assert!(client.userdata("workflows").await?.is_empty());
    let replaced = client.node_replacements().await?;
    assert_eq!(
        replaced.len(),
        recorded("node_replacements.json")
            .as_object()
            .unwrap()
            .len()
    );
    assert!(
        replaced
            .values()
            .flatten()
            .all(|new| !new.new_node_id.is_empty())
    );
    assert_eq!(client.model_metadata("loras", "x").await?, None);
    let entries = recorded("internal_logs_raw.json");
    assert_eq!(
        client.logs().await?.len(),
        entries["entries"].as_array().unwrap().len()
    );
    assert_eq!(client.files("input").await?, ["example.png [input]"]);
    assert_eq!(client.files("output").await?.len(), 1);
    match client.manager().await {
        Err(kiln::client::InstallError::Absent) => {}
        other => return Err(format!("a Manager where there is none: {other:?}").into()),
    }
    match client.userdata_put("x", "y".into(), false).await {
        Err(ClientError::Refused(no)) if no.kind == RefusalKind::NotFound => Ok(()),
        other => Err(format!("an absent route: {other:?}").into()),
    }
}
