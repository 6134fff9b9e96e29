//! How the services talk to each other: pipelines (batches over one stream per method and node), the channel table by role,
//! and the settings every gRPC connection in the cluster shares.
//!
//! A caller holds [`Peers`], makes [`Pipelines`] of the methods it needs, and submits single requests or groups. A service
//! answers a pipelined method with [`serve`].

mod any;
mod method;
pub mod methods;
mod metrics;
mod peers;
mod pipeline;
mod pipelines;
mod serve;
mod settings;
mod status;

pub use method::{Method, Opening};
pub use peers::Peers;
pub use pipeline::{Linger, PipelineOptions, WhenFull};
pub use pipelines::Pipelines;
pub use serve::{PipelineStream, ServeOptions, serve};
pub use settings::{MAX_MESSAGE, endpoint, listen};
pub use status::{error, status};
