//! The rules of a station: the checked form of `[[station]]`, and the choice among the documents that wait.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::convert::Conversion;
use crate::domain::{Document, DocumentStatus, OutputPort, ReleaseOptions, StationName, TapId};

/// The choice among the waiting documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Select {
    /// All, in the server's order.
    All,
    /// Only the one submitted last.
    Newest,
    /// Only the one submitted first.
    Oldest,
}

/// The rules of one station, as `docs/configuration.md` has them.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) name: StationName,
    /// From a read to a card number; `None`: the read as it is.
    pub(crate) convert: Option<Conversion>,
    /// The same card, away for less than this, is one tap.
    pub(crate) debounce: Duration,
    pub(crate) select: Select,
    /// At most so many documents a tap.
    pub(crate) limit: usize,
    /// At most so many releases at a time.
    pub(crate) parallel: usize,
    pub(crate) options: ReleaseOptions,
    /// True: a tap whose server is away is kept until the deadline. False: it is refused at once.
    pub(crate) hold: bool,
    /// A release that has not been sent this long after the card was held is not sent any more.
    pub(crate) deadline: Duration,
    /// Whether the server is told a job record for each released document.
    pub(crate) record: bool,
    /// Whether the title of such a record ends in the tag of its tap.
    pub(crate) tag: bool,
    pub(crate) port: OutputPort,
}

/// The documents of a list that concern a tap.
pub(super) struct Selection {
    /// Those that it is to release.
    pub(super) documents: Vec<Document>,
    /// The limit leaves others for the next tap.
    pub(super) more_remain: bool,
    /// The server still converts some.
    pub(super) converting: bool,
}

/// The documents that a tap is to release, of those that the server listed: those that wait, each once, without those that
/// are `taken` by an earlier tap.
pub(super) fn select(mut documents: Vec<Document>, policy: &Policy, taken: &HashMap<String, TapId>) -> Selection {
    let converting = documents.iter().any(|document| document.status == DocumentStatus::Coming);
    let mut seen = HashSet::new();
    documents.retain(|document| {
        document.status == DocumentStatus::Ready
            && !taken.contains_key(&document.uuid)
            && seen.insert(document.uuid.clone())
    });
    let chosen = match policy.select {
        Select::All => None,
        Select::Newest => Some(documents.iter().max_by_key(|document| document.created)),
        Select::Oldest => Some(documents.iter().min_by_key(|document| document.created)),
    };
    if let Some(chosen) = chosen {
        documents = chosen.cloned().into_iter().collect();
    }
    let more_remain = documents.len() > policy.limit;
    documents.truncate(policy.limit);
    Selection { documents, more_remain, converting }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn policy(select: Select, limit: usize) -> Policy {
        Policy {
            name: "lobby".into(),
            convert: None,
            debounce: Duration::ZERO,
            select,
            limit,
            parallel: 1,
            options: ReleaseOptions::default(),
            hold: false,
            deadline: Duration::from_secs(90),
            record: true,
            tag: false,
            port: OutputPort::Address("192.0.2.10".to_owned()),
        }
    }

    fn document(uuid: &str, created_ms: i64) -> Document {
        Document { created: Timestamp::from_millisecond(created_ms).ok(), ..Document::sample(uuid) }
    }

    fn chosen(documents: Vec<Document>, policy: &Policy, taken: &[&str]) -> Vec<String> {
        let earlier = TapId::new(Timestamp::UNIX_EPOCH, 0);
        let taken = taken.iter().map(|uuid| ((*uuid).to_owned(), earlier)).collect();
        select(documents, policy, &taken).documents.into_iter().map(|document| document.uuid).collect()
    }

    #[test]
    fn the_policy_chooses_the_documents() {
        for (select, limit, expected) in [
            (Select::All, 50, vec!["b", "a", "c"]),
            (Select::All, 2, vec!["b", "a"]),
            (Select::Newest, 50, vec!["c"]),
            (Select::Oldest, 50, vec!["a"]),
        ] {
            let mut waiting = vec![document("b", 2), document("a", 1), document("c", 3), document("d", 4)];
            waiting[3].status = DocumentStatus::Coming;
            assert_eq!(chosen(waiting, &policy(select, limit), &[]), expected, "{select:?} {limit}");
        }
    }

    #[test]
    fn more_remain_only_where_the_limit_and_not_the_choice_leaves_them() {
        let waiting = || vec![document("a", 1), document("b", 2), document("b", 2)];
        for (selected, limit, remain) in
            [(Select::All, 2, false), (Select::All, 1, true), (Select::Newest, 1, false), (Select::Oldest, 1, false)]
        {
            let selection = select(waiting(), &policy(selected, limit), &HashMap::new());
            assert_eq!(selection.more_remain, remain, "{selected:?} {limit}");
        }
    }

    #[test]
    fn a_document_that_the_server_lists_twice_is_released_once() {
        let twice = vec![document("a", 1), document("b", 2), document("a", 1)];
        assert_eq!(chosen(twice, &policy(Select::All, 50), &[]), ["a", "b"]);
    }

    #[test]
    fn a_document_of_an_earlier_tap_is_not_chosen_and_the_newest_is_the_newest_of_the_rest() {
        let waiting = vec![document("a", 1), document("b", 2), document("c", 3)];
        assert_eq!(chosen(waiting, &policy(Select::Newest, 50), &["c"]), ["b"]);
    }
}
