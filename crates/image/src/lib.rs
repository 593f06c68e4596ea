//! Content store, snapshots, unpacking, archives
