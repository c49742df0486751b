import { Link, useParams } from "react-router";

import { ApiProblem, type JobDetail } from "@/api/client";
import { type Live, useLiveJob } from "@/api/live";
import { isActive, useCancelJob, useJob, useRetryJob } from "@/api/queries";
import { Button, Card, Loading, Notice, ProgressBar, StateChip, StatusDot, VerdictChip } from "@/components/basics";
import { Curves } from "@/features/job/Curves";
import { Downloads } from "@/features/job/Downloads";
import { EventLog } from "@/features/job/EventLog";
import { ResultTable } from "@/features/job/ResultTable";
import { Scores } from "@/features/job/Scores";
import { Timeline } from "@/features/job/Timeline";
import { capitalize, formatAge, formatDuration, formatPercent, verdictTitle } from "@/lib/format";
import { JOB_KINDS } from "@/lib/jobs";
import { PATHS } from "@/lib/paths";
import { labelOf } from "@/lib/pointers";
import { useNow } from "@/lib/useNow";

export function JobPage() {
  const { id = "" } = useParams();
  return <Job key={id} id={id} />;
}

function Job({ id }: { id: string }) {
  const query = useJob(id);
  const live = useLiveJob(id, query.data);
  const job = query.data;
  if (job === undefined) return query.error ? <JobError error={query.error} /> : <Loading />;
  return (
    <div className="space-y-5">
      <Header job={job} live={live} />
      {job.error && <Failure job={job} />}
      {job.waiting_for?.length > 0 && <Waiting pointers={job.waiting_for} />}
      {job.result?.verdict && <Verdict verdict={job.result.verdict} />}
      <Timeline job={job} />
      {job.state === "running" && <Progress job={job} speed={live.speed} />}
      <Scores job={job} />
      {job.result && <ResultTable result={job.result} />}
      <Curves job={job} />
      <div className="grid gap-5 lg:grid-cols-2">
        <Downloads job={job} />
        <EventLog events={live.events} />
      </div>
      <Card title="Configuration">
        <pre className="max-h-96 overflow-auto font-mono text-xs break-words whitespace-pre-wrap text-soft">
          {JSON.stringify(job.config, null, 2)}
        </pre>
      </Card>
    </div>
  );
}

function JobError({ error }: { error: Error }) {
  const unknown = error instanceof ApiProblem && [404, 422].includes(error.problem.status);
  return (
    <Notice tone="bad" title={unknown ? "There is no such job" : "This job cannot be shown"}>
      {!unknown && `${error.message} `}
      <Link to={PATHS.jobs} className="underline">
        All jobs
      </Link>
    </Notice>
  );
}

function Waiting({ pointers }: { pointers: string[] }) {
  const names = pointers.map((pointer) => labelOf(pointer)?.toLowerCase() ?? pointer);
  return (
    <Notice tone="soft" title="Waiting for files that are still being checked">
      {names.join(", ")}
    </Notice>
  );
}

function Header({ job, live }: { job: JobDetail; live: Live }) {
  const cancel = useCancelJob(job.id);
  const now = useNow(live.state === "reconnecting" ? 1000 : 5000);
  const ran = job.started_at && (job.finished_at ? Date.parse(job.finished_at) : now) - Date.parse(job.started_at);
  return (
    <header className="flex flex-wrap items-start gap-x-4 gap-y-2">
      <div className="mr-auto min-w-0">
        <h1 className="flex flex-wrap items-center gap-x-3 text-lg font-semibold break-words">
          <span className="min-w-0">{job.name}</span> <StateChip job={job} />
          {job.result?.verdict && <VerdictChip verdict={job.result.verdict} />}
        </h1>
        <p className="mt-0.5 text-xs text-faint">
          {JOB_KINDS[job.kind]}, created {formatAge(job.created_at, now)}
          {ran ? `, ran for ${formatDuration(ran / 1000)}` : ""}
          {job.attempt > 1 && `, attempt ${job.attempt}`}
          {job.worker && job.state === "running" && `, on ${job.worker}`}
        </p>
      </div>
      {isActive(job) && <LiveChip live={live} now={now} />}
      {isActive(job) && (
        <Button variant="danger" disabled={job.cancel_requested || cancel.isPending} onClick={() => cancel.mutate()}>
          {job.cancel_requested ? "Cancelling…" : "Cancel"}
        </Button>
      )}
      {(job.state === "failed" || job.state === "cancelled") && <Retry id={job.id} />}
      {cancel.error && isActive(job) && (
        <div className="w-full">
          <Notice tone="bad" title="The job was not cancelled">{cancel.error.message}</Notice>
        </div>
      )}
    </header>
  );
}

/** Run the job again, with what it has done so far or without. */
function Retry({ id }: { id: string }) {
  const retry = useRetryJob(id);
  return (
    <>
      <Button variant="primary" disabled={retry.isPending} onClick={() => retry.mutate("checkpoint")}>
        Go on from the last checkpoint
      </Button>
      <Button disabled={retry.isPending} onClick={() => retry.mutate("start")}>
        Run again from the start
      </Button>
      {retry.error && (
        <div className="w-full">
          <Notice tone="bad" title="The job was not started again">
            {retry.error.message} {retry.error instanceof ApiProblem && retry.error.fields.map(({ hint }) => hint).join(" ")}
          </Notice>
        </div>
      )}
    </>
  );
}

function LiveChip({ live: { state, lastAt }, now }: { live: Live; now: number }) {
  const colors = { live: "bg-good", reconnecting: "animate-pulse bg-student", ended: "bg-control" };
  const last = lastAt === null ? "" : `, last event ${Math.max(0, Math.round((now - lastAt) / 1000))} s ago`;
  return (
    <span className="flex items-center gap-1.5 self-center text-xs text-soft" data-live={state}>
      <StatusDot className={colors[state]} />
      {state === "live" ? "live" : state === "reconnecting" ? `reconnecting…${last}` : "not live"}
    </span>
  );
}

function Failure({ job }: { job: JobDetail }) {
  const { error } = job;
  if (error === null) return null;
  return (
    <Notice tone={job.state === "failed" ? "bad" : "soft"} title={error.message}>
      {error.hint && <p className="whitespace-pre-wrap">{error.hint}</p>}
      {error.pointer && (
        <p className="mt-1 text-xs">
          Field: {labelOf(error.pointer) ?? <code>{error.pointer}</code>}
        </p>
      )}
    </Notice>
  );
}

/** Why the numbers of a job that succeeded are no success. Its first words are the title. */
function Verdict({ verdict }: { verdict: string }) {
  const title = verdictTitle(verdict);
  return (
    <Notice tone="bad" title={title}>
      <p>{capitalize(verdict.slice(title.length + 2))}</p>
    </Notice>
  );
}

function Progress({ job, speed }: { job: JobDetail; speed: number | null }) {
  return (
    <div>
      <div className="mb-1.5 flex justify-between text-sm">
        <span>{formatPercent(job.progress)}</span>
        <span className="text-soft">
          {job.eta_seconds === null ? "starting" : `${formatDuration(job.eta_seconds)} left`}
          {speed !== null && `, ${speed.toFixed(speed < 10 ? 1 : 0)} images/s`}
        </span>
      </div>
      <ProgressBar fraction={job.progress} label="progress" />
    </div>
  );
}
