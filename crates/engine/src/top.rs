//! `top`: the processes of a container, read from the kernel; in other columns by the host's ps(1).

use crate::engine::blocking;
use crate::{Engine, Error};
use proa_types::Timestamp;
use std::process::{Command, Stdio};

/// What `top` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Processes {
    /// Column heads.
    pub titles: Vec<String>,
    /// A row for each process.
    pub rows: Vec<Vec<String>>,
}

impl Engine {
    /// The processes of a container in the columns of `ps -ef`, or of other arguments of ps(1).
    ///
    /// # Errors
    /// [`Error::Conflict`] when it does not run; [`Error::Invalid`] for arguments that ps(1) refuses or that show no
    /// process ids; [`Error::Unsupported`] where they need a ps(1) that the host has not.
    pub async fn top(&self, container: &str, arguments: &str) -> Result<Processes, Error> {
        let found = self.find(container)?;
        check(arguments)?;
        let live =
            found.running().map_err(|_| Error::Conflict(format!("Container {} is not running", found.id)))?;
        let arguments = arguments.to_owned();
        blocking(move || {
            let pids = live.shim.pids()?;
            match arguments.trim() {
                "" | "-ef" => {
                    let titles = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
                    let rows = pids.into_iter().filter_map(process_row).collect();
                    Ok(Processes { titles: titles.map(Into::into).into(), rows })
                }
                other => chosen(&ps(other, &pids)?, &pids),
            }
        })
        .await
    }
}

/// Refuses a column that calls itself that of process ids.
fn check(arguments: &str) -> Result<(), Error> {
    let bad = arguments.split_ascii_whitespace().find_map(|word| {
        let (name, head) = word.split_once('=')?;
        (name != "pid" && head.starts_with("PID")).then_some((name, head))
    });
    match bad {
        Some((name, head)) => Err(Error::Invalid(format!("specifying \"{name}={head}\" is not allowed"))),
        None => Ok(()),
    }
}

/// What the host's ps(1) says of these processes, or of all where it cannot be told which.
fn ps(arguments: &str, pids: &[i32]) -> Result<String, Error> {
    let words: Vec<&str> = arguments.split_ascii_whitespace().collect();
    let list = pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let run = |more: &[&str]| {
        let command = Command::new("ps").args(&words).args(more).stdin(Stdio::null()).output();
        command.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::Unsupported(format!(
                "top with ps arguments {arguments:?} on a host without ps(1) (without arguments it works)"
            )),
            _ => Error::io("ps")(error),
        })
    };
    let mut out = run(&["-q", &list])?;
    if !out.status.success() {
        // Some do not know -q, or not with such arguments.
        out = run(&[])?;
    }
    if !out.status.success() {
        return Err(Error::Invalid(format!("ps: {}", String::from_utf8_lossy(&out.stderr).trim())));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The rows of these processes. Threads follow their process with a dash for its id.
fn chosen(text: &str, pids: &[i32]) -> Result<Processes, Error> {
    let mut lines = text.lines();
    let titles: Vec<String> =
        lines.next().unwrap_or_default().split_ascii_whitespace().map(Into::into).collect();
    let at = titles.iter().position(|title| title == "PID");
    let at = at.ok_or_else(|| Error::Invalid("Couldn't find PID field in ps output".into()))?;
    let (mut rows, mut inside) = (Vec::new(), false);
    for line in lines {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let Some(pid) = fields.get(at) else { continue };
        if *pid != "-" {
            let number: i32 =
                pid.parse().map_err(|error| Error::Invalid(format!("Unexpected pid '{pid}': {error}")))?;
            inside = pids.contains(&number);
        }
        if inside {
            rows.push(row(&fields, titles.len()));
        }
    }
    Ok(Processes { titles, rows })
}

/// The last column has the rest of the line.
fn row(fields: &[&str], columns: usize) -> Vec<String> {
    let (first, rest) = fields.split_at(fields.len().min(columns.saturating_sub(1)));
    first.iter().map(|&field| field.to_owned()).chain([rest.join(" ")]).collect()
}

fn process_row(pid: i32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let uid =
        status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.to_owned();
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut command = String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " ");
    if command.is_empty() {
        command = format!("[{}]", head.split_once(" (").map_or("", |(_, name)| name));
    }
    let number = |at: usize| fields.get(at).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    let seconds = (number(11) + number(12)) / 100;
    let tty = match number(4) {
        0 => "?".to_owned(),
        tty => format!("pts/{}", tty & 0xff),
    };
    let started = Timestamp(boot_time() + number(19) * 10_000_000).to_string();
    let started = started.get(11..16).unwrap_or_default().to_owned();
    let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let user = if uid == "0" { "root".to_owned() } else { uid };
    Some(vec![user, pid.to_string(), number(1).to_string(), "0".into(), started, tty, time, command])
}

/// When the machine booted, in nanoseconds since 1970.
fn boot_time() -> i64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let seconds =
        stat.lines().find_map(|line| line.strip_prefix("btime ")).and_then(|text| text.parse::<i64>().ok());
    seconds.unwrap_or(0) * 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_other_processes_are_left_out() {
        let text = "  PID USER     CMD\n   10 root     sh -c  x\n    - root     -\n   11 root     other\n    - root     -\n";
        let found = chosen(text, &[10]).unwrap();
        assert_eq!(found.titles, ["PID", "USER", "CMD"]);
        assert_eq!(found.rows, [["10", "root", "sh -c x"], ["-", "root", "-"]]);
        assert!(chosen("USER CMD\nroot x\n", &[10]).unwrap_err().to_string().contains("PID field"));
        assert!(chosen("PID\nx\n", &[10]).is_err());
        assert!(chosen("", &[10]).is_err());
    }

    #[test]
    fn a_column_must_not_pass_itself_off_as_ids() {
        assert!(check("-o pid,ppid=PARENT").is_ok() && check("-o pid=PID").is_ok());
        assert!(check("-eo ppid=PID").unwrap_err().to_string().contains("ppid=PID"));
    }
}
