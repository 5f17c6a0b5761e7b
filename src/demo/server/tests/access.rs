use super::*;

#[tokio::test]
async fn the_account_is_probed_without_a_key_and_a_wrong_domain_is_not_found() {
    let talk = Talk::with("").await;
    assert_eq!(talk.status(talk.call("HEAD /account")).await, 200);
    assert_eq!(talk.status(talk.call("HEAD /account?domainname=demo.example")).await, 200);
    assert_eq!(talk.status(talk.call("HEAD /account?domainname=other.example")).await, 404);
    assert_eq!(talk.status(talk.call("HEAD /account").header("Host", "other.example:7300")).await, 404);
    assert_eq!(talk.status(talk.call("GET /account")).await, 403);
    let ada = Talk::ada().await;
    assert_eq!(ada.json(ada.call("GET /account")).await["accountType"], 2);
}

#[tokio::test]
async fn without_a_known_key_or_a_user_token_everything_is_forbidden() {
    let calls =
        ["GET /version", "GET /documents", "GET /outputports", "GET /card/?cd=0025489530&Mac=00:00:5E:00:53:01"];
    for key in ["", "nonsense", OPEN_KEY] {
        let talk = Talk::with(key).await;
        for (line, status) in statuses(&talk, &calls).await {
            assert_eq!(status, 403, "{key}: {line}");
        }
        assert_eq!(talk.server.world().releases.len(), 0);
    }
}

#[tokio::test]
async fn each_authtype_names_a_user_and_the_token_stands_nested_in_snake_case() {
    let talk = Talk::with(OPEN_KEY).await;
    let login = |fields: &[(&str, &str)]| talk.form("POST /login", fields);
    for (authtype, userid) in [("1", ADA), ("2", "101"), ("3", "ada"), ("4", "ada@demo.example")] {
        let user = talk.json(login(&[("authtype", authtype), ("userid", userid)])).await;
        assert_eq!(user["userName"], "ada");
        assert_eq!(user["token"]["expires_in"], 3600);
        assert!(user["token"]["refresh_token"].is_string());
    }
    let with = |authtype, password| {
        login(&[("authtype", authtype), ("userid", if authtype == "0" { "ada" } else { ADA }), ("password", password)])
    };
    assert_eq!(talk.status(with("0", "ada-password")).await, 200);
    assert_eq!(talk.status(with("1", "1111")).await, 200);
    for (authtype, password) in [("0", "wrong"), ("1", "2222"), ("1", "")] {
        assert_eq!(talk.status(with(authtype, password)).await, 401, "{authtype} {password}");
    }
    assert_eq!(talk.status(login(&[("authtype", "0"), ("userid", "ada")])).await, 401);
    assert_eq!(talk.status(login(&[("authtype", "1"), ("userid", "0000")])).await, 401);
    assert_eq!(talk.status(login(&[("authtype", "5"), ("userid", ADA)])).await, 400);
    assert_eq!(talk.status(login(&[("authtype", "1"), ("userid", ADA), ("pin", "1")])).await, 400);
    assert_eq!(talk.status(talk.call("POST /login").body("authtype=1&userid=0025489530")).await, 400);
}

#[tokio::test]
async fn a_login_needs_a_device_token_unless_the_key_trusts_every_endpoint() {
    let mut talk = Talk::with(TRUSTED_KEY).await;
    let login = [("authtype", "1"), ("userid", ADA)];
    assert_eq!(talk.status(talk.form("POST /login", &login)).await, 403);
    talk.token = talk.server.world().device_token("box");
    assert_eq!(talk.status(talk.form("POST /login", &login)).await, 200);
    // The device token opens nothing else, and is over with its time.
    assert_eq!(talk.status(talk.call("GET /documents")).await, 403);
    talk.server.world().tokens.expire_devices();
    assert_eq!(talk.status(talk.form("POST /login", &login)).await, 403);
}

#[tokio::test]
async fn a_user_token_is_good_with_its_own_key_until_its_time() {
    let mut talk = Talk::ada().await;
    assert_eq!(talk.status(talk.call("GET /documents")).await, 200);
    talk.key = TRUSTED_KEY;
    assert_eq!(talk.status(talk.call("GET /documents")).await, 403);
    talk.key = OPEN_KEY;
    talk.server.world().clock_offset = jiff::SignedDuration::from_secs(3599);
    assert_eq!(talk.status(talk.call("GET /version")).await, 200);
    talk.server.world().clock_offset = jiff::SignedDuration::from_secs(3601);
    assert_eq!(talk.status(talk.call("GET /version")).await, 403);
}

#[tokio::test]
async fn an_insecure_key_needs_no_user_but_cannot_list_release_or_download() {
    let mut talk = Talk::with(INSECURE_KEY).await;
    assert_eq!(talk.json(talk.call("GET /version")).await["version"], "3.50.1");
    let ports = talk.json(talk.call("GET /outputports?providerid=0&username=ada")).await;
    assert_eq!((&ports[0]["address"], &ports[0]["deviceSerial"]), (&"192.0.2.10".into(), &"DEMO0001".into()));
    talk.token = talk.login(ADA).await;
    let uuid = talk.uuid(0);
    assert_eq!(talk.status(talk.call("GET /documents")).await, 403);
    assert_eq!(talk.status(talk.call(&format!("GET /documents/{uuid}.content"))).await, 403);
    assert_eq!(talk.status(talk.form(&format!("POST /documents/{uuid}/192.0.2.10"), &[])).await, 403);
}

#[tokio::test]
async fn a_user_without_the_permission_is_forbidden() {
    let talk = Talk::ada().await;
    talk.server.world().users[0].permissions.remove(&Permission::ReleaseJob);
    assert_eq!(talk.status(talk.form(&format!("POST /documents/{}/192.0.2.10", talk.uuid(0)), &[])).await, 403);
    assert_eq!(talk.status(talk.call("GET /documents")).await, 200);
    let log = talk.server.world();
    let refused = log.calls.iter().find(|called| called.call == Call::Release).unwrap();
    assert_eq!(refused.refusal.as_deref(), Some("the user lacks the permission ReleaseJob"));
}

#[tokio::test]
async fn a_card_is_registered_for_its_user_alone() {
    let talk = Talk::ada().await;
    let card = |user, number| talk.form(&format!("POST /users/{user}/cards"), &[("cardid", number)]);
    assert_eq!(talk.json(card("ada", "777")).await["errorCode"], 0);
    assert_eq!(talk.server.world().users[0].cards, [ADA, "777"]);
    assert_eq!(talk.json(card("ada", "2490285352")).await["errorCode"], 1005);
    assert_eq!(talk.status(card("grace", "778")).await, 403);
    assert_eq!(talk.status(card("ada", "")).await, 400);
}

#[tokio::test]
async fn a_users_refresh_token_is_good_once_on_either_path() {
    let talk = Talk::with(OPEN_KEY).await;
    let login = || talk.json(talk.form("POST /login", &[("authtype", "3"), ("userid", "ada")]));
    let old = login().await["token"]["refresh_token"].as_str().unwrap().to_owned();
    let line = format!("GET /token?refresh_token={old}");
    let fresh = talk.json(talk.call(&line)).await;
    assert_eq!(talk.status(talk.call(&line)).await, 403);
    assert_eq!(talk.status(talk.call("GET /token")).await, 400);
    assert_eq!(
        talk.status(talk.call("GET /documents").bearer_auth(fresh["access_token"].as_str().unwrap())).await,
        200
    );

    let fresh = fresh["refresh_token"].as_str().unwrap();
    let oauth = |client_id, key| {
        let fields = [
            ("client_id", client_id),
            ("client_secret", key),
            ("grant_type", "refresh_token"),
            ("refresh_token", fresh),
        ];
        talk.json(talk.form("POST //oauth/v1/token", &fields))
    };
    assert_eq!(oauth("ada", OPEN_KEY).await["error"], "invalid_grant");
    assert_eq!(oauth("api", TRUSTED_KEY).await["error"], "invalid_grant");
    assert_eq!(oauth("api", OPEN_KEY).await["token_type"], "Bearer");
    assert_eq!(oauth("api", OPEN_KEY).await["error"], "invalid_grant");
}

#[tokio::test]
async fn what_the_documents_do_not_have_is_not_found() {
    let talk = Talk::ada().await;
    let lines = [
        "GET /nothing",
        "GET //elsewhere",
        "PUT /login",
        "HEAD /version",
        "HEAD /card/?cd=0025489530&Mac=00:00:5E:00:53:01",
        "GET /documents/",
        "GET /documents/x",
    ];
    for (line, status) in statuses(&talk, &lines).await {
        assert_eq!(status, 404, "{line}");
    }
    assert_eq!(talk.server.world().releases.len(), 0);
    let malformed = talk.call("POST /login").header("Content-Type", "application/x-www-form-urlencoded");
    let answer = malformed.body("authtype=1&userid=1&{\"cardid\":\"4711\"}").send().await.unwrap();
    assert!(!answer.text().await.unwrap().contains("4711"));
}
