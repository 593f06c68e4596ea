//! What a volume driver does. It keeps data, no records: names and options come from the caller each time.
//!
//! The life of a volume: `check` its options, `create` its place, then any number of `mount` and `unmount` (never
//! twice without the other between), `remove`. Every call may come again after a crash in the middle of it.

use crate::Error;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Options of a volume, by name.
pub type Options = BTreeMap<String, String>;

/// A provider of volumes.
pub trait Driver: Send + Sync {
    /// The name users call it by.
    fn name(&self) -> &'static str;

    /// Whether it can make a volume with these options.
    ///
    /// # Errors
    /// [`Error::Option`].
    fn check(&self, options: &Options) -> Result<(), Error>;

    /// Makes the volume's place; what is there already stays.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn create(&self, name: &str, options: &Options) -> Result<(), Error>;

    /// Where the data is while it is mounted.
    fn mountpoint(&self, name: &str) -> PathBuf;

    /// Makes the data reachable at [`Self::mountpoint`].
    ///
    /// # Errors
    /// [`Error::Mount`] or [`Error::Io`].
    fn mount(&self, name: &str, options: &Options) -> Result<(), Error>;

    /// Ends what [`Self::mount`] began, also when it was begun by a former process.
    ///
    /// # Errors
    /// [`Error::Mount`] or [`Error::Io`].
    fn unmount(&self, name: &str, options: &Options) -> Result<(), Error>;

    /// Deletes the data.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn remove(&self, name: &str, options: &Options) -> Result<(), Error>;

    /// Clears away what a crash left, and names the volumes whose data is there.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn recover(&self) -> Result<Vec<String>, Error>;
}
