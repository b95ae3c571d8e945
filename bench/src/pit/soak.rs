//! The soak: clients that come, are held, hang up at any moment and come again, for as long as
//! asked, in the clear and over TLS, with mail beside them. What leaks shows in what is there at
//! the end and was not after the first minute.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::Setting;
use super::herd::{Herd, Order, Tally, Way};
use super::machine;
use super::mail;
use super::subject::{Holding, Kind, Subject, Wanted};
use crate::report::Table;
use crate::sink::Sink;
use crate::stats::count;
use crate::tls::Certificate;

/// How long one waits.
const HOLD: Duration = Duration::from_secs(10);

/// Clients in the clear, and how many of them hang up a second: after 15 s each, on average, so
/// that most have been held and some have got a reply.
const PLAIN: (u64, f64) = (6000, 400.0);
/// The same over TLS, whose handshakes cost more than all the rest.
const TLS: (u64, f64) = (1000, 40.0);

/// Clients connect so fast, to begin with.
const RATE: f64 = 2000.0;

/// Messages a second meanwhile.
const MAIL: f64 = 100.0;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(10);

/// After which time memory is looked at for the first time.
const FIRST: Duration = Duration::from_secs(60);

/// For clients to leave, and for the gateway to notice.
const PATIENCE: Duration = Duration::from_secs(30);

/// The gauge of held sessions.
const GAUGE: &str = "tarpit_pit_sessions";

/// What was there at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    /// Memory of front and keepers, KiB.
    user_kib: u64,
    /// Descriptors of front and keepers.
    descriptors: u64,
    /// Sockets of the gateway's that are connected to a client.
    sockets: u64,
    /// Clients with a connection, and those that wait for a reply.
    clients: u64,
    held: u64,
    /// Sessions held, by the gateway's own figures.
    gauge: Option<u64>,
}

/// What the soak showed.
#[derive(Debug)]
pub(crate) struct Soaked {
    minutes: u64,
    samples: Vec<Sample>,
    before: Sample,
    still: Sample,
    after: Sample,
    seen: Tally,
    mail: mail::Seen,
}

struct Soak {
    started: Instant,
    subject: Subject,
    herds: [Herd; 2],
}

/// Soaks for so long.
pub(crate) async fn soak(minutes: u64, setting: &Setting) -> Result<Soaked> {
    let sink = Sink::start(1, Duration::ZERO)?;
    let certificate = Certificate::new()?;
    let wanted = Wanted {
        held: PLAIN.0 + TLS.0,
        hold: HOLD,
        holding: Holding::Silent,
        asks: false,
        authority: sink.authority,
        sink: sink.addresses[0],
        certificate: Some(&certificate),
        tarpit: &setting.tarpit,
    };
    let subject = Subject::start(Kind::Tarpit, &wanted).await?;
    let plain = Way {
        hold: HOLD,
        ahead: false,
        long: false,
        stepwise: false,
        trust: None,
    };
    let tls = Way {
        trust: Some(certificate.chain()),
        ..plain.clone()
    };
    let mut mail = mail::Seen::default();
    // What the first messages cost once is not what leaks.
    mail.paced(subject.mail, MAIL, LOOK / 10).await?;
    let mut soak = Soak {
        started: Instant::now(),
        herds: [
            Herd::start(subject.pit, PLAIN.0, &plain)?,
            Herd::start(subject.pit, TLS.0, &tls)?,
        ],
        subject,
    };
    let before = soak.look()?;
    for (herd, (_, churn)) in soak.herds.iter_mut().zip([PLAIN, TLS]) {
        herd.fill(RATE).await?;
        herd.order(Order::Churn { rate: churn })?;
    }
    let end = Duration::from_secs(minutes * 60);
    let mut samples = Vec::new();
    soak.started = Instant::now();
    while soak.started.elapsed() < end {
        mail.paced(soak.subject.mail, MAIL, LOOK).await?;
        samples.push(soak.look()?);
    }
    soak.stand_still().await?;
    let still = soak.look()?;
    let seen = soak.report()?;
    for herd in &mut soak.herds {
        herd.leave();
    }
    soak.wait_until_alone().await?;
    let after = soak.look()?;
    Ok(Soaked {
        minutes,
        samples,
        before,
        still,
        after,
        seen,
        mail,
    })
}

impl Soak {
    fn report(&mut self) -> Result<Tally> {
        let mut all = Tally::default();
        for herd in &mut self.herds {
            all.add(herd.report()?);
        }
        Ok(all)
    }

    fn look(&mut self) -> Result<Sample> {
        let processes = self.subject.processes();
        let tally = self.report()?;
        Ok(Sample {
            at: self.started.elapsed(),
            user_kib: machine::proportional_kib(&processes),
            descriptors: machine::open_descriptors(&processes),
            sockets: self.sockets()?,
            clients: tally.clients(),
            held: tally.held(),
            gauge: self.subject.admin.map(gauge).transpose()?,
        })
    }

    fn sockets(&self) -> Result<u64> {
        match self.subject.pit {
            SocketAddr::V4(address) => machine::sockets_at(address),
            SocketAddr::V6(address) => bail!("{address} is no address of the benchmark's"),
        }
    }

    /// Nobody hangs up any more, and all are held, so that what is counted on both sides can be
    /// compared.
    async fn stand_still(&mut self) -> Result<()> {
        for herd in &mut self.herds {
            herd.order(Order::Churn { rate: 0.0 })?;
            herd.order(Order::Answer { share: 0.0 })?;
        }
        for herd in &mut self.herds {
            herd.wait(PATIENCE, |tally| tally.silent() == tally.clients())
                .await?;
        }
        for herd in &mut self.herds {
            herd.order(Order::Guess { rate: RATE * 5.0 })?;
        }
        for herd in &mut self.herds {
            herd.wait(HOLD / 2, |tally| tally.silent() == 0).await?;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    /// Until no client's socket is left.
    async fn wait_until_alone(&self) -> Result<()> {
        let started = Instant::now();
        while self.sockets()? > 0 && started.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Upstream connections that mail has left idle go after 10 s.
        tokio::time::sleep(LOOK + LOOK / 2).await;
        Ok(())
    }
}

/// Sessions held, as the gateway says.
fn gauge(admin: SocketAddr) -> Result<u64> {
    let mut stream = TcpStream::connect(admin).context("the page of figures")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    stream
        .read_to_string(&mut page)
        .context("the page of figures")?;
    read_gauge(&page).with_context(|| format!("no {GAUGE} on the page of figures"))
}

fn read_gauge(page: &str) -> Option<u64> {
    let mut lines = page.lines();
    let value = lines.find_map(|line| line.strip_prefix(GAUGE)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

impl Soaked {
    /// The sample after the first minute, or the first there is.
    fn first(&self) -> Option<&Sample> {
        let mut samples = self.samples.iter();
        samples
            .find(|sample| sample.at >= FIRST)
            .or_else(|| self.samples.last())
    }

    /// As a table, and what it comes to.
    pub(crate) fn to_markdown(&self) -> String {
        let mut table = Table::new(&[
            "moment",
            "memory, KiB",
            "descriptors",
            "sockets of clients",
            "descriptors beside these",
            "clients",
            "held by the clients' count",
            "held by the gauge",
        ]);
        let mut row = |name: &str, sample: &Sample| {
            table.row(vec![
                name.to_owned(),
                count(sample.user_kib),
                count(sample.descriptors),
                count(sample.sockets),
                (sample.descriptors as i64 - sample.sockets as i64).to_string(),
                count(sample.clients),
                count(sample.held),
                sample.gauge.map_or_else(|| "-".to_owned(), count),
            ]);
        };
        row("before", &self.before);
        if let (Some(first), Some(last)) = (self.first(), self.samples.last()) {
            row("after the first minute", first);
            row("at the end", last);
        }
        row("nobody hangs up, all are held", &self.still);
        row("all have left", &self.after);
        let failure = self.mail.first_failure.as_deref().unwrap_or("none");
        format!(
            "## {} minutes of churn\n\n{} clients in the clear and {} over TLS; {} hung up at some \
             moment and others came, {} replies, {} ended or refused by the gateway ({}). Beside \
             them {MAIL} messages a second, of which {} failed (the first: {failure}).\n\n{}",
            self.minutes,
            count(PLAIN.0),
            count(TLS.0),
            count(self.seen.hung_up),
            count(self.seen.replies),
            count(self.seen.ended + self.seen.refused + self.seen.failures),
            self.seen.first_failure.as_deref().unwrap_or("none"),
            count(self.mail.failures),
            table.to_markdown()
        ) + "\nWho hangs up by FIN alone stays a socket until its reply is due (half-closed).\n"
    }

    /// With all samples.
    pub(crate) fn to_json(&self) -> Value {
        let samples: Vec<Value> = self.samples.iter().copied().map(Sample::to_json).collect();
        json!({
            "minutes": self.minutes,
            "before": self.before.to_json(),
            "samples": samples,
            "all_held": self.still.to_json(),
            "all_have_left": self.after.to_json(),
            "clients": self.seen.to_json(),
            "mail_failures": self.mail.failures,
        })
    }
}

impl Sample {
    fn to_json(self) -> Value {
        json!({
            "seconds": self.at.as_secs_f64(),
            "user_kib": self.user_kib,
            "descriptors": self.descriptors,
            "sockets": self.sockets,
            "clients": self.clients,
            "held": self.held,
            "gauge": self.gauge,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gauge_is_found_among_others() {
        let page = "# TYPE tarpit_pit_sessions gauge\ntarpit_pit_sessions_x 3\n\
            tarpit_pit_sessions 7000\ntarpit_pit_session_bytes 200\n";
        assert_eq!(read_gauge(page), Some(7000));
        assert_eq!(read_gauge("tarpit_pit_sessions_x 3\n"), None);
    }
}
