use super::*;

#[test]
fn what_is_kept_squeezed_comes_back_as_it_was() {
    let mut scene = Scene::new();
    let first = Freight {
        record: b"helo.example.org guess1@example.org".as_slice().into(),
        ..scene.held(b"550 5.1.1 <guess1@example.org>: User unknown\r\n", 60_000)
    };
    let first = scene.park(first);
    let other = Freight {
        record: b"mail.example.org someone-else@example.org"
            .as_slice()
            .into(),
        ..scene.held(
            b"550 5.1.1 <someone-else@example.org>: User unknown\r\n",
            150,
        )
    };
    let mut said = scene.park(other.clone());
    hear(
        &mut said,
        b"550 5.1.1 <someone-else@example.org>: User unknown\r\n",
    );
    said.write_all(b"RSET\r\n").unwrap();
    let (_, back, _) = scene.back();
    assert_eq!(
        (back.record, &*back.paced),
        (other.record.clone(), &b""[..])
    );
    // One that goes before it is due has its reply still with it.
    let other = Freight {
        ticket: Some(7),
        record: other.record,
        ..scene.held(
            b"550 5.1.1 <someone-else@example.org>: User unknown\r\n",
            60_000,
        )
    };
    let _recalled = scene.park(other.clone());
    scene.link().send(&Message::Recall(vec![7]), &[]).unwrap();
    let (_, back, _) = scene.back();
    assert_eq!(back, other);
    // Else the keeper would go on until it is due.
    set_socket_linger(&first, Some(Duration::ZERO)).unwrap();
    drop(first);
    scene.end();
}
