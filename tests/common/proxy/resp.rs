//! Finds where one request and one reply end.

use std::io;

/// Returns the command and arguments of the first request in `buffer` and its length in bytes, once it is complete.
pub(super) fn request(buffer: &[u8]) -> io::Result<Option<(Vec<Vec<u8>>, usize)>> {
    let Some((line, mut at)) = line(buffer) else {
        return Ok(None);
    };
    if !line.starts_with(b"*") {
        let words = line.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
        return Ok(Some((words.map(<[u8]>::to_vec).collect(), at)));
    }
    let mut args = Vec::new();
    for _ in 0..number(&line[1..])? {
        let Some((head, after)) = self::line(&buffer[at..]) else {
            return Ok(None);
        };
        if !head.starts_with(b"$") {
            return Err(invalid("a request of other than bulk strings"));
        }
        let length = usize::try_from(number(&head[1..])?).map_err(|_| invalid("a negative length"))?;
        let start = at + after;
        let Some(arg) = buffer.get(start..start + length + 2) else {
            return Ok(None);
        };
        args.push(arg[..length].to_vec());
        at = start + length + 2;
    }
    Ok(Some((args, at)))
}

/// Returns the length in bytes of the first reply in `buffer`, once it is complete.
pub(super) fn reply(buffer: &[u8]) -> io::Result<Option<usize>> {
    // Values still to read; an aggregate adds its elements.
    let mut left: i64 = 1;
    let mut at = 0;
    while left > 0 {
        let Some((head, after)) = line(&buffer[at..]) else {
            return Ok(None);
        };
        at += after;
        left -= 1;
        let Some((&kind, rest)) = head.split_first() else {
            return Err(invalid("an empty line"));
        };
        match kind {
            b'$' | b'=' | b'!' => {
                // -1 is a null, which has no body.
                if let Ok(length) = usize::try_from(number(rest)?) {
                    at += length + 2;
                }
            }
            b'*' | b'~' | b'>' => left += number(rest)?.max(0),
            b'%' => left += 2 * number(rest)?,
            // An attribute comes before the value that it belongs to.
            b'|' => left += 2 * number(rest)? + 1,
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {}
            _ => return Err(invalid("an unknown kind of reply")),
        }
        if at > buffer.len() {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

/// Returns the first line without its end, and the length with it.
fn line(buffer: &[u8]) -> Option<(&[u8], usize)> {
    let end = buffer.windows(2).position(|w| w == b"\r\n")?;
    Some((&buffer[..end], end + 2))
}

fn number(text: &[u8]) -> io::Result<i64> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|t| t.parse().ok()).ok_or_else(|| invalid("no number"))
}

pub(super) fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[test]
fn messages_are_cut_at_their_ends() {
    let bytes = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING x\r\n";
    for end in 0..20 {
        assert!(request(&bytes[..end]).unwrap().is_none(), "{end}");
    }
    let (args, length) = request(bytes).unwrap().unwrap();
    assert_eq!((args, length), (vec![b"GET".to_vec(), b"k".to_vec()], 20));
    let (args, _) = request(&bytes[20..]).unwrap().unwrap();
    assert_eq!(args, [b"PING".to_vec(), b"x".to_vec()]);

    for whole in [
        &b"+OK\r\n"[..],
        b"$-1\r\n",
        b"*-1\r\n",
        b"$4\r\na\r\nb\r\n",
        b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
        b"%1\r\n+a\r\n*0\r\n",
        b"|1\r\n+ttl\r\n:1\r\n:5\r\n",
        b">2\r\n+a\r\n+b\r\n",
    ] {
        for end in 0..whole.len() {
            assert_eq!(reply(&whole[..end]).unwrap(), None, "{}", whole.escape_ascii());
        }
        assert_eq!(reply(&[whole, b"+"].concat()).unwrap(), Some(whole.len()));
    }
}
