//! A body that counts its bytes as they are read, and is in everything else the body it was: what refuses a body by
//! the length that its head announces must go on seeing that length.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// See the module.
pub(super) struct Counted {
    body: Body,
    received_bytes: Arc<AtomicU64>,
}

impl Counted {
    pub(super) fn new(body: Body, received_bytes: &Arc<AtomicU64>) -> Self {
        Self {
            body,
            received_bytes: Arc::clone(received_bytes),
        }
    }
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.received_bytes
                .fetch_add(bytes as u64, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use hyper::body::Body as _;

    use super::*;

    #[tokio::test]
    async fn bytes_are_counted_and_their_announced_number_is_kept() {
        let received_bytes = Arc::new(AtomicU64::new(0));
        let counted = Counted::new(Body::from("twelve bytes"), &received_bytes);
        assert_eq!(counted.size_hint().exact(), Some(12));
        assert!(!counted.is_end_stream());
        let whole = counted.collect().await.unwrap().to_bytes();
        assert_eq!(&whole[..], b"twelve bytes");
        assert_eq!(received_bytes.load(Ordering::Relaxed), 12);
    }
}
