//! Who may call the Admin API, and what they may do there: `admin_users` of kong.conf. Without it, whoever reaches the
//! listener may do everything, as in Kong's open source edition.
mod scope;
#[cfg(test)]
mod tests;

pub(crate) use scope::{Scope, Scoped};

use crate::dispatch::Endpoint;
use crate::failure::{Failure, Outcome};
use crate::{Api, Request, Response};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schema::EntitySchema;
use serde_json::{Value, json};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use store::Reader;

/// A token in the file itself must not be guessable.
const SHORTEST_TOKEN: usize = 16;

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads everything, credentials too, and writes nothing.
    ReadOnly,
    /// Also writes entities.
    Editor,
    /// Also operates the node: the whole configuration, log levels, caches, the audit log.
    Admin,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::ReadOnly, Self::Editor, Self::Admin];
        let found = all.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| format!("no role is called '{text}' (read-only, editor, admin)"))
    }
}

/// What a user shows to be known by.
enum Proof {
    /// SHA-256 of a token, which comes as a bearer token or as the password of the user's name.
    Token(Vec<u8>),
    /// SHA-256 of a client certificate (DER) that the listener has verified.
    Certificate(Vec<u8>),
}

struct User {
    name: Arc<str>,
    proof: Proof,
    role: Role,
    scope: Option<Arc<Scope>>,
}

/// The users there are.
pub struct Access {
    users: Vec<User>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("users", &self.users.len()).finish()
    }
}

impl Access {
    /// Reads a file of users: one a line, `name proof role [tag,tag...]`; `#` begins a comment. A proof is
    /// `sha256:<64 hexadecimal digits>` of a token, `certificate:<the same>` of a client certificate, or the token itself.
    ///
    /// # Errors
    /// The line, and what is wrong with it; never with a proof.
    pub fn parse(text: &str) -> Result<Access, String> {
        let mut users: Vec<User> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
            if line.is_empty() {
                continue;
            }
            let user = user(line).map_err(|error| format!("line {}: {error}", at + 1))?;
            if users.iter().any(|known| known.name == user.name) {
                return Err(format!("line {}: the user '{}' is there already", at + 1, user.name));
            }
            users.push(user);
        }
        if users.is_empty() {
            return Err("it names no user, so that nobody could call the Admin API".to_owned());
        }
        Ok(Access { users })
    }

    fn find(&self, request: &Request) -> Option<&User> {
        if let Some(given) = request.header("authorization") {
            let (scheme, credentials) = given.split_once(' ')?;
            let credentials = credentials.trim();
            if scheme.eq_ignore_ascii_case("bearer") {
                return self.holder(credentials.as_bytes());
            }
            if scheme.eq_ignore_ascii_case("basic") {
                let decoded = STANDARD.decode(credentials).ok()?;
                let (name, password) = decoded.split_at_checked(decoded.iter().position(|byte| *byte == b':')?)?;
                return self.holder(password.get(1..)?).filter(|user| user.name.as_bytes() == name);
            }
            return None;
        }
        let shown = digest(&SHA256, request.certificate.as_deref()?);
        self.users.iter().find(|user| matches!(&user.proof, Proof::Certificate(known) if known == shown.as_ref()))
    }

    /// Whose token it is. All are compared, each without telling by time where it differs.
    fn holder(&self, token: &[u8]) -> Option<&User> {
        let given = digest(&SHA256, token);
        let mut holder = None;
        for user in &self.users {
            if let Proof::Token(known) = &user.proof
                && verify_slices_are_equal(known, given.as_ref()).is_ok()
            {
                holder = Some(user);
            }
        }
        holder
    }
}

fn user(line: &str) -> Result<User, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, proof, role, tags) = match words.as_slice() {
        [name, proof, role] => (*name, *proof, *role, None),
        [name, proof, role, tags] => (*name, *proof, *role, Some(*tags)),
        _ => return Err("expected: name, proof, role and, if there is a scope, tags with commas".to_owned()),
    };
    if name.contains(':') {
        return Err("a user's name must not contain a colon".to_owned());
    }
    let proof = match proof.split_once(':') {
        Some(("sha256", hex)) => Proof::Token(sha256(hex)?),
        Some(("certificate", hex)) => Proof::Certificate(sha256(hex)?),
        _ if proof.len() < SHORTEST_TOKEN => return Err(format!("a token has at least {SHORTEST_TOKEN} characters")),
        _ => Proof::Token(digest(&SHA256, proof.as_bytes()).as_ref().to_vec()),
    };
    let scope = tags.map(|tags| Arc::new(Scope::new(tags.split(',').filter(|tag| !tag.is_empty()))));
    if scope.as_ref().is_some_and(|scope| scope.is_empty()) {
        return Err("a scope has at least one tag".to_owned());
    }
    Ok(User { name: name.into(), proof, role: role.parse()?, scope })
}

fn sha256(hex: &str) -> Result<Vec<u8>, String> {
    let bytes: Option<Vec<u8>> =
        hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    bytes
        .filter(|bytes| hex.len() == 64 && bytes.len() == 32)
        .ok_or_else(|| "a SHA-256 has 64 hexadecimal digits".into())
}

/// Who makes a call.
pub(crate) struct Caller {
    /// `None` where nobody is asked who they are.
    name: Option<Arc<str>>,
    role: Role,
    scope: Option<Arc<Scope>>,
}

impl Caller {
    pub(crate) fn anyone() -> Caller {
        Caller { name: None, role: Role::Admin, scope: None }
    }

    /// Who sends the request.
    pub(crate) fn of(access: &Access, request: &Request) -> Outcome<Caller> {
        match access.find(request) {
            Some(user) => Ok(Caller { name: Some(user.name.clone()), role: user.role, scope: user.scope.clone() }),
            None => {
                let shown = request.client.map(|client| client.to_string()).unwrap_or_default();
                log::warn!("admin: {} {} from {shown} without valid credentials", request.method, request.path);
                let answer = Response::message(401, "Unauthorized");
                // Both challenges in one field, as RFC 9110, 11.6.1 allows.
                Err(answer.with("WWW-Authenticate", "Bearer realm=\"admin\", Basic realm=\"admin\"").into())
            }
        }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn scope(&self) -> Option<&Scope> {
        self.scope.as_deref()
    }

    /// Whether the caller's role and scope allow the method at the endpoint.
    pub(crate) fn check(&self, method: &str, endpoint: &Endpoint) -> Outcome<()> {
        let path = endpoint.path.as_str();
        let reads = matches!(method, "GET" | "HEAD" | "OPTIONS") || path.starts_with("/schemas/");
        let writes_entities = endpoint.is_of_entities || path == "/batch";
        let needed = if path == "/audit" {
            Role::Admin
        } else if reads {
            Role::ReadOnly
        } else if writes_entities {
            Role::Editor
        } else {
            Role::Admin
        };
        if self.role < needed {
            return Err(self.refused(method, path, &format!("this takes the role {}", needed.name())));
        }
        const SHOWN: [&str; 7] =
            ["/", "/endpoints", "/status", "/plugins/enabled", "/plugins/schema/:name", "/openapi.json", "/robots.txt"];
        let is_open =
            writes_entities || path.starts_with("/schemas/") || path.starts_with("/tags") || SHOWN.contains(&path);
        if self.scope.is_some() && !is_open {
            return Err(self.refused(method, path, "this is of no scope"));
        }
        Ok(())
    }

    fn refused(&self, method: &str, path: &str, reason: &str) -> Failure {
        log::warn!("admin: {method} {path} refused to {}: {reason}", self.name().unwrap_or("anyone"));
        Failure::message(403, &format!("Forbidden: {reason}"))
    }

    /// Whether a row may be written so: with a tag of the scope, and belonging to nothing outside of it.
    pub(crate) fn check_row(&self, api: &Api, reader: &dyn Reader, schema: &EntitySchema, row: &Value) -> Outcome<()> {
        let Some(scope) = self.scope() else { return Ok(()) };
        let mut refers = false;
        for (field, parent) in schema.foreign_fields() {
            let Some(id) = crate::keys::foreign_id(row, field) else { continue };
            refers = true;
            // The reader shows what is in the scope; the rest is not there to this caller.
            if reader.select(parent, id)?.is_none() {
                let key = json!({ "id": id });
                return Err(schema::Error::foreign_key_violation_invalid_reference(field, &key, parent).into());
            }
        }
        if schema.name == "plugins" && !refers {
            return Err(Failure::message(403, "Forbidden: a plugin for all requests is of no scope"));
        }
        if scope.has(&api.catalog, reader, schema, row)? {
            return Ok(());
        }
        Err(Failure::message(403, &format!("Forbidden: tags must contain one of: {scope}")))
    }
}
