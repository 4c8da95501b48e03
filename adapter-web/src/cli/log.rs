//! What the flags say of logging, as far as it can be wrong.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::args::Args;
use super::exit::Exit;
use crate::access_log::Format;

impl Args {
    /// What the access log writes: a file is for lines.
    ///
    /// # Errors
    /// A file, for what is no lines.
    pub(crate) fn access_log_format(&self) -> Result<Format, Exit> {
        match (self.access_log, &self.access_log_file) {
            (Format::Off, Some(_)) => Ok(Format::Common),
            (Format::Events, Some(_)) => {
                Err(Exit::usage("--access-log-file: events are no lines; use --access-log common, combined or json"))
            }
            (format, _) => Ok(format),
        }
    }

    /// What `--log` says, as a filter; `None` where it says nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn log_filter(&self) -> Result<Option<EnvFilter>, Exit> {
        let Some(directives) = &self.log else { return Ok(None) };
        // tracing would take a misspelt level for the name of a target, and log nothing.
        let is_level = |part: &str| part.parse::<LevelFilter>().is_ok();
        let mut parts = directives.split(',');
        match parts.find(|part| !part.contains(['=', '[', '{', '}', ']']) && !is_level(part)) {
            Some(part) => {
                let levels = "off, error, warn, info, debug, trace";
                Err(Exit::usage(format_args!("--log: {part:?} is no level ({levels})")))
            }
            None => {
                EnvFilter::try_new(directives).map(Some).map_err(|error| Exit::usage(format_args!("--log: {error}")))
            }
        }
    }
}
