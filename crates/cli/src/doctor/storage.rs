//! Storage: the overlay driver, and the file system that the engine's data lies on.

use std::path::Path;

use super::{Area, Machine, State};

/// Below this many bytes an image may not fit.
const LITTLE: u64 = 2 << 30;

pub(super) fn look(machine: &Machine, data_root: &Path) -> Area {
    let mut area = Area::new("storage");
    let listed = machine.text("/proc/filesystems").unwrap_or_default();
    let overlay = listed.split_whitespace().any(|word| word == "overlay");
    area.need(
        "overlay",
        overlay || machine.offers("overlay", "CONFIG_OVERLAY_FS"),
        State::Warning,
        "load it with `modprobe overlay`; without it the driver vfs copies every layer (--storage-driver vfs)",
    );
    let place = data_root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if let Ok(stat) = rustix::fs::statfs(place) {
        file_system(&mut area, u64::try_from(stat.f_type).unwrap_or(0), place);
        let block = u64::try_from(stat.f_bsize).unwrap_or(0);
        space(&mut area, stat.f_bavail.saturating_mul(block), stat.f_blocks.saturating_mul(block));
        inodes(&mut area, stat.f_ffree, stat.f_files);
    }
    area
}

/// What file systems are called, and whether overlays may be written on them.
const KNOWN: [(u64, &str, bool); 9] = [
    (0xef53, "ext4", true),
    (0x5846_5342, "xfs", true),
    (0x9123_683e, "btrfs", true),
    (0x2fc1_2fc1, "zfs", true),
    (0xf2f5_2010, "f2fs", true),
    (0x0102_1994, "tmpfs", true),
    (0x794c_7630, "overlay", false),
    (0x6969, "nfs", false),
    (0x6573_5546, "fuse", false),
];

fn file_system(area: &mut Area, magic: u64, place: &Path) {
    let place = place.display();
    match KNOWN.iter().find(|(known, _, _)| *known == magic) {
        Some((_, name, true)) => area.ok("data's file system", format!("{name} at {place}")),
        Some((_, name, false)) => area.add(
            "data's file system",
            State::Warning,
            format!("{name} at {place}"),
            format!(
                "overlays cannot be written on {name}: put the data on a disk of its own (`proa daemon --data-root DIRECTORY`), or use --storage-driver vfs"
            ),
        ),
        None => area.add("data's file system", State::Note, format!("type {magic:#x} at {place}"), ""),
    }
}

fn space(area: &mut Area, free: u64, total: u64) {
    let human = |bytes| proa_types::units::human_size(bytes, 3);
    let found = format!("{} free of {}", human(free), human(total));
    match free < LITTLE {
        false => area.ok("space", found),
        true => area.add("space", State::Warning, found, "`proa system prune` removes what nobody uses"),
    }
}

fn inodes(area: &mut Area, free: u64, total: u64) {
    // some file systems make them as they are needed, and tell none
    if total == 0 {
        return;
    }
    let found = format!("{free} free of {total}");
    match free < 50_000 {
        false => area.ok("inodes", found),
        true => area.add(
            "inodes",
            State::Warning,
            found,
            "images have many files: free some, or use another disk",
        ),
    }
}
