//! Regexes that only PCRE understands (a look-around, a reference), bounded in what a match may take.

use pcre2::bytes::{Regex, RegexBuilder};

/// How often a match may go back, as in Kong (`nginx_http_lua_regex_match_limit`): clients choose the texts.
const LIMIT: &str = "(*LIMIT_MATCH=100000)";

/// Matching fails where it would take more than is allowed.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let regex = RegexBuilder::new().jit_if_available(true).build(&format!("{LIMIT}{pattern}"));
    regex.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn a_match_that_goes_back_too_often_fails() {
        let regex = compile("^(?=(a|aa)+$)").unwrap();
        assert!(regex.is_match(b"aaaa").unwrap());
        assert!(!regex.is_match(b"aaaa!").unwrap());
        // Some hundred thousand ways to take it apart.
        assert!(regex.is_match(format!("{}!", "a".repeat(28)).as_bytes()).is_err());
    }
}
