//! `multipart/form-data`: the parts' names and contents. Files are contents like any other; a part that is cut off is none.
use crate::urlencoded::{Argument, MOST_ARGUMENTS};
use memchr::memmem;

/// The parts of a body; none where the content type names no boundary.
pub(crate) fn parts(content_type: &str, body: &[u8]) -> Vec<Argument> {
    let Some(boundary) = parameter(content_type, "boundary") else { return Vec::new() };
    let delimiter = format!("--{boundary}").into_bytes();
    let starts: Vec<usize> = memmem::find_iter(body, &delimiter)
        .filter(|at| *at == 0 || body[..*at].ends_with(b"\n"))
        .take(MOST_ARGUMENTS + 3)
        .collect();
    let mut parts: Vec<Argument> = Vec::new();
    for pair in starts.windows(2) {
        let (start, end) = (pair[0] + delimiter.len(), pair[1]);
        let Some(part) = body.get(start..end) else { continue };
        let Some(part) = part.strip_prefix(b"\r\n").or_else(|| part.strip_prefix(b"\n")) else { continue };
        let part = part.strip_suffix(b"\r\n").or_else(|| part.strip_suffix(b"\n")).unwrap_or(part);
        let Some((name, content)) = argument(part) else { continue };
        // As in Kong, of parts with one name the last counts.
        match parts.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = content,
            None => parts.push((name, content)),
        }
    }
    parts
}

fn argument(part: &[u8]) -> Option<Argument> {
    let (head, content) = match memmem::find(part, b"\r\n\r\n") {
        Some(at) => (&part[..at], &part[at + 4..]),
        None => {
            let at = memmem::find(part, b"\n\n")?;
            (&part[..at], &part[at + 2..])
        }
    };
    let head = String::from_utf8_lossy(head);
    let disposition = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let name = parameter(disposition, "name")?;
    Some((name.into_bytes(), Some(content.to_vec())))
}

/// A parameter of a header's value, quoted or bare.
fn parameter(value: &str, name: &str) -> Option<String> {
    let mut rest = value;
    while let Some(at) = rest.find(';') {
        let (_, after) = rest.split_at(at + 1);
        let after = after.trim_start();
        let (key, found) = after.split_once('=')?;
        let (text, beyond) = match found.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => found.find(';').map_or((found, ""), |end| found.split_at(end)),
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(text.trim_end().to_owned()).filter(|text| !text.is_empty());
        }
        rest = beyond;
    }
    None
}
