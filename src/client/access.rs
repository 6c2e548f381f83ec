//! What a server wants to be shown, and whom kiln trusts: token, headers, an extra root certificate.
//!
//! Secrets are placeholders here. Their values are put in when a request is made, go only to the origin they are meant for, and are
//! marked so that nobody prints them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::error::ClientError;
use crate::base::Secrets;
use crate::protocol::Flavour;

/// How Comfy Cloud is shown a key.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// How to get into a server.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Whose server it is.
    pub flavour: Flavour,
    /// Comfy Cloud's key, maybe with placeholders.
    pub api_key: Option<String>,
    /// A bearer token, maybe with placeholders.
    pub token: Option<String>,
    /// Headers of every request, maybe with placeholders.
    pub headers: IndexMap<String, String>,
    /// A file of root certificates (PEM) to trust beside the system's.
    pub ca_cert: Option<PathBuf>,
    /// Where the values of secrets are.
    pub secrets: Secrets,
}

/// [`Access`] whose names and certificates were read.
#[derive(Clone, Default)]
pub(super) struct Credentials {
    headers: Vec<(HeaderName, String, String)>,
    key: Option<String>,
    secrets: Secrets,
    pub(super) roots: Arc<[CertificateDer<'static>]>,
}

impl Credentials {
    pub(super) fn read(access: Access, url: &str) -> Result<Self, ClientError> {
        let mut headers = Vec::new();
        for (name, value) in access.headers {
            let parsed = HeaderName::from_bytes(name.as_bytes());
            let parsed = parsed.map_err(|_| ClientError::Credentials {
                url: url.to_owned(),
                reason: format!("`{name}` is no name of a header"),
            })?;
            headers.push((parsed, format!("the header `{name}`"), value));
        }
        if let Some(token) = access.token {
            let bearer = format!("Bearer {token}");
            headers.retain(|(name, ..)| name != AUTHORIZATION);
            headers.push((AUTHORIZATION, "`token`".to_owned(), bearer));
        }
        if let Some(key) = &access.api_key {
            headers.retain(|(name, ..)| *name != API_KEY);
            headers.push((API_KEY, "`api_key`".to_owned(), key.clone()));
        }
        let roots = match access.ca_cert {
            Some(path) => certificates(&path, url)?,
            None => Vec::new(),
        };
        Ok(Self {
            headers,
            key: access.api_key,
            secrets: access.secrets,
            roots: roots.into(),
        })
    }

    /// The headers, with the values of secrets in them.
    pub(super) fn reveal(&self, url: &str) -> Result<HeaderMap, ClientError> {
        let mut map = HeaderMap::with_capacity(self.headers.len());
        for (name, owner, value) in &self.headers {
            let wrong = |reason: String| ClientError::Credentials {
                url: url.to_owned(),
                reason,
            };
            let value = self.secrets.reveal(value);
            let value = value.map_err(|error| wrong(format!("{owner}: {error}")))?;
            let mut value = HeaderValue::from_str(value.trim()).map_err(|_| {
                wrong(format!(
                    "{owner} holds a character that no header can carry"
                ))
            })?;
            value.set_sensitive(true);
            map.append(name, value);
        }
        Ok(map)
    }

    /// The key, with the values of secrets in it.
    pub(super) fn key(&self, url: &str) -> Result<Option<String>, ClientError> {
        let Some(key) = &self.key else {
            return Ok(None);
        };
        let revealed = self.secrets.reveal(key);
        let revealed = revealed.map_err(|error| ClientError::Credentials {
            url: url.to_owned(),
            reason: format!("`api_key`: {error}"),
        })?;
        Ok(Some(revealed.trim().to_owned()))
    }

    /// Whether anything is shown to the server at all.
    pub(super) fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }
}

fn certificates(path: &Path, url: &str) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let unreadable = |cause: String| ClientError::Unreadable {
        path: path.to_path_buf(),
        cause,
    };
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(ClientError::Credentials {
            url: url.to_owned(),
            reason: format!("`{}` holds no certificate (PEM)", path.display()),
        }),
    }
}

/// TLS with the system's roots and these.
pub(super) fn tls(roots: &[CertificateDer<'static>]) -> Arc<rustls::ClientConfig> {
    super::http::install_tls();
    let mut store = rustls::RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(native.certs);
    store.add_parsable_certificates(roots.iter().cloned());
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(store)
        .with_no_client_auth();
    Arc::new(config)
}
