use std::time::Duration;

use jiff::SignedDuration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// Sends a release by hand and gives all bytes that come back before the connection ends.
async fn raw_release(talk: &Talk, uuid: &str) -> Vec<u8> {
    let authority = talk.server.url().split('/').nth(2).unwrap().to_owned();
    let mut stream = TcpStream::connect(&authority).await.unwrap();
    let request = format!(
        "POST /api/v1/documents/{uuid}/192.0.2.10 HTTP/1.1\r\nHost: {authority}\r\nX-Api-Key: {}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n\r\n",
        talk.key, talk.token
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn a_cut_closes_the_connection_without_a_byte_before_or_after_the_work() {
    let talk = Talk::ada().await;
    for (index, kind, released) in [(0, Kind::CutBefore, 0), (1, Kind::CutAfter, 1)] {
        talk.fail(Call::Release, kind);
        let uuid = talk.uuid(index);
        assert_eq!(raw_release(&talk, &uuid).await, b"", "{kind:?}");
        assert_eq!(talk.server.world().times_released(&uuid), released, "{kind:?}");
        assert_eq!(talk.server.world().calls.last().unwrap().status, None);
    }
    assert_eq!(talk.release(&talk.uuid(0), &[]).await, 0);
}

#[tokio::test]
async fn late_work_is_done_after_the_connection_was_cut_and_a_second_request_before_is_remembered() {
    let talk = Talk::ada().await;
    let (soon, never) = (talk.uuid(0), talk.uuid(1));
    for (uuid, time) in [(&soon, Duration::from_millis(1)), (&never, Duration::MAX)] {
        talk.fail(Call::Release, Kind::Late(time));
        assert_eq!(raw_release(&talk, uuid).await, b"");
    }
    talk.wait_until(|world| world.times_released(&soon) == 1).await;
    assert_eq!(talk.server.world().document(&never).unwrap().status, Status::Ready);
    assert!(talk.server.world().repeated.is_empty());
    talk.release(&never, &[]).await;
    talk.release(&soon, &[]).await;
    assert_eq!(talk.server.world().repeated, [never, soon]);
}

#[tokio::test]
async fn a_document_that_was_kept_may_be_asked_for_by_the_next_login_only() {
    let mut talk = Talk::ada().await;
    let uuid = talk.uuid(0);
    talk.release(&uuid, &[("retain", "true")]).await;
    talk.token.clear();
    talk.token = talk.login(ADA).await;
    talk.release(&uuid, &[("retain", "true")]).await;
    assert!(talk.server.world().repeated.is_empty());
    talk.release(&uuid, &[("retain", "true")]).await;
    assert_eq!(talk.server.world().repeated, [uuid]);
}

#[tokio::test]
async fn a_call_that_hangs_is_done_and_ends_with_an_outage() {
    let talk = Talk::ada().await;
    talk.fail(Call::Release, Kind::HangAfter);
    let uuid = talk.uuid(0);
    let line = format!("POST /documents/{uuid}/192.0.2.10");
    let hanging = tokio::spawn(talk.form(&line, &[]).send());
    talk.wait_until(|world| world.calls.last().is_some_and(|called| called.call == Call::Release && called.done)).await;
    assert_eq!(talk.server.world().times_released(&uuid), 1);
    assert!(!hanging.is_finished());
    talk.server.stop();
    assert!(hanging.await.unwrap().is_err());
}

#[tokio::test]
async fn damaged_answers_come_after_the_work() {
    let talk = Talk::ada().await;
    for (index, kind) in [(0, Kind::Garbage), (1, Kind::WrongType)] {
        talk.fail(Call::Release, kind);
        let uuid = talk.uuid(index);
        let line = format!("POST /documents/{uuid}/192.0.2.10");
        let answer = talk.form(&line, &[]).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &"application/json".parse().unwrap())
        );
        let value: Result<Value, _> = serde_json::from_str(&answer.text().await.unwrap());
        assert_eq!(value.is_ok(), kind == Kind::WrongType);
        assert!(value.map_or(true, |value| value.is_array()));
        assert_eq!(talk.server.world().times_released(&uuid), 1);
    }
}

#[tokio::test]
async fn an_endless_body_never_ends() {
    let talk = Talk::ada().await;
    talk.fail(Call::List, Kind::HugeBody);
    let mut answer = talk.call("GET /documents").send().await.unwrap();
    assert_eq!(answer.content_length(), None);
    let mut size = 0;
    while size < 32 << 20 {
        size += answer.chunk().await.unwrap().unwrap().len();
    }
}

#[tokio::test]
async fn a_status_or_an_error_code_comes_without_the_work() {
    let talk = Talk::ada().await;
    let line = format!("POST /documents/{}/192.0.2.10", talk.uuid(0));
    talk.fail(Call::Any, Kind::Status { code: 503, retry_after: Some(7) });
    let answer = talk.form(&line, &[]).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (503, "7"));
    talk.fail(Call::Release, Kind::ErrorCode(1042));
    assert_eq!(talk.release(&talk.uuid(0), &[]).await, 1042);
    assert_eq!(talk.server.world().releases.len(), 0);
}

#[tokio::test]
async fn an_expired_token_is_forbidden_and_can_be_refreshed() {
    let mut talk = Talk::with(OPEN_KEY).await;
    let user = talk.json(talk.form("POST /login", &[("authtype", "1"), ("userid", ADA)])).await;
    let token = |pair: &Value, name: &str| pair[name].as_str().unwrap().to_owned();
    talk.token = token(&user["token"], "access_token");
    talk.fail(Call::List, Kind::ExpiredToken);
    for _ in 0..2 {
        assert_eq!(talk.status(talk.call("GET /documents")).await, 403);
    }
    let refresh = token(&user["token"], "refresh_token");
    talk.token = token(&talk.json(talk.call(&format!("GET /token?refresh_token={refresh}"))).await, "access_token");
    assert_eq!(talk.status(talk.call("GET /documents")).await, 200);
    talk.server.world().tokens.expire_users();
    assert_eq!(talk.status(talk.call("GET /documents")).await, 403);
}

#[tokio::test]
async fn a_delay_holds_the_work_back() {
    let talk = Talk::ada().await;
    let uuid = talk.uuid(0);
    talk.fail(Call::Release, Kind::Delay(Duration::from_millis(1)));
    assert_eq!(talk.release(&uuid, &[("retain", "true")]).await, 0);
    talk.fail(Call::Release, Kind::Delay(Duration::MAX));
    let waiting = tokio::spawn(talk.form(&format!("POST /documents/{uuid}/192.0.2.10"), &[]).send());
    talk.wait_until(|world| world.count(Call::Release) == 2).await;
    talk.server.stop();
    assert!(waiting.await.unwrap().is_err());
    assert_eq!(talk.server.world().times_released(&uuid), 1);
}

#[tokio::test]
async fn a_fault_befalls_its_own_call_as_often_as_it_says_in_order() {
    let talk = Talk::ada().await;
    let status = |code| Kind::Status { code, retry_after: None };
    let fault = |call, times, code| ServerFault { call, times, kind: status(code) };
    let faults = [fault(Call::Version, 1, 500), fault(Call::List, 2, 502), fault(Call::Any, usize::MAX, 599)];
    talk.server.world().faults.extend(faults);
    for expected in [502, 502, 599, 599] {
        assert_eq!(talk.status(talk.call("GET /documents")).await, expected);
    }
    assert_eq!(talk.status(talk.call("GET /version")).await, 500);
    talk.server.world().faults.clear();
    assert_eq!(talk.status(talk.call("GET /version")).await, 200);
}

#[tokio::test]
async fn a_date_can_be_wrong_or_missing_and_the_work_is_done() {
    let talk = Talk::ada().await;
    for (odd, expected) in
        [(None, None), (Some(SignedDuration::from_hours(1)), Some(60)), (Some(SignedDuration::ZERO), Some(0))]
    {
        talk.fail(Call::List, Kind::Date(odd));
        let answer = talk.call("GET /documents").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let date = answer.headers().get("date").map(|date| date.to_str().unwrap().to_owned());
        let minutes = date.map(|date| {
            let date = jiff::fmt::rfc2822::parse(&date).unwrap().timestamp();
            (talk.server.world().now().duration_until(date).as_secs() + 30).div_euclid(60)
        });
        assert_eq!(minutes, expected);
    }
}
