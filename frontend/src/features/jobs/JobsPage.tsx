import type { ReactNode } from "react";
import { Link } from "react-router";

import type { JobView } from "@/api/client";
import { rowsOf, useJobs } from "@/api/queries";
import { ApLabel, Button, ButtonLink, EmptyState, Loading, Notice, ProgressBar, StateChip, VerdictChip } from "@/components/basics";
import { formatAge, formatAp, formatDuration, formatGain, formatPercent, gainColor } from "@/lib/format";
import { JOB_KINDS, apOf } from "@/lib/jobs";
import { PATHS } from "@/lib/paths";
import { useNow } from "@/lib/useNow";

export function JobsPage() {
  const jobs = useJobs();
  const now = useNow(5000);
  if (jobs.isError && !jobs.data) return <Notice tone="bad" title="The jobs could not be loaded">{jobs.error.message}</Notice>;
  if (jobs.isPending) return <Loading />;
  const rows = rowsOf(jobs);
  if (rows.length === 0) return <Welcome />;
  return (
    <>
      <h1 className="mb-4 text-lg font-semibold">Jobs</h1>
      <div className="overflow-x-auto rounded-lg border border-line bg-card">
        <table className="w-full text-left">
          <thead className="border-b border-line text-xs text-soft">
            <tr>
              <HeaderCell>Job</HeaderCell>
              <HeaderCell>State</HeaderCell>
              <HeaderCell className={WIDE}>
                <ApLabel role="teacher" />
              </HeaderCell>
              <HeaderCell>
                <ApLabel role="student" />
              </HeaderCell>
              <HeaderCell className={WIDE}>
                <ApLabel role="control" />
              </HeaderCell>
              <HeaderCell>KD gain</HeaderCell>
              <HeaderCell className={WIDE}>Created</HeaderCell>
            </tr>
          </thead>
          <tbody className="divide-y divide-line">
            {rows.map((job) => (
              <Row key={job.id} job={job} now={now} />
            ))}
          </tbody>
        </table>
      </div>
      {jobs.hasNextPage && (
        <Button className="mt-4" disabled={jobs.isFetchingNextPage} onClick={() => void jobs.fetchNextPage()}>
          Older jobs
        </Button>
      )}
    </>
  );
}

/** Columns that a phone has no room for; the page of the job has them. */
const WIDE = "hidden sm:table-cell";
const CELL = "px-2 py-3 sm:px-4";

function HeaderCell({ className = "", children }: { className?: string; children: ReactNode }) {
  return <th className={`px-2 py-2 font-medium sm:px-4 sm:whitespace-nowrap ${className}`}>{children}</th>;
}

function Row({ job, now }: { job: JobView; now: number }) {
  const verdict = job.result?.verdict;
  const gain = verdict ? null : job.result?.kd_gain;
  return (
    <tr className="hover:bg-tint/60">
      <td className={`${CELL} break-words`}>
        <Link to={PATHS.job(job.id)} className="font-medium hover:underline">
          {job.name}
        </Link>
        <p className="text-xs text-faint">{JOB_KINDS[job.kind]}</p>
      </td>
      <td className={`${CELL} sm:w-56`}>
        <StateChip job={job} /> {verdict && <VerdictChip verdict={verdict} />}
        {job.state === "running" && (
          <div className="mt-2 space-y-1">
            <ProgressBar fraction={job.progress} label={`progress of ${job.name}`} />
            <p className="text-xs text-faint">
              {formatPercent(job.progress)}
              {job.eta_seconds !== null && `, ${formatDuration(job.eta_seconds)} left`}
            </p>
          </div>
        )}
        {job.waiting_for?.length > 0 && <p className="mt-1 text-xs text-faint">waits: files are being checked</p>}
        {job.state === "failed" && <p className="mt-1 line-clamp-2 text-xs text-faint">{job.error?.message}</p>}
      </td>
      <td className={`${CELL} ${WIDE}`}>{formatAp(job.ap.teacher)}</td>
      <td className={`${CELL} font-semibold`}>{formatAp(apOf(job, "student"))}</td>
      <td className={`${CELL} ${WIDE}`}>{formatAp(apOf(job, "control"))}</td>
      <td className={`${CELL} ${gainColor(gain, verdict)}`}>{formatGain(gain)}</td>
      <td className={`${CELL} ${WIDE} whitespace-nowrap text-soft`}>{formatAge(job.created_at, now)}</td>
    </tr>
  );
}

function Welcome() {
  return (
    <EmptyState title="No jobs yet">
      <p>
        Upload a COCO dataset and a strong detector, choose a small one, and get it nearly as good. <code>make demo</code> shows
        the whole way on a built-in example.
      </p>
      <p className="mt-4">
        <ButtonLink to={PATHS.newJob} variant="primary">
          Start the first job
        </ButtonLink>
      </p>
    </EmptyState>
  );
}
