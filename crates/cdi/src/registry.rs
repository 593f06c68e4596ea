//! What the directories describe now.

use crate::Error;
use crate::document::{Document, Edits, is_qualified, parse};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most bytes of a file.
const SIZE: u64 = 2 << 20;
/// Most files of a directory.
const FILES: usize = 256;

/// The devices that are described, at one moment.
#[derive(Debug, Default)]
pub struct Registry {
    /// By qualified name: the file, and the device's place in it.
    devices: BTreeMap<String, (Arc<Document>, usize)>,
    faults: Vec<String>,
}

impl Registry {
    /// Reads the directories; a later one wins. What is wrong with a file hides that file's devices alone.
    pub fn read(dirs: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        for dir in dirs {
            registry.add(dir);
        }
        registry
    }

    fn add(&mut self, dir: &Path) {
        let mut here: BTreeMap<String, (Arc<Document>, usize, PathBuf)> = BTreeMap::new();
        let mut twice = BTreeSet::new();
        let (files, more) = files(dir);
        if more {
            self.faults.push(format!("{}: only {FILES} files of it are read", dir.display()));
        }
        for path in files {
            let document = match read(&path).and_then(|text| parse(&text)) {
                Ok(document) => Arc::new(document),
                Err(reason) => {
                    self.faults.push(Error::File { path, reason }.to_string());
                    continue;
                }
            };
            for (number, device) in document.devices.iter().enumerate() {
                let name = format!("{}={}", document.kind, device.name);
                if let Some((_, _, other)) = here.get(&name) {
                    let (first, second) = (other.display(), path.display());
                    self.faults.push(format!("conflicting device {name:?} (specs {first:?}, {second:?})"));
                    twice.insert(name);
                } else {
                    here.insert(name, (Arc::clone(&document), number, path.clone()));
                }
            }
        }
        for (name, (document, number, _)) in here {
            match twice.contains(&name) {
                true => drop(self.devices.remove(&name)),
                false => drop(self.devices.insert(name, (document, number))),
            }
        }
    }

    /// Qualified names of all devices, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.devices.keys().map(String::as_str)
    }

    /// What is wrong with files.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// The edits for these devices, each with the name it is asked for by: those of a file come once, before those of its
    /// devices.
    pub(crate) fn edits(&self, names: &[String]) -> Result<Vec<(String, &Edits)>, Error> {
        let missing: Vec<String> = names
            .iter()
            .filter(|name| !is_qualified(name) || !self.devices.contains_key(name.as_str()))
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Err(Error::Unresolvable { names: missing, faults: self.faults.clone() });
        }
        let (mut edits, mut documents): (Vec<_>, Vec<&Arc<Document>>) = (Vec::new(), Vec::new());
        let unique: BTreeSet<&String> = names.iter().collect();
        for name in names.iter().filter(|name| unique.contains(name)) {
            let Some((document, number)) = self.devices.get(name) else { continue };
            if !documents.iter().any(|known| Arc::ptr_eq(known, document)) {
                documents.push(document);
                edits.push((document.kind.clone(), &document.container_edits));
            }
            let device =
                document.devices.get(*number).filter(|_| !edits.iter().any(|(known, _)| known == name));
            edits.extend(device.map(|device| (name.clone(), &device.container_edits)));
        }
        Ok(edits)
    }
}

/// The files of a directory by name, and whether there are more than are read.
fn files(dir: &Path) -> (Vec<PathBuf>, bool) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let wanted =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "json" || end == "yaml" || end == "yml");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(wanted).take(FILES + 1).collect();
    let more = files.len() > FILES;
    files.truncate(FILES);
    files.sort();
    (files, more)
}

/// A regular file's text; a fifo would never end, and a large file is none of this kind.
fn read(path: &Path) -> Result<String, String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file =
        openat(CWD, path, flags, Mode::empty()).map_err(|error| std::io::Error::from(error).to_string())?;
    if !fstat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file()) {
        return Err("it is no regular file".into());
    }
    let mut text = String::new();
    let read = std::fs::File::from(file).take(SIZE + 1).read_to_string(&mut text);
    read.map_err(|error| error.to_string())?;
    match text.len() as u64 > SIZE {
        true => Err(format!("it is larger than {} MiB", SIZE >> 20)),
        false => Ok(text),
    }
}
