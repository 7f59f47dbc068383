//! A domain that runs, as `xl list -l` shows it.

use super::listed;
use super::parse::parse;
use super::{Keys, from_config};
use crate::error::{Error, Result};
use serde_json::Value as Json;
use uuid::Uuid;

/// One domain that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its number, another one after each start and restore.
    pub domid: u32,
    /// `None` where the list does not say; `xl list -v` does.
    pub uuid: Option<Uuid>,
    /// Its name.
    pub name: String,
    /// Its definition, without anything that only this run knows.
    pub xml: String,
}

/// Read one element of `xl list -l`'s array; `None` for Domain-0, which is the host.
///
/// What is listed wins over `original`, the text that libxl keeps of a running domain: memory, CPUs
/// and devices change while it runs. What the list does not say comes from that text; one that
/// cannot be read counts as none, for the domain runs all the same.
pub fn from_running(listed: &Json, original: Option<&str>) -> Result<Option<Running>> {
    let domid = listed.get("domid").and_then(Json::as_u64).and_then(|n| u32::try_from(n).ok());
    let domid = domid.ok_or_else(|| Error::internal("xl list: a domain without domid"))?;
    if domid == 0 {
        return Ok(None);
    }
    let mut config =
        listed::config(listed).map_err(|reason| Error::internal(format_args!("xl list: domain {domid}: {reason}")))?;
    let original = original.and_then(|text| parse(text).ok()).unwrap_or_default();
    for setting in original.settings {
        if config.get(setting.key()).is_none() && !listed::is_live(setting.key()) {
            config.push(setting);
        }
    }
    let xml = from_config(&config)?;
    let mut keys = Keys::new(&config);
    let name = keys.text("name")?.unwrap_or_default().to_owned();
    let uuid = keys.text("uuid")?.and_then(|u| Uuid::try_parse(u).ok());
    Ok(Some(Running { domid, uuid, name, xml }))
}
