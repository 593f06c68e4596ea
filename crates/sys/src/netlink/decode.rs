//! Reading netlink messages: total functions over bytes. Whatever comes in, nothing panics and every iterator ends.

/// `NLMSG_NOOP`
pub(super) const NOOP: u16 = 1;
/// `NLMSG_ERROR`
pub(super) const ERROR: u16 = 2;
/// `NLMSG_DONE`
pub(super) const DONE: u16 = 3;
/// `NLMSG_OVERRUN`
pub(super) const OVERRUN: u16 = 4;

const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
/// The two top bits of an attribute's type are flags: nested, and network byte order.
const TYPE_MASK: u16 = 0x3fff;
/// `NLM_F_CAPPED`: the refused request's payload is not repeated.
const CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: attributes follow.
const ACK_ATTRIBUTES: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`
const ACK_TEXT: u16 = 1;

/// One netlink message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// The type.
    pub kind: u16,
    /// The `NLM_F_…` flags.
    pub flags: u16,
    /// The sequence number of the request this answers.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl Message<'_> {
    /// The error code (0 is success, negative is an errno) and the text of an acknowledgement or a dump's end.
    pub(super) fn acknowledgement(&self) -> (i32, Option<String>) {
        let Some((code, rest)) = self.payload.split_first_chunk::<4>() else { return (0, None) };
        if self.flags & ACK_ATTRIBUTES == 0 || self.kind != ERROR {
            return (i32::from_ne_bytes(*code), None);
        }
        let quoted = if self.flags & CAPPED != 0 {
            HEADER
        } else {
            u32_at(rest, 0).map_or(HEADER, |length| aligned(length as usize))
        };
        let text = Attributes::new(rest.get(quoted..).unwrap_or_default())
            .find(|(kind, _)| *kind == ACK_TEXT)
            .map(|(_, text)| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
        (i32::from_ne_bytes(*code), text)
    }
}

/// The messages of a datagram, up to the first malformed one.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Reads `datagram`.
    pub fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = u32_at(self.rest, 0)? as usize;
        let message = Message {
            kind: u16_at(self.rest, 4)?,
            flags: u16_at(self.rest, 6)?,
            sequence: u32_at(self.rest, 8)?,
            payload: self.rest.get(HEADER..length)?,
        };
        self.rest = self.rest.get(aligned(length)..).unwrap_or_default();
        Some(message)
    }
}

/// The attributes of a message or of a nested attribute as (type, payload), up to the first malformed one.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Reads `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Reads what follows a fixed header of `header` bytes.
    pub fn after(bytes: &'a [u8], header: usize) -> Self {
        Self::new(bytes.get(aligned(header)..).unwrap_or_default())
    }

    /// The first attribute of type `kind`.
    pub fn first(&self, kind: u16) -> Option<&'a [u8]> {
        self.clone().find(|(k, _)| *k == kind).map(|(_, payload)| payload)
    }

    /// The first attribute of type `kind` as text, without its terminating zero.
    pub fn text(&self, kind: u16) -> Option<String> {
        let bytes = self.first(kind)?;
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(bytes.get(..end)?).into_owned())
    }

    /// The first attribute of type `kind` as a number in the machine's byte order.
    pub fn u32(&self, kind: u16) -> Option<u32> {
        u32_at(self.first(kind)?, 0)
    }

    /// The first attribute of type `kind` as a number in network byte order.
    pub fn u32_be(&self, kind: u16) -> Option<u32> {
        self.u32(kind).map(u32::from_be)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(u16_at(self.rest, 0)?);
        let kind = u16_at(self.rest, 2)? & TYPE_MASK;
        let payload = self.rest.get(ATTRIBUTE_HEADER..length)?;
        self.rest = self.rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, payload))
    }
}

/// Rounded up to netlink's four bytes.
pub(super) fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_ne_bytes(*b))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(length: u32, kind: u16, flags: u16) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes
    }

    #[test]
    fn the_kernels_words_are_found_behind_a_capped_request() {
        let mut bytes = header(0, ERROR, CAPPED | ACK_ATTRIBUTES);
        bytes.extend((-17i32).to_ne_bytes());
        bytes.extend([0; HEADER]);
        bytes.extend(9u16.to_ne_bytes());
        bytes.extend(ACK_TEXT.to_ne_bytes());
        bytes.extend(b"taken\0\0\0");
        let length = u32::try_from(bytes.len()).unwrap();
        bytes.splice(0..4, length.to_ne_bytes());
        let message = Messages::new(&bytes).next().unwrap();
        assert_eq!(message.acknowledgement(), (-17, Some("taken".into())));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_finitely_many_parts_within_them(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(Messages::new(&bytes).count() <= bytes.len() / HEADER);
            prop_assert!(Attributes::new(&bytes).count() <= bytes.len() / ATTRIBUTE_HEADER);
            let all: usize = Attributes::new(&bytes).map(|(_, payload)| payload.len() + ATTRIBUTE_HEADER).sum();
            prop_assert!(all <= bytes.len());
            let attributes = Attributes::after(&bytes, 16);
            for kind in 0..8 {
                let _ = (attributes.text(kind), attributes.u32(kind), attributes.u32_be(kind));
            }
        }

        #[test]
        fn plausible_headers_with_any_lengths_never_panic(
            length in any::<u32>(), kind in 0u16..6, flags in any::<u16>(), tail in prop::collection::vec(any::<u8>(), 0..200)
        ) {
            for length in [length, length % 256] {
                let mut bytes = header(length, kind, flags);
                bytes.extend(&tail);
                for message in Messages::new(&bytes) {
                    let _ = message.acknowledgement();
                }
            }
        }
    }
}
