//! What holds for every Rust file: length, the opening line, names, nothing left for later.

use super::{Source, Violation, is_test};

const LONGEST_CODE: usize = 600;
/// Tables of cases may be longer than code.
const LONGEST_TEST: usize = 1_200;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "manager", "misc", "shared"];
/// Put together at run time, so that this file does not contain what it forbids.
const LEFT_FOR_LATER: [(&str, &str); 3] = [("todo", "!("), ("unimplemented", "!("), ("#[", "ignore")];
/// What may follow an ignored test: it is no check of its own but the process that another test starts.
const IS_STARTED: &str = " = \"run by ";

pub(super) fn check(sources: &[Source]) -> Vec<Violation> {
    sources.iter().flat_map(check_file).collect()
}

fn check_file(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut add = |line, message: String| found.push(Violation::new(&source.path, line, message));

    let (lines, limit) = (source.text.lines().count(), if is_test(&source.path) { LONGEST_TEST } else { LONGEST_CODE });
    if lines > limit {
        add(0, format!("{lines} lines; at most {limit}: split it by what its parts are about"));
    }
    // A `tests.rs` says by its name and place what it is.
    if !source.text.starts_with("//!") && !source.path.ends_with("tests.rs") {
        add(1, "a file opens with `//!`: what it is, in one to five lines".into());
    }
    for part in &source.path {
        let part = part.to_string_lossy();
        let name = part.strip_suffix(".rs").unwrap_or(&part);
        if EMPTY_NAMES.contains(&name) {
            add(0, format!("`{name}` says nothing: name the module after its main item"));
        }
    }
    for (number, line) in source.text.lines().enumerate() {
        for (start, end) in LEFT_FOR_LATER {
            let word = format!("{start}{end}");
            if code_of(line).contains(&word) && !line.contains(&format!("{word}{IS_STARTED}")) {
                add(number + 1, format!("`{word}`: build it, or leave it out and open an issue"));
            }
        }
    }
    found
}

/// A line without its trailing comment; good enough for words that no string contains.
pub(super) fn code_of(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}
