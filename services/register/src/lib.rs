//! The register service.
