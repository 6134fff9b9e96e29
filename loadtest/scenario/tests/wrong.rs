//! Scenarios that are wrong: each is refused with the line, or the set, that is to blame.

use std::path::Path;

use longline_load_scenario::{KEYS, Machine, Scenario};

const GOOD: &str = "name = 's'
[devices]
count = 10
[phases]
measured_s = 10
";

fn refusal(text: &str, sets: &[&str]) -> String {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let machine = Machine { cores: vec![0, 1] };
    match Scenario::parse(Path::new("dir/s.toml"), text, &sets, &machine) {
        Ok(scenario) => panic!("this was let through: {scenario:?}"),
        Err(error) => error.to_string(),
    }
}

/// The refusal of a good file with these lines after its fifth.
fn with(more: &str) -> String {
    refusal(&format!("{GOOD}{more}"), &[])
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (more, expected) in cases {
        assert_eq!(with(more), format!("dir/s.toml:{expected}"), "{more}");
    }
}

#[test]
fn what_is_no_toml() {
    assert!(with("[unicast\n").starts_with("dir/s.toml:6: "), "{}", with("[unicast\n"));
    assert!(with("[unicast]\nrate = \n").starts_with("dir/s.toml:7: "));
    assert_eq!(with("[unicast]\nrate = 2020-01-01\n"), "dir/s.toml:7: dates have no use in a scenario");
    let missing = Scenario::load(Path::new("/nowhere/s.toml"), &[]).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read the scenario /nowhere/s.toml: No such file"), "{missing}");
}

#[test]
fn unknown_keys() {
    check(&[
        ("[unicast]\n\nrat = 1", "8: unknown key unicast.rat; did you mean unicast.rate?"),
        ("[unicats]\nrate = 1", "6: unknown key unicats; did you mean unicast?"),
        (
            "[unicast]\nxyzzyxyzzyxyzzy = 1",
            "7: unknown key unicast.xyzzyxyzzyxyzzy; known are rate, window, payload_bytes, via, batch, class, ttl_s, connections",
        ),
        (
            "[[devices.networks]]\nkind = 'wifi'\nshared = 1",
            "8: unknown key devices.networks.shared; did you mean devices.networks.share?",
        ),
        (
            "[unicast]\nrate = 1\npayload_bytes = [\n  { byte = 40, share = 1 },\n]",
            "9: unknown key unicast.payload_bytes.byte; did you mean unicast.payload_bytes.bytes?",
        ),
        (
            "[verdict]\nlost = 5",
            "7: verdict.lost is no key: it is always 0, a run that loses a message fails",
        ),
        (
            "[servers.settings.rooms]\nx = 1",
            "6: rooms is no role; roles are keeper, saver, register, coordinator, room, center, dispatcher",
        ),
    ]);
}

#[test]
fn what_is_missing() {
    assert_eq!(refusal("[devices]\ncount = 1", &[]), "dir/s.toml:1: name is missing");
    assert_eq!(
        refusal("name = 's'\n[phases]\nmeasured_s = 1", &[]),
        "dir/s.toml:1: the section [devices] is missing"
    );
    assert_eq!(refusal("name = 's'\n\n[devices]\n", &[]), "dir/s.toml:3: devices.count is missing");
    check(&[
        ("[unicast]\nvia = 'http'", "6: unicast.rate (open loop) or unicast.window (closed loop) is missing"),
        ("[broadcast]", "6: broadcast.every_s is missing"),
        (
            "[[devices.networks]]\nkind = 'wifi'\n[[devices.networks]]\nkind = '4g'",
            "6: devices.networks.share is missing",
        ),
        (
            "[servers]\nmode = 'external'\ndispatcher = 'http://d:1'\nproduct = 1\nkey = 'k'",
            "6: servers.api is missing",
        ),
    ]);
}

#[test]
fn values_out_of_range_or_of_another_kind() {
    assert_eq!(
        refusal(&GOOD.replace("10\n[ph", "0\n[ph"), &[]),
        "dir/s.toml:3: devices.count is between 1 and 100000000, not 0"
    );
    assert_eq!(
        refusal(&GOOD.replace("'s'", "'a b'"), &[]),
        "dir/s.toml:1: name is up to 64 letters, digits, - and _, not \"a b\""
    );
    assert_eq!(refusal("name = 's'\ndevices = 5", &[]), "dir/s.toml:2: devices is a section, not 5");
    check(&[
        ("[unicast]\nrate = 'fast'", "7: unicast.rate is a number, not \"fast\""),
        ("[unicast]\nrate = 0", "7: unicast.rate is above 0"),
        ("[unicast]\nrate = nan", "7: unicast.rate is between 0 and 100000000, not NaN"),
        ("[unicast]\nwindow = 1.5", "7: unicast.window is a whole number, not 1.5"),
        (
            "[unicast]\nrate = 1\nvia = 'batsch'",
            "8: unicast.via is one of http, batch, grpc, not \"batsch\"; did you mean \"batch\"?",
        ),
        ("[unicast]\nrate = 1\nttl_s = 0", "8: unicast.ttl_s is between 1 and 31536000, not 0"),
        ("[unicast]\nrate = 1\nttl_s = 99999999", "8: unicast.ttl_s is between 1 and 31536000, not 99999999"),
        (
            "[unicast]\nrate = 1\npayload_bytes = 31",
            "8: unicast.payload_bytes is 31, but the header that every payload begins with has 32 bytes",
        ),
        (
            "[unicast]\nrate = 1\npayload_bytes = 65537",
            "8: unicast.payload_bytes is between 0 and 65536, not 65537",
        ),
        ("[unicast]\nrate = 1\npayload_bytes = [1]", "8: unicast.payload_bytes is a list of sections, not 1"),
        ("[unicast]\nrate = 1\npayload_bytes = []", "8: unicast.payload_bytes needs at least one size"),
        (
            "[broadcast]\nevery_s = 1\npayload_bytes = 8",
            "8: broadcast.payload_bytes is 8, but the header that every payload begins with has 32 bytes",
        ),
        ("[churn]\nshare_per_second = 0.1\naway_s = [2, 1]", "8: churn.away_s begins above its end"),
        ("[churn]\nshare_per_second = 0.1\naway_s = 2", "8: churn.away_s is a list, not 2"),
        (
            "[[devices.networks]]\nkind = '6g'",
            "7: devices.networks.kind is one of wifi, ethernet, 2g, 3g, 4g, 5g, not \"6g\"; did you mean \"2g\"?",
        ),
        (
            "[[devices.networks]]\nkind = 'wifi'\nheartbeat_s = [1, 480]",
            "8: devices.networks.heartbeat_s is between 5 and 3600, not 1",
        ),
        ("[reference]\nrounds = 0", "7: reference.rounds is between 1 and 100, not 0"),
        ("[verdict]\nlate = -1", "7: verdict.late is between 0 and 18446744073709551615, not -1"),
        ("[servers.settings]\nroom = 5", "7: servers.settings.room is a section, not 5"),
    ]);
    let empty = refusal(&GOOD.replace("count = 10", "count = 10\nnetworks = []"), &[]);
    assert_eq!(
        empty,
        "dir/s.toml:4: devices.networks needs at least one network; leave it out for Wi-Fi alone"
    );
}

#[test]
fn shares_above_the_whole() {
    check(&[
        (
            "[[devices.networks]]\nkind = 'wifi'\nshare = 0.7\n[[devices.networks]]\nkind = '4g'\nshare = 0.4",
            "11: devices.networks.share lifts the sum of the shares to 1.1, above 1",
        ),
        (
            "[unicast]\nrate = 1\npayload_bytes = [\n{ bytes = 40, share = 0.8 },\n{ bytes = 50, share = 0.3 }]",
            "10: unicast.payload_bytes.share lifts the sum of the shares to 1.1, above 1",
        ),
        (
            "[hostile]\nnever_ack = 0.5\nslow = 0.6",
            "8: hostile.slow lifts the sum of the shares to 1.1, above 1",
        ),
        ("[hostile]\nslow = 2", "7: hostile.slow is between 0 and 1, not 2"),
    ]);
}

#[test]
fn what_excludes_each_other() {
    let both = "unicast.rate (open loop) and unicast.window (closed loop) exclude each other";
    assert_eq!(
        with("[unicast]\nrate = 1\nwindow = 1"),
        format!("dir/s.toml:8: {both}; `--set unicast.rate=none` takes the other away")
    );
    assert_eq!(
        with("[unicast]\nwindow = 1\n\nrate = 1"),
        format!("dir/s.toml:9: {both}; `--set unicast.window=none` takes the other away")
    );
    check(&[
        (
            "[unicast]\nrate = 1\nbatch = 10",
            "8: unicast.batch is for via = \"batch\" and via = \"grpc\" only",
        ),
        ("[servers]\nrooms = 2", "7: servers.rooms is for mode = \"cluster\" only"),
        ("[servers]\nother_cores = [1]", "7: servers.other_cores is for mode = \"room\" only"),
        ("[servers]\nmode = 'room'\nrooms = 1", "8: servers.rooms is for mode = \"cluster\" only"),
        (
            "[servers]\nmode = 'room'\n[servers.settings.center]\nx = 1",
            "8: servers.settings.center is of no use: mode = \"room\" starts a keeper, a register and a room only",
        ),
        ("[servers]\napi = ['http://a:1']", "7: servers.api is for mode = \"external\" only"),
        (
            "[servers]\nmode = 'external'\ncores = [0]",
            "8: servers.cores is for servers that are started for the run, not for external ones",
        ),
    ]);
}

#[test]
fn machines_and_addresses() {
    check(&[
        (
            "[servers]\ncores = [0, 7]",
            "7: servers.cores has 7, but this machine's cores are 0, 1; [] pins nothing",
        ),
        (
            "[agents]\ncores = [\n0,\n2,\n]",
            "9: agents.cores has 2, but this machine's cores are 0, 1; [] pins nothing",
        ),
        (
            "[agents]\nsources = ['127.0.0.1', '127.0.0.x']",
            "7: agents.sources has \"127.0.0.x\", which is no address and no network (10.0.0.2, 10.0.0.0/28)",
        ),
        ("[agents]\nsources = ['10.0.0.0/8']", "7: agents.sources names more than 65536 addresses"),
        ("[agents]\nsources = ['::/0']", "7: agents.sources names more than 65536 addresses"),
        ("[agents]\nremote = ['10.0.0.2']", "7: agents.remote is host:port, not \"10.0.0.2\""),
        ("[agents]\nlocal = 'many'", "7: agents.local is \"auto\" or a number, not \"many\""),
        ("[agents]\nlocal = 0", "7: agents.local is 0 and there are no remote agents: nobody connects"),
    ]);
}

#[test]
fn what_sections_ask_of_each_other() {
    let external = "[servers]\nmode = 'external'\napi = ['http://a:1']\ndispatcher = 'http://d:1'\nproduct = 1\nkey = 'k'\n";
    let with_external = |more: &str| with(&format!("{external}{more}"));
    check(&[
        (
            "[storm]\nkind = 'kill_room'",
            "7: storm.kind \"kill_room\" needs servers.mode = \"cluster\": a standalone room is the whole system",
        ),
        (
            "[servers]\nmode = 'room'\n[storm]\nkind = 'kill_room'",
            "9: storm.kind \"kill_room\" needs servers.mode = \"cluster\": a room alone has no other that its devices could go to",
        ),
        (
            "[servers]\nmode = 'cluster'\n[storm]\nkind = 'rolling'",
            "9: storm.kind \"rolling\" needs servers.rooms of at least 2: with one room nobody could come back",
        ),
        (
            "[servers]\nmode = 'room'\n[uplink]\nrate = 1",
            "8: [uplink] needs other servers: in mode = \"room\" there is no coordinator to take them",
        ),
        (
            "[servers]\nmode = 'cluster'\n[storm]\nkind = 'kill_room'",
            "9: storm.kind \"kill_room\" needs servers.rooms of at least 2: with one room nobody could come back",
        ),
        ("[storm]\nkind = 'reconnect'\nat_s = 10", "8: storm.at_s is 10, after a measured phase of 10 s"),
        (
            "[broadcast]\nevery_s = 20",
            "7: broadcast.every_s is 20, and the first broadcast goes out after half of it: never in a measured phase of 10 s",
        ),
        (
            "[reference]\n[churn]\nshare_per_second = 0.1",
            "6: [reference] excludes [churn]: the reference keeps no messages for those who are away",
        ),
        ("[reference]\n[uplink]\nrate = 1", "6: [reference] excludes [uplink]: the reference takes none"),
        (
            "[reference]\n[hostile]\nslow = 0.1",
            "6: [reference] excludes [hostile]: the reference does not defend itself",
        ),
        (
            "[reference]\n[storm]\nkind = 'reconnect'\n[unicast]\nrate = 1",
            "6: [reference] excludes [storm] with messages, or with a room that ends: the reference keeps no messages and has no second room",
        ),
    ]);
    assert_eq!(
        refusal(&format!("{GOOD}{external}"), &["devices.transport=tls"]),
        "--set devices.transport=tls: devices.transport needs devices.ca_file: servers that run already have their own certificate"
    );
    assert_eq!(
        refusal(&format!("{GOOD}{external}"), &["devices.transport=noise"]),
        "--set devices.transport=noise: devices.transport needs devices.noise_key: servers that run already have their own key"
    );
    assert_eq!(
        refusal(GOOD, &["devices.noise_key=AAAA"]),
        "--set devices.noise_key=AAAA: devices.noise_key is for mode = \"external\" only: the run makes its own"
    );
    assert_eq!(
        with_external("[reference]"),
        "dir/s.toml:12: [reference] needs servers that are started for the run: beside external ones its ratios mean nothing"
    );
    assert_eq!(
        with_external("[uplink]\nrate = 1"),
        "dir/s.toml:12: [uplink] needs servers.admin_key to make a product with a route for them"
    );
    assert!(
        with_external("[storm]\nkind = 'kill_room'")
            .starts_with("dir/s.toml:13: storm.kind \"kill_room\" needs")
    );
    let routed = GOOD.replace("count = 10", "count = 10\nroute = 'rooms'") + external;
    assert!(
        refusal(&routed, &[]).starts_with("dir/s.toml:4: devices.route \"rooms\" needs servers.admin_key")
    );
    let tokens = GOOD.replace("count = 10", "count = 10\ntokens = true") + external;
    assert_eq!(
        refusal(&tokens, &[]),
        "dir/s.toml:4: devices.tokens needs servers.admin_key to make a product that asks for them"
    );
    assert!(
        with("[servers]\nmode = 'external'\napi = []\ndispatcher = 'http://d:1'\nproduct = 1\nkey = 'k'")
            .contains(":8: servers.api needs at least one URL")
    );
    assert!(
        with("[servers]\nmode = 'external'\napi = ['a:1']")
            .contains("servers.api is a URL as http://host:port, not \"a:1\"")
    );
}

#[test]
fn a_wrong_set_is_named() {
    let set = |set: &str| refusal(GOOD, &[set]);
    assert_eq!(set("devices.cuont=5"), "--set devices.cuont=5: unknown key; did you mean devices.count?");
    assert_eq!(set("devcies.count=5"), "--set devcies.count=5: unknown key; did you mean devices.count?");
    assert_eq!(
        set("devices.count=0"),
        "--set devices.count=0: devices.count is between 1 and 100000000, not 0"
    );
    assert_eq!(set("devices.resume=2"), "--set devices.resume=2: devices.resume is between 0 and 1, not 2");
    assert_eq!(set("devices.count"), "--set devices.count: a set is key=value, as devices.count=5000");
    assert_eq!(set("name.x=1"), "--set name.x=1: name is \"s\", not a section: set it as a whole");
    assert_eq!(set("devices.count=none"), "dir/s.toml:2: devices.count is missing");
    assert_eq!(
        set("unicast={ rat = 5 }"),
        "--set unicast={ rat = 5 }: unknown key unicast.rat; did you mean unicast.rate?"
    );
    assert_eq!(
        set("storm.kind=kill_room"),
        "--set storm.kind=kill_room: storm.kind \"kill_room\" needs servers.mode = \"cluster\": a standalone room is the whole system"
    );
    let second = refusal(GOOD, &["unicast.rate=5", "unicast.window=5"]);
    assert!(second.starts_with("--set unicast.window=5: unicast.rate"), "{second}");
}

/// No key is listed that nobody reads: each complains about a value that no key takes.
#[test]
fn every_key_of_the_list_is_read() {
    let base = |key: &str| match key.split('.').next() {
        Some("devices") => "devices.count=1",
        Some("phases") => "phases.measured_s=1",
        Some("servers")
            if ["rooms", "registers", "savers", "centers", "coordinators", "dispatchers"]
                .iter()
                .any(|c| key.ends_with(c)) =>
        {
            "servers.mode=cluster"
        }
        Some("servers") if ["other_cores", "window"].iter().any(|c| key.ends_with(c)) => "servers.mode=room",
        Some("servers") if ["mode", "cores", "settings"].iter().all(|c| !key.ends_with(c)) => {
            "servers={ mode = 'external', api = ['http://a:1'], dispatcher = 'http://d:1', product = 1, key = 'k' }"
        }
        Some("unicast") if key.ends_with("batch") => "unicast={ rate = 1, via = 'batch' }",
        Some("unicast") if key.ends_with("window") => "unicast={}",
        Some("unicast") => "unicast={ rate = 1 }",
        Some("broadcast") => "broadcast.every_s=1",
        Some("churn") => "churn.share_per_second=0.1",
        Some("uplink") => "uplink.rate=1",
        Some("storm") => "storm.kind=reconnect",
        _ => "description=x",
    };
    for key in KEYS {
        // No text where text is read, and no section where one is read.
        let wrong = match key.name {
            "devices.networks.kind" => "devices.networks=[{ kind = false }]".to_owned(),
            "devices.networks.share" => "devices.networks=[{ kind = 'wifi', share = 'x' }]".to_owned(),
            "devices.networks.heartbeat_s" => {
                "devices.networks=[{ kind = 'wifi', heartbeat_s = 1 }]".to_owned()
            }
            "unicast.payload_bytes.bytes" => "unicast.payload_bytes=[{ share = 1, bytes = 'x' }]".to_owned(),
            "unicast.payload_bytes.share" => "unicast.payload_bytes=[{ share = 'x', bytes = 40 }]".to_owned(),
            name => format!("{name}=[[]]"),
        };
        let refused = refusal(GOOD, &[base(key.name), &wrong]);
        assert!(refused.starts_with(&format!("--set {wrong}: {}", key.name)), "{}: {refused}", key.name);
    }
}
