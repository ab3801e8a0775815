//! Nanoseconds of a pick and of its release: `cargo run --release -p balancer --example pick`.
#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use balancer::{AlgorithmKind, Balancer, Beyond, HashOn, Record, Resolution, ResolvedTarget, Settings, States};
use uuid::Uuid;

const ROUNDS: u32 = 1_000_000;
const HELD: u32 = 200;

fn main() {
    println!(
        "{:<20} {:>8} {:>8} {:>10} {:>10} {:>10}",
        "algorithm", "targets", "threads", "pick ns", "release ns", "build us"
    );
    for algorithm in [
        AlgorithmKind::RoundRobin,
        AlgorithmKind::LeastConnections,
        AlgorithmKind::Latency,
        AlgorithmKind::ConsistentHashing,
    ] {
        for targets in [1, 10, 100, 1000] {
            for threads in [1, 2] {
                let start = Instant::now();
                let balancer = balancer(algorithm, targets);
                let build = start.elapsed().as_micros();
                let (pick, release) = measure(&balancer, threads);
                let name = format!("{algorithm:?}");
                println!("{name:<20} {targets:>8} {threads:>8} {pick:>10.1} {release:>10.1} {build:>10}");
            }
        }
    }
}

/// The mean of a pick and of its release, `HELD` requests being under way at a time.
fn measure(balancer: &Balancer, threads: u32) -> (f64, f64) {
    let of_thread = |thread: u32| {
        let (mut pick, mut release) = (Duration::ZERO, Duration::ZERO);
        let mut held = Vec::with_capacity(HELD as usize);
        for round in 0..ROUNDS / HELD {
            let start = Instant::now();
            for request in 0..HELD {
                let hash = (round * HELD + request + thread).wrapping_mul(2_654_435_761);
                held.extend(black_box(balancer.pick(black_box(Some(hash)), &[])));
            }
            let picked = Instant::now();
            held.clear();
            pick += picked - start;
            release += picked.elapsed();
        }
        (pick, release)
    };
    let (mut pick, mut release) = (Duration::ZERO, Duration::ZERO);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || of_thread(thread))).collect();
        for thread in running {
            let (of_picks, of_releases) = thread.join().unwrap_or_default();
            pick += of_picks;
            release += of_releases;
        }
    });
    let mean = |total: Duration| total.as_nanos() as f64 / f64::from(ROUNDS * threads);
    (mean(pick), mean(release))
}

fn balancer(algorithm: AlgorithmKind, targets: u32) -> Balancer {
    let settings = Settings {
        id: Uuid::nil(),
        name: "speed".into(),
        algorithm,
        slots: 10_000,
        hash_on: HashOn::Path,
        hash_fallback: HashOn::None,
        use_srv_name: false,
        threshold: 0.0,
        checks: None,
        beyond: Beyond::default(),
    };
    let now = Instant::now();
    let targets = (0..targets).map(|number| {
        let ip = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0001 + number));
        let records = vec![Record { ip, port: None, weight: None, name: None }];
        Arc::new(ResolvedTarget {
            id: Uuid::from_u128(u128::from(number)),
            host: ip.to_string().into(),
            port: 80,
            weight: 100 + number % 7,
            created_at: f64::from(number),
            is_failover: false,
            locality: None,
            resolution: Resolution::Records { dns: "A", records },
        })
    });
    let states = States::default();
    Balancer::new(Arc::new(settings), targets, states.upstream(Uuid::nil(), 7, now), now)
}
