//! Tests of `bot-detection`.

use super::*;
use pdk::testing::{Harness, complete};
use serde_json::json;

fn status(h: &Harness, agent: &str) -> u16 {
    h.send(&format!("GET /\nUser-Agent: {agent}")).status
}

#[test]
fn known_crawlers_are_kept_out_and_people_pass() {
    let h = Harness::new(&DEFINITION, json!({}));
    for agent in [
        "Googlebot/2.1 (+http://www.google.com/bot.html)",
        "  Googlebot/2.1  ",
        "Mozilla/5.0 (compatible; bingbot/2.0)",
        "facebookexternalhit/1.1",
        "Twitterbot/1.0",
        "Python-urllib/3.8",
        "Go-http-client/1.1",
        "Apache-HttpClient/4.5",
        "okhttp/4.9",
        "axios/1.6",
        "reqwest/0.11",
        "Scrapy/2.8",
        "my spider",
        "SomeCrawler/1.0",
        "aws-cli/2.0",
        "Boto3/1.26",
        "Slackbot-LinkExpanding 1.0",
        "WhatsApp/2.0",
        "Pingdom.com_bot_version_1.4",
        "favicon fetcher",
        "archiver/2",
        "LinkedInBot/1.0",
        "Yahoo! Slurp",
        "Mozilla/5.0 Safari/537.36 PTST/210",
        "Some Bot 1.0",
        "YahooSeeker",
        "BoardReader Blog Indexer(a)",
    ] {
        assert_eq!(status(&h, agent), 403, "{agent}");
    }
    for agent in [
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
        "curl/8.5.0",
        "python-requests/2.31",
        "my-app/1.0",
        "CUBOT X",
        "robot",
        "bot",
        "HeadlessChrome/90",
        "PTST/210",
        "GOOGLEBOT/2.1",
        "Wget/1.21",
        "kube-probe/1.27",
        "",
    ] {
        assert_eq!(status(&h, agent), 200, "{agent}");
    }
    assert_eq!(h.send("GET /").status, 200);
}

#[test]
fn two_user_agents_are_refused() {
    let exchange = Harness::new(&DEFINITION, json!({})).send("GET /\nUser-Agent: a\nUser-Agent: b");
    assert_eq!(exchange.status, 400);
    assert!(exchange.body.contains("Only one User-Agent header allowed"), "{}", exchange.body);
}

#[test]
fn allow_counts_before_deny_and_deny_before_the_known() {
    let h = Harness::new(
        &DEFINITION,
        json!({ "allow": ["^Googlebot", "good"], "deny": ["curl/\\d", "(?i)MOZILLA", "good"] }),
    );
    for (agent, want) in [
        ("Googlebot/2.1", 200),
        ("xGooglebot/2.1", 403),
        ("a good bot/1", 200),
        ("curl/8", 403),
        ("Curl/8", 200),
        ("mozilla", 403),
        ("fine", 200),
    ] {
        assert_eq!(status(&h, agent), want, "{agent}");
    }
}

#[test]
fn regexes_that_only_pcre_has_work_too() {
    let h = Harness::new(&DEFINITION, json!({ "deny": ["^(?!Mozilla)", "(a)\\1"] }));
    for (agent, want) in [("Mozilla/5.0", 200), ("other", 403), ("Mozilla aa", 403)] {
        assert_eq!(status(&h, agent), want, "{agent}");
    }
}

#[test]
fn a_list_is_of_valid_regexes() {
    for (config, want) in [
        (json!({ "allow": ["("] }), json!({ "allow": ["not a valid regex: ("] })),
        (json!({ "deny": "x" }), json!({ "deny": "expected an array" })),
        (json!({ "deny": [1] }), json!({ "deny": ["expected a string"] })),
    ] {
        assert_eq!(complete(&DEFINITION, config.clone()), Err(json!({ "config": want })), "{config}");
    }
    assert_eq!(complete(&DEFINITION, json!({})), Ok(json!({ "allow": [], "deny": [] })));
}
