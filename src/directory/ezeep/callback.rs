//! The browser's way back to this machine: a listener at `redirect_uri` that waits for one code (RFC 8252, section 7.3).
//!
//! A request without the state that this pairing began with is refused and changes nothing: anybody on this machine can send one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use reqwest::Url;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::oauth::{BrowserAnswer, browser_answer};
use crate::domain::Secret;

/// The outcome of one request to the listener.
#[derive(Debug, PartialEq, Eq)]
enum CallbackStep {
    /// It is none of ours.
    Unknown,
    /// It does not belong to this pairing.
    ForeignState,
    /// The person, or ezeep, said no.
    Denied(String),
    Code(Secret),
}

/// A request with the query of an address, judged.
fn judge(path: &str, query: &str, expected_path: &str, expected_state: &str) -> CallbackStep {
    if path != expected_path {
        return CallbackStep::Unknown;
    }
    match browser_answer(&format!("http://localhost/?{query}")) {
        None => CallbackStep::Unknown,
        Some(BrowserAnswer { state, .. }) if state.as_deref() != Some(expected_state) => CallbackStep::ForeignState,
        Some(BrowserAnswer { code: Err(word), .. }) => CallbackStep::Denied(word),
        Some(BrowserAnswer { code: Ok(code), .. }) => CallbackStep::Code(code),
    }
}

/// The address to listen at, if the redirect leads to this machine by plain http.
pub fn loopback(redirect_uri: &str) -> Option<SocketAddr> {
    let url = Url::parse(redirect_uri).ok().filter(|url| url.scheme() == "http")?;
    let host = match url.host_str()? {
        "localhost" => "127.0.0.1",
        host => host.trim_matches(['[', ']']),
    };
    Some(SocketAddr::new(host.parse().ok()?, url.port_or_known_default()?))
}

type AnswerSender = Mutex<Option<oneshot::Sender<Result<Secret, String>>>>;

struct CallbackState {
    path: String,
    state: String,
    answer: AnswerSender,
}

/// Waits for the code, or for the word of a refusal.
pub(super) async fn wait(listener: TcpListener, redirect_uri: &str, state: &str) -> Option<Result<Secret, String>> {
    let (answer, mut answered) = oneshot::channel();
    let path = Url::parse(redirect_uri).map(|url| url.path().to_owned()).unwrap_or_default();
    let shared = CallbackState { path, state: state.to_owned(), answer: Mutex::new(Some(answer)) };
    let app = Router::new().fallback(answer_browser).with_state(Arc::new(shared));
    let mut end = None;
    // The page for the browser is sent to its end before the listener closes.
    let stop = async { end = (&mut answered).await.ok() };
    let stop = Box::pin(stop);
    serve(listener, app, stop).await;
    end
}

async fn serve(listener: TcpListener, app: Router, stop: impl Future<Output = ()>) {
    let (ended, until) = oneshot::channel::<()>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async { drop(until.await) });
    let server = std::future::IntoFuture::into_future(server);
    tokio::pin!(server);
    tokio::select! {
        _ = &mut server => return,
        () = stop => drop(ended),
    }
    // A browser may keep its connection open for long.
    drop(tokio::time::timeout(std::time::Duration::from_secs(2), server).await);
}

async fn answer_browser(State(shared): State<Arc<CallbackState>>, request: Request) -> (StatusCode, &'static str) {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let step = match *request.method() {
        Method::GET => judge(path, query, &shared.path, &shared.state),
        _ => CallbackStep::Unknown,
    };
    let send = |answer| {
        let sender = shared.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nobody waits any more where a code has come before.
        drop(sender.map(|sender| sender.send(answer)));
    };
    match step {
        CallbackStep::Unknown => (StatusCode::NOT_FOUND, "There is nothing here.\n"),
        CallbackStep::ForeignState => {
            (StatusCode::BAD_REQUEST, "This does not belong to the pairing that waits here.\n")
        }
        CallbackStep::Denied(word) => {
            send(Err(word));
            (StatusCode::OK, "Access was refused. The command says more.\n")
        }
        CallbackStep::Code(code) => {
            send(Ok(code));
            (StatusCode::OK, "The code has arrived. The command says whether it is good; you can close this window.\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_this_pairing_counts() {
        let of = |path: &str, query: &str| judge(path, query, "/", "s");
        assert_eq!(of("/", "code=c&state=s"), CallbackStep::Code(Secret::new("c")));
        assert_eq!(of("/", "error=access_denied&state=s"), CallbackStep::Denied("access_denied".to_owned()));
        for query in ["code=c&state=t", "code=c", "code=c&state=", "error=access_denied"] {
            assert_eq!(of("/", query), CallbackStep::ForeignState, "{query}");
        }
        assert_eq!(of("/favicon.ico", "code=c&state=s"), CallbackStep::Unknown);
        assert_eq!(of("/", ""), CallbackStep::Unknown);
    }

    #[test]
    fn it_listens_on_this_machine_only() {
        assert_eq!(loopback("http://127.0.0.1:8632/"), "127.0.0.1:8632".parse().ok());
        assert_eq!(loopback("http://localhost:8632/back"), "127.0.0.1:8632".parse().ok());
        assert_eq!(loopback("http://[::1]:8632/"), "[::1]:8632".parse().ok());
        assert_eq!(loopback("https://www.ezeep.com"), None);
    }
}
