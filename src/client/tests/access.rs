//! Tokens, headers, roots: who sees them, and what is said when they are missing.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::fake::{Fake, graph, serve};
use crate::base::{Inputs, Secrets, ServerName, secret};
use crate::client::{Access, Client, ClientError, Connection, JobRequest, Refusal, diagnostic};

fn secrets() -> Secrets {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    std::fs::write(&file, "KILN_TEST_TOKEN=hush-hush\n").unwrap();
    let inputs = Arc::new(Inputs::default());
    inputs.read_dotenv(&file).unwrap();
    Secrets::of(inputs)
}

/// A server that notes the headers of each request, by path.
async fn noting() -> (String, Arc<Mutex<Vec<(String, HeaderMap)>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = seen.clone();
    let router = Fake::new()
        .router()
        .layer(from_fn(move |request: Request, next: Next| {
            let path = request.uri().path().to_owned();
            note.lock().unwrap().push((path, request.headers().clone()));
            next.run(request)
        }));
    (serve(router).await, seen)
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/client/tests/tls")
        .join(name)
}

#[tokio::test]
async fn token_and_headers_go_with_requests_jobs_and_the_socket() {
    let (url, seen) = noting().await;
    let access = Access {
        token: Some(secret::placeholder("KILN_TEST_TOKEN")),
        headers: [("X-Team".to_owned(), "blue".to_owned())].into(),
        secrets: secrets(),
        ..Access::default()
    };
    let client = Client::with_access(ServerName::from("studio"), &url, access).unwrap();
    assert!(!format!("{client:?}").contains("hush"));
    client.probe().await.unwrap();
    let connection = Connection::open(client).await.unwrap();
    let job = JobRequest {
        prompt_id: uuid::Uuid::nil(),
        graph: &graph(),
        targets: &[],
        extra_data: serde_json::Map::new(),
        allow_partial: false,
    };
    connection.submit(&job).await.unwrap();
    let seen = seen.lock().unwrap();
    for path in ["/api/system_stats", "/api/ws", "/api/prompt"] {
        let headers = seen.iter().find(|(p, _)| p == path).map(|(_, h)| h);
        let headers = headers.unwrap_or_else(|| panic!("{path} was not asked"));
        assert_eq!(headers["authorization"], "Bearer hush-hush", "{path}");
        assert_eq!(headers["x-team"], "blue", "{path}");
    }
}

#[tokio::test]
async fn a_secret_without_a_value_is_told_before_anything_is_sent() {
    let (url, seen) = noting().await;
    let access = Access {
        token: Some(secret::placeholder("KILN_TEST_NOWHERE")),
        ..Access::default()
    };
    let name = ServerName::from("studio");
    let client = Client::with_access(name.clone(), &url, access).unwrap();
    let error = client.probe().await.unwrap_err();
    let told = diagnostic(&name, &error, None);
    assert_eq!(told.code.id, "K0404");
    let expected = "`token`: the environment variable `KILN_TEST_NOWHERE` is not set";
    assert!(told.message.contains(expected), "{}", told.message);
    assert!(told.help.join("\n").contains(".env"));
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn a_refusal_names_the_keys_to_set() {
    for status in [401, 403] {
        let error = ClientError::Refused(Refusal::new("http://x".to_owned(), status, ""));
        let told = diagnostic(&ServerName::from("studio"), &error, None);
        assert_eq!(told.code.id, "K0404");
        assert!(
            told.help
                .join("\n")
                .contains("set `token:` or `headers:` of the server `studio`")
        );
    }
}

/// The fake server behind TLS with a certificate that no system trusts.
async fn behind_tls() -> String {
    let plain = serve(Fake::new().router()).await;
    let plain = plain.trim_start_matches("http://").to_owned();
    super::super::http::install_tls();
    let chain = CertificateDer::pem_file_iter(fixture("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture("server.key")).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, plain) = (acceptor.clone(), plain.clone());
            tokio::spawn(async move {
                let mut outer = acceptor.accept(stream).await?;
                let mut inner = tokio::net::TcpStream::connect(plain).await?;
                tokio::io::copy_bidirectional(&mut outer, &mut inner).await
            });
        }
    });
    url
}

#[tokio::test]
async fn an_extra_root_is_trusted_for_requests_and_the_socket_and_only_when_it_is_given() {
    let url = behind_tls().await;
    let name = ServerName::from("studio");
    let stranger = Client::new(name.clone(), &url).unwrap();
    let error = stranger.probe().await.unwrap_err();
    assert!(
        error.to_string().to_lowercase().contains("certificate"),
        "{error}"
    );
    let access = Access {
        ca_cert: Some(fixture("root.pem")),
        ..Access::default()
    };
    let client = Client::with_access(name.clone(), &url, access).unwrap();
    client.probe().await.unwrap();
    let connection = Connection::open(client).await.unwrap();
    assert!(connection.socket_error().is_none());
    for (file, expected) in [
        ("none.pem", "could not read"),
        ("server.key", "holds no certificate"),
    ] {
        let access = Access {
            ca_cert: Some(fixture(file)),
            ..Access::default()
        };
        let error = Client::with_access(name.clone(), &url, access).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
