//! Whole processes: exit statuses, what goes to stderr, signals, inherited sockets, on every server of this build.
//!
//! This binary is both sides: started with `TEST_OF_ADAPTER_PROGRAM` it is a program on the facade, else the tests. Every
//! wait is for an event and has a deadline.

#[cfg(all(unix, feature = "tls"))]
mod certificates;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod clock;
#[cfg(unix)]
mod ends;
#[cfg(unix)]
#[path = "../support/exposition.rs"]
mod exposition;
#[cfg(unix)]
mod listeners;
#[cfg(unix)]
mod metrics;
#[cfg(unix)]
mod operator;
#[cfg(unix)]
mod output;
#[cfg(unix)]
mod program;
#[cfg(unix)]
mod served;
#[cfg(unix)]
mod trust;
#[cfg(unix)]
mod usage;
#[cfg(unix)]
mod websockets;
#[cfg(unix)]
mod workers;

#[cfg(unix)]
mod unix {
    use std::process::ExitCode;

    use libtest_mimic::{Arguments, Failed, Trial};

    use crate::program::PROGRAM;
    use crate::served::{Fragile, Mine, application};
    use crate::{ends, listeners, metrics, operator, output, trust, usage, websockets, workers};

    pub(crate) fn main() -> ExitCode {
        if std::env::var_os(PROGRAM).is_some() {
            return match std::env::var(PROGRAM).as_deref() {
                Ok("macro") => adapter_web::serve!(application),
                Ok("about") => adapter_web::serve!(application, about = "Sells tea"),
                Ok("sleepy") => adapter_web::serve(operator::Sleepy),
                Ok("moody") => adapter_web::serve(workers::Moody),
                Ok("fragile") => adapter_web::serve!(Fragile::new()),
                Ok("added") => {
                    adapter_web::registry::add(&Mine).expect("its name is free");
                    adapter_web::serve(application)
                }
                _ => adapter_web::serve(application),
            };
        }
        let mut trials = vec![
            trial("wrong_use_is_one_line_and_status_2", usage::wrong_use),
            trial("help_version_and_list_go_to_stdout", usage::informational),
            trial("the_macro_tells_the_programs_own_version", usage::own_version),
            trial("a_server_that_was_added_is_known_by_name", usage::added_server),
        ];
        let judged = |judge: &str, trial: Trial| trial.with_ignored_flag(!operator::is_installed(judge));
        trials.push(judged("systemd-analyze", trial("systemd_takes_the_units", operator::units)));
        type Case = (&'static str, fn(&str));
        let cases: &[Case] = &[
            ("a_port_in_use_is_one_line_and_status_1", usage::port_in_use),
            ("an_unknown_option_is_one_line_and_status_2", usage::unknown_option),
            ("sigterm_drains_and_the_port_is_free_at_once", ends::sigterm_drains),
            ("a_second_signal_forces", ends::second_signal),
            ("the_environment_sets_flags", usage::environment),
            ("inherited_sockets_are_served", listeners::inherited),
            ("inherited_sockets_are_found_by_name", listeners::descriptors),
            ("unix_sockets_are_served", listeners::unix_sockets),
            ("the_access_log_is_complete_when_the_program_ends", output::access_log),
            ("an_interrupt_passed_on_is_no_second_one", ends::interrupt_twice),
            ("a_hang_up_reloads_and_ends_nothing", operator::hang_up),
            ("trusted_proxies_are_read_again_at_a_hang_up", trust::again),
            ("what_no_start_would_take_is_not_read_again", trust::refused),
            ("listeners_with_the_proxy_protocol_are_told", trust::told),
            ("trusted_proxies_of_workers_are_read_by_new_ones", trust::of_workers),
            ("quit_stops_at_once", operator::quit),
            ("a_log_that_is_rotated_loses_no_line", operator::rotation),
            ("a_slow_startup_can_be_interrupted", operator::slow_startup),
            ("a_service_manager_is_told", operator::notifies),
            ("the_watchdog_is_fed_while_event_loops_answer", operator::watchdog),
            ("upgrades_lose_no_request", operator::upgrades),
            ("websockets_are_told_of_an_upgrade", websockets::upgrade),
            ("an_upgrade_that_fails_changes_nothing", operator::failed_upgrade),
            ("an_upgrade_that_hangs_ends_with_the_program", operator::hanging_upgrade),
            ("an_upgrade_that_does_not_start_leaves_the_path", operator::upgrade_without_startup),
            ("the_first_signal_behind_an_upgrade_does_not_force", operator::signal_behind_upgrade),
            ("port_and_rust_log_are_honoured", operator::conventions),
            ("a_delay_before_the_drain_serves_on", operator::drain_delay),
            ("metrics_are_told_from_the_start_to_the_end", metrics::life),
            ("metrics_are_told_while_all_threads_are_busy", metrics::busy),
            ("metrics_that_cannot_be_told_are_refused", metrics::misuse),
            ("metrics_are_told_through_upgrades", metrics::upgrade),
            ("workers_all_answer", workers::answers),
            ("an_access_log_of_workers_has_whole_lines", workers::access_log),
            ("a_worker_that_is_full_takes_nobody_from_one_that_is_not", workers::full),
            ("a_worker_that_ends_is_replaced", workers::killed),
            ("a_worker_that_hangs_is_replaced", workers::hanging),
            ("workers_become_more_and_fewer", workers::number_of_them),
            ("workers_and_their_parent_are_replaced_under_load", workers::replaced),
            ("the_first_signal_does_not_force_a_worker_that_was_replaced", workers::signal_behind_replacement),
            ("new_workers_that_do_not_start_change_nothing", workers::not_replaced),
            ("workers_that_do_not_start_say_why_in_one_line", workers::none_starts),
            ("sigterm_ends_all_workers_at_any_time", workers::ends),
            ("workers_end_when_their_parent_is_killed", workers::orphans),
            ("a_service_manager_is_told_by_the_parent_of_workers", workers::managed),
            ("empty_variables_are_not_set", usage::empty_variables),
            ("an_inherited_socket_that_does_not_listen_is_an_error", listeners::inherited_deaf),
            ("a_port_alone_is_every_interface_of_both_families", listeners::every_interface),
            ("localhost_is_both_families_with_one_port", listeners::localhost),
            ("every_interface_of_one_family_is_beside_the_other", listeners::side_by_side),
            ("a_group_that_is_not_known_is_one_line_and_status_1", listeners::unknown_group),
            ("a_stdout_nobody_reads_holds_up_nothing", output::stdout_unread),
            ("many_lines_nobody_reads_hold_up_nothing", output::stdout_unread_by_many),
            ("a_stderr_nobody_reads_holds_up_nothing", output::stderr_unread),
            ("a_successors_socket_is_not_deleted", listeners::successor),
            ("the_longest_times_are_never", usage::longest_times),
            ("limits_that_cannot_be_kept_are_refused", usage::limits_too_large),
            ("an_applications_drop_changes_no_status", ends::fragile),
            ("code_that_blocks_is_told_where_it_is_left_behind", ends::blocking),
            ("tasks_that_never_end_are_told_and_dropped", ends::endless_tasks),
            #[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
            ("a_clock_that_is_set_back_is_followed", crate::clock::set_back),
            #[cfg(feature = "tls")]
            ("certificates_are_read_again_at_a_hang_up", crate::certificates::case),
            #[cfg(feature = "tls")]
            ("certificates_of_workers_are_read_by_new_ones", crate::certificates::of_workers),
            #[cfg(not(feature = "tls"))]
            ("a_build_without_tls_says_so", usage::without_tls),
        ];
        if let Some(server) = adapter_web::registry::names().into_iter().next() {
            let (scraped, read) = (server.clone(), server);
            let prometheus = trial("metrics_are_scraped_by_prometheus", move || metrics::prometheus(&scraped));
            trials.push(judged("prometheus", prometheus));
            trials.push(judged("promtool", trial("promtool_takes_the_page", move || metrics::promtool(&read))));
        }
        for server in adapter_web::registry::names() {
            for &(name, case) in cases {
                let server = server.clone();
                trials.push(trial(&format!("{server}::{name}"), move || case(&server)));
            }
        }
        libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
    }

    fn trial(name: &str, case: impl FnOnce() + Send + 'static) -> Trial {
        Trial::test(name, move || {
            case();
            Ok::<(), Failed>(())
        })
    }
}

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    unix::main()
}

#[cfg(not(unix))]
fn main() {}
