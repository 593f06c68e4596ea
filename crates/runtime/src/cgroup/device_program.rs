//! Device access on v2: a program of type `BPF_PROG_TYPE_CGROUP_DEVICE`, assembled here.
//!
//! The kernel runs it for every open and mknod of a device and refuses when it returns 0
//! (Documentation/bpf/prog_cgroup_device, `struct bpf_cgroup_dev_ctx` in linux/bpf.h).

use super::Error;
use super::devices::{Access, Devices};
use std::os::fd::AsFd;
use std::path::Path;

// Registers by their use here: r0 result, r1 context then scratch, r2 type, r3 access, r4 major, r5 minor.
const LOAD_WORD: u8 = 0x61; // dst = *(u32 *)(src + off)
const MOVE32: u8 = 0xbc;
const MOVE: u8 = 0xb7; // 64-bit, immediate
const AND32: u8 = 0x54;
const SHIFT_RIGHT32: u8 = 0x74;
const JUMP_NOT_EQUAL32: u8 = 0x56;
const JUMP_EQUAL32: u8 = 0x16;
const EXIT: u8 = 0x95;

const TYPE_BLOCK: i32 = 1;
const TYPE_CHAR: i32 = 2;

/// Assembles the program that decides as `access` says: eight bytes an instruction.
pub(crate) fn assemble(access: &Access) -> Vec<u8> {
    let mut code = Vec::new();
    push(&mut code, LOAD_WORD, 2, 1, 0, 0);
    push(&mut code, MOVE32, 3, 2, 0, 0);
    push(&mut code, AND32, 2, 0, 0, 0xffff);
    push(&mut code, SHIFT_RIGHT32, 3, 0, 0, 16);
    push(&mut code, LOAD_WORD, 4, 1, 4, 0);
    push(&mut code, LOAD_WORD, 5, 1, 8, 0);
    for (devices, bits) in &access.exceptions {
        let block = exception(devices, *bits, access.allow);
        for (index, (opcode, dst, src, imm, skips)) in block.iter().enumerate() {
            let rest = i16::try_from(block.len() - index - 1).unwrap_or_default();
            push(&mut code, *opcode, *dst, *src, if *skips { rest } else { 0 }, *imm);
        }
    }
    push(&mut code, MOVE, 0, 0, 0, i32::from(access.allow));
    push(&mut code, EXIT, 0, 0, 0, 0);
    code
}

type Step = (u8, u8, u8, i32, bool);

/// The test of one exception; a step whose last field is true jumps behind the block.
fn exception(devices: &Devices, bits: u8, default_allow: bool) -> Vec<Step> {
    let kind = if devices.block { TYPE_BLOCK } else { TYPE_CHAR };
    let mut block = vec![(JUMP_NOT_EQUAL32, 2, 0, kind, true)];
    // An allowing exception must hold all that is wanted, a denying one any of it.
    if bits != 7 {
        block.push((MOVE32, 1, 3, 0, false));
        if default_allow {
            block.push((AND32, 1, 0, i32::from(bits), false));
            block.push((JUMP_EQUAL32, 1, 0, 0, true));
        } else {
            block.push((AND32, 1, 0, i32::from(!bits & 7), false));
            block.push((JUMP_NOT_EQUAL32, 1, 0, 0, true));
        }
    }
    if let Some(major) = devices.major {
        block.push((JUMP_NOT_EQUAL32, 4, 0, major.cast_signed(), true));
    }
    if let Some(minor) = devices.minor {
        block.push((JUMP_NOT_EQUAL32, 5, 0, minor.cast_signed(), true));
    }
    block.push((MOVE, 0, 0, i32::from(!default_allow), false));
    block.push((EXIT, 0, 0, 0, false));
    block
}

/// Appends one `struct bpf_insn`.
fn push(code: &mut Vec<u8>, opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) {
    code.extend_from_slice(&[opcode, (src << 4) | dst]);
    code.extend_from_slice(&offset.to_ne_bytes());
    code.extend_from_slice(&imm.to_ne_bytes());
}

/// Puts `access` in force for a v2 cgroup, in place of programs put there before.
///
/// The new program is attached before the old ones go: for a moment both must agree, never neither.
pub(crate) fn replace(cgroup: &impl AsFd, path: &Path, access: &Access) -> Result<(), Error> {
    let old = proa_sys::bpf::device_programs(cgroup.as_fd())
        .map_err(|source| Error::io("list device programs of", path, source))?;
    if !(access.allow && access.exceptions.is_empty()) {
        let program = proa_sys::bpf::load_device_program(&assemble(access)).map_err(|source| {
            if matches!(source.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) {
                Error::Unsupported {
                    feature: "device control on cgroup v2".into(),
                    reason: format!("bpf(2) says {source}; it needs CAP_BPF or CAP_SYS_ADMIN"),
                }
            } else {
                Error::io("load a device program for", path, source)
            }
        })?;
        proa_sys::bpf::attach_device_program(cgroup.as_fd(), program.as_fd())
            .map_err(|source| Error::io("attach a device program to", path, source))?;
    }
    for program in old {
        proa_sys::bpf::detach_device_program(cgroup.as_fd(), program.as_fd())
            .map_err(|source| Error::io("detach a device program from", path, source))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::devices::tests::{docker, rule};
    use super::super::devices::{MKNOD, READ, WRITE};
    use super::*;

    /// Runs the program as the kernel would, for the instructions it may contain.
    fn run(code: &[u8], block: bool, major: u32, minor: u32, wanted: u8) -> bool {
        let kind: u32 = if block { 1 } else { 2 };
        let context = [(u32::from(wanted) << 16) | kind, major, minor];
        let mut r = [0u32; 11];
        let mut pc = 0usize;
        loop {
            let i = &code[pc * 8..pc * 8 + 8];
            let (dst, src) = (usize::from(i[1] & 15), usize::from(i[1] >> 4));
            let offset = usize::try_from(i16::from_ne_bytes([i[2], i[3]])).unwrap();
            let imm = u32::from_ne_bytes([i[4], i[5], i[6], i[7]]);
            pc += 1;
            match i[0] {
                LOAD_WORD => r[dst] = context[offset / 4],
                MOVE32 => r[dst] = r[src],
                MOVE => r[dst] = imm,
                AND32 => r[dst] &= imm,
                SHIFT_RIGHT32 => r[dst] >>= imm,
                JUMP_NOT_EQUAL32 if r[dst] != imm => pc += offset,
                JUMP_EQUAL32 if r[dst] == imm => pc += offset,
                JUMP_NOT_EQUAL32 | JUMP_EQUAL32 => {}
                EXIT => return r[0] != 0,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_program_decides_as_the_rules() {
        let privileged = vec![rule(true, "a", None, None, "rwm"), rule(false, "c", Some(1), Some(8), "w")];
        let odd = vec![
            rule(false, "a", None, None, ""),
            rule(true, "a", Some(7), None, "r"),
            rule(true, "b", None, Some(3), "rw"),
            rule(true, "c", Some(i64::from(u32::MAX)), Some(0), "rwm"),
        ];
        for rules in [docker(), privileged, odd, Vec::new()] {
            let access = Access::of(&rules).unwrap();
            let code = assemble(&access);
            for block in [false, true] {
                for major in [0, 1, 5, 7, 8, 10, 136, u32::MAX] {
                    for minor in [0, 3, 5, 8, 229, 1 << 20] {
                        for wanted in [READ, WRITE, READ | WRITE, MKNOD, READ | WRITE | MKNOD] {
                            assert_eq!(
                                run(&code, block, major, minor, wanted),
                                access.allows(block, major, minor, wanted),
                                "{block} {major}:{minor} {wanted}"
                            );
                        }
                    }
                }
            }
        }
    }
}
