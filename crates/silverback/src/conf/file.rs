//! The syntax of kong.conf: `key = value` lines, `#` comments, `\#` for a `#`, `\` at the end of a line continues it.

/// One `key = value` of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: String,
    /// Counted from 1; the first line of a continued value.
    pub(super) line: usize,
}

/// The settings of a file in their order, and the numbers of the lines that are neither setting nor comment.
pub(super) fn parse(text: &str) -> (Vec<Setting>, Vec<usize>) {
    let (mut settings, mut strange) = (Vec::new(), Vec::new());
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let mut line = first.trim().to_owned();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        while line.ends_with('\\') {
            line.pop();
            let Some((_, next)) = lines.next() else { break };
            line.push_str(next.trim());
        }
        match line.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => settings.push(Setting {
                key: normalise_key(key.trim()),
                value: strip_comment(value.trim()),
                line: index + 1,
            }),
            _ => strange.push(index + 1),
        }
    }
    (settings, strange)
}

/// As Kong's reader: whatever is not a letter, digit or underscore becomes an underscore.
fn normalise_key(key: &str) -> String {
    key.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '_' }).collect()
}

fn strip_comment(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek() == Some(&'#') => {
                plain.push('#');
                characters.next();
            }
            '#' => break,
            _ => plain.push(character),
        }
    }
    plain.trim_end().to_owned()
}

/// The value as a line of a file that reads back as itself.
pub(super) fn escape(value: &str) -> String {
    value.replace('#', "\\#")
}
