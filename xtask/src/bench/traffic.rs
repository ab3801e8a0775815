//! Traffic under load: for each case both proxies are started, warmed up, and measured in turn round by round.

use super::load::{self, Answered, Load};
use super::proxies::{Bench, Certificate, KEY, Proxy, Task};
use super::{nginx, report, side_by_side};
use crate::client;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const WARM_UP: Duration = Duration::from_secs(1);

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    task: Task,
    load: Load,
    pub(super) goal: Option<Goal>,
}

/// The processor time a request may cost, as a multiple.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    OfNginx(f64),
    /// Of what it costs another gateway with less to do, side by side.
    Of(f64, Less),
}

/// What a gateway is compared with that has less to do, and the load that it gets.
#[derive(Clone, Copy)]
pub(super) struct Less {
    pub(super) name: &'static str,
    task: Task,
    load: Load,
}

const PLAIN: Load = Load::Get { path: "/", tls: false, header: None };
const ONE: Less = Less { name: "one route", task: Task::Routes(1), load: PLAIN };
/// A path is taken off and told to the upstream, as that of each of many routes is.
const ONE_PATH: Less = Less {
    name: "one route with such a path",
    task: Task::Path,
    load: Load::Get { path: "/r1000/x", tls: false, header: None },
};
/// A regex costs what it costs also among few.
const FEW: Less = Less { name: "20 routes of these kinds", task: Task::Mixed(20), load: Load::Mixed { count: 20 } };

pub(super) const API_KEY: &str = "apikey: a-key-of-the-benchmark";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "one-route",
        about: "one route, no plugins, 100 B answers",
        task: Task::Routes(1),
        load: PLAIN,
        goal: Some(Goal::OfNginx(1.10)),
    },
    Case {
        name: "auth-and-limit",
        about: "key-auth and rate-limiting; nginx without either",
        task: Task::KeyAndRate,
        load: Load::Get { path: "/", tls: false, header: Some(API_KEY) },
        goal: Some(Goal::OfNginx(1.35)),
    },
    Case {
        name: "route-terms",
        about: "one route with time-outs, a retry policy and a raw path of its own",
        task: Task::Terms,
        load: PLAIN,
        goal: Some(Goal::Of(1.05, ONE)),
    },
    Case {
        name: "10k-routes",
        about: "10,000 routes, requests spread over all of them; nginx with one location",
        task: Task::Routes(10_000),
        load: Load::Spread { count: 10_000 },
        goal: Some(Goal::Of(1.05, ONE_PATH)),
    },
    Case {
        name: "100k-routes",
        about: "100,000 routes by host, prefix and regex, requests spread over them; nginx with one location",
        task: Task::Mixed(super::changes::ROUTES),
        load: Load::Mixed { count: super::changes::ROUTES },
        goal: Some(Goal::Of(1.10, FEW)),
    },
    Case {
        name: "tls",
        about: "TLS over kept connections",
        task: Task::Routes(1),
        load: Load::Get { path: "/", tls: true, header: None },
        goal: None,
    },
    Case {
        name: "handshakes",
        about: "a new TLS connection for every request (P-256)",
        task: Task::Routes(1),
        load: Load::Handshakes,
        goal: None,
    },
    Case {
        name: "http2",
        about: "HTTP/2 over TLS: 8 connections, 16 streams each",
        task: Task::Routes(1),
        load: Load::Http2,
        goal: None,
    },
    Case {
        name: "download",
        about: "answers of 1 MiB",
        task: Task::Routes(1),
        load: Load::Get { path: "/mib", tls: false, header: None },
        goal: None,
    },
    Case { name: "upload", about: "request bodies of 1 MiB", task: Task::Routes(1), load: Load::Upload, goal: None },
];

/// One proxy in one round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) answered: Answered,
    /// Processor time of one request.
    pub(super) user: Duration,
    pub(super) system: Duration,
}

/// All rounds of a case.
pub(super) struct Measured<'a> {
    pub(super) case: &'a Case,
    pub(super) nginx: Side,
    pub(super) candidate: Side,
    /// The candidate's processor time for a request to nginx's, under load side by side.
    pub(super) ratios: Vec<f64>,
    /// The same to a gateway with less to do, where the case names one.
    pub(super) less: Vec<f64>,
}

#[derive(Default)]
pub(super) struct Side {
    pub(super) rounds: Vec<Figures>,
    /// In KiB.
    pub(super) peak_memory: u64,
}

pub(super) fn measure(bench: &Bench, cases: &[&Case]) -> Result<Value> {
    let certificate = Certificate::make(&bench.scratch)?;
    let (_upstream, upstream) = nginx::upstream(&bench.scratch.join("upstream"))?;
    let mut measured = Vec::new();
    for case in cases {
        println!("{}: {}", case.name, case.about);
        let folder = bench.scratch.join(case.name);
        measured.push(measure_case(bench, case, upstream, &certificate, &folder).context(case.name)?);
    }
    println!("\n{}", report::table(&measured));
    Ok(report::json(&measured))
}

fn measure_case<'a>(
    bench: &Bench,
    case: &'a Case,
    upstream: SocketAddr,
    certificate: &Certificate,
    folder: &Path,
) -> Result<Measured<'a>> {
    let nginx = bench.start_nginx(&folder.join("nginx"), upstream, certificate)?;
    let candidate = bench.start_candidate(&folder.join("candidate"), case.task, upstream, certificate)?;
    for proxy in [&nginx, &candidate] {
        // One wrong answer here says more than a load generator's count of them.
        let answer = client::get(proxy.http, "/r0/x", &[("apikey", KEY)])?;
        ensure!(answer.status == 200, "a request was answered {}", answer.status);
        load::send(bench, case.load, proxy, WARM_UP, folder)?;
    }
    let mut measured =
        Measured { case, nginx: Side::default(), candidate: Side::default(), ratios: Vec::new(), less: Vec::new() };
    for round in 0..bench.rounds {
        // Who goes first changes, so that a drift of the machine favours neither.
        let mut turns = [(&nginx, &mut measured.nginx), (&candidate, &mut measured.candidate)];
        if round % 2 == 1 {
            turns.reverse();
        }
        for (proxy, side) in turns {
            side.rounds.push(measure_round(bench, case.load, proxy, folder)?);
        }
    }
    for _ in 0..bench.rounds {
        let [ours, theirs] = side_by_side::costs(bench, [(&candidate, case.load), (&nginx, case.load)], folder)?;
        measured.ratios.push(ours / theirs);
    }
    if let Some(Goal::Of(_, less)) = case.goal {
        let other = bench.start_candidate(&folder.join("less"), less.task, upstream, certificate)?;
        load::send(bench, less.load, &other, WARM_UP, folder)?;
        for _ in 0..bench.rounds {
            let [ours, theirs] = side_by_side::costs(bench, [(&candidate, case.load), (&other, less.load)], folder)?;
            measured.less.push(ours / theirs);
        }
    }
    measured.nginx.peak_memory = nginx.running.memory().peak;
    measured.candidate.peak_memory = candidate.running.memory().peak;
    Ok(measured)
}

pub(super) fn measure_round(bench: &Bench, load: Load, proxy: &Proxy, folder: &Path) -> Result<Figures> {
    let before = proxy.running.usage();
    let answered = load::send(bench, load, proxy, bench.time(), folder)?;
    let after = proxy.running.usage();
    ensure!(answered.requests > 0, "nothing was answered");
    let each = |time: Duration| time.div_f64(answered.requests as f64);
    Ok(Figures {
        answered,
        user: each(after.user.saturating_sub(before.user)),
        system: each(after.system.saturating_sub(before.system)),
    })
}

impl Figures {
    pub(super) fn cpu(&self) -> Duration {
        self.user + self.system
    }
}

impl Measured<'_> {
    pub(super) fn ratio(&self) -> f64 {
        report::median(self.ratios.iter().copied())
    }
}

impl Side {
    /// The median over the rounds.
    pub(super) fn median(&self, figure: impl Fn(&Figures) -> f64) -> f64 {
        report::median(self.rounds.iter().map(figure))
    }
}
