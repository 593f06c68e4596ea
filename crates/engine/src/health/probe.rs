//! A probe: a process beside the container's first, whose exit code is the answer.

use super::schedule::Due;
use super::{Health, HealthCheck, HealthStatus, Probed};
use crate::attach::{AttachOptions, AttachStream};
use crate::container::Container;
use crate::exec::ExecSpec;
use crate::state::State;
use crate::{Engine, Error};
use proa_types::{ExecId, Timestamp};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

/// Bytes of output that are kept.
const OUTPUT: usize = 4096;
/// How long the end of a probe that was killed is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// Begins to check a container that runs, if it is to be checked.
    pub(crate) fn check_health(self: &Arc<Self>, container: &Arc<Container>) {
        let pause = container.with(|record| {
            let (check, health) = (record.spec.healthcheck.as_ref()?, record.health.as_ref()?);
            let State::Running(run) = &record.state else { return None };
            Some(check.pause(health.status, ran(run.started_at)))
        });
        if let Some(pause) = pause {
            self.open_watch(container, pause);
        }
    }

    /// Ends the checks of a container that has ended or is paused: nobody knows any more how it is.
    pub(crate) fn leave_health(&self, container: &Container) {
        if self.health.close(&container.id) {
            container.change(|record| {
                if let Some(health) = &mut record.health {
                    health.status = HealthStatus::Unhealthy;
                }
            });
        }
    }

    pub(super) async fn probe(self: Arc<Self>, due: Due) {
        let container = &due.container;
        let asked = container.with(|record| {
            let check = record.spec.healthcheck.clone()?;
            let command = check.command(record.spec.shell.as_deref())?;
            Some((check, command))
        });
        let Some((check, command)) = asked else { return };
        let start = Timestamp::now();
        let (exit_code, output) = match self.ask(container, command, check.timeout()).await {
            Ok(answer) => answer,
            Err(error) => (-1, bounded(error.to_string().into_bytes())),
        };
        self.metrics.probes.fetch_add(1, Ordering::Relaxed);
        self.metrics.probes_failed.fetch_add(u64::from(exit_code != 0), Ordering::Relaxed);
        let probed = Probed { start, end: Timestamp::now(), exit_code, output };
        let Some((changed, pause)) = self.take_in(&due, &check, probed) else { return };
        self.keep_watch(&due, pause);
        if let Some(status) = changed {
            let _ = self.note(&container.record());
            self.tell(container, &format!("health_status: {}", status.as_str()), &[]);
            if status == HealthStatus::Unhealthy {
                self.heal(container).await;
            }
        }
    }

    /// Judges an answer, unless the run it is about is over: the status if it is another now, and the next pause.
    fn take_in(
        &self,
        due: &Due,
        check: &HealthCheck,
        probed: Probed,
    ) -> Option<(Option<HealthStatus>, Duration)> {
        due.container.change(|record| {
            let State::Running(run) = &record.state else { return None };
            if !self.health.holds(&due.container.id, due.watch) {
                return None;
            }
            let health = record.health.get_or_insert_with(|| Health::begin(None));
            let changed = health.judge(probed, check, run.started_at);
            Some((changed, check.pause(health.status, ran(run.started_at))))
        })
    }

    /// Runs the program in the container; its exit code and what it said.
    async fn ask(
        self: &Arc<Self>,
        container: &Container,
        cmd: Vec<String>,
        limit: Duration,
    ) -> Result<(i32, String), Error> {
        let attach = AttachOptions { stdin: false, stdout: true, stderr: true };
        let spec = ExecSpec { cmd, attach, limit: Some(limit), ..ExecSpec::default() };
        let id = self.exec_create(container.id.as_str(), spec)?;
        let begun = Instant::now();
        let permit = self.health.beginning.acquire().await;
        let attached = self.exec_start(id.as_str(), false, None).await?;
        drop(permit);
        let mut output = Output::default();
        let ended = match attached {
            Some(stream) => {
                let whole = output.take(stream);
                tokio::time::timeout(limit.saturating_add(PATIENCE), whole).await.is_ok()
            }
            None => true,
        };
        let code = if ended { self.exit_code(&id) } else { None };
        match code {
            Some(0) => Ok((0, bounded(output.text))),
            Some(code) if begun.elapsed() < limit => Ok((code, bounded(output.text))),
            // The monitor has ended it.
            _ => {
                let mut text =
                    format!("Health check exceeded timeout ({})", proa_types::units::go_duration(limit));
                if !output.text.is_empty() {
                    text.push_str(": ");
                }
                Ok((-1, bounded([text.into_bytes(), output.text].concat())))
            }
        }
    }

    fn exit_code(&self, id: &ExecId) -> Option<i32> {
        self.exec_inspect(id.as_str()).ok().and_then(|view| view.exit_code)
    }
}

fn ran(since: Timestamp) -> Duration {
    let nanos = Timestamp::now().0.saturating_sub(since.0);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// Text of a bounded length, and a sign where something is missing.
fn bounded(mut bytes: Vec<u8>) -> String {
    let cut = bytes.len() > OUTPUT;
    bytes.truncate(OUTPUT);
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if cut {
        text.push_str("...");
    }
    text
}

/// What a probe says, taken out of its frames: a little more than is kept, the rest is read and forgotten.
#[derive(Default)]
struct Output {
    text: Vec<u8>,
    /// The bytes of the next frame's head that have come.
    head: Vec<u8>,
    /// Bytes of this frame that are to come.
    left: usize,
}

impl Output {
    /// Reads until the process has ended and that is recorded.
    async fn take(&mut self, attached: AttachStream) {
        let AttachStream { mut stream, ended, .. } = attached;
        let mut buffer = vec![0; OUTPUT];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(length) => self.feed(buffer.get(..length).unwrap_or_default()),
            }
        }
        if let Some(ended) = ended {
            ended.recorded().await;
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left == 0 {
                let (head, rest) = bytes.split_at(bytes.len().min(8 - self.head.len()));
                self.head.extend_from_slice(head);
                bytes = rest;
                if let [_, _, _, _, a, b, c, d] = *self.head.as_slice() {
                    self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                    self.head.clear();
                }
            } else {
                let (said, rest) = bytes.split_at(bytes.len().min(self.left));
                let room = (OUTPUT + 1).saturating_sub(self.text.len());
                self.text.extend_from_slice(said.get(..room.min(said.len())).unwrap_or_default());
                self.left -= said.len();
                bytes = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        [&[1, 0, 0, 0][..], &length, bytes].concat()
    }

    #[test]
    fn output_is_taken_out_of_its_frames_wherever_they_are_cut() {
        let sent = [frame(b"one "), frame(b""), frame(b"two")].concat();
        for size in 1..sent.len() {
            let mut output = Output::default();
            sent.chunks(size).for_each(|piece| output.feed(piece));
            assert_eq!(output.text, b"one two");
        }
        let mut long = Output::default();
        (0..3).for_each(|_| long.feed(&frame(&[b'x'; OUTPUT])));
        assert_eq!(long.text.len(), OUTPUT + 1);
        assert_eq!(bounded(long.text), format!("{}...", "x".repeat(OUTPUT)));
        assert_eq!(bounded(vec![b'x'; OUTPUT]).len(), OUTPUT);
    }
}
