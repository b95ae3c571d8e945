//! What a dialogue claims of records.

use tarpit_core::policy::Mode;
use tarpit_core::record::HoldRecord;
use tarpit_smtp::write_mail;

use super::{Checked, Player, shown};
use crate::dialog::{HoldLine, MessageLine, session_field};
use crate::world::Rest;

impl Player<'_> {
    pub(super) fn hold(&mut self, line: &HoldLine) -> Checked {
        self.claimed_holds = true;
        let mode = self.dialog.settings.policy.mode;
        let number = self.current;
        let peer = self.world.peer_mut(number);
        let (id, source) = (peer.session.id(), peer.session.source());
        let Some(record) = peer.holds.pop_front() else {
            return Err(format!(
                "expected {}, there is no record of a hold",
                show(line)
            ));
        };
        let found = line_of(&record);
        if found != *line {
            return Err(format!("expected {}, found {}", show(line), show(&found)));
        }
        if record.session != id || record.source != source || record.mode != mode {
            return Err(format!(
                "the record is of another session, source or mode: {record:?}"
            ));
        }
        Ok(())
    }

    /// A dialogue that looks at one record has to look at all; in mode `off` there is none.
    pub(super) fn all_holds_claimed(&self) -> Checked {
        let strict = self.claimed_holds || self.dialog.settings.policy.mode == Mode::Off;
        let left = self
            .world
            .peers()
            .iter()
            .flat_map(|peer| &peer.holds)
            .next();
        match left {
            Some(record) if strict => Err(format!(
                "session {} has a record that nobody claimed: {}",
                record.session,
                show(&line_of(record))
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn record(&self, fields: &[(String, String)]) -> Checked {
        let record = self.world.peer(self.current).session.record();
        for (field, expected) in fields {
            let found = session_field(record, field).unwrap_or_default();
            if found != *expected {
                return Err(format!(
                    "expected {field} {expected} in the session's record, found {found}"
                ));
            }
        }
        Ok(())
    }

    pub(super) fn message(&self, line: &MessageLine) -> Checked {
        let record = self.world.peer(self.current).session.record();
        let Some(message) = record.messages.last() else {
            return Err("there is no message in the session's record".to_owned());
        };
        let found = MessageLine {
            from_upstream: message.from_upstream,
            reply: message.reply.to_log(),
        };
        if found == *line {
            Ok(())
        } else {
            Err(format!("expected {line:?}, found {found:?}"))
        }
    }

    pub(super) fn closed(&self, end: &str) -> Checked {
        self.nothing_unclaimed(self.current)?;
        let peer = self.world.peer(self.current);
        if !matches!(peer.rest, Rest::Closed) {
            return Err(format!(
                "the session is not closed, it rests in {:?}",
                peer.rest
            ));
        }
        let found = peer.session.record().end.as_str();
        if found == end {
            Ok(())
        } else {
            Err(format!("expected the end {end:?}, found {found:?}"))
        }
    }

    /// What the upstream would be told before the question that is open.
    pub(super) fn mail(&self, line: &str) -> Checked {
        let Some(envelope) = self.world.peer(self.current).session.envelope() else {
            return Err("there is no transaction".to_owned());
        };
        let mut printed = Vec::new();
        write_mail(&mut printed, &envelope.reverse_path, &envelope.params);
        let printed = shown(printed.trim_ascii_end());
        if printed == line {
            Ok(())
        } else {
            Err(format!(
                "expected {line:?}, the upstream is told {printed:?}"
            ))
        }
    }
}

fn line_of(record: &HoldRecord) -> HoldLine {
    HoldLine {
        reason: record.reason.as_str().to_owned(),
        code: record.code.map(tarpit_smtp::ReplyCode::get),
        owed: record.owed,
        held: record.held,
        end: record.end.as_str().to_owned(),
        way: record.way.as_str().to_owned(),
    }
}

fn show(line: &HoldLine) -> String {
    let code = line
        .code
        .map_or_else(String::new, |code| format!(" {code}"));
    format!(
        "hold {}{code} owed {:?} held {:?} {} {}",
        line.reason, line.owed, line.held, line.end, line.way
    )
}
