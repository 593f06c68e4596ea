//! Rules to a program: by architecture, then a balanced search over ranges of numbers, then conditions.
//!
//! Numbers next to each other with the same fate form one range, also over the gaps between calls; so the search
//! is as short as the profile is regular. Calls of an architecture that the profile does not name kill the
//! process: no rule of it could be applied to them.

use super::arch::{Arch, is_narrow};
use super::emit::{AND, Emitter, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_EQUAL, LOAD, Label};
use super::rules::{Action, Condition, Operator, Rules};
use super::{Error, Program};
use std::collections::{BTreeMap, HashMap};

// Offsets in `struct seccomp_data`; every architecture here is little-endian.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The bit that makes a number of 64-bit x86 one of x32.
pub(crate) const X32_BIT: u32 = 0x4000_0000;
/// First number that x32 has for itself.
pub(crate) const X32_OWN: u32 = 512;

/// Longest program the kernel takes.
const MAX_INSTRUCTIONS: usize = proa_sys::seccomp::MAX_INSTRUCTIONS;

/// A comparison, and whether only the lower half of the argument counts.
type Test = (Condition, bool);

/// The fate of one call: the first alternative whose tests all hold, else the last word.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Fate {
    alternatives: Vec<(Vec<Test>, Action)>,
    last: Action,
}

/// Compiles checked rules.
pub(crate) fn compile(rules: &Rules) -> Result<Program, Error> {
    let mut compiler = Compiler { rules, emitter: Emitter::default(), fates: HashMap::new() };
    let code = compiler.program()?;
    Ok(Program::new(rules.flags, code))
}

struct Compiler<'a> {
    rules: &'a Rules,
    emitter: Emitter,
    fates: HashMap<Fate, Label>,
}

impl Compiler<'_> {
    fn program(&mut self) -> Result<Vec<u8>, Error> {
        let has = |arch| self.rules.arches.contains(&arch);
        let (x86_64, x32) = (has(Arch::X86_64), has(Arch::X32));
        // Written from the end: the host's own architecture last, so that it is tested first.
        let mut order: Vec<Arch> = self.rules.arches.iter().copied().filter(|a| *a != Arch::X32).collect();
        if x32 && !x86_64 {
            order.push(Arch::X32);
        }
        order.sort_by_key(|arch| (*arch == Arch::host() || *arch == Arch::X86_64, std::cmp::Reverse(*arch)));
        let mut entry = self.emitter.returning(Action::KILL_PROCESS.0);
        let mut tests = Vec::new();
        for arch in order {
            let body = match arch {
                Arch::X86_64 | Arch::X32 => self.x86_64(x86_64, x32)?,
                other => {
                    let ranges = self.ranges(other, 0);
                    self.search(&ranges)?
                }
            };
            tests.push((arch.audit(), self.emitter.step(LOAD, NUMBER, body)));
        }
        for (audit, body) in tests {
            entry = self.emitter.branch(JUMP_EQUAL, audit, body, entry);
        }
        self.emitter.step(LOAD, ARCH, entry);
        self.checked()?;
        Ok(self.emitter.finish())
    }

    /// The shared entry of 64-bit x86 and x32. Below 512 a number with the x32 bit is the same call as without
    /// it (those that 64-bit x86 has for itself do not exist for x32: the kernel refuses them).
    fn x86_64(&mut self, x86_64: bool, x32: bool) -> Result<Label, Error> {
        let kill = self.emitter.returning(Action::KILL_PROCESS.0);
        let shared = {
            let ranges = self.ranges(if x86_64 { Arch::X86_64 } else { Arch::X32 }, 0);
            self.search(&ranges)?
        };
        let with_bit = if x32 {
            let ranges = self.ranges(Arch::X32, X32_OWN);
            let own = self.search(&ranges)?;
            let split = self.emitter.branch(JUMP_GREATER_EQUAL, X32_OWN, own, shared);
            self.emitter.step(AND, !X32_BIT, split)
        } else {
            // -1 is a call that a tracer has cancelled, not one of x32.
            let cancelled = self.emitter.returning(self.rules.default.0);
            self.emitter.branch(JUMP_EQUAL, u32::MAX, cancelled, kill)
        };
        let without = if x86_64 { shared } else { kill };
        Ok(self.emitter.branch(JUMP_GREATER_EQUAL, X32_BIT, with_bit, without))
    }

    /// Where each range of numbers begins, and its fate; the first begins at 0, numbers below `from` left out.
    fn ranges(&self, arch: Arch, from: u32) -> Vec<(u32, Fate)> {
        let mut fates: BTreeMap<u32, Fate> = BTreeMap::new();
        let unnamed = Fate { alternatives: Vec::new(), last: self.rules.default };
        let mut closed = std::collections::HashSet::new();
        for rule in &self.rules.rules {
            for name in &rule.names {
                let Some(number) = arch.number(name).filter(|number| *number >= from) else { continue };
                if closed.contains(&number) {
                    continue;
                }
                let fate = fates.entry(number).or_insert_with(|| unnamed.clone());
                if rule.conditions.is_empty() {
                    fate.last = rule.action;
                    closed.insert(number);
                } else {
                    let tests = rule.conditions.iter().map(|c| (*c, is_narrow(name, c.index))).collect();
                    fate.alternatives.push((tests, rule.action));
                }
            }
        }
        let mut ranges = vec![(0, unnamed.clone())];
        let mut next = 0;
        for (number, mut fate) in fates {
            while fate.alternatives.last().is_some_and(|(_, action)| *action == fate.last) {
                fate.alternatives.pop();
            }
            if number > next {
                add(&mut ranges, next, &unnamed);
            }
            add(&mut ranges, number, &fate);
            next = number + 1;
        }
        add(&mut ranges, next, &unnamed);
        ranges
    }

    /// The search for the range the accumulator falls in.
    fn search(&mut self, ranges: &[(u32, Fate)]) -> Result<Label, Error> {
        self.checked()?;
        let middle = ranges.len() / 2;
        match (ranges.split_at_checked(middle), ranges.get(middle)) {
            (Some((left, right)), Some((start, fate))) => {
                if left.is_empty() {
                    return Ok(self.fate(fate));
                }
                let right = self.search(right)?;
                let left = self.search(left)?;
                Ok(self.emitter.branch(JUMP_GREATER_EQUAL, *start, right, left))
            }
            _ => Ok(self.emitter.returning(self.rules.default.0)),
        }
    }

    fn checked(&self) -> Result<(), Error> {
        let length = self.emitter.len();
        if length > MAX_INSTRUCTIONS { Err(Error::TooLong(length)) } else { Ok(()) }
    }

    fn fate(&mut self, fate: &Fate) -> Label {
        if fate.alternatives.is_empty() {
            return self.emitter.returning(fate.last.0);
        }
        if let Some(label) = self.fates.get(fate) {
            return *label;
        }
        let mut otherwise = self.emitter.returning(fate.last.0);
        for (tests, action) in fate.alternatives.iter().rev() {
            let mut then = self.emitter.returning(action.0);
            for (condition, narrow) in tests.iter().rev() {
                then = self.test(condition, *narrow, then, otherwise);
            }
            otherwise = then;
        }
        self.fates.insert(fate.clone(), otherwise);
        otherwise
    }

    fn test(&mut self, condition: &Condition, narrow: bool, then: Label, otherwise: Label) -> Label {
        let (high, low) = halves(condition.value);
        let offset = ARGUMENTS + 8 * condition.index;
        let words = Words { low: offset, high: (!narrow).then_some(offset + 4) };
        let (code, then, otherwise) = match condition.operator {
            Operator::MaskedEq { mask } => {
                return self.masked(words, halves(mask), (high, low), then, otherwise);
            }
            Operator::Eq => (JUMP_EQUAL, then, otherwise),
            Operator::Ne => (JUMP_EQUAL, otherwise, then),
            Operator::Gt => (JUMP_GREATER, then, otherwise),
            Operator::Le => (JUMP_GREATER, otherwise, then),
            Operator::Ge => (JUMP_GREATER_EQUAL, then, otherwise),
            Operator::Lt => (JUMP_GREATER_EQUAL, otherwise, then),
        };
        let Some(upper) = words.high else {
            // 32 bits never equal or exceed a value beyond them.
            if high != 0 {
                return otherwise;
            }
            let compare = self.emitter.branch(code, low, then, otherwise);
            return self.load(words.low, compare, (then, otherwise));
        };
        let compare = self.emitter.branch(code, low, then, otherwise);
        let lower = self.load(words.low, compare, (then, otherwise));
        let equal = self.emitter.branch(JUMP_EQUAL, high, lower, otherwise);
        let start = match code {
            JUMP_EQUAL => equal,
            _ => self.emitter.branch(JUMP_GREATER, high, then, equal),
        };
        self.load(upper, start, (then, otherwise))
    }

    /// A load in front of a comparison; none where the comparison turned out to be none.
    fn load(&mut self, offset: u32, next: Label, targets: (Label, Label)) -> Label {
        if next == targets.0 || next == targets.1 { next } else { self.emitter.step(LOAD, offset, next) }
    }

    fn masked(
        &mut self,
        words: Words,
        mask: (u32, u32),
        value: (u32, u32),
        then: Label,
        otherwise: Label,
    ) -> Label {
        let mut next = then;
        let halves = [(Some(words.low), mask.1, value.1), (words.high, mask.0, value.0)];
        for (offset, mask, value) in halves {
            match offset {
                Some(offset) if mask != 0 => {
                    let compare = self.emitter.branch(JUMP_EQUAL, value, next, otherwise);
                    if compare != next {
                        let masked = self.emitter.step(AND, mask, compare);
                        next = self.emitter.step(LOAD, offset, masked);
                    }
                }
                // Nothing of this half is looked at: it counts as 0.
                _ if value != 0 => return otherwise,
                _ => {}
            }
        }
        next
    }
}

/// Where an argument's halves are; no upper one where only 32 bits count.
#[derive(Debug, Clone, Copy)]
struct Words {
    low: u32,
    high: Option<u32>,
}

#[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
const fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

fn add(ranges: &mut Vec<(u32, Fate)>, start: u32, fate: &Fate) {
    match ranges.last_mut() {
        Some((_, last)) if last == fate => {}
        Some((begin, last)) if *begin == start => *last = fate.clone(),
        _ => ranges.push((start, fate.clone())),
    }
}
