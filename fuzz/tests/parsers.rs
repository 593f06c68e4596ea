//! Fuzz tests of public parsers. Each is named `fuzz_TARGET`.

#![allow(clippy::unwrap_used)]

use proa_fuzz::run;

/// The text of an input, if it is one.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[test]
fn fuzz_reference() {
    let seeds: [&[u8]; 5] = [
        b"busybox",
        b"localhost:5000/team/app:v1.2_3",
        b"docker.io/library/a@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        b"[::1]:80/x:y",
        b"linux/arm64/v8",
    ];
    run("reference", &seeds, |bytes| {
        let _ = text(bytes).parse::<proa_oci::Digest>();
        let _ = text(bytes).parse::<proa_oci::Platform>();
        if let Ok(reference) = text(bytes).parse::<proa_oci::Reference>() {
            // The short form may mean another host (docker.io/a.b/c is shown as a.b/c), the long one may not.
            let whole = format!("{}/{}", reference.domain, reference.path);
            let again = whole.parse::<proa_oci::Reference>().map(|r| r.repository());
            assert_eq!(again, Ok(reference.repository()));
        }
    });
}

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","size":7023},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752","size":32654,"urls":["x"]}],"annotations":{"a":"b"}}"#;
const INDEX: &[u8] = br#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","size":7143,"platform":{"architecture":"ppc64le","os":"linux","variant":"v8"}}]}"#;
const CONFIG: &[u8] = br#"{"architecture":"amd64","os":"linux","created":"2026-01-01T00:00:00Z","config":{"User":"a","ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Cmd":["sh"],"Volumes":{"/v":{}},"Healthcheck":{"Test":["CMD","x"],"Interval":1}},"rootfs":{"type":"layers","diff_ids":["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]},"history":[{"created":"2026-01-01T00:00:00Z","empty_layer":true}]}"#;

#[test]
fn fuzz_image_documents() {
    use proa_oci::image::{ImageConfig, Index, Manifest, chain_ids, unambiguous};
    run("image_documents", &[MANIFEST, INDEX, CONFIG], |bytes| {
        let _ = serde_json::from_slice::<Index>(bytes);
        let _ = unambiguous("application/vnd.oci.image.manifest.v1+json", bytes);
        if let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) {
            let again = serde_json::to_vec(&manifest).unwrap();
            assert!(serde_json::from_slice::<Manifest>(&again).is_ok());
        }
        if let Ok(config) = serde_json::from_slice::<ImageConfig>(bytes) {
            assert_eq!(chain_ids(&config.rootfs.diff_ids).len(), config.rootfs.diff_ids.len());
        }
    });
}

#[test]
fn fuzz_runtime_spec() {
    let spec = br#"{"ociVersion":"1.0.2","process":{"terminal":true,"user":{"uid":0,"gid":0},"args":["sh"],"env":["A=b"],"cwd":"/","rlimits":[{"type":"RLIMIT_NOFILE","hard":1024,"soft":1024}]},"root":{"path":"rootfs","readonly":true},"hostname":"x","mounts":[{"destination":"/proc","type":"proc","source":"proc","options":["ro"]}],"linux":{"resources":{"devices":[{"allow":false,"access":"rwm"}]},"namespaces":[{"type":"pid"}],"maskedPaths":["/proc/kcore"],"sysctl":{"a.b":"1"}}}"#;
    run("runtime_spec", &[spec], |bytes| {
        if let Ok(spec) = serde_json::from_slice::<proa_oci::runtime::Spec>(bytes) {
            let _ = proa_runtime::SandboxSpec::of(&spec);
        }
    });
}

#[test]
fn fuzz_tar() {
    use proa_image::tar::{Limits, Reader, Writer};
    let archive = archive();
    run("tar", &[&archive], |bytes| {
        let limits = Limits { entries: 10_000, bytes: 1 << 24, ..Limits::default() };
        let mut reader = Reader::new(bytes, (), limits);
        while let Ok(Some(entry)) = reader.next_entry() {
            let mut payload = Vec::new();
            let read = reader.payload(|piece| {
                payload.extend_from_slice(piece);
                Ok(())
            });
            if read.is_err() {
                return;
            }
            let mut writer = Writer::new(Vec::new());
            writer.entry(&entry, &mut payload.as_slice()).unwrap();
            assert_eq!(writer.finish().unwrap().len() % 512, 0);
        }
    });
}

/// An image archive: one layer with a file, a link and a directory.
fn archive() -> Vec<u8> {
    fn member(name: &str, kind: u8, link: &str, bytes: &[u8]) -> Vec<u8> {
        let mut header = vec![0u8; 512];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0000755\0");
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{:011o}\0", bytes.len()));
        put(136, "00000000000\0");
        put(148, "        ");
        put(157, link);
        put(257, "ustar\u{0}00");
        header[156] = kind;
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header.extend_from_slice(bytes);
        header.resize(header.len().next_multiple_of(512), 0);
        header
    }
    let mut layer = [
        member("dir/", b'5', "", b""),
        member("dir/file", b'0', "", b"hello"),
        member("pax", b'x', "", b"30 path=a-much-longer-name-it\n"),
        member("short", b'0', "", b"x"),
        member("link", b'2', "dir/file", b""),
        member("hard", b'1', "dir/file", b""),
        member("dir/.wh.gone", b'0', "", b""),
    ]
    .concat();
    layer.resize(layer.len() + 1024, 0);
    let diff = proa_oci::Digest::of(&layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{diff}"]}}}}"#
    );
    let manifest = r#"[{"Config":"config.json","RepoTags":["fuzz:latest"],"Layers":["layer.tar"]}]"#;
    let mut all = [
        member("layer.tar", b'0', "", &layer),
        member("config.json", b'0', "", config.as_bytes()),
        member("manifest.json", b'0', "", manifest.as_bytes()),
    ]
    .concat();
    all.resize(all.len() + 1024, 0);
    all
}

/// Loading anything must leave the store as it was, or with one image more; nothing outside.
#[test]
fn fuzz_load() {
    if std::fs::read_dir("/proc/1/fd").is_err() {
        return println!("skipped: needs root");
    }
    let dir = proa_fuzz::scratch("load");
    std::fs::create_dir_all(dir.join("data")).unwrap();
    let state = std::sync::Arc::new(proa_state::Store::open(&dir.join("state")).unwrap());
    let store = proa_image::ImageStore::open(&dir.join("data"), state).unwrap();
    run("load", &[&archive()], |bytes| {
        if store.load(bytes, &()).is_ok() {
            for image in store.list() {
                let options = proa_image::RemoveOptions { force: true, prune: true };
                store.remove(image.id.as_str(), options, &|_| Vec::new()).unwrap();
            }
        }
        let options = proa_image::ImportOptions::default();
        if let Ok(image) = store.import(bytes, &options, &()) {
            let options = proa_image::RemoveOptions { force: true, prune: true };
            store.remove(image.id.as_str(), options, &|_| Vec::new()).unwrap();
        }
        let left = std::fs::read_dir(dir.join("data/content/ingest")).unwrap().count();
        assert_eq!((left, store.list().len()), (0, 0));
    });
    drop(store);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn fuzz_changes() {
    let seeds: [&[u8]; 3] = [
        b"ENV A=b C=\"d e\"\nWORKDIR /x\nENTRYPOINT [\"a\", \"b\"]\nCMD echo hi",
        b"EXPOSE 80/tcp 8000-8010/udp\nUSER a:b\nLABEL a=b 'c d'=e\nVOLUME [\"/v\"]\nSTOPSIGNAL SIGTERM",
        b"HEALTHCHECK --interval=5s --timeout=1m --retries=3 CMD curl -f http://x\nONBUILD RUN x",
    ];
    run("changes", &seeds, |bytes| {
        let mut config = Default::default();
        for line in text(bytes).lines().take(20) {
            let _ = proa_image::changes::apply(&mut config, line);
        }
    });
}

#[test]
fn fuzz_seccomp() {
    let profile = br#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]}],"syscalls":[{"names":["read","write","clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"valueTwo":1,"op":"SCMP_CMP_MASKED_EQ"}],"includes":{"caps":["CAP_SYS_ADMIN"],"minKernel":"4.8"},"excludes":{}},{"names":["personality"],"action":"SCMP_ACT_TRACE","args":[{"index":5,"value":4294967295,"op":"SCMP_CMP_GE"}]}]}"#;
    let conditions = proa_runtime::seccomp::Conditions::host(&["CAP_SYS_ADMIN".to_owned()]);
    run("seccomp", &[profile], |bytes| {
        if let Ok(profile) = proa_runtime::seccomp::parse_profile(bytes, &conditions) {
            let _ = proa_runtime::seccomp::compile(&profile);
        }
    });
}

#[test]
fn fuzz_network_files() {
    let seeds: [&[u8]; 3] = [
        b"# c\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nsearch a b\noptions ndots:5 edns0\ndomain x\n",
        b"db:10.0.0.1",
        b"172.17.0.1/16",
    ];
    run("network_files", &seeds, |bytes| {
        let text = text(bytes);
        let _ = proa_network::resolv_conf(text, &proa_network::DnsOptions::default());
        let _ = proa_network::ExtraHost::parse(text, None);
        let _ = text.parse::<proa_network::Subnet>();
        let _ = text.parse::<proa_network::MacAddress>();
    });
}

#[test]
fn fuzz_api_bodies() {
    let create = br#"{"Hostname":"h","User":"1:2","AttachStdin":true,"Tty":true,"Env":["A=b"],"Cmd":"sh","Entrypoint":["a"],"Image":"x","ExposedPorts":{"80/tcp":{}},"Volumes":{"/v":{}},"Labels":{"a":"b"},"HostConfig":{"Binds":["/a:/b:ro"],"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8000-8010"}]},"RestartPolicy":{"Name":"always","MaximumRetryCount":0},"NetworkMode":"bridge","Memory":-1,"NanoCpus":1,"Ulimits":[{"Name":"nofile","Hard":1,"Soft":1}],"Mounts":[{"Type":"bind","Source":"/a","Target":"/b","BindOptions":{"Propagation":"rprivate"}}],"LogConfig":{"Type":"json-file","Config":{"max-size":"1k"}},"Devices":[{"PathOnHost":"/dev/null"}]},"NetworkingConfig":{"EndpointsConfig":{"bridge":{"IPAMConfig":{"IPv4Address":"1.2.3.4"}}}}}"#;
    let exec = br#"{"AttachStdout":true,"DetachKeys":"ctrl-p","Cmd":["a"],"Env":["x=y"],"WorkingDir":"/"}"#;
    let filters = br#"{"label":["a=b"],"name":{"x":true}}"#;
    run("api_bodies", &[create, exec, filters], |bytes| {
        if let Ok(create) = proa_docker_api::ContainerCreateRequest::from_slice(bytes) {
            let again = serde_json::to_vec(&create).unwrap();
            assert!(proa_docker_api::ContainerCreateRequest::from_slice(&again).is_ok());
        }
        let _ = proa_docker_api::from_slice::<proa_docker_api::ExecCreate>(bytes);
        let _ = proa_docker_api::from_slice::<proa_docker_api::VolumeCreate>(bytes);
        if let Ok(filters) = proa_docker_api::Filters::decode(text(bytes)) {
            assert_eq!(proa_docker_api::Filters::decode(&filters.encode()).unwrap(), filters);
        }
    });
}

#[test]
fn fuzz_auth_header() {
    let seeds: [&[u8]; 2] = [
        b"eyJ1c2VybmFtZSI6ImEiLCJwYXNzd29yZCI6ImIiLCJzZXJ2ZXJhZGRyZXNzIjoieCJ9",
        b"eyJpZGVudGl0eXRva2VuIjoieCJ9==",
    ];
    run("auth_header", &seeds, |bytes| drop(proa_docker_api::decode_auth(text(bytes))));
}

#[test]
fn fuzz_frames() {
    let seed = b"\x01\0\0\0\0\0\0\x05hello\x02\0\0\0\0\0\0\x00\x01\0\0\0\0\0\0\x02hi";
    run("frames", &[seed], |bytes| {
        // However it is cut, the same frames come out.
        let frames = |step: usize| {
            let mut decoder = proa_docker_api::FrameDecoder::default();
            let mut out = Vec::new();
            for piece in bytes.chunks(step) {
                decoder.push(piece);
                loop {
                    match decoder.next_frame() {
                        Ok(Some(frame)) => out.push(format!("{frame:?}")),
                        Ok(None) => break,
                        Err(_) => return out,
                    }
                }
            }
            out
        };
        assert_eq!(frames(1), frames(4096));
    });
}

#[test]
fn fuzz_template() {
    use proa_template::{Missing, Template, Value};
    let seeds: [&[u8]; 4] = [
        b"{{.Name}} {{json .}} {{range $k, $v := .Map}}{{$k}}={{$v}},{{else}}none{{end}}",
        b"{{if and (eq .A 1) (ne .B \"x\")}}{{printf \"%5d|%-3s|%q\" .A .B .C | upper}}{{end}}",
        b"{{with .List}}{{index . 0}}{{len .}}{{slice . 1 2}}{{end}}{{- /* c */ -}}",
        b"{{define \"t\"}}x{{template \"t\" .}}{{end}}{{join .List \",\"}}{{split .Name \"/\"}}{{truncate .Name 3}}",
    ];
    let json = br#"{"Name":"web","A":1,"B":"x","C":1.5,"List":["a","b"],"Map":{"k":"v"},"N":null}"#;
    let data = Value::from_json(json).unwrap();
    run("template", &seeds, |bytes| {
        if let Ok(template) = Template::parse("fuzz", text(bytes)) {
            let _ = template.execute(&data, Missing::NoValue);
        }
    });
}
