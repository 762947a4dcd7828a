//! Jobs of the kind `git_sync` after something went wrong: a rollback that failed, a copy that is damaged, files that were written
//! in part. What is right again is deployed by itself, and what is somebody else's stays.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::git::{GitServer, Origin, git_in};
use crate::support::workplace::printed;
use crate::support::{Service, Workplace};

/// A workplace with a job that comes only when it is asked for, and writes down what it deploys.
fn place(url: &str, keys: &str) -> Workplace {
    let place = Workplace::empty();
    declare(&place, url, keys);
    place
}

fn declare(place: &Workplace, url: &str, keys: &str) {
    place.write(
        "jobs.toml",
        &format!(
            "[jobs.app]\nschedule = \"@yearly\"\n[jobs.app.git_sync]\nurl = \"{url}\"\nbranch = \"main\"\nfolder = \"out\"\n{keys}\n\
             deploy = {{ shell = \"echo $CRON_GIT_ROLLBACK$CRON_GIT_COMMIT >> $LOG; test ! -e $FAIL\", env = {{ LOG = \"{0}/log\", FAIL = \"{0}/fail\" }} }}\n",
            place.path().display()
        ),
    );
}

fn local(origin: &Origin) -> String {
    origin.path().display().to_string()
}

fn deployed(place: &Workplace) -> Vec<String> {
    let lines = std::fs::read_to_string(place.file("log")).unwrap_or_default();
    lines.lines().map(str::to_owned).collect()
}

fn run(service: &Service) -> Value {
    service.post("/trigger/app").1
}

fn good(service: &Service) -> Value {
    let done = run(service);
    assert_eq!(done["success"], true, "{done}");
    done
}

fn failed(service: &Service) -> String {
    let done = run(service);
    assert_eq!(done["success"], false, "{done}");
    done["message"].as_str().unwrap().to_owned()
}

fn read(place: &Workplace, path: &str) -> String {
    std::fs::read_to_string(place.file(path)).unwrap_or_else(|error| format!("{path}: {error}"))
}

/// The copy of the repository.
fn copy(place: &Workplace) -> PathBuf {
    let folder = place.file("data/duplistatus-cron.db-git/repositories");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).last().unwrap()
}

fn own(place: &Workplace, name: &str) -> PathBuf {
    let folders = std::fs::read_dir(place.file("data/duplistatus-cron.db-git/folders")).unwrap();
    folders.map(|entry| entry.unwrap().path().join(name)).next().unwrap()
}

/// The name of a ref of the job, in the copy.
fn kept(place: &Workplace, name: &str) -> String {
    let folder = own(place, "");
    format!("refs/folders/{}/{name}", folder.file_name().unwrap().to_string_lossy())
}

/// Changes what the service remembers of the job.
fn remember(place: &Workplace, key: &str, value: Value) {
    let path = own(place, "memory.json");
    let mut memory: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    memory[key] = value;
    std::fs::write(path, memory.to_string()).unwrap();
}

#[test]
fn after_a_rollback_that_failed_whatever_comes_next_is_deployed() {
    let origin = Origin::new(&[("page", "1")]);
    let place = place(&local(&origin), "on_failure = \"rollback\"");
    let service = place.start();
    good(&service);
    let first = origin.git(&["rev-parse", "HEAD"]);
    let bad = origin.commit(&[("page", "2")]);
    place.write("fail", "");
    let why = failed(&service);
    assert!(
        why.contains("rolling back to commit ") && why.contains(" failed as well: "),
        "{why}"
    );
    let again = failed(&service);
    assert!(again.contains(" failed as well: "), "{again}");
    assert_eq!(
        deployed(&place),
        [first.clone(), bad.clone(), format!("1{first}"), format!("1{first}")]
    );
    std::fs::remove_file(place.file("fail")).unwrap();
    // The same files as before, which were deployed well once, and then not.
    origin.git(&["revert", "--no-edit", "HEAD"]);
    let reverted = origin.git(&["rev-parse", "HEAD"]);
    assert_eq!(good(&service)["statistics"]["deployed"], true);
    assert_eq!(deployed(&place).last(), Some(&reverted));
    assert_eq!(good(&service)["statistics"]["deployed"], false);
}

#[test]
fn what_was_rolled_back_is_not_tried_again_by_a_commit_that_changes_something_else() {
    let origin = Origin::new(&[("blog/page", "1"), ("shop/page", "1")]);
    let place = place(&local(&origin), "paths = [\"./blog/\"]\non_failure = \"rollback\"");
    let service = place.start();
    good(&service);
    origin.commit(&[("blog/page", "bad")]);
    place.write("fail", "");
    failed(&service);
    std::fs::remove_file(place.file("fail")).unwrap();
    failed(&service);
    let before = deployed(&place).len();
    for number in 0..3 {
        origin.commit(&[("shop/page", &number.to_string())]);
        assert!(failed(&service).contains("will not be tried again"));
    }
    // Nor when another one was rolled back in between.
    origin.commit(&[("blog/page", "worse")]);
    place.write("fail", "");
    failed(&service);
    std::fs::remove_file(place.file("fail")).unwrap();
    origin.commit(&[("blog/page", "bad")]);
    assert!(failed(&service).contains("will not be tried again"));
    assert!(deployed(&place).len() <= before + 3);
    origin.commit(&[("blog/page", "good")]);
    good(&service);
}

#[test]
fn another_deployment_is_run_though_the_repository_is_the_same() {
    let origin = Origin::new(&[("page", "1")]);
    let place = place(&local(&origin), "");
    let service = place.start();
    good(&service);
    let declared = read(&place, "jobs.toml");
    place.write("jobs.toml", &declared.replace("echo $CRON", "echo changed $CRON"));
    service.post("/reload-config");
    assert_eq!(good(&service)["statistics"]["deployed"], true);
    assert_eq!(deployed(&place).len(), 2);
    assert_eq!(good(&service)["statistics"]["deployed"], false);
    // Another name is nothing new.
    place.write(
        "jobs.toml",
        &read(&place, "jobs.toml").replace("jobs.app", "jobs.renamed"),
    );
    service.post("/reload-config");
    let (_, done) = service.post("/trigger/renamed");
    assert_eq!(done["statistics"]["deployed"], false, "{done}");
}

#[test]
fn what_programs_do_to_files_is_undone() {
    for layout in ["releases", "in_place"] {
        let origin = Origin::new(&[("page", "1"), ("setting", "@A@"), ("edit", "")]);
        let place = Workplace::empty();
        let tree = if layout == "releases" { "out/current" } else { "out" };
        place.write(
            "jobs.toml",
            &format!(
                "[jobs.app]\nschedule = \"@yearly\"\n[jobs.app.git_sync]\nurl = \"{}\"\nbranch = \"main\"\nfolder = \"out\"\n\
                 layout = \"{layout}\"\non_failure = \"rollback\"\ncheck = {{ shell = \"echo fatal: git not a git repository corrupt; test ! -e refuse\" }}\n\
                 deploy = {{ shell = \"cat setting; echo changed > setting; test ! -e bad\" }}\n",
                local(&origin)
            ),
        );
        let service = place.start();
        good(&service);
        let told = run(&service);
        assert_eq!(told["success"], true, "{told}");
        origin.commit(&[("page", "2"), ("bad", "")]);
        let why = failed(&service);
        assert!(why.contains("rolled back to commit "), "{layout}: {why}");
        assert_eq!(read(&place, &format!("{tree}/page")), "1");
        let shown = service.newest("app");
        let output = shown["output"].as_str().unwrap();
        assert_eq!(
            output.matches("@A@").count(),
            2,
            "{layout}: both had the file as it is committed: {output}"
        );
        assert_eq!(output.matches("fatal").count(), 1, "it is checked once");
        std::fs::remove_file(origin.file("bad")).unwrap();
        origin.commit(&[("page", "3")]);
        good(&service);
        // What somebody does afterwards is theirs.
        if layout == "in_place" {
            place.write("out/setting", "by hand");
            origin.commit(&[("page", "4")]);
            assert!(failed(&service).contains("edited by hand: setting"));
        }
    }
}

#[test]
fn other_paths_are_another_declaration() {
    let origin = Origin::new(&[("blog", "1"), ("shop", "1")]);
    let place = place(&local(&origin), "paths = [\"blog\"]");
    let service = place.start();
    good(&service);
    origin.commit(&[("shop", "2")]);
    assert_eq!(good(&service)["statistics"]["deployed"], false);
    declare(&place, &local(&origin), "paths = [\"shop\", \"blog\"]");
    service.post("/reload-config");
    assert_eq!(good(&service)["statistics"]["deployed"], true);
    assert_eq!(read(&place, "out/current/shop"), "2");
}

#[test]
fn a_check_is_told_what_it_checks() {
    let origin = Origin::new(&[("one", "1")]);
    let place = place(&local(&origin), "check = { shell = \"cat $CRON_GIT_CHANGES\" }");
    let service = place.start();
    for name in ["one", "two", "three"] {
        origin.commit(&[(name, "2")]);
        good(&service);
        let shown = service.newest("app");
        assert_eq!(shown["output"], format!("{name}\n"));
    }
    // What was fetched can be fetched again.
    service.terminate();
    std::fs::remove_dir_all(copy(&place)).unwrap();
    origin.commit(&[("four", "4")]);
    let service = place.start();
    assert_eq!(good(&service)["statistics"]["changed"], 1);
}

#[test]
fn a_copy_that_is_damaged_in_any_way_is_mended() {
    let origin = Origin::new(&[("page", "0"), ("other", &"x".repeat(2000))]);
    let place = place(&local(&origin), "");
    let service = place.start();
    good(&service);
    for (number, name) in [
        "shallow.lock",
        &(kept(&place, "seen") + ".lock"),
        "config.lock",
        "objects/pack/tmp_pack_x",
    ]
    .iter()
    .enumerate()
    {
        std::fs::write(copy(&place).join(name), "").unwrap();
        origin.commit(&[("page", &format!("lock {number}"))]);
        good(&service);
        assert!(!copy(&place).join(name).exists(), "{name}");
    }
    std::fs::write(copy(&place).join(kept(&place, "seen")), "garbage").unwrap();
    origin.commit(&[("page", "reference")]);
    good(&service);
    for entry in std::fs::read_dir(copy(&place).join("objects/pack")).unwrap().flatten() {
        if entry.path().extension().is_some_and(|end| end == "pack") {
            let mut pack = std::fs::read(entry.path()).unwrap();
            let middle = pack.len() / 2;
            pack[middle..].fill(0);
            std::fs::remove_file(entry.path()).unwrap();
            std::fs::write(entry.path(), pack).unwrap();
        }
    }
    origin.commit(&[("page", "pack")]);
    good(&service);
    assert_eq!(read(&place, "out/current/page"), "pack");
    std::fs::write(copy(&place).join("HEAD"), "").unwrap();
    origin.commit(&[("page", "head")]);
    good(&service);
    assert_eq!(read(&place, "out/current/page"), "head");
}

#[test]
fn in_place_locks_that_were_left_and_an_index_that_is_lost_stop_nothing() {
    let origin = Origin::new(&[("page", "0"), ("other", "0")]);
    let place = place(&local(&origin), "layout = \"in_place\"");
    let service = place.start();
    good(&service);
    for (number, name) in ["index.lock", "new-index.lock"].iter().enumerate() {
        std::fs::write(own(&place, name), "").unwrap();
        origin.commit(&[("page", &format!("lock {number}"))]);
        good(&service);
    }
    let whole = std::fs::read(own(&place, "index")).unwrap();
    for content in [
        None,
        Some(&b""[..]),
        Some(b"garbage"),
        Some(&whole[..50]),
        Some(&whole[..120]),
    ] {
        match content {
            None => std::fs::remove_file(own(&place, "index")).unwrap(),
            Some(content) => std::fs::write(own(&place, "index"), content).unwrap(),
        }
        good(&service);
        origin.commit(&[("page", &format!("{content:?}"))]);
        good(&service);
        assert_eq!(read(&place, "out/page"), format!("{content:?}"));
    }
}

#[test]
fn in_place_a_commit_that_was_written_in_part_is_finished_and_leaves_nothing_behind() {
    let origin = Origin::new(&[("page", "0"), ("same", "0")]);
    let place = place(&local(&origin), "layout = \"in_place\"");
    let service = place.start();
    good(&service);
    // As a power cut leaves it: one file whole, one in part, one not yet; what git knows is the commit before.
    let torn = origin.commit(&[
        ("page", "written whole"),
        ("conf.d/a", "some text"),
        ("conf.d/b", "more text"),
    ]);
    git_in(
        &copy(&place),
        &[
            "fetch",
            "--quiet",
            &local(&origin),
            &format!("+refs/heads/main:{}", kept(&place, "published")),
        ],
    );
    std::fs::write(place.file("out/page"), "written whole").unwrap();
    std::fs::create_dir(place.file("out/conf.d")).unwrap();
    std::fs::write(place.file("out/conf.d/a"), "some").unwrap();
    remember(&place, "publishing", json!(torn));
    origin.git(&["rm", "-r", "--quiet", "conf.d"]);
    origin.commit(&[("page", "newer")]);
    good(&service);
    assert_eq!(read(&place, "out/page"), "newer");
    assert!(
        !place.file("out/conf.d").exists(),
        "nothing is left of a commit that was never whole"
    );
    // What somebody has written meanwhile is no part of it.
    let torn = origin.commit(&[("page", "newest"), ("same", "1")]);
    remember(&place, "publishing", json!(torn));
    std::fs::write(place.file("out/same"), "by hand").unwrap();
    let why = failed(&service);
    assert!(why.contains("edited by hand: same"), "{why}");
    assert_eq!(read(&place, "out/same"), "by hand");
}

#[test]
fn files_are_written_as_they_are_committed() {
    let origin = Origin::new(&[(".gitattributes", "*.bat text eol=crlf\n*.id ident\n")]);
    // Past git's own conversions.
    for (name, text) in [("x.bat", "a\r\nb\r\n"), ("x.id", "$Id: old $\n")] {
        let path = origin.file(&format!(".git/{name}"));
        std::fs::write(&path, text).unwrap();
        let object = origin.git(&["hash-object", "-w", "--no-filters", path.to_str().unwrap()]);
        origin.git(&[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("100644,{object},{name}"),
        ]);
    }
    origin.commit_index();
    let place = place(&local(&origin), "layout = \"in_place\"");
    let service = place.start();
    good(&service);
    assert_eq!(read(&place, "out/x.bat"), "a\r\nb\r\n");
    assert_eq!(read(&place, "out/x.id"), "$Id: old $\n");
    let object = origin.git(&["rev-parse", "HEAD:.gitattributes"]);
    origin.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("100644,{object},another"),
    ]);
    origin.commit_index();
    good(&service);
}

#[test]
fn a_proxy_is_not_told_what_is_for_this_machine() {
    let origin = Origin::new(&[("page", "1")]);
    let (server, proxy) = (GitServer::start(origin.root()), GitServer::start(origin.root()));
    let url = format!("http://127.0.0.1:{}/{}", server.port, origin.name());
    let place = place(&url, "");
    let proxy_url = format!("http://127.0.0.1:{}", proxy.port);
    let service = place
        .service()
        .env("http_proxy", &proxy_url)
        .env("ALL_PROXY", &proxy_url)
        .start();
    good(&service);
    assert!(proxy.requests().is_empty());
}

#[test]
fn hosts_that_are_named_wrong_are_told() {
    let place = place("https://git.example.org/a", "");
    let declared = read(&place, "jobs.toml");
    for (host, why) in [
        (
            "git.exmaple.org",
            "no job fetches from it; did you mean `git.example.org`?",
        ),
        (
            "git.example.org:8443",
            "no job fetches from it; the port belongs to the name: `git.example.org`",
        ),
        ("https://git.example.org", "is not a host"),
    ] {
        let (_, said) = place.validate(&format!(
            "[git_hosts.\"{host}\"]\ntoken = \"a-token-0f-it\"\n{declared}"
        ));
        assert!(said.contains(why), "{host}: {said}");
    }
    let origin = Origin::new(&[("page", "1")]);
    let server = GitServer::start(origin.root());
    server.behave(crate::support::git::Manner::Login("bm9ib2R5"));
    declare(
        &place,
        &format!("http://127.0.0.1:{}/{}", server.port, origin.name()),
        "",
    );
    let (_, said) = printed(&place.run(&["plan"]));
    let wanted = format!(
        "127.0.0.1:{0} asks for a credential; [git_hosts.\"127.0.0.1:{0}\"] with a `token`",
        server.port
    );
    assert!(said.contains(&wanted), "{said}");
}
