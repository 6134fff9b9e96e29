//! Pipelines, the channel table by role, and the settings every gRPC connection in the cluster shares.
