//! The program of the image `hello-world`: prints a greeting and exits. No libc, no std: two system calls.
//!
//! It runs inside containers and is no part of the engine, so the rule that unsafe code lives in one crate
//! does not cover it.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

const GREETING: &str = "
Hello from Proa!
Your engine works: this text was printed by a program inside a container.

What just happened:
 1. The proa command asked the engine, over its API, to run the image \"hello-world\".
 2. The engine looked for the image here, then in a registry; where no registry can be
    reached, it takes the copy that it carries with it.
 3. It made a container: a root file system of the image's layers, namespaces, a cgroup
    with limits, and a filter that lets only known system calls through.
 4. The program in it printed this, the engine passed it on to your terminal, and the
    container ended.

What to try next:
    proa run -it --rm busybox sh          a shell in a small system
    proa run -d -p 8080:80 nginx          a web server, at http://localhost:8080
    proa ps -a                            containers, running and ended
    proa --help                           everything else

";

#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {main}", main = sym main);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, xzr", "bl {main}", main = sym main);

/// A system call with three arguments.
#[cfg(target_arch = "x86_64")]
fn call(number: usize, a: usize, b: usize, c: usize) -> isize {
    let result: isize;
    // SAFETY: only write(2) and exit_group(2) are called; the kernel changes rax, rcx and r11 only.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// A system call with three arguments.
#[cfg(target_arch = "aarch64")]
fn call(number: usize, a: usize, b: usize, c: usize) -> isize {
    let result: isize;
    // SAFETY: only write(2) and exit_group(2) are called; the kernel changes x0 only.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c,
            options(nostack));
    }
    result
}

/// Numbers of write and exit_group.
#[cfg(target_arch = "x86_64")]
const CALLS: (usize, usize) = (1, 231);
#[cfg(target_arch = "aarch64")]
const CALLS: (usize, usize) = (64, 94);

extern "C" fn main() -> ! {
    let mut rest = GREETING.as_bytes();
    while !rest.is_empty() {
        let written = call(CALLS.0, 1, rest.as_ptr() as usize, rest.len());
        match usize::try_from(written).ok().and_then(|count| rest.get(count..)) {
            Some(left) => rest = left,
            None => exit(1),
        }
    }
    exit(0)
}

fn exit(code: usize) -> ! {
    loop {
        call(CALLS.1, code, 0, 0);
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(1)
}
