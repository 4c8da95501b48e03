//! What a broken server does when it starts and stops, and what it configures wrongly.

use std::net::SocketAddr;
use std::time::Duration;

use adapter_core::{
    Application, Bind, DynApplication, Limits, ListenAddr, ServeError, Server, ServerConfig, ServerHandle,
    ShutdownTrigger,
};

use adapter_core::server::InheritedSocket;

use crate::fault::{Base, Fault};

/// For ever, as far as a test can tell.
const LONG: Duration = Duration::from_secs(3600);

/// The first call of the trigger does nothing.
fn needing_two_calls(
    server: &dyn Server,
    application: DynApplication,
    config: ServerConfig,
) -> Result<ServerHandle, ServeError> {
    let handle = server.start(application, config)?;
    let (inner, outer) = (handle.trigger(), ShutdownTrigger::new());
    let watched = outer.clone();
    std::thread::spawn(move || {
        let forced = watched.reached(adapter_core::server::ShutdownLevel::Forced);
        futures_lite::future::block_on(forced);
        inner.force();
    });
    Ok(ServerHandle::new(handle.local_addrs().to_vec(), outer, move || handle.wait()))
}

pub(crate) static FAULTS: &[Fault] = &[
    Fault::new("startup_comes_late", &["lifespan::startup_comes_first", "lifespan::failing_startup_is_an_error"])
        .startup(|application, info| {
            Box::pin(async move {
                std::thread::spawn(move || futures_lite::future::block_on(application.startup(&info)));
                Ok(())
            })
        }),
    Fault::new(
        "startup_errors_are_ignored",
        &["lifespan::failing_startup_is_an_error", "lifespan::panicking_startup_is_an_error"],
    )
    .startup(|application, info| {
        Box::pin(async move {
            let mut startup = Box::pin(application.startup(&info));
            let poll = std::future::poll_fn(|cx| {
                let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| startup.as_mut().poll(cx)));
                polled.unwrap_or(std::task::Poll::Ready(Ok(())))
            });
            let _ = poll.await;
            Ok(())
        })
    }),
    Fault::new(
        "hooks_are_forgotten",
        &[
            "lifespan::state_of_startup_is_visible",
            "lifespan::address_is_known",
            "lifespan::shutdown_hook_comes_last",
            "lifespan::failing_shutdown_is_reported",
            "lifespan::hooks_run_once",
            "concurrency::one_application",
        ],
    )
    .startup(|_, _| Box::pin(async { Ok(()) }))
    .shutdown(|_| Box::pin(async { Ok(()) })),
    Fault::new("inherited_listeners_are_deaf", &["inherited::listeners_are_served"]).start(
        |server, application, mut config| {
            let (mut deaf, mut addresses) = (Vec::new(), Vec::new());
            for bind in &mut config.binds {
                if let Bind::Inherited(listener) = bind {
                    if let Some(InheritedSocket::Tcp(socket)) = listener.take() {
                        addresses.extend(socket.local_addr());
                        deaf.push(socket);
                    }
                    *bind = Bind::Tcp(([127, 0, 0, 1], 0).into());
                }
            }
            let count = addresses.len();
            let handle = server.start(application, config)?;
            let known =
                addresses.into_iter().map(ListenAddr::Tcp).chain(handle.local_addrs().iter().skip(count).cloned());
            let (known, trigger) = (known.collect(), handle.trigger());
            Ok(ServerHandle::new(known, trigger, move || {
                let _open = deaf;
                handle.wait()
            }))
        },
    ),
    Fault::new("inherited_paths_are_removed", &["inherited::unix_listeners_are_served"]).on(Base::Hyper).start(
        |server, application, config| {
            let inherited = config.binds.iter().any(|bind| matches!(bind, Bind::Inherited(_)));
            let handle = server.start(application, config)?;
            let (addresses, trigger) = (handle.local_addrs().to_vec(), handle.trigger());
            Ok(ServerHandle::new(addresses.clone(), trigger, move || {
                let outcome = handle.wait();
                for address in addresses.iter().filter(|_| inherited) {
                    if let ListenAddr::Unix(path) = address {
                        let _ = std::fs::remove_file(path);
                    }
                }
                outcome
            }))
        },
    ),
    Fault::new("hooks_run_for_each_thread", &["lifespan::hooks_run_once"]).startup(|application, info| {
        Box::pin(async move {
            application.startup(&info).await?;
            application.startup(&info).await
        })
    }),
    Fault::new("drop_of_the_application_is_not_contained", &["lifespan::drop_of_the_application_is_contained"]).start(
        |server, application, config| {
            let handle = server.start(application.clone(), config)?;
            let (addrs, trigger) = (handle.local_addrs().to_vec(), handle.trigger());
            Ok(ServerHandle::new(addrs, trigger, move || {
                let outcome = handle.wait();
                drop(application);
                outcome
            }))
        },
    ),
    Fault::new("shutdown_hook_comes_first", &["lifespan::shutdown_hook_comes_last"]).start(
        |server, application, config| {
            let handle = server.start(application.clone(), config)?;
            let trigger = handle.trigger();
            std::thread::spawn(move || {
                trigger.draining().wait();
                futures_lite::future::block_on(application.shutdown())
            });
            Ok(handle)
        },
    ),
    Fault::new(
        "addresses_are_as_configured",
        &["lifespan::address_is_known", "lifespan::several_addresses_are_served"],
    )
    .start(|server, application, config| {
        let handle = server.start(application, config)?;
        let (trigger, told) = (handle.trigger(), vec![ListenAddr::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))]);
        Ok(ServerHandle::new(told, trigger, move || handle.wait()))
    }),
    Fault::new("taken_addresses_are_replaced", &["lifespan::bind_failure_is_an_error"]).start(
        |server, application, mut config| match server.start(application.clone(), config.clone()) {
            Err(ServeError::Bind { .. }) => {
                config.binds = vec![Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))];
                server.start(application, config)
            }
            other => other,
        },
    ),
    Fault::new("unusable_settings_are_ignored", &["lifespan::unusable_settings_are_errors"]).config(|config| {
        config.options.clear();
        config.threads = None;
        config.timeouts.header_read = None;
    }),
    Fault::new(
        "nothing_is_drained",
        &[
            "shutdown::requests_in_flight_complete",
            "shutdown::who_was_there_is_served",
            "shutdown::who_was_answered_just_now_is_served",
            "shutdown::who_is_in_the_middle_of_a_head_is_served",
        ],
    )
    .config(|config| config.timeouts.graceful_shutdown = Duration::ZERO),
    Fault::new(
        "there_is_no_deadline",
        &[
            "shutdown::deadline_forces",
            "shutdown::blocked_application_does_not_block_the_end",
            "disconnect::deadline_is_a_disconnect",
        ],
    )
    .config(|config| config.timeouts.graceful_shutdown = LONG),
    Fault::new("second_trigger_is_ignored", &["shutdown::second_trigger_forces"]).start(
        |server, application, config| {
            let handle = server.start(application, config)?;
            let (inner, outer) = (handle.trigger(), ShutdownTrigger::new());
            let watched = outer.clone();
            std::thread::spawn(move || {
                watched.draining().wait();
                inner.trigger();
            });
            Ok(ServerHandle::new(handle.local_addrs().to_vec(), outer, move || handle.wait()))
        },
    ),
    Fault::new(
        "trigger_needs_two_calls",
        &[
            "shutdown::idle_connections_close",
            "shutdown::fresh_connections_close",
            "shutdown::half_requests_close",
            "shutdown::trigger_works_in_a_handler",
            "shutdown::accepting_stops",
            "shutdown::application_sees_the_shutdown",
        ],
    )
    .start(needing_two_calls),
    Fault::new("http2_trigger_needs_two_calls", &["shutdown::deaf_http2_clients_close"])
        .on(Base::Hyper)
        .start(needing_two_calls),
    Fault::new("wait_does_not_wait", &["shutdown::nothing_is_left", "lifespan::failing_shutdown_is_reported"]).start(
        |server, application, config| {
            let handle = server.start(application, config)?;
            let trigger = handle.trigger();
            Ok(ServerHandle::new(handle.local_addrs().to_vec(), trigger.clone(), move || {
                trigger.draining().wait();
                Ok(())
            }))
        },
    ),
    Fault::new(
        "connections_do_not_persist",
        &[
            "keep_alive::http11_persists",
            "keep_alive::http10_keep_alive",
            "keep_alive::pipelined_in_order",
            "keep_alive::pipelined_at_any_split",
            "response::one_final_response",
            "no_body::connection_survives",
            "no_body::head_of_unknown_length",
            "framing::excess_is_clamped",
            "expect::continue_on_first_read",
            "upgrade::unknown_upgrade_is_ignored",
            "upgrade::upgrade_with_a_body_is_ignored",
            "response::connection_options_are_removed",
            "response::hop_by_hop_fields_are_removed",
        ],
    )
    .config(|config| config.keep_alive = false),
    Fault::new("idle_connections_stay", &["keep_alive::idle_connection_is_closed"])
        .config(|config| config.timeouts.keep_alive = None),
    Fault::new(
        "heads_may_take_for_ever",
        &[
            "timeouts::silent_connection_ends",
            "timeouts::slow_head_ends",
            "timeouts::slow_later_head_ends",
            "limits::ended_connections_make_room",
        ],
    )
    .config(|config| config.timeouts.header_read = None),
    Fault::new(
        "bodies_may_take_for_ever",
        &[
            "timeouts::slow_body_is_a_read_error",
            "timeouts::dripped_framing_is_a_read_error",
            "errors::timed_out_keeps_its_status",
        ],
    )
    .config(|config| config.timeouts.body_read = None),
    Fault::new(
        "clients_may_stop_for_ever",
        &["timeouts::client_that_takes_nothing_ends", "timeouts::stuck_pipelines_end"],
    )
    .config(|config| config.timeouts.write = None),
    Fault::new(
        "late_handlers_are_503",
        &[
            "keep_alive::busy_connection_is_not_idle",
            "timeouts::header_timeout_is_for_heads",
            "timeouts::unread_body_does_not_time_out",
        ],
    )
    .config(|config| config.timeouts.handler = Some(Duration::from_millis(300))),
    Fault::new(
        "a_hundred_connections_are_all",
        &["keep_alive::idle_connections_hold_no_thread", "keep_alive::slow_heads_hold_no_thread"],
    )
    .config(|config| config.limits.connections = 100),
    Fault::new("connections_are_unlimited", &["limits::connections_are_capped", "limits::idle_connections_make_room"])
        .config(|config| config.limits.connections = 10_000),
    Fault::new(
        "heads_are_unlimited",
        &[
            "limits::large_head_is_431",
            "limits::endless_head_is_431",
            "limits::many_fields_are_431",
            "target::overlong_target_is_414",
        ],
    )
    .config(|config| {
        config.limits.head_bytes = Limits::MOST_HEAD_BYTES;
        config.limits.header_count = 1000;
        config.limits.target_bytes = Limits::MOST_TARGET_BYTES;
    }),
    Fault::new(
        "heads_are_limited_too_early",
        &[
            "limits::fields_at_their_limit_are_served",
            "target::target_at_its_limit_is_served",
            "limits::largest_limits_are_kept",
        ],
    )
    .config(|config| {
        config.limits.header_count = config.limits.header_count.min(19);
        config.limits.target_bytes = config.limits.target_bytes.min(1023);
    }),
    Fault::new(
        "bodies_are_unlimited",
        &[
            "limits::declared_body_too_large_is_413",
            "limits::declared_body_gets_no_continue",
            "limits::growing_body_is_too_large",
            "errors::too_large_keeps_its_status",
        ],
    )
    .config(|config| config.limits.body_bytes = None),
    Fault::new("bodies_are_limited_too_early", &["limits::body_at_its_limit_is_served"])
        .config(|config| config.limits.body_bytes = Some(65_535)),
];
