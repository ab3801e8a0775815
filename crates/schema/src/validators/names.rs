//! Names: of entities, tags, headers, cookies and methods.

use serde_json::Value;

use super::text;

fn name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~')
}

pub fn name(value: &Value) -> Result<(), String> {
    let given = text(value);
    if !given.is_empty() && given.bytes().all(name_byte) {
        return Ok(());
    }
    Err(format!("invalid value '{given}': it must only contain alphanumeric and '., -, _, ~' characters"))
}

pub fn utf8_name(value: &Value) -> Result<(), String> {
    let given = text(value);
    if !given.is_empty() && given.bytes().all(|byte| name_byte(byte) || !byte.is_ascii()) {
        return Ok(());
    }
    Err(format!("invalid value '{given}': the only accepted ascii characters are alphanumerics or ., -, _, and ~"))
}

pub fn tag(value: &Value) -> Result<(), String> {
    let given = text(value);
    let allowed = |byte: u8| match byte {
        b',' | b'/' => false,
        b' '..=b'~' => true,
        _ => !byte.is_ascii(),
    };
    if !given.is_empty() && given.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!("invalid tag '{given}': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"))
}

pub fn header_name(value: &Value) -> Result<(), String> {
    let given = text(value);
    if given.is_empty() {
        return Err("no header name provided".into());
    }
    if given.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        return Ok(());
    }
    Err(format!("bad header name '{given}', allowed characters are A-Z, a-z, 0-9, '_', and '-'"))
}

pub fn cookie_name(value: &Value) -> Result<(), String> {
    let given = text(value);
    if given.is_empty() {
        return Err("no token provided".into());
    }
    let allowed = |byte: u8| byte.is_ascii_graphic() && !br#"()<>@,;:\"/?={}[]"#.contains(&byte);
    if given.bytes().all(allowed) {
        return Ok(());
    }
    Err(r#"contains one or more invalid characters. ASCII control characters (0-31;127), space, tab and the characters ()<>@,;:\"/?={}[] are not allowed."#.into())
}

pub fn http_method(value: &Value) -> Result<(), String> {
    let given = text(value);
    let valid = !given.is_empty() && given.bytes().all(|byte| byte.is_ascii_uppercase());
    if valid { Ok(()) } else { Err(format!("invalid value: {given}")) }
}
