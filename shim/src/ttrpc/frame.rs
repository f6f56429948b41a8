//! Frames of ttrpc on a socket, with the bounds of both its libraries.

use std::io;
use std::time::Duration;

use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
};
use tokio::io::{BufReader, copy_buf};
use tokio::time::timeout;

/// The most that a frame may carry, in bytes: what both ttrpc libraries allow
/// (`messageLengthMax`, 4 MiB).
pub const FRAME_MAX: u32 = 4 << 20;

/// No flag.
pub const FLAG_NONE: u8 = 0;

/// How long the rest of a frame may take after its first byte. A peer that stops half-way
/// holds memory; one that is merely slow, or stopped by a debugger, gets through.
const REST_OF_FRAME: Duration = Duration::from_secs(60);

/// Calls are a few hundred bytes; a page takes several.
const BUFFER: usize = 4096;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Opens a stream with a call.
    Request,
    /// Ends it with an answer.
    Response,
    /// Carries a message of a stream.
    Data,
    /// What nobody has defined yet.
    Other(u8),
}

/// What stands before each payload: 10 bytes, big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The length of the payload, in bytes.
    pub length: u32,
    /// The stream it belongs to.
    pub stream: u32,
    /// What it is.
    pub kind: Kind,
    /// Flags, as they came.
    pub flags: u8,
}

impl Header {
    /// Its size, in bytes.
    pub const LEN: usize = 10;

    /// As bytes.
    #[must_use]
    pub fn encode(self) -> [u8; Self::LEN] {
        let kind = match self.kind {
            Kind::Request => 1,
            Kind::Response => 2,
            Kind::Data => 3,
            Kind::Other(other) => other,
        };
        let [a, b, c, d] = self.length.to_be_bytes();
        let [e, f, g, h] = self.stream.to_be_bytes();
        [a, b, c, d, e, f, g, h, kind, self.flags]
    }

    /// From bytes; every one is a header.
    #[must_use]
    pub fn decode(bytes: [u8; Self::LEN]) -> Self {
        let [a, b, c, d, e, f, g, h, kind, flags] = bytes;
        let kind = match kind {
            1 => Kind::Request,
            2 => Kind::Response,
            3 => Kind::Data,
            other => Kind::Other(other),
        };
        let length = u32::from_be_bytes([a, b, c, d]);
        Self { length, stream: u32::from_be_bytes([e, f, g, h]), kind, flags }
    }
}

/// Why no frame could be had from a peer.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer went away within a frame.
    #[error("the connection ended within a frame")]
    Truncated,
    /// The peer stopped within a frame.
    #[error("the rest of a frame did not come within {} s", REST_OF_FRAME.as_secs())]
    Stalled,
    /// A frame is longer than may be held.
    #[error("a frame of {0} bytes; the limit of ttrpc is {FRAME_MAX}")]
    TooLong(u32),
    /// Reading failed.
    #[error("reading a frame")]
    Read(#[source] io::Error),
    /// Handing it on failed.
    #[error("writing a frame")]
    Write(#[source] io::Error),
}

/// Reads frames. Nothing is allocated on the word of a header alone.
#[derive(Debug)]
pub struct FrameReader<R> {
    from: BufReader<R>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `from`.
    pub fn new(from: R) -> Self {
        Self { from: BufReader::with_capacity(BUFFER, from) }
    }

    /// The next header; `None` when the peer has closed between frames.
    ///
    /// # Errors
    /// When the peer goes or stops within it.
    pub async fn header(&mut self) -> Result<Option<Header>, FrameError> {
        if self.from.fill_buf().await.map_err(FrameError::Read)?.is_empty() {
            return Ok(None);
        }
        let mut bytes = [0; Header::LEN];
        within(self.from.read_exact(&mut bytes)).await?;
        Ok(Some(Header::decode(bytes)))
    }

    /// Appends the payload of `header` to `frame`.
    ///
    /// # Errors
    /// When it is too long, or does not come.
    pub async fn payload(&mut self, header: Header, frame: &mut Vec<u8>) -> Result<(), FrameError> {
        if header.length > FRAME_MAX {
            return Err(FrameError::TooLong(header.length));
        }
        let before = frame.len();
        let mut limited = (&mut self.from).take(u64::from(header.length));
        within(limited.read_to_end(frame)).await?;
        if frame.len() - before < header.length as usize {
            return Err(FrameError::Truncated);
        }
        Ok(())
    }

    /// Hands the payload of `header` on as it comes, whatever its length.
    ///
    /// # Errors
    /// When it does not come, or cannot be written.
    pub async fn pass<W: AsyncWrite + Unpin>(
        &mut self,
        header: Header,
        to: &mut W,
    ) -> Result<(), FrameError> {
        // What there is of the payload goes with the header: a call is one write.
        let mut head = header.encode().to_vec();
        let mut left = u64::from(header.length);
        while left > 0 {
            let bytes = match timeout(REST_OF_FRAME, self.from.fill_buf()).await {
                Err(_) => return Err(FrameError::Stalled),
                Ok(bytes) => bytes.map_err(FrameError::Read)?,
            };
            if bytes.is_empty() {
                return Err(FrameError::Truncated);
            }
            let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            head.extend_from_slice(&bytes[..count]);
            to.write_all(&head).await.map_err(FrameError::Write)?;
            head.clear();
            self.from.consume(count);
            left -= count as u64;
        }
        to.write_all(&head).await.map_err(FrameError::Write)
    }

    /// Reads the payload of `header` and forgets it.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn skip(&mut self, header: Header) -> Result<(), FrameError> {
        let mut limited = (&mut self.from).take(u64::from(header.length));
        let skipped = within(copy_buf(&mut limited, &mut tokio::io::sink())).await?;
        if skipped < u64::from(header.length) { Err(FrameError::Truncated) } else { Ok(()) }
    }
}

async fn within<T>(read: impl Future<Output = io::Result<T>>) -> Result<T, FrameError> {
    match timeout(REST_OF_FRAME, read).await {
        Err(_) => Err(FrameError::Stalled),
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(FrameError::Truncated)
        }
        Ok(result) => result.map_err(FrameError::Read),
    }
}

/// Writes a frame.
///
/// # Errors
/// When the peer is gone, or the payload too long for a frame.
pub async fn write_frame<W: AsyncWrite + Unpin>(
    to: &mut W,
    mut header: Header,
    payload: &[u8],
) -> Result<(), FrameError> {
    header.length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    if header.length > FRAME_MAX {
        return Err(FrameError::TooLong(header.length));
    }
    let mut frame = Vec::with_capacity(Header::LEN + payload.len());
    frame.extend_from_slice(&header.encode());
    frame.extend_from_slice(payload);
    to.write_all(&frame).await.map_err(FrameError::Write)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(future)
    }

    proptest! {
        #[test]
        fn every_ten_bytes_are_a_header(bytes: [u8; 10]) {
            prop_assert_eq!(Header::decode(bytes).encode(), bytes);
        }

        #[test]
        fn frames_read_back(payloads in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..9000), 0..5)) {
            block(async {
                let mut wire = Vec::new();
                for (at, payload) in payloads.iter().enumerate() {
                    let header = Header {
                        length: 0, stream: at as u32, kind: Kind::Other(9), flags: 0xff };
                    write_frame(&mut wire, header, payload).await.unwrap();
                }
                let mut reader = FrameReader::new(&wire[..]);
                for (at, payload) in payloads.iter().enumerate() {
                    let header = reader.header().await.unwrap().unwrap();
                    assert_eq!((header.stream, header.flags), (at as u32, 0xff));
                    let mut read = Vec::new();
                    if at % 2 == 0 {
                        reader.payload(header, &mut read).await.unwrap();
                        assert_eq!(&read, payload);
                    } else {
                        reader.pass(header, &mut read).await.unwrap();
                        assert_eq!(&read[Header::LEN..], payload);
                    }
                }
                assert!(reader.header().await.unwrap().is_none());
            });
        }
    }

    #[test]
    fn a_header_alone_allocates_nothing() {
        block(async {
            let header = Header { length: FRAME_MAX, stream: 1, kind: Kind::Request, flags: 0 };
            let mut reader = FrameReader::new(&[1, 2, 3][..]);
            let mut frame = Vec::new();
            let result = reader.payload(header, &mut frame).await;
            assert!(matches!(result, Err(FrameError::Truncated)));
            assert!(frame.capacity() < 4096);
        });
    }

    #[test]
    fn a_frame_over_the_limit_is_not_held() {
        block(async {
            let header = Header { length: FRAME_MAX + 1, stream: 1, kind: Kind::Request, flags: 0 };
            let mut reader = FrameReader::new(&[][..]);
            let result = reader.payload(header, &mut Vec::new()).await;
            assert!(matches!(result, Err(FrameError::TooLong(_))));
        });
    }

    #[test]
    fn a_peer_that_stops_within_a_frame_is_given_up() {
        block(async {
            let (mut peer, ours) = tokio::io::duplex(64);
            peer.write_all(&[0, 0, 0, 5, 0]).await.unwrap();
            let mut reader = FrameReader::new(ours);
            assert!(matches!(reader.header().await, Err(FrameError::Stalled)));
        });
    }
}
