//! Every operation and the state it meets.

use crate::machine::Call::{
    self, Boot, Create, Delete, ManagedSave, ManagedSaveRemove, Place, Rename, RenameDomain, Revert, RevertThen, Start,
    Suspend, Tick,
};
use crate::schedule::Shape;
use virsnap::plan::facts::{Capabilities, LiveSave};

const HALT: u32 = 0x8;
const DISK_ONLY: u32 = 0x10;
const NO_METADATA: u32 = 0x4;
const REUSE_EXT: u32 = 0x20;
const QUIESCE: u32 = 0x40;
const LIVE: u32 = 0x100;
const RUNNING: u32 = 0x1;
const PAUSED: u32 = 0x2;
const FORCE: u32 = 0x4;
const CHILDREN: u32 = 0x1;
const METADATA_ONLY: u32 = 0x2;
const CHILDREN_ONLY: u32 = 0x4;

const S: &str = "<domainsnapshot><name>s</name></domainsnapshot>";
const A: &str = "<domainsnapshot><name>a</name></domainsnapshot>";
const B: &str = "<domainsnapshot><name>b</name></domainsnapshot>";
const C: &str = "<domainsnapshot><name>c</name></domainsnapshot>";
const MEM_S: &str = "<domainsnapshot><name>s</name><memory snapshot='external' file='/img/s.mem'/></domainsnapshot>";
const MEM_A: &str = "<domainsnapshot><name>a</name><memory snapshot='external' file='/img/a.mem'/></domainsnapshot>";
const EXT_OFF: &str =
    "<domainsnapshot><name>a</name><disks><disk name='vda' snapshot='external'/></disks></domainsnapshot>";
const INTO_EMPTY: &str = "<domainsnapshot><name>s</name><disks><disk name='vda' snapshot='external'>\
    <source file='/img/mine.qcow2'/></disk></disks></domainsnapshot>";
const MEM_INTO_EMPTY: &str = "<domainsnapshot><name>s</name><memory snapshot='external' file='/img/mine.mem'/>\
    <disks><disk name='vda' snapshot='external'><source file='/img/mine.qcow2'/></disk></disks></domainsnapshot>";

const MIXED: &str =
    "<domainsnapshot><name>a</name><disks><disk name='vdb' snapshot='external'/></disks></domainsnapshot>";
const MANUAL: &str =
    "<domainsnapshot><name>s</name><disks><disk name='vdb' snapshot='manual'/></disks></domainsnapshot>";

/// What libvirt refuses: each part in its own way.
macro_rules! mixed {
    ($more:literal) => {
        concat!("<domainsnapshot><name>a</name>", $more, "<m:mixed xmlns:m='urn:virsnap:snapshot:1'/></domainsnapshot>")
    };
}
const TAG_AND_OVERLAY: &str = mixed!("<disks><disk name='vdb' snapshot='external'/></disks>");
const TAG_OF_ONE: &str = mixed!("<disks><disk name='vdb' snapshot='no'/></disks>");
const FILE_AND_TAGS: &str = mixed!(
    "<memory snapshot='external' file='/img/a.mem'/><disks><disk name='vda' snapshot='internal'/><disk name='vdb' snapshot='internal'/></disks>"
);
const FILE_TAG_AND_OVERLAY: &str =
    mixed!("<memory snapshot='external' file='/img/a.mem'/><disks><disk name='vda' snapshot='internal'/></disks>");
const DISKS_TAG_AND_OVERLAY: &str = mixed!("<disks><disk name='vda' snapshot='internal'/></disks>");

fn shape(set_up: &[Call], call: Call) -> Shape {
    let mut set_up = set_up.to_vec();
    set_up.extend([Tick, Tick, Tick]);
    let capabilities = Capabilities::qemu(LiveSave::Background);
    Shape { disks: 1, nvram: None, capabilities, transient: false, set_up, call, parts: Vec::new() }
}
fn two(shape: Shape) -> Shape {
    Shape { disks: 2, ..shape }
}
fn stopped(shape: Shape) -> Shape {
    Shape { capabilities: Capabilities::qemu(LiveSave::Precopy), ..shape }
}
fn one(shape: Shape) -> Shape {
    Shape { disks: 1, ..shape }
}
fn raw_nvram(shape: Shape) -> Shape {
    Shape { nvram: Some("raw"), ..shape }
}
fn qcow2_nvram(shape: Shape) -> Shape {
    Shape { nvram: Some("qcow2"), ..shape }
}
fn xen(shape: Shape) -> Shape {
    Shape { capabilities: Capabilities::xen(), ..shape }
}
fn parts(shape: Shape, parts: &[Call]) -> Shape {
    Shape { parts: parts.to_vec(), ..shape }
}
fn transient(shape: Shape) -> Shape {
    Shape { transient: true, ..shape }
}
const OFF: Call = Call::Destroy;

// --- create ---
pub fn create_internal_off() -> Shape {
    shape(&[Start, Tick, OFF], Create(S, 0))
}
pub fn create_internal_off_two_disks() -> Shape {
    two(create_internal_off())
}
pub fn create_internal_running() -> Shape {
    two(shape(&[Start], Create(S, 0)))
}
pub fn create_internal_paused() -> Shape {
    shape(&[Start, Tick, Suspend], Create(S, 0))
}
pub fn create_internal_halt() -> Shape {
    shape(&[Start], Create(S, HALT))
}
pub fn create_disk_only_off() -> Shape {
    two(shape(&[Start, Tick, OFF], Create(S, DISK_ONLY)))
}
pub fn create_disk_only_running() -> Shape {
    shape(&[Start], Create(S, DISK_ONLY))
}
pub fn create_disk_only_running_two_disks() -> Shape {
    two(create_disk_only_running())
}
pub fn create_disk_only_paused() -> Shape {
    shape(&[Start, Tick, Suspend], Create(S, DISK_ONLY))
}
pub fn create_disk_only_halt() -> Shape {
    shape(&[Start], Create(S, DISK_ONLY | HALT))
}
pub fn create_quiesced() -> Shape {
    shape(&[Start], Create(S, DISK_ONLY | QUIESCE))
}
pub fn create_quiesced_two_disks() -> Shape {
    two(create_quiesced())
}
pub fn create_quiesced_halt() -> Shape {
    shape(&[Start], Create(S, DISK_ONLY | QUIESCE | HALT))
}
pub fn create_quiesced_manual() -> Shape {
    two(shape(&[Start], Create(MANUAL, DISK_ONLY | QUIESCE)))
}
pub fn create_disk_only_into_a_callers_empty_file() -> Shape {
    shape(&[Start, Place("/img/mine.qcow2", None)], Create(INTO_EMPTY, DISK_ONLY))
}
pub fn create_disk_only_reusing_an_overlay() -> Shape {
    shape(&[Start, Place("/img/mine.qcow2", Some("/img/vda.qcow2"))], Create(INTO_EMPTY, DISK_ONLY | REUSE_EXT))
}
pub fn create_memory_stopped() -> Shape {
    two(stopped(shape(&[Start], Create(MEM_S, 0))))
}
pub fn create_memory_stopped_halt() -> Shape {
    stopped(shape(&[Start], Create(MEM_S, HALT)))
}
pub fn create_memory_copied_ahead() -> Shape {
    two(stopped(shape(&[Start], Create(MEM_S, LIVE))))
}
pub fn create_memory_paused() -> Shape {
    shape(&[Start, Tick, Suspend], Create(MEM_S, 0))
}
pub fn create_memory_live() -> Shape {
    shape(&[Start], Create(MEM_S, 0))
}
pub fn create_memory_live_two_disks() -> Shape {
    two(create_memory_live())
}
pub fn create_memory_live_into_a_callers_empty_file() -> Shape {
    shape(&[Start, Place("/img/mine.qcow2", None), Place("/img/mine.mem", None)], Create(MEM_INTO_EMPTY, 0))
}
pub fn create_without_metadata() -> Shape {
    shape(&[Start], Create(S, DISK_ONLY | NO_METADATA))
}

// --- rename, and what follows a revert ---
pub fn rename_internal_running() -> Shape {
    shape(&[Start, Tick, Create(S, 0), Create(A, 0)], Rename("s", "x"))
}
pub fn rename_current_external() -> Shape {
    shape(&[Start, Create(MEM_A, 0), Tick, Create(B, DISK_ONLY)], Rename("b", "x"))
}
pub fn revert_to_a_renamed_one() -> Shape {
    two(shape(&[Start, Tick, OFF, Create(S, 0), Rename("s", "x"), Start, Tick, OFF, Create(S, 0)], Revert("x", 0)))
}
pub fn delete_a_renamed_one() -> Shape {
    shape(&[Start, Tick, Create(S, 0), Rename("s", "x"), Tick, Create(S, 0)], Delete("x", 0))
}
pub fn revert_and_discard() -> Shape {
    parts(
        shape(&[Start, Tick, OFF, Create(S, 0), Start, Tick, OFF], RevertThen("s", 0)),
        &[Revert("s", 0), Delete("s", 0)],
    )
}
pub fn revert_and_delete_children() -> Shape {
    parts(
        shape(&[Start, Tick, OFF, Create(A, 0), Create(B, 0)], RevertThen("a", CHILDREN_ONLY)),
        &[Revert("a", 0), Delete("b", 0)],
    )
}

// --- revert ---
pub fn revert_internal_off() -> Shape {
    two(shape(&[Create(S, 0), Start, Tick, OFF], Revert("s", 0)))
}
pub fn revert_internal_off_to_running() -> Shape {
    shape(&[Create(S, 0), Start], Revert("s", RUNNING))
}
pub fn revert_internal_running() -> Shape {
    two(shape(&[Start, Tick, Create(S, 0)], Revert("s", 0)))
}
pub fn revert_internal_running_from_off() -> Shape {
    shape(&[Start, Tick, Create(S, 0), Tick, OFF], Revert("s", 0))
}
pub fn revert_internal_to_paused() -> Shape {
    shape(&[Start, Tick, Create(S, 0)], Revert("s", PAUSED))
}
pub fn revert_disk_only_off() -> Shape {
    shape(&[Start, Create(A, DISK_ONLY), Tick, Create(S, DISK_ONLY), Tick, OFF], Revert("a", 0))
}
pub fn revert_disk_only_running() -> Shape {
    two(shape(&[Start, Create(A, DISK_ONLY), Tick, Create(S, DISK_ONLY)], Revert("a", 0)))
}
pub fn revert_disk_only_to_running() -> Shape {
    shape(&[Start, Create(A, DISK_ONLY), Tick, Create(S, DISK_ONLY)], Revert("a", RUNNING))
}
pub fn revert_disk_only_leaf() -> Shape {
    shape(&[Start, Create(A, DISK_ONLY), Tick, Create(S, DISK_ONLY)], Revert("s", RUNNING))
}
pub fn revert_memory() -> Shape {
    shape(&[Start, Tick, Create(MEM_A, 0), Tick, Create(S, DISK_ONLY)], Revert("a", 0))
}
pub fn revert_memory_two_disks() -> Shape {
    two(revert_memory())
}
pub fn revert_memory_paused() -> Shape {
    shape(&[Start, Tick, Create(MEM_A, 0)], Revert("a", PAUSED))
}
pub fn revert_memory_from_off() -> Shape {
    shape(&[Start, Tick, Create(MEM_A, 0), Tick, OFF], Revert("a", RUNNING))
}
pub fn revert_offline_external() -> Shape {
    shape(&[Create(EXT_OFF, 0), Start], Revert("a", 0))
}

// --- delete ---
pub fn delete_internal_off() -> Shape {
    two(shape(&[Create(A, 0), Create(S, 0)], Delete("a", 0)))
}
pub fn delete_internal_running() -> Shape {
    two(shape(&[Start, Create(A, 0), Create(S, 0)], Delete("a", 0)))
}
pub fn delete_memory_leaf() -> Shape {
    shape(&[Start, Create(A, DISK_ONLY), Tick, Create(MEM_S, 0)], Delete("s", 0))
}
pub fn delete_leaf_off() -> Shape {
    shape(&[Start, Create(A, DISK_ONLY), Tick, Create(S, DISK_ONLY), Tick, OFF], Delete("s", 0))
}
pub fn delete_active_merge() -> Shape {
    shape(&[Start, Create(S, DISK_ONLY)], Delete("s", 0))
}
pub fn delete_active_merge_two_disks() -> Shape {
    two(shape(&[Start, Create(A, DISK_ONLY), Create(S, DISK_ONLY)], Delete("s", 0)))
}
pub fn delete_active_merge_paused() -> Shape {
    shape(&[Start, Create(S, DISK_ONLY), Tick, Suspend], Delete("s", 0))
}
pub fn delete_middle_running() -> Shape {
    two(shape(&[Start, Create(A, DISK_ONLY), Tick, Create(B, DISK_ONLY), Tick, Create(C, DISK_ONLY)], Delete("b", 0)))
}
pub fn delete_middle_off() -> Shape {
    shape(
        &[Start, Create(A, DISK_ONLY), Tick, Create(B, DISK_ONLY), Tick, Create(C, DISK_ONLY), Tick, OFF],
        Delete("b", 0),
    )
}
pub fn delete_first_of_two_off() -> Shape {
    shape(&[Start, Create(A, DISK_ONLY), Tick, Create(B, DISK_ONLY), Tick, OFF], Delete("a", 0))
}
/// a ─┬─ b
///    └─ c (current): what a froze has two overlays.
fn branch(last: Call) -> Vec<Call> {
    let mut calls = vec![Start, Create(A, DISK_ONLY), Tick, Create(B, DISK_ONLY), Tick, Revert("a", RUNNING), Tick];
    calls.extend([Create(C, DISK_ONLY), Tick, last]);
    calls
}
pub fn delete_branch_off() -> Shape {
    shape(&branch(OFF), Delete("b", 0))
}
pub fn delete_branch_running() -> Shape {
    shape(&branch(Tick), Delete("c", 0))
}
/// z ── a ─┬─ b
///         └─ c: a's image is ours, so its content goes up into both overlays.
pub fn delete_parent_of_branch() -> Shape {
    let z = Create("<domainsnapshot><name>z</name></domainsnapshot>", DISK_ONLY);
    let mut calls = vec![Start, z, Tick];
    calls.extend(branch(Tick).into_iter().skip(1));
    shape(&calls, Delete("a", 0))
}
pub fn delete_children() -> Shape {
    let calls = [Start, Create(A, DISK_ONLY), Tick, Create(B, DISK_ONLY), Tick, Create(C, DISK_ONLY)];
    parts(shape(&calls, Delete("b", CHILDREN)), &[Delete("c", 0), Delete("b", 0)])
}
pub fn delete_children_only_running() -> Shape {
    let calls = [Start, Create(A, 0), Tick, Create(B, 0), Tick, Create(C, 0)];
    parts(shape(&calls, Delete("a", CHILDREN_ONLY)), &[Delete("c", 0), Delete("b", 0)])
}
pub fn delete_metadata_only() -> Shape {
    shape(&[Start, Create(A, DISK_ONLY), Tick, Create(B, DISK_ONLY)], Delete("a", METADATA_ONLY))
}

// --- its neighbours ---
pub fn rename_with_snapshots() -> Shape {
    shape(&[Create(A, 0), Start, Tick, Create(MEM_S, 0), Tick, OFF], RenameDomain("other"))
}

// --- mixed sets on QEMU ---
pub fn mixed_create_off() -> Shape {
    two(shape(&[Start, Tick, OFF], Create(TAG_AND_OVERLAY, 0)))
}
pub fn mixed_create_running() -> Shape {
    two(shape(&[Start], Create(TAG_AND_OVERLAY, 0)))
}
pub fn mixed_create_memory_in_a_file() -> Shape {
    two(shape(&[Start], Create(FILE_TAG_AND_OVERLAY, 0)))
}
pub fn mixed_create_memory_beside_tags() -> Shape {
    two(shape(&[Start], Create(FILE_AND_TAGS, 0)))
}
pub fn mixed_create_disk_only_paused() -> Shape {
    two(shape(&[Start, Tick, Suspend], Create(DISKS_TAG_AND_OVERLAY, DISK_ONLY)))
}
pub fn mixed_create_of_one_disk() -> Shape {
    two(shape(&[Start], Create(TAG_OF_ONE, 0)))
}
pub fn mixed_revert_off() -> Shape {
    two(shape(&[Start, Tick, OFF, Create(TAG_AND_OVERLAY, 0), Start, Tick, OFF], Revert("a", 0)))
}
pub fn mixed_revert_running() -> Shape {
    two(shape(&[Start, Tick, Create(TAG_AND_OVERLAY, 0), Tick], Revert("a", 0)))
}
pub fn mixed_revert_memory_in_a_file() -> Shape {
    two(shape(&[Start, Tick, Create(FILE_TAG_AND_OVERLAY, 0), Tick], Revert("a", 0)))
}
pub fn mixed_delete_off() -> Shape {
    two(shape(&[Start, Tick, Create(TAG_AND_OVERLAY, 0), Tick, OFF], Delete("a", 0)))
}
pub fn mixed_delete_running() -> Shape {
    two(shape(&[Start, Tick, Create(FILE_TAG_AND_OVERLAY, 0), Tick], Delete("a", 0)))
}

// --- managed save ---
pub fn managed_save_running() -> Shape {
    two(shape(&[Start], ManagedSave))
}
pub fn managed_save_paused() -> Shape {
    shape(&[Start, Tick, Suspend], ManagedSave)
}
pub fn managed_save_again() -> Shape {
    shape(&[Start, Tick, ManagedSave, Start], ManagedSave)
}
pub fn managed_save_start() -> Shape {
    two(shape(&[Start, Tick, ManagedSave], Start))
}
pub fn managed_save_start_paused() -> Shape {
    shape(&[Start, Tick, Suspend, ManagedSave], Start)
}
pub fn managed_save_boot() -> Shape {
    shape(&[Start, Tick, ManagedSave], Boot)
}
pub fn managed_save_remove() -> Shape {
    shape(&[Start, Tick, ManagedSave], ManagedSaveRemove)
}
pub fn managed_save_snapshot_over_it() -> Shape {
    two(shape(&[Start, Tick, ManagedSave], Create(S, DISK_ONLY)))
}
pub fn managed_save_start_on_an_overlay() -> Shape {
    two(shape(&[Start, Tick, ManagedSave, Create(S, DISK_ONLY)], Start))
}
pub fn managed_save_merge_under_it() -> Shape {
    shape(&[Start, Create(A, DISK_ONLY), Tick, ManagedSave], Delete("a", 0))
}
pub fn managed_save_revert_over_it() -> Shape {
    shape(&[Start, Tick, Create(MEM_A, 0), Tick, ManagedSave], Revert("a", 0))
}
pub fn managed_save_revert_forced() -> Shape {
    shape(&[Start, Create(A, DISK_ONLY), Tick, ManagedSave], Revert("a", FORCE))
}

// --- domains that go with their hypervisor ---
pub fn transient_create() -> Shape {
    two(transient(shape(&[], Create(S, DISK_ONLY))))
}
pub fn transient_create_quiesced() -> Shape {
    transient(shape(&[], Create(S, DISK_ONLY | QUIESCE)))
}
pub fn transient_create_memory() -> Shape {
    transient(shape(&[], Create(MEM_S, 0)))
}
pub fn transient_delete() -> Shape {
    transient(shape(&[Create(A, DISK_ONLY), Tick, Create(S, DISK_ONLY)], Delete("s", 0)))
}

// --- what Xen does differently: memory in a file, saved while the guest runs; each disk in its own way ---
pub fn xen_create_running() -> Shape {
    xen(create_internal_running())
}
pub fn xen_create_paused() -> Shape {
    xen(create_internal_paused())
}
pub fn xen_create_halt() -> Shape {
    xen(create_internal_halt())
}
pub fn xen_create_memory() -> Shape {
    xen(create_memory_stopped())
}
pub fn xen_create_mixed() -> Shape {
    xen(two(shape(&[Start], Create(MIXED, 0))))
}
pub fn xen_create_mixed_off() -> Shape {
    xen(two(shape(&[Start, Tick, OFF], Create(MIXED, 0))))
}
pub fn xen_create_quiesced() -> Shape {
    xen(create_quiesced_two_disks())
}
pub fn xen_revert_running() -> Shape {
    xen(revert_internal_running())
}
pub fn xen_revert_from_off() -> Shape {
    xen(revert_internal_running_from_off())
}
pub fn xen_revert_mixed() -> Shape {
    xen(two(shape(&[Start, Tick, Create(MIXED, 0), Tick], Revert("a", 0))))
}
pub fn xen_revert_to_paused() -> Shape {
    xen(revert_internal_to_paused())
}
pub fn xen_delete_running() -> Shape {
    xen(delete_internal_running())
}
pub fn xen_delete_mixed() -> Shape {
    xen(two(shape(&[Start, Tick, Create(MIXED, 0), Tick], Delete("a", 0))))
}
pub fn xen_delete_memory_leaf() -> Shape {
    xen(delete_memory_leaf())
}
pub fn xen_managed_save() -> Shape {
    xen(managed_save_running())
}
pub fn xen_managed_save_start() -> Shape {
    xen(managed_save_start())
}
pub fn xen_transient_create() -> Shape {
    xen(transient_create())
}

// --- the same with firmware variables ---
pub fn nvram_raw_create_internal_off() -> Shape {
    raw_nvram(create_internal_off())
}
pub fn nvram_qcow2_create_internal_running() -> Shape {
    qcow2_nvram(create_internal_running())
}
pub fn nvram_raw_create_disk_only_running() -> Shape {
    raw_nvram(create_disk_only_running())
}
pub fn nvram_raw_create_memory_live() -> Shape {
    raw_nvram(create_memory_live())
}
pub fn nvram_raw_revert_internal_off() -> Shape {
    one(raw_nvram(revert_internal_off()))
}
pub fn nvram_qcow2_revert_internal_running() -> Shape {
    one(qcow2_nvram(revert_internal_running()))
}
pub fn nvram_raw_revert_disk_only_running() -> Shape {
    one(raw_nvram(revert_disk_only_running()))
}
pub fn nvram_raw_revert_memory() -> Shape {
    raw_nvram(revert_memory())
}
pub fn nvram_qcow2_delete_internal_running() -> Shape {
    qcow2_nvram(delete_internal_running())
}
pub fn nvram_raw_delete_active_merge() -> Shape {
    raw_nvram(delete_active_merge())
}
pub fn nvram_raw_delete_metadata_only() -> Shape {
    raw_nvram(delete_metadata_only())
}
