use super::*;

#[tokio::test]
async fn a_user_lists_the_waiting_documents_of_his_own() {
    let talk = Talk::ada().await;
    let list = talk.json(talk.call("GET /documents")).await;
    assert_eq!(list.as_array().unwrap().len(), 4);
    let first = &list[0];
    assert_eq!((&first["totalPages"], &first["duplex"], &first["status"]), (&12.into(), &1.into(), &0.into()));
    assert!(first["dateTime"].as_i64().unwrap() > 1_700_000_000_000);
    assert!(first.get("outputPortId").is_none());
    assert_eq!(first["tags"][0]["tagType"], 0);
}

#[tokio::test]
async fn statuses_are_repeated_and_a_comma_list_is_not_found() {
    let talk = Talk::ada().await;
    talk.server.world().documents[0].status = Status::Stored;
    talk.server.world().documents[1].status = Status::Failed;
    let list = talk.json(talk.call("GET /documents?status=9&status=0")).await;
    assert_eq!(titles(&list)[0], "Notes on the Analytical Engine.pdf");
    assert_eq!(list.as_array().unwrap().len(), 3);
    let refused = [
        "status=0,9",
        "status=10",
        "status=READY",
        "maxrecords=5",
        "maxRecords=many",
        "maxRecords=1&maxRecords=2",
        "user=ada",
    ];
    for query in refused {
        assert_eq!(talk.status(talk.call(&format!("GET /documents?{query}"))).await, 404, "{query}");
    }
}

#[tokio::test]
async fn a_list_has_fifty_documents_unless_another_number_up_to_500_is_asked_for() {
    let talk = Talk::ada().await;
    let more = (0..600).map(|_| ServerDocument::new("ada", "many", 1, jiff::Timestamp::UNIX_EPOCH));
    talk.server.world().documents.extend(more);
    for (query, expected) in [("", 50), ("?maxRecords=500", 500), ("?maxRecords=1", 1)] {
        let list = talk.json(talk.call(&format!("GET /documents{query}"))).await;
        assert_eq!(list.as_array().unwrap().len(), expected);
    }
    for query in ["501", "0"] {
        assert_eq!(talk.status(talk.call(&format!("GET /documents?maxRecords={query}"))).await, 400);
    }
}

#[tokio::test]
async fn a_release_prints_a_document_once_and_is_logged_with_its_options() {
    let talk = Talk::ada().await;
    let uuid = talk.uuid(0);
    let options = [("copies", "2"), ("grayscale", "true"), ("duplex", "0")];
    assert_eq!(talk.release(&uuid, &options).await, 0);
    assert_eq!(talk.release(&uuid, &[]).await, 1001);
    let world = talk.server.world();
    assert_eq!(world.document(&uuid).unwrap().status, Status::Printed);
    assert_eq!(world.times_released(&uuid), 1);
    let expected = PrintOptions { copies: Some(2), grayscale: Some(true), retain: false, duplex: Some(SIMPLEX) };
    assert_eq!((&world.releases[0].options, world.releases[0].port.as_str()), (&expected, "Lobby"));
    assert_eq!(world.waiting("ada").count(), 3);
}

#[tokio::test]
async fn a_retained_document_is_released_again() {
    let talk = Talk::ada().await;
    let uuid = talk.uuid(0);
    for times in 1..=2 {
        assert_eq!(talk.release(&uuid, &[("retain", "true")]).await, 0);
        assert_eq!(talk.server.world().times_released(&uuid), times);
    }
    assert_eq!(talk.server.world().document(&uuid).unwrap().status, Status::Ready);
}

#[tokio::test]
async fn a_release_without_the_content_type_of_a_form_is_refused() {
    let talk = Talk::ada().await;
    let line = format!("POST /documents/{}/192.0.2.10", talk.uuid(0));
    assert_eq!(talk.status(talk.call(&line)).await, 400);
    assert_eq!(talk.status(talk.call(&line).header("Content-Type", "application/json").body("{}")).await, 400);
    for field in [("copies", "0"), ("copies", "two"), ("duplex", "3"), ("grayscale", "yes"), ("color", "true")] {
        assert_eq!(talk.status(talk.form(&line, &[field])).await, 400, "{field:?}");
    }
    assert_eq!(talk.server.world().releases.len(), 0);
    assert_eq!(talk.status(talk.form(&line, &[])).await, 200);
}

#[tokio::test]
async fn a_port_is_named_by_its_address_or_serial_number_percent_encoded() {
    let talk = Talk::ada().await;
    talk.server.world().ports[0].device_serial = "SN 1/ä+".into();
    talk.server.world().ports[0].address = "2001:db8::10".into();
    for (index, port) in [(0, "SN%201%2F%C3%A4+"), (1, "2001%3Adb8%3A%3A10"), (2, "2001:db8::10")] {
        let line = format!("POST /documents/{}/{port}", talk.uuid(index));
        assert_eq!(talk.json(talk.form(&line, &[])).await["errorCode"], 0, "{port}");
    }
    let line = format!("POST /documents/{}/192.0.2.99", talk.uuid(3));
    assert_eq!(talk.status(talk.form(&line, &[])).await, 400);
    assert_eq!(talk.status(talk.form(&line.replace("192.0.2.99", "%ff"), &[])).await, 400);
}

#[tokio::test]
async fn what_is_unknown_of_others_or_not_ready_is_an_error_code_in_a_200() {
    let talk = Talk::ada().await;
    assert_eq!(talk.release("no-such-uuid", &[]).await, 1001);
    assert_eq!(talk.release(&talk.uuid(4), &[]).await, 1001);
    talk.server.world().ports[0].ready = false;
    assert_eq!(talk.release(&talk.uuid(0), &[]).await, 1042);
    assert_eq!(talk.server.world().releases.len(), 0);
}

#[tokio::test]
async fn a_download_consumes_the_document_unless_it_is_retained() {
    let talk = Talk::ada().await;
    let line = format!("GET /documents/{}.content", talk.uuid(0));
    let bytes = |response: Response| response.bytes();
    let kept = talk.call(&format!("{line}?retain=true")).send().await.unwrap();
    let kept = bytes(kept).await.unwrap();
    assert_eq!(kept, talk.server.world().documents[0].content);
    assert!(kept.starts_with(b"%!PS"));
    assert_eq!(talk.status(talk.call(&line)).await, 200);
    assert_eq!(talk.server.world().documents[0].status, Status::Printed);
    assert_eq!(talk.status(talk.call(&line)).await, 404);
    assert_eq!(talk.server.world().downloads.len(), 2);
    assert_eq!(talk.server.world().releases.len(), 0);
    let other = format!("GET /documents/{}.content", talk.uuid(1));
    assert_eq!(talk.status(talk.call(&format!("{other}?copies=0"))).await, 400);
    talk.server.world().documents[1].storage_online = false;
    assert_eq!(talk.status(talk.call(&other)).await, 503);
}

#[tokio::test]
async fn a_document_is_deleted_once() {
    let talk = Talk::ada().await;
    let line = format!("DELETE /documents/{}", talk.uuid(0));
    assert_eq!(talk.json(talk.call(&line)).await["errorCode"], 0);
    assert_eq!(talk.json(talk.call(&line)).await["errorCode"], 1002);
    assert_eq!(talk.server.world().documents[0].status, Status::Deleted);
}

#[tokio::test]
async fn the_card_call_prints_all_that_waits_with_its_parameters_in_the_query() {
    let talk = Talk::with(INSECURE_KEY).await;
    let query = format!("cd={ADA}&Mac={READER_MAC}");
    assert_eq!(talk.status(talk.call("POST /card").body(query.clone())).await, 400);
    assert_eq!(talk.status(talk.call(&format!("GET /card/?cd=1&Mac={READER_MAC}"))).await, 400);
    assert_eq!(talk.status(talk.call(&format!("GET /card/?cd={ADA}&Mac=1"))).await, 400);
    assert_eq!(talk.status(talk.call(&format!("GET /card/?cd={ADA}&mac={READER_MAC}"))).await, 400);
    assert_eq!(talk.server.world().releases.len(), 0);
    assert_eq!(talk.status(talk.call(&format!("POST /card?{query}"))).await, 200);
    assert_eq!(talk.status(talk.call(&format!("GET /card/?{query}"))).await, 200);
    let world = talk.server.world();
    assert_eq!(world.releases.len(), 4);
    assert!(world.releases.iter().all(|release| release.by_card && release.user_name == "ada"));
    assert!(world.calls.iter().all(|called| !called.path.contains(ADA)));
}
