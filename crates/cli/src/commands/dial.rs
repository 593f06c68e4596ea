//! `system dial-stdio`: standard input and output as a connection to the engine, for ssh.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::app::App;
use crate::error::Result;

/// `system dial-stdio`: ends when the engine has nothing more to say.
pub(crate) async fn dial(app: &App) -> Result<()> {
    let connection = app.client.open().await?;
    let (mut from_engine, mut to_engine) = tokio::io::split(connection);
    let input = async move {
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut to_engine).await;
        // the engine may still answer what it was asked
        let _ = to_engine.shutdown().await;
        std::future::pending::<()>().await;
    };
    let output = async move {
        let mut stdout = tokio::io::stdout();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = from_engine.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            stdout.write_all(buffer.get(..read).unwrap_or_default()).await?;
            stdout.flush().await?;
        }
    };
    tokio::select! { done = output => done, () = input => Ok(()) }
}
