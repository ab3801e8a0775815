//! Consumers, their groups and their credentials, indexed for the request path.

mod index;
#[cfg(test)]
mod tests;

use entities::basicauth_credential::is_argon2id;
use entities::{
    Acl, BasicauthCredential, Configuration, Consumer, ConsumerGroup, ConsumerGroupConsumer, HmacauthCredential,
    JwtSecret, KeyauthCredential, MtlsAuthCredential, Oauth2Credential, Touched,
};
use index::{Grouped, Index};
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
#[derive(Clone)]
pub struct Consumers {
    by_id: Arc<Index<Consumer>>,
    by_username: Arc<Index<Consumer>>,
    by_custom_id: Arc<Index<Consumer>>,
    keys: Arc<Index<KeyauthCredential>>,
    basic: Arc<Index<BasicauthCredential>>,
    /// A credential whose password is hashed slowly, where there is one.
    slow: Option<Arc<BasicauthCredential>>,
    hmac: Arc<Index<HmacauthCredential>>,
    jwt: Arc<Index<JwtSecret>>,
    subjects: Arc<Grouped<MtlsAuthCredential, Box<str>>>,
    applications: Arc<Index<Oauth2Credential>>,
    applications_by_id: Arc<Index<Oauth2Credential>>,
    acls: Arc<Grouped<Acl>>,
    groups: Arc<Grouped<ConsumerGroup>>,
}

impl Default for Consumers {
    fn default() -> Self {
        Self {
            by_id: Arc::new(Index::by(|c: &Consumer| Some(c.id.as_bytes().as_slice()))),
            by_username: Arc::new(Index::by(|c: &Consumer| c.username.as_deref().map(str::as_bytes))),
            by_custom_id: Arc::new(Index::by(|c: &Consumer| c.custom_id.as_deref().map(str::as_bytes))),
            keys: Arc::new(Index::by(|c: &KeyauthCredential| Some(c.key.as_bytes()))),
            basic: Arc::new(Index::by(|c: &BasicauthCredential| Some(c.username.as_bytes()))),
            slow: None,
            hmac: Arc::new(Index::by(|c: &HmacauthCredential| Some(c.username.as_bytes()))),
            jwt: Arc::new(Index::by(|c: &JwtSecret| Some(c.key.as_bytes()))),
            applications: Arc::new(Index::by(|c: &Oauth2Credential| Some(c.client_id.as_bytes()))),
            applications_by_id: Arc::new(Index::by(|c: &Oauth2Credential| Some(c.id.as_bytes().as_slice()))),
            subjects: Arc::default(),
            acls: Arc::default(),
            groups: Arc::default(),
        }
    }
}

/// Puts the new value into an index in the place of the old one.
fn exchange<T>(index: &mut Arc<Index<T>>, old: Option<&Arc<T>>, new: Option<&Arc<T>>) {
    let index = Arc::make_mut(index);
    if let Some(old) = old {
        index.remove(old);
    }
    if let Some(new) = new {
        index.insert(new.clone());
    }
}

impl Consumers {
    pub fn new(from: &Configuration) -> Self {
        let mut new = Self::default();
        for consumer in from.consumers.values() {
            new.exchange_consumer(None, Some(consumer));
        }
        from.keyauth_credentials.values().for_each(|c| exchange(&mut new.keys, None, Some(c)));
        from.basicauth_credentials.values().for_each(|c| new.exchange_basic(None, Some(c)));
        from.hmacauth_credentials.values().for_each(|c| exchange(&mut new.hmac, None, Some(c)));
        from.jwt_secrets.values().for_each(|c| exchange(&mut new.jwt, None, Some(c)));
        from.oauth2_credentials.values().for_each(|c| new.exchange_application(None, Some(c)));
        from.mtls_auth_credentials.values().for_each(|c| new.exchange_subject(None, Some(c)));
        from.acls.values().for_each(|acl| new.exchange_acl(None, Some(acl)));
        new.groups = Arc::new(groups(from));
        new
    }

    /// The same after some rows were changed, at a cost that depends on their number alone.
    #[must_use]
    pub fn updated(&self, touched: &[Touched], from: &Configuration) -> Self {
        let mut new = self.clone();
        let mut has_groups = false;
        for row in touched {
            match row {
                Touched::Consumers(old, now) => new.exchange_consumer(old.as_ref(), now.as_ref()),
                Touched::KeyauthCredentials(old, now) => exchange(&mut new.keys, old.as_ref(), now.as_ref()),
                Touched::BasicauthCredentials(old, now) => new.exchange_basic(old.as_ref(), now.as_ref()),
                Touched::HmacauthCredentials(old, now) => exchange(&mut new.hmac, old.as_ref(), now.as_ref()),
                Touched::JwtSecrets(old, now) => exchange(&mut new.jwt, old.as_ref(), now.as_ref()),
                Touched::Oauth2Credentials(old, now) => new.exchange_application(old.as_ref(), now.as_ref()),
                Touched::MtlsAuthCredentials(old, now) => new.exchange_subject(old.as_ref(), now.as_ref()),
                Touched::Acls(old, now) => new.exchange_acl(old.as_ref(), now.as_ref()),
                Touched::ConsumerGroupConsumers(old, now) => new.exchange_member(old.as_ref(), now.as_ref(), from),
                Touched::ConsumerGroups(..) => has_groups = true,
                // Of something else.
                _ => {}
            }
        }
        if has_groups {
            new.groups = Arc::new(groups(from));
        }
        new
    }

    fn exchange_consumer(&mut self, old: Option<&Arc<Consumer>>, new: Option<&Arc<Consumer>>) {
        exchange(&mut self.by_id, old, new);
        exchange(&mut self.by_username, old, new);
        // Most have none: its index is then not copied.
        if old.into_iter().chain(new).any(|consumer| consumer.custom_id.is_some()) {
            exchange(&mut self.by_custom_id, old, new);
        }
    }

    fn exchange_basic(&mut self, old: Option<&Arc<BasicauthCredential>>, new: Option<&Arc<BasicauthCredential>>) {
        exchange(&mut self.basic, old, new);
        if let Some(new) = new.filter(|credential| is_argon2id(&credential.password)) {
            self.slow = Some(new.clone());
        }
    }

    fn exchange_application(&mut self, old: Option<&Arc<Oauth2Credential>>, new: Option<&Arc<Oauth2Credential>>) {
        exchange(&mut self.applications, old, new);
        exchange(&mut self.applications_by_id, old, new);
    }

    fn exchange_acl(&mut self, old: Option<&Arc<Acl>>, new: Option<&Arc<Acl>>) {
        let acls = Arc::make_mut(&mut self.acls);
        if let Some(old) = old {
            acls.change(old.consumer.id, |list| list.retain(|acl| acl.id != old.id));
        }
        if let Some(new) = new {
            acls.change(new.consumer.id, |list| {
                let at = list.partition_point(|acl| acl.id < new.id);
                list.insert(at, new.clone());
            });
        }
    }

    fn exchange_subject(&mut self, old: Option<&Arc<MtlsAuthCredential>>, new: Option<&Arc<MtlsAuthCredential>>) {
        let subjects = Arc::make_mut(&mut self.subjects);
        if let Some(old) = old {
            subjects.change(old.subject_name.as_str().into(), |list| list.retain(|known| known.id != old.id));
        }
        if let Some(new) = new {
            subjects.change(new.subject_name.as_str().into(), |list| list.push(new.clone()));
        }
    }

    fn exchange_member(
        &mut self,
        old: Option<&Arc<ConsumerGroupConsumer>>,
        new: Option<&Arc<ConsumerGroupConsumer>>,
        from: &Configuration,
    ) {
        let groups = Arc::make_mut(&mut self.groups);
        if let Some(old) = old {
            groups.change(old.consumer.id, |list| list.retain(|group| group.id != old.consumer_group.id));
        }
        if let Some(new) = new
            && let Some(group) = from.consumer_groups.get(&new.consumer_group.id)
        {
            join(groups, new.consumer.id, group);
        }
    }

    pub fn consumer(&self, id: Uuid) -> Lookup<'_, Arc<Consumer>> {
        Lookup::Ready(self.by_id.get(id.as_bytes()).cloned())
    }

    /// By id or by username, as `anonymous` fields name a consumer.
    pub fn consumer_by_id_or_username(&self, name: &str) -> Lookup<'_, Arc<Consumer>> {
        let by_id = Uuid::try_parse(name).ok().and_then(|id| self.by_id.get(id.as_bytes()));
        Lookup::Ready(by_id.or_else(|| self.by_username.get(name.as_bytes())).cloned())
    }

    pub fn consumer_by_username(&self, name: &str) -> Lookup<'_, Arc<Consumer>> {
        Lookup::Ready(self.by_username.get(name.as_bytes()).cloned())
    }

    pub fn consumer_by_custom_id(&self, id: &str) -> Lookup<'_, Arc<Consumer>> {
        Lookup::Ready(self.by_custom_id.get(id.as_bytes()).cloned())
    }

    pub fn key(&self, key: &str) -> Lookup<'_, Arc<KeyauthCredential>> {
        Lookup::Ready(self.keys.get(key.as_bytes()).cloned())
    }

    pub fn basic_auth(&self, username: &str) -> Lookup<'_, Arc<BasicauthCredential>> {
        Lookup::Ready(self.basic.get(username.as_bytes()).cloned())
    }

    /// A password hash that takes long to verify, where there are such: what a refusal should cost.
    pub fn slow_basic_auth(&self) -> Option<&str> {
        self.slow.as_ref().map(|credential| credential.password.as_str())
    }

    pub fn hmac_auth(&self, username: &str) -> Lookup<'_, Arc<HmacauthCredential>> {
        Lookup::Ready(self.hmac.get(username.as_bytes()).cloned())
    }

    pub fn jwt_secret(&self, key: &str) -> Lookup<'_, Arc<JwtSecret>> {
        Lookup::Ready(self.jwt.get(key.as_bytes()).cloned())
    }

    /// An application of the plugin oauth2, by its `client_id`.
    pub fn oauth2_application(&self, client_id: &str) -> Lookup<'_, Arc<Oauth2Credential>> {
        Lookup::Ready(self.applications.get(client_id.as_bytes()).cloned())
    }

    /// The application that a token was given to.
    pub fn oauth2_credential(&self, id: Uuid) -> Lookup<'_, Arc<Oauth2Credential>> {
        Lookup::Ready(self.applications_by_id.get(id.as_bytes()).cloned())
    }

    /// The credential of a name in a certificate that one of these authorities has signed: first one that asks for the
    /// authority, then one that does not.
    pub fn mtls_auth(&self, subject_name: &str, authorities: &[Uuid]) -> Lookup<'_, Arc<MtlsAuthCredential>> {
        let all = self.subjects.get(subject_name);
        let is_signed = |c: &&Arc<MtlsAuthCredential>| {
            c.ca_certificate.as_ref().is_some_and(|authority| authorities.contains(&authority.id))
        };
        let found = all.iter().find(is_signed).or_else(|| all.iter().find(|c| c.ca_certificate.is_none()));
        Lookup::Ready(found.cloned())
    }

    /// The consumer's groups of the plugin acl, by id; `None` where there are none.
    pub fn acls(&self, consumer: Uuid) -> Lookup<'_, Vec<Arc<Acl>>> {
        let acls = self.acls.get(&consumer);
        Lookup::Ready((!acls.is_empty()).then(|| acls.to_vec()))
    }

    /// The consumer's groups, by name.
    pub fn groups(&self, consumer: Uuid) -> &[Arc<ConsumerGroup>] {
        self.groups.get(&consumer)
    }
}

fn groups(from: &Configuration) -> Grouped<ConsumerGroup> {
    let mut groups = Grouped::default();
    for member in from.consumer_group_consumers.values() {
        if let Some(group) = from.consumer_groups.get(&member.consumer_group.id) {
            join(&mut groups, member.consumer.id, group);
        }
    }
    groups
}

fn join(groups: &mut Grouped<ConsumerGroup>, consumer: Uuid, group: &Arc<ConsumerGroup>) {
    groups.change(consumer, |list| {
        list.retain(|known| known.id != group.id);
        let at = list.partition_point(|known| known.name < group.name);
        list.insert(at, group.clone());
    });
}
