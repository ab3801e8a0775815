//! Proxies under load at the same time and on the same core, each with a load generator of its own. What the machine does to
//! one of them (a slower clock, a neighbour of a virtual machine) it does to all, so that their costs compare where those
//! of turns one after the other do not.

use super::load::{self, Load};
use super::proxies::{Bench, Proxy};
use super::report::median;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::thread;

/// What a request costs with and without something; an entry a round.
pub(super) struct Compared {
    pub(super) without: Vec<f64>,
    pub(super) with: Vec<f64>,
    /// What it costs nginx to proxy one: how fast the machine is.
    pub(super) nginx: Vec<f64>,
    /// How many times as much a request with it costs.
    of_nginx: Vec<f64>,
}

/// Microseconds of processor time that a request costs each proxy, over one round of load.
pub(super) fn costs<const N: usize>(bench: &Bench, sides: [(&Proxy, Load); N], folder: &Path) -> Result<[f64; N]> {
    let before = sides.map(|(proxy, _)| proxy.running.processor_time());
    let answered = thread::scope(|scope| {
        let senders = std::array::from_fn::<_, N, _>(|at| {
            let (proxy, load) = sides[at];
            scope.spawn(move || {
                let folder = folder.join(format!("load-{at}"));
                std::fs::create_dir_all(&folder)?;
                load::send(bench, load, proxy, bench.time(), &folder)
            })
        });
        senders.map(|sender| sender.join().unwrap_or_else(|_| anyhow::bail!("a load generator's thread panicked")))
    });
    let mut costs = [0.0; N];
    for (at, answered) in answered.into_iter().enumerate() {
        let requests = answered.with_context(|| format!("load {at}"))?.requests;
        ensure!(requests > 0, "nothing was answered");
        let spent = sides[at].0.running.processor_time().saturating_sub(before[at]);
        costs[at] = spent.as_secs_f64() * 1e6 / requests as f64;
    }
    Ok(costs)
}

/// Two equal gateways, one of which gets requests without something and the other those with it. They change parts in each
/// round, so that the place of one of them in memory favours neither. Then one of them is beside nginx.
pub(super) fn compare(
    bench: &Bench,
    [first, second]: [&Proxy; 2],
    nginx: &Proxy,
    [without, with]: [Load; 2],
    folder: &Path,
) -> Result<Compared> {
    let plain = Load::Get { path: "/", tls: false, header: None };
    let mut compared = Compared { without: Vec::new(), with: Vec::new(), nginx: Vec::new(), of_nginx: Vec::new() };
    for _ in 0..bench.rounds {
        let one = costs(bench, [(first, without), (second, with)], folder)?;
        let other = costs(bench, [(second, without), (first, with)], folder)?;
        compared.without.push(f64::midpoint(one[0], other[0]));
        compared.with.push(f64::midpoint(one[1], other[1]));
        let [ours, theirs] = costs(bench, [(first, with), (nginx, plain)], folder)?;
        compared.nginx.push(theirs);
        compared.of_nginx.push(ours / theirs);
    }
    Ok(compared)
}

impl Compared {
    /// Microseconds that a request costs more.
    pub(super) fn more(&self) -> f64 {
        self.median_of(|with, without| with - without)
    }

    /// How many times as much it costs.
    pub(super) fn times(&self) -> f64 {
        self.median_of(|with, without| with / without)
    }

    /// How many times what nginx's plain proxying costs.
    pub(super) fn of_nginx(&self) -> f64 {
        median(self.of_nginx.iter().copied())
    }

    fn median_of(&self, figure: fn(f64, f64) -> f64) -> f64 {
        median(self.with.iter().zip(&self.without).map(|(with, without)| figure(*with, *without)))
    }
}
