//! Responses in Redis, for all nodes that use it: a hash for each key, with the names that the upstream chooses by (`vary`),
//! the field of the newest response (`newest`), and the responses themselves.
//!
//! Redis out of reach is as if nothing was kept. What is no response of ours is none, too.

use super::key::{self, Key};
use super::store::{BODY_MAX, Stored, VARIANTS_MAX};
use crate::redis::resp::{self, Reply};
use crate::redis::{Failure, Redis, Script, ScriptCall};
use aws_lc_rs::digest::{Context as Digest, SHA256};
use bytes::Bytes;
use pdk::Headers;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

const PREFIX: &str = "proxy-cache:";
/// The form in which responses are kept.
const VERSION: u8 = 3;
/// A head takes no more than this.
const HEAD_MAX: usize = 1 << 20;

/// `KEYS`: the hash; `ARGV`: the names chosen by, the field, the response, when it is forgotten (seconds after the epoch, 0:
/// never), and how many responses a key may have.
static PUT: Script = Script::new(
    "\
local key = KEYS[1]
if redis.call('HGET', key, 'vary') ~= ARGV[1] or redis.call('HLEN', key) >= tonumber(ARGV[5]) + 2 then
  redis.call('DEL', key)
end
redis.call('HSET', key, 'vary', ARGV[1], 'newest', ARGV[2], ARGV[2], ARGV[3])
if ARGV[4] == '0' then redis.call('PERSIST', key) else redis.call('EXPIREAT', key, ARGV[4]) end
return {1}",
);

/// `KEYS`: the mark of a URI; `ARGV`: what it is if it has none, and how long it is kept, in seconds.
static MARK: Script = Script::new(
    "\
local mark = redis.call('GET', KEYS[1]) or ARGV[1]
redis.call('SET', KEYS[1], mark, 'EX', ARGV[2])
return {tonumber(mark)}",
);

/// How long a mark is kept that nobody asks for, in seconds.
const MARK_LIFETIME: u64 = 7 * 24 * 3600;

/// The responses in one Redis.
#[derive(Clone)]
pub(super) struct InRedis(Arc<Redis>);

/// What instances use, for the Admin API.
static KNOWN: LazyLock<Mutex<Vec<Weak<Redis>>>> = LazyLock::new(Mutex::default);

impl InRedis {
    pub(super) fn new(redis: Arc<Redis>) -> Self {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|one| one.strong_count() > 0);
        if !known.iter().filter_map(Weak::upgrade).any(|one| Arc::ptr_eq(&one, &redis)) {
            known.push(Arc::downgrade(&redis));
        }
        Self(redis)
    }

    /// Every Redis that responses are kept in.
    pub(super) fn all() -> Vec<Self> {
        let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter_map(Weak::upgrade).map(Self).collect()
    }

    /// The response that is kept for a request, and not forgotten yet.
    pub(super) async fn get(&self, key: &Key, request: &Headers, now: u64) -> Option<Arc<Stored>> {
        let unchosen = field(&[]);
        let [vary, first] = self.fields(key, ["vary", &unchosen]).await?;
        let Reply::Bulk(vary) = vary else { return None };
        let names: Vec<String> = split(&vary);
        let kept = if names.is_empty() {
            first
        } else {
            let chosen_by: Vec<_> = names.into_iter().map(|name| (name.clone(), request.joined(&name))).collect();
            let [kept] = self.fields(key, [field(&chosen_by).as_str()]).await?;
            kept
        };
        read(kept).filter(|stored| stored.ends > now).map(Arc::new)
    }

    /// The mark of a URI, which gets one where it has none. `None` with Redis out of reach.
    pub(super) async fn mark(&self, uri: &Key) -> Option<u64> {
        // Redis's Lua has no whole numbers beyond 2^53.
        let new = fastrand::u64(1..1 << 53);
        let arguments = [new, MARK_LIFETIME].map(|number| number.to_string().into_bytes());
        let call = ScriptCall { keys: vec![name_of_mark(uri)], arguments: arguments.into() };
        let numbers = MARK.run(&self.0, &call, 1).await.ok()?;
        numbers.first().and_then(|mark| u64::try_from(*mark).ok())
    }

    /// Has a URI get another mark.
    pub(super) async fn forget_mark(&self, uri: &Key) {
        let name = name_of_mark(uri);
        let mut command = Vec::new();
        resp::command(&mut command, &[b"DEL", &name]);
        if let Err(failure) = self.0.call(&name, command).await {
            log::debug!("proxy-cache: nothing is made invalid: {failure}");
        }
    }

    /// The newest response that is kept under a key.
    pub(super) async fn newest(&self, key: &Key, now: u64) -> Option<Arc<Stored>> {
        let [Reply::Bulk(newest)] = self.fields(key, ["newest"]).await? else { return None };
        let [kept] = self.fields(key, [std::str::from_utf8(&newest).ok()?]).await?;
        read(kept).filter(|stored| stored.ends > now).map(Arc::new)
    }

    async fn fields<const N: usize>(&self, key: &Key, fields: [&str; N]) -> Option<[Reply; N]> {
        let name = name(key);
        let mut parts: Vec<&[u8]> = vec![b"HMGET", &name];
        parts.extend(fields.iter().map(|field| field.as_bytes()));
        let mut command = Vec::new();
        resp::command(&mut command, &parts);
        match self.0.call(&name, command).await {
            Ok(Reply::Array(replies)) => replies.try_into().ok(),
            Ok(_) => None,
            Err(failure) => {
                // Redis itself says once that it is out of reach.
                log::debug!("proxy-cache: nothing is looked up: {failure}");
                None
            }
        }
    }

    /// Keeps a response in place of one that the upstream chose by the same fields.
    pub(super) async fn put(&self, key: &Key, stored: &Stored) {
        let names: Vec<&str> = stored.chosen_by.iter().map(|(name, _)| name.as_str()).collect();
        let ends = if stored.ends == u64::MAX { 0 } else { stored.ends };
        let arguments = [
            names.join("\n").into_bytes(),
            field(&stored.chosen_by).into_bytes(),
            write(stored),
            ends.to_string().into_bytes(),
            VARIANTS_MAX.to_string().into_bytes(),
        ];
        let call = ScriptCall { keys: vec![name(key)], arguments: arguments.into() };
        if let Err(failure) = PUT.run(&self.0, &call, 1).await {
            log::debug!("proxy-cache: a response is not kept: {failure}");
        }
    }

    /// Forgets what is kept under a key; tells whether there was something.
    pub(super) async fn remove(&self, key: &Key) -> bool {
        let name = name(key);
        let mut command = Vec::new();
        resp::command(&mut command, &[b"DEL", &name]);
        matches!(self.0.call(&name, command).await, Ok(Reply::Number(1..)))
    }

    pub(super) async fn clear(&self) {
        for part in self.0.parts() {
            let mut cursor = b"0".to_vec();
            loop {
                match clear_some(&part, &cursor).await {
                    Ok(Some(next)) => cursor = next,
                    Ok(None) => break,
                    Err(failure) => {
                        log::error!("proxy-cache: not all responses are forgotten: {failure}");
                        break;
                    }
                }
            }
        }
    }
}

/// One step through the keys of a server; `None` at their end.
async fn clear_some(part: &crate::redis::Part, cursor: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
    let odd = || Failure::new("an answer that is none of SCAN");
    let mut command = Vec::new();
    resp::command(&mut command, &[b"SCAN", cursor, b"MATCH", format!("{PREFIX}*").as_bytes(), b"COUNT", b"500"]);
    let Reply::Array(parts) = part.call(command).await? else { return Err(odd()) };
    let [Reply::Bulk(next), Reply::Array(keys)] = &*parts else { return Err(odd()) };
    for key in keys {
        let Reply::Bulk(key) = key else { return Err(odd()) };
        // One by one: in a cluster each has its own slot.
        let mut command = Vec::new();
        resp::command(&mut command, &[b"UNLINK", key]);
        part.call(command).await?;
    }
    Ok((next != b"0").then(|| next.clone()))
}

fn name(key: &Key) -> Vec<u8> {
    format!("{PREFIX}{}", key::text(key)).into_bytes()
}

fn name_of_mark(uri: &Key) -> Vec<u8> {
    format!("{PREFIX}uri:{}", key::text(uri)).into_bytes()
}

fn split(names: &[u8]) -> Vec<String> {
    let names = std::str::from_utf8(names).unwrap_or_default();
    names.split('\n').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The field of the response that was chosen by these.
fn field(chosen_by: &[(String, Option<Vec<u8>>)]) -> String {
    let mut digest = Digest::new(&SHA256);
    for (name, value) in chosen_by {
        for part in [Some(name.as_bytes()), value.as_deref()] {
            digest.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
            digest.update(part.unwrap_or_default());
        }
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.finish().as_ref());
    format!("r:{}", key::text(&bytes))
}

/// Stands for a time that the response does not say itself.
const AS_CONFIGURED: u64 = u64::MAX;
const TOLD: [&str; 3] = ["Miss", "Refresh", "Revalidated"];

fn write(stored: &Stored) -> Vec<u8> {
    let mut out = Vec::with_capacity(stored.body.len() + 1024);
    let told = TOLD.iter().position(|told| *told == stored.told).unwrap_or(0);
    out.extend_from_slice(&[VERSION, u8::from(stored.must_revalidate), told as u8]);
    out.extend_from_slice(&stored.status.to_le_bytes());
    let stale = [stored.stale_while, stored.stale_on_error].map(|seconds| seconds.unwrap_or(AS_CONFIGURED));
    for number in [stored.timestamp, stored.age, stored.ttl, stored.ends, stored.mark, stale[0], stale[1]] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let mut put = |part: Option<&[u8]>| {
        out.extend_from_slice(&part.map_or(u32::MAX, |part| part.len() as u32).to_le_bytes());
        out.extend_from_slice(part.unwrap_or_default());
    };
    for (name, value) in stored.headers.iter() {
        put(Some(name));
        put(Some(value));
    }
    put(None);
    for (name, value) in &stored.chosen_by {
        put(Some(name.as_bytes()));
        put(value.as_deref());
    }
    put(None);
    put(Some(&stored.body));
    out
}

/// The parts of what [`write`] made.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// `Some(None)` is an end, or what is absent.
    fn part(&mut self) -> Option<Option<&'a [u8]>> {
        match u32::from_le_bytes(self.array()?) {
            u32::MAX => Some(None),
            length => self.take(length as usize).map(Some),
        }
    }
}

fn read(kept: Reply) -> Option<Stored> {
    let Reply::Bulk(bytes) = kept else { return None };
    let bytes = Bytes::from(bytes);
    if bytes.len() > BODY_MAX + HEAD_MAX {
        return None;
    }
    let mut reader = Reader(&bytes);
    let [version, must_revalidate, told] = reader.array()?;
    if version != VERSION {
        return None;
    }
    let status = u16::from_le_bytes(reader.array()?);
    let [timestamp, age, ttl, ends] = [reader.number()?, reader.number()?, reader.number()?, reader.number()?];
    let mark = reader.number()?;
    let [stale_while, stale_on_error] =
        [reader.number()?, reader.number()?].map(|seconds| (seconds != AS_CONFIGURED).then_some(seconds));
    let mut headers = Headers::new();
    while let Some(name) = reader.part()? {
        headers.append(std::str::from_utf8(name).ok()?, reader.part()??);
    }
    let mut chosen_by = Vec::new();
    while let Some(name) = reader.part()? {
        chosen_by.push((String::from_utf8(name.to_vec()).ok()?, reader.part()?.map(<[u8]>::to_vec)));
    }
    let body = reader.part()??;
    Some(Stored {
        status,
        headers,
        body: bytes.slice_ref(body),
        told: TOLD.get(usize::from(told))?,
        timestamp,
        age,
        ttl,
        ends,
        must_revalidate: must_revalidate != 0,
        stale_while,
        stale_on_error,
        mark,
        chosen_by,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_garbage_is_nothing() {
        let mut headers = Headers::new();
        headers.append("Content-Type", b"text/plain");
        headers.append("X-A", b"");
        let stored = Stored {
            status: 203,
            headers,
            body: Bytes::from_static(b"words\0"),
            told: "Refresh",
            timestamp: 1,
            age: 2,
            ttl: 3,
            ends: u64::MAX,
            must_revalidate: true,
            stale_while: Some(5),
            stale_on_error: None,
            mark: 7,
            chosen_by: vec![("accept".to_owned(), None), ("x".to_owned(), Some(b"y".to_vec()))],
        };
        let written = write(&stored);
        let read_back = read(Reply::Bulk(written.clone())).unwrap();
        assert_eq!(format!("{read_back:?}"), format!("{stored:?}"));
        for length in 0..written.len() {
            assert!(read(Reply::Bulk(written[..length].to_vec())).is_none(), "{length}");
        }
        assert!(read(Reply::Bulk(vec![255; 4096])).is_none() && read(Reply::Nil).is_none());
    }

    #[test]
    fn fields_tell_choices_apart() {
        let of = |value: Option<&str>| field(&[("a".to_owned(), value.map(|value| value.as_bytes().to_vec()))]);
        let all = [field(&[]), of(None), of(Some("")), of(Some("x"))];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(one), "{one}");
        }
    }
}
