//! The trust in a server and a client, shown on real TLS: a private authority, a pin, a client certificate.

use std::fs;

use jiff::civil::date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Options, PrintServer};
use rcgen::ExtendedKeyUsagePurpose::ClientAuth;

use crate::support::tls::{Authority, Identity};
use crate::support::{limit, log, program, soon};

/// A stage with a server that `authority` vouches for, and that server's certificate.
async fn stage(authority: &Authority, wants_client: bool) -> (Scene, Identity) {
    let (tls, identity) = authority.server(wants_client);
    let server = PrintServer::start_tls(Options::default(), tls).await.unwrap();
    let scene = Scene::set_with(program(), server).unwrap();
    std::fs::write(scene.dir().join("ca.pem"), authority.pem()).unwrap();
    (scene, identity)
}

fn ca_file(scene: &Scene) -> String {
    format!("ca_file = \"{}/ca.pem\"", scene.dir().display())
}

/// The event of a tap, with these lines under `[server]`.
async fn tap_with(scene: &Scene, server: &str) -> String {
    scene.configure(server, &[]).unwrap();
    let agent = scene.start().await.unwrap();
    let event = soon(scene.tap(&agent, "linus")).await.unwrap();
    soon(agent.terminate()).await.unwrap();
    event["event"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_named() {
    let _limit = limit();
    let (scene, _) = stage(&Authority::new(), false).await;
    assert_eq!(tap_with(&scene, &ca_file(&scene)).await, "released", "{}", log(&scene));
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_is_told_nothing() {
    let _limit = limit();
    let (scene, _) = stage(&Authority::new(), false).await;
    assert_eq!(tap_with(&scene, "").await, "failed");
    std::fs::write(scene.dir().join("ca.pem"), Authority::new().pem()).unwrap();
    assert_eq!(tap_with(&scene, &ca_file(&scene)).await, "failed");
    assert!(log(&scene).contains("UnknownIssuer"), "{}", log(&scene));
    assert_eq!(scene.server.world().count(Call::Any), 0);
}

#[tokio::test]
async fn a_pin_narrows_what_the_authority_allows() {
    let _limit = limit();
    let (scene, identity) = stage(&Authority::new(), false).await;
    let pinned = |pin: &str| format!("{}\npin_sha256 = [\"{pin}\"]", ca_file(&scene));
    assert_eq!(tap_with(&scene, &pinned(&"0".repeat(64))).await, "failed");
    assert!(log(&scene).contains("pin_sha256"), "{}", log(&scene));
    assert_eq!(tap_with(&scene, &pinned(&identity.pin)).await, "released", "{}", log(&scene));
}

#[tokio::test]
async fn a_server_that_wants_to_know_who_comes_is_shown_the_client_certificate() {
    let _limit = limit();
    let authority = Authority::new();
    let (scene, _) = stage(&authority, true).await;
    assert_eq!(tap_with(&scene, &ca_file(&scene)).await, "failed");
    let client = authority.identity(&["box"], ClientAuth);
    std::fs::write(scene.dir().join("client.pem"), client.certificate).unwrap();
    let key = scene.write_secret("client.key", &client.key).unwrap();
    let dir = scene.dir().display();
    let known = format!(
        "{}\nclient_cert_file = \"{dir}/client.pem\"\nclient_key_file = \"{}\"",
        ca_file(&scene),
        key.display()
    );
    assert_eq!(tap_with(&scene, &known).await, "released", "{}", log(&scene));
}

/// Longer than a test takes, and shorter than the difference of any two clocks here.
const MOMENT: SignedDuration = SignedDuration::from_mins(10);

/// The first of January of a year that is so many years from now.
fn year(ahead: i32) -> i32 {
    i32::from(Timestamp::now().to_zoned(TimeZone::UTC).year()) + ahead
}

fn last_seen(scene: &Scene) -> Option<Timestamp> {
    let text = fs::read_to_string(scene.dir().join("state/last-seen")).ok()?;
    text.strip_prefix("proven ")?.lines().next()?.parse().ok()
}

#[tokio::test]
async fn a_box_that_a_clock_ahead_once_locked_out_comes_free_by_itself() {
    let _limit = limit();
    let (scene, _) = stage(&Authority::new().until(year(2)), false).await;
    let ten_years_ahead = date(i16::try_from(year(10)).unwrap(), 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
    fs::create_dir(scene.dir().join("state")).unwrap();
    fs::write(scene.dir().join("state/last-seen"), format!("{ten_years_ahead}\n")).unwrap();
    assert_eq!(tap_with(&scene, &ca_file(&scene)).await, "released", "{}", log(&scene));
    let (seen, now) = (last_seen(&scene).unwrap(), Timestamp::now());
    assert!(now - MOMENT < seen && seen <= now, "{seen} gives way to the time that the server told");
}

#[tokio::test]
async fn the_earliest_time_rises_only_as_far_as_server_and_box_agree_on_it() {
    let _limit = limit();
    for ahead in [SignedDuration::from_hours(-2), SignedDuration::from_hours(10 * 365 * 24)] {
        let (scene, _) = stage(&Authority::new(), false).await;
        scene.server.world().clock_offset = ahead;
        assert_eq!(tap_with(&scene, &ca_file(&scene)).await, "released", "{}", log(&scene));
        let (seen, earlier) = (last_seen(&scene).unwrap(), Timestamp::now() + ahead.min(SignedDuration::ZERO));
        assert!(earlier - MOMENT < seen && seen <= earlier, "{ahead}: {seen}");
    }
}

#[tokio::test]
async fn a_server_cannot_tell_a_time_at_which_its_own_certificate_has_expired() {
    let _limit = limit();
    let (scene, _) = stage(&Authority::new().until(year(2)), false).await;
    scene.server.world().clock_offset = SignedDuration::from_hours(10 * 365 * 24);
    assert_eq!(tap_with(&scene, &ca_file(&scene)).await, "released", "{}", log(&scene));
    assert_eq!(last_seen(&scene), None);
}
