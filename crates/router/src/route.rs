//! stand-in until entities compiles
use uuid::Uuid;
#[derive(Clone, Debug, Default)]
pub struct Net {
    pub ip: Option<String>,
    pub port: Option<i64>,
}
#[derive(Clone, Debug, Default)]
pub struct Route {
    pub id: Uuid,
    pub created_at: i64,
    pub protocols: Vec<String>,
    pub methods: Option<Vec<String>>,
    pub hosts: Option<Vec<String>>,
    pub paths: Option<Vec<String>>,
    pub headers: Option<std::collections::BTreeMap<String, Vec<String>>>,
    pub snis: Option<Vec<String>>,
    pub sources: Option<Vec<Net>>,
    pub destinations: Option<Vec<Net>>,
    pub regex_priority: i64,
    pub expression: Option<String>,
    pub priority: Option<i64>,
}
