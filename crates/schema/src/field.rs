//! One field of a schema: its type, its flags and the constraints on its value, and the builder that makes it.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::RecordSchema;
use crate::lua::Pattern;

/// A field's type in Kong's terms. `Any` accepts every value; in a check's condition it means "the field's own type".
#[derive(Clone, Debug, Default)]
pub enum Kind {
    #[default]
    Any,
    String,
    Number,
    Integer,
    Boolean,
    Array(Arc<Field>),
    Set(Arc<Field>),
    Map(Arc<Field>, Arc<Field>),
    Record(Arc<RecordSchema>),
    /// A reference to an entity of the named schema.
    Foreign(String),
    Json,
    Function,
}

/// What a field is besides its type; several hold at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Flag {
    Auto = 1,
    Uuid = 1 << 1,
    Timestamp = 1 << 2,
    Unique = 1 << 3,
    UniqueAcrossWs = 1 << 4,
    Referenceable = 1 << 5,
    Encrypted = 1 << 6,
    Immutable = 1 << 7,
    Transient = 1 << 8,
    Abstract = 1 << 9,
    IsRegex = 1 << 10,
    /// Accepted when given, but neither shown in `/schemas` nor filled with null.
    Hidden = 1 << 11,
    /// Said to be not unique, which Kong's schemas do once: shown, and without effect.
    NotUnique = 1 << 12,
}

type Validate = dyn Fn(&Value) -> Result<(), String> + Send + Sync;

/// A validation function; its error is the message, or empty for Kong's `failed validating: <value>`.
#[derive(Clone)]
pub struct Custom(pub(crate) Arc<Validate>);

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Custom")
    }
}

/// A Lua pattern and the message that replaces the default one.
#[derive(Clone, Debug)]
pub struct Match {
    pub pattern: Pattern,
    pub err: Option<String>,
}

/// One constraint. The order of the variants is the order in which Kong applies them.
#[derive(Clone, Debug)]
pub enum Constraint {
    Eq(Value),
    Ne(Value),
    NotOneOf(Vec<Value>),
    OneOf(Vec<Value>),
    /// Like `OneOf` with the first; the second are taken too, but neither shown nor named by messages.
    OneOfBeyond(Vec<Value>, Vec<Value>),
    Gt(f64),
    Timestamp,
    Uuid,
    IsRegex,
    Between(f64, f64),
    LenEq(usize),
    LenMin(usize),
    LenMax(usize),
    StartsWith(String),
    NotMatch(Pattern),
    MatchNone(Vec<Match>),
    Match(Pattern),
    MatchAll(Vec<Match>),
    MatchAny(Vec<Pattern>, Option<String>),
    Contains(Value),
    Custom(Custom),
    MutuallyExclusiveSubsets(Vec<Vec<Value>>),
    /// The JSON Schema of a field of the type json. It is shown; the filters that it is about are not there.
    JsonSchema(Value),
}

impl Constraint {
    /// The place in the order of application; also what tells two constraints of a kind apart from two kinds.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Eq(_) => 0,
            Self::Ne(_) => 1,
            Self::NotOneOf(_) => 2,
            Self::OneOf(_) | Self::OneOfBeyond(..) => 3,
            Self::Gt(_) => 4,
            Self::Timestamp => 5,
            Self::Uuid => 6,
            Self::IsRegex => 7,
            Self::Between(..) => 8,
            Self::LenEq(_) => 9,
            Self::LenMin(_) => 10,
            Self::LenMax(_) => 11,
            Self::StartsWith(_) => 12,
            Self::NotMatch(_) => 13,
            Self::MatchNone(_) => 14,
            Self::Match(_) => 15,
            Self::MatchAll(_) => 16,
            Self::MatchAny(..) => 17,
            Self::Contains(_) => 18,
            Self::Custom(_) => 19,
            Self::MutuallyExclusiveSubsets(_) => 20,
            Self::JsonSchema(_) => 21,
        }
    }
}

/// The notice that a field is on its way out.
#[derive(Clone, Debug, Default)]
pub struct Deprecation {
    pub message: String,
    pub removal_in_version: String,
    pub old_default: Option<Value>,
    /// Paths of the fields that take over, relative to the record that has the deprecated one.
    pub replaced_with: Vec<Vec<String>>,
}

impl Deprecation {
    pub fn new(message: &str, removal_in_version: &str) -> Self {
        Self { message: message.into(), removal_in_version: removal_in_version.into(), ..Self::default() }
    }

    #[must_use]
    pub fn old_default(mut self, value: impl Into<Value>) -> Self {
        self.old_default = Some(value.into());
        self
    }

    #[must_use]
    pub fn replaced_with<S: Into<String>>(mut self, path: impl IntoIterator<Item = S>) -> Self {
        self.replaced_with.push(path.into_iter().map(Into::into).collect());
        self
    }
}

/// A field; see the module.
#[derive(Clone, Debug, Default)]
pub struct Field {
    pub kind: Kind,
    /// `None` is Kong's absent `required` (not required, and not rendered).
    pub required: Option<bool>,
    /// `Some(Null)` is an explicit null default.
    pub default: Option<Value>,
    flags: u16,
    /// Sorted by [`Constraint::rank`], at most one of a kind.
    pub(crate) constraints: Vec<Constraint>,
    pub on_delete: Option<String>,
    pub description: Option<String>,
    pub deprecation: Option<Box<Deprecation>>,
    /// Replaces the message of every constraint.
    pub err: Option<String>,
}

impl Field {
    fn of(kind: Kind) -> Self {
        Self { kind, ..<Self as Default>::default() }
    }

    pub fn any() -> Self {
        Self::of(Kind::Any)
    }
    pub fn string() -> Self {
        Self::of(Kind::String)
    }
    pub fn number() -> Self {
        Self::of(Kind::Number)
    }
    pub fn integer() -> Self {
        Self::of(Kind::Integer)
    }
    pub fn boolean() -> Self {
        Self::of(Kind::Boolean)
    }
    pub fn json() -> Self {
        Self::of(Kind::Json)
    }
    pub fn function() -> Self {
        Self::of(Kind::Function)
    }
    pub fn array(elements: Self) -> Self {
        Self::of(Kind::Array(Arc::new(elements.inner())))
    }
    pub fn set(elements: Self) -> Self {
        Self::of(Kind::Set(Arc::new(elements.inner())))
    }
    pub fn map(keys: Self, values: Self) -> Self {
        Self::of(Kind::Map(Arc::new(keys.inner()), Arc::new(values.inner())))
    }
    /// A record; required unless said otherwise, as in Kong.
    pub fn record(record: Arc<RecordSchema>) -> Self {
        let validator = record.validator.clone();
        let field = Self { required: Some(true), ..Self::of(Kind::Record(record)) };
        match validator {
            Some(custom) => field.with(Constraint::Custom(custom)),
            None => field,
        }
    }
    pub fn foreign(reference: &str) -> Self {
        Self::of(Kind::Foreign(reference.into()))
    }

    /// Elements, keys and values are required unless they say otherwise: `[null]` is never valid.
    fn inner(mut self) -> Self {
        self.required.get_or_insert(true);
        self
    }

    pub fn is(&self, flag: Flag) -> bool {
        self.flags & flag as u16 != 0
    }

    pub fn is_required(&self) -> bool {
        self.required == Some(true)
    }

    /// The entity this field refers to.
    pub fn reference_to(&self) -> Option<&str> {
        match &self.kind {
            Kind::Foreign(entity) => Some(entity),
            _ => None,
        }
    }

    pub fn constraints(&self) -> &[Constraint] {
        &self.constraints
    }

    #[must_use]
    pub fn with(mut self, constraint: Constraint) -> Self {
        match self.constraints.binary_search_by_key(&constraint.rank(), Constraint::rank) {
            Ok(at) => {
                if let Some(slot) = self.constraints.get_mut(at) {
                    *slot = constraint;
                }
            }
            Err(at) => self.constraints.insert(at, constraint),
        }
        self
    }

    fn flagged(mut self, flag: Flag, on: bool) -> Self {
        if on {
            self.flags |= flag as u16;
        } else {
            self.flags &= !(flag as u16);
        }
        self
    }

    /// A named type where a Rust type stands: an optional one stays optional, a generated one unmarked, and any other
    /// is required, unless the named type says so itself.
    pub fn in_place_of(place: Self, mut named: Self) -> Self {
        if named.required.is_none() && !named.is(Flag::Auto) {
            named.required = place.required;
        } else if place.required.is_none() {
            named.required = named.required.filter(|required| !required);
        }
        named
    }

    /// The same field with other elements: what `elements(..)` in a derive attribute edits.
    pub fn map_elements(mut self, edit: impl FnOnce(Self) -> Self) -> Self {
        self.kind = match self.kind {
            Kind::Array(elements) => Kind::Array(Arc::new(edit(Arc::unwrap_or_clone(elements)).inner())),
            Kind::Set(elements) => Kind::Set(Arc::new(edit(Arc::unwrap_or_clone(elements)).inner())),
            other => other,
        };
        self
    }

    pub fn map_keys(mut self, edit: impl FnOnce(Self) -> Self) -> Self {
        if let Kind::Map(keys, values) = self.kind {
            self.kind = Kind::Map(Arc::new(edit(Arc::unwrap_or_clone(keys)).inner()), values);
        }
        self
    }

    pub fn map_values(mut self, edit: impl FnOnce(Self) -> Self) -> Self {
        if let Kind::Map(keys, values) = self.kind {
            self.kind = Kind::Map(keys, Arc::new(edit(Arc::unwrap_or_clone(values)).inner()));
        }
        self
    }
}

/// The builder: each method is the attribute of that name in Kong's schema language.
#[expect(clippy::return_self_not_must_use, clippy::must_use_candidate, reason = "a builder: every result is used")]
impl Field {
    pub fn required(mut self, on: bool) -> Self {
        self.required = Some(on);
        self
    }
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }
    /// Generated when absent; Kong's schemas leave such fields without `required`.
    pub fn auto(mut self, on: bool) -> Self {
        if on {
            self.required = None;
        }
        self.flagged(Flag::Auto, on)
    }
    pub fn uuid(self, on: bool) -> Self {
        self.flagged(Flag::Uuid, on).with(Constraint::Uuid)
    }
    pub fn timestamp(self, on: bool) -> Self {
        self.flagged(Flag::Timestamp, on).with(Constraint::Timestamp)
    }
    pub fn unique(self, on: bool) -> Self {
        self.flagged(Flag::Unique, on).flagged(Flag::NotUnique, !on)
    }
    pub fn unique_across_ws(self, on: bool) -> Self {
        self.flagged(Flag::UniqueAcrossWs, on)
    }
    pub fn referenceable(self, on: bool) -> Self {
        self.flagged(Flag::Referenceable, on)
    }
    pub fn encrypted(self, on: bool) -> Self {
        self.flagged(Flag::Encrypted, on)
    }
    pub fn immutable(self, on: bool) -> Self {
        self.flagged(Flag::Immutable, on)
    }
    pub fn transient(self, on: bool) -> Self {
        self.flagged(Flag::Transient, on)
    }
    pub fn hidden(self, on: bool) -> Self {
        self.flagged(Flag::Hidden, on)
    }
    /// A record whose fields the subschema supplies (`plugins.config`).
    pub fn abstract_record(mut self, on: bool) -> Self {
        if !matches!(self.kind, Kind::Record(_)) {
            self.kind = Kind::Record(Arc::new(RecordSchema::default()));
        }
        self.required = None;
        self.flagged(Flag::Abstract, on)
    }
    pub fn is_regex(self, on: bool) -> Self {
        self.flagged(Flag::IsRegex, on).with(Constraint::IsRegex)
    }
    /// Turns an array into a set.
    pub fn set_of(mut self, on: bool) -> Self {
        self.kind = match (self.kind, on) {
            (Kind::Array(elements), true) => Kind::Set(elements),
            (kind, _) => kind,
        };
        self
    }
    pub fn len_eq(self, length: usize) -> Self {
        self.with(Constraint::LenEq(length))
    }
    pub fn len_min(self, length: usize) -> Self {
        self.with(Constraint::LenMin(length))
    }
    pub fn len_max(self, length: usize) -> Self {
        self.with(Constraint::LenMax(length))
    }
    pub fn between(self, low: impl Into<f64>, high: impl Into<f64>) -> Self {
        self.with(Constraint::Between(low.into(), high.into()))
    }
    pub fn gt(self, limit: impl Into<f64>) -> Self {
        self.with(Constraint::Gt(limit.into()))
    }
    pub fn eq(self, value: impl Into<Value>) -> Self {
        self.with(Constraint::Eq(value.into()))
    }
    /// `eq = null`: the field must not be set.
    pub fn null(self) -> Self {
        self.with(Constraint::Eq(Value::Null))
    }
    pub fn ne(self, value: impl Into<Value>) -> Self {
        self.with(Constraint::Ne(value.into()))
    }
    pub fn one_of<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Self {
        self.with(Constraint::OneOf(values.into_iter().map(Into::into).collect()))
    }
    /// Values that are taken beside those of Kong's `one_of`, which comes before, but not shown by `/schemas`.
    pub fn beyond<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Self {
        let known = self.constraints.iter().find_map(|constraint| match constraint {
            Constraint::OneOf(known) => Some(known.clone()),
            _ => None,
        });
        let values = values.into_iter().map(Into::into).collect();
        self.with(Constraint::OneOfBeyond(known.unwrap_or_default(), values))
    }
    pub fn not_one_of<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Self {
        self.with(Constraint::NotOneOf(values.into_iter().map(Into::into).collect()))
    }
    pub fn starts_with(self, prefix: &str) -> Self {
        self.with(Constraint::StartsWith(prefix.into()))
    }
    pub fn contains(self, value: impl Into<Value>) -> Self {
        self.with(Constraint::Contains(value.into()))
    }
    /// Kong's `match`: a Lua pattern.
    pub fn pattern(self, pattern: &str) -> Self {
        self.with(Constraint::Match(Pattern::new(pattern)))
    }
    pub fn match_(self, pattern: &str) -> Self {
        self.pattern(pattern)
    }
    pub fn not_match(self, pattern: &str) -> Self {
        self.with(Constraint::NotMatch(Pattern::new(pattern)))
    }
    pub fn match_all<'p>(self, patterns: impl IntoIterator<Item = (&'p str, &'p str)>) -> Self {
        self.with(Constraint::MatchAll(matches(patterns)))
    }
    pub fn match_none<'p>(self, patterns: impl IntoIterator<Item = (&'p str, &'p str)>) -> Self {
        self.with(Constraint::MatchNone(matches(patterns)))
    }
    /// `err` empty: the default message.
    pub fn match_any<'p>(self, patterns: impl IntoIterator<Item = &'p str>, err: &str) -> Self {
        let err = (!err.is_empty()).then(|| err.to_owned());
        self.with(Constraint::MatchAny(patterns.into_iter().map(Pattern::new).collect(), err))
    }
    pub fn mutually_exclusive_subsets<V, S>(self, subsets: impl IntoIterator<Item = S>) -> Self
    where
        V: Into<Value>,
        S: IntoIterator<Item = V>,
    {
        let subsets = subsets.into_iter().map(|subset| subset.into_iter().map(Into::into).collect()).collect();
        self.with(Constraint::MutuallyExclusiveSubsets(subsets))
    }
    pub fn json_schema(self, schema: impl Into<Value>) -> Self {
        self.with(Constraint::JsonSchema(schema.into()))
    }
    pub fn validator(self, f: impl Fn(&Value) -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.with(Constraint::Custom(Custom(Arc::new(f))))
    }
    pub fn reference(mut self, entity: &str) -> Self {
        self.kind = Kind::Foreign(entity.into());
        self
    }
    pub fn on_delete(mut self, action: &str) -> Self {
        self.on_delete = Some(action.into());
        self
    }
    pub fn err(mut self, message: &str) -> Self {
        self.err = Some(message.into());
        self
    }
    pub fn description(mut self, text: &str) -> Self {
        self.description = Some(text.into());
        self
    }
    pub fn deprecation(mut self, deprecation: Deprecation) -> Self {
        self.deprecation = Some(Box::new(deprecation));
        self
    }
    pub fn elements(mut self, elements: Self) -> Self {
        self.kind = match self.kind {
            Kind::Set(_) => Kind::Set(Arc::new(elements.inner())),
            // In a condition the elements' rules replace the field's, and add no requirement of their own.
            Kind::Any => Kind::Array(Arc::new(elements)),
            _ => Kind::Array(Arc::new(elements.inner())),
        };
        self
    }
    pub fn keys(mut self, keys: Self) -> Self {
        if let Kind::Map(_, values) = self.kind {
            self.kind = Kind::Map(Arc::new(keys.inner()), values);
        }
        self
    }
    pub fn values(mut self, values: Self) -> Self {
        if let Kind::Map(keys, _) = self.kind {
            self.kind = Kind::Map(keys, Arc::new(values.inner()));
        }
        self
    }
}

fn matches<'p>(patterns: impl IntoIterator<Item = (&'p str, &'p str)>) -> Vec<Match> {
    patterns
        .into_iter()
        .map(|(pattern, err)| Match { pattern: Pattern::new(pattern), err: (!err.is_empty()).then(|| err.to_owned()) })
        .collect()
}
