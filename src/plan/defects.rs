//! What is wrong with libvirt's snapshots (version 11.3, QEMU driver), what virsnap does there, and the test
//! that shows it. Comments name a row as `K7`. `tests/defects.rs` fails if a test named here does not exist.
//!
//! Documentation only; the rules themselves are at their planners.
//!
//! # The daemon dies
//!
//! | | libvirt | virsnap | shown by |
//! |-|-|-|-|
//! | K1 | dies on a revert to an external snapshot while none is current | reverts | `an_external_snapshot_is_reverted_to_while_none_is_current` |
//! | K2 | dies on a snapshot with `<domain>` and without `<disks>` | aligns every redefinition with its domain, and takes none without one | `a_redefined_snapshot_that_lists_no_disks_is_reverted_to_and_deleted`, `a_revert_to_a_snapshot_without_a_domain_wants_force` |
//!
//! # Data is lost or wrong
//!
//! | | libvirt | virsnap | shown by |
//! |-|-|-|-|
//! | K3 | a revert removes the overlay of the current snapshot, needed or not | removes a file only when nothing refers to it, by all records and by the images themselves | `a_revert_keeps_every_image_that_a_snapshot_needs`, `an_image_that_somebody_elses_overlay_needs_is_not_written` |
//! | K4 | a delete of external disks that was interrupted can never be ended | the journal says how far it came; the next start goes on | `delete_active_merge_two_disks`, `delete_middle_off` |
//! | K5 | reverts to a snapshot whose frozen image is being overwritten | the mark is on that snapshot, and the revert is refused | `a_snapshot_whose_deletion_was_begun_is_not_reverted_to` |
//! | K6 | a failed delete leaves some disks merged and the snapshot listed as good | a delete goes forward only: a failure leaves it open, marked, and the next call ends it | `delete_active_merge_two_disks`, `a_step_that_waits_ends_when_the_guest_dies` |
//! | K7 | overlays of other branches are moved to their new backing file after the old one is gone, unchecked | they move first, as steps of the plan | `a_base_that_two_branches_need_is_pulled_up_or_stays`, `delete_parent_of_branch` |
//! | K8 | two disks may get one overlay | refused | `what_cannot_be_is_refused_with_libvirts_words`, `snapshot_documents_that_make_no_sense_are_refused` |
//! | K9 | reverts to an internal snapshot beneath an external one, writing into the overlay's base | refused until nothing lies on the image | `an_internal_snapshot_beneath_an_external_one_is_not_reverted_to`, `an_external_parent_of_an_internal_child_keeps_the_childs_image` |
//! | K10 | stops the guest and then finds that the revert is impossible | checks first | `what_can_be_checked_is_checked_while_the_guest_still_runs`, `a_missing_image_is_found_before_anything_is_done`, `a_missing_or_damaged_memory_file_stops_no_guest` |
//! | K11 | an old managed-save image survives a revert and comes back at the next start | the image goes with the state that is given up | `an_image_does_not_outlive_a_revert` |
//! | K12 | NVRAM and TPM are left out, silently | they belong to the snapshot | `side_state_goes_with_every_kind_of_snapshot`, `a_tpm_goes_back_with_its_machine`, `an_nvram_is_reset_by_a_start_or_a_revert_that_asks_for_it` |
//! | K13 | revert and delete leave checkpoints that no longer match | bitmaps follow the disks; checkpoints do not exist over D-Bus | `bitmaps_go_on_in_the_overlay` |
//!
//! # Half done
//!
//! | | libvirt | virsnap | shown by |
//! |-|-|-|-|
//! | K14 | writes its metadata last, in several files | one database transaction; what could fail is reserved before a disk is switched | `a_full_state_directory_loses_no_snapshot_and_no_file`, `a_change_is_made_whole_or_not_at_all`, `a_full_disk_stops_the_snapshot_and_not_the_guest` |
//! | K15 | finds out late that a name is too long or no QEMU id | takes any name up to its limit, which is checked first; ids are never made from names | `any_legal_name_works_in_any_kind`, `snapshot_documents_that_make_no_sense_are_refused` |
//! | K16 | a failed thaw makes a snapshot that exists an error | the snapshot stands, and the thaw is repeated until it is answered | `an_agent_that_hangs_or_is_gone_hangs_nobody`, `create_quiesced_two_disks` |
//! | K17 | definition and file part ways when a save fails; an empty file of the caller's is lost track of | both change in one transaction; such a file is there again, empty | `create_disk_only_off`, `create_disk_only_into_a_callers_empty_file` |
//! | K18 | overwrites a memory file | refused | `a_memory_file_that_is_there_is_not_overwritten` |
//! | K19 | any damage to one file loses `current` | one column of one database | `everything_is_there_after_a_reopen`, `redefine_restores_forgotten_metadata_and_current_chooses` |
//! | K20 | leaves a paused guest and half-made files after a restart | undoes what was begun, or ends it | `a_long_save_cut_by_kill_9_is_undone_or_done`, `create_internal_running` |
//! | K21 | overlays of a revert are named by the second | a taken name gets a counter | `reverts_within_one_second_do_not_meet`, `reverting_to_every_kind` |
//!
//! # Not possible
//!
//! | | libvirt | virsnap | shown by |
//! |-|-|-|-|
//! | K22 | refuses to delete most external snapshots that are not leaves | deletes any | `deleting_in_every_place_of_a_chain`, `delete_children_takes_the_whole_branch`, `a_long_chain_is_reverted_through_and_merged_from_any_place` |
//! | K23 | boots a machine that is off to merge its images, and tells of it | merges with qemu-img, telling nothing | `a_deletion_while_off_starts_nothing_and_tells_nothing` |
//! | K24 | a revert gives a disc an overlay, and refuses drives that are no files | leaves read-only disks and empty drives alone | `a_disc_in_the_drive_gets_no_overlay_from_a_revert` |
//! | K25 | no internal disks beside external ones | refused likewise on QEMU, where clients test for it, unless the document has `<virsnap:mixed/>`; Xen takes them | `a_raw_disk_gets_an_overlay_beside_a_qcow2_disk_with_a_tag`, `memory_lies_in_a_file_beside_disks_with_tags`, `the_disks_of_a_running_guest_are_tagged_without_its_memory`, `only_some_of_the_disks_go_back`, `creating_and_reverting_on_xen` |
//! | K26 | a `manual` disk's file may lack what QEMU has not flushed; a snapshot of manual disks alone is refused | the file is whole while the guest stands still; refused likewise | `the_image_of_a_manual_disk_is_whole_while_the_guest_stands_still` |
//! | K27 | a rename leaves memory snapshots that cannot be reverted to | the tree goes with the domain, and so does every definition in it | `the_tree_goes_with_the_domain_and_reverts` |
//! | K28 | no events of snapshots, and reads time out during a long save | our own interface tells of every snapshot and of progress; reads never wait for an operation | `reads_do_not_wait_for_a_long_save_and_other_guests_go_on`, `a_renamed_snapshot_reverts_and_goes_as_before_and_all_is_told` |
//! | K29 | every revert starts a new QEMU, whose displays and channels are lost to their clients | stays in the QEMU that runs where the machine is the same | `a_revert_to_the_same_machine_stays_in_its_qemu`, `another_machine_gets_a_new_qemu` |
//! | K30 | a machine cannot move with its snapshots | it moves by dump and redefinition, and every state reverts there | `a_moved_tree_is_the_same_and_every_state_reverts_at_the_destination`, `internal_snapshots_move_too`, `undefine_with_snapshots_needs_the_flag_and_keeps_the_images`, `a_domain_with_snapshots_does_not_migrate` |
//! | K31 | a redefinition is believed | likewise, as clients repair trees by it; but what it says is checked before anything is done by it | `a_snapshot_redefined_as_what_it_is_not_is_refused_and_loses_nothing`, `verify_finds_what_is_missing_and_what_a_redefinition_only_names` |
//! | K32 | tags that it does not know are in its way; a number is taken for an id | looks for both; tags are named to QEMU as names only | `a_name_is_taken_once`, `a_tag_whose_name_is_another_tags_id_is_not_mistaken` |
//! | K33 | `LEAVES` with `NO_LEAVES` lists nothing; a parent may be named that does not exist | lists everything; such a parent is none | `list_filters_choose_as_documented`, `a_parent_is_one_that_exists_or_none` |
//! | K34 | loads any file, but none of more than 1 MiB, and writes bytes that do not parse again | a database; what is taken is read again | `a_large_snapshot_outlives_a_restart`, `a_file_that_is_no_database_is_named_in_the_error` |
//! | K35 | overlays made while off can be read by everybody (CVE-2025-13193) | mode 0600 | `what_a_snapshot_makes_is_nobody_elses_to_read` |
//! | K36 | believes `<privateData>` of a caller; `ATOMIC` means nothing | drops it; every switch of disks is atomic | `what_only_the_daemon_may_say_is_not_believed`, `atomic_is_a_promise_that_is_always_kept`, `disks_are_switched_all_or_none` |
//! | K37 | an unlisted disk that its domain wants external gives an error about mixing | the same words, before anything is done | `a_disk_that_its_domain_wants_external_is_refused_before_anything_is_done` |
//! | K38 | libvirt-dbus reads past a short path; four slow calls block all others | paths are parsed; calls wait for their own domain only | `a_path_that_is_too_short_is_an_error_and_nothing_more`, `a_flood_of_calls_is_answered_call_by_call` |
//! | K39 | its test driver has rules of its own | the simulator has the planner of the real hosts | `every_kind_of_snapshot_is_taken_reverted_to_and_deleted_with_the_events_of_qemu` |
//! | K40 | a revert of several disks that are off goes on over a failure and ends half done | goes forward until all are back | `revert_internal_off` |
//! | K41 | a create hangs when its QEMU is killed | ends with an error in the world before | `a_qemu_that_dies_in_the_middle_leaves_the_before_world`, `a_step_that_waits_ends_when_the_guest_dies` |
