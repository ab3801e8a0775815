//! What a pick and its release cost: `cargo bench -p balancer`. The goals of a pick are 150 ns with 10 targets and 300 ns with
//! 1,000.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use balancer::{AlgorithmKind, Balancer, Beyond, HashOn, Record, Resolution, ResolvedTarget, Settings, States};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use uuid::Uuid;

/// Requests under way at a time.
const HELD: usize = 200;

criterion_group!(benches, pick);
criterion_main!(benches);

fn pick(criterion: &mut Criterion) {
    for algorithm in [
        AlgorithmKind::RoundRobin,
        AlgorithmKind::LeastConnections,
        AlgorithmKind::Latency,
        AlgorithmKind::ConsistentHashing,
    ] {
        let mut group = criterion.benchmark_group(format!("{algorithm:?}"));
        for targets in [10, 1000] {
            let balancer = balancer(algorithm, targets);
            let id = |part| BenchmarkId::new(part, format!("{targets} targets"));
            group.bench_function(id("pick"), |bencher| bencher.iter_custom(|times| measure(&balancer, times).0));
            group.bench_function(id("release"), |bencher| bencher.iter_custom(|times| measure(&balancer, times).1));
        }
        group.finish();
    }
}

/// How long so many picks take, and how long their releases.
fn measure(balancer: &Balancer, times: u64) -> (Duration, Duration) {
    let (mut pick, mut release) = (Duration::ZERO, Duration::ZERO);
    let mut held = Vec::with_capacity(HELD);
    let mut hash = 0_u32;
    let mut left = times;
    while left > 0 {
        let now = left.min(HELD as u64);
        left -= now;
        let start = Instant::now();
        for _ in 0..now {
            hash = hash.wrapping_add(2_654_435_761);
            held.extend(black_box(balancer.pick(black_box(Some(hash)), &[])));
        }
        let picked = Instant::now();
        held.clear();
        pick += picked - start;
        release += picked.elapsed();
    }
    (pick, release)
}

fn balancer(algorithm: AlgorithmKind, targets: u32) -> Balancer {
    let settings = Settings {
        id: Uuid::nil(),
        name: "speed".into(),
        algorithm,
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
