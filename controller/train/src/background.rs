//! `--background`: gives way to everything else on the machine, and ends with whoever started it.

#![expect(unsafe_code, reason = "the standard library sets neither priority nor scheduling")]

/// Linux's `ioprio_set` (include/uapi/linux/ioprio.h): this process, class idle.
const IOPRIO_WHO_PROCESS: libc::c_int = 1;
const IOPRIO_CLASS_IDLE_SHIFTED: libc::c_int = 3 << 13;

/// Lowers this thread, and with it all threads it will start: call it first. Each part that the
/// system refuses is left as it was; the names of those are given.
///
/// * nice 19, and scheduling class idle: runs when nobody else wants to;
/// * disk reads and writes of class idle;
/// * the first to be ended when memory runs out;
/// * ended when the thread that started this process ends.
pub fn settle() -> Vec<&'static str> {
    let idle = libc::sched_param { sched_priority: 0 };
    // SAFETY: none of the calls keeps a pointer; `idle` lives through the one that reads it.
    let results = unsafe {
        [
            ("nice", i64::from(libc::setpriority(libc::PRIO_PROCESS, 0, 19))),
            ("scheduling", i64::from(libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const idle))),
            ("disk", libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_CLASS_IDLE_SHIFTED)),
            ("end with the parent", i64::from(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))),
        ]
    };
    let mut refused: Vec<&str> = results.iter().filter(|(_, result)| *result != 0).map(|(what, _)| *what).collect();
    if std::fs::write("/proc/self/oom_score_adj", "1000").is_err() {
        refused.push("memory");
    }
    refused
}
