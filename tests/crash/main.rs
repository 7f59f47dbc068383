//! The exhaustive crash test: every operation, cut at every smallest part of every effect, and
//! again at every part of what follows. Each schedule must end exactly in the world before the
//! operation or in the world after it. The same with a Destroy that comes into it anywhere.
//!
//! ```text
//!   set up ─► picture ─► operation, faults at n (and m) ─► new daemons until one is idle ─► check
//! ```
//!
//! A picture is what the store says and what the files hold; the check compares both, asks the
//! guests what they have flushed, and then takes the power away and asks again.
//! `CRASH_ONLY=<part of a shape's name>` runs some; `CRASH_AT=n,kind[;m,kind]` runs one schedule
//! and prints what happened. `CRASH_FULL=1` pairs every fault with every other.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod check;
mod machine;
mod picture;
mod schedule;
mod sequence;
mod shapes;

macro_rules! shapes {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            schedule::explore(stringify!($name), shapes::$name());
        }
    )* };
}

shapes! {
    create_internal_off
    create_internal_off_two_disks
    create_internal_running
    create_internal_paused
    create_internal_halt
    create_disk_only_off
    create_disk_only_running
    create_disk_only_running_two_disks
    create_disk_only_paused
    create_disk_only_halt
    create_quiesced
    create_quiesced_two_disks
    create_quiesced_halt
    create_quiesced_manual
    create_disk_only_into_a_callers_empty_file
    create_disk_only_reusing_an_overlay
    create_memory_stopped
    create_memory_stopped_halt
    create_memory_copied_ahead
    create_memory_paused
    create_memory_live
    create_memory_live_two_disks
    create_memory_live_into_a_callers_empty_file
    create_without_metadata
    rename_internal_running
    rename_current_external
    revert_to_a_renamed_one
    delete_a_renamed_one
    revert_and_discard
    revert_and_delete_children
    revert_internal_off
    revert_internal_off_to_running
    revert_internal_running
    revert_internal_running_from_off
    revert_internal_to_paused
    revert_disk_only_off
    revert_disk_only_running
    revert_disk_only_to_running
    revert_disk_only_leaf
    revert_memory
    revert_memory_two_disks
    revert_memory_paused
    revert_memory_from_off
    revert_offline_external
    delete_internal_off
    delete_internal_running
    delete_memory_leaf
    delete_leaf_off
    delete_active_merge
    delete_active_merge_two_disks
    delete_active_merge_paused
    delete_middle_running
    delete_middle_off
    delete_first_of_two_off
    delete_branch_off
    delete_branch_running
    delete_parent_of_branch
    delete_children
    delete_children_only_running
    delete_metadata_only
    rename_with_snapshots
    mixed_create_off
    mixed_create_running
    mixed_create_memory_in_a_file
    mixed_create_memory_beside_tags
    mixed_create_disk_only_paused
    mixed_create_of_one_disk
    mixed_revert_off
    mixed_revert_running
    mixed_revert_memory_in_a_file
    mixed_delete_off
    mixed_delete_running
    managed_save_running
    managed_save_paused
    managed_save_again
    managed_save_start
    managed_save_start_paused
    managed_save_boot
    managed_save_remove
    managed_save_snapshot_over_it
    managed_save_start_on_an_overlay
    managed_save_merge_under_it
    managed_save_revert_over_it
    managed_save_revert_forced
    xen_managed_save
    xen_managed_save_start
    transient_create
    transient_create_quiesced
    transient_create_memory
    transient_delete
    nvram_raw_create_internal_off
    nvram_qcow2_create_internal_running
    nvram_raw_create_disk_only_running
    nvram_raw_create_memory_live
    nvram_raw_revert_internal_off
    nvram_qcow2_revert_internal_running
    nvram_raw_revert_disk_only_running
    nvram_raw_revert_memory
    nvram_qcow2_delete_internal_running
    nvram_raw_delete_active_merge
    nvram_raw_delete_metadata_only
    xen_create_running
    xen_create_paused
    xen_create_halt
    xen_create_memory
    xen_create_mixed
    xen_create_mixed_off
    xen_create_quiesced
    xen_revert_running
    xen_revert_from_off
    xen_revert_mixed
    xen_revert_to_paused
    xen_delete_running
    xen_delete_mixed
    xen_delete_memory_leaf
    xen_transient_create
}
