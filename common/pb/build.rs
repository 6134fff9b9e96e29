//! Generates the code for every .proto file, without protoc.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let packages =
        ["types", "client", "keeper", "register", "saver", "room", "center", "coordinator", "dispatcher"];
    let files: Vec<PathBuf> =
        packages.iter().map(|p| root.join(format!("longline/{p}/v1/{p}.proto"))).collect();
    for file in &files {
        println!("cargo:rerun-if-changed={}", file.display());
    }
    let descriptors = protox::compile(&files, [&root])?;
    tonic_prost_build::configure()
        // Payloads of a batch share one buffer instead of being copied out one by one.
        .bytes(".longline.types.v1.Message.payload")
        .bytes(".longline.client.v1.Push.payload")
        .bytes(".longline.client.v1.Uplink.payload")
        .bytes(".longline.coordinator.v1.UplinkRequest.payload")
        .bytes(".longline.saver.v1.UplinkRecord.payload")
        .bytes(".longline.center.v1.SendRequest.payload")
        .bytes(".longline.center.v1.BroadcastRequest.payload")
        .compile_fds(descriptors)?;
    Ok(())
}
