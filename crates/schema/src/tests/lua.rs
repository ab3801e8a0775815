//! Lua's patterns, printing and syntax.

use crate::json;
use crate::lua::{Environment, Expression, Fault, Object, Pattern, Value, literal, number, pretty, syntax};

#[test]
fn patterns_match_as_in_lua() {
    let cases = [
        ("^%u+$", "GET", true),
        ("^%u+$", "GEt", false),
        ("^[^*]*%*?[^*]*$", "*.a.test", true),
        ("^[^*]*%*?[^*]*$", "*.a.*", false),
        ("^%*%.", "*.a", true),
        ("%.%*$", "a.*", true),
        ("%.%*$", "a.*b", false),
        ("//", "/a//b", true),
        ("//", "/a/b", false),
        ("^~/", "~/a", true),
        ("^[a-z][a-z%d-]-[a-z%d]+$", "my-env", true),
        ("^[a-z][a-z%d-]-[a-z%d]+$", "renamed.test", false),
        ("^[a-z][a-z%d-]-[a-z%d]+$", "a", false),
        ("^[%a_-][%a%d_-]*$", "A_-b", true),
        ("^[%a_-][%a%d_-]*$", "1x", false),
        ("^[^:]+:.*$", "a:b", true),
        ("^[^:]+:.*$", ":b", false),
        ("%w*%p*@+%w*%.?%w*", "a@a.test", true),
        ("%w*%p*@+%w*%.?%w*", "a.test", false),
        ("^[Hh][Oo][Ss][Tt]$", "HoSt", true),
        ("^RS256$", "RS256", true),
        ("^RS256$", "RS2567", false),
        ("^[0-9]+-[0-9]+$", "200-299", true),
        ("^%d+[%.%d]*$", "3.10.0", true),
        ("%b()", "a(b(c))", true),
        ("%f[%w]x", "a x", true),
        ("(a)%1", "aa", true),
        ("(a)%1", "ab", false),
        ("[]]", "]", true),
        ("[%]a]", "]", true),
        ("[^]]", "]", false),
        ("a-$", "aaa", true),
        ("", "anything", true),
        ("[a", "a", false),
        ("%", "%", false),
        ("a\0b", "a\0b", true),
    ];
    for (pattern, text, matches) in cases {
        assert_eq!(Pattern::new(pattern).is_match(text), matches, "{pattern} on {text}");
    }
}

#[test]
fn a_pattern_that_explodes_gives_up() {
    let text = "a".repeat(5_000);
    assert!(!Pattern::new("^.-.-.-.-.-.-b$").is_match(&text));
}

#[test]
fn values_print_as_lua_literals() {
    let cases = [
        (json!({ "id": "x", "name": null }), r#"{id="x",name=null}"#),
        (json!({ "b": { "a": true }, "a-b": 1 }), r#"{["a-b"]=1,b={a=true}}"#),
        (json!([null, { "host": "bad" }]), r#"{[2]={host="bad"}}"#),
        (json!(["a", null, "c"]), r#"{"a",[3]="c"}"#),
        (json!({ "end": "a\"b\\" }), r#"{["end"]="a\"b\\"}"#),
        (json!({}), "{}"),
        (json!("a\nb"), "[[a\nb]]"),
        (json!("a\n]]"), "[=[a\n]]]=]"),
    ];
    for (value, text) in cases {
        assert_eq!(literal(&value), text);
    }
}

#[test]
fn tables_print_over_lines_as_penlight_does() {
    for (text, want) in [
        ("a]", "[=[a]]=]"),
        ("a[[b", "[=[a[[b]=]"),
        ("a]=", "[==[a]=]==]"),
        ("a[b]c", "\"a[b]c\""),
        ("a]=[", "\"a]=[\""),
        ("a[[\r", "\"a[[\\13\""),
        ("a\tb", "\"a\\9b\""),
        ("a\t1\u{7f}", "\"a\\0091\\127\""),
        ("\0é", "\"\\0é\""),
    ] {
        assert_eq!(literal(&json!(text)), want, "{text:?}");
    }
    assert_eq!(literal(&json!({ "a]": 1 })), "{[ [=[a]]=] ]=1}");
    let mixed = json!({ "2": "b", "1": "unknown field", "4": "d", "default_format": "x" });
    assert_eq!(literal(&mixed), "{\"unknown field\",\"b\",default_format=\"x\",[4]=\"d\"}");
    assert_eq!(pretty(&json!(["expected a string"])), "{\n  \"expected a string\"\n}");
    assert_eq!(
        pretty(&json!({ "@entity": ["x"], "redis": { "host": "y" } })),
        "{\n  [\"@entity\"] = {\n    \"x\"\n  },\n  redis = {\n    host = \"y\"\n  }\n}"
    );
}

#[test]
fn numbers_print_as_in_lua() {
    let cases = [(5.0, "5"), (-1.0, "-1"), (0.5, "0.5"), (1e15, "1e+15"), (0.1 + 0.2, "0.3"), (1e-7, "1e-07")];
    let large = [(99_999_999_999_999.0, "99999999999999"), (1e14, "1e+14"), (-1.5e14, "-1.5e+14")];
    let none = [(f64::NAN, "nan"), (f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf")];
    for (value, text) in cases.into_iter().chain(large).chain(none) {
        assert_eq!(number(value), text);
    }
}

#[test]
fn code_that_compiles_is_accepted() {
    let cases = [
        "",
        "return",
        "return 1;",
        "local a, b = 1, 'x' return function(...) return ..., a.b:c{1, [2] = 3, x = y; } end",
        "for i = 1, 10, 2 do if i > 3 and not x then break elseif y then goto done end ::done:: end",
        "for k, v in pairs(t) do t[k] = #v .. [[long\nstring]] end",
        "repeat local x = f\"s\" until x ~= nil or -x ^ 2 <= 0x1F",
        "-- comment\n--[==[ long ]] ]==] a.b.c = function() end",
        "function a.b:c(x, ...) end local function f() return f() end",
        "f() ; g{}\nh'x'\n(a or b).c = 1e3",
        "local s = '\\x41\\u{48}\\065\\z   end'",
        "#!/usr/bin/lua\nreturn 1LL + 2ull + 3i",
    ];
    for code in cases {
        assert_eq!(syntax(code), Ok(()), "{code}");
    }
}

#[test]
fn errors_of_code_are_luajits() {
    let cases = [
        ("return (", "[string \"return (\"]:1: unexpected symbol near '<eof>'"),
        ("bad lua (", "[string \"bad lua (\"]:1: '=' expected near 'lua'"),
        ("not lua (", "[string \"not lua (\"]:1: unexpected symbol near 'not'"),
        ("x = ", "[string \"x = \"]:1: unexpected symbol near '<eof>'"),
        ("if x then", "[string \"if x then\"]:1: 'end' expected near '<eof>'"),
        ("if x then\n", "[string \"if x then...\"]:2: 'end' expected (to match 'if' at line 1) near '<eof>'"),
        ("x = 'a", "[string \"x = 'a\"]:1: unfinished string near '<eof>'"),
        ("x = 'a\n'", "[string \"x = 'a...\"]:1: unfinished string near ''a'"),
        ("x = 1 end", "[string \"x = 1 end\"]:1: '<eof>' expected near 'end'"),
        ("x = 3x", "[string \"x = 3x\"]:1: malformed number near '3x'"),
        ("(a) = 1", "[string \"(a) = 1\"]:1: syntax error near '='"),
        ("break", "[string \"break\"]:1: no loop to break"),
        ("goto x", "[string \"goto x\"]:1: undefined label 'x'"),
        ("function f(1) end", "[string \"function f(1) end\"]:1: '<name>' or '...' expected near '1'"),
        (
            "function f() return ... end",
            "[string \"function f() return ... end\"]:1: cannot use '...' outside a vararg function near '...'",
        ),
        ("for x do end", "[string \"for x do end\"]:1: '=' or 'in' expected near 'do'"),
        ("x = '\\q'", "[string \"x = '\\q'\"]:1: invalid escape sequence near ''\\q'"),
        ("x = [[a", "[string \"x = [[a\"]:1: unfinished long string near '<eof>'"),
    ];
    for (code, error) in cases {
        assert_eq!(syntax(code), Err(error.to_owned()), "{code}");
    }
    let long = format!("{} (", "x".repeat(60));
    let error = syntax(&long).unwrap_err();
    assert!(error.starts_with(&format!("[string \"{}...\"]:1:", "x".repeat(45))), "{error}");
}

#[test]
fn code_nested_too_deeply_is_refused_without_overflow() {
    let error = syntax(&format!("x = {}", "(".repeat(100_000))).unwrap_err();
    assert!(error.contains("chunk has too many syntax levels"), "{error}");
    let error = syntax(&"do ".repeat(100_000)).unwrap_err();
    assert!(error.contains("chunk has too many syntax levels"), "{error}");
    let error = syntax(&format!("x = {}", "{".repeat(100_000))).unwrap_err();
    assert!(error.contains("chunk has too many syntax levels"), "{error}");
}

struct Nothing;

impl<'a> Environment<'a> for Nothing {
    fn global(&self, _name: &str) -> Value<'a> {
        Value::Nil
    }

    fn field(&self, _object: Object, _key: &Value<'a>) -> Result<Value<'a>, Fault> {
        Ok(Value::Nil)
    }

    fn call(&self, _function: &'static str, _arguments: &[Value<'a>]) -> Result<Value<'a>, Fault> {
        Ok(Value::Nil)
    }
}

fn value_of(source: &str) -> Result<String, String> {
    let expression = Expression::compile(source, "x")?;
    let value = expression.evaluate(&Nothing).map_err(|fault| fault.to_string())?;
    Ok(String::from_utf8_lossy(&value.display()).into_owned())
}

#[test]
fn expressions_have_the_values_that_lua_gives_them() {
    for (source, want) in [
        ("1 + 2 * 3 ^ 2 - 4 / 2", "17"),
        ("-2 ^ 2", "-4"),
        ("7 % -3", "-2"),
        ("0x10 + '2'", "18"),
        ("1 .. 2 .. 'x'", "12x"),
        ("not nil == true", "true"),
        ("1 < 2 and 'a' < 'b' and not (2 <= 1)", "true"),
        ("nil and 1 or 2", "2"),
        ("false or nil", "nil"),
        ("'a' == 'a' and 1 ~= '1'", "true"),
        (
            r#""\65\x42\u{43}\n" .. [[
long]] .. [=[]]]=]"#,
            "ABC\nlong]]",
        ),
        ("#'abc' + #{1, 2, x = 3}", "5"),
        ("({a = 1, ['b'] = 2, 3}).b", "2"),
        ("({a = {b = 'deep'}}).a.b", "deep"),
        ("('ab'):rep(2)", "abab"),
        ("('ab'):rep(3, ',')", "ab,ab,ab"),
        ("('aBc'):upper() .. ('aBc'):lower()", "ABCabc"),
        ("('hello'):sub(2, -2) .. ('hello'):sub(-3) .. ('hello'):sub(9)", "ellllo"),
        ("('hello'):find('l')", "3"),
        ("('a.b'):find('.', 1, true)", "2"),
        ("('hello'):find('x')", "nil"),
        ("('key=value'):match('=(.*)$')", "value"),
        ("('key=value'):match('()=')", "4"),
        ("('key=value'):match('^%w+')", "key"),
        ("('a b c'):gsub(' ', '-')", "a-b-c"),
        ("('a b c'):gsub('(%w) (%w)', '%2%1', 1)", "ba c"),
        ("('abc'):gsub('', '-')", "-a-b-c-"),
        ("('abc'):gsub('^a', 'x')", "xbc"),
        ("('%d of %s at %.2f%%'):format(3, 'x', 1.5)", "3 of x at 1.50%"),
        ("('A'):byte() .. ('').reverse('abc')", "65cba"),
        ("('x'):nothing", "error"),
    ] {
        if want == "error" {
            assert!(value_of(source).is_err(), "{source}");
        } else {
            assert_eq!(value_of(source).as_deref(), Ok(want), "{source}");
        }
    }
}

#[test]
fn expressions_that_lua_would_refuse_have_an_error() {
    for (source, want) in [
        ("", r#"[string "x"]:1: unexpected symbol near ')'"#),
        ("1 2", r#"[string "x"]:1: ')' expected near '2'"#),
        ("x.y", "attempt to index a nil value"),
        ("x()", "attempt to call a nil value"),
        ("1 .. nil", "attempt to concatenate a nil value"),
        ("1 + {}", "attempt to perform arithmetic on a table value"),
        ("1 < 'a'", "attempt to compare number with string"),
        ("#nil", "attempt to get length of a nil value"),
        ("(function(a) return a end)(1)", "functions cannot be used in templates"),
        ("('x'):rep(2000000)", "resulting string too large"),
        ("('x'):gsub('x', '%')", "invalid use of '%' in replacement string"),
        ("('x'):match('(')", "malformed pattern, or one that takes too much work"),
    ] {
        assert_eq!(value_of(source), Err(want.to_owned()), "{source}");
    }
}
