//! Requests, answers and frames of sockets as bytes, for a proxy that changes them.

use std::fmt::Write as _;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

/// The longest head that is waited for.
const HEAD: usize = 64 << 10;

/// A request, read whole.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// E.g. `POST /api/prompt HTTP/1.1`.
    pub(super) line: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// An answer, read whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// What it says of its length; `None` for the truth.
    pub(super) told: Option<Told>,
}

/// What an answer says of the length of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// So much.
    Length(usize),
    /// Nothing: it ends with its connection.
    Nothing,
    /// Nothing, and it comes in chunks, the last of which never does.
    Unended,
}

/// The first line of what is about to come, none of which is taken.
pub(super) fn peek_line(stream: &TcpStream) -> Result<String> {
    let mut bytes = vec![0; 8192];
    loop {
        let length = stream.peek(&mut bytes)?;
        if length == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let line = bytes[..length].split(|byte| *byte == b'\r').next();
        if let Some(line) = line.filter(|line| line.len() < length) {
            return Ok(String::from_utf8_lossy(line).into_owned());
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Everything up to the empty line, and what came behind it.
fn read_head(stream: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while bytes.len() < HEAD {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&piece[..read]);
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
    }
    Err(Error::other("a head without an end"))
}

fn headers(head: &str) -> Vec<(String, String)> {
    let lines = head.lines().skip(1);
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect()
}

fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| value.as_str())
}

/// A body in chunks, whole.
fn joined(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|w| w == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).unwrap_or("");
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let start = end + 2;
        if size == 0 || bytes.len() < start + size + 2 {
            break;
        }
        body.extend_from_slice(&bytes[start..start + size]);
        bytes = &bytes[start + size + 2..];
    }
    body
}

impl Request {
    pub(super) fn read(stream: &mut TcpStream) -> Result<Self> {
        let (head, mut body) = read_head(stream)?;
        let headers = headers(&head);
        if value(&headers, "transfer-encoding").is_some() {
            while !body.ends_with(b"0\r\n\r\n") {
                let mut piece = [0; 4096];
                let read = stream.read(&mut piece)?;
                if read == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                body.extend_from_slice(&piece[..read]);
            }
            body = joined(&body);
        } else if let Some(length) = value(&headers, "content-length") {
            let length: usize = length.parse().map_err(Error::other)?;
            let have = body.len();
            body.resize(length.max(have), 0);
            stream.read_exact(&mut body[have..])?;
        }
        Ok(Self {
            line: head.lines().next().unwrap_or_default().to_owned(),
            headers,
            body,
        })
    }

    /// Its path and query.
    pub(super) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or("/")
    }

    /// As it arrives at a server; one of a socket stays as it is, after any other the connection ends.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let socket = value(&self.headers, "upgrade").is_some();
        let mut text = format!("{}\r\n", self.line);
        for (name, value) in &self.headers {
            let ours = ["connection", "content-length", "transfer-encoding"];
            if socket || !ours.contains(&name.as_str()) {
                let _ = write!(text, "{name}: {value}\r\n");
            }
        }
        if !socket {
            text.push_str("connection: close\r\n");
            if !self.line.starts_with("GET ") && !self.line.starts_with("HEAD ") {
                let _ = write!(text, "content-length: {}\r\n", self.body.len());
            }
        }
        text.push_str("\r\n");
        [text.as_bytes(), &self.body].concat()
    }

    /// Whether these words are anywhere in it.
    pub(super) fn holds(&self, words: &str) -> bool {
        self.bytes()
            .windows(words.len())
            .any(|window| window == words.as_bytes())
    }
}

impl Answer {
    /// The answer to a request on a connection of its own.
    pub(super) fn fetch(target: &str, request: &Request) -> Result<Self> {
        let mut server = TcpStream::connect(target)?;
        server.write_all(&request.bytes())?;
        let (head, mut body) = read_head(&mut server)?;
        server.read_to_end(&mut body)?;
        let headers = headers(&head);
        if value(&headers, "transfer-encoding").is_some() {
            body = joined(&body);
        }
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
        let told = value(&headers, "content-length").and_then(|text| text.parse().ok());
        let is_head = request.line.starts_with("HEAD ");
        Ok(Self {
            status: status.unwrap_or(0),
            told: told.filter(|_| is_head).map(Told::Length),
            headers,
            body,
        })
    }

    /// One of a proxy's own.
    pub(super) fn of(status: u16, kind: &str, body: &str) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), kind.to_owned())],
            body: body.as_bytes().to_vec(),
            told: None,
        }
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        value(&self.headers, name)
    }

    /// Head and body, as they are sent.
    pub(super) fn bytes(&self) -> (Vec<u8>, Vec<u8>) {
        let mut head = format!("HTTP/1.1 {} X\r\n", self.status);
        for (name, value) in &self.headers {
            let ours = ["connection", "content-length", "transfer-encoding"];
            if !ours.contains(&name.as_str()) {
                let _ = write!(head, "{name}: {value}\r\n");
            }
        }
        let mut body = self.body.clone();
        let length = match self.told {
            None => Some(body.len()),
            Some(Told::Length(length)) => Some(length),
            Some(Told::Nothing | Told::Unended) => None,
        };
        if let Some(length) = length {
            let _ = write!(head, "content-length: {length}\r\n");
        }
        if let Some(Told::Unended) = self.told {
            head.push_str("transfer-encoding: chunked\r\n");
            body = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n"].concat();
        }
        head.push_str("connection: close\r\n\r\n");
        (head.into_bytes(), body)
    }
}

/// A frame of a socket, as a server sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// The first byte: whether it is the last of its message, and of what kind.
    pub(super) first: u8,
    pub(super) body: Vec<u8>,
}

impl Frame {
    pub(super) fn text(text: &str) -> Self {
        Self {
            first: 0x81,
            body: text.as_bytes().to_vec(),
        }
    }

    pub(super) fn binary(bytes: &[u8]) -> Self {
        Self {
            first: 0x82,
            body: bytes.to_vec(),
        }
    }

    pub(super) fn read(stream: &mut TcpStream) -> Result<Self> {
        let mut head = [0; 2];
        stream.read_exact(&mut head)?;
        let length = match head[1] & 0x7f {
            126 => {
                let mut length = [0; 2];
                stream.read_exact(&mut length)?;
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                stream.read_exact(&mut length)?;
                u64::from_be_bytes(length)
            }
            short => u64::from(short),
        };
        let mut body = vec![0; length as usize];
        stream.read_exact(&mut body)?;
        Ok(Self {
            first: head[0],
            body,
        })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let length = self.body.len();
        let mut bytes = vec![self.first];
        match length {
            0..126 => bytes.push(length as u8),
            126..65536 => {
                bytes.push(126);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(127);
                bytes.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Whether it is a message of this type.
    pub(super) fn is(&self, kind: &str) -> bool {
        let start = format!("{{\"type\":\"{kind}\"");
        self.body.starts_with(start.as_bytes())
            || self
                .body
                .starts_with(format!("{{\"type\": \"{kind}\"").as_bytes())
    }
}
