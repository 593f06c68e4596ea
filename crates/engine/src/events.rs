//! The event stream: what happened, to whoever listens, and to those who ask later.

use proa_types::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::broadcast;

/// Events kept for those who ask for the past.
const KEPT: usize = 4096;
/// Events a slow listener may fall behind by.
const BEHIND: usize = 1024;

/// Which events are listened to, by when they happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Period {
    /// From then on; those kept since are replayed.
    pub since: Option<Timestamp>,
    /// Until then, after which the stream ends. Without `since`, all that are kept are replayed, as docker does.
    pub until: Option<Timestamp>,
}

impl Period {
    /// Whether a moment that has passed is in it.
    fn replays(&self, at: Timestamp) -> bool {
        let asked = self.since.is_some() || self.until.is_some();
        asked && self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at <= until)
    }
}

/// What kind of object an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A network.
    Network,
    /// The engine.
    Daemon,
}

impl EventKind {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Daemon => "daemon",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// To what.
    pub kind: EventKind,
    /// What.
    pub action: String,
    /// To which.
    pub id: String,
    /// More about it.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub at: Timestamp,
}

/// All events.
pub(crate) struct Events {
    sender: broadcast::Sender<Event>,
    past: Mutex<VecDeque<Event>>,
    told: AtomicU64,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::channel(BEHIND).0, past: Mutex::default(), told: AtomicU64::new(0) }
    }
}

impl Events {
    /// Tells of an event.
    pub(crate) fn tell(&self, kind: EventKind, action: &str, id: &str, attributes: BTreeMap<String, String>) {
        // Dated under the lock: the order is that of the times.
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let event = Event { kind, action: action.into(), id: id.into(), attributes, at: Timestamp::now() };
        if past.len() >= KEPT {
            past.pop_front();
        }
        past.push_back(event.clone());
        self.told.fetch_add(1, Ordering::Relaxed);
        // Nobody listening is fine.
        let _ = self.sender.send(event);
    }

    /// How many were told, and how many listen.
    pub(crate) fn counts(&self) -> (u64, usize) {
        (self.told.load(Ordering::Relaxed), self.sender.receiver_count())
    }

    /// Listens.
    pub(crate) fn listen(&self, period: Period) -> EventStream {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.sender.subscribe();
        let earlier = past.iter().filter(|event| period.replays(event.at)).cloned().collect();
        EventStream { earlier, receiver, until: period.until }
    }
}

/// Events as they happen.
pub struct EventStream {
    earlier: VecDeque<Event>,
    receiver: broadcast::Receiver<Event>,
    until: Option<Timestamp>,
}

impl EventStream {
    /// The next event; none at the end of the period or of the engine. A listener that falls far behind misses some.
    pub async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.earlier.pop_front() {
            return Some(event);
        }
        let Some(until) = self.until else { return received(&mut self.receiver).await };
        let left = u64::try_from(until.0.saturating_sub(Timestamp::now().0)).unwrap_or(0);
        let left = std::time::Duration::from_nanos(left);
        // Polled once also when no time is left: what is already there is told.
        let event = tokio::time::timeout(left, received(&mut self.receiver)).await.ok().flatten();
        event.filter(|event| event.at <= until)
    }
}

async fn received(receiver: &mut broadcast::Receiver<Event>) -> Option<Event> {
    loop {
        match receiver.recv().await {
            Ok(event) => return Some(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "a listener to events is too slow")
            }
            Err(broadcast::error::RecvError::Closed) => return None,
        }
    }
}

impl crate::Engine {
    /// Listens to events of a period.
    pub fn events(&self, period: Period) -> EventStream {
        self.events.listen(period)
    }

    /// Tells what happened to a container.
    pub(crate) fn tell(
        &self,
        container: &crate::container::Container,
        action: &str,
        more: &[(&str, String)],
    ) {
        let mut attributes: BTreeMap<String, String> = container.with(|record| {
            let mut all = record.spec.labels.clone();
            all.insert("image".into(), record.spec.image.clone());
            all.insert("name".into(), record.name.to_string());
            all
        });
        attributes.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.events.tell(EventKind::Container, action, container.id.as_str(), attributes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(events: &Events, action: &str) -> Timestamp {
        events.tell(EventKind::Container, action, "id", BTreeMap::new());
        let at = events.past.lock().unwrap().back().unwrap().at;
        // The clock's next reading is another.
        std::thread::sleep(std::time::Duration::from_millis(1));
        at
    }

    async fn rest(mut stream: EventStream) -> Vec<String> {
        let mut actions = Vec::new();
        while let Some(event) = stream.next().await {
            actions.push(event.action);
        }
        actions
    }

    #[tokio::test]
    async fn the_past_is_replayed_in_its_bounds_and_the_stream_ends() {
        let events = Events::default();
        let times: Vec<_> = ["a", "b", "c", "d"].iter().map(|action| told(&events, action)).collect();
        let of = |since: Option<usize>, until: Option<usize>| {
            let at = |n: usize| times.get(n).copied().unwrap();
            events.listen(Period { since: since.map(at), until: until.map(at) })
        };
        assert_eq!(rest(of(Some(1), Some(2))).await, ["b", "c"]);
        assert_eq!(rest(of(None, Some(1))).await, ["a", "b"]);
        assert_eq!(rest(of(Some(3), Some(0))).await, [""; 0]);
        let mut live = of(Some(3), None);
        assert_eq!(live.next().await.unwrap().action, "d");
        told(&events, "e");
        assert_eq!(live.next().await.unwrap().action, "e");
    }

    #[tokio::test]
    async fn a_stream_into_the_future_ends_then_and_the_past_is_bounded() {
        let events = Events::default();
        for n in 0..KEPT + 10 {
            events.tell(EventKind::Container, &n.to_string(), "id", BTreeMap::new());
        }
        let until = Timestamp(Timestamp::now().0 + 200_000_000);
        let stream = events.listen(Period { since: Some(Timestamp(1)), until: Some(until) });
        events.tell(EventKind::Container, "during", "id", BTreeMap::new());
        let all = rest(stream).await;
        assert!(Timestamp::now() >= until);
        assert_eq!((all.len(), all.first().unwrap().as_str()), (KEPT + 1, "10"));
        assert_eq!(all.last().unwrap(), "during");
        let quiet = events.listen(Period::default());
        drop(events);
        assert!(rest(quiet).await.is_empty());
    }
}
