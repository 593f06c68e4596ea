//! The obligations by subject.

mod answers;
mod archives;
mod attach;
mod authorization;
mod contexts;
mod daemon;
mod devices;
mod disk;
mod doctor;
mod emulation;
mod errors;
mod escapes;
mod exec;
mod files;
mod health;
mod images;
mod lifecycle;
mod limits;
mod links;
mod logs;
mod network;
mod prepared;
mod registry;
mod remote_logs;
mod restarts;
mod run;
mod runtimes;
mod security;
mod ssh;
mod stats;
mod tour;
mod upkeep;
mod users;
mod volumes;
mod waiting;
mod whole_volumes;

pub(crate) use emulation::EMULATION;

/// Adds every obligation.
pub(crate) fn add(suite: &mut proa_e2e::Suite) {
    run::add(suite);
    lifecycle::add(suite);
    restarts::add(suite);
    runtimes::add(suite);
    attach::add(suite);
    exec::add(suite);
    files::add(suite);
    health::add(suite);
    logs::add(suite);
    remote_logs::add(suite);
    limits::add(suite);
    devices::add(suite);
    users::add(suite);
    links::add(suite);
    network::add(suite);
    volumes::add(suite);
    whole_volumes::add(suite);
    stats::add(suite);
    upkeep::add(suite);
    waiting::add(suite);
    images::add(suite);
    registry::add(suite);
    security::add(suite);
    escapes::add(suite);
    prepared::add(suite);
    errors::add(suite);
    disk::add(suite);
    archives::add(suite);
    daemon::add(suite);
    tour::add(suite);
    contexts::add(suite);
    ssh::add(suite);
    doctor::add(suite);
    authorization::add(suite);
    answers::add(suite);
}
