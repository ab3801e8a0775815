//! What the load generators say is understood, and a broken run is not taken for a figure.

use super::*;
use load::{Answered, read_h2load, read_wrk};

const WRK: &str = "Running 3s test @ http://127.0.0.1:1\n  1 threads and 64 connections\n  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency     1.06ms  100.00us   3.00ms   90.00%\n    Req/Sec    60.00k     1.00k   62.00k    70.00%\n  Latency Distribution\n     50%    1.02ms\n     75%    1.10ms\n     90%    1.20ms\n     99%  950.00us\n  180123 requests in 3.00s, 40.00MB read\nRequests/sec:  60041.00\nTransfer/sec:     13.33MB\n";

#[test]
fn reads_what_wrk_says() {
    let expected = Answered {
        requests: 180_123,
        per_second: 60_041.0,
        half: Duration::from_micros(1020),
        p99: Duration::from_micros(950),
    };
    assert_eq!(read_wrk(WRK).unwrap(), expected);
}

#[test]
fn a_wrong_answer_or_a_broken_connection_is_no_figure() {
    for line in ["  Non-2xx or 3xx responses: 5\n", "  Socket errors: connect 0, read 1, write 0, timeout 0\n"] {
        let error = read_wrk(&format!("{WRK}{line}")).unwrap_err().to_string();
        assert!(error.contains(line.trim()), "{error}");
    }
}

#[test]
fn reads_what_h2load_says() {
    let said = "requests: 4 total, 4 started, 4 done, 4 succeeded, 0 failed, 0 errored, 0 timeout\n";
    let log = "1\t200\t400\n2\t200\t100\n3\t200\t200\n4\t200\t300\n";
    let read = read_h2load(said, log, Duration::from_secs(2)).unwrap();
    assert_eq!((read.requests, read.per_second), (4, 2.0));
    assert_eq!((read.half, read.p99), (Duration::from_micros(300), Duration::from_micros(400)));
    assert!(read_h2load(&said.replace("0 failed", "1 failed"), log, Duration::from_secs(2)).is_err());
    assert!(read_h2load(said, "1\t503\t400\n", Duration::from_secs(2)).is_err());
}

#[test]
fn the_median_is_the_middle() {
    for (values, expected) in [(&[3.0, 1.0, 2.0][..], 2.0), (&[4.0, 1.0, 2.0, 3.0], 2.5), (&[1.0], 1.0)] {
        assert_eq!(report::median(values.iter().copied()).to_bits(), f64::to_bits(expected));
    }
    assert!(report::median(std::iter::empty()).is_nan());
}

#[test]
fn the_key_that_is_sent_is_the_key_that_is_configured() {
    let kong_yml = proxies::declarative(proxies::Task::KeyAndRate, "127.0.0.1:1".parse().unwrap());
    assert!(kong_yml.contains(proxies::KEY));
    assert!(traffic::API_KEY.ends_with(proxies::KEY));
}
