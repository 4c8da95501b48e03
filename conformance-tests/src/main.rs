//! The command `conformance` with the servers of this project: see `conformance_tests::command`.

fn main() -> std::process::ExitCode {
    conformance_tests::command::main(&[])
}
