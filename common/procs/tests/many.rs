//! A cluster of many processes on one core. Alone in its process, since it lowers the limit of open files.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use longline_procs::{Cluster, Options, Profile, binary};
use longline_types::Role;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const ROOMS: usize = 20;

/// A line of `/proc/<pid>/<file>`, after its name.
fn line(folder: &Path, file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_rooms_start_on_one_core_with_all_the_open_files_they_may_have() {
    let program = binary(Profile::Dev).unwrap();
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let core = (0..1024).rfind(|core| allowed.is_set(*core)).unwrap();
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(1024), maximum: hard }).unwrap();

    let mut options = Options::new(program).count(Role::Room, ROOMS);
    options.cores = Some(vec![core]);
    let mut cluster = Cluster::start(options).await.unwrap();
    assert_eq!(cluster.of(Role::Room).count(), ROOMS);
    let told = cluster.describe();
    assert_eq!(told.rooms.iter().collect::<std::collections::HashSet<_>>().len(), ROOMS);

    let pids = told.nodes.iter().map(|node| node.pid).chain([told.redis_pid, told.mysql_pid]);
    for pid in pids {
        for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let cores = line(&thread.unwrap().path(), "status", "Cpus_allowed_list:");
            assert_eq!(cores, core.to_string(), "process {pid}");
        }
    }
    let hard = hard.map_or_else(|| "unlimited".to_owned(), |hard| hard.to_string());
    for node in &told.nodes {
        let folder = format!("/proc/{}", node.pid);
        let limits = line(Path::new(&folder), "limits", "Max open files");
        assert_eq!(limits.split_whitespace().next(), Some(hard.as_str()), "{}", node.name);
    }

    let room = cluster.node("room-20").unwrap();
    room.restart().await.unwrap();
    let folder = format!("/proc/{}", room.pid());
    let cores = line(Path::new(&folder), "status", "Cpus_allowed_list:");
    assert_eq!(cores, core.to_string(), "also after a restart");
    cluster.stop().await.unwrap();
}
