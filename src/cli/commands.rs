//! Actions, done: which calls a command makes and what it says.

mod beyond;
pub mod complete;
mod domain;
mod edit;
mod listing;
mod snapshot;
mod xl;

use super::action::{Action, DomainAct, Dump};
use super::failure::Failure;
use super::output::Output;
use super::wire::{Bus, By, Domain};
use super::xpath;
use std::io::Read;

/// Larger documents are refused unread.
const MAX_XML: u64 = 16 << 20;
/// How many calls are under way at a time where one is needed per domain or snapshot.
const AT_ONCE: usize = 32;

const ANY: By = By { id: true, uuid: true, name: true };

/// Does it.
pub async fn run(bus: &Bus, action: Action, out: &mut Output) -> Result<(), Failure> {
    match action {
        Action::ListDomains(list) => listing::domains(bus, &list, out).await,
        Action::Define { file } => {
            let failed = format!("Failed to define domain from {file}");
            let domain = bus.define(&read(&file)?).await.map_err(|e| Failure::behind(failed, e))?;
            out.extra(&format!("Domain '{}' defined from {file}\n", domain.name().await?));
            Ok(())
        }
        Action::Create { file, flags } => {
            let failed = format!("Failed to create domain from {file}");
            let domain = bus.create(&read(&file)?, flags.bits()).await.map_err(|e| Failure::behind(failed, e))?;
            out.extra(&format!("Domain '{}' created from {file}\n", domain.name().await?));
            Ok(())
        }
        Action::Domain { domain, act } => {
            let by = match act {
                DomainAct::Start(_) | DomainAct::Id | DomainAct::Rename(_) => By { id: false, ..ANY },
                DomainAct::Name => By { name: false, ..ANY },
                DomainAct::Uuid => By { uuid: false, ..ANY },
                _ => ANY,
            };
            let domain = Domain::find(bus, &domain, by).await?;
            domain::run(&domain, act, out).await
        }
        Action::Snapshots { domain, act } => {
            let domain = Domain::find(bus, &domain, ANY).await?;
            snapshot::run_on_domain(&domain, act, out).await
        }
        Action::Snapshot { domain, which, act } => {
            let domain = Domain::find(bus, &domain, ANY).await?;
            let snapshot = snapshot::find(&domain, which).await?;
            snapshot::run(&domain, &snapshot, act, out).await
        }
        Action::Beyond { domain, act } => {
            let domain = Domain::find(bus, &domain, ANY).await?;
            beyond::run(&domain, act, out).await
        }
        Action::Xl(act) => xl::run(bus, act, out).await,
        Action::Refuse { domain, failure } => {
            Domain::find(bus, &domain, ANY).await?;
            Err(failure)
        }
    }
}

/// A document as `--xpath` and `--wrap` ask for it; virsh ends a whole one with a line of its own.
fn dumped(xml: &str, dump: &Dump) -> Result<String, Failure> {
    match &dump.xpath {
        Some(expression) => xpath::find(xml, expression, dump.matches),
        None => Ok(xml.to_owned()),
    }
}

/// A document from a file, as libvirt reads it (`virFileReadAll`).
pub(super) fn read(path: &str) -> Result<String, Failure> {
    let failed = |verb: &str, error: &std::io::Error| {
        Failure::new(crate::error::Error::system(format!("Failed to {verb} file '{path}'"), error).to_string())
    };
    let file = std::fs::File::open(path).map_err(|e| failed("open", &e))?;
    let mut bytes = Vec::new();
    file.take(MAX_XML + 1).read_to_end(&mut bytes).map_err(|e| failed("read", &e))?;
    if bytes.len() as u64 > MAX_XML {
        let error = std::io::Error::from(rustix::io::Errno::OVERFLOW);
        return Err(failed("read", &error));
    }
    // D-Bus carries UTF-8 without NUL only; a bus disconnects who sends anything else.
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(Failure::new(format!("'{path}' is not UTF-8 text"))),
    }
}
