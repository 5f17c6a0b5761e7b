//! The names by which a browser may ask for the page.
//!
//! A page of a stranger can make its own name lead to this box (DNS rebinding), and then read the status in the browser of a person who
//! can reach it. The browser sends that name in `Host`. So only names that are this box's are answered: an IP address, `localhost`, the
//! host's name with or without its domain, `<hostname>.local`, and those of `http.hosts`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

/// The host's name (proc_sys_kernel(5)).
const HOSTNAME: &str = "/proc/sys/kernel/hostname";
/// Names on this box (hosts(5)), and the domains that it looks names up in (resolv.conf(5)).
const HOSTS: &str = "/etc/hosts";
const RESOLVER: &str = "/etc/resolv.conf";

/// The most bytes that are read of one of these files.
const FILE_LIMIT: u64 = 64 * 1024;

/// The most refused names that are logged, each once.
const TOLD_LIMIT: usize = 32;

/// The most characters of a refused name that are logged.
const NAME_LIMIT: usize = 100;

/// The names of this box, and those that were refused.
#[derive(Debug)]
struct KnownHosts {
    /// `http.hosts`.
    configured: Vec<String>,
    /// A std mutex suffices: nothing awaits while it is held.
    seen: Mutex<SeenHosts>,
}

#[derive(Debug, Default)]
struct SeenHosts {
    /// The names of this box when they were looked up last.
    own: BTreeSet<String>,
    /// Refused names that were logged.
    told: BTreeSet<String>,
}

/// Answers only those requests whose `Host` names this box.
pub(crate) fn guarded(router: Router, configured: &[String]) -> Router {
    let hosts = Arc::new(KnownHosts { configured: configured.to_vec(), seen: Mutex::default() });
    router.layer(middleware::from_fn_with_state(hosts, answer_if_known))
}

async fn answer_if_known(Shared(hosts): Shared<Arc<KnownHosts>>, request: Request, next: Next) -> Response {
    let Some(host) = asked_host(request.headers(), request.uri()) else {
        return (StatusCode::BAD_REQUEST, "a request has to name one host\n").into_response();
    };
    if hosts.knows(&host) {
        return next.run(request).await;
    }
    hosts.tell(&host);
    let why = "this name is not known to be this box's; if it is, it belongs into http.hosts\n";
    (StatusCode::MISDIRECTED_REQUEST, why).into_response()
}

/// The host that a request asks for, in small letters and without its port. `None` when it names none or more than one.
fn asked_host(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let mut named = headers.get_all(header::HOST).iter();
    let (host, None) = (named.next()?.to_str().ok()?, named.next()) else {
        return None;
    };
    let host = without_port(host).trim_end_matches('.').to_ascii_lowercase();
    // A request with a whole URL (RFC 9112, section 3.2.2) has to agree.
    let agrees = uri.host().is_none_or(|other| without_port(other).eq_ignore_ascii_case(&host));
    (agrees && !host.is_empty()).then_some(host)
}

/// `[::1]:80` is `::1`, `box:80` is `box`.
fn without_port(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

impl KnownHosts {
    fn knows(&self, host: &str) -> bool {
        if host == "localhost" || host.parse::<IpAddr>().is_ok() || self.configured.iter().any(|name| name == host) {
            return true;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.own.contains(host) {
            // The network may have told the domain, or another name, since the last look.
            seen.own = own_names(&read(HOSTNAME), &read(HOSTS), &read(RESOLVER));
        }
        seen.own.contains(host)
    }

    fn tell(&self, host: &str) {
        let host: String = host.chars().take(NAME_LIMIT).collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.told.len() < TOLD_LIMIT && seen.told.insert(host.clone()) {
            tracing::warn!(
                host,
                "page refused: this name is not known to be this box's; if it is, add it to http.hosts"
            );
        }
    }
}

/// A file that is not there has no names.
fn read(path: &str) -> String {
    let mut text = String::new();
    // The names of what could be read are enough.
    drop(File::open(path).and_then(|file| file.take(FILE_LIMIT).read_to_string(&mut text)));
    text
}

/// The host's name as the kernel has it, its first label alone, with `.local`, and with its domain: as `/etc/hosts` writes it, and in
/// each domain that the resolver searches.
fn own_names(hostname: &str, hosts: &str, resolver: &str) -> BTreeSet<String> {
    let hostname = hostname.trim().to_ascii_lowercase();
    let label = hostname.split('.').next().unwrap_or_default().to_owned();
    if label.is_empty() {
        return BTreeSet::new();
    }
    let mut names = BTreeSet::from([format!("{label}.local"), label.clone(), hostname.clone()]);
    for line in hosts.lines().map(|line| line.split('#').next().unwrap_or_default().to_ascii_lowercase()) {
        let aliases: Vec<&str> = line.split_whitespace().skip(1).collect();
        if aliases.iter().any(|alias| *alias == hostname || *alias == label) {
            let is_own = |alias: &&&str| alias.strip_prefix(label.as_str()).is_some_and(|rest| rest.starts_with('.'));
            names.extend(aliases.iter().filter(is_own).map(|alias| (*alias).to_owned()));
        }
    }
    for line in resolver.lines() {
        let mut words = line.split_whitespace();
        if matches!(words.next(), Some("domain" | "search")) {
            let domains = words.map(|domain| domain.trim_matches('.').to_ascii_lowercase());
            names.extend(domains.filter(|domain| !domain.is_empty()).map(|domain| format!("{label}.{domain}")));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn asked(hosts: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        asked_host(&headers, &Uri::from_static("/status"))
    }

    #[test]
    fn the_host_is_taken_without_its_port_in_small_letters() {
        for (header, host) in [
            ("127.0.0.1:8631", "127.0.0.1"),
            ("[fe80::1]:8631", "fe80::1"),
            ("::1", "::1"),
            ("Lobby-Box", "lobby-box"),
            ("lobby-box.example.com.:80", "lobby-box.example.com"),
            ("localhost:x", "localhost:x"),
        ] {
            assert_eq!(asked(&[header]).as_deref(), Some(host), "{header}");
        }
    }

    #[test]
    fn a_request_that_names_no_host_or_two_names_none() {
        for hosts in [&[][..], &[""], &[":80"], &["box", "box"], &["\u{fc}"]] {
            assert_eq!(asked(hosts), None, "{hosts:?}");
        }
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("127.0.0.1:80"))]);
        assert_eq!(asked_host(&headers, &Uri::from_static("http://stranger.example/")), None);
        assert!(asked_host(&headers, &Uri::from_static("http://127.0.0.1:80/")).is_some());
    }

    #[test]
    fn the_names_of_a_box_are_those_with_its_own_label() {
        let hosts =
            "127.0.0.1 localhost\n127.0.1.1\tbox.site.example box printer # box.comment\n192.0.2.1 box.evil.example\n";
        let names = own_names("Box\n", hosts, "nameserver 192.0.2.1\nsearch example.com lan.\ndomain home\n");
        let expected = ["box", "box.example.com", "box.home", "box.lan", "box.local", "box.site.example"];
        assert_eq!(names, expected.map(str::to_owned).into());
        let names = own_names("box.example.com", "", "");
        assert_eq!(names, ["box", "box.example.com", "box.local"].map(str::to_owned).into());
        assert_eq!(own_names("", "127.0.0.1 .x", "search a"), BTreeSet::new());
    }

    #[test]
    fn a_stranger_is_not_known_and_is_told_of_once() {
        let hosts = KnownHosts { configured: vec!["print.example.com".to_owned()], seen: Mutex::default() };
        for known in ["127.0.0.1", "::1", "192.0.2.7", "localhost", "print.example.com"] {
            assert!(hosts.knows(known), "{known}");
        }
        for unknown in ["rebound.example", "print.example.com.evil.example", "127.0.0.1.evil.example", "localhost.evil"]
        {
            assert!(!hosts.knows(unknown), "{unknown}");
        }
        for number in 0..2 * TOLD_LIMIT {
            hosts.tell(&number.to_string());
            hosts.tell(&"x".repeat(10_000));
        }
        assert_eq!(hosts.seen.lock().unwrap().told.len(), TOLD_LIMIT);
    }
}
