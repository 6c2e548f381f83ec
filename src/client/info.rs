//! What a server is, and what it offers: version, devices, nodes, models, queue.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ClientError;
use super::http::{Call, Client, JSON_LIMIT};
use super::refusal::RefusalKind;
use crate::protocol::{
    Cancel, Dialect, Flavour, ModelLists, Queue, StandIn, UploadRules, Version, tolerant_json,
};

/// The largest `object_info`; installations with hundreds of packs reach tens of megabytes.
const OBJECT_INFO_LIMIT: usize = 256 << 20;

/// What a server told of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// Its version, e.g. `0.33.0`; `unknown` when it does not tell.
    pub version: String,
    /// Its devices.
    pub devices: Vec<Device>,
    /// Whether it has `/api/jobs`.
    pub jobs_api: bool,
    /// Whether it has `/api/jobs/{id}/cancel`.
    pub cancel_api: bool,
    /// The largest request it takes, bytes, where it tells.
    pub max_upload_size: Option<u64>,
    /// Whether it is kiln's own, and no `ComfyUI`.
    #[serde(default)]
    pub stand_in: Option<StandIn>,
    /// Its feature flags.
    pub features: Value,
}

/// A device that computes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name, e.g. `cuda:0 NVIDIA …`.
    #[serde(default)]
    pub name: String,
    /// `cuda`, `cpu`, `mps`, …
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Bytes of memory.
    #[serde(default)]
    pub vram_total: Option<u64>,
    /// Bytes of memory not in use.
    #[serde(default)]
    pub vram_free: Option<u64>,
}

/// A model file as a server lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// Its name relative to its folder.
    pub name: String,
    /// Bytes, where the server tells.
    pub size: Option<u64>,
    /// When it was changed, milliseconds since 1970, where the server tells.
    pub modified: Option<u64>,
}

impl ModelFile {
    fn read(value: &Value) -> Option<Self> {
        let seconds = value.get("modified").and_then(Value::as_f64);
        let ms = seconds.and_then(|seconds| serde_json::Number::from_f64(seconds * 1000.0));
        Some(Self {
            name: value.get("name")?.as_str()?.to_owned(),
            size: value.get("size").and_then(bytes),
            modified: ms.and_then(|ms| bytes(&Value::Number(ms))),
        })
    }
}

impl Client {
    /// Asks a server what it is.
    ///
    /// # Errors
    /// When it does not answer, or is not `ComfyUI`.
    pub async fn probe(&self) -> Result<ServerInfo, ClientError> {
        let stats = self.answer(Call::get(self.at(&["system_stats"])), JSON_LIMIT);
        let features = self.json(Call::get(self.at(&["features"])), JSON_LIMIT);
        let (stats, features, jobs, known) =
            tokio::join!(stats, features, self.has_jobs(), self.knows_us());
        let stats = stats?;
        let parsed = tolerant_json(&stats.body).ok();
        let Some(system) = parsed.as_ref().and_then(|v| v.get("system")) else {
            // A login or a dead upstream says so by its status; anything else is another program.
            return Err(match stats.status.as_u16() {
                401 | 403 | 407 | 429 | 500.. => stats.refused(),
                _ => stats.foreign(),
            });
        };
        known?;
        let features = features.unwrap_or_default();
        let text = |name: &str| system.get(name).and_then(Value::as_str);
        let version = text("comfyui_version").unwrap_or("unknown").to_owned();
        let max_bytes = features.get("max_upload_size").and_then(bytes);
        let dialect = self.dialect_of(Version::parse(&version), jobs?, max_bytes);
        let info = ServerInfo {
            cancel_api: dialect.cancel == Cancel::Job,
            jobs_api: dialect.jobs,
            devices: parsed
                .as_ref()
                .and_then(|v| v.get("devices"))
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|device| Device::deserialize(device).ok())
                .collect(),
            max_upload_size: max_bytes,
            stand_in: text("deploy_environment").and_then(StandIn::of_environment),
            features,
            version,
        };
        self.learn(dialect);
        Ok(info)
    }

    /// How a server of a version is spoken to, with what it says of itself.
    fn dialect_of(&self, told: Option<Version>, jobs: bool, max_bytes: Option<u64>) -> Dialect {
        let known = match self.dialect().flavour {
            Flavour::Comfy => Dialect::comfy(told).with_jobs(jobs),
            Flavour::Cloud => Dialect {
                version: told,
                support: Dialect::comfy(told).support,
                ..Dialect::cloud()
            },
        };
        Dialect {
            uploads: UploadRules {
                max_bytes: max_bytes.or(known.uploads.max_bytes),
                ..known.uploads
            },
            ..known
        }
    }

    /// Comfy Cloud tells anybody what it is; whether it knows our key, only whose key it is tells.
    async fn knows_us(&self) -> Result<(), ClientError> {
        match self.dialect().flavour {
            Flavour::Comfy => Ok(()),
            Flavour::Cloud => {
                let call = Call::get(self.at(&["user"]));
                self.text(call, JSON_LIMIT).await.map(drop)
            }
        }
    }

    async fn has_jobs(&self) -> Result<bool, ClientError> {
        if self.dialect().flavour == Flavour::Cloud {
            return Ok(true);
        }
        let mut url = self.at(&["jobs"]);
        url.set_query(Some("limit=1"));
        match self.json(Call::get(url), JSON_LIMIT).await {
            Ok(value) => Ok(value.get("jobs").is_some()),
            Err(error) if error.is_connection() => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// All node classes. Megabytes, and half a second of the server's time.
    ///
    /// # Errors
    /// When the server does not answer with an object.
    pub async fn object_info(&self) -> Result<Value, ClientError> {
        let url = self.at(&["object_info"]);
        self.json(Call::get(url), OBJECT_INFO_LIMIT).await
    }

    /// The same as it was sent, unparsed.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn object_info_text(&self) -> Result<String, ClientError> {
        let url = self.at(&["object_info"]);
        Ok(self.text(Call::get(url), OBJECT_INFO_LIMIT).await?.body)
    }

    /// One node class, as `{class: definition}`; `{}` when the server does not have it.
    ///
    /// # Errors
    /// When the server does not answer with an object.
    pub async fn object_info_class(&self, class: &str) -> Result<Value, ClientError> {
        let url = self.at(&["object_info", class]);
        self.json(Call::get(url), JSON_LIMIT).await
    }

    /// The folders of models, e.g. `checkpoints`.
    ///
    /// # Errors
    /// When the server does not answer with a list.
    pub async fn models(&self) -> Result<Vec<String>, ClientError> {
        self.names(&[]).await
    }

    /// The model files of a folder, with `/` between their own folders; none for an unknown folder.
    ///
    /// # Errors
    /// When the server does not answer with a list.
    pub async fn models_in(&self, folder: &str) -> Result<Vec<String>, ClientError> {
        match self.names(&[folder]).await {
            Err(ClientError::Refused(no)) if no.kind == RefusalKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    /// The model files of a folder with what the server knows of them; none where it does not tell.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn model_files(&self, folder: &str) -> Result<Vec<ModelFile>, ClientError> {
        let url = self.at(&["experiment", "models", folder]);
        match self.json(Call::get(url), JSON_LIMIT).await {
            Ok(Value::Array(files)) => Ok(files.iter().filter_map(ModelFile::read).collect()),
            Err(error) if error.is_connection() => Err(error),
            // Older servers do not have the route.
            Ok(_) | Err(_) => Ok(Vec::new()),
        }
    }

    /// Names below the list of models, which are texts or objects that have one.
    async fn names(&self, below: &[&str]) -> Result<Vec<String>, ClientError> {
        let root: &[&str] = match self.dialect().models {
            ModelLists::Names => &["models"],
            ModelLists::Experiment => &["experiment", "models"],
        };
        let url = self.at(&[root, below].concat());
        let value = self.json(Call::get(url.clone()), JSON_LIMIT).await?;
        let name = |item: &Value| {
            let name = item.as_str().or_else(|| item.get("name")?.as_str())?;
            Some(name.to_owned())
        };
        let list = value.as_array().map(|list| list.iter().filter_map(name));
        let Some(names) = list else {
            return Err(ClientError::odd(&url, "it holds no list"));
        };
        Ok(names.collect())
    }

    /// The jobs that run and wait.
    ///
    /// # Errors
    /// When the server does not answer with a queue.
    pub async fn queue(&self) -> Result<Queue, ClientError> {
        let url = self.at(&["queue"]);
        let value = self.json(Call::get(url.clone()), JSON_LIMIT).await?;
        Queue::from_value(&value).ok_or_else(|| ClientError::BadAnswer {
            url: super::http::show(&url),
            reason: "it holds no queue".to_owned(),
        })
    }
}

/// A size that odd command lines make a float.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value is checked to be finite and positive; a saturated bound is still a bound"
)]
fn bytes(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let size = value.as_f64()?;
        (size.is_finite() && size > 0.0).then_some(size as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_model_is_listed_with_whatever_the_server_tells_of_it() {
        let told = json!({
            "name": "sd/v15.safetensors", "pathIndex": 0,
            "modified": 1_700_000_000.25, "created": 1.0, "size": 4_265_146_304_u64
        });
        let model = ModelFile {
            name: "sd/v15.safetensors".to_owned(),
            size: Some(4_265_146_304),
            modified: Some(1_700_000_000_250),
        };
        assert_eq!(ModelFile::read(&told), Some(model));
        let cloud = ModelFile::read(&json!({"name": "a.pt", "pathIndex": 0})).unwrap();
        assert_eq!((cloud.size, cloud.modified), (None, None));
        assert_eq!(ModelFile::read(&json!("a.pt")), None);
    }
}
