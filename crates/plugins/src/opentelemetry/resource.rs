//! The resource that spans, log records and metrics come from: the gateway, with what `resource_attributes` say of it. As in Kong
//! their values may be templates, so that requests have resources of their own; entries in the queue carry these along.

use super::SCOPE;
use super::otlp::{Attribute, Resource, Scope, attribute};
use super::report;
use crate::template::{Request, Template};
use indexmap::IndexMap;
use pdk::{Context, Node};
use prost::Message;

/// Begins an entry with a resource of its own. No message of protobuf begins with it: there is no field 0.
const OWN: u8 = 0;

/// What `resource_attributes` say, by name.
#[derive(Debug, Default)]
pub(super) struct Attributes(Vec<(String, Told)>);

#[derive(Debug)]
enum Told {
    Fixed(String),
    ByRequest(Template),
}

impl Attributes {
    pub(super) fn new(configured: Option<&IndexMap<String, String>>) -> Self {
        let told = |value: &String| match Template::compile(value) {
            Ok(template) if value.contains("$(") => Told::ByRequest(template),
            Ok(_) => Told::Fixed(value.clone()),
            Err(why) => {
                log::warn!("opentelemetry: config.resource_attributes: '{value}' is sent as it is: {why}");
                Told::Fixed(value.clone())
            }
        };
        Self(configured.into_iter().flatten().map(|(name, value)| (name.clone(), told(value))).collect())
    }

    /// The encoded resource of no request in particular: without what templates would say.
    pub(super) fn of_node(&self, node: Option<&Node>) -> Vec<u8> {
        self.encoded(node, |_| None)
    }

    /// The encoded resource of a request, where it has one of its own. A template that fails says nothing.
    pub(super) fn of_request(&self, cx: &Context) -> Option<Vec<u8>> {
        if !self.0.iter().any(|(_, told)| matches!(told, Told::ByRequest(_))) {
            return None;
        }
        let request = Request::new(cx, &cx.request.headers);
        let render = |template: &Template| {
            let rendered = template.render(&request);
            let rendered = rendered.inspect_err(|fault| {
                log::error!(request_id = cx.request_id(); "opentelemetry: failed to render a resource attribute: {fault}");
            });
            Some(String::from_utf8_lossy(&rendered.ok()?).into_owned())
        };
        Some(self.encoded(Some(&cx.shared.node), render))
    }

    fn encoded(&self, node: Option<&Node>, render: impl Fn(&Template) -> Option<String>) -> Vec<u8> {
        let own = self.0.iter().filter_map(|(name, told)| match told {
            Told::Fixed(value) => Some(attribute(name, value.as_str())),
            Told::ByRequest(template) => render(template).map(|value| attribute(name, value)),
        });
        let own: Vec<Attribute> = own.collect();
        let mut attributes: Vec<Attribute> = Vec::new();
        let mut put = |key: &str, value: String| {
            if !own.iter().any(|attribute| attribute.key == key) {
                attributes.push(attribute(key, value));
            }
        };
        put("service.name", "kong".to_owned());
        if let Some(node) = node {
            put("service.instance.id", node.id.to_string());
            put("service.version", node.version.clone());
        }
        attributes.extend(own);
        Resource { attributes }.encode_to_vec()
    }
}

/// An entry that has this resource.
pub(super) fn entry(resource: &[u8], item: &[u8]) -> Vec<u8> {
    [&[OWN], &(resource.len() as u32).to_le_bytes()[..], resource, item].concat()
}

/// Undoes [`entry`].
fn taken_apart(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = entry.strip_prefix(&[OWN])?.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// A request to the collector with all entries; those without a resource of their own have this one.
pub(super) fn export<'a>(resource: &[u8], entries: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<u8> {
    let scope = Scope { name: SCOPE.0.to_owned(), version: SCOPE.1.to_owned() }.encode_to_vec();
    if !entries.clone().any(|entry| entry.first() == Some(&OWN)) {
        return report::export(resource, &scope, entries);
    }
    let mut of_resources: IndexMap<&[u8], Vec<&[u8]>> = IndexMap::new();
    for entry in entries {
        let (own, item) = taken_apart(entry).unwrap_or((resource, entry));
        of_resources.entry(own).or_default().push(item);
    }
    // Messages one behind another are one with the fields of all.
    let exports = of_resources.iter().map(|(own, items)| report::export(own, &scope, items.iter().copied()));
    exports.collect::<Vec<_>>().concat()
}
