//! Tables in Markdown, and what a reader must know about the machine to use them.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

/// A table that is built row by row.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// One more row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// As JSON: the columns' names, and the cells of each row as the table has them.
    pub(crate) fn to_json(&self) -> Value {
        json!({ "columns": self.columns, "rows": self.rows })
    }

    /// As Markdown; the first column to the left, the others to the right.
    pub(crate) fn to_markdown(&self) -> String {
        let mut text = format!("| {} |\n", self.columns.join(" | "));
        let rules = (0..self.columns.len()).map(|at| if at == 0 { "---" } else { "---:" });
        let _ok = writeln!(text, "|{}|", rules.collect::<Vec<_>>().join("|"));
        for row in &self.rows {
            let _ok = writeln!(text, "| {} |", row.join(" | "));
        }
        text
    }
}

/// Command line, processor, kernel, load: one paragraph.
pub(crate) fn machine() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("cargo xtask bench {}", arguments.join(" "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("processor unknown", |(_, name)| name.trim());
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "`{}` on {cores} cores ({model}), Linux {}; load average before the start {}. Client, \
         gateway and server share these cores, so figures are worth as ratios within one run.\n",
        command.trim_end(),
        kernel.trim(),
        load.split(' ').next().unwrap_or("unknown"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown() {
        let mut table = Table::new(&["what", "figure"]);
        table.row(vec!["a".into(), "1".into()]);
        assert_eq!(
            table.to_markdown(),
            "| what | figure |\n|---|---:|\n| a | 1 |\n"
        );
        assert_eq!(table.to_json()["rows"][0][1], "1");
    }

    #[test]
    fn the_machine_is_named() {
        assert!(machine().contains(" cores ("));
    }
}
