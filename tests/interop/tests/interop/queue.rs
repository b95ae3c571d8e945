//! A wanted sender with an address list that has aged: 5 % of its recipients don't exist. It has
//! 20 connections and `scope = "source"`, so the debt of its misses is that of all its mail. Every
//! valid recipient must get its mail within the retries of a usual queue.
//!
//! All times are a fifth of life's, so that the test is quick: a delay of 1 s for 5 s, holds of
//! 5 s at most for 25 s, and retries after 1, 2, 4 ... minutes become 12, 24, 48 ... s. Waits are
//! printed in the test's seconds.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tarpit_interop::{Client, Gateway, Postfix, config, plain, received_part, stuffed};

const MESSAGES: usize = 400;
const CONNECTIONS: usize = 20;

/// Recipients in each message's transaction.
const RECIPIENTS: usize = 1;

/// First retry of a usual queue (Postfix: minimal_backoff_time 300 s, Exim: 15 min; large senders
/// begin at about a minute), scaled; each further one doubles.
const RETRY: Duration = Duration::from_secs(12);

/// One message to one recipient.
#[derive(Clone, Debug)]
struct Job {
    number: usize,
    born: Instant,
    due: Instant,
    tries: u32,
}

impl Job {
    fn exists(&self) -> bool {
        !self.number.is_multiple_of(20)
    }

    fn recipient(&self) -> String {
        // Which of the names doesn't exist is spread over the list.
        if self.exists() {
            "alice@example.org".to_owned()
        } else {
            format!("gone{}@example.org", self.number)
        }
    }

    fn later(mut self) -> Self {
        self.tries += 1;
        self.due = Instant::now() + RETRY * 2_u32.pow(self.tries - 1);
        self
    }
}

/// The sender's queue, and what came of it.
#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Seconds from birth to the 250 of each delivered message, and how often it was tried again.
    delivered: Vec<(Duration, u32)>,
    bounced: Vec<usize>,
    deferrals: u32,
    running: usize,
}

/// Takes a job that is due; `Err` with the time of the next one if none is.
fn take(queue: &Mutex<Queue>) -> Result<Job, Option<Instant>> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    if let Some(place) = queue.jobs.iter().position(|job| job.due <= now)
        && let Some(job) = queue.jobs.remove(place)
    {
        queue.running += 1;
        return Ok(job);
    }
    let next = queue.jobs.iter().map(|job| job.due).min();
    // Somebody may put a running job back.
    Err(next.or_else(|| (queue.running > 0).then(|| now + Duration::from_millis(100))))
}

/// One connection of the sender: opened when there is work, kept for ten messages.
fn deliver(queue: &Mutex<Queue>, port: u16) -> Result<()> {
    let mut connection: Option<(Client, u32)> = None;
    loop {
        let job = match take(queue) {
            Ok(job) => job,
            Err(Some(next)) => {
                if let Some((client, _)) = connection.take() {
                    client.quit()?;
                }
                thread::sleep(next.saturating_duration_since(Instant::now()));
                continue;
            }
            Err(None) => return Ok(()),
        };
        let (mut client, used) = match connection.take() {
            Some(open) => open,
            None => (Client::hello_from(Ipv4Addr::new(127, 0, 5, 1), port)?, 0),
        };
        let outcome = transaction(&mut client, &job);
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        // Before anything fails: the others wait for this.
        queue.running -= 1;
        let outcome = outcome?;
        match outcome {
            250 => queue.delivered.push((job.born.elapsed(), job.tries)),
            500.. => queue.bounced.push(job.number),
            _ => {
                queue.deferrals += 1;
                queue.jobs.push_back(job.later());
            }
        }
        drop(queue);
        // A server that says 421 closes; a sender opens another connection later.
        if outcome != 421 && used < 10 {
            connection = Some((client, used + 1));
        }
    }
}

/// The code that decides about the job.
fn transaction(client: &mut Client, job: &Job) -> Result<u16> {
    client
        .command("MAIL FROM:<list@example.net>")?
        .expect(250)?;
    let reply = client.command(&format!("RCPT TO:<{}>", job.recipient()))?;
    if reply.code != 250 {
        if reply.code != 421 {
            client.command("RSET")?.expect(250)?;
        }
        return Ok(reply.code);
    }
    client.command("DATA")?.expect(354)?;
    client.send(&stuffed(&plain(&format!("list{}", job.number))))?;
    Ok(client.reply()?.code)
}

fn print(queue: &mut Queue) {
    queue.delivered.sort();
    let count = queue.delivered.len();
    let at = |share: usize| {
        queue
            .delivered
            .get(count.saturating_sub(1) * share / 100)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{MESSAGES} messages, {RECIPIENTS} recipient each, 5 % unknown, {CONNECTIONS} connections"
    );
    println!(
        "delivered {count}, bounced {}, deferrals {}",
        queue.bounced.len(),
        queue.deferrals
    );
    for share in [50, 90, 99, 100] {
        let (wait, tries) = at(share);
        println!(
            "{share:3} % within {:6.2} s, after {tries} retries",
            wait.as_secs_f64()
        );
    }
    for tries in 0..=queue
        .delivered
        .iter()
        .map(|(_, tries)| *tries)
        .max()
        .unwrap_or_default()
    {
        let with = queue.delivered.iter().filter(|(_, other)| *other == tries);
        println!("{tries} retries: {}", with.count());
    }
}

#[test]
fn every_valid_recipient_gets_its_mail() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let rest =
        "[tarpit]\nmode = \"enforce\"\ndelay = \"1s\"\nscope = \"source\"\nhold_max = \"5s\"";
    let gateway = Gateway::start(&config(postfix.port(), "xclient", rest))?;
    let now = Instant::now();
    let jobs = (1..=MESSAGES).map(|number| Job {
        number,
        born: now,
        due: now,
        tries: 0,
    });
    let queue = Mutex::new(Queue {
        jobs: jobs.collect(),
        ..Queue::default()
    });
    let port = gateway.port()?;
    thread::scope(|scope| {
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|_| scope.spawn(|| deliver(&queue, port)))
            .collect();
        for sender in senders {
            match sender.join() {
                Ok(result) => result?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        anyhow::Ok(())
    })?;
    let mut queue = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    print(&mut queue);

    let valid = MESSAGES - MESSAGES / 20;
    ensure!(
        queue.delivered.len() == valid,
        "{} of {valid} were delivered",
        queue.delivered.len()
    );
    ensure!(
        queue.bounced.len() == MESSAGES / 20,
        "bounced: {:?}",
        queue.bounced
    );
    let most = queue
        .delivered
        .iter()
        .map(|(_, tries)| *tries)
        .max()
        .unwrap_or_default();
    ensure!(most <= 2, "a valid recipient needed {most} retries");
    // Acknowledged is stored, once and unchanged.
    let stored: Vec<_> = postfix
        .wait_mailbox("alice", valid)?
        .iter()
        .map(|message| received_part(message))
        .collect();
    for number in (1..=MESSAGES).filter(|number| !number.is_multiple_of(20)) {
        ensure!(
            stored.contains(&plain(&format!("list{number}"))),
            "list{number} is missing"
        );
    }
    gateway.stop()
}
