//! Names to addresses without the C library, whose static form loads other libraries at run time:
//! `/etc/hosts` first, then the name servers of `/etc/resolv.conf` by UDP (RFC 1035).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// The addresses of a host, IPv4 first. An address is its own answer.
pub(crate) async fn lookup(name: &str) -> Result<Vec<IpAddr>, String> {
    let name = name.trim_matches(['[', ']']).trim_end_matches('.');
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let mut known = in_hosts(&hosts, name);
    if known.is_empty() && name == "localhost" {
        known = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    if !known.is_empty() {
        return Ok(known);
    }
    let config = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let mut trouble = "no such host".to_owned();
    for server in servers(&config) {
        match ask(server, name).await {
            Ok(found) if !found.is_empty() => return Ok(found),
            Ok(_) => trouble = "no such host".into(),
            Err(error) => trouble = format!("on {server}: {error}"),
        }
    }
    Err(trouble)
}

fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut found: Vec<IpAddr> = lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
        })
        .collect();
    found.sort_by_key(IpAddr::is_ipv6);
    found.dedup();
    found
}

fn servers(config: &str) -> Vec<SocketAddr> {
    let named = config.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let mut servers: Vec<SocketAddr> =
        named.filter_map(|rest| rest.trim().parse::<IpAddr>().ok()).map(|ip| (ip, 53).into()).collect();
    if servers.is_empty() {
        servers.push((Ipv4Addr::LOCALHOST, 53).into());
    }
    servers.truncate(3);
    servers
}

async fn ask(server: SocketAddr, name: &str) -> std::io::Result<Vec<IpAddr>> {
    let bind: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let mut found = Vec::new();
    for kind in [TYPE_A, TYPE_AAAA] {
        let socket = UdpSocket::bind((bind, 0)).await?;
        socket.connect(server).await?;
        let id = u16::from_str_radix(proa_types::id::random_hex().get(..4).unwrap_or("0"), 16).unwrap_or(0);
        let question = question(id, name, kind).ok_or(std::io::ErrorKind::InvalidInput)?;
        let mut buffer = [0; 4096];
        let mut length = 0;
        for _ in 0..3 {
            socket.send(&question).await?;
            if let Ok(received) = tokio::time::timeout(Duration::from_secs(2), socket.recv(&mut buffer)).await
            {
                length = received?;
                break;
            }
        }
        let answer = buffer.get(..length).filter(|a| !a.is_empty()).ok_or(std::io::ErrorKind::TimedOut)?;
        found.extend(answers(answer, id));
    }
    Ok(found)
}

/// A query for one name and type, recursion desired.
fn question(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut packet = Vec::with_capacity(name.len() + 18);
    packet.extend(id.to_be_bytes());
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|n| (1..64).contains(n))?;
        packet.push(length);
        packet.extend(label.as_bytes());
    }
    packet.push(0);
    packet.extend(kind.to_be_bytes());
    packet.extend([0, 1]);
    Some(packet)
}

/// The addresses of an answer with this id. Damaged answers have none.
fn answers(packet: &[u8], id: u16) -> Vec<IpAddr> {
    parse(packet, id).unwrap_or_default()
}

fn parse(packet: &[u8], id: u16) -> Option<Vec<IpAddr>> {
    let word = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    if word(0)? != id || word(2)? & 0x8000 == 0 {
        return None;
    }
    let (questions, count) = (word(4)?, word(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = skip_name(packet, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..count {
        at = skip_name(packet, at)?;
        let (kind, length) = (word(at)?, usize::from(word(at + 8)?));
        let data = packet.get(at + 10..at + 10 + length)?;
        match kind {
            TYPE_A => found.push(IpAddr::from(<[u8; 4]>::try_from(data).ok()?)),
            TYPE_AAAA => found.push(IpAddr::from(<[u8; 16]>::try_from(data).ok()?)),
            _ => {}
        }
        at += 10 + length;
    }
    Some(found)
}

/// The position behind a name, which may end in a pointer.
fn skip_name(packet: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *packet.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xc0 => return Some(at + 2),
            length => at += usize::from(length) + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_dns() {
        let mut packet = question(7, "a.example", 1).unwrap_or_default();
        packet.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 1, 2, 3]);
        proa_fuzz::run("dns", &[&packet, b"nameserver 1.2.3.4", b"10.0.0.1 a b # c"], |bytes| {
            let _ = parse(bytes, 7);
            let text = std::str::from_utf8(bytes).unwrap_or_default();
            let _ = (servers(text), in_hosts(text, "a"), question(1, text, 28));
        });
    }

    #[test]
    fn hosts_and_servers_are_read() {
        let hosts = "127.0.0.1 localhost # loop\n::1 localhost\n10.0.0.5\tregistry.lab registry\n";
        assert_eq!(in_hosts(hosts, "REGISTRY"), ["10.0.0.5".parse::<IpAddr>().unwrap()]);
        assert_eq!(in_hosts(hosts, "localhost").len(), 2);
        assert_eq!(servers("search x\nnameserver 9.9.9.9\n"), ["9.9.9.9:53".parse().unwrap()]);
    }

    #[test]
    fn an_answer_with_a_pointer_is_read_and_damage_is_not() {
        let mut packet = question(7, "a.example", TYPE_A).unwrap();
        packet[2] = 0x81;
        packet[7] = 1;
        packet.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 9]);
        assert_eq!(answers(&packet, 7), ["192.0.2.9".parse::<IpAddr>().unwrap()]);
        assert!(answers(&packet, 8).is_empty());
        for end in 0..packet.len() {
            let _ = answers(packet.get(..end).unwrap(), 7);
        }
    }
}
