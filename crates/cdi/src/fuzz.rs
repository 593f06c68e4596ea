//! Fuzz test of files.

use proa_fuzz::run;

#[test]
fn fuzz_cdi_documents() {
    let seeds: [&[u8]; 3] = [
        br#"{"cdiVersion":"0.6.0","kind":"a.com/b","devices":[{"name":"x","containerEdits":{"env":["A=b"],"deviceNodes":[{"path":"/dev/null","type":"c","major":1,"minor":3}]}}]}"#,
        b"cdiVersion: 1.0.0\nkind: a.com/b\ndevices:\n- name: 0\n  containerEdits:\n    mounts:\n    - hostPath: /a\n      containerPath: /b\n      options: [ro, bind]\n",
        b"a: &x [1]\nb: *x\n---\nc: {d: !!str e, f: \"g\\n\"}\n",
    ];
    run("cdi_documents", &seeds, |bytes| {
        let _ = crate::document::parse(std::str::from_utf8(bytes).unwrap_or_default());
    });
}
