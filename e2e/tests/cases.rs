//! One test per case file, with the output of the usual test harness.

use e2e::{Settings, Target, find_cases};
use libtest_mimic::{Arguments, Failed, Trial};
use std::error::Error;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = Arguments::from_args();
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let scratch = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let target = if arguments.list { Target::Binary(PathBuf::new()) } else { target(&root)? };
    if matches!(target, Target::Remote { .. }) {
        // There is one configuration only.
        arguments.test_threads = Some(1);
    }
    let settings = Arc::new(Settings { root, scratch, target });
    let mut trials = Vec::new();
    for (folder, run) in FOLDERS {
        let paths = find_cases(&settings.root.join(folder))?;
        trials.extend(paths.into_iter().map(|path| trial(&settings, folder, path, run)));
    }
    for attack in e2e::floods::all() {
        let path = Path::new("floods").join(attack.name);
        trials.push(trial(&settings, "floods", path, Settings::run_flood));
    }
    for name in e2e::reloads() {
        trials.push(trial(&settings, "reload", Path::new("reload").join(name), Settings::run_reload));
    }
    for name in e2e::redis_stories() {
        trials.push(trial(&settings, "redis", Path::new("redis").join(name), Settings::run_redis));
    }
    for name in e2e::directory_stories() {
        trials.push(trial(
            &settings,
            "directory",
            Path::new("directory").join(name),
            Settings::run_directory,
        ));
    }
    for name in e2e::vault_stories() {
        trials.push(trial(&settings, "vault", Path::new("vault").join(name), Settings::run_vault));
    }
    let revocation = Path::new("revocation/ocsp");
    trials.push(trial(&settings, "revocation", revocation.to_owned(), Settings::run_revocation));
    for name in e2e::chaos_stories() {
        trials.push(trial(&settings, "chaos", Path::new("chaos").join(name), Settings::run_chaos));
    }
    for name in ["calls.py", "health.py"] {
        trials.push(trial(&settings, "grpc", settings.root.join("grpc").join(name), Settings::run_grpc));
    }
    let service = settings.root.join("identity/service.mjs");
    trials.push(trial(&settings, "identity", service, Settings::run_identity));
    let programs = [
        "provider.mjs",
        "login.mjs",
        "possession.mjs",
        "fields.mjs",
        "grants.mjs",
        "shared.mjs",
        "together.mjs",
    ];
    for program in programs {
        let program = settings.root.join("openid").join(program);
        trials.push(trial(&settings, "openid", program, Settings::run_openid));
    }
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

/// Runs the file at a path.
type Run = fn(&Settings, &Path) -> Result<(), String>;

/// Where files lie that are tests, and what runs them.
const FOLDERS: [(&str, Run); 4] = [
    ("cases", Settings::run),
    ("smuggling", Settings::run_smuggling),
    ("downgrade", Settings::run_downgrade),
    ("hostile", Settings::run_hostile),
];

fn trial(settings: &Arc<Settings>, folder: &str, path: PathBuf, run: Run) -> Trial {
    let within = if folder == "cases" { settings.root.join(folder) } else { settings.root.clone() };
    let name = path.strip_prefix(within).unwrap_or(&path).with_extension("").display().to_string();
    // Raw bytes need a gateway with one worker and an upstream of their own.
    let raw = folder != "cases";
    let skipped = if raw { matches!(settings.target, Target::Remote { .. }) } else { settings.skips(&path) };
    let settings = Arc::clone(settings);
    Trial::test(name, move || run(&settings, &path).map_err(Failed::from)).with_ignored_flag(skipped)
}

/// The gateway named by the environment, else the binary of this checkout, built now.
fn target(root: &Path) -> Result<Target, Box<dyn Error>> {
    if let Ok(proxy) = std::env::var("BIPLANE_E2E_ADDRESS") {
        let admin = std::env::var("BIPLANE_E2E_ADDRESS_ADMIN")
            .map_err(|_| "BIPLANE_E2E_ADDRESS also needs BIPLANE_E2E_ADDRESS_ADMIN")?;
        let echo_host = std::env::var("BIPLANE_E2E_ECHO_HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
        return Ok(Target::Remote {
            proxy: address(&proxy)?,
            admin: address(&admin)?,
            echo_host: echo_host.parse()?,
        });
    }
    match std::env::var_os("BIPLANE_BIN") {
        Some(binary) => Ok(Target::Binary(std::fs::canonicalize(binary)?)),
        None => build(root).map(Target::Binary),
    }
}

fn address(url: &str) -> Result<SocketAddr, Box<dyn Error>> {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    Ok(address.to_socket_addrs()?.next().ok_or("no address")?)
}

/// Always asks cargo, which is quick when nothing changed: an old binary would judge old code.
fn build(root: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args(["build", "-q", "-p", "biplane", "--profile", profile])
        .status()?;
    if !status.success() {
        return Err("`cargo build -p biplane` failed".into());
    }
    // The test binary lies in TARGET/PROFILE/deps.
    let folder =
        std::env::current_exe()?.parent().and_then(Path::parent).ok_or("no target folder")?.to_owned();
    Ok(folder.join("biplane"))
}
