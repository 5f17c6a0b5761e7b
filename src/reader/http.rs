//! The reader that calls the print server itself: `GET` or `POST /card/?cd=<card>&Mac=<reader>` (001, "Send card to IP
//! reader"). Here the agent answers in the server's place. Parameters are in the query for both methods, as there; a body is not
//! looked at. The query is a secret and never logged.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::frame::{Fault, refuse};
use super::line::Line;
use super::{ReaderError, ReaderEvent, tcp};
use crate::domain::{Read, Secret};

/// The longest head of a request.
const HEAD_LIMIT: usize = 4 * 1024;

/// The longest card number.
const CARD_LIMIT: usize = 256;

/// A reader sends its request in one piece.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// What a request is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A card to take.
    Card(Read),
    /// A card that no station may take.
    Refused(Fault),
    /// Not taken, and why.
    No(u16, &'static str),
}

/// Answers until nobody listens.
pub(super) async fn serve(address: SocketAddr, mac: Option<&str>, line: &mut Line) -> Result<(), ReaderError> {
    let listener = tcp::listen(address).await?;
    line.tell(ReaderEvent::Connected).await?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            stream = tcp::accept(&listener), if connections.len() < tcp::CONNECTION_LIMIT => {
                connections.spawn(timeout(REQUEST_LIMIT, converse(stream?, mac.map(str::to_owned), line.clone())));
            }
            Some(_) = connections.join_next() => {}
            () = line.closed() => return Err(ReaderError::Unheard),
        }
    }
}

/// One request and its answer. Who does not wait for the answer has still held a card.
async fn converse(mut stream: TcpStream, mac: Option<String>, line: Line) -> std::io::Result<()> {
    let head = head(&mut stream).await?;
    line.pane().bytes(&head);
    let (status, text) = match answer(&head, mac.as_deref()) {
        Answer::Card(read) => match line.try_tell(ReaderEvent::Read(read)) {
            true => (200, "ok"),
            false => (503, "busy"),
        },
        Answer::Refused(fault) => {
            // Where there is no room, there is nobody to be told either.
            line.try_tell(ReaderEvent::Unreadable(fault));
            (400, "cd is no card")
        }
        Answer::No(status, text) => (status, text),
    };
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Service Unavailable",
    };
    let length = text.len() + 1;
    let response = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}\n"
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

/// The bytes up to the empty line, or as many as may be.
async fn head(stream: &mut TcpStream) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut head = Zeroizing::new(Vec::with_capacity(HEAD_LIMIT));
    let mut stream = stream.take(HEAD_LIMIT as u64);
    let ended = |head: &[u8]| head.windows(4).any(|window| window == b"\r\n\r\n");
    while !ended(&head) && stream.read_buf(&mut *head).await? > 0 {}
    Ok(head)
}

/// What the head of a request amounts to, where only requests of `mac` count if it is set. Pure.
pub fn answer(head: &[u8], mac: Option<&str>) -> Answer {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else {
        return Answer::No(400, "not a request");
    };
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Answer::No(400, "not a request");
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if !matches!(path.trim_end_matches('/').rsplit('/').next(), Some("card")) {
        return Answer::No(404, "only /card/ is here");
    }
    if !matches!(method, "GET" | "POST") {
        return Answer::No(405, "GET or POST");
    }
    let value = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| Zeroizing::new(value.into_owned()))
    };
    let (Some(card), Some(from)) = (value("cd"), value("Mac")) else {
        return Answer::No(400, "cd and Mac are required");
    };
    let printable = card.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if !(1..=CARD_LIMIT).contains(&card.len()) || !printable {
        return Answer::No(400, "cd is no card");
    }
    if mac.is_some_and(|mac| !same(mac, &from)) {
        return Answer::No(400, "Mac is not that of this station");
    }
    match refuse(&card, false) {
        Ok(()) => Answer::Card(Read(Secret::new(card.as_str()))),
        Err(fault) => Answer::Refused(fault),
    }
}

/// Whether two spellings name the same reader: `00:1B-c4` and `001BC4` do.
fn same(one: &str, other: &str) -> bool {
    let plain = |text: &str| text.chars().filter(|c| !":- ".contains(*c)).collect::<String>().to_ascii_lowercase();
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(line: &str, mac: Option<&str>) -> Answer {
        answer(format!("{line} HTTP/1.1\r\nHost: box\r\n\r\n").as_bytes(), mac)
    }

    fn card(text: &str) -> Answer {
        Answer::Card(Read(Secret::new(text)))
    }

    #[test]
    fn get_and_post_with_or_without_a_slash_bring_a_card() {
        for line in [
            "GET /card/?cd=04A1&Mac=001BC4",
            "POST /card?Mac=001BC4&cd=04A1",
            "GET /api/v1/card/?cd=04A1&Mac=00%3A1b%3Ac4",
        ] {
            assert_eq!(ask(line, Some("00:1B:C4")), card("04A1"), "{line}");
            assert_eq!(ask(line, None), card("04A1"), "{line}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_a_bad_request() {
        for line in [
            "GET /card/?cd=04A1",
            "GET /card/?Mac=1",
            "GET /card/?cd=&Mac=1",
            "GET /card/?cd=%00&Mac=1",
            "GET /card/?CD=04A1&MAC=1",
            "GET /card/?cd=04A1&Mac=2",
            "GET  /card/?cd=04A1&Mac=1",
        ] {
            assert!(matches!(ask(line, Some("1")), Answer::No(400, _)), "{line}");
        }
        assert_eq!(ask("GET /card/?cd=0000&Mac=1", None), Answer::Refused(Fault::AllZero));
        assert!(matches!(ask("GET /?cd=04A1&Mac=1", None), Answer::No(404, _)));
        assert!(matches!(ask("PUT /card/?cd=04A1&Mac=1", None), Answer::No(405, _)));
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(head: Vec<u8>) {
            prop_assert!(matches!(answer(&head, None), Answer::No(400, _)));
        }
    }
}
