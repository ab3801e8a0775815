//! The parameters of a request: those of the query, and before them those of the body.

use pdk::args::{Arg, find};
use pdk::form::Form;
use pdk::{Context, Response};

/// What a parameter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    Absent,
    Text(String),
    /// There more than once, without a value, or no text.
    Other,
}

impl Parameter {
    fn of(arg: &Arg<'_>) -> Self {
        match arg {
            Arg::Absent => Self::Absent,
            Arg::One(text) => std::str::from_utf8(text).map_or(Self::Other, |text| Self::Text(text.to_owned())),
            Arg::Bare | Arg::Many => Self::Other,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Absent | Self::Other => None,
        }
    }
}

pub(super) struct Parameters {
    query: Vec<u8>,
    form: Option<Form>,
}

impl Parameters {
    /// Reads them; `Err`: the answer to a body that broke off.
    pub(super) async fn read(cx: &mut Context<'_>) -> Result<Self, Box<Response>> {
        let has_body = matches!(cx.request.method.as_str(), "POST" | "PUT" | "PATCH");
        let form = if has_body { cx.read_form().await? } else { None };
        Ok(Self { query: cx.request.query().unwrap_or_default().to_vec(), form })
    }

    pub(super) fn get(&self, name: &str) -> Parameter {
        let of_body = self.form.as_ref().map(|form| Parameter::of(&form.find(name)));
        match of_body {
            Some(parameter) if parameter != Parameter::Absent => parameter,
            _ => Parameter::of(&find(&self.query, name.as_bytes())),
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.get(name) {
            Parameter::Text(text) => Some(text),
            Parameter::Absent | Parameter::Other => None,
        }
    }

    pub(super) fn into_form(self) -> Option<Form> {
        self.form
    }
}
