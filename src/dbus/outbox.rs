//! Everything that goes out, in order of occurrence: one task writes, and before it writes the
//! answer to a call it writes the signals of what happened before that answer was given.
//!
//! Must not know: what the messages say.

use super::path::Mount;
use super::signals;
use crate::model::event::Event;
use std::task::Poll;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use zbus::message::Message;

/// A finished answer. Its call counts as being served until it was written.
pub(super) struct Outgoing {
    pub(super) message: Message,
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// How many answers are written at once.
const BATCH: usize = 256;

/// The reading ends of what [`run`] writes.
pub(super) struct Outbox {
    pub(super) connection: zbus::Connection,
    pub(super) answers: mpsc::UnboundedReceiver<Outgoing>,
    /// One per driver; `None` when it ended.
    pub(super) events: Vec<(Mount, Option<mpsc::UnboundedReceiver<Event>>)>,
}

impl Outbox {
    /// Write until nobody can answer any more, or the connection is gone.
    pub(super) async fn run(mut self) {
        let mut open = true;
        while open {
            let mut messages = Vec::new();
            let mut answers = Vec::new();
            // Answers are collected before signals, and written after them: what an operation
            // caused is in its driver's queue before its answer is in ours.
            open = self.wait(&mut answers, &mut messages).await;
            while answers.len() < BATCH
                && let Ok(answer) = self.answers.try_recv()
            {
                answers.push(answer);
            }
            for (mount, events) in &mut self.events {
                while let Some(Ok(event)) = events.as_mut().map(mpsc::UnboundedReceiver::try_recv) {
                    messages.extend(signals::messages(mount, &event));
                }
            }
            let (written, permits): (Vec<_>, Vec<_>) = answers.into_iter().map(|a| (a.message, a.permit)).unzip();
            messages.extend(written);
            if let Err(error) = self.connection.send_all(&messages).await {
                tracing::warn!(%error, "cannot write to the bus");
                if self.connection.is_closed() {
                    return;
                }
            }
            drop(permits);
        }
    }

    /// Until there is something to write; `false` when no answer can come any more.
    async fn wait(&mut self, answers: &mut Vec<Outgoing>, messages: &mut Vec<Message>) -> bool {
        std::future::poll_fn(|cx| {
            let open = match self.answers.poll_recv(cx) {
                Poll::Ready(Some(answer)) => {
                    answers.push(answer);
                    true
                }
                Poll::Ready(None) => return Poll::Ready(false),
                Poll::Pending => true,
            };
            for (mount, events) in &mut self.events {
                match events.as_mut().map(|e| e.poll_recv(cx)) {
                    Some(Poll::Ready(Some(event))) => messages.extend(signals::messages(mount, &event)),
                    Some(Poll::Ready(None)) => *events = None,
                    Some(Poll::Pending) | None => {}
                }
            }
            if answers.is_empty() && messages.is_empty() { Poll::Pending } else { Poll::Ready(open) }
        })
        .await
    }
}
