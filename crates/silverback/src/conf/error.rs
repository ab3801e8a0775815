//! What is wrong with a configuration: every problem at once, each with its place.

use std::fmt;

use super::source::Origin;

/// One problem.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Kong's text where Kong has one: property, value, and what would be right.
    pub message: String,
    /// Where the value came from; `None` for problems of the whole.
    pub origin: Option<Origin>,
}

/// An unusable configuration.
#[derive(Debug, Clone)]
pub struct ConfError {
    pub problems: Vec<Problem>,
}

impl ConfError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { problems: vec![Problem { message: message.into(), origin: None }] }
    }
}

impl fmt::Display for ConfError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(formatter)?;
            }
            formatter.write_str(&problem.message)?;
            if let Some(origin) = &problem.origin {
                write!(formatter, "\n  in {origin}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfError {}
