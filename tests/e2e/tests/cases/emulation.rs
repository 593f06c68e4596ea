//! What `cargo xtask test vm` runs of these obligations, on a processor that is emulated.

use proa_e2e::Emulation;

const CLOCK: &str = "it measures time, and this processor is emulated";

pub(crate) const EMULATION: Emulation = Emulation {
    left_out: &[
        ("a slow reader must lose nothing", CLOCK),
        ("logs -f must show a line as soon as it is written", CLOCK),
        ("logs --since and --until must cut by time", CLOCK),
        ("logs of a running container must be readable many times at once", CLOCK),
        (
            "the engine's program must not be writable from inside",
            "a busy loop of processes takes minutes here",
        ),
        ("a working directory in /proc/self/fd must not lead out", "the runtime's own tests show it here"),
        ("run -i must pass ten megabytes unharmed", "nothing in it depends on the kernel's version"),
    ],
    stock: &[
        "run must print what the program prints",
        "run must exit with the program's code",
        "run -it must pass typed lines and the shell's exit code",
        "run must have namespaces of its own",
        "exec must run in the container and exit with its code",
        "attach must show output from now on and pass input",
        "pause must stop the processes and unpause must let them run",
        "--memory must limit and the kill must be told",
        "--pids-limit must hold",
        "-p must publish on the host",
        "a named volume must keep its data and be shared",
        "save and load must give the same image",
        "AppArmor profiles must be applied, and refused by name where they are not loaded",
    ],
};
