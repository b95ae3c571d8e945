//! The table of metrics as a page for administrators.

use std::fmt::Write as _;

use tarpit_gateway::metrics::{self, Family, Kind, Section, Values};

const HEAD: &str = "\
# Monitoring

<!-- Made from the table in the code by `cargo xtask generate`; don't edit it here. -->

Tarpit shows what it does in numbers, in the text format of Prometheus (version 0.0.4), at
`http://127.0.0.1:12842/metrics`. `[admin] address` says where; `\"off\"` closes it.

| path | answer |
|---|---|
| `/` | [the page](page.md), to look at |
| `/metrics` | the figures below |
| `/livez` | 200 while the process turns |
| `/readyz` | 200 while a new client would be served; 503 with the reason in the body while draining, or while no upstream is healthy |

GET and HEAD are answered, one request to a connection. On loopback the Host must be `localhost` or an IP address, so that a
page in somebody's browser can't read the figures by a name of its own; elsewhere any name will do, and whoever reaches the
address reads the figures: they name no client and no address of one, but restrict it all the same. With `[admin] token_file`
only those who know the token read them (in Prometheus: `authorization: { credentials_file: ... }`); `/livez` and `/readyz` ask
for none.

With the default address, a port that is taken stops nothing: it is logged, and tried again while the gateway runs, so that
several gateways live on one machine. An address that the configuration names must be had, or the gateway doesn't start.

```yaml
scrape_configs:
  - job_name: tarpit
    static_configs:
      - targets: [\"127.0.0.1:12842\"]
```

Each thing is counted once, where its record is written, so that figures and records agree. Counters begin at zero with each
process. No label has values that a client chooses: they are the words below, or names from the configuration. The figures are
read at most ten times a second, however many ask. Without Prometheus, the same counters are in the log every five minutes and
at the end (`totals`), by their names here without `tarpit_` and `_total`.
";

const TAIL: &str = "\
\n## What to look at

| question | query |
|---|---|
| Is mail well? | `sum by (outcome) (rate(tarpit_messages_total[5m]))`, `min(tarpit_upstream_up)` |
| How long does mail take? | `histogram_quantile(0.99, sum by (le, stage) (rate(tarpit_stage_duration_seconds_bucket[5m])))` |
| Who waits, and for what? | `tarpit_pit_sessions`, `sum by (reason) (rate(tarpit_holds_total[5m]))` |
| What would enforce do? | `sum by (reason) (increase(tarpit_observed_holds_total[1d]))` |
| How much time was stolen? | `sum(increase(tarpit_held_seconds_total[1d]))` |
| Is anything refused for want of room? | `rate(tarpit_sessions_refused_total{reason=\"full\"}[5m])`, `rate(tarpit_sheds_total[5m])` |
| Did the last reload work? | `tarpit_config_last_reload_successful == 0` |
| What is it good for, and what does it cost? | `rate(tarpit_names_learnt_total[5m])`, `rate(tarpit_guesses_total[5m])`; `increase(tarpit_harm_seconds_total[1d])` |
| When does a certificate end? | `tarpit_certificate_expiry_timestamp_seconds - time()` |

## Boards and alerts

`packaging/grafana-dashboard.json` is a board for Grafana (import it, and choose the data source), and
`packaging/prometheus-alerts.yml` has alert rules for Prometheus (`rule_files`); the package has both in
`/usr/share/doc/tarpit`. Both expect a job whose name begins with `tarpit`. Each rule says what to do. The tests hold every
metric and label that they name against the table above, and let Prometheus read every expression.
";

/// The page docs/monitoring.md: every metric, what it means, its kind and its labels, as Markdown.
#[must_use]
pub fn monitoring_markdown() -> String {
    let mut page = HEAD.to_owned();
    for section in Section::ALL {
        put(&mut page, format_args!("\n## {}\n\n", section.title()));
        page.push_str("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
        metrics::families()
            .filter(|family| family.section == *section)
            .for_each(|family| row(&mut page, family));
    }
    page.push_str(&bounds());
    page.push_str(TAIL);
    page
}

fn row(page: &mut String, family: &Family) {
    let labels: Vec<_> = family
        .labels
        .iter()
        .map(|label| match label.values {
            Values::Words(words) => format!("`{}`: {}", label.name, code(&words())),
            Values::Config(what) => format!("`{}`: {what}", label.name),
        })
        .collect();
    let (name, kind, help) = (family.name, family.kind.as_str(), family.help);
    let labels = labels.join("; ");
    put(
        page,
        format_args!("| `{name}` | {kind} | {labels} | {help} |\n"),
    );
}

fn code(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

fn bounds() -> String {
    let has_histograms = metrics::families().any(|family| family.kind == Kind::Histogram);
    assert!(has_histograms, "the page explains histograms");
    let seconds: Vec<_> = metrics::BOUNDS.iter().map(|(text, _)| *text).collect();
    format!(
        "\nHistograms have these bounds, in seconds: {}.\n",
        seconds.join(", ")
    )
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what)
        .expect("writing to a string can't fail");
}
