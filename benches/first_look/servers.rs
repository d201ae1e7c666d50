//! Starting and stopping the two servers, each as an operator would: a zoo.cfg and a data folder.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to answer or to end.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Apache,
    Ours,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Apache => "apache",
            Self::Ours => "ours",
        }
    }
}

/// A running server, killed when dropped.
pub(crate) struct Running {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Running {
    pub(crate) fn start(kind: Kind) -> io::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/first-look/{}-{port}", kind.name()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let config = folder.join("zoo.cfg");
        fs::write(
            &config,
            format!(
                "tickTime=2000\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n\
                 admin.enableServer=false\n4lw.commands.whitelist=*\n",
                folder.join("data").display()
            ),
        )?;
        let mut command = match kind {
            Kind::Apache => {
                let mut java = Command::new("java");
                java.args(["-Xms2g", "-Xmx4g", "-cp", "/etc/zookeeper/conf:/usr/share/java/*"])
                    .args(["-Dzookeeper.log.threshold=WARN", "-Dzookeeper.root.logger=WARN,CONSOLE"])
                    .args(["-Dzookeeper.admin.enableServer=false"])
                    .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain");
                java
            }
            Kind::Ours => {
                let mut ours = Command::new(env!("CARGO_BIN_EXE_zoo-server"));
                ours.arg("run");
                ours
            }
        };
        let log = fs::File::create(folder.join("server.log"))?;
        let child = command
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{command:?}: {error}")))?;
        let mut running = Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)), folder };
        running.wait_until_it_answers()?;
        Ok(running)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it and removes its data.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        fs::remove_dir_all(&self.folder)
    }

    fn wait_until_it_answers(&mut self) -> io::Result<()> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
                return Err(io::Error::other(format!("the server ended with {status}:\n{log}")));
            }
            if srvr(self.address).is_ok_and(|answer| answer.contains("Mode")) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not answer"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn srvr(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"srvr")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
