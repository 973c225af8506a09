//! Malformed packets, and requests for more than there is: each is answered, and the session continues.

use std::io;

use flatland_machine::{EngineChoice, Outcome, Stop};

use crate::client::{Client, packet};
use crate::{Run, SPIN};

/// The answer to `?`, which gdb sends first.
const STOPPED: &str = "T05thread:01;";

#[test]
fn what_cannot_be_read_is_refused_and_the_session_goes_on() {
    let run = Run::new(EngineChoice::Soft, SPIN);
    let mut client = run.connect();
    let refused: [&[u8]; 9] =
        [b"\xff", b"m", b"m0,x", b"M0,4", b"Z0", b"H", b"P1", b"vCont;x", b"m123456789abcdef00,1"];
    for body in refused {
        client.send_bytes(&packet(body)).expect("it is read");
        let answer = client.receive();
        assert!(answer.is_empty() || answer.starts_with('E'), "{}: {answer}", String::from_utf8_lossy(body));
        assert_eq!(client.ask("?"), STOPPED);
    }
    // Longer than the PacketSize in the answer to `qSupported`.
    client.send_bytes(&packet(&[b'a'; 1 << 20])).expect("it is read");
    assert_eq!(client.receive(), "E16");
    assert_eq!(client.ask("?"), STOPPED);
    // Bytes that are no packets, and truncated packets.
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0", b"+", b"$", b"$g", b"$g#", b"$g#6"] {
        client.send_bytes(bytes).expect("it is read");
        assert_eq!(client.ask("?"), STOPPED, "{bytes:?}");
    }
    assert_eq!(client.ask("g").len(), 2 * (16 * 4 + 8 * 10 + 8 * 4 + 8 * 16 + 4));
    run.interrupt();
}

#[test]
fn damaged_packets_and_answers_are_asked_for_again() {
    let run = Run::new(EngineChoice::Soft, SPIN);
    let mut client = run.connect();
    for damaged in [&b"$?#00"[..], b"$?#xx", b"$?#+-"] {
        client.send_bytes(damaged).expect("it is read");
        assert_eq!(client.next_byte(), b'-', "{damaged:?}");
    }
    assert_eq!(client.ask("?"), STOPPED);
    client.send_bytes(b"-").expect("it is read");
    assert_eq!(client.receive(), STOPPED);
    // After a damaged packet, a `-` requests the last answer again and not the `-` of the debugger.
    client.send_bytes(b"$?#00-").expect("it is read");
    assert_eq!(client.receive(), STOPPED);
    run.interrupt();
}

#[test]
fn gdb_is_told_of_processes_as_it_asked() {
    let run = Run::new(EngineChoice::Soft, SPIN);
    let mut client = run.connect();
    let features = client.ask("qSupported:multiprocess+;swbreak+");
    assert!(features.contains("PacketSize=1000;") && features.contains(";QStartNoAckMode+"), "{features}");
    assert_eq!(client.ask("?"), "T05thread:p01.01;");
    assert_eq!(client.ask("Z0,1,1"), "OK");
    assert_eq!(client.ask("vCont;c:p1.-1"), "T05thread:p01.01;swbreak:;");
    run.interrupt();
}

#[test]
fn nothing_is_acknowledged_where_nobody_wants_it() {
    let run = Run::new(EngineChoice::Soft, SPIN);
    let mut client = run.connect();
    client.send("QStartNoAckMode");
    assert_eq!(client.next_byte(), b'+');
    assert_eq!(client.receive(), "OK");
    for body in ["?", "m0,x", "Z0,1,1", "c"] {
        client.send(body);
        assert_eq!(client.next_byte(), b'$', "{body}");
        client.receive_rest();
    }
    // Damaged, and too long.
    for sent in [b"$?#00".to_vec(), packet(&[b'a'; 5000])] {
        client.send_bytes(&sent).expect("it is read");
        assert_eq!(client.next_byte(), b'$');
        assert_eq!(client.receive_rest(), "E16");
    }
    run.interrupt();
}

#[test]
fn an_answer_fits_a_packet() {
    let run = Run::new(EngineChoice::Soft, SPIN);
    let mut client = run.connect();
    for request in ["m0,ffffffff", "m1000,fffffff0", "mff0000,ffffffff", "m0,ffffffffffffffff"] {
        client.send(request);
        let answer = client.receive();
        assert!(answer.len() <= 4092 && answer.len() > 4000, "{request}: {}", answer.len());
    }
    assert!(client.ask("m0,ffffffff").starts_with("40ebfd00"));
    // Near the end of memory the answer is shorter. Beyond the end it is an error.
    assert_eq!(client.ask("mfffff0,ffffffff"), "0".repeat(32));
    assert_eq!(client.ask("mfffff0,20"), "0".repeat(32));
    for request in ["m1000000,1", "mffffffff,ffffffff"] {
        assert_eq!(client.ask(request), "E0e", "{request}");
    }
    run.interrupt();
}

#[test]
fn packets_at_random() {
    // xorshift: reproducible random numbers.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let beginnings = [
        "",
        "?",
        "g",
        "G",
        "p",
        "P1=",
        "m",
        "M100,4:",
        "X100,2:",
        "Z0,",
        "z1,",
        "Z2,",
        "vCont",
        "vCont;r",
        "c",
        "s",
        "H",
        "T",
        "D",
        "k",
        "q",
        "Q",
        "qRcmd,",
        "qXfer:features:read:target.xml:",
        "qSupported:",
        "vKill;",
        "vRun;",
        "vAttach;",
        "vFile:",
        "R",
        "!",
    ];
    let mut run = Run::new(EngineChoice::Soft, SPIN);
    let mut client = run.connect();
    for case in 0..2000 {
        let mut body = beginnings[random() as usize % beginnings.len()].as_bytes().to_vec();
        for _ in 0..random() % 12 {
            let digits = b"0123456789abcdef,;:=-f";
            let byte = random();
            body.push(match byte & 7 {
                0 => (byte >> 8) as u8,
                _ => digits[(byte >> 8) as usize % digits.len()],
            });
        }
        let mut sent = packet(&body);
        match random() % 8 {
            0 => sent.truncate(random() as usize % sent.len()),
            1 => {
                let at = random() as usize % sent.len();
                sent[at] = random() as u8;
            }
            _ => {}
        }
        println!("case {case}: {:?}", String::from_utf8_lossy(&sent));
        let Err(error) = still_answers(&mut client, case, &sent) else { continue };
        let is_told_to_go = ["D", "k", "vKill;"].iter().any(|packet| body.starts_with(packet.as_bytes()));
        assert!(is_told_to_go, "case {case}: {error}");
        if body[0] != b'D' {
            let (outcome, _) = run.end();
            assert!(matches!(outcome, Outcome::Stopped(Stop::Debugger, _)), "case {case}: {outcome:?}");
            run = Run::new(EngineChoice::Soft, SPIN);
        }
        client = run.connect();
        still_answers(&mut client, case, b"").unwrap_or_else(|error| panic!("case {case}: {error}"));
    }
    run.interrupt();
}

/// Sends this, stops the guest if it runs, and writes and reads memory. `sent` may request an answer again, so each
/// case has a different answer.
fn still_answers(client: &mut Client, case: u32, sent: &[u8]) -> io::Result<()> {
    client.send_bytes(sent)?;
    client.send_bytes(b"\x03")?;
    client.send_bytes(&packet(format!("M200,4:{case:08x}").as_bytes()))?;
    client.send_bytes(&packet(b"m200,4"))?;
    while client.try_to_receive()? != format!("{case:08x}") {}
    Ok(())
}
