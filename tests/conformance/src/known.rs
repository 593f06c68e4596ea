//! Where the published engine itself does not keep to its definition, and clients count on what it does.

use crate::schema::Violation;

/// A status beyond the definition's: method, path (`*` is every one), status, why.
type Status = (&'static str, &'static str, u16, &'static str);

static STATUSES: &[Status] = &[
    ("*", "*", 400, "every route refuses parameters it cannot read"),
    ("*", "*", 501, "a route that this version does not serve says so; docs/COMPAT.md lists them"),
];

/// A place in a document: route (`*` is every one), end of the place, beginning of the fault, why.
type Place = (&'static str, &'static str, &'static str, &'static str);

static PLACES: &[Place] = &[];

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
