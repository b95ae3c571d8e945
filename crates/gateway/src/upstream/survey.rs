//! What an administrator wants to know of a server before choosing: which ways of telling it who
//! the client is does it take, and what is behind its STARTTLS. Each is tried on a connection of
//! its own; nothing that is found changes what traffic does.

use std::net::IpAddr;
use std::time::Duration;

use tarpit_core::Trouble;
use tokio::time::timeout;

use super::Upstream;
use super::connection::{Connection, Failure};
use super::dial::may_be_transparent;
use super::identity::Told;
use super::leg::Leg;
use super::opening::{Opening, Route};
use super::probe::{OUTSIDE_LIMIT, outside, outside_address, part};
use crate::config::{Identity, UpstreamTls};
use crate::tls::Peer;

/// For one try. A server that waits for what does not come (a PROXY header) says nothing at all.
const TRY_LIMIT: Duration = Duration::from_secs(10);

/// What a server takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Each way of telling it who the client is; why not, in words.
    pub identities: Vec<(Identity, Result<(), String>)>,
    /// Who it is behind STARTTLS; why that is not known, in words. `None`: it has no STARTTLS.
    pub tls: Option<Result<Peer, String>>,
    /// It offers AUTH only to who speaks TLS.
    pub auth_needs_tls: bool,
}

impl Upstream {
    /// Finds out what the server at this place of the list takes. Takes a minute at most.
    ///
    /// # Panics
    /// If there is no such server.
    pub async fn survey(&self, server: usize) -> Survey {
        let mut survey = Survey::default();
        for identity in [
            Identity::Xclient,
            Identity::ProxyV1,
            Identity::ProxyV2,
            Identity::Transparent,
        ] {
            let taken = self.try_identity(server, identity).await;
            survey.identities.push((identity, taken));
        }
        self.try_tls(server, &mut survey).await;
        survey
    }

    async fn try_identity(&self, server: usize, identity: Identity) -> Result<(), String> {
        let mut route = self.route(server);
        let mut told = Told::of(identity, &outside(&self.hostname));
        if let Told::Address { address, .. } = &mut told {
            may_be_transparent().map_err(|error| format!("this process may not: {error}"))?;
            *address = outside_address(route.server.address);
            route.connect_limit = route.connect_limit.min(OUTSIDE_LIMIT);
        }
        let from = told.source();
        let mut opening = Opening::start();
        let opened = timeout(TRY_LIMIT, Connection::open(route, told, &mut opening)).await;
        match opened {
            Ok(Ok(connection)) => {
                part(connection).await;
                Ok(())
            }
            // It knows who is there, and wants nothing to do with that one.
            Ok(Err(Failure::Service(_))) if opening.xclient.is_some() || from.is_some() => Ok(()),
            Ok(Err(failure)) => Err(why(failure, &opening, from)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    async fn try_tls(&self, server: usize, survey: &mut Survey) {
        let leg = Leg::new(UpstreamTls::Opportunistic);
        let route = Route {
            leg: &leg,
            ..self.route(server)
        };
        // As traffic, where that is possible: a server may wait for the header.
        let told = match self.config.identity {
            Identity::Transparent => Told::Nothing,
            identity => Told::of(identity, &outside(&self.hostname)),
        };
        let mut opening = Opening::start();
        let opened = Connection::open_once(route, told, &mut opening);
        let opened = timeout(TRY_LIMIT, opened).await;
        if let (Ok(Ok(connection)), Some(before)) = (&opened, &opening.before_tls) {
            let after = &connection.capabilities;
            survey.auth_needs_tls = before.auth.is_empty() && !after.auth.is_empty();
        }
        survey.tls = match (opening.peer.take(), opening.detail.take()) {
            (Some(peer), _) => Some(Ok(peer)),
            (None, detail) if matches!(opened, Ok(Err(Failure::Broken(Trouble::Tls)))) => {
                Some(Err(detail.unwrap_or_default()))
            }
            _ => None,
        };
        if let Ok(Ok(connection)) = opened {
            part(connection).await;
        }
    }
}

fn why(failure: Failure, opening: &Opening, from: Option<IpAddr>) -> String {
    match failure {
        Failure::Broken(Trouble::Unreachable) if from.is_some() => {
            "no way back to a client's address leads through this machine".to_owned()
        }
        Failure::Broken(Trouble::Identity) if opening.xclient.is_some() => {
            "it refuses XCLIENT".to_owned()
        }
        Failure::Broken(Trouble::Identity) if opening.announced.is_some() => {
            "it offers no XCLIENT with ADDR".to_owned()
        }
        Failure::Broken(Trouble::Identity) => "it takes the header for a command".to_owned(),
        Failure::Broken(trouble) | Failure::Unfit(trouble) => match &opening.detail {
            Some(detail) => format!("{} ({detail})", trouble.as_str()),
            None => trouble.as_str().to_owned(),
        },
        Failure::Sender(reply) | Failure::Service(reply) => {
            format!("it said {}", reply.to_log())
        }
    }
}
