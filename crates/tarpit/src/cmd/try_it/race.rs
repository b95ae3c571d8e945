//! The race: harvester against wanted mail, with the pit off and then on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tarpit_core::policy::Mode;
use tarpit_gateway::Gateway;
use tarpit_gateway::config::{Config, Delivery};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::place::Place;
use super::table::{self, Screen};
use super::tally::{Figures, Tally};
use super::{dictionary, harvester, sender};

/// Connections of the harvester, all from one address: the case in which the connections are what
/// an attacker hopes to gain by.
const CONNECTIONS: usize = 100;

/// One phase of the race.
pub(super) struct Phase {
    pub(super) mode: Mode,
    /// Long enough for figures that stand still; both together are 20 s, which a visitor will wait.
    pub(super) span: Duration,
    pub(super) harvester: IpAddr,
}

const OFF: Phase = Phase {
    mode: Mode::Off,
    span: Duration::from_secs(5),
    harvester: IpAddr::V4(Ipv4Addr::new(127, 0, 66, 1)),
};
const ON: Phase = Phase {
    mode: Mode::Enforce,
    span: Duration::from_secs(15),
    harvester: IpAddr::V4(Ipv4Addr::new(127, 0, 66, 2)),
};

/// Where wanted mail comes from.
const SENDER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 77, 1));

/// How often the table is redrawn: as often as an eye follows figures.
const REDRAW: Duration = Duration::from_millis(200);

/// Runs both phases, beside the gateway `base`, and shows the table. Breaks off when `end` does.
///
/// # Errors
///
/// A gateway for the race can't be started, or the output is closed.
pub(super) async fn run(
    base: &Config,
    place: &Place,
    mut end: Pin<&mut impl Future<Output = ()>>,
) -> anyhow::Result<ControlFlow<()>> {
    if let Err(error) = has_addresses() {
        println!("\nNo race: it needs more loopback addresses than this system has ({error}).");
        return Ok(ControlFlow::Continue(()));
    }
    println!(
        "\nThe race, {} s: a harvester guesses names on {CONNECTIONS} connections of one source, while a sender\n\
         nobody knows yet sends wanted mail. First {} s with the pit off, then {} s with it on. Both share\n\
         this machine's processors with the gateway.\n",
        (OFF.span + ON.span).as_secs(),
        OFF.span.as_secs(),
        ON.span.as_secs()
    );
    let mut screen = Screen::stdout();
    let (off_root, on_root) = (place.race().join("off"), place.race().join("on"));
    let show_off = |now: &Figures| screen.show(&table::text(Some(now), None));
    let off = match phase(base, off_root, &OFF, end.as_mut(), show_off).await? {
        ControlFlow::Continue(figures) => figures,
        ControlFlow::Break(()) => return Ok(ControlFlow::Break(())),
    };
    let show_on = |now: &Figures| screen.show(&table::text(Some(&off), Some(now)));
    let on = match phase(base, on_root, &ON, end, show_on).await? {
        ControlFlow::Continue(figures) => figures,
        ControlFlow::Break(()) => return Ok(ControlFlow::Break(())),
    };
    screen.finish(&table::text(Some(&off), Some(&on)))?;
    place.clear_race()?;
    Ok(ControlFlow::Continue(()))
}

/// Whether all addresses of the race can be used: Linux has the whole of 127.0.0.0/8.
fn has_addresses() -> std::io::Result<()> {
    for address in [OFF.harvester, ON.harvester, SENDER] {
        TcpListener::bind(SocketAddr::new(address, 0))?;
    }
    Ok(())
}

/// One phase on a gateway of its own. `show` gets the figures again and again. Breaks off when
/// `end` does; either way nothing of it runs any longer afterwards.
pub(super) async fn phase(
    base: &Config,
    root: PathBuf,
    phase: &Phase,
    mut end: Pin<&mut impl Future<Output = ()>>,
    mut show: impl FnMut(&Figures) -> std::io::Result<()>,
) -> anyhow::Result<ControlFlow<(), Figures>> {
    let gateway = Gateway::start(config(base, root, phase.mode)?).await?;
    let server = gateway
        .addresses()
        .first()
        .map(|(_, address)| *address)
        .context("the race has no listener")?;
    let tally = Arc::new(Tally::start(CONNECTIONS));
    let mut racers = JoinSet::new();
    racers.spawn(harvester::harvest(
        server,
        phase.harvester,
        CONNECTIONS,
        Arc::clone(&tally),
    ));
    racers.spawn(sender::send(
        server,
        SENDER,
        dictionary::wanted(),
        Arc::clone(&tally),
    ));
    let finish = Instant::now() + phase.span;
    let mut outcome = ControlFlow::Continue(());
    while outcome.is_continue() && Instant::now() < finish {
        show(&tally.figures())?;
        tokio::select! {
            () = sleep(REDRAW.min(finish - Instant::now())) => {}
            () = end.as_mut() => outcome = ControlFlow::Break(()),
        }
    }
    let figures = tally.figures();
    racers.shutdown().await;
    gateway.handle().drain();
    gateway.wait().await;
    Ok(outcome.map_continue(|()| figures))
}

/// The visitor's configuration, with one listener on a free port and the dictionary's recipients.
fn config(base: &Config, root: PathBuf, mode: Mode) -> anyhow::Result<Config> {
    let mut config = base.clone();
    let (Some(first), Delivery::Maildir(maildir)) =
        (base.listeners.first(), &mut config.deliveries[0])
    else {
        bail!("the race needs a listener and a maildir");
    };
    maildir.root = root;
    maildir.recipients = dictionary::existing();
    let mut racing = first.clone();
    racing.name = "race".into();
    racing.address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    racing.policy.mode = mode;
    config.listeners = vec![racing];
    Ok(config)
}
