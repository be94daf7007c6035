//! The floor: the commands that a run of oxmq has executed, sent again as they are, pipelined and without Lua.
//!
//! It speaks the protocol of `common.rs`. No library can reach its figures: only a client that knew the future could do the
//! same work with these commands. For lateness it is a timer and a round trip. The commands of one call are sent together,
//! and as many calls are on their way at a time as oxmq would have.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

/// The commands of one call.
struct Group {
    commands: u32,
    requests: Vec<u8>,
}

pub(crate) fn run(words: impl Iterator<Item = String>) -> Result<()> {
    let (mut redis, mut recording, mut jobs, mut concurrency, mut work) =
        (String::new(), String::new(), 0_usize, 1_usize, String::new());
    let mut words = words;
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--redis" => redis = value,
            "--recording" => recording = value,
            "--jobs" => jobs = value.parse()?,
            "--concurrency" => concurrency = value.parse()?,
            "--work" => work = value,
            _ => {}
        }
    }
    let mut stream = TcpStream::connect(redis.trim_start_matches("redis://"))?;
    stream.set_nodelay(true)?;
    if work.starts_with("lateness") {
        return wake_in_time(&mut stream, &work, jobs);
    }
    let groups = read(&recording)?;
    ready_to_go()?;

    // A worker has two calls on their way, unless one job is all that it runs.
    let at_once = if work.starts_with("process") && concurrency > 1 { 2 } else { 1 };
    let cpu = process_cpu();
    let start = Instant::now();
    replay(&mut stream, &groups, at_once)?;
    let seconds = start.elapsed().as_secs_f64();
    let client = process_cpu() - cpu;
    println!(r#"{{"work":"{work}","jobs":{jobs},"seconds":{seconds},"client_cpu_s":{client},"peak_rss_kb":0}}"#);
    next_line()
}

/// The least lateness: of a timer, and of one round trip after it.
fn wake_in_time(stream: &mut TcpStream, work: &str, jobs: usize) -> Result<()> {
    ready_to_go()?;
    let mut replies = Replies { stream: stream.try_clone()?, buffer: Vec::new(), start: 0 };
    let cpu = process_cpu();
    let (start, mut late) = (Instant::now(), Vec::with_capacity(jobs));
    for delay in super::common::delays(jobs) {
        let due = start + delay;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(b"*1\r\n$4\r\nPING\r\n")?;
        replies.skip(1)?;
        late.push(due.elapsed());
    }
    let (seconds, client) = (start.elapsed().as_secs_f64(), process_cpu() - cpu);
    let [(p50, p50_ms), (p99, p99_ms)] = super::common::percentiles(late);
    println!(
        r#"{{"work":"{work}","jobs":{jobs},"seconds":{seconds},"client_cpu_s":{client},"peak_rss_kb":0,"{p50}":{p50_ms},"{p99}":{p99_ms}}}"#
    );
    next_line()
}

fn read(path: &str) -> Result<Vec<Group>> {
    let bytes = std::fs::read(path)?;
    let mut rest = &bytes[..];
    let mut groups = Vec::new();
    while !rest.is_empty() {
        let mut number = || -> Result<u32> {
            let mut four = [0; 4];
            rest.read_exact(&mut four)?;
            Ok(u32::from_le_bytes(four))
        };
        let (commands, length) = (number()?, usize::try_from(number()?)?);
        let requests = rest.get(..length).context("the recording ends early")?.to_vec();
        rest = &rest[length..];
        groups.push(Group { commands, requests });
    }
    ensure!(!groups.is_empty(), "the recording is empty");
    Ok(groups)
}

/// Sends all groups, that many at a time, and reads every reply.
fn replay(stream: &mut TcpStream, groups: &[Group], at_once: usize) -> Result<()> {
    let mut replies = Replies { stream: stream.try_clone()?, buffer: Vec::new(), start: 0 };
    for (i, group) in groups.iter().enumerate() {
        stream.write_all(&group.requests)?;
        if let Some(oldest) = (i + 1).checked_sub(at_once) {
            replies.skip(groups[oldest].commands)?;
        }
    }
    for group in &groups[groups.len().saturating_sub(at_once - 1)..] {
        replies.skip(group.commands)?;
    }
    Ok(())
}

/// Counts replies without parsing their contents.
struct Replies {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
}

impl Replies {
    fn skip(&mut self, replies: u32) -> Result<()> {
        let mut left = u64::from(replies);
        while left > 0 {
            let line = self.line()?;
            left -= 1;
            let number = |line: &[u8]| -> Result<i64> { Ok(std::str::from_utf8(&line[1..])?.parse()?) };
            match line.first() {
                Some(b'$') => {
                    if let Ok(length) = usize::try_from(number(&line)?) {
                        self.fill(length + 2)?;
                        self.start += length + 2;
                    }
                }
                Some(b'*') => left += u64::try_from(number(&line)?).unwrap_or(0),
                // A script catches these errors with `pcall`, and so they are expected here.
                Some(b'+' | b':' | b'-') => {}
                _ => bail!("the reply cannot be read"),
            }
        }
        Ok(())
    }

    fn line(&mut self) -> Result<Vec<u8>> {
        let mut looked = 0;
        loop {
            let held = &self.buffer[self.start..];
            if let Some(end) = held[looked..].windows(2).position(|pair| pair == b"\r\n") {
                let line = held[..looked + end].to_vec();
                self.start += line.len() + 2;
                return Ok(line);
            }
            looked = held.len().saturating_sub(1);
            let more = held.len() + 1;
            self.fill(more)?;
        }
    }

    /// Reads until that many bytes are in the buffer.
    fn fill(&mut self, bytes: usize) -> Result<()> {
        while self.buffer.len() - self.start < bytes {
            self.buffer.drain(..self.start);
            self.start = 0;
            let mut chunk = [0; 64 * 1024];
            let read = self.stream.read(&mut chunk)?;
            ensure!(read > 0, "the server has closed the connection");
            self.buffer.extend_from_slice(&chunk[..read]);
        }
        Ok(())
    }
}

fn ready_to_go() -> Result<()> {
    println!("ready");
    next_line()
}

fn next_line() -> Result<()> {
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

fn process_cpu() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    std::time::Duration::try_from(now).unwrap_or_default().as_secs_f64()
}
