//! Code generated from `proto/`, and the conversions between it and `longline-types`.
//!
//! Nothing here is written by hand but [`convert`]: the messages' and fields' meaning is in the .proto files.

pub mod convert;

/// A module per package, with the generated code. The version is in the path for what is generated, and left out by those who
/// use it.
macro_rules! packages {
    ($($name:ident),*) => { $(
        #[allow(missing_docs, unreachable_pub, clippy::all)]
        pub mod $name {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/longline.", stringify!($name), ".v1.rs"));
            }
            pub use v1::*;
        }
    )* };
}

packages!(types, client, keeper, register, saver, room, center, coordinator, dispatcher);
