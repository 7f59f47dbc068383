//! What a sequence is made of, and how it is drawn.

use proptest::prelude::*;
use std::fmt;
use virsnap::host::sim::Fault;

/// How one disk is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// Not listed.
    Unsaid,
    No,
    Internal,
    External,
    Manual,
}

/// How the memory is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mem {
    Unsaid,
    No,
    Internal,
    External,
}

/// One thing that a client, a user or time does. Snapshots are chosen by a number, modulo how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Flags are libvirt's. `taken`: the name of a snapshot that exists.
    Create {
        disks: [Disk; 2],
        memory: Mem,
        flags: u32,
        taken: bool,
    },
    Revert {
        which: u8,
        flags: u32,
    },
    Delete {
        which: u8,
        flags: u32,
    },
    /// From its own XML, with REDEFINE and perhaps CURRENT.
    Redefine {
        which: u8,
        current: bool,
    },
    /// METADATA_ONLY of it and all below it, and all of them redefined.
    Relearn {
        which: u8,
    },
    Start {
        paused: bool,
    },
    Suspend,
    Resume,
    Destroy,
    Shutdown,
    Tick,
    /// The daemon ends between two calls.
    Restart,
}

/// An operation, and what goes wrong: at which effect, counted from its first, and at which one after that.
#[derive(Clone, PartialEq, Eq)]
pub struct Step {
    pub op: Op,
    pub faults: Vec<(usize, Fault)>,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // On one line, also in a list of many.
        f.write_str(&format!("Step {{ op: {:?}, faults: vec!{:?} }}", self.op, self.faults))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faults {
    None,
    Any,
}

pub const HALT: u32 = 0x8;
pub const NO_METADATA: u32 = 0x4;
pub const DISK_ONLY: u32 = 0x10;
pub const REUSE_EXT: u32 = 0x20;
pub const QUIESCE: u32 = 0x40;
pub const ATOMIC: u32 = 0x80;
pub const LIVE: u32 = 0x100;
pub const RUNNING: u32 = 0x1;
pub const PAUSED: u32 = 0x2;
pub const FORCE: u32 = 0x4;
pub const CHILDREN: u32 = 0x1;
pub const METADATA_ONLY: u32 = 0x2;
pub const CHILDREN_ONLY: u32 = 0x4;

fn disk() -> impl Strategy<Value = Disk> {
    prop_oneof![
        6 => Just(Disk::Unsaid), 1 => Just(Disk::No), 1 => Just(Disk::Internal), 2 => Just(Disk::External), 1 => Just(Disk::Manual)
    ]
}

fn mem() -> impl Strategy<Value = Mem> {
    prop_oneof![6 => Just(Mem::Unsaid), 1 => Just(Mem::No), 1 => Just(Mem::Internal), 4 => Just(Mem::External)]
}

fn create() -> impl Strategy<Value = Op> {
    let flags = prop_oneof![
        8 => Just(0),
        8 => Just(DISK_ONLY),
        1 => Just(HALT),
        1 => Just(DISK_ONLY | HALT),
        1 => Just(DISK_ONLY | QUIESCE),
        1 => Just(DISK_ONLY | NO_METADATA),
        1 => Just(NO_METADATA),
        1 => Just(DISK_ONLY | REUSE_EXT),
        1 => Just(REUSE_EXT),
        1 => Just(DISK_ONLY | REUSE_EXT | NO_METADATA),
        1 => Just(ATOMIC),
        1 => Just(LIVE),
    ];
    // Most of what is asked for at random is refused: simple requests are drawn more often.
    let disks = prop_oneof![3 => Just([Disk::Unsaid; 2]), 2 => [disk(), disk()]];
    (disks, mem(), flags, prop::bool::weighted(0.05)).prop_map(|(disks, memory, flags, taken)| Op::Create {
        disks,
        memory,
        flags,
        taken,
    })
}

fn op() -> impl Strategy<Value = Op> {
    let revert = prop_oneof![4 => Just(0), 3 => Just(RUNNING), 1 => Just(PAUSED), 1 => Just(FORCE)];
    let delete = prop_oneof![
        8 => Just(0),
        2 => Just(CHILDREN),
        1 => Just(CHILDREN_ONLY),
        1 => Just(METADATA_ONLY),
        1 => Just(METADATA_ONLY | CHILDREN),
        1 => Just(METADATA_ONLY | CHILDREN_ONLY)
    ];
    prop_oneof![
        10 => create(),
        6 => (any::<u8>(), revert).prop_map(|(which, flags)| Op::Revert { which, flags }),
        6 => (any::<u8>(), delete).prop_map(|(which, flags)| Op::Delete { which, flags }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(which, current)| Op::Redefine { which, current }),
        1 => any::<u8>().prop_map(|which| Op::Relearn { which }),
        3 => prop::bool::weighted(0.1).prop_map(|paused| Op::Start { paused }),
        1 => Just(Op::Suspend),
        1 => Just(Op::Resume),
        2 => Just(Op::Destroy),
        1 => Just(Op::Shutdown),
        4 => Just(Op::Tick),
        1 => Just(Op::Restart),
    ]
}

fn fault() -> impl Strategy<Value = (usize, Fault)> {
    let kind = prop_oneof![
        6 => Just(Fault::Crash),
        2 => Just(Fault::MachineKeeps),
        3 => Just(Fault::MachineLoses),
        2 => Just(Fault::GuestDies),
        2 => Just(Fault::GuestDiesUnseen),
        3 => Just(Fault::Refuse),
        2 => Just(Fault::Interrupt),
    ];
    (0..40usize, kind)
}

pub fn steps(length: usize, faults: Faults) -> impl Strategy<Value = Vec<Step>> {
    let faults = match faults {
        Faults::None => Just(Vec::new()).boxed(),
        Faults::Any => prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(fault(), 1..3)].boxed(),
    };
    prop::collection::vec((op(), faults).prop_map(|(op, faults)| Step { op, faults }), 1..length)
}
