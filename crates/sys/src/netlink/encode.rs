//! Writing netlink messages. A [`Batch`] holds the messages of one send; lengths and sequence numbers are filled in
//! behind the caller's back, and what does not fit into a length field makes the whole batch fail when it is sent.

use super::decode::aligned;
use super::{Error, Request};

/// `NLM_F_REQUEST`
const REQUEST: u16 = 1;
/// `NLM_F_ACK`
pub(crate) const ACK: u16 = 4;
/// `NLM_F_ROOT | NLM_F_MATCH`: a dump.
pub(crate) const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`
pub(crate) const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`
pub(crate) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`
pub(crate) const APPEND: u16 = 0x800;
/// `NLA_F_NESTED`
const NESTED: u16 = 0x8000;

/// Messages to be sent together.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    starts: Vec<usize>,
    requests: Vec<Request>,
    too_long: bool,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message of type `kind` with `flags`, a fixed header and what `body` writes behind it. `label` completes
    /// the sentence "cannot …" in errors.
    pub fn message(
        &mut self,
        label: impl Into<String>,
        kind: u16,
        flags: u16,
        header: &[u8],
        body: impl FnOnce(&mut Body<'_>),
    ) {
        let start = self.bytes.len();
        self.starts.push(start);
        self.requests
            .push(Request { label: label.into(), answers: flags & ACK != 0 || flags & DUMP == DUMP });
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | REQUEST).to_ne_bytes());
        self.bytes.extend([0; 8]);
        self.bytes.extend(header);
        let mut inside = Body { bytes: &mut self.bytes, too_long: &mut self.too_long };
        inside.pad();
        body(&mut inside);
        let length = self.bytes.len().saturating_sub(start);
        match u32::try_from(length) {
            Ok(length) => write_at(&mut self.bytes, start, &length.to_ne_bytes()),
            Err(_) => self.too_long = true,
        }
    }

    /// How many messages it has.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The bytes to send, with sequence numbers from `first` on.
    pub(super) fn finish(mut self, first: u32) -> Result<(Vec<u8>, Vec<Request>), Error> {
        if self.too_long {
            return Err(Error::TooLong);
        }
        let mut sequence = first;
        for start in &self.starts {
            write_at(&mut self.bytes, start.saturating_add(8), &sequence.to_ne_bytes());
            sequence = sequence.wrapping_add(1);
        }
        Ok((self.bytes, self.requests))
    }
}

/// The attributes of a message or of a nested attribute, being written.
pub struct Body<'a> {
    bytes: &'a mut Vec<u8>,
    too_long: &'a mut bool,
}

impl Body<'_> {
    /// Bytes without an attribute header: a fixed header inside a nested attribute.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.pad();
    }

    /// An attribute with these bytes.
    pub fn bytes(&mut self, kind: u16, payload: &[u8]) {
        self.attribute(kind, |body| body.bytes.extend(payload));
    }

    /// An attribute with text and a terminating zero.
    pub fn text(&mut self, kind: u16, text: &str) {
        self.attribute(kind, |body| {
            body.bytes.extend(text.as_bytes());
            body.bytes.push(0);
        });
    }

    /// An attribute with one byte.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    /// An attribute with a number in the machine's byte order, as rtnetlink wants it.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// An attribute with a number in network byte order, as nfnetlink wants it.
    pub fn u32_be(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An attribute that holds attributes.
    pub fn nested(&mut self, kind: u16, inside: impl FnOnce(&mut Body<'_>)) {
        self.attribute(kind | NESTED, inside);
    }

    fn attribute(&mut self, kind: u16, payload: impl FnOnce(&mut Body<'_>)) {
        let start = self.bytes.len();
        self.bytes.extend([0, 0]);
        self.bytes.extend(kind.to_ne_bytes());
        payload(&mut Body { bytes: self.bytes, too_long: self.too_long });
        let length = self.bytes.len().saturating_sub(start);
        match u16::try_from(length) {
            Ok(length) => write_at(self.bytes, start, &length.to_ne_bytes()),
            Err(_) => *self.too_long = true,
        }
        self.pad();
    }

    /// Messages and attributes start at multiples of four; the batch itself does, so its length tells.
    fn pad(&mut self) {
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }
}

fn write_at(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at.saturating_add(value.len())) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::{Attributes, Messages};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_attribute_over_64_kilobytes_fails_the_batch() {
        let mut batch = Batch::new();
        batch.message("test", 16, ACK, &[], |body| body.bytes(1, &vec![0; 70_000]));
        assert!(matches!(batch.finish(1), Err(Error::TooLong)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            messages in prop::collection::vec((16u16..200, prop::collection::vec(any::<u8>(), 0..17),
                prop::collection::vec((1u16..100, prop::collection::vec(any::<u8>(), 0..40)), 0..6)), 1..5)
        ) {
            let mut batch = Batch::new();
            for (kind, header, attributes) in &messages {
                batch.message("test", *kind, ACK, header, |body| {
                    body.nested(7, |body| attributes.iter().for_each(|(kind, value)| body.bytes(*kind, value)));
                });
            }
            let (bytes, _) = batch.finish(40).unwrap();
            let read: Vec<_> = Messages::new(&bytes).collect();
            prop_assert_eq!(read.len(), messages.len());
            for (at, (message, (kind, header, attributes))) in read.iter().zip(&messages).enumerate() {
                prop_assert_eq!(message.kind, *kind);
                prop_assert_eq!(message.sequence, 40 + u32::try_from(at).unwrap());
                let nested = Attributes::after(message.payload, header.len()).first(7).unwrap();
                let back: Vec<_> = Attributes::new(nested).map(|(k, v)| (k, v.to_vec())).collect();
                prop_assert_eq!(&back, attributes);
            }
        }
    }
}
