//! A `virsnapd` in dom0, with a bus name and a state directory of its own.

use super::{Client, Done, PATIENCE, Rig, eventually, unique, within};

/// dom0's bus, from within.
const BUS: &str = "unix:path=/run/dbus/system_bus_socket";

pub struct Daemon<'r> {
    pub client: Client,
    rig: &'r Rig,
    /// In dom0: its state, its log, and how it ended.
    directory: String,
    driver: String,
}

impl<'r> Daemon<'r> {
    /// One that serves Xen.
    pub async fn start(rig: &'r Rig) -> Self {
        Self::serving(rig, "xen").await
    }

    /// One that serves a driver, by its name on the command line.
    pub async fn serving(rig: &'r Rig, driver: &str) -> Self {
        let name = unique("d");
        let object = format!("{}{}", driver[..1].to_uppercase(), &driver[1..]);
        let client = Client::to(&rig.address(), &format!("org.virsnap.test.{name}"), &object).await;
        let mut daemon = Self { client, rig, directory: format!("/x/{name}"), driver: driver.to_owned() };
        daemon.spawn().await;
        daemon
    }

    /// In dom0; files that are put here go with the daemon.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    pub fn log(&self) -> String {
        self.rig.run(&format!("cat {}/log", self.directory)).stdout
    }

    /// Start it, and wait until it serves.
    pub async fn spawn(&mut self) {
        let Self { directory, driver, client, .. } = &*self;
        let level = std::env::var("VIRSNAP_TEST_LOG").unwrap_or_else(|_| "virsnap=debug,virsnapd=debug".into());
        let command = format!(
            "virsnapd --bus {BUS} --bus-name {} --driver {driver} --state-dir state --runtime-dir run",
            client.service
        );
        // Its end is kept for `stop`; nothing of it holds this shell's output.
        self.rig.ok(&format!(
            "mkdir -p {directory} && cd {directory} && rm -f code || exit
            VIRSNAP_LOG={level} setsid sh -c '{command} & echo $! >pid; wait $!; echo $? >code' \
                </dev/null >>log 2>&1 &"
        ));
        eventually("virsnapd serves", || async {
            if let Some(code) = self.code() {
                panic!("virsnapd ended at once ({code}):\n{}", self.log());
            }
            client.is_served().await?.then_some(())
        })
        .await;
    }

    /// As a crash would: no signal handler runs.
    pub async fn kill(&mut self) {
        self.signal("KILL").await;
    }

    /// As a service manager would; its exit code.
    pub async fn stop(&mut self) -> i32 {
        self.signal("TERM").await
    }

    async fn signal(&self, name: &str) -> i32 {
        self.rig.ok(&format!("kill -{name} $(cat {}/pid)", self.directory));
        let code = within(PATIENCE, || self.code()).unwrap_or_else(|| panic!("virsnapd lives after SIG{name}"));
        eventually("the bus sees it go", || async { (!self.client.is_served().await?).then_some(()) }).await;
        code
    }

    /// How it ended.
    fn code(&self) -> Option<i32> {
        self.rig.run(&format!("cat {}/code", self.directory)).stdout.trim().parse().ok()
    }

    /// `virsnap` in dom0, with this daemon.
    pub fn virsnap(&self, words: &str) -> Done {
        let Self { client, driver, .. } = self;
        self.rig.run(&format!("virsnap --bus {BUS} --bus-name {} --driver {driver} {words}", client.service))
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- the daemon's last words ---\n{}",
                self.rig.run(&format!("tail -n 200 {}/log", self.directory)).stdout
            );
        }
        self.rig.run(&format!("cd {0} && {{ [ -e code ] || kill -KILL $(cat pid); }}; rm -rf {0}", self.directory));
    }
}
