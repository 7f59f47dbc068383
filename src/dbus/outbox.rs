//! Everything that goes out, in order of occurrence: one task writes, and before it writes the
//! answer to a call it writes the signals of what happened before that answer was given.
//!
//! Must not know: what the messages say.

use super::path::Root;
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

/// The reading ends of what `run` writes.
pub(super) struct Outbox {
    pub(super) connection: zbus::Connection,
    pub(super) answers: mpsc::UnboundedReceiver<Outgoing>,
    /// One per driver; `None` when it ended.
    pub(super) events: Vec<(Root, Option<mpsc::UnboundedReceiver<Event>>)>,
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
            for (root, events) in &mut self.events {
                while let Some(Ok(event)) = events.as_mut().map(mpsc::UnboundedReceiver::try_recv) {
                    messages.extend(signals::message(root, &event));
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
            for (root, events) in &mut self.events {
                match events.as_mut().map(|e| e.poll_recv(cx)) {
                    Some(Poll::Ready(Some(event))) => messages.extend(signals::message(root, &event)),
                    Some(Poll::Ready(None)) => *events = None,
                    Some(Poll::Pending) | None => {}
                }
            }
            if answers.is_empty() && messages.is_empty() { Poll::Pending } else { Poll::Ready(open) }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{EventKind, Lifecycle};
    use crate::model::ids::DomainId;
    use futures_util::StreamExt;
    use zbus::connection::Builder;
    use zbus::connection::socket::Channel;
    use zbus::message::Type;

    async fn end(socket: Channel) -> zbus::Connection {
        let guid = "0123456789abcdef0123456789abcdef";
        let guid = zbus::Guid::try_from(guid).unwrap();
        Builder::authenticated_socket(socket, guid).p2p().build().await.unwrap()
    }

    #[tokio::test]
    async fn what_a_call_caused_is_told_before_the_call_is_answered() {
        let (near, far) = Channel::pair();
        let (near, far) = (end(near).await, end(far).await);
        let mut heard = zbus::MessageStream::from(&far);
        let call = Message::method_call("/", "X").build(&()).unwrap();
        let (out, answers) = mpsc::unbounded_channel();
        let (cause, events) = mpsc::unbounded_channel();
        let root = Root::new("QEMU");
        let writer = Outbox { connection: near, answers, events: vec![(root, Some(events))] };
        let writer = tokio::spawn(writer.run());
        let domain = DomainId(uuid::Uuid::nil());
        for _ in 0..300 {
            cause.send(Event { domain, kind: EventKind::Lifecycle(Lifecycle::StartedBooted) }).unwrap();
            let message = Message::method_return(&call.header()).build(&()).unwrap();
            out.send(Outgoing { message, permit: None }).unwrap();
        }
        let (mut told, mut answered) = (0, 0);
        while answered < 300 {
            match heard.next().await.unwrap().unwrap().message_type() {
                Type::Signal => told += 1,
                _ => answered += 1,
            }
            assert!(told >= answered, "answer {answered} came before its event");
        }
        drop(out);
        writer.await.unwrap();
    }
}
