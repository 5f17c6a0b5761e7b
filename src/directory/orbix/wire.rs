//! The request that creates or updates groups, and the answers to it (docs/directory.md, "Orbix"). Pure.
//!
//! A 201 is said both where all went well and where some did not, so its list is always read. A person has been taken only if the
//! answer clearly says so: sending somebody again does no harm.

use serde::{Deserialize, Serialize};

use super::batches::{GroupPart, OrbixBatch};
use super::people::OrbixPerson;

/// The path of the call, below the base.
pub(super) const PATH: [&str; 3] = ["v1", "groups", "users"];

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GroupsRequest<'a> {
    client: &'a str,
    groups: Vec<GroupRow<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GroupRow<'a> {
    group_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    group_description: &'a str,
    users: Vec<UserRow<'a>>,
}

/// A value that is not known is left out: an empty one might clear the one that the portal has.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct UserRow<'a> {
    logon: &'a str,
    domain: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    email: &'a str,
}

impl<'a> GroupsRequest<'a> {
    pub(super) fn new(client: &'a str, batch: &'a OrbixBatch) -> Self {
        let group = |part: &'a GroupPart| {
            let user = |person: &'a OrbixPerson| UserRow {
                logon: &person.logon,
                domain: &person.domain,
                name: &person.name,
                email: &person.email,
            };
            GroupRow {
                group_name: &part.group,
                group_description: part.people.first().map_or("", |person| &person.description),
                users: part.people.iter().map(user).collect(),
            }
        };
        Self { client, groups: batch.iter().map(group).collect() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupFailure {
    group_name: Option<String>,
    users: Option<Vec<UserFailure>>,
    error_message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserFailure {
    user: Option<String>,
    error_message: Option<String>,
}

#[derive(Deserialize)]
struct RefusedBody {
    #[serde(default)]
    errors: std::collections::BTreeMap<String, Vec<String>>,
    detail: Option<String>,
    title: Option<String>,
}

/// For each group of a request, and in it for each person, the server's reason if it failed.
pub(super) type BatchOutcome = Vec<Vec<Option<String>>>;

/// Words for a failure that the server gave none for.
const NO_WORD: &str = "the server gave no reason";

/// The outcome of a 2xx; `None` when its body is not the documented list.
pub(super) fn created(batch: &OrbixBatch, body: &[u8]) -> Option<BatchOutcome> {
    let failures: Vec<GroupFailure> = serde_json::from_slice(body).ok()?;
    let mut outcome: BatchOutcome = batch.iter().map(|part| vec![None; part.people.len()]).collect();
    for failure in failures {
        let name = failure.group_name.as_deref().unwrap_or_default();
        let Some(place) = place_of(name, batch.iter().map(|part| part.group.as_str())) else {
            // A failure of a group that was not sent may be that of any.
            let word = word(failure.error_message).unwrap_or_else(|| format!("the server tells a failure of {name}"));
            outcome.iter_mut().for_each(|people| mark_rest(people, &word));
            continue;
        };
        mark_group(&batch[place], failure, &mut outcome[place]);
    }
    Some(outcome)
}

/// A group with a message failed with everybody in it; without one, only those that are listed failed.
fn mark_group(part: &GroupPart, failure: GroupFailure, people: &mut [Option<String>]) {
    let users = failure.users.unwrap_or_default();
    let mut of_group = word(failure.error_message);
    if users.is_empty() && of_group.is_none() {
        of_group = Some(NO_WORD.to_owned());
    }
    let names: Vec<_> = part.people.iter().map(OrbixPerson::user).collect();
    for user in users {
        let name = user.user.unwrap_or_default();
        let word = word(user.error_message).unwrap_or_else(|| NO_WORD.to_owned());
        match place_of(&name, names.iter().map(String::as_str)) {
            Some(place) => people[place] = Some(word),
            // Somebody of this group failed, and it is not known who.
            None => of_group = of_group.or(Some(format!("{name}: {word}"))),
        }
    }
    if let Some(word) = of_group {
        mark_rest(people, &word);
    }
}

/// Gives the reason to everybody who has none.
fn mark_rest(people: &mut [Option<String>], word: &str) {
    for person in people {
        person.get_or_insert_with(|| word.to_owned());
    }
}

/// The place of a name: as it was sent, or in other letters.
fn place_of<'a>(name: &str, names: impl Iterator<Item = &'a str> + Clone) -> Option<usize> {
    let same = names.clone().position(|other| other == name);
    same.or_else(|| names.clone().position(|other| other.to_lowercase() == name.to_lowercase()))
}

/// The outcome of a 400: all failed.
pub(super) fn refused(batch: &OrbixBatch, body: &[u8]) -> BatchOutcome {
    let parsed: Option<RefusedBody> = serde_json::from_slice(body).ok();
    let word = parsed.and_then(|body| {
        let errors: Vec<_> = body.errors.into_values().flatten().collect();
        let all = if errors.is_empty() { None } else { Some(errors.join(" ")) };
        all.or(body.detail).or(body.title)
    });
    let word = word.unwrap_or_else(|| "the server refused the whole request".to_owned());
    batch.iter().map(|part| vec![Some(word.clone()); part.people.len()]).collect()
}

fn word(message: Option<String>) -> Option<String> {
    message.filter(|message| !message.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::people::people;
    use super::*;

    fn batch(lines: &[&str]) -> OrbixBatch {
        let text = format!("{}\n{}", super::super::people::HEADER, lines.join("\n"));
        super::super::batches::batches(people(&text).unwrap()).remove(0)
    }

    fn two_groups() -> OrbixBatch {
        batch(&[
            "Group 1,Group 1 description,carlos.silva,NDD,Carlos Silva,carlos.silva@ndd.tech",
            "Group 1,,joao.souza,NDD,João Souza,",
            "Group 2,,maria.oliveira,NDD,,maria.oliveira@ndd.tech",
            "Group 2,,joana.pereira,NDD,Joana Pereira,joana.pereira@ndd.tech",
        ])
    }

    fn outcome(body: &str) -> Vec<Vec<Option<String>>> {
        created(&two_groups(), body.as_bytes()).expect("a list")
    }

    fn failed(word: &str) -> Option<String> {
        Some(word.to_owned())
    }

    #[test]
    fn the_request_is_the_documented_one() {
        let batch = two_groups();
        let body = serde_json::to_value(GroupsRequest::new("ABC", &batch)).unwrap();
        let expected = serde_json::json!({ "Client": "ABC", "Groups": [
            { "GroupName": "Group 1", "GroupDescription": "Group 1 description", "Users": [
                { "Logon": "carlos.silva", "Domain": "NDD", "Name": "Carlos Silva", "Email": "carlos.silva@ndd.tech" },
                { "Logon": "joao.souza", "Domain": "NDD", "Name": "João Souza" },
            ] },
            { "GroupName": "Group 2", "Users": [
                { "Logon": "maria.oliveira", "Domain": "NDD", "Email": "maria.oliveira@ndd.tech" },
                { "Logon": "joana.pereira", "Domain": "NDD", "Name": "Joana Pereira", "Email": "joana.pereira@ndd.tech" },
            ] },
        ] });
        assert_eq!(body, expected);
    }

    #[test]
    fn an_empty_list_is_success_and_anything_else_but_a_list_is_not() {
        assert_eq!(outcome("[]"), [[None, None], [None, None]]);
        for body in ["", "{}", "null", "[1]", "<html>"] {
            assert!(created(&two_groups(), body.as_bytes()).is_none(), "{body}");
        }
    }

    #[test]
    fn a_partial_failure_is_read_person_by_person() {
        let body = r#"[{"groupName":"Group 2","users":[{"user":"NDD//joana.pereira","errorMessage":"E-mail is not valid."}],
            "errorMessage":""}]"#;
        assert_eq!(outcome(body), [[None, None], [None, failed("E-mail is not valid.")]]);
        let body = r#"[{"groupName":"Group 1","users":[{"user":"NDD//joao.souza","errorMessage":"Logon is not valid."}],
            "errorMessage":"Group Name is too long."}]"#;
        let expected = [[failed("Group Name is too long."), failed("Logon is not valid.")], [None, None]];
        assert_eq!(outcome(body), expected, "a group that failed took nobody in");
    }

    #[test]
    fn a_failure_that_names_nobody_who_was_sent_is_that_of_all_it_may_mean() {
        let unknown_user =
            r#"[{"groupName":"group 2","users":[{"user":"X//y","errorMessage":"No."}],"errorMessage":null}]"#;
        assert_eq!(outcome(unknown_user), [[None, None], [failed("X//y: No."), failed("X//y: No.")]]);
        let unknown_group = r#"[{"groupName":"Group 3","users":[],"errorMessage":"No."}]"#;
        assert_eq!(outcome(unknown_group), [[failed("No."), failed("No.")], [failed("No."), failed("No.")]]);
        let nothing = r#"[{"groupName":"Group 1","users":null,"errorMessage":""}]"#;
        assert_eq!(outcome(nothing), [[failed(NO_WORD), failed(NO_WORD)], [None, None]]);
    }

    #[test]
    fn a_refusal_of_everything_repeats_the_servers_words() {
        let body = br#"{"errors":{"3400":["All groups are invalid."]},"title":"BadRequest","status":400}"#;
        assert_eq!(refused(&two_groups(), body)[1][1], failed("All groups are invalid."));
        assert_eq!(refused(&two_groups(), b"<html>")[0][0], failed("the server refused the whole request"));
    }
}
