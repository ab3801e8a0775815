//! The documents made from the table: the commented default file and the reference page.

use std::fmt::Write;

use super::directives::{DIRECTIVES, Form};
use super::file::escape;
use super::properties::PROPERTIES;
use super::source::DEFAULT_FILES;
use super::table::{Effect, Property};

const WIDTH: usize = 100;

/// A kong.conf with every property commented out at its default.
#[must_use]
pub fn default_file() -> String {
    let mut text = String::from(
        "# Silverback's configuration. Every line below is commented out and shows the default.\n\
         # Syntax: property = value; '#' starts a comment, '\\#' is a '#'.\n\
         # The environment variables SILVERBACK_<PROPERTY> and KONG_<PROPERTY> (upper case) go over this file.\n",
    );
    for (index, property) in PROPERTIES.iter().enumerate() {
        let previous = index.checked_sub(1).and_then(|index| PROPERTIES.get(index));
        if previous.is_none_or(|previous| previous.section != property.section) {
            let rule = "-".repeat(WIDTH - 2);
            let _ = write!(text, "\n# {rule}\n# {}\n# {rule}\n", property.section);
        }
        let _ = write!(text, "\n{}", comment(&description(property)));
        let separator = if property.default.is_empty() { "" } else { " " };
        let _ = writeln!(text, "#{} ={separator}{}", property.name, escape(property.default));
    }
    text
}

/// docs/reference/configuration.md.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         <!-- Generated from crates/silverback/src/conf/properties.rs; a test holds it to the table. -->\n\n\
         Properties are lines `property = value` of a file. `#` starts a comment, `\\#` is a `#`. The file is the one named with \
         `-c`, else the first of ",
    );
    let files = DEFAULT_FILES.map(|file| format!("`{file}`"));
    let _ = write!(
        text,
        "{}; without any, the defaults hold. Over the file go the environment variables `KONG_<PROPERTY>` (upper case), over \
         these `SILVERBACK_<PROPERTY>`. `NONE` or nothing unsets a property. Any value can be a reference to a secret, \
         `{{vault://env/<name>[/<key>]}}`.\n\n\
         `silverback config default-conf` writes a file with all of them, `silverback check` checks one.\n\n\
         A property marked *later* is accepted and belongs to a feature that this version does not have; one marked *no effect* \
         tunes machinery of Kong's that does not exist here. Both are named once at start when they are set.\n",
        files.join(", ")
    );
    let mut section = "";
    for property in PROPERTIES {
        if property.section != section {
            section = property.section;
            let _ = write!(text, "\n## {section}\n\n| property | type | default | |\n|---|---|---|---|\n");
        }
        let default = if property.default.is_empty() { String::new() } else { format!("`{}`", property.default) };
        let (name, kind) = (property.name, kind(property));
        let _ = writeln!(text, "| `{name}` | {kind} | {default} | {} |", description(property).replace('|', "\\|"));
    }
    text.push_str(
        "\n## Injected nginx directives\n\nA property `nginx_<block>_<directive>` sets a directive of Kong's nginx. These have a \
         meaning here; any other is named at start and ignored. `NONE` removes one. A value in `proxy`, `admin` or `status` goes \
         over that in `http`.\n\n| directive | blocks | type | |\n|---|---|---|---|\n",
    );
    for directive in DIRECTIVES {
        let blocks = directive.blocks.iter().map(|block| format!("{block:?}").to_lowercase()).collect::<Vec<_>>();
        let form = match directive.form {
            Form::Size => "size",
            Form::Time => "time",
            Form::Count => "whole number",
            Form::CountOrAuto => "`auto` or a whole number",
            Form::Switch => "switch",
            Form::Buffers => "number and size",
            Form::HttpVersion => "`1.1` or `2`",
            Form::Text => "text",
        };
        let _ =
            writeln!(text, "| `{}` | {} | {form} | {} |", directive.name, blocks.join(", "), directive.documentation);
    }
    text
}

fn kind(property: &Property) -> String {
    match property.kind {
        "choice" => property.choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", "),
        "switch" => "`on`, `off`".to_owned(),
        kind => kind.to_owned(),
    }
}

fn description(property: &Property) -> String {
    let effect = match property.effect {
        Effect::Active => "",
        Effect::Later => "*Later.* ",
        Effect::Moot => "*No effect.* ",
    };
    let choices = match property.kind {
        "list" if !property.choices.is_empty() => format!(" Entries: {}.", property.choices.join(", ")),
        _ => String::new(),
    };
    format!("{effect}{}{choices}", property.documentation)
}

/// The text as comment lines.
fn comment(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::from("#"));
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            lines.push_str(&line);
            lines.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}
