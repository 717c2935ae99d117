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
