use super::{Access, Role};

const DIGITS: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[test]
fn a_file_of_users_is_read_line_by_line() {
    let text = format!(
        "# who\n\nalice sha256:{DIGITS} admin\nci 0123456789abcdef editor a,b # the pipeline\nbot certificate:{DIGITS} read-only\n"
    );
    let access = Access::parse(&text).unwrap();
    let shown: Vec<(&str, Role, Option<String>)> = access
        .users
        .iter()
        .map(|user| (&*user.name, user.role, user.scope.as_ref().map(|scope| scope.to_string())))
        .collect();
    assert_eq!(
        shown,
        [("alice", Role::Admin, None), ("ci", Role::Editor, Some("a, b".to_owned())), ("bot", Role::ReadOnly, None)]
    );
    assert_eq!(format!("{access:?}"), "Access { users: 3 }");
}

#[test]
fn a_file_of_users_with_a_mistake_is_refused_by_its_line() {
    let cases = [
        ("", "it names no user, so that nobody could call the Admin API"),
        ("\na b", "line 2: expected: name, proof, role and, if there is a scope, tags with commas"),
        ("a short admin", "line 1: a token has at least 16 characters"),
        ("a 0123456789abcdef root", "line 1: no role is called 'root' (read-only, editor, admin)"),
        ("a 0123456789abcdef admin ,", "line 1: a scope has at least one tag"),
        ("a:b 0123456789abcdef admin", "line 1: a user's name must not contain a colon"),
        ("a sha256:00 admin", "line 1: a SHA-256 has 64 hexadecimal digits"),
        ("a 0123456789abcdef admin\na 0123456789abcdef admin", "line 2: the user 'a' is there already"),
    ];
    for (text, expected) in cases {
        assert_eq!(Access::parse(text).unwrap_err(), expected, "{text}");
    }
}
