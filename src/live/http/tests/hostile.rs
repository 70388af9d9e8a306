//! A server that answers as the world does, over real sockets: it does to each request what the test says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::model::Timestamp;
use crate::wire::blocks::Packed;
use crate::wire::seal::{SEAL, Seal};
use crate::wire::{BYTES, Envelope};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// `GET /api/v1/snapshot`.
    pub(super) line: String,
    /// All headers, in lower case.
    pub(super) headers: String,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// What is done to a request.
#[derive(Debug, Clone)]
pub(super) enum Doing {
    /// This answer as regions give it: status, type, body, and its seal.
    Answer(String, &'static str, Vec<u8>),
    /// These bytes, and the connection is closed.
    Say(Vec<u8>),
    /// Byte by byte, with pauses.
    Trickle(Vec<u8>, Duration),
    /// So many bytes at once, the rest byte by byte with pauses or never.
    Begin(Vec<u8>, usize, Option<Duration>),
    /// Pieces of so many bytes, with pauses.
    Steadily(Vec<u8>, usize, Duration),
    /// Nothing, and the connection is held.
    Stall,
    /// The connection is closed without a word.
    Cut,
    /// These bytes, and then more of the last one for ever.
    Flood(Vec<u8>),
}

/// A running server.
#[derive(Debug)]
pub(super) struct Hostile {
    pub(super) origin: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Hostile {
    /// Does `answer` to each request; it is told which one it is, from 0.
    pub(super) async fn doing(answer: impl Fn(usize, &Seen) -> Doing + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (kept, answer) = (Arc::clone(&seen), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut connection = connection;
                    let Some(request) = read(&mut connection).await else { return };
                    let nth = {
                        let mut kept = kept.lock().unwrap();
                        kept.push(request.clone());
                        kept.len() - 1
                    };
                    let doing = match answer(nth, &request) {
                        Doing::Answer(status, kind, body) => Doing::Say(sealed(&request, &status, kind, &body)),
                        other => other,
                    };
                    carry_out(connection, doing).await;
                });
            }
        });
        Self { origin, seen }
    }

    pub(super) async fn always(doing: Doing) -> Self {
        Self::doing(move |_, _| doing.clone()).await
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests' first lines, without the API's place.
    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line.replace("/api/v1/", "")).collect()
    }
}

async fn carry_out(mut connection: TcpStream, doing: Doing) {
    match doing {
        Doing::Answer(..) => {}
        Doing::Say(bytes) => {
            let _ = connection.write_all(&bytes).await;
            let _ = connection.shutdown().await;
        }
        Doing::Trickle(bytes, pause) => {
            for byte in bytes {
                if connection.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        }
        Doing::Begin(bytes, at, pause) => {
            let _ = connection.write_all(&bytes[..at]).await;
            match pause {
                Some(pause) => Box::pin(carry_out(connection, Doing::Trickle(bytes[at..].to_vec(), pause))).await,
                None => Box::pin(carry_out(connection, Doing::Stall)).await,
            }
        }
        Doing::Steadily(bytes, length, pause) => {
            for piece in bytes.chunks(length) {
                if connection.write_all(piece).await.is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        }
        Doing::Stall => {
            let _ = connection.read_to_end(&mut Vec::new()).await;
        }
        Doing::Cut => {}
        Doing::Flood(bytes) => {
            let _ = connection.write_all(&bytes).await;
            let more = vec![b' '; 1 << 16];
            while connection.write_all(&more).await.is_ok() {}
        }
    }
}

async fn read(connection: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let (line, headers) = text.split_once("\r\n").unwrap();
    let line = line.trim_end_matches(" HTTP/1.1").to_owned();
    let headers = headers.replace("\r\n", "\n");
    let seen = Seen { line, headers, body: Vec::new() };
    let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head + length {
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen { body: bytes[head..].to_vec(), ..seen })
}

/// An answer in HTTP.
pub(super) fn http(status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut answer =
        format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n")
            .into_bytes();
    answer.extend_from_slice(body);
    answer
}

/// An answer in HTTP under its seal.
pub(super) fn sealed(seen: &Seen, status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let (method, target) = seen.line.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let key = seen.header("idempotency-key").map(str::as_bytes);
    let seal = Seal::of_request(method, path, query, key, &seen.body);
    assert_eq!(seen.header(SEAL), Some(seal.to_string().as_str()), "requests are sealed");
    let blocks = path.ends_with("/blocks") || path.ends_with("/files");
    let packed = Packed::read([Bytes::copy_from_slice(body)]).ok().filter(|_| blocks && kind == BYTES);
    let sealed = packed.as_ref().map_or(body, Packed::heads);
    let seal = seal.of_answer(status[..3].parse().unwrap(), sealed);
    let answer = http(status, kind, body);
    let (line, rest) = answer.split_at(answer.iter().position(|byte| *byte == b'\n').unwrap() + 1);
    [line, format!("{SEAL}: {seal}\r\n").as_bytes(), rest].concat()
}

/// A success with data.
pub(super) fn good(data: impl serde::Serialize) -> Doing {
    answered("200 OK", data)
}

pub(super) fn answered(status: &str, data: impl serde::Serialize) -> Doing {
    let body = serde_json::to_vec(&Envelope::success(Timestamp::from_micros(0), data)).unwrap();
    Doing::Answer(status.to_owned(), "application/json", body)
}

/// An error in a region's own form.
pub(super) fn angry(status: &str, message: &str, data: impl serde::Serialize) -> Doing {
    let body = Envelope::error(Timestamp::from_micros(0), message.to_owned(), Some(data));
    Doing::Answer(status.to_owned(), "application/json", serde_json::to_vec(&body).unwrap())
}

pub(super) fn bytes(body: &[u8]) -> Doing {
    Doing::Answer("200 OK".to_owned(), "application/octet-stream", body.to_vec())
}
