//! Consumers, their groups and their credentials, indexed for the request path.

use ahash::HashMap;
use entities::{
    Acl, BasicauthCredential, Configuration, Consumer, ConsumerGroup, HmacauthCredential, JwtSecret, KeyauthCredential,
    Oauth2Credential,
};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use uuid::Uuid;

/// The answer to a look-up: at hand, or (with stores too large for memory) later.
pub enum Lookup<'a, T> {
    Ready(Option<T>),
    Later(Pin<Box<dyn Future<Output = Option<T>> + 'a>>),
}

impl<T> Lookup<'_, T> {
    /// The answer where it is at hand; `None` where it must be waited for.
    pub fn ready(self) -> Option<Option<T>> {
        match self {
            Self::Ready(found) => Some(found),
            Self::Later(_) => None,
        }
    }

    /// The answer, waited for where it must be.
    pub async fn wait(self) -> Option<T> {
        match self {
            Self::Ready(found) => found,
            Self::Later(later) => later.await,
        }
    }
}

/// All that is known of the clients, made ready when the snapshot is built.
#[derive(Default)]
pub struct Consumers {
    by_id: HashMap<Uuid, Arc<Consumer>>,
    by_username: HashMap<Arc<str>, Arc<Consumer>>,
    by_custom_id: HashMap<Arc<str>, Arc<Consumer>>,
    keys: HashMap<Arc<str>, Arc<KeyauthCredential>>,
    basic: HashMap<Arc<str>, Arc<BasicauthCredential>>,
    hmac: HashMap<Arc<str>, Arc<HmacauthCredential>>,
    jwt: HashMap<Arc<str>, Arc<JwtSecret>>,
    applications: HashMap<Arc<str>, Arc<Oauth2Credential>>,
    applications_by_id: HashMap<Uuid, Arc<Oauth2Credential>>,
    acls: HashMap<Uuid, Vec<Arc<Acl>>>,
    groups: HashMap<Uuid, Vec<Arc<ConsumerGroup>>>,
}

impl Consumers {
    pub fn new(from: &Configuration) -> Self {
        let mut new = Self { by_id: from.consumers.clone().into_iter().collect(), ..Self::default() };
        for consumer in from.consumers.values() {
            if let Some(name) = &consumer.username {
                new.by_username.insert(name.as_str().into(), consumer.clone());
            }
            if let Some(id) = &consumer.custom_id {
                new.by_custom_id.insert(id.as_str().into(), consumer.clone());
            }
        }
        new.keys = from.keyauth_credentials.values().map(|c| (c.key.as_str().into(), c.clone())).collect();
        new.basic = from.basicauth_credentials.values().map(|c| (c.username.as_str().into(), c.clone())).collect();
        new.hmac = from.hmacauth_credentials.values().map(|c| (c.username.as_str().into(), c.clone())).collect();
        new.jwt = from.jwt_secrets.values().map(|c| (c.key.as_str().into(), c.clone())).collect();
        new.applications = from.oauth2_credentials.values().map(|c| (c.client_id.as_str().into(), c.clone())).collect();
        new.applications_by_id = from.oauth2_credentials.clone().into_iter().collect();
        for acl in from.acls.values() {
            new.acls.entry(acl.consumer.id).or_default().push(acl.clone());
        }
        for acls in new.acls.values_mut() {
            acls.sort_by_key(|acl| acl.id);
        }
        for member in from.consumer_group_consumers.values() {
            if let Some(group) = from.consumer_groups.get(&member.consumer_group.id) {
                new.groups.entry(member.consumer.id).or_default().push(group.clone());
            }
        }
        for groups in new.groups.values_mut() {
            groups.sort_by(|a, b| a.name.cmp(&b.name));
        }
        new
    }

    pub fn consumer(&self, id: Uuid) -> Lookup<'_, Arc<Consumer>> {
        Lookup::Ready(self.by_id.get(&id).cloned())
    }

    /// By id or by username, as `anonymous` fields name a consumer.
    pub fn consumer_by_id_or_username(&self, name: &str) -> Lookup<'_, Arc<Consumer>> {
        let by_id = Uuid::try_parse(name).ok().and_then(|id| self.by_id.get(&id));
        Lookup::Ready(by_id.or_else(|| self.by_username.get(name)).cloned())
    }

    pub fn consumer_by_custom_id(&self, id: &str) -> Lookup<'_, Arc<Consumer>> {
        Lookup::Ready(self.by_custom_id.get(id).cloned())
    }

    pub fn key(&self, key: &str) -> Lookup<'_, Arc<KeyauthCredential>> {
        Lookup::Ready(self.keys.get(key).cloned())
    }

    pub fn basic_auth(&self, username: &str) -> Lookup<'_, Arc<BasicauthCredential>> {
        Lookup::Ready(self.basic.get(username).cloned())
    }

    pub fn hmac_auth(&self, username: &str) -> Lookup<'_, Arc<HmacauthCredential>> {
        Lookup::Ready(self.hmac.get(username).cloned())
    }

    pub fn jwt_secret(&self, key: &str) -> Lookup<'_, Arc<JwtSecret>> {
        Lookup::Ready(self.jwt.get(key).cloned())
    }

    /// An application of the plugin oauth2, by its `client_id`.
    pub fn oauth2_application(&self, client_id: &str) -> Lookup<'_, Arc<Oauth2Credential>> {
        Lookup::Ready(self.applications.get(client_id).cloned())
    }

    /// The application that a token was given to.
    pub fn oauth2_credential(&self, id: Uuid) -> Lookup<'_, Arc<Oauth2Credential>> {
        Lookup::Ready(self.applications_by_id.get(&id).cloned())
    }

    pub fn acls(&self, consumer: Uuid) -> Lookup<'_, Vec<Arc<Acl>>> {
        Lookup::Ready(self.acls.get(&consumer).cloned())
    }

    /// The consumer's groups, by name.
    pub fn groups(&self, consumer: Uuid) -> &[Arc<ConsumerGroup>] {
        self.groups.get(&consumer).map(Vec::as_slice).unwrap_or_default()
    }
}
