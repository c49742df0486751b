import { Link, NavLink, Outlet } from "react-router";

import { useHealth } from "@/api/queries";
import { ButtonLink, Notice, StatusDot } from "@/components/basics";
import icon from "@/icon.svg";
import { formatClock } from "@/lib/format";
import { PATHS } from "@/lib/paths";

export function Layout() {
  return (
    <div className="min-h-screen">
      <header className="sticky top-0 z-10 border-b border-line bg-card/90 backdrop-blur">
        <nav className="mx-auto flex max-w-6xl flex-wrap items-center gap-x-6 gap-y-2 px-4 py-3 sm:px-6" aria-label="main">
          <Link to={PATHS.jobs} className="flex items-center gap-2 font-semibold tracking-tight">
            <img src={icon} alt="" className="size-5" />
            detrdistill
          </Link>
          <Tab to={PATHS.jobs}>Jobs</Tab>
          <Tab to={PATHS.library}>Library</Tab>
          <a href="/docs" className="text-soft hover:text-ink">
            API
          </a>
          <span className="ml-auto flex items-center gap-4">
            <Workers />
            <ButtonLink to={PATHS.newJob} variant="primary">
              New job
            </ButtonLink>
          </span>
        </nav>
      </header>
      <main className="mx-auto max-w-6xl px-4 py-6 sm:px-6">
        <ServiceUnavailable />
        <Outlet />
      </main>
    </div>
  );
}

function Tab({ to, children }: { to: string; children: string }) {
  return (
    <NavLink to={to} end className={({ isActive }) => (isActive ? "text-ink" : "text-soft hover:text-ink")}>
      {children}
    </NavLink>
  );
}

/** Said once on every page; what the page shows may be old. */
function ServiceUnavailable() {
  const { isError, error, dataUpdatedAt } = useHealth();
  if (!isError) return null;
  return (
    <div className="mb-5">
      <Notice tone="bad" title="The service does not answer">
        {error.message !== "The service does not answer." && `${error.message} `}
        {dataUpdatedAt > 0 && `It last did at ${formatClock(new Date(dataUpdatedAt).toISOString())}; what is shown may be older than that. `}
        This page asks again and goes on by itself.
      </Notice>
    </div>
  );
}

/** Whether anything would be done with a job submitted now. */
function Workers() {
  const health = useHealth();
  if (health.isPending) return null;
  const count = health.data?.workers ?? 0;
  const text = health.isError ? "service unreachable" : count === 0 ? "no worker" : `${count} worker${count > 1 ? "s" : ""}`;
  const color = health.isError || count === 0 ? "bg-bad" : "bg-good";
  return (
    <span className="flex items-center gap-1.5 text-xs whitespace-nowrap text-soft" title="Jobs wait while there is no worker.">
      <StatusDot className={color} />
      {text}
    </span>
  );
}
