//! File bodies. FIL-01 to FIL-07

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::text;
use crate::wire::Framing;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "files",
    title: "Files",
    cases: &[
        Case::must("file_is_exact", "the octets of a file, and their number", &["FIL-01", "FIL-03", "FIL-07"], exact),
        Case::must("file_starts_at_its_offset", "from the current offset to the end", &["FIL-01", "FIL-03"], offset),
        Case::must(
            "declared_length_cuts_or_breaks",
            "Content-Length that disagrees with the file",
            &["FIL-02"],
            disagreeing,
        )
        .needs("http1"),
        Case::must("range_is_exact", "exactly the range named", &["FIL-04", "FIL-03"], range),
        Case::must(
            "file_is_closed",
            "after the response, after HEAD, and when the client is gone",
            &["FIL-05"],
            closed,
        ),
        Case::must("path_is_a_handle", "a path gives the same octets and head as a handle", &["FIL-06a"], path),
        Case::must(
            "missing_path_is_an_error",
            "a path that can't be opened is an error before the head",
            &["FIL-06b"],
            missing,
        ),
        Case::must(
            "directory_is_an_error",
            "so is one that names a directory, or a FIFO nobody writes to",
            &["FIL-08a", "FIL-06b"],
            directory,
        ),
        Case::must(
            "made_up_file_has_no_length",
            "a file that says it is empty, and is not, is sent to its end",
            &["FIL-08b"],
            made_up,
        ),
    ],
};

fn exact(cx: &mut Context) -> Result<(), Failure> {
    for length in [0_usize, 1, 1000, 65_536, 65_537, 3_000_000] {
        for script in ["", "blocking; "] {
            let (mut connection, response) = cx.answered(&cx.get(&format!("{script}file {length} 0 - -")), 200)?;
            ensure_eq!(response.framing, Framing::Length(length as u64), "the framing");
            ensure!(response.body == text::pattern(length), "a file of {length} octets differs");
            connection.send(cx.get("body next").bytes())?;
            ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
        }
    }
    Ok(())
}

fn offset(cx: &mut Context) -> Result<(), Failure> {
    for (length, at) in [(1000, 400), (1000, 999), (1000, 1000), (200_000, 70_001)] {
        let (_, response) = cx.answered(&cx.get(&format!("file {length} {at} - -")), 200)?;
        ensure!(response.body == text::pattern(length)[at..], "a file of {length} octets from {at} differs");
        ensure_eq!(response.framing, Framing::Length((length - at) as u64), "the framing");
    }
    Ok(())
}

fn disagreeing(cx: &mut Context) -> Result<(), Failure> {
    let (mut connection, response) = cx.answered(&cx.get("header content-length 100; file 100000 0 - -"), 200)?;
    ensure!(response.body == text::pattern(100_000)[..100], "a file that was cut differs");
    connection.send(cx.get("body next").bytes())?;
    ensure_eq!(connection.response("GET")?.text(), "next", "the response after a file that was cut");
    let (mut connection, response) = cx.exchange(&cx.get("header content-length 2000; file 1000 0 - -"))?;
    ensure!(response.truncated, "a file that is too short looks complete");
    ensure!(response.body == text::pattern(1000), "the octets of a file that is too short differ");
    connection.rest().map(drop)
}

fn range(cx: &mut Context) -> Result<(), Failure> {
    let all = text::pattern(200_000);
    for (start, end) in [(0, 1), (10, 20), (0, 200_000), (65_535, 65_537), (199_999, 200_000), (5, 5)] {
        let (_, response) = cx.answered(&cx.get(&format!("file 200000 77 {start} {end}")), 200)?;
        ensure!(response.body == all[start..end], "the range {start}..{end} differs");
        ensure_eq!(response.framing, Framing::Length((end - start) as u64), "the framing");
    }
    let (_, response) = cx.answered(&cx.get("file 1000 0 990 5000"), 200)?;
    ensure!(response.body == text::pattern(1000)[990..], "a range beyond the end is not cut at the end");
    Ok(())
}

fn closed(cx: &mut Context) -> Result<(), Failure> {
    let is_closed = |cx: &Context, what: &str| -> Result<(), Failure> {
        for _ in 0..200 {
            let ask = format!("open-files conformance-{}-; sleep 10", cx.token());
            let request = cx.request("GET", "/").script(&ask);
            cx.answered(&request, 200)?;
            if cx.seen()?.details("open-files").last().map(String::as_str) == Some("0") {
                return Ok(());
            }
        }
        Err(format!("the file is open {what}").into())
    };
    let script = |cx: &Context| format!("file 20000000 0 - - {}", cx.token());
    cx.answered(&cx.get(&script(cx)), 200)?;
    is_closed(cx, "after the response")?;
    cx.again();
    cx.answered(&cx.request("HEAD", "/").script(&script(cx)), 200)?;
    is_closed(cx, "after HEAD")?;
    cx.again();
    let mut connection = cx.connect()?;
    connection.send(cx.get(&script(cx)).bytes())?;
    connection.take(1000, "the beginning")?;
    connection.reset();
    is_closed(cx, "after the client reset the connection")
}

fn path(cx: &mut Context) -> Result<(), Failure> {
    let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    std::fs::write(file.path(), text::pattern(10_000)).map_err(|error| error.to_string())?;
    let script = format!("path {}", text::encode(file.path().to_string_lossy().as_bytes()));
    let (_, by_path) = cx.answered(&cx.get(&script), 200)?;
    let (_, by_handle) = cx.answered(&cx.get("file 10000 0 - -"), 200)?;
    ensure!(by_path.body == by_handle.body, "the octets differ");
    let names = |response: &crate::wire::Response| {
        let fields = response.head.fields.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("date"));
        fields.cloned().collect::<Vec<_>>()
    };
    ensure_eq!(names(&by_path), names(&by_handle), "the heads");
    Ok(())
}

fn missing(cx: &mut Context) -> Result<(), Failure> {
    no_path(cx, "/no/such/file")
}

/// The path is an error, from a handler and from blocking code.
fn no_path(cx: &mut Context, path: &str) -> Result<(), Failure> {
    let path = text::encode(path.as_bytes());
    for script in [format!("path {path}"), format!("blocking; path {path}")] {
        let (mut connection, response) = cx.exchange(&cx.get(&script))?;
        ensure_eq!(response.status(), 500, "the status");
        ensure!(!response.text().contains(&path), "the error text reached the client");
        connection.send(cx.get("body next").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
    }
    Ok(())
}

fn directory(cx: &mut Context) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    no_path(cx, &folder.path().to_string_lossy())?;
    let fifo = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    ensure!(made.is_ok_and(|status| status.success()), "no FIFO can be made");
    no_path(cx, &fifo.to_string_lossy())
}

fn made_up(cx: &mut Context) -> Result<(), Failure> {
    // Not the same from read to read, but never empty; on systems without it there is nothing to see.
    let path = "/proc/self/limits";
    let Ok(expected) = std::fs::read(path) else { return Ok(()) };
    for script in ["", "blocking; "] {
        let (mut connection, response) = cx.answered(&cx.get(&format!("{script}path {path}")), 200)?;
        ensure!(response.body.starts_with(&expected[..20.min(expected.len())]), "the octets of {path} differ");
        ensure!(!matches!(response.framing, Framing::Length(_)), "a Content-Length that nobody knows");
        connection.send(cx.get("body next").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
    }
    let (_, empty) = cx.answered(&cx.get("path /dev/null"), 200)?;
    ensure_eq!(empty.body, b"", "the octets of /dev/null");
    Ok(())
}
