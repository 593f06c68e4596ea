//! Assembles classic BPF from its end to its beginning, so that every jump's target is known when it is written.
//!
//! Conditional jumps reach 255 instructions. A target farther away is reached by a copy of it, if it is a return,
//! or by an unconditional jump placed near; equal returns near enough are shared.

use std::collections::HashMap;

// linux/bpf_common.h: class | size or operation | mode or source.
pub(crate) const LOAD: u16 = 0x20; // LD | W | ABS
pub(crate) const JUMP: u16 = 0x05; // JMP | JA
pub(crate) const JUMP_EQUAL: u16 = 0x15; // JMP | JEQ | K
pub(crate) const JUMP_GREATER: u16 = 0x25; // JMP | JGT | K
pub(crate) const JUMP_GREATER_EQUAL: u16 = 0x35; // JMP | JGE | K
pub(crate) const AND: u16 = 0x54; // ALU | AND | K
pub(crate) const RETURN: u16 = 0x06; // RET | K

/// A place in the program: how many instructions stand behind its last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label(usize);

/// One instruction, `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) then: u8,
    pub(crate) otherwise: u8,
    pub(crate) k: u32,
}

/// How far targets may be when an instruction is prepared: three others may still come between.
const NEAR: usize = 252;

/// The program so far, last instruction first.
#[derive(Debug, Default)]
pub(crate) struct Emitter {
    reversed: Vec<Instruction>,
    returns: HashMap<u32, Label>,
}

impl Emitter {
    fn push(&mut self, code: u16, then: u8, otherwise: u8, k: u32) -> Label {
        self.reversed.push(Instruction { code, then, otherwise, k });
        Label(self.reversed.len() - 1)
    }

    /// How many instructions stand between the next one to be written and `to`.
    fn distance(&self, to: Label) -> usize {
        self.reversed.len() - 1 - to.0
    }

    /// A return of this value, near enough to jump to.
    pub(crate) fn returning(&mut self, value: u32) -> Label {
        match self.returns.get(&value) {
            Some(label) if self.distance(*label) <= NEAR => *label,
            _ => {
                let label = self.push(RETURN, 0, 0, value);
                self.returns.insert(value, label);
                label
            }
        }
    }

    /// A place near enough to jump to from which `to` is reached.
    fn near(&mut self, to: Label) -> Label {
        if self.distance(to) <= NEAR {
            return to;
        }
        match self.reversed.get(to.0) {
            Some(Instruction { code: RETURN, k, .. }) => self.returning(*k),
            _ => self.jump(to),
        }
    }

    fn jump(&mut self, to: Label) -> Label {
        // The program is bounded long before this could be exceeded.
        let distance = u32::try_from(self.distance(to)).unwrap_or(u32::MAX);
        self.push(JUMP, 0, 0, distance)
    }

    /// Jumps to `then` if the accumulator compares so with `k`, or else to `otherwise`.
    pub(crate) fn branch(&mut self, code: u16, k: u32, then: Label, otherwise: Label) -> Label {
        if then == otherwise {
            return then;
        }
        let (then, otherwise) = (self.near(then), self.near(otherwise));
        let then = u8::try_from(self.distance(then)).unwrap_or(u8::MAX);
        let otherwise = u8::try_from(self.distance(otherwise)).unwrap_or(u8::MAX);
        self.push(code, then, otherwise, k)
    }

    /// An instruction that falls through to `next`.
    pub(crate) fn step(&mut self, code: u16, k: u32, next: Label) -> Label {
        if self.distance(next) != 0 {
            self.jump(next);
        }
        self.push(code, 0, 0, k)
    }

    /// The number of instructions.
    pub(crate) fn len(&self) -> usize {
        self.reversed.len()
    }

    /// The program in order, eight bytes an instruction; it begins at the last one written.
    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.reversed.len() * 8);
        for instruction in self.reversed.iter().rev() {
            bytes.extend_from_slice(&instruction.code.to_ne_bytes());
            bytes.extend_from_slice(&[instruction.then, instruction.otherwise]);
            bytes.extend_from_slice(&instruction.k.to_ne_bytes());
        }
        bytes
    }
}
