/** Everything the pages read and write, as hooks. */
import { infiniteQueryOptions, useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";

import { type CheckpointView, type DatasetView, type JobCreate, type JobView, client, unwrap } from "./client";

export const isActive = (job: Pick<JobView, "state">) => job.state === "queued" || job.state === "running";

const ACTIVE_MS = 2000;
const IDLE_MS = 10_000;
const FILES_MS = 10_000;
/** The most the service gives at once. */
const PAGE = 100;

export function useJobs() {
  return useInfiniteQuery({
    queryKey: ["jobs"],
    initialPageParam: undefined as string | undefined,
    queryFn: async ({ pageParam }) =>
      unwrap(await client.GET("/jobs", { params: { query: pageParam ? { after: pageParam } : {} } })),
    getNextPageParam: (page) => (page.has_more ? page.data.at(-1)?.id : undefined),
    refetchInterval: (query) => (query.state.data?.pages.some((page) => page.data.some(isActive)) ? ACTIVE_MS : IDLE_MS),
  });
}

export function useJob(id: string) {
  return useQuery({
    queryKey: ["job", id],
    queryFn: async () => unwrap(await client.GET("/jobs/{job_id}", { params: { path: { job_id: id } } })),
    refetchInterval: (query) => (query.state.data?.waiting_for?.length ? ACTIVE_MS : false),
  });
}

export function useJobMetrics(id: string) {
  return useQuery({
    queryKey: ["metrics", id],
    queryFn: async () => unwrap(await client.GET("/jobs/{job_id}/metrics", { params: { path: { job_id: id } } })),
  });
}

export function useArtifacts(job: Pick<JobView, "id" | "state">) {
  return useQuery({
    queryKey: ["artifacts", job.id],
    queryFn: async () => unwrap(await client.GET("/jobs/{job_id}/artifacts", { params: { path: { job_id: job.id } } })),
    refetchInterval: isActive(job) ? FILES_MS : false,
  });
}

export function useCancelJob(id: string) {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: async () => unwrap(await client.POST("/jobs/{job_id}/cancel", { params: { path: { job_id: id } } })),
    onSuccess: (job) => cache.setQueryData(["job", id], job),
  });
}

/** Run a job again that failed or was cancelled: from its newest checkpoint, or from the start. */
export function useRetryJob(id: string) {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: async (from: "checkpoint" | "start") =>
      unwrap(await client.POST("/jobs/{job_id}/retry", { params: { path: { job_id: id } }, body: { from } })),
    onSuccess: (job) => {
      cache.setQueryData(["job", id], job);
      for (const key of ["metrics", "artifacts"]) void cache.invalidateQueries({ queryKey: [key, id] });
    },
  });
}

export function useCreateJob() {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: async ({ key, body }: { key: string; body: JobCreate }) =>
      unwrap(await client.POST("/jobs", { body, params: { header: { "Idempotency-Key": key } } })),
    onSuccess: () => cache.invalidateQueries({ queryKey: ["jobs"] }),
  });
}

interface Page<Row> {
  data: Row[];
  has_more: boolean;
}

/** A list in pages, newest first; read again while the service still checks some of it. */
function paged<Row extends DatasetView | CheckpointView>(key: string, load: (query: object) => Promise<Page<Row>>) {
  return infiniteQueryOptions({
    queryKey: [key],
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam }) => load({ limit: PAGE, ...(pageParam ? { after: pageParam } : {}) }),
    getNextPageParam: (page) => (page.has_more ? page.data.at(-1)?.id : undefined),
    refetchInterval: (query) =>
      query.state.data?.pages.some((page) => page.data.some(({ state }) => state === "checking")) ? ACTIVE_MS : false,
  });
}

export function useDatasets() {
  return useInfiniteQuery(
    paged("datasets", async (query) => unwrap(await client.GET("/datasets", { params: { query } }))),
  );
}

export function useCheckpoints() {
  return useInfiniteQuery(
    paged("checkpoints", async (query) => unwrap(await client.GET("/checkpoints", { params: { query } }))),
  );
}

export type Pages<Row> = Pick<
  ReturnType<typeof useInfiniteQuery<Page<Row>>>,
  "hasNextPage" | "isFetchingNextPage" | "isFetchNextPageError" | "fetchNextPage" | "isPending" | "error"
> & { data: { pages: Page<Row>[] } | undefined };

export function useCatalog() {
  return useQuery({
    queryKey: ["catalog"],
    queryFn: async () => unwrap(await client.GET("/catalog")),
    staleTime: Number.POSITIVE_INFINITY,
    // once it was not to be had, the form has no families; it comes by itself when the service is back
    refetchInterval: (query) => (query.state.data === undefined ? IDLE_MS : false),
  });
}

export function useHealth() {
  return useQuery({
    queryKey: ["health"],
    queryFn: async () => unwrap(await client.GET("/health")),
    refetchInterval: (query) => (query.state.status === "error" ? ACTIVE_MS : IDLE_MS),
    retry: false,
  });
}
