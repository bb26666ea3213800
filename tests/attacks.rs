//! Attacks, each built from the bad object itself and driven through the program, with a twin that is the same but for the fault and
//! is accepted. Each checks the error's code, the exit status, and that nothing has moved: neither a registry's references nor a user's
//! trust, settings, memory and folders. What a proposal asks for is refused with exit status 8, what a reader meets with that of its code.
//!
//! | case | code | test |
//! |---|---|---|
//! | unknown key | `unauthorized` | `logs::a_key_that_the_log_does_not_know_appends_nothing` |
//! | key without the privilege; grant of what one does not hold | `unauthorized` | `logs::a_key_without_the_privilege_appends_nothing_of_that_kind`, `logs::nobody_grants_what_they_do_not_hold` |
//! | denied key, also with a time before the denial | `unauthorized` | `logs::a_denied_key_appends_nothing_whatever_time_it_writes`, `logs::a_denied_key_gains_nothing_by_a_record_of_a_time_before_the_denial` |
//! | time earlier than the record before; more than a day ahead | `bad-record` | `logs::a_backdated_record_is_refused_and_a_late_one_of_the_same_time_is_not`, `logs::a_record_more_than_a_day_ahead_is_refused`, `logs::a_record_let_in_by_a_wrong_clock_does_not_keep_later_ones_out` |
//! | whole log under another name; record of another registry | `wrong-log` | `logs::a_whole_log_under_another_name_is_refused`, `logs::a_record_of_another_registry_is_refused` |
//! | log of a registry of the same name and another id | `wrong-registry`, `id-mismatch` | `logs::a_log_for_a_registry_of_the_same_name_and_another_id_is_refused`, `registry::a_log_without_its_denial_does_not_come_in_by_a_namesake_of_its_registry` |
//! | first record replaced | `anchor-mismatch`; `fork` by memory | `logs::a_first_record_that_was_replaced_does_not_hold_the_anchor` |
//! | another log proposed for a name | `name-taken` | `logs::a_proposal_with_another_first_record_does_not_take_a_name` |
//! | dropped name registered anew without a reset | `name-taken` by audit; `fork` by memory | `logs::an_audit_finds_a_dropped_name_that_began_anew_without_a_reset`, `logs::a_dropped_name_does_not_begin_anew_for_who_knows_it` |
//! | reset on record | `wrong-log` by memory; accepted by others | `registry::a_reset_of_a_name_is_on_record_and_who_saw_the_old_log_is_told` |
//! | unsigned commit | `unsigned` | `logs::an_unsigned_commit_in_a_chain_is_refused` |
//! | merge commit; gap; old record as a new tip | `broken-chain` | `logs::a_merge_commit_in_a_chain_is_refused`, `logs::a_gap_in_a_chain_is_refused` |
//! | proposal of another form | `not-canonical` | `logs::a_proposal_that_is_not_of_the_one_form_is_refused` |
//! | version released again, also after a yank | `already-released` | `logs::a_version_is_released_once_and_stays_so_after_a_yank`, `logs::publishing_a_version_again_is_refused_before_anything_is_sent` |
//! | yank of what was never released | `not-released` | `logs::what_was_never_released_is_not_yanked` |
//! | last key with `auth` denied | `last-owner` | `logs::the_last_key_with_auth_is_not_denied` |
//! | registration under a listed policy | `unauthorized` | `logs::under_a_listed_policy_only_listed_keys_register_names`, `logs::publishing_under_a_listed_policy_is_refused_before_anything_is_sent`, `logs::a_name_that_was_registered_under_an_open_policy_stays_so` |
//! | first record by none of the first keys | `unauthorized` | `logs::a_signer_who_is_not_among_the_first_keys_begins_nothing` |
//! | operator signs a release | `unauthorized` | `logs::an_operator_does_not_sign_for_an_owner` |
//! | checkpoint by a denied operator who names older operators, or by none | `unauthorized` | `registry::a_denied_operator_makes_no_checkpoint_by_naming_older_operators`, `registry::somebody_who_is_no_operator_makes_no_checkpoint` |
//! | disowned checkpoint | `unauthorized` | `registry::a_disowned_checkpoint_is_not_the_last_word` |
//! | registry of another name | `wrong-registry` | `registry::a_registry_of_another_name_is_not_the_one_that_was_meant` |
//! | fork that does not stand on what it names, or on a forged chain | `bad-origin` | `registry::a_fork_stands_on_the_record_that_it_names`, `registry::a_fork_of_a_forged_chain_is_refused_and_a_reader_refuses_it_too` |
//! | anchor that only the origin holds | `anchor-mismatch` | `registry::an_anchor_that_only_the_origin_holds_is_none_of_the_fork` |
//! | reference deleted; record lost | `ref-missing` | `registry::a_deleted_reference_is_missing_and_not_unknown`, `registry::a_registry_without_its_own_log_says_so`, `registry::a_map_that_names_what_is_not_there_is_refused` |
//! | reference rewound | `rollback` | `registry::a_reference_behind_the_map_is_a_rollback` |
//! | sibling history of a package | `fork`, with evidence | `registry::a_reference_beside_the_map_is_a_fork_and_both_records_are_kept`, `registry::a_package_log_that_went_back_or_aside_is_caught_by_memory`, `registry::an_audit_finds_a_log_that_went_aside` |
//! | checkpoint or operators behind the remembered ones | `rollback` | `registry::a_checkpoint_behind_the_remembered_one_is_a_rollback`, `registry::operators_behind_the_remembered_ones_are_a_rollback` |
//! | same seq, other digest; history beside the remembered one | `fork`, with evidence | `registry::another_checkpoint_of_the_same_seq_is_a_fork`, `registry::a_history_beside_the_remembered_one_is_a_fork_however_long_it_is` |
//! | expired checkpoint | `stale` | `registry::an_expired_checkpoint_is_stale_and_what_is_here_stays_usable` |
//! | head beyond the map | ignored | `registry::a_head_beyond_the_map_is_not_published_yet_and_is_ignored`, `registry::a_log_beyond_the_map_that_is_forged_changes_nothing_either` |
//! | log that no map holds | `not-published` | `registry::a_log_that_no_map_holds_is_not_published` |
//! | `refs/replace`, grafts, shallow, alternates, commit-graph | ignored; a host that holds objects back is `corrupt-object` | `registry::what_git_would_believe_instead_of_objects_changes_no_verdict` |
//! | object that is not what its id says | `corrupt-object` | `registry::a_damaged_object_is_noticed` |
//! | `packages`, `changes`, skip links that lie | `bad-map`, `broken-chain` | `registry::a_checkpoint_that_lies_about_its_map_is_found`, `registry::skip_links_that_lead_elsewhere_are_found`, `registry::a_checkpoint_out_of_its_place_is_found` |
//! | map of another shape | `bad-map` | `registry::a_map_of_another_shape_is_found` |
//! | another log where the registry log is expected | `wrong-log` | `registry::an_acceptor_does_not_build_on_a_map_that_lies` |
//! | the same for a large map or a long log, of which only parts are fetched | `bad-map`, `rollback`, `fork` | `narrow::what_went_back_or_aside_is_found_in_a_large_map_too`, `narrow::a_tree_on_the_way_that_is_another_one_is_found`, `narrow::a_folder_that_is_split_for_ever_comes_to_an_end`, `narrow::a_fork_far_back_is_found_by_who_was_away`, `narrow::a_skip_link_that_leads_elsewhere_takes_nobody_along` |
//! | map that hides a package, lacks a tree, or has another number of packages than it says | `not-published`, `ref-missing`; found by audit alone | `narrow::a_package_that_the_map_hides_is_said_not_to_be_published`, `narrow::a_tree_of_the_map_that_the_server_lacks_is_named`, `narrow::a_number_of_packages_that_lies_costs_little_and_changes_nothing` |
//! | takedown; decisions that go away | `taken-down`; `rollback` | `registry::what_was_taken_down_is_not_handed_out` |
//! | decisions by others, or about another log | `unauthorized`, `wrong-log` | `registry::only_operators_decide_and_only_about_the_log_that_the_name_has` |
//! | paths, links, submodules, `.git` in disguise, devices, clashes, nested repositories, bad `.gitmodules` | `bad-contents`, `limit` | `contents::no_path_that_could_do_harm_comes_in`, `contents::no_path_that_could_do_harm_goes_out`, `contents::near_twins_of_harmful_paths_come_in`, `contents::a_folder_with_a_link_out_of_it_is_not_published` |
//! | trees that git would not write | `bad-contents` | `contents::trees_that_no_git_would_write_are_refused` |
//! | trees without end, too many files | `limit` | `contents::a_tree_that_unfolds_without_end_is_refused_at_once` |
//! | 300 MiB of zeros, with 96 MiB of memory | `limit` | `contents::a_huge_file_is_refused_before_it_is_held` |
//! | wrong bytes for a digest | `content-mismatch` | `contents::other_bytes_than_a_release_names_do_not_come_in`, `contents::other_bytes_than_a_release_names_do_not_go_out`, `contents::a_release_whose_own_tree_is_not_what_it_says_does_not_go_out` |
//! | extra or missing folder in a proposal | `bad-contents` | `contents::a_proposal_holds_the_folders_of_its_new_releases_and_no_other` |
//! | memory cut off, changed or deleted | `state-lost` | `client::a_damaged_memory_is_an_error_and_no_new_beginning`, `client::a_deleted_memory_is_an_error_and_no_new_beginning`, `client::trusting_again_does_not_forget_what_was_seen` |
//! | registry that nobody trusts yet | `not-trusted`, `id-mismatch`, `wrong-registry` | `client::an_unknown_registry_is_not_trusted_by_itself` |
//! | terminal escapes in texts, paths, arguments, words of a git server | escaped | `client::nothing_from_a_registry_moves_the_cursor`, `client::nothing_in_an_error_moves_the_cursor`, `client::nothing_that_a_git_server_says_moves_the_cursor` |
//! | proposal under a name that is none of ours | removed, `corrupt-object` | `client::a_proposal_under_a_name_that_is_none_of_ours_says_nothing` |
//! | two publishers at once | `conflict`, `already-released`, `name-taken` | `client::two_publishers_at_once_do_not_lose_each_others_work` |
//! | hostile names and URLs | `bad-name`, `bad-version`, `bad-reference`, `bad-url` | `client::hostile_names_on_the_command_line_are_no_names`, `client::hostile_urls_start_no_program` |
//! | target folder that is there, or a link | `exists` | `client::a_folder_that_is_there_is_not_written_over` |
//! | configuration and hooks of the repository that is read | ignored | `client::the_configuration_of_the_repository_that_is_read_starts_nothing` |
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::type_complexity)]

#[path = "attacks/client.rs"]
mod client;
#[path = "attacks/contents.rs"]
mod contents;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "attacks/logs.rs"]
mod logs;
#[path = "attacks/mirrors.rs"]
mod mirrors;
#[path = "attacks/narrow.rs"]
mod narrow;
#[path = "attacks/registry.rs"]
mod registry;
#[path = "support/relay.rs"]
mod relay;
#[path = "attacks/scene.rs"]
mod scene;
