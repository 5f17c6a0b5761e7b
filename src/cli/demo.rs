//! `demo`: plays the whole way of a tap without a server, a reader or a configuration.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Exit, runtime};
use crate::demo::headless;
use crate::demo::page::DemoPage;
use crate::demo::process::AgentProcess;
use crate::demo::scene::Scene;

#[derive(clap::Args)]
pub(super) struct DemoArgs {
    /// Play taps, an outage, kills and the recovery, print what happened, and end; 0 only if every promise held.
    #[arg(long)]
    headless: bool,
}

pub(super) fn run(arguments: &DemoArgs) -> Exit {
    let played = std::env::current_exe().context("find this program").and_then(|program| {
        let runtime = runtime().context("start the runtime")?;
        runtime.block_on(async {
            // They are listened for before there is anything to leave behind: agent, directory and reader go when they are dropped.
            let mut end = EndSignals::listen().context("listen for signals")?;
            if arguments.headless {
                tokio::select! {
                    played = headless::play(&program) => played,
                    () = end.recv() => anyhow::bail!("play to the end: a signal came before"),
                }
            } else {
                show(&program, &mut end).await
            }
        })
    });
    match played {
        Ok(true) => Exit::Done,
        Ok(false) => Exit::Failed,
        Err(error) => {
            say_error!("failed to {error:#}");
            Exit::Failed
        }
    }
}

/// The signals that end the demo in order.
struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl EndSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one of them.
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

/// Shows the page until a signal comes. True when the agent ended in order, which a second signal does not wait for.
async fn show(program: &Path, end: &mut EndSignals) -> anyhow::Result<bool> {
    let (page, agent, listener) = tokio::select! {
        opened = open(program) => opened?,
        () = end.recv() => return Ok(true),
    };
    tokio::select! {
        served = async { axum::serve(listener, page.clone().router()).await } => served.context("show the page")?,
        () = end.recv() => {}
    }
    let ended = tokio::select! {
        ended = agent.terminate() => ended.context("stop the agent")?.success(),
        () = end.recv() => false,
    };
    // The agent has written its last by now.
    drop(page);
    Ok(ended)
}

/// Starts everything and says where the page is.
async fn open(program: &Path) -> anyhow::Result<(DemoPage, AgentProcess, TcpListener)> {
    let scene = Scene::set(program).await.context("make the scene")?;
    let agent = scene.start().await.context("start the agent")?;
    let listener = TcpListener::bind("127.0.0.1:0").await.context("open the page")?;
    let address = listener.local_addr().context("open the page")?;
    // The other commands exit at once when nobody reads their output. This one must stop its agent first.
    writeln!(
        io::stdout(),
        "The demo's page: http://{address}/    (Ctrl-C ends it)\n\
         The agent's own page: {}/    its configuration: {}",
        agent.page(),
        scene.config().display()
    )
    .context("say where the page is")?;
    Ok((DemoPage::new(scene, agent.page()), agent, listener))
}
