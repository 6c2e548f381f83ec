//! An answer that was read, and the errors that it may be.

use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};

use super::error::{ClientError, first_line};
use super::refusal::Refusal;
use crate::protocol::Flavour;

/// An answer that was read whole.
#[derive(Clone)]
pub(super) struct Text {
    pub(super) url: String,
    pub(super) status: StatusCode,
    pub(super) media_type: String,
    pub(super) body: String,
    pub(super) headers: HeaderMap,
    pub(super) flavour: Flavour,
}

impl Text {
    /// The error for a status that means no.
    pub(super) fn refused(self) -> ClientError {
        let status = self.status.as_u16();
        let refusal = Refusal::read(
            self.url,
            status,
            &self.headers,
            &self.media_type,
            &self.body,
        );
        ClientError::Refused(refusal.under(self.flavour))
    }

    /// The error for a body that is no JSON.
    pub(super) fn unreadable(&self, error: &serde_json::Error) -> ClientError {
        if self.media_type == "text/html" || self.body.trim_start().starts_with('<') {
            return self.foreign();
        }
        ClientError::BadAnswer {
            url: self.url.clone(),
            reason: error.to_string(),
        }
    }

    /// The error for something that is not `ComfyUI`.
    pub(super) fn foreign(&self) -> ClientError {
        let kind = match self.media_type.as_str() {
            "" => "an answer without a media type",
            kind => kind,
        };
        let line = first_line(&self.body);
        ClientError::NotComfyUi {
            url: self.url.clone(),
            got: if line.is_empty() {
                format!("{kind}, status {}", self.status.as_u16())
            } else {
                format!("{kind}, `{line}`")
            },
        }
    }
}

/// Whose server gave an answer.
pub(super) fn flavour(response: &Response) -> Flavour {
    response.extensions().get().copied().unwrap_or_default()
}
