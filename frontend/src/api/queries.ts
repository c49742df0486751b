/** Everything the pages read and write, as hooks. */
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";

import { type JobCreate, type JobView, client, unwrap } from "./client";

export const isActive = (job: Pick<JobView, "state">) => job.state === "queued" || job.state === "running";

export function useJobs() {
  return useInfiniteQuery({
    queryKey: ["jobs"],
    initialPageParam: undefined as string | undefined,
    queryFn: async ({ pageParam }) =>
      unwrap(await client.GET("/jobs", { params: { query: pageParam ? { after: pageParam } : {} } })),
    getNextPageParam: (page) => (page.has_more ? page.data.at(-1)?.id : undefined),
    refetchInterval: (query) => (query.state.data?.pages.some((page) => page.data.some(isActive)) ? 2000 : 10_000),
  });
}

export function useJob(id: string) {
  return useQuery({
    queryKey: ["job", id],
    queryFn: async () => unwrap(await client.GET("/jobs/{job_id}", { params: { path: { job_id: id } } })),
  });
}

export function useJobMetrics(id: string) {
  return useQuery({
    queryKey: ["metrics", id],
    queryFn: async () => unwrap(await client.GET("/jobs/{job_id}/metrics", { params: { path: { job_id: id } } })),
  });
}

export function useArtifacts(id: string) {
  return useQuery({
    queryKey: ["artifacts", id],
    queryFn: async () => unwrap(await client.GET("/jobs/{job_id}/artifacts", { params: { path: { job_id: id } } })),
  });
}

export function useCancelJob(id: string) {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: async () => unwrap(await client.POST("/jobs/{job_id}/cancel", { params: { path: { job_id: id } } })),
    onSuccess: (job) => cache.setQueryData(["job", id], job),
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

export function useDatasets() {
  return useQuery({
    queryKey: ["datasets"],
    queryFn: async () => unwrap(await client.GET("/datasets", { params: { query: { limit: 100 } } })),
  });
}

export function useCheckpoints() {
  return useQuery({
    queryKey: ["checkpoints"],
    queryFn: async () => unwrap(await client.GET("/checkpoints", { params: { query: { limit: 100 } } })),
  });
}

export function useCatalog() {
  return useQuery({
    queryKey: ["catalog"],
    queryFn: async () => unwrap(await client.GET("/catalog")),
    staleTime: Number.POSITIVE_INFINITY,
  });
}

export function useHealth() {
  return useQuery({
    queryKey: ["health"],
    queryFn: async () => unwrap(await client.GET("/health")),
    refetchInterval: 10_000,
  });
}
