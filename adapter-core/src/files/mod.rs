//! Files: a folder as an application, and one file as a response.
//!
//! [`Directory`] serves a folder. [`send`] answers a request of yours with a file. Both know conditional requests (304, so that a client
//! keeps what it has), ranges (206, so that a download goes on and a film is wound forward), and the type that a name stands for.
//!
//! ```
//! use adapter_core::files::Directory;
//!
//! # fn main() -> std::io::Result<()> {
//! # let folder = tempfile::tempdir()?;
//! # std::fs::write(folder.path().join("index.html"), "<p>Hello\n")?;
//! # let path = folder.path();
//! let site = Directory::new(path)?.immutable("assets/*").precompressed();
//! // It is an application: give it to a server, or to the client of tests.
//! let client = adapter_core::testing::Client::new(site);
//! let answer = client.get("/").send();
//! assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
//! assert_eq!(client.get("/../etc/passwd").send().status(), 404);
//! # Ok(())
//! # }
//! ```
//!
//! The file system is asked on threads that may block, never on an event loop.

mod cache;
mod conditional;
mod encoding;
mod found;
mod listing;
mod path;
mod range;
mod respond;
mod unlinked;

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

use self::cache::Rules;
use self::encoding::Coding;
use self::found::{Found, Opened, find, open};
use self::path::Wanted;
use self::respond::{Told, respond};
use crate::answers::plain;
use crate::application::{Application, Request, Response};
use crate::body::Body;
use crate::environ::Environ;
use crate::error::Error;

/// A folder, served.
///
/// * **Paths**: what the request's path names below the folder, from the [mount prefix](Environ::mount_prefix) on. Nothing leads out of it:
///   not `..`, however it is encoded, and no link, unless it ends inside. Names that begin with a dot are not served
///   ([`show_hidden`](Self::show_hidden)), but `/.well-known/` is.
/// * **Folders** answer with their `index.html` ([`index`](Self::index)); without a slash at the end of their path, with a redirect to
///   there. There is no list of what is in them unless you ask for it ([`listing`](Self::listing)).
/// * **Methods**: GET and HEAD; others are answered 405.
/// * **Fields**: Content-Type by the name's extension, Content-Length, Last-Modified, ETag, Accept-Ranges; Cache-Control where you
///   [say so](Self::cache_control). Conditional requests and ranges are answered as RFC 9110 §13 and §14 have it.
///
/// What is missing is answered 404, what may not be read 403, each with a line of text; where the process has no more descriptors 503, as
/// each answer holds a file open; any other error is 500. [`find`](Self::find) answers only what there is, for who has something else to answer with.
///
/// A link is followed where it ends inside, also to a hidden name. `path` itself may be a link, which is followed once, when this is made: who
/// deploys by changing it starts the program anew, by SIGUSR2 without losing a request. A tag (ETag) is a file's size and time of change: a
/// build that gives all files the same time has to give those that change another name.
///
/// Files are opened anew for each request, and so are seen to change. Replace a file by renaming another one to its name: one that is
/// written in place is sent as it is just then. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Directory(Arc<Settings>);

#[derive(Clone, Debug)]
struct Settings {
    /// Canonical.
    root: PathBuf,
    index: Option<String>,
    fallback: Option<PathBuf>,
    listing: bool,
    hidden: bool,
    precompressed: bool,
    caches: Rules,
}

impl Directory {
    /// The folder at `path`. Blocks as asking a file system does: to be called when the program starts.
    ///
    /// # Errors
    /// There is no such folder, or it can't be entered.
    pub fn new(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let root = path.canonicalize().map_err(named)?;
        // Also whether it may be read.
        std::fs::read_dir(&root).map_err(named)?;
        Ok(Directory(Arc::new(Settings {
            root,
            index: Some("index.html".to_owned()),
            fallback: None,
            listing: false,
            hidden: false,
            precompressed: false,
            caches: Rules::default(),
        })))
    }

    fn set(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.0));
        self
    }

    /// The file that a folder answers with, instead of `index.html`; `None` for no such file.
    #[must_use]
    pub fn index<'a>(self, name: impl Into<Option<&'a str>>) -> Self {
        let name = name.into().map(str::to_owned);
        self.set(|it| it.index = name)
    }

    /// Answers a folder without an index with a page of links to what is in it: up to 10,000 names. Off by default, as people can
    /// leave files that nobody is to see.
    #[must_use]
    pub fn listing(self) -> Self {
        self.set(|it| it.listing = true)
    }

    /// Serves also what has a name with a dot in front: `.git`, `.env` and the like. Off by default.
    #[must_use]
    pub fn show_hidden(self) -> Self {
        self.set(|it| it.hidden = true)
    }

    /// Sends `app.js.br`, `app.js.zst` or `app.js.gz` in place of `app.js` to clients that accept that coding (RFC 9110 §12.5.3), where there
    /// is such a file beside it. Make them when you build; nothing is compressed here, and whether they fit is not checked.
    #[must_use]
    pub fn precompressed(self) -> Self {
        self.set(|it| it.precompressed = true)
    }

    /// Says `value` in the field Cache-Control of what `pattern` matches: a path below the folder, in which `*` stands for anything,
    /// slashes too. The first pattern that matches counts. By default nothing is said, and clients ask each time whether they still
    /// have the right one, or guess.
    ///
    /// ```
    /// # use adapter_core::{files::Directory, http::HeaderValue};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path();
    /// let site = Directory::new(path)?.immutable("assets/*").cache_control("*", HeaderValue::from_static("no-cache"));
    /// # Ok::<_, std::io::Error>(())
    /// ```
    #[must_use]
    pub fn cache_control(self, pattern: &str, value: HeaderValue) -> Self {
        self.set(|it| it.caches.add(pattern, value))
    }

    /// As [`cache_control`](Self::cache_control) for files that never change, as their names do instead (`app.3f9a1c.js`): for a year,
    /// without asking again. RFC 8246
    #[must_use]
    pub fn immutable(self, pattern: &str) -> Self {
        self.cache_control(pattern, HeaderValue::from_static("public, max-age=31536000, immutable"))
    }

    /// Answers what is missing with the file at `path`, below the folder, and 200: for programs in the browser that have routes of
    /// their own. Only where the client takes HTML, so that a script that is missing is still missing.
    #[must_use]
    pub fn fallback(self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.set(|it| it.fallback = Some(path))
    }

    /// The answer to `request`, where there is one: `None` is "no such file", or a method other than GET and HEAD. For an application
    /// with other answers than 404:
    ///
    /// ```
    /// # use adapter_core::{Body, Environ, Error, Request, Response, files::Directory};
    /// struct Site { files: Directory }
    ///
    /// impl adapter_core::Application for Site {
    ///     async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
    ///         if let Some(response) = self.files.find(&request, &environ).await? {
    ///             return Ok(response);
    ///         }
    ///         Ok(Response::new(Body::from("not a file, but an answer\n")))
    ///     }
    /// }
    /// ```
    ///
    /// Asks the file system on a thread that may block. Cancel safe: what was begun ends by itself.
    ///
    /// # Errors
    /// What is wrong with the file system, for 403 or 500; or the server has no thread free, for 503.
    pub fn find<B>(
        &self,
        request: &Request<B>,
        environ: &Environ,
    ) -> impl Future<Output = Result<Option<Response>, Error>> + Send + use<B> {
        let wanted = path::wanted(environ.path_info(request.uri().path()), self.0.hidden);
        let asked = Asked::of(request);
        let (settings, environ) = (self.0.clone(), environ.clone());
        async move {
            if !is_read(&asked.method) {
                return Ok(None);
            }
            off_the_loop(&environ, move |at_once| settings.answer(wanted.as_ref(), &asked, at_once)).await
        }
    }
}

impl Application for Directory {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        if !is_read(request.method()) {
            return Ok(wrong_method());
        }
        Ok(self.find(&request, &environ).await?.unwrap_or_else(|| plain(StatusCode::NOT_FOUND, "Not Found\n")))
    }
}

/// Answers `request` with the file at `path`, wherever that is: take care of who names it. As [`Directory`] does it: 304, 206, 416, 412 and
/// the fields they need; the type by the name's extension, unless you put another one into the response.
///
/// ```
/// # use adapter_core::{Environ, Error, Request, Response, files, http};
/// async fn report(request: Request, environ: Environ) -> Result<Response, Error> {
///     let mut response = files::send("reports/2026.pdf", &request, &environ).await?;
///     let name = http::HeaderValue::from_static("attachment; filename=\"report.pdf\"");
///     response.headers_mut().insert(http::header::CONTENT_DISPOSITION, name);
///     Ok(response)
/// }
/// # let answer = adapter_core::testing::Client::new(report).get("/").send();
/// # assert_eq!(answer.status(), 404);
/// ```
///
/// Asks the file system on a thread that may block. Cancel safe: what was begun ends by itself.
///
/// # Errors
/// There is no such file (404), it may not be read (403), or another one of the file system (500); the server has no thread free
/// (503).
pub fn send<B, P: AsRef<Path>>(
    path: P,
    request: &Request<B>,
    environ: &Environ,
) -> impl Future<Output = Result<Response, Error>> + Send + use<B, P> {
    let (path, asked, environ) = (path.as_ref().to_owned(), Asked::of(request), environ.clone());
    async move {
        if !is_read(&asked.method) {
            return Ok(wrong_method());
        }
        let work = move |at_once| {
            let opened = path.canonicalize().and_then(|path| open(Path::new(""), &path, &[]));
            let missing = || io::Error::new(io::ErrorKind::NotFound, "it is no file");
            let mut opened =
                opened.and_then(|opened| opened.ok_or_else(missing)).map_err(|error| failed(error, &path))?;
            opened.name.clone_from(&path);
            respond(opened, &asked.method, &asked.headers, &Told { at_once, ..Told::default() })
                .map_err(|error| failed(error, &path))
        };
        off_the_loop(&environ, work).await
    }
}

/// What is of interest of a request.
struct Asked {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Asked {
    fn of<B>(request: &Request<B>) -> Self {
        Asked { method: request.method().clone(), uri: request.uri().clone(), headers: request.headers().clone() }
    }
}

impl Settings {
    /// Blocks.
    fn answer(&self, wanted: Option<&Wanted>, asked: &Asked, at_once: u64) -> Result<Option<Response>, Error> {
        let codings: Vec<Coding> = if self.precompressed { encoding::accepted(&asked.headers) } else { Vec::new() };
        if let Some(wanted) = wanted {
            let failed = |error| failed(error, &wanted.path);
            match find(&self.root, wanted, self.index.as_deref(), &codings).map_err(failed)? {
                Found::File(opened) => return self.respond(opened, asked, at_once).map(Some),
                Found::Folder(path) if self.listing => {
                    let page = listing::page(&path, &self.root, self.hidden).map_err(failed)?;
                    let mut response = Response::new(Body::from(page));
                    let html = HeaderValue::from_static("text/html; charset=utf-8");
                    response.headers_mut().insert(header::CONTENT_TYPE, html);
                    return Ok(Some(response));
                }
                Found::MissesSlash => return Ok(Some(with_slash(&asked.uri))),
                Found::Folder(_) | Found::Nothing => {}
            }
        }
        let Some(fallback) = self.fallback.as_ref().filter(|_| takes_html(&asked.headers)) else { return Ok(None) };
        let opened = open(&self.root, fallback, &codings).map_err(|error| failed(error, fallback))?;
        opened.map(|opened| self.respond(opened, asked, at_once)).transpose()
    }

    fn respond(&self, opened: Opened, asked: &Asked, at_once: u64) -> Result<Response, Error> {
        let name = opened.name.clone();
        let with_slashes = name.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/");
        let told = Told { varies: self.precompressed, cache_control: self.caches.of(&with_slashes).cloned(), at_once };
        respond(opened, &asked.method, &asked.headers, &told).map_err(|error| failed(error, &name))
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// RFC 9110 §15.5.6
fn wrong_method() -> Response {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// To the same path with a slash, relative to what was asked for: right whoever has taken a prefix off on the way here. RFC 9110 §15.4.8,
/// RFC 3986 §4.2: with `./`, as a name with a colon would be a scheme.
fn with_slash(uri: &Uri) -> Response {
    let last = uri.path().rsplit('/').next().unwrap_or_default();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = plain(StatusCode::TEMPORARY_REDIRECT, "Temporary Redirect\n");
    if let Ok(location) = HeaderValue::from_str(&format!("./{last}/{query}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Whether a person may be there to see it.
fn takes_html(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accept
        .flat_map(|value| value.split(','))
        .any(|range| range.trim_start().to_ascii_lowercase().starts_with("text/html"))
}

/// What the file system says, with the status that means it.
fn failed(error: io::Error, path: &Path) -> Error {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    let status = match error.kind() {
        NotFound | NotADirectory => StatusCode::NOT_FOUND,
        PermissionDenied => StatusCode::FORBIDDEN,
        _ if unlinked::is_out_of_files(&error) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    // A name may have lines in it, which would be lines of the log.
    Error::new(io::Error::new(error.kind(), format!("{path:?}: {error}"))).with_status(status)
}

/// Runs `work` where blocking is allowed, and says how many octets of a file it should read there.
async fn off_the_loop<T: Send + 'static>(
    environ: &Environ,
    work: impl FnOnce(u64) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    /// Up to this reading a file costs less than another call of the system that sends it.
    const HERE: u64 = 16 * 1024;
    /// Up to this it costs less than another way to a thread that may block.
    const THERE: u64 = 64 * 1024;
    if environ.runtime().may_block() { work(HERE) } else { environ.runtime().run_blocking(|| work(THERE)).await? }
}

#[cfg(test)]
mod tests;
