//! The invariants of ARCHITECTURE.md that are absences: words that must not stand in some folders.
//! What must not stand anywhere is in clippy.toml.

use super::files::code_of;
use super::{Source, Violation, is_test};

/// Words that may stand only in some folders, or must not stand in others.
struct Absence {
    words: &'static [&'static str],
    /// Folders (or files) it is about; empty means all crates.
    within: &'static [&'static str],
    /// Folders (or files) where the words may stand.
    except: &'static [&'static str],
    reason: &'static str,
}

const PURE: &[&str] = &["crates/schema/", "crates/entities/", "crates/router/", "crates/balancer/"];

const ABSENCES: &[Absence] = &[
    Absence {
        words: &["SystemTime::now", "Instant::now", "Uuid::new_v4", "Uuid::now_v"],
        within: PURE,
        except: &[],
        reason: "a pure crate reads no clock and no randomness: take the value as an argument",
    },
    Absence {
        words: &["std::fs::", "use std::fs", "std::net::Tcp", "std::net::UdpSocket", "std::process::", "tokio::"],
        within: PURE,
        except: &[],
        reason: "a pure crate does no IO: take the bytes as an argument",
    },
    Absence {
        words: &["hyper::", "hyper_util::", "use h2::", "h2::SendStream", "h2::RecvStream"],
        within: &["crates/"],
        // Plugins that call other hosts have a client of their own: docs/decisions/0051-http-client-of-plugins.md.
        except: &["crates/proxy/src/http/", "crates/plugins/"],
        reason: "only proxy::http names the HTTP engine: use its request and response types",
    },
    Absence {
        words: &["rusqlite::", "tokio_postgres::", "\"SELECT ", "\"INSERT INTO ", "\"CREATE TABLE "],
        within: &["crates/"],
        except: &["crates/store/"],
        reason: "only store names SQL: add a method to its trait",
    },
    Absence {
        words: &["plugins::"],
        within: &["crates/proxy/"],
        except: &[],
        reason: "proxy knows no plugin: it runs what the pdk's trait promises",
    },
];

pub(super) fn check(sources: &[Source]) -> Vec<Violation> {
    let code = sources.iter().filter(|source| !is_test(&source.path));
    code.flat_map(check_file).collect()
}

fn check_file(source: &Source) -> Vec<Violation> {
    let path = source.path.to_string_lossy();
    let lies_in = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
    let mut found = Vec::new();
    for absence in ABSENCES.iter().filter(|absence| lies_in(absence.within) && !lies_in(absence.except)) {
        for (number, line) in source.text.lines().enumerate() {
            for word in absence.words.iter().filter(|word| names(code_of(line), word)) {
                found.push(Violation::new(&source.path, number + 1, format!("`{word}`: {}", absence.reason)));
            }
        }
    }
    found
}

/// True where the line contains the word, and neither as the end of a longer name nor within a path.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':'))
    })
}
