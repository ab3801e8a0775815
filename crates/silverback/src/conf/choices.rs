//! The properties that take one of a few words.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kinds::{Kind, Wrong};

macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($variant),* }

        impl $name {
            /// The word in kong.conf.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl Kind for $name {
            const TYPE: &'static str = "choice";
            const CHOICES: &'static [&'static str] = &[$($word),*];

            fn parse(text: &str) -> Result<Self, Wrong> {
                // Names of header fields have no case; the words of all other choices have.
                let text = if text.starts_with("X-") { &text.to_ascii_lowercase() } else { text };
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(Wrong::NotOneOf(Self::CHOICES)),
                }
            }

            fn dump(&self) -> Value {
                Value::from(self.as_str())
            }
        }
    )*};
}

choices! {
    /// Where the configuration is kept.
    Database { Postgres = "postgres", Off = "off", Embedded = "embedded" }
    /// The node's part in a cluster.
    Role { Traditional = "traditional", ControlPlane = "control_plane", DataPlane = "data_plane" }
    /// The language and the rules of the router.
    RouterFlavor {
        Traditional = "traditional",
        TraditionalCompatible = "traditional_compatible",
        Expressions = "expressions",
    }
    /// How much the error log says, from the most to the least.
    Level {
        Debug = "debug",
        Info = "info",
        Notice = "notice",
        Warn = "warn",
        Error = "error",
        Crit = "crit",
        Alert = "alert",
        Emerg = "emerg",
    }
    /// The shape of an error log line.
    LogFormat { Text = "text", Json = "json" }
    /// The content type of an error answer to a request that names none.
    ErrorType { Plain = "text/plain", Json = "application/json", Xml = "application/xml", Html = "text/html" }
    /// A ready-made choice of TLS versions and ciphers.
    CipherSuite { Modern = "modern", Intermediate = "intermediate", Old = "old", Fips = "fips", Custom = "custom" }
    /// How the nodes of a hybrid cluster prove who they are.
    ClusterMtls { Shared = "shared", Pki = "pki" }
    /// Whether revoked certificates of data planes are looked up.
    Ocsp { On = "on", Off = "off", Optional = "optional" }
    /// When a change of the configuration is used.
    Consistency { Strict = "strict", Eventual = "eventual" }
    /// What code in plugin configurations may do.
    UntrustedLua { Off = "off", Sandbox = "sandbox", On = "on" }
    /// The header that tells the upstream the request's id.
    UpstreamHeader { RequestId = "x-kong-request-id", Off = "off" }
}

impl Level {
    /// From 0 (debug) to 7 (emerg).
    #[must_use]
    pub fn severity(self) -> usize {
        self as usize
    }
}
