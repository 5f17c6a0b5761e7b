//! The map from login names to users of ezeep, which knows nobody by a login name (docs/directory.md, "ezeep"). Pure.
//!
//! It is a file that a person fills in. A login name is written `DOMAIN\name`.

use std::collections::{BTreeMap, BTreeSet};

use super::wire::{EzeepGroupRow, EzeepUserRow};
use crate::directory::csv::records;
use crate::directory::orbix::OrbixPerson;

/// The first line of the file.
const HEADER: &str = "login,user";

/// A line of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MapRow {
    line: usize,
    /// Empty until somebody knows it.
    login: String,
    user: String,
}

/// The map, with the order of its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginMap {
    rows: Vec<MapRow>,
}

/// The gaps of a map.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MapGaps {
    /// Users of ezeep without a login name.
    pub without_login: Vec<String>,
    /// Users of the map whom ezeep does not know.
    pub unknown_users: Vec<String>,
}

impl LoginMap {
    /// Reads the text of a map.
    ///
    /// # Errors
    /// The line that is wrong, and how.
    pub fn read(text: &str) -> Result<Self, String> {
        let records = records(text).map_err(|error| error.to_string())?;
        let (mut rows, mut logins, mut users) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for record in records {
            let line = record.line;
            let Ok([login, user]) = <[String; 2]>::try_from(record.fields) else {
                return Err(format!("line {line}: must be {HEADER}"));
            };
            if line == 1 && format!("{login},{user}") == HEADER {
                continue;
            }
            if line == 1 || user.is_empty() {
                return Err(format!("line {line}: must be {HEADER}, and the first line is just that"));
            }
            if !login.is_empty() && !logins.insert(login.to_lowercase()) || !users.insert(user.clone()) {
                return Err(format!("line {line}: its login name or its user stands in an earlier line too"));
            }
            rows.push(MapRow { line, login, user });
        }
        Ok(Self { rows })
    }

    /// The text of the map.
    pub fn text(&self) -> String {
        let quoted = |value: &str| match value.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", value.replace('"', "\"\"")),
            false => value.to_owned(),
        };
        let lines = self.rows.iter().map(|row| format!("{},{}\n", quoted(&row.login), quoted(&row.user)));
        [format!("{HEADER}\n")].into_iter().chain(lines).collect()
    }

    /// The user with this login name, in whatever letters. A name without a domain is found if only one line has it.
    pub fn user(&self, login: &str) -> Option<&str> {
        let login = login.to_lowercase();
        let is_whole = |row: &&MapRow| row.login.to_lowercase() == login;
        let is_name = |row: &&MapRow| row.login.to_lowercase().rsplit('\\').next() == Some(login.as_str());
        if login.is_empty() {
            return None;
        }
        let whole = self.rows.iter().find(is_whole);
        let mut named = self.rows.iter().filter(is_name);
        let alone = named.next().filter(|_| named.next().is_none());
        whole.or(alone).map(|row| row.user.as_str())
    }

    /// Adds a line without a login name for each user who is missing.
    pub fn with(mut self, users: &[EzeepUserRow]) -> Self {
        let known: BTreeSet<_> = self.rows.iter().map(|row| row.user.clone()).collect();
        let missing = users.iter().filter(|user| !known.contains(&user.id));
        let row = |user: &EzeepUserRow| MapRow { line: 0, login: String::new(), user: user.id.clone() };
        self.rows.extend(missing.map(row).collect::<Vec<_>>());
        for (line, row) in (2..).zip(&mut self.rows) {
            row.line = line;
        }
        self
    }

    /// Finds the gaps.
    pub fn gaps(&self, users: &[EzeepUserRow]) -> MapGaps {
        let logins: BTreeMap<_, _> = self.rows.iter().map(|row| (row.user.as_str(), row.login.as_str())).collect();
        let known: BTreeSet<_> = users.iter().map(|user| user.id.as_str()).collect();
        let has_login = |user: &&EzeepUserRow| logins.get(user.id.as_str()).is_some_and(|login| !login.is_empty());
        MapGaps {
            without_login: users.iter().filter(|user| !has_login(user)).map(|user| user.id.clone()).collect(),
            unknown_users: logins.keys().filter(|user| !known.contains(*user)).map(|user| (*user).to_owned()).collect(),
        }
    }

    /// The people of all groups, for the portal of Orbix; each with the line of this map. A user without a login name is left out.
    pub fn people(&self, groups: &[EzeepGroupRow], users: &[EzeepUserRow]) -> Vec<OrbixPerson> {
        let rows: BTreeMap<_, _> = self.rows.iter().map(|row| (row.user.as_str(), row)).collect();
        let names: BTreeMap<_, _> = groups.iter().map(|group| (group.id.as_str(), group)).collect();
        let of_user = |user: &EzeepUserRow| {
            let row = rows.get(user.id.as_str()).filter(|row| !row.login.is_empty())?;
            // Without a domain the check refuses the line.
            let (domain, logon) = row.login.split_once('\\').unwrap_or(("", &row.login));
            let person = |group: &&EzeepGroupRow| OrbixPerson {
                line: row.line,
                group: group.name.clone(),
                description: group
                    .rest
                    .get("description")
                    .and_then(|text| text.as_str())
                    .unwrap_or_default()
                    .to_owned(),
                logon: logon.to_owned(),
                domain: domain.to_owned(),
                name: String::new(),
                email: String::new(),
            };
            let groups = user.groups.iter().flatten().filter_map(|reference| names.get(reference.group_id.as_str()));
            Some(groups.map(person).collect::<Vec<_>>())
        };
        users.iter().filter_map(of_user).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str, groups: &[&str]) -> EzeepUserRow {
        let groups: Vec<_> = groups.iter().map(|group| serde_json::json!({ "group_id": group })).collect();
        serde_json::from_value(serde_json::json!({ "id": id, "groups": groups })).unwrap()
    }

    #[test]
    fn a_map_keeps_what_a_person_wrote_and_gets_the_users_who_are_missing() {
        let text = "login,user\nNDD\\ana,u1\n,u2\nNDD\\old,u9\n";
        let map = LoginMap::read(text).unwrap();
        assert_eq!(map.text(), text);
        let users = [user("u1", &["g"]), user("u2", &[]), user("u3", &["g"])];
        let map = map.with(&users);
        assert_eq!(map.text(), format!("{text},u3\n"));
        assert_eq!(map, LoginMap::read(&map.text()).unwrap());
        let gaps = map.gaps(&users);
        assert_eq!(gaps.without_login, ["u2", "u3"]);
        assert_eq!(gaps.unknown_users, ["u9"]);
    }

    #[test]
    fn a_map_that_says_two_things_is_refused_with_the_line() {
        for (text, line) in [
            ("login,user\nNDD\\ana,u1\nndd\\ANA,u2\n", "line 3"),
            ("login,user\n,u1\n,u1\n", "line 3"),
            ("login,user\nNDD\\ana,\n", "line 2"),
            ("login,user\nNDD\\ana\n", "line 2"),
            ("NDD\\ana,u1\n", "line 1"),
        ] {
            assert!(LoginMap::read(text).unwrap_err().contains(line), "{text}");
        }
        assert_eq!(LoginMap::read("").unwrap(), LoginMap::default());
    }

    #[test]
    fn a_name_that_two_domains_have_is_nobody_without_its_domain() {
        let map = LoginMap::read("login,user\nA\\ana,u1\nB\\ana,u2\nB\\bea,u3\n,u4\n").unwrap();
        let user = |login| map.user(login);
        assert_eq!((user("a\\ANA"), user("ana"), user("bea"), user("")), (Some("u1"), None, Some("u3"), None));
    }

    #[test]
    fn people_go_to_the_portal_with_their_login_names_and_groups() {
        let map = LoginMap::read("login,user\nNDD\\ana,u1\nbea,u2\n").unwrap();
        let group: EzeepGroupRow = serde_json::from_str(r#"{"id":"g","name":"G","description":"d"}"#).unwrap();
        let users = [user("u1", &["g", "gone"]), user("u2", &["g"]), user("u3", &["g"])];
        let people = map.people(&[group], &users);
        let found: Vec<_> = people.iter().map(|person| (person.line, person.user(), person.group.as_str())).collect();
        assert_eq!(found, [(2, "NDD//ana".to_owned(), "G"), (3, "//bea".to_owned(), "G")]);
    }
}
