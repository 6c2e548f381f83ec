//! One file on its way from a server: asked for, taken in pieces, asked for again from where it broke.
//!
//! What came counts only while the server proves with its `ETag` that the file is still the one that was begun; else it is begun anew.
//! Servers may ignore a range, answer another one, or none; they may tell no length, or compress what nobody asked to be compressed.

use std::io::Write as _;

use bytes::Bytes;
use flate2::write::GzDecoder;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE,
};
use reqwest::{Response, StatusCode};
use url::Url;

use super::download::DownloadError;
use super::error::ClientError;
use super::growing::Growing;
use super::http::{Client, LEAST, Pace, SILENCE, media_type, next_piece, show};
use super::patience::Patience;
use super::refusal::Refusal;
use super::sink::Sink;
use super::text::flavour;
use super::whole::Seal;
use crate::protocol::FileRef;

/// How much of an error's body is read.
const ERROR_LIMIT: usize = 64 * 1024;
/// How much compressed content is unpacked at a time: it may grow a thousandfold.
const UNPACKED_AT_ONCE: usize = 16 * 1024;

/// A file that is being fetched.
pub(super) struct Fetch<'a> {
    pub(super) client: &'a Client,
    pub(super) file: &'a FileRef,
    pub(super) sink: Sink,
    seal: Seal,
    pub(super) etag: Option<String>,
    /// Bytes of it that are here.
    received: u64,
    /// The most that were ever here.
    best: u64,
    total: Option<u64>,
    /// Whether the rest may be asked for; servers that answer such a question wrongly are not asked it again.
    resumes: bool,
    unpack: Option<GzDecoder<Vec<u8>>>,
    /// Wants the file while it comes.
    offer: Option<Offer<'a>>,
}

/// Is given a file whose length and version are known, before its first byte has come.
pub(super) type Offer<'a> = Box<dyn FnOnce(Growing) + Send + 'a>;

impl<'a> Fetch<'a> {
    pub(super) fn new(client: &'a Client, file: &'a FileRef, sink: Sink) -> Self {
        Self {
            client,
            file,
            sink,
            seal: Seal::of(&file.filename),
            etag: None,
            received: 0,
            best: 0,
            total: None,
            resumes: true,
            unpack: None,
            offer: None,
        }
    }

    /// Offers the file to somebody as soon as it is begun.
    pub(super) fn offering(self, offer: Offer<'a>) -> Self {
        Self {
            offer: Some(offer),
            ..self
        }
    }

    /// Fetches it whole, as often as it takes and makes sense.
    pub(super) async fn complete(
        &mut self,
        progress: &mut (impl FnMut(u64, Option<u64>) + Send),
    ) -> Result<(), DownloadError> {
        let mut patience = Patience::default();
        loop {
            let before = self.best;
            let Err(error) = self.advance(progress).await else {
                return Ok(());
            };
            // What only trickles would never end.
            let trickles = matches!(&error, DownloadError::Server(ClientError::Timeout { .. }))
                && self.best < before + LEAST as u64;
            if self.best > before && !trickles {
                patience.progressed();
            }
            let pause = match &error {
                DownloadError::Server(error) => patience.pause(error),
                _ => None,
            };
            let Some(pause) = pause else {
                return Err(error);
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks for what is missing and takes what comes, until the end or an error.
    async fn advance(
        &mut self,
        progress: &mut (impl FnMut(u64, Option<u64>) + Send),
    ) -> Result<(), DownloadError> {
        let _place = self.client.place().await;
        let mut call = self.client.view(self.file);
        let asked = self.rest();
        if let Some((from, tag)) = &asked {
            call.headers.insert(RANGE, from.clone());
            call.headers.insert(IF_RANGE, tag.clone());
        }
        let url = call.url.clone();
        let mut response = self.client.send(call).await?;
        self.begin(&mut response, asked.is_some()).await?;
        let at = response.url().clone();
        let mut pace = Pace::of(SILENCE);
        while let Some(piece) = next_piece(&mut response, &at, &mut pace).await? {
            self.take(piece, &url).await?;
            progress(self.received, self.total);
        }
        self.unpacked(&url).await?;
        // An answer without a length ends with its connection, however that ended; a question for the length alone may know more.
        let total = match self.total {
            None if self.resumes => {
                let told = self.client.size_of(self.file).await.ok().flatten();
                told.filter(|size| *size > 0)
            }
            known => known,
        };
        match total {
            Some(total) if total != self.received => {
                Err(broken(&url, &format!("{} of {total} bytes came", self.received)).into())
            }
            _ => self.proven(&url),
        }
    }

    /// Whether the file is what its own format says; what is damaged is begun anew.
    fn proven(&mut self, url: &Url) -> Result<(), DownloadError> {
        let Some(damage) = self.seal.damage() else {
            return Ok(());
        };
        self.etag = None;
        let cause = format!("`{}` came damaged: {damage}", self.file.filename);
        Err(broken(url, &cause).into())
    }

    /// How the rest is asked for, when something is here and the server has told what can prove that it is the same file.
    fn rest(&self) -> Option<(HeaderValue, HeaderValue)> {
        let tag = self.etag.as_deref().filter(|tag| !tag.starts_with("W/"))?;
        if self.received == 0 || !self.resumes {
            return None;
        }
        let from = HeaderValue::try_from(format!("bytes={}-", self.received)).ok()?;
        Some((from, HeaderValue::from_str(tag).ok()?))
    }

    async fn take(&mut self, piece: Bytes, url: &Url) -> Result<(), DownloadError> {
        if self.unpack.is_none() {
            return self.append(piece).await;
        }
        for part in piece.chunks(UNPACKED_AT_ONCE) {
            let Some(unpack) = &mut self.unpack else {
                return Ok(());
            };
            let written = unpack.write_all(part);
            written
                .map_err(|error| broken(url, &format!("it is not packed as it says: {error}")))?;
            let plain = std::mem::take(unpack.get_mut());
            self.append(plain.into()).await?;
        }
        Ok(())
    }

    /// The end of packed content proves itself by its length and its checksum.
    async fn unpacked(&mut self, url: &Url) -> Result<(), DownloadError> {
        let Some(unpack) = self.unpack.take() else {
            return Ok(());
        };
        match unpack.finish() {
            Ok(rest) if rest.is_empty() => Ok(()),
            Ok(rest) => self.append(rest.into()).await,
            Err(error) => Err(broken(url, &error.to_string()).into()),
        }
    }

    async fn append(&mut self, bytes: Bytes) -> Result<(), DownloadError> {
        self.received += bytes.len() as u64;
        self.best = self.best.max(self.received);
        self.seal.update(&bytes);
        Ok(self.sink.append(bytes).await?)
    }

    /// Reads the head of an answer: the rest of the file, the whole file again, or no file.
    async fn begin(&mut self, response: &mut Response, asked: bool) -> Result<(), DownloadError> {
        let url = response.url().clone();
        match response.status() {
            StatusCode::PARTIAL_CONTENT if asked && self.continues(response.headers()) => Ok(()),
            // Another part than the one that was asked for, or of another file: whoever answers so is asked for the whole.
            StatusCode::PARTIAL_CONTENT => {
                self.resumes = false;
                Err(broken(&url, "another part came than the one that was asked for").into())
            }
            StatusCode::OK => self.begin_anew(response).await,
            // There is nothing after what came: the end of the body was lost, or the file is another one now.
            StatusCode::RANGE_NOT_SATISFIABLE if asked => {
                self.etag = None;
                let cause = format!("nothing follows byte {}", self.received);
                Err(broken(&url, &cause).into())
            }
            StatusCode::NOT_FOUND => Err(DownloadError::Missing {
                file: self.file.annotated(),
            }),
            status if status.is_success() => Err(odd(
                &url,
                &format!("status {} in place of a file", status.as_u16()),
            )),
            _ => Err(refusal(response, &url).await.into()),
        }
    }

    async fn begin_anew(&mut self, response: &Response) -> Result<(), DownloadError> {
        let headers = response.headers();
        // ComfyUI hands web pages out as plain bytes: this is a login, or a proxy's page.
        if media_type(headers) == "text/html" {
            return Err(odd(
                response.url(),
                "it sent a web page in place of the file",
            ));
        }
        self.unpack = match encoding(headers).as_deref() {
            None => None,
            Some("gzip" | "x-gzip") => Some(GzDecoder::new(Vec::new())),
            Some(other) => {
                let reason = format!(
                    "it sent the file packed as `{other}`, although that was not asked for"
                );
                return Err(odd(response.url(), &reason));
            }
        };
        if self.received > 0 {
            self.received = 0;
            self.sink.start_again().await;
            self.seal.start_again();
        }
        self.etag = text(headers, &ETAG).filter(|tag| !tag.is_empty());
        self.total = response.content_length();
        if self.unpack.is_some() {
            // Its length and its parts are those of the packed content.
            self.resumes = false;
            self.total = None;
        }
        if let Some(total) = self.total {
            self.sink.expect(total)?;
        }
        self.offered();
        Ok(())
    }

    /// A file that nobody can tell from another one, or whose length is not known, is offered to nobody.
    fn offered(&mut self) {
        let tag = self.etag.as_deref().filter(|tag| !tag.starts_with("W/"));
        if let (Some(tag), Some(total)) = (tag, self.total)
            && let Some(offer) = self.offer.take()
            && let Some(growing) = self.sink.growing(total, tag)
        {
            offer(growing);
        }
    }

    /// Whether a part is what follows what is here, of the same file.
    fn continues(&self, headers: &HeaderMap) -> bool {
        let Some((start, total)) = text(headers, &CONTENT_RANGE).as_deref().and_then(part) else {
            return false;
        };
        let differs = |told: Option<u64>| told.is_some_and(|told| Some(told) != self.total);
        let other = text(headers, &ETAG).is_some_and(|tag| Some(tag) != self.etag);
        start == self.received
            && !other
            && !(self.total.is_some() && differs(total))
            && encoding(headers).is_none()
    }
}

fn text(headers: &HeaderMap, name: &reqwest::header::HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.trim().to_owned())
}

/// How content is packed; `None` when it is not.
fn encoding(headers: &HeaderMap) -> Option<String> {
    let told = text(headers, &CONTENT_ENCODING)?.to_ascii_lowercase();
    (!told.is_empty() && told != "identity").then_some(told)
}

fn broken(url: &Url, cause: &str) -> ClientError {
    ClientError::Broken {
        url: show(url),
        cause: cause.to_owned(),
    }
}

fn odd(url: &Url, reason: &str) -> DownloadError {
    DownloadError::Server(ClientError::odd(url, reason))
}

async fn refusal(response: &mut Response, url: &Url) -> ClientError {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let mut pace = Pace::of(SILENCE);
    while body.len() < ERROR_LIMIT {
        match next_piece(response, url, &mut pace).await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            _ => break,
        }
    }
    let text = String::from_utf8_lossy(&body);
    let kind = media_type(response.headers());
    let refusal = Refusal::read(show(url), status, response.headers(), &kind, &text);
    ClientError::Refused(refusal.under(flavour(response)))
}

/// The first byte of `bytes 5-9/10`, and the length of the whole, where it is told.
fn part(range: &str) -> Option<(u64, Option<u64>)> {
    let (part, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = part.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}
