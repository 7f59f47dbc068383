//! Plays a sequence: one daemon after the other, and after every step the checks.

use super::model::{Model, Moment};
use super::op::{
    CHILDREN, CHILDREN_ONLY, Disk, LIVE, METADATA_ONLY, Mem, NO_METADATA, Op, QUIESCE, REUSE_EXT, RUNNING, Step,
};
use crate::machine::{self, DOMAIN, End, Machine};
use crate::schedule::Shape;
use camino::Utf8PathBuf;
use std::fmt::Write as _;
use std::sync::Arc;
use virsnap::engine::service::Service;
use virsnap::error::Result as Answer;
use virsnap::host::sim::{Body, Fault, ImageBody, hold};
use virsnap::model::ids::{Image, SnapshotName};
use virsnap::plan::facts::Capabilities;

const TARGETS: [&str; 2] = ["vda", "vdb"];
const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
const REDEFINE: u32 = 0x1;
const CURRENT: u32 = 0x2;

/// A call with everything in it.
#[derive(Debug, Clone)]
pub enum Call {
    Create {
        name: SnapshotName,
        xml: String,
        flags: u32,
        simple: bool,
    },
    Revert(SnapshotName, u32),
    Delete(SnapshotName, u32),
    Redefine {
        name: SnapshotName,
        xml: String,
        current: bool,
    },
    /// The root of the subtree, and its documents, parents first.
    Relearn(SnapshotName, Vec<(String, u32)>),
    Power(Op),
    Nothing,
}

/// A machine and what is known about it.
pub struct Scene {
    machine: Machine,
    model: Model,
    disks: usize,
    transient: bool,
    log: Vec<String>,
}

impl Scene {
    pub fn new(disks: usize, capabilities: Capabilities, transient: bool) -> Self {
        let (set_up, call, parts) = (Vec::new(), machine::Call::Tick, Vec::new());
        let machine = Machine::set_up(&Shape { disks, nvram: None, capabilities, transient, set_up, call, parts });
        let model = Model::new(&machine);
        Self { machine, model, disks, transient, log: Vec::new() }
    }

    /// The whole sequence, and its end; how many snapshots were taken.
    pub fn play(mut self, steps: &[Step]) -> Result<u32, String> {
        let mut at = 0;
        while at < steps.len() && !self.model.gone {
            self.life(steps, &mut at).map_err(|e| self.tell(&e))?;
        }
        if !self.model.gone {
            self.end().map_err(|e| self.tell(&e))?;
        }
        Ok(self.model.taken)
    }

    fn tell(&self, what: &str) -> String {
        let trace = self.machine.fuse.trace();
        let last = &trace[trace.len().saturating_sub(60)..];
        format!("{what}\n  {}\n    {}", self.log.join("\n  "), last.join("\n    "))
    }

    /// One daemon's life: until the next restart or fault.
    fn life(&mut self, steps: &[Step], at: &mut usize) -> Result<(), String> {
        let Self { machine, model, log, disks, .. } = self;
        let (machine, mut verdict) = (&*machine, Ok(()));
        let mut struck: Option<(Moment, Call)> = None;
        let end = machine.life(async |service| {
            while let Some(step) = steps.get(*at) {
                *at += 1;
                if step.op == Op::Restart {
                    break;
                }
                let moment = Moment::take(machine);
                let call = resolve(&service, model, machine, *disks, step.op);
                let first = machine.fuse.count();
                let mut n = first;
                // A change of metadata alone is one transaction.
                if !matches!(call, Call::Redefine { .. } | Call::Relearn(..)) {
                    for (offset, fault) in &step.faults {
                        n += offset;
                        machine.fuse.also(n, *fault);
                        n += 1;
                    }
                }
                log.push(format!("{call:?} {:?}", step.faults));
                struck = Some((moment, call.clone()));
                let answer = perform_with(machine, &service, &call, &step.faults).await;
                log.push(format!("    {}", answer.as_ref().map_or_else(ToString::to_string, |()| "ok".to_owned())));
                if machine.fuse.struck() > 0 {
                    if answer.is_err() && first.is_multiple_of(2) {
                        // The next call ends what is open, instead of a restart.
                        let _ = service.snapshot_delete(DOMAIN, &"no such snapshot".into(), 0).await;
                    }
                    break;
                }
                machine.fuse.stop();
                let Some((moment, call)) = struck.take() else { break };
                verdict = model.check(machine, &moment, &call, Some(&answer), &[]).and_then(|()| {
                    let known = service.view(DOMAIN).map_err(|e| e.to_string());
                    if model.gone { Ok(()) } else { model.check_view(machine, &known?.tree) }
                });
                if verdict.is_err() || model.gone {
                    break;
                }
            }
            Ok(())
        });
        verdict?;
        if let (End::Answered(Err(error)), None) = (&end, &struck) {
            return Err(format!("a daemon does not start: {error}"));
        }
        let Some((moment, call)) = struck else { return Ok(()) };
        let settled = machine.settle();
        machine.fuse.stop();
        let lives = settled?;
        log.push(format!("    struck; recovered after {lives} more lives"));
        let faults: Vec<Fault> = steps[*at - 1].faults.iter().map(|(_, f)| *f).collect();
        model.check(machine, &moment, &call, None, &faults)
    }

    /// Revert to every snapshot, and delete every one.
    fn end(&mut self) -> Result<(), String> {
        let Self { machine, model, log, transient, .. } = self;
        let (machine, mut verdict) = (&*machine, Ok(()));
        let flags = if *transient { RUNNING } else { 0 };
        let names: Vec<SnapshotName> = model.parents.keys().cloned().collect();
        let mut calls: Vec<Call> = Vec::new();
        for name in &names {
            calls.extend([Call::Revert(name.clone(), flags), Call::Power(Op::Tick)]);
        }
        // Neither from the leaves nor from the root.
        let (odd, even): (Vec<_>, Vec<_>) = names.iter().enumerate().partition(|(i, _)| i % 2 == 1);
        calls.extend(odd.into_iter().chain(even).map(|(_, name)| Call::Delete(name.clone(), 0)));
        if !*transient {
            // What cannot be deleted beneath a running guest, or before another.
            calls.push(Call::Power(Op::Destroy));
            let again = names.iter().chain(&names).chain(&names);
            calls.extend(again.map(|name| Call::Delete(name.clone(), 0)));
        }
        let end = machine.life(async |service| {
            for call in calls {
                if matches!(&call, Call::Delete(name, _) if !model.parents.contains_key(name)) {
                    continue;
                }
                let moment = Moment::take(machine);
                log.push(format!("{call:?}"));
                let answer = perform(machine, &service, &call).await;
                log.push(format!("    {}", answer.as_ref().map_or_else(ToString::to_string, |()| "ok".to_owned())));
                verdict = model.check(machine, &moment, &call, Some(&answer), &[]);
                if verdict.is_err() || model.gone {
                    break;
                }
            }
            Ok(())
        });
        verdict?;
        if let End::Answered(Err(error)) = end {
            return Err(format!("the last daemon does not start: {error}"));
        }
        if !model.gone && !*transient && !model.parents.is_empty() {
            return Err(format!("{:?} cannot be deleted", model.parents.keys()));
        }
        Ok(())
    }
}

/// Fill in names and documents; files that a user makes beforehand are made.
fn resolve(service: &Service, model: &mut Model, machine: &Machine, disks: usize, op: Op) -> Call {
    let existing: Vec<&SnapshotName> = model.parents.keys().collect();
    let choose = |which: u8| existing.get(usize::from(which) % existing.len().max(1)).map(|n| (*n).clone());
    let dump = |name: &SnapshotName| service.snapshot_xml(DOMAIN, name, 1).unwrap_or_default();
    match op {
        Op::Create { disks: asked, memory, flags, taken } => {
            let free = NAMES.iter().find(|n| !model.parents.contains_key(&SnapshotName::from(**n)));
            let name = match (choose(0), free) {
                (Some(name), _) if taken => name,
                (_, Some(free)) => SnapshotName::from(*free),
                _ => return Call::Nothing,
            };
            let (xml, placed) = document(machine, &name, &asked[..disks], memory, flags);
            for (path, backing) in placed {
                hold(&machine.world).place(&path, Body::Image(ImageBody::new("qcow2", Some(backing))));
                model.users.insert(path);
            }
            let simple = !taken && memory == Mem::Unsaid && asked[..disks].iter().all(|d| *d == Disk::Unsaid);
            let simple = simple && flags & (REUSE_EXT | NO_METADATA | LIVE | QUIESCE) == 0;
            Call::Create { name, xml, flags, simple }
        }
        Op::Revert { which, flags } => choose(which).map_or(Call::Nothing, |n| Call::Revert(n, flags)),
        Op::Delete { which, flags } => choose(which).map_or(Call::Nothing, |n| Call::Delete(n, flags)),
        Op::Redefine { which, current } => {
            choose(which).map_or(Call::Nothing, |name| Call::Redefine { xml: dump(&name), name, current })
        }
        Op::Relearn { which } => {
            let Some(root) = choose(which) else { return Call::Nothing };
            let mut all = vec![root.clone()];
            all.extend(service.snapshot_list(DOMAIN, Some(&root), 0x401).unwrap_or_default());
            let flags = |name: &SnapshotName| if model.current.as_ref() == Some(name) { CURRENT } else { 0 };
            Call::Relearn(root, all.iter().map(|n| (dump(n), flags(n))).collect())
        }
        other => Call::Power(other),
    }
}

/// The document, and the overlays that REUSE_EXT wants to find.
fn document(
    machine: &Machine,
    name: &SnapshotName,
    asked: &[Disk],
    memory: Mem,
    flags: u32,
) -> (String, Vec<(Utf8PathBuf, Image)>) {
    let mut xml = format!("<domainsnapshot><name>{name}</name>");
    let mut placed = Vec::new();
    let _ = match memory {
        Mem::Unsaid => Ok(()),
        Mem::No => write!(xml, "<memory snapshot='no'/>"),
        Mem::Internal => write!(xml, "<memory snapshot='internal'/>"),
        Mem::External => write!(xml, "<memory snapshot='external' file='/img/{name}.mem'/>"),
    };
    xml.push_str("<disks>");
    for (target, how) in TARGETS.iter().zip(asked) {
        let location = match how {
            Disk::Unsaid => "",
            Disk::No => " snapshot='no'",
            Disk::Internal => " snapshot='internal'",
            Disk::External => " snapshot='external'",
            Disk::Manual => " snapshot='manual'",
        };
        let mut source = String::new();
        if flags & REUSE_EXT != 0 && matches!(how, Disk::Unsaid | Disk::External) {
            let path = Utf8PathBuf::from(format!("/img/user-{}-{target}.qcow2", machine.fuse.count()));
            if let Some(image) = Moment::top(machine, target) {
                source = format!("<source file='{path}'/>");
                placed.push((path, image));
            }
        }
        if !location.is_empty() || !source.is_empty() {
            let _ = write!(xml, "<disk name='{target}'{location}>{source}</disk>");
        }
    }
    xml.push_str("</disks></domainsnapshot>");
    (xml.replace("<disks></disks>", ""), placed)
}

async fn perform_with(machine: &Machine, service: &Arc<Service>, call: &Call, faults: &[(usize, Fault)]) -> Answer<()> {
    if !faults.iter().any(|(_, f)| *f == Fault::Interrupt) {
        return perform(machine, service, call).await;
    }
    // What interrupted the last call, and came too late for it, is none of this one's.
    tokio::select! {
        biased;
        () = machine.fuse.interrupted() => {}
        () = std::future::ready(()) => {}
    }
    let mut work = std::pin::pin!(perform(machine, service, call));
    let mut destroy = std::pin::pin!(async {
        machine.fuse.interrupted().await;
        let _ = service.destroy(DOMAIN, 0).await;
    });
    tokio::select! {
        biased;
        () = &mut destroy => work.await,
        answer = &mut work => answer,
    }
}

async fn perform(machine: &Machine, service: &Service, call: &Call) -> Answer<()> {
    match call {
        Call::Create { xml, flags, .. } => service.snapshot_create(DOMAIN, xml, *flags).await.map(drop),
        Call::Revert(name, flags) => service.snapshot_revert(DOMAIN, name, *flags).await,
        Call::Delete(name, flags) => service.snapshot_delete(DOMAIN, name, *flags).await,
        Call::Redefine { xml, current, .. } => {
            let flags = REDEFINE | if *current { CURRENT } else { 0 };
            service.snapshot_create(DOMAIN, xml, flags).await.map(drop)
        }
        Call::Relearn(root, documents) => {
            service.snapshot_delete(DOMAIN, root, METADATA_ONLY | CHILDREN).await?;
            for (xml, flags) in documents {
                service.snapshot_create(DOMAIN, xml, REDEFINE | flags).await?;
            }
            Ok(())
        }
        Call::Power(Op::Start { paused }) => service.start(DOMAIN, u32::from(*paused)).await,
        Call::Power(Op::Suspend) => service.suspend(DOMAIN).await,
        Call::Power(Op::Resume) => service.resume(DOMAIN).await,
        Call::Power(Op::Destroy) => service.destroy(DOMAIN, 0).await,
        Call::Power(Op::Shutdown) => {
            let answer = service.shutdown(DOMAIN, 0).await;
            // The guest's end is heard of later.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            answer
        }
        Call::Power(_) | Call::Nothing => {
            hold(&machine.world).tick();
            Ok(())
        }
    }
}

/// The snapshots that a deletion is about, in the order in which they go.
pub fn doomed(model: &Model, name: &SnapshotName, flags: u32) -> Vec<SnapshotName> {
    let mut out = Vec::new();
    if flags & (CHILDREN | CHILDREN_ONLY) != 0 {
        out = model.below(name);
        out.reverse();
    }
    if flags & CHILDREN_ONLY == 0 {
        out.push(name.clone());
    }
    out
}
