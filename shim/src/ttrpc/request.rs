//! A call within a frame, of which nothing is lost that is not read.

use crate::wire::{WireError, embedded, fields, put_bytes, put_text, put_uint, replace_bytes};

use super::Status;

/// A pair of a call's metadata.
pub type Metadata = (String, String);

/// A call, as it lies in a request frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    raw: &'a [u8],
    /// `containerd.task.v2.Task`…
    pub service: &'a [u8],
    /// `Start`…
    pub method: &'a [u8],
    /// The message.
    pub payload: &'a [u8],
}

impl<'a> Request<'a> {
    const PAYLOAD: u32 = 3;

    /// Reads the payload of a request frame, to its end: in protobuf the last of several
    /// values holds, so that looking at the first could be deceived.
    ///
    /// # Errors
    /// When it is not a call.
    pub fn decode(raw: &'a [u8]) -> Result<Self, WireError> {
        let mut request = Self { raw, service: b"", method: b"", payload: b"" };
        for field in fields(raw) {
            let field = field?;
            match field.number {
                1 => request.service = field.bytes()?,
                2 => request.method = field.bytes()?,
                Self::PAYLOAD => request.payload = field.bytes()?,
                _ => {}
            }
        }
        Ok(request)
    }

    /// The same call with another message; metadata, deadline and what is unknown stay.
    ///
    /// # Errors
    /// Never, after [`Self::decode`] succeeded.
    pub fn with_payload(&self, payload: &[u8]) -> Result<Vec<u8>, WireError> {
        replace_bytes(self.raw, Self::PAYLOAD, Some(payload))
    }
}

/// A call to be made.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// `containerd.task.v2.Task`…
    pub service: &'a str,
    /// `Start`…
    pub method: &'a str,
    /// The message.
    pub payload: &'a [u8],
}

impl Call<'_> {
    #[cfg(test)]
    pub(crate) fn encode_for_tests(&self, timeout_nanos: u64, metadata: &[Metadata]) -> Vec<u8> {
        self.encode(timeout_nanos, metadata)
    }

    pub(super) fn encode(&self, timeout_nanos: u64, metadata: &[Metadata]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload.len() + 128);
        put_text(&mut out, 1, self.service);
        put_text(&mut out, 2, self.method);
        put_bytes(&mut out, Request::PAYLOAD, self.payload);
        put_uint(&mut out, 4, timeout_nanos);
        for (key, value) in metadata {
            let mut pair = Vec::with_capacity(key.len() + value.len() + 8);
            put_text(&mut pair, 1, key);
            put_text(&mut pair, 2, value);
            put_bytes(&mut out, 5, &pair);
        }
        out
    }
}

/// The payload of a response frame: success with a message, or failure.
pub mod response {
    use super::{Status, WireError, embedded, fields, put_bytes, replace_bytes};

    const STATUS: u32 = 1;
    const PAYLOAD: u32 = 2;

    /// What was answered.
    ///
    /// # Errors
    /// When it is not a response.
    pub fn decode(raw: &[u8]) -> Result<Result<&[u8], Status>, WireError> {
        let status = embedded(raw, STATUS)?.map(|status| Status::decode(&status)).transpose()?;
        let (status, mut payload) = (status.unwrap_or_default(), &b""[..]);
        for field in fields(raw) {
            let field = field?;
            if field.number == PAYLOAD {
                payload = field.bytes()?;
            }
        }
        Ok(if status.code == 0 { Ok(payload) } else { Err(status) })
    }

    /// Success, with a message.
    #[must_use]
    pub fn success(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(payload.len() + 8);
        // Go's client takes a response without a status for a failure of the transport.
        put_bytes(&mut out, STATUS, b"");
        put_bytes(&mut out, PAYLOAD, payload);
        out
    }

    /// Failure.
    #[must_use]
    pub fn failure(status: &Status) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, STATUS, &status.encode());
        out
    }

    /// The same response with another message.
    ///
    /// # Errors
    /// When it is not a response.
    pub fn with_payload(raw: &[u8], payload: &[u8]) -> Result<Vec<u8>, WireError> {
        replace_bytes(raw, PAYLOAD, Some(payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttrpc::Code;

    #[test]
    fn the_last_of_several_values_holds() {
        let call = Call { service: "s", method: "State", payload: b"" };
        let mut raw = call.encode(0, &[]);
        put_text(&mut raw, 2, "Start");
        assert_eq!(Request::decode(&raw).unwrap().method, b"Start");
    }

    #[test]
    fn metadata_and_deadline_stay_when_the_message_changes() {
        let call = Call { service: "s", method: "Create", payload: b"old" };
        let metadata = [("containerd-namespace-ttrpc".to_owned(), "k8s.io".to_owned())];
        let raw = call.encode(7, &metadata);
        let new = Request::decode(&raw).unwrap().with_payload(b"new").unwrap();
        assert_eq!(new, Call { payload: b"new", ..call }.encode(7, &metadata));
    }

    #[test]
    fn responses_read_back() {
        let status = Status::new(Code::FailedPrecondition, "no baseline");
        assert_eq!(response::decode(&response::failure(&status)), Ok(Err(status)));
        assert_eq!(response::decode(&response::success(b"x")), Ok(Ok(&b"x"[..])));
        let other = response::with_payload(&response::success(b"x"), b"y").unwrap();
        assert_eq!(other, response::success(b"y"));
    }
}
