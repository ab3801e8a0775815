//! The figures as a table for people and as JSON for programs.

use super::traffic::{Figures, Goal, Measured, Side};
use serde_json::{Value, json};
use std::time::Duration;

/// One line a case and proxy; times are medians over rounds in which the proxies take turns, and the ratio one over rounds in
/// which both are under load.
pub(super) fn table(measured: &[Measured<'_>]) -> String {
    let mut text = format!(
        "{:16} {:10} {:>9} {:>8} {:>8} {:>10} {:>9} {:>9} {:>8}  {}\n",
        "case",
        "proxy",
        "CPU us",
        "user",
        "system",
        "requests/s",
        "p50 us",
        "p99 us",
        "peak MB",
        "CPU x nginx side by side"
    );
    for one in measured {
        let (low, high) = one.ratios.iter().fold((f64::MAX, 0.0_f64), |(low, high), r| (low.min(*r), high.max(*r)));
        text += &line(one.case.name, "nginx", &one.nginx);
        text += "\n";
        text += &line("", "candidate", &one.candidate);
        text += &format!("  {:.2} ({low:.2}-{high:.2}){}\n", one.ratio(), verdict(one));
    }
    text
}

fn line(case: &str, proxy: &str, side: &Side) -> String {
    let micros = |figure: fn(&Figures) -> Duration| side.median(|f| figure(f).as_secs_f64() * 1e6);
    format!(
        "{case:16} {proxy:10} {:9.2} {:8.2} {:8.2} {:10.0} {:9.0} {:9.0} {:8.1}",
        micros(Figures::cpu),
        micros(|f| f.user),
        micros(|f| f.system),
        side.median(|f| f.answered.per_second),
        micros(|f| f.answered.half),
        micros(|f| f.answered.p99),
        side.peak_memory as f64 / 1024.0,
    )
}

/// How far a case is from its goal.
fn verdict(one: &Measured<'_>) -> String {
    let (figure, limit, of) = match one.case.goal {
        None => return String::new(),
        Some(Goal::OfNginx(limit)) => (one.ratio(), limit, "nginx"),
        Some(Goal::Of(limit, less)) => (median(one.less.iter().copied()), limit, less.name),
    };
    let said = if figure <= limit { "met" } else { "MISSED" };
    format!("  goal {limit:.2} x {of}: {figure:.2}, {said}")
}

pub(super) fn json(measured: &[Measured<'_>]) -> Value {
    let side = |side: &Side| {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let rounds: Vec<Value> = side
            .rounds
            .iter()
            .map(|f| {
                json!({
                    "requests": f.answered.requests,
                    "requests_per_second": f.answered.per_second,
                    "cpu_us": micros(f.cpu()),
                    "user_us": micros(f.user),
                    "system_us": micros(f.system),
                    "p50_us": micros(f.answered.half),
                    "p99_us": micros(f.answered.p99),
                })
            })
            .collect();
        json!({ "peak_memory_kib": side.peak_memory, "rounds": rounds })
    };
    let cases = measured.iter().map(|one| {
        json!({
            "case": one.case.name,
            "about": one.case.about,
            "cpu_ratio_to_nginx": one.ratio(),
            "cpu_ratios_side_by_side": one.ratios,
            "cpu_ratios_to_less_to_do": one.less,
            "nginx": side(&one.nginx),
            "candidate": side(&one.candidate),
        })
    });
    cases.collect()
}

/// The middle of the values; of an even number, the mean of the two in the middle.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match (sorted.get(half), half.checked_sub(1).and_then(|before| sorted.get(before))) {
        (Some(middle), Some(before)) if sorted.len().is_multiple_of(2) => (middle + before) / 2.0,
        (Some(middle), _) => *middle,
        (None, _) => f64::NAN,
    }
}
