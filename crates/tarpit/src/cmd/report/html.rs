//! The report as one page that needs nothing else: no script, no picture, no font, no request.
//!
//! A page that loads a library for its plots was rejected: it tells a stranger who reads about
//! whose mail, and shows nothing without a network.

use std::fmt::Write as _;

use tarpit_core::Source;

use super::plot::{Bars, svg};
use super::tally::{Dealings, Hour, LISTED, Report};
use super::text::{self, counted, moment, number, seconds};

const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#fff;--text:#1a1d21;--faint:#667;--line:#ccd;--harm:#b3261e;--stolen:#1f6f43;--sessions:#44546a}\
@media(prefers-color-scheme:dark){:root{--ground:#15181c;--text:#e6e8eb;--faint:#9aa4b0;--line:#3a414a;--harm:#ff8a80;--stolen:#7bd3a1;--sessions:#9fb4d0}}\
body{background:var(--ground);color:var(--text);font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem;border-bottom:1px solid var(--line)}\
.faint{color:var(--faint)}.big{font-size:1.4rem}.harm{color:var(--harm)}\
div.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}\
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}\
th:first-child,td:first-child{text-align:left}\
pre{background:color-mix(in srgb,var(--line) 30%,transparent);padding:.6rem;overflow-x:auto}\
figure{margin:1rem 0}svg{width:100%;height:auto}svg text{fill:var(--faint);font-size:12px}svg line{stroke:var(--line)}\
rect.harm{fill:var(--harm)}rect.stolen{fill:var(--stolen)}rect.sessions{fill:var(--sessions)}";

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>Tarpit report</title><style>{STYLE}</style></head>\n<body><h1>Tarpit report</h1>\n"
    );
    if report.from > report.to {
        out.push_str("<p>There are no records in this time.</p></body></html>\n");
        return out;
    }
    let (from, to) = (moment(report.from), moment(report.to));
    let _ = writeln!(
        out,
        "<p>{from} to {to} UTC: {} of {}.</p>",
        counted(report.all.sessions, "session"),
        counted(report.sources, "source")
    );
    if report.is_estimate() {
        let _ = writeln!(
            out,
            "<p class=\"faint\">{}</p>",
            text::ESTIMATE.replace('`', "")
        );
    }
    harm(&mut out, report);
    effect(&mut out, report);
    plots(&mut out, report, (&from, &to));
    if !report.top.is_empty() {
        out.push_str("<h2>Top sources without accepted mail</h2>\n");
        table(&mut out, &report.top);
    }
    out.push_str("</body></html>\n");
    out
}

fn harm(out: &mut String, report: &Report) {
    out.push_str("<h2>Harm: sources that waited although the upstream accepted their mail</h2>\n");
    if report.harm.is_empty() {
        let wanted = counted(report.wanted, "source with accepted mail");
        let _ = writeln!(out, "<p class=\"big\">None of {wanted}.</p>");
        return;
    }
    let _ = writeln!(
        out,
        "<p class=\"big harm\">{} of {} with accepted mail: {} in all</p>",
        report.harm.len(),
        report.wanted,
        seconds(report.harm_time())
    );
    table(out, &report.harm);
    out.push_str("<p>To exempt one, say <code>tarpit exempt add</code>, or add its lines to the configuration and reload:</p>\n<pre>");
    for (source, dealings) in report.harm.iter().take(LISTED) {
        // Addresses, numbers and dates: nothing in it needs an escape.
        let _ = writeln!(out, "{}", text::exempt(*source, dealings));
    }
    out.push_str("</pre>\n");
}

fn effect(out: &mut String, report: &Report) {
    let all = &report.all;
    out.push_str("<h2>Effect</h2>\n<div class=\"wide\"><table>\n");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(out, "<tr><td>{name}</td><td>{value}</td></tr>");
    };
    for (mode, count) in &report.modes {
        row(&format!("sessions in {}", escaped(mode)), number(*count));
    }
    row(
        "held",
        format!("{}, {}", number(all.holds), seconds(all.held)),
    );
    row(
        "would have been held",
        format!("{}, {}", number(all.observed), seconds(all.would_hold)),
    );
    row("time of unwanted sources", seconds(report.stolen));
    row("recipients refused", number(all.refused));
    for (name, value) in text::lessons(report) {
        row(name, value);
    }
    row("failed AUTHs", number(all.auth_failed));
    row("answered 450 or 454, unseen", number(all.unseen));
    row("messages accepted", number(all.messages));
    for (end, count) in &report.ends {
        row(
            &format!("holds that ended: {}", escaped(end)),
            number(*count),
        );
    }
    out.push_str("</table></div>\n");
}

fn plots(out: &mut String, report: &Report, ends: (&str, &str)) {
    let values =
        |of: &dyn Fn(&Hour) -> f64| -> Vec<f64> { report.hours.values().map(of).collect() };
    #[expect(
        clippy::cast_precision_loss,
        reason = "exact for any number of sessions of an hour"
    )]
    let sessions = values(&|hour| hour.sessions as f64);
    let (harm, stolen) = (values(&|hour| hour.harm), values(&|hour| hour.stolen));
    out.push_str("<h2>Over time</h2>\n");
    for (title, class, values) in [
        ("Seconds that wanted sources waited", "harm", &harm),
        ("Seconds that unwanted sources waited", "stolen", &stolen),
        ("Sessions", "sessions", &sessions),
    ] {
        let bars = Bars {
            title,
            class,
            values,
            ends,
        };
        out.push_str(&svg(&bars));
    }
}

fn table(out: &mut String, rows: &[(Source, Dealings)]) {
    out.push_str(
        "<div class=\"wide\"><table><tr><th scope=\"col\">source</th><th scope=\"col\">waited</th>\
         <th scope=\"col\">holds</th><th scope=\"col\">sessions</th><th scope=\"col\">guesses</th>\
         <th scope=\"col\">unseen</th><th scope=\"col\">messages</th><th scope=\"col\">last seen</th></tr>\n",
    );
    for (source, one) in rows.iter().take(LISTED) {
        let _ = writeln!(
            out,
            "<tr><td>{source}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            seconds(one.waited()),
            number(one.holds + one.observed),
            number(one.sessions),
            number(one.refused),
            number(one.unseen),
            number(one.messages),
            moment(one.last)
        );
    }
    out.push_str("</table></div>\n");
}

/// Words come from a file, and a file may say anything.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
