//! Where the published engine itself does not keep to its definition, and clients count on what it does.

use crate::schema::Violation;

/// A status beyond the definition's: method, path (`*` is every one), status, why.
type Status = (&'static str, &'static str, u16, &'static str);

static STATUSES: &[Status] = &[
    ("*", "*", 400, "every route refuses parameters it cannot read"),
    (
        "POST",
        "/exec/{id}/start",
        101,
        "an exec is attached as a container is; the definition lists 101 there only",
    ),
    (
        "POST",
        "/containers/{id}/update",
        409,
        "what contradicts the limits that are set is a conflict; the definition lists 404 and 500 alone",
    ),
    (
        "POST",
        "/containers/{id}/pause",
        409,
        "a container that is restarting, or does not run, conflicts; the definition lists 404 and 500",
    ),
    ("*", "*", 501, "a route that this version does not serve says so; docs/COMPAT.md lists them"),
];

/// A place in a document: route (`*` is every one), end of the place, beginning of the fault, why.
type Place = (&'static str, &'static str, &'static str, &'static str);

const NIL: &str = "Go prints a list, a map or a pointer that was never made as null, and clients take it so";
const LEGACY: &str = "left out since 1.52; kept because scripts ask for it by name";
const EVENT: &str = "left out since 1.52, and a client asks for 1.50";
const LISTS: &str = "left out since 1.52, and a client asks for 1.50";
const INSPECT: &str = "GET /containers/{id}/json";
const IMAGE: &str = "GET /images/{name}/json";

static PLACES: &[Place] = &[
    ("*", "Networks.*.Aliases", "null", NIL),
    ("*", "Networks.*.DNSNames", "null", NIL),
    ("*", "Networks.*.Links", "null", NIL),
    (INSPECT, "Config.Entrypoint", "null", NIL),
    (INSPECT, "Config.Volumes", "null", NIL),
    (INSPECT, "HostConfig.Binds", "null", NIL),
    (INSPECT, "HostConfig.CapAdd", "null", NIL),
    (INSPECT, "HostConfig.CapDrop", "null", NIL),
    (INSPECT, "HostConfig.DeviceCgroupRules", "null", NIL),
    (INSPECT, "HostConfig.DeviceRequests", "null", NIL),
    (INSPECT, "HostConfig.ExtraHosts", "null", NIL),
    (INSPECT, "HostConfig.GroupAdd", "null", NIL),
    (INSPECT, "HostConfig.Links", "null", NIL),
    (INSPECT, "HostConfig.MemorySwappiness", "null", NIL),
    (INSPECT, "HostConfig.MaskedPaths", "null", NIL),
    (INSPECT, "HostConfig.ReadonlyPaths", "null", NIL),
    (INSPECT, "HostConfig.SecurityOpt", "null", NIL),
    (INSPECT, "HostConfig.Ulimits", "null", NIL),
    (INSPECT, "HostConfig.VolumesFrom", "null", NIL),
    (IMAGE, "Config.Cmd", "null", NIL),
    (IMAGE, "Config.Entrypoint", "null", NIL),
    (IMAGE, "Config.Volumes", "null", NIL),
    ("GET /containers/{id}/stats", "blkio_stats.io_service_bytes_recursive", "null", NIL),
    ("POST /containers/prune", "ContainersDeleted", "null", NIL),
    ("POST /images/prune", "ImagesDeleted", "null", NIL),
    ("POST /networks/prune", "NetworksDeleted", "null", NIL),
    ("GET /containers/{id}/changes", "", "null", NIL),
    ("GET /info", "GenericResources", "null", NIL),
    ("GET /info", "Plugins.Authorization", "null", NIL),
    ("GET /volumes", "Volumes.*.Labels", "null", NIL),
    ("GET /volumes", "Volumes.*.Options", "null", NIL),
    ("GET /volumes", "Warnings", "null", NIL),
    ("GET /volumes/{name}", "Labels", "null", NIL),
    ("GET /volumes/{name}", "Options", "null", NIL),
    ("POST /volumes/create", "Labels", "null", NIL),
    ("POST /volumes/create", "Options", "null", NIL),
    ("GET /networks/{id}", "IPAM.Options", "null", NIL),
    ("GET /system/df", "BuildCache", ABSENT, LISTS),
    ("GET /system/df", "Containers", ABSENT, LISTS),
    ("GET /system/df", "Images", ABSENT, LISTS),
    ("GET /system/df", "LayersSize", ABSENT, LISTS),
    ("GET /system/df", "Volumes", ABSENT, LISTS),
    ("GET /events", "from", ABSENT, EVENT),
    ("GET /events", "id", ABSENT, EVENT),
    ("GET /events", "status", ABSENT, EVENT),
    (INSPECT, "NetworkSettings.Bridge", ABSENT, LEGACY),
    (INSPECT, "NetworkSettings.EndpointID", ABSENT, LEGACY),
    (INSPECT, "NetworkSettings.Gateway", ABSENT, LEGACY),
    (INSPECT, "NetworkSettings.GlobalIPv6Address", ABSENT, LEGACY),
    (INSPECT, "NetworkSettings.GlobalIPv6PrefixLen", ABSENT, LEGACY),
    (INSPECT, "NetworkSettings.HairpinMode", ABSENT, LEGACY),
    (INSPECT, "NetworkSettings.IPAddress", ABSENT, LEGACY),
    (INSPECT, "NetworkSettings.IPPrefixLen", ABSENT, LEGACY),
    (INSPECT, "NetworkSettings.IPv6Gateway", ABSENT, LEGACY),
    (INSPECT, "NetworkSettings.LinkLocalIPv6Address", ABSENT, LEGACY),
    (INSPECT, "NetworkSettings.LinkLocalIPv6PrefixLen", ABSENT, LEGACY),
    (INSPECT, "NetworkSettings.MacAddress", ABSENT, LEGACY),
    (INSPECT, "NetworkSettings.SecondaryIPAddresses", ABSENT, LEGACY),
    (INSPECT, "NetworkSettings.SecondaryIPv6Addresses", ABSENT, LEGACY),
];

/// How `schema` begins the fault of a property that it does not know.
const ABSENT: &str = "is not in the definition";

/// Why a status is right that the definition does not list.
pub(crate) fn status(method: &str, pattern: &str, status: u16) -> Option<&'static str> {
    let fits = |listed: &str, given: &str| listed == "*" || listed == given;
    let found = STATUSES.iter().find(|(m, p, s, _)| fits(m, method) && fits(p, pattern) && *s == status);
    found.map(|(.., why)| *why)
}

/// Why a violation of the definition is what clients expect.
pub(crate) fn excuse(title: &str, violation: &Violation) -> Option<&'static str> {
    let found = PLACES.iter().find(|(route, at, fault, _)| {
        (*route == "*" || *route == title) && violation.at.ends_with(at) && violation.why.starts_with(fault)
    });
    found.map(|(.., why)| *why)
}
