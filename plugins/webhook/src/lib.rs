//! Sends a run's events to a URL: selected, signed, and tried again when nobody answers.
//!
//! ```yaml
//! plugins:
//!   webhook:
//!     path: plugins/webhook
//!     on_error: warn
//!     config: { url: "https://example.org/hook", secret: "{{ secret('HOOK_SECRET') }}", events: [run_finished] }
//! ```
//!
//! Each event is the body of a POST: the JSON line that `kiln run --output json` prints. `X-Kiln-Event` names it; with a secret,
//! `X-Kiln-Signature` is `sha256=` and the HMAC-SHA256 of `X-Kiln-Timestamp`, a dot and the body, in hex. An answer of 5xx, 429 or none
//! is tried again after 0.5 s, 1 s, 2 s …, as long as the plugin's `timeout` has room for it; anything else from 300 on is a failure at once.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kiln_plugin::{About, Event, Host, Plugin, Result, Value, fail, json};
use ring::hmac;

/// The first pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// What all attempts together may take of the time that kiln gives to one event: beyond that, the plugin would be given up.
const SHARE: f64 = 0.8;

/// The plugin.
#[derive(Debug)]
pub struct Webhook {
    host: Host,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    url: String,
    key: Option<hmac::Key>,
    events: Vec<String>,
    attempts: u64,
    /// How long one attempt may take.
    each: Duration,
    /// How long all of them may.
    all: Duration,
}

impl Plugin for Webhook {
    fn about() -> About {
        About::new("webhook", env!("CARGO_PKG_VERSION"))
            .description("Sends a run's events to a URL, signed and retried.")
            .config(json!({
                "type": "object",
                "required": ["url"],
                "additionalProperties": false,
                "properties": {
                    "url": { "type": "string", "pattern": "^https?://", "description": "Where events are posted." },
                    "secret": { "type": "string", "minLength": 1, "description": "Signs every body." },
                    "events": {
                        "type": "array", "items": { "type": "string", "minLength": 1 }, "default": ["run_finished"],
                        "description": "Names of events, or beginnings that end in `*`.",
                    },
                    "attempts": { "type": "integer", "minimum": 1, "maximum": 10, "default": 4, "description": "How often an event is sent at most." },
                    "seconds": { "type": "number", "minimum": 0.1, "maximum": 60, "default": 5, "description": "How long one attempt may take." },
                },
            }))
            .events(&["*"])
    }

    fn create(config: &Value, host: Host) -> Result<Self> {
        let Some(url) = config["url"].as_str() else {
            fail!("`url` is missing");
        };
        let secret = config["secret"].as_str();
        let seconds = config["seconds"].as_f64().unwrap_or(5.0);
        // Somebody else in this process may have done it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let each = Duration::from_secs_f64(seconds);
        let all = host
            .time_limit()
            .map_or(Duration::MAX, |limit| limit.mul_f64(SHARE));
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let events = match config["events"].as_array() {
            Some(events) => events
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            None => vec!["run_finished".to_owned()],
        };
        Ok(Self {
            host,
            client,
            runtime,
            url: url.to_owned(),
            key: secret.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())),
            events,
            attempts: config["attempts"].as_u64().unwrap_or(4),
            each,
            all,
        })
    }

    fn run_event(&mut self, event: &Event<'_>) -> Result {
        let name = event.name();
        let wanted = self.events.iter().any(|one| match one.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => one == name,
        });
        if wanted {
            self.send(name, event.as_text())
        } else {
            Ok(())
        }
    }
}

impl Webhook {
    /// Sends an event until somebody takes it.
    fn send(&self, name: &str, body: &str) -> Result {
        let began = Instant::now();
        let mut pause = PAUSE;
        for attempt in 1..=self.attempts {
            let left = self.all.saturating_sub(began.elapsed());
            let why = match self.post((name, body), left.min(self.each)) {
                Ok(status @ (429 | 500..)) => format!("it answered {status}"),
                Ok(status @ 300..) => fail!("`{name}` was refused with {status}"),
                Ok(_) => return Ok(()),
                Err(error) => innermost(&error),
            };
            let late = began.elapsed() + pause >= self.all;
            if late || attempt == self.attempts {
                let s = if attempt == 1 { "" } else { "s" };
                let why = if late {
                    format!("{why}; there is no time for more, see `timeout`")
                } else {
                    why
                };
                fail!("`{name}` was not taken in {attempt} attempt{s}: {why}");
            }
            self.host.debug(&format!("`{name}` is sent again: {why}"));
            std::thread::sleep(pause);
            pause *= 2;
        }
        Ok(())
    }

    fn post(&self, (name, body): (&str, &str), limit: Duration) -> Result<u16, reqwest::Error> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let time = now.as_secs().to_string();
        let mut request = self
            .client
            .post(&self.url)
            .timeout(limit)
            .header("content-type", "application/json")
            .header("x-kiln-event", name)
            .header("x-kiln-timestamp", &time);
        if let Some(key) = &self.key {
            request = request.header("x-kiln-signature", signature(key, &time, body));
        }
        let request = request.body(body.to_owned());
        // Its timers want to be made inside of the runtime.
        let answer = self.runtime.block_on(async move { request.send().await })?;
        Ok(answer.status().as_u16())
    }
}

/// What is at the bottom of an error, without the address: that may be a secret.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// `sha256=` and the HMAC of the time, a dot and the body.
fn signature(key: &hmac::Key, time: &str, body: &str) -> String {
    let mut context = hmac::Context::with_key(key);
    for part in [time, ".", body] {
        context.update(part.as_bytes());
    }
    let mut text = "sha256=".to_owned();
    for byte in context.sign().as_ref() {
        // A `String` takes everything.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

kiln_plugin::export!(Webhook);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_everybody_computes() {
        // RFC 4231, test case 2, is `what do ya want for nothing?` under `Jefe`; ours joins two parts with a dot.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        let plain = hmac::sign(&key, b"what do ya want.for nothing?");
        let mut hex = String::new();
        for byte in plain.as_ref() {
            write!(hex, "{byte:02x}").unwrap_or_default();
        }
        assert_eq!(
            signature(&key, "what do ya want", "for nothing?"),
            format!("sha256={hex}")
        );
    }
}
