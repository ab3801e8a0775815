//! Declarative files under random inputs (`make fuzz`): each is refused or loaded, and what is loaded can be exported and
//! loaded again.

use super::super::{Declarative, Invalid, export, parse};
use crate::RouterFlavor;
use crate::tests::{catalog, with_context};
use schema::Value;

fn rows(declarative: &Declarative) -> Vec<(String, Value)> {
    declarative.rows().map(|(entity, row)| (entity.to_owned(), row.clone())).collect()
}

#[test]
fn a_file_is_refused_or_says_the_same_when_it_is_exported() {
    let seeds: &[&[u8]] = &[
        b"_format_version: '3.0'\nservices:\n- name: a\n  url: http://a.test/b\n  routes:\n  - name: r\n    paths: [/a]\n",
        b"_format_version: '1.1'\nroutes:\n- paths: ['/a/(?<x>.*)', /b]\n  hosts: [a.test, '*.b.test']\n",
        b"{\"_format_version\": \"2.1\", \"consumers\": [{\"username\": \"u\", \"keyauth_credentials\": [{\"key\": \"k\"}]}]}",
        b"_format_version: \"3.0\"\n_transform: false\nupstreams:\n- name: u\n  targets:\n  - target: 10.0.0.1:80\n    weight: 5\nplugins:\n- name: limits\n  config: {minute: 5, policy: local}\n",
        b"a: &x [1, .inf, 0x1f, ~, 'q', !!str 5]\nb: *x\nc: |\n  text\n  more\n",
    ];
    let words: &[&[u8]] = &[
        b"services:\n",
        b"routes:\n",
        b"plugins:\n",
        b"- name: ",
        b"  ",
        b"\n",
        b": ",
        b"[",
        b"]",
        b"{",
        b"}",
        b"&a ",
        b"*a",
        b"<<: *a",
        b"!!binary ",
        b"|\n",
        b">-\n",
        b"'",
        b"\"",
        b"\\u0000",
        b"null",
        b"~",
        b"-1",
        b"1e999",
        b".nan",
        b"id: ",
        b"service: a",
        b"00000000-0000-0000-0000-000000000001",
        b"tags: [a]",
        b"_comment: x\n",
        b"_ignore: [x]\n",
        b"# ",
        b"---\n",
        b"\t",
    ];
    let catalog = catalog(RouterFlavor::default());
    let load = |text: &str| -> Result<Declarative, Invalid> { with_context(&catalog, |cx| parse(text, &catalog, cx)) };
    mutation::check(seeds, words, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return (0, String::new()) };
        let declarative = match load(text) {
            Ok(declarative) => declarative,
            Err(invalid) => {
                let names: Vec<String> = invalid.fields().keys().take(3).cloned().collect();
                return (1, names.join(","));
            }
        };
        let exported = export(declarative.rows(), &catalog);
        let rows = rows(&declarative);
        match load(&exported) {
            Ok(again) => assert_eq!(self::rows(&again), rows, "{exported}"),
            Err(invalid) => panic!("{exported}\n{:?}", invalid.fields()),
        }
        (2 + rows.len(), rows.first().map(|(entity, _)| entity.clone()).unwrap_or_default())
    });
}
