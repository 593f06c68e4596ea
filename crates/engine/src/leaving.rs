//! Published ports of runs that have ended and are not released yet. Who hears that a container has stopped may publish
//! its ports again at once: that start waits here, a few milliseconds usually, instead of failing.

use proa_network::{PortBinding, PublishedPort};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest that a start waits; then the network says who holds the port.
const PATIENCE: Duration = Duration::from_secs(10);

/// The ports that are about to be free.
#[derive(Clone, Default)]
pub(crate) struct Leaving(Arc<Shared>);

#[derive(Default)]
struct Shared {
    ports: Mutex<Ports>,
    changed: Condvar,
}

#[derive(Default)]
struct Ports {
    next: u64,
    held: HashMap<u64, Vec<PublishedPort>>,
}

/// Ports that are free when this is dropped.
pub(crate) struct Departure {
    leaving: Leaving,
    number: u64,
}

impl Leaving {
    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.0.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the ports of a run that has ended, before anybody hears of its end; none if there are none.
    pub(crate) fn begin(&self, published: &[PublishedPort]) -> Option<Departure> {
        if published.is_empty() {
            return None;
        }
        let mut ports = self.ports();
        let number = ports.next;
        ports.next += 1;
        ports.held.insert(number, published.to_vec());
        Some(Departure { leaving: self.clone(), number })
    }

    /// Waits until none of the ports wanted is about to be free. Blocks.
    pub(crate) fn wait(&self, wanted: &[PortBinding]) {
        let clashes = |ports: &mut Ports| ports.held.values().flatten().any(|port| is_wanted(port, wanted));
        let waited = self.0.changed.wait_timeout_while(self.ports(), PATIENCE, clashes);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        self.leaving.ports().held.remove(&self.number);
        self.leaving.0.changed.notify_all();
    }
}

/// Whether a port may be chosen for one of the bindings. Addresses are left aside: a wait too many does no harm.
fn is_wanted(port: &PublishedPort, wanted: &[PortBinding]) -> bool {
    let fits = |binding: &PortBinding| {
        binding.container.protocol == port.container.protocol
            && binding.host_port.is_none_or(|range| (range.first..=range.last).contains(&port.host_port))
    };
    wanted.iter().any(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proa_network::PortRange;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_start_waits_for_the_ports_it_wants_alone() {
        let leaving = Leaving::default();
        let container: proa_types::PortSpec = "80/tcp".parse::<proa_types::PortSpec>().unwrap();
        let port = PublishedPort { host_ip: [0, 0, 0, 0].into(), host_port: 8080, container };
        let at = |first, last| {
            [PortBinding { host_ip: None, host_port: Some(PortRange { first, last }), container }]
        };
        assert!(leaving.begin(&[]).is_none());
        let departure = leaving.begin(std::slice::from_ref(&port));
        leaving.wait(&at(8081, 8090));
        let free = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                leaving.wait(&at(8000, 8080));
                assert!(free.load(Ordering::SeqCst), "the port was not free yet");
            });
            std::thread::sleep(Duration::from_millis(50));
            free.store(true, Ordering::SeqCst);
            drop(departure);
            waits.join().unwrap();
        });
        assert!(leaving.ports().held.is_empty());
    }
}
