//! Files of containers: archives in and out, changes, images made of them.

use super::images::{detached, reference};
use crate::body::{Answer, Archive, breakable, document, empty, json, ok, reader, typed, with};
use crate::convert::list;
use crate::error::Failure;
use crate::server::Call;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use proa_docker_api::{ContainerConfig, ContainerPathStat, FilesystemChange, IdResponse};
use proa_engine::{Action, CommitOptions, PathStat, UnpackOptions};
use proa_image::difference::{Change, ChangeKind};
use proa_oci::image::ExecConfig;
use std::sync::Arc;
use tokio::sync::mpsc;

type Handled = Result<Answer, Failure>;

/// Pieces of an archive on their way.
const PIECES: usize = 8;

fn path(call: &Call) -> Result<&str, Failure> {
    call.query.text("path").ok_or_else(|| Failure::bad("missing parameter: path"))
}

/// An archive of a path, or with `HEAD` only what the path is.
pub(crate) async fn archive(call: Call) -> Handled {
    let path = path(&call)?;
    if call.request.method() == Method::HEAD {
        let stat = call.engine().path_stat(call.name(), path).await?;
        return described(empty(StatusCode::OK), &stat);
    }
    let (sender, receiver) = mpsc::channel(PIECES);
    let stat = call.engine().archive(call.name(), path, Archive(sender)).await?;
    described(typed(with(StatusCode::OK, breakable(receiver)), "application/x-tar"), &stat)
}

/// The same answer with the header that tells what a path is.
fn described(mut answer: Answer, stat: &PathStat) -> Handled {
    let wire = ContainerPathStat {
        name: stat.name.clone(),
        size: stat.size,
        mode: go_mode(stat.mode),
        mtime: stat.modified.to_string(),
        link_target: stat.link_target.clone(),
    };
    let header = STANDARD.encode(serde_json::to_vec(&wire).unwrap_or_default());
    let header = HeaderValue::from_str(&header);
    let header = header.map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    answer.headers_mut().insert("x-docker-container-path-stat", header);
    Ok(answer)
}

/// Kind and permissions as Go's `fs.FileMode` has them.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,
        0o120_000 => 1 << 27,
        0o060_000 => 1 << 26,
        0o020_000 => 1 << 26 | 1 << 21,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        _ => 0,
    };
    let bits = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let bits = bits.iter().filter(|(bit, _)| mode & bit != 0).fold(0, |sum, (_, go)| sum | go);
    kind | bits | mode & 0o777
}

pub(crate) async fn extract(call: Call) -> Handled {
    let path = path(&call)?.to_owned();
    let options = UnpackOptions {
        keep_kind: call.query.flag("noOverwriteDirNonDir"),
        own: call.query.flag("copyUIDGID"),
    };
    let (engine, name) = (Arc::clone(call.engine()), call.name().to_owned());
    engine.extract(&name, &path, options, reader(call.request.into_body())).await?;
    Ok(empty(StatusCode::OK))
}

pub(crate) async fn export(call: Call) -> Handled {
    let (sender, receiver) = mpsc::channel(PIECES);
    call.engine().export(call.name(), Archive(sender)).await?;
    Ok(typed(with(StatusCode::OK, breakable(receiver)), "application/octet-stream"))
}

pub(crate) async fn changes(call: Call) -> Handled {
    let changes = call.engine().timed(Action::Changes, call.engine().changes(call.name())).await?;
    let wire = |change: &Change| FilesystemChange {
        path: String::from_utf8_lossy(&change.path).into_owned(),
        kind: match change.kind {
            ChangeKind::Modified => 0,
            ChangeKind::Added => 1,
            ChangeKind::Deleted => 2,
        },
    };
    // Docker says null where nothing has changed.
    ok(&crate::convert::nullable(changes.iter().map(wire).collect::<Vec<_>>()))
}

/// An image of a container. It is made to its end whoever waits for it: the container may stand still meanwhile.
pub(crate) async fn commit(call: Call) -> Handled {
    let Call { api, request, query, .. } = call;
    let config: Option<ContainerConfig> = document(request.into_body()).await?;
    let config = config.filter(|config| *config != ContainerConfig::default()).map(exec_config);
    let container = query.text("container").unwrap_or_default().to_owned();
    let named = query.text("repo").map(|repo| reference(repo, query.text("tag"))).transpose()?;
    let text = |name: &str| query.text(name).unwrap_or_default().to_owned();
    let options = CommitOptions {
        reference: named,
        author: text("author"),
        comment: text("comment"),
        pause: query.text("pause").is_none() || query.flag("pause"),
        changes: query.all("changes").iter().flat_map(|all| all.split('\n')).map(Into::into).collect(),
        config,
    };
    let engine = Arc::clone(&api.engine);
    let image =
        detached(async move { Ok(engine.timed(Action::Commit, engine.commit(&container, options)).await?) })
            .await?;
    Ok(json(StatusCode::CREATED, &IdResponse { id: image.id.to_string() }))
}

/// A configuration as an image has it.
fn exec_config(config: ContainerConfig) -> ExecConfig {
    ExecConfig {
        user: config.user,
        exposed_ports: config.exposed_ports.into_iter().collect(),
        env: list(config.env),
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        volumes: config.volumes.unwrap_or_default().into_iter().collect(),
        working_dir: config.working_dir,
        labels: config.labels,
        stop_signal: config.stop_signal,
        healthcheck: config.healthcheck.and_then(|check| serde_json::to_value(check).ok()),
        shell: config.shell,
        on_build: config.on_build,
        args_escaped: config.args_escaped,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn modes_are_written_as_go_writes_them() {
        for (mode, go) in [
            (0o100_644, 0o644),
            (0o040_755, 1 << 31 | 0o755),
            (0o120_777, 1 << 27 | 0o777),
            (0o104_755, 1 << 23 | 0o755),
            (0o041_777, 1 << 31 | 1 << 20 | 0o777),
            (0o020_666, 1 << 26 | 1 << 21 | 0o666),
        ] {
            assert_eq!(super::go_mode(mode), go, "{mode:o}");
        }
    }
}
