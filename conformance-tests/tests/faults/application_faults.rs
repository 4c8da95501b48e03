//! What a broken server does to a request before the application sees it, and to its errors after.

use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use adapter_core::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header, request};
use adapter_core::{Application, Body, DynApplication, Environ, Error, Request, Response};

use crate::fault::{Answer, BoxFuture, Fault};

/// Calls the application with a head that was edited.
macro_rules! edited {
    ($edit:expr) => {
        |application, request, environ| {
            let (mut head, body) = request.into_parts();
            let edit: fn(&mut request::Parts) = $edit;
            edit(&mut head);
            Box::pin(async move { application.call(Request::from_parts(head, body), environ).await })
        }
    };
}

/// Gives the head another target.
fn retarget(head: &mut request::Parts, change: impl Fn(&str) -> String) {
    let before = head.uri.to_string();
    if let Ok(uri) = Uri::try_from(change(&before)) {
        head.uri = uri;
    }
}

/// Gives every field another value.
fn revalue(head: &mut request::Parts, change: impl Fn(&[u8]) -> Vec<u8>) {
    let mut fields = HeaderMap::new();
    for (name, value) in &head.headers {
        let changed = HeaderValue::from_bytes(&change(value.as_bytes())).unwrap_or_else(|_| value.clone());
        // What the suite itself needs is left alone.
        fields.append(name, if name.as_str().starts_with("x-conformance") { value.clone() } else { changed });
    }
    head.headers = fields;
}

fn script(head: &request::Parts) -> String {
    head.headers
        .get("x-conformance-do")
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .unwrap_or_default()
}

/// The script without something: a server that loses it.
fn without(head: &mut request::Parts, change: impl Fn(&str) -> String) {
    if let Ok(value) = HeaderValue::from_str(&change(&script(head))) {
        head.headers.insert("x-conformance-do", value);
    }
}

static LAST: Mutex<Option<HeaderMap>> = Mutex::new(None);
static PANICS: AtomicU32 = AtomicU32::new(0);

pub(crate) static FAULTS: &[Fault] = &[
    Fault::new("methods_are_upper_cased", &["target::method_is_verbatim"]).call(edited!(|head| {
        let upper = head.method.as_str().to_ascii_uppercase();
        head.method = Method::from_bytes(upper.as_bytes()).unwrap_or(Method::GET);
    })),
    Fault::new(
        "unknown_methods_are_501",
        &["target::unknown_method_reaches_application", "framing::unknown_length_is_chunked"],
    )
    .call(|application, request, environ| {
        let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"];
        let unknown = !known.contains(&request.method().as_str());
        Box::pin(async move {
            if unknown { Ok(status(StatusCode::NOT_IMPLEMENTED)) } else { application.call(request, environ).await }
        })
    }),
    Fault::new("head_becomes_get", &["no_body::head_reaches_application"]).call(edited!(|head| {
        if head.method == Method::HEAD {
            head.method = Method::GET;
        }
    })),
    Fault::new(
        "targets_are_decoded",
        &[
            "target::path_is_raw",
            "target::path_is_not_decoded",
            "target::query_is_raw",
            "target::escapes_are_harmless",
            "environment::url_can_be_rebuilt",
        ],
    )
    .call(edited!(|head| retarget(head, |target| {
        target
            .replace("%20", "+")
            .replace("%25", "%")
            .replace("%41", "A")
            .replace("%E2", "%e2")
            .replace("%00", "")
            .replace("%2F", "/")
    }))),
    Fault::new("paths_are_normalised", &["target::path_is_not_normalised"]).call(edited!(|head| retarget(
        head,
        |target| target.replace("//", "/").replace("/../", "/").replace("/./", "/")
    ))),
    Fault::new("last_question_mark_splits", &["target::first_question_mark_splits"]).call(edited!(|head| retarget(
        head,
        |target| {
            let mut parts = target.splitn(2, '?');
            let (path, query) = (parts.next().unwrap_or(""), parts.next());
            query.map_or(path.to_owned(), |query| format!("{path}?{}", query.replace('?', "%3F")))
        }
    ))),
    Fault::new("root_is_doubled", &["target_forms::empty_path_is_slash"])
        .call(edited!(|head| retarget(head, |target| if target == "/" { "//".into() } else { target.into() }))),
    Fault::new("asterisk_becomes_root", &["target_forms::asterisk_reaches_application"])
        .call(edited!(|head| retarget(head, |target| target.replace('*', "/")))),
    Fault::new("connect_is_404", &["target_forms::connect_is_decided"]).call(|application, request, environ| {
        Box::pin(async move {
            let connect = request.method() == Method::CONNECT;
            if connect { Ok(status(StatusCode::NOT_FOUND)) } else { application.call(request, environ).await }
        })
    }),
    Fault::new("host_is_the_servers", &["target_forms::authority_replaces_host", "environment::url_can_be_rebuilt"])
        .call(edited!(|head| drop(head.headers.insert(header::HOST, HeaderValue::from_static("server.example"))))),
    Fault::new(
        "odd_hosts_are_400",
        &["host::well_formed_hosts_are_accepted", "host::empty_host_is_accepted", "host::http10_needs_no_host"],
    )
    .call(|application, request, environ| {
        Box::pin(async move {
            let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
            let plain = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'.');
            if plain { application.call(request, environ).await } else { Ok(status(StatusCode::BAD_REQUEST)) }
        })
    }),
    Fault::new("values_are_latin", &["headers::values_are_octets"]).call(edited!(|head| revalue(head, |value| {
        value.iter().map(|byte| if byte.is_ascii() { *byte } else { b'?' }).collect()
    }))),
    Fault::new("values_are_cut", &["headers::any_field_arrives_once", "limits::head_below_its_limit_is_served"])
        .call(edited!(|head| revalue(head, |value| value[..value.len().min(128)].to_vec()))),
    Fault::new("values_keep_spaces", &["headers::whitespace_is_trimmed"])
        .call(edited!(|head| revalue(head, |value| [value, b" "].concat()))),
    Fault::new("tabs_become_spaces", &["headers::tab_in_value_is_kept", "headers::whitespace_is_trimmed"]).call(
        edited!(|head| revalue(head, |value| value
            .iter()
            .map(|byte| if *byte == b'\t' { b' ' } else { *byte })
            .collect())),
    ),
    Fault::new("last_line_wins", &["headers::repeated_fields_keep_order"]).call(edited!(|head| {
        let mut fields = HeaderMap::new();
        for (name, value) in &head.headers {
            fields.insert(name, value.clone());
        }
        head.headers = fields;
    })),
    Fault::new("underscores_become_hyphens", &["headers::hyphen_and_underscore_differ"]).call(edited!(|head| {
        if let Some(value) = head.headers.remove("x_user") {
            head.headers.append("x-user", value);
        }
    })),
    Fault::new("fields_leak", &["headers::nothing_leaks_between_requests"]).call(edited!(|head| {
        let mut last = LAST.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = last.replace(head.headers.clone());
        for (name, value) in before.iter().flatten().filter(|(name, _)| *name == "x-first" || *name == "cookie") {
            head.headers.insert(name, value.clone());
        }
    })),
    Fault::new("extensions_leak", &["environment::fresh_for_each_request"]).call(edited!(|head| {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        if CALLS.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
            head.extensions.insert(1_u8);
        }
    })),
    Fault::new("extensions_are_lost", &["environment::extensions_arrive"])
        .call(edited!(|head| without(head, |script| script.replace("middleware;", "")))),
    Fault::new("version_is_always_2", &["environment::version_is_the_requests"])
        .call(edited!(|head| head.version = Version::HTTP_2)),
    Fault::new("empty_item_is_the_end", &["body::empty_items_end_nothing"])
        .call(edited!(|head| without(head, |script| { script.split("empty").next().unwrap_or("").to_owned() }))),
    Fault::new("blocking_code_is_polled", &["disconnect::blocking_code_is_not_interrupted"])
        .call(edited!(|head| without(head, |script| script.replace("blocking;", "")))),
    Fault::new(
        "errors_are_200",
        &[
            "errors::error_is_500",
            "files::missing_path_is_an_error",
            "files::directory_is_an_error",
            "response::no_line_breaks_from_values",
            "errors::gone_peer_gets_no_response",
            "no_body::head_has_no_octets",
        ],
    )
    .call(|application, request, environ| {
        Box::pin(
            async move { application.call(request, environ).await.or_else(|_| Ok(Response::new(Body::from("fine")))) },
        )
    }),
    Fault::new(
        "errors_are_always_500",
        &[
            "errors::peers_fault_keeps_its_status",
            "errors::too_large_keeps_its_status",
            "errors::timed_out_keeps_its_status",
            "errors::chosen_status_is_sent",
            "errors::gone_peer_gets_no_response",
        ],
    )
    .call(|application, request, environ| {
        Box::pin(async move { application.call(request, environ).await.map_err(|_| Error::new("something")) })
    }),
    Fault::new("errors_are_told", &["errors::error_text_stays_inside", "errors::chosen_status_is_sent"]).call(
        |application, request, environ| {
            Box::pin(async move {
                application.call(request, environ).await.or_else(|error| {
                    let mut response = Response::new(Body::from(error.to_string()));
                    *response.status_mut() = error.status();
                    Ok(response)
                })
            })
        },
    ),
    // Only lint sees that, in a case that starts servers.
    Fault::new("two_hosts_are_delivered", &["lifespan::hooks_run_once"]).call(edited!(|head| {
        head.headers.append(header::HOST, HeaderValue::from_static("second.example"));
    })),
    Fault::new(
        "everything_is_logged_again",
        &[
            "process::removal_of_fields_is_logged",
            "process::clamped_body_is_logged",
            "process::short_body_is_logged",
            "process::error_is_logged",
            "process::failed_body_is_logged",
            "process::dead_client_is_not_logged",
        ],
    )
    .call(|application, request, environ| {
        tracing::warn!(target: "adapter", "a request");
        Box::pin(async move { application.call(request, environ).await })
    }),
    Fault::new("panics_are_200", &["errors::panic_is_500"]).call(|application, request, environ| {
        caught(application, request, environ, |_| Poll::Ready(Ok(Response::new(Body::empty()))))
    }),
    // A panic takes a thread with it; with the twentieth there is none left.
    Fault::new("panics_cost_a_thread", &["errors::panic_stays_where_it_is"]).call(|application, request, environ| {
        caught(application, request, environ, |panics| {
            if panics > 20 { Poll::Pending } else { Poll::Ready(Ok(status(StatusCode::INTERNAL_SERVER_ERROR))) }
        })
    }),
];

/// A response without a body.
fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Calls the application and does `then` about its panics; once they are many, also about what comes after.
fn caught(
    application: DynApplication,
    request: Request,
    environ: Environ,
    then: fn(u32) -> Poll<Answer>,
) -> BoxFuture<Answer> {
    let mut call: Pin<Box<dyn Future<Output = Answer> + Send>> =
        Box::pin(async move { application.call(request, environ).await });
    Box::pin(std::future::poll_fn(move |cx| {
        if then(0).is_ready() && then(PANICS.load(Ordering::SeqCst)).is_pending() {
            return Poll::Pending;
        }
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call.as_mut().poll(cx)))
            .unwrap_or_else(|_| then(PANICS.fetch_add(1, Ordering::SeqCst) + 1))
    }))
}
