//! From an incoming message to its handler: path → place, member → schema, types → checked.
//!
//! The texts of refusals are GDBus's, whose error *names* libvirt-dbus's clients match on.
//! Must not know: what a handler does.

use super::call::{Call, Fault, Reply};
use super::mount::{Mount, Place, resolve};
use super::outbox::{Outbox, Outgoing};
use super::path::Object;
use super::schema::{Method, Schema};
use super::{connect, domain, introspect, properties, snapshot, snapshots1};
use crate::error::{Code, Error, Result};
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use zbus::MessageStream;
use zbus::message::{Message, Type};

/// Calls that are served at once; one more is refused.
const CALLS: usize = 1024;
/// Refusals that wait to be written; one more is dropped.
const REFUSALS: usize = 1024;
/// Messages that wait for the reading loop.
const QUEUE: usize = 1024;

/// A running service on one connection.
#[must_use]
pub struct Server {
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Server {
    /// Answer calls from now on. The bus name is the caller's to request, afterwards.
    ///
    /// # Errors
    /// If the built-in introspection documents cannot be read.
    pub fn start(mut connection: zbus::Connection, mounts: Vec<Mount>) -> Result<Self> {
        connection.set_max_queued(std::num::NonZeroUsize::new(QUEUE).unwrap_or(std::num::NonZeroUsize::MIN));
        let stream = MessageStream::from(&connection);
        let (out, answers) = mpsc::unbounded_channel();
        let events = mounts.iter().map(|m| (m.root.clone(), Some(m.service.events()))).collect();
        let router = Router {
            schema: Schema::load()?,
            mounts,
            calls: Arc::new(Semaphore::new(CALLS)),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            out,
        };
        let writer = tokio::spawn(Outbox { connection, answers, events }.run());
        Ok(Self { reader: tokio::spawn(Arc::new(router).read(stream)), writer })
    }

    /// Until the bus is gone.
    pub async fn disconnected(&mut self) {
        // Cannot fail: the loop does not panic and nobody else holds its handle.
        let _ = (&mut self.reader).await;
    }

    /// Take no more calls; give those being served up to `patience` to be answered.
    pub async fn stop(self, patience: Duration) {
        self.reader.abort();
        if tokio::time::timeout(patience, self.writer).await.is_err() {
            tracing::info!("leaving with calls unanswered; what they began is finished or undone at the next start");
        }
    }
}

/// Everything a call needs, shared by all of them.
struct Router {
    schema: Schema,
    mounts: Vec<Mount>,
    calls: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    out: mpsc::UnboundedSender<Outgoing>,
}

impl Router {
    /// The reading loop. It never waits for anything but the next message.
    async fn read(self: Arc<Self>, mut stream: MessageStream) {
        while let Some(message) = stream.next().await {
            match message {
                Ok(message) if message.message_type() == Type::MethodCall => self.admit(Call::new(message)),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the bus connection ended"),
            }
        }
    }

    fn admit(self: &Arc<Self>, call: Call) {
        if let Ok(permit) = self.calls.clone().try_acquire_owned() {
            let router = self.clone();
            tokio::spawn(async move {
                let answer = Answer { call: call.clone(), out: router.out.clone(), permit: Some(permit) };
                answer.give(router.dispatch(&call).await);
            });
        } else if let Ok(permit) = self.refusals.clone().try_acquire_owned() {
            Answer { call, out: self.out.clone(), permit: Some(permit) }.give(Err(Fault::too_many()));
        }
    }

    async fn dispatch(&self, call: &Call) -> Reply {
        let header = call.header();
        let path = header.path().map_or("/", |p| p.as_str());
        let place = resolve(&self.mounts, path);
        let interface = header.interface().map(|i| i.as_str());
        let member = header.member().map_or("", |m| m.as_str());
        let (own, beside) = match &place {
            Place::At(_, object) => (self.schema.of(object), self.schema.beside(object)),
            Place::Above | Place::Nowhere => (None, None),
        };
        let known =
            own.into_iter().chain(beside).chain(&self.schema.standard).find(|i| Some(i.name.as_str()) == interface);
        let Some(known) = known.filter(|_| !matches!(place, Place::Nowhere)) else {
            return Err(no_interface(&place, path, interface, member, &call.signature()));
        };
        let Some(method) = known.methods.get(member) else {
            return Err(Fault::unknown_method(format_args!("No such method “{member}”")));
        };
        let given = call.signature();
        if given != method.input {
            let expected = &method.input;
            return Err(Fault::invalid_args(format_args!(
                "Type of message, “({given})”, does not match expected type “({expected})”"
            )));
        }
        match (known.name.rsplit('.').next().unwrap_or_default(), member) {
            ("Peer", "Ping") => call.reply(&()),
            ("Peer", _) => call.reply(&(machine_id(&self.mounts)?,)),
            ("Introspectable", _) => call.reply(&(introspect::document(&self.schema, &self.mounts, &place, path),)),
            ("Snapshots1", _) => own_interface(&place, member, call).await,
            ("Properties", _) => properties::call(own, &place, member, call).await,
            _ => served(&place, member, method, call).await,
        }
    }
}

/// virsnap's own interface, on domains.
async fn own_interface(place: &Place<'_>, member: &str, call: &Call) -> Reply {
    let Place::At(mount, Object::Domain(id)) = place else {
        return Err(Fault::unknown_method(format_args!("No such method “{member}”")));
    };
    snapshots1::call(mount, id.ok_or_else(invalid_uuid)?, member, call).await
}

async fn served(place: &Place<'_>, member: &str, method: &Method, call: &Call) -> Reply {
    match place {
        Place::At(mount, Object::Connect) => connect::call(mount, member, method, call).await,
        Place::At(mount, Object::Domain(id)) => {
            domain::call(mount, id.ok_or_else(invalid_uuid)?, member, method, call).await
        }
        Place::At(mount, Object::Snapshot(id)) => {
            let (id, name) = id.as_ref().ok_or_else(invalid_uuid)?;
            snapshot::call(mount, *id, name, member, method, call).await
        }
        Place::Above | Place::At(..) | Place::Nowhere => {
            Err(Fault::unknown_method(format_args!("No such method “{member}”")))
        }
    }
}

/// libvirt's answer to a UUID that is none, and so libvirt-dbus's to such a path.
pub(super) fn invalid_uuid() -> Error {
    Error::bare(Code::InvalidArg, "Invalid UUID")
}

fn no_interface(place: &Place<'_>, path: &str, interface: Option<&str>, member: &str, signature: &str) -> Fault {
    let interface = interface.unwrap_or("(null)");
    match place {
        Place::Nowhere => Fault::unknown_method(format_args!("Object does not exist at path “{path}”")),
        Place::At(_, Object::Connect) | Place::Above => {
            Fault::unknown_method(format_args!("No such interface “{interface}” on object at path {path}"))
        }
        Place::At(..) => Fault::unknown_method(format_args!(
            "Method “{member}” on interface “{interface}” with signature “{signature}” does not exist"
        )),
    }
}

fn machine_id(mounts: &[Mount]) -> Result<String> {
    let none = || Error::internal("no driver is open");
    mounts.first().ok_or_else(none)?.service.machine_id()
}

/// The duty to answer a call. If its handler ends without an answer (a defect), the caller is told.
struct Answer {
    call: Call,
    out: mpsc::UnboundedSender<Outgoing>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Answer {
    fn give(mut self, reply: Reply) {
        let permit = self.permit.take();
        self.put(reply, permit);
    }

    fn put(&self, reply: Reply, permit: Option<OwnedSemaphorePermit>) {
        if !self.call.wants_reply() {
            return;
        }
        let header = self.call.header();
        let message: zbus::Result<Message> = reply.or_else(|fault| fault.message(&header));
        match message {
            // The writer is gone only when the bus is.
            Ok(message) => drop(self.out.send(Outgoing { message, permit })),
            Err(error) => tracing::error!(%error, "an answer that D-Bus cannot carry"),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.put(Err(Error::internal("the call ended without an answer").into()), Some(permit));
        }
    }
}
