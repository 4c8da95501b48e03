//! What a broken server tells the application, and the services it breaks.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use adapter_core::environ::{Connection, Serving};
use adapter_core::runtime::{BlockingJob, BoxFuture as Work, Driver};
use adapter_core::server::{ForwardedAlso, ForwardedFields, TrustedProxy};
use adapter_core::signal::Signal;
use adapter_core::tls::TlsInfo;
use adapter_core::{
    Application, Capabilities, DynApplication, Environ, ListenAddr, Request, Runtime, ServerConfig, ServerInfo,
    ShutdownTrigger,
};

use crate::fault::{Answer, Base, BoxFuture, Fault};

/// An environ of another connection, server and time.
fn strange(environ: &Environ) -> Environ {
    let mut info = ServerInfo::new("", "0");
    info.capabilities = Capabilities::none();
    let serving = Serving::new(info, environ.runtime().clone(), ShutdownTrigger::new(), &ServerConfig::default());
    let somewhere = SocketAddr::from(([9, 9, 9, 9], 9));
    let connection = Connection::new(serving, Some(somewhere), ListenAddr::Tcp(somewhere)).with_tls(TlsInfo::default());
    let long_ago = Instant::now().checked_sub(Duration::from_secs(10)).unwrap_or_else(Instant::now);
    Environ::new(Arc::new(connection), long_ago).with_disconnect(Signal::new())
}

/// The same environ with another runtime, and deaf to shutdown and disconnects.
pub(crate) fn with_runtime(environ: &Environ, runtime: Runtime) -> Environ {
    let serving = Serving::new(environ.server().clone(), runtime, ShutdownTrigger::new(), &ServerConfig::default());
    let connection = Connection::new(serving, environ.peer_addr(), environ.local_addr().clone());
    Environ::new(Arc::new(connection), environ.received_at())
}

fn call(application: DynApplication, request: Request, environ: Environ) -> BoxFuture<Answer> {
    Box::pin(async move { application.call(request, environ).await })
}

/// Calls the application with a driver that is wrong in one thing.
fn driven(application: DynApplication, request: Request, environ: &Environ, wrong: Wrong) -> BoxFuture<Answer> {
    let runtime = Runtime::new(Broken { sound: environ.runtime().clone(), wrong });
    call(application, request, with_runtime(environ, runtime))
}

#[derive(Clone, Copy, PartialEq)]
enum Wrong {
    SleepsNever,
    SleepsEnd,
    SpawnLoses,
    SpawnStays,
    SpawnIsDaemon,
    DaemonIsSpawn,
    BlocksInline,
    RefusesBlocking,
    Unbounded,
}

struct Broken {
    sound: Runtime,
    wrong: Wrong,
}

impl Driver for Broken {
    fn sleep_until(&self, deadline: Instant) -> Work<()> {
        match self.wrong {
            Wrong::SleepsNever => Box::pin(std::future::pending()),
            Wrong::SleepsEnd => Box::pin(std::future::ready(())),
            _ => Box::pin(self.sound.sleep_until(deadline)),
        }
    }

    fn spawn(&self, future: Work<()>) {
        match self.wrong {
            Wrong::SpawnLoses => drop(future),
            // On a thread nobody stops.
            Wrong::SpawnStays => drop(thread::spawn(move || futures_lite::future::block_on(future))),
            Wrong::SpawnIsDaemon => self.sound.spawn_daemon(future).detach(),
            // All the others make spawned work of daemons, too.
            _ => self.sound.spawn(future).detach(),
        }
    }

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        match self.wrong {
            Wrong::BlocksInline => job.run(),
            Wrong::RefusesBlocking => return Err(job),
            Wrong::Unbounded | Wrong::SpawnIsDaemon => drop(thread::spawn(move || job.run())),
            _ => return self.sound.run_blocking_job(job),
        }
        Ok(())
    }
}

/// Whether the place is taken, and who waits for it.
static INSIDE: Mutex<(bool, Vec<Waker>)> = Mutex::new((false, Vec::new()));

/// Holds the only place there is.
struct Place;

impl Place {
    async fn take() -> Place {
        std::future::poll_fn(|cx| {
            let (taken, waiting) = &mut *INSIDE.lock().expect("nothing panics with it");
            if std::mem::replace(taken, true) {
                waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Place)
        })
        .await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (_, waiting) = std::mem::take(&mut *INSIDE.lock().expect("nothing panics with it"));
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// 5 s where there is no limit.
macro_rules! limited {
    ($name:literal, $limit:ident) => {
        Fault::new($name, &["unlimited::everything_may_take_long"]).config(|config| {
            let limit = &mut config.timeouts.$limit;
            *limit = limit.or(Some(Duration::from_secs(5)));
        })
    };
}

pub(crate) static FAULTS: &[Fault] = &[
    Fault::new(
        "environ_of_somebody_else",
        &[
            "environment::scheme_is_http",
            "environment::peer_is_the_client",
            "environment::local_is_the_server",
            "environment::server_tells_who_it_is",
            "environment::deployed_values_arrive",
            "environment::facts_are_always_there",
            "environment::url_can_be_rebuilt",
            "environment::start_is_an_instant",
            "shutdown::application_sees_the_shutdown",
        ],
    )
    .call(|application, request, environ| call(application, request, strange(&environ))),
    Fault::new("unix_peers_have_addresses", &["environment::unix_peer_is_none"])
        .on(Base::Hyper)
        .call(|application, request, environ| call(application, request, strange(&environ))),
    Fault::new(
        "hints_are_missing",
        &[
            "environment::capabilities_are_acted_on",
            "informational::hints_are_there_where_declared",
            "informational::hints_are_sent_at_once",
            "informational::several_hints_in_order",
        ],
    )
    .on(Base::ThreadPool)
    .call(|application, request, environ| call(application, request, strange(&environ))),
    Fault::new(
        "http2_hints_are_missing",
        &[
            "http2_interim::hints_are_there_where_declared",
            "http2_interim::hints_are_sent_at_once",
            "http2_interim::several_hints_in_order",
        ],
    )
    .on(Base::Hyper)
    .call(|application, request, environ| call(application, request, strange(&environ))),
    Fault::new("upgrades_are_only_promised", &["upgrade::capabilities_are_true"])
        .on(Base::Hyper)
        .call(|application, request, environ| call(application, request, strange(&environ))),
    Fault::new("prefix_is_always_there", &["environment::prefix_is_empty"])
        .config(|config| config.mount_prefix = "/a".into()),
    Fault::new("prefix_is_never_there", &["environment::prefix_and_rest_are_the_path"])
        .config(|config| config.mount_prefix.clear()),
    Fault::new("strangers_are_trusted", &["headers::strangers_forwarded_is_ignored"])
        .config(|config| config.trusted_proxies.push([127, 0, 0, 1].into())),
    // Both families believed, as the one the client happens to use.
    Fault::new("clients_choose_the_family", &["forwarded::clients_forwarded_is_ignored"])
        .config(|config| config.forwarded = ForwardedFields::Forwarded),
    Fault::new("x_forwarded_is_always_believed", &["forwarded::clients_x_forwarded_is_ignored"])
        .config(|config| config.forwarded = ForwardedFields::XForwarded),
    Fault::new("limits_are_off_by_one", &["limits::head_at_its_limit_is_served"])
        .config(|config| config.limits.head_bytes += 1),
    Fault::new("threads_wait_for_anybody", &["timeouts::dripped_body_holds_no_thread"])
        .config(|config| config.limits.min_rate = None),
    Fault::new("bodies_are_limited_all_the_same", &["unlimited::bodies_may_be_large"])
        .config(|config| config.limits.body_bytes = config.limits.body_bytes.or(Some(1 << 20))),
    Fault::new("connections_are_limited_all_the_same", &["unlimited::connections_may_be_long"])
        .config(|config| config.limits.requests_per_connection = config.limits.requests_per_connection.or(Some(1000))),
    limited!("heads_are_limited_all_the_same", header_read),
    limited!("idling_is_limited_all_the_same", keep_alive),
    limited!("reading_is_limited_all_the_same", body_read),
    limited!("writing_is_limited_all_the_same", write),
    limited!("handlers_are_limited_all_the_same", handler),
    Fault::new("any_field_is_believed", &["forwarded::named_field_is_the_only_one"]).config(|config| {
        if matches!(config.forwarded, ForwardedFields::Named(_)) {
            config.forwarded = ForwardedFields::XForwarded;
        }
    }),
    Fault::new("hops_are_miscounted", &["forwarded::hops_are_counted", "forwarded::host_is_believed_where_asked_for"])
        .config(|config| config.trusted_hops = config.trusted_hops.map(|hops| hops + 1)),
    Fault::new("one_hop_is_enough", &["forwarded::short_lists_name_nobody", "forwarded::hops_are_counted"])
        .config(|config| config.trusted_hops = config.trusted_hops.map(|_| 1)),
    Fault::new("hosts_are_always_believed", &["forwarded::host_is_a_clients_elsewhere"])
        .config(|config| config.forwarded_also = vec![ForwardedAlso::Host, ForwardedAlso::Prefix]),
    Fault::new("hosts_are_never_believed", &["forwarded::host_is_believed_where_asked_for"])
        .config(|config| config.forwarded_also.clear()),
    Fault::new(
        "proxies_stand_for_clients",
        &["forwarded::unreadable_elements_name_nobody", "forwarded::unreadable_rfc_7239_names_nobody"],
    )
    .call(|application, request, environ| {
        let proxy = environ.peer_addr().or(Some(SocketAddr::from(([127, 0, 0, 1], 9))));
        let serving = Serving::new(
            environ.server().clone(),
            environ.runtime().clone(),
            ShutdownTrigger::new(),
            &ServerConfig::default(),
        );
        let connection = Connection::new(serving, proxy, environ.local_addr().clone());
        call(application, request, Environ::new(Arc::new(connection), environ.received_at()))
    }),
    Fault::new("unix_peers_are_trusted", &["forwarded::unix_peers_are_strangers"])
        .on(Base::Hyper)
        .config(|config| config.trusted_proxies.push(TrustedProxy::Unix)),
    Fault::new(
        "disconnects_are_not_told",
        &[
            "disconnect::signal_comes_before_the_drop",
            "disconnect::blocking_code_can_learn",
            "disconnect::reader_learns_before_it_is_dropped",
            "disconnect::signal_can_be_asked_again",
            "disconnect::deadline_is_a_disconnect",
            "errors::report_never_fails",
        ],
    )
    .call(|application, request, environ| call(application, request, environ.with_disconnect(Signal::new()))),
    Fault::new("everything_is_a_disconnect", &["disconnect::surplus_octets_are_no_disconnect"]).call(
        |application, request, environ| {
            let gone = Signal::new();
            gone.fire();
            call(application, request, environ.with_disconnect(gone))
        },
    ),
    Fault::new(
        "handlers_are_not_dropped",
        &[
            "disconnect::pending_handler_is_dropped",
            "disconnect::reset_drops_the_handler",
            "disconnect::signal_comes_before_the_drop",
            "disconnect::detached_work_goes_on",
        ],
    )
    .call(|application, request, environ| {
        let runtime = environ.runtime().clone();
        let task = runtime.spawn(call(application, request, environ));
        Box::pin(async move { task.await? })
    }),
    Fault::new(
        "sleeps_never_end",
        &[
            "runtime::time_works",
            "runtime::many_timers_work",
            "concurrency::timers_run_beside_blocking_code",
            "runtime::spawned_work_outlives_its_request",
        ],
    )
    .call(|application, request, environ| driven(application, request, &environ, Wrong::SleepsNever)),
    Fault::new("sleeps_end_at_once", &["runtime::time_works"])
        .call(|application, request, environ| driven(application, request, &environ, Wrong::SleepsEnd)),
    Fault::new(
        "spawned_work_is_lost",
        &[
            "runtime::spawned_work_runs",
            "runtime::spawned_panic_is_reported",
            "runtime::spawned_work_outlives_its_request",
            "disconnect::detached_work_goes_on",
        ],
    )
    .call(|application, request, environ| driven(application, request, &environ, Wrong::SpawnLoses)),
    Fault::new(
        "spawned_work_stays",
        &[
            "runtime::spawned_work_ends_with_the_server",
            "runtime::forced_shutdown_drops_spawned_work",
            "shutdown::nothing_is_left",
        ],
    )
    .call(|application, request, environ| driven(application, request, &environ, Wrong::SpawnStays)),
    Fault::new(
        "spawned_work_is_not_awaited",
        &[
            "runtime::shutdown_waits_for_spawned_work",
            "runtime::shutdown_waits_for_blocking_work",
            "runtime::shutdown_waits_for_a_departed_clients_call",
        ],
    )
    .call(|application, request, environ| driven(application, request, &environ, Wrong::SpawnIsDaemon)),
    Fault::new("daemons_are_awaited", &["runtime::daemons_hold_up_no_shutdown"])
        .call(|application, request, environ| driven(application, request, &environ, Wrong::DaemonIsSpawn)),
    Fault::new("blocking_work_blocks", &["runtime::blocking_work_is_bounded"])
        .call(|application, request, environ| driven(application, request, &environ, Wrong::BlocksInline)),
    Fault::new(
        "blocking_work_is_refused",
        &["runtime::blocking_work_runs", "concurrency::blocking_code_holds_up_nobody"],
    )
    .call(|application, request, environ| driven(application, request, &environ, Wrong::RefusesBlocking)),
    Fault::new("blocking_work_is_unbounded", &["runtime::blocking_work_is_bounded"])
        .call(|application, request, environ| driven(application, request, &environ, Wrong::Unbounded)),
    Fault::new("timeouts_drop_nothing", &["runtime::dropping_cancels"])
        .call(|application, request, environ| driven(application, request, &environ, Wrong::SleepsNever)),
    Fault::new(
        "one_request_at_a_time",
        &[
            "concurrency::slow_handler_holds_up_nobody",
            "concurrency::concurrency_is_as_declared",
            "concurrency::one_application",
            "concurrency::blocking_code_holds_up_nobody",
            "request_body::blocking_read_holds_up_nobody",
            "body::response_may_be_late",
        ],
    )
    .call(|application, request, environ| {
        Box::pin(async move {
            let _place = Place::take().await;
            application.call(request, environ).await
        })
    }),
    Fault::new("one_body_at_a_time", &["body_drop::blocking_iterator_holds_up_nobody"]).call(
        |application, request, environ| {
            Box::pin(async move {
                let place = Place::take().await;
                let response = application.call(request, environ).await?;
                Ok(response.map(|body| body.on_finish(move |_, _| drop(place))))
            })
        },
    ),
    Fault::new("busy_is_500", &["concurrency::at_capacity_requests_queue_or_are_refused"]).call(
        |application, request, environ| {
            Box::pin(async move {
                static BUSY: AtomicUsize = AtomicUsize::new(0);
                struct Leave;
                impl Drop for Leave {
                    fn drop(&mut self) {
                        BUSY.fetch_sub(1, Ordering::SeqCst);
                    }
                }
                let before = BUSY.fetch_add(1, Ordering::SeqCst);
                let _leave = Leave;
                if before > 0 {
                    return Err("too busy".into());
                }
                application.call(request, environ).await
            })
        },
    ),
    Fault::new("a_thread_for_each_request", &["concurrency::thousand_handlers_wait"]).on(Base::Hyper).call(
        |application, request, environ| {
            let (sender, body) = adapter_core::Body::channel(1);
            let answer = Arc::new(std::sync::Mutex::new(None));
            let place = answer.clone();
            thread::spawn(move || {
                let answer = futures_lite::future::block_on(application.call(request, environ));
                *place.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(answer);
                drop(sender);
            });
            Box::pin(async move {
                let mut body = body;
                body.frame().await;
                let taken = answer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
                taken.unwrap_or_else(|| Err("the thread is gone".into()))
            })
        },
    ),
    Fault::new(
        "wakers_are_lost",
        &["concurrency::handler_is_woken_from_a_foreign_thread", "body::response_may_be_late"],
    )
    .call(|application, request, environ| {
        let mut future: Pin<Box<_>> = call(application, request, environ);
        let mut polled = false;
        Box::pin(std::future::poll_fn(move |cx| {
            // Polled once, and never again.
            if std::mem::replace(&mut polled, true) { Poll::Pending } else { future.as_mut().poll(cx) }
        }))
    }),
];
