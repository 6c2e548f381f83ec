//! Errors of this room for people: codes and advice.

use super::{ClientError, DownloadError, Refusal, RefusalKind};
use crate::base::ServerName;
use crate::diagnostic::{Code, Diagnostic, Span, codes};

/// What to tell the user about an error of a server.
pub fn diagnostic(server: &ServerName, error: &ClientError, span: Option<Span>) -> Diagnostic {
    let message = format!("server `{server}`: {error}");
    let built = advise(Diagnostic::error(code(error), message), error);
    let built = match error {
        ClientError::Refused(no) if no.kind == RefusalKind::UnknownKey => built.help(format!(
            "set `api_key:` of the server `{server}` in kiln.yaml to a key of your account, e.g. api_key: \"{{{{ secret('COMFY_CLOUD_API_KEY') }}}}\""
        )),
        ClientError::Refused(no) if no.kind.is_about_access() => built.help(format!(
            "set `token:` or `headers:` of the server `{server}` in kiln.yaml, e.g. token: \"{{{{ secret('NAME') }}}}\"; if they are set, they are not the right ones"
        )),
        _ => built,
    };
    match span {
        Some(span) => built.at(span),
        None => built,
    }
}

/// What to tell the user about a result that could not be fetched.
pub fn download_diagnostic(server: &ServerName, error: &DownloadError) -> Diagnostic {
    match error {
        DownloadError::Server(error) => {
            let message = format!("could not fetch a result from server `{server}`: {error}");
            advise(Diagnostic::error(&codes::TRANSFER_FAILED, message), error)
        }
        DownloadError::Missing { file } => Diagnostic::error(
            &codes::TRANSFER_FAILED,
            format!("server `{server}` made `{file}` but does not have it any more"),
        )
        .help("the file was deleted on the server, perhaps after an earlier run whose result the server remembered; change `filename_prefix` or a seed to have it made again"),
        DownloadError::Write(error) => {
            let built = Diagnostic::error(&codes::CANNOT_WRITE, error.to_string());
            if error.is_full() {
                built.help("make room, or put the outputs elsewhere with `output_dir` or `--output-dir`")
            } else {
                built
            }
        }
    }
}

fn code(error: &ClientError) -> &'static Code {
    match error {
        ClientError::BadUrl { .. }
        | ClientError::Unreachable { .. }
        | ClientError::Broken { .. }
        | ClientError::Timeout { .. } => &codes::SERVER_UNREACHABLE,
        ClientError::NotComfyUi { .. } => &codes::NOT_COMFYUI,
        ClientError::Credentials { .. } => &codes::NOT_AUTHORIZED,
        ClientError::Refused(no) if no.kind.is_about_access() => &codes::NOT_AUTHORIZED,
        ClientError::Refused(no) if no.kind.is_about_credit() => &codes::NO_CREDIT,
        ClientError::Refused(_)
        | ClientError::BadAnswer { .. }
        | ClientError::TooLarge { .. }
        | ClientError::Redirect { .. } => &codes::SERVER_REFUSED,
        ClientError::Unreadable { .. } => &codes::FILE_NOT_READABLE,
    }
}

fn advise(diagnostic: Diagnostic, error: &ClientError) -> Diagnostic {
    match error {
        ClientError::BadUrl { .. } => {
            diagnostic.help("an address looks like `http://127.0.0.1:8188`")
        }
        ClientError::Unreachable { url, cause }
            if url.starts_with("https:") && cause.contains("corrupt message") =>
        {
            diagnostic.help("that port does not speak TLS: use `http://`")
        }
        ClientError::Unreachable { .. } => {
            diagnostic.help("is ComfyUI running, and are its address and port right?")
        }
        ClientError::Broken { .. } | ClientError::Timeout { .. } => diagnostic
            .help("is the server overloaded, or was it stopped? its own log tells"),
        ClientError::NotComfyUi { .. } => diagnostic
            .help("something else listens on that address: check the port, and the path when ComfyUI is behind a proxy"),
        ClientError::Credentials { reason, .. } if reason.contains("secret(") => {
            diagnostic.help("set the variable, or put it into a `.env` beside kiln.yaml with `dotenv: true`")
        }
        ClientError::Refused(no) => match refusal(no) {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        },
        ClientError::Redirect { to, .. } => {
            diagnostic.help(format!("put the address it redirects to into the server's `url`: {to}"))
        }
        ClientError::BadAnswer { .. }
        | ClientError::Credentials { .. }
        | ClientError::TooLarge { .. }
        | ClientError::Unreadable { .. } => diagnostic,
    }
}

fn refusal(refusal: &Refusal) -> Option<&'static str> {
    Some(match refusal.kind {
        RefusalKind::Unauthorized => "the server, or a proxy in front of it, wants a login",
        RefusalKind::UnknownKey => {
            "the key is mistyped, was revoked, or belongs to something else than Comfy Cloud"
        }
        RefusalKind::Forbidden => {
            "the server, or a proxy in front of it, does not let this machine in"
        }
        RefusalKind::Credits => {
            "add credits to the account that the key belongs to; what is done already is kept, and `--resume last` goes on"
        }
        RefusalKind::Plan => {
            "the account's plan does not include this: look at the subscription of the account that the key belongs to"
        }
        RefusalKind::PartnerDisabled => {
            "the workflow uses a partner's nodes, and they are turned off for this account"
        }
        RefusalKind::NotFound => {
            "is the path of the server's `url` right? kiln asks for addresses below `/api/`"
        }
        RefusalKind::TooLarge => {
            "the request is larger than the server takes (100 MiB by default): start ComfyUI with a larger `--max-upload-size`, or raise the limit of the proxy in front of it"
        }
        RefusalKind::Busy => "the server asks to slow down: lower `max_jobs`",
        RefusalKind::Unavailable => {
            "a proxy answers, but ComfyUI behind it does not: is it running?"
        }
        RefusalKind::Fault => "the server failed; its own log tells why",
        RefusalKind::Other => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(error: &ClientError) -> String {
        diagnostic(&ServerName::from("local"), error, None)
            .help
            .join("\n")
    }

    #[test]
    fn a_server_that_is_not_running_is_looked_for() {
        let error = ClientError::Unreachable {
            url: "http://127.0.0.1:8188".to_owned(),
            cause: "connection refused".to_owned(),
        };
        let built = diagnostic(&ServerName::from("local"), &error, None);
        assert_eq!(built.code.id, "K0401");
        assert_eq!(
            built.message,
            "server `local`: no connection to http://127.0.0.1:8188: connection refused"
        );
        assert!(help(&error).starts_with("is ComfyUI running"));
    }

    #[test]
    fn too_large_a_request_names_the_option_to_raise() {
        let error = ClientError::Refused(Refusal::new(
            "http://x".to_owned(),
            413,
            "Maximum request body size 104857600 exceeded.",
        ));
        assert!(help(&error).contains("--max-upload-size"));
        assert!(error.to_string().ends_with("104857600 exceeded."));
    }
}
