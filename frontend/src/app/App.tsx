import { Route, Routes } from "react-router";

import { Layout } from "@/app/Layout";
import { EmptyState } from "@/components/basics";
import { JobPage } from "@/features/job/JobPage";
import { JobsPage } from "@/features/jobs/JobsPage";
import { LibraryPage } from "@/features/library/LibraryPage";
import { NewJobPage } from "@/features/new-job/NewJobPage";
import { PATHS } from "@/lib/paths";

export function App() {
  return (
    <Routes>
      <Route element={<Layout />}>
        <Route path={PATHS.jobs} element={<JobsPage />} />
        <Route path={PATHS.newJob} element={<NewJobPage />} />
        <Route path={PATHS.library} element={<LibraryPage />} />
        <Route path={PATHS.job(":id")} element={<JobPage />} />
        <Route path="*" element={<EmptyState title="There is no such page">Choose one above.</EmptyState>} />
      </Route>
    </Routes>
  );
}
