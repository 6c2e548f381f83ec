//! The table of the Cloud's routes, and the handlers that only read. What is not in it is 404, the local routes among it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef, Path, State, WebSocketUpgrade};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{any, get, post};
use serde_json::json;

use super::access::{self, missing};
use super::account::{Account, CloudOptions};
use super::{files, prompt, records};
use crate::embedded::answers::{BODY_LIMIT, json};
use crate::embedded::catalog::MODEL_FOLDERS;
use crate::embedded::routes;
use crate::embedded::sockets::INBOUND_LIMIT;
use crate::embedded::state::Server;

/// What every handler gets.
#[derive(Clone, Debug)]
pub(super) struct Cloud {
    pub(super) server: Arc<Server>,
    pub(super) account: Arc<Account>,
    /// Where files are handed out, and what proves that we sent somebody there.
    pub(super) vault: Arc<files::Vault>,
}

impl FromRef<Cloud> for Arc<Server> {
    fn from_ref(cloud: &Cloud) -> Self {
        Self::clone(&cloud.server)
    }
}

/// The two hosts.
pub(in crate::embedded) struct Hosts {
    /// The API.
    pub(in crate::embedded) api: Router,
    /// The files.
    pub(in crate::embedded) files: Router,
}

/// Opens an account on a server. Its files are handed out at `files_url`.
pub(in crate::embedded) fn open(
    server: Arc<Server>,
    options: CloudOptions,
    files_url: &str,
) -> Hosts {
    let cloud = Cloud {
        server,
        account: Arc::new(Account::new(options)),
        vault: Arc::new(files::Vault::new(files_url)),
    };
    Hosts {
        api: api(&cloud),
        files: Router::new()
            .route("/files/{name}", get(files::hand_out))
            .layer(from_fn(access::keyless))
            .with_state(cloud),
    }
}

fn api(cloud: &Cloud) -> Router {
    let below = Router::new()
        .route("/prompt", get(routes::remaining).post(prompt::submit))
        .route("/queue", get(records::queue).post(records::change_queue))
        .route("/interrupt", post(records::interrupt))
        .route("/history_v2", get(records::history))
        .route("/history_v2/{id}", get(records::one_history))
        .route("/jobs", get(records::list))
        .route("/jobs/cancel", post(records::cancel_all))
        .route("/jobs/{id}", get(records::job))
        .route("/jobs/{id}/assets", get(records::assets))
        .route("/jobs/{id}/cancel", post(records::cancel))
        .route("/job/{id}/status", get(records::status))
        .route("/object_info", get(routes::all_classes))
        .route("/object_info/{class}", get(routes::one_class))
        .route("/experiment/models", get(model_folders))
        .route("/experiment/models/{folder}", get(models))
        .route("/embeddings", get(routes::nothing))
        .route("/features", get(features))
        .route("/system_stats", get(routes::system_stats))
        .route("/user", get(user))
        .route("/upload/image", post(files::upload))
        .route("/view", get(files::view));
    Router::new()
        .route("/ws", get(socket))
        .nest("/api", below)
        .fallback(any(|| async {
            missing("NOT_FOUND", "there is no such route")
        }))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn_with_state(cloud.clone(), access::keyed))
        .with_state(cloud.clone())
}

/// Every socket of the account hears of all its jobs: the client's id does not matter, and two sockets of one id are two.
async fn socket(State(cloud): State<Cloud>, upgrade: WebSocketUpgrade) -> Response {
    let sid = uuid::Uuid::new_v4().simple().to_string();
    let server = cloud.server;
    upgrade
        .max_message_size(INBOUND_LIMIT)
        .max_frame_size(INBOUND_LIMIT)
        .on_upgrade(async move |socket| {
            let client = server.board.connect(sid);
            server.sockets.serve(socket, client).await;
        })
}

async fn user(State(cloud): State<Cloud>) -> Response {
    json(&json!({ "id": cloud.account.user(), "status": "active" }))
}

async fn features(State(cloud): State<Cloud>) -> Response {
    let mut features = crate::embedded::sockets::features(cloud.server.dialect.assets);
    features["max_upload_size"] = json!(cloud.server.dialect.uploads.max_bytes);
    features["free_tier_balance"] = json!(0);
    json(&features)
}

async fn model_folders() -> Response {
    let folders = MODEL_FOLDERS.map(|name| json!({ "name": name, "folders": [] }));
    json(&folders)
}

/// There are no models here, and the Cloud says of an empty folder what it says of an unknown one.
async fn models(Path(folder): Path<String>) -> Response {
    missing(
        "folder_not_found",
        &format!("there is nothing in `{folder}`"),
    )
}
