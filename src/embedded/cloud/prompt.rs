//! `POST /api/prompt`: the same judgement of a graph as everywhere, behind the rules of an account.

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::access::{refusal, typed};
use super::account::Whim;
use super::routes::Cloud;
use crate::embedded::answers::json_with;
use crate::embedded::prompt::accept;
use crate::embedded::routes::object;

/// The handler.
pub(super) async fn submit(
    State(cloud): State<Cloud>,
    Extension(whim): Extension<Whim>,
    request: Request,
) -> Response {
    let mut submitted = match object(request).await {
        Ok(submitted) => submitted,
        Err(response) => return response,
    };
    if let Some(refused) = refused(&cloud, whim, submitted.get("prompt")) {
        return refused;
    }
    // Whatever the client calls itself and its job, nobody asks.
    submitted.shift_remove("client_id");
    submitted.shift_remove("prompt_id");
    let fault = match whim {
        Whim::Fault(fault) if cloud.account.fails() => Some(fault),
        _ => None,
    };
    match accept(&cloud.server, submitted, fault) {
        Ok(answer) => {
            let mut taken = json!({ "prompt_id": answer["prompt_id"] });
            let errors = &answer["node_errors"];
            if errors.as_object().is_some_and(|errors| !errors.is_empty()) {
                taken["node_errors"] = errors.clone();
            }
            json_with(StatusCode::OK, &taken)
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Why the account gets no job done.
fn refused(cloud: &Cloud, whim: Whim, prompt: Option<&Value>) -> Option<Response> {
    let later = |message: &str| {
        let mut answer = typed(StatusCode::TOO_MANY_REQUESTS, "QUEUE_LIMIT", message);
        let headers = answer.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        answer
    };
    let final_429 = |kind, message| Some(typed(StatusCode::TOO_MANY_REQUESTS, kind, message));
    match whim {
        Whim::NoCredits => {
            return Some(refusal(
                StatusCode::PAYMENT_REQUIRED,
                "PAYMENT_REQUIRED",
                "your account has no credits left",
            ));
        }
        Whim::Inactive => {
            return final_429("INACTIVE_SUBSCRIPTION", "your subscription is not active");
        }
        Whim::Unpaid => return final_429("PAYMENT_REQUIRED", "your account has no credits left"),
        Whim::FreeTier => {
            return final_429("FREE_TIER_EXHAUSTED", "your free jobs are used up");
        }
        Whim::UnpaidPartner => {
            return final_429(
                "PARTNER_NODE_PAYMENT_REQUIRED",
                "this partner's nodes cost credits that your account does not have",
            );
        }
        Whim::NoPartners => return Some(partners(prompt)),
        Whim::QueueLimit if cloud.account.refuses() => {
            return Some(later("your queue is full, on request"));
        }
        Whim::Unavailable if cloud.account.refuses() => {
            return Some(refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "UNAVAILABLE",
                "no machine is free, on request",
            ));
        }
        Whim::QueueLimit | Whim::Unavailable | Whim::None | Whim::NoTier | Whim::Fault(_) => {}
    }
    let waiting = cloud.server.board.queued().1.len();
    (waiting >= cloud.account.queue())
        .then(|| later(&format!("{waiting} of your jobs wait already")))
}

/// The refusal of nodes that a partner computes.
fn partners(prompt: Option<&Value>) -> Response {
    let nodes = prompt.and_then(Value::as_object).into_iter().flatten();
    let classes: Vec<&Value> = nodes
        .filter_map(|(_, node)| node.get("class_type"))
        .collect();
    let error = json!({
        "type": "PARTNER_NODE_DISABLED",
        "message": "partner nodes are turned off for your account",
        "class_types": classes,
        "providers": [],
    });
    json_with(StatusCode::FORBIDDEN, &json!({ "error": error }))
}
