//! `tarpit try`: see the pit at work in half a minute, with no file and no server.
//!
//! It starts a gateway with the built-in maildir on loopback, runs a race between a harvester and
//! a wanted sender with the pit off and then on, and stays up for the visitor. Everything that it
//! shows is measured while it runs, from outside, through sockets.
//!
//! The race has gateways of its own, on free ports: the harvester of one phase must not owe for
//! the other, and the visitor, who comes from 127.0.0.1, owes nothing at all.

mod dictionary;
mod harvester;
mod place;
mod race;
mod sender;
mod table;
mod tally;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::ops::ControlFlow;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use tarpit_admin::{Admin, IfTaken};
use tarpit_gateway::Gateway;

use crate::cli::Try;
use crate::config::{self, Loaded};
use crate::log;
use crate::signals::EndSignals;
use place::Place;

/// Who exists on the visitor's gateway.
const RECIPIENTS: [&str; 3] = [
    "alice@example.test",
    "bob@example.test",
    "carol@example.test",
];

/// Serves, races, and serves on until a signal. Exit code 1 if there is no address to listen on.
///
/// # Errors
///
/// Neither address can be had, or the folder can't be made.
pub(crate) async fn run(args: Try) -> anyhow::Result<ExitCode> {
    // First, so that no signal meets its default action and leaves the folder behind.
    let mut end = EndSignals::new()?;
    log::start(log::Format::Human, log::QUIET, None)?;
    let addresses = free_addresses(args.port)?;
    let place = Place::create(&addresses, &RECIPIENTS)?;
    let served = serve(&args, &place, &mut end).await;
    let said = place.close();
    served?;
    println!("\n{}", said?);
    Ok(ExitCode::SUCCESS)
}

/// From the first line to the last session.
async fn serve(args: &Try, place: &Place, end: &mut EndSignals) -> anyhow::Result<()> {
    let loaded = load(place)?;
    let gateway = Gateway::start(loaded.gateway.clone()).await?;
    let addresses = gateway.addresses();
    let served: Vec<_> = addresses.iter().map(|(_, address)| *address).collect();
    let page = show(&gateway, &loaded);
    println!("{}", introduction(&served, place, page.as_ref()));
    let mut outcome = ControlFlow::Continue(());
    if !args.no_race {
        outcome = race::run(&loaded.gateway, place, pin!(end.next())).await?;
    }
    if outcome.is_continue() {
        println!("{}", what_next(&served, &program()));
        end.next().await;
    }
    gateway.handle().drain();
    tokio::select! {
        () = gateway.wait() => {}
        () = end.next() => {}
    }
    Ok(())
}

/// The addresses that can be listened on; says of the others why not.
fn free_addresses(port: u16) -> anyhow::Result<Vec<SocketAddr>> {
    let wanted = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    let mut free = Vec::new();
    for address in wanted.map(|ip| SocketAddr::new(ip, port)) {
        match TcpListener::bind(address) {
            Ok(_) => free.push(address),
            Err(error) => println!("Not listening on {address}: {}.", why_not(&error)),
        }
    }
    if free.is_empty() {
        bail!(
            "there is no address to listen on; try another port, as in {} try --port 2626",
            program()
        );
    }
    Ok(free)
}

fn why_not(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there".to_owned(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported => {
            "this system has no such address".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "this port needs the rights of an administrator".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The configuration that stands in the place's file: defaults come from the one table.
fn load(place: &Place) -> anyhow::Result<Loaded> {
    config::load(&place.config_file()).map_err(|findings| anyhow!("{findings}"))
}

/// Opens the page; at any address of this machine if another gateway has the usual one. `None` if none
/// can be had: there is enough to see without.
fn show(gateway: &Gateway, loaded: &Loaded) -> Option<Admin> {
    let anywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let addresses = loaded.admin.address.into_iter().chain([anywhere]);
    let mut open =
        addresses.map(|address| Admin::open(gateway.handle(), address, None, IfTaken::Refuse));
    open.find_map(Result::ok)
}

/// What is there.
fn introduction(served: &[SocketAddr], place: &Place, page: Option<&Admin>) -> String {
    let served = served
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" and ");
    let page = page.and_then(Admin::bound);
    let page = page.map_or_else(String::new, |address| {
        format!("\nWhat it does, as it happens: http://{address}/")
    });
    format!(
        "Tarpit listens on {served}. Each wrong guess costs its source 5 s.\n\
         Mail for {} goes to {}.{page}",
        RECIPIENTS.join(", "),
        place.mail().display()
    )
}

/// What to type now.
fn what_next(served: &[SocketAddr], program: &str) -> String {
    let Some(server) = served.first() else {
        return String::new();
    };
    let good = RECIPIENTS[0];
    format!(
        "\nYour turn, from another terminal. You owe nothing yet.\n\
         \n  {program} verify {server} --good {good}\
         \n  swaks --server {server} --to {good}\
         \n  swaks --server {server} --to nobody@example.test\n\
         \nCtrl-C ends it."
    )
}

/// How this program was called, so that what is printed can be typed.
fn program() -> String {
    let called = std::env::args_os()
        .next()
        .map(|name| name.to_string_lossy().into_owned());
    called
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "tarpit".to_owned())
}
