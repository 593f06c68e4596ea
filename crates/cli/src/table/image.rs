//! Commands and flags: image. Facts of the published command line.

use super::{Command, Flag, f};

static IMAGE_BUILD: &[Flag] = &[
    f("add-host", ' ', "list", "Add a custom host-to-IP mapping (\"host:ip\")"),
    f("build-arg", ' ', "list", "Set build-time variables"),
    f("cache-from", ' ', "strings", "Images to consider as cache sources"),
    f("cgroup-parent", ' ', "string", "Set the parent cgroup for the \"RUN\" instructions during build"),
    f("compress", ' ', "", "Compress the build context using gzip"),
    f("cpu-period", ' ', "int", "Limit the CPU CFS (Completely Fair Scheduler) period"),
    f("cpu-quota", ' ', "int", "Limit the CPU CFS (Completely Fair Scheduler) quota"),
    f("cpu-shares", 'c', "int", "CPU shares (relative weight)"),
    f("cpuset-cpus", ' ', "string", "CPUs in which to allow execution (0-3, 0,1)"),
    f("cpuset-mems", ' ', "string", "MEMs in which to allow execution (0-3, 0,1)"),
    f("disable-content-trust", ' ', "", "Skip image verification (default true)"),
    f("file", 'f', "string", "Name of the Dockerfile (Default is \"PATH/Dockerfile\")"),
    f("force-rm", ' ', "", "Always remove intermediate containers"),
    f("iidfile", ' ', "string", "Write the image ID to the file"),
    f("isolation", ' ', "string", "Container isolation technology"),
    f("label", ' ', "list", "Set metadata for an image"),
    f("memory", 'm', "bytes", "Memory limit"),
    f("memory-swap", ' ', "bytes", "Swap limit equal to memory plus swap: -1 to enable unlimited swap"),
    f(
        "network",
        ' ',
        "string",
        "Set the networking mode for the RUN instructions during build (default \"default\")",
    ),
    f("no-cache", ' ', "", "Do not use cache when building the image"),
    f("platform", ' ', "string", "Set platform if server is multi-platform capable"),
    f("pull", ' ', "", "Always attempt to pull a newer version of the image"),
    f("quiet", 'q', "", "Suppress the build output and print image ID on success"),
    f("rm", ' ', "", "Remove intermediate containers after a successful build (default true)"),
    f("security-opt", ' ', "strings", "Security options"),
    f("shm-size", ' ', "bytes", "Size of \"/dev/shm\""),
    f("squash", ' ', "", "Squash newly built layers into a single new layer"),
    f("tag", 't', "list", "Name and optionally a tag in the \"name:tag\" format"),
    f("target", ' ', "string", "Set the target build stage to build."),
    f("ulimit", ' ', "ulimit", "Ulimit options (default [])"),
];
static IMAGE_PULL: &[Flag] = &[
    f("all-tags", 'a', "", "Download all tagged images in the repository"),
    f("disable-content-trust", ' ', "", "Skip image verification (default true)"),
    f("platform", ' ', "string", "Set platform if server is multi-platform capable"),
    f("quiet", 'q', "", "Suppress verbose output"),
];
static IMAGE_PUSH: &[Flag] = &[
    f("all-tags", 'a', "", "Push all tags of an image to the repository"),
    f("disable-content-trust", ' ', "", "Skip image signing (default true)"),
    f(
        "platform",
        ' ',
        "string",
        "Push a platform-specific manifest as a single-platform image to the registry.\nImage index won't be pushed, meaning that other manifests, including attestations won't be preserved.\n'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)",
    ),
    f("quiet", 'q', "", "Suppress verbose output"),
];
static IMAGE_LS: &[Flag] = &[
    f("all", 'a', "", "Show all images (default hides intermediate images)"),
    f("digests", ' ', "", "Show digests"),
    f("filter", 'f', "filter", "Filter output based on conditions provided"),
    f(
        "format",
        ' ',
        "string",
        "Format output using a custom template:\n'table':            Print output in table format with column headers (default)\n'table TEMPLATE':   Print output in table format using the given Go template\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates",
    ),
    f("no-trunc", ' ', "", "Don't truncate output"),
    f("quiet", 'q', "", "Only show image IDs"),
    f("tree", ' ', "", "List multi-platform images as a tree (EXPERIMENTAL)"),
];
static BUILDER_PRUNE: &[Flag] = &[
    f("all", 'a', "", "Remove all unused build cache, not just dangling ones"),
    f("filter", ' ', "filter", "Provide filter values (e.g. \"until=24h\")"),
    f("force", 'f', "", "Do not prompt for confirmation"),
    f("keep-storage", ' ', "bytes", "Amount of disk space to keep for cache"),
];
static IMAGE_HISTORY: &[Flag] = &[
    f(
        "format",
        ' ',
        "string",
        "Format output using a custom template:\n'table':            Print output in table format with column headers (default)\n'table TEMPLATE':   Print output in table format using the given Go template\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates",
    ),
    f("human", 'H', "", "Print sizes and dates in human readable format (default true)"),
    f("no-trunc", ' ', "", "Don't truncate output"),
    f(
        "platform",
        ' ',
        "string",
        "Show history for the given platform. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
    ),
    f("quiet", 'q', "", "Only show image IDs"),
];
static IMAGE_IMPORT: &[Flag] = &[
    f("change", 'c', "list", "Apply Dockerfile instruction to the created image"),
    f("message", 'm', "string", "Set commit message for imported image"),
    f("platform", ' ', "string", "Set platform if server is multi-platform capable"),
];
static IMAGE_INSPECT: &[Flag] = &[
    f(
        "format",
        'f',
        "string",
        "Format output using a custom template:\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates",
    ),
    f(
        "platform",
        ' ',
        "string",
        "Inspect a specific platform of the multi-platform image.\nIf the image or the server is not multi-platform capable, the command will error out if the platform does not match.\n'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)",
    ),
];
static IMAGE_LOAD: &[Flag] = &[
    f("input", 'i', "string", "Read from tar archive file, instead of STDIN"),
    f(
        "platform",
        ' ',
        "string",
        "Load only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
    ),
    f("quiet", 'q', "", "Suppress the load output"),
];
static IMAGE_PRUNE: &[Flag] = &[
    f("all", 'a', "", "Remove all unused images, not just dangling ones"),
    f("filter", ' ', "filter", "Provide filter values (e.g. \"until=<timestamp>\")"),
    f("force", 'f', "", "Do not prompt for confirmation"),
];
static IMAGE_RM: &[Flag] = &[
    f("force", 'f', "", "Force removal of the image"),
    f("no-prune", ' ', "", "Do not delete untagged parents"),
    f(
        "platform",
        ' ',
        "strings",
        "Remove only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
    ),
];
static IMAGE_SAVE: &[Flag] = &[
    f("output", 'o', "string", "Write to a file, instead of STDOUT"),
    f(
        "platform",
        ' ',
        "string",
        "Save only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
    ),
];
static IMAGE_TAG: &[Flag] = &[];
static MANIFEST_ANNOTATE: &[Flag] = &[
    f("arch", ' ', "string", "Set architecture"),
    f("os", ' ', "string", "Set operating system"),
    f("os-features", ' ', "strings", "Set operating system feature"),
    f("os-version", ' ', "string", "Set operating system version"),
    f("variant", ' ', "string", "Set architecture variant"),
];
static MANIFEST_CREATE: &[Flag] = &[
    f("amend", 'a', "", "Amend an existing manifest list"),
    f("insecure", ' ', "", "Allow communication with an insecure registry"),
];
static MANIFEST_INSPECT: &[Flag] = &[
    f("insecure", ' ', "", "Allow communication with an insecure registry"),
    f("verbose", 'v', "", "Output additional info including layers and platform"),
];
static MANIFEST_PUSH: &[Flag] = &[
    f("insecure", ' ', "", "Allow push to an insecure registry"),
    f("purge", 'p', "", "Remove the local manifest list after push"),
];
static MANIFEST_RM: &[Flag] = &[];
static TRUST_KEY_GENERATE: &[Flag] =
    &[f("dir", ' ', "string", "Directory to generate key in, defaults to current directory")];
static TRUST_KEY_LOAD: &[Flag] = &[f("name", ' ', "string", "Name for the loaded key (default \"signer\")")];
static TRUST_SIGNER_ADD: &[Flag] = &[f("key", ' ', "list", "Path to the signer's public key file")];
static TRUST_SIGNER_REMOVE: &[Flag] =
    &[f("force", 'f', "", "Do not prompt for confirmation before removing the most recent signer")];
static TRUST_INSPECT: &[Flag] = &[f("pretty", ' ', "", "Print the information in a human friendly format")];
static TRUST_REVOKE: &[Flag] = &[f("yes", 'y', "", "Do not prompt for confirmation")];
static TRUST_SIGN: &[Flag] = &[f("local", ' ', "", "Sign a locally tagged image")];

/// The commands of this part.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        path: "image build",
        usage: "build [OPTIONS] PATH | URL | -",
        short: "Build an image from a Dockerfile",
        aliases: &["image build", "build", "builder build"],
        flags: IMAGE_BUILD,
        min: 1,
        max: 1,
        interspersed: true,
    },
    Command {
        path: "image pull",
        usage: "pull [OPTIONS] NAME[:TAG|@DIGEST]",
        short: "Download an image from a registry",
        aliases: &["image pull", "pull"],
        flags: IMAGE_PULL,
        min: 1,
        max: 1,
        interspersed: true,
    },
    Command {
        path: "image push",
        usage: "push [OPTIONS] NAME[:TAG]",
        short: "Upload an image to a registry",
        aliases: &["image push", "push"],
        flags: IMAGE_PUSH,
        min: 1,
        max: 1,
        interspersed: true,
    },
    Command {
        path: "image ls",
        usage: "images [OPTIONS] [REPOSITORY[:TAG]]",
        short: "List images",
        aliases: &["image ls", "image list", "images"],
        flags: IMAGE_LS,
        min: 0,
        max: 1,
        interspersed: true,
    },
    Command {
        path: "builder prune",
        usage: "builder prune",
        short: "Remove build cache",
        aliases: &["builder prune"],
        flags: BUILDER_PRUNE,
        min: 0,
        max: 0,
        interspersed: true,
    },
    Command {
        path: "image history",
        usage: "image history [OPTIONS] IMAGE",
        short: "Show the history of an image",
        aliases: &["image history", "history"],
        flags: IMAGE_HISTORY,
        min: 1,
        max: 1,
        interspersed: true,
    },
    Command {
        path: "image import",
        usage: "image import [OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
        short: "Import the contents from a tarball to create a filesystem image",
        aliases: &["image import", "import"],
        flags: IMAGE_IMPORT,
        min: 1,
        max: usize::MAX,
        interspersed: true,
    },
    Command {
        path: "image inspect",
        usage: "image inspect [OPTIONS] IMAGE [IMAGE...]",
        short: "Display detailed information on one or more images",
        aliases: &["image inspect"],
        flags: IMAGE_INSPECT,
        min: 1,
        max: usize::MAX,
        interspersed: true,
    },
    Command {
        path: "image load",
        usage: "image load [OPTIONS]",
        short: "Load an image from a tar archive or STDIN",
        aliases: &["image load", "load"],
        flags: IMAGE_LOAD,
        min: 0,
        max: 0,
        interspersed: true,
    },
    Command {
        path: "image prune",
        usage: "image prune [OPTIONS]",
        short: "Remove unused images",
        aliases: &["image prune"],
        flags: IMAGE_PRUNE,
        min: 0,
        max: 0,
        interspersed: true,
    },
    Command {
        path: "image rm",
        usage: "image rm [OPTIONS] IMAGE [IMAGE...]",
        short: "Remove one or more images",
        aliases: &["image rm", "image remove", "rmi"],
        flags: IMAGE_RM,
        min: 1,
        max: usize::MAX,
        interspersed: true,
    },
    Command {
        path: "image save",
        usage: "image save [OPTIONS] IMAGE [IMAGE...]",
        short: "Save one or more images to a tar archive (streamed to STDOUT by default)",
        aliases: &["image save", "save"],
        flags: IMAGE_SAVE,
        min: 1,
        max: usize::MAX,
        interspersed: true,
    },
    Command {
        path: "image tag",
        usage: "image tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        short: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
        aliases: &["image tag", "tag"],
        flags: IMAGE_TAG,
        min: 2,
        max: 2,
        interspersed: true,
    },
    Command {
        path: "manifest annotate",
        usage: "manifest annotate [OPTIONS] MANIFEST_LIST MANIFEST",
        short: "Add additional information to a local image manifest",
        aliases: &["manifest annotate"],
        flags: MANIFEST_ANNOTATE,
        min: 2,
        max: 2,
        interspersed: true,
    },
    Command {
        path: "manifest create",
        usage: "manifest create MANIFEST_LIST MANIFEST [MANIFEST...]",
        short: "Create a local manifest list for annotating and pushing to a registry",
        aliases: &["manifest create"],
        flags: MANIFEST_CREATE,
        min: 2,
        max: usize::MAX,
        interspersed: true,
    },
    Command {
        path: "manifest inspect",
        usage: "manifest inspect [OPTIONS] [MANIFEST_LIST] MANIFEST",
        short: "Display an image manifest, or manifest list",
        aliases: &["manifest inspect"],
        flags: MANIFEST_INSPECT,
        min: 1,
        max: 2,
        interspersed: true,
    },
    Command {
        path: "manifest push",
        usage: "manifest push [OPTIONS] MANIFEST_LIST",
        short: "Push a manifest list to a repository",
        aliases: &["manifest push"],
        flags: MANIFEST_PUSH,
        min: 1,
        max: 1,
        interspersed: true,
    },
    Command {
        path: "manifest rm",
        usage: "manifest rm MANIFEST_LIST [MANIFEST_LIST...]",
        short: "Delete one or more manifest lists from local storage",
        aliases: &["manifest rm"],
        flags: MANIFEST_RM,
        min: 1,
        max: usize::MAX,
        interspersed: true,
    },
    Command {
        path: "trust key generate",
        usage: "trust key generate NAME",
        short: "Generate and load a signing key-pair",
        aliases: &["trust key generate"],
        flags: TRUST_KEY_GENERATE,
        min: 1,
        max: 1,
        interspersed: true,
    },
    Command {
        path: "trust key load",
        usage: "trust key load [OPTIONS] KEYFILE",
        short: "Load a private key file for signing",
        aliases: &["trust key load"],
        flags: TRUST_KEY_LOAD,
        min: 1,
        max: 1,
        interspersed: true,
    },
    Command {
        path: "trust signer add",
        usage: "trust signer add OPTIONS NAME REPOSITORY [REPOSITORY...]",
        short: "Add a signer",
        aliases: &["trust signer add"],
        flags: TRUST_SIGNER_ADD,
        min: 3,
        max: usize::MAX,
        interspersed: true,
    },
    Command {
        path: "trust signer remove",
        usage: "trust signer remove [OPTIONS] NAME REPOSITORY [REPOSITORY...]",
        short: "Remove a signer",
        aliases: &["trust signer remove"],
        flags: TRUST_SIGNER_REMOVE,
        min: 2,
        max: usize::MAX,
        interspersed: true,
    },
    Command {
        path: "trust inspect",
        usage: "trust inspect IMAGE[:TAG] [IMAGE[:TAG]...]",
        short: "Return low-level information about keys and signatures",
        aliases: &["trust inspect"],
        flags: TRUST_INSPECT,
        min: 1,
        max: usize::MAX,
        interspersed: true,
    },
    Command {
        path: "trust revoke",
        usage: "trust revoke [OPTIONS] IMAGE[:TAG]",
        short: "Remove trust for an image",
        aliases: &["trust revoke"],
        flags: TRUST_REVOKE,
        min: 1,
        max: 1,
        interspersed: true,
    },
    Command {
        path: "trust sign",
        usage: "trust sign IMAGE:TAG",
        short: "Sign an image",
        aliases: &["trust sign"],
        flags: TRUST_SIGN,
        min: 1,
        max: 1,
        interspersed: true,
    },
];
