//! nf_tables over netlink: tables, chains, sets, maps, rules and elements in atomic batches.
//!
//! A [`Transaction`] is applied whole or not at all; an error names the first request that failed. Only what the
//! project's own rules need is here. Kernel headers: `linux/netfilter/nf_tables.h`; the text form of the same things is
//! in nft(8). NAT in family `inet` needs Linux 5.2, concatenated keys with NAT 5.6.

pub mod conntrack;
mod expression;

pub use expression::{Expression, Hook, SetType, Verdict};

use crate::netlink::{Attributes, Batch, Body, Error, Protocol, Reply, Socket};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `NFPROTO_INET`
const INET: u8 = 1;

const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const NEW_RULE: u16 = 6;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const GET_ELEMENT: u16 = 13;
const DELETE_ELEMENT: u16 = 14;
const GET_GENERATION: u16 = 16;

use crate::netlink::{ACK, APPEND, CREATE, DUMP, EXCLUSIVE};

/// An attribute's length is 16 bits: so many elements of at most 80 bytes stay below it.
const ELEMENTS_PER_MESSAGE: usize = 500;

/// Key and, in a map, value of an element, as concatenations of fields padded to four bytes each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// What is looked up.
    pub key: Vec<u8>,
    /// What is found; empty in a set.
    pub value: Vec<u8>,
}

/// A base chain as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseChain {
    /// The address family of its table (`NFPROTO_…`).
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The number of its hook; 2 is forward in the ip families.
    pub hook: u32,
    /// Whether what reaches its end is dropped.
    pub drops: bool,
}

/// Changes to one table of family `inet`, applied together.
pub struct Transaction {
    table: String,
    batch: Batch,
    sets: u32,
}

impl Transaction {
    /// An empty transaction on `table`.
    pub fn on(table: &str) -> Self {
        let mut batch = Batch::new();
        // The subsystem stands in network byte order in the generic header's last field.
        batch.message("begin", BATCH_BEGIN, 0, &[0, 0, 0, 10], |_| {});
        Self { table: table.to_owned(), batch, sets: 0 }
    }

    fn message(&mut self, label: String, kind: u16, flags: u16, body: impl FnOnce(&mut Body<'_>)) {
        self.batch.message(label, SUBSYSTEM << 8 | kind, flags | ACK, &[INET, 0, 0, 0], body);
    }

    /// Makes the table unless it is there.
    pub fn add_table(&mut self) {
        let table = self.table.clone();
        self.message(format!("create nftables table inet {table}"), NEW_TABLE, CREATE, |body| {
            body.text(1, &table);
            body.u32_be(2, 0);
        });
    }

    /// Removes the table and everything in it; fails when it is not there.
    pub fn delete_table(&mut self) {
        let table = self.table.clone();
        self.message(format!("remove nftables table inet {table}"), DELETE_TABLE, 0, |body| {
            body.text(1, &table)
        });
    }

    /// Makes a base chain that lets pass what no rule decides.
    pub fn add_base_chain(&mut self, name: &str, kind: &str, hook: Hook, priority: i32) {
        /// `NF_ACCEPT`
        const ACCEPT: u32 = 1;
        let table = self.table.clone();
        self.message(format!("create chain {name} of table inet {table}"), NEW_CHAIN, CREATE, |body| {
            body.text(1, &table);
            body.text(3, name);
            body.nested(4, |body| {
                body.u32_be(1, hook as u32);
                body.bytes(2, &priority.to_be_bytes());
            });
            body.u32_be(5, ACCEPT);
            body.text(7, kind);
        });
    }

    /// Removes the rules of a chain.
    pub fn flush_chain(&mut self, chain: &str) {
        let table = self.table.clone();
        self.message(format!("flush chain {chain} of table inet {table}"), DELETE_RULE, 0, |body| {
            body.text(1, &table);
            body.text(2, chain);
        });
    }

    /// Makes a set of keys of this type, or with `value` a map.
    pub fn add_set(&mut self, name: &str, key: SetType, value: Option<SetType>) {
        /// `NFT_SET_MAP`
        const MAP: u32 = 8;
        let table = self.table.clone();
        self.sets += 1;
        let id = self.sets;
        self.message(format!("create set {name} of table inet {table}"), NEW_SET, CREATE, |body| {
            body.text(1, &table);
            body.text(2, name);
            body.u32_be(3, if value.is_some() { MAP } else { 0 });
            body.u32_be(4, key.kind);
            body.u32_be(5, key.length);
            if let Some(value) = value {
                body.u32_be(6, value.kind);
                body.u32_be(7, value.length);
            }
            body.u32_be(10, id);
        });
    }

    /// Appends a rule.
    pub fn add_rule(&mut self, chain: &str, expressions: &[Expression<'_>]) {
        let table = self.table.clone();
        let label = format!("add a rule to chain {chain} of table inet {table}");
        self.message(label, NEW_RULE, CREATE | APPEND, |body| {
            body.text(1, &table);
            body.text(2, chain);
            body.nested(4, |body| expressions.iter().for_each(|expression| expression.write(body)));
        });
    }

    /// Adds elements; fails when a key is there with another value. An element that is there already stays.
    pub fn add_elements(&mut self, set: &str, elements: &[Element]) {
        self.elements("add elements to", NEW_ELEMENT, CREATE, set, elements);
    }

    /// Adds elements; fails when one is there already.
    pub fn create_elements(&mut self, set: &str, elements: &[Element]) {
        self.elements("add elements to", NEW_ELEMENT, CREATE | EXCLUSIVE, set, elements);
    }

    /// Removes elements by key; fails when one is not there.
    pub fn delete_elements(&mut self, set: &str, elements: &[Element]) {
        self.elements("remove elements from", DELETE_ELEMENT, 0, set, elements);
    }

    fn elements(&mut self, what: &str, kind: u16, flags: u16, set: &str, elements: &[Element]) {
        let table = self.table.clone();
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.message(format!("{what} set {set} of table inet {table}"), kind, flags, |body| {
                body.text(1, &table);
                body.text(2, set);
                body.nested(3, |body| chunk.iter().for_each(|element| write_element(body, element)));
            });
        }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.batch.len() <= 1
    }

    /// Applies all of it, or nothing.
    ///
    /// # Errors
    /// The first request that the kernel refused.
    pub fn commit(mut self, socket: &mut Socket) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        self.batch.message("end", BATCH_END, 0, &[0, 0, 0, 10], |_| {});
        socket.exchange(self.batch).map(|_| ())
    }
}

fn write_element(body: &mut Body<'_>, element: &Element) {
    /// `NFTA_LIST_ELEM`, `NFTA_SET_ELEM_KEY`, `NFTA_SET_ELEM_DATA`, `NFTA_DATA_VALUE`
    const LIST_ELEMENT: u16 = 1;
    const KEY: u16 = 1;
    const DATA: u16 = 2;
    const VALUE: u16 = 1;
    body.nested(LIST_ELEMENT, |body| {
        body.nested(KEY, |body| body.bytes(VALUE, &element.key));
        if !element.value.is_empty() {
            body.nested(DATA, |body| body.bytes(VALUE, &element.value));
        }
    });
}

/// Opens a netfilter socket.
///
/// # Errors
/// When the kernel has no netfilter netlink or descriptors ran out.
pub fn open() -> Result<Socket, Error> {
    Socket::open(Protocol::Netfilter)
}

/// Whether a table of family `inet` is there.
///
/// # Errors
/// When the kernel refuses to say, as without `CAP_NET_ADMIN`.
pub fn has_table(socket: &mut Socket, table: &str) -> Result<bool, Error> {
    let mut batch = Batch::new();
    let label = format!("find nftables table inet {table}");
    batch.message(label, SUBSYSTEM << 8 | GET_TABLE, ACK, &[INET, 0, 0, 0], |body| body.text(1, table));
    match socket.exchange(batch) {
        Ok(_) => Ok(true),
        Err(error) if error.errno() == Some(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The number of the ruleset's last change, by whomever. Costs a few microseconds.
///
/// # Errors
/// When the kernel refuses to say.
pub fn generation(socket: &mut Socket) -> Result<u32, Error> {
    let mut batch = Batch::new();
    batch.message("ask for the ruleset's generation", SUBSYSTEM << 8 | GET_GENERATION, ACK, &[0; 4], |_| {});
    let replies = socket.exchange(batch)?;
    let number = replies.iter().find_map(|reply| Attributes::after(&reply.payload, 4).u32_be(1));
    number.ok_or_else(|| Error::Unanswered("ask for the ruleset's generation".into()))
}

/// The elements of a set or map.
///
/// # Errors
/// When it is not there.
pub fn elements(socket: &mut Socket, table: &str, set: &str) -> Result<Vec<Element>, Error> {
    let mut batch = Batch::new();
    let label = format!("list set {set} of table inet {table}");
    batch.message(label, SUBSYSTEM << 8 | GET_ELEMENT, DUMP, &[INET, 0, 0, 0], |body| {
        body.text(1, table);
        body.text(2, set);
    });
    Ok(socket.exchange(batch)?.iter().flat_map(read_elements).collect())
}

fn read_elements(reply: &Reply) -> Vec<Element> {
    let value = |bytes| Attributes::new(bytes).first(1).unwrap_or_default().to_vec();
    let list = Attributes::after(&reply.payload, 4).first(3).unwrap_or_default();
    let read = |(_, bytes)| {
        let parts = Attributes::new(bytes);
        Some(Element { key: value(parts.first(1)?), value: parts.first(2).map(value).unwrap_or_default() })
    };
    Attributes::new(list).filter_map(read).collect()
}

/// The base chains of all tables of all families.
///
/// # Errors
/// When the kernel refuses to say.
pub fn base_chains(socket: &mut Socket) -> Result<Vec<BaseChain>, Error> {
    let mut batch = Batch::new();
    batch.message("list nftables chains", SUBSYSTEM << 8 | GET_CHAIN, DUMP, &[0; 4], |_| {});
    Ok(socket.exchange(batch)?.iter().filter_map(read_chain).collect())
}

fn read_chain(reply: &Reply) -> Option<BaseChain> {
    let attributes = Attributes::after(&reply.payload, 4);
    let hook = Attributes::new(attributes.first(4)?);
    Some(BaseChain {
        family: *reply.payload.first()?,
        table: attributes.text(1)?,
        name: attributes.text(3)?,
        hook: hook.u32_be(1)?,
        drops: attributes.u32_be(5) == Some(0),
    })
}

#[cfg(test)]
#[path = "nfnetlink/tests.rs"]
mod tests;
