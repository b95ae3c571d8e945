//! Commands that were read and not looked at yet go along with their session.

use super::super::parcels;
use super::*;
use crate::conn::Conn;

#[tokio::test]
async fn are_answered_where_it_goes() {
    let (old, new) = (House::start().await, House::start().await);
    let mut client = old.held(1).await.remove(0);
    assert_eq!(client.code().await, "550");
    let shared = new.shared();
    let (mut held, socket) = hand_all_over(&old).await.remove(0);
    assert!(held.freight.flags.listens);
    // As it is between two steps, if it sent more than one of them looks at.
    let mut conn = Conn::thaw(&held.freight.record, &shared).unwrap();
    conn.unread.extend_from_slice(b"NOOP\r\nNOOP\r\n");
    let mut record = Vec::new();
    conn.freeze(&mut record).unwrap();
    conn.place.into_held();
    held.freight.record = record.into();

    parcels::take(&shared, held, socket);
    for _ in 0..2 {
        assert_eq!(client.code().await, "250");
    }
    client.told("QUIT", "221").await;
    empty(&shared).await;
}
