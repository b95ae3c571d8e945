//! A case: one pit, filled once, and measured in one or more phases.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::Setting;
use super::herd::{Herd, Order, Tally, Way};
use super::lookers::Lookers;
use super::machine::{self, Kernel};
use super::mail;
use super::subject::{Holding, Kind, Subject, Wanted};
use crate::process::Processes;
use crate::sink::Sink;
use crate::tls::Certificate;

/// After a change, before something is measured.
const SETTLE: Duration = Duration::from_secs(1);

/// How long a pit may take to come to rest when a herd has left.
const REST: Duration = Duration::from_secs(90);

/// Guesses a second when a whole herd is to be held again before the first is due.
/// As fast as they can, that is.
const ALL_AT_ONCE: f64 = 50_000.0;

/// Windows of mail at capacity while nothing is due: to line up a million for them takes most of a
/// hold.
const WAITING_WINDOWS: usize = 3;

/// What the herd does while something is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Doing {
    /// Whoever got a reply guesses again: this share of them, the others wait in silence. Beside
    /// that so many a second hang up, and new ones come.
    Guessing {
        /// Of 1.
        share: f64,
        /// A second.
        churn: f64,
        /// Who look at the page meanwhile; with any, one more reads the figures each second.
        lookers: usize,
    },
    /// All are held, and nobody is due while it is measured.
    Waiting,
}

/// A pit and what is done to it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Which pit.
    pub(crate) kind: Kind,
    /// Its heading in the JSON, and the part that it belongs to.
    pub(crate) part: super::Part,
    /// Sessions.
    pub(crate) held: u64,
    /// How long one waits.
    pub(crate) hold: Duration,
    /// How its reply is said.
    pub(crate) holding: Holding,
    /// Names and paths are of the greatest length.
    pub(crate) long: bool,
    /// An octet of the next command lies unread.
    pub(crate) ahead: bool,
    /// Over TLS.
    pub(crate) tls: bool,
    /// The server is asked whether a name exists, instead of a file.
    pub(crate) asks: bool,
    /// Windows of wanted mail at capacity; with none, no mail is measured.
    pub(crate) windows: usize,
    /// What the herd does, one after the other.
    pub(crate) phases: Vec<Doing>,
}

impl Case {
    /// How fast clients come, where `rate` is the most: where that takes longer than a hold, so
    /// that it takes a whole number of holds. Then what is due is spread evenly over one.
    fn fill_rate(&self, rate: f64) -> f64 {
        let due = self.held as f64 / self.hold.as_secs_f64();
        if due > rate {
            due / (due / rate).ceil()
        } else {
            rate
        }
    }
}

/// What a case showed before the herd came and while it came.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    /// Sessions that were held.
    pub(crate) held: u64,
    /// Processes that bore the cost.
    pub(crate) processes: usize,
    /// Their memory (PSS) before and after, in KiB.
    pub(crate) user_kib: (u64, u64),
    /// The kernel's memory before and after.
    pub(crate) kernel: (Kernel, Kernel),
    /// How long it took to take all in.
    pub(crate) took: Duration,
    /// Processor time of the pit for that.
    pub(crate) spent: Duration,
    /// What kept others out.
    pub(crate) why_not_more: Option<String>,
}

/// What a phase showed.
#[derive(Debug)]
pub(crate) struct Phase {
    /// What the herd did.
    pub(crate) doing: Doing,
    /// Sessions held, or waiting for their clients, at its end.
    pub(crate) held: u64,
    /// Replies a second.
    pub(crate) replies: f64,
    /// Memory of the pit (PSS) in a quiet window, in KiB.
    pub(crate) user_kib: u64,
    /// Processor time of the pit in a quiet window of so long, without mail.
    pub(crate) spent: (Duration, Duration),
    /// The same of the herd.
    pub(crate) herd_spent: Duration,
    /// Lateness of the replies beside paced mail, milliseconds: median, 99th percentile.
    pub(crate) late_ms: Option<(u64, u64)>,
    /// The same beside mail at capacity, which takes the processor first.
    pub(crate) late_at_capacity_ms: Option<(u64, u64)>,
    /// Mail beside.
    pub(crate) mail: mail::Seen,
    /// Connections to the sink while no mail was sent.
    pub(crate) upstream: u64,
    /// Sessions that ended, were refused or failed, and the first of them in words.
    pub(crate) lost: (u64, Option<String>),
}

/// A measured case.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Which.
    pub(crate) case: Case,
    /// The pit as it filled.
    pub(crate) filled: Filled,
    /// Mail while the pit was empty, before and after.
    pub(crate) empty: mail::Seen,
    /// The phases.
    pub(crate) phases: Vec<Phase>,
    /// What must be known beside the figures.
    pub(crate) remark: Option<String>,
}

/// Measures one.
pub(crate) async fn measure(case: &Case, setting: &Setting) -> Result<Measured> {
    let mut sink = Sink::start(1, Duration::ZERO)?;
    let certificate = case.tls.then(Certificate::new).transpose()?;
    let wanted = Wanted {
        held: case.held,
        hold: case.hold,
        holding: case.holding,
        asks: case.asks,
        sink: sink.addresses[0],
        authority: sink.authority,
        certificate: certificate.as_ref(),
        tarpit: &setting.tarpit,
    };
    let subject = Subject::start(case.kind, &wanted).await?;
    let mut empty = mail::Seen::default();
    if case.windows > 0 {
        // What the first messages cost once is nobody's figure.
        mail::Seen::default()
            .at_capacity(subject.mail, SETTLE)
            .await?;
        for _ in 0..case.windows.div_ceil(2) {
            empty.at_capacity(subject.mail, setting.window).await?;
        }
        let quarter = empty.rate() / 4.0;
        empty.paced(subject.mail, quarter, setting.window).await?;
    }
    let way = Way {
        hold: case.hold,
        ahead: case.ahead,
        long: case.long,
        stepwise: case.kind.is_rival(),
        trust: certificate.as_ref().map(Certificate::chain),
    };
    let mut herd = Herd::start(subject.pit, case.held, &way)?;
    tokio::time::sleep(SETTLE).await;
    let filled = fill(case, &subject, &mut herd, setting).await?;
    let mut phases = Vec::new();
    for doing in &case.phases {
        let bench = Bench {
            case,
            setting,
            subject: &subject,
            quarter: empty.rate() / 4.0,
        };
        // Who was to take as long to come in as a hold takes is spread over one already.
        let planned = case.held as f64 / case.fill_rate(setting.rate);
        // So is what a stutter says all the time.
        let is_spread = case.holding == Holding::Stutter
            || (phases.is_empty() && planned >= case.hold.as_secs_f64() * 0.99);
        let phase = bench.phase(*doing, is_spread, &mut herd, &mut sink);
        phases.push(phase.await?);
    }
    drop(herd);
    if case.windows > 0 {
        rest(&subject, REST).await?;
        for _ in 0..case.windows / 2 {
            empty.at_capacity(subject.mail, setting.window).await?;
        }
    }
    Ok(Measured {
        case: case.clone(),
        filled,
        empty,
        phases,
        remark: subject.remark.clone(),
    })
}

fn spent(processes: &[u32]) -> Duration {
    // One that has ended has had its time in an earlier window.
    let times = processes.iter();
    times.filter_map(|id| Processes::One(*id).time().ok()).sum()
}

async fn fill(
    case: &Case,
    subject: &Subject,
    herd: &mut Herd,
    setting: &Setting,
) -> Result<Filled> {
    let processes = subject.processes();
    let before = (
        machine::proportional_kib(&processes),
        Kernel::now()?,
        spent(&processes),
    );
    let took = herd.fill(case.fill_rate(setting.rate)).await?;
    let spent = spent(&subject.processes()).saturating_sub(before.2);
    tokio::time::sleep(SETTLE).await;
    let processes = subject.processes();
    let tally = herd.report()?;
    Ok(Filled {
        held: tally.held() + tally.silent(),
        processes: processes.len(),
        user_kib: (before.0, machine::proportional_kib(&processes)),
        kernel: (before.1, Kernel::now()?),
        took,
        spent,
        why_not_more: tally.first_failure.clone().or_else(|| {
            let waiting = tally.opening();
            (waiting > 0).then(|| format!("{waiting} more connected and heard nothing"))
        }),
    })
}

/// Waits until the pit does nothing any more: until it has seen that all its clients are gone, or
/// has read what all have said.
async fn rest(subject: &Subject, patience: Duration) -> Result<()> {
    let started = Instant::now();
    let mut before = spent(&subject.processes());
    while started.elapsed() < patience {
        tokio::time::sleep(SETTLE).await;
        let now = spent(&subject.processes());
        // Two ticks of a hundred: it does nothing worth a word.
        if now.saturating_sub(before) <= Duration::from_millis(20) {
            return Ok(());
        }
        before = now;
    }
    Ok(())
}

/// What a phase needs.
struct Bench<'a> {
    case: &'a Case,
    setting: &'a Setting,
    subject: &'a Subject,
    quarter: f64,
}

impl Bench<'_> {
    async fn phase(
        &self,
        doing: Doing,
        is_spread: bool,
        herd: &mut Herd,
        sink: &mut Sink,
    ) -> Result<Phase> {
        let window = self.window(doing);
        let mut mail = mail::Seen::default();
        let lookers = self.lookers(doing).await?;
        let mut due = self.begin(doing, is_spread, herd).await?;
        tokio::time::sleep(SETTLE).await;
        herd.order(Order::Reset)?;
        let began = Instant::now();
        let before = (spent(&self.subject.processes()), herd.time()?);
        tokio::time::sleep(window).await;
        let spent = spent(&self.subject.processes()).saturating_sub(before.0);
        let spent = (spent, began.elapsed());
        let herd_spent = herd.time()?.saturating_sub(before.1);
        let user_kib = machine::proportional_kib(&self.subject.processes());
        let upstream = sink.stats()?[0].open;
        let quiet = herd.report()?;
        herd.order(Order::Reset)?;
        // Before mail at capacity, which leaves replies undone: those would be late here.
        if self.case.windows > 0 {
            due = self.again(doing, herd, due).await?;
            mail.paced(self.subject.mail, self.quarter, window).await?;
        }
        let beside = herd.report()?;
        herd.order(Order::Reset)?;
        let windows = match doing {
            Doing::Waiting => self.case.windows.min(WAITING_WINDOWS),
            Doing::Guessing { .. } => self.case.windows,
        };
        for _ in 0..windows {
            due = self.again(doing, herd, due).await?;
            mail.at_capacity(self.subject.mail, window).await?;
        }
        let after = herd.report()?;
        lookers.as_ref().map(Lookers::saw).transpose()?;
        if let Doing::Guessing { .. } = doing {
            herd.order(Order::Churn { rate: 0.0 })?;
        }
        let lost = |tally: &Tally| tally.ended + tally.refused + tally.failures;
        // What comes between the windows of a herd that waits comes all at once.
        let late = |tally: &Tally| match doing {
            Doing::Waiting => None,
            Doing::Guessing { .. } => tally.late_ms(0.5).zip(tally.late_ms(0.99)),
        };
        let all = [&quiet, &beside, &after];
        Ok(Phase {
            doing,
            held: after.held() + after.silent(),
            replies: quiet.replies as f64 / spent.1.as_secs_f64(),
            user_kib,
            spent,
            herd_spent,
            // Without mail, what came late in the quiet window is all there is.
            late_ms: late(if windows > 0 { &beside } else { &quiet }),
            late_at_capacity_ms: late(&after).filter(|_| windows > 0),
            mail,
            upstream,
            lost: (
                all.map(lost).iter().sum(),
                all.iter().find_map(|tally| tally.first_failure.clone()),
            ),
        })
    }

    async fn lookers(&self, doing: Doing) -> Result<Option<Lookers>> {
        match (doing, self.subject.admin) {
            (Doing::Guessing { lookers: 0, .. } | Doing::Waiting, _) => Ok(None),
            (Doing::Guessing { lookers, .. }, Some(admin)) => {
                Lookers::start(admin, lookers).await.map(Some)
            }
            _ => bail!("nothing to look at"),
        }
    }

    /// While nothing is due there is little time: to line up a herd anew for each window takes most
    /// of a hold.
    fn window(&self, doing: Doing) -> Duration {
        match doing {
            Doing::Waiting => self.setting.window / 2,
            Doing::Guessing { .. } => self.setting.window,
        }
    }

    /// Tells the herd what to do; when the first reply comes due, where that must not be.
    async fn begin(
        &self,
        doing: Doing,
        is_spread: bool,
        herd: &mut Herd,
    ) -> Result<Option<Instant>> {
        match doing {
            Doing::Guessing { share, churn, .. } => {
                herd.order(Order::Answer { share })?;
                if share < 1.0 {
                    self.silence(herd, share).await?;
                } else if !is_spread {
                    self.spread(herd).await?;
                } else if self.case.holding == Holding::Silent {
                    // Who came in late, beside all the others, is due late once.
                    tokio::time::sleep(self.case.hold).await;
                }
                herd.order(Order::Churn { rate: churn })?;
                Ok(None)
            }
            Doing::Waiting => {
                herd.order(Order::Answer { share: 0.0 })?;
                self.hold_all(herd).await.map(Some)
            }
        }
    }

    /// Spreads over the time of a hold what is due: all that came within a second would be due
    /// within one too, and nothing in all the other windows.
    async fn spread(&self, herd: &mut Herd) -> Result<()> {
        herd.order(Order::Answer { share: 0.0 })?;
        self.silence(herd, 0.0).await?;
        herd.order(Order::Answer { share: 1.0 })?;
        let rate = self.case.held as f64 / self.case.hold.as_secs_f64();
        herd.order(Order::Guess { rate })?;
        herd.wait(self.case.hold * 2, |tally| tally.silent() == 0)
            .await?;
        Ok(())
    }

    /// Waits until only `share` are still held.
    async fn silence(&self, herd: &mut Herd, share: f64) -> Result<()> {
        // Whoever was read late is held as long as all others from then on.
        let patience = self.case.hold * 3 + SETTLE * 5;
        herd.wait(patience, |tally| {
            (tally.held() as f64) <= share * tally.clients() as f64 * 1.01 + 1.0
        })
        .await?;
        Ok(())
    }

    /// Lets all get their reply, and then guess, so that all are held again, and waits until the
    /// pit has read what they said; when the first of them is due.
    async fn hold_all(&self, herd: &mut Herd) -> Result<Instant> {
        self.silence(herd, 0.0).await?;
        let first = Instant::now() + self.case.hold;
        herd.order(Order::Guess { rate: ALL_AT_ONCE })?;
        herd.wait(self.case.hold, |tally| tally.silent() == 0)
            .await?;
        rest(self.subject, self.case.hold).await?;
        Ok(first)
    }

    /// If a window would reach beyond the time when the first is due, begins anew.
    async fn again(
        &self,
        doing: Doing,
        herd: &mut Herd,
        due: Option<Instant>,
    ) -> Result<Option<Instant>> {
        match (doing, due) {
            (Doing::Waiting, Some(due)) if due < Instant::now() + self.window(doing) + SETTLE => {
                self.hold_all(herd).await.map(Some)
            }
            _ => Ok(due),
        }
    }
}
