//! A proxy before a print server that answers some requests with bytes that no server should send.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An answer, byte for byte.
#[derive(Clone)]
pub struct OddAnswer {
    pub bytes: Vec<u8>,
    pub end: OddEnd,
}

/// The end of an odd answer.
#[derive(Clone)]
pub enum OddEnd {
    /// The connection is closed.
    Close,
    /// Nothing more comes.
    Silence,
    /// These bytes come again and again.
    Again(Vec<u8>),
}

/// Whether a request with this head and this body gets an odd answer.
pub type IsOdd = fn(&str, &str) -> bool;

/// The requests that get an odd answer, and the number of those that got it so far.
#[derive(Default)]
struct Oddity {
    answer: Option<(IsOdd, OddAnswer)>,
    /// The server does the work first, and only its answer is replaced.
    works: bool,
    given: usize,
}

pub struct OddProxy {
    port: u16,
    oddity: Arc<Mutex<Oddity>>,
}

impl OddProxy {
    /// Listens on a free port of the loopback interface and forwards to `target`.
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let oddity = Arc::new(Mutex::new(Oddity::default()));
        let shared = oddity.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A client that has left is none of this proxy's business.
                tokio::spawn(serve(client, target, shared.clone()));
            }
        });
        Self { port, oddity }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers such requests so from now on; with `works` the server does their work before.
    pub fn answer_oddly(&self, is_odd: IsOdd, answer: OddAnswer, works: bool) {
        *self.oddity.lock().unwrap() = Oddity { answer: Some((is_odd, answer)), works, given: 0 };
    }

    /// Forwards everything again.
    pub fn be_honest(&self) {
        self.oddity.lock().unwrap().answer = None;
    }

    /// The number of requests that got an odd answer.
    pub fn given(&self) -> usize {
        self.oddity.lock().unwrap().given
    }
}

/// Serves one request and closes the connection.
async fn serve(mut client: TcpStream, target: u16, oddity: Arc<Mutex<Oddity>>) -> std::io::Result<()> {
    let (head, body) = request(&mut client).await?;
    let (answer, works) = {
        let oddity = oddity.lock().unwrap();
        let fits = |(is_odd, _): &&(IsOdd, OddAnswer)| is_odd(&head, &body);
        (oddity.answer.as_ref().filter(fits).map(|(_, answer)| answer.clone()), oddity.works)
    };
    let mut honest = Vec::new();
    if works || answer.is_none() {
        let mut server = TcpStream::connect(("127.0.0.1", target)).await?;
        server.write_all(format!("{head}\r\nConnection: close\r\n\r\n{body}").as_bytes()).await?;
        server.read_to_end(&mut honest).await?;
    }
    let Some(OddAnswer { bytes, end }) = answer else {
        return client.write_all(&honest).await;
    };
    oddity.lock().unwrap().given += 1;
    client.write_all(&bytes).await?;
    match end {
        OddEnd::Close => Ok(()),
        OddEnd::Silence => client.read_to_end(&mut Vec::new()).await.map(drop),
        OddEnd::Again(piece) => loop {
            client.write_all(&piece).await?;
        },
    }
}

/// The head of a request without its last line end, and its body.
async fn request(client: &mut TcpStream) -> std::io::Result<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = |line: &str| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned);
            let length = head.lines().find_map(length).map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return Ok((head.to_owned(), body.to_owned()));
            }
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
