//! A whole program: its command line, its name and version, and how it ends.

use std::path::Path;
use std::process::ExitCode;

use adapter_core::server::LastReference;
use adapter_core::{Application, DynApplication};

use crate::cli::{self, Plain};
use crate::launch::run;

/// Serves `application` as the command line says, until a signal ends it: the body of a `fn main`.
///
/// Wrong use and failures are told in one line on stderr, and by the exit status: 2 for wrong use, 1 for what failed
/// at run time. SIGINT and SIGTERM drain, a second one forces, a third one kills; the same one within a second is the first
/// once more. The other signals are told in the [crate documentation](crate#signals).
///
/// `--help` and `--version` tell the program's name from how it was called, and this crate's version, for the program's
/// own is not known to a function: the macro [`serve!`](crate::serve!) knows it. Programs with flags call [`cli::main`].
///
/// ```no_run
/// use adapter_web::{Body, Environ, Error, Request, Response};
///
/// fn main() -> std::process::ExitCode {
///     adapter_web::serve(|_request: Request, _environ: Environ| async {
///         Ok::<_, Error>(Response::new(Body::from("Hello, World!\n")))
///     })
/// }
/// ```
pub fn serve(application: impl Application) -> ExitCode {
    Program::unknown().serve(application)
}

/// As the function [`serve`](fn@crate::serve), with the version of the crate that calls it for `--version`, and its
/// description for `--help`: `shop 0.3.0`.
///
/// ```no_run
/// use adapter_web::{Body, Environ, Error, Request, Response};
///
/// async fn hello(_request: Request, _environ: Environ) -> Result<Response, Error> {
///     Ok(Response::new(Body::from("Hello, World!\n")))
/// }
///
/// fn main() -> std::process::ExitCode {
///     adapter_web::serve!(hello)
/// }
/// ```
///
/// `serve!(hello, about = "Says hello")` has a description of its own.
#[macro_export]
macro_rules! serve {
    ($application:expr, about = $about:expr $(,)?) => {
        $crate::Program::new(::core::option_env!("CARGO_PKG_VERSION"), ::core::option_env!("CARGO_PKG_DESCRIPTION"))
            .about($about)
            .serve($application)
    };
    ($application:expr $(,)?) => {
        $crate::Program::new(::core::option_env!("CARGO_PKG_VERSION"), ::core::option_env!("CARGO_PKG_DESCRIPTION"))
            .serve($application)
    };
}

/// What a program without flags of its own says of itself. Made by [`serve!`](crate::serve!).
#[derive(Clone, Debug)]
pub struct Program {
    version: String,
    about: String,
}

impl Program {
    /// A program of that version and description, where they are known.
    pub fn new(version: Option<&str>, about: Option<&str>) -> Self {
        let mut program = Program::unknown();
        if let Some(version) = version {
            version.clone_into(&mut program.version);
        }
        match about {
            Some(about) if !about.is_empty() => program.about(about),
            _ => program,
        }
    }

    fn unknown() -> Self {
        let version = concat!("(version unknown), on adapter ", env!("CARGO_PKG_VERSION")).to_owned();
        Program { version, about: "Serves its application over HTTP, by a server picked by name".into() }
    }

    /// With another description.
    #[must_use]
    pub fn about(mut self, about: impl Into<String>) -> Self {
        self.about = about.into();
        self
    }

    /// As the function [`serve`](fn@crate::serve).
    pub fn serve(self, application: impl Application) -> ExitCode {
        let application = DynApplication::new(application);
        let _last = LastReference::of(&application);
        let name = program_name(std::env::args_os().next().as_deref().map(Path::new));
        let command = <Plain as clap::CommandFactory>::command().name(name).version(self.version).about(self.about);
        let parsed = cli::parse_with(command, std::env::args_os());
        match parsed.and_then(|plain: Plain| run(application, &plain.args)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(exit) => exit.report(),
        }
    }
}

/// The file this process was started from, without its folder.
fn program_name(called: Option<&Path>) -> String {
    let name = called.and_then(Path::file_stem).map(|name| name.to_string_lossy().into_owned());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "the program".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_called_by_their_file() {
        assert_eq!(program_name(Some(Path::new("/usr/bin/shop"))), "shop");
        assert_eq!(program_name(Some(Path::new(""))), "the program");
        assert_eq!(program_name(None), "the program");
    }
}
