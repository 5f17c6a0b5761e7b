//! The division of people into requests (docs/directory.md, "Orbix"). Pure.
//!
//! A request has at most 5 groups of at most 1,000 users. A larger group is split, and its parts go into different requests, for
//! nobody documents what the same group twice in one request means.

use super::people::OrbixPerson;

/// The most groups of a request.
pub(super) const GROUPS_LIMIT: usize = 5;
/// The most users of a group in a request.
pub(super) const USERS_LIMIT: usize = 1_000;

/// The members of one group in one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupPart {
    /// The group's name.
    pub(super) group: String,
    /// At least one.
    pub(super) people: Vec<OrbixPerson>,
}

/// One request.
pub(super) type OrbixBatch = Vec<GroupPart>;

/// Divides people into requests, in the order of the file as far as the limits allow.
pub(super) fn batches(people: Vec<OrbixPerson>) -> Vec<OrbixBatch> {
    let mut batches: Vec<OrbixBatch> = Vec::new();
    // The requests before this one have all the groups that they can have.
    let mut open = 0;
    for part in parts(people) {
        let fits =
            |batch: &OrbixBatch| batch.len() < GROUPS_LIMIT && batch.iter().all(|other| other.group != part.group);
        match batches.iter().skip(open).position(fits) {
            Some(at) => batches[open + at].push(part),
            None => batches.push(vec![part]),
        }
        while batches.get(open).is_some_and(|batch| batch.len() == GROUPS_LIMIT) {
            open += 1;
        }
    }
    batches
}

fn parts(people: Vec<OrbixPerson>) -> Vec<GroupPart> {
    let mut groups: Vec<GroupPart> = Vec::new();
    let mut places = std::collections::BTreeMap::new();
    for person in people {
        let place = *places.entry(person.group.clone()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.people.push(person),
            None => groups.push(GroupPart { group: person.group.clone(), people: vec![person] }),
        }
    }
    let split = |group: GroupPart| {
        let parts = group.people.chunks(USERS_LIMIT).map(<[OrbixPerson]>::to_vec).collect::<Vec<_>>();
        parts.into_iter().map(move |people| GroupPart { group: group.group.clone(), people })
    };
    groups.into_iter().flat_map(split).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn person(group: &str, number: usize) -> OrbixPerson {
        OrbixPerson {
            line: number + 2,
            group: group.to_owned(),
            description: String::new(),
            logon: format!("user{number}"),
            domain: "NDD".to_owned(),
            name: String::new(),
            email: String::new(),
        }
    }

    #[test]
    fn the_parts_of_a_large_group_go_into_different_requests() {
        let mut people: Vec<_> = (0..2_500).map(|number| person("large", number)).collect();
        people.extend((0..6).map(|number| person(&format!("small{number}"), 10_000 + number)));
        let sizes: Vec<Vec<usize>> =
            batches(people).iter().map(|batch| batch.iter().map(|part| part.people.len()).collect()).collect();
        assert_eq!(sizes, [vec![1000, 1, 1, 1, 1], vec![1000, 1, 1], vec![500]]);
    }

    proptest! {
        #[test]
        fn everybody_goes_once_and_no_request_passes_a_limit(sizes in prop::collection::vec(1_usize..2_200, 0..14)) {
            let of_group = |(group, size): (usize, &usize)| {
                let name = format!("group{group}");
                (0..*size).map(|number| person(&name, group * 10_000 + number)).collect::<Vec<_>>()
            };
            let people: Vec<_> = sizes.iter().enumerate().flat_map(of_group).collect();
            let batches = batches(people.clone());
            let mut sent = Vec::new();
            for batch in &batches {
                let names: BTreeSet<_> = batch.iter().map(|part| &part.group).collect();
                prop_assert!(names.len() == batch.len() && batch.len() <= GROUPS_LIMIT);
                prop_assert!(batch.iter().all(|part| (1..=USERS_LIMIT).contains(&part.people.len())));
                sent.extend(batch.iter().flat_map(|part| part.people.iter().map(|person| person.line)));
            }
            sent.sort_unstable();
            prop_assert_eq!(sent, people.iter().map(|person| person.line).collect::<Vec<_>>());
        }
    }
}
