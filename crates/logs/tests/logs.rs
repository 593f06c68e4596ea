//! Writers and readers together, on real files.

#![allow(clippy::unwrap_used)]

use proa_logs::{LogConfig, LogDriver, LogWriter, ReadOptions, Reader, Record, Source, Stream};
use proa_types::Timestamp;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("proa-logs-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn config(&self, driver: LogDriver, options: &[(&str, &str)]) -> LogConfig {
        let options: BTreeMap<_, _> =
            options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        LogConfig::new(driver, self.0.join("log"), &options, &Source::default()).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// As the monitor has it done, by a program that is there.
fn packing(from: File, to: File) -> std::io::Result<Child> {
    Command::new("gzip").stdin(from).stdout(to).spawn()
}

fn open_writer(config: &LogConfig) -> Result<Box<dyn LogWriter>, proa_logs::Error> {
    proa_logs::open_writer(config, packing)
}

fn all() -> ReadOptions {
    ReadOptions { stdout: true, stderr: true, ..ReadOptions::default() }
}

fn read(config: &LogConfig, options: ReadOptions) -> Vec<Record> {
    let mut reader = Reader::open(config, options).unwrap();
    let mut records = Vec::new();
    loop {
        let batch = reader.next_batch().unwrap();
        if batch.is_empty() {
            return records;
        }
        records.extend(batch);
    }
}

fn text(records: &[Record]) -> String {
    records.iter().map(|r| String::from_utf8_lossy(&r.data).into_owned()).collect()
}

#[test]
fn lines_come_back_in_order_with_stream_and_time() {
    for driver in [LogDriver::JsonFile, LogDriver::Local] {
        let dir = Dir::new(driver.name());
        let config = dir.config(driver, &[]);
        let mut writer = open_writer(&config).unwrap();
        writer.write(Stream::Stdout, Timestamp(5), b"one\ntw").unwrap();
        writer.write(Stream::Stderr, Timestamp(6), b"err\n").unwrap();
        writer.write(Stream::Stdout, Timestamp(7), b"o\nlast").unwrap();
        writer.finish(Timestamp(8)).unwrap();
        let records = read(&config, all());
        assert_eq!(text(&records), "one\nerr\ntwo\nlast");
        let times: Vec<i64> = records.iter().map(|r| r.time.0).collect();
        assert_eq!(times, [5, 6, 7, 8]);
        let only = read(&config, ReadOptions { stderr: false, ..all() });
        assert_eq!(text(&only), "one\ntwo\nlast");
        assert_eq!(text(&read(&config, ReadOptions { since: Timestamp(7), ..all() })), "two\nlast");
        assert_eq!(text(&read(&config, ReadOptions { until: Timestamp(6), ..all() })), "one\nerr\n");
        assert_eq!(text(&read(&config, ReadOptions { tail: Some(2), ..all() })), "two\nlast");
        assert_eq!(text(&read(&config, ReadOptions { tail: Some(0), ..all() })), "");
    }
}

#[test]
fn rotation_keeps_the_newest_within_the_bound() {
    for driver in [LogDriver::JsonFile, LogDriver::Local] {
        for compress in ["true", "false"] {
            let dir = Dir::new(&format!("rotate-{}-{compress}", driver.name()));
            let config = dir.config(driver, &[("max-size", "2k"), ("max-file", "3"), ("compress", compress)]);
            let mut writer = open_writer(&config).unwrap();
            for number in 0..1000 {
                writer
                    .write(Stream::Stdout, Timestamp(number + 1), format!("line {number}\n").as_bytes())
                    .unwrap();
            }
            let records = read(&config, all());
            let lines = text(&records);
            assert!(lines.ends_with("line 999\n"));
            let first: usize = lines.lines().next().unwrap()[5..].parse().unwrap();
            assert!(first > 0 && records.len() == 1000 - first, "{first} {}", records.len());
            let tail = text(&read(&config, ReadOptions { tail: Some(60), ..all() }));
            assert_eq!(tail.lines().next(), Some("line 940"));
            // What is being compressed is settled, or left, at the end.
            drop(writer);
            assert!(std::fs::read_dir(&dir.0).unwrap().count() <= 3);
        }
    }
}

#[test]
fn a_follower_sees_every_line_over_rotations() {
    let dir = Dir::new("follow");
    let config = dir.config(LogDriver::JsonFile, &[("max-size", "4k"), ("max-file", "50")]);
    let mut reader = Reader::open(&config, ReadOptions { follow: true, ..all() }).unwrap();
    let writing = config.clone();
    let writer = std::thread::spawn(move || {
        let mut writer = open_writer(&writing).unwrap();
        for number in 0..500 {
            writer
                .write(Stream::Stdout, Timestamp(number + 1), format!("line {number}\n").as_bytes())
                .unwrap();
            if number % 10 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
    });
    let mut seen = Vec::new();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while seen.len() < 500 && std::time::Instant::now() < end {
        let batch = reader.next_batch().unwrap();
        if batch.is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        seen.extend(batch);
    }
    writer.join().unwrap();
    let wanted: String = (0..500).map(|n| format!("line {n}\n")).collect();
    assert_eq!(text(&seen), wanted);
}

#[test]
fn a_line_cut_short_by_a_crash_is_passed_over() {
    for driver in [LogDriver::JsonFile, LogDriver::Local] {
        let dir = Dir::new(&format!("cut-{}", driver.name()));
        let config = dir.config(driver, &[]);
        let mut writer = open_writer(&config).unwrap();
        writer.write(Stream::Stdout, Timestamp(1), b"whole\ncut\n").unwrap();
        let bytes = std::fs::read(&config.path).unwrap();
        std::fs::write(&config.path, &bytes[..bytes.len() - 3]).unwrap();
        assert_eq!(text(&read(&config, all())), "whole\n");
    }
}
