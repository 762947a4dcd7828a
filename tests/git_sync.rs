//! Jobs of the kind `git_sync`: what they fetch, publish and deploy, whom they trust, and that nothing is lost on the way.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::git::{GitServer, Manner, Origin, Ssh, git_daemon};
use crate::support::workplace::printed;
use crate::support::{Service, Workplace, eventually};

/// A job that comes only when it is asked for.
fn job(id: &str, url: &str, keys: &str) -> String {
    format!(
        "[jobs.{id}]\nschedule = \"@yearly\"\n[jobs.{id}.git_sync]\nurl = \"{url}\"\nbranch = \"main\"\nfolder = \"out/{id}\"\n{keys}\n"
    )
}

/// A deployment that writes down each of its runs.
const DEPLOY: &str =
    "deploy = { shell = \"echo $CRON_GIT_COMMIT >> $DEPLOYED; test ! -e bad\", env = { DEPLOYED = \"/LOG\" } }";

fn deploy(place: &Workplace) -> String {
    DEPLOY.replace("/LOG", &place.file("deployed").display().to_string())
}

/// The commits that were deployed, in order.
fn deployed(place: &Workplace) -> Vec<String> {
    let lines = std::fs::read_to_string(place.file("deployed")).unwrap_or_default();
    lines.lines().map(str::to_owned).collect()
}

fn place(declaration: &str) -> Workplace {
    let place = Workplace::empty();
    place.write("jobs.toml", declaration);
    place
}

/// What a line of shell prints.
fn said(line: &str) -> String {
    let done = Command::new("sh").args(["-c", line]).output().unwrap();
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// Runs the job; gives what came of it.
fn run(service: &Service, job: &str) -> Value {
    service.post(&format!("/trigger/{job}")).1
}

fn good(service: &Service, job: &str) -> Value {
    let done = run(service, job);
    assert_eq!(done["success"], true, "{done}");
    done
}

fn failed(service: &Service, job: &str) -> String {
    let done = run(service, job);
    assert_eq!(done["success"], false, "{done}");
    done["message"].as_str().unwrap().to_owned()
}

fn read(place: &Workplace, path: &str) -> String {
    std::fs::read_to_string(place.file(path)).unwrap_or_else(|error| format!("{path}: {error}"))
}

#[test]
fn a_change_of_the_declared_paths_is_published_and_deployed_once() {
    let origin = Origin::new(&[("blog/page", "one"), ("docs/read", "me")]);
    let place = Workplace::empty();
    let url = origin.path().display().to_string();
    place.write(
        "jobs.toml",
        &job("blog", &url, &format!("paths = [\"blog\"]\n{}", deploy(&place))),
    );
    let service = place.start();
    let done = good(&service, "blog");
    let first = origin.git(&["rev-parse", "HEAD"]);
    assert_eq!(
        done["statistics"],
        json!({ "commit": first, "deployed": true, "changed": 2 })
    );
    assert_eq!(read(&place, "out/blog/current/blog/page"), "one");
    assert!(!place.file("out/blog/current/.git").exists());
    assert_eq!(good(&service, "blog")["statistics"]["deployed"], false);
    origin.commit(&[("docs/read", "them")]);
    let other = good(&service, "blog");
    assert!(
        other["message"].as_str().unwrap().starts_with("nothing to deploy: "),
        "{other}"
    );
    assert_eq!(deployed(&place), std::slice::from_ref(&first));
    // History that was written anew is followed as well.
    origin.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let second = origin.commit(&[("blog/page", "two"), ("blog/added", "x")]);
    assert_eq!(good(&service, "blog")["statistics"]["changed"], 2);
    assert_eq!(read(&place, "out/blog/current/blog/page"), "two");
    std::fs::remove_file(origin.file("blog/added")).unwrap();
    let third = origin.commit(&[]);
    good(&service, "blog");
    assert!(!place.file("out/blog/current/blog/added").exists());
    assert_eq!(deployed(&place), [first, second, third]);
    // Files that were taken away come back.
    std::fs::remove_file(place.file("out/blog/current")).unwrap();
    assert_eq!(good(&service, "blog")["statistics"]["deployed"], true);
}

#[test]
fn old_releases_go_and_the_kept_ones_stay() {
    let origin = Origin::new(&[("page", "0")]);
    let place = place(&job("site", &origin.path().display().to_string(), "keep = 2"));
    let service = place.start();
    let mut commits = Vec::new();
    for number in 0..6 {
        commits.push(origin.commit(&[("page", &number.to_string())]));
        good(&service, "site");
    }
    let mut kept: Vec<String> = std::fs::read_dir(place.file("out/site/releases"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    let mut expected = commits[3..].to_vec();
    expected.sort();
    assert_eq!(kept, expected);
    assert_eq!(read(&place, "out/site/current/page"), "5");
}

#[test]
fn what_is_deployed_is_told_what_changed_and_nothing_of_git() {
    let origin = Origin::new(&[("a", "1"), ("b", "1")]);
    let place = place(&job(
        "show",
        &origin.path().display().to_string(),
        "deploy = { shell = \"env | grep -E '^(CRON_GIT|GIT_|PWD)' | sort; cat $CRON_GIT_CHANGES; git rev-parse --git-dir || echo no git here\" }",
    ));
    let service = place
        .service()
        .env("GIT_DIR", "/nowhere")
        .env("GIT_SSH_COMMAND", "no")
        .start();
    good(&service, "show");
    let first = origin.git(&["rev-parse", "HEAD"]);
    let second = origin.commit(&[("b", "2")]);
    good(&service, "show");
    let shown = service.newest("show");
    let output = shown["output"].as_str().unwrap();
    let current = place.file("out/show/current").display().to_string();
    for line in [
        &format!("CRON_GIT_COMMIT={second}"),
        &format!("CRON_GIT_PREVIOUS={first}"),
        "CRON_GIT_REF=refs/heads/main",
        &format!("CRON_GIT_FOLDER={current}"),
        &format!("PWD={current}"),
        "CRON_GIT_ROLLBACK=",
        "b",
        "no git here",
    ] {
        assert!(output.lines().any(|shown| shown == line), "{line}: {output}");
    }
    assert!(!output.contains("GIT_DIR") && !output.contains("GIT_SSH") && !output.lines().any(|line| line == "a"));
}

#[test]
fn a_failed_check_publishes_nothing_and_a_failed_deployment_is_tried_again_or_rolled_back() {
    let origin = Origin::new(&[("page", "good")]);
    let url = origin.path().display().to_string();
    let place = Workplace::empty();
    let keys = deploy(&place);
    place.write(
        "jobs.toml",
        &(job("checked", &url, "check = { shell = \"grep good page\" }")
            + &job(
                "checked-in-place",
                &url,
                "layout = \"in_place\"\ncheck = { shell = \"grep good page\" }",
            )
            + &job("kept", &url, &keys)
            + &job("back", &url, &format!("{keys}\non_failure = \"rollback\""))
            + &job(
                "back-in-place",
                &url,
                &format!("{keys}\non_failure = \"rollback\"\nlayout = \"in_place\""),
            )),
    );
    let service = place.start();
    let all = ["checked", "checked-in-place", "kept", "back", "back-in-place"];
    for job in all {
        good(&service, job);
    }
    let first = origin.git(&["rev-parse", "HEAD"]);
    let bad = origin.commit(&[("page", "poor"), ("bad", "")]);
    for (job, page) in [
        ("checked", "out/checked/current/page"),
        ("checked-in-place", "out/checked-in-place/page"),
    ] {
        let why = failed(&service, job);
        assert!(
            why.contains("the check failed, and nothing was published: exit code 1"),
            "{why}"
        );
        assert_eq!(read(&place, page), "good");
    }
    std::fs::remove_file(place.file("deployed")).unwrap();
    assert!(failed(&service, "kept").contains("exit code 1"));
    assert!(failed(&service, "kept").contains("exit code 1"));
    assert_eq!(read(&place, "out/kept/current/page"), "poor");
    assert_eq!(deployed(&place), [bad.clone(), bad.clone()]);
    for (job, page) in [
        ("back", "out/back/current/page"),
        ("back-in-place", "out/back-in-place/page"),
    ] {
        std::fs::remove_file(place.file("deployed")).unwrap();
        let why = failed(&service, job);
        assert!(
            why.contains(&format!(
                "rolled back to commit {}, and {} will not be tried again",
                &first[..8],
                &bad[..8]
            )),
            "{why}"
        );
        assert_eq!(read(&place, page), "good");
        assert_eq!(failed(&service, job), why, "it is not tried again");
        assert_eq!(deployed(&place), [bad.clone(), first.clone()]);
    }
    std::fs::remove_file(origin.file("bad")).unwrap();
    origin.commit(&[("page", "good again")]);
    for job in all {
        good(&service, job);
    }
    assert_eq!(read(&place, "out/back/current/page"), "good again");
}

#[test]
fn a_commit_that_fails_again_and_again_is_tried_more_and_more_seldom() {
    let origin = Origin::new(&[("page", "1")]);
    let url = origin.path().display().to_string();
    let place = Workplace::empty();
    let declared = job("often", &url, &deploy(&place)).replace("@yearly", "* * * * * *");
    origin.commit(&[("bad", "")]);
    place.write("jobs.toml", &declared);
    let service = place.start();
    let waits = eventually("the pause", || {
        let (_, list) = service.get("/api/schedules/executions?status=failed&limit=1");
        let why = list["executions"][0]["error"].as_str()?.to_owned();
        why.contains("it has failed 3 times, and will be tried again after ")
            .then_some(why)
    });
    eventually("a run that waits", || {
        let (_, list) = service.get("/api/schedules/executions?status=failed");
        let found = list["executions"]
            .as_array()?
            .iter()
            .filter(|run| run["error"] == json!(waits))
            .count();
        (found >= 3).then_some(())
    });
    assert_eq!(deployed(&place).len(), 3);
    // Whoever asks has it tried, and so has a new commit.
    assert!(failed(&service, "often").contains("it has failed 4 times"));
    std::fs::remove_file(origin.file("bad")).unwrap();
    let mended = origin.commit(&[]);
    eventually("the new commit", || (deployed(&place).last()? == &mended).then_some(()));
}

#[test]
fn in_place_own_files_stay_and_edits_are_not_overwritten() {
    let origin = Origin::new(&[("compose.yaml", "1"), ("gone", "x"), ("sub/file", "1"), ("same", "1")]);
    let place = place(&job(
        "stack",
        &origin.path().display().to_string(),
        "layout = \"in_place\"",
    ));
    std::fs::create_dir_all(place.file("out/stack/data")).unwrap();
    std::fs::write(place.file("out/stack/data/own"), "mine").unwrap();
    std::fs::write(place.file("out/stack/same"), "1").unwrap();
    let service = place.start();
    good(&service, "stack");
    let number = |path: &str| std::fs::metadata(place.file(path)).unwrap().ino();
    let before = number("out/stack/sub/file");
    std::fs::remove_file(origin.file("gone")).unwrap();
    origin.commit(&[("compose.yaml", "2")]);
    good(&service, "stack");
    assert!(!place.file("out/stack/gone").exists());
    assert_eq!(
        (
            read(&place, "out/stack/compose.yaml"),
            read(&place, "out/stack/data/own")
        ),
        ("2".into(), "mine".into())
    );
    assert_eq!(
        number("out/stack/sub/file"),
        before,
        "what does not change is not written"
    );
    // An edit is told, and not lost.
    std::fs::write(place.file("out/stack/compose.yaml"), "by hand").unwrap();
    let told = good(&service, "stack");
    assert_eq!(
        told["message"],
        format!("unchanged at {}", &origin.git(&["rev-parse", "HEAD"])[..8])
    );
    assert!(service.logged("edited by hand in ").contains(": compose.yaml"));
    for (file, text) in [("compose.yaml", "3"), ("sub/file", "2")] {
        origin.commit(&[(file, text)]);
        let why = failed(&service, "stack");
        assert!(
            why.contains("would be lost (edited by hand: compose.yaml); restore them"),
            "{why}"
        );
        assert_eq!(read(&place, "out/stack/compose.yaml"), "by hand");
    }
    std::fs::write(place.file("out/stack/compose.yaml"), "3").unwrap();
    good(&service, "stack");
    // What stands in the way is somebody's, whatever it is.
    for (own, new) in [("data/own", "data/own"), ("taken/by", "taken"), ("a", "a/b")] {
        let own = place.file("out/stack").join(own);
        std::fs::create_dir_all(own.parent().unwrap()).unwrap();
        std::fs::write(&own, "mine").unwrap();
        origin.commit(&[(new, "theirs")]);
        failed(&service, "stack");
        assert_eq!(std::fs::read_to_string(&own).unwrap(), "mine", "{new}");
        origin.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    }
}

#[test]
fn tags_and_commits_are_followed_as_declared() {
    let origin = Origin::new(&[("page", "1")]);
    let first = origin.git(&["rev-parse", "HEAD"]);
    origin.git(&["tag", "-a", "v1", "-m", "one"]);
    origin.commit(&[("page", "2")]);
    origin.git(&["tag", "main", "HEAD~1"]);
    let url = origin.path().display().to_string();
    let by = |id: &str, what: &str| job(id, &url, "").replace("branch = \"main\"", what);
    let place = place(
        &(by("tag", "tag = \"v1\"")
            + &by("pin", &format!("commit = \"{first}\""))
            + &by("branch", "branch = \"main\"")
            + &by("none", "branch = \"no/such\"")
            + &by("lost", &format!("commit = \"{}\"", "1".repeat(40)))),
    );
    let service = place.start();
    for (job, page) in [("tag", "1"), ("pin", "1"), ("branch", "2")] {
        good(&service, job);
        assert_eq!(read(&place, &format!("out/{job}/current/page")), page, "{job}");
        assert_eq!(good(&service, job)["statistics"]["deployed"], false);
    }
    assert!(failed(&service, "none").ends_with("has no branch `no/such`; it has main"));
    assert!(failed(&service, "lost").contains("git fetch: "));
    origin.git(&["tag", "-f", "-a", "v1", "-m", "moved"]);
    good(&service, "tag");
    assert_eq!(read(&place, "out/tag/current/page"), "2");
    origin.git(&["checkout", "--quiet", "--detach"]);
    origin.git(&["branch", "-D", "main"]);
    assert!(failed(&service, "branch").ends_with("has no branch `main`, nor any other"));
    assert_eq!(read(&place, "out/branch/current/page"), "2");
}

/// Base64 of `ci:t0ken-0f-the-forge`.
const LOGIN: &str = "Y2k6dDBrZW4tMGYtdGhlLWZvcmdl";

/// A service with a job that needs a token, which stands in a file.
fn with_token(origin: &Origin, server: &GitServer) -> (Workplace, Service) {
    let url = format!("http://127.0.0.1:{}/{}", server.port, origin.name());
    let place = place(&format!(
        "[git_hosts.\"127.0.0.1:{}\"]\nusername = \"ci\"\ntoken = {{ file = \"token\" }}\n{}",
        server.port,
        job(
            "app",
            &url,
            "deploy = { shell = \"env; tr '\\\\0' '\\\\n' < /proc/$PPID/environ | head -c 100000; ps axww -o args\" }"
        )
    ));
    place.write("token", "t0ken-0f-the-forge\n");
    let service = place.start();
    (place, service)
}

fn files_below(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files_below(&entry.path(), found);
        } else if entry.file_type().unwrap().is_file() {
            found.push(entry.path());
        }
    }
}

#[test]
fn a_token_goes_to_its_host_alone_and_is_seen_nowhere() {
    let origin = Origin::new(&[("page", "1")]);
    let server = GitServer::start(origin.root());
    server.behave(Manner::Login(LOGIN));
    let (place, service) = with_token(&origin, &server);
    good(&service, "app");
    assert_eq!(read(&place, "out/app/current/page"), "1");
    assert!(
        server.requests().iter().any(|head| head.contains(LOGIN)),
        "it was asked for"
    );
    // Another host that a redirect leads to gets nothing, however it asks.
    let stranger = GitServer::start(origin.root());
    stranger.behave(Manner::Login("bm9ib2R5"));
    server.behave(Manner::Redirect(format!("http://127.0.0.1:{}", stranger.port)));
    origin.commit(&[("page", "2")]);
    let why = failed(&service, "app");
    assert!(why.contains("git ls-remote: "), "{why}");
    assert!(!stranger.requests().is_empty());
    assert!(stranger.requests().iter().all(|head| !head.contains("Authorization")));
    // A token that has changed is read again, and a wrong one is no reason to try again.
    server.behave(Manner::Login(LOGIN));
    place.write("token", "another-t0ken");
    let why = failed(&service, "app");
    assert!(why.contains("Authentication failed"), "{why}");
    place.write("token", "t0ken-0f-the-forge");
    good(&service, "app");
    let (_, list) = service.get("/api/schedules/executions");
    let mut said = service.log().join("\n") + &list.to_string() + &service.get("/api/config").1.to_string();
    for run in list["executions"].as_array().unwrap() {
        said += &service
            .get(&format!("/api/schedules/executions/{}", run["id"]))
            .1
            .to_string();
    }
    said += &service.health().to_string();
    let processes = server.processes();
    assert!(
        processes.contains("git-credential"),
        "git was looked at while it had asked"
    );
    said += &processes;
    service.terminate();
    let mut files = Vec::new();
    files_below(place.path(), &mut files);
    for file in files.iter().filter(|file| !file.ends_with("token")) {
        said += &String::from_utf8_lossy(&std::fs::read(file).unwrap());
    }
    for secret in ["t0ken-0f-the-forge", "another-t0ken", LOGIN] {
        assert!(!said.contains(secret), "{secret}");
    }
}

#[test]
fn servers_that_fail_are_told_apart() {
    let origin = Origin::new(&[("page", &"x".repeat(100_000))]);
    let server = GitServer::start(origin.root());
    let url = format!("http://127.0.0.1:{}/{}", server.port, origin.name());
    let retried = "retry = { max_attempts = 2, backoff = \"10ms\" }";
    let keys = format!("timeout = \"3s\"\n{retried}\n[jobs.app.git_sync]");
    // Whoever asks for a run is not kept waiting by further attempts, so that these come by themselves.
    let declared = job("app", &url, "")
        .replace("[jobs.app.git_sync]", &keys)
        .replace("@yearly", "* * * * * *");
    server.behave(Manner::Status(500));
    let place = place(&declared);
    let service = place.start();
    for (manner, why, attempts) in [
        (Manner::Status(500), "500", 2),
        (Manner::Status(429), "429", 2),
        (Manner::Status(404), "not found", 1),
        (Manner::Status(403), "403", 1),
        (Manner::Cut, "git fetch: ", 2),
        (Manner::Hang, "timed out after 3s", 1),
    ] {
        server.behave(manner.clone());
        eventually(&format!("{manner:?}"), || {
            let (_, list) = service.get("/api/schedules/executions?limit=5");
            let is_it = |run: &&Value| {
                run["error"].as_str().is_some_and(|said| said.contains(why)) && run["attempts"] == attempts
            };
            list["executions"]
                .as_array()?
                .iter()
                .any(|run| is_it(&run))
                .then_some(())
        });
        assert!(!place.file("out/app/current").exists());
    }
    server.behave(Manner::Open);
    eventually("the files", || place.file("out/app/current").exists().then_some(()));
    service.terminate();
    let left = Command::new("pgrep")
        .args(["-f", &format!("127.0.0.1:{}", server.port)])
        .output()
        .unwrap();
    assert!(left.stdout.is_empty(), "no git is left behind");
}

#[test]
fn ssh_trusts_declared_host_keys_only() {
    let origin = Origin::new(&[("page", "1")]);
    let mut ssh = Ssh::start();
    let user = said("id -un");
    let url = format!("ssh://{user}@127.0.0.1:{}{}", ssh.port, origin.path().display());
    let place = place(&format!(
        "[git_hosts.\"127.0.0.1:{}\"]\nssh_key = {{ file = \"key\" }}\nknown_hosts = {{ file = \"known\" }}\n{}",
        ssh.port,
        job("app", &url, "")
    ));
    // As some editors and systems leave it.
    let key = std::fs::read_to_string(ssh.file("user")).unwrap();
    place.write("key", key.replace('\n', "\r\n").trim_end());
    place.write("known", &ssh.known_hosts());
    let service = place.start();
    good(&service, "app");
    assert_eq!(read(&place, "out/app/current/page"), "1");
    ssh.with_new_host_key();
    origin.commit(&[("page", "2")]);
    let why = failed(&service, "app");
    assert!(why.contains("Host key verification failed"), "{why}");
    place.write("known", &ssh.known_hosts());
    good(&service, "app");
    assert_eq!(read(&place, "out/app/current/page"), "2");
    place.write("key", &key.replace('A', "B"));
    failed(&service, "app");
    let key_line = key.lines().nth(2).unwrap();
    assert!(!service.log().join("\n").contains(key_line));
}

#[test]
fn gits_own_protocol_is_followed_and_warned_of() {
    let origin = Origin::new(&[("page", "1")]);
    let (_daemon, port) = git_daemon(origin.root());
    let place = place(&job("app", &format!("git://127.0.0.1:{port}/{}", origin.name()), ""));
    good(&place.start(), "app");
    assert_eq!(read(&place, "out/app/current/page"), "1");
    let (code, said) = place.validate(&job("app", "git://git.example.org/app", ""));
    assert_eq!(code, 0);
    assert!(
        said.contains("whatever is fetched this way can be altered in transit"),
        "{said}"
    );
}

#[test]
fn what_a_hostile_repository_holds_is_refused_or_harmless() {
    let origin = Origin::new(&[("page", "1")]);
    let url = origin.path().display().to_string();
    let place = place(&(job("whole", &url, "") + &job("in-place", &url, "layout = \"in_place\"")));
    let service = place.start();
    let jobs = ["whole", "in-place"];
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, origin.file(name)).unwrap();
    let refused = |why: &str| {
        origin.git(&["add", "--all"]);
        origin.commit_index();
        for job in jobs {
            let said = failed(&service, job);
            assert!(said.contains(why), "{job}: {said}");
        }
        origin.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    };
    link("/etc/passwd", "absolute");
    refused("the link `absolute` leads out of the repository, to \"/etc/passwd\"");
    link("../up", "up");
    refused("the link `up` leads out");
    std::fs::create_dir_all(origin.file("a/b")).unwrap();
    link("../..", "a/b/root");
    link("a/b/root/..", "round-about");
    refused("the link `round-about` leads out");
    std::fs::write(origin.file("bell\u{7}"), "").unwrap();
    refused("holds a control character");
    let commit = origin.git(&["rev-parse", "HEAD"]);
    origin.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},lib")]);
    origin.commit_index();
    for job in jobs {
        assert!(failed(&service, job).contains("`lib` is a submodule, and submodules are not supported"));
    }
    origin.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    std::fs::write(
        origin.file(".gitattributes"),
        "*.bin filter=lfs diff=lfs merge=lfs -text\n",
    )
    .unwrap();
    std::fs::write(
        origin.file("x.bin"),
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    )
    .unwrap();
    refused("`x.bin` is kept by Git LFS");
    // Attributes and hooks that would have programs run do not.
    let ran = place.file("ran");
    let script = format!("#!/bin/sh\ntouch {}\n", ran.display());
    origin.commit(&[
        (".gitattributes", "* filter=evil\n"),
        ("hooks/post-checkout", &script),
        (".githooks/post-checkout", &script),
    ]);
    for job in jobs {
        good(&service, job);
    }
    assert!(!ran.exists());
}

#[test]
fn only_signed_commits_are_taken_where_that_is_declared() {
    let origin = Origin::new(&[("page", "unsigned")]);
    let place = Workplace::empty();
    for name in ["ours", "theirs"] {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(place.file(name))
            .status();
        assert!(made.unwrap().success());
    }
    let key = std::fs::read_to_string(place.file("ours.pub")).unwrap();
    place.write("signers", &format!("a@example.org {key}"));
    place.write(
        "jobs.toml",
        &job(
            "app",
            &origin.path().display().to_string(),
            "verify = { signers = { file = \"signers\" } }",
        ),
    );
    let service = place.start();
    assert!(failed(&service, "app").contains("is not signed by any of the signers"));
    let signed = |name: &str, page: &str| {
        std::fs::write(origin.file("page"), page).unwrap();
        let key = format!("user.signingkey={}", place.file(name).display());
        origin.git(&[
            "-c",
            "gpg.format=ssh",
            "-c",
            &key,
            "commit",
            "--quiet",
            "-S",
            "-a",
            "-m",
            "signed",
        ]);
    };
    signed("theirs", "theirs");
    assert!(failed(&service, "app").contains("is not signed by any of the signers"));
    assert!(!place.file("out/app/current").exists());
    signed("ours", "ours");
    good(&service, "app");
    assert_eq!(read(&place, "out/app/current/page"), "ours");
}

/// The HMAC of a body, as openssl reckons it.
fn hmac(secret: &str, body: &str) -> String {
    let done = Command::new("sh")
        .args([
            "-c",
            &format!("printf %s '{body}' | openssl dgst -sha256 -hmac '{secret}' -r"),
        ])
        .output()
        .unwrap();
    String::from_utf8_lossy(&done.stdout)
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}

#[test]
fn a_signed_webhook_has_the_job_look_and_an_unsigned_one_nothing() {
    let origin = Origin::new(&[("page", "1")]);
    let url = origin.path().display().to_string();
    let slow = "deploy = { shell = \"sleep 0.5\" }\nwebhook = { secret = \"hook-s3cret\" }";
    let place = place(&(job("app", &url, slow) + &job("other", &url, "")));
    let service = place.service().env("CRON_TOKEN", "a-long-token-1234").start();
    let hook = |job: &str, headers: &str, body: &str| {
        let length = body.len();
        let request = format!(
            "POST /hooks/{job} HTTP/1.1\r\nHost: cron.example.org\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        service.send(request.as_bytes()).unwrap()
    };
    let body = "{\"ref\":\"refs/heads/evil\"}";
    let signed = hmac("hook-s3cret", body);
    for (job, headers) in [
        ("app", String::new()),
        (
            "app",
            format!("X-Hub-Signature-256: sha256={}\r\n", hmac("wrong", body)),
        ),
        ("app", "X-Hub-Signature-256: sha256=\r\n".to_owned()),
        ("app", "X-Gitlab-Token: hook\r\n".to_owned()),
        ("other", format!("X-Hub-Signature-256: sha256={signed}\r\n")),
        ("none", format!("X-Hub-Signature-256: sha256={signed}\r\n")),
    ] {
        let (status, said) = hook(job, &headers, body);
        assert_eq!(status, 401, "{job} {headers}");
        assert_eq!(
            said["error"],
            "there is no such webhook, or the signature does not match"
        );
    }
    let mut runs = Vec::new();
    for header in [
        format!("X-Hub-Signature-256: sha256={signed}"),
        format!("X-Gitea-Signature: {signed}"),
        format!("X-Forgejo-Signature: {signed}"),
        "X-Gitlab-Token: hook-s3cret".to_owned(),
    ] {
        let (status, said) = hook("app", &format!("{header}\r\n"), body);
        assert_eq!(status, 202, "{header}: {said}");
        runs.push(said["runId"].as_i64().unwrap());
    }
    assert!(runs[0] < runs[1], "the run under way may have looked too early");
    assert_eq!(runs[1..], [runs[1]; 3], "one that waits does for all");
    let service = service.with_token("a-long-token-1234");
    eventually("the runs", || {
        let (_, list) = service.get("/api/schedules/executions?job=app&status=success&trigger=webhook");
        (list["executions"].as_array()?.len() == 2).then_some(())
    });
    assert_eq!(read(&place, "out/app/current/page"), "1");
    service.call("POST", "/stop/app", &[("Authorization", "Bearer a-long-token-1234")]);
    let (status, said) = {
        let length = body.len();
        let request = format!(
            "POST /hooks/app HTTP/1.1\r\nHost: x\r\nX-Gitea-Signature: {signed}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        service.send(request.as_bytes()).unwrap()
    };
    assert_eq!((status, &said["error"]), (409, &json!("Task app is stopped")));
}

#[test]
fn plan_tells_what_a_run_does_and_changes_nothing() {
    let origin = Origin::new(&[("page", "1"), ("docs", "1")]);
    let place = place(&job(
        "app",
        &origin.path().display().to_string(),
        "paths = [\"page\"]\ndeploy = { argv = [\"true\"] }",
    ));
    let before = printed(&place.run(&["plan"]));
    assert!(
        before.1.contains("nothing has been deployed here yet") && before.1.contains("deploy: [\"true\"]"),
        "{}",
        before.1
    );
    assert!(
        !place.file("out").exists() && !place.file("data").exists(),
        "it changes nothing"
    );
    let service = place.start();
    good(&service, "app");
    assert!(printed(&place.run(&["plan"])).1.contains("would deploy nothing"));
    let second = origin.commit(&[("page", "2")]);
    let (code, said) = printed(&place.run(&["plan", "--format", "json"]));
    let planned: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &planned["app"]["would_deploy"], &planned["app"]["why"]),
        (0, &json!(true), &json!("page changed"))
    );
    assert_eq!(planned["app"]["commit"], json!(second));
    let (_, asked) = service.get("/api/schedules/app/plan");
    assert_eq!(asked["would_deploy"], true, "{asked}");
    origin.git(&["rm", "--quiet", "page"]);
    origin.commit_index();
    let (code, said) = printed(&place.run(&["plan"]));
    assert!(code == 1 && said.contains("`page` is not in commit "), "{said}");
    assert!(failed(&service, "app").contains("`page` is not in commit "));
    assert_eq!(read(&place, "out/app/current/page"), "1");
}

#[test]
fn what_is_declared_wrong_is_told() {
    let place = Workplace::empty();
    for (declared, why) in [
        (
            "url = \"https://me:s3cretpass@host/a\"",
            "an address must not contain a password",
        ),
        ("url = \"ext::sh -c id\"", "no spaces"),
        (
            "branch = \"main\"\ntag = \"v1\"",
            "declare one of `branch`, `tag` and `commit`, not several",
        ),
        ("branch = \"-x\"", "cannot be the name of a branch"),
        ("commit = \"abc\"", "40 or 64 hexadecimal digits"),
        (
            "paths = [\"../up\"]",
            "\"../up\" is not a file or folder of the repository",
        ),
        (
            "deploy = { argv = [\"true\"], dir = \"/etc\" }",
            "a folder of the repository is expected",
        ),
        ("deploy = { argv = [] }", "the program is missing"),
        ("webhook = { secret = \"short\" }", "it is too short"),
        ("deploy = { shell = \"docker compose up -d\" }", ""),
        (
            "deploy = { argv = [\"docker\", \"compose\", \"up\", \"-d\"] }",
            "set COMPOSE_PROJECT_NAME",
        ),
    ] {
        let base = "url = \"https://host/a\"\nbranch = \"main\"\nfolder = \"out\"\n";
        let key = declared.split(' ').next().unwrap();
        let is_other = |line: &&str| !(line.starts_with(key) || key == "commit" && line.starts_with("branch"));
        let rest = base.lines().filter(is_other).collect::<Vec<&str>>().join("\n");
        let (_, said) = place.validate(&format!(
            "[jobs.a]\nschedule = \"@daily\"\n[jobs.a.git_sync]\n{rest}\n{declared}\n"
        ));
        assert!(said.contains(why), "{declared}: {said}");
        assert!(!said.contains("s3cretpass"), "{said}");
    }
    let two = job("a", "https://host/a", "") + &job("b", "https://host/a", "").replace("out/b", "out/a/b");
    let (code, said) = place.validate(&two);
    assert!(
        code != 0 && said.contains("it is inside the folder of the job `a`"),
        "{said}"
    );
    let (code, said) =
        place.validate(&("[git_hosts.\"h\"]\nssh_key = \"PRIVATE KEY\"\n".to_owned() + &job("a", "git@h:a", "")));
    assert!(
        code != 0 && said.contains("`known_hosts` must list the keys of the host"),
        "{said}"
    );
}

#[test]
fn two_jobs_on_one_repository_do_not_disturb_each_other() {
    let origin = Origin::new(&[("a/page", "0"), ("b/page", "0")]);
    let url = origin.path().display().to_string();
    let each: String = (0..6).map(|number| job(&format!("j{number}"), &url, "")).collect();
    let place = place(&each);
    let service = place.start();
    for round in 0..40 {
        origin.commit(&[("a/page", &round.to_string())]);
        std::thread::scope(|scope| {
            for number in 0..6 {
                let service = &service;
                scope.spawn(move || good(service, &format!("j{number}")));
            }
        });
        for number in 0..6 {
            assert_eq!(
                read(&place, &format!("out/j{number}/current/a/page")),
                round.to_string()
            );
        }
    }
    let repositories = std::fs::read_dir(place.file("data/duplistatus-cron.db-git/repositories")).unwrap();
    let folders = repositories.filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(folders.count(), 1, "they share one copy");
}
