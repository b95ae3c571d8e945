//! From lines to steps.

use std::net::{IpAddr, Ipv4Addr};

use tarpit_core::Admission;
use tarpit_core::policy::Way;

use super::{DataFate, Dialog, HoldLine, MessageLine, ParseError, Placed, Settings, Step, text};

/// Whose client connects where no address is given. RFC 5737.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

const STEPS: &str = "set, core only:, open, hello, session, C:, C-, S:, S-, U:, data, nothing, wait, hold, record, message, closed, \
                     hang up, half close, tls, tls failed, drain, drain over, shed";

const HOLD: &str = "allowed: hold REASON [CODE] owed TIME held TIME END [WAY]";

pub(super) fn parse(name: &str, text: &str) -> Result<Dialog, ParseError> {
    let mut parser = Parser {
        dialog: Dialog {
            name: name.to_owned(),
            settings: Settings::default(),
            core_only: None,
            steps: Vec::new(),
        },
        packet: None,
    };
    let error = |line, what| ParseError {
        name: name.to_owned(),
        line,
        what,
    };
    if !text.starts_with('#') {
        return Err(error(
            1,
            "a dialogue begins with a comment that says why it exists".to_owned(),
        ));
    }
    for (index, line) in text.lines().enumerate() {
        parser
            .line(index + 1, line.trim())
            .map_err(|what| error(index + 1, what))?;
    }
    parser.end_packet();
    if parser.dialog.steps.is_empty() {
        return Err(error(0, "there are no steps".to_owned()));
    }
    Ok(parser.dialog)
}

struct Parser {
    dialog: Dialog,
    /// What the client sends in one packet, and the line on which it began.
    packet: Option<(usize, Vec<u8>)>,
}

impl Parser {
    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        if let Some(text) = line.strip_prefix("C:") {
            let text = text.strip_prefix(' ').unwrap_or(text);
            return self.send(number, text, b"\r\n");
        }
        if let Some(text) = line.strip_prefix("C- ") {
            return self.send(number, text, b"");
        }
        self.end_packet();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(why) = line.strip_prefix("core only:") {
            self.dialog.core_only = Some(why.trim().to_owned());
            return Ok(());
        }
        if let Some(setting) = line.strip_prefix("set ") {
            if !self.dialog.steps.is_empty() {
                return Err("settings stand before the first step".to_owned());
            }
            let (name, value) = setting.split_once(' ').ok_or("allowed: set NAME VALUE")?;
            return self.dialog.settings.set(name, value.trim());
        }
        if line == "hello" {
            self.hello(number);
            return Ok(());
        }
        let step = step(line)?;
        self.dialog.steps.push(Placed { line: number, step });
        Ok(())
    }

    /// The greeting, EHLO and its reply: so common that it is one word.
    fn hello(&mut self, line: usize) {
        let rules = self.dialog.settings.rules();
        let mut announced = Vec::new();
        rules
            .offer()
            .to_ehlo(&rules.hostname)
            .write_to(&mut announced);
        let says = announced
            .split(|octet| *octet == b'\n')
            .map(<[u8]>::trim_ascii_end)
            .filter(|line| !line.is_empty());
        let greeting = Step::Say(format!("220 {} ESMTP", rules.hostname).into_bytes());
        let steps = [greeting, Step::Send(b"EHLO client.example\r\n".to_vec())];
        let steps = steps
            .into_iter()
            .chain(says.map(|line| Step::Say(line.to_vec())));
        self.dialog
            .steps
            .extend(steps.map(|step| Placed { line, step }));
    }

    fn send(&mut self, number: usize, text: &str, end: &[u8]) -> Result<(), String> {
        let (_, packet) = self.packet.get_or_insert_with(|| (number, Vec::new()));
        packet.extend(text::octets(text)?);
        packet.extend_from_slice(end);
        Ok(())
    }

    fn end_packet(&mut self) {
        if let Some((line, packet)) = self.packet.take() {
            self.dialog.steps.push(Placed {
                line,
                step: Step::Send(packet),
            });
        }
    }
}

fn step(line: &str) -> Result<Step, String> {
    if let Some(text) = line.strip_prefix("S: ") {
        return Ok(Step::Say(text::octets(text)?));
    }
    if let Some(text) = line.strip_prefix("S- ") {
        return Ok(Step::SayPart(text::octets(text)?));
    }
    if let Some(text) = line.strip_prefix("U: ") {
        return upstream(text);
    }
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match (word, rest.trim()) {
        ("open", rest) => open(rest),
        ("session", number) => number
            .parse()
            .map(Step::Session)
            .map_err(|_| "allowed: session NUMBER".to_owned()),
        ("nothing", "") => Ok(Step::Nothing),
        ("wait", time) => text::time(time).map(Step::Wait),
        ("hold", rest) => hold(rest).map(Step::Hold),
        ("record", rest) => record(rest).map(Step::Record),
        ("message", rest) => message(rest).map(Step::Message),
        ("data", rest) => data(rest).map(Step::Data),
        ("closed", end) if !end.is_empty() => Ok(Step::Closed(end.to_owned())),
        ("hang", "up") => Ok(Step::HangUp),
        ("half", "close") => Ok(Step::HalfClose),
        ("tls", "") => Ok(Step::Tls(true)),
        ("tls", "failed") => Ok(Step::Tls(false)),
        ("drain", "") => Ok(Step::Drain),
        ("drain", "over") => Ok(Step::DrainOver),
        ("shed", "") => Ok(Step::Shed),
        _ => Err(format!("{line:?} is no step; allowed: {STEPS}")),
    }
}

fn upstream(text: &str) -> Result<Step, String> {
    if let Some(line) = text.strip_prefix("MAIL ") {
        return Ok(Step::Mail(format!("MAIL {line}")));
    }
    if let Some(answer) = text.strip_prefix("=> ") {
        return text::outcome(answer).map(Step::Answer);
    }
    match text.split_once(" => ") {
        Some((question, answer)) => Ok(Step::Ask {
            question: question.to_owned(),
            outcome: Some(text::outcome(answer)?),
        }),
        None => Ok(Step::Ask {
            question: text.to_owned(),
            outcome: None,
        }),
    }
}

fn open(rest: &str) -> Result<Step, String> {
    let (mut from, mut admission) = (CLIENT, Admission::Open);
    let mut words = rest.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "from" => {
                let address = words.next().unwrap_or_default();
                from = address
                    .parse()
                    .map_err(|_| format!("{address:?} is no IP address"))?;
            }
            "unavailable" => admission = Admission::Unavailable,
            "draining" => admission = Admission::Draining,
            "full" => admission = Admission::Full,
            "source_full" => admission = Admission::SourceFull,
            "ourselves" => admission = Admission::Ourselves,
            _ => {
                return Err(format!(
                    "found {word:?}, allowed: open [from ADDRESS] [unavailable|draining|full|source_full|ourselves]"
                ));
            }
        }
    }
    Ok(Step::Open { from, admission })
}

fn hold(rest: &str) -> Result<HoldLine, String> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (reason, code, rest) = match words.as_slice() {
        [reason, code, rest @ ..] if *code != "owed" => (
            reason,
            Some(code.parse().map_err(|_| format!("{code:?} is no code"))?),
            rest,
        ),
        [reason, rest @ ..] => (reason, None, rest),
        [] => return Err(HOLD.to_owned()),
    };
    let ["owed", owed, "held", held, end, way @ ..] = rest else {
        return Err(HOLD.to_owned());
    };
    let way = match way {
        [] => Way::Silent.as_str(),
        [way] => way,
        _ => return Err(HOLD.to_owned()),
    };
    Ok(HoldLine {
        reason: (*reason).to_owned(),
        code,
        owed: text::time(owed)?,
        held: text::time(held)?,
        end: (*end).to_owned(),
        way: way.to_owned(),
    })
}

fn record(rest: &str) -> Result<Vec<(String, String)>, String> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let known = tarpit_core::record::SessionRecord::default();
    let pair = |pair: &[&str]| match pair {
        [field, value] if super::session_field(&known, field).is_some() => {
            Ok(((*field).to_owned(), (*value).to_owned()))
        }
        [field, ..] => Err(format!(
            "{field:?} is no field of a record, or has no value"
        )),
        [] => Err("allowed: record FIELD VALUE ...".to_owned()),
    };
    if words.is_empty() {
        return pair(&[]).map(|_| Vec::new());
    }
    words.chunks(2).map(pair).collect()
}

fn message(rest: &str) -> Result<MessageLine, String> {
    let (from_upstream, reply) = match rest.split_once(' ') {
        Some(("upstream", reply)) => (true, reply),
        Some(("gateway", reply)) => (false, reply),
        _ => return Err("allowed: message upstream REPLY, message gateway REPLY".to_owned()),
    };
    Ok(MessageLine {
        from_upstream,
        reply: text::reply(reply)?.to_log(),
    })
}

fn data(rest: &str) -> Result<DataFate, String> {
    match rest.strip_prefix("=> ") {
        Some(answer) => match answer.strip_prefix('!') {
            Some(word) => text::trouble(word).map(DataFate::Lost),
            None => text::reply(answer).map(DataFate::Refused),
        },
        None if rest == "too slow" => Ok(DataFate::TooSlow),
        None => Err("allowed: data => REPLY, data => !TROUBLE, data too slow".to_owned()),
    }
}
