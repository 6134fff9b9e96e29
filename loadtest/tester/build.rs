//! Generates client and server of the one call between controller and agents. Its messages are Rust types (`src/link`) sent as
//! JSON: both ends are this same program, and a second description of every figure would only drift.

fn main() {
    let drive = tonic_build::manual::Method::builder()
        .name("drive")
        .route_name("Drive")
        .input_type("crate::link::Order")
        .output_type("crate::link::Report")
        .codec_path("crate::link::JsonCodec")
        .client_streaming()
        .server_streaming()
        .build();
    let agent = tonic_build::manual::Service::builder()
        .name("Agent")
        .package("longline.loadtest.v1")
        .method(drive)
        .build();
    tonic_build::manual::Builder::new().compile(&[agent]);
}
