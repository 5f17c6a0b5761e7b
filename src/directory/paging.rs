//! The way from page to page of a list (docs/directory.md, "Pages"). Pure.
//!
//! A bearer goes with every request, so a link that a server gives is believed only as far as its query: the next page is asked
//! for at the configured address. Offsets move while people come and go, so each element counts once.

use std::collections::BTreeSet;

use reqwest::Url;

/// The most pages of a list.
const PAGE_LIMIT: usize = 20_000;

/// The most pages in a row that bring nothing new.
const STALE_LIMIT: usize = 3;

/// Why the next page is not asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PagingError {
    /// The link is no address, or one with a user name in it.
    #[error("the link to the next page is no address")]
    NoAddress,
    /// The link leads to somebody else, who would get the bearer.
    #[error("the link to the next page leads to another host, {0}, which is not asked")]
    Foreign(String),
    /// The link leads to something else.
    #[error("the link to the next page leads to another list")]
    OtherList,
    /// The links lead in a circle.
    #[error("the links to the next pages lead in a circle")]
    Loop,
    /// There is no end.
    #[error("the list has more than {PAGE_LIMIT} pages")]
    TooLong,
}

/// The walk through one list.
#[derive(Debug)]
pub struct PageWalk {
    /// The first page, at the configured address.
    list: Url,
    /// The address of the same list in the vendor's documents.
    documented: Url,
    asked: BTreeSet<String>,
    seen: BTreeSet<String>,
    stale: usize,
}

impl PageWalk {
    /// A walk that begins at `list`; a link to `documented` means the same list.
    pub fn new(list: Url, documented: Url) -> Self {
        let asked = BTreeSet::from([String::new()]);
        Self { list, documented, asked, seen: BTreeSet::new(), stale: 0 }
    }

    /// Whether an element with this id has not come before.
    pub fn is_new(&mut self, id: &str) -> bool {
        let new = self.seen.insert(id.to_owned());
        if new {
            self.stale = 0;
        }
        new
    }

    /// The page behind the link of a page whose elements have been counted; `None` at the end.
    ///
    /// # Errors
    /// The link is not followed.
    pub fn next(&mut self, link: Option<&str>) -> Result<Option<Url>, PagingError> {
        let Some(link) = link.filter(|link| !link.is_empty()) else { return Ok(None) };
        let target = self.list.join(link).map_err(|_| PagingError::NoAddress)?;
        if !target.username().is_empty() || target.password().is_some() {
            return Err(PagingError::NoAddress);
        }
        if !is_same_host(&target, &self.list) && !is_same_host(&target, &self.documented) {
            return Err(PagingError::Foreign(target.host_str().unwrap_or("?").to_owned()));
        }
        let path = |url: &Url| url.path().trim_end_matches('/').to_owned();
        if path(&target) != path(&self.list) && path(&target) != path(&self.documented) {
            return Err(PagingError::OtherList);
        }
        let query = target.query().unwrap_or_default().to_owned();
        self.stale += 1;
        if self.stale > STALE_LIMIT || !self.asked.insert(query.clone()) {
            return Err(PagingError::Loop);
        }
        if self.asked.len() > PAGE_LIMIT {
            return Err(PagingError::TooLong);
        }
        let mut next = self.list.clone();
        next.set_query(Some(&query));
        Ok(Some(next))
    }
}

/// Whether both lead to the same service. A port that is not written is that of the scheme, and a link may be written with `http`
/// although it is `https` that is asked.
fn is_same_host(link: &Url, base: &Url) -> bool {
    let is_web = matches!(link.scheme(), "http" | "https");
    let port = match (link.port(), base.port()) {
        (None, None) => true,
        (link_port, base_port) => {
            link_port.or(link.port_or_known_default()) == base_port.or(base.port_or_known_default())
        }
    };
    is_web && port && link.host_str() == base.host_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOCUMENTED: &str = "https://api2.ezeep.com/printing/v1/users/";

    fn walk(base: &str) -> PageWalk {
        PageWalk::new(Url::parse(base).unwrap(), Url::parse(DOCUMENTED).unwrap())
    }

    /// The page behind a link of the first page, which had one element.
    fn next(base: &str, link: &str) -> Result<String, PagingError> {
        let mut walk = walk(base);
        assert!(walk.is_new("1"));
        walk.next(Some(link)).map(|url| url.map(String::from).unwrap_or_default())
    }

    #[test]
    fn a_link_of_the_documented_host_goes_on_at_the_configured_address() {
        let link = "http://api2.ezeep.com/printing/v1/users/?limit=20&offset=20";
        assert_eq!(next(DOCUMENTED, link).unwrap(), format!("{DOCUMENTED}?limit=20&offset=20"), "and with https");
        let here = "http://127.0.0.1:8080/v1/users/";
        assert_eq!(next(here, link).unwrap(), format!("{here}?limit=20&offset=20"));
        assert_eq!(next(here, "http://127.0.0.1:8080/v1/users/?offset=20").unwrap(), format!("{here}?offset=20"));
        assert_eq!(next(here, "?offset=20").unwrap(), format!("{here}?offset=20"));
        assert_eq!(next(here, "").unwrap(), "");
        assert_eq!(walk(here).next(None), Ok(None));
    }

    #[test]
    fn no_other_host_port_or_list_gets_the_bearer() {
        for base in [DOCUMENTED, "http://127.0.0.1:8080/v1/users/"] {
            for foreign in [
                "https://evil.example/printing/v1/users/?offset=20",
                "https://api2.ezeep.com.evil.example/printing/v1/users/?offset=20",
                "https://api2.ezeep.com:8443/printing/v1/users/?offset=20",
                "http://127.0.0.1:8081/v1/users/?offset=20",
                "//evil.example/printing/v1/users/",
                "ftp://api2.ezeep.com/printing/v1/users/?offset=20",
            ] {
                assert!(matches!(next(base, foreign), Err(PagingError::Foreign(_))), "{base} {foreign}");
            }
            let hidden = "https://api2.ezeep.com@evil.example/printing/v1/users/";
            assert_eq!(next(base, hidden), Err(PagingError::NoAddress));
            let other = "https://api2.ezeep.com/printing/v1/groups/?offset=20";
            assert_eq!(next(base, other), Err(PagingError::OtherList));
        }
    }

    #[test]
    fn a_circle_ends() {
        let mut walk = walk(DOCUMENTED);
        assert!(walk.is_new("1") && !walk.is_new("1"));
        assert!(walk.next(Some("?offset=20")).is_ok());
        assert!(walk.is_new("2"));
        assert_eq!(walk.next(Some("?offset=20")), Err(PagingError::Loop));
        assert_eq!(walk.next(Some("?")), Err(PagingError::Loop), "the first page again");
    }

    #[test]
    fn pages_without_end_and_without_anything_new_end() {
        let mut walk = walk(DOCUMENTED);
        assert!(walk.is_new("1"));
        let pages = (0..).take_while(|page| walk.next(Some(&format!("?offset={page}"))).is_ok()).count();
        assert_eq!(pages, STALE_LIMIT);
    }

    proptest! {
        #[test]
        fn whatever_a_link_says_the_next_page_is_at_the_configured_address(link in "(https?:)?(//)?[a-z0-9.@:]{0,20}/?.{0,40}") {
            let base = "http://127.0.0.1:8080/v1/users/";
            if let Ok(Some(url)) = walk(base).next(Some(&link)) {
                prop_assert!(url.as_str().starts_with(&format!("{base}?")), "{url}");
            }
        }
    }
}
