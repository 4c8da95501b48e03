//! Compiles the .proto file without `protoc`.

use std::error::Error;
use std::path::Path;

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let described = protox::compile(["numbers.proto"], ["proto"])?;
    // For the reflection service.
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("numbers.bin"), described.encode_to_vec())?;
    // Connections are the business of the server, and of whoever makes a client.
    tonic_prost_build::configure().build_transport(false).compile_fds(described)?;
    Ok(())
}
