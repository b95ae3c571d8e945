//! Runs the points: most of them many at once before one gateway, the kills in gangs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::case::{Case, Gang};
use crate::chance::Chance;
use crate::client::{self, Ending, Outcome};
use crate::judge::judge;
use crate::plan::{Lengths, dialogues, points};
use crate::point::{Action, Dialogue, Leg, Point, World};
use crate::report::Report;
use crate::world::Stage;

/// Sessions at once. Many of them wait; more would make the waits of the others longer than they
/// are meant to be.
const AT_ONCE: usize = 150;

/// Before Postfix, which has 100 processes.
const AT_ONCE_POSTFIX: usize = 30;

/// Cases that are judged together, when the upstream has come to rest.
const ROUND: usize = 4000;

/// Points of one kill, and sessions that it finds wherever they are.
const GANG: usize = 150;
const GANG_FREE: usize = 30;

/// With the maildir, what counts are the kills: between its 250 and the disk.
const GANG_MAILDIR: usize = 40;

/// The kind of a point is its world, its leg and what is done. There are about eighty.
const OF_EACH_KIND: usize = 10;

/// How long a gang may take to get to its points; a few never do.
const GATHER: Duration = Duration::from_secs(3);

/// So long nothing happens at the upstream: it has come to rest.
const REST: Duration = Duration::from_millis(400);

/// It never rests for so long: something hangs.
const UNREST: Duration = Duration::from_secs(60);

/// One case in so many is not cut: all must be well beside those that are.
const WELL: usize = 40;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many cuts.
    pub points: usize,
    /// What is chosen when these are fewer than there are.
    pub seed: u32,
    /// The worlds that are cut in.
    pub worlds: Vec<World>,
    /// Instead of all that: exactly these.
    pub only: Vec<Point>,
}

/// Runs them.
///
/// # Errors
/// When a gateway or a server can't be started. What went wrong in a case is in the report.
pub async fn run(options: &Options) -> Result<Report> {
    let start = Instant::now();
    let mut report = Report::default();
    let mut stages = BTreeMap::new();
    let mut lengths = Vec::new();
    let worlds: Vec<World> = if options.only.is_empty() {
        options.worlds.clone()
    } else {
        World::ALL.to_vec()
    };
    for world in worlds {
        let is_used = options.only.is_empty() || options.only.iter().any(|p| p.world == world);
        if is_used {
            let stage = Stage::start(world).await;
            let stage = stage.with_context(|| format!("the world {world:?}"))?;
            lengths.extend(measure(&stage).await?);
            stages.insert(world, stage);
        }
    }
    let chosen = if options.only.is_empty() {
        choose(options, &lengths, &mut report)
    } else {
        options.only.clone()
    };
    for (world, mut stage) in stages {
        let mut points = chosen.clone();
        points.retain(|point| point.world == world);
        let (kills, cuts) = points
            .into_iter()
            .partition::<Vec<_>, _>(|point| point.action == Action::Kill);
        let begun = Instant::now();
        let mut pending = Vec::new();
        in_rounds(&stage, &cuts, &mut report, &mut pending).await?;
        in_gangs(&mut stage, &kills, &mut report, &mut pending).await?;
        settle_and_judge(&stage, &mut pending, &mut report).await?;
        report.reused += stage.registry.reused.load(Ordering::Relaxed);
        report.took(world, begun.elapsed());
        stage.stop()?;
    }
    report.elapsed = start.elapsed();
    Ok(report)
}

/// All points there are, in an order of chance, and more passes if more are wanted.
fn choose(
    options: &Options,
    lengths: &[(World, Dialogue, Lengths)],
    report: &mut Report,
) -> Vec<Point> {
    let mut chosen = Vec::new();
    for turn in options.seed.. {
        let mut pass: Vec<Point> = lengths
            .iter()
            .flat_map(|(world, dialogue, lengths)| points(*world, *dialogue, lengths, turn))
            .collect();
        if chosen.is_empty() {
            report.exist = pass.len();
        }
        Chance::new(turn.into()).shuffle(&mut pass);
        chosen.extend(rare_first(pass));
        if chosen.len() >= options.points {
            break;
        }
    }
    chosen.truncate(options.points);
    chosen
}

/// Some of each kind in front, so that a sample misses none; the rest as it was.
fn rare_first(points: Vec<Point>) -> Vec<Point> {
    let mut seen = BTreeMap::new();
    let (mut first, rest) = points.into_iter().partition::<Vec<_>, _>(|point| {
        let kind = (point.world, point.leg.name(), point.action);
        let count: &mut usize = seen.entry(kind).or_default();
        *count += 1;
        *count <= OF_EACH_KIND
    });
    first.extend(rest);
    first
}

/// The lengths of each dialogue, from a run without a cut.
async fn measure(stage: &Stage) -> Result<Vec<(World, Dialogue, Lengths)>> {
    let turn = Arc::new(Semaphore::new(AT_ONCE));
    let mut sessions = JoinSet::new();
    for dialogue in dialogues(stage.world) {
        start(&mut sessions, stage, well(stage, *dialogue), &turn).await?;
    }
    let ended = sessions.join_all().await;
    settle(stage, &ended).await?;
    let lengths = ended.into_iter().map(|(case, outcome)| {
        anyhow::ensure!(
            outcome.ending == Ending::Finished,
            "{}: without a cut: {outcome:?}",
            case.point
        );
        let lengths = Lengths {
            sent: outcome.sent,
            heard: outcome.heard,
            upstream: case.journal().lengths.clone(),
        };
        Ok((stage.world, case.point.dialogue, lengths))
    });
    let mut lengths = lengths.collect::<Result<Vec<_>>>()?;
    // They end in any order; the choice of points must not depend on it.
    lengths.sort_by_key(|(_, dialogue, _)| *dialogue);
    // Takes what was delivered out of the mailboxes; Postfix keeps its.
    stage.collect()?;
    Ok(lengths)
}

/// A case that is not cut.
fn well(stage: &Stage, dialogue: Dialogue) -> Arc<Case> {
    let number = stage.registry.next();
    let point = Point {
        world: stage.world,
        dialogue,
        leg: Leg::ClientSent,
        action: Action::Nothing,
        at: 0,
        seed: u32::try_from(number).unwrap_or_default(),
    };
    Case::new(number, point, None)
}

type Pending = Vec<(Arc<Case>, Outcome)>;

async fn in_rounds(
    stage: &Stage,
    points: &[Point],
    report: &mut Report,
    pending: &mut Pending,
) -> Result<()> {
    let at_once = if stage.world == World::Postfix {
        AT_ONCE_POSTFIX
    } else {
        AT_ONCE
    };
    for round in points.chunks(ROUND) {
        let turn = Arc::new(Semaphore::new(at_once));
        let mut sessions = JoinSet::new();
        for (number, point) in round.iter().enumerate() {
            if number % WELL == 0 {
                let dialogue = point.dialogue;
                start(&mut sessions, stage, well(stage, dialogue), &turn).await?;
            }
            let case = Case::new(stage.registry.next(), *point, None);
            start(&mut sessions, stage, case, &turn).await?;
        }
        pending.extend(sessions.join_all().await);
        if stage.world != World::Postfix {
            settle_and_judge(stage, pending, report).await?;
        }
    }
    Ok(())
}

async fn start(
    sessions: &mut JoinSet<(Arc<Case>, Outcome)>,
    stage: &Stage,
    case: Arc<Case>,
    turn: &Arc<Semaphore>,
) -> Result<()> {
    let permit = Arc::clone(turn).acquire_owned().await?;
    let (registry, port) = (Arc::clone(&stage.registry), stage.port);
    sessions.spawn(async move {
        let outcome = client::run(&case, port, &registry).await;
        drop(permit);
        (case, outcome)
    });
    Ok(())
}

/// Points at which the gateway is killed: each gang goes to its points and stays there, then the
/// gateway is killed under all of them at once, and under some that are on their way.
async fn in_gangs(
    stage: &mut Stage,
    points: &[Point],
    report: &mut Report,
    pending: &mut Pending,
) -> Result<()> {
    let size = match stage.world {
        World::Postfix => AT_ONCE_POSTFIX,
        World::Maildir => GANG_MAILDIR,
        _ => GANG,
    };
    for points in points.chunks(size) {
        let gang = Gang::new();
        let mut sessions = JoinSet::new();
        for point in points {
            spawn_in_gang(&mut sessions, stage, *point, &gang);
        }
        gather(&gang, points.len()).await;
        // Some moment, or right after somebody was told 250: what is to last must be there then.
        let mut chance = Chance::new(report.kills);
        let moment = Duration::from_micros(chance.below(12_000) as u64);
        let after_yes = chance.below(2) == 0;
        for free in 0..GANG_FREE {
            let mut point = points[free % points.len()];
            point.leg = Leg::ClientSent;
            point.at = u32::MAX;
            spawn_in_gang(&mut sessions, stage, point, &gang);
        }
        if after_yes {
            let _ = tokio::time::timeout(GATHER, gang.yes.notified()).await;
        } else {
            sleep(moment).await;
        }
        stage.kill();
        gang.release();
        let ended = sessions.join_all().await;
        let caught = |(case, outcome): &&(Arc<Case>, Outcome)| {
            case.point.at == u32::MAX && outcome.ending != Ending::Finished
        };
        report.kills += 1;
        report.caught += ended.iter().filter(caught).count();
        pending.extend(ended);
        if stage.world != World::Postfix {
            settle_and_judge(stage, pending, report).await?;
        }
        let took = stage.restart().await?;
        report.restart = report.restart.max(took);
        let case = well(stage, points[0].dialogue);
        let outcome = client::run(&case, stage.port, &stage.registry).await;
        pending.push((case, outcome));
    }
    Ok(())
}

fn spawn_in_gang(
    sessions: &mut JoinSet<(Arc<Case>, Outcome)>,
    stage: &Stage,
    point: Point,
    gang: &Arc<Gang>,
) {
    let case = Case::new(stage.registry.next(), point, Some(Arc::clone(gang)));
    let (registry, port, gang) = (Arc::clone(&stage.registry), stage.port, Arc::clone(gang));
    sessions.spawn(async move {
        let outcome = client::run(&case, port, &registry).await;
        gang.one_more();
        (case, outcome)
    });
}

/// Waits until all are at their points, or over.
async fn gather(gang: &Gang, count: usize) {
    let all = async {
        while gang.arrived.load(Ordering::SeqCst) < count {
            gang.arrival.notified().await;
        }
    };
    // Some wait for each other in vain, such as a client for an upstream that stopped.
    let _ = tokio::time::timeout(GATHER, all).await;
}

/// Waits until nothing happens at the upstream any more.
async fn settle(stage: &Stage, cases: &[(Arc<Case>, Outcome)]) -> Result<()> {
    // A maildir rests when its gateway is dead, Postfix when its queue is empty.
    if matches!(stage.world, World::Maildir | World::Postfix) {
        return Ok(());
    }
    let start = Instant::now();
    let activity = || stage.registry.activity.load(Ordering::Relaxed);
    loop {
        let before = activity();
        sleep(REST).await;
        let open = cases.iter().find(|(case, _)| case.is_open());
        if open.is_none() && activity() == before {
            return Ok(());
        }
        if start.elapsed() > UNREST {
            let point = open.map(|(case, _)| case.point.to_string());
            anyhow::bail!("the upstream never rests: {point:?}");
        }
    }
}

async fn settle_and_judge(stage: &Stage, pending: &mut Pending, report: &mut Report) -> Result<()> {
    if pending.is_empty() {
        return Ok(());
    }
    settle(stage, pending).await?;
    report.failures.extend(stage.collect()?);
    for (case, outcome) in pending.drain(..) {
        if case.point.at == u32::MAX {
            case.fire();
        }
        let wrong = judge(&case, &outcome);
        report.note(&case, outcome.took, &wrong);
    }
    stage.registry.clear();
    Ok(())
}
