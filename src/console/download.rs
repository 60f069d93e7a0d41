//! Files that people take away, written while they are read.
//!
//! Invariants: memory is a few chunks however large the file; what goes wrong
//! on the way cuts the connection, so that half a file does not pass for all.
//! Deliberately absent: what is in them.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Response};
use http_body::Frame;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::page::{Answer, Trouble, guard};

/// How much is written before it is handed on.
const CHUNK_BYTES: usize = 64 << 10;
/// How many chunks wait for a slow reader.
const CHUNKS: usize = 4;

/// An answer that is saved under `name`, written by `write` on a thread that
/// may wait.
pub fn file(
    name: &str,
    kind: &'static str,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> Answer {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    tokio::task::spawn_blocking(move || {
        let mut out = Chunks { sender, chunk: Vec::with_capacity(CHUNK_BYTES) };
        if let Err(error) = write(&mut out).and_then(|()| out.flush()) {
            // Whoever stopped reading does not hear of it.
            if error.kind() != io::ErrorKind::BrokenPipe {
                tracing::error!(%error, "a download of the console ends early: {error}");
            }
            let _ = out.sender.blocking_send(Err(error));
        }
    });
    let mut response = Response::new(Body::new(Chunked(receiver)));
    name_it(response.headers_mut(), name, kind)?;
    Ok(response)
}

fn name_it(headers: &mut HeaderMap, name: &str, kind: &'static str) -> Result<(), Trouble> {
    guard(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.+".contains(c) { c } else { '_' }).collect();
    let text = format!("attachment; filename=\"{plain}\"");
    let value = HeaderValue::try_from(text).map_err(|error| Trouble::Internal(error.to_string()))?;
    headers.insert(header::CONTENT_DISPOSITION, value);
    Ok(())
}

struct Chunks {
    sender: Sender<io::Result<Bytes>>,
    chunk: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        self.sender.blocking_send(Ok(chunk.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Chunks as a body.
struct Chunked(Receiver<io::Result<Bytes>>);

impl http_body::Body for Chunked {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn a_file_arrives_whole_or_not_at_all() {
        let rows = |out: &mut dyn Write| (0..50_000).try_for_each(|row| writeln!(out, "{row}"));
        let answer = file("a \"b\".csv", "text/csv", rows).expect("an answer");
        let name = answer.headers()[header::CONTENT_DISPOSITION].to_str().expect("text");
        assert_eq!(name, "attachment; filename=\"a__b_.csv\"");
        let bytes = answer.into_body().collect().await.expect("all of it").to_bytes();
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 50_000);

        let broken = |out: &mut dyn Write| writeln!(out, "1").and(Err(io::ErrorKind::InvalidData.into()));
        let answer = file("a.csv", "text/csv", broken).expect("an answer");
        assert!(answer.into_body().collect().await.is_err());
    }
}
