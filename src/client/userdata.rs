//! Files that the editor keeps for its user, such as saved workflows.

use bytes::Bytes;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::error::ClientError;
use super::http::{Call, Client, JSON_LIMIT, Payload, read_bytes, read_text};
use super::refusal::RefusalKind;

/// A file of the user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UserFile {
    /// Its path below the user's folder, or below the folder that was asked for.
    pub path: String,
    /// Bytes, where the server tells.
    #[serde(default)]
    pub size: Option<u64>,
    /// When it was changed, as the server tells: seconds or milliseconds since 1970.
    #[serde(default)]
    pub modified: Option<f64>,
}

impl UserFile {
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(path) => Some(Self {
                path: path.clone(),
                ..Self::default()
            }),
            // With `split`, a path in pieces comes behind the whole one.
            Value::Array(parts) => Self::read(parts.first()?),
            other => Self::deserialize(other).ok(),
        }
    }
}

impl Client {
    /// The files in a folder of the user and below; none when there is no such folder.
    ///
    /// # Errors
    /// When the server does not answer with a list.
    pub async fn userdata(&self, folder: &str) -> Result<Vec<UserFile>, ClientError> {
        let mut url = self.at(&["userdata"]);
        url.query_pairs_mut()
            .append_pair("dir", folder)
            .append_pair("recurse", "true")
            .append_pair("full_info", "true")
            .append_pair("split", "false");
        match self.json(Call::get(url.clone()), JSON_LIMIT).await {
            Ok(Value::Array(files)) => Ok(files.iter().filter_map(UserFile::read).collect()),
            Ok(_) => Err(ClientError::odd(&url, "it holds no list")),
            Err(ClientError::Refused(no)) if no.kind == RefusalKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The content of a file of the user; `None` when there is none.
    ///
    /// # Errors
    /// When the server does not answer, or the file is larger than any that an editor keeps (64 MiB).
    pub async fn userdata_get(&self, file: &str) -> Result<Option<Vec<u8>>, ClientError> {
        let call = Call::get(self.at(&["userdata", file]));
        let silence = call.silence;
        let mut response = self.send(call).await?;
        if response.status().as_u16() == 404 {
            return Ok(None);
        }
        if !response.status().is_success() {
            return Err(read_text(response, JSON_LIMIT, silence).await?.refused());
        }
        read_bytes(&mut response, JSON_LIMIT, silence)
            .await
            .map(Some)
    }

    /// Writes a file of the user. `None` when there is one already and `overwrite` is not set.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn userdata_put(
        &self,
        file: &str,
        content: Bytes,
        overwrite: bool,
    ) -> Result<Option<UserFile>, ClientError> {
        let url = self.at(&["userdata", file]);
        self.userdata_written(url, Payload::Raw(content), overwrite)
            .await
    }

    /// Renames a file of the user. `None` when there is one of the new name already and `overwrite` is not set.
    ///
    /// # Errors
    /// When the server does not do it, also when there is no such file.
    pub async fn userdata_move(
        &self,
        from: &str,
        to: &str,
        overwrite: bool,
    ) -> Result<Option<UserFile>, ClientError> {
        let url = self.at(&["userdata", from, "move", to]);
        self.userdata_written(url, Payload::None, overwrite).await
    }

    async fn userdata_written(
        &self,
        mut url: Url,
        body: Payload,
        overwrite: bool,
    ) -> Result<Option<UserFile>, ClientError> {
        url.query_pairs_mut()
            .append_pair("overwrite", if overwrite { "true" } else { "false" })
            .append_pair("full_info", "true");
        match self.json(Call::post(url.clone(), body), JSON_LIMIT).await {
            Ok(value) => UserFile::read(&value)
                .map(Some)
                .ok_or_else(|| ClientError::odd(&url, "it names no file")),
            Err(ClientError::Refused(no)) if no.status == 409 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a file of the user. Whether there was one.
    ///
    /// # Errors
    /// When the server does not do it.
    pub async fn userdata_delete(&self, file: &str) -> Result<bool, ClientError> {
        let call = Call {
            method: Method::DELETE,
            ..Call::get(self.at(&["userdata", file]))
        };
        match self.text(call, JSON_LIMIT).await {
            Ok(_) => Ok(true),
            Err(ClientError::Refused(no)) if no.kind == RefusalKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}
