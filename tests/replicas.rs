//! Several replicas on one state: one leads, each time is fired once by one of them, and none is lost, whatever happens to
//! the leader, the clocks, the network and the database. A table without any constraint is the witness.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::crashes::kills;
use crate::support::browser::{Browser, page};
use crate::support::postgres::Server;
use crate::support::relay::Relay;
use crate::support::{Service, Workplace, eventually};

/// A job each second whose runs may overlap and are not caught up, and one whose runs wait for each other.
const JOBS: &str = r#"
[server]
port = 0
shutdown_grace = "2s"
[state]
url = "URL"
[databases.app]
url = "URL"
[jobs.tick]
schedule = "* * * * * *"
catch_up = "none"
concurrency_policy = "allow"
max_running = 100
[jobs.tick.sql]
statement = "INSERT INTO witness VALUES (:job, :scheduled_at)"
tables = ["witness"]
[jobs.tock]
schedule = "*/2 * * * * *"
catch_up = "all"
[jobs.tock.sql]
statement = "INSERT INTO witness VALUES (:job, :scheduled_at)"
tables = ["witness"]
"#;

/// So many faults happen at the same time.
const AT_ONCE: usize = 4;

/// A database on a server, with the witness in it.
struct Cluster {
    server: Arc<Server>,
    database: String,
}

/// A replica with its working directory.
struct Replica {
    service: Service,
    _place: Workplace,
}

impl Cluster {
    fn new(server: Arc<Server>) -> Self {
        let database = server.database();
        server.sql(&database, "CREATE TABLE witness (job text, at timestamptz)");
        Self { server, database }
    }

    fn url(&self) -> String {
        self.server.url("postgres", &self.database)
    }

    fn place(&self, declaration: &str) -> Workplace {
        let place = Workplace::empty();
        place.write("jobs.toml", &declaration.replace("URL", &self.url()));
        place
    }

    fn start(&self) -> Replica {
        self.start_with(JOBS)
    }

    fn start_with(&self, declaration: &str) -> Replica {
        let place = self.place(declaration);
        Replica {
            service: place.start(),
            _place: place,
        }
    }

    fn sql(&self, statements: &str) -> String {
        self.server.sql(&self.database, statements)
    }

    /// How many times of `tick` have run since the last one that had when this was called.
    fn wait_for_ticks(&self, count: u32) {
        let newest = "SELECT coalesce(max(at), '-infinity') FROM witness WHERE job = 'tick'";
        let before = self.sql(newest);
        let since = format!("SELECT count(*) >= {count} FROM witness WHERE job = 'tick' AND at > '{before}'");
        eventually("jobs to run", || (self.sql(&since) == "t").then_some(()));
    }

    /// Nothing ran twice, no time is missing from the ledger, and what did not run is said to have been cut off, or not to be
    /// known.
    fn check(&self) {
        let twice = self.sql("SELECT job, at, count(*) FROM witness GROUP BY 1, 2 HAVING count(*) > 1");
        assert_eq!(twice, "", "ran twice");
        let ledger = "(SELECT job, to_timestamp(scheduled_at / 1000) AS at, status, coalesce(error, '') AS error FROM duplistatus_cron.runs WHERE trigger IN ('schedule', 'catch_up')) AS ledger";
        let gaps = self.sql(&format!(
            "SELECT job, at, next FROM (SELECT job, at, lead(at) OVER (PARTITION BY job ORDER BY at) AS next FROM {ledger}) AS all_times
             WHERE next - at > CASE job WHEN 'tick' THEN interval '1 s' ELSE interval '2 s' END"
        ));
        assert_eq!(gaps, "", "times are missing");
        let is_known = "error NOT LIKE '%whether the statement was carried out is not known'";
        let untrue = self.sql(&format!(
            "SELECT job, at, status FROM {ledger} FULL JOIN (SELECT * FROM witness WHERE at = date_trunc('second', at)) AS witness USING (job, at)
             WHERE (status = 'success') <> (witness IS NOT NULL) AND status NOT IN ('interrupted', 'running', 'queued') AND {is_known}
                 OR status IS NULL"
        ));
        assert_eq!(untrue, "", "the history is not what happened");
        let lost = self.sql(&format!(
            "SELECT job, at, status, error FROM {ledger} WHERE status NOT IN ('success', 'interrupted', 'running', 'queued')
             AND (job, error) <> ('tock', 'the previous run was still in progress') AND {is_known}"
        ));
        assert_eq!(lost, "", "did not run");
        // No more than what was under way when a term ended.
        let cut_off = self.sql(&format!(
            "SELECT count(*) FILTER (WHERE status = 'interrupted') <= 10 * (SELECT term FROM duplistatus_cron.leader) FROM {ledger}"
        ));
        assert_eq!(cut_off, "t", "many were cut off");
    }
}

impl Replica {
    fn signal(&self, name: &str) {
        self.service.signal(name);
    }
}

fn role(service: &Service) -> String {
    service.health()["role"].as_str().unwrap_or_default().to_owned()
}

/// The replica that leads, and one that does not.
fn by_role(replicas: Vec<Replica>) -> (Replica, Vec<Replica>) {
    let leader = eventually("one to lead", || {
        let leads = |replica: &Replica| role(&replica.service) == "leader";
        replicas.iter().position(leads)
    });
    let mut others = replicas;
    let leader = others.swap_remove(leader);
    (leader, others)
}

/// How long it takes until `service` leads.
fn until_leading(service: &Service) -> Duration {
    let began = Instant::now();
    eventually("the other one to lead", || (role(service) == "leader").then_some(()));
    began.elapsed()
}

#[test]
fn one_leads_the_other_passes_on_what_it_is_asked_and_takes_over() {
    let cluster = Cluster::new(Server::shared());
    let (leader, others) = by_role(vec![cluster.start(), cluster.start()]);
    let standby = &others[0].service;
    cluster.wait_for_ticks(3);
    let health = standby.health();
    assert_eq!(
        (&health["role"], &health["status"]),
        (&"standby".into(), &"ok".into()),
        "{health}"
    );
    assert_eq!(health["leader"]["name"], leader.service.health()["replica"], "{health}");
    assert_eq!(health["replicas"].as_array().unwrap().len(), 2, "{health}");
    let (_, overview) = standby.get("/api/overview");
    assert_eq!(
        overview["jobs"][0]["runs"].as_array().unwrap().len().min(3),
        3,
        "{overview}"
    );
    // What is asked of the standby, the leader does.
    let (status, run) = standby.post("/trigger/tick");
    assert_eq!((status, &run["success"]), (200, &true.into()), "{run}");
    assert_eq!(
        cluster.sql("SELECT count(*) FROM duplistatus_cron.runs WHERE trigger = 'manual' AND status = 'success'"),
        "1"
    );
    assert_eq!(standby.post("/trigger/none").0, 404);
    assert_eq!(standby.post("/stop/tock").0, 200);
    let tock = |service: &Service| {
        let jobs = service.get("/api/schedules").1["jobs"].as_array().unwrap().clone();
        jobs.iter().find(|job| job["id"] == "tock").unwrap()["active"].clone()
    };
    assert_eq!(tock(&leader.service), false);
    eventually("the standby to show that", || (tock(standby) == false).then_some(()));
    assert_eq!(standby.post("/start/tock").0, 200);
    assert_eq!(tock(&leader.service), true);
    let restarted = cluster.sql("SELECT now()");
    // Rows that nobody could have written keep nobody from leading.
    cluster.sql(
        "INSERT INTO duplistatus_cron.replicas VALUES ('evil', '<b>', '', '', 'infinity', now() + interval '1 hour');
         UPDATE duplistatus_cron.leader SET since = '-infinity'",
    );
    let (status, answer) = standby.post("/reload-config");
    assert_eq!(status, 200, "{answer}");
    // An orderly end.
    let ended = std::thread::spawn(move || leader.service.terminate());
    assert!(until_leading(standby) < Duration::from_secs(6), "it takes over at once");
    ended.join().unwrap();
    cluster.wait_for_ticks(2);
    let other = cluster.start();
    eventually("the new one to stand by", || {
        (role(&other.service) == "standby").then_some(())
    });
    let (leader, others) = (others.into_iter().next().unwrap(), vec![other]);
    // A sudden one.
    leader.service.kill();
    let after = until_leading(&others[0].service);
    assert!(after < Duration::from_secs(15), "{after:?}");
    cluster.wait_for_ticks(2);
    cluster.wait_for_ticks(1);
    // While it was stopped, it had no times.
    cluster.sql(&format!(
        "DELETE FROM duplistatus_cron.runs WHERE job = 'tock' AND scheduled_at <= extract(epoch FROM '{restarted}'::timestamptz) * 1000;
         DELETE FROM witness WHERE job = 'tock' AND at <= '{restarted}'"
    ));
    cluster.check();
}

#[test]
fn kills_of_the_leader_lose_and_repeat_nothing() {
    let cluster = Cluster::new(Server::shared());
    let mut replicas = vec![cluster.start(), cluster.start()];
    let mut longest = Duration::ZERO;
    for _ in 0..kills(2) {
        let (leader, others) = by_role(replicas);
        cluster.wait_for_ticks(1);
        leader.service.kill();
        longest = longest.max(until_leading(&others[0].service));
        replicas = others;
        replicas.push(cluster.start());
    }
    assert!(longest < Duration::from_secs(15), "{longest:?}");
    cluster.wait_for_ticks(2);
    cluster.check();
}

/// What happens to a service that two replicas share.
type Fault = fn(&Cluster);

#[test]
fn no_fault_has_a_time_run_twice_or_lost() {
    let faults: &[(&str, Fault)] = &[
        ("a leader that sleeps", sleeps),
        ("a leader that is cut off", is_cut_off),
        ("a leader that hears nothing", hears_nothing),
        ("a leader that sleeps in a cleanup", sleeps_in_a_cleanup),
        ("commits that nobody confirms", unconfirmed),
        ("a failover that loses nothing", fails_over_in_step),
        ("a failover that loses what was confirmed", fails_over_behind),
        ("a database that is restarted", restarts),
        ("a database that crashes", crashes),
        ("clocks that are wrong", wrong_clocks),
        ("a clock that is set", clock_set),
        ("a way that is slow", slow_way),
        ("four starts at once", four_starts),
        ("no room for connections", no_room),
        ("a pooler", pooled),
    ];
    let suffer = |name: &str, fault: Fault| {
        let alone = ["restarted", "crashes", "room", "failover"];
        let own = alone.iter().any(|word| name.contains(word));
        let server = if own { Arc::new(Server::new()) } else { Server::shared() };
        fault(&Cluster::new(server));
    };
    // Of all at once, none would get enough of the processor.
    let next = AtomicUsize::new(0);
    let work = || {
        let faults = std::iter::from_fn(|| faults.get(next.fetch_add(1, Ordering::Relaxed)));
        let fails = |(name, fault): &&(&str, Fault)| catch_unwind(|| suffer(name, *fault)).is_err();
        faults.filter(fails).map(|(name, _)| *name).collect::<Vec<_>>()
    };
    let failed: Vec<&str> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "{failed:?}");
}

fn sleeps(cluster: &Cluster) {
    let (leader, others) = by_role(vec![cluster.start(), cluster.start()]);
    cluster.wait_for_ticks(2);
    leader.signal("STOP");
    let took = until_leading(&others[0].service);
    assert!(took < Duration::from_secs(15), "{took:?}");
    cluster.wait_for_ticks(3);
    leader.signal("CONT");
    eventually("it to stand by", || (role(&leader.service) == "standby").then_some(()));
    cluster.wait_for_ticks(3);
    cluster.check();
}

fn is_cut_off(cluster: &Cluster) {
    cut_off(cluster, Relay::cut);
}

fn hears_nothing(cluster: &Cluster) {
    cut_off(cluster, Relay::cut_answers);
}

fn cut_off(cluster: &Cluster, cut: fn(&Relay)) {
    let relay = Relay::to(cluster.server.port);
    let far = cluster.server.port.to_string();
    let place = Workplace::empty();
    place.write(
        "jobs.toml",
        &JOBS.replace("URL", &cluster.url().replace(&far, &relay.port.to_string())),
    );
    let service = place.start();
    eventually("it to lead", || (role(&service) == "leader").then_some(()));
    let other = cluster.start();
    cluster.wait_for_ticks(2);
    cut(&relay);
    let took = until_leading(&other.service);
    assert!(took < Duration::from_secs(15), "{took:?}");
    cluster.wait_for_ticks(3);
    relay.heal();
    eventually("it to stand by", || (role(&service) == "standby").then_some(()));
    cluster.wait_for_ticks(3);
    cluster.check();
}

fn restarts(cluster: &Cluster) {
    away(cluster, "fast");
}

fn crashes(cluster: &Cluster) {
    away(cluster, "immediate");
}

fn away(cluster: &Cluster, mode: &str) {
    let replicas = vec![cluster.start(), cluster.start()];
    for _ in 0..3 {
        cluster.wait_for_ticks(2);
        cluster.server.stop(mode);
        std::thread::sleep(Duration::from_secs(1));
        cluster.server.start();
    }
    cluster.wait_for_ticks(3);
    drop(replicas);
    cluster.check();
}

fn wrong_clocks(cluster: &Cluster) {
    let fast = cluster.place(JOBS);
    let slow = cluster.place(JOBS);
    let shifted = |place: &Workplace, by: &str| place.service().with_clock(by).start();
    let (fast_one, slow_one) = (shifted(&fast, "+600"), shifted(&slow, "-86400"));
    cluster.wait_for_ticks(3);
    let (leader, other) = if role(&fast_one) == "leader" {
        (fast_one, slow_one)
    } else {
        (slow_one, fast_one)
    };
    let reasons = other.health()["reasons"].to_string();
    assert!(reasons.contains("this machine's clock is"), "{reasons}");
    leader.kill();
    until_leading(&other);
    cluster.wait_for_ticks(3);
    cluster.check();
}

fn clock_set(cluster: &Cluster) {
    let place = cluster.place(JOBS);
    let offset = place.path().join("offset");
    place.write("offset", "+0");
    let service = place
        .service()
        .with_clock("+0")
        .without("FAKETIME")
        .env("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap())
        .env("FAKETIME_NO_CACHE", "1")
        .start();
    cluster.wait_for_ticks(3);
    for seconds in ["+600", "-600", "+86400", "+0"] {
        place.write("offset", seconds);
        cluster.wait_for_ticks(3);
    }
    drop(service);
    cluster.check();
}

fn slow_way(cluster: &Cluster) {
    let relay = Relay::to(cluster.server.port);
    let (here, there) = (cluster.server.port.to_string(), relay.port.to_string());
    let replica = cluster.start_with(&JOBS.replacen("URL", &cluster.url().replace(&here, &there), 1));
    cluster.wait_for_ticks(2);
    // A look at the lease takes longer than anybody waits for it.
    relay.delay_lease(800);
    let term = || cluster.sql("SELECT term FROM duplistatus_cron.leader");
    cluster.sql("UPDATE duplistatus_cron.leader SET term = 10");
    eventually("it to take the lease again", || (term() == "11").then_some(()));
    cluster.wait_for_ticks(12);
    assert_eq!(term(), "11", "it does not have to take it again");
    drop(replica);
    cluster.check();
}

fn four_starts(cluster: &Cluster) {
    let replicas: Vec<Replica> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..4).map(|_| scope.spawn(|| cluster.start())).collect();
        started.into_iter().map(|replica| replica.join().unwrap()).collect()
    });
    cluster.wait_for_ticks(2);
    let leaders = || {
        replicas
            .iter()
            .filter(|replica| role(&replica.service) == "leader")
            .count()
    };
    assert_eq!(leaders(), 1);
    eventually("all to see each other", || {
        let seen = |replica: &Replica| replica.service.health()["replicas"].as_array().unwrap().len() == 4;
        replicas.iter().all(seen).then_some(())
    });
    cluster.check();
}

fn no_room(cluster: &Cluster) {
    cluster.sql(&format!(
        "CREATE ROLE cron LOGIN; GRANT ALL ON DATABASE {} TO cron; GRANT ALL ON witness TO cron",
        cluster.database
    ));
    let declaration = JOBS.replace("URL", &cluster.server.url("cron", &cluster.database));
    let replicas = [cluster.start_with(&declaration), cluster.start_with(&declaration)];
    cluster.wait_for_ticks(2);
    cluster.sql("ALTER ROLE cron CONNECTION LIMIT 0; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'cron'");
    eventually("that to be told", || {
        let reasons = replicas[0].service.health()["reasons"].to_string();
        reasons.contains("has no connection left").then_some(())
    });
    cluster.sql("ALTER ROLE cron CONNECTION LIMIT -1");
    cluster.wait_for_ticks(3);
    cluster.check();
}

fn pooled(cluster: &Cluster) {
    let (port, _pooler) = cluster.server.pooler();
    let through = cluster
        .url()
        .replace(&cluster.server.port.to_string(), &port.to_string());
    let declaration = JOBS.replacen("URL", &through, 1);
    let (leader, others) = by_role(vec![cluster.start_with(&declaration), cluster.start_with(&declaration)]);
    cluster.wait_for_ticks(3);
    leader.service.kill();
    until_leading(&others[0].service);
    cluster.wait_for_ticks(3);
    cluster.check();
    let place = cluster.place(&JOBS.replace("URL", &through));
    let (_, said) = crate::support::workplace::printed(&place.run(&["validate"]));
    assert!(said.contains("connection pooler"), "{said}");
}

fn sleeps_in_a_cleanup(cluster: &Cluster) {
    const CLEANUP: &str = r#"
[jobs.tidy]
schedule = "@yearly"
[jobs.tidy.cleanup]
delete_from = "metrics"
where = "id < 1000000"
max_share = 1
lock_budget = "1ms"
"#;
    cluster.sql("CREATE TABLE metrics (id int); INSERT INTO metrics SELECT generate_series(1, 999999)");
    let declaration = format!("{JOBS}{CLEANUP}");
    let (leader, others) = by_role(vec![cluster.start_with(&declaration), cluster.start_with(&declaration)]);
    leader.service.post("/trigger/tidy?wait=false");
    let left = || cluster.sql("SELECT count(*) FROM metrics").parse::<u32>().unwrap();
    eventually("rows to go", || (left() < 990_000).then_some(()));
    leader.signal("STOP");
    until_leading(&others[0].service);
    let there = left();
    assert!(there > 0, "it was in the middle");
    let history = eventually("it to be told", || {
        let newest = others[0].service.newest("tidy");
        (newest["status"] == "interrupted").then_some(newest)
    });
    leader.signal("CONT");
    eventually("it to stand by", || (role(&leader.service) == "standby").then_some(()));
    cluster.wait_for_ticks(3);
    assert_eq!(left(), there, "nothing went after it had slept");
    assert_eq!(others[0].service.newest("tidy"), history, "nothing is written over");
    cluster.check();
}

fn unconfirmed(cluster: &Cluster) {
    let relay = Relay::to(cluster.server.port);
    let (here, there) = (cluster.server.port.to_string(), relay.port.to_string());
    // The state alone is reached that way.
    let declaration = JOBS.replacen("URL", &cluster.url().replace(&here, &there), 1);
    let replicas = [cluster.start_with(&declaration), cluster.start_with(&declaration)];
    cluster.wait_for_ticks(2);
    relay.break_commits(3);
    eventually("commits to break", || (relay.commits() > 60).then_some(()));
    relay.break_commits(0);
    cluster.wait_for_ticks(3);
    let log = replicas.iter().flat_map(|replica| replica.service.log());
    assert!(
        log.into_iter().any(|line| line.contains("finding out whether it was")),
        "some were not confirmed"
    );
    cluster.check();
}

fn fails_over_in_step(cluster: &Cluster) {
    let (service, lost) = fail_over(cluster, |server, _| {
        server.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
        server.sql("postgres", "SELECT pg_reload_conf()");
    });
    assert_eq!(lost, 0);
    let told = service.health()["reasons"].to_string();
    assert!(!told.contains("has lost changes"), "{told}");
}

fn fails_over_behind(cluster: &Cluster) {
    let (service, lost) = fail_over(cluster, |server, standby| {
        standby.sql("postgres", "ALTER SYSTEM SET primary_conninfo = ''");
        standby.sql("postgres", "SELECT pg_reload_conf()");
        eventually("the standby to be on its own", || {
            let cut = standby.sql("postgres", "SELECT count(*) = 0 FROM pg_stat_wal_receiver");
            (cut == "t").then_some(())
        });
        wait_for_renewals(server, &cluster.database, 1);
    });
    assert!(lost > 0);
    let told = service.health()["reasons"].to_string();
    assert!(told.contains("has lost changes that it had confirmed"), "{told}");
}

/// Waits until the leader has renewed its lease so many times.
fn wait_for_renewals(server: &Server, database: &str, count: u32) {
    let renewals = || -> u32 {
        let asked = server.sql(database, "SELECT renewals FROM duplistatus_cron.leader");
        asked.parse().unwrap()
    };
    let before = renewals();
    eventually("the lease to be renewed", || {
        (renewals() >= before + count).then_some(())
    });
}

/// Puts a standby in the place of the server while a replica leads, having prepared both; gives that replica, and how many
/// times of those that have run the standby does not know of. None of them is run again.
fn fail_over(cluster: &Cluster, prepare: impl Fn(&Server, &Server)) -> (Service, usize) {
    let standby = cluster.server.standby();
    let both = format!("127.0.0.1:{},127.0.0.1:{}", cluster.server.port, standby.port);
    let one = format!("127.0.0.1:{}", cluster.server.port);
    let url = format!("{}?target_session_attrs=read-write", cluster.url().replace(&one, &both));
    let place = Workplace::empty();
    place.write("jobs.toml", &JOBS.replace("URL", &url));
    let service = place.start();
    cluster.wait_for_ticks(2);
    prepare(&cluster.server, &standby);
    cluster.wait_for_ticks(4);
    let ran = |server: &Server| -> BTreeSet<String> {
        let witness = server.sql(&cluster.database, "SELECT job, at FROM witness");
        witness.lines().map(str::to_owned).collect()
    };
    let before = ran(&cluster.server);
    let lost: BTreeSet<String> = before.difference(&ran(&standby)).cloned().collect();
    cluster.server.stop("immediate");
    standby.sql("postgres", "SELECT pg_promote()");
    let after = Cluster {
        server: Arc::new(standby),
        database: cluster.database.clone(),
    };
    after.wait_for_ticks(4);
    // What a first look at this server has shown is told by the time of a second.
    wait_for_renewals(&after.server, &after.database, 2);
    let again: Vec<String> = ran(&after.server).intersection(&lost).cloned().collect();
    assert!(again.is_empty(), "ran again: {again:?}");
    let twice = after.sql("SELECT job, at, count(*) FROM witness GROUP BY 1, 2 HAVING count(*) > 1");
    assert_eq!(twice, "");
    (service, lost.len())
}

#[test]
fn the_page_of_a_standby_shows_the_leader_and_goes_on_when_it_is_gone() {
    const QUIET: &str = r#"
[server]
port = 0
[state]
url = "URL"
[jobs.say]
schedule = "@yearly"
command = { argv = ["echo", "said"] }
"#;
    let cluster = Cluster::new(Server::shared());
    let (leader, others) = by_role(vec![cluster.start_with(QUIET), cluster.start_with(QUIET)]);
    let standby = &others[0].service;
    let browser = Browser::at(standby, "#/service");
    let shown = |wanted: &str| {
        eventually(&format!("`{wanted}` among the replicas"), || {
            browser.text("#replicas").contains(wanted).then_some(())
        });
    };
    let name = leader.service.health()["replica"].as_str().unwrap().to_owned();
    shown(&format!("{name}: leads;"));
    shown("this one, stands by");
    browser.open(&page(standby, ""));
    let run = "[data-job='say'] button[aria-label='Run say']";
    browser.until("the button", &format!("return document.querySelector(\"{run}\")"));
    browser.click(run);
    browser.until("the question", "return document.querySelector('#sure').open");
    browser.js("document.querySelector('#sure button[value=yes]').click()");
    eventually("the run to be shown", || {
        browser.text("[data-job='say'] .state").contains("ok").then_some(())
    });
    leader.service.kill();
    browser.open(&page(standby, "#/service"));
    shown("this one, leads");
    // While nobody led, it was told so.
    let said = browser
        .console()
        .into_iter()
        .filter(|entry| !entry.contains("status of 503"));
    assert_eq!(said.collect::<Vec<_>>(), Vec::<String>::new());
}
