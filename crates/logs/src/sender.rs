//! The process that sends a container's log away: the face `proa log-sender`, started by the container's monitor.
//!
//! The monitor writes the log to files, as it does for every driver, and rings a bell for each batch; this process
//! reads the files and speaks to the receiver. So the container never waits for a receiver, the monitor holds nothing
//! that could grow, and what was written can be read here as well. The files are the buffer: what they have no room for
//! is lost, oldest first, and counted.
//!
//! Standard input is a socket of the monitor's: first what is to be done, as JSON behind its length; its end means that
//! the container has ended. The answer on it is one line: `ok`, or why nothing can be sent. Standard output is the
//! bell, an eventfd(2) with the number of lines written.

use crate::remote::connection::Connection;
use crate::remote::{Message, Packets, Part, Remote};
use crate::spool::{Cursor, CursorFile, Spool};
use crate::{Error, LINE, LogConfig, Record, Stream};
use proa_types::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long a receiver that does not take anything is waited for when the container has ended.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes sent at once.
const BATCH: u64 = 64 << 10;
/// Longest description of what is to be done.
const LONGEST: u32 = 16 << 20;

/// Sends one container's log until the container has ended and everything is sent.
pub fn main() -> i32 {
    match prepared() {
        Some(mut sender) => sender.run().map_or(1, |()| 0),
        None => 1,
    }
}

/// What is to be done, for the one who starts this process: its length and JSON.
///
/// # Errors
/// It cannot be written as JSON.
pub fn assignment(config: &LogConfig) -> Result<Vec<u8>, serde_json::Error> {
    let body = serde_json::to_vec(config)?;
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    Ok([length.to_be_bytes().as_slice(), &body].concat())
}

/// Reads what is to be done, opens everything, and says whether it can be done.
fn prepared() -> Option<Sender> {
    let own = |fd| rustix::io::fcntl_dupfd_cloexec(fd, 3).ok();
    let mut monitor = UnixStream::from(own(rustix::stdio::stdin())?);
    let bell = own(rustix::stdio::stdout())?;
    let mut length = [0; 4];
    monitor.read_exact(&mut length).ok()?;
    let length = Some(u32::from_be_bytes(length)).filter(|length| *length <= LONGEST)?;
    let mut body = vec![0; usize::try_from(length).ok()?];
    monitor.read_exact(&mut body).ok()?;
    let config: LogConfig = serde_json::from_slice(&body).ok()?;
    let opened = Sender::open(config, monitor.try_clone().ok()?, bell);
    let answer = opened.as_ref().err().map_or_else(|| "ok".to_owned(), ToString::to_string);
    monitor.write_all(format!("{}\n", answer.replace('\n', " ")).as_bytes()).ok()?;
    opened.ok()
}

struct Sender {
    config: LogConfig,
    remote: Remote,
    monitor: UnixStream,
    bell: OwnedFd,
    /// The file that is written, open before the container starts: it can be read also when it is removed.
    spool: Option<Spool>,
    cursor_file: Option<CursorFile>,
    cursor: Cursor,
    link: Option<Connection>,
    /// Lines the receiver has not been told of that are lost.
    untold: u64,
    /// When the end of the container was seen, or the last success behind it.
    ended: Option<Instant>,
    /// The pieces of a long line: its number, and how many there were.
    parts: [Option<(u64, u32)>; 2],
}

impl Sender {
    fn open(config: LogConfig, monitor: UnixStream, bell: OwnedFd) -> Result<Self, Error> {
        let remote = config.remote.as_deref().cloned().ok_or(Error::NotReadable)?;
        let link = match remote.must_connect() {
            true => Some(Connection::open(&remote.address())?),
            false => None,
        };
        let mut sender = Self {
            remote,
            monitor,
            bell,
            spool: None,
            cursor_file: None,
            cursor: Cursor::default(),
            link,
            untold: 0,
            ended: None,
            parts: [None, None],
            config,
        };
        sender.take_over()?;
        Ok(sender)
    }

    /// Begins where the one before has left; whether it has ended.
    fn take_over(&mut self) -> Result<bool, Error> {
        if self.spool.is_some() {
            return Ok(true);
        }
        let Some(mut file) = CursorFile::open(&self.config.path)? else { return Ok(false) };
        self.cursor = file.load();
        self.cursor.owed = self.cursor.owed.max(0);
        self.spool = Some(Spool::open(&self.config, &self.cursor)?);
        self.cursor_file = Some(file);
        Ok(true)
    }

    fn run(&mut self) -> Result<(), Error> {
        while !self.take_over()? {
            // The one of the container's last run is still at it.
            self.look_around(Some(Duration::from_millis(50)));
            if self.is_given_up() {
                return Ok(());
            }
        }
        loop {
            self.listen();
            let records = self.next()?;
            if records.is_empty() {
                self.count_lost();
                if self.untold == 0 && self.ended.is_some() {
                    return Ok(());
                }
            }
            if records.is_empty() && self.untold == 0 {
                self.look_around(None);
                continue;
            }
            if !self.deliver(&records) {
                return Ok(());
            }
            self.settle(records.len() as u64);
        }
    }

    /// The next records, without those that may not wait any longer.
    fn next(&mut self) -> Result<Vec<Record>, Error> {
        let Some(spool) = self.spool.as_mut() else { return Ok(Vec::new()) };
        if let Some(limit) = self.remote.limit {
            loop {
                let passed = match spool.lag().saturating_sub(limit) {
                    0 => break,
                    over => spool.next(over)?.len() as u64,
                };
                if passed == 0 {
                    break;
                }
                self.cursor.owed -= i64::try_from(passed).unwrap_or(0);
                self.cursor.lost += passed;
                self.untold += passed;
            }
        }
        spool.next(BATCH)
    }

    /// At the end of what there is, lines that were written and never seen are lost.
    fn count_lost(&mut self) {
        let missing = u64::try_from(self.cursor.owed).unwrap_or(0);
        if missing > 0 {
            self.cursor.owed = 0;
            self.cursor.lost += missing;
            self.untold += missing;
        }
    }

    fn settle(&mut self, sent: u64) {
        // A line may be read before the bell has counted it: then less than nothing is owed for a moment.
        self.cursor.owed -= i64::try_from(sent).unwrap_or(0);
        self.cursor.sent += sent;
        self.ended = self.ended.map(|_| Instant::now());
        if let (Some(spool), Some(file)) = (&self.spool, &self.cursor_file) {
            spool.mark(&mut self.cursor);
            file.store(&self.cursor);
        }
    }

    /// Sends records, and how many were lost before them; whether they were sent, or given up as the options say.
    fn deliver(&mut self, records: &[Record]) -> bool {
        let packets = self.packed(records);
        let retry = self.remote.retry();
        let (mut sent, mut tries, mut pause) = (0, 0, retry.pause);
        loop {
            match self.attempt(&packets, &mut sent) {
                Ok(()) => {
                    self.untold = 0;
                    return true;
                }
                Err(_) if self.is_given_up() => return false,
                Err(_) if tries >= retry.most => {
                    self.cursor.lost += records.len() as u64;
                    self.untold += records.len() as u64;
                    return true;
                }
                Err(_) => self.pause(pause),
            }
            if self.is_given_up() {
                return false;
            }
            tries += 1;
            pause = (pause * 2).min(retry.longest);
        }
    }

    fn attempt(&mut self, packets: &Packets, sent: &mut usize) -> Result<(), Error> {
        self.link = self.link.take().filter(|link| !link.is_closed());
        let mut link = match self.link.take() {
            Some(link) => link,
            None => Connection::open(&self.remote.address())?,
        };
        let (monitor, ended) = (&self.monitor, &mut self.ended);
        let (begin, within) = (Instant::now(), self.remote.write_within());
        let mut go_on = || {
            hear(monitor, ended);
            within.is_none_or(|within| begin.elapsed() < within)
                && ended.is_none_or(|at| at.elapsed() < PATIENCE)
        };
        let gone = Error::io("receiver");
        let done = link.send(packets, sent, &mut go_on).and_then(|()| {
            link.await_answers(&packets.tokens, self.remote.answer_within()).inspect_err(|_| *sent = 0)
        });
        done.map_err(gone)?;
        self.link = Some(link);
        Ok(())
    }

    fn packed(&mut self, records: &[Record]) -> Packets {
        let mut packets = Packets::default();
        if self.untold > 0 {
            let text = format!(
                "proa: {} lines of this log were lost: they were written faster than they could be sent",
                self.untold
            );
            let time = records.first().map_or_else(Timestamp::now, |record| record.time);
            let message = Message { stream: Stream::Stderr, time, text: text.as_bytes(), part: None };
            self.remote.encode(message, &mut packets);
        }
        for record in records {
            let whole = record.data.strip_suffix(b"\n");
            let part = self.part(record, whole.is_some());
            let text = whole.unwrap_or(&record.data);
            let message = Message { stream: record.stream, time: record.time, text, part };
            self.remote.encode(message, &mut packets);
        }
        packets
    }

    /// Which piece of a long line a record is. What is shorter than a piece and has no newline was the end.
    fn part(&mut self, record: &Record, ends: bool) -> Option<Part> {
        let [out, err] = &mut self.parts;
        let slot = if record.stream == Stream::Stdout { out } else { err };
        let last = ends || record.data.len() < LINE;
        if last && slot.is_none() {
            return None;
        }
        let (line, before) = slot.unwrap_or((record.time.0.unsigned_abs(), 0));
        *slot = if last { None } else { Some((line, before + 1)) };
        Some(Part { line, ordinal: before + 1, last })
    }

    /// Whether the container has ended and its receiver was waited for.
    fn is_given_up(&self) -> bool {
        self.ended.is_some_and(|at| at.elapsed() >= PATIENCE)
    }

    fn pause(&mut self, pause: Duration) {
        let end = Instant::now() + pause;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_given_up() {
                return;
            }
            // The bell is not listened to: nothing can be sent.
            if self.ended.is_some() {
                std::thread::sleep(left.min(Duration::from_millis(100)));
            } else {
                wait(&[&self.monitor], Some(left));
            }
            hear(&self.monitor, &mut self.ended);
        }
    }

    /// Waits until the bell rings, the container ends, or the receiver goes.
    fn look_around(&mut self, at_most: Option<Duration>) {
        if self.ended.is_some() {
            return std::thread::sleep(at_most.unwrap_or_default());
        }
        wait(&[&self.monitor, &self.bell], at_most);
        hear(&self.monitor, &mut self.ended);
        self.listen();
    }

    /// Takes what the bell has counted.
    fn listen(&mut self) {
        let mut count = [0; 8];
        let fd = &self.bell;
        if rustix::io::read(fd, &mut count).is_ok_and(|n| n == 8) {
            self.cursor.owed += i64::from_ne_bytes(count);
        }
        hear(&self.monitor, &mut self.ended);
    }
}

fn wait(fds: &[&dyn std::os::fd::AsFd], at_most: Option<Duration>) {
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)).collect();
    let timeout = at_most.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(0),
        tv_nsec: i64::from(time.subsec_nanos()),
    });
    let _ = rustix::event::poll(&mut fds, timeout.as_ref());
}

/// Notes the end of the container: the monitor's socket has ended.
fn hear(monitor: &UnixStream, ended: &mut Option<Instant>) {
    if ended.is_some() {
        return;
    }
    let mut block = [0; 64];
    match rustix::net::recv(monitor, &mut block, rustix::net::RecvFlags::DONTWAIT) {
        Ok((0, _)) => *ended = Some(Instant::now()),
        Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
        Err(_) => *ended = Some(Instant::now()),
    }
}
