//! Tests of templates.

use super::*;
use pdk::testing::Harness;

fn rendered(source: &str, request: &str) -> Result<String, String> {
    let template = Template::lenient(source);
    let harness = Harness::new(&crate::correlation_id::DEFINITION, serde_json::json!({}));
    let cx = harness.context(request);
    let text = template.render(&Request::new(&cx, &cx.request.headers));
    text.map(|text| String::from_utf8_lossy(&text).into_owned()).map_err(|fault| fault.to_string())
}

const REQUEST: &str = "GET /p/./x?a=1&m=x&m=y&flag&sp=a%20b+c\nHost: h.test\nX-One: first\nX-Many: 1\nX-Many: 2";

#[test]
fn expressions_see_the_request() {
    for (source, want) in [
        ("plain", "plain"),
        ("", ""),
        ("$", "$"),
        ("$(", "$("),
        ("a$b(c)", "a$b(c)"),
        ("<$(headers.x_one)>", "<first>"),
        ("$(headers['X-ONE'])", "first"),
        ("$(headers.none)", ""),
        ("$(headers.x_many[1] .. headers['x-many'][2])", "12"),
        ("$(type(headers.x_many)) $(type(headers.x_one)) $(type(headers.none))", "table string nil"),
        ("$(query_params.sp)|$(query_params['a'])", "a b c|1"),
        ("$(query_params.flag)", "true"),
        ("$(#query_params.m)", "2"),
        ("$(query_params.none or 'default')", "default"),
        ("$(uri_captures[1])$(uri_captures.x)", ""),
        ("$(shared.x)", ""),
        ("$(kong.request.get_path())", "/p/x"),
        ("$(kong.request.get_raw_path())", "/p/./x"),
        ("$(kong.request.get_method():lower())", "get"),
        ("$(kong.request.get_header('x-one'))", "first"),
        ("$(kong.request.get_query_arg('m'))", "x"),
        ("$(kong.client.get_forwarded_ip())", "10.0.0.1"),
        ("$(kong.router.get_route())", ""),
        ("$(kong.client.get_consumer() == nil)", "true"),
        ("$(ngx.var.http_x_one)$(ngx.var.arg_a)$(ngx.var.none)", "first1"),
        ("$(tostring)", ""),
        ("$({})", "table: 0x00000000"),
        ("$(nil)$(false)$(true)", "true"),
        ("$(0/0) $(1/0)", "nan inf"),
        ("$(function() end) $(require)", "function: 0x00000000 function: 0x00000000"),
        ("$(function(a, ...) if a then for i = 1, 2 do f() end else repeat until a end end)", "function: 0x00000000"),
        ("$((function() return 5 end)())$((function() return headers.x_one; end)())$((function() end)())", "5first"),
        ("$(type(require)) $(type(ngx.null)) $(type(function() return 1, 2 end))", "function userdata function"),
        ("$(ngx.null) $(ngx.null == ngx.null)", "userdata: NULL true"),
        ("$(ngx.HTTP_OK) $(ngx.HTTP_PATCH) $(ngx.ERR) $(ngx.DECLINED)", "200 16384 4 -5"),
        (
            "$(ngx.md5('a')) $(ngx.md5(headers.none))",
            "0cc175b9c0f1b6a831c399e269772661 d41d8cd98f00b204e9800998ecf8427e",
        ),
        ("$(ngx.encode_base64('a')) $(ngx.encode_base64('a', true)) $(ngx.decode_base64('YQ'))", "YQ== YQ a"),
        ("$(#ngx.md5_bin('a')) $(#ngx.sha1_bin('a')) $(ngx.decode_base64('*') == nil)", "16 20 true"),
        ("$(ngx.escape_uri('a b/~')) $(ngx.unescape_uri('a%20b+c'))", "a%20b%2F~ a b c"),
        ("$(ngx.encode_args({a = 1, b = true, c = {'x y', 2}, d = false}))", "a=1&b&c=x%20y&c=2"),
        ("$(ngx.req.get_method())$(ngx.req.get_headers()['x-one'])$(ngx.req.get_uri_args().a)", "GETfirst1"),
        ("$(kong.request.get_forwarded_port()) $(kong.request.get_forwarded_path())", "8000 /p/x"),
        ("$(kong.request.get_forwarded_prefix())", ""),
    ] {
        assert_eq!(rendered(source, REQUEST).as_deref(), Ok(want), "{source}");
    }
}

#[test]
fn expressions_see_the_time() {
    let at = pdk::testing::START.as_secs();
    let date = |text: &str| rendered(text, REQUEST).unwrap();
    assert_eq!((date("$(ngx.time())"), date("$(ngx.now() >= ngx.time())")), (at.to_string(), "true".to_owned()));
    let (year, month, day) = crate::calendar::date(at / 86_400);
    assert_eq!(date("$(ngx.today())"), format!("{year}-{month:02}-{day:02}"));
    assert!(date("$(ngx.utctime())").starts_with(&(date("$(ngx.today())") + " ")));
}

#[test]
fn what_lua_would_raise_is_a_fault() {
    for source in [
        "$(os.time())",
        "$(tostring(1))",
        "$(string.rep('ab', 2))",
        "$(nothing.here)",
        "$(uri_captures.x.y)",
        "$(headers.x_many .. 'x')",
        "$(error('boom'))",
        "$(ngx.exit(200))",
        "$(kong.db.consumers)",
        "$(kong.response.exit(200))",
        "$((function(a) return a end)(1))",
        "$((function() local a = 1 return a end)())",
        "$(require('x'))",
        "$(ngx.decode_base64(nil))",
        "$(ngx.encode_args('x'))",
        "$(ngx.null.x)",
        "$(1 +)",
        "$()",
        "$(1, 2)",
        "$(('x'):rep(1e9))",
    ] {
        assert!(rendered(source, REQUEST).is_err(), "{source}");
    }
}

#[test]
fn only_lua_compiles() {
    assert!(Template::compile("$(headers.a or 'b')").is_ok());
    let error = Template::compile("x$(1 +)").err().unwrap();
    assert_eq!(error, "[string \"TMP\"]:1: unexpected symbol near ')'");
}

#[test]
fn hostile_values_cost_a_bounded_amount_of_work() {
    let value = "a".repeat(60_000);
    let request = format!("GET /\nX-A: {value}");
    let error = rendered("$(headers.x_a:match('^.-.-.-.-.-.-b$'))", &request).unwrap_err();
    assert_eq!(error, "malformed pattern, or one that takes too much work");
    assert!(rendered("$(headers.x_a:gsub('.', '%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0'))", &request).is_err());
}
