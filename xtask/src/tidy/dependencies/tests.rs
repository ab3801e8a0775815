//! The table is read as it stands, and each way to leave it is found.

use super::*;
use serde_json::json;

const TABLE: &str = "text\n\n| crate | may use |\n|---|---|\n| schema | nothing |\n| store, router | schema |\n| silverback | all |\n\nmore";

fn package(name: &str, uses: &[&str]) -> Value {
    let uses: Vec<Value> = uses.iter().map(|used| json!({"name": used})).collect();
    json!({"name": name, "manifest_path": format!("/w/crates/{name}/Cargo.toml"), "dependencies": uses})
}

fn messages(packages: &[Value]) -> Vec<String> {
    let table = parse(TABLE).unwrap();
    compare(&table, &json!({"packages": packages}), Path::new("/w")).iter().map(ToString::to_string).collect()
}

#[test]
fn reads_several_crates_of_one_row() {
    let table = parse(TABLE).unwrap();
    assert_eq!(table["router"], Allowed::Only(vec!["schema".into()]));
    assert_eq!(table["schema"], Allowed::Only(vec![]));
    assert_eq!(table["silverback"], Allowed::All);
}

#[test]
fn takes_what_the_table_allows_and_every_foreign_crate() {
    let packages = [
        package("schema", &["serde"]),
        package("store", &["schema", "serde"]),
        package("router", &[]),
        package("silverback", &["schema", "store", "router"]),
    ];
    assert_eq!(messages(&packages), Vec::<String>::new());
}

#[test]
fn finds_an_edge_that_is_not_in_the_table() {
    let packages =
        [package("schema", &[]), package("store", &["router"]), package("router", &[]), package("silverback", &[])];
    let found = messages(&packages);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("crates/store/Cargo.toml: store must not use router"), "{found:?}");
}

#[test]
fn finds_a_crate_missing_on_either_side() {
    let packages = [package("schema", &[]), package("store", &[]), package("router", &[]), package("lua", &[])];
    let found = messages(&packages);
    assert!(found[0].contains("lua is missing in the table"), "{found:?}");
    assert!(found[1].contains("names silverback, which is no crate"), "{found:?}");
}

#[test]
fn finds_a_folder_with_another_name() {
    let mut odd = package("schema", &[]);
    odd["manifest_path"] = json!("/w/crates/silverback-schema/Cargo.toml");
    let found = messages(&[odd, package("store", &[]), package("router", &[]), package("silverback", &[])]);
    assert!(found[0].contains("use one name for both"), "{found:?}");
}
