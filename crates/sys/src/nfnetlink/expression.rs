//! The expressions rules are made of, as `nft --debug=netlink` names them.

use crate::netlink::Body;

/// A hook of the ip families (`NF_INET_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Everything that arrives.
    Prerouting = 0,
    /// What is for this host.
    Input = 1,
    /// What passes through.
    Forward = 2,
    /// What this host sends.
    Output = 3,
    /// Everything that leaves.
    Postrouting = 4,
}

/// The type of a set's key or of a map's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetType {
    pub(super) kind: u32,
    pub(super) length: u32,
}

impl SetType {
    /// `ipv4_addr`
    pub const IPV4: Self = Self { kind: 7, length: 4 };
    /// `inet_proto`
    pub const PROTOCOL: Self = Self { kind: 12, length: 1 };
    /// `inet_service`
    pub const PORT: Self = Self { kind: 13, length: 2 };

    /// The concatenation `self . next`: every field is padded to four bytes, every type takes six bits.
    pub const fn then(self, next: Self) -> Self {
        Self {
            kind: self.kind << 6 | next.kind,
            length: self.length.next_multiple_of(4) + next.length.next_multiple_of(4),
        }
    }
}

/// What happens to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It passes this chain.
    Accept,
    /// It is gone.
    Drop,
    /// The chain ends here for it.
    Return,
}

/// One step of a rule. Registers are numbered by their 32-bit words, 0 to 15: a field of a concatenation takes as many
/// words as it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression<'a> {
    /// Load a property of the packet: `NFT_META_…`.
    Meta {
        /// Which one.
        key: u32,
        /// Where to.
        to: u32,
    },
    /// Load a property of its connection: `NFT_CT_…`.
    Connection {
        /// Which one.
        key: u32,
        /// Where to.
        to: u32,
    },
    /// Load bytes of the network header.
    Network {
        /// The first byte.
        offset: u32,
        /// How many.
        length: u32,
        /// Where to.
        to: u32,
    },
    /// Load bytes of the transport header.
    Transport {
        /// The first byte.
        offset: u32,
        /// How many.
        length: u32,
        /// Where to.
        to: u32,
    },
    /// Load the type (`RTN_…`) of the packet's destination address.
    DestinationType {
        /// Where to.
        to: u32,
    },
    /// Keep only the bits of the mask.
    Mask {
        /// The register.
        at: u32,
        /// As many bytes as the value has.
        mask: Vec<u8>,
    },
    /// Go on if the register has this value.
    Equal {
        /// The register.
        at: u32,
        /// The value.
        value: Vec<u8>,
    },
    /// Go on if the register has another value.
    Differs {
        /// The register.
        at: u32,
        /// The value.
        value: Vec<u8>,
    },
    /// Go on if the set has the register's value as a key.
    In {
        /// The register.
        at: u32,
        /// The set.
        set: &'a str,
    },
    /// Look the register's value up in a map and load what is there; stop if nothing is.
    Lookup {
        /// The register.
        at: u32,
        /// The map.
        map: &'a str,
        /// Where to.
        to: u32,
    },
    /// Redirect the connection to the IPv4 address and port in two registers.
    Redirect {
        /// The register of the address.
        address: u32,
        /// The register of the port.
        port: u32,
    },
    /// Give the connection the address of the interface it leaves by.
    Masquerade,
    /// Count packets and bytes.
    Counter,
    /// Decide.
    Verdict(Verdict),
}

/// `NFT_META_IIFNAME`
pub(crate) const IIFNAME: u32 = 6;
/// `NFT_META_OIFNAME`
pub(crate) const OIFNAME: u32 = 7;
/// `NFT_META_NFPROTO`
pub(crate) const NFPROTO: u32 = 15;
/// `NFT_META_L4PROTO`
pub(crate) const L4PROTO: u32 = 16;
/// `NFT_CT_STATE`
pub(crate) const CT_STATE: u32 = 0;
/// `NFT_CT_STATUS`
pub(crate) const CT_STATUS: u32 = 2;

impl<'a> Expression<'a> {
    /// The name of the interface the packet came in by.
    pub const fn input_name(to: u32) -> Self {
        Self::Meta { key: IIFNAME, to }
    }

    /// The name of the interface the packet goes out by.
    pub const fn output_name(to: u32) -> Self {
        Self::Meta { key: OIFNAME, to }
    }

    /// The packet's family, one byte: 2 is IPv4.
    pub const fn family(to: u32) -> Self {
        Self::Meta { key: NFPROTO, to }
    }

    /// The packet's transport protocol, one byte.
    pub const fn protocol(to: u32) -> Self {
        Self::Meta { key: L4PROTO, to }
    }

    /// The connection's state, a mask of which bit 1 is established and bit 2 related.
    pub const fn state(to: u32) -> Self {
        Self::Connection { key: CT_STATE, to }
    }

    /// The connection's status (`IPS_…`), of which bit 5 says that its destination was translated.
    pub const fn status(to: u32) -> Self {
        Self::Connection { key: CT_STATUS, to }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Meta { .. } => "meta",
            Self::Connection { .. } => "ct",
            Self::Network { .. } | Self::Transport { .. } => "payload",
            Self::DestinationType { .. } => "fib",
            Self::Mask { .. } => "bitwise",
            Self::Equal { .. } | Self::Differs { .. } => "cmp",
            Self::In { .. } | Self::Lookup { .. } => "lookup",
            Self::Redirect { .. } => "nat",
            Self::Masquerade => "masq",
            Self::Counter => "counter",
            Self::Verdict(_) => "immediate",
        }
    }

    /// `NFTA_LIST_ELEM` { `NFTA_EXPR_NAME`, `NFTA_EXPR_DATA` }
    pub(super) fn write(&self, body: &mut Body<'_>) {
        body.nested(1, |body| {
            body.text(1, self.name());
            body.nested(2, |body| self.write_data(body));
        });
    }

    fn write_data(&self, body: &mut Body<'_>) {
        match self {
            Self::Meta { key, to } | Self::Connection { key, to } => {
                body.u32_be(1, register(*to));
                body.u32_be(2, *key);
            }
            Self::Network { offset, length, to } => payload(body, 1, *offset, *length, *to),
            Self::Transport { offset, length, to } => payload(body, 2, *offset, *length, *to),
            Self::DestinationType { to } => {
                body.u32_be(1, register(*to));
                body.u32_be(2, 3); // NFT_FIB_RESULT_ADDRTYPE
                body.u32_be(3, 2); // NFTA_FIB_F_DADDR
            }
            Self::Mask { at, mask } => bitwise(body, *at, mask),
            Self::Equal { at, value } => compare(body, *at, 0, value),
            Self::Differs { at, value } => compare(body, *at, 1, value),
            Self::In { at, set } => {
                body.text(1, set);
                body.u32_be(2, register(*at));
            }
            Self::Lookup { at, map, to } => {
                body.text(1, map);
                body.u32_be(2, register(*at));
                body.u32_be(3, register(*to));
            }
            Self::Redirect { address, port } => {
                body.u32_be(1, 1); // NFT_NAT_DNAT
                body.u32_be(2, 2); // NFPROTO_IPV4
                body.u32_be(3, register(*address));
                body.u32_be(5, register(*port));
            }
            Self::Masquerade | Self::Counter => {}
            Self::Verdict(verdict) => decide(body, *verdict),
        }
    }
}

/// `NFT_REG32_00` and on; the kernel shows the first word of each 128-bit register by that register's number.
fn register(word: u32) -> u32 {
    8 + word
}

fn payload(body: &mut Body<'_>, base: u32, offset: u32, length: u32, to: u32) {
    body.u32_be(1, register(to));
    body.u32_be(2, base);
    body.u32_be(3, offset);
    body.u32_be(4, length);
}

fn bitwise(body: &mut Body<'_>, at: u32, mask: &[u8]) {
    body.u32_be(1, register(at));
    body.u32_be(2, register(at));
    body.u32_be(3, u32::try_from(mask.len()).unwrap_or(u32::MAX));
    body.nested(4, |body| body.bytes(1, mask));
    body.nested(5, |body| body.bytes(1, &vec![0; mask.len()]));
}

fn compare(body: &mut Body<'_>, at: u32, operation: u32, value: &[u8]) {
    body.u32_be(1, register(at));
    body.u32_be(2, operation);
    body.nested(3, |body| body.bytes(1, value));
}

fn decide(body: &mut Body<'_>, verdict: Verdict) {
    let code: i32 = match verdict {
        Verdict::Drop => 0,
        Verdict::Accept => 1,
        Verdict::Return => -5,
    };
    body.u32_be(1, 0); // NFT_REG_VERDICT
    body.nested(2, |body| body.nested(2, |body| body.bytes(1, &code.to_be_bytes())));
}
