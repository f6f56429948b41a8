//! lacre's events in containerd's own stream, in types that its clients know: an event of
//! an unknown type ends `ctr events`.

use lacre_report::{Held, Origin, Record};

use crate::messages::Any;
use crate::node::events::Events;
use crate::wire::{put_bytes, put_text};

/// The topic of a violation.
const VIOLATION: &str = "/lacre/violation";

/// The topic of an order of the policy server that waits for an operator.
const HELD: &str = "/lacre/held";

/// Publishes a violation, as `containerd.events.ContainerUpdate` (id 1, image 2, labels 3;
/// containerd, api/events/container.proto) with the record's words for labels.
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

fn update(events: &Events, topic: &str, of: (&str, &str), words: &[(&str, &str)]) {
    let mut value = Vec::new();
    put_text(&mut value, 1, of.0);
    put_text(&mut value, 2, of.1);
    for (name, word) in words {
        let mut label = Vec::new();
        put_text(&mut label, 1, name);
        put_text(&mut label, 2, word);
        put_bytes(&mut value, 3, &label);
    }
    events.publish(topic, &Any { type_url: "containerd.events.ContainerUpdate".into(), value });
}

/// Tells that lacre froze a container, as the inner shim would have.
pub(super) fn paused(events: &Events, container: &str) {
    task(events, "/tasks/paused", "containerd.events.TaskPaused", container);
}

/// Tells that a client thawed what lacre froze.
pub(crate) fn resumed(events: &Events, container: &str) {
    task(events, "/tasks/resumed", "containerd.events.TaskResumed", container);
}

fn task(events: &Events, topic: &str, type_url: &str, container: &str) {
    let mut value = Vec::new();
    put_text(&mut value, 1, container);
    events.publish(topic, &Any { type_url: type_url.into(), value });
}
