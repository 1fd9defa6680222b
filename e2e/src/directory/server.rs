//! A real OpenLDAP server (`slapd`) on free ports of the loopback interface, in a folder of its own, ended with the story.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::redis::eventually;
use crate::redis::server::Folder;

/// Starts before it is given up: between finding free ports and taking them, somebody else may take them.
const STARTS: usize = 5;

/// A running server; killed when dropped.
pub(super) struct Server {
    child: Child,
    pub port: u16,
    /// The port for TLS from the beginning.
    pub secure_port: u16,
    folder: Folder,
}

impl Server {
    /// Starts a server with these entries, which shows the certificate `directory` in `certificates`.
    pub fn start(within: &Path, certificates: &Path, entries: &str) -> Result<Self, String> {
        let folder = Folder::make(within)?;
        let configuration = configure(&folder.0, certificates)?;
        let file = folder.0.join("entries.ldif");
        std::fs::write(&file, entries).map_err(|error| error.to_string())?;
        let mut add = program("slapadd");
        add.arg("-f").arg(&configuration).arg("-l").arg(&file);
        let added = add.output().map_err(|error| format!("slapadd (Debian package slapd): {error}"))?;
        if !added.status.success() {
            return Err(format!("slapadd: {}", String::from_utf8_lossy(&added.stderr)));
        }
        let mut last = String::new();
        for _ in 0..STARTS {
            let ports = [free_port()?, free_port()?];
            match run(&configuration, ports) {
                Ok(child) => {
                    let [port, secure_port] = ports;
                    return Ok(Self { child, port, secure_port, folder });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Starts it again after its end, at the same ports and with the same entries.
    pub fn start_again(&mut self) -> Result<(), String> {
        self.child = run(&self.folder.0.join("slapd.conf"), [self.port, self.secure_port])?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Of an empty password, the server thinks what many do by default: whoever has none wants to be nobody, and may. Nobody may
/// search, and one account not find much.
fn configure(folder: &Path, certificates: &Path) -> Result<PathBuf, String> {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).map_err(|error| error.to_string())?;
    let schemas: String = ["core", "cosine", "nis", "inetorgperson"]
        .iter()
        .map(|name| format!("include /etc/ldap/schema/{name}.schema\n"))
        .collect();
    let of = |name: &str| certificates.join(name).display().to_string();
    let text = format!(
        "{schemas}modulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload memberof\nallow bind_anon_dn\npidfile {}\nTLSCACertificateFile {}\n\
         TLSCertificateFile {}\nTLSCertificateKeyFile {}\ndatabase mdb\nsuffix \"dc=example,dc=com\"\n\
         rootdn \"cn=admin,dc=example,dc=com\"\nrootpw admin\ndirectory {}\nmaxsize 10485760\n\
         limits dn.exact=\"cn=narrow,dc=example,dc=com\" size=1\noverlay memberof\naccess to attrs=userPassword by anonymous auth\n\
         access to * by users read by anonymous auth\n",
        folder.join("slapd.pid").display(),
        of("ca.crt"),
        of("directory.crt"),
        of("directory.key"),
        data.display()
    );
    let file = folder.join("slapd.conf");
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    Ok(file)
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    Ok(listener.local_addr().map_err(|error| error.to_string())?.port())
}

fn run(configuration: &Path, [port, secure_port]: [u16; 2]) -> Result<Child, String> {
    let places = format!("ldap://127.0.0.1:{port}/ ldaps://127.0.0.1:{secure_port}/");
    let mut command = program("slapd");
    // With a level of debugging it stays in the foreground, and so ends with us.
    command.args(["-d", "0", "-h", &places, "-f"]).arg(configuration);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child =
        command.spawn().map_err(|error| format!("slapd (Debian package of that name): {error}"))?;
    let ready = eventually(|| match child.try_wait() {
        Ok(None) => {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(drop).map_err(|error| error.to_string())
        }
        // Trying on would be in vain.
        _ => Ok(()),
    });
    match (ready, child.try_wait()) {
        (Ok(()), Ok(None)) => Ok(child),
        (ready, ended) => {
            child.kill().ok();
            child.wait().ok();
            Err(format!("slapd did not start: {ready:?}, {ended:?}"))
        }
    }
}

/// Debian has these programs where only the administrator's path leads.
fn program(name: &str) -> Command {
    let place = Path::new("/usr/sbin").join(name);
    if place.exists() { Command::new(place) } else { Command::new(name) }
}
