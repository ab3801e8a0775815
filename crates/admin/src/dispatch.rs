//! Which endpoint a path names, and what a handler sees of the call.
use crate::access::Caller;
use crate::audit::{Action, Notes};
use crate::failure::{Failure, Outcome};
use crate::openapi::Shape;
use crate::transaction::Transaction;
use crate::urlencoded::{self, Argument};
use crate::{Api, Request, Response};
use indexmap::IndexMap;
use schema::EntitySchema;
use serde_json::Value;
use std::collections::HashMap;

pub(crate) type Handler = Box<dyn Fn(&Api, &Call<'_>) -> Outcome + Send + Sync>;
pub(crate) type Before = Box<dyn Fn(&Api, &Call<'_>) -> Outcome<()> + Send + Sync>;

/// One path, with a handler for each of its methods.
pub(crate) struct Endpoint {
    /// `/services/:services/routes`
    pub(crate) path: String,
    methods: IndexMap<&'static str, Handler>,
    /// Runs first, whatever the method; an answer of its own ends the call.
    pub(crate) before: Option<Before>,
    /// Left out of `/endpoints`, which lists what Kong's open source edition has.
    is_unlisted: bool,
    /// Whether it is about rows of entities, which scopes can tell apart.
    pub(crate) is_of_entities: bool,
    /// Whether every call is answered 404, though Kong lists the path.
    pub(crate) is_disabled: bool,
    /// What it is about, where it was generated from a schema.
    pub(crate) shape: Option<Shape>,
}

impl Endpoint {
    /// The methods for `Allow`, sorted.
    pub(crate) fn allowed(&self) -> String {
        let mut methods: Vec<&str> = self.methods.keys().copied().collect();
        if self.methods.contains_key("GET") {
            methods.push("HEAD");
        }
        methods.push("OPTIONS");
        methods.sort_unstable();
        methods.join(", ")
    }

    pub(crate) fn handler(&self, method: &str) -> Option<&Handler> {
        self.methods.get(method)
    }

    pub(crate) fn methods(&self) -> impl Iterator<Item = &'static str> {
        self.methods.keys().copied()
    }

    fn is_parameter(segment: &str) -> bool {
        segment.starts_with(':')
    }
}

#[derive(Default)]
struct Branch {
    fixed: HashMap<String, Branch>,
    parameter: Option<Box<Branch>>,
    endpoint: Option<usize>,
}

/// All endpoints, found by path. A fixed segment is preferred to a parameter.
#[derive(Default)]
pub(crate) struct Routes {
    endpoints: Vec<Endpoint>,
    root: Branch,
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

impl Routes {
    /// The endpoint of a path, made where there is none yet.
    pub(crate) fn at(&mut self, path: &str) -> &mut Endpoint {
        let mut branch = &mut self.root;
        for segment in segments(path) {
            branch = if Endpoint::is_parameter(segment) {
                branch.parameter.get_or_insert_default()
            } else {
                branch.fixed.entry(segment.to_owned()).or_default()
            };
        }
        let place = *branch.endpoint.get_or_insert_with(|| {
            self.endpoints.push(Endpoint {
                path: path.to_owned(),
                methods: IndexMap::new(),
                before: None,
                is_unlisted: false,
                is_of_entities: false,
                is_disabled: false,
                shape: None,
            });
            self.endpoints.len() - 1
        });
        &mut self.endpoints[place]
    }

    /// Adds a method, or replaces the one that was generated.
    pub(crate) fn on<F>(&mut self, method: &'static str, path: &str, handler: F)
    where
        F: Fn(&Api, &Call<'_>) -> Outcome + Send + Sync + 'static,
    {
        self.at(path).methods.insert(method, Box::new(handler));
    }

    pub(crate) fn before<F>(&mut self, path: &str, before: F)
    where
        F: Fn(&Api, &Call<'_>) -> Outcome<()> + Send + Sync + 'static,
    {
        self.at(path).before = Some(Box::new(before));
    }

    /// Leaves endpoints out of `/endpoints`.
    pub(crate) fn unlist(&mut self, is_unlisted: impl Fn(&str) -> bool) {
        for endpoint in &mut self.endpoints {
            endpoint.is_unlisted |= is_unlisted(&endpoint.path);
        }
    }

    /// Marks the endpoints below these collections as being about rows of entities.
    pub(crate) fn mark_entities(&mut self, collections: &[&str]) {
        for endpoint in &mut self.endpoints {
            let first = segments(&endpoint.path).next().unwrap_or_default();
            let is_fixed = matches!(endpoint.path.as_str(), "/plugins/enabled" | "/plugins/schema/:name");
            endpoint.is_of_entities = collections.contains(&first) && !is_fixed;
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter()
    }

    /// The paths of all endpoints, parameters as `{name}`, ordered segment by segment.
    pub(crate) fn paths(&self) -> Vec<String> {
        let shown = |path: &str| {
            let shown = segments(path).map(|segment| match segment.strip_prefix(':') {
                Some(name) => format!("{{{name}}}"),
                None => segment.to_owned(),
            });
            format!("/{}", shown.collect::<Vec<_>>().join("/"))
        };
        let listed = self.endpoints.iter().filter(|endpoint| !endpoint.is_unlisted);
        let mut paths: Vec<String> = listed.map(|endpoint| shown(&endpoint.path)).collect();
        paths.sort_by(|a, b| segments(a).cmp(segments(b)));
        paths
    }

    pub(crate) fn find<'a>(&'a self, path: &'a str) -> Option<(&'a Endpoint, Vec<&'a str>)> {
        fn descend<'a>(branch: &Branch, rest: &[&'a str], parameters: &mut Vec<&'a str>) -> Option<usize> {
            let Some((segment, rest)) = rest.split_first() else { return branch.endpoint };
            if let Some(found) = branch.fixed.get(*segment).and_then(|next| descend(next, rest, parameters)) {
                return Some(found);
            }
            let next = branch.parameter.as_ref()?;
            parameters.push(segment);
            let found = descend(next, rest, parameters);
            if found.is_none() {
                parameters.pop();
            }
            found
        }
        let segments: Vec<&str> = segments(path).collect();
        let mut parameters = Vec::new();
        let place = descend(&self.root, &segments, &mut parameters)?;
        Some((&self.endpoints[place], parameters))
    }
}

/// One request at an endpoint.
pub(crate) struct Call<'a> {
    pub(crate) request: &'a Request,
    pub(crate) endpoint: &'a Endpoint,
    /// The path's parameters in their order, as they came.
    pub(crate) parameters: Vec<&'a str>,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) caller: &'a Caller,
    /// The transaction that the call is a part of, where it is one of several.
    pub(crate) transaction: Option<&'a dyn Transaction>,
    /// What the call writes, for the audit log.
    pub(crate) notes: Option<&'a Notes>,
}

impl Call<'_> {
    pub(crate) fn takes_notes(&self) -> bool {
        self.notes.is_some()
    }

    pub(crate) fn note(&self, action: Action, schema: &EntitySchema, before: Option<&Value>, after: Option<&Value>) {
        if let Some(notes) = self.notes {
            notes.add(action, schema, before, after);
        }
    }

    /// A parameter of the path, as it came.
    pub(crate) fn raw(&self, place: usize) -> &str {
        self.parameters.get(place).copied().unwrap_or_default()
    }

    /// A parameter of the path, decoded and not yet known to be UTF-8.
    pub(crate) fn bytes(&self, place: usize) -> Vec<u8> {
        urlencoded::decode(self.raw(place).as_bytes(), false)
    }

    pub(crate) fn parameter(&self, place: usize) -> Outcome<String> {
        String::from_utf8(self.bytes(place)).map_err(|_| Failure::not_found())
    }

    /// The first argument of the query with this name: `None` without, `Some(None)` without `=`.
    pub(crate) fn argument(&self, name: &str) -> Option<Option<String>> {
        self.values(name).next()
    }

    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = Option<String>> {
        let named = self.arguments.iter().filter(move |(given, _)| given == name.as_bytes());
        named.map(|(_, value)| value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned()))
    }

    /// Bodies come in the known content types only.
    pub(crate) fn check_content_type(&self) -> Outcome<()> {
        if !matches!(self.request.method.as_str(), "PUT" | "POST" | "PATCH") {
            return Ok(());
        }
        let mut given = self.request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let content_type = given.next().map(|(_, value)| value.as_str());
        if given.next().is_some() {
            return Err(Response::text(400, "application/json", "Multiple Content-Type headers not allowed").into());
        }
        let Some(content_type) = content_type else {
            return if self.request.body.is_empty() { Ok(()) } else { Err(Response::page(415).into()) };
        };
        let known = ["application/json", "multipart/form-data", "application/x-www-form-urlencoded"];
        let takes_yaml = self.endpoint.path == "/config";
        let yaml: &[&str] = if takes_yaml { &["application/yaml", "text/yaml"] } else { &[] };
        if known.iter().chain(yaml).any(|known| content_type.starts_with(known)) {
            return Ok(());
        }
        Err(Response::page(415).into())
    }
}
