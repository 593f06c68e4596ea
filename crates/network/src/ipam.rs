//! Addresses of one subnet: which are given out, and which comes next.
//!
//! Next-fit: an address that was given back is not given out again before all others had their turn, so that whoever
//! still talks to the old owner does not reach a new one. Nothing is stored: after a restart the live endpoints take
//! their addresses again.

use crate::{Error, Result, Subnet};
use std::net::Ipv4Addr;

/// Subnets over this size would need more than 2 MiB of bitmap.
const SHORTEST_PREFIX: u8 = 8;
/// Below this there is no room for a gateway, an endpoint and the two edges.
const LONGEST_PREFIX: u8 = 30;
const WORD: u32 = 64;

/// The addresses of a subnet.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    subnet: Subnet,
    /// The part addresses are chosen from, as offsets into the subnet, both ends included.
    first: u32,
    last: u32,
    used: Vec<u64>,
    next: u32,
}

impl Pool {
    /// All addresses of `part` of `subnet` free, but for the subnet's edges and `reserved`.
    pub(crate) fn new(subnet: Subnet, part: Option<Subnet>, reserved: &[Ipv4Addr]) -> Result<Self> {
        let part = part.unwrap_or(subnet);
        if !(SHORTEST_PREFIX..=LONGEST_PREFIX).contains(&subnet.prefix()) {
            let wanted =
                format!("subnet {subnet} must have a prefix of {SHORTEST_PREFIX} to {LONGEST_PREFIX} bits");
            return Err(Error::Config(wanted));
        }
        if !subnet.contains(part.network()) || part.prefix() < subnet.prefix() {
            return Err(Error::Config(format!(
                "address pool {part} does not lie in subnet {}",
                subnet.masked()
            )));
        }
        let base = u32::from(subnet.network());
        let size = u32::from(subnet.broadcast()) - base + 1;
        let first = u32::from(part.network()) - base;
        let last = u32::from(part.broadcast()) - base;
        let used = vec![0; size.div_ceil(WORD) as usize];
        let mut pool = Self { subnet: subnet.masked(), first, last, used, next: first };
        for address in reserved.iter().copied().chain([subnet.network(), subnet.broadcast()]) {
            if let Some(offset) = pool.offset(address) {
                pool.mark(offset, true);
            }
        }
        Ok(pool)
    }

    /// The next free address.
    pub(crate) fn allocate(&mut self) -> Result<Ipv4Addr> {
        let full = Error::AddressesExhausted { subnet: self.subnet };
        let free = self.free_from(self.next, self.last).or_else(|| self.free_from(self.first, self.last));
        let offset = free.ok_or(full)?;
        self.mark(offset, true);
        self.advance(offset);
        Ok(self.address(offset))
    }

    /// This very address.
    pub(crate) fn take(&mut self, address: Ipv4Addr) -> Result<()> {
        let outside = Error::AddressOutside { address, subnet: self.subnet };
        let edge = address == self.subnet.network() || address == self.subnet.broadcast();
        let offset = self.offset(address).filter(|_| !edge).ok_or(outside)?;
        if self.is_used(offset) {
            return Err(Error::AddressTaken { address });
        }
        self.mark(offset, true);
        Ok(())
    }

    /// This very address, of an endpoint that lives already; the next ones come after it.
    pub(crate) fn restore(&mut self, address: Ipv4Addr) -> Result<()> {
        self.take(address)?;
        if let Some(offset) = self.offset(address).filter(|o| (self.next..=self.last).contains(o)) {
            self.advance(offset);
        }
        Ok(())
    }

    /// The address is free again.
    pub(crate) fn release(&mut self, address: Ipv4Addr) {
        if let Some(offset) = self.offset(address) {
            self.mark(offset, false);
        }
    }

    fn advance(&mut self, offset: u32) {
        self.next = if offset >= self.last { self.first } else { offset + 1 };
    }

    fn free_from(&self, from: u32, to: u32) -> Option<u32> {
        let mut word = from / WORD;
        let mut skip = from % WORD;
        while word <= to / WORD {
            let free = !self.used.get(word as usize)? & (u64::MAX << skip);
            if free != 0 {
                return Some(word * WORD + free.trailing_zeros()).filter(|offset| *offset <= to);
            }
            word += 1;
            skip = 0;
        }
        None
    }

    fn offset(&self, address: Ipv4Addr) -> Option<u32> {
        self.subnet.contains(address).then(|| u32::from(address) - u32::from(self.subnet.network()))
    }

    fn address(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet.network()) + offset)
    }

    fn is_used(&self, offset: u32) -> bool {
        self.used.get((offset / WORD) as usize).is_some_and(|word| word >> (offset % WORD) & 1 == 1)
    }

    fn mark(&mut self, offset: u32, used: bool) {
        if let Some(word) = self.used.get_mut((offset / WORD) as usize) {
            let bit = 1u64 << (offset % WORD);
            *word = if used { *word | bit } else { *word & !bit };
        }
    }
}

/// The private ranges docker takes its networks from, in its order.
pub(crate) fn candidates() -> impl Iterator<Item = Subnet> {
    let sixteens = (17..=31).filter_map(|second| Subnet::new(Ipv4Addr::new(172, second, 0, 0), 16));
    let twenties = (0..=240).step_by(16);
    sixteens.chain(twenties.filter_map(|third| Subnet::new(Ipv4Addr::new(192, 168, third, 0), 20)))
}

/// The first candidate that shares no address with what is `taken`.
pub(crate) fn choose(taken: &[Subnet]) -> Option<Subnet> {
    candidates().find(|candidate| !taken.iter().any(|other| other.overlaps(candidate)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn net(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_come_in_order_and_a_freed_one_comes_last() {
        let mut pool = Pool::new(net("10.1.0.0/29"), None, &[ip("10.1.0.1")]).unwrap();
        let all: Vec<_> = (0..5).map(|_| pool.allocate().unwrap()).collect();
        assert_eq!(all.first(), Some(&ip("10.1.0.2")));
        assert_eq!(all.last(), Some(&ip("10.1.0.6")));
        assert!(matches!(pool.allocate(), Err(Error::AddressesExhausted { .. })));
        pool.release(ip("10.1.0.3"));
        pool.release(ip("10.1.0.5"));
        assert_eq!(pool.allocate().unwrap(), ip("10.1.0.3"));
        pool.release(ip("10.1.0.3"));
        assert_eq!(pool.allocate().unwrap(), ip("10.1.0.5"));
        assert_eq!(pool.allocate().unwrap(), ip("10.1.0.3"));
    }

    #[test]
    fn wishes_are_granted_once_and_only_inside() {
        let mut pool = Pool::new(net("10.1.0.1/24"), Some(net("10.1.0.128/25")), &[ip("10.1.0.1")]).unwrap();
        assert_eq!(pool.allocate().unwrap(), ip("10.1.0.128"));
        pool.take(ip("10.1.0.9")).unwrap();
        assert!(matches!(pool.take(ip("10.1.0.9")), Err(Error::AddressTaken { .. })));
        assert!(matches!(pool.take(ip("10.1.0.1")), Err(Error::AddressTaken { .. })));
        for outside in ["10.1.1.9", "10.1.0.0", "10.1.0.255"] {
            assert!(matches!(pool.take(ip(outside)), Err(Error::AddressOutside { .. })), "{outside}");
        }
    }

    #[test]
    fn impossible_pools_are_refused() {
        for (subnet, part) in
            [("10.0.0.0/31", None), ("0.0.0.0/0", None), ("10.1.0.0/24", Some("10.2.0.0/25"))]
        {
            assert!(Pool::new(net(subnet), part.map(net), &[]).is_err(), "{subnet}");
        }
        assert!(Pool::new(net("10.1.0.0/24"), Some(net("10.0.0.0/8")), &[]).is_err());
    }

    #[test]
    fn a_pool_is_chosen_that_collides_with_no_route() {
        assert_eq!(choose(&[]), Some(net("172.17.0.0/16")));
        assert_eq!(choose(&[net("172.17.3.0/24"), net("172.18.0.0/15")]), Some(net("172.20.0.0/16")));
        assert_eq!(choose(&[net("172.16.0.0/12")]), Some(net("192.168.0.0/20")));
        assert_eq!(choose(&[net("172.16.0.0/12"), net("192.168.0.0/16")]), None);
    }

    proptest! {
        #[test]
        fn no_address_is_given_twice(operations in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..200)) {
            let reserved = ip("10.9.0.1");
            let mut pool = Pool::new(net("10.9.0.0/26"), None, &[reserved]).unwrap();
            let mut held = BTreeSet::new();
            for (give, which) in operations {
                if give {
                    match pool.allocate() {
                        Ok(address) => {
                            prop_assert!(net("10.9.0.0/26").contains(address) && address != reserved);
                            prop_assert!(held.insert(address), "{address} twice");
                        }
                        Err(_) => prop_assert_eq!(held.len(), 61),
                    }
                } else if !held.is_empty() {
                    let address = *held.iter().nth(which.index(held.len())).unwrap();
                    held.remove(&address);
                    pool.release(address);
                }
            }
            let mut restored = Pool::new(net("10.9.0.0/26"), None, &[reserved]).unwrap();
            for address in &held {
                restored.restore(*address).unwrap();
            }
            if let Ok(address) = restored.allocate() {
                prop_assert!(!held.contains(&address));
            }
        }
    }
}
