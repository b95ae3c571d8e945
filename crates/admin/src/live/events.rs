//! One subscriber's stream: server-sent events (WHATWG HTML, section 9.2).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame as BodyFrame};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Frame, STALL, Seat};

/// The next snapshot, once it is there.
type Next = Pin<Box<dyn Future<Output = Option<(Bytes, watch::Receiver<Frame>)>> + Send>>;

/// The body of the answer: a snapshot whenever there is a new one and the client has taken the last.
pub(crate) struct Events {
    next: Next,
    era: u64,
    taken: Taken,
    _seat: Seat,
}

/// When the client was last ready for more.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    began: Instant,
    at_millis: Arc<AtomicU64>,
}

impl Events {
    pub(super) fn new(newest: watch::Receiver<Frame>, seat: Seat) -> Self {
        let mut newest = newest;
        let era = newest.borrow().era;
        // What there is already is at most a second old.
        newest.mark_changed();
        let taken = Taken {
            began: Instant::now(),
            at_millis: Arc::default(),
        };
        Self {
            next: Box::pin(next(newest, era)),
            era,
            taken,
            _seat: seat,
        }
    }

    /// To see from outside whether the client reads.
    pub(crate) fn taken(&self) -> Taken {
        self.taken.clone()
    }
}

async fn next(
    mut newest: watch::Receiver<Frame>,
    era: u64,
) -> Option<(Bytes, watch::Receiver<Frame>)> {
    loop {
        newest.changed().await.ok()?;
        let frame = newest.borrow_and_update().clone();
        if frame.era != era {
            return None;
        }
        if !frame.text.is_empty() {
            return Some((frame.text, newest));
        }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        // Asked for only while there is room in the client's buffers.
        self.taken.note();
        match self.next.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some((text, newest))) => {
                self.next = Box::pin(next(newest, self.era));
                Poll::Ready(Some(Ok(BodyFrame::data(text))))
            }
        }
    }
}

impl Taken {
    fn note(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at_millis.store(millis, Ordering::Relaxed);
    }

    /// Ends when the client has taken nothing for [`STALL`].
    pub(crate) async fn stalled(self) {
        loop {
            let last = Duration::from_millis(self.at_millis.load(Ordering::Relaxed));
            let end = self.began + last + STALL;
            if Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt as _;
    use tokio::sync::Semaphore;

    use super::*;

    fn seat() -> Seat {
        Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap()
    }

    fn send(feed: &watch::Sender<Frame>, text: &'static str) {
        feed.send_modify(|frame| frame.text = Bytes::from_static(text.as_bytes()));
    }

    async fn said(events: &mut Events) -> Option<Bytes> {
        let frame = events.frame().await?;
        frame.unwrap().into_data().ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_gets_the_newest_and_who_asks_anew_is_let_go() {
        let feed = watch::Sender::new(Frame::default());
        let mut events = Events::new(feed.subscribe(), seat());
        send(&feed, "1");
        send(&feed, "2");
        assert_eq!(said(&mut events).await.as_deref(), Some(&b"2"[..]));
        let mut late = Events::new(feed.subscribe(), seat());
        assert_eq!(said(&mut late).await.as_deref(), Some(&b"2"[..]));
        feed.send_modify(|frame| frame.era += 1);
        send(&feed, "3");
        // A slow one misses nothing by what came since.
        assert_eq!(said(&mut events).await, None);
        let mut new = Events::new(feed.subscribe(), seat());
        assert_eq!(said(&mut new).await.as_deref(), Some(&b"3"[..]));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_told_from_whom_nothing_is_sent() {
        let feed = watch::Sender::new(Frame::default());
        let mut events = Events::new(feed.subscribe(), seat());
        let began = Instant::now();
        // It reads for a minute.
        let stalled = tokio::spawn(events.taken().stalled());
        for _ in 0..60 {
            send(&feed, "x");
            assert!(said(&mut events).await.is_some());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(!stalled.is_finished());
        stalled.await.unwrap();
        let took = began.elapsed().as_secs();
        assert!(
            (60 + STALL.as_secs() - 2..=60 + STALL.as_secs()).contains(&took),
            "{took}"
        );
    }
}
