//! The pit of the simulation: the budget and the wheel that the gateway's pit goes by.
//!
//! The world beneath the simulation finds who is due by looking at all. So each is held against the
//! other: whoever comes up in the wheel must have been let go on by the world, and nobody else.

use std::collections::BTreeMap;

use tarpit_core::Tick;
use tarpit_core::budget::{Budget, Change, Load};
use tarpit_core::wheel::{Link, Links, Wheel};

/// No bound.
const ANY: u64 = u64::MAX;

/// The links of all sessions that there ever were, by their numbers.
#[derive(Default)]
struct Places(Vec<Link>);

impl Links for Places {
    fn link(&mut self, key: u32) -> &mut Link {
        let at = key as usize;
        if at >= self.0.len() {
            self.0.resize_with(at + 1, Link::default);
        }
        &mut self.0[at]
    }
}

pub(crate) struct Pit {
    wheel: Wheel,
    places: Places,
    /// What the wheel is to know.
    until: BTreeMap<u32, Tick>,
    budget: Budget,
    /// How often the pit became strained, and how often that ended.
    pub(crate) strains: [u32; 2],
    /// How many came up when they were due.
    pub(crate) due: u32,
}

impl Pit {
    pub(crate) fn new(now: Tick) -> Self {
        Self {
            wheel: Wheel::new(now),
            places: Places::default(),
            until: BTreeMap::new(),
            budget: Budget::new(Load {
                sessions: ANY,
                octets: ANY,
                unread: ANY,
            }),
            strains: [0; 2],
            due: 0,
        }
    }

    /// A session is held until then, or no longer.
    pub(crate) fn note(&mut self, session: usize, until: Option<Tick>) {
        let key = u32::try_from(session).unwrap();
        let before = self.until.get(&key).copied();
        if before == until {
            return;
        }
        match until {
            // In the wheel already, it is moved.
            Some(until) => {
                self.until.insert(key, until);
                self.wheel.insert(&mut self.places, key, until);
            }
            None => {
                self.until.remove(&key);
                assert!(self.wheel.remove(&mut self.places, key), "{key} was lost");
            }
        }
        assert_eq!(self.wheel.len(), self.until.len());
    }

    /// All whose time has come, each once.
    pub(crate) fn turn(&mut self, now: Tick) -> Vec<usize> {
        let mut due = Vec::new();
        while let Some(key) = self.wheel.pop_due(&mut self.places, now) {
            let until = self.until.remove(&key).expect("it came up twice");
            assert!(until <= now, "{key} came up early");
            due.push(key as usize);
        }
        let late = self.until.values().filter(|until| **until <= now).count();
        assert_eq!(late, 0, "some did not come up");
        self.due += u32::try_from(due.len()).unwrap();
        due
    }

    /// How many of `held` are to be let go, where there may be `most`.
    pub(crate) fn excess(&mut self, held: usize, most: Option<usize>) -> usize {
        self.budget.set_quota(Load {
            sessions: most.map_or(ANY, |most| most as u64),
            octets: ANY,
            unread: ANY,
        });
        let load = Load {
            sessions: held as u64,
            ..Load::default()
        };
        match self.budget.judge(load) {
            Some(Change::Began(_)) => self.strains[0] += 1,
            Some(Change::Ended(_)) => self.strains[1] += 1,
            None => {}
        }
        usize::try_from(self.budget.excess(load, load.sessions)).unwrap()
    }
}
