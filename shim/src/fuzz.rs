//! Entries for fuzzing: each parser of bytes from outside, on any bytes. What is written
//! anew must say what was meant, and keep all else as it came.
#![allow(clippy::unwrap_used, reason = "a fuzz entry fails by panicking")]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use crate::arguments::{Action, Args};
use crate::bootstrap::options;
use crate::bootstrap::{Answer, Input};
use crate::config::{Config, Inner};
use crate::messages::{
    Any, CreateTaskRequest, KillRequest, Message, OfProcess as _, StartRequest, number,
};
use crate::ttrpc::{FRAME_MAX, FrameReader, Header, Request, response};
use crate::wire;

/// What tells who a container is: its specification, CRI's request, an answer of dockerd's.
pub fn fuzz_spec(data: &[u8]) {
    crate::guard::fuzz_identity(data);
}

/// Frames, and the calls and answers in them.
pub fn fuzz_ttrpc(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut reader = FrameReader::new(data);
        let mut at = 0;
        while let Ok(Some(header)) = reader.header().await {
            assert_eq!(header.encode(), data[at..at + Header::LEN]);
            at += Header::LEN;
            let mut payload = Vec::new();
            if reader.payload(header, &mut payload).await.is_err() {
                assert!(header.length > FRAME_MAX || header.length as usize > data.len() - at);
                break;
            }
            assert_eq!(payload, data[at..at + payload.len()]);
            at += payload.len();
            message(&payload);
        }
    });
    message(data);
}

fn message(bytes: &[u8]) {
    if response::decode(bytes).is_ok_and(|answer| answer.is_ok()) {
        let other = response::with_payload(bytes, b"other").unwrap();
        assert_eq!(response::decode(&other), Ok(Ok(&b"other"[..])));
    }
    let Ok(request) = Request::decode(bytes) else { return };
    let other = request.with_payload(b"other").unwrap();
    let read = Request::decode(&other).unwrap();
    assert_eq!(
        (read.service, read.method, read.payload),
        (request.service, request.method, &b"other"[..])
    );
    task_message(request.payload);
}

/// What the shim reads of the Task API's messages: the same as whom it hands them to, which is
/// told by reading them again as they were written anew.
fn task_message(bytes: &[u8]) {
    if let Ok(start) = StartRequest::parse_from_bytes(bytes) {
        assert_eq!(StartRequest::from(&start.process()).process(), start.process());
    }
    if let Ok(kill) = KillRequest::parse_from_bytes(bytes) {
        assert_eq!(KillRequest::parse_from_bytes(&kill.write_to_bytes().unwrap()).unwrap(), kill);
    }
    let _ = CreateTaskRequest::parse_from_bytes(bytes);
    if let Ok(Some(any)) = Any::embedded(bytes, number::CREATE_OPTIONS) {
        let _ = options::for_inner(Some(&any), &Inner::default());
    }
    if let Ok(any) = Any::decode(bytes) {
        assert_eq!(Any::decode(&any.encode()), Ok(any));
    }
}

/// Edits of protobuf where it stands: a field's number, the rest a message.
pub fn fuzz_wire(data: &[u8]) {
    let [number, message @ ..] = data else { return };
    let number = u32::from(*number % 20) + 1;
    let fields: Result<Vec<_>, _> = wire::fields(message).collect();
    let edits = [
        wire::replace_bytes(message, number, Some(b"new")),
        wire::replace_bytes(message, number, None),
        wire::replace_uint(message, number, 7),
    ];
    let Ok(fields) = fields else {
        assert!(edits.iter().all(Result::is_err), "what is no message is not edited");
        return;
    };
    assert_eq!(fields.iter().map(|field| field.raw).collect::<Vec<_>>().concat(), message);
    let others = |message: &[u8]| -> Vec<u8> {
        let fields = wire::fields(message).map(Result::unwrap);
        fields.filter(|field| field.number != number).flat_map(|f| f.raw.to_vec()).collect()
    };
    for (edited, held) in edits.into_iter().map(Result::unwrap).zip([1, 0, 1]) {
        assert_eq!(others(&edited), others(message));
        let own = wire::fields(&edited).filter(|f| f.as_ref().unwrap().number == number);
        assert_eq!(own.count(), held);
    }
    task_message(message);
}

/// What `start` reads, and what the inner shim answers.
pub fn fuzz_bootstrap(data: &[u8]) {
    const OURS: &str = "unix:///run/lacre/s/0";
    if let Ok(answer) = Answer::decode(data) {
        assert!(answer.socket().unwrap().is_absolute());
        let ours = Answer::decode(&answer.with_address(OURS)).unwrap();
        assert_eq!((ours.address.as_str(), ours.version), (OURS, answer.version));
    }
    let Ok(input) = Input::decode(data.to_vec(), "n", "i") else { return };
    let _ = (input.own(), input.ttrpc_address(), input.arguments(&Args::default()));
    if let Ok(inner) = input.for_inner(&Inner::default()) {
        // What was lacre's is taken out, so that a second time nothing is left to take.
        let again = Input::decode(inner.clone(), "n", "i").unwrap();
        assert_eq!(again.for_inner(&Inner::default()).unwrap(), inner);
    }
}

/// Runtime options: as a message, and as the text that containerd makes of its own file.
pub fn fuzz_options(data: &[u8]) {
    let mut texts = vec![data.to_vec()];
    if let Ok(text) = std::str::from_utf8(data) {
        let mut value = Vec::new();
        wire::put_text(&mut value, 3, text);
        texts.push(value);
    }
    for value in texts {
        let any = Any { type_url: options::GENERIC.to_owned(), value };
        let for_inner = options::for_inner(Some(&any), &Inner::default());
        assert_eq!(options::own(&any).is_ok(), for_inner.is_ok());
        if let Ok(Some(inner)) = for_inner {
            assert_eq!(inner.type_url, options::RUNC);
            assert!(wire::fields(&inner.value).all(|field| field.is_ok()));
        }
    }
}

/// The configuration.
pub fn fuzz_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text) {
        Ok(config) => assert!(config.run.is_absolute() && config.state.is_absolute()),
        Err(errors) => {
            let placed = |one: &lacre_policy::Diagnostic| one.line > 0 && one.column > 0;
            assert!(!errors.diagnostics.is_empty() && errors.diagnostics.iter().all(placed));
            assert!(!errors.to_string().is_empty());
        }
    }
}

/// The command line, a NUL after each argument.
pub fn fuzz_args(data: &[u8]) {
    let words = data.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    if let Ok(Some((args, Action::Start | Action::Delete))) = Args::parse(words) {
        assert!(!args.id.contains('/') && !args.namespace.contains('/'));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            super::fuzz_ttrpc(&data);
            super::fuzz_bootstrap(&data);
            super::fuzz_config(&data);
            super::fuzz_wire(&data);
            super::fuzz_options(&data);
            super::fuzz_args(&data);
        }
    }
}
