//! Who holds a port of this host, found the way `ss -p` does: the socket's inode in `/proc/net`, then the process that
//! has it open. Only asked after a conflict.

use crate::PortHolder;
use proa_types::PortProtocol;
use std::net::SocketAddr;
use std::path::Path;

/// So many open files are looked at in all; on a larger host the holder may stay unknown.
const MOST_FILES: usize = 200_000;

/// The process that holds a port which overlaps with `host`.
pub(crate) fn find(host: SocketAddr, protocol: PortProtocol) -> PortHolder {
    let inodes = inodes(host.port(), protocol);
    if inodes.is_empty() { PortHolder::Unknown } else { process_with(&inodes).unwrap_or(PortHolder::Unknown) }
}

fn inodes(port: u16, protocol: PortProtocol) -> Vec<u64> {
    let tables: &[&str] = match protocol {
        PortProtocol::Tcp => &["tcp", "tcp6"],
        PortProtocol::Udp => &["udp", "udp6"],
        PortProtocol::Sctp => &["sctp/eps"],
    };
    // The thread's own file: /proc/net is that of the thread group's leader.
    let read =
        |table: &&str| std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
    tables.iter().map(read).flat_map(|text| inodes_in(&text, port)).collect()
}

/// The inodes of a table's bound sockets on `port`: all of udp, the listening ones of tcp.
fn inodes_in(table: &str, port: u16) -> Vec<u64> {
    /// `TCP_LISTEN`, and what an unconnected udp socket shows
    const WAITING: [&str; 2] = ["0A", "07"];
    let inode = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, number) = columns.get(1)?.rsplit_once(':')?;
        let matches = u16::from_str_radix(number, 16) == Ok(port) && WAITING.contains(columns.get(3)?);
        columns.get(9)?.parse().ok().filter(|inode| matches && *inode != 0)
    };
    table.lines().skip(1).filter_map(inode).collect()
}

fn process_with(inodes: &[u64]) -> Option<PortHolder> {
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let mut budget = MOST_FILES;
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if has_open(&entry.path().join("fd"), &wanted, &mut budget) {
            let command = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some(PortHolder::Process { name: command.trim_end().to_owned(), pid });
        }
        if budget == 0 {
            return None;
        }
    }
    None
}

fn has_open(directory: &Path, wanted: &[String], budget: &mut usize) -> bool {
    let Ok(files) = std::fs::read_dir(directory) else { return false };
    for file in files.flatten().take(*budget) {
        *budget = budget.saturating_sub(1);
        let target = std::fs::read_link(file.path()).unwrap_or_default();
        if target.to_str().is_some_and(|target| wanted.iter().any(|socket| socket == target)) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_lines_are_understood() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41 1 0 100 0\n\
             1: 0100007F:1F90 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 42 1 0 100 0\n\
             2: 00000000:1F91 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 43 2 0 0\n\
             rubbish\n";
        assert_eq!(inodes_in(table, 8080), [41]);
        assert_eq!(inodes_in(table, 8081), [43]);
        assert_eq!(inodes_in("", 80), [0u64; 0]);
    }

    #[test]
    fn this_process_is_found_by_its_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let PortHolder::Process { pid, .. } = find(listener.local_addr().unwrap(), PortProtocol::Tcp) else {
            panic!("not found")
        };
        assert_eq!(pid, std::process::id().cast_signed());
    }
}
