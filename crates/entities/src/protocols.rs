//! The protocols that services, routes and plugins know.

/// All of them.
pub(crate) const PROTOCOLS: [&str; 8] = ["grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp"];

/// What a plugin or route that does not say serves.
pub(crate) const HTTP_FAMILY: [&str; 4] = ["grpc", "grpcs", "http", "https"];
