//! uvicorn with what it itself recommends to go with it, from PyPI: installed below `target/`, and started.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PACKAGE: &str = "uvicorn[standard]==0.54.0";

/// Installs it, if it is not; the Python that has it.
pub fn find(here: &Path) -> Result<PathBuf, String> {
    eprintln!("installing {PACKAGE}");
    let place = here.join("target/uvicorn");
    let python = place.join("bin/python3");
    let run = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("cannot be installed: no python3: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let reason = text.lines().rfind(|line| line.starts_with("ERROR")).unwrap_or("python3 failed").to_string();
        Err(format!("cannot be installed: {reason}"))
    };
    if !place.join("bin/pip").exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&place))?;
    }
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]))?;
    Ok(python)
}

/// What that Python is to do.
pub fn arguments(port: u16, threads: usize) -> Vec<String> {
    let application = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/uvicorn");
    let fixed = ["-B", "-m", "uvicorn", "--host", "127.0.0.1", "--backlog", "4096", "--log-level", "critical"];
    let mut arguments: Vec<String> = fixed.map(String::from).into();
    arguments.extend(["--no-access-log".into(), "--app-dir".into(), application.display().to_string()]);
    // One worker is the process itself, so that tools which follow one process see it.
    arguments.extend(["--workers".into(), threads.to_string(), "--port".into(), port.to_string()]);
    arguments.push("application:application".into());
    arguments
}
