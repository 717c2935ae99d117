//! What a process costs, as the kernel counts it.

use serde_json::{Value, json};

/// Seconds on a CPU of all threads that run now.
///
/// # Panics
/// When the process is gone.
pub fn cpu_seconds(pid: u32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
    let of = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0)
    };
    tasks.flatten().map(of).sum::<f64>() / 1e9
}

/// Seconds on a CPU since it began, with those of threads that have ended; the kernel tells hundredths.
///
/// # Panics
/// When the process is gone.
pub fn whole_cpu_seconds(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    // Behind its name, which may hold anything: user and system time are the 12th and 13th there (proc(5)).
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|n| n.parse::<f64>().ok()).unwrap_or(f64::NAN);
    // USER_HZ is 100 on every architecture that runs this.
    (ticks(11) + ticks(12)) / 100.0
}

/// Resident memory, and the part of it that is the process's own: no files, no shared pages.
///
/// # Panics
/// When the process is gone.
pub fn memory_mib(pid: u32) -> Value {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let of = |key: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(key));
        let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(f64::NAN);
        (kib / 1024.0 * 100.0).round() / 100.0
    };
    json!({"rss_mib": of("VmRSS:"), "anonymous_mib": of("RssAnon:")})
}
