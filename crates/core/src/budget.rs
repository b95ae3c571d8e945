//! The budget of the pit: what held sessions may take in all, and when some of them have to go.
//!
//! Two marks, as in Postfix's postscreen: above its quota the pit is strained, and sessions are shed
//! until what there is too much of has fallen to the low mark. Between the marks nothing changes, so
//! a pit that is just full does not shed one session for each that comes.
//!
//! Pure arithmetic over three sums. Who goes is for the holder to choose, which knows them.

/// What held sessions take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// How many there are.
    pub sessions: u64,
    /// Octets of memory: theirs here, and their unread input in the kernel.
    pub octets: u64,
    /// Octets of unread input alone.
    pub unread: u64,
}

/// What there may be too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strain {
    /// Sessions.
    Sessions,
    /// Memory.
    Memory,
    /// Input that the kernel keeps unread: it is taken from what all connections of the machine
    /// share, those of mail too.
    Unread,
}

impl Strain {
    /// All of them, the one that harms mail the most first.
    pub const ALL: [Self; 3] = [Self::Unread, Self::Sessions, Self::Memory];

    /// The word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Memory => "memory",
            Self::Unread => "unread",
        }
    }

    const fn of(self, load: Load) -> u64 {
        match self {
            Self::Sessions => load.sessions,
            Self::Memory => load.octets,
            Self::Unread => load.unread,
        }
    }
}

/// The low mark in percent of the quota. A tenth of the pit is let go at a time: enough for a while
/// of the heaviest attack, and nine tenths go on waiting.
const LOW_PERCENT: u64 = 90;

/// The quota, and the mode that follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    quota: Load,
    strained: Option<Strain>,
}

/// What there is too much of, and which part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surplus {
    /// What there is too much of.
    pub strain: Strain,
    /// How much of it is too much.
    pub over: u64,
    /// How much there is in all.
    pub whole: u64,
}

impl Surplus {
    /// The same part of something else, rounded up.
    #[must_use]
    pub fn of(self, count: u64) -> u64 {
        let share = u128::from(self.over) * u128::from(count);
        let share = share.div_ceil(u128::from(self.whole.max(1)));
        u64::try_from(share).unwrap_or(count).min(count)
    }
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The pit is strained from now on.
    Began(Strain),
    /// It no longer is.
    Ended(Strain),
}

impl Budget {
    /// A pit that is not strained. `quota`: the most of each.
    #[must_use]
    pub const fn new(quota: Load) -> Self {
        Self {
            quota,
            strained: None,
        }
    }

    /// Another quota, from the next [`Budget::judge`] on.
    pub const fn set_quota(&mut self, quota: Load) {
        self.quota = quota;
    }

    /// Looks at the sums. One strain at a time: with another one it goes on when this one is over.
    pub fn judge(&mut self, load: Load) -> Option<Change> {
        match self.strained {
            None => {
                let strain = Strain::ALL
                    .into_iter()
                    .find(|strain| strain.of(load) > strain.of(self.quota))?;
                self.strained = Some(strain);
                Some(Change::Began(strain))
            }
            Some(strain) if strain.of(load) <= self.low(strain) => {
                self.strained = None;
                Some(Change::Ended(strain))
            }
            Some(_) => None,
        }
    }

    /// Why sessions are being shed, while they are.
    #[must_use]
    pub const fn strained(&self) -> Option<Strain> {
        self.strained
    }

    /// How many of `mine` sessions, which are a part of `load`, are to be shed now; 0 if the pit is
    /// not strained. All parts of one load together reach the low mark, if all sessions are alike.
    #[must_use]
    pub fn excess(&self, load: Load, mine: u64) -> u64 {
        self.surplus(load).map_or(0, |surplus| surplus.of(mine))
    }

    /// How much there is too much of `load`; `None` if the pit is not strained.
    #[must_use]
    pub fn surplus(&self, load: Load) -> Option<Surplus> {
        let strain = self.strained?;
        let whole = strain.of(load);
        let over = whole.saturating_sub(self.low(strain));
        (over > 0).then_some(Surplus {
            strain,
            over,
            whole,
        })
    }

    fn low(&self, strain: Strain) -> u64 {
        let quota = u128::from(strain.of(self.quota));
        u64::try_from(quota * u128::from(LOW_PERCENT) / 100).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Load = Load {
        sessions: 1000,
        octets: 1_000_000,
        unread: 10_000,
    };

    fn sessions(sessions: u64) -> Load {
        Load {
            sessions,
            ..Load::default()
        }
    }

    #[test]
    fn strained_above_the_quota_until_the_low_mark() {
        let mut budget = Budget::new(QUOTA);
        assert_eq!(budget.judge(sessions(1000)), None);
        assert_eq!(budget.excess(sessions(1000), 1000), 0);
        assert_eq!(
            budget.judge(sessions(1001)),
            Some(Change::Began(Strain::Sessions))
        );
        assert_eq!(budget.excess(sessions(1001), 1001), 101);
        assert_eq!(budget.judge(sessions(901)), None);
        assert_eq!(
            budget.judge(sessions(900)),
            Some(Change::Ended(Strain::Sessions))
        );
        assert_eq!(budget.judge(sessions(950)), None);
        assert_eq!(budget.strained(), None);
    }

    #[test]
    fn what_harms_mail_is_seen_first() {
        let mut budget = Budget::new(QUOTA);
        let load = Load {
            sessions: 2000,
            octets: 2_000_000,
            unread: 20_000,
        };
        assert_eq!(budget.judge(load), Some(Change::Began(Strain::Unread)));
    }

    #[test]
    fn shares_of_several_reach_the_low_mark() {
        for load in [1001_u64, 1002, 5000, 123_457] {
            for parts in [1_u64, 2, 3, 7] {
                let mut budget = Budget::new(QUOTA);
                budget.judge(sessions(load));
                let each = (0..parts).map(|part| load / parts + u64::from(part < load % parts));
                let shed: u64 = each.map(|mine| budget.excess(sessions(load), mine)).sum();
                assert!(
                    shed >= load - 900 && shed <= load - 900 + parts,
                    "{load} in {parts}"
                );
            }
        }
    }

    #[test]
    fn a_quota_of_zero_sheds_all() {
        let mut budget = Budget::new(Load::default());
        budget.judge(sessions(5));
        assert_eq!(budget.excess(sessions(5), 5), 5);
    }
}
