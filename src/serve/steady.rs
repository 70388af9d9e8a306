//! A stream whose other end must go on reading: an answer that nobody takes, or only drop by drop, is not kept for
//! ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Fails a write that makes too little way for so long.
#[derive(Debug)]
pub(super) struct Steady<S> {
    stream: S,
    patience: Duration,
    /// Bytes that are enough in that time.
    least: usize,
    waiting: Option<Pin<Box<Sleep>>>,
    /// Since the waiting began.
    taken: usize,
}

impl<S> Steady<S> {
    pub(super) const fn new(stream: S, patience: Duration, least: usize) -> Self {
        Self { stream, patience, least, waiting: None, taken: 0 }
    }

    /// What the stream made of a write, or that it takes too long.
    fn judge(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(length)) = written {
            self.taken += length;
            if self.taken >= self.least {
                self.rest();
            }
        }
        self.wait(context, written)
    }

    /// All that was written was taken.
    fn rest(&mut self) {
        (self.waiting, self.taken) = (None, 0);
    }

    /// What the stream made of the end of all writes, or that it takes too long.
    fn end(&mut self, context: &mut Context<'_>, ended: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        if ended.is_ready() {
            self.rest();
        }
        self.wait(context, ended)
    }

    fn wait<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let patience = self.patience;
        if self.waiting.is_none() {
            self.taken = 0;
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes too little")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Steady<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Steady<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.end(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.end(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_client_that_reads_slowly_is_waited_for_and_one_that_does_not_is_not() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = Steady::new(near, Duration::from_millis(300), 64);
        let reading = tokio::spawn(async move {
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(80)).await;
                far.read_exact(&mut [0; 64]).await.unwrap();
            }
            far
        });
        near.write_all(&[0; 64 * 8]).await.unwrap();
        let _far = reading.await.unwrap();
        let error = near.write_all(&[0; 256]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_reads_drop_by_drop_is_not_waited_for() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = Steady::new(near, Duration::from_millis(300), 64);
        let reading = tokio::spawn(async move {
            let mut taken = 0;
            while far.read_exact(&mut [0; 1]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                taken += 1;
            }
            taken
        });
        let error = near.write_all(&[0; 1024]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(near);
        let taken = reading.await.unwrap();
        assert!((64..256).contains(&taken), "{taken}");
    }
}
