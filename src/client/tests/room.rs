//! Files that the disk has no room for.

use std::io::{Read, Write};

use super::fake::client;
use crate::client::DownloadError;
use crate::protocol::FileRef;

#[tokio::test]
async fn a_file_that_cannot_fit_is_refused_before_it_is_begun() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            // An exabyte is announced, and never ends.
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1152921504606846976\r\n\r\n");
            while stream.write_all(&[7; 4096]).is_ok() {}
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let file = FileRef {
        filename: "a.mp4".to_owned(),
        subfolder: String::new(),
        folder: "output".to_owned(),
    };
    let target = dir.path().join("deep/a.mp4");
    let error = client(&url).download(&file, &target, |_, _| {}).await;
    match error {
        Err(DownloadError::Write(error)) => assert!(error.is_full(), "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(!dir.path().join("deep").exists(), "nothing was begun");
}
