//! Certificates are renewed while we run: files are looked at, and their end is announced.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::certificate::CertificateInfo;
use super::server::ServerTls;
use crate::clock::unix_now;
use crate::config::Certificate;
use crate::shared::Shared;

/// How often the files are looked at: two system calls each.
const LOOK_EVERY: Duration = Duration::from_secs(1);

const DAY: i64 = 24 * 3600;

/// certbot renews 30 days before the end, so one that is nearer was forgotten.
const FIRST_WARNING_DAYS: i64 = 30;

/// From here on there is a warning each day.
const DAILY_WARNING_DAYS: i64 = 7;

/// What tells that files are other ones. Symbolic links are followed. The time is that of the last
/// change of anything, permissions included: a key that could not be read is tried again once it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp([Option<Look>; 2]);

/// Device, inode, permissions, seconds and nanoseconds of the change, octets.
type Look = (u64, u64, u32, i64, i64, u64);

impl Stamp {
    pub(super) fn of(files: &Certificate) -> Self {
        Self([of(&files.chain), of(&files.key)])
    }
}

fn of(path: &Path) -> Option<Look> {
    let meta = std::fs::metadata(path).ok()?;
    Some((
        meta.dev(),
        meta.ino(),
        meta.mode(),
        meta.ctime(),
        meta.ctime_nsec(),
        meta.len(),
    ))
}

/// What was said last about the dates of a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Warned {
    /// Nothing.
    #[default]
    No,
    /// That it is not valid yet.
    Early,
    /// That it ends within 30 days.
    Soon,
    /// That it ends in so many days, a week at most; less than none: that it ended.
    Days(i64),
}

impl Warned {
    /// What is to be said at `now`: once about the 30 days, once about each of the last seven, and
    /// each day after the end.
    fn due(info: &CertificateInfo, now: i64) -> Self {
        let days = info.days(now);
        if now < info.not_before {
            Self::Early
        } else if days > FIRST_WARNING_DAYS {
            Self::No
        } else if days > DAILY_WARNING_DAYS {
            Self::Soon
        } else {
            Self::Days(days)
        }
    }
}

impl ServerTls {
    /// Takes new files that have stopped changing. `seen`: how they looked the last time.
    ///
    /// A pair is replaced one file after the other; so what has just changed is left alone until
    /// it looks the same twice.
    pub(super) fn look(&self, seen: &mut Vec<Stamp>) {
        let mut entries = self.entries();
        let now: Vec<Stamp> = entries
            .iter()
            .map(|entry| Stamp::of(&entry.files))
            .collect();
        let mut is_changed = false;
        for (index, entry) in entries.iter_mut().enumerate() {
            let is_stable = seen.get(index) == now.get(index);
            if !is_stable || now.get(index) == Some(&entry.stamp) {
                continue;
            }
            is_changed = true;
            match entry.renew() {
                None => {
                    let file = entry.files.chain.display();
                    tracing::info!(target: "tarpit::tls", %file, "certificate taken again");
                }
                Some(error) => {
                    tracing::error!(target: "tarpit::tls", %error, "certificate refused, the old one stays");
                }
            }
        }
        if is_changed {
            self.show(&entries);
        }
        *seen = now;
    }

    /// Says which certificates end soon, or have ended, if that was not said today.
    pub(super) fn warn_of_dates(&self) {
        let now = i64::try_from(unix_now()).unwrap_or(i64::MAX);
        for entry in self.entries().iter_mut() {
            // The pairs in one file are renewed together.
            let first = entry
                .certificates
                .iter()
                .map(|made| &made.info)
                .min_by_key(|info| info.not_after);
            let Some(first) = first else { continue };
            let due = Warned::due(first, now);
            if due == entry.warned {
                continue;
            }
            if let Some(warning) = first.warning(now) {
                let names = first.name_list();
                let file = entry.files.chain.display();
                tracing::warn!(target: "tarpit::tls", %file, names, "the certificate {warning}");
            }
            entry.warned = due;
        }
    }
}

impl CertificateInfo {
    /// Whole days that it has left.
    const fn days(&self, now: i64) -> i64 {
        (self.not_after - now).div_euclid(DAY)
    }

    /// What is to be said about its dates at `now` (seconds since 1970), if anything is.
    #[must_use]
    pub fn warning(&self, now: i64) -> Option<String> {
        let days = self.days(now);
        let date = |seconds| match jiff::Timestamp::from_second(seconds) {
            Ok(date) => date.strftime("%Y-%m-%d").to_string(),
            Err(_) => "a day beyond counting".to_owned(),
        };
        if now < self.not_before {
            Some(format!("is not valid before {}", date(self.not_before)))
        } else if now > self.not_after {
            Some(format!("ended on {}", date(self.not_after)))
        } else if days <= FIRST_WARNING_DAYS {
            Some(format!("ends in {days} days, on {}", date(self.not_after)))
        } else {
            None
        }
    }
}

/// Looks at the files in force as long as the gateway runs.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut seen = Vec::new();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tick.tick().await;
        let Some(tls) = shared.live.load().tls.clone() else {
            continue;
        };
        let mut stamps = std::mem::take(&mut seen);
        let looked = tokio::task::spawn_blocking(move || {
            tls.look(&mut stamps);
            tls.warn_of_dates();
            stamps
        });
        seen = looked.await.unwrap_or_default();
    }
}
