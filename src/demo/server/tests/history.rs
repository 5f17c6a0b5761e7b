use super::*;

async fn count(talk: &Talk, query: &str) -> usize {
    talk.json(talk.call(&format!("GET /documents/history?{query}"))).await["documents"].as_array().unwrap().len()
}

#[tokio::test]
async fn each_accepted_record_is_a_row_of_its_own() {
    let talk = Talk::ada().await;
    let fields = [
        ("jobtype", "PRINT"),
        ("title", "Plan"),
        ("totalpages", "7"),
        ("colorpages", "2"),
        ("papersize", "A3"),
        ("duplex", "true"),
        ("serialnumber", "DEMO0001"),
    ];
    for _ in 0..2 {
        assert_eq!(talk.status(talk.form("POST /documents/history", &fields)).await, 200);
    }
    let world = talk.server.world();
    let [first, second] = &world.records[..] else { panic!("{} records", world.records.len()) };
    assert_ne!(first.uuid, second.uuid);
    assert_eq!((first.user_name.as_str(), first.status, first.job_type), ("ada", Status::Printed, JobType::Print));
    assert_eq!((first.total_pages, first.color_pages, first.duplex), (7, 2, LONG_EDGE));
    assert_eq!(first.output_port_name.as_deref(), Some("Lobby"));
}

#[tokio::test]
async fn a_record_needs_a_job_type_and_nothing_that_is_not_documented() {
    let talk = Talk::ada().await;
    let refused = [
        &[][..],
        &[("jobtype", "PLOT")],
        &[("jobtype", "print")],
        &[("jobtype", "COPY"), ("totalpages", "some")],
        &[("jobtype", "COPY"), ("duplex", "1")],
        &[("jobtype", "COPY"), ("copies", "1")],
        &[("jobtype", "COPY"), ("serialnumber", "unknown")],
        &[("jobtype", "COPY"), ("datetime", "2026-01-01T00:00:00+00:00")],
    ];
    for fields in refused {
        assert_eq!(talk.status(talk.form("POST /documents/history", fields)).await, 400, "{fields:?}");
    }
    assert_eq!(talk.status(talk.call("POST /documents/history").body("jobtype=COPY")).await, 400);
    assert_eq!(talk.server.world().records.len(), 0);
    for kind in ["PRINT", "COPY", "SCAN", "FAX"] {
        assert_eq!(talk.status(talk.form("POST /documents/history", &[("jobtype", kind)])).await, 200);
    }
}

#[tokio::test]
async fn a_newer_server_takes_the_time_of_the_job() {
    let talk = Talk::ada().await;
    talk.server.world().history_datetime = true;
    let fields = [("jobtype", "COPY"), ("datetime", "2026-01-01T02:00:00+02:00")];
    assert_eq!(talk.status(talk.form("POST /documents/history", &fields)).await, 200);
    assert_eq!(talk.server.world().records[0].date_time.to_string(), "2026-01-01T00:00:00Z");
}

#[tokio::test]
async fn the_user_of_a_record_comes_from_the_token_or_is_named() {
    let copy = |extra: &[(&'static str, &'static str)]| [&[("jobtype", "COPY")], extra].concat();
    let named = copy(&[("username", "grace"), ("providerid", "65")]);
    let mut talk = Talk::with(OPEN_KEY).await;
    assert_eq!(talk.status(talk.form("POST /documents/history", &copy(&[("username", "grace")]))).await, 200);
    assert_eq!(talk.status(talk.form("POST /documents/history", &copy(&[]))).await, 400);
    assert_eq!(talk.status(talk.form("POST /documents/history", &copy(&[("username", "nobody")]))).await, 400);
    assert_eq!(talk.server.world().records[0].user_name, "grace");

    talk.key = TRUSTED_KEY;
    assert_eq!(talk.status(talk.form("POST /documents/history", &named)).await, 403);
    talk.token = talk.server.world().device_token("box");
    assert_eq!(talk.status(talk.form("POST /documents/history", &copy(&[("username", "grace")]))).await, 400);
    assert_eq!(talk.status(talk.form("POST /documents/history", &named)).await, 200);
    talk.server.world().tokens.expire_devices();
    assert_eq!(talk.status(talk.form("POST /documents/history", &named)).await, 401);
    assert_eq!(talk.server.world().records.len(), 2);
}

#[tokio::test]
async fn released_documents_stand_beside_the_records_under_their_own_uuid() {
    let talk = Talk::ada().await;
    let uuid = talk.uuid(0);
    talk.release(&uuid, &[]).await;
    talk.status(talk.form("POST /documents/history", &[("jobtype", "COPY")])).await;
    let printed = talk.json(talk.call("GET /documents/history?username=ada&status=1")).await;
    assert_eq!(printed["recordsOnPage"], 2);
    assert_eq!(printed["documents"][0]["uuid"], uuid.as_str());
    assert_eq!(printed["documents"][0]["outputPortName"], "Lobby");
    assert_eq!((&printed["documents"][1]["jobType"], &printed["nextPageToken"]), (&"COPY".into(), &"".into()));
    for (query, expected) in [
        ("", 9),
        ("status=0", 7),
        ("status=0&status=1", 9),
        ("jobtype=PRINT&username=ada", 4),
        ("portname=Lobby", 1),
        ("username=Ada", 0),
    ] {
        assert_eq!(count(&talk, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn a_printed_document_looks_like_a_record_and_a_row_names_its_port_where_the_server_does_so() {
    let talk = Talk::ada().await;
    talk.release(&talk.uuid(0), &[]).await;
    talk.status(talk.form("POST /documents/history", &[("jobtype", "PRINT"), ("address", "192.0.2.10")])).await;
    for (named, expected) in [(true, "Lobby".into()), (false, Value::Null)] {
        talk.server.world().history_ports = named;
        let rows = talk.json(talk.call("GET /documents/history?username=ada&status=1")).await;
        assert_eq!(rows["recordsOnPage"], 2);
        for row in rows["documents"].as_array().unwrap() {
            assert_eq!((&row["outputPortName"], &row["storageOnline"]), (&expected, &false.into()), "{row}");
        }
    }
}

#[tokio::test]
async fn rows_fall_into_a_window_of_a_week_at_most_by_their_creation() {
    let talk = Talk::ada().await;
    let at = |text: &str| ServerDocument::new("ada", "old", 1, text.parse().unwrap());
    let old = ["2026-01-01T00:00:00.5Z", "2026-01-04T00:00:00Z", "2026-01-08T00:00:01Z"].map(at);
    talk.server.world().documents.extend(old);
    let window = |start: &str, end: &str| format!("datestart=2026-01-{start}Z&dateend=2026-01-{end}Z");
    assert_eq!(count(&talk, &window("01T00:00:00.5", "08T00:00:00.5")).await, 2);
    assert_eq!(count(&talk, &window("01T00:00:01", "08T00:00:01")).await, 2);
    assert_eq!(count(&talk, "dateend=2026-01-08T12:00:00Z").await, 1);
    let refused = [
        &window("01T00:00:00", "08T00:00:01"),
        &window("02T00:00:00", "02T00:00:00"),
        &window("03T00:00:00", "02T00:00:00"),
        "datestart=2026-01-01T00:00:00Z",
        "datestart=yesterday",
    ];
    for query in refused {
        assert_eq!(talk.status(talk.call(&format!("GET /documents/history?{query}"))).await, 400, "{query}");
    }
}

#[tokio::test]
async fn pages_have_exactly_maxrecords_rows_and_are_continued_by_their_token_alone() {
    let talk = Talk::ada().await;
    let mut page = talk.json(talk.call("GET /documents/history?maxrecords=3")).await;
    let mut seen = Vec::new();
    loop {
        assert!(seen.len() < 10, "the pages come to an end: {seen:?}");
        seen.push(page["recordsOnPage"].as_u64().unwrap());
        let token = page["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
        assert_eq!(
            talk.status(talk.call(&format!("GET /documents/history?pagetoken={token}&maxrecords=3"))).await,
            400
        );
        page = talk.json(talk.call(&format!("GET /documents/history?pagetoken={token}"))).await;
    }
    assert_eq!(seen, [3, 3, 2]);
    for query in [
        "pagetoken=unknown",
        "nextPageToken=",
        "maxrecords=0",
        "maxrecords=2001",
        "maxRecords=5",
        "status=0,1",
        "domainname=other.example",
    ] {
        assert_eq!(talk.status(talk.call(&format!("GET /documents/history?{query}"))).await, 400, "{query}");
    }
}

#[tokio::test]
async fn the_history_is_for_a_key_with_the_permission_on_a_customer_account() {
    let mut talk = Talk::with(TRUSTED_KEY).await;
    assert_eq!(count(&talk, "").await, 8);
    talk.token = "expired".into();
    assert_eq!(talk.status(talk.call("GET /documents/history")).await, 403);
    talk.token = talk.server.world().device_token("box");
    assert_eq!(count(&talk, "").await, 8);
    talk.key = AUTO_TRUST_KEY;
    assert_eq!(talk.status(talk.call("GET /documents/history")).await, 403);
    talk.key = TRUSTED_KEY;
    talk.server.world().account_type = AccountType::Vendor;
    assert_eq!(talk.status(talk.call("GET /documents/history")).await, 400);
}
