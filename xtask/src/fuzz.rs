//! `make fuzz`: every parser under random changes of known inputs, one after the other, for minutes each. What fails prints
//! the input, which then belongs among the seeds of its test.

use crate::project;
use anyhow::{Context, Result, ensure};

/// What can be run: a word to choose it by, its crate and its test.
const TARGETS: &[(&str, &str, &str)] = &[
    ("request", "proxy", "http::fuzz::a_request_head_is_read_one_way_only"),
    ("response", "proxy", "http::fuzz::a_response_head_is_read_one_way_only"),
    ("chunked", "proxy", "http::fuzz::a_chunked_body_is_read_one_way_only"),
    ("proxy-protocol", "proxy", "listen::proxy_protocol::tests::random_headers_are_read_one_way_only"),
    ("uri", "router", "tests::fuzz::a_normal_path_is_normal"),
    ("raw-uri", "router", "tests::fuzz::a_raw_path_leads_nowhere_else"),
    ("expressions", "router", "tests::fuzz::an_expression_means_what_kongs_engine_says"),
    ("kong-yml", "entities", "declarative::tests::fuzz::a_file_is_refused_or_says_the_same_when_it_is_exported"),
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which ones: request, response, chunked, proxy-protocol, uri, raw-uri, expressions, kong-yml; all if not given
    targets: Vec<String>,
    /// How long each of them runs
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    for name in &options.targets {
        ensure!(TARGETS.iter().any(|(known, ..)| known == name), "there is no target {name}: see --help");
    }
    let chosen =
        TARGETS.iter().filter(|(name, ..)| options.targets.is_empty() || options.targets.iter().any(|n| n == name));
    for (name, package, test) in chosen {
        println!("{name}: {} s", options.seconds);
        let status = project::cargo()
            .args(["test", "--quiet", "-p", package, "--lib", "--", "--nocapture", "--exact", test])
            .env("FUZZ_SECONDS", options.seconds.to_string())
            .status()
            .context("cannot run cargo")?;
        ensure!(status.success(), "{name} failed; the input stands above: put it among the seeds of {test}");
    }
    Ok(())
}
