//! Each format in, crossed with each format out: the exact fields that the upstream gets, and several formats at once. What
//! is wanted was recorded of Kong (areas `opentelemetry` and `zipkin` of the recorded cases) where they have it.

use crate::opentelemetry;
use crate::zipkin;
use pdk::Definition;
use pdk::testing::{Exchange, Harness};
use pdk::trace::{Instrumentations, Trace, Tracing};
use serde_json::{Value, json};
use std::collections::BTreeMap;

type Fields = BTreeMap<String, String>;

/// How a format is written: its name, its fields, and the trace's id in logs. `$T` is the trace's id in 32 digits, `$t` in as
/// many as it came in, `$d` its lower half in decimal; `$S` and `$s` the span in both; `$P` the span above; `$f` the decision.
const OUT: [(&str, &str, &str); 9] = [
    ("w3c", "traceparent: 00-$T-$S-0$f", "$T"),
    ("b3", "x-b3-traceid: $t\nx-b3-spanid: $S\nx-b3-parentspanid: $P\nx-b3-sampled: $f", "$t"),
    ("b3-single", "b3: $t-$S-$f-$P", "$t"),
    ("jaeger", "uber-trace-id: $t:$S:$P:0$f", "$t"),
    ("ot", "ot-tracer-traceid: $t\not-tracer-spanid: $S\not-tracer-sampled: $f", "$t"),
    ("datadog", "x-datadog-trace-id: $d\nx-datadog-parent-id: $s\nx-datadog-sampling-priority: $f", "$d"),
    ("aws", "x-amzn-trace-id: Root=$R;Parent=$S;Sampled=$f", "$T"),
    ("gcp", "x-cloud-trace-context: $T/$s;o=$f", "$T"),
    ("instana", "x-instana-t: $t\nx-instana-s: $S\nx-instana-l: $f", "$t"),
];

/// Sizes of a trace's id that a format has, in digits.
const BOTH: &[usize] = &[16, 32];

/// What clients send: the format, its fields, the sizes of its ids, and whether caller and called have one span. `$I` and `$i`
/// are the caller's span, `$U` the one above.
const IN: [(&str, &str, &[usize], bool); 9] = [
    ("w3c", "traceparent: 00-$T-$I-0$f", &[32], false),
    ("b3", "x-b3-traceid: $t\nx-b3-spanid: $I\nx-b3-parentspanid: $U\nx-b3-sampled: $f", BOTH, true),
    ("b3-single", "b3: $t-$I-$f-$U", BOTH, true),
    ("jaeger", "uber-trace-id: $t:$I:$U:$f", BOTH, true),
    ("ot", "ot-tracer-traceid: $t\not-tracer-spanid: $I\not-tracer-sampled: $f", BOTH, false),
    ("datadog", "x-datadog-trace-id: $d\nx-datadog-parent-id: $i\nx-datadog-sampling-priority: $f", &[16], false),
    ("aws", "x-amzn-trace-id: Root=$R;Parent=$I;Sampled=$f", &[32], false),
    ("gcp", "x-cloud-trace-context: $T/$i;o=$f", &[32], false),
    ("instana", "x-instana-t: $t\nx-instana-s: $I\nx-instana-l: $f", BOTH, false),
];

/// Fields of decisions that zipkin does not write where it does not sample.
const UNTOLD: [&str; 3] = ["ot-tracer-sampled", "x-datadog-sampling-priority", "x-instana-l"];

const CALLER: &str = "feed000011112222";
const CALLER_IN_DECIMAL: &str = "18369338455400456738";
const ABOVE: &str = "feed333344445555";

/// A trace's id in its three ways of writing; the lower halves are the same.
fn ids(text: &str, digits: usize) -> String {
    let (long, root) = match digits {
        16 => ("0000000000000000cdef0123456789ab", "1-00000000-00000000cdef0123456789ab"),
        _ => ("feed0123456789abcdef0123456789ab", "1-feed0123-456789abcdef0123456789ab"),
    };
    let as_it_came: String = long.chars().skip(32 - digits).collect();
    text.replace("$T", long).replace("$t", &as_it_came).replace("$R", root).replace("$d", "14839080548208970155")
}

fn fields(lines: &str) -> Fields {
    let fields = lines.lines().filter_map(|line| line.split_once(": "));
    fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect()
}

fn told(exchange: &Exchange) -> Fields {
    let upstream = exchange.upstream.as_deref().unwrap();
    fields(upstream.split_once('\n').unwrap().1)
}

/// The value between two pieces of text.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("{before:?} in {text}")).1;
    rest.split(after).next().unwrap()
}

fn hex(id: &str) -> u64 {
    assert!(id.len() == 16 && !id.bytes().any(|byte| byte.is_ascii_uppercase()), "{id}");
    u64::from_str_radix(id, 16).unwrap_or_else(|_| panic!("{id}"))
}

/// The span that a format tells of.
fn span(format: &str, told: &Fields) -> u64 {
    let field = |name: &str| told.get(name).unwrap_or_else(|| panic!("no {name} in {told:?}")).as_str();
    let nth = |name: &str, separator: char, nth: usize| hex(field(name).split(separator).nth(nth).unwrap());
    match format {
        "w3c" => nth("traceparent", '-', 2),
        "b3" => hex(field("x-b3-spanid")),
        "b3-single" => nth("b3", '-', 1),
        "jaeger" => nth("uber-trace-id", ':', 1),
        "ot" => hex(field("ot-tracer-spanid")),
        "datadog" => field("x-datadog-parent-id").parse().unwrap(),
        "aws" => hex(between(field("x-amzn-trace-id"), "Parent=", ";")),
        "gcp" => between(field("x-cloud-trace-context"), "/", ";").parse().unwrap(),
        _ => hex(field("x-instana-s")),
    }
}

/// The span above the one that a format tells of, where the format has it.
fn above(format: &str, told: &Fields) -> Option<String> {
    let part = |name: &str, separator: char, nth: usize| told[name].split(separator).nth(nth).map(str::to_owned);
    match format {
        "b3" => told.get("x-b3-parentspanid").cloned(),
        // Behind the decision, where there is one.
        "b3-single" => told["b3"].split('-').skip(2).find(|part| part.len() == 16).map(str::to_owned),
        "jaeger" => part("uber-trace-id", ':', 2),
        _ => None,
    }
}

/// The plugins, each with what makes it sample a request that does not say itself.
fn plugins() -> [(&'static Definition, Value); 2] {
    [
        (&zipkin::DEFINITION, json!({ "sample_ratio": 1 })),
        (&opentelemetry::DEFINITION, json!({ "traces_endpoint": "http://127.0.0.1:1", "sampling_rate": 1 })),
    ]
}

fn harness((definition, config): &(&'static Definition, Value), changes: Value) -> Harness {
    let mut config = config.clone();
    for (name, value) in changes.as_object().unwrap() {
        config[name] = value.clone();
    }
    Harness::new(definition, config)
}

/// Sends a request that is recorded where the plugin samples it, though no span of it is.
fn send(h: &Harness, lines: &str) -> Exchange {
    let tracing = Tracing { instrumentations: Instrumentations::NONE, sampling_rate: 1.0 };
    h.send_with(&format!("GET /\n{lines}"), |cx| cx.trace = Some(Box::new(Trace::new(tracing, 0.0))))
}

fn written(format: &str) -> (&'static str, &'static str) {
    let (_, lines, logged) = OUT.iter().find(|(name, ..)| *name == format).unwrap();
    (lines, logged)
}

/// Where logs tell the id.
fn log_name(format: &str) -> &str {
    if format == "b3-single" { "b3" } else { format }
}

#[test]
fn each_format_goes_out_in_each() {
    let _turn = opentelemetry::tests::turn();
    let everything: Vec<&'static str> = OUT.iter().map(|(name, ..)| *name).collect();
    let injections = everything.iter().map(|name| vec![*name]).chain([vec!["preserve"], everything.clone()]);
    let injections: Vec<Vec<&'static str>> = injections.collect();
    let mut crossed = 0;
    for plugin in plugins() {
        for (came, lines, sizes, is_shared) in IN {
            for inject in &injections {
                let extract = [log_name(came)];
                let propagation = json!({ "extract": extract, "inject": inject, "default_format": "w3c" });
                let h = harness(&plugin, json!({ "propagation": propagation }));
                for (digits, decision) in sizes.iter().flat_map(|size| [(*size, "0"), (*size, "1")]) {
                    let sent = ids(lines, digits).replace("$f", decision).replace("$U", ABOVE);
                    let sent = sent.replace("$I", CALLER).replace("$i", CALLER_IN_DECIMAL);
                    let exchange = send(&h, &sent);
                    let got = told(&exchange);
                    let about = format!("{} {inject:?}\n{sent}\n{got:#?}", plugin.0.name);

                    let own = |name: &&'static str| if *name == "preserve" { came } else { *name };
                    let formats: Vec<&str> = inject.iter().map(own).collect();
                    let id = span(formats[0], &got);
                    assert!(id != 0 && id != hex(CALLER) && id != hex(ABOVE), "{about}");
                    // Zipkin has a span of the request itself between the caller's and the one that calls the upstream.
                    let is_between = plugin.0.name == "zipkin" && !is_shared;
                    let parent = formats.iter().find_map(|format| above(format, &got)).unwrap_or_default();
                    if is_between && !parent.is_empty() {
                        assert!(![0, id, hex(CALLER), hex(ABOVE)].contains(&hex(&parent)), "{about}");
                    }
                    let parent = if is_between { &*parent } else { CALLER };
                    let fill = |text: &str| {
                        let text =
                            ids(text, digits).replace("$S", &format!("{id:016x}")).replace("$s", &id.to_string());
                        text.replace("$P", parent).replace("$f", decision)
                    };
                    // Zipkin does not tell the upstream that it does not sample, where a format can do without: what the
                    // client said stays.
                    let is_untold = plugin.0.name == "zipkin" && decision == "0";
                    let mut want = fields(&sent);
                    let mut logged = serde_json::Map::new();
                    for format in &formats {
                        let (lines, in_log) = written(format);
                        let mut told = fields(&fill(lines));
                        if is_untold {
                            told.retain(|name, _| !UNTOLD.contains(&name.as_str()));
                        }
                        if let Some(b3) = told.get_mut("b3").filter(|_| is_untold && came != "b3-single") {
                            *b3 = b3.replace("-0-", "-");
                        }
                        want.extend(told);
                        logged.insert(log_name(format).to_owned(), fill(in_log).into());
                    }
                    assert_eq!(got, want, "{about}");
                    assert_eq!(exchange.log["trace_id"], Value::Object(logged), "{about}");
                    crossed += 1;
                }
            }
        }
    }
    assert_eq!(crossed, 2 * 14 * 2 * 11, "plugins, formats in their sizes, decisions, injections");
}

#[test]
fn of_several_formats_the_first_to_extract_counts() {
    let _turn = opentelemetry::tests::turn();
    // Each with a trace of its own, which ends like the format's place.
    let all = [
        ("w3c", "traceparent: 00-00000000000000000000000000000a01-feed000011112222-01"),
        ("b3", "x-b3-traceid: 00000000000000000000000000000a02\nx-b3-spanid: feed000011112222\nx-b3-sampled: 1"),
        ("jaeger", "uber-trace-id: 00000000000000000000000000000a03:feed000011112222:0:1"),
        ("ot", "ot-tracer-traceid: 00000000000000000000000000000a04\not-tracer-spanid: feed000011112222"),
        ("datadog", "x-datadog-trace-id: 2565\nx-datadog-parent-id: 42"),
        ("aws", "x-amzn-trace-id: Root=1-00000000-000000000000000000000a06;Parent=feed000011112222;Sampled=1"),
        ("gcp", "x-cloud-trace-context: 00000000000000000000000000000a07/1;o=1"),
        ("instana", "x-instana-t: 00000000000000000000000000000a08\nx-instana-s: feed000011112222"),
    ];
    let broken = [
        ("w3c", "traceparent: 00-00000000000000000000000000000a01-feed000011112222"),
        ("jaeger", "uber-trace-id: 0a03:feed000011112222:1"),
        ("ot", "ot-tracer-traceid: a04\not-tracer-sampled: x"),
        ("datadog", "x-datadog-trace-id: a05\nx-datadog-parent-id: 42"),
        ("aws", "x-amzn-trace-id: Root=1-00000000-0a06"),
        ("gcp", "x-cloud-trace-context: 0a07/1"),
        ("instana", "x-instana-s: feed000011112222"),
    ];
    let order = |lines: &[(&str, &str)]| lines.iter().map(|(_, lines)| *lines).collect::<Vec<_>>().join("\n");
    let trace = |exchange: &Exchange| told(exchange)["x-instana-t"].clone();
    for plugin in plugins() {
        for first in 0..all.len() {
            let mut turned = all;
            turned.rotate_left(first);
            let extract: Vec<&str> = turned.iter().map(|(name, _)| *name).collect();
            let propagation = json!({ "extract": extract, "inject": ["instana"], "default_format": "w3c" });
            let h = harness(&plugin, json!({ "propagation": propagation }));
            let want = format!("a{:02}", first + 1);
            // In whichever order the fields stand.
            for lines in [order(&all), order(&turned), order(&all.iter().rev().copied().collect::<Vec<_>>())] {
                let got = trace(&send(&h, &lines));
                assert!(got.ends_with(&want), "{} {extract:?}: {got}", plugin.0.name);
            }
            // A context that is no context lets the next one count.
            if let Some((_, lines)) = broken.iter().find(|(name, _)| *name == extract[0]) {
                let next = format!("a{:02}", (first + 1) % all.len() + 1);
                let got = trace(&send(&h, &format!("{lines}\n{}", order(&turned[1..]))));
                assert!(got.ends_with(&next), "{} {lines} {extract:?}: {got}", plugin.0.name);
            }
        }
    }
}

#[test]
fn without_lists_the_older_order_counts_and_what_was_read_goes_on_in_its_format() {
    let _turn = opentelemetry::tests::turn();
    let by_age = ["b3-single", "b3", "w3c", "jaeger", "ot", "datadog", "aws", "gcp", "instana"];
    let lines_of = |format: &str| {
        let (_, lines, sizes, _) = IN.iter().find(|(name, ..)| *name == format).unwrap();
        let lines = ids(lines, *sizes.last().unwrap()).replace("$f", "1").replace("$U", ABOVE);
        lines.replace("$I", CALLER).replace("$i", CALLER_IN_DECIMAL)
    };
    for plugin in plugins() {
        let h = harness(&plugin, json!({}));
        for (at, first) in by_age.iter().enumerate() {
            let sent = by_age[at..].iter().map(|format| lines_of(format)).collect::<Vec<_>>().join("\n");
            let exchange = send(&h, &sent);
            let (got, sent) = (told(&exchange), fields(&sent));
            let changed: Vec<&str> = sent.keys().filter(|name| got[*name] != sent[*name]).map(|name| &**name).collect();
            let mut own: Vec<&str> = match *first {
                // The trace's id and the decision stay.
                "b3" => vec!["x-b3-parentspanid", "x-b3-spanid"],
                "ot" => vec!["ot-tracer-spanid"],
                "datadog" => vec!["x-datadog-parent-id"],
                "instana" => vec!["x-instana-s"],
                "w3c" => vec!["traceparent"],
                "b3-single" => vec!["b3"],
                "jaeger" => vec!["uber-trace-id"],
                "aws" => vec!["x-amzn-trace-id"],
                _ => vec!["x-cloud-trace-context"],
            };
            own.sort_unstable();
            assert_eq!(changed, own, "{} {first}: {got:#?}", plugin.0.name);
            assert_eq!(got.len(), sent.len(), "{} {first}: {got:#?}", plugin.0.name);
            let logged: Vec<&String> = exchange.log["trace_id"].as_object().unwrap().keys().collect();
            assert_eq!(logged, [log_name(first)]);
        }
    }
}

/// The names of a format's fields.
fn names(formats: &[&str], has_parent: bool) -> Vec<String> {
    let all = formats.iter().flat_map(|format| fields(written(format).0).into_keys());
    let mut names: Vec<String> = all.filter(|name| has_parent || name != "x-b3-parentspanid").collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn a_trace_that_begins_here_goes_out_in_the_formats_of_the_config() {
    let _turn = opentelemetry::tests::turn();
    for plugin in plugins() {
        let (is_zipkin, own) = (plugin.0.name == "zipkin", if plugin.0.name == "zipkin" { "b3" } else { "w3c" });
        for (format, ..) in OUT {
            let lists = |inject: Value| json!({ "propagation": { "inject": inject, "default_format": format } });
            let mut cases = vec![
                // The older default of zipkin is always there.
                (json!({ "propagation": { "default_format": format } }), vec![if is_zipkin { own } else { format }]),
                (json!({ "header_type": format }), vec![own, format]),
                (json!({ "propagation": { "extract": [], "inject": [], "default_format": format } }), vec![]),
                (lists(json!(["preserve"])), vec![format]),
                (lists(json!(["preserve", "w3c"])), vec![format, "w3c"]),
                (lists(json!(["gcp"])), vec!["gcp"]),
                (
                    json!({ "header_type": "ignore", "propagation": { "default_format": format } }),
                    vec![if is_zipkin { own } else { format }],
                ),
            ];
            if is_zipkin {
                cases.push((json!({ "default_header_type": format }), vec![format]));
                cases.push((json!({ "default_header_type": format, "header_type": "ot" }), vec![format, "ot"]));
                cases.push((json!({ "default_header_type": format, "header_type": "ignore" }), vec![format]));
            }
            for (config, formats) in cases {
                let h = harness(&plugin, config.clone());
                let got = told(&send(&h, ""));
                let about = format!("{} {config}: {got:#?}", plugin.0.name);
                assert_eq!(got.keys().cloned().collect::<Vec<_>>(), names(&formats, is_zipkin), "{about}");
                let spans: Vec<u64> = formats.iter().map(|format| span(format, &got)).collect();
                assert!(spans.iter().all(|id| *id != 0 && *id == spans[0]), "{about}");
                if formats.is_empty() {
                    continue;
                }
                for (field, digits) in [("x-b3-traceid", 32), ("ot-tracer-traceid", 16), ("x-instana-t", 32)] {
                    assert!(got.get(field).is_none_or(|id| id.len() == digits), "{about}");
                }
                let is_decided =
                    got.values().any(|value| ["-01", "-1", ":01", "=1"].iter().any(|end| value.ends_with(end)))
                        || got.iter().any(|(name, value)| {
                            ["sampled", "priority", "-l"].iter().any(|end| name.ends_with(end)) && value == "1"
                        })
                        || got.get("b3").is_some_and(|value| value.contains("-1-"));
                assert!(is_decided, "{about}");
            }
        }
    }
}

#[test]
fn header_type_ignore_reads_nothing_and_clear_takes_away_what_was_read() {
    let _turn = opentelemetry::tests::turn();
    for plugin in plugins() {
        for (_, lines, sizes, _) in IN {
            let sent = ids(lines, *sizes.last().unwrap()).replace("$f", "1").replace("$U", ABOVE);
            let sent = sent.replace("$I", CALLER).replace("$i", CALLER_IN_DECIMAL);
            let mut default = json!({ "header_type": "ignore", "propagation": { "default_format": "instana" } });
            if plugin.0.name == "zipkin" {
                default["default_header_type"] = "instana".into();
            }
            let got = told(&send(&harness(&plugin, default), &sent));
            assert_ne!(&got["x-instana-t"], "feed0123456789abcdef0123456789ab", "{sent}");
            for (name, value) in fields(&sent).iter().filter(|(name, _)| !name.starts_with("x-instana-")) {
                assert_eq!(&got[name], value, "{sent}");
            }
            let clear: Vec<String> = fields(&sent).into_keys().collect();
            let extract = ["w3c", "b3", "jaeger", "ot", "datadog", "aws", "gcp", "instana"];
            let lists = json!({ "extract": extract, "clear": clear, "inject": ["w3c"], "default_format": "w3c" });
            let got = told(&send(&harness(&plugin, json!({ "propagation": lists })), &sent));
            assert_eq!(got.keys().collect::<Vec<_>>(), ["traceparent"], "{sent}");
            assert!(got["traceparent"].contains("cdef0123456789ab-"), "the context was read first: {got:?}");
        }
    }
}
