//! What a server tells of itself beside a probe: system, settings, users, logs, lists that editors use.

use std::time::Duration;

use indexmap::IndexMap;
use reqwest::header::{DATE, HeaderMap, SERVER, VIA};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::error::ClientError;
use super::http::{Call, Client, JSON_LIMIT, Payload, read_text};
use super::info::Device;
use super::records::LOOKUP;
use super::refusal::RefusalKind;
use crate::protocol::Flavour;

/// What a server runs on. What it does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct System {
    /// `linux`, `win32`, `darwin`, …
    pub os: Option<String>,
    /// Its version of `ComfyUI`.
    pub comfyui_version: Option<String>,
    /// Its version of Python.
    pub python_version: Option<String>,
    /// Its version of `PyTorch`.
    pub pytorch_version: Option<String>,
    /// Bytes of main memory.
    pub ram_total: Option<u64>,
    /// Bytes of main memory that are free.
    pub ram_free: Option<u64>,
    /// What it was started with.
    pub argv: Vec<String>,
    /// Its devices.
    pub devices: Vec<Device>,
}

/// What stands at a server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doorway {
    /// How far the server's clock is ahead of ours, seconds, where it tells the time. Its header has whole seconds.
    pub ahead: Option<i64>,
    /// The program that answers, as it calls itself.
    pub server: Option<String>,
    /// A proxy that says so.
    pub proxy: Option<String>,
    /// How long a small answer took.
    pub took: Duration,
}

/// Another class that takes the place of an old one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replacement {
    /// The class to use.
    pub new_node_id: String,
    /// What becomes of the inputs.
    #[serde(default)]
    pub input_mapping: Value,
    /// What becomes of the outputs.
    #[serde(default)]
    pub output_mapping: Value,
}

impl Client {
    /// What the server runs on.
    ///
    /// # Errors
    /// When it does not answer with an object.
    pub async fn system(&self) -> Result<System, ClientError> {
        let value = self.value(&["system_stats"]).await?;
        let inner = value.get("system").unwrap_or(&Value::Null);
        let text = |name: &str| Some(inner.get(name)?.as_str()?.to_owned());
        let number = |name: &str| inner.get(name).and_then(Value::as_u64);
        let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned();
        Ok(System {
            os: text("os"),
            comfyui_version: text("comfyui_version"),
            python_version: text("python_version"),
            pytorch_version: text("pytorch_version"),
            ram_total: number("ram_total"),
            ram_free: number("ram_free"),
            argv: texts(list(inner.get("argv"))),
            devices: list(value.get("devices"))
                .unwrap_or_default()
                .iter()
                .filter_map(|device| Device::deserialize(device).ok())
                .collect(),
        })
    }

    /// What stands at the server's address, told by the head of a small answer.
    ///
    /// # Errors
    /// When nothing answers.
    pub async fn doorway(&self) -> Result<Doorway, ClientError> {
        let call = Call::get(self.at(&["prompt"])).within(LOOKUP);
        let (silence, started) = (call.silence, std::time::Instant::now());
        let response = self.send(call).await?;
        let took = started.elapsed();
        let now = std::time::SystemTime::now();
        let text = read_text(response, JSON_LIMIT, silence).await?;
        let header = |name: &str| header(&text.headers, name);
        Ok(Doorway {
            ahead: header(DATE.as_str())
                .and_then(|date| httpdate::parse_http_date(&date).ok())
                .map(|there| seconds_between(now, there)),
            server: header(SERVER.as_str()),
            proxy: proxy(&text.headers).or_else(|| header(VIA.as_str())),
            took,
        })
    }

    /// The server's feature flags.
    ///
    /// # Errors
    /// When it does not answer with an object.
    pub async fn features(&self) -> Result<Map<String, Value>, ClientError> {
        self.object(&["features"]).await
    }

    /// The names of embeddings, without their extensions.
    ///
    /// # Errors
    /// When it does not answer with a list.
    pub async fn embeddings(&self) -> Result<Vec<String>, ClientError> {
        self.texts(&["embeddings"]).await
    }

    /// The scripts that extend the editor; their folders name the packs that are installed.
    ///
    /// # Errors
    /// When it does not answer with a list.
    pub async fn extensions(&self) -> Result<Vec<String>, ClientError> {
        self.texts(&["extensions"]).await
    }

    /// The editor's settings.
    ///
    /// # Errors
    /// When it does not answer with an object.
    pub async fn settings(&self) -> Result<Map<String, Value>, ClientError> {
        self.object(&["settings"]).await
    }

    /// One of the editor's settings; null when it is not set.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn setting(&self, id: &str) -> Result<Value, ClientError> {
        self.value(&["settings", id]).await
    }

    /// Sets one of the editor's settings.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn set_setting(&self, id: &str, value: &Value) -> Result<(), ClientError> {
        self.order(&["settings", id], value).await
    }

    /// The users of a server that keeps them apart, names by id; `None` where there is one for all.
    ///
    /// # Errors
    /// When it does not answer with an object.
    pub async fn users(&self) -> Result<Option<IndexMap<String, String>>, ClientError> {
        let told = self.object(&["users"]).await?;
        let users = told.get("users").and_then(Value::as_object);
        let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(users.map(|users| users.iter().map(|(id, n)| (id.clone(), name(n))).collect()))
    }

    /// Whose key the server was shown: what it tells of the account. `None` where there are no accounts.
    ///
    /// # Errors
    /// When the server does not answer, or does not know the key.
    pub async fn account(&self) -> Result<Option<Map<String, Value>>, ClientError> {
        match self.dialect().flavour {
            Flavour::Comfy => Ok(None),
            Flavour::Cloud => self.object(&["user"]).await.map(Some),
        }
    }

    /// Classes that have taken the place of others, by the old class.
    ///
    /// # Errors
    /// When the server does not answer with an object. One that does not know the question has none.
    pub async fn node_replacements(
        &self,
    ) -> Result<IndexMap<String, Vec<Replacement>>, ClientError> {
        let told = match self.object(&["node_replacements"]).await {
            Err(ClientError::Refused(no)) if no.kind == RefusalKind::NotFound => Map::new(),
            other => other?,
        };
        let read = |value: &Value| {
            let list = value.as_array().into_iter().flatten();
            list.filter_map(|one| Replacement::deserialize(one).ok())
                .collect()
        };
        Ok(told
            .iter()
            .map(|(old, new)| (old.clone(), read(new)))
            .collect())
    }

    /// What a model file says of itself; `None` when it says nothing or is not there.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn model_metadata(
        &self,
        folder: &str,
        file: &str,
    ) -> Result<Option<Map<String, Value>>, ClientError> {
        let mut url = self.at(&["view_metadata", folder]);
        url.query_pairs_mut().append_pair("filename", file);
        match self.json(Call::get(url), JSON_LIMIT).await {
            Ok(Value::Object(members)) => Ok(Some(members)),
            Ok(_) => Ok(None),
            Err(ClientError::Refused(no)) if no.kind == RefusalKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The last lines that the server logged, with what commands a terminal in them.
    ///
    /// # Errors
    /// When the server does not answer with lines.
    pub async fn logs(&self) -> Result<Vec<String>, ClientError> {
        let url = self.below(&["internal", "logs", "raw"]);
        let value = self.json(Call::get(url.clone()), JSON_LIMIT).await?;
        let entries = value.get("entries").and_then(Value::as_array);
        let entries = entries.ok_or_else(|| ClientError::odd(&url, "it holds no entries"))?;
        let said = entries.iter().filter_map(|entry| entry.get("m")?.as_str());
        Ok(said.map(str::to_owned).collect())
    }

    /// The files at the top of a folder, newest first, as inputs take them: `a.png [output]`.
    ///
    /// # Errors
    /// When the server does not answer with a list.
    pub async fn files(&self, folder: &str) -> Result<Vec<String>, ClientError> {
        let url = self.below(&["internal", "files", folder]);
        let value = self.json(Call::get(url.clone()), JSON_LIMIT).await?;
        let list = value.as_array().cloned();
        list.map(|list| texts(Some(list)))
            .ok_or_else(|| ClientError::odd(&url, "it holds no list"))
    }

    pub(super) async fn value(&self, path: &[&str]) -> Result<Value, ClientError> {
        self.json(Call::get(self.at(path)), JSON_LIMIT).await
    }

    async fn object(&self, path: &[&str]) -> Result<Map<String, Value>, ClientError> {
        match self.value(path).await? {
            Value::Object(members) => Ok(members),
            _ => Err(ClientError::odd(&self.at(path), "it holds no object")),
        }
    }

    pub(super) async fn texts(&self, path: &[&str]) -> Result<Vec<String>, ClientError> {
        match self.value(path).await? {
            Value::Array(list) => Ok(texts(Some(list))),
            _ => Err(ClientError::odd(&self.at(path), "it holds no list")),
        }
    }

    /// Posts JSON and reads the answer as JSON; one without a body is null.
    pub(super) async fn ask(&self, url: url::Url, body: &Value) -> Result<Value, ClientError> {
        let call = Call::post(url, Payload::Json(body.to_string().into()));
        let text = self.text(call, JSON_LIMIT).await?;
        Ok(serde_json::from_str(&text.body).unwrap_or(json!(null)))
    }
}

fn texts(list: Option<Vec<Value>>) -> Vec<String> {
    let list = list.into_iter().flatten();
    list.filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// What well-known proxies leave in every answer.
fn proxy(headers: &HeaderMap) -> Option<String> {
    let marks = [
        ("cf-ray", "Cloudflare"),
        ("x-amz-cf-id", "CloudFront"),
        ("x-served-by", "Fastly"),
        ("x-envoy-upstream-service-time", "Envoy"),
        ("x-squid-error", "Squid"),
    ];
    let marked = marks.iter().find(|(name, _)| headers.contains_key(*name));
    if let Some((_, name)) = marked {
        return Some((*name).to_owned());
    }
    let server = header(headers, "server")?;
    let programs = [
        "nginx", "caddy", "apache", "traefik", "haproxy", "envoy", "squid",
    ];
    let low = server.to_ascii_lowercase();
    programs
        .iter()
        .any(|name| low.starts_with(name))
        .then_some(server)
}

/// How far `there` is after `here`, whole seconds.
fn seconds_between(here: std::time::SystemTime, there: std::time::SystemTime) -> i64 {
    let whole = |gap: Duration| i64::try_from(gap.as_secs()).unwrap_or(i64::MAX);
    match there.duration_since(here) {
        Ok(gap) => whole(gap),
        Err(before) => -whole(before.duration()),
    }
}
