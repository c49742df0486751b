import { Route, Routes } from "react-router";

import { Layout } from "@/app/Layout";
import { EmptyState } from "@/components/basics";
import { JobPage } from "@/features/job/JobPage";
import { JobsPage } from "@/features/jobs/JobsPage";
import { LibraryPage } from "@/features/library/LibraryPage";
import { NewJobPage } from "@/features/new-job/NewJobPage";

/** Pages live below /view, so that they never shadow a path of the API. */
export function App() {
  return (
    <Routes>
      <Route element={<Layout />}>
        <Route path="/" element={<JobsPage />} />
        <Route path="/view/new" element={<NewJobPage />} />
        <Route path="/view/library" element={<LibraryPage />} />
        <Route path="/view/jobs/:id" element={<JobPage />} />
        <Route path="*" element={<EmptyState title="There is no such page">Choose one above.</EmptyState>} />
      </Route>
    </Routes>
  );
}
