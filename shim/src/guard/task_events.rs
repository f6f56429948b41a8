//! lacre's events in containerd's own stream, in types that its clients know: an event of
//! an unknown type ends `ctr events`.

use lacre_report::{Held, Origin, Record};

use crate::messages::{ContainerUpdate, TaskPaused, TaskResumed};
use crate::node::events::Events;

/// The topic of a violation.
const VIOLATION: &str = "/lacre/violation";

/// The topic of an order of the policy server that waits for an operator.
const HELD: &str = "/lacre/held";

/// Publishes a violation, as an update of the container, with the record's words for labels.
pub(super) fn publish(events: &Events, record: &Record) {
    let words = [
        ("notificate", record.notificate.as_str()),
        ("imageID", &record.image_id),
        ("line", &record.line),
        ("action", record.action.as_str()),
        ("source", record.source.as_str()),
        ("mode", record.mode.as_str()),
    ];
    update(events, VIOLATION, (&record.container_id, &record.image_name), &words);
}

/// Publishes that an order about a container waits for an operator, likewise.
pub(super) fn held(events: &Events, origin: &Origin, held: &Held) {
    let order = held.order.to_string();
    let words = [("order", &*order), ("action", &held.action), ("what", &held.why)];
    update(events, HELD, (&origin.container_id, &origin.image_name), &words);
}

fn update(events: &Events, topic: &str, (id, image): (&str, &str), words: &[(&str, &str)]) {
    let labels = words.iter().map(|(name, word)| ((*name).to_owned(), (*word).to_owned()));
    let update = ContainerUpdate {
        id: id.to_owned(),
        image: image.to_owned(),
        labels: labels.collect(),
        ..ContainerUpdate::default()
    };
    events.publish(topic, "containerd.events.ContainerUpdate", &update);
}

/// Tells that lacre froze a container, as the inner shim would have.
pub(super) fn paused(events: &Events, container: &str) {
    let paused = TaskPaused { container_id: container.to_owned(), ..TaskPaused::default() };
    events.publish("/tasks/paused", "containerd.events.TaskPaused", &paused);
}

/// Tells that a client thawed what lacre froze.
pub(crate) fn resumed(events: &Events, container: &str) {
    let resumed = TaskResumed { container_id: container.to_owned(), ..TaskResumed::default() };
    events.publish("/tasks/resumed", "containerd.events.TaskResumed", &resumed);
}
