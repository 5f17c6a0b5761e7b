//! `demo`: plays the whole way of a tap without a server, a reader or a configuration.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, runtime};
use crate::demo::headless;
use crate::demo::page::Stage;
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
        if arguments.headless { runtime.block_on(headless::play(&program)) } else { runtime.block_on(open(&program)) }
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

/// Shows the page until Ctrl-C. Returns true when the agent ended without an error.
async fn open(program: &Path) -> anyhow::Result<bool> {
    let scene = Scene::set(program).await.context("set the stage")?;
    let agent = scene.start().await.context("start the agent")?;
    let listener = TcpListener::bind("127.0.0.1:0").await.context("open the page")?;
    let address = listener.local_addr().context("open the page")?;
    // The other commands exit at once when nobody reads their output. This one must stop its agent first.
    writeln!(
        std::io::stdout(),
        "The demo's page: http://{address}/    (Ctrl-C ends it)\n\
         The agent's own page: {}/    its configuration: {}",
        agent.page(),
        scene.config().display()
    )
    .context("say where the page is")?;
    let router = Stage::new(scene, agent.page()).router();
    let listen = |kind| signal(kind).context("listen for signals");
    let (mut terminate, mut hangup) = (listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    tokio::select! {
        served = async { axum::serve(listener, router).await } => served.context("show the page")?,
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(agent.terminate().await.context("stop the agent")?.success())
}
