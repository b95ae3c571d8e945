//! Which cuts there are: every octet of every dialogue on every leg, and a sample where there is
//! much message data.

use crate::chance::Chance;
use crate::point::{Action, Dialogue, Leg, Point, World};

/// The lengths of a dialogue without a cut.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lengths {
    pub(crate) sent: u32,
    pub(crate) heard: u32,
    /// For each connection (or transaction) to the upstream: octets heard, octets said, replies.
    pub(crate) upstream: Vec<[u32; 3]>,
}

/// Octets at either end of a long stream that are all tried; of those between, a sample.
const EDGE: u32 = 500;
const SAMPLE: usize = 200;

/// What can be done to a connection.
const CUTS: [Action; 5] = [
    Action::Close,
    Action::Reset,
    Action::HalfClose,
    Action::Stall,
    Action::StallClose,
];

/// Replies in place of the right ones.
const SAID: [u16; 6] = [421, 450, 451, 550, 552, 554];

/// The dialogues of a world. With the maildir, RSET and pauses are nothing of their own.
pub(crate) fn dialogues(world: World) -> &'static [Dialogue] {
    match world {
        World::Told => &Dialogue::ALL,
        World::Secured => &[
            Dialogue::Plain,
            Dialogue::Pipelined,
            Dialogue::Chunks,
            Dialogue::Big,
        ],
        World::Pooled => &[Dialogue::Two, Dialogue::Reset, Dialogue::Idle],
        World::Held => &[Dialogue::Mixed, Dialogue::Pipelined],
        World::Killed | World::Maildir | World::Postfix => &[
            Dialogue::Plain,
            Dialogue::Pipelined,
            Dialogue::Two,
            Dialogue::Mixed,
            Dialogue::Big,
            Dialogue::Chunks,
            Dialogue::ChunksPipelined,
        ],
    }
}

/// All points of a dialogue. `turn` varies what is left open from pass to pass.
pub(crate) fn points(world: World, dialogue: Dialogue, lengths: &Lengths, turn: u32) -> Vec<Point> {
    let mut chance = Chance::new(u64::from(turn) << 8 | dialogue as u64);
    let mut points = Vec::new();
    let mut add = |leg, at: u32, action, chance: &mut Chance| {
        points.push(Point {
            world,
            dialogue,
            leg,
            action,
            at,
            seed: u32::try_from(chance.next() >> 32).unwrap_or_default(),
        });
    };
    let mut legs = Vec::new();
    if !matches!(world, World::Pooled | World::Held) {
        legs.push((Leg::ClientSent, lengths.sent));
        legs.push((Leg::ClientHeard, lengths.heard));
    }
    let mut replies = Vec::new();
    for (number, [heard, said, count]) in (0_u8..).zip(&lengths.upstream) {
        legs.push((Leg::UpstreamHeard(number), *heard));
        legs.push((Leg::UpstreamSaid(number), *said));
        replies.push((Leg::UpstreamSaid(number), *count));
    }
    for (leg, length) in legs {
        for at in positions(length, &mut chance) {
            for action in actions(world, dialogue, at, turn) {
                add(leg, at, action, &mut chance);
            }
        }
    }
    if matches!(world, World::Killed | World::Maildir | World::Postfix) {
        return points;
    }
    for (leg, count) in replies {
        for at in 0..count {
            for code in SAID {
                add(leg, at, Action::Say(code), &mut chance);
            }
        }
    }
    let in_chunks = matches!(dialogue, Dialogue::Chunks | Dialogue::ChunksPipelined);
    if in_chunks {
        // Each chunk has its reply: there is no early one.
        return points;
    }
    let content = lengths.upstream.first().map_or(0, |[heard, ..]| heard / 3);
    for at in positions(content, &mut chance) {
        for code in [452, 554] {
            add(Leg::UpstreamHeard(0), at, Action::Early(code), &mut chance);
        }
        // Where the client waits in the middle, even a yes can be told from the reply to the dot.
        if dialogue == Dialogue::Drip && at < 90 {
            add(Leg::UpstreamHeard(0), at, Action::Early(250), &mut chance);
        }
    }
    points
}

/// The two simplest dialogues get every cut at every octet; the others two of them, in turn, and
/// Postfix one. So one pass has less than 100,000 points.
fn actions(world: World, dialogue: Dialogue, at: u32, turn: u32) -> Vec<Action> {
    if matches!(world, World::Killed | World::Maildir) {
        return vec![Action::Kill];
    }
    if world == World::Postfix {
        let cuts = [Action::Close, Action::Reset, Action::Kill];
        return vec![cuts[(at + turn) as usize % cuts.len()]];
    }
    if matches!(dialogue, Dialogue::Plain | Dialogue::Pipelined) && world != World::Secured {
        return CUTS.to_vec();
    }
    let first = (at + turn) as usize;
    [0, 2]
        .map(|more| CUTS[(first + more) % CUTS.len()])
        .to_vec()
}

fn positions(length: u32, chance: &mut Chance) -> Vec<u32> {
    if length <= 4 * EDGE {
        return (0..=length).collect();
    }
    let middle = (length - 2 * EDGE) as usize;
    let sample =
        (0..SAMPLE).map(|_| EDGE + u32::try_from(chance.below(middle)).unwrap_or_default());
    let mut all: Vec<u32> = (0..EDGE)
        .chain(sample)
        .chain(length - EDGE..=length)
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}
