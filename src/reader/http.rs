//! A reader that calls the print server itself, with `GET` or `POST /card/?cd=<card>&Mac=<reader>`. The agent answers in the
//! server's place. As at the server, both methods take their parameters from the query and ignore the body
//! (docs/print-server-api.md, "Print everything with /card"). The query is a secret and is never logged.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::frame::{Fault, refuse};
use super::station_channel::StationChannel;
use super::{ReaderError, ReaderEvent, tcp};
use crate::domain::{Read, Secret};

/// The longest request head that is read, in bytes.
const HEAD_LIMIT: usize = 4 * 1024;

/// The longest card number that is taken, in bytes.
const CARD_LIMIT: usize = 256;

/// The longest time for one request and its answer: a reader sends its request in one piece.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// The decision about one request.
#[derive(Clone, Debug, PartialEq)]
pub enum ReaderReply {
    /// The request holds a card, which the station gets.
    CardTaken(Read),
    /// The request holds a card that no station may take.
    CardRefused(Fault),
    /// The request holds no card: the status and the text of the answer.
    BadRequest(u16, &'static str),
}

/// Answers requests until the agent stops listening to this reader.
pub(super) async fn serve(
    address: SocketAddr,
    mac: Option<&str>,
    channel: &mut StationChannel,
) -> Result<(), ReaderError> {
    let listener = tcp::listen(address).await?;
    channel.send_event(ReaderEvent::Connected).await?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            stream = tcp::accept(&listener), if connections.len() < tcp::CONNECTION_LIMIT => {
                connections.spawn(timeout(REQUEST_LIMIT, converse(stream?, mac.map(str::to_owned), channel.clone())));
            }
            Some(_) = connections.join_next() => {}
            () = channel.closed() => return Err(ReaderError::Unheard),
        }
    }
}

/// Reads one request and answers it. The card counts even if the reader does not wait for the answer.
async fn converse(mut stream: TcpStream, mac: Option<String>, channel: StationChannel) -> std::io::Result<()> {
    let head = head(&mut stream).await?;
    channel.monitor().publish_bytes(&head);
    let (status, text) = match reply_to(&head, mac.as_deref()) {
        ReaderReply::CardTaken(read) => match channel.try_send_event(ReaderEvent::Read(read)) {
            true => (200, "ok"),
            false => (503, "busy"),
        },
        ReaderReply::CardRefused(fault) => {
            // A full queue drops the refusal: the agent is too busy to show it to the person.
            channel.try_send_event(ReaderEvent::Unreadable(fault));
            (400, "cd is no card")
        }
        ReaderReply::BadRequest(status, text) => (status, text),
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

/// The bytes up to the empty line that ends the head, at most [`HEAD_LIMIT`].
async fn head(stream: &mut TcpStream) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut head = Zeroizing::new(Vec::with_capacity(HEAD_LIMIT));
    let mut stream = stream.take(HEAD_LIMIT as u64);
    let ended = |head: &[u8]| head.windows(4).any(|window| window == b"\r\n\r\n");
    while !ended(&head) && stream.read_buf(&mut *head).await? > 0 {}
    Ok(head)
}

/// Decides about a request from its head. If `mac` is set, only requests of that reader are taken. Pure.
pub fn reply_to(head: &[u8], mac: Option<&str>) -> ReaderReply {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else {
        return ReaderReply::BadRequest(400, "not a request");
    };
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return ReaderReply::BadRequest(400, "not a request");
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if !matches!(path.trim_end_matches('/').rsplit('/').next(), Some("card")) {
        return ReaderReply::BadRequest(404, "only /card/ is here");
    }
    if !matches!(method, "GET" | "POST") {
        return ReaderReply::BadRequest(405, "GET or POST");
    }
    let value = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| Zeroizing::new(value.into_owned()))
    };
    let (Some(card), Some(from)) = (value("cd"), value("Mac")) else {
        return ReaderReply::BadRequest(400, "cd and Mac are required");
    };
    let printable = card.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if !(1..=CARD_LIMIT).contains(&card.len()) || !printable {
        return ReaderReply::BadRequest(400, "cd is no card");
    }
    if mac.is_some_and(|mac| !is_same_mac(mac, &from)) {
        return ReaderReply::BadRequest(400, "Mac is not that of this station");
    }
    match refuse(&card, false) {
        Ok(()) => ReaderReply::CardTaken(Read(Secret::new(card.as_str()))),
        Err(fault) => ReaderReply::CardRefused(fault),
    }
}

/// True if two spellings name the same reader, such as `00:1B-c4` and `001BC4`.
fn is_same_mac(one: &str, other: &str) -> bool {
    let plain = |text: &str| text.chars().filter(|c| !":- ".contains(*c)).collect::<String>().to_ascii_lowercase();
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(line: &str, mac: Option<&str>) -> ReaderReply {
        reply_to(format!("{line} HTTP/1.1\r\nHost: box\r\n\r\n").as_bytes(), mac)
    }

    fn card(text: &str) -> ReaderReply {
        ReaderReply::CardTaken(Read(Secret::new(text)))
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
            assert!(matches!(ask(line, Some("1")), ReaderReply::BadRequest(400, _)), "{line}");
        }
        assert_eq!(ask("GET /card/?cd=0000&Mac=1", None), ReaderReply::CardRefused(Fault::AllZero));
        assert!(matches!(ask("GET /?cd=04A1&Mac=1", None), ReaderReply::BadRequest(404, _)));
        assert!(matches!(ask("PUT /card/?cd=04A1&Mac=1", None), ReaderReply::BadRequest(405, _)));
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(head: Vec<u8>) {
            prop_assert!(matches!(reply_to(&head, None), ReaderReply::BadRequest(400, _)));
        }
    }
}
