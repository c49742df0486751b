/** Small parts that every page uses. */
import type { ComponentProps, ReactNode } from "react";
import { Link } from "react-router";

import type { JobView } from "@/api/client";
import { verdictTitle } from "@/lib/format";
import { ROLES, type Role } from "@/lib/roles";

const VARIANTS = {
  primary: "bg-ink text-page hover:opacity-85",
  plain: "border border-line bg-card hover:bg-tint",
  danger: "border border-bad/40 text-bad hover:bg-bad/10",
};

const BUTTON = "inline-flex items-center whitespace-nowrap gap-2 rounded-md px-3 py-1.5 text-sm font-medium transition disabled:opacity-40";

export function Button({ variant = "plain", className = "", ...rest }: ComponentProps<"button"> & { variant?: keyof typeof VARIANTS }) {
  return <button type="button" {...rest} className={`${BUTTON} cursor-pointer disabled:cursor-default ${VARIANTS[variant]} ${className}`} />;
}

export function ButtonLink({ variant = "plain", ...rest }: ComponentProps<typeof Link> & { variant?: keyof typeof VARIANTS }) {
  return <Link {...rest} className={`${BUTTON} ${VARIANTS[variant]}`} />;
}

export function Card({ title, aside, children }: { title?: ReactNode; aside?: ReactNode; children: ReactNode }) {
  return (
    <section className="min-w-0 rounded-lg border border-line bg-card">
      {title && (
        <header className="flex flex-wrap items-center justify-between gap-x-4 gap-y-2 border-b border-line px-4 py-2.5">
          <h2 className="text-sm font-semibold">{title}</h2>
          {aside}
        </header>
      )}
      <div className="p-4">{children}</div>
    </section>
  );
}

const STATE_CLASSES: Record<JobView["state"], string> = {
  queued: "bg-tint text-soft",
  running: "bg-teacher/12 text-teacher",
  succeeded: "bg-good/12 text-good",
  failed: "bg-bad/12 text-bad",
  cancelled: "bg-tint text-soft",
};

export function StatusDot({ className }: { className: string }) {
  return <span className={`size-1.5 rounded-full ${className}`} />;
}

/** A state in a word or two; `busy` while it is about to change by itself. */
export function Chip({ className, busy = false, title, children }: { className: string; busy?: boolean; title?: string; children: ReactNode }) {
  return (
    <span className={`inline-flex items-center gap-1.5 rounded-full px-2 py-0.5 text-xs font-medium ${className}`} title={title}>
      {busy && <StatusDot className="animate-pulse bg-current" />}
      {children}
    </span>
  );
}

export function StateChip({ job }: { job: Pick<JobView, "state" | "cancel_requested" | "result"> }) {
  const stopping = job.state === "running" && job.cancel_requested;
  const stateClass = job.result?.verdict ? "bg-tint text-soft" : STATE_CLASSES[job.state];
  return (
    <Chip className={stateClass} busy={job.state === "running"}>
      {stopping ? "cancelling" : job.state}
    </Chip>
  );
}

/** Beside the state of a job that succeeded, where its numbers are no success. */
export function VerdictChip({ verdict }: { verdict: string }) {
  return (
    <Chip className="bg-bad/12 text-bad" title={verdict}>
      {verdictTitle(verdict).toLowerCase()}
    </Chip>
  );
}

export function ProgressBar({ fraction, label }: { fraction: number; label: string }) {
  const percent = Math.round(100 * fraction);
  return (
    <div
      className="h-1.5 w-full overflow-hidden rounded-full bg-tint"
      role="progressbar"
      aria-label={label}
      aria-valuenow={percent}
      aria-valuemin={0}
      aria-valuemax={100}
    >
      <div className="h-full rounded-full bg-student transition-[width] duration-500" style={{ width: `${percent}%` }} />
    </div>
  );
}

const TONES = {
  bad: { box: "border-bad/40 bg-bad/8", title: "text-bad" },
  warn: { box: "border-warn/40 bg-warn/8", title: "text-warn" },
  soft: { box: "border-line bg-tint", title: "" },
};

export function Notice({ tone, title, children }: { tone: keyof typeof TONES; title?: ReactNode; children?: ReactNode }) {
  const classes = TONES[tone];
  return (
    <div role={tone === "soft" ? "status" : "alert"} className={`rounded-lg border px-4 py-3 break-words ${classes.box}`}>
      {title && <p className={`font-medium ${classes.title}`}>{title}</p>}
      {children && <div className="mt-1 text-soft">{children}</div>}
    </div>
  );
}

export function Warning({ children }: { children: ReactNode }) {
  return <p className="mt-1 text-xs break-words text-warn">{children}</p>;
}

export function Loading() {
  return (
    <p role="status" className="py-4 text-soft">
      Loading…
    </p>
  );
}

export function EmptyState({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className="rounded-lg border border-dashed border-line px-6 py-12 text-center">
      <p className="font-medium">{title}</p>
      <div className="mx-auto mt-2 max-w-md text-soft">{children}</div>
    </div>
  );
}

export function RoleDot({ role }: { role: Role }) {
  return <span className={`inline-block size-2 rounded-full ${ROLES[role].background}`} aria-hidden />;
}

export function ApLabel({ role, title = ROLES[role].title }: { role: Role; title?: string }) {
  return (
    <>
      <RoleDot role={role} />
      {` ${title} AP`}
    </>
  );
}
