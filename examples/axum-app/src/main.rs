//! `cargo run --release -p axum-app -- --server threadpool`, and open <http://127.0.0.1:8080>.

fn main() -> std::process::ExitCode {
    adapter_web::serve!(adapter_web::axum_at_startup(axum_app::app))
}
