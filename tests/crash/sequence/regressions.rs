//! Sequences that once went wrong, each with its story.

use super::drive::Scene;
use super::op::{CHILDREN_ONLY, DISK_ONLY, Disk, HALT, METADATA_ONLY, Mem, NO_METADATA, Op, REUSE_EXT, RUNNING, Step};
use virsnap::plan::facts::{Capabilities, LiveSave};

const START: Op = Op::Start { paused: false };

fn create(memory: Mem, flags: u32) -> Op {
    Op::Create { disks: [Disk::Unsaid; 2], memory, flags, taken: false }
}

fn create_of(disks: [Disk; 2], flags: u32) -> Op {
    Op::Create { disks, memory: Mem::Unsaid, flags, taken: false }
}

/// Snapshots are named a, b, c, … as they are taken, and chosen by that number.
#[track_caller]
fn play(capabilities: Capabilities, disks: usize, ops: &[Op]) {
    let steps: Vec<Step> = ops.iter().map(|op| Step { op: *op, faults: Vec::new() }).collect();
    if let Err(what) = Scene::new(disks, capabilities, false).play(&steps) {
        panic!("{what}");
    }
}

fn qemu() -> Capabilities {
    Capabilities::qemu(LiveSave::Background)
}

/// The overlay of a snapshot without metadata lay on another of ours: only the top one went.
#[test]
fn a_revert_leaves_no_inner_layer_of_what_is_given_up() {
    play(
        qemu(),
        1,
        &[
            create(Mem::Unsaid, DISK_ONLY),
            create(Mem::Unsaid, DISK_ONLY | NO_METADATA),
            Op::Revert { which: 0, flags: 0 },
        ],
    );
}

/// a's tag is in the image below the overlay in which b's is: going back to a wrote under b.
#[test]
fn an_internal_snapshot_in_an_overlay_keeps_what_its_tag_reads_through() {
    play(
        qemu(),
        1,
        &[
            START,
            create(Mem::Internal, 0),
            create(Mem::Unsaid, DISK_ONLY | REUSE_EXT | NO_METADATA),
            Op::Destroy,
            create(Mem::Unsaid, 0),
            Op::Revert { which: 0, flags: 0 },
            Op::Revert { which: 1, flags: 0 },
        ],
    );
}

/// c excludes vda, which was in another overlay when c was reverted to: it went back to the image that other snapshots
/// are frozen in.
#[test]
fn a_disk_that_an_internal_snapshot_excludes_keeps_its_image() {
    play(
        Capabilities::xen(),
        2,
        &[
            create(Mem::Unsaid, 0),
            create(Mem::Unsaid, DISK_ONLY),
            create_of([Disk::No, Disk::Unsaid], 0),
            Op::Revert { which: 1, flags: RUNNING },
            Op::Tick,
            Op::Revert { which: 2, flags: RUNNING },
        ],
    );
}

/// The overlay that the revert gave up stayed, because the user's own file lies on it; it was on record nowhere, and the
/// delete merged the other overlay into the image below both.
#[test]
fn nothing_is_merged_beneath_what_a_users_file_lies_on() {
    play(
        qemu(),
        1,
        &[
            START,
            create(Mem::External, 0),
            create(Mem::Unsaid, DISK_ONLY | REUSE_EXT | NO_METADATA),
            Op::Revert { which: 0, flags: RUNNING },
            Op::Tick,
            Op::Delete { which: 0, flags: 0 },
        ],
    );
}

/// b's metadata is given up, its tag is still in a's overlay.
#[test]
fn nothing_is_merged_beneath_a_snapshot_whose_metadata_was_given_up() {
    play(
        qemu(),
        1,
        &[
            create(Mem::Unsaid, DISK_ONLY | HALT),
            create(Mem::Unsaid, 0),
            Op::Revert { which: 0, flags: RUNNING },
            Op::Delete { which: 1, flags: METADATA_ONLY },
            Op::Delete { which: 0, flags: 0 },
        ],
    );
}

/// The overlay with the tag that has no metadata stayed, and named a layer that was merged away.
#[test]
fn what_lies_on_a_merged_layer_is_told() {
    play(
        qemu(),
        1,
        &[
            START,
            create(Mem::External, 0),
            create(Mem::Unsaid, 0),
            create(Mem::External, NO_METADATA),
            create(Mem::Unsaid, NO_METADATA),
            Op::Revert { which: 0, flags: 0 },
            Op::Revert { which: 1, flags: 0 },
            Op::Delete { which: 1, flags: 0 },
            Op::Delete { which: 0, flags: 0 },
        ],
    );
}

/// a leaves vdb to the user; the revert to it wrote into the image on which the overlay lies that holds b.
#[test]
fn a_disk_that_is_left_to_the_user_is_not_written_to_beneath_others() {
    play(
        Capabilities::xen(),
        2,
        &[
            create_of([Disk::Unsaid, Disk::Manual], 0),
            create(Mem::Unsaid, DISK_ONLY),
            Op::Delete { which: 0, flags: CHILDREN_ONLY },
            create(Mem::Unsaid, 0),
            Op::Revert { which: 0, flags: RUNNING },
            Op::Revert { which: 1, flags: 0 },
        ],
    );
}
