import { useParams } from "react-router";

import type { JobDetail } from "@/api/client";
import { type LiveState, useLiveJob } from "@/api/live";
import { isActive, useCancelJob, useJob } from "@/api/queries";
import { Button, Card, Notice, ProgressBar, StateChip, VerdictChip } from "@/components/basics";
import { Curves } from "@/features/job/Curves";
import { Downloads } from "@/features/job/Downloads";
import { EventLog } from "@/features/job/EventLog";
import { ResultTable } from "@/features/job/ResultTable";
import { Scores } from "@/features/job/Scores";
import { Timeline } from "@/features/job/Timeline";
import { formatAge, formatDuration, sentence, verdictTitle } from "@/lib/format";
import { useNow } from "@/lib/useNow";

export function JobPage() {
  const { id = "" } = useParams();
  const query = useJob(id);
  const live = useLiveJob(id, query.data);
  if (query.isError && !query.data) return <Notice tone="bad" title="This job cannot be shown">{query.error.message}</Notice>;
  const job = query.data;
  if (job === undefined) return null;
  return (
    <div className="space-y-5">
      <Header job={job} live={live.state} />
      {job.error && <Failure job={job} />}
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
        <pre className="max-h-96 overflow-auto font-mono text-xs whitespace-pre-wrap text-soft">
          {JSON.stringify(job.config, null, 2)}
        </pre>
      </Card>
    </div>
  );
}

function Header({ job, live }: { job: JobDetail; live: LiveState }) {
  const cancel = useCancelJob(job.id);
  const now = useNow(5000);
  const ran = job.started_at && (job.finished_at ? Date.parse(job.finished_at) : now) - Date.parse(job.started_at);
  return (
    <header className="flex flex-wrap items-start gap-x-4 gap-y-2">
      <div className="mr-auto">
        <h1 className="flex items-center gap-3 text-lg font-semibold">
          {job.name} <StateChip job={job} /> {job.result?.verdict && <VerdictChip verdict={job.result.verdict} />}
        </h1>
        <p className="mt-0.5 text-xs text-faint">
          {job.kind === "distill" ? "distillation" : "training"}, created {formatAge(job.created_at, now)}
          {ran ? `, ran for ${formatDuration(ran / 1000)}` : ""}
          {job.attempt > 1 && `, attempt ${job.attempt}`}
          {job.worker && job.state === "running" && `, on ${job.worker}`}
        </p>
      </div>
      {isActive(job) && <LiveChip state={live} />}
      {isActive(job) && (
        <Button look="danger" disabled={job.cancel_requested || cancel.isPending} onClick={() => cancel.mutate()}>
          {job.cancel_requested ? "Cancelling…" : "Cancel"}
        </Button>
      )}
    </header>
  );
}

function LiveChip({ state }: { state: LiveState }) {
  const looks = { live: "bg-good", reconnecting: "animate-pulse bg-student", ended: "bg-control" };
  return (
    <span className="flex items-center gap-1.5 self-center text-xs text-soft" data-live={state}>
      <span className={`size-1.5 rounded-full ${looks[state]}`} />
      {state === "live" ? "live" : state === "reconnecting" ? "reconnecting…" : "not live"}
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
          Field: <code>{error.pointer}</code>
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
      <p>{sentence(verdict.slice(title.length + 2))}</p>
    </Notice>
  );
}

function Progress({ job, speed }: { job: JobDetail; speed: number | null }) {
  return (
    <div>
      <div className="mb-1.5 flex justify-between text-sm">
        <span>{Math.round(100 * job.progress)} %</span>
        <span className="text-soft">
          {job.eta_seconds === null ? "starting" : `${formatDuration(job.eta_seconds)} left`}
          {speed !== null && `, ${speed.toFixed(speed < 10 ? 1 : 0)} images/s`}
        </span>
      </div>
      <ProgressBar share={job.progress} label="progress" />
    </div>
  );
}
