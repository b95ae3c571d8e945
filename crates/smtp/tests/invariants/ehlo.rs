//! Announcements of an upstream: what is read prints as itself, and clients are never offered more than there is.

use tarpit_smtp::{Capabilities, Extension, Extensions, Offer, Reply, ReplyCode};

/// The lines of the input are the lines of a reply to EHLO; an empty one parts two servers. The first octet is the
/// gateway's own side.
pub(crate) fn check(input: &[u8]) {
    let (first, rest) = input.split_first().unwrap_or((&0, input));
    let offer = Offer {
        starttls: first & 1 != 0,
        auth: first & 2 != 0,
        require_tls: first & 4 != 0,
        xclient: first & 8 != 0,
        secured: first & 16 != 0,
        size_max: u64::from(first >> 5) * 1000,
        recipients_max: u32::from(first >> 5) * 100,
    };
    let text = String::from_utf8_lossy(rest);
    let (a, b) = text.split_once("\n\n").unwrap_or((&text, ""));
    let [a, b] = [a, b]
        .map(|text| Capabilities::from_ehlo(&Reply::new(ReplyCode::OK, &format!("mx\n{text}"))));
    prints_as_itself(&a);
    offers_no_more(&a, &offer);
    let both = Capabilities::common(&a, &b);
    assert_eq!(Capabilities::common(&a, &a), a);
    let commuted = Capabilities::common(&b, &a);
    assert_eq!(both.to_ehlo(""), commuted.to_ehlo(""));
    let limits = [Extension::Limits].into_iter().collect();
    for one in [&a, &b] {
        assert!(one.offers().union(limits).contains_all(both.offers()));
        assert!(
            both.size
                .is_none_or(|size| fits(size, one.size.unwrap_or(0)))
        );
        assert!(one.auth.contains_all(both.auth) && one.xclient.contains_all(both.xclient));
    }
    offers_no_more(&both, &offer);
}

fn prints_as_itself(set: &Capabilities) {
    let again = Capabilities::from_ehlo(&set.to_ehlo("mx.example.org"));
    let expected = Capabilities {
        others: Vec::new(),
        ..set.clone()
    };
    assert_eq!(again, expected);
}

fn offers_no_more(set: &Capabilities, offer: &Offer) {
    let ours = set.restricted(offer);
    prints_as_itself(&ours);
    let own: Extensions = [Extension::StartTls, Extension::Xclient, Extension::Limits]
        .into_iter()
        .collect();
    assert!(set.offers().union(own).contains_all(ours.offers()));
    assert!(!ours.starttls || (offer.starttls && !offer.secured));
    assert!(!ours.require_tls || (offer.require_tls && offer.secured));
    assert!(ours.auth.is_empty() || offer.auth);
    assert!(offer.xclient || ours.xclient.is_empty());
    assert!(!ours.binary_mime || ours.chunking);
    assert!(!ours.smtp_utf8 || ours.eight_bit_mime);
    assert!(ours.size.is_none_or(|size| fits(size, offer.size_max)));
    let rcpt_max = ours.limits.rcpt_max.unwrap_or(u32::MAX);
    assert!(offer.recipients_max == 0 || rcpt_max <= offer.recipients_max);
    assert!(ours.others.is_empty());
}

/// Whether `size` promises no more than `max` holds; 0 is no limit.
fn fits(size: u64, max: u64) -> bool {
    max == 0 || (size != 0 && size <= max)
}
