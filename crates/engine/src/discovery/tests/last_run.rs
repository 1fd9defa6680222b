//! Lists that outlive the process in a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use model::serde_json::{self, Value, json};

use super::registry::{Manner, Registry, instance};
use super::{Folder, PATIENCE, World, consul, eventually, reached, report};
use crate::balance::Balancers;

#[test]
fn lists_of_the_last_run_are_used_until_there_are_others() {
    let (folder, registry) = (Folder::new(), Registry::start());
    let world = || World::keeping(Some(folder.0.join("lists")));
    registry.set(7, vec![instance("10.0.0.1", 80, 1), instance("10.0.0.2", 80, 1)]);
    let first = world();
    let balancers = first.balancers(&json!({}), &consul(&registry));
    let text = || fs::read_to_string(kept(&folder.0.join("lists"))?).ok();
    eventually("it is kept", || text().is_some() && !report(&balancers).restored);
    registry.set(8, vec![instance("10.0.0.2", 80, 1)]);
    eventually("the change is taken", || reached(&balancers).len() == 1);
    eventually("the change is kept", || text().is_some_and(|text| !text.contains("10.0.0.1")));
    drop((balancers, first));
    registry.behave(Manner::Status(500));
    let second = world();
    let balancers = second.balancers(&json!({}), &consul(&registry));
    assert_eq!(reached(&balancers), ["10.0.0.2:80 10.0.0.2"], "it is there from the beginning");
    eventually("the registry is found in trouble", || report(&balancers).trouble.is_some());
    let told = report(&balancers);
    assert_eq!((told.up, told.restored, told.targets), (false, true, 1));
    assert!(told.age.unwrap() < PATIENCE);
    eventually("why", || report(&balancers).trouble.is_some_and(|trouble| trouble.contains("500")));
    let mut other = consul(&registry);
    other["service"] = json!("others");
    assert!(reached(&second.balancers(&json!({}), &other)).is_empty(), "it is the list of another service");
    registry.set(9, vec![instance("10.0.0.3", 80, 1)]);
    registry.behave(Manner::Well);
    eventually("the newest list counts", || reached(&balancers) == ["10.0.0.3:80 10.0.0.3"]);
    assert_eq!((report(&balancers).up, report(&balancers).restored), (true, false));
}

/// The one list in a folder, once it is written.
fn kept(folder: &Path) -> Option<PathBuf> {
    let mut files = fs::read_dir(folder).ok()?.flatten().map(|file| file.path());
    files.find(|file| file.extension().is_some_and(|ending| ending == "json"))
}

/// A copy of a folder with one list, which is this old there. Whoever wrote the list may still be at work in the folder.
fn aged(folder: &Path, age: Duration) -> PathBuf {
    let file = kept(folder).unwrap();
    let mut kept: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    kept["given"] =
        json!((SystemTime::now() - age).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
    let copy = folder.join("aged");
    fs::create_dir_all(&copy).unwrap();
    fs::write(copy.join(file.file_name().unwrap()), kept.to_string()).unwrap();
    copy
}

/// A folder in which a run that has ended has kept the list of the registry.
fn left_behind(registry: &Registry) -> (Folder, PathBuf) {
    let folder = Folder::new();
    let path = folder.0.join("lists");
    registry.set(7, vec![instance("10.0.0.1", 80, 1)]);
    let world = World::keeping(Some(path.clone()));
    let _balancers = world.balancers(&json!({}), &consul(registry));
    eventually("it is kept", || kept(&path).is_some());
    (folder, path)
}

#[test]
fn lists_of_the_last_run_are_used_as_long_as_they_are_not_too_old() {
    let registry = Registry::start();
    let (_folder, path) = left_behind(&registry);
    registry.behave(Manner::Status(500));
    let hour = Duration::from_secs(3600);
    let standing = |balancers: &Balancers| {
        let told = report(balancers);
        (told.up, told.restored, told.expired, told.targets)
    };

    let path = aged(&path, hour);
    let second = World::keeping_for(Some(path.clone()), Some(hour - Duration::from_secs(5)));
    let balancers = second.balancers(&json!({}), &consul(&registry));
    assert_eq!(standing(&balancers), (false, false, true, 0));
    assert!(report(&balancers).age.unwrap() >= hour && reached(&balancers).is_empty());
    registry.behave(Manner::Well);
    eventually("the newest list counts", || standing(&balancers) == (true, false, false, 1));
    drop((balancers, second));

    registry.behave(Manner::Status(500));
    let third = World::keeping_for(Some(aged(&path, hour)), Some(hour + Duration::from_secs(2)));
    let balancers = third.balancers(&json!({}), &consul(&registry));
    assert_eq!(standing(&balancers), (false, true, false, 1), "it is used while it is not too old");
    // It is told first, and then followed.
    eventually("it is let go", || {
        standing(&balancers) == (false, false, true, 0) && reached(&balancers).is_empty()
    });
}

#[test]
fn a_registry_that_says_nothing_is_waited_for_with_the_list_of_the_last_run() {
    let registry = Registry::start();
    let (_folder, path) = left_behind(&registry);
    registry.behave(Manner::Silence);
    let second = World::keeping(Some(path.clone()));
    let balancers = second.balancers(&json!({}), &consul(&registry));
    assert_eq!(reached(&balancers), ["10.0.0.1:80 10.0.0.1"]);
    let told = report(&balancers);
    assert_eq!(
        (told.up, told.restored, told.trouble),
        (false, true, None),
        "nobody has waited for it to fail"
    );
    registry.behave(Manner::Well);
    eventually("its answer counts", || report(&balancers).up && !report(&balancers).restored);
}
