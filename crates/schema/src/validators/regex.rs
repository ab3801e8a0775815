//! Whether PCRE takes a regex, in PCRE's words when it does not.

/// What compiling the pattern fails with, as nginx reports it; `None` when it compiles.
pub fn pcre_error(pattern: &str) -> Option<String> {
    let err = pcre2::bytes::RegexBuilder::new().build(pattern).err()?;
    let shown = err.to_string();
    let text = shown
        .split_once(": error compiling pattern at offset ")
        .map_or(shown.as_str(), |(_, rest)| rest.split_once(": ").map_or(rest, |(_, text)| text));
    let place = match err.offset().and_then(|at| pattern.get(at..)) {
        Some(rest) if !rest.is_empty() => format!(" at \"{rest}\""),
        _ => String::new(),
    };
    Some(format!("pcre2_compile() failed: {text} in \"{pattern}\"{place}"))
}
