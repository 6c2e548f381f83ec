//! Questions that are asked again after a moment: no answer came, or one of something in between.

use std::time::Duration;

use reqwest::Method;

use super::error::ClientError;
use super::http::{Call, Client, Text, read_text};

/// The longest pauses before a question is asked again.
const AGAIN: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1600),
];
/// A server that wants to be left alone for longer is left alone.
const LONGEST_MOMENT: Duration = Duration::from_secs(5);

impl Client {
    /// Asks for a text, whatever its status. A question to which no answer came, or one that says that a later one is worth it, is asked
    /// again after a moment.
    pub(super) async fn answer(&self, call: Call, limit: usize) -> Result<Text, ClientError> {
        let mut pauses = AGAIN.iter().filter(|_| call.method == Method::GET);
        loop {
            let answer = self.answer_once(call.clone(), limit).await;
            let pause = pauses.next().and_then(|longest| match &answer {
                Ok(text) if text.status.is_success() => None,
                Ok(text) => moment(&text.clone().refused(), *longest),
                Err(error) => moment(error, *longest),
            });
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return answer,
            }
        }
    }

    async fn answer_once(&self, call: Call, limit: usize) -> Result<Text, ClientError> {
        let silence = call.silence;
        let response = self.send(call).await?;
        read_text(response, limit, silence).await
    }
}

/// How long to wait before a question is asked again, if that is worth it: anything up to a longest time, and as long as the server says.
/// A server that is not there, or silent, is not asked at once: whoever asked decides about that.
fn moment(error: &ClientError, longest: Duration) -> Option<Duration> {
    let passes = match error {
        ClientError::Broken { .. } => true,
        ClientError::Refused(no) => no.kind.is_passing() || no.status >= 500,
        _ => false,
    };
    let wanted = error.refusal().and_then(|no| no.retry_after);
    let pause = wanted.unwrap_or_default() + longest.mul_f64(fastrand::f64());
    (passes && pause <= LONGEST_MOMENT).then_some(pause)
}
