//! `complete`: what may stand at the cursor, with the names that only the service knows. Nobody waits for it for long, and
//! nobody is told what went wrong: the user is typing.

use super::super::args::{self, Typed};
use super::super::complete::{self, Expected, Offer};
use super::super::failure::Failure;
use super::super::wire::{Bus, Domain};
use super::{ANY, AT_ONCE};
use futures_util::{StreamExt, stream};
use std::ffi::OsString;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);

/// The lines to print.
pub async fn run(typed: &Typed) -> String {
    let words: Vec<String> = typed.values("string").map(str::to_owned).collect();
    let Some((current, before)) = words.split_last() else { return String::new() };
    let line = complete::read(before, current);
    let offers = match line.expected {
        Expected::Words(offers) => offers,
        Expected::Unknown => Vec::new(),
        Expected::Domain | Expected::Snapshot { .. } => {
            let asked = tokio::time::timeout(PATIENCE, names(line.global, before, &line.expected));
            let names = asked.await.ok().and_then(Result::ok).unwrap_or_default();
            names.into_iter().map(|word| Offer { word, help: String::new() }).collect()
        }
    };
    complete::lines(&offers, current)
}

/// The names of domains, or of the domain's snapshots.
async fn names(global: Vec<OsString>, before: &[String], expected: &Expected) -> Result<Vec<String>, Failure> {
    let global = args::global(std::iter::once("virsnap".into()).chain(global).collect())?;
    let driver = if before.iter().any(|w| w == "xl") { "Xen" } else { "QEMU" };
    let bus = Bus::connect(&global).await?.with_default_driver(driver);
    match expected {
        Expected::Snapshot { domain } => {
            let domain = Domain::find(&bus, domain, ANY).await?;
            let mut names: Vec<String> = domain.snapshots(0).await?.into_iter().map(|s| s.name).collect();
            names.sort();
            Ok(names)
        }
        _ => {
            let found = bus.domains(0).await?.into_iter().map(|domain| async move { domain.name().await.ok() });
            Ok(stream::iter(found).buffered(AT_ONCE).filter_map(async |n| n).collect().await)
        }
    }
}
