//! A small Redis client to watch the server: blocking, without dependencies, and without any of the code that is
//! measured.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

#[derive(Debug)]
pub(super) enum Reply {
    Integer(i64),
    Text(String),
    Null,
}

pub(super) struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub(super) fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    pub(super) fn call(&mut self, words: &[&str]) -> Result<Reply> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.reader.get_mut().write_all(request.as_bytes())?;
        self.reply().with_context(|| format!("redis: {}", words.join(" ")))
    }

    pub(super) fn integer(&mut self, words: &[&str]) -> Result<i64> {
        match self.call(words)? {
            Reply::Integer(value) => Ok(value),
            other => bail!("redis: {} answered {other:?}", words.join(" ")),
        }
    }

    pub(super) fn text(&mut self, words: &[&str]) -> Result<Option<String>> {
        match self.call(words)? {
            Reply::Text(value) => Ok(Some(value)),
            Reply::Null => Ok(None),
            Reply::Integer(value) => Ok(Some(value.to_string())),
        }
    }

    fn reply(&mut self) -> Result<Reply> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("connection closed");
        }
        let line = line.trim_end();
        let Some(rest) = line.get(1..) else {
            bail!("empty reply");
        };
        Ok(match line.as_bytes()[0] {
            b'+' => Reply::Text(rest.to_owned()),
            b':' => Reply::Integer(rest.parse()?),
            b'$' => match usize::try_from(rest.parse::<i64>()?) {
                Err(_) => Reply::Null,
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.reader.read_exact(&mut bytes)?;
                    bytes.truncate(length);
                    Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
                }
            },
            _ => bail!("{line}"),
        })
    }

    /// Turns this connection into the lines of `MONITOR`, which end when the stream is shut down.
    pub(super) fn watch(mut self) -> Result<(BufReader<TcpStream>, TcpStream)> {
        self.call(&["MONITOR"])?;
        let stream = self.reader.get_ref().try_clone()?;
        Ok((self.reader, stream))
    }

    /// Turns this connection into a count of the commands that clients send, until [`Monitor::stop`].
    pub(super) fn monitor(self) -> Result<Monitor> {
        let (reader, stream) = self.watch()?;
        let counting = std::thread::spawn(move || {
            // `1733.5 [0 lua] "hget" …` is a command inside a script, `[0 127.0.0.1:53412]` one from a client.
            reader
                .lines()
                .map_while(Result::ok)
                .filter(|line| line.split_once('[').is_some_and(|(_, rest)| !rest.starts_with("0 lua]")))
                .count()
        });
        Ok(Monitor { stream, counting })
    }
}

pub(super) struct Monitor {
    stream: TcpStream,
    counting: std::thread::JoinHandle<usize>,
}

impl Monitor {
    pub(super) fn stop(self) -> Result<usize> {
        self.stream.shutdown(Shutdown::Both)?;
        match self.counting.join() {
            Ok(count) => Ok(count),
            Err(_) => bail!("the monitor thread panicked"),
        }
    }
}
