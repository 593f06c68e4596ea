//! Files of containers.

crate::wire::wire! {
    /// Header `X-Docker-Container-Path-Stat`: what a path of a container is.
    ContainerPathStat {
        name: String = "name";
        size: i64 = "size";
        /// As Go's `fs.FileMode`.
        mode: u32 = "mode";
        mtime: String = "mtime";
        link_target: String = "linkTarget";
    }
    /// A change of a container's files.
    FilesystemChange {
        path: String;
        /// 0 modified, 1 added, 2 deleted.
        kind: u8;
    }
}

impl ContainerPathStat {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.mode & 1 << 31 != 0
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.mode & 1 << 27 != 0
    }
}
