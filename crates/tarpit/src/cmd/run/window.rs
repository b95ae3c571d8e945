//! The admin listener of a running gateway: opened, moved by a reload, open until the end.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tarpit_admin::control::{Office, PREFIX, Place, SUFFIX};
use tarpit_admin::{Admin, Control, ControlError, IfTaken, OpenError};
use tarpit_gateway::Handle;
use tarpit_gateway::runtime::Runtime;
use tracing::{info, warn};

use crate::config::{self, Loaded};

/// What is shown to administrators, and where.
#[derive(Debug)]
pub(super) struct Window {
    settings: config::Admin,
    /// Dropping it closes it.
    open: Option<Admin>,
}

impl Window {
    /// Opens it, if the configuration says so.
    ///
    /// # Errors
    ///
    /// The file names an address that can't be had. For the default that is no error: nobody asked
    /// for it, and the next gateway on a machine must start. Nor is it with `waits`: a predecessor has
    /// the address until it has handed everything over.
    pub(super) fn open(
        handle: &Handle,
        settings: config::Admin,
        waits: bool,
    ) -> Result<Self, OpenError> {
        let if_taken = if settings.is_said && !waits {
            IfTaken::Refuse
        } else {
            IfTaken::Wait
        };
        let token = &settings.token;
        let open = settings
            .address
            .map(|address| Admin::open(handle.clone(), address, token.clone(), if_taken))
            .transpose()?;
        Ok(Self { settings, open })
    }

    /// One as `settings` say, if that is another place than this one's.
    ///
    /// # Errors
    ///
    /// As [`Self::open`]; then this one stays.
    pub(super) fn moved(
        &self,
        handle: &Handle,
        settings: &config::Admin,
    ) -> Result<Option<Self>, OpenError> {
        if settings.address == self.settings.address {
            return Ok(None);
        }
        Self::open(handle, settings.clone(), false).map(Some)
    }

    /// It stays where it is, for whom `settings` say.
    pub(super) fn keep(&mut self, settings: config::Admin) {
        if let Some(open) = self
            .open
            .as_ref()
            .filter(|_| settings.token != self.settings.token)
        {
            open.ask_for(settings.token.clone());
        }
        self.settings = settings;
    }

    /// Closes it.
    pub(super) fn close(&mut self) {
        if let Some(admin) = self.open.take() {
            info!(target: "tarpit::admin", address = %admin.asked(), "the admin listener is closed");
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.close();
    }
}

/// Whoever panicked with it left it whole.
pub(super) fn lock(window: &Mutex<Window>) -> MutexGuard<'_, Window> {
    window.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the control socket. Mail is more important: where no folder for it can be had, and nobody
/// named one, the gateway runs without.
///
/// # Errors
///
/// The file names a socket that can't be had.
pub(super) fn open_control(
    office: Office,
    loaded: &Loaded,
    takes_over: bool,
) -> Result<Option<Control>, ControlError> {
    let group = loaded.control.group;
    if let Some(path) = loaded.control.socket.clone() {
        return Control::open(office, &Place { path, group }, takes_over).map(Some);
    }
    let runtime = match Runtime::open(loaded.runtime_directory()) {
        Ok(runtime) => runtime,
        Err(error) => {
            warn!(target: "tarpit::control", %error, "no command will find this process");
            return Ok(None);
        }
    };
    let name = format!("{PREFIX}{}{SUFFIX}", std::process::id());
    let path = runtime.path().join(name);
    // Of another process that had our number.
    let opened = Control::open(office, &Place { path, group }, true);
    Ok(opened
        .inspect_err(|error| {
            warn!(target: "tarpit::control", %error, "no command will find this process");
        })
        .ok())
}

/// The configuration file's name for those in other folders.
pub(super) fn absolute(file: &Path) -> PathBuf {
    std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned())
}
