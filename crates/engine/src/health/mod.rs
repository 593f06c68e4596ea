//! Health: what a container is asked, what the last answers say, and what follows from them. Here it is decided; the
//! clock is in `schedule`, the asking in `probe`, and what an unhealthy container leads to in `heal`.

mod heal;
mod probe;
mod schedule;

pub(crate) use heal::{check_action, restarts};
pub(crate) use schedule::Schedule;

use crate::{ContainerRecord, Error};
use proa_types::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// Probes that are kept for inspection.
const KEPT: usize = 5;
/// The shortest time of a check.
const SHORTEST: i64 = 1_000_000;
const INTERVAL: i64 = 30_000_000_000;
const TIMEOUT: i64 = 30_000_000_000;
const START_INTERVAL: i64 = 5_000_000_000;
const RETRIES: i64 = 3;

/// How health is probed; times in nanoseconds, 0 where the image or the engine decides. The names are those that
/// images' configurations have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthCheck {
    /// `NONE`; `CMD` and a program; `CMD-SHELL` and a line for the shell. The image's if empty.
    pub test: Vec<String>,
    /// Between two probes.
    pub interval: i64,
    /// After which a probe has failed.
    pub timeout: i64,
    /// From the start on, in which failures do not count.
    pub start_period: i64,
    /// Between two probes in that period.
    pub start_interval: i64,
    /// Failures in a row that make a container unhealthy.
    pub retries: i64,
}

/// What the probes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthStatus {
    /// None has succeeded yet, and too few have failed.
    Starting,
    /// The last one succeeded, or too few have failed since.
    Healthy,
    /// Too many have failed, or nobody asks any more.
    Unhealthy,
}

/// A probe that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// 0 is healthy; -1 where the program could not be run or took too long.
    pub exit_code: i32,
    /// What it said, up to a bound.
    pub output: String,
}

/// The health of a container that is checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// In a word.
    pub status: HealthStatus,
    /// Failures since the last success.
    pub failing_streak: u32,
    /// The last probes, the oldest first. They are not stored.
    #[serde(skip)]
    pub log: VecDeque<Probed>,
}

impl HealthStatus {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl HealthCheck {
    /// The check of an image's configuration.
    pub(crate) fn of_image(document: &serde_json::Value) -> Option<Self> {
        serde_json::from_value(document.clone()).ok()
    }

    /// Takes from the image what is not said here.
    pub(crate) fn inherit(&mut self, image: &Self) {
        if self.test.is_empty() {
            self.test.clone_from(&image.test);
        }
        let numbers = [
            (&mut self.interval, image.interval),
            (&mut self.timeout, image.timeout),
            (&mut self.start_period, image.start_period),
            (&mut self.start_interval, image.start_interval),
            (&mut self.retries, image.retries),
        ];
        for (own, inherited) in numbers {
            if *own == 0 {
                *own = inherited;
            }
        }
    }

    /// Refuses what makes no sense; what is not honoured.
    pub(crate) fn check(&self) -> Result<Option<String>, Error> {
        let times = [
            ("Interval", self.interval),
            ("Timeout", self.timeout),
            ("StartPeriod", self.start_period),
            ("StartInterval", self.start_interval),
        ];
        for (name, value) in times {
            if value != 0 && value < SHORTEST {
                return Err(Error::Invalid(format!("{name} in Healthcheck cannot be less than 1ms")));
            }
        }
        if self.retries < 0 {
            return Err(Error::Invalid("Retries in Healthcheck cannot be negative".into()));
        }
        Ok(match self.test.first().map(String::as_str) {
            None | Some("NONE" | "CMD" | "CMD-SHELL") => None,
            Some(other) => {
                Some(format!("Unknown healthcheck type '{other}' (expected 'CMD'): health is not checked."))
            }
        })
    }

    /// The program and its arguments; none where health is not checked.
    pub(crate) fn command(&self, shell: Option<&[String]>) -> Option<Vec<String>> {
        let (kind, words) = self.test.split_first()?;
        match kind.as_str() {
            "CMD" => Some(words.to_vec()),
            "CMD-SHELL" => {
                let usual = ["/bin/sh".to_owned(), "-c".to_owned()];
                let shell = shell.filter(|shell| !shell.is_empty()).unwrap_or(&usual);
                Some([shell, words].concat())
            }
            _ => None,
        }
    }

    /// How long a probe may take.
    pub(crate) fn timeout(&self) -> Duration {
        time(self.timeout, TIMEOUT)
    }

    /// How long to wait before the next probe of a container that stands so and has run so long.
    pub(crate) fn pause(&self, status: HealthStatus, ran: Duration) -> Duration {
        if status == HealthStatus::Starting && ran < time(self.start_period, 0) {
            time(self.start_interval, START_INTERVAL)
        } else {
            time(self.interval, INTERVAL)
        }
    }
}

/// The health with which a run begins; none where it is not checked.
pub(crate) fn begin(record: &mut ContainerRecord) -> Option<Health> {
    record.spec.healthcheck.as_ref()?.command(None)?;
    Some(Health::begin(record.health.take()))
}

fn time(nanos: i64, default: i64) -> Duration {
    Duration::from_nanos(u64::try_from(if nanos == 0 { default } else { nanos }).unwrap_or(0))
}

impl Health {
    /// At the beginning of a run: the probes of the run before can still be looked at.
    fn begin(before: Option<Self>) -> Self {
        let log = before.map(|before| before.log).unwrap_or_default();
        Self { status: HealthStatus::Starting, failing_streak: 0, log }
    }

    /// Takes a probe in, of a container that began to run at `began`; the status, if it is another now.
    pub(crate) fn judge(
        &mut self,
        probed: Probed,
        check: &HealthCheck,
        began: Timestamp,
    ) -> Option<HealthStatus> {
        let before = self.status;
        let ran = u64::try_from(probed.start.0.saturating_sub(began.0)).unwrap_or(0);
        let forgiven =
            before == HealthStatus::Starting && Duration::from_nanos(ran) < time(check.start_period, 0);
        if probed.exit_code == 0 {
            (self.status, self.failing_streak) = (HealthStatus::Healthy, 0);
        } else if !forgiven {
            self.failing_streak = self.failing_streak.saturating_add(1);
            let retries = if check.retries == 0 { RETRIES } else { check.retries };
            if i64::from(self.failing_streak) >= retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        if self.log.len() >= KEPT {
            self.log.pop_front();
        }
        self.log.push_back(probed);
        (self.status != before).then_some(self.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probed(second: i64, exit_code: i32) -> Probed {
        let at = Timestamp(second * 1_000_000_000);
        Probed { start: at, end: at, exit_code, output: String::new() }
    }

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn failures_count_after_the_start_period_and_a_success_forgives_them() {
        let check = HealthCheck { retries: 2, start_period: 10_000_000_000, ..HealthCheck::default() };
        let mut health = Health::begin(None);
        let mut judge = |second, code| health.judge(probed(second, code), &check, Timestamp(0));
        assert_eq!([judge(1, 1), judge(2, 1), judge(9, -1)], [None; 3]);
        assert_eq!([judge(10, 1), judge(11, 1)], [None, Some(HealthStatus::Unhealthy)]);
        assert_eq!(judge(12, 0), Some(HealthStatus::Healthy));
        // One that was healthy is given no period any more.
        assert_eq!([judge(3, 1), judge(4, 3), judge(5, 1)], [None, Some(HealthStatus::Unhealthy), None]);
        assert_eq!((health.failing_streak, health.log.len()), (3, KEPT));
        let again = Health::begin(Some(health));
        assert_eq!((again.status, again.failing_streak, again.log.len()), (HealthStatus::Starting, 0, KEPT));
    }

    #[test]
    fn what_is_not_said_is_the_images_and_then_the_engines() {
        let image = HealthCheck::of_image(&serde_json::json!({"Test": ["CMD", "a"], "Interval": 7_000_000}));
        let image = image.unwrap();
        let mut own = HealthCheck { timeout: 9_000_000, ..HealthCheck::default() };
        own.inherit(&image);
        assert_eq!(own.command(None).unwrap(), ["a"]);
        assert_eq!(own.timeout(), Duration::from_millis(9));
        let pause = |check: &HealthCheck, status, ran| check.pause(status, Duration::from_secs(ran));
        assert_eq!(pause(&own, HealthStatus::Starting, 0), Duration::from_millis(7));
        let slow = HealthCheck { start_period: 60_000_000_000, ..HealthCheck::default() };
        assert_eq!(pause(&slow, HealthStatus::Starting, 59), Duration::from_secs(5));
        assert_eq!(pause(&slow, HealthStatus::Starting, 60), Duration::from_secs(30));
        assert_eq!(pause(&slow, HealthStatus::Healthy, 1), Duration::from_secs(30));
    }

    #[test]
    fn commands_are_programs_or_lines_of_a_shell() {
        let of = |test: &[&str]| HealthCheck { test: words(test), ..HealthCheck::default() };
        assert_eq!(of(&["CMD-SHELL", "a b"]).command(None).unwrap(), ["/bin/sh", "-c", "a b"]);
        let shell = words(&["/bin/ash", "-ec"]);
        assert_eq!(of(&["CMD-SHELL", "a"]).command(Some(&shell)).unwrap(), ["/bin/ash", "-ec", "a"]);
        assert_eq!(of(&["NONE"]).command(None), None);
        assert!(of(&["WHAT", "a"]).check().unwrap().is_some_and(|warning| warning.contains("WHAT")));
        let short = HealthCheck { interval: 999_999, ..HealthCheck::default() };
        assert!(matches!(short.check(), Err(Error::Invalid(text)) if text.starts_with("Interval")));
        assert!(HealthCheck { retries: -1, ..HealthCheck::default() }.check().is_err());
    }
}
