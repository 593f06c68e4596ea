//! The event stream: what happened, to whoever listens, and to those who ask later.

use proa_types::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use tokio::sync::broadcast;

/// Events kept for those who ask for the past, as docker keeps.
const KEPT: usize = 256;
/// Events a slow listener may fall behind by.
const BEHIND: usize = 1024;

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
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::channel(BEHIND).0, past: Mutex::default() }
    }
}

impl Events {
    /// Tells of an event.
    pub(crate) fn tell(&self, kind: EventKind, action: &str, id: &str, attributes: BTreeMap<String, String>) {
        let event = Event { kind, action: action.into(), id: id.into(), attributes, at: Timestamp::now() };
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if past.len() >= KEPT {
            past.pop_front();
        }
        past.push_back(event.clone());
        // Nobody listening is fine.
        let _ = self.sender.send(event);
    }

    /// Listens from now on, with the past since a time.
    pub(crate) fn listen(&self, since: Option<Timestamp>) -> EventStream {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.sender.subscribe();
        let earlier = match since {
            Some(since) => past.iter().filter(|event| event.at >= since).cloned().collect(),
            None => VecDeque::new(),
        };
        EventStream { earlier, receiver }
    }
}

/// Events as they happen.
pub struct EventStream {
    earlier: VecDeque<Event>,
    receiver: broadcast::Receiver<Event>,
}

impl EventStream {
    /// What is already there, without waiting.
    pub fn ready(&mut self) -> Option<Event> {
        self.earlier.pop_front().or_else(|| self.receiver.try_recv().ok())
    }

    /// The next event; none when the engine ends. A listener that falls far behind misses some.
    pub async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.earlier.pop_front() {
            return Some(event);
        }
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "a listener to events is too slow")
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl crate::Engine {
    /// Listens to events, also to those kept since a time.
    pub fn events(&self, since: Option<Timestamp>) -> EventStream {
        self.events.listen(since)
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
