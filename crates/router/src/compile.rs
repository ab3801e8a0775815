//! From a route's definition to candidates (what is matched) and plans (where the index keeps them).

use std::sync::Arc;

use entities::route::expression::path_regex;
use entities::route::pattern::{Dialect, traditional};
use regex_syntax::ast::{self, Ast};
use smallvec::SmallVec;
use uuid::{Uuid, uuid};

use crate::checks::{Check, HeaderCheck, HeaderName, HeaderValue, OnProtocol};
use crate::context::{Context, Found};
use crate::definition::{Definition, NameRule};
use crate::expressions::{self, Predicate};
use crate::index::NameKey;
use crate::matched::Captures;
use crate::pattern::{Pattern, required_prefix};
use crate::rank::{self, PathKind, Rank};
use crate::{Flavor, Protocol};

/// Kong's namespace for the ids of a route's path groups, which decide ties.
const GROUPS: Uuid = uuid!("7f145bf9-0dce-4f91-98eb-debbce4b9f6b");

/// What is to be checked of one path (or the lack of paths, or an expression) of one route, once the index leads there.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) has_sni: bool,
    path: PathRule,
    /// None for no checks, which is the rule.
    checks: Option<Arc<[Check]>>,
}

#[derive(Debug)]
enum PathRule {
    /// The index has compared it.
    Settled,
    Regex(Box<Pattern>),
    /// A pattern of several branches, and those of them that strip nothing.
    Branches(Box<[Pattern; 2]>),
    Expression(Box<Predicate>),
}

/// Where the index keeps a candidate.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rank: Rank,
    pub(crate) order: u16,
    pub(crate) names: Vec<(NameKey, Option<u16>)>,
    pub(crate) keys: Vec<Vec<u8>>,
    /// Whether the candidate stands for a path prefix, which is then the only key.
    pub(crate) is_prefix: bool,
    pub(crate) uses_path: bool,
    pub(crate) uses_sni: bool,
    path: PathPlan,
}

impl Plan {
    /// Whether the path may have to match a regex.
    pub(crate) fn has_regex(&self) -> bool {
        self.uses_path && !self.is_prefix
    }
}

#[derive(Debug)]
enum PathPlan {
    /// The index does it.
    Settled,
    Regex(String),
    Expression(Box<Predicate>),
}

impl Candidate {
    /// A regex that the path must match.
    pub(crate) fn path_regex(&self) -> Option<&Pattern> {
        match &self.path {
            PathRule::Settled => None,
            PathRule::Regex(pattern) => Some(pattern),
            PathRule::Branches(patterns) => Some(&patterns[0]),
            PathRule::Expression(predicate) => predicate.path_regex(),
        }
    }

    /// `found`: what the index has found out.
    pub(crate) fn matches<'a>(&'a self, cx: &mut Context<'a>, mut found: Found<'a>) -> Option<Found<'a>> {
        if let Some(checks) = &self.checks
            && !checks.iter().all(|check| check.holds(cx))
        {
            return None;
        }
        match &self.path {
            PathRule::Settled => Some(found),
            PathRule::Regex(pattern) => found.by_pattern(pattern, cx.query.path).then_some(found),
            PathRule::Branches(patterns) => {
                let [all, but_last] = &**patterns;
                let is_match = found.by_pattern(all, cx.query.path);
                if is_match && but_last.is_match(cx.query.path) {
                    found.prefix = None;
                }
                is_match.then_some(found)
            }
            PathRule::Expression(predicate) => predicate.holds(cx, &mut found).then_some(found),
        }
    }
}

impl<'a> Found<'a> {
    /// Looks for the pattern in the path, and notes what it matched if it did so at the start: nothing else can be stripped.
    pub(crate) fn by_pattern(&mut self, pattern: &'a Pattern, path: &'a [u8]) -> bool {
        let (matched, captures) = if pattern.has_groups() {
            // What is asked for later is looked for at once.
            let Some(captures) = Captures::new(pattern, path) else { return false };
            (captures.get(0), Some(captures))
        } else {
            let Some((_, matched)) = pattern.find(path) else { return false };
            (Some(matched), None)
        };
        self.prefix = matched.filter(|matched| std::ptr::eq(matched.as_ptr(), path.as_ptr()));
        self.captures = captures;
        true
    }
}

/// The plans of a route's candidates; an error only for an expression that cannot be read.
pub(crate) fn plans(flavor: Flavor, definition: &Definition) -> Result<Vec<Plan>, String> {
    if flavor == Flavor::Expressions
        && let Some(text) = &definition.expression
    {
        let predicate = expressions::compile(text, definition.is_stream)?;
        return Ok(vec![expression_plan(definition, predicate)]);
    }
    let names = names(definition);
    let plan = |is_prefix: bool, path: PathPlan, keys: Vec<Vec<u8>>, rank: Rank, order: usize| Plan {
        rank,
        order: u16::try_from(order).unwrap_or(u16::MAX),
        names: names.clone(),
        keys,
        is_prefix,
        uses_path: is_prefix || !matches!(path, PathPlan::Settled),
        uses_sni: !definition.snis.is_empty(),
        path,
    };
    if definition.paths.is_empty() || definition.is_stream {
        let rank = match flavor {
            Flavor::Traditional => rank::traditional(definition, PathKind::None),
            _ => rank::compatible(definition, PathKind::None, definition.id),
        };
        let keys = if definition.is_stream { port_keys(definition) } else { vec![Vec::new()] };
        return Ok(vec![plan(false, PathPlan::Settled, keys, rank, 0)]);
    }
    let ids = group_ids(definition);
    let by_path = definition.paths.iter().zip(ids).enumerate();
    Ok(by_path
        .map(|(order, (path, id))| {
            let (kind, is_prefix, path, key) = match path.strip_prefix('~') {
                Some(regex) => {
                    let pattern = anchored(flavor, regex);
                    let key = required_prefix(&pattern);
                    (PathKind::Regex, false, PathPlan::Regex(pattern), key)
                }
                None => (PathKind::Prefix(path.len()), true, PathPlan::Settled, path.as_bytes().to_vec()),
            };
            let rank = match flavor {
                Flavor::Traditional => rank::traditional(definition, kind),
                _ => rank::compatible(definition, kind, id),
            };
            plan(is_prefix, path, vec![key], rank, order)
        })
        .collect())
}

/// The ports of which one must be the destination's, as the index spells them; the empty key if any will do.
fn port_keys(definition: &Definition) -> Vec<Vec<u8>> {
    let ports = definition.destinations.iter().map(|net| net.port);
    let mut ports = ports.collect::<Option<Vec<u16>>>().unwrap_or_default();
    ports.sort_unstable();
    ports.dedup();
    if ports.is_empty() { vec![Vec::new()] } else { ports.iter().map(|port| port.to_be_bytes().to_vec()).collect() }
}

fn expression_plan(definition: &Definition, predicate: Predicate) -> Plan {
    let names = predicate.names(definition.is_stream).unwrap_or_else(|| vec![NameKey::Any]);
    Plan {
        rank: rank::compatible(definition, PathKind::None, definition.id),
        order: 0,
        names: names.into_iter().map(|name| (name, None)).collect(),
        keys: predicate.path_keys(definition.is_stream).unwrap_or_else(|| vec![Vec::new()]),
        is_prefix: false,
        uses_path: predicate.uses_path(),
        uses_sni: false,
        path: PathPlan::Expression(Box::new(predicate)),
    }
}

/// A regex path as the engine gets it. The expression flavors put an anchor before the text and nothing around it.
fn anchored(flavor: Flavor, regex: &str) -> String {
    match flavor {
        Flavor::Traditional => traditional(regex),
        _ => path_regex(regex),
    }
}

/// The pattern of the branches of an [`anchored`] alternation but its last one. Kong appends the group of what is left of the
/// path to the text, and so to the last branch alone: the others strip nothing.
fn branches_but_last(pattern: &str) -> Option<String> {
    let regex = pattern.strip_prefix("^(?:")?.strip_suffix(')')?;
    let parsed = ast::parse::Parser::new().parse(regex).ok()?;
    let Ast::Alternation(branches) = &parsed else { return None };
    let last = branches.asts.last()?.span().start.offset;
    Some(format!("^(?:{})", regex.get(..last)?.strip_suffix('|')?))
}

/// The id that each path's group decides ties with: all regexes are one group, and all prefixes of one length.
fn group_ids(definition: &Definition) -> Vec<Uuid> {
    let group = |path: &String| if path.starts_with('~') { None } else { Some(path.len()) };
    let mut groups: SmallVec<[Option<usize>; 8]> = SmallVec::new();
    for path in &definition.paths {
        if !groups.contains(&group(path)) {
            groups.push(group(path));
        }
    }
    if groups.len() == 1 {
        return vec![definition.id; definition.paths.len()];
    }
    let id = |path: &String| {
        let number = groups.iter().position(|other| *other == group(path)).unwrap_or(0) + 1;
        Uuid::new_v5(&GROUPS, format!("{}#{number}", definition.id).as_bytes())
    };
    definition.paths.iter().map(id).collect()
}

/// Under which names the index keeps a route of classic attributes.
fn names(definition: &Definition) -> Vec<(NameKey, Option<u16>)> {
    let mut keys: Vec<_> = if definition.is_stream {
        let keys = definition.snis.iter().map(|sni| name_key(&NameRule::new(sni)).map(|key| (key, None)));
        keys.collect::<Option<Vec<_>>>().unwrap_or_default()
    } else {
        let keys = definition.hosts.iter().map(|host| name_key(&host.name).map(|key| (key, host.port)));
        keys.collect::<Option<Vec<_>>>().unwrap_or_default()
    };
    keys.sort();
    keys.dedup();
    if keys.is_empty() {
        keys.push((NameKey::Any, None));
    } else if definition.is_stream {
        keys.push((NameKey::Plaintext, None));
    }
    keys
}

/// None for a name that the index has no key for.
pub(crate) fn name_key(name: &NameRule) -> Option<NameKey> {
    match name {
        NameRule::Exact(text) => Some(NameKey::Exact(text.clone())),
        NameRule::Suffix(text) => text.starts_with('.').then(|| NameKey::Suffix(text.clone())),
        NameRule::Prefix(text) => text.ends_with('.').then(|| NameKey::Prefix(text.clone())),
    }
}

/// The candidates of a route, one for each plan; `None` where the index checks everything.
pub(crate) fn candidates(
    flavor: Flavor,
    definition: &Definition,
    plans: &mut [Plan],
) -> Result<Vec<Option<Arc<Candidate>>>, String> {
    let checks = checks(flavor, definition)?;
    let checks: Option<Arc<[Check]>> = (!checks.is_empty()).then(|| checks.into());
    let dialect = if flavor == Flavor::Traditional { Dialect::Bytes } else { Dialect::Rust };
    let candidate = |plan: &mut Plan| {
        let path = match std::mem::replace(&mut plan.path, PathPlan::Settled) {
            PathPlan::Settled => PathRule::Settled,
            PathPlan::Regex(text) => {
                let pattern = Pattern::new(&text, dialect)?;
                let others = if flavor == Flavor::Traditional { branches_but_last(&text) } else { None };
                match others {
                    Some(others) => PathRule::Branches(Box::new([pattern, Pattern::new(&others, dialect)?])),
                    None => PathRule::Regex(Box::new(pattern)),
                }
            }
            PathPlan::Expression(predicate) => PathRule::Expression(predicate),
        };
        let is_settled = matches!(path, PathRule::Settled) && checks.is_none() && !plan.uses_sni;
        let candidate = || Arc::new(Candidate { has_sni: plan.uses_sni, path, checks: checks.clone() });
        Ok((!is_settled).then(candidate))
    };
    plans.iter_mut().map(candidate).collect()
}

/// The conditions of a route beside names and path, cheapest first.
fn checks(flavor: Flavor, definition: &Definition) -> Result<Vec<Check>, String> {
    let mut checks = Vec::new();
    if flavor == Flavor::Expressions
        && let Some(protocols) = definition.protocols
    {
        checks.push(Check::Protocols(protocols));
    }
    if flavor == Flavor::Expressions && definition.expression.is_some() {
        return Ok(checks);
    }
    for (nets, check) in [
        (&definition.sources, Check::Sources as fn(_) -> _),
        (&definition.destinations, Check::Destinations as fn(_) -> _),
    ] {
        if let Some(text) = nets.iter().find_map(|net| net.text.as_ref().filter(|_| net.address.is_none())) {
            return Err(format!("invalid ip or cidr range: '{text}'"));
        }
        if !nets.is_empty() {
            checks.push(check(nets.clone().into()));
        }
    }
    if !definition.methods.is_empty() && !definition.is_stream {
        checks.push(Check::Methods(definition.methods.clone().into()));
    }
    if !definition.snis.is_empty() {
        let names = definition.snis.iter().map(|sni| NameRule::new(sni)).collect();
        let on = match (flavor, definition.is_stream) {
            (Flavor::Traditional, _) => OnProtocol::AllBut(Protocol::Http),
            (_, true) => OnProtocol::Only(Protocol::Tls),
            (_, false) => OnProtocol::Only(Protocol::Https),
        };
        checks.push(Check::ServerNames { names, on });
    }
    if definition.hosts.iter().any(|host| name_key(&host.name).is_none()) && !definition.is_stream {
        checks.push(Check::Hosts(definition.hosts.clone().into()));
    }
    if !definition.is_stream {
        for (name, values) in &definition.headers {
            checks.push(Check::Header(header_check(flavor, name, values)?));
        }
    }
    Ok(checks)
}

fn header_check(flavor: Flavor, name: &str, values: &[String]) -> Result<HeaderCheck, String> {
    if flavor == Flavor::Traditional {
        let values = match values {
            [only] if only.starts_with("~*") => {
                let text = only.strip_prefix("~*").unwrap_or_default();
                vec![HeaderValue::Regex(Pattern::new(text, Dialect::Bytes)?)]
            }
            values => values.iter().map(|value| literal(value)).collect(),
        };
        // Kong asks OpenResty's table of the request's fields, which looks for dashes where it finds no underscores.
        let instead = name.contains('_').then(|| HeaderName::exact(&name.replace('_', "-")));
        return Ok(HeaderCheck { name: HeaderName::exact(name), instead, values: values.into() });
    }
    let value = |value: &String| match value.strip_prefix("~*") {
        Some(text) => Ok(HeaderValue::Regex(Pattern::new(&text.to_ascii_lowercase(), Dialect::Rust)?)),
        None => Ok(literal(value)),
    };
    let values = values.iter().map(value).collect::<Result<Vec<_>, String>>()?;
    Ok(HeaderCheck { name: HeaderName::folded(name), instead: None, values: values.into() })
}

fn literal(value: &str) -> HeaderValue {
    HeaderValue::Literal(value.to_ascii_lowercase().into_bytes().into())
}
