//! The toolstack's commands, and what they say.
//!
//! `xl` writes progress to stderr as well as errors, and exits 0 where a disk was not attached: what a command did is
//! looked at, never read from its words. Must not know: which guests are ours.

use crate::error::{Error, Result};
use crate::host::Report;
use crate::host::command::Child;
use camino::Utf8Path;
use serde_json::Value;
use uuid::Uuid;

/// Why a guest has stopped (`SHUTDOWN_*` of Xen's public `sched.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Poweroff,
    Reboot,
    Suspend,
    Crash,
}

impl Reason {
    fn of(code: &str) -> Self {
        match code.parse::<u32>() {
            Ok(0) => Self::Poweroff,
            Ok(1 | 5) => Self::Reboot,
            Ok(2) => Self::Suspend,
            _ => Self::Crash,
        }
    }
}

/// One line of `xl list -v`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) domid: u32,
    pub(super) uuid: Uuid,
    pub(super) paused: bool,
    /// It has stopped, for this reason, and is not yet reaped.
    pub(super) stopped: Option<Reason>,
    /// It is being torn down.
    pub(super) dying: bool,
    /// It has used no processor since it was built or restored.
    pub(super) never_ran: bool,
}

fn xl(arguments: &[&str]) -> Child {
    Child::new("xl").args(arguments)
}

/// Every domain but Domain-0.
pub(super) async fn list() -> Result<Vec<Listed>> {
    let text = xl(&["list", "-v"]).run().await?;
    parse_list(&String::from_utf8_lossy(&text))
}

/// Read `xl list -v`. A name may hold blanks, so the columns are counted from the right:
/// `Name ID Mem VCPUs State Time(s) UUID Reason-Code Security-Label`.
pub(super) fn parse_list(text: &str) -> Result<Vec<Listed>> {
    let mut out = Vec::new();
    for line in text.lines().skip(1).filter(|l| !l.trim().is_empty()) {
        let read = || {
            let mut rest = line.trim_end();
            let mut last = || {
                let at = rest.rfind(char::is_whitespace)?;
                let word = &rest[at..];
                rest = rest[..at].trim_end();
                Some(word.trim())
            };
            let (_label, reason, uuid, seconds, state) = (last()?, last()?, last()?, last()?, last()?);
            let (_vcpus, _memory, domid) = (last()?, last()?, last()?);
            Some(Listed {
                name: rest.trim().to_owned(),
                domid: domid.parse().ok()?,
                uuid: uuid.parse().ok()?,
                paused: state.contains('p'),
                stopped: state.contains('s').then(|| Reason::of(reason)),
                dying: state.contains('d'),
                never_ran: seconds == "0.0",
            })
        };
        let listed: Listed =
            read().ok_or_else(|| Error::internal(format!("cannot read this line of 'xl list -v': {line}")))?;
        if listed.domid != 0 {
            out.push(listed);
        }
    }
    Ok(out)
}

/// The configuration that a domain really has: its element of `xl list -l`.
pub(super) async fn details(domid: u32) -> Result<Value> {
    let text = xl(&["list", "-l", &domid.to_string()]).run().await?;
    let mut all: Value = serde_json::from_slice(&text)
        .map_err(|e| Error::internal(format!("cannot read what 'xl list -l {domid}' says: {e}")))?;
    Ok(match all.as_array_mut() {
        Some(elements) => elements.first_mut().map(Value::take).unwrap_or_default(),
        None => all,
    })
}

/// `xl info`.
pub(super) async fn info() -> Result<String> {
    Ok(String::from_utf8_lossy(&xl(&["info"]).run().await?).into_owned())
}

async fn on_domain(command: &str, domid: u32) -> Result<()> {
    xl(&[command, &domid.to_string()]).run().await.map(drop)
}

/// Pauses are counted: each wants an unpause of its own.
pub(super) async fn pause(domid: u32) -> Result<()> {
    on_domain("pause", domid).await
}

/// Exits 0 also when the domain was not paused.
pub(super) async fn unpause(domid: u32) -> Result<()> {
    on_domain("unpause", domid).await
}

/// Ask the guest to power off.
pub(super) async fn shutdown(domid: u32) -> Result<()> {
    on_domain("shutdown", domid).await
}

/// Ask the guest to reboot.
pub(super) async fn reboot(domid: u32) -> Result<()> {
    on_domain("reboot", domid).await
}

/// End the domain.
pub(super) async fn destroy(domid: u32) -> Result<()> {
    on_domain("destroy", domid).await
}

/// Save the memory of a domain that takes part in it; it is paused afterwards, if this succeeds.
pub(super) async fn save(domid: u32, path: &Utf8Path, report: &dyn Report) -> Result<()> {
    xl(&["save", "-p", &domid.to_string(), path.as_str()]).run_cancellable(report).await.map(drop)
}

/// Build a domain, paused. No `xl` stays behind to watch it (`-e`): it would start the guest again with disks that it
/// no longer has.
pub(super) async fn create(config: &Utf8Path) -> Result<()> {
    xl(&["create", "-e", "-p", "-q", config.as_str()]).run().await.map(drop)
}

/// Restore a domain, paused, with this configuration and not the one in the save file, which names other disks.
pub(super) async fn restore(config: &Utf8Path, memory: &Utf8Path) -> Result<()> {
    xl(&["restore", "-e", "-p", config.as_str(), memory.as_str()]).run().await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID                            Reason-Code\tSecurity Label\n";

    #[test]
    fn a_list_is_read_from_the_right_because_names_hold_blanks() {
        let text = format!(
            "{HEAD}Domain-0                                     0   768     2     r-----     128.7 00000000-0000-0000-0000-000000000000        -                -\n\
             my guest                                     1   128     1     -b----      16.6 cbf7bd07-5925-4aec-a397-897554f73dab        -                -\n\
             g2                                           2   128     1     --ps--       4.7 d3f4f15d-3780-4062-b31f-ebcb62cd1108        1                -\n\
             g3                                           3   128     1     --p---       0.0 d3f4f15d-3780-4062-b31f-ebcb62cd1109        -                -\n"
        );
        let list = parse_list(&text).unwrap();
        assert_eq!(list.len(), 3, "Domain-0 is nobody's guest");
        assert_eq!(
            (list[0].name.as_str(), list[0].domid, list[0].paused, list[0].stopped),
            ("my guest", 1, false, None)
        );
        assert_eq!((list[1].paused, list[1].stopped), (true, Some(Reason::Reboot)));
        assert!(list[2].never_ran && !list[1].never_ran && list[2].paused);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_shown() {
        let error = parse_list(&format!("{HEAD}nonsense here\n")).unwrap_err();
        assert!(error.to_string().ends_with("cannot read this line of 'xl list -v': nonsense here"), "{error}");
    }
}
