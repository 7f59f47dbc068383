//! Calls on libvirt-dbus's objects, and what went wrong with them. No call has a time limit: a
//! snapshot of a large guest takes what it takes.

mod beyond;
mod domain;
mod snapshot;

pub use beyond::{News, Verified};
pub use domain::{By, Domain, ForeignRecord, JobInfo};
pub use snapshot::Snapshot;

use super::args::Global;
use super::failure::Failure;
use super::uri;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::connection::Builder;
use zbus::{DynamicType, OwnedObjectPath, OwnedVariant, Type, fdo};

const CONNECT: &str = "org.libvirt.Connect";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// The service on its bus.
#[derive(Debug, Clone)]
pub struct Bus {
    connection: zbus::Connection,
    /// The service's name.
    name: String,
    /// The driver that the user asked for.
    driver: Option<&'static str>,
    /// The driver's object.
    connect: String,
    /// The bus, in words.
    which: String,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The service refused, in libvirt's words: `org.libvirt.Error`.
    Libvirt(String),
    /// The service has no such method.
    NotOffered(String),
    /// The call did not get through.
    Transport(String),
}

impl CallError {
    /// What to tell.
    #[must_use]
    pub fn into_text(self) -> String {
        match self {
            Self::Libvirt(text) | Self::NotOffered(text) | Self::Transport(text) => text,
        }
    }
    /// Whether it is libvirt's error of the code that has this prefix: numbers do not cross D-Bus.
    #[must_use]
    pub fn is(&self, code: crate::error::Code) -> bool {
        let Self::Libvirt(text) = self else { return false };
        // libvirt leaves out ": …" where it has nothing to add.
        let prefix = code.prefix();
        text.starts_with(prefix) || (!prefix.is_empty() && text == prefix.trim_end_matches(": "))
    }
}

impl CallError {
    /// Whether the service does not know this flag, or any of several with it
    /// (`src/internal.h: virCheckFlags`, which has no prefix of its code).
    #[must_use]
    pub fn refuses_flag(&self, flag: u32) -> bool {
        let Self::Libvirt(text) = self else { return false };
        let bits = text.strip_prefix("unsupported flags (0x").and_then(|rest| rest.split(')').next());
        bits.and_then(|bits| u32::from_str_radix(bits, 16).ok()).is_some_and(|bits| bits & flag != 0)
    }
}

/// How long a bus may take to greet us. Calls have no limit: an operation may take hours.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

impl Bus {
    /// Connects to the bus; whether the service is there shows at the first call.
    pub async fn connect(global: &Global) -> Result<Self, Failure> {
        let place = match &global.uri {
            Some(uri) => Some(uri::place(uri)?),
            None if global.bus.is_none() && global.driver.is_none() => {
                uri::default().as_deref().map(uri::place).transpose()?
            }
            None => None,
        };
        if zbus::names::BusName::try_from(global.bus_name.as_str()).is_err() {
            return Err(Failure::new(format!("'{}' is no name of a service on a bus", global.bus_name)));
        }
        let default = if rustix::process::geteuid().is_root() { "system" } else { "session" };
        let asked = global.bus.as_deref().or(place.and_then(|p| p.bus)).unwrap_or(default);
        let (builder, which) = match asked {
            "system" => (Builder::system(), "the system bus".to_owned()),
            "session" => (Builder::session(), "the session bus".to_owned()),
            address if address.contains(':') => (Builder::address(address), format!("the bus at {address}")),
            other => return Err(Failure::new(format!("'{other}' is no bus: say system, session or an address"))),
        };
        let connection = tokio::time::timeout(PATIENCE, builder.build()).await.map_err(|_| {
            Failure::new(format!("failed to connect to {which}: no answer within {} s", PATIENCE.as_secs()))
        })?;
        let connection = connection.map_err(|cause| {
            let why = match cause {
                zbus::Error::Connection(error, address) => format!("{error} ({address})"),
                other => other.to_string(),
            };
            let why = without_number(&why);
            Failure::new(format!("failed to connect to {which}: {why}; is it running, and the right one (--bus)?"))
        })?;
        let driver = place.map(|p| p.driver).or(global.driver);
        Ok(Self { connection, name: global.bus_name.clone(), driver, connect: String::new(), which })
    }

    /// The same, with the driver that was asked for, else this one.
    #[must_use]
    pub fn with_default_driver(&self, driver: &str) -> Self {
        let connect = format!("/org/libvirt/{}", self.driver.unwrap_or(driver));
        Self { connect, ..self.clone() }
    }

    /// Calls a method of the driver's object.
    pub async fn connect_call<B, R>(&self, member: &str, body: &B) -> Result<R, CallError>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + Type,
    {
        self.call(&self.connect, CONNECT, member, body).await
    }

    async fn call<B, R>(&self, path: &str, interface: &str, member: &str, body: &B) -> Result<R, CallError>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + Type,
    {
        let name = Some(self.name.as_str());
        let reply = self.connection.call_method(name, path, Some(interface), member, body).await;
        let reply = reply.map_err(|cause| self.explain(cause))?;
        reply.body().deserialize().map_err(|cause| {
            CallError::Transport(format!("unexpected answer to {interface}.{member} from '{}': {cause}", self.name))
        })
    }

    async fn property<R>(&self, path: &str, interface: &str, property: &str) -> Result<R, CallError>
    where
        R: TryFrom<OwnedVariant>,
    {
        let value: OwnedVariant = self.call(path, PROPERTIES, "Get", &(interface, property)).await?;
        R::try_from(value).map_err(|_| {
            CallError::Transport(format!("property {interface}.{property} of '{}' has another type", self.name))
        })
    }

    /// A failed call in one line, with a hint where a hint helps.
    fn explain(&self, cause: zbus::Error) -> CallError {
        let (name, which) = (&self.name, &self.which);
        CallError::Transport(match cause {
            zbus::Error::MethodError(error, text, _) if error.as_str() == "org.libvirt.Error" => {
                return CallError::Libvirt(text.unwrap_or_else(|| "unknown error".to_owned()));
            }
            zbus::Error::MethodError(error, text, _) => text.unwrap_or_else(|| error.to_string()),
            zbus::Error::FDO(error) => match *error {
                fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_) => {
                    format!("no service '{name}' on {which}; is virsnapd running, and on this bus (--bus)?")
                }
                fdo::Error::AccessDenied(text) => {
                    format!("access to '{name}' on {which} denied: {text}; root and the group libvirt may use it")
                }
                fdo::Error::NoReply(_) | fdo::Error::Disconnected(_) => {
                    format!("'{name}' on {which} went away before it answered")
                }
                fdo::Error::UnknownObject(text)
                | fdo::Error::UnknownMethod(text)
                | fdo::Error::UnknownInterface(text) => {
                    let driver = &self.connect;
                    return CallError::NotOffered(format!(
                        "'{name}' on {which} does not offer this with the driver at {driver}: {text}"
                    ));
                }
                other => format!("'{name}' on {which}: {other}"),
            },
            zbus::Error::InputOutput(_) => {
                format!("the connection to {which} broke: {}", without_number(&cause.to_string()))
            }
            other => format!("'{name}' on {which}: {}", without_number(&other.to_string())),
        })
    }

    /// The domains that pass `virConnectListAllDomainsFlags`.
    pub async fn domains(&self, flags: u32) -> Result<Vec<Domain<'_>>, CallError> {
        let paths: Vec<OwnedObjectPath> = self.connect_call("ListDomains", &flags).await?;
        Ok(paths.into_iter().map(|path| Domain::new(self, path)).collect())
    }

    /// Defines a domain.
    pub async fn define(&self, xml: &str) -> Result<Domain<'_>, CallError> {
        Ok(Domain::new(self, self.connect_call("DomainDefineXML", &xml).await?))
    }

    /// Starts a domain from its document.
    pub async fn create(&self, xml: &str, flags: u32) -> Result<Domain<'_>, CallError> {
        Ok(Domain::new(self, self.connect_call("DomainCreateXML", &(xml, flags)).await?))
    }
}

/// Rust appends the number of a system error to its text; libvirt does not.
fn without_number(text: &str) -> String {
    match text.split_once(" (os error ") {
        Some((before, after)) => format!("{before}{}", after.split_once(')').map_or("", |(_, rest)| rest)),
        None => text.to_owned(),
    }
}
