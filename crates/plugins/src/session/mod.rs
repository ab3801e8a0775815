//! # session
//!
//! Remembers whom an authentication plugin has let in: a cookie stands for the client from then on, until it logs out or
//! the session ends. Use it with authentication plugins that have an `anonymous` consumer.
//!
//! A session is sealed with the plugin's secret. It is kept in the cookie, or (`storage = kong`) in the gateway's database
//! with its name in the cookie, so that it can be ended from there.

mod config;
mod cookies;
mod sealed;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use config::Config;
use cookies::Cookie;
use entities::{Consumer, PluginSchema};
use pdk::args::{Arg, find};
use pdk::{
    BuildError, Context, Credential, Definition, Flow, Headers, Instance, Phases, Plugin, Response, Step, Storage,
    Write,
};
use sealed::{Contents, Head, Seal, Sealed};
use serde_json::json;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

pub const DEFINITION: Definition = Definition {
    name: "session",
    priority: 1900,
    version: crate::VERSION,
    phases: Phases::ACCESS.union(Phases::HEADER_FILTER),
    schema,
    build,
};

/// A cookie is sent anew when the session was last seen in use this many seconds ago, so that not every answer sets one.
const TOUCHES: u64 = 60;

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, &config::record()).no_consumer()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let secret = config.secret.clone().filter(|secret| !secret.is_empty());
    let secret = secret.ok_or_else(|| BuildError("the field `secret` is empty".to_owned()))?;
    let seconds = |value: Option<f64>| value.map_or(0, |seconds| seconds.max(0.0) as u64);
    let attributes = attributes(&config);
    let jar = |purpose: &str, name: Option<String>, [idling, rolling, absolute]: [Option<f64>; 3]| Jar {
        seal: Seal::new(secret.as_bytes(), purpose),
        cookie: Cookie { name: name.unwrap_or_else(|| purpose.to_owned()), attributes: attributes.clone() },
        idling: seconds(idling),
        rolling: seconds(rolling),
        absolute: seconds(absolute),
    };
    let times = [config.idling_timeout, config.rolling_timeout, config.absolute_timeout];
    let remembered = [None, config.remember_rolling_timeout, config.remember_absolute_timeout];
    Ok(Arc::new(Session {
        session: jar("session", config.cookie_name.clone(), times),
        remember: config
            .remember
            .unwrap_or_default()
            .then(|| jar("remember", config.remember_cookie_name.clone(), remembered)),
        is_stored: config.storage.as_deref() == Some("kong"),
        audience: config.audience.unwrap_or_else(|| "default".to_owned()),
        stale: seconds(config.stale_ttl),
        response_headers: config.response_headers.unwrap_or_default(),
        request_headers: config.request_headers.unwrap_or_default(),
        logout: Logout {
            methods: config.logout_methods.unwrap_or_default(),
            query: config.logout_query_arg,
            body: config.logout_post_arg.filter(|_| config.read_body_for_logout.unwrap_or_default()),
        },
        metadata: config.store_metadata.unwrap_or_default().then(|| config.hash_subject.unwrap_or_default()),
    }))
}

/// What stands behind the value of a cookie.
fn attributes(config: &Config) -> String {
    let mut out = format!("; Path={}", config.cookie_path.as_deref().unwrap_or("/"));
    if let Some(domain) = &config.cookie_domain {
        out += &format!("; Domain={domain}");
    }
    let same_site = config.cookie_same_site.as_deref().unwrap_or("Strict");
    if same_site != "Default" {
        out += &format!("; SameSite={same_site}");
    }
    // Browsers take `SameSite=None` with `Secure` alone.
    if config.cookie_secure.unwrap_or(true) || same_site == "None" {
        out += "; Secure";
    }
    if config.cookie_http_only.unwrap_or(true) {
        out += "; HttpOnly";
    }
    out
}

/// One kind of session: its cookie, and when it ends. Times in seconds; 0: never.
struct Jar {
    seal: Seal,
    cookie: Cookie,
    idling: u64,
    rolling: u64,
    absolute: u64,
}

/// How many seconds are left of a time that began then; `None`: it does not end.
fn left(began: u64, lasts: u64, now: u64) -> Option<u64> {
    (lasts > 0).then(|| (began + lasts).saturating_sub(now))
}

impl Jar {
    /// Seconds left of the times, in the order idling, rolling, absolute.
    fn left(&self, head: &Head, now: u64) -> [Option<u64>; 3] {
        [
            left(head.touched, self.idling, now),
            left(head.rolled, self.rolling, now),
            left(head.created, self.absolute, now),
        ]
    }

    fn is_over(&self, head: &Head, now: u64) -> bool {
        self.left(head, now).contains(&Some(0))
    }

    /// How long the store keeps it.
    fn lives(&self, head: &Head, now: u64) -> Option<Duration> {
        let [_, rolling, absolute] = self.left(head, now);
        rolling.into_iter().chain(absolute).min().map(Duration::from_secs)
    }

    fn is_due_to_roll(&self, head: &Head, now: u64) -> bool {
        left(head.rolled, self.rolling, now).is_some_and(|left| left <= self.rolling / 4)
    }

    fn is_due_to_touch(&self, head: &Head, now: u64) -> bool {
        self.idling > 0 && now.saturating_sub(head.touched) >= TOUCHES.min(self.idling / 4).max(1)
    }
}

struct Logout {
    methods: Vec<String>,
    query: Option<String>,
    body: Option<String>,
}

impl Logout {
    /// Whether a request asks to log out.
    async fn is_asked(&self, cx: &mut Context<'_>) -> Result<bool, Box<Response>> {
        if !self.methods.iter().any(|method| method == cx.request.method.as_str()) {
            return Ok(false);
        }
        let query = cx.request.query().unwrap_or_default();
        if self.query.as_ref().is_some_and(|name| find(query, name.as_bytes()) != Arg::Absent) {
            return Ok(true);
        }
        let has_body = matches!(cx.request.method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE");
        let Some(name) = self.body.as_ref().filter(|_| has_body) else { return Ok(false) };
        Ok(cx.read_form().await?.is_some_and(|form| form.find(name) != Arg::Absent))
    }
}

struct Session {
    session: Jar,
    remember: Option<Jar>,
    is_stored: bool,
    audience: String,
    stale: u64,
    response_headers: Vec<String>,
    request_headers: Vec<String>,
    logout: Logout,
    /// Whether metadata is stored, and whether it names the subject by a hash.
    metadata: Option<bool>,
}

/// A session that a request has shown.
#[derive(Clone, Debug)]
struct Opened {
    sealed: Sealed,
    contents: Contents,
    /// Its row, where it is stored.
    row: Option<Uuid>,
}

impl Plugin for Session {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        for name in &self.request_headers {
            cx.request.headers.remove(&field_name(name));
        }
        let shows_any = self.jars().any(|jar| jar.cookie.read(&cx.request).is_some());
        if shows_any { Step::Wait(Box::pin(self.enter(cx))) } else { Step::Continue }
    }

    fn header_filter(&self, cx: &mut Context) {
        let opened = cx.data.get::<Opened>().cloned();
        // Anonymous consumers, who have no credential, get no session.
        let Some(contents) = self.contents(cx) else { return };
        let head = match opened {
            Some(opened) if opened.contents == contents => Some(opened.sealed.head),
            opened => self.begin(cx, &contents, opened),
        };
        let (Some(head), false) = (head, self.response_headers.is_empty()) else { return };
        let now = now(cx);
        self.tell(&self.response_headers, &head, &contents, now, &mut cx.response.headers);
    }
}

fn now(cx: &Context) -> u64 {
    cx.shared.clock.now().as_secs()
}

fn field_name(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|c| c.to_ascii_uppercase()).into_iter();
        first.chain(letters).collect::<String>()
    });
    ["Session".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join("-")
}

impl Session {
    fn jars(&self) -> impl Iterator<Item = &Jar> {
        std::iter::once(&self.session).chain(&self.remember)
    }

    /// Lets the client in by the session that its cookie stands for.
    async fn enter(&self, cx: &mut Context<'_>) -> Flow {
        let now = now(cx);
        let mut opened = self.open(cx, &self.session, now).await;
        let is_remembered = opened.is_none();
        if is_remembered && let Some(remember) = &self.remember {
            opened = self.open(cx, remember, now).await;
        }
        let Some(mut opened) = opened else { return Flow::Continue };
        match self.logout.is_asked(cx).await {
            Ok(false) => {}
            Ok(true) => {
                self.end(cx, &opened).await;
                return Flow::Exit(Box::new(Response::new(200)));
            }
            Err(response) => return Flow::Exit(response),
        }
        let consumer = match opened.contents.consumer {
            None => None,
            Some(id) => {
                let consumers = cx.shared.consumers.clone();
                let Some(consumer) = consumers.consumer(id).wait().await else {
                    self.end(cx, &opened).await;
                    return Flow::Continue;
                };
                Some(consumer)
            }
        };
        if is_remembered {
            opened.sealed.head = match self.begin_early(cx, &opened.contents, now).await {
                Some(head) => head,
                None => return Flow::Continue,
            };
        } else {
            self.refresh(cx, &mut opened, now).await;
        }
        let Opened { sealed, contents, .. } = &opened;
        self.tell(&self.request_headers, &sealed.head, contents, now, &mut cx.request.headers);
        authenticate(cx, consumer, contents);
        cx.data.set(opened);
        Flow::Continue
    }

    /// The session that the jar's cookie stands for, where it still holds.
    async fn open(&self, cx: &Context<'_>, jar: &Jar, now: u64) -> Option<Opened> {
        let mut sealed = jar.seal.parse(&jar.cookie.read(&cx.request)?)?;
        if jar.is_over(&sealed.head, now) {
            return None;
        }
        let mut id = None;
        if self.is_stored {
            let found = cx.shared.storage.find("sessions", "session_id", &sealed.head.id()).await;
            let row = found.inspect_err(|error| log::error!("session: a session cannot be read: {error}")).ok()??;
            id = Some(Uuid::try_parse(row.get("id")?.as_str()?).ok()?);
            sealed.contents = URL_SAFE_NO_PAD.decode(row.get("data")?.as_str()?).ok()?;
        }
        let contents = jar.seal.open(&sealed)?;
        (contents.audience == self.audience).then_some(Opened { sealed, contents, row: id })
    }

    /// What the session of the client is to hold; `None` where it is to have none.
    fn contents(&self, cx: &Context) -> Option<Contents> {
        let credential = cx.credential.as_ref()?;
        let consumer = cx.consumer.as_deref();
        let name = |consumer: &Consumer| {
            let name = consumer.username.clone().or_else(|| consumer.custom_id.clone());
            name.unwrap_or_else(|| consumer.id.to_string())
        };
        Some(Contents {
            audience: self.audience.clone(),
            subject: consumer.map_or_else(|| credential.id.to_string(), name),
            consumer: consumer.map(|consumer| consumer.id),
            credential: Some(credential.id.to_string()),
            groups: cx.authenticated_groups.clone().unwrap_or_default(),
        })
    }

    /// Begins a session with the response that is about to be sent. A session of another client gives way.
    fn begin(&self, cx: &mut Context, contents: &Contents, old: Option<Opened>) -> Option<Head> {
        let now = now(cx);
        let gone = old.and_then(|old| old.row).map(|id| Write::Delete { entity: "sessions", id });
        let mut told = None;
        for jar in self.jars() {
            let begun = Head::new(now).and_then(|head| jar.seal.seal(head, contents));
            let Some((sealed, fields)) =
                begun.and_then(|sealed| Some((sealed.clone(), self.fields(jar, &sealed, now)?)))
            else {
                log::error!("session: a session cannot be begun: it holds too much");
                continue;
            };
            for field in fields {
                cx.response.headers.append("Set-Cookie", field.as_bytes());
            }
            if self.is_stored {
                let storage = cx.shared.storage.clone();
                cx.before_head(write(storage, self.rows(jar, &sealed, contents, now)));
            }
            told.get_or_insert(sealed.head);
        }
        if let Some(gone) = gone {
            let storage = cx.shared.storage.clone();
            cx.before_head(write(storage, vec![gone]));
        }
        told
    }

    /// Begins the session of a client that is remembered; it is known before the upstream is.
    async fn begin_early(&self, cx: &mut Context<'_>, contents: &Contents, now: u64) -> Option<Head> {
        let sealed = self.session.seal.seal(Head::new(now)?, contents)?;
        let fields = self.fields(&self.session, &sealed, now)?;
        if self.is_stored {
            write(cx.shared.storage.clone(), self.rows(&self.session, &sealed, contents, now)).await;
        }
        for field in fields {
            cx.early_headers.append("Set-Cookie", field.as_bytes());
        }
        Some(sealed.head)
    }

    /// Renews what is about to end, and notes that the session is in use.
    async fn refresh(&self, cx: &mut Context<'_>, opened: &mut Opened, now: u64) {
        let jar = &self.session;
        let head = &opened.sealed.head;
        if jar.is_due_to_roll(head, now) {
            let rolled = head.roll(now).and_then(|head| jar.seal.seal(head, &opened.contents));
            let Some(sealed) = rolled else { return };
            if self.is_stored {
                let mut writes = self.rows(jar, &sealed, &opened.contents, now);
                let stale = Duration::from_secs(self.stale.max(1));
                writes.extend(opened.row.map(|id| Write::Update {
                    entity: "sessions",
                    id,
                    patch: json!({ "expires": now + self.stale }),
                    ttl: Some(stale),
                }));
                write(cx.shared.storage.clone(), writes).await;
            }
            opened.sealed = sealed;
        } else if jar.is_due_to_touch(head, now) {
            opened.sealed.head.touched = now;
        } else {
            return;
        }
        for field in self.fields(jar, &opened.sealed, now).unwrap_or_default() {
            cx.early_headers.append("Set-Cookie", field.as_bytes());
        }
    }

    /// Ends the session, here and at the client.
    async fn end(&self, cx: &mut Context<'_>, opened: &Opened) {
        let mut gone = vec![opened.row];
        if let Some(remember) = self.remember.as_ref().filter(|_| self.is_stored) {
            gone.push(self.open(cx, remember, now(cx)).await.and_then(|opened| opened.row));
        }
        for id in gone.into_iter().flatten() {
            write(cx.shared.storage.clone(), vec![Write::Delete { entity: "sessions", id }]).await;
        }
        for field in self.jars().flat_map(|jar| jar.cookie.clear(&cx.request)) {
            cx.early_headers.append("Set-Cookie", field.as_bytes());
        }
    }

    /// The `Set-Cookie` fields of a session; `None` where it does not fit into cookies.
    fn fields(&self, jar: &Jar, sealed: &Sealed, now: u64) -> Option<Vec<String>> {
        let is_remembered = self.remember.as_ref().is_some_and(|remember| std::ptr::eq(remember, jar));
        let lives = jar.lives(&sealed.head, now).filter(|_| is_remembered).map(|lives| lives.as_secs());
        jar.cookie.set(&jar.seal.cookie(sealed, !self.is_stored), lives, now)
    }

    /// The rows of a new session.
    fn rows(&self, jar: &Jar, sealed: &Sealed, contents: &Contents, now: u64) -> Vec<Write> {
        let ttl = jar.lives(&sealed.head, now);
        let id = Uuid::new_v4();
        let session = json!({
            "id": id,
            "session_id": sealed.head.id(),
            "expires": ttl.map(|ttl| now + ttl.as_secs()),
            "data": URL_SAFE_NO_PAD.encode(&sealed.contents),
        });
        let mut rows = vec![Write::Insert { entity: "sessions", row: session, ttl }];
        if let Some(is_hashed) = self.metadata {
            let row = json!({
                "session": { "id": id },
                "sid": sealed.head.id(),
                "audience": contents.audience,
                "subject": if is_hashed { hash(&contents.subject) } else { contents.subject.clone() },
            });
            rows.push(Write::Insert { entity: "session_metadatas", row, ttl: None });
        }
        rows
    }

    /// Says of a session what is asked for.
    fn tell(&self, names: &[String], head: &Head, contents: &Contents, now: u64, headers: &mut Headers) {
        let [idling, rolling, absolute] = self.session.left(head, now);
        for name in names {
            let value = match name.as_str() {
                "id" => Some(head.id()),
                "audience" => Some(contents.audience.clone()),
                "subject" => Some(contents.subject.clone()),
                "timeout" => [idling, rolling, absolute].into_iter().flatten().min().map(|left| left.to_string()),
                "idling-timeout" => idling.map(|left| left.to_string()),
                "rolling-timeout" => rolling.map(|left| left.to_string()),
                _ => absolute.map(|left| left.to_string()),
            };
            if let Some(value) = value {
                headers.set(&field_name(name), value.as_bytes());
            }
        }
    }
}

fn hash(subject: &str) -> String {
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, subject.as_bytes()))
}

/// Writes, and says where that did not work: the request goes on either way.
async fn write(storage: Arc<dyn Storage>, writes: Vec<Write>) {
    if let Err(error) = storage.write(writes).await {
        log::error!("session: a session cannot be stored: {error}");
    }
}

fn authenticate(cx: &mut Context, consumer: Option<Arc<Consumer>>, contents: &Contents) {
    let credential = contents.credential.as_deref().map(Rc::<str>::from).map(|id| Credential {
        identifier: Some(id.clone()),
        id,
        consumer_id: consumer.as_ref().map(|consumer| consumer.id),
    });
    let is_anonymous = credential.is_none();
    cx.authenticate(consumer, credential, is_anonymous);
    cx.request.headers.remove("X-Authenticated-Groups");
    if !contents.groups.is_empty() {
        cx.request.headers.set("X-Authenticated-Groups", contents.groups.join(", ").as_bytes());
        cx.authenticated_groups = Some(contents.groups.clone());
    }
}

#[cfg(test)]
mod tests;
