//! Entries for fuzzing: each parser of bytes from outside, on any bytes.

use crate::bootstrap::{Answer, Input};
use crate::config::Config;
use crate::messages::{self, Any, CreateRequest, ExecRequest, KillRequest, State};
use crate::ttrpc::{FrameReader, Request, response};
use crate::{options, wire};

/// Frames, and the calls and answers in them.
pub fn fuzz_ttrpc(data: &[u8]) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else {
        return;
    };
    runtime.block_on(async {
        let mut reader = FrameReader::new(data);
        while let Ok(Some(header)) = reader.header().await {
            let mut payload = Vec::new();
            if reader.payload(header, &mut payload).await.is_err() {
                break;
            }
            message(&payload);
        }
    });
    message(data);
}

fn message(bytes: &[u8]) {
    let _ = response::decode(bytes);
    let Ok(request) = Request::decode(bytes) else { return };
    let _ = CreateRequest::decode(request.payload);
    let _ = ExecRequest::decode(request.payload);
    let _ = KillRequest::decode(request.payload);
    let _ = State::decode(request.payload);
    let _ = messages::pids(request.payload);
    let _ = wire::replace_uint(request.payload, 4, 4);
    let _ = request.with_payload(b"");
}

/// What `start` reads, what the inner shim answers, and runtime options.
pub fn fuzz_bootstrap(data: &[u8]) {
    let _ = Answer::decode(data).map(|answer| answer.with_address("unix:///run/lacre/s/0"));
    let _ = options::own(&Any { type_url: options::GENERIC.to_owned(), value: data.to_vec() });
    if let Ok(input) = Input::decode(data.to_vec(), "n", "i") {
        let _ = (input.own(), input.ttrpc_address());
        let _ = input.for_inner(&crate::config::Inner::default());
    }
}

/// The configuration.
pub fn fuzz_config(data: &[u8]) {
    let _ = std::str::from_utf8(data).map(Config::parse);
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
        }
    }
}
