//! Checks across the fields of a record: at least one of, mutually exclusive, conditional and the like.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{get_path, message, set_path};
use crate::lua;
use crate::validate::{Lookup, Validator, is_reference};
use crate::{Context, Field};

/// Why a custom check refuses a record.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckError {
    /// A message about the whole, listed under `@entity`.
    Entity(String),
    /// A message about the field at this dotted path.
    Field(String, String),
}

impl CheckError {
    pub fn field(path: &str, message: impl Into<String>) -> Self {
        Self::Field(path.into(), message.into())
    }
}

impl From<String> for CheckError {
    fn from(message: String) -> Self {
        Self::Entity(message)
    }
}

impl From<&str> for CheckError {
    fn from(message: &str) -> Self {
        Self::Entity(message.into())
    }
}

type CustomCheck = Arc<dyn Fn(&Map<String, Value>, &Context<'_>) -> Result<(), CheckError> + Send + Sync>;

#[derive(Clone)]
pub(crate) enum Rule {
    AtLeastOneOf(Vec<String>),
    OnlyOneOf(Vec<String>),
    Distinct(Vec<String>),
    MutuallyRequired(Vec<String>),
    MutuallyExclusive(Vec<String>),
    MutuallyExclusiveSets(Vec<String>, Vec<String>),
    Conditional { if_field: String, if_match: Field, then_field: String, then_match: Field },
    ConditionalAtLeastOneOf { if_field: String, if_match: Field, then: Vec<String>, otherwise: Option<Otherwise> },
    Custom { field_sources: Vec<String>, check: CustomCheck },
}

/// What a conditional_at_least_one_of asks for when its condition does not hold.
#[derive(Clone)]
pub(crate) struct Otherwise {
    matches: Field,
    then: Vec<String>,
    err: String,
}

/// One check; see the module.
#[derive(Clone)]
pub struct Check {
    pub(crate) rule: Rule,
    pub(crate) then_err: Option<String>,
    run_with_missing_fields: bool,
    run_with_invalid_fields: bool,
    /// Where one of these is set, there is nothing to check.
    unless: Vec<String>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Check({})", self.to_json())
    }
}

/// The start of a condition: `is().one_of(["a", "b"])`. What it does not say, the field's own schema says.
pub fn is() -> Field {
    Field::any()
}

fn names<S: Into<String>>(fields: impl IntoIterator<Item = S>) -> Vec<String> {
    fields.into_iter().map(Into::into).collect()
}

impl Check {
    fn new(rule: Rule) -> Self {
        // Checks of emptiness and conditions report beside a field's own error; the others wait for valid fields.
        let emptiness = matches!(rule, Rule::AtLeastOneOf(_) | Rule::OnlyOneOf(_) | Rule::Distinct(_));
        let condition = matches!(rule, Rule::Conditional { .. } | Rule::ConditionalAtLeastOneOf { .. });
        Self {
            run_with_missing_fields: matches!(rule, Rule::AtLeastOneOf(_) | Rule::MutuallyRequired(_)),
            run_with_invalid_fields: emptiness || condition,
            rule,
            then_err: None,
            unless: Vec::new(),
        }
    }

    pub fn at_least_one_of<S: Into<String>>(fields: impl IntoIterator<Item = S>) -> Self {
        Self::new(Rule::AtLeastOneOf(names(fields)))
    }
    pub fn only_one_of<S: Into<String>>(fields: impl IntoIterator<Item = S>) -> Self {
        Self::new(Rule::OnlyOneOf(names(fields)))
    }
    pub fn distinct<S: Into<String>>(fields: impl IntoIterator<Item = S>) -> Self {
        Self::new(Rule::Distinct(names(fields)))
    }
    pub fn mutually_required<S: Into<String>>(fields: impl IntoIterator<Item = S>) -> Self {
        Self::new(Rule::MutuallyRequired(names(fields)))
    }
    pub fn mutually_exclusive<S: Into<String>>(fields: impl IntoIterator<Item = S>) -> Self {
        Self::new(Rule::MutuallyExclusive(names(fields)))
    }
    pub fn mutually_exclusive_sets<A: Into<String>, B: Into<String>>(
        set1: impl IntoIterator<Item = A>,
        set2: impl IntoIterator<Item = B>,
    ) -> Self {
        Self::new(Rule::MutuallyExclusiveSets(names(set1), names(set2)))
    }
    pub fn conditional(if_field: &str, if_match: Field, then_field: &str, then_match: Field) -> Self {
        Self::new(Rule::Conditional { if_field: if_field.into(), if_match, then_field: then_field.into(), then_match })
    }
    pub fn conditional_at_least_one_of<S: Into<String>>(
        if_field: &str,
        if_match: Field,
        then: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::new(Rule::ConditionalAtLeastOneOf {
            if_field: if_field.into(),
            if_match,
            then: names(then),
            otherwise: None,
        })
    }
    /// Kong's `else_match`, `else_then_at_least_one_of` and `else_then_err` of a conditional_at_least_one_of.
    #[must_use]
    pub fn otherwise<S: Into<String>>(
        mut self,
        matches: Field,
        fields: impl IntoIterator<Item = S>,
        err: &str,
    ) -> Self {
        if let Rule::ConditionalAtLeastOneOf { otherwise, .. } = &mut self.rule {
            *otherwise = Some(Otherwise { matches, then: names(fields), err: err.into() });
        }
        self
    }
    pub fn custom<S: Into<String>>(
        field_sources: impl IntoIterator<Item = S>,
        check: impl Fn(&Map<String, Value>) -> Result<(), CheckError> + Send + Sync + 'static,
    ) -> Self {
        Self::custom_with(field_sources, move |map, _| check(map))
    }
    /// A check that needs the time or other schemas.
    pub fn custom_with<S: Into<String>>(
        field_sources: impl IntoIterator<Item = S>,
        check: impl Fn(&Map<String, Value>, &Context<'_>) -> Result<(), CheckError> + Send + Sync + 'static,
    ) -> Self {
        Self::new(Rule::Custom { field_sources: names(field_sources), check: Arc::new(check) })
    }

    /// Replaces the message; `%s` in a conditional_at_least_one_of's stands for the fields.
    #[must_use]
    pub fn then_err(mut self, message: &str) -> Self {
        self.then_err = Some(message.into());
        self
    }
    /// Skips the check where one of these fields is set: for hidden fields that stand in for Kong's. Not shown by `/schemas`.
    #[must_use]
    pub fn unless<S: Into<String>>(mut self, fields: impl IntoIterator<Item = S>) -> Self {
        self.unless = names(fields);
        self
    }
    #[must_use]
    pub fn run_with_missing_fields(mut self) -> Self {
        self.run_with_missing_fields = true;
        self
    }
    #[must_use]
    pub fn run_with_invalid_fields(mut self) -> Self {
        self.run_with_invalid_fields = true;
        self
    }

    /// The fields it reads, and of these the ones that must be there.
    fn sources(&self) -> (impl Iterator<Item = &str>, &[String]) {
        static NONE: [String; 0] = [];
        let (first, second, rest, needed): (_, _, &[String], &[String]) = match &self.rule {
            Rule::AtLeastOneOf(fields)
            | Rule::OnlyOneOf(fields)
            | Rule::Distinct(fields)
            | Rule::MutuallyRequired(fields)
            | Rule::MutuallyExclusive(fields) => (None, NONE.as_slice(), fields, &NONE),
            Rule::MutuallyExclusiveSets(set1, set2) => (None, set1.as_slice(), set2, &NONE),
            Rule::Conditional { if_field, then_field, .. } => {
                (Some(if_field), std::slice::from_ref(then_field), &NONE, std::slice::from_ref(if_field))
            }
            Rule::ConditionalAtLeastOneOf { if_field, then, otherwise, .. } => {
                let second = otherwise.as_ref().map_or(NONE.as_slice(), |otherwise| otherwise.then.as_slice());
                (Some(if_field), second, then, std::slice::from_ref(if_field))
            }
            Rule::Custom { field_sources, .. } => (None, NONE.as_slice(), field_sources, field_sources),
        };
        (first.into_iter().chain(second).chain(rest).map(String::as_str), needed)
    }

    /// The fields that it is about.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.sources().0
    }

    /// Runs the check on a whole record, adding to `errors` what it finds.
    pub(crate) fn run(
        &self,
        validator: &Validator<'_>,
        lookup: &Lookup<'_>,
        input: &Map<String, Value>,
        errors: &mut Map<String, Value>,
    ) {
        if self.unless.iter().any(|name| get_path(input, name).is_some_and(is_nonempty)) {
            return;
        }
        let (sources, needed) = self.sources();
        let is_emptiness = matches!(self.rule, Rule::AtLeastOneOf(_));
        let mut all_missing = true;
        let mut missing = Vec::new();
        for name in sources {
            match get_path(input, name) {
                None => {
                    if !self.run_with_missing_fields && needed.iter().any(|field| field == name) {
                        missing.push(name);
                    }
                }
                Some(value) => {
                    all_missing = false;
                    if is_reference(value) && lookup.field(name).is_some_and(|f| f.is(crate::Flag::Referenceable)) {
                        return;
                    }
                }
            }
            let is_invalid = !self.run_with_invalid_fields && errors.contains_key(name);
            if is_invalid || (!is_emptiness && in_missing_record(name, input, errors)) {
                return;
            }
        }
        if all_missing && (validator.updating || !is_emptiness) {
            return;
        }
        if !missing.is_empty() {
            let text = message::required_for_entity_check(validator.updating);
            for name in missing {
                set_path(errors, name.split('.'), Value::from(text));
            }
            return;
        }
        match self.verdict(validator, lookup, input, errors) {
            Ok(()) => {}
            Err(CheckError::Entity(text)) => push_entity(errors, text),
            Err(CheckError::Field(path, text)) => set_path(errors, path.split('.'), text.into()),
        }
    }

    fn verdict(
        &self,
        validator: &Validator<'_>,
        lookup: &Lookup<'_>,
        input: &Map<String, Value>,
        errors: &mut Map<String, Value>,
    ) -> Result<(), CheckError> {
        let filled = |name: &String| get_path(input, name).is_some_and(is_nonempty);
        let count = |names: &[String]| names.iter().filter(|name| filled(name)).count();
        let refuse = |ok: bool, text: &dyn Fn() -> String| if ok { Ok(()) } else { Err(CheckError::Entity(text())) };
        match &self.rule {
            Rule::AtLeastOneOf(names) => {
                refuse(count(names) > 0, &|| message::at_least_one_of(&quoted(names), validator.updating))
            }
            Rule::OnlyOneOf(names) => refuse(count(names) == 1, &|| message::only_one_of(&quoted(names))),
            Rule::Distinct(names) => {
                let values: Vec<&Value> =
                    names.iter().filter_map(|n| get_path(input, n)).filter(|v| is_nonempty(v)).collect();
                let repeated = values.iter().enumerate().any(|(at, value)| values.iter().take(at).any(|v| v == value));
                refuse(!repeated, &|| message::distinct(&quoted(names)))
            }
            Rule::MutuallyRequired(names) => {
                let set = count(names);
                refuse(set == 0 || set == names.len(), &|| message::mutually_required(&quoted(names)))
            }
            Rule::MutuallyExclusive(names) => {
                refuse(count(names) <= 1, &|| message::mutually_exclusive(&quoted(names)))
            }
            Rule::MutuallyExclusiveSets(set1, set2) => refuse(count(set1) == 0 || count(set2) == 0, &|| {
                message::mutually_exclusive_sets(&format!("({}), ({})", quoted(set1), quoted(set2)))
            }),
            Rule::Conditional { if_field, if_match, then_field, then_match } => {
                if !holds(validator, lookup, input, if_field, if_match) {
                    return Ok(());
                }
                let value = get_path(input, then_field).unwrap_or(&Value::Null);
                let base = lookup.field(then_field);
                let Err(error) = validator.matches(base, then_match, value) else { return Ok(()) };
                set_path(errors, then_field.split('.'), error);
                Err(self.then_err.clone().unwrap_or_else(|| message::conditional(if_field)).into())
            }
            Rule::ConditionalAtLeastOneOf { if_field, if_match, then, otherwise } => {
                let (then, err) = if holds(validator, lookup, input, if_field, if_match) {
                    (then, self.then_err.as_ref())
                } else {
                    match otherwise {
                        Some(other) if holds(validator, lookup, input, if_field, &other.matches) => {
                            (&other.then, Some(&other.err))
                        }
                        _ => return Ok(()),
                    }
                };
                refuse(count(then) > 0, &|| match err {
                    Some(text) => text.replacen("%s", &quoted(then), 1),
                    None => message::at_least_one_of(&quoted(then), validator.updating),
                })
            }
            Rule::Custom { check, .. } => check(input, validator.cx),
        }
    }

    /// The check as `/schemas` shows it, functions left out.
    pub(crate) fn to_json(&self) -> Value {
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| {
            body.insert(name.to_owned(), value);
        };
        let name = match &self.rule {
            Rule::AtLeastOneOf(names) => return one("at_least_one_of", names),
            Rule::OnlyOneOf(names) => return one("only_one_of", names),
            Rule::Distinct(names) => return one("distinct", names),
            Rule::MutuallyRequired(names) => return one("mutually_required", names),
            Rule::MutuallyExclusive(names) => return one("mutually_exclusive", names),
            Rule::MutuallyExclusiveSets(set1, set2) => {
                put("set1", set1.clone().into());
                put("set2", set2.clone().into());
                "mutually_exclusive_sets"
            }
            Rule::Conditional { if_field, if_match, then_field, then_match } => {
                put("if_field", if_field.clone().into());
                put("if_match", if_match.to_condition_json());
                put("then_field", then_field.clone().into());
                put("then_match", then_match.to_condition_json());
                "conditional"
            }
            Rule::ConditionalAtLeastOneOf { if_field, if_match, then, otherwise } => {
                put("if_field", if_field.clone().into());
                put("if_match", if_match.to_condition_json());
                put("then_at_least_one_of", then.clone().into());
                if let Some(otherwise) = otherwise {
                    put("else_match", otherwise.matches.to_condition_json());
                    put("else_then_at_least_one_of", otherwise.then.clone().into());
                    put("else_then_err", otherwise.err.clone().into());
                }
                "conditional_at_least_one_of"
            }
            Rule::Custom { field_sources, .. } => {
                put("field_sources", field_sources.clone().into());
                if self.run_with_missing_fields {
                    put("run_with_missing_fields", true.into());
                }
                if self.run_with_invalid_fields {
                    put("run_with_invalid_fields", true.into());
                }
                "custom_entity_check"
            }
        };
        if let Some(text) = &self.then_err {
            body.insert("then_err".into(), text.clone().into());
        }
        Value::Object(Map::from_iter([(name.to_owned(), Value::Object(body))]))
    }
}

fn one(name: &str, fields: &[String]) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), fields.into())]))
}

/// Whether the condition's first half is true of the record.
fn holds(
    validator: &Validator<'_>,
    lookup: &Lookup<'_>,
    input: &Map<String, Value>,
    if_field: &str,
    if_match: &Field,
) -> bool {
    let value = get_path(input, if_field).unwrap_or(&Value::Null);
    validator.matches(lookup.field(if_field), if_match, value).is_ok()
}

/// Whether a dotted name leads through a record that is null although it is required: its own error says enough.
fn in_missing_record(name: &str, input: &Map<String, Value>, errors: &Map<String, Value>) -> bool {
    let Some((head, tail)) = name.split_once('.') else { return false };
    match (input.get(head), errors.get(head)) {
        (Some(Value::Null), Some(Value::String(_))) => true,
        (Some(Value::Object(input)), Some(Value::Object(errors))) => in_missing_record(tail, input, errors),
        _ => false,
    }
}

pub(crate) fn push_entity(errors: &mut Map<String, Value>, text: String) {
    let list = errors.entry("@entity").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(list) = list {
        list.push(text.into());
    }
}

/// Neither null, nor an empty string, array or object.
pub(crate) fn is_nonempty(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

pub(crate) fn quoted(names: &[String]) -> String {
    lua::join(names.iter().map(|name| format!("'{name}'")))
}
