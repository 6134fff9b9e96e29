//! A part of a cluster: processes without stores, each on cores of its own.
#![allow(clippy::unwrap_used, reason = "a test")]

use longline_procs::{NodeProcess, Nodes, Options, Profile, binary};
use longline_types::Role;

/// The cores that every thread of a process may run on.
fn cores_of(node: &NodeProcess) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap();
    let of_thread = |task: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        cores.unwrap().trim().to_owned()
    };
    tasks.map(of_thread).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_added_one_by_one_each_on_its_own_cores() {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let all: Vec<usize> = (0..1024).filter(|core| allowed.is_set(*core)).collect();
    let (first, last) = (all[0], all[all.len() - 1]);
    let mut options = Options::new(binary(Profile::Dev).unwrap());
    options.cores = Some(vec![last]);
    options = options.set(Role::Room, "[engine]\ncheck_s = 77").unwrap();
    let mut nodes = Nodes::start(options).await.unwrap();

    nodes.add(Role::Register, &[last]).await.unwrap().wait_ready().await.unwrap();
    let room = nodes.add(Role::Room, &[first]).await.unwrap();
    assert_eq!((room.name(), room.addresses().public.len()), ("room-1", 1));
    let config = std::fs::read_to_string(room.config()).unwrap();
    assert!(config.contains("check_s = 77"), "{config}");
    assert!(cores_of(room).iter().all(|cores| *cores == first.to_string()), "{:?}", cores_of(room));
    let register = &nodes.nodes()[1];
    assert!(cores_of(register).iter().all(|cores| *cores == last.to_string()), "{:?}", cores_of(register));

    for (role, why) in
        [(Role::Saver, "needs Redis"), (Role::Center, "needs Redis"), (Role::Keeper, "already")]
    {
        let refused = nodes.add(role, &[]).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    nodes.stop_all_but_keeper().await.unwrap();
    let exited: Vec<bool> =
        nodes.nodes_mut().iter_mut().map(|node| node.exited().unwrap().is_some()).collect();
    assert_eq!(exited, [false, true, true]);
    nodes.stop().await.unwrap();
}
