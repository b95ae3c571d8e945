//! What the dialogue claims of records, against what the gateway logged.

use std::time::Duration;

use tarpit_testkit::{HoldLine, MessageLine};

use super::{Checked, Part, Player};
use crate::records::{self, Record};
use crate::time::{OFF, scaled};

impl Player {
    pub(super) async fn check_records(&mut self) -> Checked {
        // A dialogue that claims one hold claims all.
        let all_holds = self.clients.iter().any(|part| !part.holds.is_empty());
        for (number, part) in self.clients.iter().enumerate() {
            let times = check(part, number + 1, all_holds)
                .await
                .map_err(|what| format!("session {}: {what}", number + 1))?;
            self.late.extend(times);
        }
        Ok(())
    }
}

/// Compares; returns what is only too long or too short.
async fn check(part: &Part, number: usize, all_holds: bool) -> Result<Vec<String>, String> {
    let client = part.client.address.to_string();
    let record = records::session(&client)
        .await
        .ok_or("no record of it was written")?;
    let id = field(&record, "session");
    if let Some(said) = &part.client.id
        && id != format!("tp-{said}")
    {
        return Err(format!(
            "its record has the id {id}, its client was told {said}"
        ));
    }
    if let Some(end) = &part.end
        && field(&record, "end") != *end
    {
        return Err(format!(
            "expected the end {end:?}, found {:?}",
            field(&record, "end")
        ));
    }
    part.fields
        .iter()
        .try_for_each(|(name, value)| check_field(&record, name, value))?;
    if let Some(message) = &part.message {
        check_message(&record, message, &id, number)?;
    }
    if !all_holds {
        return Ok(Vec::new());
    }
    let holds = records::holds(&id);
    if holds.len() != part.holds.len() {
        return Err(format!(
            "expected {} holds, found {holds:?}",
            part.holds.len()
        ));
    }
    let pairs = part.holds.iter().zip(&holds);
    let times: Result<Vec<_>, _> = pairs.map(|(line, found)| check_hold(found, line)).collect();
    Ok(times?.into_iter().flatten().collect())
}

fn check_field(record: &Record, name: &str, value: &str) -> Checked {
    let logged = match name {
        "failed_auth" => "auth_failed",
        "held" => "held_seconds",
        "secured" => "tls",
        name => name,
    };
    let found = field(record, logged);
    let is_right = match (name, value) {
        ("held", _) => {
            let seconds: f64 = value
                .trim_end_matches('s')
                .parse()
                .map_err(|_| format!("{value:?} is no time"))?;
            is_near(&found, Duration::from_secs_f64(seconds))
        }
        ("helo" | "client_name", "-") => found.is_empty(),
        ("authenticated" | "exempt" | "secured" | "introduced", _) => {
            found == if value == "yes" { "true" } else { "false" }
        }
        _ => found == value,
    };
    if is_right {
        Ok(())
    } else {
        Err(format!(
            "expected {name} {value} in its record, found {found}"
        ))
    }
}

fn check_message(record: &Record, message: &MessageLine, id: &str, number: usize) -> Checked {
    let who = if message.from_upstream {
        "upstream"
    } else {
        "gateway"
    };
    let reply = message
        .reply
        .replace(&format!("[tp-{number:08}]"), &format!("[{id}]"));
    let expected = format!(" {who}={reply}");
    let found = field(record, "envelopes");
    if found.ends_with(&expected) {
        Ok(())
    } else {
        Err(format!("expected a message with{expected}, found {found}"))
    }
}

fn check_hold(found: &Record, line: &HoldLine) -> Result<Option<String>, String> {
    let code = line.code.map_or_else(String::new, |code| code.to_string());
    let is_right = field(found, "reason") == line.reason
        && field(found, "code") == code
        && field(found, "end") == line.end
        && field(found, "way") == line.way;
    if !is_right {
        return Err(format!("expected {line:?}, found {found:?}"));
    }
    let is_near = is_near(&field(found, "owed_seconds"), line.owed)
        && is_near(&field(found, "held_seconds"), line.held);
    Ok((!is_near).then(|| format!("0: expected {line:?} in scaled time, found {found:?}")))
}

/// Off by no more than what a busy machine does: steps come late, so a debt can have got smaller.
fn is_near(seconds: &str, expected: Duration) -> bool {
    let Ok(seconds) = seconds.parse::<f64>() else {
        return false;
    };
    (seconds - scaled(expected).as_secs_f64()).abs() <= OFF.as_secs_f64()
}

fn field(record: &Record, name: &str) -> String {
    record.get(name).cloned().unwrap_or_default()
}
