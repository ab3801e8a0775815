//! The severities of syslog, and which one a response has.

/// The names, by their numbers (RFC 5424, 6.2.1) from the end.
pub(crate) const NAMES: [&str; 8] = ["debug", "info", "notice", "warning", "err", "crit", "alert", "emerg"];

/// How severe responses are, and how severe one must be to be logged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Severities {
    least: u8,
    successful: u8,
    client_errors: u8,
    server_errors: u8,
}

impl Severities {
    /// From the names of `log_level` and of the severities of successes, client errors and server errors.
    pub(crate) fn of_names(names: [String; 4]) -> Self {
        let number = |name: &String| 7 - NAMES.iter().position(|n| n == name).unwrap_or(1) as u8;
        let [least, successful, client_errors, server_errors] = names.each_ref().map(number);
        Self { least, successful, client_errors, server_errors }
    }

    /// The number of a response's severity; `None` where it is not severe enough to be logged.
    pub(crate) fn of(&self, status: u16) -> Option<u8> {
        let severity = match status {
            500.. => self.server_errors,
            400.. => self.client_errors,
            _ => self.successful,
        };
        (severity <= self.least).then_some(severity)
    }
}
