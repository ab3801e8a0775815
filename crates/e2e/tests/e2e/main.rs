//! The program from outside: started with files and flags, asked over sockets. Nothing of it is linked in.
//!
//! One test binary, so that the program is built once. Each test has a gateway of its own on ports of its own.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what the gateway said"
)]

mod admin;
mod backend;
mod balancing;
mod caching;
mod canary;
mod client;
mod clients;
mod commands;
mod configuration;
mod credentials;
mod departures;
mod docs;
mod faults;
mod gateway;
mod grpc;
mod http2;
mod insight;
mod logging;
mod malformed;
mod mirroring;
mod monitoring;
mod mtls;
mod name_resolution;
mod name_server;
mod packages;
mod peer;
mod pki;
mod postgres;
mod program;
mod proxying;
mod rate_limiting;
mod rate_limiting_advanced;
mod raw_paths;
mod real_ip;
mod redis;
mod redis_servers;
mod reload;
mod retries;
mod script;
mod streams;
mod target;
mod tls;
mod torture;
mod tracing;
mod unix;
mod upstream;
mod upstreams;
mod websocket;
