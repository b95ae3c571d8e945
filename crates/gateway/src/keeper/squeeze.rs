//! Octets kept small by what they have in common with those of others.
//!
//! What a keeper keeps of its sessions is much alike: the same listener, the same words of a reply,
//! the same domain, and a name that its client guessed stands in the record and in the reply. A
//! [`Sample`] is what one of them looks like; of each other one, only what is not in the sample, and
//! not earlier in itself, is kept. It promises that what comes back is what went in, whatever the
//! sample is: a client that makes itself the sample with something odd costs the others what they
//! would have cost without one.
//!
//! Nobody but the process that wrote it reads it, so it has no version.
//!
//! ```text
//! 0lllllll, l + 1 octets        these octets
//! 1lllllll, 2 octets: p         l + 4 octets as they stand at p, counted from the sample's first
//! ```
//!
//! Rejected: a general compressor with a dictionary (DEFLATE, Zstandard: another dependency, and
//! state of tens of KiB for each call); words that are known beforehand (a keeper knows no SMTP, and
//! an upstream may say what it likes).

use super::message::Unreadable;

/// The most that a sample keeps: more than a session whose names are of the greatest length has.
const SAMPLE_MAX: usize = 4096;

/// What takes three octets to point at is not pointed at for less.
const COPY_MIN: usize = 4;

/// In seven bits.
const COPY_MAX: usize = COPY_MIN + 0x7f;
const PLAIN_MAX: usize = 0x80;

/// The first bit of what is pointed at.
const COPY: u8 = 0x80;

/// Places remembered, by a hash of the four octets that begin there.
const PLACES: usize = 1024;

/// No place.
const NONE: u16 = u16::MAX;

/// What others look like.
#[derive(Debug)]
pub(super) struct Sample {
    octets: Box<[u8]>,
    /// Where in it four octets stand.
    places: Box<[u16]>,
}

impl Sample {
    /// Others look like this.
    pub(super) fn new(octets: &[u8]) -> Self {
        let octets: Box<[u8]> = octets.get(..SAMPLE_MAX).unwrap_or(octets).into();
        let mut places = vec![NONE; PLACES].into_boxed_slice();
        for at in 0..octets.len() {
            note(&mut places, &octets, at);
        }
        Self { octets, places }
    }

    /// Appends `plain` to `into`, squeezed.
    pub(super) fn squeeze(&self, plain: &[u8], into: &mut Vec<u8>) {
        let before = self.octets.len();
        let all = [&*self.octets, plain].concat();
        let mut places = self.places.clone();
        let (mut at, mut told) = (before, before);
        // Where what is alike goes on if what differs is as long as there.
        let mut beside = 0;
        while at < all.len() {
            let noted = slot(&all, at).and_then(|slot| places.get(slot).copied());
            note(&mut places, &all, at);
            let beside_it = u16::try_from(beside).unwrap_or(NONE);
            let found = [Some(beside_it), noted].into_iter().flatten();
            let found = found.map(|place| (place, alike(&all, place, at)));
            let longest = found.max_by_key(|(_, length)| *length);
            let Some((place, length)) = longest.filter(|(_, length)| *length >= COPY_MIN) else {
                at += 1;
                beside += 1;
                continue;
            };
            put_plain(&all[told..at], into);
            into.push(COPY | u8::try_from(length - COPY_MIN).unwrap_or(0));
            into.extend_from_slice(&place.to_be_bytes());
            for passed in at + 1..at + length {
                note(&mut places, &all, passed);
            }
            at += length;
            told = at;
            beside = usize::from(place) + length;
        }
        put_plain(&all[told..], into);
    }

    /// What was squeezed.
    ///
    /// # Errors
    /// It is not what [`Sample::squeeze`] made.
    pub(super) fn stretch(&self, mut squeezed: &[u8]) -> Result<Vec<u8>, Unreadable> {
        const BROKEN: Unreadable = Unreadable::Broken("squeezed octets");
        let before = self.octets.len();
        let mut all = self.octets.to_vec();
        while let [kind, rest @ ..] = squeezed {
            let count = usize::from(kind & !COPY);
            if kind & COPY == 0 {
                let (plain, rest) = rest.split_at_checked(count + 1).ok_or(BROKEN)?;
                all.extend_from_slice(plain);
                squeezed = rest;
                continue;
            }
            let (place, rest) = rest.split_first_chunk().ok_or(BROKEN)?;
            let place = usize::from(u16::from_be_bytes(*place));
            let end = place + count + COPY_MIN;
            if end > all.len() {
                return Err(BROKEN);
            }
            all.extend_from_within(place..end);
            squeezed = rest;
        }
        Ok(all.split_off(before))
    }
}

/// How many octets at `at` stand at `place` too.
fn alike(all: &[u8], place: u16, at: usize) -> usize {
    let place = usize::from(place);
    // What is copied ends before it is copied to.
    let (Some(there), Some(here)) = (all.get(place..at), all.get(at..)) else {
        return 0;
    };
    let same = there.iter().zip(here).take(COPY_MAX);
    same.take_while(|(there, here)| there == here).count()
}

/// Remembers where the four octets at `at` stand. What lies too far away for two octets is not
/// pointed at.
fn note(places: &mut [u16], all: &[u8], at: usize) {
    let place = u16::try_from(at).ok().filter(|place| *place != NONE);
    if let (Some(slot), Some(place)) = (slot(all, at), place)
        && let Some(noted) = places.get_mut(slot)
    {
        *noted = place;
    }
}

/// Under which number four octets are remembered; by Knuth's multiplier, whose upper bits are well
/// mixed.
fn slot(all: &[u8], at: usize) -> Option<usize> {
    let (four, _) = all.get(at..)?.split_first_chunk()?;
    let mixed = u32::from_le_bytes(*four).wrapping_mul(2_654_435_761);
    usize::try_from(mixed >> (u32::BITS - PLACES.trailing_zeros())).ok()
}

fn put_plain(plain: &[u8], into: &mut Vec<u8>) {
    for some in plain.chunks(PLAIN_MAX) {
        into.push(u8::try_from(some.len() - 1).unwrap_or(0));
        into.extend_from_slice(some);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn squeezed(sample: &Sample, plain: &[u8]) -> usize {
        let mut octets = Vec::new();
        sample.squeeze(plain, &mut octets);
        assert_eq!(sample.stretch(&octets).as_deref(), Ok(plain));
        octets.len()
    }

    #[test]
    fn what_is_common_is_kept_once() {
        let first = b"smtp\x04helo.example.org 550 5.1.1 <guess1@example.org>: User unknown";
        let other = b"smtp\x04mail.example.com 550 5.1.1 <other2@example.org>: User unknown";
        let sample = Sample::new(first);
        assert_eq!(squeezed(&sample, first), 3);
        assert!(squeezed(&sample, other) <= 31);
        // And within one.
        assert_eq!(squeezed(&Sample::new(b""), b"abcdefgh abcdefgh"), 1 + 9 + 3);
        assert_eq!(squeezed(&sample, b""), 0);
    }

    #[test]
    fn octets_with_nothing_in_common_cost_one_in_a_hundred() {
        let plain: Vec<u8> = (0..=255).collect();
        assert_eq!(squeezed(&Sample::new(b"else"), &plain), 256 + 2);
    }

    #[test]
    fn more_than_two_octets_can_point_at() {
        let plain: Vec<u8> = (0..200_000_u32)
            .map(|at| (at.wrapping_mul(at) >> 7).to_le_bytes()[0])
            .collect();
        squeezed(&Sample::new(&plain), &plain);
    }

    proptest! {
        #[test]
        fn comes_back(
            sample in proptest::collection::vec(0_u8..4, 0..300),
            plain in proptest::collection::vec(0_u8..4, 0..600),
        ) {
            squeezed(&Sample::new(&sample), &plain);
        }

        #[test]
        fn anything_else_is_refused_or_read(octets: Vec<u8>) {
            let _ = Sample::new(b"sample").stretch(&octets);
        }
    }
}
