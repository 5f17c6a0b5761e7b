//! Users and groups as ezeep writes them, and the requests for them (docs/directory.md, "ezeep"). Pure.

use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::directory::http::{ApiRequest, address};

/// The vendor's own address of the API, by which its links name it.
const DOCUMENTED: &str = "https://api2.ezeep.com/printing/v1";

/// The two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EzeepList {
    Groups,
    Users,
}

impl EzeepList {
    fn path(self) -> &'static str {
        match self {
            Self::Groups => "groups",
            Self::Users => "users",
        }
    }

    pub(super) fn call(self) -> &'static str {
        match self {
            Self::Groups => "list the groups",
            Self::Users => "list the users",
        }
    }

    pub(super) fn url(self, api: &Url) -> Url {
        address(api, &[self.path()], true)
    }

    pub(super) fn documented(self) -> Url {
        self.url(&Url::parse(DOCUMENTED).expect("it is a constant of this file"))
    }
}

/// A group, with everything that ezeep says about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EzeepGroupRow {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// All else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A user, with everything that ezeep says about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EzeepUserRow {
    /// The id.
    pub id: String,
    /// The user's groups. `None` where the answer does not say: then nobody may take them for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<EzeepGroupRef>>,
    /// All else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A group of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EzeepGroupRef {
    /// The group's id.
    pub group_id: String,
}

impl EzeepUserRow {
    /// Whether the user is known to be in this group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().flatten().any(|reference| reference.group_id == group)
    }
}

/// One page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct EzeepPage<T> {
    pub(super) count: Option<usize>,
    pub(super) next: Option<String>,
    pub(super) results: Vec<T>,
}

pub(super) fn group(api: &Url, id: &str) -> ApiRequest {
    ApiRequest::new("read the group", Method::GET, address(api, &["groups", id], false))
}

pub(super) fn user(api: &Url, id: &str) -> ApiRequest {
    ApiRequest::new("read the user", Method::GET, address(api, &["users", id], false))
}

pub(super) fn create_group(api: &Url, name: &str, organization: &str) -> ApiRequest {
    ApiRequest::new("create the group", Method::POST, EzeepList::Groups.url(api))
        .json(&json!({ "name": name, "organization_id": organization }))
}

pub(super) fn delete_group(api: &Url, id: &str) -> ApiRequest {
    ApiRequest::new("delete the group", Method::DELETE, address(api, &["groups", id], false))
}

/// Replaces all groups of a user.
pub(super) fn set_groups(api: &Url, user: &str, groups: &[EzeepGroupRef]) -> ApiRequest {
    ApiRequest::new("set the groups of the user", Method::PUT, address(api, &["users", user], true))
        .json(&json!({ "groups": groups }))
}

/// The groups that a user should have, with this one among them; `None` where it is already.
pub(super) fn merged(groups: &[EzeepGroupRef], group: &str) -> Option<Vec<EzeepGroupRef>> {
    let is_there = groups.iter().any(|reference| reference.group_id == group);
    (!is_there).then(|| {
        let mut merged: Vec<EzeepGroupRef> = Vec::new();
        for reference in groups.iter().cloned().chain([EzeepGroupRef { group_id: group.to_owned() }]) {
            if !merged.contains(&reference) {
                merged.push(reference);
            }
        }
        merged
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::http::ApiBody;

    /// A page of the document's example, with its second user.
    const PAGE: &str = r#"{ "count": 134, "next": "http://api2.ezeep.com/printing/v1/users/?limit=20&offset=20", "previous": null,
        "results": [ { "id": "0545f81c", "local_printing_enabled": true, "self_service_enabled": true,
            "myprinters_enabled": false, "groups": [{ "group_id": "19b5963a" }, { "group_id": "9e05c98e" }] } ] }"#;

    fn reference(id: &str) -> EzeepGroupRef {
        EzeepGroupRef { group_id: id.to_owned() }
    }

    #[test]
    fn a_page_of_the_document_is_read_and_shown_as_it_is() {
        let page: EzeepPage<EzeepUserRow> = serde_json::from_str(PAGE).unwrap();
        assert_eq!((page.count, page.results.len()), (Some(134), 1));
        let user = &page.results[0];
        assert!(user.is_in("9e05c98e") && !user.is_in("9e05"));
        let whole: Value = serde_json::from_str(PAGE).unwrap();
        assert_eq!(serde_json::to_value(user).unwrap(), whole["results"][0]);
    }

    #[test]
    fn numbers_and_objects_of_a_group_may_be_of_any_type() {
        let text = r#"{"id":"658a","name":"WVD","origin":{"provider":"Azure","foreign_id":"9"},"num_members":"8"}"#;
        let group: EzeepGroupRow = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&group).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn a_user_keeps_every_group_and_gets_one_more() {
        let before = [reference("a"), reference("b"), reference("a")];
        assert_eq!(merged(&before, "c"), Some(vec![reference("a"), reference("b"), reference("c")]));
        assert_eq!(merged(&before, "b"), None);
        assert_eq!(merged(&[], "c"), Some(vec![reference("c")]));
    }

    #[test]
    fn the_put_has_the_groups_and_nothing_else() {
        let api = Url::parse("https://api2.ezeep.com/printing/v1").unwrap();
        let request = set_groups(&api, "0545/f8", &[reference("a")]);
        assert_eq!(request.url.as_str(), "https://api2.ezeep.com/printing/v1/users/0545%2Ff8/");
        let ApiBody::Json(body) = request.body else { panic!("JSON") };
        assert_eq!(&body[..], br#"{"groups":[{"group_id":"a"}]}"#);
        assert!(matches!(group(&api, "a").body, ApiBody::None), "no GET has a body");
    }
}
