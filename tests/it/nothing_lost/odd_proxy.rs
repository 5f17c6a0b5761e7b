//! A proxy before the print server that gives odd answers: whole or in pieces, with the server's work done before, later or never.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use print_release_agent::demo::server::Call;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The server's work on a request that is answered oddly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Never,
    Before,
    /// The answer comes at once, and the work after this time.
    Later(Duration),
}

/// The bytes that the client gets.
#[derive(Clone, Debug)]
pub enum OddBytes {
    /// These, and then the connection is closed.
    Instead(Vec<u8>),
    /// The server's own list, with this row before all others.
    RowBefore(&'static str),
}

/// An answer to the next request of a kind.
#[derive(Clone, Debug)]
pub struct OddAnswer {
    pub call: Call,
    pub work: Work,
    pub bytes: OddBytes,
}

/// A proxy to one port of the loopback interface. Every connection carries one request.
pub struct OddProxy {
    port: u16,
    odd: Arc<Mutex<Vec<OddAnswer>>>,
}

impl OddProxy {
    /// Listens on a free port and forwards to `target`.
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let odd: Arc<Mutex<Vec<OddAnswer>>> = Arc::default();
        let shared = odd.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let odd = shared.clone();
                // A client that leaves early is no matter of the proxy's.
                tokio::spawn(async move { drop(serve(client, target, &odd).await) });
            }
        });
        Self { port, odd }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers oddly, after the odd answers that wait already.
    pub fn add(&self, odd: OddAnswer) {
        self.odd.lock().unwrap().push(odd);
    }

    /// Takes back all odd answers that were not given. Returns their number.
    pub fn clear(&self) -> usize {
        std::mem::take(&mut *self.odd.lock().unwrap()).len()
    }
}

async fn serve(mut client: TcpStream, target: u16, odd: &Mutex<Vec<OddAnswer>>) -> io::Result<()> {
    let request = read_request(&mut client).await?;
    let call = call_of(&request);
    let answer = {
        let mut waiting = odd.lock().unwrap();
        let index = waiting.iter().position(|odd| odd.call == call);
        index.map(|index| waiting.remove(index))
    };
    let Some(OddAnswer { work, bytes, .. }) = answer else {
        return client.write_all(&ask(target, &request).await?).await;
    };
    let own = if work == Work::Before { ask(target, &request).await? } else { Vec::new() };
    let bytes = match bytes {
        OddBytes::Instead(bytes) => bytes,
        OddBytes::RowBefore(row) => with_row(&own, row),
    };
    let sent = client.write_all(&bytes).await;
    drop(client);
    if let Work::Later(after) = work {
        tokio::time::sleep(after).await;
        ask(target, &request).await?;
    }
    sent
}

/// Reads a head and the body whose length it tells. The connection is marked as one for a single request.
async fn read_request(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            break end;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    while bytes.len() < head + 4 + length.unwrap_or(0) {
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    bytes.splice(head..head, b"\r\nconnection: close".iter().copied());
    Ok(bytes)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The call, as the server names it.
fn call_of(request: &[u8]) -> Call {
    let text = String::from_utf8_lossy(&request[..request.len().min(2_000)]).into_owned();
    let mut words = text.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default().trim_start_matches("/api/v1/");
    match (method, path.split('/').collect::<Vec<_>>().as_slice()) {
        ("POST", ["login"]) => Call::Login,
        ("GET", ["documents"]) => Call::List,
        ("GET", ["documents", "history"]) => Call::History,
        ("POST", ["documents", "history"]) => Call::Record,
        ("POST", ["documents", _, _]) => Call::Release,
        _ => Call::Other,
    }
}

/// The server's answer; empty if it cuts the connection.
async fn ask(target: u16, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(("127.0.0.1", target)).await?;
    server.write_all(request).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// A list with one more row at its beginning.
fn with_row(answer: &[u8], row: &str) -> Vec<u8> {
    let body = find(answer, b"\r\n\r\n").map_or(&[] as &[u8], |end| &answer[end + 4..]);
    let comma = if body == b"[]" { "" } else { "," };
    let rest = String::from_utf8_lossy(body.get(1..).unwrap_or_default()).into_owned();
    let body = format!("[{row}{comma}{rest}");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
