//! What must hold of paths and expressions for any input; a check panics where it does not. `make fuzz` looks for inputs.

mod request;

pub(crate) use request::Request;

use crate::path::{PathHandling, normalize, raw_upstream_path};
use crate::{Flavor, Route, Router};
use atc_router::interpreter::Execute;
use entities::route::expression;
use std::sync::Arc;

/// A path in normal form is one, and a path that is sent as it came leads nowhere else.
///
/// # Panics
/// Where that does not hold.
pub fn uri(raw: &[u8]) {
    let Ok(normal) = normalize(raw) else { return };
    let shown = normal.escape_ascii().to_string();
    assert!(normal.starts_with(b"/") && !normal.contains(&0), "{shown}");
    assert!(!normal.windows(2).any(|pair| pair == b"//"), "{shown}");
    for segment in normal.split(|byte| *byte == b'/') {
        assert!(!matches!(segment, b"." | b".."), "{shown}");
    }
    assert!(normal.len() <= raw.len(), "{shown}");
    // What was decoded may be no target any more; what is one is normal already.
    match normalize(&normal) {
        Ok(again) => assert_eq!(again, normal, "{shown}"),
        Err(_) => assert!(raw.contains(&b'%'), "{shown}"),
    }
    for matched in 0..=normal.len().min(12) {
        let Some(path) = raw_upstream_path(None, Some(matched), raw, true, PathHandling::V0) else { continue };
        let shown = path.escape_ascii().to_string();
        assert!(path.starts_with(b"/"), "{shown}");
        // As a careless server reads it: everything decoded that may be, parameters cut off.
        let mut text = shown.replace("\\\\", "/").to_ascii_lowercase();
        for (escape, plain) in [("%2f", "/"), ("%5c", "/"), ("%2e", "."), ("%3b", ";")] {
            text = text.replace(escape, plain);
        }
        let mut names = text.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
        assert!(names.all(|name| !matches!(name, "." | "..")), "{shown} of {raw:?}");
    }
}

/// An expression holds for a request where Kong's own engine says so.
///
/// # Panics
/// Where the two differ.
pub fn expressions(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if expression::parse(text, false).is_err() {
        return;
    }
    let protocols = ["http", "https"].map(str::to_owned).into_iter().collect();
    let route = Route { protocols, expression: Some(text.into()), ..Route::default() };
    let (router, errors) = Router::build(Flavor::Expressions, [Arc::new(route)]);
    // The second opinion knows neither of these.
    let is_beyond = ["segments", "queries", "net.dst.ip", "net.port"].iter().any(|word| text.contains(word));
    // Names of servers have no case here (docs/differences.md).
    let has_case = text.contains("tls.sni") && text.bytes().any(|byte| byte.is_ascii_uppercase());
    if !errors.is_empty() || is_beyond || has_case {
        return;
    }
    let kongs = atc_router::parser::parse(text).expect("what was taken can be parsed");
    let schema = expression::fields(false);
    for request in ["GET http://a.test/a/12?q=1 X-A:1", "POST https://b.test:8443/b sni=b.test x-a:2 X_A:1"] {
        let request = Request::new(request);
        let expected = kongs.execute(&mut request.context(&schema, true), &mut atc_router::context::Match::new());
        assert_eq!(router.find(&request.query()).is_some(), expected, "{text}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn paths_and_expressions_mean_one_thing() {
        mutation::check("uri", super::uri);
        mutation::check("expressions", super::expressions);
    }
}
