//! Masks: the alpha of one picture laid onto another that the server has.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::multipart::{Form, Part};
use serde_json::json;

use super::error::ClientError;
use super::http::{Call, Client, JSON_LIMIT, Payload, show};
use super::refusal::Refusal;
use super::upload::Uploaded;
use crate::protocol::FileRef;

/// The largest mask: it is held in memory.
const LARGEST: u64 = 100 << 20;

impl Client {
    /// Lays the alpha of the picture at `path` onto a picture that the server has, and keeps the result in its inputs under `name`
    /// (folders before the last `/`).
    ///
    /// A server answers the same whether it wrote the file or found no original, so the file is looked for afterwards.
    ///
    /// # Errors
    /// When the file cannot be read, the server does not take it, or wrote nothing.
    pub async fn upload_mask(
        &self,
        path: &Path,
        name: &str,
        original: &FileRef,
    ) -> Result<Uploaded, ClientError> {
        let bytes = self.mask_bytes(path).await?;
        let (subfolder, name) = name.rsplit_once('/').unwrap_or(("", name));
        let original = json!({
            "filename": original.filename,
            "subfolder": original.subfolder,
            "type": original.folder,
        });
        let (subfolder, name) = (subfolder.to_owned(), name.to_owned());
        let original = original.to_string();
        let form = move || {
            let part = Part::stream(bytes.clone()).file_name(name.clone());
            let form = Form::new()
                .part("image", part)
                .text("original_ref", original.clone())
                .text("type", "input");
            if subfolder.is_empty() {
                form
            } else {
                form.text("subfolder", subfolder.clone())
            }
        };
        let url = self.at(&["upload", "mask"]);
        let call = Call::post(url.clone(), Payload::Form(Arc::new(form)));
        let text = self.text(call, JSON_LIMIT).await?;
        let uploaded: Uploaded =
            serde_json::from_str(&text.body).map_err(|error| text.unreadable(&error))?;
        if self.has_file(&uploaded).await? {
            return Ok(uploaded);
        }
        Err(ClientError::odd(
            &url,
            "it took the mask and wrote no file: it does not have the picture that the mask belongs to",
        ))
    }

    async fn mask_bytes(&self, path: &Path) -> Result<Bytes, ClientError> {
        let unreadable = |error: std::io::Error| ClientError::Unreadable {
            path: path.to_path_buf(),
            cause: error.to_string(),
        };
        let length = tokio::fs::metadata(path).await.map_err(unreadable)?.len();
        let limit = self
            .dialect()
            .uploads
            .max_bytes
            .unwrap_or(LARGEST)
            .min(LARGEST);
        if length > limit {
            let said = format!(
                "`{}` has {length} bytes, and a mask may have {limit}",
                path.display()
            );
            return Err(ClientError::Refused(Refusal::new(
                show(self.base()),
                413,
                &said,
            )));
        }
        tokio::fs::read(path)
            .await
            .map(Bytes::from)
            .map_err(unreadable)
    }

    /// Whether the server hands a file out.
    async fn has_file(&self, file: &Uploaded) -> Result<bool, ClientError> {
        let mut url = self.at(&["view"]);
        url.query_pairs_mut()
            .append_pair("filename", &file.name)
            .append_pair("subfolder", &file.subfolder)
            .append_pair("type", &file.folder);
        let response = self.send(Call::get(url)).await?;
        Ok(response.status().is_success())
    }
}
