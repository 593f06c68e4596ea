//! Compiled filters against a direct reading of the profile, and under the real kernel.

use super::compile::{X32_BIT, X32_OWN};
use super::emit;
use super::rules::{Action, Condition, Operator, Rules};
use super::*;
use proa_sys::seccomp::{Probe, probe};
use proptest::prelude::*;
use std::collections::HashMap;

/// What a filter looks at.
#[derive(Debug, Clone, Copy)]
struct Call {
    number: u32,
    audit: u32,
    args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit,
            16.. => {
                let argument = self.args[usize::try_from((offset - 16) / 8).unwrap()];
                let half = if offset % 8 == 4 { argument >> 32 } else { argument };
                u32::try_from(half & 0xffff_ffff).unwrap()
            }
            _ => panic!("a filter that looks at the instruction pointer"),
        }
    }
}

/// Runs a program as the kernel does; its answer, and how many instructions it took.
fn run(code: &[u8], call: &Call) -> (u32, usize) {
    let (mut a, mut pc, mut steps) = (0u32, 0usize, 0usize);
    loop {
        steps += 1;
        let i = &code[pc * 8..pc * 8 + 8];
        let (op, jt, jf) = (u16::from_ne_bytes([i[0], i[1]]), usize::from(i[2]), usize::from(i[3]));
        let k = u32::from_ne_bytes([i[4], i[5], i[6], i[7]]);
        pc += 1;
        let mut jump = |holds: bool| pc += if holds { jt } else { jf };
        match op {
            emit::LOAD => a = call.word(k),
            emit::AND => a &= k,
            emit::JUMP => pc += usize::try_from(k).unwrap(),
            emit::JUMP_EQUAL => jump(a == k),
            emit::JUMP_GREATER => jump(a > k),
            emit::JUMP_GREATER_EQUAL => jump(a >= k),
            emit::RETURN => return (k, steps),
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

fn holds(condition: &Condition, name: &str, args: &[u64; 6]) -> bool {
    let narrow = arch::is_narrow(name, condition.index);
    let mask = if narrow { 0xffff_ffff } else { u64::MAX };
    let argument = args[usize::try_from(condition.index).unwrap()] & mask;
    let value = condition.value;
    match condition.operator {
        Operator::Eq => argument == value,
        Operator::Ne => argument != value,
        Operator::Lt => argument < value,
        Operator::Le => argument <= value,
        Operator::Gt => argument > value,
        Operator::Ge => argument >= value,
        Operator::MaskedEq { mask } => argument & mask == value,
    }
}

/// Reads the profile directly: the first rule that names the call and whose conditions hold.
struct Reader {
    rules: Rules,
    /// Rules by the call they name, in order.
    named: HashMap<(Arch, u32), Vec<(usize, String)>>,
}

impl Reader {
    fn new(profile: &Seccomp) -> Self {
        let rules = Rules::of(profile).unwrap();
        let mut named: HashMap<_, Vec<_>> = HashMap::new();
        for arch in [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm] {
            for (index, rule) in rules.rules.iter().enumerate() {
                for name in &rule.names {
                    if let Some(number) = arch.number(name) {
                        named.entry((arch, number)).or_default().push((index, name.clone()));
                    }
                }
            }
        }
        Self { rules, named }
    }

    /// Whose table judges the call, and the number in it; or what is done without looking at any.
    fn judge(&self, call: &Call) -> Result<(Arch, u32), u32> {
        let has = |arch: &Arch| self.rules.arches.contains(arch);
        let kill = Action::KILL_PROCESS.0;
        let x86_64 = Arch::X86_64.audit();
        let arch = if call.audit == x86_64 && call.number >= X32_BIT {
            if !has(&Arch::X32) {
                let cancelled = call.number == u32::MAX && has(&Arch::X86_64);
                return Err(if cancelled { self.rules.default.0 } else { kill });
            }
            // Below 512 both have the same numbers.
            let number = call.number & !X32_BIT;
            let arch = if number < X32_OWN && has(&Arch::X86_64) { Arch::X86_64 } else { Arch::X32 };
            return Ok((arch, number));
        } else {
            [Arch::X86_64, Arch::X86, Arch::Aarch64, Arch::Arm].into_iter().find(|a| a.audit() == call.audit)
        };
        match arch {
            Some(arch) if has(&arch) => Ok((arch, call.number)),
            _ => Err(kill),
        }
    }

    fn decide(&self, call: &Call) -> u32 {
        let named = match self.judge(call) {
            Ok(key) => self.named.get(&key),
            Err(answer) => return answer,
        };
        for (index, name) in named.into_iter().flatten() {
            let rule = &self.rules.rules[*index];
            if rule.conditions.iter().all(|condition| holds(condition, name, &call.args)) {
                return rule.action.0;
            }
        }
        self.rules.default.0
    }

    /// Whether the arguments can make a difference; then more of them are tried.
    fn looks_at_arguments(&self, call: &Call) -> bool {
        let named = self.judge(call).ok().and_then(|key| self.named.get(&key));
        named.is_some_and(|named| named.iter().any(|(i, _)| !self.rules.rules[*i].conditions.is_empty()))
    }
}

fn sample_args() -> Vec<[u64; 6]> {
    let mut samples = vec![[0; 6], [u64::MAX; 6]];
    for value in [
        1,
        2,
        8,
        37,
        38,
        39,
        40,
        41,
        0x20000,
        0x20008,
        0xffff_ffff,
        0x7e02_0000,
        0x1000_0000,
        0x0200_0000,
        0x1_0000_0026,
        0x1_0000_0028,
        0x1_0000_0000,
        0x1_0000_0001,
        1 << 63,
    ] {
        samples.push([value; 6]);
    }
    samples
}

/// Compares for every number below 1024 and some far ones, by every entry.
fn assert_faithful(profile: &Seccomp) -> usize {
    let reader = Reader::new(profile);
    let program = compile(profile).unwrap();
    let samples = sample_args();
    let mut longest = 0;
    let entries = [Arch::X86_64, Arch::X86, Arch::Aarch64, Arch::Arm].map(Arch::audit);
    let odd = [0xf0001, 0xf0002, 0xf0005, 0x3fff_ffff, 0x8000_0000, 0x8000_0001, 0xbfff_ffff, u32::MAX];
    let low = 0..1024u32;
    let x32 = low.clone().map(|n| n | X32_BIT);
    let both = low.clone().map(|n| n | X32_BIT | 0x8000_0000);
    for number in low.chain(x32).chain(both).chain(odd) {
        for audit in entries.into_iter().chain([0, 0xc000_00f3]) {
            let first = Call { number, audit, args: [0; 6] };
            let count = if reader.looks_at_arguments(&first) { samples.len() } else { 2 };
            for args in samples.iter().take(count) {
                let call = Call { args: *args, ..first };
                let (answer, steps) = run(program.code(), &call);
                longest = longest.max(steps);
                assert_eq!(answer, reader.decide(&call), "{call:x?}");
            }
        }
    }
    longest
}

fn conditions(capabilities: &[&str], arch: Arch) -> Conditions {
    let capabilities: Vec<String> = capabilities.iter().map(|cap| (*cap).to_owned()).collect();
    Conditions { arch, kernel: (6, 1), ..Conditions::host(&capabilities) }
}

const DOCKER: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

#[test]
fn the_default_profile_decides_as_it_reads() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        for caps in [&DOCKER[..], &[], &["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_BPF"]] {
            for socketcall in [false, true] {
                let conditions = Conditions { socketcall, ..conditions(caps, arch) };
                let profile = default_profile(&conditions).unwrap();
                let longest = assert_faithful(&profile);
                let program = compile(&profile).unwrap();
                let length = program.code().len() / 8;
                println!("{arch:?}: {length} instructions, at most {longest} run");
                assert!(length <= 300 && longest <= 32, "{length} instructions, {longest} run");
                assert_eq!(program, compile(&profile).unwrap(), "the same program every time");
            }
        }
    }
}

#[test]
fn what_matters_in_the_default_profile() {
    let profile = default_profile(&conditions(&DOCKER, Arch::X86_64)).unwrap();
    let program = compile(&profile).unwrap();
    let ask = |arch: Arch, name: &str, args: [u64; 6]| {
        let bit = if arch == Arch::X32 { X32_BIT } else { 0 };
        let number = arch.number(name).unwrap() | bit;
        run(program.code(), &Call { number, audit: arch.audit(), args }).0
    };
    let eperm = Action::ERRNO.0 | 1;
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        for name in ["keyctl", "add_key", "mount", "unshare", "setns", "bpf", "io_uring_setup", "userfaultfd"]
        {
            assert_eq!(ask(arch, name, [0; 6]), eperm, "{arch:?} {name}");
        }
        assert_eq!(ask(arch, "clone3", [0; 6]), Action::ERRNO.0 | 38, "{arch:?}");
        assert_eq!(ask(arch, "clone", [0x1000_0000, 0, 0, 0, 0, 0]), eperm, "{arch:?}: a user namespace");
        assert_eq!(ask(arch, "clone", [0x11, 0, 0, 0, 0, 0]), Action::ALLOW.0);
        assert_eq!(ask(arch, "chroot", [0; 6]), Action::ALLOW.0);
        assert_eq!(ask(arch, "ptrace", [0; 6]), Action::ALLOW.0);
        for (family, answer) in [(2, Action::ALLOW.0), (38, eperm), (40, eperm), (39, Action::ALLOW.0)] {
            assert_eq!(ask(arch, "socket", [family, 5, 0, 0, 0, 0]), answer, "{arch:?} family {family}");
        }
    }
    assert_eq!(
        ask(Arch::X86_64, "socket", [0x1_0000_0026, 5, 0, 0, 0, 0]),
        eperm,
        "the upper half is not the kernel's"
    );
    assert_eq!(ask(Arch::X86, "socketcall", [1, 0, 0, 0, 0, 0]), eperm);
    assert_eq!(ask(Arch::X86, "socketcall", [2, 0, 0, 0, 0, 0]), Action::ALLOW.0);
    assert_eq!(ask(Arch::X86_64, "personality", [0x0004_0000, 0, 0, 0, 0, 0]), eperm, "ADDR_NO_RANDOMIZE");
    assert_eq!(
        run(program.code(), &Call { number: 0, audit: 0xc000_00b7, args: [0; 6] }).0,
        Action::KILL_PROCESS.0
    );
}

/// What each thread under the default filter gets from the kernel.
#[test]
fn the_kernel_enforces_the_default_program() {
    let program = default_program(&conditions(&DOCKER, Arch::host())).unwrap();
    let without = probe(Probe::Keyctl);
    let seen = std::thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        program.install().unwrap();
        let calls = [
            Probe::Keyctl,
            Probe::AddKey,
            Probe::Clone3,
            Probe::IoUringSetup,
            Probe::Bpf,
            Probe::Mount,
            Probe::Userfaultfd,
            Probe::OpenByHandleAt,
            Probe::Personality,
            Probe::Socket(38),
            Probe::Socket(40),
            Probe::Socket((1 << 32) | 38),
            Probe::Socket(1),
            Probe::Socketcall32,
            Probe::KeyctlX32,
        ];
        calls.map(|call| (call, probe(call)))
    })
    .join()
    .unwrap();
    assert_ne!(without, Some(libc::EPERM), "the test itself is not under a filter");
    for (call, errno) in seen {
        let expected = match call {
            Probe::Clone3 => libc::ENOSYS,
            Probe::Personality | Probe::Socket(1) => 0,
            _ => libc::EPERM,
        };
        match errno {
            None => println!("skipped: this machine has no entry for {call:?}"),
            Some(errno) => assert_eq!(errno, expected, "{call:?}"),
        }
    }
}

#[test]
fn x32_is_killed_where_it_is_not_named() {
    let text = br#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"]}"#;
    let profile = parse_profile(text, &conditions(&[], Arch::X86_64)).unwrap();
    assert_faithful(&profile);
    let program = compile(&profile).unwrap();
    let ask = |number| run(program.code(), &Call { number, audit: Arch::X86_64.audit(), args: [0; 6] }).0;
    assert_eq!(ask(X32_BIT), Action::KILL_PROCESS.0);
    assert_eq!(ask(u32::MAX), Action::ALLOW.0, "a call cancelled by a tracer");
    assert_eq!(ask(0), Action::ALLOW.0);
}

#[test]
fn both_forms_are_read() {
    let oci = br#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"architectures":["SCMP_ARCH_X86_64",
        "SCMP_ARCH_S390X"],"flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":[{"names":["read","write"],
        "action":"SCMP_ACT_ALLOW"},{"names":["ioctl"],"action":"SCMP_ACT_TRACE","errnoRet":7,
        "args":[{"index":1,"value":21522,"op":"SCMP_CMP_EQ"}]}]}"#;
    let profile = parse_profile(oci, &conditions(&[], Arch::X86_64)).unwrap();
    assert_eq!(profile.syscalls.len(), 2);
    assert_faithful(&profile);
    assert_eq!(compile(&profile).unwrap().flags(), proa_sys::seccomp::FLAG_LOG);
    let docker = br#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"SCMP_ARCH_X86_64",
        "subArchitectures":["SCMP_ARCH_X86"]}],"syscalls":[{"name":"chmod","action":"SCMP_ACT_ERRNO","args":null},
        {"names":["mkdir"],"action":"SCMP_ACT_KILL_PROCESS","includes":{"caps":["CAP_X"]},"excludes":{}},
        {"names":["rmdir"],"action":"SCMP_ACT_ERRNO","comment":"","includes":{"minKernel":"4.8","arches":["amd64"]}},
        {"names":["uname"],"action":"SCMP_ACT_ERRNO","includes":{"minKernel":"99.0"}}]}"#;
    let profile = parse_profile(docker, &conditions(&[], Arch::X86_64)).unwrap();
    let names: Vec<_> = profile.syscalls.iter().flat_map(|rule| rule.names.clone()).collect();
    assert_eq!(names, ["chmod", "rmdir"]);
    assert_eq!(profile.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
    assert_faithful(&profile);
}

#[test]
fn bad_profiles_are_refused_with_the_word_that_is_wrong() {
    let nested = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","x":{}"#, "[".repeat(10_000));
    let long = format!(r#"{{"defaultAction":"{}"}}"#, "A".repeat(100_000));
    let huge = " ".repeat(2 << 20);
    for (text, wanted) in [
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "defaultAction"),
        (nested.as_str(), "cannot be read"),
        (long.as_str(), "unknown action"),
        (huge.as_str(), "too large"),
        (r#"{"defaultAction":"ALLOW"}"#, "\"ALLOW\""),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_VAX"]}"#, "SCMP_ARCH_VAX"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["X"]}"#, "flag"),
        (r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":5000}"#, "5000"),
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "default"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}"#,
            "argument 6",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG","args":[{"index":0,"op":"=="}]}]}"#,
            "\"==\"",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_LOG"}]}"#,
            "either 'name'",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","action":"SCMP_ACT_LOG","includes":{"minKernel":"new"}}]}"#,
            "minKernel",
        ),
    ] {
        let error = parse_profile(text.as_bytes(), &conditions(&[], Arch::X86_64)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
        assert!(error.len() < 400, "{error}");
    }
}

#[test]
fn a_program_survives_its_bytes_and_nothing_else_passes() {
    let program = default_program(&conditions(&DOCKER, Arch::host())).unwrap();
    assert_eq!(Program::from_bytes(&program.to_bytes()).unwrap(), *program);
    for bad in [&[][..], &[0; 4], &[0; 11], &[0; 4 + 8 * 5000]] {
        assert!(Program::from_bytes(bad).is_err());
    }
}

fn arbitrary_rule() -> impl Strategy<Value = proa_oci::runtime::SyscallRule> {
    use proa_oci::runtime::{SyscallArg, SyscallRule};
    let names =
        ["read", "socket", "clone", "ioctl", "execve", "mmap2", "openat2", "personality", "ppoll", "fork"];
    let actions = ["ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "TRAP", "TRACE", "LOG"];
    let operators = ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"];
    let values = prop_oneof![
        prop::sample::select(vec![
            0u64,
            1,
            8,
            38,
            40,
            0xffff_ffff,
            0x1_0000_0000,
            0x1_0000_0026,
            u64::MAX,
            1 << 63
        ]),
        any::<u64>(),
    ];
    let arg = (0u32..3, prop::sample::select(operators.to_vec()), values.clone(), values).prop_map(
        |(index, op, value, value_two)| SyscallArg { index, value, value_two, op: format!("SCMP_CMP_{op}") },
    );
    (
        prop::collection::vec(prop::sample::select(names.to_vec()), 1..4),
        prop::sample::select(actions.to_vec()),
        prop::option::of(0u32..200),
        prop::collection::vec(arg, 0..3),
    )
        .prop_map(|(names, action, errno_ret, args)| SyscallRule {
            names: names.into_iter().map(str::to_owned).collect(),
            action: format!("SCMP_ACT_{action}"),
            errno_ret,
            args,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_profile_decides_as_it_reads(
        rules in prop::collection::vec(arbitrary_rule(), 0..40),
        arches in prop::sample::subsequence(
            vec!["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"], 0..5),
        default in prop::sample::select(vec!["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_LOG"]),
    ) {
        let profile = Seccomp {
            default_action: default.into(),
            architectures: arches.into_iter().map(str::to_owned).collect(),
            syscalls: rules,
            ..Seccomp::default()
        };
        assert_faithful(&profile);
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        let _ = parse_profile(text.as_bytes(), &conditions(&[], Arch::X86_64));
    }
}

/// A filter far longer than a jump reaches.
#[test]
fn long_profiles_jump_far() {
    use proa_oci::runtime::{SyscallArg, SyscallRule};
    let rule = |value: u64, name: &str, errno| SyscallRule {
        names: vec![name.into()],
        action: "SCMP_ACT_ERRNO".into(),
        errno_ret: Some(errno),
        args: vec![SyscallArg { index: 2, value, value_two: 0, op: "SCMP_CMP_EQ".into() }],
    };
    let mut syscalls = Vec::new();
    for n in 0..150u32 {
        syscalls.push(rule(u64::from(n % 50) << 31, "read", n));
        syscalls.push(rule(u64::from(n), "close_range", n));
    }
    let profile = Seccomp { default_action: "SCMP_ACT_ALLOW".into(), syscalls, ..Seccomp::default() };
    assert!(compile(&profile).unwrap().code().len() / 8 > 1000);
    assert_faithful(&profile);
    let many = Seccomp { syscalls: (0..3000).map(|n| rule(n, "read", 1)).collect(), ..profile };
    assert!(matches!(compile(&many), Err(Error::TooLong(_))));
}
