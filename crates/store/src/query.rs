//! What is asked of a collection, and a page of it.
use serde_json::Value;

/// Which tags a row must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagFilter {
    All(Vec<String>),
    Any(Vec<String>),
}

/// One page of a collection, in the order of the primary keys.
#[derive(Clone, Debug, Default)]
pub struct Query<'a> {
    /// Most rows of the page.
    pub size: usize,
    /// What the page before gave as its offset.
    pub offset: Option<&'a str>,
    /// Only rows whose foreign field has this id.
    pub foreign: Option<(&'a str, &'a str)>,
    pub tags: Option<TagFilter>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    pub rows: Vec<Value>,
    /// Where the next page begins; absent on the last one.
    pub offset: Option<String>,
}

/// A tag of an entity, as `/tags` lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    pub entity: String,
    pub id: String,
    pub tag: String,
    /// Its place among the tags of the entity.
    pub position: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagsPage {
    pub tags: Vec<Tagged>,
    pub offset: Option<String>,
}
