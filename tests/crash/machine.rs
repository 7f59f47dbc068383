//! A machine: its world, its state file, and one daemon after the other.

use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use uuid::Uuid;
use virsnap::engine::service::Service;
use virsnap::error::{Code, Error, Result};
use virsnap::host::sim::{Body, Fuse, ImageBody, SharedWorld, SimHost, World, hold};
use virsnap::model::flags::DeleteFlags;
use virsnap::model::ids::{DomainId, Instance, SnapshotName};
use virsnap::plan::facts::Capabilities;
use virsnap::store::Store;

pub const DOMAIN: DomainId = DomainId(Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef));

/// One call.
#[derive(Debug, Clone, Copy)]
pub enum Call {
    Start,
    /// A start with FORCE_BOOT.
    Boot,
    ManagedSave,
    ManagedSaveRemove,
    Suspend,
    Destroy,
    Create(&'static str, u32),
    Revert(&'static str, u32),
    Delete(&'static str, u32),
    Rename(&'static str, &'static str),
    /// A revert, and a deletion with these flags.
    RevertThen(&'static str, u32),
    /// A file that the user puts there: empty, or an overlay on another.
    Place(&'static str, Option<&'static str>),
    /// Time passes.
    Tick,
}

pub struct Machine {
    pub world: SharedWorld,
    pub store: Store,
    pub fuse: Arc<Fuse>,
    pub capabilities: Capabilities,
    /// The hypervisor that ran before the call.
    pub running: Option<Instance>,
    /// The last one that had ended before the call.
    pub ended: Option<Instance>,
}

/// How a daemon's life ended.
#[derive(Debug)]
pub enum End {
    Crashed,
    Answered(Result<()>),
}

/// So that QUIESCE is taken.
const AGENT: &str =
    "    <channel type='unix'>\n      <target type='virtio' name='org.qemu.guest_agent.0'/>\n    </channel>\n";

fn definition(disks: usize) -> String {
    let disk = |i: usize| {
        let name = ["vda", "vdb"][i];
        format!(
            "    <disk type='file' device='disk'>\n      <driver name='qemu' type='qcow2'/>\n      \
             <source file='/img/{name}.qcow2'/>\n      <target dev='{name}' bus='virtio'/>\n    </disk>\n"
        )
    };
    let disks: String = (0..disks).map(disk).collect();
    format!(
        "<domain type='qemu'>\n  <name>guest</name>\n  <uuid>{DOMAIN}</uuid>\n  <memory unit='KiB'>131072</memory>\n  \
         <vcpu>1</vcpu>\n  <os>\n    <type arch='x86_64' machine='pc'>hvm</type>\n  </os>\n  <devices>\n{disks}{AGENT}  </devices>\n</domain>\n"
    )
}

impl Machine {
    /// A machine with one defined domain, after these calls.
    pub fn set_up(disks: usize, capabilities: Capabilities, transient: bool, calls: &[Call]) -> Self {
        let mut world = World::default();
        for name in ["vda", "vdb"].iter().take(disks) {
            let value = world.next_value();
            let mut image = ImageBody::new("qcow2", None);
            image.blocks.extend([(0, value), (3, value), (9, value)]);
            world.place(format!("/img/{name}.qcow2").as_str().into(), Body::Image(image));
        }
        let fuse = Arc::new(Fuse::new([]));
        let store = Store::in_memory().unwrap();
        let world = Arc::new(Mutex::new(world));
        let mut machine = Self { world, store, fuse, capabilities, running: None, ended: None };
        let all = calls.to_vec();
        let end = machine.life(async move |service| {
            if transient {
                service.create_xml(&definition(disks), 0).await?;
            } else {
                service.define(&definition(disks)).await?;
            }
            for call in all {
                machine_call(&service, call).await.map_err(|e| Error::internal(format!("set-up {call:?}: {e}")))?;
            }
            Ok(())
        });
        assert!(matches!(end, End::Answered(Ok(()))), "{end:?}");
        {
            let world = hold(&machine.world);
            machine.running = world.guests.keys().next().copied();
            machine.ended = world.last_ended.as_ref().map(|g| g.instance);
        }
        machine
    }

    /// A new daemon, `work` as its only call, its end.
    pub fn life(&self, work: impl AsyncFnOnce(Arc<Service>) -> Result<()>) -> End {
        self.fuse.revive();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (sender, receiver) = mpsc::unbounded_channel();
            let mut host = SimHost::new(Arc::clone(&self.world), Arc::clone(&self.fuse), sender);
            host.capabilities = self.capabilities;
            let host = Arc::new(host);
            let hands = Arc::clone(&host);
            let store = self.store.gated(Arc::new(move |what| {
                let dead = || Error::internal("the daemon is dead");
                hands.strike(&format!("store: {what}")).map_err(|e| e.unwrap_or_else(dead))
            }));
            let life = async {
                let service = Arc::new(Service::open(store, host, receiver, || 1_700_000_000).await?);
                service.idle().await;
                let answer = WORLD.scope(Arc::clone(&self.world), work(Arc::clone(&service))).await;
                service.idle().await;
                answer
            };
            tokio::select! {
                biased;
                () = self.fuse.burnt() => End::Crashed,
                answer = life => if self.fuse.is_burnt() { End::Crashed } else { End::Answered(answer) },
            }
        })
    }

    /// The call, in a life of its own.
    pub fn call(&self, call: Call) -> End {
        self.life(async |service| machine_call(&service, call).await)
    }

    /// The call, and in the middle of it a Destroy.
    pub fn call_and_destroy(&self, call: Call) -> End {
        self.life(async |service| {
            let mut work = std::pin::pin!(machine_call(&service, call));
            let mut destroy = std::pin::pin!(async {
                self.fuse.interrupted().await;
                let _ = machine_call(&service, Call::Destroy).await;
            });
            tokio::select! {
                biased;
                () = &mut destroy => work.await,
                answer = &mut work => {
                    destroy.await;
                    answer
                }
            }
        })
    }

    /// The call, and in the middle of it a client that cancels it.
    pub fn call_and_cancel(&self, call: Call) -> End {
        self.life(async |service| {
            let mut work = std::pin::pin!(machine_call(&service, call));
            let mut cancel = std::pin::pin!(async {
                self.fuse.interrupted().await;
                service.cancel(DOMAIN)
            });
            let (cancelled, answer) = tokio::select! {
                biased;
                cancelled = &mut cancel => (cancelled, work.await),
                answer = &mut work => return answer,
            };
            match (cancelled, &answer, call) {
                (_, Ok(()), _) => answer,
                (Err(refused), Err(error), _) => Err(Error::internal(format!("{refused}, and yet: {error}"))),
                (Ok(()), Err(error), _) if error.code == Code::OperationAborted => answer,
                (Ok(()), Err(error), _) => Err(Error::internal(format!("cancelled, and yet: {error}"))),
            }
        })
    }

    /// The snapshot whose deletion was cut short, of the names that the shapes use.
    pub fn half_deleted(&self) -> Option<&'static str> {
        let (snapshots, _) = self.store.snapshots(DOMAIN).unwrap();
        let half = snapshots.iter().find(|s| s.disks.iter().any(|d| d.delete_in_progress))?;
        ["a", "b", "c", "s", "x"].into_iter().find(|n| half.name.as_str() == *n)
    }

    /// The call, and if it fails another one, which ends what is still open.
    pub fn call_twice(&self, call: Call) -> End {
        self.life(async |service| {
            let answer = machine_call(&service, call).await;
            if answer.is_err() {
                let _ = machine_call(&service, Call::Delete("no such snapshot", 0)).await;
            }
            answer
        })
    }

    /// Daemons, until one lives to the end undisturbed with nothing left to recover.
    pub fn settle(&self) -> Result<usize, String> {
        for life in 0..12 {
            // Guests run on while no daemon does.
            (0..3).for_each(|_| hold(&self.world).tick());
            let struck = self.fuse.struck();
            let ended = self.life(async |_| Ok(()));
            if struck == self.fuse.struck() {
                let open = self.store.open_ops().unwrap().len();
                return match ended {
                    End::Answered(Ok(())) if open == 0 => Ok(life),
                    ended => Err(format!("recovery does not come to an end: {open} open, {ended:?}")),
                };
            }
        }
        Err("recovery does not come to an end".to_owned())
    }
}

tokio::task_local! {
    static WORLD: SharedWorld;
}

async fn machine_call(service: &Service, call: Call) -> Result<()> {
    match call {
        Call::Start => service.start(DOMAIN, 0).await,
        Call::Boot => service.start(DOMAIN, 8).await,
        Call::ManagedSave => service.managed_save(DOMAIN, 0).await,
        Call::ManagedSaveRemove => service.managed_save_remove(DOMAIN, 0).await,
        Call::Suspend => service.suspend(DOMAIN).await,
        Call::Destroy => service.destroy(DOMAIN, 0).await,
        Call::Create(xml, flags) => service.snapshot_create(DOMAIN, xml, flags).await.map(drop),
        Call::Revert(name, flags) => service.snapshot_revert(DOMAIN, &SnapshotName::from(name), flags).await,
        Call::Delete(name, flags) => service.snapshot_delete(DOMAIN, &SnapshotName::from(name), flags).await,
        Call::Rename(from, to) => service.snapshot_rename(DOMAIN, &from.into(), &to.into()).await,
        Call::RevertThen(name, then) => {
            let then = DeleteFlags::from_bits_retain(then);
            service.snapshot_revert_then(DOMAIN, &SnapshotName::from(name), 0, then).await
        }
        Call::Place(path, backing) => {
            let body = match backing {
                None => Body::Empty,
                Some(path) => {
                    let backing = virsnap::model::ids::Image { path: path.into(), format: "qcow2".into() };
                    Body::Image(ImageBody::new("qcow2", Some(backing)))
                }
            };
            WORLD.with(|w| hold(w).place(path.into(), body));
            Ok(())
        }
        Call::Tick => {
            WORLD.with(|w| hold(w).tick());
            Ok(())
        }
    }
}
