use reqwest::tls::Certificate;

use super::*;

/// Stops the server: the connection that is open is of no use any more, and there is no other.
async fn outage(talk: &Talk) {
    let calls = talk.server.world().calls.len();
    talk.server.stop();
    drop(talk.call("GET /documents").send().await.unwrap_err());
    assert!(talk.call("GET /documents").send().await.unwrap_err().is_connect());
    assert_eq!(talk.server.world().calls.len(), calls);
}

#[tokio::test]
async fn an_outage_refuses_connections_and_the_world_outlives_it() {
    let talk = Talk::ada().await;
    let url = talk.server.url();
    for _ in 0..2 {
        assert_eq!(talk.status(talk.call("GET /documents")).await, 200);
        outage(&talk).await;
        talk.server.restart().await.unwrap();
    }
    assert_eq!(talk.server.url(), url);
    // Twice is as good as once.
    talk.server.restart().await.unwrap();
    talk.server.stop();
    talk.server.stop();
    talk.server.restart().await.unwrap();
    assert_eq!(talk.status(talk.call("GET /documents")).await, 200);
}

#[tokio::test]
async fn a_change_is_waited_for() {
    let talk = Talk::ada().await;
    talk.wait_until(|world| world.count(Call::Login) == 1).await;
    let server = talk.server.clone();
    let waiting = tokio::spawn(async move { server.wait_until(|world| !world.releases.is_empty()).await });
    talk.status(talk.call("GET /version")).await;
    assert!(!waiting.is_finished());
    let uuid = talk.uuid(0);
    let (changed, _) = tokio::join!(tokio::time::timeout(PATIENCE, talk.server.changed()), talk.release(&uuid, &[]));
    changed.expect("a call has arrived");
    tokio::time::timeout(PATIENCE, waiting).await.expect("the release is seen").unwrap();
}

async fn tls(alpn: &[&str]) -> Talk {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let trust = Certificate::from_der(made.cert.der()).unwrap();
    let client = client().tls_certs_only([trust]).build().unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let server = PrintServer::start_tls(Options::default(), config.into()).await.unwrap();
    let mut talk = Talk { server, client, key: OPEN_KEY, token: String::new() };
    talk.token = talk.login(ADA).await;
    talk
}

#[tokio::test]
async fn over_tls_the_protocol_is_negotiated_and_a_cut_is_a_cut() {
    for (alpn, version) in
        [(&["h2", "http/1.1"][..], reqwest::Version::HTTP_2), (&["http/1.1"], reqwest::Version::HTTP_11)]
    {
        let talk = tls(alpn).await;
        assert!(talk.server.url().starts_with("https://localhost:"));
        let answer = talk.call("GET /documents").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
        talk.fail(Call::Release, Kind::CutAfter);
        let line = format!("POST /documents/{}/192.0.2.10", talk.uuid(0));
        assert!(talk.form(&line, &[]).send().await.is_err());
        assert_eq!(talk.server.world().releases.len(), 1);
        outage(&talk).await;
        talk.server.restart().await.unwrap();
        assert_eq!(talk.status(talk.call("HEAD /account")).await, 200);
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_keeps_nobody_waiting() {
    let talk = tls(&["http/1.1"]).await;
    let port = talk.server.url().split([':', '/']).nth(4).unwrap().to_owned();
    let _silent = tokio::net::TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
    assert_eq!(talk.status(talk.call("HEAD /account")).await, 200);
}
