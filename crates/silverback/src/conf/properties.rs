//! Every property of kong.conf, once: from this table come `Conf`, the default file, the reference and the Admin API's dump.

use std::path::PathBuf;

use super::choices::{
    CipherSuite, ClusterMtls, Consistency, Database, ErrorType, Level, LogFormat, Ocsp, Role, RouterFlavor,
    UntrustedLua, UpstreamHeader,
};
use super::header_tokens::Headers;
use super::kinds::{Kind, Secret, Size, Time};
use super::listen::{HttpListens, StreamListens};
use super::log_file::LogFile;
use super::pem::{Pem, PemKey};
use super::reader::Reader;
use super::table::{Effect, Property, properties};

properties! {
"General" {
    prefix: PathBuf = "", Active, "The working directory: pid files, logs, certificates and the embedded database; relative paths of logs resolve here. Unset, it is /usr/local/silverback when that can be written, else ~/.local/state/silverback (or $XDG_STATE_HOME/silverback).";
    log_level: Level = "notice", Active, "The least severe messages that go to the error logs. The Admin API changes it at run time.";
    error_log_format: LogFormat = "text", Active, "The shape of error log lines: Kong's text or one JSON object a line. (Not a property of Kong.)";
    proxy_access_log: LogFile = "logs/access.log", Active, "The access log of proxied requests: a path, /dev/stdout, syslog:server=... or off. Behind it may stand the name of a format: json, combined, or one set with nginx_http_log_format.";
    proxy_error_log: LogFile = "logs/error.log", Active, "The error log of the node: a path, /dev/stderr, syslog:server=... or off.";
    proxy_stream_access_log: LogFile = "logs/access.log basic", Later, "The access log of TCP, TLS and UDP streams.";
    proxy_stream_error_log: LogFile = "logs/error.log", Moot, "The error log of streams; they are logged to proxy_error_log.";
    admin_access_log: LogFile = "logs/admin_access.log", Active, "The access log of the Admin API.";
    admin_error_log: LogFile = "logs/error.log", Moot, "The error log of the Admin API; its messages go to proxy_error_log.";
    admin_gui_access_log: LogFile = "logs/admin_gui_access.log", Later, "The access log of the Manager.";
    admin_gui_error_log: LogFile = "logs/admin_gui_error.log", Moot, "The error log of the Manager; its messages go to proxy_error_log.";
    status_access_log: LogFile = "off", Active, "The access log of the Status API.";
    status_error_log: LogFile = "logs/status_error.log", Moot, "The error log of the Status API; its messages go to proxy_error_log.";
    vaults: Vec<String> = "bundled", Active, "The vaults that references may name; bundled is env. off for none.";
    plugins: Vec<String> = "bundled", Active, "The plugins that may be configured: bundled, names, or off for none.";
    locality: Option<String> = "", Active, "Where the node is, such as eu-1: upstream targets of the same locality are preferred. (Not a property of Kong.)";
    port_maps: Vec<String> = "", Active, "Published ports as public:listening, for example 80:8000; used for X-Forwarded-Port and by routes.";
    anonymous_reports: bool = "on", Moot, "Silverback sends no reports, whatever this says.";
    proxy_server: Option<Secret> = "", Later, "The URL of an HTTP proxy for connections to a control plane.";
    proxy_server_ssl_verify: bool = "on", Later, "Whether the certificate of proxy_server is verified.";
    error_template_html: Option<PathBuf> = "", Active, "A template of HTML error answers: its first %s is the message, its second the request id.";
    error_template_json: Option<PathBuf> = "", Active, "A template of JSON error answers.";
    error_template_xml: Option<PathBuf> = "", Active, "A template of XML error answers.";
    error_template_plain: Option<PathBuf> = "", Active, "A template of plain-text error answers.";
    node_id: Option<String> = "", Active, "The node's UUID. Unset, one is made on the first start and kept in the file kong.id of the prefix.";
}
"Cluster" {
    role: Role = "traditional", Later, "The node's part in a hybrid cluster.";
    cluster_listen: HttpListens = "0.0.0.0:8005", Later, "Where a control plane waits for data planes (always TLS).";
    cluster_control_plane: String = "127.0.0.1:8005", Later, "The control plane of a data plane, as host:port.";
    cluster_cert: Option<Pem> = "", Later, "The certificate of the cluster.";
    cluster_cert_key: Option<PemKey> = "", Later, "The key of cluster_cert.";
    cluster_mtls: ClusterMtls = "shared", Later, "One shared certificate, or certificates of a common authority.";
    cluster_ca_cert: Option<Pem> = "", Later, "The authority of pki mode.";
    cluster_server_name: Option<String> = "", Later, "The control plane's name in pki mode.";
    cluster_data_plane_purge_delay: u64 = "1209600", Later, "Seconds until a data plane that is not seen any more is forgotten; at least 60.";
    cluster_ocsp: Ocsp = "off", Later, "Whether revoked certificates of data planes are looked up.";
    cluster_max_payload: u64 = "16777216", Later, "The largest message between control and data plane in bytes; at least 4194304.";
    cluster_use_proxy: bool = "off", Later, "Whether a data plane connects through proxy_server.";
    cluster_dp_labels: Vec<String> = "", Later, "Labels of a data plane as key:value.";
    cluster_rpc: bool = "off", Later, "Whether the cluster's RPC protocol is on.";
    cluster_rpc_sync: bool = "off", Later, "Whether changes are sent alone instead of the whole configuration.";
    cluster_cjson: bool = "off", Moot, "The JSON decoder of Kong's data planes.";
    lmdb_environment_path: String = "dbless.lmdb", Moot, "Kong's store of a configuration without database.";
    lmdb_map_size: String = "2048m", Moot, "The size of that store.";
    dedicated_config_processing: bool = "on", Moot, "Kong's process for configuration; here it never runs on a proxying thread.";
    kic: bool = "off", Active, "Set by Kong's ingress controller; shown by the Admin API.";
}
"Listeners" {
    proxy_listen: HttpListens = "0.0.0.0:8000 reuseport backlog=16384, 0.0.0.0:8443 http2 ssl reuseport backlog=16384", Active, "Where requests to proxy arrive: addresses (ip:port, or unix:path for a socket in the file system) with their flags (ssl, http2, proxy_protocol, backlog=, ipv6only=, so_keepalive=), or off. reuseport, bind and deferred are accepted and change nothing: each thread has a socket of its own, and a connection that says nothing costs no buffer.";
    stream_listen: StreamListens = "off", Later, "Where TCP, TLS and UDP streams arrive.";
    admin_listen: HttpListens = "127.0.0.1:8001 reuseport backlog=16384, 127.0.0.1:8444 http2 ssl reuseport backlog=16384", Active, "Where the Admin API listens. It is not protected: keep it on the loopback or behind a route.";
    admin_users: Option<PathBuf> = "", Active, "A file of the users of the Admin API, read at start and on reload: one a line, as name, proof (a token, sha256:... of one, or certificate:...), role (read-only, editor, admin) and, for a scope, tags with commas. Unset, nobody is asked who they are. (Not a property of Kong.)";
    admin_audit_log: LogFile = "off", Active, "The audit log of writes through the Admin API: a path, or off. Its end is also answered by GET /audit. (Not a property of Kong.)";
    admin_gui_listen: HttpListens = "0.0.0.0:8002, 0.0.0.0:8445 ssl", Later, "Where the Manager listens.";
    status_listen: HttpListens = "127.0.0.1:8007 reuseport backlog=16384", Active, "Where the Status API (/status, /status/ready, /metrics) listens.";
    trusted_ips: Vec<String> = "", Active, "The addresses (IP, CIDR or unix:) whose X-Forwarded-* and real_ip_header are believed.";
    headers: Headers = "server_tokens, latency_tokens, x-kong-request-id", Active, "The gateway's own headers in responses.";
    headers_upstream: UpstreamHeader = "x-kong-request-id", Active, "The gateway's own header in proxied requests.";
    allow_debug_header: bool = "off", Active, "Whether the request header Kong-Debug is answered with the matched route and service.";
    error_default_type: ErrorType = "text/plain", Active, "The content type of errors when the request has no Accept.";
    upstream_keepalive_pool_size: u32 = "512", Active, "Idle connections kept per upstream address and thread; 0 keeps none.";
    upstream_keepalive_max_requests: u32 = "10000", Active, "Requests over one upstream connection; 0 is without limit.";
    upstream_keepalive_idle_timeout: f64 = "60", Active, "Seconds an idle upstream connection is kept; 0 is without limit.";
    request_debug: bool = "on", Active, "Whether X-Kong-Request-Debug: * is answered with X-Kong-Request-Debug-Output, the times of the request's phases and plugins; with X-Kong-Request-Debug-Log: true it goes to the error log, too.";
    request_debug_token: Option<Secret> = "", Active, "The token that a request from elsewhere than the loopback must present for it, in X-Kong-Request-Debug-Token. Unset, each start makes one, in the file .request_debug_token of the prefix.";
}
"TLS" {
    ssl_cert: Vec<Pem> = "", Active, "Default certificates of proxy_listen: path, PEM or base64, one per key type. Unset, self-signed ones are made below the prefix.";
    ssl_cert_key: Vec<PemKey> = "", Active, "Their keys, in the same order.";
    ssl_cipher_suite: CipherSuite = "intermediate", Active, "A set of TLS versions and ciphers. modern is TLS 1.3 alone, fips AES-GCM over TLS 1.2; old has no other ciphers than intermediate, and its own order wins.";
    ssl_ciphers: Option<String> = "", Active, "The ciphers of the suite custom for TLS 1.2, as OpenSSL writes them; offered are ECDHE with AES-GCM and CHACHA20. Those of TLS 1.3 are always offered.";
    ssl_protocols: String = "TLSv1.2 TLSv1.3", Active, "The TLS versions of the suite custom; below 1.2 none is offered.";
    ssl_prefer_server_ciphers: bool = "on", Active, "Whether the server's order of ciphers wins in the suite custom.";
    ssl_dhparam: Option<String> = "", Moot, "Diffie-Hellman parameters; key exchange is by elliptic curves only.";
    ssl_session_tickets: bool = "on", Active, "Whether TLS sessions are resumed by ticket.";
    ssl_session_timeout: Time = "1d", Active, "How long a TLS session can be resumed: by tickets at most 7 days, and not over a reload.";
    ssl_session_cache_size: Size = "10m", Active, "The memory of the cache of TLS sessions, for when ssl_session_tickets is off.";
    client_ssl: bool = "off", Active, "Whether a client certificate is sent to upstreams whose service has none.";
    client_ssl_cert: Option<Pem> = "", Active, "That certificate.";
    client_ssl_cert_key: Option<PemKey> = "", Active, "Its key.";
    admin_ssl_cert: Vec<Pem> = "", Active, "Certificates of admin_listen.";
    admin_ssl_cert_key: Vec<PemKey> = "", Active, "Their keys.";
    admin_gui_ssl_cert: Vec<Pem> = "", Later, "Certificates of admin_gui_listen.";
    admin_gui_ssl_cert_key: Vec<PemKey> = "", Later, "Their keys.";
    status_ssl_cert: Vec<Pem> = "", Active, "Certificates of status_listen.";
    status_ssl_cert_key: Vec<PemKey> = "", Active, "Their keys.";
}
"nginx" {
    nginx_user: String = "kong kong", Active, "User (and group) of the worker process when started by root; a user that does not exist is passed over. Alias of nginx_main_user.";
    nginx_worker_processes: String = "auto", Active, "The number of threads of the worker process; auto is one a core. Alias of nginx_main_worker_processes.";
    nginx_daemon: bool = "on", Active, "Whether start puts the node into the background. Alias of nginx_main_daemon.";
    nginx_main_daemon: String = "on", Active, "See nginx_daemon.";
    nginx_main_user: String = "kong kong", Active, "See nginx_user.";
    nginx_main_worker_processes: String = "auto", Active, "See nginx_worker_processes.";
    nginx_main_worker_rlimit_nofile: String = "auto", Active, "Open files of the worker process; auto raises the limit as far as the system allows.";
    nginx_main_worker_shutdown_timeout: String = "1h", Active, "How long a worker process that a reload replaced may go on with open requests and WebSockets.";
    nginx_events_worker_connections: String = "auto", Moot, "Connections per worker; here only the limit of open files counts.";
    nginx_events_multi_accept: String = "on", Moot, "Accepting many connections at once is how it works here.";
    nginx_http_charset: String = "UTF-8", Moot, "The charset nginx adds to content types.";
    nginx_http_client_max_body_size: String = "0", Active, "The largest request body; 0 is without limit. nginx_proxy_client_max_body_size sets it for proxied requests alone.";
    nginx_http_client_body_buffer_size: String = "8k", Active, "How much of a buffered request body is held in memory; the rest goes into a file. Kong's default of 8k stands for 1m here.";
    nginx_http_client_header_buffer_size: String = "1k", Active, "The buffer a request's head is first read into.";
    nginx_http_large_client_header_buffers: String = "4 8k", Active, "Number and size of the buffers for a request's head: their product is the largest head, one size the longest line.";
    nginx_http_client_header_timeout: String = "60s", Active, "How long a client may take over a request's head.";
    nginx_http_client_body_timeout: String = "60s", Active, "How long a client may pause within a request's body.";
    nginx_http_send_timeout: String = "60s", Active, "How long a client may pause within reading a response.";
    nginx_http_keepalive_requests: String = "10000", Active, "Requests over one client connection.";
    nginx_http_keepalive_timeout: String = "75s", Active, "How long an idle client connection is kept; 0 closes it after each response.";
    nginx_http_ssl_protocols: Option<String> = "", Active, "TLS versions; over those of ssl_cipher_suite.";
    nginx_http_ssl_prefer_server_ciphers: Option<String> = "", Moot, "See ssl_prefer_server_ciphers.";
    nginx_http_ssl_dhparam: Option<String> = "", Moot, "See ssl_dhparam.";
    nginx_http_ssl_session_tickets: Option<String> = "", Active, "See ssl_session_tickets.";
    nginx_http_ssl_session_timeout: Option<String> = "", Active, "See ssl_session_timeout.";
    nginx_http_ssl_conf_command: Option<String> = "", Moot, "A command to OpenSSL.";
    nginx_http_proxy_ssl_conf_command: Option<String> = "", Moot, "A command to OpenSSL.";
    nginx_http_lua_ssl_conf_command: Option<String> = "", Moot, "A command to OpenSSL.";
    nginx_http_grpc_ssl_conf_command: Option<String> = "", Moot, "A command to OpenSSL.";
    nginx_http_lua_regex_match_limit: String = "100000", Moot, "Backtracking steps of a regular expression in Lua.";
    nginx_http_lua_regex_cache_max_entries: String = "8192", Moot, "Compiled regular expressions kept by Lua.";
    nginx_stream_ssl_conf_command: Option<String> = "", Moot, "A command to OpenSSL.";
    nginx_stream_proxy_ssl_conf_command: Option<String> = "", Moot, "A command to OpenSSL.";
    nginx_stream_lua_ssl_conf_command: Option<String> = "", Moot, "A command to OpenSSL.";
    nginx_stream_ssl_protocols: Option<String> = "", Later, "TLS versions of streams.";
    nginx_stream_ssl_prefer_server_ciphers: Option<String> = "", Moot, "See ssl_prefer_server_ciphers.";
    nginx_stream_ssl_dhparam: Option<String> = "", Moot, "See ssl_dhparam.";
    nginx_stream_ssl_session_tickets: Option<String> = "", Later, "See ssl_session_tickets.";
    nginx_stream_ssl_session_timeout: Option<String> = "", Later, "See ssl_session_timeout.";
    nginx_proxy_real_ip_header: String = "X-Real-IP", Active, "Where a trusted proxy names the client: X-Real-IP, X-Forwarded-For, another header, or proxy_protocol.";
    nginx_proxy_real_ip_recursive: String = "off", Active, "Whether trusted addresses in that header are passed over, from its end.";
    nginx_admin_client_max_body_size: String = "10m", Active, "The largest request body of the Admin API.";
    nginx_admin_client_body_buffer_size: String = "10m", Active, "How much of it is held in memory.";
    client_body_buffer_size: String = "8k", Active, "Alias of nginx_http_client_body_buffer_size.";
    real_ip_header: String = "X-Real-IP", Active, "Alias of nginx_proxy_real_ip_header.";
    real_ip_recursive: String = "off", Active, "Alias of nginx_proxy_real_ip_recursive.";
}
"Datastore" {
    database: Database = "embedded", Active, "Where the configuration is kept: embedded (a file in the prefix, nothing to install; not a value of Kong), postgres, or off (a declarative file).";
    pg_host: String = "127.0.0.1", Active, "The PostgreSQL server: a name, an address, or the folder of its socket.";
    pg_port: u16 = "5432", Active, "Its port.";
    pg_timeout: u64 = "5000", Active, "Milliseconds to wait for a connection, and for each answer.";
    pg_user: String = "kong", Active, "The user.";
    pg_password: Option<Secret> = "", Active, "The user's password.";
    pg_database: String = "kong", Active, "The database.";
    pg_schema: Option<String> = "", Active, "The schema; unset, the server's search_path.";
    pg_ssl: bool = "off", Active, "Whether the connection is encrypted.";
    pg_ssl_verify: bool = "off", Active, "Whether the server's certificate is verified against lua_ssl_trusted_certificate.";
    pg_max_concurrent_queries: u32 = "0", Active, "Connections at the same time, each for one transaction; 0 is pg_pool_size.";
    pg_semaphore_timeout: u64 = "60000", Active, "Milliseconds a transaction waits for a connection.";
    pg_keepalive_timeout: Option<u64> = "", Active, "Milliseconds an idle connection is kept; unset, 60000.";
    pg_pool_size: Option<u32> = "", Active, "Connections at the same time; unset, 16.";
    pg_backlog: Option<u32> = "", Active, "Transactions that may wait for a connection; unset, 1024.";
    _debug_pg_ttl_cleanup_interval: f64 = "300", Active, "Seconds between removals of expired rows.";
    pg_ro_host: Option<String> = "", Active, "A read-only replica; what is unset below is as for the main server.";
    pg_ro_port: Option<u16> = "", Active, "Its port.";
    pg_ro_timeout: Option<u64> = "", Active, "Milliseconds to wait for it.";
    pg_ro_user: Option<String> = "", Active, "The user.";
    pg_ro_password: Option<Secret> = "", Active, "The user's password.";
    pg_ro_database: Option<String> = "", Active, "The database.";
    pg_ro_schema: Option<String> = "", Active, "The schema.";
    pg_ro_ssl: Option<bool> = "", Active, "Whether the connection is encrypted.";
    pg_ro_ssl_verify: Option<bool> = "", Active, "Whether the server's certificate is verified.";
    pg_ro_max_concurrent_queries: Option<u32> = "", Active, "Queries at the same time.";
    pg_ro_semaphore_timeout: Option<u64> = "", Active, "Milliseconds a query waits for its turn.";
    pg_ro_keepalive_timeout: Option<u64> = "", Active, "Milliseconds an idle connection is kept.";
    pg_ro_pool_size: Option<u32> = "", Active, "Connections kept.";
    pg_ro_backlog: Option<u32> = "", Active, "Queries that may wait for a connection.";
    pg_notify_host: Option<String> = "", Active, "Where notifications of changes are listened to: the server itself, where pg_host is a pooler in transaction mode. (Not a property of Kong.)";
    pg_notify_port: Option<u16> = "", Active, "Its port. (Not a property of Kong.)";
    declarative_config: Option<PathBuf> = "", Active, "The kong.yml to load when database is off.";
    declarative_config_string: Option<Secret> = "", Active, "The same as a text, YAML or JSON.";
    db_update_frequency: f64 = "5", Active, "Seconds between looks for changes by Kong's nodes; those of other Silverback nodes are notified.";
    db_update_propagation: f64 = "0", Moot, "Seconds a change takes to reach every replica of the database; changes are always read from the main server.";
    db_cache_ttl: f64 = "0", Moot, "How long entities are cached; here the whole configuration is in memory and exact.";
    db_cache_neg_ttl: Option<f64> = "", Moot, "How long misses are cached.";
    db_resurrect_ttl: f64 = "30", Moot, "How long stale entities serve while the database is away; here without limit.";
    db_cache_warmup_entities: Vec<String> = "services", Moot, "Entities loaded at the start; here all are.";
    mem_cache_size: Size = "128m", Active, "The memory that the plugin proxy-cache keeps responses in, at most. (Kong keeps entities there, too.)";
    worker_consistency: Consistency = "eventual", Moot, "When a change is used; here at once.";
    worker_state_update_frequency: f64 = "5", Moot, "Seconds between rebuilds of router and plugins; here a change is used at once.";
    worker_events_max_payload: u64 = "65535", Moot, "The largest event between Kong's workers.";
}
"DNS" {
    dns_resolver: Vec<String> = "", Active, "Name servers as ip:port; unset, those of /etc/resolv.conf.";
    dns_hostsfile: PathBuf = "/etc/hosts", Active, "The hosts file.";
    dns_order: Vec<String> = "LAST,SRV,A,CNAME", Active, "The order in which record types are asked for; LAST is the type that worked last time.";
    dns_valid_ttl: Option<f64> = "", Active, "Seconds an answer is kept, over its own TTL.";
    dns_stale_ttl: f64 = "3600", Active, "Seconds an outdated answer serves while a new one is fetched.";
    dns_cache_size: u32 = "10000", Active, "Answers kept.";
    dns_not_found_ttl: f64 = "30", Active, "Seconds a name without answer is remembered.";
    dns_error_ttl: f64 = "1", Active, "Seconds a failure is remembered.";
    dns_no_sync: bool = "off", Moot, "Whether requests for the same name may ask at the same time; here one does.";
    new_dns_client: bool = "off", Active, "Whether the resolver_ properties count instead of the dns_ ones.";
    resolver_address: Vec<String> = "", Active, "Name servers as ip:port.";
    resolver_hosts_file: PathBuf = "/etc/hosts", Active, "The hosts file.";
    resolver_family: Vec<String> = "A,SRV", Active, "The record types asked for: A, AAAA, SRV.";
    resolver_valid_ttl: Option<f64> = "", Active, "Seconds an answer is kept, over its own TTL.";
    resolver_error_ttl: f64 = "1", Active, "Seconds a failure is remembered.";
    resolver_stale_ttl: f64 = "3600", Active, "Seconds an outdated answer serves while a new one is fetched.";
    resolver_lru_cache_size: u32 = "10000", Active, "Names kept.";
    resolver_mem_cache_size: Size = "5m", Moot, "The memory of the answers that all processes share; here there is one, and resolver_lru_cache_size counts.";
}
"Router and requests" {
    router_flavor: RouterFlavor = "traditional_compatible", Active, "The rules of the router: paths and hosts (traditional_compatible, traditional) or expressions.";
    lua_max_req_headers: u32 = "100", Active, "Request headers a plugin sees; 1 to 1000.";
    lua_max_resp_headers: u32 = "100", Active, "Response headers a plugin sees; 1 to 1000.";
    lua_max_uri_args: u32 = "100", Active, "Query arguments a plugin sees; 1 to 1000.";
    lua_max_post_args: u32 = "100", Active, "Form fields a plugin sees; 1 to 1000.";
    lua_ssl_trusted_certificate: Vec<Pem> = "system", Active, "Authorities that sign for upstreams and other servers; system is those of the operating system.";
    lua_ssl_verify_depth: u32 = "1", Later, "The longest chain of certificates.";
    lua_ssl_protocols: String = "TLSv1.2 TLSv1.3", Later, "TLS versions towards other servers.";
    tracing_instrumentations: Vec<String> = "off", Active, "The spans that are recorded: off, all, or names.";
    tracing_sampling_rate: f64 = "0.01", Active, "The share of requests that are traced; 0 to 1.";
    opentelemetry_tracing: Vec<String> = "off", Active, "Old name of tracing_instrumentations.";
    opentelemetry_tracing_sampling_rate: f64 = "0.01", Active, "Old name of tracing_sampling_rate.";
}
"Custom plugins" {
    lua_package_path: String = "./?.lua;./?/init.lua;", Later, "Where Lua plugins are looked for.";
    lua_package_cpath: Option<String> = "", Moot, "Where compiled Lua modules are looked for.";
    lua_socket_pool_size: u32 = "256", Later, "Connections kept by Lua plugins.";
    untrusted_lua: UntrustedLua = "sandbox", Later, "What Lua in plugin configurations may do.";
    untrusted_lua_sandbox_requires: Vec<String> = "", Later, "Modules it may load.";
    untrusted_lua_sandbox_environment: Vec<String> = "", Later, "Globals it may see.";
    pluginserver_names: Vec<String> = "", Later, "External plugin servers; each has pluginserver_<name>_socket, _start_cmd and _query_cmd.";
    wasm: bool = "off", Later, "Whether Wasm filters run.";
    wasm_filters_path: Option<PathBuf> = "", Later, "The directory of the filters.";
    wasm_dynamic_module: Option<String> = "", Moot, "The nginx module for Wasm.";
    wasm_filters: Vec<String> = "bundled,user", Later, "The filters that may be configured.";
    openresty_path: Option<PathBuf> = "", Moot, "Where OpenResty is.";
}
"Manager" {
    admin_gui_url: Vec<String> = "", Active, "The Manager's addresses, from which browsers may call the Admin API.";
    admin_gui_path: String = "/", Later, "The Manager's path.";
    admin_gui_api_url: Option<String> = "", Later, "The Admin API's address for browsers.";
    admin_gui_csp_header: bool = "off", Later, "Whether the Manager sends a Content-Security-Policy.";
}
}
