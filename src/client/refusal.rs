//! A status that means no, and what is meant by it.
//!
//! Local servers answer with plain text or `{"error": …}`, Comfy Cloud with `{"code", "message"}` or `{"error": {"type", "message"}}`. What
//! matters is whether asking again can help, and whom the user has to turn to.

use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use serde_json::Value;

use super::error::first_line;
use crate::protocol::Flavour;

/// The longest pause that a server is believed to want.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// An answer with a status that means no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The address, without its query.
    pub url: String,
    /// The HTTP status.
    pub status: u16,
    /// What is meant.
    pub kind: RefusalKind,
    /// What it said, one line; may be empty.
    pub said: String,
    /// How long it wants to be left alone, where it says so.
    pub retry_after: Option<Duration>,
}

/// What is meant by a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// Nobody showed who asks, or the key or token is not known (401, 407).
    Unauthorized,
    /// Comfy Cloud does not know the key that it was shown (401).
    UnknownKey,
    /// Whoever asks may not (403).
    Forbidden,
    /// The account's plan has no access to the API, or its trial is used up (403, 429).
    Plan,
    /// The account has no credits left (402, 429).
    Credits,
    /// The nodes of a partner are turned off (403).
    PartnerDisabled,
    /// There is no such route or thing (404).
    NotFound,
    /// The request is too large (413).
    TooLarge,
    /// The queue is full, or requests come too fast (429): later it works.
    Busy,
    /// A proxy answers, and nothing behind it (502 to 504).
    Unavailable,
    /// The server failed (other 5xx).
    Fault,
    /// Anything else.
    Other,
}

impl RefusalKind {
    /// What a status and the type of an error mean.
    pub fn of(status: u16, kind: &str) -> Self {
        match (status, kind) {
            (_, "QUEUE_LIMIT") => Self::Busy,
            (_, "PARTNER_NODE_DISABLED") => Self::PartnerDisabled,
            (_, "PAYMENT_REQUIRED" | "PARTNER_NODE_PAYMENT_REQUIRED") | (402, _) => Self::Credits,
            (_, "FREE_TIER_UNAVAILABLE" | "FREE_TIER_EXHAUSTED" | "INACTIVE_SUBSCRIPTION") => {
                Self::Plan
            }
            (401 | 407, _) => Self::Unauthorized,
            (403, _) => Self::Forbidden,
            (404, _) => Self::NotFound,
            (413, _) => Self::TooLarge,
            (429, _) => Self::Busy,
            (502..=504, _) => Self::Unavailable,
            (500.., _) => Self::Fault,
            _ => Self::Other,
        }
    }

    /// Whether the same request may be answered well in a moment, nothing having been done about this one.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable)
    }

    /// Whether it is about who asks.
    pub fn is_about_access(self) -> bool {
        matches!(
            self,
            Self::Unauthorized | Self::UnknownKey | Self::Forbidden
        )
    }

    /// Whether it is about what the account has paid for.
    pub fn is_about_credit(self) -> bool {
        matches!(self, Self::Plan | Self::Credits | Self::PartnerDisabled)
    }
}

impl Refusal {
    /// A status without an answer to read.
    pub fn new(url: String, status: u16, said: &str) -> Self {
        Self {
            url,
            status,
            kind: RefusalKind::of(status, ""),
            said: first_line(said).into_owned(),
            retry_after: None,
        }
    }

    /// What the same status means where accounts are asked to pay.
    #[must_use]
    pub(super) fn under(self, flavour: Flavour) -> Self {
        let kind = match (flavour, self.kind) {
            (Flavour::Cloud, RefusalKind::Unauthorized) => RefusalKind::UnknownKey,
            (Flavour::Cloud, RefusalKind::Forbidden) => RefusalKind::Plan,
            (_, kind) => kind,
        };
        Self { kind, ..self }
    }

    /// Reads an answer.
    pub(super) fn read(
        url: String,
        status: u16,
        headers: &HeaderMap,
        media_type: &str,
        body: &str,
    ) -> Self {
        let value: Option<Value> = serde_json::from_str(body).ok();
        let (kind, said) = match &value {
            Some(value) => words(value),
            None => (String::new(), None),
        };
        let said = match said {
            Some(said) => said,
            None if media_type == "text/html" => String::new(),
            None => body.to_owned(),
        };
        Self {
            kind: RefusalKind::of(status, &kind),
            retry_after: retry_after(headers),
            ..Self::new(url, status, &said)
        }
    }
}

/// The type and the words of an error in JSON.
fn words(value: &Value) -> (String, Option<String>) {
    let error = match value.get("error") {
        Some(error @ Value::Object(_)) => error,
        _ => value,
    };
    let text = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| error.get(name)?.as_str());
        found.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let kind = text(["type", "code"]).unwrap_or_default();
    (kind, text(["message", "error"]))
}

/// `Retry-After`: seconds, or a date by the clock of whoever answered; one that has passed says nothing.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.trim());
    let told = text(RETRY_AFTER)?;
    let pause = if let Ok(seconds) = told.parse::<f64>() {
        Duration::try_from_secs_f64(seconds).ok()?
    } else {
        let until = httpdate::parse_http_date(told).ok()?;
        let there = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        let now = there.unwrap_or_else(SystemTime::now);
        until.duration_since(now).ok()?
    };
    Some(pause.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(status: u16, body: &Value) -> Refusal {
        let headers = HeaderMap::new();
        let url = "http://x".to_owned();
        Refusal::read(url, status, &headers, "application/json", &body.to_string())
    }

    #[test]
    fn the_type_of_an_error_counts_more_than_its_status() {
        for (status, kind, means) in [
            (429, "QUEUE_LIMIT", RefusalKind::Busy),
            (429, "PAYMENT_REQUIRED", RefusalKind::Credits),
            (429, "PARTNER_NODE_PAYMENT_REQUIRED", RefusalKind::Credits),
            (429, "FREE_TIER_UNAVAILABLE", RefusalKind::Plan),
            (429, "FREE_TIER_EXHAUSTED", RefusalKind::Plan),
            (403, "PARTNER_NODE_DISABLED", RefusalKind::PartnerDisabled),
            (429, "something", RefusalKind::Busy),
            (402, "", RefusalKind::Credits),
            (403, "", RefusalKind::Forbidden),
        ] {
            let answer = json!({"error": {"type": kind, "message": "why"}});
            let refusal = read(status, &answer);
            assert_eq!(refusal.kind, means, "{status} {kind}");
            assert_eq!(refusal.said, "why");
        }
    }

    #[test]
    fn a_refusal_of_the_cloud_is_about_the_key_or_the_plan() {
        let answer = json!({"code": "X", "message": "no"});
        let kind = |status, flavour| read(status, &answer).under(flavour).kind;
        assert_eq!(kind(401, Flavour::Cloud), RefusalKind::UnknownKey);
        assert_eq!(kind(403, Flavour::Cloud), RefusalKind::Plan);
        assert_eq!(kind(404, Flavour::Cloud), RefusalKind::NotFound);
        assert_eq!(kind(401, Flavour::Comfy), RefusalKind::Unauthorized);
        assert_eq!(kind(403, Flavour::Comfy), RefusalKind::Forbidden);
    }

    #[test]
    fn both_shapes_of_an_error_are_read() {
        let cloud = read(429, &json!({"code": "QUEUE_LIMIT", "message": "later"}));
        assert_eq!((cloud.kind, &*cloud.said), (RefusalKind::Busy, "later"));
        let local = read(404, &json!({"error": "Job not found"}));
        assert_eq!(
            (local.kind, &*local.said),
            (RefusalKind::NotFound, "Job not found")
        );
        let url = || "http://x".to_owned();
        let page = Refusal::read(url(), 502, &HeaderMap::new(), "text/html", "<html>oops");
        assert_eq!((page.kind, &*page.said), (RefusalKind::Unavailable, ""));
        let text = Refusal::read(url(), 500, &HeaderMap::new(), "text/plain", "\noops\nmore");
        assert_eq!((text.kind, &*text.said), (RefusalKind::Fault, "oops"));
    }

    #[test]
    fn a_wish_to_be_left_alone_is_bounded() {
        let after = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(after("2"), Some(Duration::from_secs(2)));
        assert_eq!(after("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(after("99999999"), Some(LONGEST_PAUSE));
        for none in ["-1", "NaN", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(after(none), None, "{none}");
        }
    }

    #[test]
    fn a_date_is_read_by_the_clock_of_whoever_sent_it() {
        let after = |until: &str, now: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, until.parse().unwrap());
            if let Some(now) = now {
                headers.insert(DATE, now.parse().unwrap());
            }
            retry_after(&headers)
        };
        let until = "Wed, 21 Oct 2015 07:28:00 GMT";
        let just_before = Some("Wed, 21 Oct 2015 07:27:53 GMT");
        assert_eq!(after(until, just_before), Some(Duration::from_secs(7)));
        let long_before = Some("Tue, 20 Oct 2015 07:28:00 GMT");
        assert_eq!(after(until, long_before), Some(LONGEST_PAUSE));
        let later = Some("Wed, 21 Oct 2015 07:28:01 GMT");
        assert_eq!(after(until, later), None);
        // Nobody says what time it is there: it is as late as here.
        let soon = SystemTime::now() + Duration::from_secs(100);
        let pause = after(&httpdate::fmt_http_date(soon), Some("noon")).unwrap();
        assert!(pause > Duration::ZERO && pause <= Duration::from_secs(100));
    }
}
