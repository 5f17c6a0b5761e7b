//! The tag of a job record (`outbox.tag` in docs/configuration.md): the end of its title, which names the tap. With it the record is known
//! with certainty in the server's history, whatever other boxes write there.

use super::{Document, JobRecord, TapId};

/// The last characters of the tap's id are random, so that no two taps of a server's history share them.
const TAG_LENGTH: usize = 8;

fn tag(tap: TapId) -> String {
    let id = tap.to_string();
    let (_, end) = id.split_at(id.len().saturating_sub(TAG_LENGTH));
    format!(" [{end}]")
}

/// The title with the tag of its tap. A long title makes room for it.
pub(super) fn tagged(title: &str, tap: TapId) -> String {
    let tag = tag(tap);
    title.chars().take(Document::TITLE_LIMIT - tag.len()).chain(tag.chars()).collect()
}

impl JobRecord {
    /// Whether the title ends in the tag. It was made so, whatever the configuration says now, and that is how it is sent.
    pub(crate) fn is_tagged(&self) -> bool {
        self.title.ends_with(&tag(self.tap))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Release;
    use super::*;

    #[test]
    fn a_tagged_title_ends_in_the_tap_and_is_never_longer_than_a_title_may_be() {
        for title in ["Document1", "", &"ü".repeat(Document::TITLE_LIMIT)] {
            let mut release = Release { tag: true, ..Release::sample("a", 7) };
            release.document.title = title.to_owned();
            let record = JobRecord::of(&release, release.time);
            let end = release.tap.to_string().split_off(18);
            assert!(record.title.ends_with(&format!(" [{end}]")) && record.is_tagged(), "{}", record.title);
            assert!(record.title.chars().count() <= Document::TITLE_LIMIT);
            assert!(record.title.starts_with(&title.chars().take(100).collect::<String>()));
            let untagged = JobRecord::of(&Release { tag: false, ..release }, record.time);
            assert_eq!((untagged.title.as_str(), untagged.is_tagged()), (title, false));
        }
    }
}
