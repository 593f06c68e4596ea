//! Subnets and hardware addresses.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 address with the length of its network's prefix, `172.17.0.1/16`. The host part is kept: as docker's
/// `--bip` does, it names the host's own address in that network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    address: Ipv4Addr,
    prefix: u8,
}

/// Text that is not an IPv4 subnet.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid subnet {0:?}: write an IPv4 address and a prefix length, as in 172.17.0.0/16")]
pub struct InvalidSubnet(pub String);

/// Text that is not a hardware address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid MAC address {0:?}: write six bytes in hexadecimal, as in 02:42:ac:11:00:02")]
pub struct InvalidMac(pub String);

impl Subnet {
    /// The network of `address` with a prefix of `prefix` bits; `None` when `prefix` is over 32.
    pub const fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        if prefix > 32 { None } else { Some(Self { address, prefix }) }
    }

    /// The address as given, host part included.
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The length of the prefix in bits, 0 to 32.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The netmask as a number, most significant bit first.
    pub fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    /// The first address of the network, host part zero.
    pub fn network(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) & self.mask())
    }

    /// The last address of the network, host part all ones.
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) | !self.mask())
    }

    /// The same network with its host part zero, as `inspect` shows it.
    pub fn masked(&self) -> Self {
        Self { address: self.network(), prefix: self.prefix }
    }

    /// Whether `address` lies in the network.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.network())
    }

    /// Whether the two networks share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.network()) || other.contains(self.network())
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = InvalidSubnet;
    fn from_str(text: &str) -> Result<Self, InvalidSubnet> {
        let bad = || InvalidSubnet(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let address = address.parse().map_err(|_| bad())?;
        Self::new(address, prefix.parse().map_err(|_| bad())?).ok_or_else(bad)
    }
}

impl TryFrom<String> for Subnet {
    type Error = InvalidSubnet;
    fn try_from(text: String) -> Result<Self, InvalidSubnet> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// The address docker derives from an IPv4 address: `02:42` and its four bytes. An IPv4 address that is given
    /// to a new endpoint so keeps its hardware address, and no neighbour's table goes stale.
    pub fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddress {
    type Err = InvalidMac;
    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let bad = || InvalidMac(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() || bytes.first().is_none_or(|first| first & 1 == 1) {
            return Err(bad());
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = InvalidMac;
    fn try_from(text: String) -> Result<Self, InvalidMac> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_know_their_edges() {
        let net: Subnet = "172.17.0.1/16".parse().unwrap();
        assert_eq!(net.network(), Ipv4Addr::new(172, 17, 0, 0));
        assert_eq!(net.broadcast(), Ipv4Addr::new(172, 17, 255, 255));
        assert_eq!(net.masked().to_string(), "172.17.0.0/16");
        assert!(net.contains(Ipv4Addr::new(172, 17, 4, 9)) && !net.contains(Ipv4Addr::new(172, 18, 0, 1)));
        assert!(net.overlaps(&"172.0.0.0/8".parse().unwrap()));
        assert!(!net.overlaps(&"172.18.0.0/16".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Subnet>().unwrap().contains(Ipv4Addr::BROADCAST));
    }

    #[test]
    fn malformed_addresses_are_refused() {
        for text in ["", "1.2.3.4", "1.2.3.4/33", "1.2.3/8", "::1/64", "1.2.3.4/x"] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
        for text in ["", "02:42:ac:11:00", "02:42:ac:11:00:02:03", "01:00:00:00:00:00", "0242:ac:11:00:02:1"]
        {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
        let mac = MacAddress::of(Ipv4Addr::new(172, 17, 0, 2));
        assert_eq!(mac.to_string().parse::<MacAddress>().unwrap(), mac);
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
    }
}
