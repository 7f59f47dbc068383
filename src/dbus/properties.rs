//! `org.freedesktop.DBus.Properties` on the three kinds of object.
//!
//! `GetAll` wraps twice and leaves out what cannot be read; `Get` wraps once and fails.

use super::call::{Call, Fault, Reply};
use super::mount::{Mount, Place};
use super::path::Object;
use super::router::invalid_uuid;
use super::schema::Interface;
use super::typed_params::{self, Param};
use crate::engine::service::View;
use crate::error::Result;
use crate::model::ids::DomainId;
use zbus::OwnedVariant;

/// The libvirt whose API this is: 11.3.0.
const LIB_VERSION: u64 = 11_003_000;

/// `Get`, `Set` or `GetAll` on an object whose own interface is `own`.
pub(super) async fn call(own: Option<&Interface>, place: &Place<'_>, member: &str, call: &Call) -> Reply {
    match member {
        "GetAll" => {
            let (interface,): (String,) = call.args()?;
            let own = on(own, &interface)?;
            let mut all = Vec::new();
            let subject = Subject::of(place)?;
            for property in &own.properties {
                if let Ok(value) = subject.get(&property.name).await {
                    all.push((property.name.clone(), value));
                }
            }
            call.reply(&(typed_params::dict(all),))
        }
        "Get" => {
            let (interface, name): (String, String) = call.args()?;
            property(on(own, &interface)?, &name)?;
            call.reply(&(Subject::of(place)?.get(&name).await?,))
        }
        _ => {
            let (interface, name, value): (String, String, OwnedVariant) = call.args()?;
            let known = property(on(own, &interface)?, &name)?;
            if !known.writable {
                return Err(Fault::invalid_args(format_args!("Property “{name}” is not writable")));
            }
            let (expected, given) = (&known.signature, value.value_signature().to_string());
            match (Subject::of(place)?, &*value) {
                (Subject::Domain(mount, id, _), Param::Bool(on)) if name == "Autostart" => {
                    mount.service.set_autostart(id, *on).await?;
                    call.reply(&())
                }
                _ => Err(Fault::invalid_args(format_args!(
                    "Error setting property “{name}”: Expected type “{expected}” but got “{given}”"
                ))),
            }
        }
    }
}

fn on<'a>(own: Option<&'a Interface>, name: &str) -> Result<&'a Interface, Fault> {
    let none = || Fault::invalid_args(format_args!("No such interface “{name}”"));
    own.filter(|i| i.name == name).ok_or_else(none)
}

fn property<'a>(own: &'a Interface, name: &str) -> Result<&'a super::schema::Property, Fault> {
    own.property(name).ok_or_else(|| Fault::invalid_args(format_args!("No such property “{name}”")))
}

/// Whose properties they are, looked up once.
enum Subject<'m> {
    Connect(&'m Mount),
    Domain(&'m Mount, DomainId, std::sync::Arc<View>),
    /// Has none.
    Snapshot,
}

impl<'m> Subject<'m> {
    fn of(place: &Place<'m>) -> Result<Self> {
        Ok(match place {
            Place::At(mount, Object::Connect) => Self::Connect(mount),
            Place::At(mount, Object::Domain(id)) => {
                let id = id.ok_or_else(invalid_uuid)?;
                Self::Domain(mount, id, mount.service.view(id)?)
            }
            _ => Self::Snapshot,
        })
    }

    async fn get(&self, name: &str) -> Result<Param, Fault> {
        Ok(match self {
            Self::Connect(mount) => match name {
                "Encrypted" => Param::Bool(false),
                "Hostname" => Param::from(mount.service.hostname()),
                "LibVersion" => Param::U64(LIB_VERSION),
                "Secure" => Param::Bool(true),
                "Version" => Param::U64(mount.service.hypervisor_version().await?),
                _ => return Err(Fault::unsupported(name)),
            },
            Self::Domain(mount, id, view) => match name {
                "Active" => Param::Bool(view.running.is_some()),
                "Autostart" => Param::Bool(view.autostart),
                // libvirt-dbus: 0 for a domain that is off.
                "Id" => Param::U32(view.running.and_then(|(_, number)| u32::try_from(number).ok()).unwrap_or(0)),
                "Name" => Param::from(view.name.clone()),
                "OSType" => Param::from(mount.service.os_type(*id)?),
                "Persistent" => Param::Bool(view.persistent),
                "SchedulerType" => {
                    let (name, parameters) = mount.service.scheduler();
                    Param::from((name.to_owned(), parameters))
                }
                "Updated" => Param::Bool(view.updated),
                "UUID" => Param::from(id.to_string()),
                _ => return Err(Fault::unsupported(name)),
            },
            Self::Snapshot => return Err(Fault::unsupported(name)),
        })
    }
}
