use super::*;
use crate::guard::NoGuard;
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test]
async fn an_order_is_answered_and_nonsense_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    let listener = UnixListener::bind(&path).unwrap();
    let log = Logger::root(slog::Discard, slog::o!());
    let (kept, keeps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    let keep: Keep = Arc::new({
        let (kept, keeps) = (Arc::clone(&kept), Arc::clone(&keeps));
        move || {
            kept.store(true, Ordering::Relaxed);
            if keeps.load(Ordering::Relaxed) { Ok(()) } else { Err("the disk\nis full".into()) }
        }
    });
    tokio::spawn(serve(listener, Arc::new(NoGuard::for_tests()), keep, log));
    let generation = Generation::draw().unwrap();
    let socket = path.clone();
    let limit = Duration::from_secs(10);
    let more = Generation::draw().unwrap();
    let ended = tokio::task::spawn_blocking(move || end_all(&socket, &[&generation, &more], limit));
    let Ends { ended, answers } = ended.await.unwrap();
    assert_eq!((ended, answers), (vec![true, true], true));
    let socket = path.clone();
    let asked = tokio::task::spawn_blocking(move || super::keep(&socket, limit));
    assert!(matches!(asked.await.unwrap(), Kept::Done) && kept.load(Ordering::Relaxed));
    keeps.store(false, Ordering::Relaxed);
    let socket = path.clone();
    let asked = tokio::task::spawn_blocking(move || super::keep(&socket, limit));
    let refused = asked.await.unwrap();
    assert!(matches!(&refused, Kept::Refused(why) if why == "the disk is full"), "{refused:?}");
    for nonsense in ["end ../../x\n", "\n", "begin\n", &"end ".repeat(1000)] {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        // It may be refused before it has said all of it.
        let _ = stream.write_all(nonsense.as_bytes()).await;
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said).await;
        assert!(!said.contains(ENDED), "{nonsense:?}: {said}");
    }
    let socket = path.clone();
    let told = tokio::task::spawn_blocking(move || tell(&socket, None, limit));
    assert_eq!(told.await.unwrap().unwrap().unwrap().exempt.as_deref(), Some("a test"));
    let releaser = Releaser { generation: "0".repeat(32), reason: "because".to_owned() };
    let socket = path.clone();
    let refused = tokio::task::spawn_blocking(move || release(&socket, &releaser, limit));
    assert!(refused.await.unwrap().unwrap().unwrap_err().contains("not guarded"));
    let nobody = dir.path().join("nobody");
    let Ends { ended, answers } = end_all(&nobody, &[&Generation::draw().unwrap()], limit);
    assert_eq!((ended, answers), (vec![false], false));
    assert!(matches!(super::keep(&nobody, limit), Kept::Silent));
}

/// Lets go of the first connections, which is no answer, and says nothing to the last.
#[test]
fn a_connection_that_is_lost_is_no_refusal_and_a_container_that_does_not_end_no_silence() {
    use std::os::unix::net::UnixListener;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    let listener = UnixListener::bind(&path).unwrap();
    let answers = std::thread::spawn(move || {
        let mut lines = Vec::new();
        for said in [None, None, Some("kept\n"), None, None, Some("busy\n")] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            lines.push(line.trim_end().to_owned());
            match said {
                Some(said) => stream.write_all(said.as_bytes()).unwrap(),
                // Held to the end of the test, as by who has not ended yet.
                None if line.starts_with(END) => std::mem::forget(stream),
                None => {}
            }
        }
        lines
    });
    assert!(matches!(keep(&path, Duration::from_secs(10)), Kept::Done));
    let [one, other] = [Generation::draw().unwrap(), Generation::draw().unwrap()];
    let Ends { ended, answers: lives } =
        end_all(&path, &[&one, &other], Duration::from_millis(500));
    assert_eq!((ended, lives), (vec![false, false], true));
    let lines = answers.join().unwrap();
    assert_eq!(lines[..3], [KEEP; 3]);
    assert_eq!(lines[5], TELL);
}
