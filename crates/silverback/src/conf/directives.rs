//! `nginx_<block>_<directive>`: the injected nginx directives, and those of them that mean something here.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::Problem;
use super::properties::{Conf, PROPERTIES};
use super::reader::{Reader, is_unset};
use super::source::Values;
use super::table::Effect;
use super::units::{parse_size, parse_time};

/// The blocks of Kong's nginx configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Block {
    Main,
    Events,
    Http,
    Upstream,
    Proxy,
    Location,
    Status,
    Admin,
    Stream,
    Supstream,
    Sproxy,
}

const BLOCKS: [(&str, Block); 11] = [
    ("main", Block::Main),
    ("events", Block::Events),
    ("http", Block::Http),
    ("upstream", Block::Upstream),
    ("proxy", Block::Proxy),
    ("location", Block::Location),
    ("status", Block::Status),
    ("admin", Block::Admin),
    ("stream", Block::Stream),
    ("supstream", Block::Supstream),
    ("sproxy", Block::Sproxy),
];

/// What the value of a directive looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Size,
    Time,
    Count,
    CountOrAuto,
    Switch,
    /// `4 8k`
    Buffers,
    /// 1.1 or 2
    HttpVersion,
    Text,
}

/// A directive that has an effect in these blocks.
#[derive(Debug)]
pub struct Directive {
    pub name: &'static str,
    pub blocks: &'static [Block],
    pub form: Form,
    pub documentation: &'static str,
}

const SERVERS: &[Block] = &[Block::Http, Block::Proxy, Block::Admin, Block::Status];
const PROXY: &[Block] = &[Block::Http, Block::Proxy, Block::Location];
const ANY_HTTP: &[Block] = &[Block::Http, Block::Proxy, Block::Location, Block::Admin, Block::Status];
const ADMIN: &[Block] = &[Block::Admin];
const MAIN: &[Block] = &[Block::Main];

macro_rules! directives {
    ($($name:literal $blocks:ident $form:ident $documentation:literal;)*) => {
        /// The injected directives with a meaning; all others are named at start and ignored.
        pub const DIRECTIVES: &[Directive] = &[
            $(Directive { name: $name, blocks: $blocks, form: Form::$form, documentation: $documentation }),*
        ];
    };
}

directives! {
    "client_max_body_size" SERVERS Size "The largest request body; 0 is without limit.";
    "client_body_buffer_size" SERVERS Size "How much of a buffered request body is held in memory.";
    "client_header_buffer_size" SERVERS Size "The buffer a request's head is first read into.";
    "large_client_header_buffers" SERVERS Buffers "Number and size of the buffers for a request's head.";
    "client_header_timeout" SERVERS Time "How long a client may take over a request's head.";
    "client_body_timeout" SERVERS Time "How long a client may pause within a request's body.";
    "send_timeout" SERVERS Time "How long a client may pause within reading a response.";
    "keepalive_requests" SERVERS Count "Requests over one client connection.";
    "keepalive_timeout" SERVERS Time "How long an idle client connection is kept.";
    "real_ip_header" PROXY Text "Where a trusted proxy names the client.";
    "real_ip_recursive" PROXY Switch "Whether trusted addresses in that header are passed over.";
    "proxy_ssl_verify" PROXY Switch "Whether certificates of upstreams are verified when the service does not say.";
    "proxy_ssl_verify_depth" PROXY Count "The longest chain of an upstream's certificate: certificates between its own and a trusted one, 1 where nothing is given.";
    "proxy_http_version" PROXY HttpVersion "2 offers HTTP/2 to the upstreams of every https service, by ALPN; a service asks for itself with the tag silverback:http2.";
    "ssl_protocols" PROXY Text "TLS versions.";
    "ssl_session_timeout" PROXY Time "How long TLS sessions can be resumed.";
    "ssl_session_tickets" PROXY Switch "Whether TLS sessions are resumed by ticket.";
    "ssl_client_certificate" ADMIN Text "The authorities, as a PEM file, that client certificates of the Admin API are of.";
    "ssl_verify_client" ADMIN Text "Whether clients of the Admin API's TLS listeners must (on) or may (optional) show a certificate; off.";
    "log_format" ANY_HTTP Text "A format of access logs: its name, escape=default, json or none, then text in quotes with nginx's variables.";
    "user" MAIN Text "User (and group) of the worker process when started by root.";
    "daemon" MAIN Switch "Whether start puts the node into the background.";
    "worker_processes" MAIN CountOrAuto "The number of threads of the worker process.";
    "worker_rlimit_nofile" MAIN CountOrAuto "Open files of the worker process.";
    "worker_shutdown_timeout" MAIN Time "How long a replaced worker process may go on with what is open.";
}

/// Short names of injected directives.
pub(super) const ALIASES: [(&str, &str); 6] = [
    ("nginx_user", "nginx_main_user"),
    ("nginx_worker_processes", "nginx_main_worker_processes"),
    ("nginx_daemon", "nginx_main_daemon"),
    ("client_body_buffer_size", "nginx_http_client_body_buffer_size"),
    ("real_ip_header", "nginx_proxy_real_ip_header"),
    ("real_ip_recursive", "nginx_proxy_real_ip_recursive"),
];

/// The directives by block and name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Injected(BTreeMap<(Block, String), String>);

/// Block and directive of a property's name.
pub(super) fn split_name(property: &str) -> Option<(Block, &str)> {
    let rest = property.strip_prefix("nginx_")?;
    if ALIASES.iter().any(|(alias, _)| *alias == property) {
        return None;
    }
    BLOCKS.iter().find_map(|(name, block)| Some((*block, rest.strip_prefix(name)?.strip_prefix('_')?)))
}

fn known(block: Block, name: &str) -> Option<&'static Directive> {
    DIRECTIVES.iter().find(|directive| directive.name == name && directive.blocks.contains(&block))
}

impl Injected {
    /// The table's defaults and what was given over them. Also answers the names that are given and have no effect.
    pub(super) fn collect(values: &Values, reader: &mut Reader<'_>) -> (Self, Vec<String>) {
        let (mut injected, mut ignored) = (Self::default(), Vec::new());
        for property in PROPERTIES.iter().filter(|property| !property.default.is_empty()) {
            if let Some((block, name)) = split_name(property.name) {
                injected.0.insert((block, name.to_owned()), property.default.to_owned());
            }
        }
        for (property, given) in &values.given {
            let Some((block, name)) = split_name(property) else { continue };
            if is_unset(&given.text) {
                injected.0.remove(&(block, name.to_owned()));
                continue;
            }
            let Some(text) = reader.resolve(property, &given.text) else { continue };
            match known(block, name) {
                Some(directive) => {
                    if let Err(expected) = directive.form.check(&text) {
                        let message = format!("{property} has an invalid value: '{}' ({expected})", given.text);
                        reader.problems.push(Problem { message, origin: Some(given.origin.clone()) });
                    }
                }
                None if PROPERTIES.iter().any(|row| row.name == property && row.effect != Effect::Active) => {}
                None => ignored.push(property.clone()),
            }
            injected.0.insert((block, name.to_owned()), text);
        }
        (injected, ignored)
    }

    /// As properties, `nginx_<block>_<directive>`.
    pub(super) fn properties(&self) -> impl Iterator<Item = (String, String)> {
        self.0.iter().filter_map(|((block, name), text)| {
            let (word, _) = BLOCKS.iter().find(|(_, known)| known == block)?;
            Some((format!("nginx_{word}_{name}"), text.clone()))
        })
    }

    pub(super) fn get(&self, block: Block, name: &str) -> Option<&str> {
        self.0.get(&(block, name.to_owned())).map(String::as_str)
    }
}

impl Form {
    fn check(self, text: &str) -> Result<(), &'static str> {
        let count = || text.parse::<u32>().is_ok_and(|count| count > 0);
        let (good, expected) = match self {
            Self::Size => (parse_size(text).is_some(), "a size: bytes, or with a unit as in 8k, 10m, 1g"),
            Self::Time => {
                // keepalive_timeout may carry the value of a Keep-Alive header behind the time.
                let first = text.split_whitespace().next().unwrap_or_default();
                (parse_time(first).is_some(), "a time: seconds, or with a unit as in 500ms, 30s, 10m, 1h")
            }
            Self::Count => (text.parse::<u32>().is_ok(), "a whole number"),
            Self::CountOrAuto => (text == "auto" || count(), "auto, or a whole number from 1"),
            Self::Switch => (matches!(text, "on" | "off"), "on, off"),
            Self::Buffers => (parse_buffers(text).is_some(), "a number and a size, as in 4 8k"),
            Self::HttpVersion => (matches!(text, "1.1" | "2"), "1.1, 2"),
            Self::Text => (true, ""),
        };
        if good { Ok(()) } else { Err(expected) }
    }
}

fn parse_buffers(text: &str) -> Option<(u32, u64)> {
    let (number, size) = text.split_once(char::is_whitespace)?;
    Some((number.parse().ok().filter(|number| *number > 0)?, parse_size(size.trim()).filter(|size| *size > 0)?))
}

/// The limits of one HTTP server towards its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpLimits {
    /// Bytes; 0 is without limit.
    pub client_max_body_size: u64,
    pub client_body_buffer_size: u64,
    pub client_header_buffer_size: u64,
    /// Number and size.
    pub large_client_header_buffers: (u32, u64),
    pub client_header_timeout: Duration,
    pub client_body_timeout: Duration,
    pub send_timeout: Duration,
    pub keepalive_requests: u32,
    /// Zero closes after each response.
    pub keepalive_timeout: Duration,
}

/// Where a trusted proxy names the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RealIpHeader {
    ProxyProtocol,
    XForwardedFor,
    /// Any other header; lower case.
    Header(String),
}

impl Conf {
    /// A directive's value in a block, or in `http` around it.
    #[must_use]
    pub fn directive(&self, block: Block, name: &str) -> Option<&str> {
        self.injected.get(block, name).or_else(|| self.injected.get(Block::Http, name))
    }

    /// The limits of the servers of a block. A removed directive has nginx's own default.
    #[must_use]
    pub fn http(&self, block: Block) -> HttpLimits {
        let size = |name, default| self.directive(block, name).and_then(parse_size).unwrap_or(default);
        let time = |name, default| {
            let text = self.directive(block, name).and_then(|text| text.split_whitespace().next());
            text.and_then(parse_time).unwrap_or(Duration::from_secs(default))
        };
        HttpLimits {
            client_max_body_size: size("client_max_body_size", 1 << 20),
            client_body_buffer_size: size("client_body_buffer_size", 16 << 10),
            client_header_buffer_size: size("client_header_buffer_size", 1 << 10),
            large_client_header_buffers: self
                .directive(block, "large_client_header_buffers")
                .and_then(parse_buffers)
                .unwrap_or((4, 8 << 10)),
            client_header_timeout: time("client_header_timeout", 60),
            client_body_timeout: time("client_body_timeout", 60),
            send_timeout: time("send_timeout", 60),
            keepalive_requests: self
                .directive(block, "keepalive_requests")
                .and_then(|text| text.parse().ok())
                .unwrap_or(1000),
            keepalive_timeout: time("keepalive_timeout", 75),
        }
    }

    /// Where a trusted proxy names the client.
    #[must_use]
    pub fn real_ip(&self) -> RealIpHeader {
        match self.directive(Block::Proxy, "real_ip_header").unwrap_or("X-Real-IP").to_ascii_lowercase().as_str() {
            "proxy_protocol" => RealIpHeader::ProxyProtocol,
            "x-forwarded-for" => RealIpHeader::XForwardedFor,
            header => RealIpHeader::Header(header.to_owned()),
        }
    }

    /// Whether trusted addresses in the real IP header are passed over, from its end.
    #[must_use]
    pub fn is_real_ip_recursive(&self) -> bool {
        self.directive(Block::Proxy, "real_ip_recursive") == Some("on")
    }

    /// Threads of the worker process (`nginx_worker_processes`).
    #[must_use]
    pub fn threads(&self) -> usize {
        let number = self.directive(Block::Main, "worker_processes").and_then(|text| text.parse().ok());
        number.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }

    /// How long a draining worker process may take.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        let text = self.directive(Block::Main, "worker_shutdown_timeout");
        text.and_then(parse_time).unwrap_or(Duration::from_secs(3600))
    }

    /// Whether `start` puts the node into the background.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.directive(Block::Main, "daemon") != Some("off")
    }

    /// The format of an access log by its name: nginx's `log_format` without the name.
    #[must_use]
    pub fn log_format(&self, name: &str) -> Option<&str> {
        let blocks = [Block::Proxy, Block::Location, Block::Admin, Block::Status, Block::Http];
        let formats = blocks.iter().filter_map(|block| self.injected.get(*block, "log_format"));
        formats.map(str::trim).find_map(|text| {
            let (known, format) = text.split_once(char::is_whitespace)?;
            (known == name).then_some(format)
        })
    }
}
