//! Records the commands that a run of oxmq sends; the floor of a work is made of them.
//!
//! `MONITOR` shows the native commands that each script runs. Sent again to a server with the same keys, pipelined and
//! without Lua, they are the least that the same jobs cost; see `peers/floor.rs`.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail, ensure};

use super::resp::Connection;

/// A thread that writes down what the server executes, until [`Recorder::stop`].
pub(super) struct Recorder {
    stream: TcpStream,
    writing: JoinHandle<Result<()>>,
}

impl Recorder {
    /// Writes to `file` from now on.
    pub(super) fn start(connection: Connection, file: &Path) -> Result<Self> {
        let (reader, stream) = connection.watch()?;
        let out = BufWriter::new(File::create(file)?);
        let writing = std::thread::spawn(move || write(reader, out));
        Ok(Self { stream, writing })
    }

    pub(super) fn stop(self) -> Result<()> {
        self.stream.shutdown(Shutdown::Read)?;
        match self.writing.join() {
            Ok(written) => written,
            Err(_) => bail!("the thread that records panicked"),
        }
    }
}

/// One group for each call of a script: how many commands, how many bytes, and the requests themselves.
fn write(reader: BufReader<TcpStream>, mut out: impl Write) -> Result<()> {
    let (mut group, mut commands) = (Vec::new(), 0_u32);
    for line in reader.split(b'\n') {
        let Ok(line) = line else { break };
        let Some((is_inside, words)) = parse(&line) else { continue };
        if is_inside {
            encode(&words, &mut group)?;
            commands += 1;
        } else if commands > 0 {
            end_group(&mut group, &mut commands, &mut out)?;
        }
    }
    if commands > 0 {
        end_group(&mut group, &mut commands, &mut out)?;
    }
    out.flush().context("the recording cannot be written")
}

fn end_group(group: &mut Vec<u8>, commands: &mut u32, out: &mut impl Write) -> Result<()> {
    out.write_all(&commands.to_le_bytes())?;
    out.write_all(&u32::try_from(group.len())?.to_le_bytes())?;
    out.write_all(group)?;
    group.clear();
    *commands = 0;
    Ok(())
}

fn encode(words: &[Vec<u8>], out: &mut Vec<u8>) -> Result<()> {
    ensure!(!words.is_empty(), "a command without words");
    write!(out, "*{}\r\n", words.len())?;
    for word in words {
        write!(out, "${}\r\n", word.len())?;
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

/// Parses a line: `+1733.5 [0 lua] "hget" "a\"b"` is a command inside a script, `[0 127.0.0.1:53412]` one from a
/// client.
fn parse(line: &[u8]) -> Option<(bool, Vec<Vec<u8>>)> {
    let at = line.windows(2).position(|pair| pair == b"] ")?;
    let is_inside = line[..at].ends_with(b" lua");
    if !is_inside {
        return Some((false, Vec::new()));
    }
    let mut words = Vec::new();
    let mut rest = line[at + 2..].iter().copied();
    while rest.by_ref().any(|byte| byte == b'"') {
        words.push(word(&mut rest)?);
    }
    Some((true, words))
}

/// Returns the rest of a word after its first quotation mark, as `sdscatrepr` writes it.
fn word(rest: &mut impl Iterator<Item = u8>) -> Option<Vec<u8>> {
    let mut word = Vec::new();
    loop {
        match rest.next()? {
            b'"' => return Some(word),
            b'\\' => word.push(match rest.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'a' => 7,
                b'b' => 8,
                b'x' => {
                    let digits = [rest.next()?, rest.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                other => other,
            }),
            byte => word.push(byte),
        }
    }
}
