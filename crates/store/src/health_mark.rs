//! A target's health set by hand, as nodes tell each other of it: in the words of Kong's nodes.
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthMark {
    /// The target's host.
    pub host: String,
    /// The one address that is meant; `None` = all of the target's.
    pub ip: Option<String>,
    /// The target's port, or that of the address.
    pub port: u16,
    pub is_healthy: bool,
    pub upstream: Uuid,
    pub upstream_name: String,
}

impl HealthMark {
    pub(crate) fn to_text(&self) -> String {
        let Self { host, ip, port, is_healthy, upstream, upstream_name } = self;
        let ip = ip.as_deref().unwrap_or_default();
        format!("{host}|{ip}|{port}|{}|{upstream}|{upstream_name}", u8::from(*is_healthy))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(6, '|');
        let mut next = || parts.next();
        let (host, ip, port) = (next()?, next()?, next()?);
        let (health, upstream, upstream_name) = (next()?, next()?, next()?);
        Some(Self {
            host: host.to_owned(),
            ip: Some(ip.to_owned()).filter(|ip| !ip.is_empty()),
            port: port.parse().ok()?,
            is_healthy: health == "1",
            upstream: Uuid::parse_str(upstream).ok()?,
            upstream_name: upstream_name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::HealthMark;
    use uuid::Uuid;

    #[test]
    fn marks_are_in_the_words_of_kongs_nodes() {
        let upstream = Uuid::from_u128(7);
        let mark = |ip: Option<&str>, is_healthy| HealthMark {
            host: "users2".to_owned(),
            ip: ip.map(str::to_owned),
            port: 3001,
            is_healthy,
            upstream,
            upstream_name: "users|x".to_owned(),
        };
        for (mark, text) in [
            (mark(None, true), format!("users2||3001|1|{upstream}|users|x")),
            (mark(Some("10.0.0.1"), false), format!("users2|10.0.0.1|3001|0|{upstream}|users|x")),
        ] {
            assert_eq!(mark.to_text(), text);
            assert_eq!(HealthMark::parse(&text), Some(mark));
        }
        for text in ["", "a|b|c", "a||99999|1|x|y", "a||1|1|not an id|y"] {
            assert_eq!(HealthMark::parse(text), None, "{text}");
        }
    }
}
