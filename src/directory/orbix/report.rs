//! The plan and the result of a push, for a person and for a machine. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::batches::OrbixBatch;
use super::people::OrbixPerson;
use crate::directory::DirectoryError;
use crate::domain::Cause;

/// The plan of a push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrbixPlan {
    /// The memberships in the file: a person counts once in each group.
    pub total: usize,
    /// Of them, those that the server has taken in an earlier push.
    pub already: usize,
    /// Of them, those that will be sent.
    pub to_send: usize,
    /// The requests that it takes.
    pub requests: usize,
    /// Every group of the file, in its order.
    pub groups: Vec<PlannedGroup>,
}

/// A group in a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedGroup {
    /// Its name.
    pub group: String,
    /// Its members in the file.
    pub users: usize,
    /// Of them, those that will be sent.
    pub to_send: usize,
    /// The requests that it takes part in.
    pub requests: usize,
}

/// The groups of the file in its order, each with the number of its members.
fn groups_of(people: &[OrbixPerson]) -> Vec<(String, usize)> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut groups: Vec<(String, usize)> = Vec::new();
    for person in people {
        let place = *places.entry(&person.group).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, users)) => *users += 1,
            None => groups.push((person.group.clone(), 1)),
        }
    }
    groups
}

impl OrbixPlan {
    pub(super) fn new(people: &[OrbixPerson], batches: &[OrbixBatch]) -> Self {
        let mut sent: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for part in batches.iter().flatten() {
            let (users, requests) = sent.entry(&part.group).or_default();
            *users += part.people.len();
            *requests += 1;
        }
        let planned = |(group, users): (String, usize)| {
            let (to_send, requests) = sent.get(group.as_str()).copied().unwrap_or_default();
            PlannedGroup { group, users, to_send, requests }
        };
        let groups: Vec<_> = groups_of(people).into_iter().map(planned).collect();
        let to_send = groups.iter().map(|group| group.to_send).sum();
        Self { total: people.len(), already: people.len() - to_send, to_send, requests: batches.len(), groups }
    }

    /// The plan for a person.
    pub fn lines(&self) -> Vec<String> {
        let Self { total, already, to_send, requests, groups } = self;
        let mut lines =
            vec![format!("plan: {to_send} of {total} users to send in {requests} requests, {already} sent before")];
        let of_group = |group: &PlannedGroup| {
            let PlannedGroup { group, users, to_send, requests } = group;
            format!("plan: group \"{group}\": {to_send} of {users} users in {requests} requests")
        };
        lines.extend(groups.iter().map(of_group));
        lines
    }
}

/// The outcome of a push.
#[derive(Clone, Debug, Serialize)]
pub struct OrbixResult {
    /// The memberships in the file.
    pub total: usize,
    /// Taken by the server in an earlier push.
    pub already: usize,
    /// Taken by the server in this one.
    pub succeeded: usize,
    /// Refused by the server, or sent without a clear answer.
    pub failed: usize,
    /// Not sent, because the push ended before.
    pub not_sent: usize,
    /// Why the push ended before its end.
    pub stopped: Option<String>,
    /// Every group of the file, in its order.
    pub groups: Vec<GroupCount>,
    /// Each person who failed, in the order of the requests.
    pub failures: Vec<FailedPerson>,
    #[serde(skip)]
    places: BTreeMap<String, usize>,
    #[serde(skip)]
    unreachable: bool,
    #[serde(skip)]
    disk: bool,
}

/// The outcome for one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupCount {
    /// Its name.
    pub group: String,
    /// Its members in the file.
    pub users: usize,
    /// Taken in this push.
    pub succeeded: usize,
    /// Failed in this push.
    pub failed: usize,
    /// Not sent in this push, though they should have been.
    pub not_sent: usize,
}

/// Somebody who was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedPerson {
    /// The line of the file.
    pub line: usize,
    /// The group.
    pub group: String,
    /// The person, as the server's answers have it: domain, two slashes, login name.
    pub user: String,
    /// The server's words.
    pub error: String,
}

impl OrbixResult {
    pub(super) fn new(people: &[OrbixPerson], batches: &[OrbixBatch]) -> Self {
        let plan = OrbixPlan::new(people, batches);
        let places = plan.groups.iter().enumerate().map(|(place, group)| (group.group.clone(), place)).collect();
        let count = |PlannedGroup { group, users, to_send, .. }: PlannedGroup| GroupCount {
            group,
            users,
            succeeded: 0,
            failed: 0,
            not_sent: to_send,
        };
        Self {
            total: plan.total,
            already: plan.already,
            succeeded: 0,
            failed: 0,
            not_sent: plan.to_send,
            stopped: None,
            groups: plan.groups.into_iter().map(count).collect(),
            failures: Vec::new(),
            places,
            unreachable: false,
            disk: false,
        }
    }

    /// The memberships that were to be sent.
    pub(super) fn to_send(&self) -> usize {
        self.total - self.already
    }

    /// Counts one person who was sent.
    pub(super) fn note(&mut self, person: &OrbixPerson, failure: Option<&str>) {
        let place = self.places.get(&person.group).and_then(|place| self.groups.get_mut(*place));
        let Some(group) = place else { return };
        group.not_sent -= 1;
        self.not_sent -= 1;
        match failure {
            None => {
                group.succeeded += 1;
                self.succeeded += 1;
            }
            Some(error) => {
                group.failed += 1;
                self.failed += 1;
                self.failures.push(FailedPerson {
                    line: person.line,
                    group: person.group.clone(),
                    user: person.user(),
                    error: error.to_owned(),
                });
            }
        }
    }

    /// Ends the push.
    pub(super) fn stop(&mut self, error: &DirectoryError) {
        self.stopped = Some(error.to_string());
        self.unreachable = error.cause() == Some(Cause::Unreachable);
        self.disk = matches!(error, DirectoryError::Disk { .. });
    }

    /// Whether everybody who was to be sent was taken.
    pub fn is_complete(&self) -> bool {
        self.failed == 0 && self.not_sent == 0 && self.stopped.is_none()
    }

    /// Whether the push ended because the service is not there.
    pub fn is_unreachable(&self) -> bool {
        self.unreachable
    }

    /// Whether the push ended because the journal could not be written.
    pub fn is_disk(&self) -> bool {
        self.disk
    }

    /// The outcome for a person.
    pub fn lines(&self) -> Vec<String> {
        let Self { total, already, succeeded, failed, not_sent, .. } = self;
        let of_failure = |failure: &FailedPerson| {
            let FailedPerson { line, group, user, error } = failure;
            format!("line {line}: {user} in \"{group}\": {error}")
        };
        let of_group = |group: &GroupCount| {
            let GroupCount { group, users, succeeded, failed, not_sent } = group;
            format!("group \"{group}\": {users} users, {succeeded} taken now, {failed} failed, {not_sent} not sent")
        };
        let mut lines: Vec<_> = self.failures.iter().map(of_failure).collect();
        lines.extend(self.groups.iter().map(of_group));
        lines.push(format!(
            "{total} users: {succeeded} taken now, {already} taken before, {failed} failed, {not_sent} not sent"
        ));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::super::{batches, people};
    use super::*;

    fn people_of(lines: &[&str]) -> Vec<OrbixPerson> {
        people::people(&format!("{}\n{}\n", people::HEADER, lines.join("\n"))).unwrap()
    }

    #[test]
    fn the_plan_and_the_result_hold_the_total_and_every_group() {
        let people = people_of(&["A,,ana,NDD,,", "B,,bea,NDD,,", "A,,cid,NDD,,"]);
        let left = people[1..].to_vec();
        let batches = batches::batches(left);
        let plan = OrbixPlan::new(&people, &batches);
        assert_eq!((plan.total, plan.already, plan.to_send, plan.requests), (3, 1, 2, 1));
        let text = plan.lines().join("\n");
        assert!(text.contains("2 of 3") && text.contains("\"A\"") && text.contains("\"B\""), "{text}");
        let mut result = OrbixResult::new(&people, &batches);
        assert!(!result.is_complete());
        result.note(&people[1], None);
        result.note(&people[2], Some("No."));
        assert_eq!((result.succeeded, result.failed, result.not_sent), (1, 1, 0));
        assert_eq!(result.failures[0].line, 4);
        assert!(result.lines()[0].contains("line 4: NDD//cid in \"A\": No."), "{:?}", result.lines());
    }
}
