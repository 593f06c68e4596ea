//! Processes started in a running container.

crate::wire::wire! {
    /// Body of `POST /containers/{id}/exec`.
    ExecCreate {
        user: String;
        privileged: bool;
        tty: bool;
        console_size: Option<[u32; 2]>, skip "Option::is_none";
        attach_stdin: bool;
        attach_stderr: bool;
        attach_stdout: bool;
        detach: bool;
        detach_keys: String;
        env: Option<Vec<String>>;
        working_dir: String;
        cmd: Option<Vec<String>>;
    }
    /// Body of `POST /exec/{id}/start`.
    ExecStart {
        detach: bool;
        tty: bool;
        console_size: Option<[u32; 2]>, skip "Option::is_none";
    }
    /// An answer that is an identifier alone.
    IdResponse { id: String; }
    /// Answer of `GET /exec/{id}/json`.
    ExecInspect {
        id: String = "ID";
        running: bool;
        exit_code: Option<i64>;
        process_config: ExecProcess;
        open_stdin: bool;
        open_stderr: bool;
        open_stdout: bool;
        can_remove: bool;
        container_id: String = "ContainerID";
        detach_keys: String;
        pid: i64;
    }
    /// The process of an exec.
    ExecProcess {
        tty: bool = "tty";
        entrypoint: String = "entrypoint";
        arguments: Vec<String> = "arguments";
        privileged: bool = "privileged";
        user: String = "user", skip "String::is_empty";
    }
}
