//! One incoming call and the two things that can come of it: a reply or a [`Fault`].
//!
//! Must not know: which interfaces exist.

use crate::error::{Code, Error};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use zbus::message::{Flags, Header, Message};
use zbus::{DynamicType, Type};

/// What a handler gives back: the finished reply, or why there is none.
pub(super) type Reply = Result<Message, Fault>;

/// A failure as it goes over the wire: an error name and a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    name: &'static str,
    text: String,
}

impl Fault {
    /// The path, interface or member does not exist.
    pub(super) fn unknown_method(text: impl Display) -> Self {
        Self { name: "org.freedesktop.DBus.Error.UnknownMethod", text: text.to_string() }
    }
    /// The arguments are not those of the member.
    pub(super) fn invalid_args(text: impl Display) -> Self {
        Self { name: "org.freedesktop.DBus.Error.InvalidArgs", text: text.to_string() }
    }
    /// More calls at once than the daemon takes.
    pub(super) fn too_many() -> Self {
        Self { name: "org.freedesktop.DBus.Error.LimitsExceeded", text: "Too many calls are being served".to_owned() }
    }
    /// libvirt's code 3: the API has the call, this driver does not. `function` is the C name.
    pub(super) fn unsupported(function: &str) -> Self {
        Error::new(Code::NoSupport, function).into()
    }
    /// The error message that answers `to`.
    pub(super) fn message(&self, to: &Header<'_>) -> zbus::Result<Message> {
        Message::error(to, self.name).build(&(self.text.as_str(),))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { name: "org.libvirt.Error", text: error.to_string() }
    }
}

/// One method call, its header checked.
#[derive(Debug, Clone)]
pub(super) struct Call {
    message: Message,
}

impl Call {
    /// The call in `message`.
    pub(super) fn new(message: Message) -> Self {
        Self { message }
    }
    /// Who calls what.
    pub(super) fn header(&self) -> Header<'_> {
        self.message.header()
    }
    /// Whether the caller listens for an answer.
    pub(super) fn wants_reply(&self) -> bool {
        !self.message.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED)
    }
    /// The types of its arguments, such as `su`.
    pub(super) fn signature(&self) -> String {
        self.message.body().signature().to_string_no_parens()
    }
    /// Its arguments, as a tuple. The signature was checked before a handler was chosen.
    pub(super) fn args<T: DeserializeOwned + Type>(&self) -> Result<T, Fault> {
        self.message.body().deserialize().map_err(Fault::invalid_args)
    }
    /// The reply with these values, given as a tuple; `()` for none.
    pub(super) fn reply<B: Serialize + DynamicType>(&self, values: &B) -> Reply {
        Message::method_return(&self.header()).build(values).map_err(|e| Error::internal(e).into())
    }
}
