use super::*;

/// It is told whose sessions there are before it has greeted; and meanwhile some may have waited long
/// enough for any front.
#[test]
fn a_front_that_has_not_greeted_hears_who_is_gone() {
    let mut scene = Scene::with(100, Duration::from_secs(2));
    let freight = scene.held(b"550 no\r\n", 50);
    let mut client = scene.park(freight);
    hear(&mut client, b"550 no\r\n");
    scene.lose_front();
    client.write_all(b"RSET\r\n").unwrap();
    let mut counted = 0;
    while let Some(line) = place::knock(scene.folder.path(), 1).unwrap() {
        let mut link = Link::new(line);
        wait(&link);
        // The keeper may not have noticed yet that the old one is gone, and then turns us away.
        if let Ok(Some(packet)) = link.receive() {
            counted += count(&packet.message);
            scene.link = Some(link);
            break;
        }
    }
    hear_end(&mut client, FAREWELL);
    while counted > 0 {
        wait(scene.link());
        if let Some(packet) = scene.link().receive().unwrap() {
            counted += count(&packet.message);
        }
    }
    assert_eq!(counted, 0);
    scene.end();
}

fn wait(link: &Link) {
    let mut watched = [PollFd::new(link, PollFlags::IN)];
    let time = Timespec::try_from(Duration::from_secs(20)).unwrap();
    assert!(poll(&mut watched, Some(&time)).unwrap() > 0, "silence");
}

/// By how many sessions there are more than before.
fn count(message: &Message) -> isize {
    let number = |all: usize| isize::try_from(all).unwrap();
    match message {
        Message::Holds(sources) => number(sources.len()),
        Message::Gone(parcels) => -number(parcels.len()),
        _ => 0,
    }
}
