//! `--gpus`: a wish for graphics processors, answered by whatever devices of class `gpu` are described.

use crate::Registry;

/// Vendors in the order in which they are looked for; others come after them, by name.
const VENDORS: [&str; 3] = ["nvidia.com", "amd.com", "intel.com"];

/// How many, or which.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuRequest {
    /// A number; -1 is all.
    pub count: i64,
    /// These instead of a number: numbers or other names.
    pub ids: Vec<String>,
}

/// The devices that answer a wish; none if no device of class `gpu` is described. A device that is named and not
/// described is among them, to be told so by its name.
pub fn gpus(registry: &Registry, request: &GpuRequest) -> Option<Vec<String>> {
    let kind = kind(registry)?;
    let named = |id: &str| match crate::is_qualified(id) {
        true => id.to_owned(),
        false => format!("{kind}={id}"),
    };
    if !request.ids.is_empty() {
        return Some(request.ids.iter().map(|id| named(id)).collect());
    }
    let prefix = format!("{kind}=");
    let mut names: Vec<&str> = registry.names().filter_map(|name| name.strip_prefix(&prefix)).collect();
    if request.count < 0 {
        if names.contains(&"all") {
            return Some(vec![named("all")]);
        }
        return Some(names.into_iter().map(named).collect());
    }
    let count = usize::try_from(request.count).unwrap_or(usize::MAX);
    // Numbers are places; a device may have other names beside its number.
    names.retain(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    names.sort_by_key(|name| name.parse::<u64>().unwrap_or(u64::MAX));
    let mut chosen: Vec<String> = names.iter().take(count).map(|name| named(name)).collect();
    // More than there are: the first that is missing is told.
    if chosen.len() < count {
        chosen.push(named(&names.len().to_string()));
    }
    Some(chosen)
}

fn kind(registry: &Registry) -> Option<String> {
    let mut kinds: Vec<&str> = registry
        .names()
        .filter_map(|name| name.split_once('=').map(|(kind, _)| kind))
        .filter(|kind| kind.ends_with("/gpu"))
        .collect();
    kinds.sort_by_key(|kind| {
        let vendor = kind.trim_end_matches("/gpu");
        VENDORS.iter().position(|known| *known == vendor).unwrap_or(VENDORS.len())
    });
    kinds.first().map(|kind| (*kind).to_owned())
}
