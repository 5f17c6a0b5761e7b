//! The groups of each person, as ezeep said at one time: dated, and encrypted at rest (docs/directory.md, "The cache of groups").
//! Pure.
//!
//! A tap cannot wait for a list of all users, so that it is answered from this. The cache never says more than ezeep said, and an
//! old one says so.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::map::LoginMap;
use super::wire::{EzeepGroupRow, EzeepUserRow};
use crate::config::WhenStale;
use crate::domain::Secret;

/// Hashed before the secret, so that no other use of the same secret gets the same key. It names the form of the content too.
const PURPOSE: &[u8] = b"print-release-agent groups 1\0";

/// The field that says whether somebody may print on the printers of the site.
const LOCAL_PRINTING: &str = "local_printing_enabled";

/// Groups and their members at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCache {
    /// When ezeep said it, by this box's clock.
    pub taken: Timestamp,
    /// By their ids.
    groups: BTreeMap<String, CachedGroup>,
    /// By their ids.
    users: BTreeMap<String, CachedUser>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CachedGroup {
    name: String,
    local_printing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CachedUser {
    groups: Vec<String>,
    local_printing: bool,
}

/// The rule of a site for releases.
#[derive(Clone, Copy, Debug)]
pub struct GroupRule<'a> {
    /// Names or ids of groups whose members may.
    pub allow_groups: &'a [String],
    /// A cache that is older is stale.
    pub max_age: Duration,
    /// The rule for a stale one.
    pub when_stale: WhenStale,
}

/// The answer for one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entitlement {
    /// The person is in a group that may release.
    Allowed,
    /// The person is in none.
    NotInGroup,
    /// The map has no user for the login name, or ezeep had no such user.
    UnknownLogin,
    /// The cache is too old to say.
    Stale,
}

impl GroupCache {
    /// The groups and users that ezeep has listed. A flag that it does not give counts as off.
    pub fn new(groups: &[EzeepGroupRow], users: &[EzeepUserRow], taken: Timestamp) -> Self {
        let flag = |rest: &serde_json::Map<String, serde_json::Value>| rest.get(LOCAL_PRINTING) == Some(&true.into());
        let group = |row: &EzeepGroupRow| {
            let cached = CachedGroup { name: row.name.clone(), local_printing: flag(&row.rest) };
            (row.id.clone(), cached)
        };
        let user = |row: &EzeepUserRow| {
            let groups = row.groups.iter().flatten().map(|reference| reference.group_id.clone()).collect();
            (row.id.clone(), CachedUser { groups, local_printing: flag(&row.rest) })
        };
        Self { taken, groups: groups.iter().map(group).collect(), users: users.iter().map(user).collect() }
    }

    /// Whether the person with this login name may release. Somebody may who is in an allowed group, if both the group and the
    /// person have local printing. A clock that was set back behind the cache tells no age, so that the cache counts as stale.
    pub fn judge(&self, login: &str, map: &LoginMap, rule: GroupRule<'_>, now: Timestamp) -> Entitlement {
        let age = Duration::try_from(now.duration_since(self.taken)).ok();
        if rule.when_stale == WhenStale::Refuse && age.is_none_or(|age| age > rule.max_age) {
            return Entitlement::Stale;
        }
        let Some(user) = map.user(login).and_then(|user| self.users.get(user)) else {
            return Entitlement::UnknownLogin;
        };
        let is_allowed = |id: &String| {
            let group = self.groups.get(id).filter(|group| group.local_printing);
            group.is_some_and(|group| rule.allow_groups.iter().any(|allowed| *allowed == group.name || allowed == id))
        };
        match user.local_printing && user.groups.iter().any(is_allowed) {
            true => Entitlement::Allowed,
            false => Entitlement::NotInGroup,
        }
    }

    /// The bytes for the disk: nonce, ciphertext and tag. `random` is never the same twice.
    pub fn seal(&self, secret: &Secret, random: u128) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&random.to_le_bytes()[..NONCE_LEN]);
        let mut text = serde_json::to_vec(self).expect("names and times are always JSON");
        let sealed =
            key(secret).seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(PURPOSE), &mut text);
        sealed.expect("ring encrypts anything shorter than 256 GiB");
        [&nonce[..], &text].concat()
    }

    /// The cache in these bytes. `None` where they were sealed with another secret, or are damaged: then it is read anew.
    pub fn unseal(bytes: &[u8], secret: &Secret) -> Option<Self> {
        let (nonce, text) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let text = key(secret).open_in_place(nonce, Aad::from(PURPOSE), &mut text).ok()?;
        serde_json::from_slice(text).ok()
    }
}

fn key(secret: &Secret) -> LessSafeKey {
    let mut hash = Context::new(&SHA256);
    hash.update(PURPOSE);
    hash.update(secret.expose().as_bytes());
    let key = UnboundKey::new(&CHACHA20_POLY1305, hash.finish().as_ref());
    LessSafeKey::new(key.expect("a SHA-256 has the 32 bytes of such a key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn cache() -> GroupCache {
        let groups = r#"[{"id":"g1","name":"Staff","local_printing_enabled":true},
            {"id":"g2","name":"Guests","local_printing_enabled":true},{"id":"g3","name":"Archive"}]"#;
        let users = r#"[{"id":"u1","local_printing_enabled":true,"groups":[{"group_id":"g1"}]},
            {"id":"u2","local_printing_enabled":true,"groups":[{"group_id":"g2"},{"group_id":"g3"}]},
            {"id":"u3","local_printing_enabled":false,"groups":[{"group_id":"g1"}]}]"#;
        let (groups, users): (Vec<EzeepGroupRow>, Vec<EzeepUserRow>) =
            (serde_json::from_str(groups).unwrap(), serde_json::from_str(users).unwrap());
        GroupCache::new(&groups, &users, Timestamp::UNIX_EPOCH)
    }

    fn judge(login: &str, allow: &[&str], when_stale: WhenStale, age: i64) -> Entitlement {
        let map = LoginMap::read("login,user\nNDD\\ana,u1\nNDD\\bea,u2\nNDD\\cid,u3\nNDD\\dan,gone\n").unwrap();
        let allow_groups: Vec<_> = allow.iter().map(|group| (*group).to_owned()).collect();
        let rule = GroupRule { allow_groups: &allow_groups, max_age: DAY, when_stale };
        cache().judge(login, &map, rule, Timestamp::from_second(age).unwrap())
    }

    #[test]
    fn a_member_of_an_allowed_group_with_local_printing_may_release() {
        let fresh = |login, allow: &[&str]| judge(login, allow, WhenStale::Refuse, 60);
        assert_eq!(fresh("NDD\\ana", &["Staff"]), Entitlement::Allowed);
        assert_eq!(fresh("ndd\\ANA", &["g1"]), Entitlement::Allowed, "by the id, and in other letters");
        assert_eq!(fresh("ana", &["Staff"]), Entitlement::Allowed, "a server may give the name without its domain");
        assert_eq!(fresh("NDD\\bea", &["Staff"]), Entitlement::NotInGroup);
        assert_eq!(fresh("NDD\\bea", &["Archive"]), Entitlement::NotInGroup, "the group has no local printing");
        assert_eq!(fresh("NDD\\cid", &["Staff"]), Entitlement::NotInGroup, "the person has none");
        assert_eq!(fresh("NDD\\ana", &[]), Entitlement::NotInGroup);
        assert_eq!(fresh("NDD\\dan", &["Staff"]), Entitlement::UnknownLogin);
        assert_eq!(fresh("eve", &["Staff"]), Entitlement::UnknownLogin);
    }

    #[test]
    fn a_stale_cache_says_what_the_site_wants() {
        let day = 24 * 3600;
        for (age, fresh) in [(0, true), (day, true), (day + 1, false), (-1, false)] {
            let refuse = judge("ana", &["Staff"], WhenStale::Refuse, age);
            assert_eq!(refuse == Entitlement::Allowed, fresh, "{age}: {refuse:?}");
            assert_eq!(judge("ana", &["Staff"], WhenStale::Allow, age), Entitlement::Allowed);
            assert_eq!(
                judge("bea", &["Staff"], WhenStale::Allow, age),
                Entitlement::NotInGroup,
                "it allows what it knows"
            );
        }
    }

    #[test]
    fn it_is_read_with_its_own_secret_only_and_shows_nobody() {
        let (own, other) = (Secret::new("one"), Secret::new("two"));
        let sealed = cache().seal(&own, 1);
        assert_eq!(GroupCache::unseal(&sealed, &own), Some(cache()));
        assert_eq!(GroupCache::unseal(&sealed, &other), None);
        for cut in 0..sealed.len() {
            assert_eq!(GroupCache::unseal(&sealed[..cut], &own), None);
        }
        assert!(!sealed.windows(5).any(|part| part == b"Staff"));
    }
}
