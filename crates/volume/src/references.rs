//! Which container uses which volume, in the store: two tables, one for each direction, so that neither question
//! costs more than its answer.

use crate::Error;
use proa_state::{Table, Update, View};
use proa_types::ContainerId;

/// Keys are `<volume>/<container>`: a volume's name has no slash.
const USERS: Table<()> = Table::new("volume_users");
/// Keys are `<container>/<volume>`.
const USES: Table<()> = Table::new("volume_uses");

/// Notes that the container uses the volume.
pub(crate) fn add(update: &mut Update<'_>, name: &str, container: &ContainerId) -> Result<(), Error> {
    update.put(&USERS, &format!("{name}/{container}"), &())?;
    Ok(update.put(&USES, &format!("{container}/{name}"), &())?)
}

/// Forgets all of a container's uses; the volumes they were of.
pub(crate) fn drop_container(update: &mut Update<'_>, container: &ContainerId) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for (key, ()) in update.scan(&USES, &format!("{container}/"))? {
        update.remove(&USES, &key)?;
        if let Some((_, name)) = key.split_once('/') {
            update.remove(&USERS, &format!("{name}/{container}"))?;
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The containers that use a volume, as an update sees them.
pub(crate) fn users_in(update: &Update<'_>, name: &str) -> Result<Vec<ContainerId>, Error> {
    Ok(containers(update.scan(&USERS, &format!("{name}/"))?))
}

/// The containers that use a volume.
pub(crate) fn users(view: &View<'_>, name: &str) -> Result<Vec<ContainerId>, Error> {
    Ok(containers(view.scan(&USERS, &format!("{name}/"))?))
}

/// Every use there is: volume and container.
pub(crate) fn all(view: &View<'_>) -> Result<Vec<(String, ContainerId)>, Error> {
    let pair = |(key, ()): (String, ())| {
        let (name, container) = key.split_once('/')?;
        Some((name.to_owned(), container.parse().ok()?))
    };
    Ok(view.scan(&USERS, "")?.into_iter().filter_map(pair).collect())
}

fn containers(keys: Vec<(String, ())>) -> Vec<ContainerId> {
    keys.iter().filter_map(|(key, ())| key.split_once('/')?.1.parse().ok()).collect()
}
