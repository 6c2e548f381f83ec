//! Whose server it is: one account with one key, and the key's variants that bring an error with them, as the test cards of payment
//! providers do.
//!
//! `K` is the key that the server was started with. `K` alone works. `K:word` belongs to the same account, and:
//!
//! | word | what happens |
//! |---|---|
//! | `no-credits` | a job is answered with 402 |
//! | `no-tier` | whatever needs a paid plan is answered with 403 |
//! | `inactive` | a job is answered with 429 `INACTIVE_SUBSCRIPTION` |
//! | `unpaid` | a job is answered with 429 `PAYMENT_REQUIRED` |
//! | `free-tier` | a job is answered with 429 `FREE_TIER_EXHAUSTED` |
//! | `no-partners` | a job is answered with 403 `PARTNER_NODE_DISABLED` |
//! | `unpaid-partner` | a job is answered with 429 `PARTNER_NODE_PAYMENT_REQUIRED` |
//! | `queue-limit` | the first two jobs are answered with 429 `QUEUE_LIMIT` and `Retry-After: 1` |
//! | `unavailable` | the first two jobs are answered with 503 |
//! | an `exception_type`, e.g. `OOMError` | the first job that is taken fails with it; later ones are done |
//!
//! Any other key is answered with 401.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::{HeaderMap, HeaderName, header};

use crate::base::ContentHash;

/// How many jobs may wait for an account unless it is told otherwise.
const QUEUE: usize = 100;
/// How many jobs [`Whim::QueueLimit`] and [`Whim::Unavailable`] refuse.
const REFUSED: usize = 2;
/// Where a key is shown.
pub(super) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The exceptions that a job on the Cloud may end with.
const FAULTS: [&str; 6] = [
    "ValidationError",
    "ModelDownloadError",
    "ImageDownloadError",
    "OOMError",
    "InsufficientFundsError",
    "InactiveSubscriptionError",
];

/// How to stand in for Comfy Cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudOptions {
    /// The key that opens it; `KEY:word` opens it with an error on request.
    pub api_key: String,
    /// How many jobs may wait before the next one is refused.
    pub queue: usize,
}

impl CloudOptions {
    /// With this key, and the usual limits.
    pub fn new(api_key: impl Into<String>) -> Self {
        Self {
            api_key: api_key.into(),
            queue: QUEUE,
        }
    }
}

/// What a key brings with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whim {
    None,
    NoCredits,
    NoTier,
    Inactive,
    Unpaid,
    FreeTier,
    NoPartners,
    UnpaidPartner,
    QueueLimit,
    Unavailable,
    Fault(&'static str),
}

impl Whim {
    fn named(word: &str) -> Option<Self> {
        Some(match word {
            "no-credits" => Self::NoCredits,
            "no-tier" => Self::NoTier,
            "inactive" => Self::Inactive,
            "unpaid" => Self::Unpaid,
            "free-tier" => Self::FreeTier,
            "no-partners" => Self::NoPartners,
            "unpaid-partner" => Self::UnpaidPartner,
            "queue-limit" => Self::QueueLimit,
            "unavailable" => Self::Unavailable,
            word => Self::Fault(FAULTS.into_iter().find(|fault| *fault == word)?),
        })
    }
}

/// The account that a server belongs to.
#[derive(Debug)]
pub(super) struct Account {
    options: CloudOptions,
    refused: AtomicUsize,
    failed: AtomicUsize,
}

impl Account {
    pub(super) fn new(options: CloudOptions) -> Self {
        Self {
            options,
            refused: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
        }
    }

    /// How many jobs may wait.
    pub(super) fn queue(&self) -> usize {
        self.options.queue
    }

    /// Who the account is: the same for the same key, and not the key.
    pub(super) fn user(&self) -> String {
        let hash = ContentHash::of(self.options.api_key.as_bytes());
        format!("user-{}", &hash.to_hex()[..12])
    }

    /// What a key brings with it; `None` for a key that is not known.
    pub(super) fn opens(&self, key: &str) -> Option<Whim> {
        match key.strip_prefix(&self.options.api_key)? {
            "" => Some(Whim::None),
            rest => Whim::named(rest.strip_prefix(':')?),
        }
    }

    /// Whether this is still one of the jobs that are refused on request.
    pub(super) fn refuses(&self) -> bool {
        self.refused.fetch_add(1, Ordering::Relaxed) < REFUSED
    }

    /// Whether this is the job that fails on request.
    pub(super) fn fails(&self) -> bool {
        self.failed.fetch_add(1, Ordering::Relaxed) == 0
    }
}

/// The key that a request shows.
pub(super) fn shown(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    text(API_KEY).or_else(|| text(header::AUTHORIZATION)?.strip_prefix("Bearer "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_alone_or_with_a_known_word() {
        let account = Account::new(CloudOptions::new("secret"));
        assert_eq!(account.opens("secret"), Some(Whim::None));
        assert_eq!(account.opens("secret:no-tier"), Some(Whim::NoTier));
        assert_eq!(
            account.opens("secret:OOMError"),
            Some(Whim::Fault("OOMError"))
        );
        for other in ["", "secre", "secret2", "secret:", "secret:what", "other"] {
            assert_eq!(account.opens(other), None, "{other}");
        }
        assert!(!account.user().contains("secret"));
    }

    #[test]
    fn two_jobs_are_refused_and_one_fails() {
        let account = Account::new(CloudOptions::new("k"));
        let refused = [(); 4].map(|()| account.refuses());
        assert_eq!(refused, [true, true, false, false]);
        let failed = [(); 3].map(|()| account.fails());
        assert_eq!(failed, [true, false, false]);
    }
}
