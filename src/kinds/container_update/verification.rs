//! A program that looks at an image before it is used, such as a scanner. What it does not say clearly keeps the image out.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::sleep;

use crate::kinds::command::{Command, Setting};
use crate::kinds::programs::with_programs_until;
use crate::process::{Ended, Exit, Log, Output, Sink, Streams};
use crate::run::{Failure, RunContext};
use crate::values::{Duration, Size, Template};

/// How much of the end of its output is read, and how much of all is kept, in bytes.
const MOST_READ: usize = 64 * 1024;
const KEPT: Size = Size::from_bytes(64 * 1024);
/// What its arguments may name.
pub(super) const FIELDS: &[&str] = &["digest", "image", "image_id", "container", "platform"];
/// How serious a finding is, the worst first.
const SEVERITIES: [&str; 4] = ["critical", "high", "medium", "low"];

/// The keys of `verify`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Verify {
    pub argv: Vec<Template>,
    #[serde(default = "ten_minutes")]
    pub timeout: Duration,
    #[serde(default)]
    pub block: Block,
}

/// What keeps an image out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Block {
    /// Nothing: what it says is kept with the run.
    Never,
    /// Another exit code than 0.
    #[default]
    Failure,
    Critical,
    CriticalHigh,
    Any,
    /// More findings, or more of a serious kind, than the image has that runs now.
    MoreThanCurrent,
}

fn ten_minutes() -> Duration {
    Duration::from_seconds(600)
}

/// An image that is looked at, for a container.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub digest: String,
    pub image: String,
    pub image_id: String,
    pub container: String,
    pub platform: String,
}

/// How many findings of each severity there are.
type Counts = [u64; 4];

impl Verify {
    /// Whether it goes by numbers of findings.
    fn counts(&self) -> bool {
        !matches!(self.block, Block::Never | Block::Failure)
    }

    /// Looks at the image of `new`, and where it must be compared, at that of `current`; gives why it is kept out, if so.
    ///
    /// # Errors
    /// That the run is to end.
    pub(super) async fn blocks(
        &self,
        new: Subject,
        current: Subject,
        ctx: &RunContext,
    ) -> Result<Option<String>, Failure> {
        let found = self.look(new, ctx).await?;
        let found = match found {
            Err(why) if self.block == Block::Never => {
                tracing::warn!(job = %ctx.job, "{why}");
                return Ok(None);
            }
            Err(why) => return Ok(Some(why)),
            Ok(_) if self.block == Block::Never => return Ok(None),
            Ok(found) => found,
        };
        let total = |counts: &Counts| counts.iter().sum::<u64>();
        let is_blocked = match self.block {
            Block::Never | Block::Failure => false,
            Block::Critical => found[0] > 0,
            Block::CriticalHigh => found[0] + found[1] > 0,
            Block::Any => total(&found) > 0,
            Block::MoreThanCurrent => {
                if current.digest.is_empty() {
                    return Ok(Some(
                        "the image that runs now has no digest, so that the two cannot be compared".to_owned(),
                    ));
                }
                let before = match self.look(current, ctx).await? {
                    Ok(before) => before,
                    Err(why) => return Ok(Some(format!("of the image that runs now, {why}"))),
                };
                let is_worse = found[0] > before[0] || found[1] > before[1] || total(&found) > total(&before);
                return Ok(is_worse.then(|| {
                    format!(
                        "it has {}, and the image that runs now {}",
                        in_words(&found),
                        in_words(&before)
                    )
                }));
            }
        };
        Ok(is_blocked.then(|| format!("it has {}", in_words(&found))))
    }

    /// Runs the program on one image; gives what it counted, or why that says nothing good.
    async fn look(&self, subject: Subject, ctx: &RunContext) -> Result<Result<Counts, String>, Failure> {
        let argv: Vec<String> = self
            .argv
            .iter()
            .map(|argument| argument.render(|name| subject.field(name)))
            .collect();
        let (command, limit) = (Command::of(argv), self.timeout.to_std());
        let done = with_programs_until(ctx, &command, sleep(limit), |command, ctx, asked| {
            let mut sink = Both {
                shown: Output {
                    job: &ctx.job,
                    run: ctx.run_number(),
                    redactor: &ctx.surroundings.redactor,
                    kept: &ctx.output,
                    keep: KEPT,
                    log: Some(Log::default()),
                    streams: Streams::default(),
                },
                last: Vec::new(),
            };
            let ended = command.execute_into(ctx, asked, &Setting::of(ctx), &mut sink);
            Ok((ended, sink.last))
        });
        let (ended, output) = done.await?;
        if ctx.cancel.is_cancelled() {
            return Err(Failure::lasting("it was cut off while an image was verified"));
        }
        Ok(self.verdict(ended.map_err(|failure| failure.message), &output))
    }

    fn verdict(&self, ended: Result<Ended, String>, output: &[u8]) -> Result<Counts, String> {
        let ended = ended.map_err(|why| format!("`verify` could not be run: {why}"))?;
        if ended.by.is_some() {
            return Err(format!("`verify` did not end within {}", self.timeout));
        }
        if !self.counts() {
            return match ended.exit {
                Exit::Code(0) => Ok(Counts::default()),
                exit => Err(format!("`verify` refused it: {exit}")),
            };
        }
        let last = String::from_utf8_lossy(output);
        let last = last
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        counted(last).ok_or_else(|| {
            format!(
                "`verify` gave no numbers in its last line ({}): {{\"critical\":0,\"high\":0,…}} is expected",
                ended.exit
            )
        })
    }
}

/// The numbers in a line of JSON; those of severities that it leaves out are 0, but one must be there.
fn counted(line: &str) -> Option<Counts> {
    let found: Value = serde_json::from_str(line).ok()?;
    let table = found.as_object()?;
    let mut counts = Counts::default();
    let mut is_any = false;
    for (count, severity) in counts.iter_mut().zip(SEVERITIES) {
        if let Some(value) = table.get(severity) {
            *count = value.as_u64()?;
            is_any = true;
        }
    }
    is_any.then_some(counts)
}

fn in_words(counts: &Counts) -> String {
    let parts = counts
        .iter()
        .zip(SEVERITIES)
        .map(|(count, severity)| format!("{count} {severity}"));
    parts.collect::<Vec<String>>().join(", ")
}

impl Subject {
    fn field(&self, name: &str) -> Option<String> {
        Some(match name {
            "digest" => self.digest.clone(),
            "image" => self.image.clone(),
            "image_id" => self.image_id.clone(),
            "container" => self.container.clone(),
            "platform" => self.platform.clone(),
            _ => return None,
        })
    }
}

/// Shows what a program prints, and reads the end of its output.
struct Both<'a> {
    shown: Output<'a>,
    last: Vec<u8>,
}

impl Sink for Both<'_> {
    fn take(&mut self, stream: usize, bytes: &[u8]) {
        self.shown.take(stream, bytes);
        if stream == 0 {
            self.last.extend_from_slice(bytes);
            let surplus = self.last.len().saturating_sub(MOST_READ);
            self.last.drain(..surplus);
        }
    }

    fn end(&mut self) {
        self.shown.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_and_anything_else_is_none() {
        assert_eq!(
            counted(r#"{"critical":1,"high":2,"medium":3,"low":4}"#),
            Some([1, 2, 3, 4])
        );
        assert_eq!(counted(r#"{"high":2,"other":"x"}"#), Some([0, 2, 0, 0]));
        for bad in [
            "",
            "ok",
            "{}",
            "[1]",
            r#"{"critical":"1"}"#,
            r#"{"critical":-1}"#,
            r#"{"critical":1.5}"#,
        ] {
            assert_eq!(counted(bad), None, "{bad}");
        }
    }
}
