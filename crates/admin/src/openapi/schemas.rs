//! Kong's schemas as JSON Schema (the dialect of OpenAPI 3.1).
use entities::Catalog;
use schema::{Constraint, EntitySchema, Field, Flag, Kind, RecordSchema, Subschema};
use serde_json::{Map, Value, json};

/// A component for each entity as it is answered, one for a new one (`<entity>.new`), and one for each plugin.
pub(super) fn components<'a>(
    catalog: &Catalog,
    entities: impl Iterator<Item = &'a EntitySchema>,
) -> Map<String, Value> {
    let mut components = Map::new();
    for schema in entities {
        let mut properties = record_properties(&schema.record);
        if schema.ttl {
            let about = "Seconds until the entity is gone; answered only where it is set.";
            let ttl =
                json!({ "type": ["integer", "null"], "minimum": 0, "maximum": 100_000_000, "description": about });
            properties.insert("ttl".to_owned(), ttl);
        }
        components.insert(schema.name.clone(), json!({ "type": "object", "properties": properties }));
        components.insert(format!("{}.new", schema.name), new(schema));
    }
    for plugin in catalog.plugins() {
        components.insert(format!("plugins.{}", plugin.name()), plugin_variant(&plugin.schema));
    }
    let variants: Vec<Value> =
        catalog.plugins().map(|plugin| reference(&format!("plugins.{}", plugin.name()))).collect();
    let mapping: Map<String, Value> = catalog
        .plugins()
        .map(|plugin| (plugin.name().to_owned(), format!("#/components/schemas/plugins.{}", plugin.name()).into()))
        .collect();
    if !variants.is_empty() {
        let discriminator = json!({ "propertyName": "name", "mapping": mapping });
        components.insert("plugins.new".to_owned(), json!({ "oneOf": variants, "discriminator": discriminator }));
    }
    components
}

pub(super) fn reference(component: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{component}") })
}

/// What must be given to create an entity.
fn new(schema: &EntitySchema) -> Value {
    let must = |field: &Field| field.is_required() && field.default.is_none() && !matches!(field.kind, Kind::Record(_));
    // A field that a shorthand can stand for (`host` for `url`) need not be there itself.
    let has_shorthands = schema.record.shorthands().iter().any(|shorthand| shorthand.backwards.is_none());
    let required: Vec<&str> = match has_shorthands {
        true => Vec::new(),
        false => schema.fields().filter(|(_, field)| must(field)).map(|(name, _)| name).collect(),
    };
    let mut new = json!({ "allOf": [reference(&schema.name)] });
    if !required.is_empty() {
        new["required"] = json!(required);
    }
    new
}

fn plugin_variant(plugin: &Subschema) -> Value {
    let mut properties = Map::from_iter([("name".to_owned(), json!({ "const": plugin.name }))]);
    for (name, field) in plugin.record.fields() {
        properties.insert(name.to_owned(), of_field(field));
    }
    json!({ "allOf": [reference("plugins")], "required": ["name"], "properties": properties })
}

fn record_properties(record: &RecordSchema) -> Map<String, Value> {
    let shown = record.fields().filter(|(_, field)| !field.is(Flag::Hidden));
    let mut properties: Map<String, Value> = shown.map(|(name, field)| (name.to_owned(), of_field(field))).collect();
    for shorthand in record.shorthands() {
        let mut property = of_field(&shorthand.field);
        if shorthand.backwards.is_none() {
            property["writeOnly"] = Value::Bool(true);
        }
        properties.entry(shorthand.name.clone()).or_insert(property);
    }
    properties
}

fn of_field(field: &Field) -> Value {
    let mut out = Map::new();
    let kind = match &field.kind {
        Kind::String => "string",
        Kind::Number => "number",
        Kind::Integer => "integer",
        Kind::Boolean => "boolean",
        Kind::Array(elements) | Kind::Set(elements) => {
            out.insert("items".to_owned(), of_field(elements));
            if matches!(field.kind, Kind::Set(_)) {
                out.insert("uniqueItems".to_owned(), true.into());
            }
            "array"
        }
        Kind::Map(_, values) => {
            out.insert("additionalProperties".to_owned(), of_field(values));
            "object"
        }
        Kind::Record(record) => {
            if !field.is(Flag::Abstract) {
                out.insert("properties".to_owned(), Value::Object(record_properties(record)));
            }
            "object"
        }
        Kind::Foreign(entity) => {
            out.insert("properties".to_owned(), json!({ "id": { "type": "string", "format": "uuid" } }));
            out.insert("x-references".to_owned(), entity.as_str().into());
            "object"
        }
        Kind::Any | Kind::Json | Kind::Function => "",
    };
    let nullable = !field.is_required();
    if !kind.is_empty() {
        out.insert("type".to_owned(), if nullable { json!([kind, "null"]) } else { kind.into() });
    }
    for constraint in field.constraints() {
        constrain(constraint, nullable, &mut out);
    }
    // What is kept secret has no default to tell: that of a session's secret is made anew by each process.
    let default = field.default.as_ref().filter(|_| !field.is(Flag::Encrypted));
    if let Some(default) = default.filter(|default| !default.is_null()) {
        out.insert("default".to_owned(), default.clone());
    }
    if let Some(text) = &field.description {
        out.insert("description".to_owned(), text.as_str().into());
    }
    if field.deprecation.is_some() {
        out.insert("deprecated".to_owned(), true.into());
    }
    if field.is(Flag::Referenceable) {
        out.insert("x-referenceable".to_owned(), true.into());
    }
    if field.is(Flag::Unique) {
        out.insert("x-unique".to_owned(), true.into());
    }
    Value::Object(out)
}

/// Lua patterns and functions have no counterpart: the API says what they refuse.
fn constrain(constraint: &Constraint, nullable: bool, out: &mut Map<String, Value>) {
    let mut set = |name: &str, value: Value| {
        out.insert(name.to_owned(), value);
    };
    match constraint {
        Constraint::Eq(value) => set("const", value.clone()),
        Constraint::Ne(value) => set("not", json!({ "const": value })),
        Constraint::NotOneOf(values) => set("not", json!({ "enum": values })),
        Constraint::OneOf(values) | Constraint::OneOfBeyond(values, _) => {
            let mut values = values.clone();
            if nullable {
                values.push(Value::Null);
            }
            set("enum", values.into());
        }
        Constraint::Gt(limit) => set("exclusiveMinimum", number(*limit)),
        Constraint::Uuid => set("format", "uuid".into()),
        Constraint::Between(low, high) => {
            set("minimum", number(*low));
            set("maximum", number(*high));
        }
        Constraint::LenEq(length) => {
            set("minLength", (*length).into());
            set("maxLength", (*length).into());
        }
        Constraint::LenMin(length) => set("minLength", (*length).into()),
        Constraint::LenMax(length) => set("maxLength", (*length).into()),
        _ => {}
    }
}

/// Whole numbers without a fraction.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { Value::from(value as i64) } else { Value::from(value) }
}
